import os

import pytest

from input_pipelines import datasets, files
from input_pipelines.datasets import layouts
from input_pipelines.listing import Clip, hold_out_validation
from tests.input_pipelines.datasets.imitations import write


@pytest.mark.parametrize("name", datasets.NAMES)
def test_every_dataset_describes_itself_and_refuses_an_empty_folder(name, tmp_path):
    text = datasets.describe(name)
    for part in ("<data_dir>/", "Preset", "launchers/presets/", "missing"):
        assert part in text
    assert ("Where to get it: " in text) == (name != "folders")
    # What absl prints of a flag's help without breaking lines.
    assert max(map(len, text.splitlines())) <= 76
    assert f"--dataset={name}\n\n{text}" in datasets.describe_all()
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(FileNotFoundError, match=rf"expected .* Received: data_dir='{folder}'"):
            datasets.get(name).list_clips(folder)


def test_unknown_dataset():
    with pytest.raises(ValueError, match="crema_d, .*, folders. Received: name='ucf102'"):
        datasets.get("ucf102")


@pytest.mark.parametrize(
    ("name", "fold", "message"),
    [
        ("crema_d", 1, "no folds. Received: fold=1"),
        ("folders", 0, "no folds. Received: fold=0"),
        ("esc50", 6, "from 1 to 5. Received: fold=6"),
        ("ucf101", 0, "from 1 to 3. Received: fold=0"),
    ],
)
def test_folds(name, fold, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        datasets.get(name).list_clips(tmp_path, fold)


def test_media_are_found_by_listing_each_folder_once(tmp_path, monkeypatch):
    for name in (
        "a.mp4", "b.webm", ".c.mp4", "d.txt", "sub/a.webm", "sub/b.MP4", "sub/-e_1.mkv",
        "v1.0/f.mp4", "sub/deep/g.mp4", "sub/deep/deeper/h.mp4", "sound.wav",
    ):  # fmt: skip
        write(tmp_path, name)
    listed = []
    names_in = files.names_in
    monkeypatch.setattr(files, "names_in", lambda f: listed.append(f) or names_in(f))
    root = str(tmp_path)
    found = layouts.find_media(root, (".mp4", ".mkv", ".webm"), depth=2)
    found = {stem: os.path.relpath(path, root) for stem, path in found.items()}
    # The earlier suffix wins over the nearer folder.
    assert found == {
        "a": "a.mp4",
        "b": "sub/b.MP4",
        "-e_1": "sub/-e_1.mkv",
        "f": "v1.0/f.mp4",
        "g": "sub/deep/g.mp4",
    }
    assert sorted(os.path.relpath(f, root) for f in listed) == [".", "sub", "sub/deep", "v1.0"]
    assert set(layouts.find_media(root, (".mp4",))) == {"a"}


def test_no_single_file_is_asked_for(tmp_path, monkeypatch):
    """200,000 videos on an object store: lists are read, folders listed, no more."""
    write(tmp_path, "vggsound.csv", "".join(f"id{n:09d},30,x,train\n" for n in range(50)))
    for n in range(40):
        write(tmp_path, f"video/id{n:09d}_000030.mp4")
        write(tmp_path, f"audio/id{n:09d}_000030.wav")
    asked = []
    for name in ("is_file", "is_folder", "exists", "size"):
        real = getattr(files, name)
        monkeypatch.setattr(files, name, lambda path, real=real: asked.append(path) or real(path))
    listing = datasets.get("vggsound").list_clips(str(tmp_path))
    assert (len(listing.clips), len(listing.missing)) == (40, 10)
    assert len(asked) < 10


def test_hashed_test_part():
    names = [f"clip{n}" for n in range(2000)]
    part = layouts.hashed_test_part(names)
    assert 160 < len(part) < 240
    # A clip stays where it is when others are added.
    assert layouts.hashed_test_part(names[:1000]) == part & set(names[:1000])
    # What is then held out for validation is another tenth.
    clips = [Clip(n, "test" if n in part else "train", "x", "/x") for n in names]
    held_out = [c for c in hold_out_validation(clips, 0.1) if c.split == "validation"]
    assert 160 < len(held_out) < 240
    for number, least, most in ((0, 0, 0), (1, 0, 0), (2, 1, 1), (5, 1, 4)):
        assert least <= len(layouts.hashed_test_part(names[:number])) <= most


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (None, FileNotFoundError, "must hold list.csv. Received: path="),
        (b"a,\xff\n", ValueError, "must be UTF-8. Received: list.csv"),
        (b'a,b\n"c"d,e\n', ValueError, "must be CSV. Received: list.csv, line 2"),
    ],
)
def test_lists_that_cannot_be_read(content, error, message, tmp_path):
    if content is not None:
        write(tmp_path, "list.csv", content)
    with pytest.raises(error, match=message):
        layouts.read_rows(str(tmp_path), "list.csv")


def test_lists_have_byte_order_marks_and_any_line_ends(tmp_path):
    write(tmp_path, "list.csv", '\ufeffa , b\r\n\r\n"c, d",e\r\n,\r\nf,g')
    assert layouts.read_rows(str(tmp_path), "list.csv") == [
        (1, ["a", "b"]), (3, ["c, d", "e"]), (5, ["f", "g"]),
    ]  # fmt: skip
    write(tmp_path, "list.txt", "\ufeffa b\r\n\r\n c \n")
    assert layouts.read_lines(str(tmp_path), "list.txt") == [(1, "a b"), (3, "c")]
