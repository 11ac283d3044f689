r"""Trains a network, without labels, to tell whether sound and picture belong together.

  python -m launchers.pretrain --records_dir=records/mine --output_dir=runs/avsa \
      --model=avsa --modulation=ogm_ge --alpha=0.5 --epochs=100

L3-Net learns which sound belongs to a frame (against that of another clip); AVSA and AVCA learn
whether the sound is in step (against the same clip's sound, shifted). What is balanced are the
positive and the negative pairs. `launchers.probe` says what the audio encoder has learned, and
`launchers.export` makes a feature extractor of it.

The same command on the same folder goes on with a run that was stopped or killed, and ends as if it
had not been (docs/long_runs.md). The best epoch is chosen by accuracy on the validation split's
pairs; without one the last epoch is kept.
"""

import functools

from input_pipelines import pairs
from input_pipelines.index import Index, read_index
from input_pipelines.order import Rows
from launchers import fitting
from launchers.networks import build_pair_model
from launchers.pretraining import PretrainSettings
from launchers.settings import launch
from ogm_tf.checkpoint_files import Position


def run(settings: PretrainSettings) -> dict[str, dict[str, float]]:
    """Trains, keeps the best epoch, evaluates it, and returns the metrics of every split.

    Raises:
      SystemExit: with code 0 where SIGTERM or SIGINT asked to stop; the run is saved.
    """
    index = read_index(settings.records_dir)
    _check_inputs(settings, index)
    return fitting.run(
        settings,
        index.splits,
        functools.partial(_read, settings, index),
        functools.partial(build_pair_model, settings, index),
    )


def _read(settings: PretrainSettings, index: Index, rows: Rows, start: Position) -> fitting.Data:
    pair_dataset = functools.partial(
        pairs.pair_dataset,
        settings.records_dir,
        batch_size=settings.batch_size,
        seed=settings.seed,
        kind=settings.kind,
        sampling=settings.sampling,
        shift_s=settings.shift_s,
        rows=rows,
    )
    training = pair_dataset("train")
    if start != (0, 0):
        start_step = start.epoch * training.steps_per_epoch + start.step
        training = pair_dataset("train", start_step=start_step)
    if "validation" not in index.splits:
        return fitting.Data(training.dataset, training.steps_per_epoch)
    validation = pair_dataset("validation", training=False)
    return fitting.Data(
        training.dataset,
        training.steps_per_epoch,
        validation.dataset,
        validation.steps_per_epoch,
    )


def _check_inputs(settings: PretrainSettings, index: Index) -> None:
    """Refuses, before a folder is made, records that the network cannot take."""
    shapes = index.settings.shapes
    sound, pictures = shapes.get("audio"), shapes.get("visual")
    if sound is None or pictures is None:
        rule = "Pairs need records of sound and pictures (prepare --modalities=audio,visual)"
    elif settings.model == "avsa" and len(sound) != 2:
        rule = "avsa takes the sound itself (prepare --features=waveform)"
    elif settings.model != "avsa" and len(sound) != 3:
        rule = f"{settings.model} takes a spectrogram (prepare --features=log_mel or spectrogram)"
    elif settings.model == "l3net" and pictures[0] != 1:
        rule = "l3net takes one frame (prepare --num_frames=1 --frame_spacing=random)"
    else:
        return
    raise ValueError(
        f"{rule}. Received: records_dir={settings.records_dir!r} with inputs of shapes {shapes}."
    )


if __name__ == "__main__":
    launch(PretrainSettings, run)
