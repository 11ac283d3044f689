"""One CSV row per clip: the meeting point of every dataset."""

import collections
import csv
import dataclasses
import hashlib
import math
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

SPLITS = ("train", "validation", "test")
REQUIRED_COLUMNS = ("clip_id", "split", "label", "path")
OPTIONAL_COLUMNS = ("audio_path", "start_s", "end_s")


@dataclasses.dataclass(frozen=True)
class Clip:
    """One labelled clip.

    Args:
      clip_id: Unique in its manifest.
      split: One of `SPLITS`.
      label: Name of the class, not empty.
      path: A video, an image, or a folder of frames.
      audio_path: Where the sound is; None: in `path`.
      start_s: Where the clip begins in its media, seconds >= 0; None: at their beginning.
      end_s: Where the clip ends in its media, seconds > `start_s`; None: at their end.
    """

    clip_id: str
    split: str
    label: str
    path: pathlib.Path
    audio_path: pathlib.Path | None = None
    start_s: float | None = None
    end_s: float | None = None


def read_manifest(path: str | os.PathLike) -> list[Clip]:
    """Reads a manifest: CSV in UTF-8 with the header `clip_id,split,label,path`.

    The columns `audio_path`, `start_s` and `end_s` may be left out or left empty; further columns
    are ignored. Paths are relative to the manifest's folder and stay inside of it.

    Args:
      path: The CSV file.

    Returns:
      The clips in the order of their rows, with absolute paths.

    Raises:
      FileNotFoundError: where there is no such file.
      ValueError: where the file is not such a manifest; names the row (the header is row 1).
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no such manifest. Received: path={str(path)!r}.")
    try:
        # utf-8-sig also takes the byte order mark that spreadsheets write.
        with path.open(encoding="utf-8-sig", newline="") as file:
            header, rows = _read_rows(file)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(
            f"A manifest must be CSV in UTF-8. Received: path={str(path)!r} ({error})."
        ) from error
    missing = [name for name in REQUIRED_COLUMNS if name not in header]
    if missing:
        raise ValueError(
            f"A manifest must have the columns {', '.join(REQUIRED_COLUMNS)}; missing: "
            f"{', '.join(missing)}. Received: columns={header}."
        )
    known = [name for name in header if name in REQUIRED_COLUMNS + OPTIONAL_COLUMNS]
    repeated = [name for name, count in collections.Counter(known).items() if count > 1]
    if repeated:
        raise ValueError(f"Columns must have different names. Received: columns={header}.")
    clips = []
    row_of = {}
    for row_number, values in rows:
        clip = _parse_row(row_number, header, values, path.parent)
        if clip.clip_id in row_of:
            raise ValueError(
                f"Rows must have different clip_id; rows {row_of[clip.clip_id]} and {row_number} "
                f"have the same. Received: clip_id={clip.clip_id!r}."
            )
        row_of[clip.clip_id] = row_number
        clips.append(clip)
    if not clips:
        raise ValueError(f"A manifest must have at least one clip. Received: path={str(path)!r}.")
    return clips


def write_manifest(path: str | os.PathLike, rows: Iterable[Mapping[str, Any] | Clip]) -> None:
    """Writes a manifest: complete or not at all.

    Args:
      path: The CSV file; an older one is replaced.
      rows: One mapping from column to value per clip, or `Clip`s; None is written as an empty
        cell. Absolute paths are written relative to the manifest's folder. Columns beside the
        known ones follow them in the order they are first seen.

    Raises:
      ValueError: where a row lacks a required column or a path is outside of the folder.
    """
    path = pathlib.Path(path)
    folder = pathlib.Path(os.path.abspath(path.parent))
    rows = [dict(vars(row)) if isinstance(row, Clip) else dict(row) for row in rows]
    columns = list(REQUIRED_COLUMNS)
    columns += [name for name in OPTIONAL_COLUMNS if any(name in row for row in rows)]
    for row in rows:
        columns += [name for name in row if name not in columns]
    for row in rows:
        for name in REQUIRED_COLUMNS:
            if row.get(name) in (None, ""):
                raise ValueError(f"Every row must have a {name}. Received: row={row}.")
        for name in ("path", "audio_path"):
            if row.get(name) and os.path.isabs(row[name]):
                relative = os.path.relpath(row[name], folder)
                if pathlib.PurePath(relative).parts[:1] == ("..",):
                    raise ValueError(
                        "Paths must stay inside of the manifest's folder. Received: "
                        f"{name}={str(row[name])!r} of clip_id={row['clip_id']!r}."
                    )
                row[name] = relative
    folder.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def hold_out_validation(clips: Sequence[Clip], fraction: float) -> list[Clip]:
    """Moves a part of the training clips to a validation split, where there is none.

    A clip is moved for the hash of its `clip_id` alone, so it stays where it is when others are
    added. At least one clip is moved where `fraction` is not 0.

    Args:
      clips: All clips.
      fraction: Share of the training clips to move, in [0, 1).

    Returns:
      All clips in the same order; unchanged where some are of the validation split already.

    Raises:
      ValueError: where `fraction` is out of its range.
    """
    if not 0 <= fraction < 1:
        raise ValueError(f"`fraction` must be in [0, 1). Received: fraction={fraction}.")
    if fraction == 0 or any(clip.split == "validation" for clip in clips):
        return list(clips)
    positions = {
        clip.clip_id: int(clip_hash(clip.clip_id)[:16], 16) / 2**64
        for clip in clips
        if clip.split == "train"
    }
    threshold = max(fraction, math.nextafter(min(positions.values(), default=0.0), 1.0))
    return [
        dataclasses.replace(clip, split="validation")
        if positions.get(clip.clip_id, 1.0) < threshold
        else clip
        for clip in clips
    ]


def check_splits(clips: Sequence[Clip]) -> None:
    """Checks that every label can be learned.

    Args:
      clips: All clips.

    Raises:
      ValueError: where the train split is empty or another split has a label it does not have.
    """
    labels = {
        split: {clip.label for clip in clips if clip.split == split}
        for split in dict.fromkeys(clip.split for clip in clips)
    }
    if not labels.get("train"):
        raise ValueError(
            "The train split must not be empty. Received: "
            f"{dict(collections.Counter(clip.split for clip in clips))} clips."
        )
    for split in SPLITS[1:]:
        unknown = sorted(labels.get(split, set()) - labels["train"])
        if unknown:
            raise ValueError(
                "Every label must be one of the train split: unknown label in a split. Received: "
                f"split={split!r}, labels={unknown}."
            )


def clip_hash(clip_id: str) -> str:
    """Returns the SHA-256 of a clip's name, 64 hexadecimal digits."""
    return hashlib.sha256(clip_id.encode("utf-8")).hexdigest()


def _read_rows(file: Iterable[str]) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Returns the header and the numbered rows that are not blank, all cells stripped."""
    numbered = [
        (row_number, [cell.strip() for cell in cells])
        for row_number, cells in enumerate(csv.reader(file, strict=True), start=1)
        if any(cell.strip() for cell in cells)
    ]
    return (numbered[0][1], numbered[1:]) if numbered else ([], [])


def _parse_row(row_number: int, header: list[str], cells: list[str], folder: pathlib.Path) -> Clip:
    """Returns the clip of one row; raises ValueError with the row's number."""
    if len(cells) > len(header):
        raise ValueError(
            f"Row {row_number} has more cells than the header; a label with a comma must be "
            f"quoted. Received: row={cells}."
        )
    values = dict(zip(header, cells, strict=False))
    for name in ("clip_id", "label", "path"):
        if not values.get(name):
            raise ValueError(f"Row {row_number} must have a {name}. Received: row={cells}.")
    if values.get("split") not in SPLITS:
        raise ValueError(
            f"Row {row_number}: split must be one of {', '.join(SPLITS)}. Received: "
            f"split={values.get('split', '')!r}."
        )
    start_s, end_s = (_parse_time(row_number, name, values) for name in ("start_s", "end_s"))
    if end_s is not None and end_s <= (start_s or 0.0):
        raise ValueError(
            f"Row {row_number}: end_s must be after start_s. Received: start_s={start_s}, "
            f"end_s={end_s}."
        )
    return Clip(
        clip_id=values["clip_id"],
        split=values["split"],
        label=values["label"],
        path=_resolve(row_number, "path", values["path"], folder),
        audio_path=(
            _resolve(row_number, "audio_path", values["audio_path"], folder)
            if values.get("audio_path")
            else None
        ),
        start_s=start_s,
        end_s=end_s,
    )


def _parse_time(row_number: int, name: str, values: dict[str, str]) -> float | None:
    text = values.get(name)
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds >= 0):
        raise ValueError(
            f"Row {row_number}: {name} must be seconds, >= 0 or empty. Received: {name}={text!r}."
        )
    return seconds


def _resolve(row_number: int, name: str, text: str, folder: pathlib.Path) -> pathlib.Path:
    folder = folder.resolve()
    path = pathlib.Path(os.path.abspath(folder / text))
    # Both the path as written and the place it leads to through links must be inside.
    inside = path.is_relative_to(folder) and (folder / text).resolve().is_relative_to(folder)
    if os.path.isabs(text) or not inside:
        raise ValueError(
            f"Row {row_number}: {name} must be relative and stay inside of the manifest's folder. "
            f"Received: {name}={text!r}."
        )
    return path
