"""What there is in records, and what the model gets of it: numbers and clips for people to see."""

import collections
import dataclasses
import re
from collections.abc import Iterable, Mapping

import numpy as np

from input_pipelines import audio, dataset, files
from input_pipelines.clips import Example
from input_pipelines.index import Index, SplitIndex, read_index
from input_pipelines.settings import ClipSettings

# Where normalised inputs lie; outside, a first layer starts badly.
_MAX_MEAN, _DEVIATIONS = 1.5, (0.3, 3.0)
_NAME = re.compile(r"^[^:/]{1,255}: ")
_FILE = re.compile(r"\S+\.[A-Za-z]\w{1,4}\b")
_NUMBER = re.compile(r"\d+(\.\d+)?")


@dataclasses.dataclass(frozen=True)
class ValueRange:
    """The numbers of one input, over all clips looked at; NaN and infinity are counted apart.

    Args:
      minimum: Least.
      mean: Of all.
      deviation: Standard deviation.
      maximum: Greatest.
      num_nan: Numbers that are NaN.
      num_infinite: Numbers that are infinite.
    """

    minimum: float
    mean: float
    deviation: float
    maximum: float
    num_nan: int = 0
    num_infinite: int = 0

    def warning(self, is_normalised: bool = True) -> str:
        """Returns what is wrong with them, in words; empty where nothing is.

        Args:
          is_normalised: Whether they should lie around 0, some 1 apart.
        """
        if self.num_nan or self.num_infinite:
            return "not finite: training on it gives NaN"
        if self.deviation == 0:
            return "constant: there is nothing to learn from"
        if not is_normalised:
            return ""
        if abs(self.mean) > _MAX_MEAN:
            return "not normalised: its mean is far from 0"
        if not _DEVIATIONS[0] <= self.deviation <= _DEVIATIONS[1]:
            return "not normalised: its deviation is far from 1"
        return ""


@dataclasses.dataclass(frozen=True)
class Reason:
    """Clips with the same thing wrong: its text without names and numbers, and the first clips."""

    text: str
    num_clips: int
    first: tuple[Mapping[str, str], ...]


@dataclasses.dataclass(frozen=True)
class Inspection:
    """Records and some of their clips.

    Args:
      index: Of the records.
      split: The clips are of.
      training: Whether they are augmented as in training.
      examples: The clips, evenly spread over the split.
      durations_s: Length of every clip of each split, seconds to two decimals.
      ranges: Of each input, over the examples.
      skipped: What is wrong with clips that were left out, the most frequent first.
      problems: What is wrong with clips that were kept.
    """

    index: Index
    split: str
    training: bool
    examples: list[Example]
    durations_s: dict[str, np.ndarray]
    ranges: dict[str, ValueRange]
    skipped: list[Reason]
    problems: list[Reason]


def inspect(
    records_dir: files.Path,
    split: str = "train",
    num_clips: int = 24,
    *,
    training: bool = True,
    seed: int = 0,
) -> Inspection:
    """Looks into records.

    Args:
      records_dir: Folder that `preparation.prepare` wrote.
      split: Of the clips that are loaded.
      num_clips: Clips to load as the model gets them, >= 1; a smaller split gives all it has.
      training: Whether they are augmented as in training.
      seed: Of the augmentation.

    Raises:
      FileNotFoundError: where the index or a shard is missing.
      ValueError: where an argument is out of its range, the split is unknown or empty, the inputs'
        statistics are not measured, or a shard is damaged.
    """
    index = read_index(records_dir)
    examples = dataset.read_clips(records_dir, split, num_clips, training=training, seed=seed)
    return Inspection(
        index=index,
        split=split,
        training=training,
        examples=examples,
        durations_s={name: _durations_s(found) for name, found in index.splits.items()},
        ranges={
            name: value_range([example.inputs[name] for example in examples])
            for name in index.settings.modalities
        },
        skipped=reasons(index.skipped),
        problems=reasons(index.problems),
    )


def value_range(arrays: Iterable[np.ndarray]) -> ValueRange:
    """Returns the range of the numbers of some arrays; all NaN where none of them is finite."""
    values = np.concatenate([np.ravel(array).astype(np.float64) for array in arrays])
    num_nan, num_infinite = int(np.isnan(values).sum()), int(np.isinf(values).sum())
    values = values[np.isfinite(values)]
    if not values.size:
        return ValueRange(*[np.nan] * 4, num_nan, num_infinite)
    found = (values.min(), values.mean(), values.std(), values.max())
    return ValueRange(*map(float, found), num_nan, num_infinite)


def reasons(clips: Iterable[Mapping[str, str]], num_first: int = 3) -> list[Reason]:
    """Counts clips by what is wrong with them.

    Args:
      clips: With `clip_id` and `reason`.
      num_first: Clips to show of each.

    Returns:
      The most frequent first. Reasons that differ in names of files and in numbers are one.
    """
    groups = collections.defaultdict(list)
    for clip in clips:
        text = _FILE.sub("…", _NAME.sub("", clip["reason"]))
        groups[_NUMBER.sub("…", text)].append(clip)
    found = [Reason(text, len(own), tuple(own[:num_first])) for text, own in groups.items()]
    return sorted(found, key=lambda reason: (-reason.num_clips, reason.text))


def spectrogram(example: Example, settings: ClipSettings) -> np.ndarray | None:
    """Returns a clip's sound as the model gets it, frequencies first; None without sound.

    Of a waveform, the spectrogram.

    Args:
      example: The clip.
      settings: Of its records.

    Returns:
      float32 `[F, T]`.
    """
    if "audio" not in example.inputs:
        return None
    features = np.asarray(example.inputs["audio"])[..., 0]
    if settings.audio.features == "waveform":
        shown = dataclasses.replace(settings.audio, features="spectrogram")
        return audio.features(features, shown).numpy()[..., 0]
    return features.T if settings.audio.features == "kaldi_fbank" else features


def is_mel(settings: ClipSettings) -> bool:
    """Returns whether the frequencies of the sound's features are mel filters."""
    return settings.audio.features in ("kaldi_fbank", "log_mel")


def _durations_s(split: SplitIndex) -> np.ndarray:
    counts = split.duration_counts
    return np.repeat(np.array([float(length) for length in counts]), list(counts.values()))
