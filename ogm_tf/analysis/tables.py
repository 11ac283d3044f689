"""Tables of texts, for a page and for a terminal."""

import dataclasses
import re

_MAX_CELL = 64
_NUMBER = re.compile(r"[-−+]?[\d.,]+(e[-+]?\d+)?%?( ± [\d.,]+%?)?|–|nan|")


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of texts.

    Args:
      title: Of the table.
      header: Of the columns.
      rows: As many texts each.
      note: What there is to say of it.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""

    @property
    def are_numbers(self) -> list[bool]:
        """Whether each column holds nothing but numbers."""
        columns = zip(*self.rows, strict=True)
        return [all(_NUMBER.fullmatch(cell) for cell in column) for column in columns]

    def as_text(self) -> str:
        """Returns it with spaces between the columns; long texts are cut."""
        if not self.rows:
            return f"{self.title}: none"
        lines = [
            [cell if len(cell) <= _MAX_CELL else f"{cell[: _MAX_CELL - 1]}…" for cell in line]
            for line in (self.header, *self.rows)
        ]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        right = self.are_numbers or [False] * len(widths)
        written = [
            "  ".join(
                cell.rjust(width) if is_number else cell.ljust(width)
                for cell, width, is_number in zip(line, widths, right, strict=True)
            ).rstrip()
            for line in lines
        ]
        return "\n".join([self.title, *(f"  {line}" for line in written)])
