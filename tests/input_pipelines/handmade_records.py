"""Writes records whose sound, pictures and flow are known by numbers."""

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
    """One clip: `waveform` int16 `[S]`, `visual` and `flow` lists of uint8 `[H, W, 3]`."""

    clip_id: str
    label: str
    waveform: np.ndarray | None = None
    visual: list[np.ndarray] | None = None
    flow: list[np.ndarray] | None = None
    duration_s: float | None = None


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
        found[split] = SplitIndex(len(sources), tuple(listed), counts)
    values = {
        "skipped": (), "problems": (), "clips_sha256": "0" * 64, "validation_fraction": 0.0,
        "clips_per_shard": 64, "limits": MediaLimits(),
    }  # fmt: skip
    index = Index(class_names=tuple(names), settings=settings, splits=found, **values | changes)
    write_index(folder, index)
    return folder


def _encode(source, split, label, settings):
    clip = Clip(source.clip_id, split, source.label, "/nowhere.mp4")
    num_samples = 0 if source.waveform is None else len(source.waveform)
    duration_s = source.duration_s or num_samples / settings.audio.sample_rate_hz
    decoded = DecodedClip(
        duration_s, source.waveform, _frames(source.visual), _frames(source.flow), []
    )
    return records.encode_example(clip, label, decoded, settings)


def _frames(pictures):
    if pictures is None:
        return None
    # 4:4:4, as flow is stored.
    encoded = [
        tf.io.encode_jpeg(picture, quality=100, chroma_downsampling=False).numpy()
        for picture in pictures
    ]
    times_us = [round(1e5 * number) for number in range(len(pictures))]
    return DecodedFrames(encoded, times_us, *pictures[0].shape[:2], 10.0)
