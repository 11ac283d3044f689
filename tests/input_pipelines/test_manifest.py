import csv
import os

import pytest

from input_pipelines import manifest
from input_pipelines.manifest import Clip

HEADER = "clip_id,split,label,path,start_s,end_s,colour\n"


def _write(folder, text, encoding="utf-8"):
    path = folder / "manifest.csv"
    path.write_bytes(text.encode(encoding))
    return path


def _clips(number, split="train"):
    return [
        Clip(f"clip{index}", split, f"label{index % 3}", f"/{index}") for index in range(number)
    ]


def test_reads_rows_in_order_and_ignores_further_columns(tmp_path):
    text = (
        "\ufeffclip_id , split,label,path,audio_path,start_s,end_s,colour\r\n"
        'a,train,"bark, loud",clips/a.mp4,,,,red\r\n'
        "\r\n"
        "ü,test,meow,frames/b,wav/b.wav,1.5,2.25\r\n"
    )
    first, second = manifest.read_manifest(_write(tmp_path, text))
    assert first == Clip("a", "train", "bark, loud", tmp_path / "clips/a.mp4", None, None, None)
    assert second == Clip(
        "ü", "test", "meow", tmp_path / "frames/b", tmp_path / "wav/b.wav", 1.5, 2.25
    )


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "missing: clip_id, split, label, path"),
        ("clip_id,path\na,b\n", r"missing: split, label. Received: columns=\['clip_id', 'path'\]"),
        (HEADER, "at least one clip. Received"),
        (HEADER + "a,train,x,a.mp4\n\nb,dev,x,b.mp4\n", "Row 4: split .* Received: split='dev'"),
        (HEADER + "a,train,x,a.mp4\na,test,x,b.mp4\n", "rows 2 and 3 .* Received: clip_id='a'"),
        (HEADER + "a,train, ,a.mp4\n", "Row 2 must have a label. Received"),
        (HEADER + ",train,x,a.mp4\n", "Row 2 must have a clip_id. Received"),
        (HEADER + "a,train,x,\n", "Row 2 must have a path. Received"),
        (HEADER + "a,train,x,a.mp4,2,2\n", "Row 2: end_s .* Received: start_s=2.0, end_s=2.0"),
        (HEADER + "a,train,x,a.mp4,,0\n", "Row 2: end_s .* Received: start_s=None, end_s=0.0"),
        (HEADER + "a,train,x,a.mp4,-1,2\n", "Row 2: start_s .* Received: start_s='-1'"),
        (HEADER + "a,train,x,a.mp4,0,nan\n", "Row 2: end_s .* Received: end_s='nan'"),
        (HEADER + "a,train,x,a.mp4,0,soon\n", "Row 2: end_s .* Received: end_s='soon'"),
        (HEADER + "a,train,x,y,a.mp4,0,1,red,8\n", "Row 2 has more cells .* Received"),
        (HEADER.replace("colour", "path") + "a,train,x,a.mp4\n", "different names. Received"),
        (HEADER + "a,train,x,/etc/passwd\n", "Row 2: path .* Received: path='/etc/passwd'"),
        (HEADER + "a,train,x,../a.mp4\n", "Row 2: path .* Received: path='../a.mp4'"),
        (HEADER + "a,train,x,b/../../a.mp4\n", "Row 2: path .* Received"),
        (HEADER + "a,train,x,out/a.mp4\n", "Row 2: path .* Received: path='out/a.mp4'"),
    ],
)
def test_errors_name_row_and_value(tmp_path, text, message):
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "out").symlink_to(tmp_path)
    with pytest.raises(ValueError, match=message):
        manifest.read_manifest(_write(folder, text))


def test_wrong_encoding_and_missing_file(tmp_path):
    with pytest.raises(ValueError, match="UTF-8. Received"):
        manifest.read_manifest(_write(tmp_path, HEADER + "ü,train,x,a.mp4\n", "latin-1"))
    with pytest.raises(FileNotFoundError, match="Received"):
        manifest.read_manifest(tmp_path / "none.csv")


def test_links_and_detours_inside_of_the_folder_are_allowed(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    text = HEADER + "a,train,x,link/a.mp4\nb,train,x,real/../real/b.mp4\n"
    paths = [clip.path for clip in manifest.read_manifest(_write(tmp_path, text))]
    assert paths == [tmp_path / "link/a.mp4", tmp_path / "real/b.mp4"]


def test_written_manifests_read_back(tmp_path):
    path = tmp_path / "new" / "manifest.csv"
    rows = [
        {"clip_id": "a", "split": "train", "label": "x, y", "path": tmp_path / "new/c/a.mp4"},
        {"clip_id": "b", "split": "test", "label": "z", "path": "c/b.mp4", "end_s": 2.5, "age": 3},
    ]
    manifest.write_manifest(path, rows)
    with path.open(newline="") as file:
        assert next(csv.reader(file)) == ["clip_id", "split", "label", "path", "end_s", "age"]
    clips = manifest.read_manifest(path)
    assert [clip.path for clip in clips] == [path.parent / "c/a.mp4", path.parent / "c/b.mp4"]
    assert [clip.end_s for clip in clips] == [None, 2.5]
    manifest.write_manifest(path, clips)
    assert manifest.read_manifest(path) == clips
    assert os.listdir(path.parent) == ["manifest.csv"]
    with pytest.raises(ValueError, match="Received: path="):
        manifest.write_manifest(path, [{**rows[0], "path": tmp_path / "elsewhere.mp4"}])
    with pytest.raises(ValueError, match="must have a label. Received"):
        manifest.write_manifest(path, [{**rows[0], "label": None}])


def test_hold_out_is_by_the_name_alone():
    clips = _clips(1000) + [Clip("t", "test", "label0", "/t")]
    held = {c.clip_id for c in manifest.hold_out_validation(clips, 0.1) if c.split == "validation"}
    assert 70 < len(held) < 130
    # 8 digits of the hash are enough to place it.
    for clip_id in ("clip0", "clip7", "clip8"):
        share = int(manifest.clip_hash(clip_id)[:8], 16) / 2**32
        assert (clip_id in held) == (share < 0.1)
    fewer = manifest.hold_out_validation(clips[:500], 0.1)
    assert {c.clip_id for c in fewer if c.split == "validation"} == held & {
        f"clip{index}" for index in range(500)
    }
    more = manifest.hold_out_validation(clips, 0.3)
    assert held < {c.clip_id for c in more if c.split == "validation"}


def test_hold_out_leaves_a_validation_split_alone_and_takes_at_least_one():
    clips = [*_clips(20), Clip("v", "validation", "label0", "/v")]
    assert manifest.hold_out_validation(clips, 0.5) == clips
    assert manifest.hold_out_validation(clips[:20], 0.0) == clips[:20]
    few = manifest.hold_out_validation(clips[:20], 1e-9)
    assert sum(clip.split == "validation" for clip in few) == 1
    for fraction in (-0.1, 1.0, float("nan")):
        with pytest.raises(ValueError, match="Received: fraction="):
            manifest.hold_out_validation(clips, fraction)


def test_check_splits():
    clips = _clips(6)
    manifest.check_splits(clips)
    unknown = [
        Clip("t", "test", "zebra", "/t"),
        Clip("u", "test", "cow", "/u"),
        Clip("v", "test", "label0", "/v"),
    ]
    with pytest.raises(ValueError, match=r"split='test', labels=\['cow', 'zebra'\]"):
        manifest.check_splits(clips + unknown)
    with pytest.raises(ValueError, match=r"train split must not be empty. Received: \{'test': 3\}"):
        manifest.check_splits(unknown)
