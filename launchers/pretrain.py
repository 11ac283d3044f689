r"""Trains a network, without labels, to tell whether sound and picture belong together.

  python -m launchers.pretrain --records_dir=records/mine --output_dir=runs/avsa \
      --model=avsa --modulation=ogm_ge --alpha=0.5 --epochs=100

L3-Net learns which sound belongs to a frame (against that of another clip); AVSA and AVCA learn
whether the sound is in step (against the same clip's sound, shifted). What is balanced are the
positive and the negative pairs. `launchers.probe` says what the audio encoder has learned, and
`launchers.export` makes a feature extractor of it.

The same command on the same folder goes on with a run that was stopped or killed, and ends as if it
had not been (docs/long_runs.md). The best epoch is chosen by accuracy on the validation split's
pairs; without one, or with --keep=last, it is the last.
"""

import functools

from input_pipelines import pair_clips, pairs
from input_pipelines.index import Index, read_index
from input_pipelines.order import Rows
from input_pipelines.pair_groups import Task
from launchers import fitting
from launchers.networks import build_pair_model, require_pair_inputs
from launchers.pretraining import PretrainSettings
from launchers.settings import launch
from ogm_tf.checkpoint_files import Position

# What `prepare` makes of other sizes, where a network takes none of these.
_SIZE_FLAGS = {
    "l3net": "--time_steps, --hop_length or --mel_bins",
    "avsa": "--window_s, --sample_rate_hz or --num_frames",
    "avca": "--time_steps or --num_frames",
}


def run(settings: PretrainSettings) -> dict[str, dict[str, float]]:
    """Trains, keeps the best epoch, evaluates it, and returns the metrics of every split.

    Raises:
      SystemExit: with code 0 where SIGTERM or SIGINT asked to stop; the run is saved.
    """
    index = read_index(settings.records_dir)
    _check_inputs(settings, index)
    _check_splits(settings, index)
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
        _check_sizes(settings.model, shapes)
        return
    raise ValueError(
        f"{rule}. Received: records_dir={settings.records_dir!r} with inputs of shapes {shapes}."
    )


def _check_sizes(model: str, shapes: dict[str, tuple[int, ...]]) -> None:
    """Refuses sound and pictures that are too small for the network, or fit each other badly."""
    try:
        require_pair_inputs(model, shapes)
    except ValueError as error:
        raise ValueError(
            f"{model} takes other sizes of sound and pictures (prepare {_SIZE_FLAGS[model]}): "
            f"{error}"
        ) from error


def _check_splits(settings: PretrainSettings, index: Index) -> None:
    """Refuses, before a folder is made, splits with too few clips that are long enough."""
    for split in ("train", "validation", "test"):
        is_training = split == "train"
        if is_training or split in index.splits:
            task = Task(settings.kind, settings.sampling, settings.shift_s, is_training)
            pair_clips.check_split(settings.records_dir, index, split, settings.batch_size, task)


if __name__ == "__main__":
    launch(PretrainSettings, run)
