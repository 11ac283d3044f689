"""Clips described by a CSV file, one row a clip."""

import collections
import csv
import io
import math
import os
from collections.abc import Iterable, Mapping
from typing import Any

from input_pipelines import files
from input_pipelines.listing import SPLITS, Clip, Listing

REQUIRED_COLUMNS = ("clip_id", "split", "label", "path")
OPTIONAL_COLUMNS = (
    "audio_path", "flow_x_path", "flow_y_path", "start_s", "end_s", "group",
    "event_start_s", "event_end_s",
)  # fmt: skip
_PATH_COLUMNS = tuple(name for name in REQUIRED_COLUMNS + OPTIONAL_COLUMNS if name.endswith("path"))


def read_manifest(path: files.Path) -> Listing:
    """Reads a manifest: CSV in UTF-8 with the header `clip_id,split,label,path`.

    The columns `audio_path`, `flow_x_path`, `flow_y_path`, `start_s`, `end_s`, `group`,
    `event_start_s` and `event_end_s` may be left out or left empty; further columns are ignored.
    Paths are relative to the manifest's folder and stay inside of it. All times are seconds in the
    file.

    Args:
      path: The CSV file.

    Returns:
      The clips in the order of their rows, with absolute paths.

    Raises:
      FileNotFoundError: where there is no such file.
      ValueError: where the file is not such a manifest; names the row (the header is row 1).
    """
    path = files.absolute(path)
    if not files.is_file(path):
        raise FileNotFoundError(f"There is no such manifest. Received: path={path!r}.")
    try:
        header, rows = _read_rows(io.StringIO(files.read_text(path), newline=""))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(
            f"A manifest must be CSV in UTF-8. Received: path={path!r} ({error})."
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
        clip = _parse_row(row_number, header, values, files.parent(path))
        if clip.clip_id in row_of:
            raise ValueError(
                f"Rows must have different clip_id; rows {row_of[clip.clip_id]} and {row_number} "
                f"have the same. Received: clip_id={clip.clip_id!r}."
            )
        row_of[clip.clip_id] = row_number
        clips.append(clip)
    if not clips:
        raise ValueError(f"A manifest must have at least one clip. Received: path={path!r}.")
    return Listing(files.parent(path), tuple(clips))


def write_manifest(path: files.Path, rows: Iterable[Mapping[str, Any] | Clip]) -> None:
    """Writes a manifest: complete or not at all.

    Args:
      path: The CSV file; an older one is replaced.
      rows: One mapping from column to value per clip, or `Clip`s; None is written as an empty
        cell. Absolute paths are written relative to the manifest's folder. Columns beside the
        known ones follow them in the order they are first seen.

    Raises:
      ValueError: where a row lacks a required column or a path is outside of the folder.
    """
    path = files.absolute(path)
    folder = files.parent(path)
    rows = [dict(vars(row)) if isinstance(row, Clip) else dict(row) for row in rows]
    columns = list(REQUIRED_COLUMNS)
    columns += [name for name in OPTIONAL_COLUMNS if any(name in row for row in rows)]
    for row in rows:
        columns += [name for name in row if name not in columns]
    for row in rows:
        for name in REQUIRED_COLUMNS:
            if row.get(name) in (None, ""):
                raise ValueError(f"Every row must have a {name}. Received: row={row}.")
        for name in _PATH_COLUMNS:
            if row.get(name) and files.is_absolute(row[name]):
                relative = files.relative(row[name], folder)
                if relative is None:
                    raise ValueError(
                        "Paths must stay inside of the manifest's folder. Received: "
                        f"{name}={str(row[name])!r} of clip_id={row['clip_id']!r}."
                    )
                row[name] = relative
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    files.make_folder(folder)
    files.write_text(path, text.getvalue())


def _read_rows(file: Iterable[str]) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Returns the header and the numbered rows that are not blank, all cells stripped."""
    numbered = [
        (row_number, [cell.strip() for cell in cells])
        for row_number, cells in enumerate(csv.reader(file, strict=True), start=1)
        if any(cell.strip() for cell in cells)
    ]
    return (numbered[0][1], numbered[1:]) if numbered else ([], [])


def _parse_row(row_number: int, header: list[str], cells: list[str], folder: str) -> Clip:
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
    event_start_s, event_end_s = _parse_event(row_number, values, start_s or 0.0, end_s)
    paths = {
        name: _resolve(row_number, name, values[name], folder)
        for name in _PATH_COLUMNS
        if values.get(name)
    }
    if ("flow_x_path" in paths) != ("flow_y_path" in paths):
        raise ValueError(
            f"Row {row_number} must have both flow_x_path and flow_y_path, or neither. Received: "
            f"row={cells}."
        )
    return Clip(
        values["clip_id"],
        values["split"],
        values["label"],
        start_s=start_s,
        end_s=end_s,
        group=values.get("group") or None,
        event_start_s=event_start_s,
        event_end_s=event_end_s,
        **paths,
    )


def _parse_event(
    row_number: int, values: dict[str, str], start_s: float, end_s: float | None
) -> tuple[float | None, float | None]:
    """Returns when the event of a clip from `start_s` to `end_s` begins and ends."""
    names = ("event_start_s", "event_end_s")
    first_s, last_s = (_parse_time(row_number, name, values) for name in names)
    received = f"Received: event_start_s={first_s}, event_end_s={last_s}."
    if (first_s is None) != (last_s is None):
        raise ValueError(
            f"Row {row_number} must have both event_start_s and event_end_s, or neither. {received}"
        )
    if first_s is not None and not first_s < last_s:
        raise ValueError(f"Row {row_number}: event_end_s must be after event_start_s. {received}")
    is_outside = last_s is not None and last_s <= start_s
    if is_outside or (None not in (first_s, end_s) and first_s >= end_s):
        raise ValueError(
            f"Row {row_number}: the event must lie in the clip, which is from {start_s} s to "
            f"{'its end' if end_s is None else f'{end_s} s'}. {received}"
        )
    return first_s, last_s


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


def _resolve(row_number: int, name: str, text: str, folder: str) -> str:
    path = files.absolute(files.join(folder, text))
    inside = not files.is_absolute(text) and files.relative(path, folder) is not None
    if inside and not files.is_remote(folder):
        # The place it leads to through links must be inside as well.
        inside = files.relative(os.path.realpath(path), os.path.realpath(folder)) is not None
    if not inside:
        raise ValueError(
            f"Row {row_number}: {name} must be relative and stay inside of the manifest's folder. "
            f"Received: {name}={text!r}."
        )
    return path
