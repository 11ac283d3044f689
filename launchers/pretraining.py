"""Settings of `pretrain`."""

import dataclasses
import math
from typing import Any

from launchers.settings import not_negative, positive, setting
from launchers.training import FitSettings, RecordsSettings

# What a network learns to tell apart.
KINDS = {"l3net": "correspondence", "avsa": "synchronization", "avca": "synchronization"}
SIZES = ("full", "small")
SAMPLINGS = ("balanced", "coin")
# Of the papers, and for AVCA, whose paper could not be read in full, of our choice.
_OPTIMIZERS: dict[str, dict[str, Any]] = {
    "l3net": {"optimizer": "adam", "learning_rate": 1e-4},
    "avsa": {"optimizer": "sgd", "learning_rate": 1e-2, "clip_norm": 5.0},
    "avca": {"optimizer": "adam", "learning_rate": 1e-3},
}

# Encoders without a kernel of rank 4: that of a waveform has one axis less, of a video one more.
_WITHOUT_CONV = {"avsa": ("audio", "visual"), "avca": ("visual",)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class PretrainSettings(FitSettings, RecordsSettings):
    """Settings of `pretrain`.

    Where they are None, optimiser, learning rate and `clip_norm` become the model's own.
    """

    model: str = setting(dataclasses.MISSING, "Network, and so what it learns.", choices=KINDS)
    size: str = setting("full", "Of the network.", choices=SIZES)
    sampling: str = setting(
        "balanced", "Whether every batch is half of matches, or a coin decides each pair.",
        choices=SAMPLINGS,
    )  # fmt: skip
    shift_s: tuple[float, ...] = setting(
        (2.0, 5.8), "Least and largest shift of the sound that makes a mismatch, s (avsa, avca).",
        rule="two numbers, 0 < least <= largest",
        holds=lambda value: len(value) == 2 and 0 < value[0] <= value[1] < math.inf,
    )  # fmt: skip
    batch_size: int = positive(64, "Pairs in a step, over all devices.")
    optimizer: str | None = setting(
        None, "Name of an optimiser; by default adam (l3net, avca) or sgd (avsa)."
    )
    learning_rate: float | None = positive(
        None, "Of the optimiser; by default 1e-4 (l3net), 1e-2 (avsa) or 1e-3 (avca)."
    )
    weight_decay: float = not_negative(
        0.0, "Besides the penalty on kernels, which is the networks' own."
    )
    clip_norm: float | None = positive(
        None, "Largest norm of all gradients together; by default 5 (avsa) or none."
    )
    lr_decay_epochs: tuple[int, ...] = setting(
        (), "Epochs, with commas, that multiply the learning rate by --lr_decay_rate.",
        rule="epochs >= 1", holds=lambda value: all(epoch >= 1 for epoch in value),
    )  # fmt: skip

    def __post_init__(self):
        super().__post_init__()
        for name, value in _OPTIMIZERS[self.model].items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        lacking = _WITHOUT_CONV.get(self.model)
        if lacking and self.modulation != "none" and self.modulation_variables == "conv":
            raise ValueError(
                f"--modulation_variables must be kernels or all with --model={self.model}: it has "
                f"no kernel of pictures in its encoder of {' and in that of '.join(lacking)}. "
                "Received: modulation_variables='conv'."
            )

    def require_share(self, share):
        if share % 2:
            raise ValueError(
                "Every device must get an even number of pairs, for half of those that are told "
                f"in an evaluation match. Received: batch_size={self.batch_size}, {share} a device."
            )

    @property
    def kind(self) -> str:
        """What a mismatch is: see `input_pipelines.pairs`."""
        return KINDS[self.model]
