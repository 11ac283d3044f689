"""Colours that figures and page share, for light and dark surroundings."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Theme:
    """Colours of figures and page, hex strings.

    Args:
      page: Behind everything.
      surface: Behind figures and tables.
      ink: Text, and the fused network's curves.
      muted: Axes and notes.
      grid: Lines that only guide the eye.
      modalities: Of the modalities in their order, told apart by colour-blind readers too.
      runs: Of the runs in their order; none is a modality's.
    """

    page: str
    surface: str
    ink: str
    muted: str
    grid: str
    modalities: tuple[str, ...]
    runs: tuple[str, ...]


# Okabe and Ito's colours, shifted where they would be too faint to read on the surface.
LIGHT = Theme(
    page="#f4f5f7", surface="#ffffff", ink="#1b1f24", muted="#57606a", grid="#d8dde3",
    modalities=("#0072b2", "#d55e00", "#8a6d00", "#56708f"),
    runs=("#57606a", "#00805d", "#a8488a", "#7a5195"),
)  # fmt: skip
DARK = Theme(
    page="#0e1115", surface="#171b21", ink="#e8ebef", muted="#a0a9b4", grid="#343b45",
    modalities=("#56b4e9", "#f0a030", "#f0e442", "#b8c7d9"),
    runs=("#b4bcc6", "#2fbf9b", "#e39ac4", "#b79be0"),
)  # fmt: skip
