"""Shards of records, one MediaSequence-keyed SequenceExample per clip, and their index."""

import contextlib
import dataclasses
import json
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from input_pipelines.manifest import Clip
from input_pipelines.media import DecodedClip
from input_pipelines.settings import ClipSettings

INDEX_FILE = "index.json"
INDEX_VERSION = 1

MEDIA_ID = "clip/media_id"
LABEL_STRING = "clip/label/string"
LABEL_INDEX = "clip/label/index"
START_TIMESTAMP = "clip/start/timestamp"
END_TIMESTAMP = "clip/end/timestamp"
IMAGE_FORMAT = "image/format"
IMAGE_HEIGHT = "image/height"
IMAGE_WIDTH = "image/width"
IMAGE_FRAME_RATE = "image/frame_rate"
IMAGE_ENCODED = "image/encoded"
IMAGE_TIMESTAMP = "image/timestamp"
SAMPLE_RATE = "WAVEFORM/feature/sample_rate"
NUM_SAMPLES = "WAVEFORM/feature/num_samples"
# Little-endian int16; MediaSequence's own WAVEFORM/feature/floats takes twice the space.
WAVEFORM_PCM16 = "WAVEFORM/pcm16"

# For tf.io.parse_single_sequence_example: what a model needs of a clip.
CONTEXT_FEATURES = {
    MEDIA_ID: tf.io.FixedLenFeature([], tf.string),
    LABEL_STRING: tf.io.FixedLenFeature([], tf.string),
    LABEL_INDEX: tf.io.FixedLenFeature([], tf.int64),
    WAVEFORM_PCM16: tf.io.FixedLenFeature([], tf.string),
}
SEQUENCE_FEATURES = {
    IMAGE_ENCODED: tf.io.FixedLenSequenceFeature([], tf.string),
    IMAGE_TIMESTAMP: tf.io.FixedLenSequenceFeature([], tf.int64),
}


@dataclasses.dataclass(frozen=True)
class Shard:
    """One TFRecord file: its name in the records' folder and how many clips it holds."""

    file: str
    num_clips: int


@dataclasses.dataclass(frozen=True)
class SplitIndex:
    """One split: its clips, its shards in order, and the clips of each class by name."""

    num_clips: int
    shards: tuple[Shard, ...]
    class_counts: dict[str, int]


@dataclasses.dataclass(frozen=True)
class Index:
    """What a folder of records holds and how it was made.

    Args:
      version: Of the format, `INDEX_VERSION`.
      class_names: Sorted labels of the train split; a label's index is its place here.
      settings: How the clips were decoded and are to be read.
      splits: What there is of each split.
      skipped: Clips that could not be used: `clip_id`, `split`, `reason`.
      problems: Clips that are damaged but kept: `clip_id`, `reason`.
      manifest_sha256: Of the manifest's bytes, hexadecimal.
      validation_fraction: Share of the training clips that was asked to be held out.
      max_duration_s: Longer clips were cut to this, seconds.
    """

    version: int
    class_names: tuple[str, ...]
    settings: ClipSettings
    splits: dict[str, SplitIndex]
    skipped: tuple[dict[str, str], ...]
    problems: tuple[dict[str, str], ...]
    manifest_sha256: str
    validation_fraction: float
    max_duration_s: float = 60.0

    def to_json(self) -> str:
        """Returns the index as JSON text."""
        return json.dumps(dataclasses.asdict(self), indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Index":
        """Returns the index `to_json` wrote.

        Raises:
          ValueError: where the text is not such an index, or of another version.
        """
        try:
            values: dict[str, Any] = json.loads(text)
            version = values["version"]
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise ValueError(
                f"This is not an index of records. Received: {text[:80]!r}."
            ) from error
        if version != INDEX_VERSION:
            raise ValueError(
                f"These records were made by another version (this one reads {INDEX_VERSION}); "
                f"prepare them again. Received: version={version!r}."
            )
        try:
            values["class_names"] = tuple(values["class_names"])
            values["settings"] = ClipSettings.from_dict(values["settings"])
            values["splits"] = {
                name: SplitIndex(
                    num_clips=split["num_clips"],
                    shards=tuple(Shard(**shard) for shard in split["shards"]),
                    class_counts=split["class_counts"],
                )
                for name, split in values["splits"].items()
            }
            values["skipped"] = tuple(values["skipped"])
            values["problems"] = tuple(values["problems"])
            return cls(**values)
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"This index of records is damaged. Received: {error!r}.") from error


def read_index(records_dir: str | os.PathLike) -> Index:
    """Reads the index of a folder of records.

    Raises:
      FileNotFoundError: where there is none.
      ValueError: where it is damaged or of another version.
    """
    path = pathlib.Path(records_dir) / INDEX_FILE
    if not path.is_file():
        raise FileNotFoundError(
            f"There are no finished records here ({INDEX_FILE} is missing); make them with "
            f"launchers.prepare. Received: records_dir={str(records_dir)!r}."
        )
    return Index.from_json(path.read_text(encoding="utf-8"))


def write_index(records_dir: str | os.PathLike, index: Index) -> None:
    """Writes the index of a folder of records: complete or not at all."""
    path = pathlib.Path(records_dir) / INDEX_FILE
    temporary = path.with_name(f"{INDEX_FILE}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(index.to_json())
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def shard_name(split: str, shard: int, num_shards: int) -> str:
    """Returns the file name of a shard, e.g. "train-00000-of-00012.tfrecord"."""
    return f"{split}-{shard:05d}-of-{num_shards:05d}.tfrecord"


@contextlib.contextmanager
def write_shard(path: str | os.PathLike) -> Iterator[tf.io.TFRecordWriter]:
    """Writes one shard, which has its name only once it is complete.

    Args:
      path: The file; an older one is replaced.

    Yields:
      What takes the serialised examples: `write(bytes)`.
    """
    path = pathlib.Path(path)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with tf.io.TFRecordWriter(str(temporary)) as writer:
            yield writer
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def encode_example(
    clip: Clip, label_index: int, decoded: DecodedClip, settings: ClipSettings
) -> bytes:
    """Returns one clip as a serialised tf.train.SequenceExample.

    Args:
      clip: The clip's row in the manifest.
      label_index: Place of its label in the class names.
      decoded: Its sound and frames.
      settings: What it was decoded with.
    """
    start_us = round((clip.start_s or 0.0) * 1e6)
    sample_rate_hz = settings.audio.sample_rate_hz
    context = {
        MEDIA_ID: _bytes(clip.clip_id.encode()),
        LABEL_STRING: _bytes(clip.label.encode()),
        LABEL_INDEX: _int64(label_index),
        START_TIMESTAMP: _int64(start_us),
        END_TIMESTAMP: _int64(start_us + round(len(decoded.waveform) / sample_rate_hz * 1e6)),
        IMAGE_FORMAT: _bytes(b"JPEG"),
        IMAGE_HEIGHT: _int64(decoded.height),
        IMAGE_WIDTH: _int64(decoded.width),
        IMAGE_FRAME_RATE: _float(decoded.frame_rate),
        SAMPLE_RATE: _float(sample_rate_hz),
        NUM_SAMPLES: _int64(len(decoded.waveform)),
        WAVEFORM_PCM16: _bytes(decoded.waveform.astype("<i2").tobytes()),
    }
    lists = {
        IMAGE_ENCODED: tf.train.FeatureList(feature=[_bytes(jpeg) for jpeg in decoded.frames]),
        IMAGE_TIMESTAMP: tf.train.FeatureList(
            feature=[_int64(timestamp) for timestamp in decoded.timestamps_us]
        ),
    }
    example = tf.train.SequenceExample(
        context=tf.train.Features(feature=context),
        feature_lists=tf.train.FeatureLists(feature_list=lists),
    )
    # Maps have no order of their own; without this the same clip may give other bytes.
    return example.SerializeToString(deterministic=True)


def _bytes(value: bytes) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))


def _int64(value: int) -> tf.train.Feature:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))


def _float(value: float) -> tf.train.Feature:
    return tf.train.Feature(float_list=tf.train.FloatList(value=[value]))
