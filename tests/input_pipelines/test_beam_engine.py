import pytest

from input_pipelines import preparation, shards
from input_pipelines.index import read_index
from input_pipelines.settings import ClipSettings, VideoSettings
from tests.input_pipelines.media_files import tone, write_video

pytest.importorskip("apache_beam", reason="needs pip install '.[beam]'")

from input_pipelines import beam_engine  # noqa: E402

SETTINGS = ClipSettings(window_s=0.2, video=VideoSettings(frames_per_second=10))


@pytest.fixture
def data(tmp_path):
    """Seven clips in a manifest, one of them broken."""
    rows = ["clip_id,split,label,path"]
    for index in range(7):
        path = tmp_path / f"{index}.mp4"
        write_video(path, [60 + 20 * index] * 6, tone(0.24, 300 + 200 * index), codec="mpeg4")
        rows.append(f"c{index},{'test' if index > 4 else 'train'},x,{index}.mp4")
    (tmp_path / "2.mp4").write_bytes(b"no media")
    (tmp_path / "manifest.csv").write_text("\n".join(rows))
    return tmp_path


def _prepare(data, output, **values):
    return preparation.prepare(
        data / "manifest.csv", data / output, SETTINGS, clips_per_shard=2, max_bad_fraction=0.2,
        num_workers=0, progress=False, **values,
    )  # fmt: skip


def _contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_cluster_writes_the_same_bytes(data):
    index = _prepare(data, "here")
    engine = beam_engine.engine(["--runner=DirectRunner"])
    assert _prepare(data, "beam", engine=engine) == index
    assert [skip["clip_id"] for skip in index.skipped] == ["c2"]
    assert _contents(data / "here") == _contents(data / "beam")
    # Finished: no pipeline runs.
    assert _prepare(data, "beam", engine=None) == read_index(data / "beam")


def test_a_pipeline_that_died_goes_on(data, monkeypatch):
    engine = beam_engine.engine()
    write, written = beam_engine._write_shard, []

    def die_at_the_third(planned, job):
        if len(written) == 2:
            raise OSError("the machine is gone")
        written.append(planned.name)
        write(planned, job)

    monkeypatch.setattr(beam_engine, "_write_shard", die_at_the_third)
    with pytest.raises(Exception, match="the machine is gone"):
        _prepare(data, "beam", engine=engine)
    monkeypatch.undo()
    times = {name: (data / "beam" / name).stat().st_mtime_ns for name in written}
    index = _prepare(data, "beam", engine=engine)
    assert {name: (data / "beam" / name).stat().st_mtime_ns for name in written} == times
    assert index == _prepare(data, "here")
    assert _contents(data / "here") == _contents(data / "beam")


def test_workers_must_share_the_folder(data, monkeypatch):
    monkeypatch.setattr(shards, "finished_report", lambda job, planned: None)
    with pytest.raises(RuntimeError, match="must write to the folder .* Received: output_dir="):
        _prepare(data, "beam", engine=beam_engine.engine())


def test_unknown_options_are_named():
    with pytest.raises(ValueError, match="those of Apache Beam. Received: fast"):
        beam_engine.engine(["--runner=DirectRunner", "--fast=1"])
