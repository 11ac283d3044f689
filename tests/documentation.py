"""The blocks of code of README, docs and docstrings, and the commands in them."""

import ast
import dataclasses
import pathlib
import re
import shlex

from tests.source_tree import ROOT, python_files

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


def of_language(name: str, *, is_long: bool) -> list[Block]:
    """Returns the blocks of a language, those that run or those that would run long."""
    return [block for block in blocks() if (block.language, block.is_long) == (name, is_long)]


def docstring_commands() -> list[Block]:
    """Returns the commands in the docstrings of launchers, benchmarks and examples."""
    found = []
    for path in python_files():
        if path.startswith(("launchers/", "benchmarks/", "examples/")):
            docstring = ast.get_docstring(ast.parse((ROOT / path).read_text("utf-8"))) or ""
            lines = [line.strip() for line in docstring.replace("\\\n", " ").splitlines()]
            commands = [f"{line}\n" for line in lines if line.startswith("python ")]
            if commands:
                found.append(Block(path, 1, "bash", "".join(commands), is_long=True))
    return found


def programs(block: Block) -> list[tuple[str, str, list[str]]]:
    """Returns the launchers and benchmarks that a block of shell runs.

    Returns:
      Of each its package, its name and its arguments. What follows a pipe, a semicolon or an
      ampersand is left out, and variables of the shell are as long as a number.
    """
    found = []
    program = re.compile(r"python -m (launchers|benchmarks)\.(\w+)([^\n;|&#]*)")
    for match in program.finditer(_joined(block)):
        words = _VARIABLE.sub("7", match[3])
        if words.count("'") % 2:
            # The last of a shell's own argument.
            words = words.rstrip().removesuffix("'")
        arguments = shlex.split(words)
        found.append((match[1], match[2], arguments))
    return found


def scripts(block: Block) -> list[tuple[str, list[str]]]:
    """Returns the Python files that a block of shell runs: of each its path and its arguments."""
    found = re.findall(r"python (\S+\.py)([^\n;|&#]*)", _joined(block))
    return [(path, shlex.split(arguments)) for path, arguments in found]


def python_calls(block: Block) -> list[str]:
    """Returns the word that follows each `python` of a block of shell; two words where it is -m."""
    return re.findall(r"\bpython ((?:-m )?[^\s.]+)", _joined(block))


def _joined(block: Block) -> str:
    return block.text.replace("\\\n", " ")
