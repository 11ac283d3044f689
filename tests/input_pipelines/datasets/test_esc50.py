import collections
import os
import pathlib

import pytest

from input_pipelines.datasets import esc50
from tests.conftest import ROOT
from tests.input_pipelines.datasets.imitations import brief, write

HEADER = "filename,fold,target,category,esc10,src_file,take\n"
LIST = (
    "1-100032-A-0.wav,1,0,dog,True,100032,A\n"
    "1-116765-A-41.wav,1,41,chainsaw,True,116765,A\n"
    "2-118964-A-0.wav,2,0,dog,True,118964,A\n"
    "3-108451-A-12.wav,3,12,crackling_fire,True,108451,A\n"
    "5-203128-A-0.wav,5,0,dog,True,203128,A\n"
)


@pytest.fixture
def esc10() -> pathlib.Path:
    """Folder of ESC-10: $ESC10, or where it lies beside the repository."""
    folder = pathlib.Path(os.environ.get("ESC10", ROOT.parent / "shared" / "data" / "esc10"))
    if not (folder / "meta" / "esc50.csv").is_file():
        pytest.skip(f"ESC10 does not name the ESC-10 clips. Received: {folder}")
    return folder


def _folder(folder, text=LIST):
    write(folder, "meta/esc50.csv", "\ufeff" + (HEADER + text).replace("\n", "\r\n"))
    for name in ("1-100032-A-0.wav", "1-116765-A-41.flac", "2-118964-A-0.ogg", "2-118964-A-0.wav"):
        write(folder, f"audio/{name}")
    write(folder, "audio/3-108451-A-12.WAV")


def test_a_fold_is_for_testing(tmp_path):
    _folder(tmp_path)
    listing = esc50.list_clips(tmp_path)
    assert brief(listing) == {
        "1-100032-A-0": ("test", "dog", "audio/1-100032-A-0.wav"),
        "1-116765-A-41": ("test", "chainsaw", "audio/1-116765-A-41.flac"),
        "2-118964-A-0": ("train", "dog", "audio/2-118964-A-0.wav"),
        "3-108451-A-12": ("train", "crackling_fire", "audio/3-108451-A-12.WAV"),
    }
    assert listing.class_names == ("dog", "crackling_fire", "chainsaw")
    assert [(m["clip_id"], m["split"]) for m in listing.missing] == [("5-203128-A-0", "train")]
    splits = {clip.clip_id: clip.split for clip in esc50.list_clips(tmp_path, fold=3).clips}
    assert [name for name, split in splits.items() if split == "test"] == ["3-108451-A-12"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a.wav,6,0,dog,True,1,A\n", "from 1 to 5 .* Received: meta/esc50.csv, line 7"),
        ("a.wav,1,0,dog\n", "complete.* Received: meta/esc50.csv, line 7"),
        ("a.wav,1,0,cat,True,1,A\n", "one category, 'dog'. .*line 7: target=0, category='cat'"),
        (LIST[:39], "line 2 and meta/esc50.csv, line 7 .* Received: clip_id='1-100032-A-0'"),
    ],
)
def test_wrong_lines(line, message, tmp_path):
    _folder(tmp_path, LIST + line)
    with pytest.raises(ValueError, match=message):
        esc50.list_clips(tmp_path)


def test_a_header_without_a_column(tmp_path):
    _folder(tmp_path)
    write(tmp_path, "meta/esc50.csv", "filename,fold,target\na.wav,1,0\n")
    with pytest.raises(ValueError, match=r"src_file. Received: \['filename', 'fold', 'target'\]"):
        esc50.list_clips(tmp_path)


def test_esc10_as_it_is(esc10):
    tested = collections.Counter()
    for fold in range(1, 6):
        listing = esc50.list_clips(esc10, fold)
        assert (len(listing.clips), listing.missing) == (400, ())
        counts = collections.Counter(clip.split for clip in listing.clips)
        assert counts == {"train": 320, "test": 80}
        tested.update(clip.clip_id for clip in listing.clips if clip.split == "test")
    assert set(tested.values()) == {1} and len(tested) == 400
    assert listing.class_names == (
        "dog", "rooster", "rain", "sea_waves", "crackling_fire", "crying_baby", "sneezing",
        "clock_tick", "helicopter", "chainsaw",
    )  # fmt: skip
    labels = collections.Counter(clip.label for clip in listing.clips)
    assert set(labels.values()) == {40}
    assert all(pathlib.Path(clip.path).is_file() for clip in listing.clips)
