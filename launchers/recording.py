"""Which validation clips a run of `train` records its confidence in, and the file of it."""

import collections
import dataclasses
import pathlib
import zipfile
from collections.abc import Sequence

import numpy as np
from absl import logging

from input_pipelines import dataset
from input_pipelines.index import Index
from input_pipelines.listing import clip_hash
from launchers.runs import RunFolder
from launchers.training import TrainSettings
from ogm_tf.confidence import ConfidenceRecorder

SPLIT = "validation"


class ClipRecorder(ConfidenceRecorder):
    """Records the confidence in some clips of the validation split.

    Args:
      num_clips: Of the split.
      numbers: Of the clips to record, in the order of the records.
      clip_ids: Their names.
      labels: Names of their classes.
    """

    def __init__(
        self, num_clips: int, numbers: Sequence[int], clip_ids: Sequence[str], labels: Sequence[str]
    ):
        super().__init__(num_clips, numbers)
        self._clip_ids = np.array(clip_ids, str)
        self._labels = np.array(labels, str)

    def write(self, folder: RunFolder) -> None:
        """Writes what was recorded in a run's folder."""
        folder.write_confidence(
            {
                "epochs": np.array(self.epochs, np.int32),
                "names": np.array(self.names, str),
                "clip_ids": self._clip_ids,
                "labels": self._labels,
                "numbers": self.kept,
                "confidence": self.confidence,
            }
        )


@dataclasses.dataclass(frozen=True, eq=False)
class Confidence:
    """How sure a run was of K validation clips after each of E epochs.

    Args:
      epochs: int `[E]`, from 0.
      names: "fused" and the modalities, P in all.
      clip_ids: Names of the clips, `[K]`.
      labels: Names of their classes, `[K]`.
      numbers: Of the clips in the order of the records, `[K]`.
      confidence: Probabilities of the right class, float32 `[E, K, P]`.
    """

    epochs: np.ndarray
    names: np.ndarray
    clip_ids: np.ndarray
    labels: np.ndarray
    numbers: np.ndarray
    confidence: np.ndarray


def read(folder: RunFolder) -> Confidence | None:
    """Returns what a run recorded; None where it recorded nothing.

    Raises:
      ValueError: where the file is another one or damaged.
    """
    path: pathlib.Path = folder.confidence
    if not path.exists():
        return None
    try:
        with np.load(path) as file:
            found = Confidence(**file)
    except (ValueError, TypeError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} must hold what `train` recorded. Received: {error!r}.") from error
    return found


def recorder(settings: TrainSettings, index: Index) -> ClipRecorder | None:
    """Returns what records the clips that a run's settings ask for; None where it is none.

    Args:
      settings: Of the run.
      index: Of its records.

    Raises:
      ValueError: where a clip that was asked for is not in the validation split.
    """
    wanted = settings.record_clip_ids
    if not wanted and settings.record_samples == 0:
        return None
    if SPLIT not in index.splits:
        if wanted:
            raise ValueError(
                "--record_clip_ids needs records with a validation split. "
                f"Received: record_clip_ids={','.join(wanted)}."
            )
        logging.info("No validation split: no confidence is recorded.")
        return None
    clip_ids, labels = dataset.list_clips(settings.records_dir, SPLIT)
    if wanted:
        numbers = _find(clip_ids, wanted)
    else:
        count = len(clip_ids) if settings.record_samples < 0 else settings.record_samples
        numbers = spread(clip_ids, labels, count)
    return ClipRecorder(
        len(clip_ids),
        numbers,
        [clip_ids[number] for number in numbers],
        [index.class_names[labels[number]] for number in numbers],
    )


def spread(clip_ids: Sequence[str], labels: Sequence[int], count: int) -> list[int]:
    """Returns the numbers of some clips, as many of each class as there are, in order.

    Which of a class are chosen follows from their names alone, so that runs on the same clips
    record the same ones.

    Args:
      clip_ids: Names of the clips.
      labels: Their classes.
      count: Clips wanted, >= 0; fewer than that are all.
    """
    if count >= len(clip_ids):
        return list(range(len(clip_ids)))
    seen = collections.Counter()
    places = []
    for number in sorted(range(len(clip_ids)), key=lambda number: clip_hash(clip_ids[number])):
        label = int(labels[number])
        places.append((seen[label], label, number))
        seen[label] += 1
    return sorted(number for _, _, number in sorted(places)[:count])


def _find(clip_ids: Sequence[str], wanted: Sequence[str]) -> list[int]:
    numbers = {clip_id: number for number, clip_id in enumerate(clip_ids)}
    if unknown := [clip_id for clip_id in wanted if clip_id not in numbers]:
        raise ValueError(
            f"--record_clip_ids must name clips of the validation split, which has {len(clip_ids)}:"
            f" {', '.join(clip_ids[:3])} and so on. Received: {', '.join(unknown)}."
        )
    return [numbers[clip_id] for clip_id in dict.fromkeys(wanted)]
