"""Kinetics-Sounds: 31 actions one can hear and see, about 19,000 clips.

The clips are those of Kinetics-400, of 10 s.

Where to get it: the videos from
https://github.com/cvdfoundation/kinetics-dataset (many have left YouTube;
copies differ in what they still have); the authors' lists my_train.txt and
my_test.txt are in data/KineticSound/ of
https://github.com/GeWu-Lab/OGM-GE_CVPR2022.

The folder it expects (videos may also lie in `data_dir` itself, or one
folder deeper than here, as in a folder a class; .mkv, .webm and .avi will
do):

  <data_dir>/my_train.txt
  <data_dir>/my_test.txt
  <data_dir>/train/SwgWfV2BIVo_000120_000130.mp4
  <data_dir>/test/y5ixvmQiz_k_158.mp4

Lists: `name,10,label` without a header, labels 0 to 30. A name is
`id_start_end`, seconds of six digits, or `id_start` without leading zeros;
a video is found under either form, whichever the list has. Splits: train
(14,799 clips) and test (2,597). There is no validation split:
`--validation_fraction` holds out a part of train.

Classes: the 31 names are those of https://github.com/IBM/AdaMML/issues/3,
in alphabetical order. That the labels 0 to 30 follow this order is an
assumption: the authors publish numbers only. It decides the names in
reports, not the results.

A clip whose video is not there is listed as missing.

Preset: launchers/presets/kinetics_sounds.flags (128 Kaldi filter banks,
1024 x 128, three frames).
"""

import re

from input_pipelines import files
from input_pipelines.datasets import layouts
from input_pipelines.listing import Listing

CLASS_NAMES = (
    "blowing nose", "blowing out candles", "bowling", "chopping wood", "dribbling basketball",
    "laughing", "mowing lawn", "playing accordion", "playing bagpipes", "playing bass guitar",
    "playing clarinet", "playing drums", "playing guitar", "playing harmonica", "playing keyboard",
    "playing organ", "playing piano", "playing saxophone", "playing trombone", "playing trumpet",
    "playing violin", "playing xylophone", "ripping paper", "shoveling snow", "shuffling cards",
    "singing", "stomping grapes", "tap dancing", "tapping guitar", "tapping pen", "tickling",
)  # fmt: skip
LISTS = {"train": "my_train.txt", "test": "my_test.txt"}
SUFFIXES = (".mp4", ".mkv", ".webm", ".avi")
EXPECTED = "my_train.txt, my_test.txt and <name>.mp4 in this folder or in folders below it"
CLIP_S = 10

# YouTube's ids have 11 characters, of which any may be an underscore or a digit.
_NAME = re.compile(r"(?P<id>.{11})_(?P<start>\d+)(?:_\d{6})?")


def list_clips(data_dir: files.Path, fold: int | None = None) -> Listing:
    """Lists the clips.

    Args:
      data_dir: Folder described above.
      fold: None; there are no folds.

    Raises:
      FileNotFoundError: where the folder, a list or all media are missing.
      ValueError: where a list has a wrong line or a clip twice.
    """
    layouts.refuse_fold(fold, "Kinetics-Sounds")
    root = layouts.find_root(data_dir, EXPECTED)
    rows = [
        (f"{name}, line {number}", split, cells)
        for split, name in LISTS.items()
        for number, cells in layouts.read_rows(root, name)
    ]
    videos = layouts.find_media(root, SUFFIXES, depth=2)
    builder = layouts.ListingBuilder(root, EXPECTED)
    for place, split, cells in rows:
        number = cells[2] if len(cells) == 3 else ""
        if not (cells[0] and number.isdecimal() and int(number) < len(CLASS_NAMES)):
            raise ValueError(
                f"A line must be `name,10,label`, the label from 0 to {len(CLASS_NAMES) - 1}. "
                f"Received: {place}: {cells}."
            )
        names = _names(cells[0])
        path = next((videos[name] for name in names if name in videos), None)
        reason = "" if path else f"no {' or '.join(names)} with {', '.join(SUFFIXES)}"
        builder.add(place, cells[0], split, CLASS_NAMES[int(number)], {"path": path}, reason)
    return builder.build(CLASS_NAMES)


def _names(name: str) -> list[str]:
    """Returns the names a clip's video may have, that of the list first."""
    match = _NAME.fullmatch(name)
    if not match:
        return [name]
    video_id, start = match["id"], int(match["start"])
    padded = f"{video_id}_{start:06d}_{start + CLIP_S:06d}"
    return list(dict.fromkeys((name, padded, f"{video_id}_{start}")))
