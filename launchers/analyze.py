"""Why a run's weak modality starves: its gradients, taken apart.

  python -m launchers.analyze --run_dir=runs/mine

Of a run of `train` with --fusion=sum or --fusion=concat: the factor that the gradients of all
modalities share, each modality's share of the answer, and the norms of the gradients of its W, b
and theta, in closed form and by automatic differentiation, batch by batch and class by class; and
what would reach the weaker modality if the stronger one were quieter or louder. The best model, on
clips as in evaluation, with the noise in the sound that the run was trained with, if any.

Prints tables and writes the numbers to the run's imbalance.json, from where `report` shows them.
"""

import dataclasses
import pathlib
from collections.abc import Iterator
from typing import Any

import tensorflow as tf
from absl import logging

from input_pipelines import dataset
from launchers import provenance
from launchers.report_imbalance import FILE
from launchers.runs import RunFolder, write_json
from launchers.settings import LauncherSettings, launch, not_negative, positive, setting
from ogm_tf.analysis import imbalance_figures, imbalance_results
from ogm_tf.analysis.imbalance import Imbalance


@dataclasses.dataclass(frozen=True)
class AnalyzeSettings(LauncherSettings):
    """Settings of `analyze`."""

    run_dir: str = setting(dataclasses.MISSING, "Folder of a run of `train`.")
    split: str = setting("validation", "Of its data.", choices=("train", "validation", "test"))
    batch_size: int = positive(32, "Clips at a time.")
    num_clips: int = not_negative(128, "Clips, chosen at random from the split; 0: all.")


def run(settings: AnalyzeSettings) -> dict[str, Any]:
    """Takes the best model's gradients apart; writes, prints and returns what it found."""
    folder = RunFolder(pathlib.Path(settings.run_dir))
    config = folder.read_config()
    if folder.launcher != "train":
        raise ValueError(
            "Gradients are taken apart of runs of `train`. "
            f"Received: {folder.path}, a run of {folder.launcher}."
        )
    data = dataset.eval_dataset(
        config["records_dir"],
        settings.split,
        settings.batch_size,
        audio_noise_snr_db=config["audio_noise_snr_db"],
        removed=config["remove_modality"],
        limit_clips=settings.num_clips,
    )
    best_epoch = folder.read_state().get("best_epoch")
    found = imbalance_results.analyze(
        Imbalance(folder.load_best()), _counted(data.dataset), data.index.class_names
    )
    found = {
        "best_epoch": best_epoch,
        "made": provenance.describe("analyze", settings),
        "split": settings.split,
        "batch_size": settings.batch_size,
        **found,
    }
    path = folder.path / FILE
    write_json(path, found)
    print("\n\n".join(imbalance_figures.as_text(folder.path.name, found)))
    logging.info("Wrote %s.", path)
    return found


def _counted(batches: tf.data.Dataset) -> Iterator[tuple[dict[str, tf.Tensor], tf.Tensor]]:
    """Gives the batches without their padding."""
    for inputs, labels, weights in batches:
        rows = weights != 0
        counted = {name: tf.boolean_mask(value, rows) for name, value in inputs.items()}
        yield counted, tf.boolean_mask(labels, rows)


if __name__ == "__main__":
    launch(AnalyzeSettings, run)
