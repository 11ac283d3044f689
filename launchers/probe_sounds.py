"""Sounds of a dataset with folds, and windows of them: what a probe is made of."""

import contextlib
import dataclasses
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from input_pipelines import audio, datasets, files, workers
from input_pipelines.datasets import layouts
from input_pipelines.listing import Clip
from input_pipelines.progress import progress_bar
from input_pipelines.settings import AudioSettings, ClipSettings, MediaLimits

DATASETS = ("esc50",)
MEL_BINS = 64
# Of the window of the log-mel statistics, rounded to a power of two of samples.
_MEL_WINDOW_S = 0.05

Extract = Callable[[tf.Tensor], Mapping[str, tf.Tensor]]


@dataclasses.dataclass(frozen=True)
class Sounds:
    """Clips of a dataset with folds.

    Args:
      clips: Those that are there, in the order of their folds.
      folds: Of each clip, from 1.
      class_names: In the dataset's order.
      num_folds: As many as the dataset has.
      skipped: Clips that cannot be used: `clip_id`, `fold`, `reason`.
      unlisted: Names of sound files that the dataset's list does not name.
    """

    clips: tuple[Clip, ...]
    folds: tuple[int, ...]
    class_names: tuple[str, ...]
    num_folds: int
    skipped: tuple[dict[str, str | int], ...]
    unlisted: tuple[str, ...]

    @property
    def labels(self) -> np.ndarray:
        """The place of each clip's class among the names, int `[clips]`."""
        return np.array([self.class_names.index(clip.label) for clip in self.clips], int)

    @property
    def groups(self) -> list[str]:
        """The recording of each clip."""
        return [clip.group or clip.clip_id for clip in self.clips]

    def without(self, reasons: Mapping[int, str]) -> "Sounds":
        """Returns the sounds without some of the clips, by their places, and why."""
        kept = [place for place in range(len(self.clips)) if place not in reasons]
        skipped = [
            {"clip_id": self.clips[place].clip_id, "fold": self.folds[place], "reason": reason}
            for place, reason in reasons.items()
        ]
        return dataclasses.replace(
            self,
            clips=tuple(self.clips[place] for place in kept),
            folds=tuple(self.folds[place] for place in kept),
            skipped=(*self.skipped, *skipped),
        )

    def check(self, max_bad_fraction: float) -> None:
        """Checks that every fold can be predicted from the others.

        Raises:
          RuntimeError: where more than that share of the listed clips cannot be used.
          ValueError: where a fold has no clip, or a class none outside of one fold.
        """
        num_bad, num_all = len(self.skipped), len(self.skipped) + len(self.clips)
        reasons = "; ".join(f"{skip['clip_id']} ({skip['reason']})" for skip in self.skipped[:3])
        if num_bad > max_bad_fraction * num_all:
            raise RuntimeError(
                f"Too many clips cannot be used: {num_bad} of {num_all}. Received: "
                f"max_bad_fraction={max_bad_fraction}, first reasons: {reasons}."
            )
        lost = f"; {num_bad} clips cannot be used{f': {reasons}' if reasons else ''}."
        classes_of = {fold: set() for fold in range(1, self.num_folds + 1)}
        for clip, fold in zip(self.clips, self.folds, strict=True):
            classes_of[fold].add(clip.label)
        for fold, own in classes_of.items():
            if not own:
                raise ValueError(f"Every fold must have clips. Received: none of fold {fold}{lost}")
            others = set().union(*(found for other, found in classes_of.items() if other != fold))
            if lacking := [name for name in self.class_names if name not in others]:
                raise ValueError(
                    "Every class must have clips outside of each fold. Received: none of "
                    f"{', '.join(lacking)} outside of fold {fold}{lost}"
                )


class Features(NamedTuple):
    """What was found of sounds.

    Args:
      sounds: Those that could be decoded.
      features: By name, float32 `[clips, num_windows, D]`.
      num_short: Clips that are shorter than a window.
    """

    sounds: Sounds
    features: dict[str, np.ndarray]
    num_short: int


def list_sounds(dataset: str, data_dir: files.Path) -> Sounds:
    """Lists the clips of a dataset with the folds that its own list gives them.

    Args:
      dataset: One of `DATASETS`.
      data_dir: Its folder.

    Raises:
      FileNotFoundError: where the folder, the list or all media are missing.
      ValueError: where the list has a wrong line or a clip twice.
    """
    module = datasets.get(dataset)
    numbers = range(1, module.NUM_FOLDS + 1)
    listings = {fold: module.list_clips(data_dir, fold) for fold in numbers}
    tested = [
        (clip, fold)
        for fold, listing in listings.items()
        for clip in listing.clips
        if clip.split == "test"
    ]
    skipped = tuple(
        {"clip_id": clip["clip_id"], "fold": fold, "reason": clip["reason"]}
        for fold, listing in listings.items()
        for clip in listing.missing
        if clip["split"] == "test"
    )
    listed = {clip.clip_id for clip in listings[1].clips}
    present = layouts.find_media(files.join(listings[1].root, "audio"), module.SUFFIXES)
    return Sounds(
        clips=tuple(clip for clip, _ in tested),
        folds=tuple(fold for _, fold in tested),
        class_names=listings[1].class_names,
        num_folds=module.NUM_FOLDS,
        skipped=skipped,
        unlisted=tuple(sorted(files.name(present[name]) for name in present.keys() - listed)),
    )


def window_starts(num_samples: int, window_samples: int, num_windows: int) -> np.ndarray:
    """Returns where equally spaced windows start, the first at 0 and the last at the end.

    Args:
      num_samples: Of the sound, >= `window_samples`.
      window_samples: Of each window.
      num_windows: >= 1; a single one lies in the middle.

    Returns:
      int `[num_windows]`, rounded to whole samples.
    """
    free = num_samples - window_samples
    if num_windows == 1:
        return np.array([free // 2])
    return (2 * free * np.arange(num_windows) + num_windows - 1) // (2 * (num_windows - 1))


def cut_windows(waveform: np.ndarray, window_samples: int, num_windows: int) -> np.ndarray:
    """Returns `[num_windows, window_samples]` of a sound `[samples]`, repeated where short."""
    if len(waveform) < window_samples:
        waveform = np.resize(waveform, window_samples)
    starts = window_starts(len(waveform), window_samples, num_windows)
    return waveform[starts[:, np.newaxis] + np.arange(window_samples)]


def read_features(
    sounds: Sounds, settings: ClipSettings, num_windows: int, extract: Extract, num_workers: int
) -> Features:
    """Decodes the sounds and describes their windows.

    Args:
      sounds: What to decode.
      settings: The rate of the sound and the length of the window.
      num_windows: Of each clip, >= 1.
      extract: Takes float32 windows `[num_windows, samples]` and returns `[num_windows, D]` each.
      num_workers: Processes that decode; 0: none but this one.
    """
    settings = dataclasses.replace(settings, modalities=("audio",))
    rows: dict[str, list[np.ndarray]] = {}
    reasons, num_short = {}, 0
    outcomes = workers.decode_in_order(sounds.clips, settings, MediaLimits(), num_workers)
    with (
        contextlib.closing(outcomes),
        progress_bar("Listening", len(sounds.clips)) as bar,
    ):
        for place, outcome in enumerate(outcomes):
            bar.update()
            if outcome.decoded is None:
                reasons[place] = outcome.reason
                continue
            waveform = outcome.decoded.waveform.astype(np.float32) / 32768.0
            num_short += len(waveform) < settings.window_samples
            windows = cut_windows(waveform, settings.window_samples, num_windows)
            for name, values in extract(tf.constant(windows)).items():
                rows.setdefault(name, []).append(values.numpy())
    features = {name: np.stack(own) for name, own in rows.items()}
    return Features(sounds.without(reasons), features, num_short)


def log_mel_statistics(windows: tf.Tensor, sample_rate_hz: int) -> tf.Tensor:
    """Returns what a probe needs to beat: how loud each mel band is on average, and how varied.

    Args:
      windows: float32 `[B, samples]`.
      sample_rate_hz: Of the sound.

    Returns:
      float32 `[B, 2 * MEL_BINS]`: means over time of the bands' decibels, and their deviations.
    """
    fft_length = 2 ** round(np.log2(_MEL_WINDOW_S * sample_rate_hz))
    settings = AudioSettings(
        sample_rate_hz=sample_rate_hz,
        features="log_mel",
        fft_length=fft_length,
        hop_length=fft_length // 2,
        padding="constant",
        mel_bins=MEL_BINS,
    )
    decibels = audio.features(windows, settings)[..., 0]
    return tf.concat(
        [tf.reduce_mean(decibels, axis=-1), tf.math.reduce_std(decibels, axis=-1)], axis=-1
    )
