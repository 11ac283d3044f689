"""Methods over paired seeds: the flags that choose them, and the table of what they gave."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from launchers.settings import setting
from ogm_tf.analysis.paired import difference, spread

METHODS = ("none", "ogm", "ogm_ge")
# What each seed gave, by name; None where that was not to be had.
Rows = Sequence[Mapping[str, float | None]]


def methods(default: tuple[str, ...], known: Sequence[str] = METHODS) -> Any:
    """Returns a field of settings: the methods to compare."""
    return setting(
        default, "Methods, with commas.", rule=f"among {', '.join(known)}",
        holds=lambda value: bool(value) and set(value) <= set(known),
    )  # fmt: skip


def seeds(default: tuple[int, ...]) -> Any:
    """Returns a field of settings: the seeds that methods are compared over."""
    return setting(
        default, "Seeds, with commas.", rule="2 or more different seeds",
        holds=lambda value: 2 <= len(set(value)) == len(value),
    )  # fmt: skip


def lines(results: Mapping[str, Rows]) -> list[list[str]]:
    """Returns the lines of a table: of each method, then of its difference to "none".

    Args:
      results: Of each method, what each seed gave, in the order of the seeds. What some seeds lack
        is that of the others, whose number is told.
    """
    found = [
        [method, *(_cell(spread, [row[name] for row in rows]) for name in rows[0])]
        for method, rows in results.items()
    ]
    for method, rows in results.items():
        if method == "none" or "none" not in results:
            continue
        both = list(zip(rows, results["none"], strict=True))
        found.append(
            [f"{method} - none", *(_cell(difference, _differences(both, n)) for n in rows[0])]
        )
    return found


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns a table."""
    return "\n".join(f"| {' | '.join(row)} |" for row in [header, ["---"] * len(header), *rows])


def _differences(both: Sequence[tuple], name: str) -> list[float | None]:
    pairs = [(ours[name], theirs[name]) for ours, theirs in both]
    return [None if None in pair else pair[0] - pair[1] for pair in pairs]


def _cell(describe: Callable[[Sequence[float]], str], values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    text = describe(known) if len(known) >= 2 else "unknown"
    return text if len(known) == len(values) else f"{text} ({len(known)} of {len(values)})"
