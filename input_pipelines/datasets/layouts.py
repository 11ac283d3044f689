"""What the datasets' folders have in common: lists of clips, media found by name, what is missing.

A folder is listed once and no file in it is asked for by itself: on an object store each question
is a request, and VGGSound alone has 200,000 videos.
"""

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence

from input_pipelines import files
from input_pipelines.listing import Clip, Listing, clip_hash

VIDEO_SUFFIXES = (
    ".mp4", ".mkv", ".webm", ".avi", ".mov", ".flv", ".mpg", ".mpeg", ".m4v", ".wmv", ".3gp",
)  # fmt: skip
SOUND_SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".m4a", ".opus", ".aac")

# Names that end like this are taken for files without asking: folders of videos hold sound files,
# thumbnails and descriptions by the hundred thousand.
_FILE_NAME = re.compile(r"\.[A-Za-z][A-Za-z0-9]{1,4}$")


def find_root(data_dir: files.Path, expected: str) -> str:
    """Returns the absolute path of a dataset's folder.

    Args:
      data_dir: The folder.
      expected: What should be in it, in words that follow "expected".

    Raises:
      FileNotFoundError: where there is no such folder or nothing is in it.
    """
    root = files.absolute(data_dir)
    if not files.names_in(root):
        raise FileNotFoundError(
            f"The dataset's folder must exist and not be empty; expected {expected}. "
            f"Received: data_dir={root!r}."
        )
    return root


def refuse_fold(fold: int | None, title: str) -> None:
    """Raises ValueError where a fold is given of a dataset that has none."""
    if fold is not None:
        raise ValueError(f"{title} has one split and no folds. Received: fold={fold}.")


def check_fold(fold: int | None, number: int) -> int:
    """Returns the fold, by default 1; raises ValueError where it is not from 1 to `number`."""
    if fold is None:
        return 1
    if fold not in range(1, number + 1):
        raise ValueError(f"`fold` must be from 1 to {number}. Received: fold={fold}.")
    return fold


def read_lines(root: str, name: str) -> list[tuple[int, str]]:
    """Returns the numbered lines of a list that are not blank, stripped.

    Args:
      root: Folder of the dataset.
      name: Of the list, relative to `root`. A byte order mark and any line ends are fine.

    Raises:
      FileNotFoundError: where there is no such list.
      ValueError: where it is not UTF-8.
    """
    lines = _read(root, name).splitlines()
    return [(number, line.strip()) for number, line in enumerate(lines, start=1) if line.strip()]


def read_rows(root: str, name: str) -> list[tuple[int, list[str]]]:
    """Returns the numbered rows of a CSV file that are not blank, their cells stripped.

    Args:
      root: Folder of the dataset.
      name: Of the list, relative to `root`. A byte order mark and any line ends are fine.

    Raises:
      FileNotFoundError: where there is no such list.
      ValueError: where it is not CSV in UTF-8.
    """
    reader = csv.reader(io.StringIO(_read(root, name), newline=""), strict=True)
    rows = []
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                rows.append((reader.line_num, [cell.strip() for cell in cells]))
    except csv.Error as error:
        raise ValueError(
            f"A list must be CSV. Received: {name}, line {reader.line_num} ({error})."
        ) from error
    return rows


def find_media(folder: str, suffixes: Sequence[str], depth: int = 0) -> dict[str, str]:
    """Returns the path of each media file by its name without suffix; hidden ones are left out.

    Args:
      folder: Where to look; nothing is found where there is no such folder.
      suffixes: Of media, lower case. Of files with one name, that of the earliest suffix counts,
        then that of the folder nearest to `folder`.
      depth: How many levels of folders below are searched too, >= 0.
    """
    ranks = {suffix: rank for rank, suffix in enumerate(suffixes)}
    found: dict[str, tuple[int, str]] = {}
    level = [folder]
    for remaining in range(depth, -1, -1):
        below = []
        for current in level:
            for name in files.names_in(current):
                suffix = files.suffix(name)
                if name.startswith("."):
                    continue
                if suffix in ranks:
                    stem = name[: -len(suffix)]
                    if stem not in found or ranks[suffix] < found[stem][0]:
                        found[stem] = (ranks[suffix], files.join(current, name))
                elif remaining and not _FILE_NAME.search(name):
                    below.append(files.join(current, name))
        level = below
    return {stem: path for stem, (_, path) in found.items()}


def hashed_test_part(clip_ids: Iterable[str], share: float = 0.1) -> set[str]:
    """Returns the clips that are for testing, where a dataset has no list that says so.

    A clip is chosen for the hash of its name alone, so it stays where it is when others are added.
    The largest hashes are chosen: `listing.hold_out_validation` takes the smallest. Of two clips
    and more, at least one is chosen and one is left.

    Args:
      clip_ids: All clips.
      share: About how many to choose, in (0, 1).
    """
    positions = {clip_id: int(clip_hash(clip_id)[:16], 16) / 2**64 for clip_id in clip_ids}
    if len(positions) < 2:
        return set()
    by_hash = sorted(positions, key=positions.get)
    chosen = {clip_id for clip_id in by_hash if positions[clip_id] >= 1 - share}
    return (chosen | {by_hash[-1]}) - {by_hash[0]}


class ListingBuilder:
    """Collects a dataset's clips, those that are missing, and where each was listed.

    Args:
      root: Folder of the dataset.
      expected: What should be in it, in words that follow "expected".
    """

    def __init__(self, root: str, expected: str):
        self.root = root
        self.expected = expected
        self._clips: list[Clip] = []
        self._missing: list[dict[str, str]] = []
        self._places: dict[str, str] = {}

    def add(self, place: str, clip_id: str, split: str, label: str,
            paths: Mapping[str, str | None], reason: str = "", group: str | None = None,
            event_s: tuple[float, float] | tuple[None, None] = (None, None)) -> None:  # fmt: skip
        """Adds a clip, or what is missing of it.

        Args:
          place: Where it is listed, such as "train.csv, line 3".
          clip_id: Of the clip.
          split: Of the clip.
          label: Of the clip.
          paths: The clip's paths by the names of `Clip`; None: it is not there.
          reason: Why the clip is missing; empty: it is there.
          group: Of clips of one recording; None: the clip is one of its own.
          event_s: When what the label names begins and ends, seconds in the media; two None: not
            known.

        Raises:
          ValueError: where the clip has been added before.
        """
        if clip_id in self._places:
            raise ValueError(
                f"A clip must be listed once; {self._places[clip_id]} and {place} have the same. "
                f"Received: clip_id={clip_id!r}."
            )
        self._places[clip_id] = place
        if reason:
            self._missing.append({"clip_id": clip_id, "split": split, "reason": reason})
        else:
            start_s, end_s = event_s
            times = {"event_start_s": start_s, "event_end_s": end_s}
            self._clips.append(Clip(clip_id, split, label, group=group, **times, **paths))

    def repeats(self, place: str, clip_id: str, split: str) -> bool:
        """Returns whether a clip has been added before, and if so notes this line as left out."""
        first = self._places.get(clip_id)
        if first is not None:
            reason = f"{place} lists the clip of {first} again"
            self._missing.append({"clip_id": clip_id, "split": split, "reason": reason})
        return first is not None

    def build(self, class_names: Iterable[str]) -> Listing:
        """Returns the listing.

        Args:
          class_names: In the dataset's order.

        Raises:
          ValueError: where no clip is listed.
          FileNotFoundError: where the media of all clips are missing.
        """
        if not self._places:
            raise ValueError(
                f"The dataset's lists must name clips; expected {self.expected}. "
                f"Received: data_dir={self.root!r}."
            )
        if not self._clips:
            raise FileNotFoundError(
                f"None of the {len(self._missing)} listed clips is there, such as "
                f"{self._missing[0]['clip_id']!r} ({self._missing[0]['reason']}); expected "
                f"{self.expected}. Received: data_dir={self.root!r}."
            )
        return Listing(self.root, tuple(self._clips), tuple(self._missing), tuple(class_names))


def _read(root: str, name: str) -> str:
    path = files.join(root, name)
    if not files.is_file(path):
        raise FileNotFoundError(f"The dataset's folder must hold {name}. Received: path={path!r}.")
    try:
        return files.read_text(path)
    except UnicodeDecodeError as error:
        raise ValueError(f"A list must be UTF-8. Received: {name} ({error}).") from error
