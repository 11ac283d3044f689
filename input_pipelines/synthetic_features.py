"""The built-in feature sequences: videos of segments, as features, with an event in a part of them.

Every video has one event, of one class, in some of its segments one after the other: there it is
heard and seen. Sound is a vector a segment, the class's own in noise. The picture is a map: at one
place of it is the class's vector, at others those of silent objects of other classes, which come
and go as the event's object does. In most of the background the event is heard without being seen,
or seen without being heard, so neither the sound nor the picture alone says when the event is.

Who looks everywhere alike does not find out either: the vector of an object that is not seen is
spread over all places, as if it were out of focus, and the mean of the map is the same as when the
object is there. The places have to be told apart, and the sound tells which of the objects matters.
"""

import dataclasses
import functools
from typing import NamedTuple

import numpy as np

from input_pipelines.feature_sequences import FeatureSequences
from input_pipelines.listing import SPLITS

_NUM_GROUNDS = 8
# Of an event's strength, from video to video.
_GAINS = (0.8, 1.25)
# Of the generators; a video has one for its course and one for each modality.
_VECTORS, _ORDER, _COURSE, _AUDIO, _VISUAL = range(5)


@dataclasses.dataclass(frozen=True)
class SequenceSettings:
    """What the built-in feature sequences hold.

    With the defaults, every class has every length of event equally often in each split, so that to
    name each video's event everywhere is right in exactly 60 % of the segments of validation and
    test.

    Args:
      num_classes: Classes of events, >= 2; background comes after them.
      train_videos: Videos of the training split with an event, >= num_classes. Classes are balanced
        to one video.
      validation_videos: Videos of the validation split, >= num_classes.
      test_videos: Videos of the test split, >= num_classes.
      background_videos: Videos without an event, >= 0, beside the others of the training split:
        without labels of segments, they are what tells what background is.
      num_segments: Segments of a video, >= 2.
      event_segments: Shortest and longest event, in [1, num_segments]; lengths between them are
        equally frequent.
      lone_share: Share of the background's segments in which the event is heard and not seen, or
        seen and not heard, alike often; in [0, 1]. Who names the event wherever it is heard is
        wrong in the first half of them.
      audio_size: Numbers of a segment's sound, >= 2.
      visual_shape: Height, width and channels of a segment's map; it has more places than there
        are distractors.
      num_distractors: Silent objects of other classes in every video, in [0, num_classes); each is
        seen for a stretch as long as an event may be, and beside it as often as the event's is.
      audio_strength: Length of a class's vector in the sound, whose noise has deviation 1, >= 0.
      visual_strength: The same at one place of the map, for every object.
      ground_strength: The same of each video's own background, in the sound and at every place.
      seed: Of all draws, >= 0.

    Raises:
      ValueError: where a value is out of its range.
    """

    num_classes: int = 10
    train_videos: int = 3960
    validation_videos: int = 270
    test_videos: int = 540
    background_videos: int = 440
    num_segments: int = 10
    event_segments: tuple[int, int] = (2, 10)
    lone_share: float = 0.9
    audio_size: int = 32
    visual_shape: tuple[int, int, int] = (4, 4, 64)
    num_distractors: int = 2
    audio_strength: float = 8.0
    visual_strength: float = 16.0
    ground_strength: float = 2.0
    seed: int = 0

    def __post_init__(self):
        self._require(self.num_classes >= 2, "num_classes", ">= 2")
        for split in SPLITS:
            name = f"{split}_videos"
            rule = f">= num_classes={self.num_classes}"
            self._require(getattr(self, name) >= self.num_classes, name, rule)
        self._require(self.background_videos >= 0, "background_videos", ">= 0")
        self._require(self.num_segments >= 2, "num_segments", ">= 2")
        self._require(
            len(self.event_segments) == 2
            and 1 <= self.event_segments[0] <= self.event_segments[1] <= self.num_segments,
            "event_segments",
            f"two lengths in order from 1 to num_segments={self.num_segments}",
        )
        self._require(0 <= self.lone_share <= 1, "lone_share", "in [0, 1]")
        self._require(self.audio_size >= 2, "audio_size", ">= 2")
        self._require(
            len(self.visual_shape) == 3 and min(self.visual_shape) >= 1,
            "visual_shape",
            "height, width and channels, each >= 1",
        )
        num_places = self.visual_shape[0] * self.visual_shape[1]
        self._require(
            0 <= self.num_distractors < min(self.num_classes, num_places),
            "num_distractors",
            f"in [0, {min(self.num_classes, num_places)})",
        )
        for name in ("audio_strength", "visual_strength", "ground_strength"):
            self._require(0 <= getattr(self, name) < np.inf, name, "finite and >= 0")
        self._require(self.seed >= 0, "seed", ">= 0")

    def _require(self, holds: bool, name: str, rule: str) -> None:
        if not holds:
            raise ValueError(f"`{name}` must be {rule}. Received: {name}={getattr(self, name)!r}.")


def make(settings: SequenceSettings) -> FeatureSequences:
    """Returns the videos; the same settings give the same ones, to the bit.

    Features are drawn anew whenever a row is read, and take no memory.

    Args:
      settings: What the videos hold.
    """
    videos, splits, ids = [], {}, []
    for number, split in enumerate(SPLITS):
        count = getattr(settings, f"{split}_videos")
        order = np.random.default_rng([settings.seed, _ORDER, number]).permutation(count)
        numbers = [*order, *([-1] * (settings.background_videos if split == "train" else 0))]
        splits[split] = np.arange(len(videos), len(videos) + len(numbers))
        videos += [_draw_course(settings, (number, row), n) for row, n in enumerate(numbers)]
        ids += [f"{split}-{row:05d}" for row in range(len(numbers))]
    return FeatureSequences(
        arrays={
            "audio": _Sounds(settings, videos),
            "visual": _Pictures(settings, videos),
        },
        labels=np.stack([video.labels(settings.num_classes) for video in videos]),
        splits=splits,
        class_names=tuple(f"event {number}" for number in range(1, settings.num_classes + 1)),
        video_ids=tuple(ids),
    )


class _Video(NamedTuple):
    """What happens in one video.

    Args:
      key: Split and row in it, of which its draws are made.
      event: Class of what is heard and seen.
      heard: In which segments, bool `[T]`.
      seen: By class, the event's first, in which segments an object is seen, bool `[T]`.
    """

    key: tuple[int, int]
    event: int
    heard: np.ndarray
    seen: dict[int, np.ndarray]

    def labels(self, background: int) -> np.ndarray:
        is_event = self.heard & self.seen[self.event]
        return np.where(is_event, self.event, background).astype(np.int32)


def _draw_course(settings: SequenceSettings, key: tuple[int, int], number: int) -> _Video:
    """Draws one video's course.

    Args:
      settings: What the videos hold.
      key: Split and row in it.
      number: Of class and length of the event among all, or -1 for none.
    """
    rng = np.random.default_rng([settings.seed, _COURSE, *key])
    shortest, longest = settings.event_segments
    if number < 0:
        event, length = int(rng.integers(settings.num_classes)), 0
    else:
        turn, event = divmod(int(number), settings.num_classes)
        length = shortest + turn % (longest - shortest + 1)
    heard, event_seen = _draw_presence(settings, rng, length)
    seen = {event: event_seen}
    others = np.delete(np.arange(settings.num_classes), event)
    for other in rng.permutation(others)[: settings.num_distractors].tolist():
        length = int(rng.integers(shortest, longest + 1))
        _, seen[other] = _draw_presence(settings, rng, length)
    return _Video(key, event, heard, seen)


def _draw_presence(
    settings: SequenceSettings, rng: np.random.Generator, length: int
) -> tuple[np.ndarray, np.ndarray]:
    """Draws where an object is heard, and where seen: both for a stretch, beside it one at most."""
    segments = np.arange(settings.num_segments)
    start = rng.integers(settings.num_segments - length + 1)
    is_both = (start <= segments) & (segments < start + length)
    alone = rng.uniform(size=len(segments))
    heard = is_both | (alone < settings.lone_share / 2)
    seen = is_both | ((settings.lone_share / 2 <= alone) & (alone < settings.lone_share))
    return heard, seen


class _Sounds:
    """The sounds `[N, T, D]`, each drawn when it is read."""

    def __init__(self, settings: SequenceSettings, videos: list[_Video]):
        self._settings, self._videos = settings, videos
        self.shape = (len(videos), settings.num_segments, settings.audio_size)

    def __getitem__(self, row: int) -> np.ndarray:
        settings, video = self._settings, self._videos[row]
        classes, grounds = _vectors(settings.seed, _AUDIO, settings.num_classes, self.shape[-1])
        rng = np.random.default_rng([settings.seed, _AUDIO, *video.key])
        sound = rng.standard_normal(self.shape[1:], np.float32)
        sound += settings.ground_strength * grounds[rng.integers(_NUM_GROUNDS)]
        strength = settings.audio_strength * rng.uniform(*_GAINS)
        sound[video.heard] += np.float32(strength) * classes[video.event]
        return sound


class _Pictures:
    """The maps `[N, T, h, w, C]`, each drawn when it is read."""

    def __init__(self, settings: SequenceSettings, videos: list[_Video]):
        self._settings, self._videos = settings, videos
        self.shape = (len(videos), settings.num_segments, *settings.visual_shape)

    def __getitem__(self, row: int) -> np.ndarray:
        settings, video = self._settings, self._videos[row]
        _, num_segments, height, width, channels = self.shape
        classes, grounds = _vectors(settings.seed, _VISUAL, settings.num_classes, channels)
        rng = np.random.default_rng([settings.seed, _VISUAL, *video.key])
        maps = rng.standard_normal(self.shape[1:], np.float32)
        maps += settings.ground_strength * grounds[rng.integers(_NUM_GROUNDS)]
        strengths = settings.visual_strength * rng.uniform(*_GAINS, len(video.seen))
        # All move alike, as if the camera turned, and what leaves at one edge comes in at another:
        # so no two ever meet.
        places = rng.permutation(height * width)[: len(video.seen)]
        moves = np.cumsum(rng.integers(-1, 2, (num_segments, 2)), axis=0)
        for (kind, shown), place, strength in zip(
            video.seen.items(), places, strengths, strict=True
        ):
            vector = np.float32(strength) * classes[kind]
            down, right = (np.array(divmod(int(place), width)) + moves[shown]).T
            maps[np.flatnonzero(shown), down % height, right % width] += vector
            maps[~shown] += vector / np.float32(height * width)
        return maps


@functools.lru_cache(maxsize=8)
def _vectors(seed: int, modality: int, num_classes: int, size: int) -> tuple[np.ndarray, ...]:
    """Returns the vectors of the classes and of the grounds, float32, each of length 1."""
    rng = np.random.default_rng([seed, _VECTORS, modality])
    drawn = rng.standard_normal((num_classes + _NUM_GROUNDS, size))
    if len(drawn) <= size:
        # At right angles: no seed has classes that are more alike than another's.
        drawn = np.linalg.qr(drawn.T)[0].T
    drawn /= np.linalg.norm(drawn, axis=-1, keepdims=True)
    drawn = drawn.astype(np.float32)
    drawn.setflags(write=False)
    return drawn[:num_classes], drawn[num_classes:]
