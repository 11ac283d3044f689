"""Answers for files are those of evaluation; what cannot be answered is said, and when."""

import dataclasses
import json
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import ogm_tf
from input_pipelines import dataset
from launchers import evaluate, predict
from launchers.predict import PredictSettings
from launchers.runs import RunFolder
from tests.input_pipelines import handmade_records, recorded_films
from tests.input_pipelines.media_files import write_video
from tests.source_tree import ROOT

CLASSES = ("bell", "drum", "horn")


def _write_run(path, records_dir, settings, num_classes=3, **config):
    """A run that has learned nothing, but is sure of itself."""
    keras.utils.set_random_seed(5)
    shapes = settings.shapes
    encoders = {
        name: ogm_tf.encoders.small_cnn(shape, name=name, channels=(4, 8))
        for name, shape in shapes.items()
    }
    model = ogm_tf.OGMModel(encoders, ogm_tf.fusion.Concat(num_classes=num_classes))
    model({name: tf.zeros([1, *shape]) for name, shape in shapes.items()})
    for variable in model.fusion.trainable_variables:
        variable.assign(8 * variable)
    folder = RunFolder(path)
    values = {"records_dir": str(records_dir), "remove_modality": None, "audio_noise_snr_db": None}
    with folder.locked():
        folder.keep_config(values | config)
        folder.save_best(model)
        folder.write_state({"epoch": 1, "best_epoch": 0, "best_score": 0.5})
    return str(path)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = recorded_films.write(tmp_path_factory.mktemp("data"))
    # Evaluation adds this run's noise, of which files get none.
    _write_run(folder / "run", folder / "records", recorded_films.SETTINGS, audio_noise_snr_db=0.0)
    return folder


def _evaluated(data):
    """Labels and probabilities of every film by evaluation, of the network and its modalities."""
    batches = dataset.eval_dataset(data / "records", "test", 5).dataset
    inputs, _, _ = next(iter(batches))
    logits, parts = RunFolder(data / "run").load_best()(inputs, training=False, unimodal=True)
    order = [clip.clip_id[-1] for clip in dataset.read_clips(data / "records", "test", 5)]
    answers = {"fused": logits, **parts}
    return {
        film: {name: tf.nn.softmax(own[row]).numpy() for name, own in answers.items()}
        for row, film in enumerate(order)
    }


def test_answers_are_those_of_evaluation(data, tmp_path, capsys):
    output = tmp_path / "new" / "answers.jsonl"
    films = [str(data / "films" / "d" / "d.mp4"), str(data / "films")]
    predict.run(
        PredictSettings(str(data / "run"), tuple(films), str(output), batch_size=2, num_workers=1)
    )
    answers = [json.loads(line) for line in output.read_text().splitlines()]
    assert [answer["path"][-5] for answer in answers] == list("dabce")
    assert answers[0]["path"] == films[0] and answers[1]["path"] == f"{films[1]}/a/a.mp4"
    expected = _evaluated(data)
    for answer in answers:
        assert list(answer["modalities"]) == ["audio", "visual"]
        for name, own in expected[answer["path"][-5]].items():
            said = answer if name == "fused" else answer["modalities"][name]
            assert tuple(said["probabilities"]) == CLASSES
            np.testing.assert_allclose(list(said["probabilities"].values()), own, atol=1e-5)
            assert said["label"] == CLASSES[own.argmax()]
    metrics = evaluate.run(
        evaluate.EvaluateSettings(str(data / "run"), audio_noise_snr_db=(float("inf"),))
    )["test_snr_infdb"]
    right = [recorded_films.LABELS[answer["path"][-5]] == answer["label"] for answer in answers]
    assert metrics["accuracy"] == pytest.approx(np.mean(right))
    assert [path.name for path in output.parent.iterdir()] == ["answers.jsonl"]

    printed = capsys.readouterr()
    assert "predict: 100%" in printed.err and "| 5/5 [" in printed.err
    header, *rows = printed.out.splitlines()
    assert header.split() == ["file", "fused", "audio", "visual"]
    for row, answer in zip(rows, answers, strict=True):
        cells = [answer["path"]]
        for said in (answer, *answer["modalities"].values()):
            cells += [said["label"], f"{said['probabilities'][said['label']]:.3f}"]
        assert row.split() == cells


def test_unreadable_files_are_named_at_the_end(data, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    write_video(tmp_path / "in" / "silent.mp4", [100] * 25)
    (tmp_path / "in" / "zero.mp4").touch()
    odd = bytes(tmp_path / "in") + b"/\xff.mp4"
    with open(odd, "wb") as file:
        file.write((data / "films" / "a" / "a.mp4").read_bytes())
    output = tmp_path / "answers.jsonl"
    with pytest.raises(RuntimeError) as raised:
        predict.run(
            PredictSettings(str(data / "run"), (str(tmp_path / "in"),), str(output), num_workers=0)
        )
    assert str(raised.value) == (
        "All files must be readable. Received: 2 of 3 that are not:\n"
        f"  {tmp_path}/in/silent.mp4: no audio track\n  {tmp_path}/in/zero.mp4: the file is empty"
    )
    (answer,) = (json.loads(line) for line in output.read_text().splitlines())
    assert answer["path"].encode(errors="surrogateescape") == odd
    printed = capsys.readouterr()
    assert f"{tmp_path}/in/\\udcff.mp4 " in printed.out
    # What cannot be read is done, too.
    assert "| 3/3 [" in printed.err


@pytest.mark.slow
def test_the_program_ends_with_0_only_if_all_were_read(data, tmp_path):
    film = str(data / "films" / "a" / "a.mp4")
    (tmp_path / "zero.mp4").touch()
    command = [
        sys.executable, "-m", "launchers.predict", f"--run_dir={data / 'run'}", "--num_workers=0",
        "--", film,
    ]  # fmt: skip
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    started = [
        subprocess.Popen([*command, *more], cwd=ROOT, **pipes)
        for more in ([], [str(tmp_path / "zero.mp4")])
    ]
    (whole, _), (rest, errors) = (process.communicate(timeout=200) for process in started)
    assert [process.returncode for process in started] == [0, 1]
    assert whole.splitlines()[1:] and whole.split()[4] == film
    # What could be read is answered the same.
    assert rest.splitlines()[1].split() == whole.splitlines()[1].split()
    assert f"1 of 2 that are not:\n  {tmp_path}/zero.mp4: the file is empty" in errors
    assert "Traceback" not in errors


def test_what_was_answered_stays_when_the_program_is_stopped(data, tmp_path, monkeypatch):
    output = tmp_path / "answers.jsonl"
    output.write_text("older")
    given = PredictSettings(
        str(data / "run"), (str(data / "films"),), str(output), batch_size=2, num_workers=0
    )
    rows = []

    def stop(self, answer):
        rows.append(answer["path"])
        if len(rows) == 3:
            raise KeyboardInterrupt
        return ""

    monkeypatch.setattr(predict._Table, "row", stop)
    with pytest.raises(KeyboardInterrupt):
        predict.run(given)
    partial = tmp_path / "answers.jsonl.partial"
    assert [json.loads(line)["path"][-5] for line in partial.read_text().splitlines()] == list(
        "abcd"
    )
    assert output.read_text() == "older"
    monkeypatch.undo()
    predict.run(given)
    assert len(output.read_text().splitlines()) == 5 and not partial.exists()


def test_an_output_file_is_written_by_one_program_at_a_time(data, tmp_path):
    output = tmp_path / "answers.jsonl"
    given = PredictSettings(
        str(data / "run"), (str(data / "films" / "a"),), str(output), num_workers=0
    )
    with predict._json_lines(str(output)) as write:
        write([{"path": "mine"}])
        with pytest.raises(RuntimeError, match="one program at a time. Received: .*jsonl, in use"):
            predict.run(given)
        write([{"path": "mine, too"}])
    assert output.read_text() == '{"path": "mine"}\n{"path": "mine, too"}\n'
    predict.run(given)
    (answer,) = (json.loads(line) for line in output.read_text().splitlines())
    assert answer["path"].endswith("a.mp4")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["answers.jsonl"]


def test_what_cannot_be_asked_is_refused_before_anything_is_loaded(data, tmp_path, monkeypatch):
    film = str(data / "films" / "a" / "a.mp4")

    def refuse(run_dir, inputs=(film,), **values):
        predict.run(PredictSettings(str(run_dir), inputs, **values))

    monkeypatch.setattr(RunFolder, "load_best", lambda folder: pytest.fail("loaded"))
    with pytest.raises(ValueError, match="--inputs must name at least one .* Received: none"):
        refuse(data / "run", ())
    with pytest.raises(FileNotFoundError, match="Received: 'no.mp4'"):
        refuse(data / "run", ("no.mp4",))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="must have videos .* Received: .*empty"):
        refuse(data / "run", (str(tmp_path / "empty"),))
    with pytest.raises(FileNotFoundError, match="config.json"):
        refuse(tmp_path)
    with pytest.raises(IsADirectoryError, match="Received: .*, a folder"):
        refuse(data / "run", output_file=str(tmp_path))
    pairs = RunFolder(tmp_path / "pairs")
    with pairs.locked():
        pairs.keep_config({"records_dir": str(data / "records"), "model": "avsa"})
    with pytest.raises(ValueError, match="of `train` to .* Received: .*pairs, a run of pretrain"):
        refuse(pairs.path)


def test_records_of_another_kind_are_refused(data, tmp_path):
    film = (str(data / "films" / "a" / "a.mp4"),)
    run_dir = _write_run(tmp_path / "two", data / "records", recorded_films.SETTINGS, num_classes=2)
    output = tmp_path / "answers.jsonl"
    with pytest.raises(ValueError, match="it knows 2 classes. Received: 3 in the records"):
        predict.run(PredictSettings(run_dir, film, str(output), num_workers=0))
    assert not output.exists() and not (tmp_path / "answers.jsonl.partial").exists()
    source = handmade_records.random_clip(0)
    pictures = dataclasses.replace(source, flow=source.visual)
    settings = dataclasses.replace(handmade_records.SETTINGS, modalities=("audio", "flow"))
    handmade_records.write(tmp_path / "flow", {"train": [pictures]}, settings)
    folder = RunFolder(tmp_path / "run")
    with folder.locked():
        folder.keep_config({"records_dir": str(tmp_path / "flow")})
    with pytest.raises(ValueError, match="both and nothing else. Received: .*'audio', 'flow'"):
        predict.run(PredictSettings(str(folder.path), film))
