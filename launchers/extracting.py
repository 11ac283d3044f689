"""Settings of `extract`."""

import dataclasses
from typing import Any

from launchers.settings import LauncherSettings, fraction, not_negative, positive, setting

DATASETS = ("synthetic_sequences",)
DTYPES = ("float32", "float16")
# What an encoder may be.
KINDS = {
    "audio": "the folder of a run or a .keras file",
    "visual": "the folder of a run, a .keras file or a name of keras.applications, e.g. vgg19",
}
_OF_RECORDS = ("records_dir", "audio_encoder", "visual_encoder")


@dataclasses.dataclass(frozen=True)
class ExtractSettings(LauncherSettings):
    """Settings of `extract`."""

    output_dir: str = setting(dataclasses.MISSING, "Folder for the features.")
    records_dir: str | None = setting(None, "Folder that `prepare` wrote, of clips with events.")
    audio_encoder: str | None = setting(None, f"What describes sound: {KINDS['audio']}.")
    visual_encoder: str | None = setting(None, f"What describes pictures: {KINDS['visual']}.")
    visual_weights: str | None = setting(
        None, "Weights of one of keras.applications, without its top: an .h5 file. None are loaded "
        "from the network.",
    )  # fmt: skip
    segments: int = positive(10, "Segments of a clip.")
    segment_s: float | None = positive(
        None, "Seconds of a segment; by default the length most clips have, over --segments."
    )
    window_s: float | None = positive(
        None, "Seconds around a segment's middle that a .keras file or one of keras.applications "
        "gets; by default the segment. Encoders of runs get the window of their own records.",
    )  # fmt: skip
    background_clips: bool = setting(
        False, "Whether clips without an event are background throughout; otherwise refused."
    )
    max_bad_fraction: float = fraction(
        0.05, "Share of clips without their last segment above which the run fails."
    )
    dtype: str = setting("float32", "Of the features; float16 takes half of it.", choices=DTYPES)
    batch_size: int = positive(32, "Segments that an encoder gets at once.")
    dataset: str | None = setting(
        None, "Built-in feature sequences, instead of records and encoders.", choices=DATASETS
    )
    dataset_seed: int = not_negative(0, "Seed of a built-in dataset.")

    def __post_init__(self):
        super().__post_init__()
        given = [name for name in _OF_RECORDS if getattr(self, name) is not None]
        if self.dataset is None and len(given) < len(_OF_RECORDS):
            missing = [f"--{name}" for name in _OF_RECORDS if name not in given]
            raise ValueError(
                "Features need records, an encoder of sound and one of pictures, or --dataset. "
                f"Received: no {', '.join(missing)}."
            )
        if self.dataset is not None and given:
            raise ValueError(
                "--dataset must come without records and encoders. Received: "
                f"dataset={self.dataset!r}, {given[0]}={getattr(self, given[0])!r}."
            )

    def about(self) -> dict[str, Any]:
        """Returns what decides the features, beside records and encoders themselves."""
        names = ("segments", "background_clips", "max_bad_fraction", "dtype")
        return {name: getattr(self, name) for name in names}
