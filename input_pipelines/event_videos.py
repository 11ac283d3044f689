"""The built-in videos of events: one of several objects sounds for a part of the time.

A video is made of equal segments. During one stretch of them an object is seen and heard: that is
the event, and its class the video's. At either end of it the object is still heard but gone, or
still seen but silent, and farther away something that is not in the picture may be heard. Other
objects, silent throughout, come and go in the same way. So the sound does not say how long the
event lasts, nor the picture which of its objects the event is of; who looks at the object that is
heard, if it is there, knows both.
"""

import dataclasses
import functools
from typing import NamedTuple

import numpy as np

from input_pipelines.listing import SPLITS
from input_pipelines.sounding_objects import CLASS_NAMES, Shared, draw_picture, draw_sound

# Objects have places of their own, this many across the frame and as many down.
PLACES_A_SIDE = 2
_NO_OBJECT = Shared(events_s=np.empty((0, 2)))
_OTHER_SOUND_SHARE = 0.5
# Without noise: the video has that of its event's sound.
_CLEAN_DB = 100.0
_LARGEST_PEAK = 0.9
# Of the generators; a video has one for its course, one for its places and one for each thing.
_COURSE, _PLACES, _GROUND, _SOUND, _OTHER_SOUND, _OBJECTS = range(6)


@dataclasses.dataclass(frozen=True)
class EventVideoSettings:
    """What the built-in videos of events hold.

    With the defaults, every class has every length of event equally often in each split, so that to
    name each video's event everywhere is right in exactly 60 % of the segments.

    Args:
      num_classes: Classes, from num_silent + 2 to 8; the first ones of `CLASS_NAMES`.
      train_clips: Videos of the training split, >= num_classes. Classes are balanced to one video.
      validation_clips: Videos of the validation split, >= num_classes.
      test_clips: Videos of the test split, >= num_classes.
      num_segments: Segments of a video, >= 2.
      segment_s: Length of a segment in seconds, from 0.1 to 10; a video lasts from 0.5 to 60.
      event_segments: Shortest and longest event, in [1, num_segments]; lengths between them are
        equally frequent.
      num_silent: Silent objects of other classes, from 0 to 3; each comes and goes as the event's
        object does.
      frame_size: Height and width of a frame in pixels, a multiple of 4 from 32 to 512.
      frame_rate: Frames per second, from 1 to 60.
      sample_rate_hz: Of the sound, one of AAC's rates, >= 8,000.
      signal_to_noise_db: Power of the event's sound, its mean over the video, over that of the
        noise, in dB, finite.
      clutter: Contrast of the ground and what drifts over it as a share of an object's, from 0 to
        1.
      seed: Of all draws, >= 0.

    Raises:
      ValueError: where a value is out of its range.
    """

    num_classes: int = 6
    train_clips: int = 720
    validation_clips: int = 150
    test_clips: int = 240
    num_segments: int = 10
    segment_s: float = 0.5
    event_segments: tuple[int, int] = (4, 8)
    num_silent: int = 2
    frame_size: int = 64
    frame_rate: int = 8
    sample_rate_hz: int = 16_000
    signal_to_noise_db: float = 15.0
    clutter: float = 0.2
    seed: int = 0

    def __post_init__(self):
        self._require(0 <= self.num_silent < PLACES_A_SIDE**2, "num_silent", "from 0 to 3")
        least = self.num_silent + 2
        self._require(
            least <= self.num_classes <= len(CLASS_NAMES), "num_classes", f"from {least} to 8"
        )
        for split in SPLITS:
            rule = f">= num_classes={self.num_classes}"
            self._require(self.num_clips(split) >= self.num_classes, f"{split}_clips", rule)
        self._require(self.num_segments >= 2, "num_segments", ">= 2")
        self._require(0.1 <= self.segment_s <= 10, "segment_s", "from 0.1 to 10")
        self._require(0.5 <= self.duration_s <= 60, "duration_s", "from 0.5 to 60")
        self._require(
            len(self.event_segments) == 2
            and 1 <= self.event_segments[0] <= self.event_segments[1] <= self.num_segments,
            "event_segments",
            f"two lengths in order from 1 to num_segments={self.num_segments}",
        )
        self._require(
            32 <= self.frame_size <= 512 and self.frame_size % 4 == 0,
            "frame_size", "a multiple of 4 from 32 to 512",
        )  # fmt: skip
        self._require(1 <= self.frame_rate <= 60, "frame_rate", "from 1 to 60")
        rates = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
        self._require(self.sample_rate_hz in rates, "sample_rate_hz", f"one of {rates}")
        self._require(np.isfinite(self.signal_to_noise_db), "signal_to_noise_db", "finite")
        self._require(0 <= self.clutter <= 1, "clutter", "from 0 to 1")
        self._require(self.seed >= 0, "seed", ">= 0")

    def _require(self, holds: bool, name: str, rule: str) -> None:
        if not holds:
            raise ValueError(f"`{name}` must be {rule}. Received: {name}={getattr(self, name)!r}.")

    @property
    def duration_s(self) -> float:
        """Length of a video in seconds."""
        return self.num_segments * self.segment_s

    def num_clips(self, split: str) -> int:
        """Returns the videos of one split."""
        return getattr(self, f"{split}_clips")


class EventVideo(NamedTuple):
    """One video.

    Args:
      frames: uint8 `[N, H, W, 3]`.
      waveform: float32 `[S]` in [-1, 1].
      label: Class of the event.
      event_s: When the event begins and ends, seconds.
    """

    frames: np.ndarray
    waveform: np.ndarray
    label: str
    event_s: tuple[float, float]


class Course(NamedTuple):
    """When an object is heard, seen, and both: first segment, and the one after the last."""

    event: tuple[int, int]
    heard: tuple[int, int]
    seen: tuple[int, int]


class Plan(NamedTuple):
    """What happens in one video; segments are given by the first and the one after the last.

    Args:
      label: Class of the event.
      event: Segments of the event.
      seen: By class, the segments in which an object is seen.
      heard: By class, the segments in which an object is heard, one stretch or more.
    """

    label: str
    event: tuple[int, int]
    seen: dict[str, tuple[int, int]]
    heard: dict[str, list[tuple[int, int]]]


def draw_course(rng: np.random.Generator, num_segments: int, length: int) -> Course:
    """Draws when one object is heard and seen.

    On each side of the event one of the two, either equally likely, goes on for at least a segment,
    if there is one, and at most to the end.

    Args:
      rng: Source of all draws.
      num_segments: Of the video.
      length: Of the event in segments.
    """
    start = int(rng.integers(num_segments - length + 1))
    event = (start, start + length)
    heard, seen = list(event), list(event)
    for side, room in enumerate((start, num_segments - event[1])):
        longer = (heard, seen)[rng.integers(2)]
        more = int(rng.integers(min(1, room), room + 1))
        longer[side] += more if side else -more
    return Course(event, tuple(heard), tuple(seen))


def draw_plan(settings: EventVideoSettings, split: str, index: int) -> Plan:
    """Draws what happens in one video.

    Args:
      settings: What the dataset holds.
      split: "train", "validation" or "test".
      index: Of the video in its split, from 0.

    Raises:
      ValueError: where the split is unknown or the index outside of it.
    """
    if split not in SPLITS:
        raise ValueError(f"`split` must be one of {', '.join(SPLITS)}. Received: split={split!r}.")
    if not 0 <= index < settings.num_clips(split):
        raise ValueError(
            f"`index` must be from 0 to {settings.num_clips(split) - 1}. Received: index={index!r}."
        )
    rng = np.random.default_rng([*_key(settings, split, index), _COURSE])
    turn, number = divmod(index, settings.num_classes)
    shortest, longest = settings.event_segments
    label, length = CLASS_NAMES[number], shortest + turn % (longest - shortest + 1)
    course = draw_course(rng, settings.num_segments, length)
    others = [name for name in CLASS_NAMES[: settings.num_classes] if name != label]
    unseen, *silent = rng.permutation(others)[: settings.num_silent + 1].tolist()
    seen = {label: course.seen}
    for name in silent:
        length = int(rng.integers(shortest, longest + 1))
        seen[name] = draw_course(rng, settings.num_segments, length).seen
    around = (0, course.heard[0]), (course.heard[1], settings.num_segments)
    is_filled = rng.uniform(size=2) < _OTHER_SOUND_SHARE
    filled = [own for own, wanted in zip(around, is_filled, strict=True) if wanted]
    heard = {label: [course.heard], unseen: [own for own in filled if own[0] < own[1]]}
    return Plan(label, course.event, seen, heard)


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
    key = _key(settings, split, index)
    return EventVideo(
        _draw_frames(settings, key, plan.seen),
        _draw_waveform(settings, key, plan.heard),
        plan.label,
        (plan.event[0] * settings.segment_s, plan.event[1] * settings.segment_s),
    )


def _key(settings: EventVideoSettings, split: str, index: int) -> tuple[int, ...]:
    return settings.seed, SPLITS.index(split), index


def _moments(settings: EventVideoSettings, intervals: list[tuple[int, int]]) -> Shared:
    return Shared(events_s=np.reshape(intervals, [-1, 2]) * settings.segment_s)


def _draw_frames(
    settings: EventVideoSettings, key: tuple[int, ...], seen: dict[str, tuple[int, int]]
) -> np.ndarray:
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
    places = np.random.default_rng([*key, _PLACES]).permutation(PLACES_A_SIDE**2)
    for number, (label, interval) in enumerate(seen.items()):
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
        down, right = np.multiply(divmod(int(places[number]), PLACES_A_SIDE), size)
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
