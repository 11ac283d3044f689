r"""Trains a network to say which event each segment of a video holds, or that it has none.

  python -m launchers.localize --features_dir=features/mine --output_dir=runs/agva \
      --model=agva --modulation=ogm_ge --alpha=0.3

The features are a folder that `launchers.extract` wrote, or AVE's published files. With
--supervision=full every segment has its label; with --supervision=weak training is told of whole
videos alone, and validation and test ask for the segments all the same. Settings that are not given
are those by which the network was published.

The same command on the same folder goes on with a run that was stopped or killed, and ends as if it
had not been (docs/long_runs.md). The best epoch is chosen by the accuracy on the validation split's
segments; without one, or with --keep=last, it is the last. What it says of every segment is in
timelines_validation.csv and timelines_test.csv.
"""

import functools

from input_pipelines import feature_sequences
from input_pipelines.feature_sequences import FeatureSequences
from input_pipelines.order import Rows
from launchers import fitting
from launchers.features import fingerprint, open_features
from launchers.localizing import LocalizeSettings
from launchers.networks import build_event_model
from launchers.settings import launch
from launchers.timelines import BACKGROUND, with_video_targets
from ogm_tf.checkpoint_files import Position
from ogm_tf.localization.losses import weak_targets

# Axes of a video's features, which the attention needs.
_AXES = {"audio": ("T", "D"), "visual": ("T", "h", "w", "C")}


def run(settings: LocalizeSettings) -> dict[str, dict[str, float]]:
    """Trains, keeps the best epoch, evaluates it, and returns the metrics of every split.

    Raises:
      ValueError: where the features cannot be learned from, or the folder has a run of other ones.
      SystemExit: with code 0 where SIGTERM or SIGINT asked to stop; the run is saved.
    """
    features = open_features(settings.features_dir, settings.background_videos)
    _check_features(settings, features)
    return fitting.run(
        settings,
        [split for split, rows in features.splits.items() if len(rows)],
        functools.partial(_read, settings, features),
        functools.partial(build_event_model, settings, features),
        data={"features_sha256": fingerprint(features)},
    )


def _read(
    settings: LocalizeSettings, features: FeatureSequences, rows: Rows, start: Position
) -> fitting.Data:
    steps = len(features.splits["train"]) // settings.batch_size
    training = feature_sequences.train_dataset(
        features,
        settings.batch_size,
        settings.seed,
        start_step=start.epoch * steps + start.step,
        rows=rows,
    ).dataset
    if settings.is_weak:
        training = training.map(
            lambda inputs, labels: (
                inputs,
                weak_targets(labels, features.num_classes, settings.weak_target),
            )
        )
    if not len(features.splits.get("validation", ())):
        return fitting.Data(training, steps)
    validation = feature_sequences.eval_dataset(
        features, "validation", settings.batch_size, rows=rows
    )
    batches = validation.dataset
    if settings.is_weak:
        batches = with_video_targets(batches, features.num_classes, settings.weak_target)
    return fitting.Data(training, steps, batches, -(-validation.num_videos // settings.batch_size))


def _check_features(settings: LocalizeSettings, features: FeatureSequences) -> None:
    """Refuses, before a folder is made, features that the network cannot learn from."""
    shapes, num_videos = features.shapes, len(features.splits.get("train", ()))
    ranks = {name: len(axes) for name, axes in _AXES.items()}
    if {name: len(shape) for name, shape in shapes.items()} != ranks:
        forms = " and ".join(f"{name} [{', '.join(axes)}]" for name, axes in _AXES.items())
        rule = f"Features of a video must be {forms}"
    elif any(0 in shape for shape in shapes.values()):
        rule = "Features of a video must not be empty"
    elif not features.class_names:
        rule = "There must be a class beside background"
    elif BACKGROUND in features.class_names:
        rule = f"No event may be called {BACKGROUND}, which is no event"
    elif num_videos == 0:
        rule = "Features must have a train split"
    elif settings.batch_size > num_videos:
        rule = f"--batch_size must be at most the {num_videos} videos of the train split"
    else:
        return
    counts = {split: len(rows) for split, rows in features.splits.items()}
    raise ValueError(
        f"{rule}. Received: batch_size={settings.batch_size}, "
        f"features_dir={settings.features_dir!r} with inputs of shapes {shapes}, "
        f"{len(features.class_names)} classes and videos {counts}."
    )


if __name__ == "__main__":
    launch(LocalizeSettings, run)
