"""The blocks of code of README and docs, and the commands in them."""

import dataclasses
import pathlib
import re
import shlex

from tests.source_tree import ROOT

LONG = "<!-- long -->"
_BLOCK = re.compile(
    rf"^(?P<mark>{LONG}\n)?```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
# What a program's flags may hold in place of a number of a cluster's.
_VARIABLE = re.compile(r"\$\{?[A-Z_]+\}?|'?\$[a-z]+'?")


@dataclasses.dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Args:
      page: Path of the page, relative to the repository's root.
      line: Of the fence.
      language: After the fence; "" where there is none.
      text: Inside.
      is_long: Whether it is marked as one that would run long.
    """

    page: str
    line: int
    language: str
    text: str
    is_long: bool

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def pages() -> list[pathlib.Path]:
    """Returns README and the pages of docs and examples."""
    found = [ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("examples/**/*.md")]
    return sorted(found)


def blocks() -> list[Block]:
    """Returns all blocks of all pages."""
    return [block for page in pages() for block in blocks_of(page)]


def blocks_of(page: pathlib.Path) -> list[Block]:
    """Returns the blocks of a page."""
    text = page.read_text("utf-8")
    return [
        Block(
            page=page.relative_to(ROOT).as_posix(),
            line=text.count("\n", 0, match.start()) + 1,
            language=match["language"],
            text=match["text"],
            is_long=match["mark"] is not None,
        )
        for match in _BLOCK.finditer(text)
    ]


def programs(block: Block) -> list[tuple[str, str, list[str]]]:
    """Returns the launchers and benchmarks that a block of shell runs.

    Returns:
      Of each its package, its name and its arguments. What follows a pipe, a semicolon or an
      ampersand is left out, and variables of the shell are as long as a number.
    """
    found = []
    text = block.text.replace("\\\n", " ")
    for match in re.finditer(r"python -m (launchers|benchmarks)\.(\w+)([^\n;|&#]*)", text):
        words = _VARIABLE.sub("7", match[3])
        if words.count("'") % 2:
            # The last of a shell's own argument.
            words = words.rstrip().removesuffix("'")
        arguments = shlex.split(words)
        found.append((match[1], match[2], arguments))
    return found
