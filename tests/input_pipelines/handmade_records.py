"""Writes records whose sound, pictures and flow are known by numbers."""

import collections
import dataclasses

import numpy as np
import tensorflow as tf

from input_pipelines import records
from input_pipelines.index import Index, SplitIndex, write_index
from input_pipelines.listing import Clip
from input_pipelines.media import DecodedClip, DecodedFrames
from input_pipelines.settings import AudioSettings, ClipSettings, MediaLimits, VideoSettings

SETTINGS = ClipSettings(
    window_s=0.5,
    audio=AudioSettings(sample_rate_hz=8000, fft_length=64, hop_length=200),
    video=VideoSettings(num_frames=2, height=12, width=16, crop_min_area=0.5),
)


@dataclasses.dataclass(frozen=True)
class Source:
    """One clip.

    Args:
      clip_id: Its name.
      label: Its class; labels are numbered in alphabetical order.
      waveform: int16 `[S]`.
      visual: uint8 `[H, W, 3]` each.
      flow: uint8 `[H, W, 3]` each.
      duration_s: By default the sound's.
      times_us: When the frames are shown, after the clip's start; by default ten a second.
      start_s: Of the clip in its media.
      event_s: When the event begins and ends, in the media.
    """

    clip_id: str
    label: str
    waveform: np.ndarray | None = None
    visual: list[np.ndarray] | None = None
    flow: list[np.ndarray] | None = None
    duration_s: float | None = None
    times_us: list[int] | None = None
    start_s: float = 0.0
    event_s: tuple[float, float] | tuple[None, None] = (None, None)


def random_clip(number):
    """Every clip its own frequency and its own pictures, 0.75 s."""
    random = np.random.default_rng(number)
    # Bin 2 (number + 1) of the spectrogram; the noise tells windows apart.
    waveform = 9000 * np.sin(np.arange(6000) * 2 * np.pi * (2 + 2 * number) / 64)
    waveform += random.normal(size=6000) * 500
    return Source(
        f"clip{number}",
        "abc"[number % 3],
        waveform.astype(np.int16),
        list(random.integers(0, 255, [4, 16, 24, 3]).astype(np.uint8)),
        times_us=[0, 200_000, 400_000, 600_000],
    )


def write(folder, splits, settings=SETTINGS, shards=2, **changes):
    """Writes the records of some sources by split; `changes` are fields of the index."""
    folder.mkdir(parents=True, exist_ok=True)
    names = sorted({source.label for sources in splits.values() for source in sources})
    found = {}
    for split, sources in splits.items():
        listed = []
        for number in range(shards):
            name = records.shard_name(split, number, shards)
            with records.write_shard(folder, name) as writer:
                for source in np.array_split(np.array(sources, object), shards)[number]:
                    writer.write(_encode(source, split, names.index(source.label), settings))
            if writer.shard:
                listed.append(writer.shard)
        labels = [source.label for source in sources]
        counts = {name: labels.count(name) for name in names}
        lengths = collections.Counter(f"{_duration_s(s, settings):.2f}" for s in sources)
        num_events = sum(source.event_s[1] is not None for source in sources)
        found[split] = SplitIndex(len(sources), tuple(listed), counts, dict(lengths), num_events)
    values = {
        "skipped": (), "problems": (), "clips_sha256": "0" * 64, "validation_fraction": 0.0,
        "clips_per_shard": 64, "limits": MediaLimits(),
    }  # fmt: skip
    index = Index(class_names=tuple(names), settings=settings, splits=found, **values | changes)
    write_index(folder, index)
    return folder


def assert_equal(left, right):
    """Checks that two sequences of batches are the same, bit for bit."""
    left, right = list(left), list(right)
    assert len(left) == len(right)
    for one, other in zip(left, right, strict=True):
        for value, expected in zip(flat(one), flat(other), strict=True):
            np.testing.assert_array_equal(value, expected)


def flat(element):
    """Returns the arrays of a batch."""
    return [np.asarray(value) for value in tf.nest.flatten(element)]


def _encode(source, split, label, settings):
    times = dict(zip(("event_start_s", "event_end_s"), source.event_s, strict=True))
    place = "/nowhere.mp4"
    clip = Clip(source.clip_id, split, source.label, place, start_s=source.start_s, **times)
    decoded = DecodedClip(
        _duration_s(source, settings),
        source.waveform,
        _frames(source.visual, source.times_us),
        _frames(source.flow, source.times_us),
        [],
    )
    return records.encode_example(clip, label, decoded, settings)


def _duration_s(source, settings):
    num_samples = 0 if source.waveform is None else len(source.waveform)
    return source.duration_s or num_samples / settings.audio.sample_rate_hz


def _frames(pictures, times_us):
    if pictures is None:
        return None
    # 4:4:4, as flow is stored.
    encoded = [
        tf.io.encode_jpeg(picture, quality=100, chroma_downsampling=False).numpy()
        for picture in pictures
    ]
    times_us = times_us or [100_000 * number for number in range(len(pictures))]
    return DecodedFrames(encoded, times_us, *pictures[0].shape[:2], 10.0)
