import pytest

from input_pipelines.datasets import folders
from tests.input_pipelines.datasets.imitations import brief, write


def test_splits(tmp_path):
    for name in (
        "train/dog/a.mp4", "train/dog/b.v2.MKV", "train/cat/a.wav", "val/dog/a.mp4",
        "test/cat/x.webm", "test/cat/.DS_Store", "test/cat/notes.txt", ".git/config",
        "README.md", "train/stray.mp4",
    ):  # fmt: skip
        write(tmp_path, name)
    listing = folders.list_clips(tmp_path)
    assert brief(listing) == {
        "train/cat/a": ("train", "cat", "train/cat/a.wav"),
        "train/dog/a": ("train", "dog", "train/dog/a.mp4"),
        "train/dog/b.v2": ("train", "dog", "train/dog/b.v2.MKV"),
        "val/dog/a": ("validation", "dog", "val/dog/a.mp4"),
        "test/cat/x": ("test", "cat", "test/cat/x.webm"),
    }
    assert listing.class_names == ("cat", "dog")
    assert {m["clip_id"]: (m["split"], m["reason"]) for m in listing.missing} == {
        "test/cat/notes.txt": ("test", "test/cat/notes.txt is not of a known kind of media"),
        "train/stray.mp4": ("train", "train/stray.mp4 is not in the folder of a class"),
    }


def test_classes_without_splits(tmp_path):
    for label in ("bus", "train"):
        for number in range(60):
            write(tmp_path, f"{label}/{number}.mp4")
    write(tmp_path, "tram/only.mp4")
    listing = folders.list_clips(tmp_path)
    clips = brief(listing)
    assert listing.class_names == ("bus", "train", "tram") and len(clips) == 121
    assert clips["train/7"][1:] == ("train", "train/7.mp4")
    for label in ("bus", "train"):
        splits = [split for split, name, _ in clips.values() if name == label]
        assert 1 <= splits.count("test") <= 15 and splits.count("train") >= 45
    assert clips["tram/only"][0] == "train"


@pytest.mark.parametrize(
    ("names", "error", "message"),
    [
        (["dog/a.mp4", "dog/a.wav"], ValueError,
         "dog/a.mp4 and dog/a.wav have the same. Received: clip_id='dog/a'"),
        (["dog/a.mp4", "cat/.hidden.mp4"], ValueError, "must have media.* Received: folder='cat'"),
        (["train/dog/a.mp4", "extra/dog/a.mp4"], ValueError,
         r"Beside train .* Received: folders=\['extra'\]"),
        (["a.mp4"], FileNotFoundError, "None of the 1 .*expected <split>/<class>/<media>"),
        (["notes.txt"], ValueError, "must name clips; expected <split>/<class>/<media>"),
    ],
)  # fmt: skip
def test_wrong_folders(names, error, message, tmp_path):
    for name in names:
        write(tmp_path, name)
    with pytest.raises(error, match=message):
        folders.list_clips(tmp_path)
