"""A few short films, and the records made of them."""

import numpy as np

from input_pipelines import preparation
from input_pipelines.listing import Clip, Listing
from input_pipelines.settings import AudioSettings, ClipSettings, MediaLimits, VideoSettings
from tests.input_pipelines.media_files import FRAME_RATE, tone, write_video

SETTINGS = ClipSettings(
    window_s=0.5,
    audio=AudioSettings(sample_rate_hz=8000, fft_length=64, hop_length=200),
    video=VideoSettings(
        num_frames=2, height=12, width=16, frames_per_second=10.0, stored_short_side=24
    ),
)
# Longer than the window, longer than the limit of 2 s, and shorter than the window.
DURATIONS_S = {"a": 1.2, "b": 2.4, "c": 0.3, "d": 0.8, "e": 1.0}
LABELS = {"a": "bell", "b": "drum", "c": "bell", "d": "horn", "e": "drum"}


def write(folder):
    """Writes films/<name>/<name>.mp4 and the folder records, whose test split is all films.

    Films differ from each other and from moment to moment.
    """
    clips = []
    for number, (name, duration_s) in enumerate(DURATIONS_S.items()):
        path = folder / "films" / name / f"{name}.mp4"
        path.parent.mkdir(parents=True)
        sound = tone(duration_s, 300.0 * (number + 1), begins_s=0.1 * number)
        luma = 40 + 15 * number + np.arange(round(duration_s * FRAME_RATE)) * 3 % 100
        write_video(path, luma, sound)
        for split in ("train", "test"):
            clips.append(Clip(f"{split}_{name}", split, LABELS[name], str(path)))
    preparation.prepare(
        Listing(str(folder), tuple(clips)),
        folder / "records",
        SETTINGS,
        num_workers=0,
        clips_per_shard=2,
        limits=MediaLimits(max_duration_s=2.0),
        progress=False,
    )
    return folder
