"""What a run of `train` says of every clip of a split, as a table."""

import csv
import dataclasses
import pathlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import tensorflow as tf

from ogm_tf.confidence import FUSED

_PREDICTED = "predicted"


@dataclasses.dataclass(frozen=True, eq=False)
class Predictions:
    """Answers for N clips.

    Args:
      clip_ids: Names of the clips, in the order of the records.
      labels: The right classes, `[N]`.
      predicted: The classes said, `[N]`, by "fused" and each modality.
    """

    clip_ids: tuple[str, ...]
    labels: np.ndarray
    predicted: Mapping[str, np.ndarray]


def table(
    clip_ids: Sequence[str],
    labels: np.ndarray,
    logits: Mapping[str, np.ndarray],
    class_names: Sequence[str],
) -> tuple[list[str], Iterator[list[object]]]:
    """Returns header and rows of a table with a row a clip.

    Of the fused network, and of each modality under its name, it has the class predicted, and the
    probability of the right one.

    Args:
      clip_ids: Names of N clips.
      labels: Their right classes, `[N]`.
      logits: `[N, C]`, by "fused" and each modality.
      class_names: Of the C classes.
    """
    header, columns = ["clip_id", "label"], []
    for name, own in logits.items():
        prefix = _prefix(name)
        header += [f"{prefix}{_PREDICTED}", f"{prefix}label_probability"]
        probabilities = tf.nn.softmax(tf.cast(own, tf.float32)).numpy()
        columns.append((own.argmax(axis=-1), probabilities[np.arange(len(labels)), labels]))

    def rows():
        for number, (clip_id, label) in enumerate(zip(clip_ids, labels, strict=True)):
            line = [clip_id, class_names[label]]
            for predicted, probability in columns:
                line += [class_names[predicted[number]], round(float(probability[number]), 6)]
            yield line

    return header, rows()


def read(path: pathlib.Path, class_names: Sequence[str]) -> Predictions:
    """Returns what `table` wrote.

    Raises:
      ValueError: where it is another table, or of other classes.
    """
    numbers = {name: number for number, name in enumerate(class_names)}
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    try:
        names = [name for name in rows[0] if name.endswith(_PREDICTED)]
        return Predictions(
            tuple(row["clip_id"] for row in rows),
            np.array([numbers[row["label"]] for row in rows]),
            {
                name.removesuffix(_PREDICTED).removesuffix("_") or FUSED: np.array(
                    [numbers[row[name]] for row in rows]
                )
                for name in names
            },
        )
    except (KeyError, IndexError) as error:
        raise ValueError(
            f"{path} must hold the clips that `evaluate` wrote, of the records' classes. "
            f"Received: {error!r}."
        ) from error


def _prefix(name: str) -> str:
    return "" if name == FUSED else f"{name}_"
