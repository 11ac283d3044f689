"""CREMA-D: six acted emotions, 7,442 clips of 91 actors, about 2.5 s each.

Where to get it: https://github.com/CheyneyComputerScience/CREMA-D (clone it
with `git lfs`, or the media are small text files). The authors' lists
train.csv and test.csv are in data/CREMAD/ of
https://github.com/GeWu-Lab/OGM-GE_CVPR2022.

The folder it expects:

  <data_dir>/VideoFlash/1001_DFA_ANG_XX.flv     the picture
  <data_dir>/AudioWAV/1001_DFA_ANG_XX.wav       the sound
  <data_dir>/train.csv                          the authors' lists;
  <data_dir>/test.csv                           both may be left out

Lists: `clip,EMOTION` without a header, such as 1088_IOM_NEU_XX,NEU. Splits:
train (6,698 clips) and test (744) as the authors drew them, over clips: all
actors are in both.

Without the lists, the emotion is the third part of a clip's name
(actor_sentence_emotion_level) and about 10 % of the clips are for testing:
those whose names have the largest SHA-256. Results then do not compare with
published ones.

There is no validation split: `--validation_fraction` holds out a part of
train.

Classes, in this order: NEU, HAP, SAD, FEA, DIS, ANG. A clip whose .flv or
.wav is not there is listed as missing; the sound is never taken from the
.flv, for the authors use the .wav.

Presets: launchers/presets/crema_d.flags (the authors' released front end,
257 x 188) and launchers/presets/crema_d_paper.flags (that of the paper's
time, 257 x 299, three frames).
"""

from input_pipelines import files
from input_pipelines.datasets import layouts
from input_pipelines.listing import Listing

CLASS_NAMES = ("NEU", "HAP", "SAD", "FEA", "DIS", "ANG")
LISTS = {"train": "train.csv", "test": "test.csv"}
EXPECTED = "VideoFlash/<clip>.flv and AudioWAV/<clip>.wav"


def list_clips(data_dir: files.Path, fold: int | None = None) -> Listing:
    """Lists the clips.

    Args:
      data_dir: Folder described above.
      fold: None; there are no folds.

    Raises:
      FileNotFoundError: where the folder, one of the two lists or all media are missing.
      ValueError: where a list has a wrong line or a clip twice.
    """
    layouts.refuse_fold(fold, "CREMA-D")
    root = layouts.find_root(data_dir, EXPECTED)
    videos = layouts.find_media(files.join(root, "VideoFlash"), (".flv",))
    sounds = layouts.find_media(files.join(root, "AudioWAV"), (".wav",))
    there = set(files.names_in(root))
    if there.intersection(LISTS.values()):
        rows = _read_lists(root)
    else:
        rows = _read_names(sorted(videos.keys() | sounds.keys()))
    builder = layouts.ListingBuilder(root, EXPECTED)
    for place, clip_id, split, label, reason in rows:
        lacking = [
            f"{folder}/{clip_id}{suffix}"
            for media, folder, suffix in (
                (videos, "VideoFlash", ".flv"),
                (sounds, "AudioWAV", ".wav"),
            )
            if clip_id not in media
        ]
        if lacking and not reason:
            reason = f"no {' and no '.join(lacking)}"
        paths = {"path": videos.get(clip_id), "audio_path": sounds.get(clip_id)}
        builder.add(place, clip_id, split, label, paths, reason)
    return builder.build(CLASS_NAMES)


def _read_lists(root: str) -> list[tuple[str, str, str, str, str]]:
    rows = []
    for split, name in LISTS.items():
        for number, cells in layouts.read_rows(root, name):
            place = f"{name}, line {number}"
            if len(cells) != 2 or not cells[0] or cells[1] not in CLASS_NAMES:
                raise ValueError(
                    f"A line must be `clip,emotion`, the emotion one of {', '.join(CLASS_NAMES)}. "
                    f"Received: {place}: {cells}."
                )
            rows.append((place, cells[0], split, cells[1], ""))
    return rows


def _read_names(clip_ids: list[str]) -> list[tuple[str, str, str, str, str]]:
    test = layouts.hashed_test_part(clip_ids)
    rows = []
    for clip_id in clip_ids:
        parts = clip_id.split("_")
        known = len(parts) == 4 and parts[2] in CLASS_NAMES
        reason = "" if known else "the name is not actor_sentence_emotion_level"
        split = "test" if clip_id in test else "train"
        rows.append(("the folder", clip_id, split, parts[2] if known else "", reason))
    return rows
