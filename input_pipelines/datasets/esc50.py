"""ESC-50: 50 classes of environmental sounds, 2,000 clips of 5 s, sound only.

Where to get it: https://github.com/karolpiczak/ESC-50 (its archive of about
600 MB). Its part ESC-10, of 10 classes and 400 clips in the same layout, is
read as well.

The folder it expects (.flac and .ogg will do, whatever suffix the list
says):

  <data_dir>/meta/esc50.csv
  <data_dir>/audio/1-100032-A-0.wav

List: meta/esc50.csv with the header
`filename,fold,target,category,esc10,src_file,take`.

Folds 1 to 5 keep clips of one recording together. `--dataset_fold=k` (by
default 1) makes fold k the test split and the other four train; results are
the mean over the five. There is no validation split, and
`--validation_fraction` would part clips of one recording.

Classes: the categories in the order of their `target`.

A clip whose sound is not there is listed as missing.

Preset: launchers/presets/esc50.flags (log-mel, 128 x 216, no pictures).
"""

from input_pipelines import files
from input_pipelines.datasets import layouts
from input_pipelines.listing import Listing

LIST = "meta/esc50.csv"
COLUMNS = ("filename", "fold", "target", "category", "src_file")
SUFFIXES = (".wav", ".flac", ".ogg")
NUM_FOLDS = 5
EXPECTED = f"{LIST} and audio/<name>.wav"


def list_clips(data_dir: files.Path, fold: int | None = None) -> Listing:
    """Lists the clips.

    Args:
      data_dir: Folder described above.
      fold: The one for testing, 1 to 5; None: 1.

    Raises:
      FileNotFoundError: where the folder, the list or all media are missing.
      ValueError: where the fold is unknown or the list has a wrong line or a clip twice.
    """
    fold = layouts.check_fold(fold, NUM_FOLDS)
    root = layouts.find_root(data_dir, EXPECTED)
    rows = _read_list(root)
    class_names: dict[int, str] = {}
    for place, row in rows:
        category = class_names.setdefault(int(row["target"]), row["category"])
        if category != row["category"]:
            raise ValueError(
                f"A target must have one category, {category!r}. Received: {place}: "
                f"target={row['target']}, category={row['category']!r}."
            )
    sounds = layouts.find_media(files.join(root, "audio"), SUFFIXES)
    builder = layouts.ListingBuilder(root, EXPECTED)
    for place, row in rows:
        stem = row["filename"].removesuffix(files.suffix(row["filename"]))
        split = "test" if int(row["fold"]) == fold else "train"
        path = sounds.get(stem)
        reason = "" if path else f"no audio/{stem} with {', '.join(SUFFIXES)}"
        group = row["src_file"]
        builder.add(place, stem, split, row["category"], {"path": path}, reason, group)
    return builder.build(class_names[target] for target in sorted(class_names))


def _read_list(root: str) -> list[tuple[str, dict[str, str]]]:
    """Returns place and cells by column of each row."""
    numbered = layouts.read_rows(root, LIST)
    header = numbered[0][1] if numbered else []
    if not set(COLUMNS) <= set(header):
        raise ValueError(f"{LIST} must have the columns {', '.join(COLUMNS)}. Received: {header}.")
    folds = [str(number) for number in range(1, NUM_FOLDS + 1)]
    rows = []
    for number, cells in numbered[1:]:
        place = f"{LIST}, line {number}"
        row = dict(zip(header, cells, strict=False))
        complete = len(cells) == len(header) and row["filename"] and row["category"]
        if not (complete and row["target"].isdecimal() and row["fold"] in folds):
            raise ValueError(
                f"A line must be complete, its fold from 1 to {NUM_FOLDS} and its target a "
                f"number. Received: {place}: {cells}."
            )
        rows.append((place, row))
    return rows
