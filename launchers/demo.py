"""The main job from end to end on the built-in dataset; `make demo` runs it.

Writes clips, prepares them, trains without modulation, with OGM and with OGM-GE, takes the
gradients of the three apart and probes their encoders, compares them on one page, exports the last,
and asks the SavedModel about one clip.
"""

import dataclasses
import pathlib

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from input_pipelines import dataset
from input_pipelines.index import read_index
from launchers import analyze, evaluate, export, prepare, probe_branches, report, train
from launchers.settings import (
    LauncherSettings,
    from_flagfile,
    launch,
    not_negative,
    positive,
    setting,
)
from launchers.training import COMMON_MODULATIONS, TrainSettings

PRESET = pathlib.Path(__file__).parent / "presets" / "synthetic.flags"
_NOISY_SNRS_DB = (5.0, 0.0)


@dataclasses.dataclass(frozen=True)
class DemoSettings(LauncherSettings):
    """Settings of `demo`."""

    output_dir: str = setting("runs/demo", "Folder of everything the demo writes.")
    demo_epochs: int = positive(24, "Epochs of each run; fewer than the preset's, to be quick.")
    demo_seed: int = not_negative(0, "Seed of the clips and of the runs.")


def run(settings: DemoSettings) -> pathlib.Path:
    """Does the main job and returns the path of the report."""
    folder = pathlib.Path(settings.output_dir)
    records_dir = folder / "records"
    logging.info("1/6 Writing and preparing the clips.")
    prepare.run(
        from_flagfile(
            prepare.PrepareSettings,
            PRESET,
            dataset="synthetic",
            data_dir=str(folder / "clips"),
            dataset_seed=settings.demo_seed,
            output_dir=str(records_dir),
        )
    )
    run_dirs = []
    for modulation in COMMON_MODULATIONS:
        logging.info("2/6 Training with modulation %s.", modulation)
        run_dirs.append(str(folder / modulation))
        train.run(
            from_flagfile(
                TrainSettings,
                PRESET,
                records_dir=str(records_dir),
                output_dir=run_dirs[-1],
                modulation=modulation,
                seed=settings.demo_seed,
                epochs=settings.demo_epochs,
                lr_decay_epochs=(max(1, settings.demo_epochs * 3 // 4),),
            )
        )
        keras.backend.clear_session()
    logging.info("3/6 Evaluating with noise in the sound.")
    for run_dir in run_dirs:
        evaluate.run(evaluate.EvaluateSettings(run_dir=run_dir, audio_noise_snr_db=_NOISY_SNRS_DB))
    logging.info("4/6 Taking the gradients apart and probing the encoders.")
    for run_dir in run_dirs:
        analyze.run(analyze.AnalyzeSettings(run_dir=run_dir))
        probe_branches.run(probe_branches.ProbeBranchesSettings(run_dir=run_dir))
    logging.info("5/6 Writing the report.")
    page = report.run(
        report.ReportSettings(run_dirs=tuple(run_dirs), output_dir=str(folder / "report"))
    )
    logging.info("6/6 Exporting, and asking the SavedModel about one clip.")
    saved_model = folder / "saved_model"
    if not saved_model.exists():
        export.run(export.ExportSettings(run_dir=run_dirs[-1], output_dir=str(saved_model)))
    _ask(saved_model, records_dir)
    logging.info("The report is at %s", page)
    return page


def _ask(saved_model: pathlib.Path, records_dir: pathlib.Path) -> None:
    """Sends the first test clip through the SavedModel and logs its answer."""
    clip = dataset.read_clips(records_dir, "test", 1)[0]
    answer = tf.saved_model.load(str(saved_model)).signatures["serving_default"](
        waveform=tf.constant(clip.waveform[None]), frames=tf.constant(clip.frames[None])
    )
    names = read_index(records_dir).class_names
    logging.info("Clip %s is %r.", clip.clip_id, names[clip.label])
    logging.info("The SavedModel says %r:", answer["label"].numpy()[0].decode())
    for key, value in sorted(answer.items()):
        if key.endswith("probabilities"):
            best = int(np.argmax(value[0]))
            logging.info("  %s: %s %.2f", key, names[best], float(value[0, best]))


if __name__ == "__main__":
    launch(DemoSettings, run)
