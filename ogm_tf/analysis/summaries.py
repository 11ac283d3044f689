"""What a report is made of, checked."""

import dataclasses
import itertools
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

_MODULATION_TITLES = {
    "none": "no modulation", "ogm": "OGM", "ogm_ge": "OGM-GE", "unimodal": "Unimodal",
    "gblend": "G-Blend", "mmpareto": "MMPareto", "opm": "OPM", "agm": "AGM", "pmr": "PMR",
}  # fmt: skip
# The setting of a method that is chosen first, as a rule how hard it pulls; and what to call it.
_STRENGTHS = {
    "ogm": ("alpha", "alpha"), "ogm_ge": ("alpha", "alpha"), "agm": ("alpha", "alpha"),
    "unimodal": ("unimodal_weight", "weight"), "gblend": ("gblend_super_epoch", "super-epoch"),
    "mmpareto": ("pareto_gamma", "gamma"), "opm": ("opm_probability", "probability"),
    "pmr": ("pmr_strength", "strength"),
}  # fmt: skip
_NOISY_SPLIT = re.compile(r"(?P<split>.+)_snr_(?P<snr>inf|-?\d+(\.\d+)?)db")
_WINDOW_SETTINGS = ("modulation_start_epoch", "modulation_end_epoch")
_OF_AGM = ("alpha", *_WINDOW_SETTINGS)
_OF_OGM = (*_OF_AGM, "modulation_rule", "modulation_variables")
# Of each method of `launchers.train`.
SETTINGS_OF_METHODS = {
    "none": (), "ogm": _OF_OGM, "ogm_ge": _OF_OGM, "agm": _OF_AGM,
    "unimodal": ("unimodal_weight",), "mmpareto": ("pareto_gamma",),
    "gblend": ("gblend_held_out", "gblend_super_epoch", "gblend_epochs"),
    "opm": ("opm_base", "opm_strength", "opm_probability"),
    "pmr": ("pmr_strength", "pmr_entropy", "pmr_entropy_end_epoch"),
}  # fmt: skip
MODULATION_SETTINGS = tuple(
    dict.fromkeys(("modulation", *itertools.chain(*SETTINGS_OF_METHODS.values())))
)
# What changes no weight: what is written, and what is looked at on the way. Runs that differ in it
# alone are the same method. The folder of the records is none of it, for other clips may be in it.
SETTINGS_THAT_TRAIN_NOTHING = (
    "output_dir", "checkpoint_every_steps", "max_skipped_steps", "record_samples",
    "record_clip_ids", "probe_every_epochs", "probe_clips",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class RunSummary:
    """One training run.

    Args:
      name: Unique among the runs of a report.
      modulation: "none", "ogm", "ogm_ge", or another name; None is "none".
      config: Settings, plain values. How hard the method pulls, `modulation_start_epoch` and
        `modulation_end_epoch` (both included; None for the whole run) are read where they are
        present.
      history: One value an epoch for `loss`, `accuracy`, and `m_accuracy`, `m_ratio` and
        `m_coefficient` of every modality m; `val_accuracy` and `val_m_accuracy` are drawn in place
        of the training accuracies where all of them are present. Other columns are ignored.
      metrics: For each split evaluated, value by metric: `accuracy`, `m_accuracy`,
        `mean_average_precision`. A split `test_snr_5db` is `test` with noise at 5 dB in its sound.
        None and NaN are values that are not known.
      best_epoch: The epoch whose model was kept, from 0; None if not known.
    """

    name: str
    modulation: str | None
    config: Mapping[str, Any]
    history: Mapping[str, Sequence[float]]
    metrics: Mapping[str, Mapping[str, float]]
    best_epoch: int | None = None

    @property
    def is_modulated(self) -> bool:
        """Whether any method is on."""
        return self.modulation not in (None, "", "none")

    @property
    def unused_settings(self) -> set[str]:
        """Settings that count for nothing in it: those of methods other than its own."""
        names = (self.modulation or "none").split("+")
        if not set(names) <= SETTINGS_OF_METHODS.keys():
            return set()
        used = {setting for name in names for setting in SETTINGS_OF_METHODS[name]}
        if self.is_modulated:
            used.add("modulation")
        return set(MODULATION_SETTINGS) - used

    @property
    def modulation_title(self) -> str:
        """The method's name as people write it."""
        names = (self.modulation or "none").split("+")
        return " + ".join(_MODULATION_TITLES.get(name, name) for name in names)

    @property
    def strength(self) -> str:
        """How hard its methods pull, such as "alpha 0.8, weight 1.0"; "" where nobody knows."""
        return ", ".join(f"{word} {value}" for word, value in self._strengths.items())

    @property
    def alpha(self) -> float | None:
        """The alpha that its methods have; None where they have none, or it is not known."""
        return self._strengths.get("alpha")

    @property
    def _strengths(self) -> dict[str, Any]:
        names = (self.modulation or "none").split("+")
        known = {
            word: self.config.get(setting)
            for setting, word in (_STRENGTHS[name] for name in names if name in _STRENGTHS)
        }
        if self.config.get("fusion") == "mmcosine":
            # A head that is there to balance, too.
            known["cosine scale"] = self.config.get("mmcosine_scale") or 15.0
        return {word: value for word, value in known.items() if value is not None}

    @property
    def num_epochs(self) -> int:
        """Epochs in the history."""
        return len(self.history["loss"])

    @property
    def window(self) -> tuple[int, int] | None:
        """First and last modulated epoch of the history, from 0; None where there is none."""
        if not self.is_modulated:
            return None
        unused = self.unused_settings
        start, end = (
            None if name in unused else self.config.get(name) for name in _WINDOW_SETTINGS
        )
        start, last = start or 0, self.num_epochs - 1
        end = last if end is None else min(end, last)
        return (start, end) if start <= end else None

    def num_differences(self, other: "RunSummary") -> int:
        """Returns in how many settings that train it differs from another run, modulation aside."""
        return len(self.differences(other))

    def differences(self, other: "RunSummary") -> list[str]:
        """Returns the settings in which it differs, of those that train, modulation aside."""
        ignored = {*MODULATION_SETTINGS, *SETTINGS_THAT_TRAIN_NOTHING}
        names = (self.config.keys() | other.config.keys()) - ignored
        return sorted(n for n in names if self.config.get(n) != other.config.get(n))

    def metric(self, split: str, name: str) -> float:
        """Returns one metric of a split, NaN where it is not known."""
        value = self.metrics.get(split, {}).get(name)
        return math.nan if value is None else float(value)

    def check(self, modalities: Sequence[str], kinds: Sequence[str]) -> None:
        """Checks that the history holds what is drawn: columns of each kind of every modality.

        Raises:
          ValueError: where a column is missing, empty or of another length, or the best epoch is
            none of them.
        """
        needed = ["loss", "accuracy"]
        for kind in kinds:
            needed += [f"{modality}_{kind}" for modality in modalities]
        missing = [column for column in needed if column not in self.history]
        if missing:
            raise ValueError(
                f"The history of run {self.name!r} must have the columns {', '.join(needed)}. "
                f"Received: {', '.join(self.history) or 'no column'}; without {', '.join(missing)}."
            )
        lengths = {column: len(values) for column, values in self.history.items()}
        if len(set(lengths.values())) != 1 or not self.num_epochs:
            raise ValueError(
                f"Every column of the history of run {self.name!r} must have one value an epoch, "
                f"of at least one epoch. Received: {lengths}."
            )
        if self.best_epoch is not None and not 0 <= self.best_epoch < self.num_epochs:
            raise ValueError(
                f"The best epoch of run {self.name!r} must be one of its {self.num_epochs}, "
                f"counted from 0. Received: best_epoch={self.best_epoch!r}."
            )


@dataclasses.dataclass(frozen=True)
class ClipExample:
    """One clip and what the runs make of it.

    Args:
      clip_id: Of the manifest.
      label: Name of the true class.
      frames: [N, H, W, 3] uint8, or None.
      spectrogram: [F, T] float32, log magnitudes of linear bins up to half the sample rate, or
        None.
      sample_rate_hz: Of the sound.
      hop_length: Samples between time steps of the spectrogram.
      predictions: For each run, the class and its probability said by "fused" and each modality.
      waveform: [S] float32 in [-1, 1] to listen to, or None.
      flow: [N, H, W, 2] in [0, 1], horizontal and vertical, 0.5 where nothing moves; or None.
      is_mel: Whether the spectrogram's bins are mel filters.
      start_s: Where frames and sound begin in the clip, seconds; times shown count from its start.
    """

    clip_id: str
    label: str
    frames: np.ndarray | None
    spectrogram: np.ndarray | None
    sample_rate_hz: int
    hop_length: int
    predictions: Mapping[str, Mapping[str, tuple[str, float]]]
    waveform: np.ndarray | None = None
    flow: np.ndarray | None = None
    is_mel: bool = False
    start_s: float = 0.0

    def check(self, run_names: Sequence[str], class_names: Sequence[str]) -> None:
        """Checks shapes and names.

        Raises:
          ValueError: where frames, flow or sound have another shape, or a run or class is
            unknown.
        """
        if self.frames is not None and not (
            _is_film(self.frames, 3) and self.frames.dtype == np.uint8
        ):
            raise ValueError(
                f"Frames of clip {self.clip_id!r} must be uint8 [N, H, W, 3]. Received: "
                f"frames.shape={np.shape(self.frames)}, dtype={np.asarray(self.frames).dtype}."
            )
        if self.flow is not None and not _is_film(self.flow, 2):
            raise ValueError(
                f"The flow of clip {self.clip_id!r} must be [N, H, W, 2]. "
                f"Received: flow.shape={np.shape(self.flow)}."
            )
        if self.waveform is not None and np.ndim(self.waveform) != 1:
            raise ValueError(
                f"The waveform of clip {self.clip_id!r} must be [S]. "
                f"Received: waveform.shape={np.shape(self.waveform)}."
            )
        said = [name for answers in self.predictions.values() for name, _ in answers.values()]
        for kind, names, known in (
            ("run", self.predictions, run_names),
            ("class", [self.label, *said], class_names),
        ):
            unknown = sorted(set(names) - set(known))
            if unknown:
                raise ValueError(
                    f"Clip {self.clip_id!r} must name a {kind} of {', '.join(known)}. "
                    f"Received: {', '.join(unknown)}."
                )


def _is_film(pictures: np.ndarray, channels: int) -> bool:
    shape = np.shape(pictures)
    return len(shape) == 4 and shape[3] == channels and 0 not in shape


def split_names(runs: Sequence[RunSummary]) -> list[str]:
    """Returns the splits of all runs: test first, each followed by its noisy versions."""
    names = {name: None for run in runs for name in run.metrics}
    order = {"test": 0, "validation": 1, "train": 2}

    def key(name):
        base, snr_db = noise_of(name) or (name, math.inf)
        return order.get(base, 3), base, -snr_db

    return sorted(names, key=key)


def noise_of(split: str) -> tuple[str, float] | None:
    """Returns a noisy split's clean name and its signal-to-noise ratio in dB, else None."""
    match = _NOISY_SPLIT.fullmatch(split)
    return (match["split"], float(match["snr"])) if match else None


def split_title(split: str) -> str:
    """Returns a split's name in words."""
    noise = noise_of(split)
    if noise:
        sound = f"noisy sound ({noise[1]:g} dB)".replace("-", "−")
        sound = sound if math.isfinite(noise[1]) else "clean sound"
        return f"{noise[0].replace('_', ' ')} split, {sound}"
    return f"{split.replace('_', ' ')} split"
