import csv
import os

import pytest

from input_pipelines import manifest
from input_pipelines.listing import Clip

HEADER = "clip_id,split,label,path,start_s,end_s,colour\n"
EVENTS = "clip_id,split,label,path,start_s,end_s,event_start_s,event_end_s\n"


def _write(folder, text, encoding="utf-8"):
    path = folder / "manifest.csv"
    path.write_bytes(text.encode(encoding))
    return path


def test_reads_rows_in_order_and_ignores_further_columns(tmp_path):
    text = (
        "\ufeffclip_id , split,label,path,audio_path,start_s,end_s,colour\r\n"
        'a,train,"bark, loud",clips/a.mp4,,,,red\r\n'
        "\r\n"
        "ü,test,meow,frames/b,wav/b.wav,1.5,2.25\r\n"
    )
    listing = manifest.read_manifest(_write(tmp_path, text))
    first, second = listing.clips
    assert listing.root == str(tmp_path) and listing.class_names is None
    assert first == Clip("a", "train", "bark, loud", f"{tmp_path}/clips/a.mp4")
    assert second == Clip(
        "ü",
        "test",
        "meow",
        f"{tmp_path}/frames/b",
        f"{tmp_path}/wav/b.wav",
        start_s=1.5,
        end_s=2.25,
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
        (HEADER.replace("colour", "flow_x_path") + "a,train,x,y,,,z\n", "both flow_x_path and"),
        (HEADER + "a,train,x,out/a.mp4\n", "Row 2: path .* Received: path='out/a.mp4'"),
        (EVENTS + "a,train,x,a.mp4,,,1,\n", "Row 2 .*both.* Received: event_start_s=1.0, event_e"),
        (EVENTS + "a,train,x,a.mp4,,,,1\n", "Row 2 .*both.* Received: event_start_s=None"),
        (EVENTS + "a,train,x,a.mp4,,,1,1\n", "Row 2: event_end_s must be after.* Received"),
        (EVENTS + "a,train,x,a.mp4,,,-1,1\n", "Row 2: event_start_s .* Received: .*'-1'"),
        (EVENTS + "a,train,x,a.mp4,2,3,0,2\n", "the event .* from 2.0 s to 3.0 s. Received: event"),
        (EVENTS + "a,train,x,a.mp4,,3,3,4\n", "the event .* from 0.0 s to 3.0 s. Received"),
        (EVENTS + "a,train,x,a.mp4,2,,1,2\n", "the event .* from 2.0 s to its end. Received"),
    ],
)
def test_errors_name_row_and_value(tmp_path, text, message):
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "out").symlink_to(tmp_path)
    with pytest.raises(ValueError, match=message):
        manifest.read_manifest(_write(folder, text))


def test_events_are_in_seconds_of_the_file(tmp_path):
    rows = "a,train,x,a.mp4,1,3,0.5,1.25\nb,train,x,b.mp4,,,0,9\nc,train,x,c.mp4,,,,\n"
    clips = manifest.read_manifest(_write(tmp_path, EVENTS + rows)).clips
    found = [(clip.event_start_s, clip.event_end_s) for clip in clips]
    assert found == [(0.5, 1.25), (0.0, 9.0), (None, None)]
    manifest.write_manifest(tmp_path / "again.csv", clips)
    assert manifest.read_manifest(tmp_path / "again.csv").clips == clips


def test_wrong_encoding_and_missing_file(tmp_path):
    with pytest.raises(ValueError, match="UTF-8. Received"):
        manifest.read_manifest(_write(tmp_path, HEADER + "ü,train,x,a.mp4\n", "latin-1"))
    with pytest.raises(FileNotFoundError, match="Received"):
        manifest.read_manifest(tmp_path / "none.csv")


def test_links_and_detours_inside_of_the_folder_are_allowed(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    text = HEADER + "a,train,x,link/a.mp4\nb,train,x,real/../real/b.mp4\n"
    paths = [clip.path for clip in manifest.read_manifest(_write(tmp_path, text)).clips]
    assert paths == [f"{tmp_path}/link/a.mp4", f"{tmp_path}/real/b.mp4"]


def test_written_manifests_read_back(tmp_path):
    path = tmp_path / "new" / "manifest.csv"
    rows = [
        {"clip_id": "a", "split": "train", "label": "x, y", "path": tmp_path / "new/c/a.mp4"},
        {"clip_id": "b", "split": "test", "label": "z", "path": "c/b.mp4", "end_s": 2.5, "age": 3},
    ]
    manifest.write_manifest(path, rows)
    with path.open(newline="") as file:
        assert next(csv.reader(file)) == ["clip_id", "split", "label", "path", "end_s", "age"]
    clips = manifest.read_manifest(path).clips
    assert [clip.path for clip in clips] == [f"{path.parent}/c/a.mp4", f"{path.parent}/c/b.mp4"]
    assert [clip.end_s for clip in clips] == [None, 2.5]
    manifest.write_manifest(path, clips)
    assert manifest.read_manifest(path).clips == clips
    assert os.listdir(path.parent) == ["manifest.csv"]
    with pytest.raises(ValueError, match="Received: path="):
        manifest.write_manifest(path, [{**rows[0], "path": tmp_path / "elsewhere.mp4"}])
    with pytest.raises(ValueError, match="must have a label. Received"):
        manifest.write_manifest(path, [{**rows[0], "label": None}])
