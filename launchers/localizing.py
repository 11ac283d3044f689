"""Settings of `localize`."""

import dataclasses
from typing import Any

from launchers.settings import not_negative, positive, setting
from launchers.training import FitSettings
from ogm_tf.localization import AGVA, DMRN, PSP
from ogm_tf.localization.event_model import OWNERS
from ogm_tf.localization.losses import LOSSES, TARGETS

MODELS = {"agva": AGVA, "dmrn": DMRN, "psp": PSP}
SIZES = ("full", "small")
SUPERVISIONS = ("full", "weak")
_SCORE_MODES = tuple(dict.fromkeys(mode for own in MODELS.values() for mode in own.score_modes))

# As the networks were published, by supervision.
_AVEL = {"batch_size": 64, "loss": "soft_margin", "lr_decay_epochs": (288,), "lr_decay_rate": 0.1}
_PSP = {"batch_size": 128, "epochs": 300, "lr_decay_rate": 0.8}
_PUBLISHED: dict[str, dict[str, dict[str, Any]]] = {
    "agva": {
        "full": {**_AVEL, "epochs": 300},
        "weak": {**_AVEL, "epochs": 250, "weak_target": "tag"},
    },
    "psp": {
        "full": {**_PSP, "loss": "cross_entropy", "lr_decay_epochs": (60, 120)},
        "weak": {
            **_PSP,
            "loss": "binary_cross_entropy",
            "lr_decay_epochs": (80, 160),
            "weak_target": "proportions",
        },
    },
}
_PUBLISHED["dmrn"] = _PUBLISHED["agva"]
# Of our choice.
_SMALL = {
    "batch_size": 64,
    "epochs": 16,
    "learning_rate": 4e-3,
    "loss": "cross_entropy",
    "lr_decay_epochs": (9, 13),
    "lr_decay_rate": 0.2,
}
_ADAM = {"optimizer": "adam", "learning_rate": 1e-3}


@dataclasses.dataclass(frozen=True, kw_only=True)
class LocalizeSettings(FitSettings):
    """Settings of `localize`.

    What is None becomes the model's own: as published, or for the small size a short training that
    suits it.
    """

    features_dir: str = setting(
        dataclasses.MISSING, "Folder that `extract` wrote, or of AVE's published feature files."
    )
    model: str = setting(dataclasses.MISSING, "Network.", choices=tuple(MODELS))
    size: str = setting("full", "Of the network.", choices=SIZES)
    supervision: str = setting(
        "full", "Whether every segment has a label in training, or the video alone.",
        choices=SUPERVISIONS,
    )  # fmt: skip
    weak_target: str | None = setting(
        None, "What weak supervision tells of a video: how much of it each class takes, or its "
        "event alone; by default proportions (psp) or tag (agva, dmrn).", choices=TARGETS,
    )  # fmt: skip
    loss: str | None = setting(
        None, "By default soft_margin (agva, dmrn), cross_entropy (psp) or binary_cross_entropy "
        "(psp, weak), and of the small size cross_entropy.", choices=tuple(LOSSES),
    )  # fmt: skip
    pair_weight: float | None = not_negative(
        None, "Of the pair-similarity loss (psp, full supervision); by default 100."
    )
    score_mode: str | None = setting(
        None, "What a modality's own logits are; by default zero (agva, dmrn) or masked (psp).",
        choices=_SCORE_MODES,
    )  # fmt: skip
    owner: str = setting(
        "stream", "Whose the attention's maps of the sound are: of the picture's stream that they "
        "shape, of the input that they read, or nobody's.", choices=OWNERS,
    )  # fmt: skip
    event_only: bool = setting(
        False, "Whether the modalities are compared by segments with an event alone."
    )
    background_videos: bool = setting(
        False, "Whether to train with AVE's videos without an event as well."
    )
    epochs: int | None = positive(
        None, "Passes over the training videos; by default 300, 250 (agva, dmrn, weak) or 16 "
        "(small).",
    )  # fmt: skip
    batch_size: int | None = positive(
        None, "Videos in a step, over all devices; by default 64, or 128 (psp, full size)."
    )
    optimizer: str | None = setting(None, "Name of an optimiser; by default adam.")
    learning_rate: float | None = positive(
        None, "Of the optimiser; by default 1e-3, or 4e-3 (small)."
    )
    lr_decay_epochs: tuple[int, ...] | None = setting(
        None, "Epochs, with commas, that multiply the learning rate by --lr_decay_rate; empty for "
        "none; by default 288 (agva, dmrn), 60,120 (psp), 80,160 (psp, weak) or 9,13 (small).",
        rule="epochs >= 1", holds=lambda value: all(epoch >= 1 for epoch in value),
    )  # fmt: skip
    lr_decay_rate: float | None = positive(
        None, "Factor of the learning rate at each decay; by default 0.1 (agva, dmrn), 0.8 (psp) "
        "or 0.2 (small).",
    )  # fmt: skip

    def __post_init__(self):
        super().__post_init__()
        self._check_combinations()
        own = {**_ADAM, **_PUBLISHED[self.model][self.supervision]}
        if self.size == "small":
            own |= _SMALL
        for name, value in own.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)

    @property
    def is_weak(self) -> bool:
        """Whether training is told of videos alone."""
        return self.supervision == "weak"

    def _check_combinations(self) -> None:
        has_pairs = self.model == "psp" and not self.is_weak
        modes = MODELS[self.model].score_modes
        for name, is_allowed, rule in (
            ("weak_target", self.is_weak, "needs --supervision=weak"),
            ("event_only", not self.is_weak, "needs --supervision=full"),
            ("pair_weight", has_pairs, "needs --model=psp and --supervision=full"),
            (
                "score_mode",
                self.score_mode in modes,
                f"must be one of {', '.join(modes)} with --model={self.model}",
            ),
            (
                "modulation_variables",
                self.modulation_variables != "conv" or self.modulation == "none",
                "must be kernels or all: these networks have no convolution",
            ),
        ):
            value = getattr(self, name)
            # A weight of 0 is given, too.
            if value is not None and value is not False and not is_allowed:
                raise ValueError(f"--{name} {rule}. Received: {name}={value!r}.")
