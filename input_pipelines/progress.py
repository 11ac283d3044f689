"""The progress bar of everything that takes long."""

import sys

import tqdm


def progress_bar(
    title: str, total: int, *, unit: str = "clip", done: int = 0, show: bool = True
) -> tqdm.tqdm:
    """Returns a bar that shows how many are done, how many a second, and the time left.

    On a terminal it is drawn in place. In a log file, where every drawing is a line, it is written
    every half minute.

    Args:
      title: Before the bar.
      total: At the end of it.
      unit: What is counted.
      done: How many are done already.
      show: Whether it is drawn at all.
    """
    return tqdm.tqdm(
        desc=title,
        total=total,
        unit=unit,
        initial=done,
        disable=not show,
        mininterval=0.1 if sys.stderr.isatty() else 30.0,
    )
