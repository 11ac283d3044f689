"""Groups of pairs that share a clip: how many, of which windows, and what the model gets of them.

A pair is sound and frames. In a match both are of one window of one clip.
"""

import dataclasses
import math

import tensorflow as tf

from input_pipelines import clips
from input_pipelines.clips import Frames, Loader, Purpose, StoredClip, Window
from input_pipelines.order import Rows
from input_pipelines.settings import ClipSettings

KINDS = ("correspondence", "synchronization")
SAMPLINGS = ("balanced", "coin")
MODALITIES = ("audio", "visual")


@dataclasses.dataclass(frozen=True)
class Task:
    """Which pairs are made.

    Args:
      kind: One of `KINDS`.
      sampling: One of `SAMPLINGS`.
      shift_s: Least and largest shift of "synchronization", seconds.
      training: False: every clip once in a match and once in a mismatch.

    Raises:
      ValueError: where a value is out of range.
    """

    kind: str
    sampling: str
    shift_s: tuple[float, float]
    training: bool

    def __post_init__(self):
        for name, known in (("kind", KINDS), ("sampling", SAMPLINGS)):
            if (value := getattr(self, name)) not in known:
                raise ValueError(
                    f"`{name}` must be one of {', '.join(known)}. Received: {name}={value!r}."
                )
        low, high = self.shift_s
        if not 0 < low <= high < math.inf:
            raise ValueError(
                "`shift_s` must be finite with 0 < low <= high. Received: shift_s="
                f"{self.shift_s!r}."
            )

    @property
    def is_coin(self) -> bool:
        """Whether a coin decides on every pair; an evaluation is always balanced."""
        return self.training and self.sampling == "coin"

    @property
    def group_size(self) -> int:
        """Pairs that stay together."""
        return 1 if self.is_coin else 2

    @property
    def clips_per_group(self) -> int:
        """Clips whose frames a group has."""
        is_two_clips = self.training and self.kind == "correspondence" and not self.is_coin
        return 2 if is_two_clips else 1

    @property
    def num_records(self) -> int:
        """Records that a group is made of."""
        return self.clips_per_group + (self.kind == "correspondence")

    def check_batches(self, batch_size: int, start_step: int, rows: Rows | None) -> None:
        """Refuses batches that groups do not fill, and a late start of an evaluation."""
        size = self.group_size
        if batch_size < 1 or batch_size % size:
            rule = "even and >= 2" if size == 2 else ">= 1"
            raise ValueError(f"`batch_size` must be {rule}. Received: batch_size={batch_size}.")
        if rows is not None and rows.batch_size % size:
            raise ValueError(
                f"`rows.batch_size` must be even, for half of it matches. Received: {rows}."
            )
        if start_step < 0 or (start_step and not self.training):
            raise ValueError(
                "`start_step` must be >= 0, and 0 in evaluation. Received: "
                f"start_step={start_step}, training={self.training}."
            )

    def shift_samples(self, sample_rate_hz: int) -> tuple[int, int]:
        """Returns least and largest shift in samples, both within `shift_s`."""
        low = _samples(self.shift_s[0], sample_rate_hz, up=True)
        high = _samples(self.shift_s[1], sample_rate_hz, up=False)
        if low > high:
            raise ValueError(
                "A whole number of samples must lie in `shift_s`. Received: shift_s="
                f"{self.shift_s!r} at sample_rate_hz={sample_rate_hz}."
            )
        return low, high

    def least_samples(self, settings: ClipSettings) -> int:
        """Returns the samples that a clip needs to be in a pair."""
        if self.kind == "correspondence":
            return settings.window_samples
        return settings.window_samples + self.shift_samples(settings.audio.sample_rate_hz)[0]


@dataclasses.dataclass(frozen=True)
class GroupLoader:
    """Turns the records of a group into its pairs.

    Args:
      task: Which pairs.
      load: Of one clip; its seed and its training are those of the pairs.
    """

    task: Task
    load: Loader

    # There is nothing to convert, and AutoGraph takes seconds to find that out.
    @tf.autograph.experimental.do_not_convert
    def __call__(
        self, sample: tf.Tensor, is_match: tf.Tensor, records: list[tf.Tensor]
    ) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        """Loads one group.

        Args:
          sample: int64 scalar that tells the draws of two groups apart.
          is_match: Whether the first pair matches, bool scalar; a second is the contrary.
          records: `task.num_records` string scalars: of the frames, where there are two first of
            the match, then of the mismatch; in correspondence, of the mismatch's sound.

        Returns:
          float32 inputs `[group_size, ...]`, and int32 labels `[group_size]`, 1 for a match.
        """
        matches = [is_match, ~is_match][: self.task.group_size]
        if self.task.kind == "synchronization":
            pairs = self._shifted(sample, matches, records[0])
        else:
            pairs = self._of_two_clips(sample, matches, tf.stack(records))
        inputs = {name: tf.stack([pair[name] for pair in pairs]) for name in MODALITIES}
        return inputs, tf.cast(tf.stack(matches), tf.int32)

    def _shifted(
        self, sample: tf.Tensor, matches: list[tf.Tensor], record: tf.Tensor
    ) -> list[dict[str, tf.Tensor]]:
        settings = self.load.settings
        clip = clips.parse(record, settings)
        own, other = draw_starts(
            clips.clip_samples(clip, settings) - settings.window_samples,
            *self.task.shift_samples(settings.audio.sample_rate_hz),
            clips.draw_seed(self.load.seed, Purpose.SHIFT, sample),
        )
        # Decoded once: frames are most of what a pair costs.
        visual = self._frames(clip, own, sample)
        return [
            {"audio": self._sound(clip, tf.where(match, own, other), sample), "visual": visual}
            for match in matches
        ]

    def _of_two_clips(
        self, sample: tf.Tensor, matches: list[tf.Tensor], records: tf.Tensor
    ) -> list[dict[str, tf.Tensor]]:
        are_frames_shared = self.task.clips_per_group == 1
        settings = self.load.settings
        pairs = []
        for row, match in enumerate(matches):
            number = sample if are_frames_shared else 2 * sample + row
            own = clips.parse(records[tf.where(match, 0, self.task.clips_per_group - 1)], settings)
            other = clips.parse(records[tf.where(match, 0, self.task.num_records - 1)], settings)
            start = self.load.window(own, number).start
            other_start = self.load.window(other, number, Purpose.OTHER_WINDOW).start
            sound = self._sound(other, tf.where(match, start, other_start), number)
            if row and are_frames_shared:
                visual = pairs[0]["visual"]
            else:
                visual = self._frames(own, start, number)
            pairs.append({"audio": sound, "visual": visual})
        return pairs

    def _sound(self, clip: StoredClip, start: tf.Tensor, number: tf.Tensor) -> tf.Tensor:
        return self.load.input("audio", clip, self._window(start), number)

    def _frames(self, clip: StoredClip, start: tf.Tensor, number: tf.Tensor) -> tf.Tensor:
        """Returns the frames of a window; in a gap of the picture, the nearest to its middle."""
        window = self._window(start)
        microseconds = 1_000_000
        times = clip.visual.timestamps_us * self.load.settings.audio.sample_rate_hz
        first = tf.cast(window.start, tf.int64) * microseconds
        length = window.length * microseconds
        inside = (times >= first) & (times < first + length)
        nearest = tf.argmin(tf.abs(times - (first + length // 2)))[tf.newaxis]
        kept = tf.cond(tf.reduce_any(inside), lambda: tf.where(inside)[:, 0], lambda: nearest)
        frames = Frames(*(tf.gather(part, kept) for part in clip.visual))
        return self.load.input("visual", clip._replace(visual=frames), window, number)

    def _window(self, start: tf.Tensor) -> Window:
        return Window(tf.cast(start, tf.int32), self.load.settings.window_samples)


def draw_starts(
    num_free: tf.Tensor, low: int, high: int, seed: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Draws the starts of two windows of one clip, all pairs `starts` tells of equally likely.

    Args:
      num_free: Last place where a window may start, integer scalar >= `low`.
      low: Least distance of the two starts, >= 1.
      high: Largest distance, >= `low`.
      seed: int `[2]`; the same seed gives the same pair.

    Returns:
      Two int64 scalars.
    """
    rank = tf.random.stateless_uniform(
        [],
        seed,
        minval=0,
        maxval=num_starts(num_free, low, high),
        dtype=tf.int64,
        alg="philox",
    )
    return starts(rank, num_free, low, high)


def num_starts(num_free: tf.Tensor | int, low: int, high: int) -> tf.Tensor:
    """Returns how many ordered pairs of starts there are: see `starts`; int64 scalar."""
    fewest, most = _places(num_free, low, high)
    return 2 * (_triangle(most) - _triangle(fewest - 1))


def starts(
    rank: tf.Tensor, num_free: tf.Tensor | int, low: int, high: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Enumerates the ordered pairs of starts in [0, num_free] whose distance is in [low, high].

    Two windows at a distance d have num_free + 1 - d places, so the pairs in order of distance are
    rows of a triangle, and the row of the k-th follows from a square root.

    Args:
      rank: int64 of any shape, in [0, num_starts).
      num_free: Last place where a window may start, >= `low`.
      low: Least distance, >= 1.
      high: Largest distance, >= `low`.

    Returns:
      First and second start, int64, of the shape of `rank`.
    """
    fewest, _ = _places(num_free, low, high)
    rank = tf.convert_to_tensor(rank, tf.int64)
    cell = _triangle(fewest - 1) + rank // 2
    # Rounding may put a cell at the end of a row into a neighbouring one.
    row = tf.cast((tf.sqrt(8.0 * tf.cast(cell, tf.float64) + 1.0) - 1.0) / 2.0, tf.int64)
    row -= tf.cast(_triangle(row) > cell, tf.int64)
    row += tf.cast(_triangle(row + 1) <= cell, tf.int64)
    early = cell - _triangle(row)
    late = early + tf.cast(num_free, tf.int64) - row
    is_forward = rank % 2 == 0
    return tf.where(is_forward, early, late), tf.where(is_forward, late, early)


def _samples(seconds: float, sample_rate_hz: int, *, up: bool) -> int:
    """Returns seconds in whole samples: not below them, or not above."""
    # What decimals lose as binary fractions is no sample.
    exact = round(seconds * sample_rate_hz, 6)
    return math.ceil(exact) if up else math.floor(exact)


def _places(num_free: tf.Tensor | int, low: int, high: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns how often the largest distance that fits can be placed, and the least; int64."""
    num_free = tf.cast(num_free, tf.int64)
    return num_free + 1 - tf.minimum(tf.cast(high, tf.int64), num_free), num_free + 1 - low


def _triangle(rows: tf.Tensor) -> tf.Tensor:
    return rows * (rows + 1) // 2
