"""The built-in videos of events: one of several objects sounds for a part of the time.

A video is made of equal segments. During one stretch of them an object is seen and heard: that is
the event, and its class the video's. At either end of it the object is still heard but gone, or
still seen but silent, and farther away something that is not in the picture may be heard. Other
objects, silent throughout, come and go in the same way. So the sound does not say how long the
event lasts, nor the picture which of its objects the event is of; who looks at the object that is
heard, if it is there, knows both. In some videos of the training split there is no event: an object
is heard, and before it or after it seen.
"""

import functools
from typing import NamedTuple

import numpy as np

from input_pipelines.event_plans import PLACES, PLACES_A_SIDE, EventVideoSettings, Plan, draw_plan
from input_pipelines.sounding_objects import CLASS_NAMES, Shared, draw_picture, draw_sound

_NO_OBJECT = Shared(events_s=np.empty((0, 2)))
# Without noise: the video has that of its event's sound.
_CLEAN_DB = 100.0
_LARGEST_PEAK = 0.9
# Of the generators; a video has one for each thing, beside those of its plan.
_GROUND, _SOUND, _OTHER_SOUND, _OBJECTS = range(PLACES + 1, PLACES + 5)


class EventVideo(NamedTuple):
    """One video.

    Args:
      frames: uint8 `[N, H, W, 3]`.
      waveform: float32 `[S]` in [-1, 1].
      label: Class of the event, or without one of the object that is heard and seen in turn.
      event_s: When the event begins and ends, seconds; None without one.
    """

    frames: np.ndarray
    waveform: np.ndarray
    label: str
    event_s: tuple[float, float] | None


def render_clip(settings: EventVideoSettings, split: str, index: int) -> EventVideo:
    """Draws one video; the same arguments give the same video.

    Args:
      settings: What the dataset holds.
      split: "train", "validation" or "test".
      index: Of the video in its split, from 0.

    Raises:
      ValueError: where the split is unknown or the index outside of it.
    """
    plan = draw_plan(settings, split, index)
    key = settings.key(split, index)
    event_s = None
    if plan.event is not None:
        event_s = plan.event[0] * settings.segment_s, plan.event[1] * settings.segment_s
    return EventVideo(
        _draw_frames(settings, key, plan),
        _draw_waveform(settings, key, plan.heard),
        plan.label,
        event_s,
    )


def _moments(settings: EventVideoSettings, intervals: list[tuple[int, int]]) -> Shared:
    return Shared(events_s=np.reshape(intervals, [-1, 2]) * settings.segment_s)


def _draw_frames(settings: EventVideoSettings, key: tuple[int, ...], plan: Plan) -> np.ndarray:
    """Draws every object at a place of its own, uint8 `[N, H, W, 3]`."""
    num_frames = max(1, round(settings.duration_s * settings.frame_rate))
    draw = functools.partial(draw_picture, frame_rate=settings.frame_rate)
    frames = draw(
        CLASS_NAMES[0],
        np.random.default_rng([*key, _GROUND]),
        num_frames=num_frames,
        frame_size=settings.frame_size,
        clutter=settings.clutter,
        shared=_NO_OBJECT,
    ).astype(np.int32)
    size = settings.frame_size // PLACES_A_SIDE
    for number, (label, interval) in enumerate(plan.seen.items()):
        # With its plain ground, and that ground alone.
        there, ground = (
            draw(
                label,
                np.random.default_rng([*key, _OBJECTS, number]),
                num_frames=count,
                frame_size=size,
                clutter=0.0,
                shared=shared,
            ).astype(np.int32)
            for count, shared in ((num_frames, _moments(settings, [interval])), (1, _NO_OBJECT))
        )
        down, right = np.multiply(divmod(plan.places[label], PLACES_A_SIDE), size)
        frames[:, down : down + size, right : right + size] += there - ground
    return np.clip(frames, 0, 255).astype(np.uint8)


def _draw_waveform(
    settings: EventVideoSettings, key: tuple[int, ...], heard: dict[str, list[tuple[int, int]]]
) -> np.ndarray:
    """Draws all sounds, each as loud as it may be, float32 `[S]` in [-1, 1]."""
    waveform = 0.0
    noises = (_SOUND, settings.signal_to_noise_db), (_OTHER_SOUND, _CLEAN_DB)
    for (label, intervals), (purpose, ratio_db) in zip(heard.items(), noises, strict=True):
        if intervals:
            waveform += draw_sound(
                label,
                np.random.default_rng([*key, purpose]),
                num_samples=round(settings.duration_s * settings.sample_rate_hz),
                sample_rate_hz=settings.sample_rate_hz,
                signal_to_noise_db=ratio_db,
                shared=_moments(settings, intervals),
            )
    loudest = max(1.0, np.abs(waveform).max() / _LARGEST_PEAK)
    return (waveform / loudest).astype(np.float32)
