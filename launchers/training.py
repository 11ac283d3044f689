"""Settings of training runs: what all have in common, and those of `train`."""

import dataclasses
import itertools
import math
from collections.abc import Collection
from typing import Any

from launchers.settings import LauncherSettings, fraction, not_negative, positive, setting
from ogm_tf.analysis.summaries import SETTINGS_OF_METHODS

ENCODERS = ("resnet18", "small_cnn")
FUSIONS = ("concat", "sum", "film", "gated", "mmcosine")
KEPT_EPOCHS = ("best", "last")
MODALITIES = ("audio", "visual", "flow")
# What every program that trains knows.
COMMON_MODULATIONS = ("none", "ogm", "ogm_ge")
# What `train` knows; any of them may be joined by "+".
METHODS = tuple(name for name in SETTINGS_OF_METHODS if name != "none")
# Presets of datasets give them whatever the method is.
_OF_PRESETS = ("alpha", "modulation_start_epoch", "modulation_end_epoch")
METHODS_WITH_ALPHA = tuple(name for name, own in SETTINGS_OF_METHODS.items() if "alpha" in own)
# Heads that `ogm_tf.modulation.OPM` refuses.
FUSIONS_WITHOUT_OPM = ("film", "gated")
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
STRATEGIES = ("default", "mirrored", "multi_worker")


@dataclasses.dataclass(frozen=True)
class RecordsSettings(LauncherSettings):
    """What `train` and `pretrain` read."""

    records_dir: str = setting(dataclasses.MISSING, "Folder that `prepare` wrote.")


@dataclasses.dataclass(frozen=True)
class FitSettings(LauncherSettings):
    """What all training runs have in common: method, optimiser, devices, safety.

    A setting whose name ends in `_dir` is a folder.
    """

    output_dir: str = setting(dataclasses.MISSING, "Folder of the run.")
    modulation: str = setting("none", "Balancing of the gradients.", choices=COMMON_MODULATIONS)
    alpha: float = not_negative(0.5, "Strength of the modulation.")
    modulation_start_epoch: int = not_negative(0, "First epoch that is modulated.")
    modulation_end_epoch: int | None = not_negative(
        None, "Last epoch that is modulated, included; by default the last of the run."
    )
    modulation_variables: str = setting(
        "kernels", "Variables of an encoder that ogm and ogm_ge modulate.",
        choices=("kernels", "conv", "all"),
    )  # fmt: skip
    modulation_rule: str = setting(
        "tanh", "Rule of the coefficient of ogm and ogm_ge.",
        choices=("tanh", "continuous", "tpami"),
    )  # fmt: skip
    epochs: int = positive(100, "Passes over the training clips.")
    batch_size: int = positive(64, "Clips in a step, over all devices.")
    optimizer: str = setting("sgd", "Name of an optimiser; see ogm_tf.optimizers.get.")
    learning_rate: float = positive(1e-3, "Of the optimiser.")
    momentum: float = setting(0.9, "Of SGD.", rule="in [0, 1)", holds=lambda value: 0 <= value < 1)
    weight_decay: float | None = not_negative(
        None, "By default 1e-4 for SGD, coupled as in PyTorch, and none for other optimisers."
    )
    clip_norm: float | None = positive(
        None, "Largest norm of all gradients together; by default there is none."
    )
    lr_decay_epochs: tuple[int, ...] = setting(
        (70,), "Epochs, with commas, that multiply the learning rate by --lr_decay_rate.",
        rule="epochs >= 1", holds=lambda value: all(epoch >= 1 for epoch in value),
    )  # fmt: skip
    lr_decay_rate: float = positive(0.1, "Factor of the learning rate at each decay.")
    keep: str | None = setting(
        None, "Epoch whose weights are kept and judged; by default the best on validation.",
        choices=KEPT_EPOCHS,
    )  # fmt: skip
    init_from: str | None = setting(
        None, "Folder of another run, whose best weights this one starts from."
    )
    checkpoint_every_steps: int = positive(
        500, "Steps between checkpoints: as many, at most, a killed run repeats."
    )
    max_skipped_steps: int = positive(
        20, "Steps in a row that are not finite, and skipped, at which the run ends."
    )
    deterministic: bool = setting(
        True, "Whether every operation gives the same bits every time; free on CPUs, not on GPUs."
    )
    strategy: str = setting(
        "default", "One device, all of this machine, or all of the machines in TF_CONFIG.",
        choices=STRATEGIES,
    )  # fmt: skip
    logical_devices: int | None = positive(
        None, "With --strategy=mirrored, the CPU as so many devices, to try things out."
    )
    synchronized_batch_norm: bool = setting(
        False, "Whether batch normalisation takes its statistics over all devices' clips."
    )
    precision: str = setting("float32", "Of the computation.", choices=PRECISIONS)
    jit_compile: bool = setting(False, "Whether XLA compiles the step; on one device.")
    seed: int = setting(
        0, "Of weights, order, augmentation and noise.",
        rule="in [0, 2**31)", holds=lambda value: 0 <= value < 2**31,
    )  # fmt: skip

    def __post_init__(self):
        super().__post_init__()
        end = self.modulation_end_epoch
        if end is not None and end < self.modulation_start_epoch:
            raise ValueError(
                "--modulation_end_epoch must not lie before --modulation_start_epoch. Received: "
                f"{end} and {self.modulation_start_epoch}."
            )

    def require_share(self, share: int) -> None:
        """Refuses a batch of which each device gets `share` clips, if they are not to be used."""

    def learning_rate_at(self, epoch: int) -> float:
        """Returns the learning rate of an epoch, from 0."""
        drops = sum(epoch >= drop for drop in self.lr_decay_epochs)
        return self.learning_rate * self.lr_decay_rate**drops


def is_method(value: str) -> bool:
    """Returns whether a value of --modulation is one that `train` knows."""
    names = value.split("+")
    return value == "none" or (set(names) <= set(METHODS) and len(set(names)) == len(names))


def has_alpha(method: str) -> bool:
    """Returns whether --alpha counts for a value of --modulation."""
    return any(name in METHODS_WITH_ALPHA for name in method.split("+"))


def unowned_settings(methods: Collection[str]) -> dict[str, Any]:
    """Returns the settings that only other methods have, and their defaults."""
    fields = TrainSettings.__dataclass_fields__
    return {name: fields[name].default for name in _of_others(methods) if name not in _OF_PRESETS}


def settings_without_effect(settings: "TrainSettings") -> list[str]:
    """Returns the settings that differ from their defaults, and that none of its methods has."""
    fields = TrainSettings.__dataclass_fields__
    names = _of_others(settings.all_methods())
    return [name for name in names if getattr(settings, name) != fields[name].default]


def _of_others(methods: Collection[str]) -> list[str]:
    """Returns the settings that none of some methods has."""
    owned = {name for method in methods for name in SETTINGS_OF_METHODS[method]}
    of_any = dict.fromkeys(itertools.chain(*SETTINGS_OF_METHODS.values()))
    return [name for name in of_any if name not in owned]


# The likeliest mistake is to look for it here.
METHOD_RULE = (
    f"none or different ones of {', '.join(METHODS)}, joined by + (MMCosine is --fusion=mmcosine)"
)


@dataclasses.dataclass(frozen=True)
class TrainSettings(FitSettings, RecordsSettings):
    """Settings of `train`. The defaults are the papers', but for alpha, which it tunes."""

    modulation: str = setting(
        "none", f"Balancing of the modalities: {METHOD_RULE}. --alpha and the first and last epoch "
        f"are of {', '.join(METHODS_WITH_ALPHA)} alone.", rule=METHOD_RULE, holds=is_method,
    )  # fmt: skip
    unimodal_weight: float = not_negative(
        1.0, "Of each modality's own loss, with --modulation=unimodal."
    )
    gblend_held_out: float = setting(
        0.2, "Share of the training clips that G-Blend judges by, and the network does not see.",
        rule="in (0, 1)", holds=lambda value: 0 < value < 1,
    )  # fmt: skip
    gblend_super_epoch: int = positive(10, "Epochs after which G-Blend weighs the losses anew.")
    gblend_epochs: int = positive(1, "Passes over the clips for which it trains each head alone.")
    pareto_gamma: float = positive(
        1.5, "Length of MMPareto's step as a share of that of the gradients' sum."
    )
    opm_base: float = fraction(0.5, "Probability, before --opm_strength, that OPM drops a feature.")
    opm_strength: float = not_negative(
        0.5, "How much more of them OPM drops the farther a modality is ahead."
    )
    opm_probability: float = setting(
        0.7, "Share of the updates that OPM touches.", rule="in [0, 1]",
        holds=lambda value: 0 <= value <= 1,
    )  # fmt: skip
    pmr_strength: float = not_negative(1.0, "Of PMR's pull to the prototypes.")
    pmr_entropy: float = not_negative(0.01, "Of PMR's regularisation.")
    pmr_entropy_end_epoch: int = not_negative(10, "Last epoch of PMR's regularisation.")
    encoder: str = setting("resnet18", "Network of each modality.", choices=ENCODERS)
    encoder_width: int | None = positive(
        None, "Channels of an encoder's first stage; by default 64 (resnet18) or 16 (small_cnn)."
    )
    fusion: str = setting("concat", "Head that joins the modalities.", choices=FUSIONS)
    mmcosine_scale: float | None = positive(
        None, "Factor of the cosines, with --fusion=mmcosine; by default 15."
    )
    audio_noise_snr_db: float | None = setting(
        None, "White noise mixed into the sound of training and validation, dB; default none.",
        rule="finite", holds=math.isfinite,
    )  # fmt: skip
    remove_modality: str | None = setting(
        None, "A modality, or several with commas, whose input is replaced by zeros.",
        rule=f"some of {', '.join(MODALITIES)}, with commas",
        holds=lambda value: set(value.split(",")) <= set(MODALITIES),
    )  # fmt: skip
    accumulate_steps: int = positive(
        1, "Batches in one update: as one of --batch_size times as many clips."
    )
    record_samples: int = setting(
        256, "Validation clips, as many of each class, whose confidence is recorded after every "
        "epoch; -1: all, 0: none.", rule=">= -1", holds=lambda value: value >= -1,
    )  # fmt: skip
    record_clip_ids: tuple[str, ...] = setting(
        (), "The validation clips to record instead, by clip_id, with commas."
    )
    probe_every_epochs: int = not_negative(
        0, "Epochs after which a linear probe says what each encoder knows; 0: never."
    )
    probe_clips: int = positive(1000, "Training clips, at most, that such a probe learns from.")

    def __post_init__(self):
        super().__post_init__()
        if self.probe_every_epochs > self.epochs:
            raise ValueError(
                "--probe_every_epochs must be at most --epochs. Received: "
                f"{self.probe_every_epochs} and {self.epochs}."
            )
        if self.mmcosine_scale is not None and self.fusion != "mmcosine":
            raise ValueError(
                "--mmcosine_scale needs --fusion=mmcosine. Received: "
                f"mmcosine_scale={self.mmcosine_scale}, fusion={self.fusion!r}."
            )
        methods = self.all_methods()
        for name, default in unowned_settings(methods).items():
            value = getattr(self, name)
            if value != default:
                owners = " or ".join(m for m, own in SETTINGS_OF_METHODS.items() if name in own)
                raise ValueError(
                    f"--{name} must go with the method {owners}. Received: {name}={value!r}, "
                    f"and the methods {', '.join(sorted(methods))}."
                )
        if "opm" in methods and self.fusion in FUSIONS_WITHOUT_OPM:
            raise ValueError(
                "OPM needs a head in which a modality that is dropped leaves the other's answer: "
                f"--fusion must not be {' or '.join(FUSIONS_WITHOUT_OPM)}. "
                f"Received: fusion={self.fusion!r}."
            )

    def all_methods(self) -> set[str]:
        """Returns the methods that its runs are balanced by, one by one."""
        return set(self.modulation.split("+"))
