"""Files found in folders, and read as evaluation reads the same clips from records."""

import os

import numpy as np
import pytest

from input_pipelines import dataset, media_batches
from input_pipelines.index import read_index
from tests.input_pipelines import recorded_films
from tests.input_pipelines.media_files import tone, write_video, write_wav


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return recorded_films.write(tmp_path_factory.mktemp("media"))


def _recorded(folder, removed=None):
    """What evaluation gets of each film, by name."""
    data = dataset.eval_dataset(folder / "records", "test", 5, removed=removed)
    inputs, _, _ = next(iter(data.dataset))
    order = [clip.clip_id[-1] for clip in dataset.read_clips(folder / "records", "test", 5)]
    return {
        clip_id: {name: values[row].numpy() for name, values in inputs.items()}
        for row, clip_id in enumerate(order)
    }


@pytest.mark.parametrize(("num_workers", "removed"), [(0, None), (2, "audio")])
def test_files_are_read_as_their_records_are(folder, num_workers, removed):
    (folder / "films" / "broken.mp4").write_bytes(b"no film")
    paths = media_batches.find_videos([folder / "films"])
    names = [os.path.basename(path).split(".")[0] for path in paths]
    assert names == ["a", "b", "broken", "c", "d", "e"]
    index = read_index(folder / "records")
    batches = list(
        media_batches.read_batches(paths, index, 2, num_workers=num_workers, removed=removed)
    )
    assert [batch.paths for batch in batches] == [paths[:2], paths[3:4], paths[4:]]
    assert [dict(batch.unreadable) for batch in batches] == [
        {}, {paths[2]: batches[1].unreadable[paths[2]]}, {}
    ]  # fmt: skip
    assert batches[1].unreadable[paths[2]].startswith("not readable as media (")
    assert batches[0].problems == {paths[1]: "longer than 2 s, its first part kept"}
    expected = _recorded(folder, removed)
    assert len({values["visual"].tobytes() for values in expected.values()}) == 5
    for batch in batches:
        for row, path in enumerate(batch.paths):
            for name, values in expected[os.path.basename(path)[0]].items():
                np.testing.assert_allclose(batch.inputs[name][row], values, rtol=0, atol=1e-5)


def test_a_batch_of_nothing_but_unreadable_files(folder, tmp_path):
    write_video(tmp_path / "silent.mp4", [100] * 25)
    write_wav(tmp_path / "sound.wav", tone(1.0))
    paths = [str(tmp_path / "silent.mp4"), str(tmp_path / "sound.wav")]
    index = read_index(folder / "records")
    (batch,) = media_batches.read_batches(paths, index, 4, num_workers=0)
    assert (batch.paths, batch.inputs) == ([], {})
    assert batch.unreadable == {paths[0]: "no audio track", paths[1]: "no video track"}


def test_folders_are_searched(tmp_path, monkeypatch):
    for name in ("b/2.MKV", "b/10.webm", "a.mp4", "z/notes.txt", ".x.mp4", ".y/1.mp4", "c.mov/d"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "in" / "b" / "up").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "z" / "beside").symlink_to(tmp_path / "in" / "b")
    monkeypatch.chdir(tmp_path)
    found = media_batches.find_videos(["in/z/notes.txt", "in", "./in/a.mp4"])
    assert found == [
        "in/z/notes.txt", "in/a.mp4", "in/b/10.webm", "in/b/2.MKV", "in/c.mov",
        "in/z/beside/10.webm", "in/z/beside/2.MKV",
    ]  # fmt: skip


def test_inputs_without_media_are_named(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.mp4").touch()
    with pytest.raises(FileNotFoundError, match="a file or a folder. Received: 'no', 'nor'."):
        media_batches.find_videos(["no", tmp_path / "empty", "nor"])
    with pytest.raises(ValueError, match=r"videos in it or below \(\.mp4 .* Received: '.*/empty'"):
        media_batches.find_videos([tmp_path / "a.mp4", tmp_path / "empty"])
