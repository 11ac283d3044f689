"""Shards of records, one MediaSequence-keyed SequenceExample per clip.

| key | kind | what |
|---|---|---|
| `clip/media_id`, `clip/label/string` | context, bytes | the clip's name and its class |
| `clip/label/index` | context, int64 | place of the class among the index's `class_names` |
| `clip/start/timestamp`, `clip/end/timestamp` | context, int64 | microseconds in the media |
| `image/encoded`, `image/timestamp` | lists, bytes and int64 | JPEG files, and when each is shown |
| `image/{format,height,width,frame_rate}` | context | of every frame |
| `FORWARD_FLOW/image/...` | as `image/...` | flow: red horizontal, green vertical, 128 is 0 |
| `WAVEFORM/pcm16` | context, bytes | mono sound, int16, little-endian |
| `WAVEFORM/feature/{sample_rate,num_samples}` | context | of that sound |
| `segment/start/timestamp`, `segment/end/timestamp` | context, int64 | the event: microseconds |
| `segment/label/index`, `segment/label/string` | context | the event's class, the clip's own |

`WAVEFORM/pcm16` stands for MediaSequence's `WAVEFORM/feature/floats` in half of its space: divide
by 32,768. All times are in the media, from its beginning. Keys of modalities that a set of records
does not have are absent, and those of the event where it is not known when it is.
"""

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow as tf

from input_pipelines import files
from input_pipelines.index import Shard
from input_pipelines.listing import Clip
from input_pipelines.media import DecodedClip, DecodedFrames
from input_pipelines.settings import ClipSettings

MEDIA_ID = "clip/media_id"
LABEL_STRING = "clip/label/string"
LABEL_INDEX = "clip/label/index"
START_TIMESTAMP = "clip/start/timestamp"
END_TIMESTAMP = "clip/end/timestamp"
SAMPLE_RATE = "WAVEFORM/feature/sample_rate"
NUM_SAMPLES = "WAVEFORM/feature/num_samples"
WAVEFORM_PCM16 = "WAVEFORM/pcm16"
EVENT_START = "segment/start/timestamp"
EVENT_END = "segment/end/timestamp"
EVENT_LABEL_INDEX = "segment/label/index"
EVENT_LABEL_STRING = "segment/label/string"
# In place of the time of an event that is not known.
NO_EVENT = -1
# What the keys of each modality's pictures begin with.
IMAGE_PREFIXES = {"visual": "image/", "flow": "FORWARD_FLOW/image/"}


def parsed_features(modalities: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns what tf.io.parse_single_sequence_example needs: context and sequence features."""
    context: dict[str, Any] = {
        MEDIA_ID: tf.io.FixedLenFeature([], tf.string),
        LABEL_INDEX: tf.io.FixedLenFeature([], tf.int64),
        START_TIMESTAMP: tf.io.FixedLenFeature([], tf.int64),
        END_TIMESTAMP: tf.io.FixedLenFeature([], tf.int64),
    }
    if "audio" in modalities:
        context[WAVEFORM_PCM16] = tf.io.FixedLenFeature([], tf.string)
    sequence = {}
    for modality, prefix in IMAGE_PREFIXES.items():
        if modality in modalities:
            sequence[f"{prefix}encoded"] = tf.io.FixedLenSequenceFeature([], tf.string)
            sequence[f"{prefix}timestamp"] = tf.io.FixedLenSequenceFeature([], tf.int64)
    return context, sequence


def parsed_event_features() -> dict[str, Any]:
    """Returns the context features of an event; `NO_EVENT` where there is none."""
    return {
        name: tf.io.FixedLenFeature([], tf.int64, NO_EVENT) for name in (EVENT_START, EVENT_END)
    }


def shard_name(split: str, shard: int, num_shards: int) -> str:
    """Returns the file name of a shard, e.g. "train-00000-of-00012.tfrecord"."""
    return f"{split}-{shard:05d}-of-{num_shards:05d}.tfrecord"


class ShardWriter:
    """Writes one file of records; see `write_shard`.

    Attributes:
      shard: What was written, once the file is complete; None where no clip was.
    """

    def __init__(self, path: str):
        self.shard: Shard | None = None
        self._path = path
        self._writer = tf.io.TFRecordWriter(path)
        self._sizes: list[int] = []

    def write(self, serialized: bytes) -> None:
        """Adds one clip."""
        self._writer.write(serialized)
        self._sizes.append(len(serialized))

    def close(self, name: str) -> None:
        """Ends the file, which will have this name."""
        self._writer.close()
        if self._sizes:
            num_bytes, digest = files.size(self._path), sha256(self._path)
            sizes = " ".join(map(str, self._sizes))
            self.shard = Shard(name, len(self._sizes), num_bytes, digest, sizes)


@contextlib.contextmanager
def write_shard(folder: files.Path, name: str) -> Iterator[ShardWriter]:
    """Writes one shard: complete or not at all; without clips, no file.

    Args:
      folder: Of the records.
      name: Of the file; an older one is replaced.

    Yields:
      What takes the serialised examples.
    """
    path = files.join(folder, name)
    temporary = files.temporary_name(path)
    try:
        writer = ShardWriter(temporary)
        yield writer
        writer.close(name)
        if writer.shard:
            files.move(temporary, path)
    finally:
        files.remove(temporary)


def sha256(path: files.Path) -> str:
    """Returns the SHA-256 of a file's bytes, hexadecimal."""
    with files.open_to_read(path) as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def encode_example(
    clip: Clip, label_index: int, decoded: DecodedClip, settings: ClipSettings
) -> bytes:
    """Returns one clip as a serialised tf.train.SequenceExample.

    Args:
      clip: The clip of a listing.
      label_index: Place of its label in the class names.
      decoded: Its sound and frames.
      settings: What it was decoded with.
    """
    start_us = round((clip.start_s or 0.0) * 1e6)
    context = {
        MEDIA_ID: _bytes(clip.clip_id.encode()),
        LABEL_STRING: _bytes(clip.label.encode()),
        LABEL_INDEX: _int64(label_index),
        START_TIMESTAMP: _int64(start_us),
        END_TIMESTAMP: _int64(start_us + round(decoded.duration_s * 1e6)),
    }
    if clip.event_start_s is not None and clip.event_end_s is not None:
        context[EVENT_START] = _int64(round(clip.event_start_s * 1e6))
        context[EVENT_END] = _int64(round(clip.event_end_s * 1e6))
        context[EVENT_LABEL_INDEX] = _int64(label_index)
        context[EVENT_LABEL_STRING] = _bytes(clip.label.encode())
    lists = {}
    if decoded.waveform is not None:
        context[SAMPLE_RATE] = _float(settings.audio.sample_rate_hz)
        context[NUM_SAMPLES] = _int64(len(decoded.waveform))
        context[WAVEFORM_PCM16] = _bytes(decoded.waveform.astype("<i2").tobytes())
    for modality, prefix in IMAGE_PREFIXES.items():
        frames: DecodedFrames | None = getattr(decoded, modality)
        if frames is None:
            continue
        context[f"{prefix}format"] = _bytes(b"JPEG")
        context[f"{prefix}height"] = _int64(frames.height)
        context[f"{prefix}width"] = _int64(frames.width)
        context[f"{prefix}frame_rate"] = _float(frames.frame_rate)
        for name, kind, values in (
            ("encoded", _bytes, frames.encoded),
            ("timestamp", _int64, [start_us + time_us for time_us in frames.timestamps_us]),
        ):
            lists[prefix + name] = tf.train.FeatureList(feature=[kind(value) for value in values])
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
