r"""Records become feature sequences: of every segment of every clip, what encoders make of it.

  python -m launchers.prepare --manifest=data/manifest.csv --whole_files --output_dir=records/mine
  python -m launchers.extract --records_dir=records/mine --output_dir=features/mine --segments=10 \
      --audio_encoder=runs/mine --visual_encoder=runs/mine

Clips need events: the manifest's columns event_start_s and event_end_s, or with --whole_files
start_s and end_s, or --dataset=ave. A segment is of the event's class where at least half of it
lies in the event, and background elsewhere.

An encoder is the folder of a run of `train` or `pretrain`; a .keras file, which takes what the
records' own settings (features, frame_height and so on) make of a segment; or, for pictures, one of
keras.applications with a file of weights:

  python -m launchers.prepare --dataset=ave --data_dir=/data/AVE --output_dir=records/ave \
      --flagfile=launchers/presets/ave_segments.flags
  python -m launchers.extract --records_dir=records/ave --output_dir=features/ave \
      --flagfile=launchers/presets/ave_segments.flags --audio_encoder=log_mel.keras \
      --visual_encoder=vgg19 --visual_weights=vgg19_notop.h5

It gets its window centred on each segment. Of sound, a vector is kept (maps are pooled: mean and
maximum), of pictures a map, before any global pooling, its mean over the frames. The features
appear when all of them are there; they are for `localize`.

Built-in feature sequences, to try that out:

  python -m launchers.extract --dataset=synthetic_sequences --output_dir=features/synthetic
"""

import collections
import dataclasses
import itertools
from collections.abc import Iterator, Mapping

import numpy as np
import tensorflow as tf
from absl import logging

from input_pipelines import feature_folder, synthetic_features
from input_pipelines.feature_folder import About, Video
from input_pipelines.index import Index, read_index
from input_pipelines.listing import SPLITS
from input_pipelines.progress import progress_bar
from input_pipelines.segments import SegmentLoader, Segments, event_labels, read_segments
from launchers import segment_encoders
from launchers.extracting import ExtractSettings
from launchers.segment_encoders import SegmentEncoder
from launchers.settings import launch

# A clip may lack a part of its last segment.
_NEEDED_OF_LAST_SEGMENT = 0.5


def run(settings: ExtractSettings) -> About:
    """Writes the features, and returns what there is."""
    if settings.dataset is not None:
        return _write_synthetic(settings)
    index = read_index(settings.records_dir)
    segment_s = settings.segment_s or _usual_duration_s(index) / settings.segments
    _check_records(index, settings, segment_s)
    encoders = {
        name: segment_encoders.load(
            name,
            getattr(settings, f"{name}_encoder"),
            index,
            settings.window_s or segment_s,
            settings.visual_weights if name == "visual" else None,
        )
        for name in ("audio", "visual")
    }
    about = feature_folder.write_features(
        settings.output_dir,
        _extract(settings, index, segment_s, encoders),
        class_names=index.class_names,
        segment_s=segment_s,
        settings={
            "clips_sha256": index.clips_sha256,
            **settings.about(),
            **{f"{name}_encoder": encoder.about for name, encoder in encoders.items()},
        },
    )
    _log(settings, about)
    return about


def _write_synthetic(settings: ExtractSettings) -> About:
    wanted = synthetic_features.SequenceSettings(seed=settings.dataset_seed)
    features = synthetic_features.make(wanted)
    num_videos = sum(len(rows) for rows in features.splits.values())
    with progress_bar("Writing features", num_videos, unit="video") as bar:
        videos = (bar.update() or video for video in feature_folder.videos_of(features))
        about = feature_folder.write_features(
            settings.output_dir,
            videos,
            class_names=features.class_names,
            segment_s=1.0,
            settings={"dataset": settings.dataset, **dataclasses.asdict(wanted)},
        )
    _log(settings, about)
    return about


def _log(settings: ExtractSettings, about: About) -> None:
    logging.info(
        "%s: %d videos of %d segments of %g s, %d classes and background; %s.",
        settings.output_dir,
        about.num_videos,
        about.num_segments,
        about.segment_s,
        len(about.class_names),
        ", ".join(f"{name} {list(shape[1:])}" for name, shape in about.shapes.items()),
    )


def _durations(index: Index) -> collections.Counter:
    """Returns the number of clips of each length, in seconds."""
    counts = collections.Counter()
    for split in index.splits.values():
        for length, count in split.duration_counts.items():
            counts[float(length)] += count
    return counts


def _usual_duration_s(index: Index) -> float:
    return _durations(index).most_common(1)[0][0]


def _needed_s(settings: ExtractSettings, segment_s: float) -> float:
    """Returns how long a clip must be."""
    return (settings.segments - 1 + _NEEDED_OF_LAST_SEGMENT) * segment_s


def _check_records(index: Index, settings: ExtractSettings, segment_s: float) -> None:
    """Refuses, before any work, records of which no features can be made."""
    if missing := {"audio", "visual"} - set(index.settings.modalities):
        raise ValueError(
            "Records must have sound and pictures; prepare them again. "
            f"Received: records_dir={settings.records_dir!r} without {', '.join(missing)}."
        )
    num_clips = sum(split.num_clips for split in index.splits.values())
    num_events = sum(split.num_events for split in index.splits.values())
    if num_events == 0 or (num_events < num_clips and not settings.background_clips):
        raise ValueError(
            "Clips must have events: columns event_start_s and event_end_s of the manifest, or "
            "start_s and end_s with `prepare --whole_files`; --background_clips allows some "
            f"without. Received: records_dir={settings.records_dir!r} with {num_events} events in "
            f"{num_clips} clips."
        )
    needed_s = _needed_s(settings, segment_s)
    # Lengths are rounded to hundredths.
    durations = _durations(index)
    num_short = sum(count for length, count in durations.items() if length + 0.005 < needed_s)
    if num_short > settings.max_bad_fraction * num_clips:
        raise ValueError(
            f"Clips must be as long as their segments: {num_short} of {num_clips} are shorter than "
            f"{needed_s:g} s, the shortest {min(durations):g} s. Received: "
            f"segments={settings.segments} of {segment_s:g} s, "
            f"max_bad_fraction={settings.max_bad_fraction}."
        )


def _extract(
    settings: ExtractSettings,
    index: Index,
    segment_s: float,
    encoders: Mapping[str, SegmentEncoder],
) -> Iterator[Video]:
    """Yields the clips of all splits, one after the other."""
    front_ends = {name: encoder.front_end for name, encoder in encoders.items()}
    load = SegmentLoader(front_ends, settings.segments, segment_s)
    shapes = {name: own.shapes[name] for name, own in front_ends.items()}
    encode = _compiled(encoders, shapes, settings.batch_size)
    needed_us = _needed_s(settings, segment_s) * 1e6
    total = sum(split.num_clips for split in index.splits.values())
    num_pictures = num_short = 0
    with progress_bar("extract", total) as bar:
        for split in (name for name in SPLITS if name in index.splits):
            dataset = read_segments(settings.records_dir, index, split, load)
            rows = _encoded(dataset, encode, settings.batch_size)
            while own := list(itertools.islice(rows, settings.segments)):
                bar.update()
                first, clip_id = own[0][0], own[0][0].clip_id.decode()
                if first.duration_us < needed_us:
                    logging.warning("Left out %s: %g s.", clip_id, first.duration_us / 1e6)
                    num_short += 1
                    continue
                picture = None
                if split == "test" and num_pictures < feature_folder.MAX_PICTURES:
                    picture = _strip([segment.frame for segment, _ in own])
                    num_pictures += 1
                yield Video(
                    video_id=clip_id,
                    split=split,
                    labels=event_labels(
                        first.event_us,
                        first.label,
                        len(index.class_names),
                        settings.segments,
                        segment_s,
                    ),
                    inputs={
                        name: np.stack([found[name] for _, found in own]).astype(settings.dtype)
                        for name in encoders
                    },
                    picture=picture,
                )
    if num_short:
        logging.warning("%d of %d clips were too short and are left out.", num_short, total)


def _compiled(
    encoders: Mapping[str, SegmentEncoder],
    shapes: Mapping[str, tuple[int, ...]],
    batch_size: int,
) -> tf.types.experimental.GenericFunction:
    """Returns what encodes a batch; the size is fixed, so that there is one program for all."""
    signature = {name: tf.TensorSpec([batch_size, *shape]) for name, shape in shapes.items()}

    @tf.function(input_signature=[signature], autograph=False)
    def encode(inputs):
        return {name: encoder.encode(inputs[name]) for name, encoder in encoders.items()}

    return encode


def _encoded(
    dataset: tf.data.Dataset,
    encode: tf.types.experimental.GenericFunction,
    batch_size: int,
) -> Iterator[tuple[Segments, dict[str, np.ndarray]]]:
    """Yields every segment, without its inputs, and its features."""
    for batch in dataset.batch(batch_size).prefetch(1):
        num_rows = len(batch.label)
        inputs = {
            name: tf.pad(own, [[0, batch_size - num_rows], *[[0, 0]] * (own.shape.rank - 1)])
            for name, own in batch.inputs.items()
        }
        features = {name: found.numpy() for name, found in encode(inputs).items()}
        about = Segments(*(value.numpy() for value in batch[:-1]), inputs={})
        for row in range(num_rows):
            segment = Segments(*(value[row] for value in about[:-1]), inputs={})
            yield segment, {name: found[row] for name, found in features.items()}


def _strip(frames: list[bytes]) -> bytes:
    """Returns a JPEG file of small frames side by side."""
    pictures = []
    for frame in frames:
        picture = tf.image.decode_jpeg(frame, channels=3)
        height, width = picture.shape[:2]
        scale = min(1.0, feature_folder.MAX_PICTURE_HEIGHT / height)
        size = (max(1, round(height * scale)), max(1, round(width * scale)))
        pictures.append(tf.image.resize(picture, size, antialias=True))
    pixels = tf.saturate_cast(tf.round(tf.concat(pictures, axis=1)), tf.uint8)
    return tf.io.encode_jpeg(pixels, quality=90).numpy()


if __name__ == "__main__":
    launch(ExtractSettings, run)
