"""What happens in the built-in videos of events, and when."""

import dataclasses
from typing import NamedTuple

import numpy as np

from input_pipelines.listing import SPLITS
from input_pipelines.sounding_objects import CLASS_NAMES

# Objects have places of their own, this many across the frame and as many down.
PLACES_A_SIDE = 2
_OTHER_SOUND_SHARE = 0.5
# Of the generators of a video's course and places; `event_videos` has the others.
_COURSE, PLACES = range(2)


@dataclasses.dataclass(frozen=True)
class EventVideoSettings:
    """What the built-in videos of events hold.

    With the defaults, every class has every length of event equally often in each split, so that to
    name each video's event everywhere is right in exactly 60 % of the segments of validation and
    test.

    Args:
      num_classes: Classes, from num_silent + 2 to 8; the first ones of `CLASS_NAMES`.
      train_clips: Videos of the training split with an event, >= num_classes. Classes are balanced
        to one video.
      validation_clips: Videos of the validation split, >= num_classes.
      test_clips: Videos of the test split, >= num_classes.
      background_clips: Videos without an event, >= 0, after the others of the training split:
        without labels of segments, they are what tells what background is.
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
    train_clips: int = 2160
    validation_clips: int = 150
    test_clips: int = 240
    background_clips: int = 360
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
            name = f"{split}_clips"
            self._require(getattr(self, name) >= self.num_classes, name, rule)
        self._require(self.background_clips >= 0, "background_clips", ">= 0")
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
        """Returns the videos of one split, with those that have no event."""
        own = getattr(self, f"{split}_clips")
        return own + self.background_clips if split == "train" else own

    def key(self, split: str, index: int) -> tuple[int, ...]:
        """Returns the seed of one video's draws, to be completed by what is drawn."""
        return self.seed, SPLITS.index(split), index


class Course(NamedTuple):
    """When an object is heard, seen, and both: first segment, and the one after the last."""

    event: tuple[int, int] | None
    heard: tuple[int, int]
    seen: tuple[int, int]


class Plan(NamedTuple):
    """What happens in one video; segments are given by the first and the one after the last.

    Args:
      label: As of `EventVideo`.
      event: Segments of the event; None without one.
      seen: By class, the segments in which an object is seen.
      heard: By class, the segments in which an object is heard, one stretch or more.
      places: By class, where an object is seen: the quarter of the frame, row by row.
    """

    label: str
    event: tuple[int, int] | None
    seen: dict[str, tuple[int, int]]
    heard: dict[str, list[tuple[int, int]]]
    places: dict[str, int]


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


def draw_background_course(rng: np.random.Generator, num_segments: int) -> Course:
    """Draws when an object without an event is heard, and right before or after that seen.

    Args:
      rng: Source of all draws.
      num_segments: Of the video.
    """
    border = int(rng.integers(1, num_segments))
    before = int(rng.integers(border)), border
    after = border, int(rng.integers(border + 1, num_segments + 1))
    return Course(None, before, after) if rng.integers(2) else Course(None, after, before)


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
    rng = np.random.default_rng([*settings.key(split, index), _COURSE])
    turn, number = divmod(index, settings.num_classes)
    shortest, longest = settings.event_segments
    label = CLASS_NAMES[number]
    if split == "train" and index >= settings.train_clips:
        course = draw_background_course(rng, settings.num_segments)
    else:
        length = shortest + turn % (longest - shortest + 1)
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
    rng = np.random.default_rng([*settings.key(split, index), PLACES])
    places = rng.permutation(PLACES_A_SIDE**2)[: len(seen)].tolist()
    return Plan(label, course.event, seen, heard, dict(zip(seen, places, strict=True)))
