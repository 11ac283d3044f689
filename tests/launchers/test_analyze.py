"""Taking a run's gradients apart: from its records to its numbers, and to its report."""

import dataclasses
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import ogm_tf
from input_pipelines import dataset
from launchers import analyze, report, report_imbalance
from launchers.runs import RunFolder
from tests.input_pipelines import handmade_records
from tests.input_pipelines.handmade_records import SETTINGS
from tests.ogm_tf.analysis.parsed_page import Page

NUM_CLIPS = 9


def write_run(path, records, fusion, **config):
    """A run of two epochs that has learned nothing."""
    keras.utils.set_random_seed(5)
    encoders = {
        name: ogm_tf.encoders.small_cnn(shape, name=name, channels=(4,))
        for name, shape in SETTINGS.shapes.items()
    }
    model = ogm_tf.OGMModel(encoders, fusion)
    model({name: tf.zeros([1, *shape]) for name, shape in SETTINGS.shapes.items()})
    history = {"epoch": [0, 1], "loss": [0.7, 0.6], "accuracy": [0.5, 0.75]}
    for name in ("audio", "visual"):
        for kind in ("accuracy", "score", "ratio", "coefficient"):
            history[f"{name}_{kind}"] = [0.5, 0.75]
    values = {
        "records_dir": str(records), "modulation": "none", "alpha": 0.5,
        "audio_noise_snr_db": 10.0, "remove_modality": None,
    }  # fmt: skip
    run = RunFolder(path)
    with run.locked():
        run.keep_config(values | config)
        run.save_best(model)
        run.write_state({"epoch": 2, "best_epoch": 1, "best_score": 0.75})
    run.write_history(history)
    run.add_metrics("test", {"accuracy": 0.5, "audio_accuracy": 0.5, "visual_accuracy": 0.5})
    return run


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    clips = [handmade_records.random_clip(number) for number in range(NUM_CLIPS)]
    splits = {"train": clips, "validation": clips, "test": clips[:2]}
    return handmade_records.write(tmp_path_factory.mktemp("analyze") / "records", splits)


@pytest.fixture(scope="module")
def analysed(records, tmp_path_factory):
    run = write_run(tmp_path_factory.mktemp("runs") / "sum", records, ogm_tf.fusion.Sum(3))
    settings = analyze.AnalyzeSettings(str(run.path), batch_size=4, num_clips=0)
    return run, analyze.run(settings)


def test_what_is_written_is_what_the_model_says(analysed, records):
    run, found = analysed
    assert json.loads((run.path / "imbalance.json").read_text()) == found
    assert (found["split"], found["num_clips"], found["fusion"]) == ("validation", 9, "Sum")
    assert found["best_epoch"] == 1
    # Padding is no clip.
    assert [batch["num_clips"] for batch in found["batches"]] == [4, 4, 1]
    assert {name: own["num_clips"] for name, own in found["classes"].items()} == dict.fromkeys(
        "abc", 3
    )
    assert found["largest_difference"] < 1e-5 and found["relative_difference"] < 1e-5
    model = run.load_best()
    data = dataset.eval_dataset(records, "validation", NUM_CLIPS, audio_noise_snr_db=10.0)
    inputs, labels, _ = next(iter(data.dataset))
    fused, parts = model(inputs, unimodal=True)
    probability = tf.gather(tf.nn.softmax(fused), labels, batch_dims=1)
    assert found["all"]["probability"] == pytest.approx(np.mean(probability), abs=1e-5)
    for name, logits in parts.items():
        own = found["all"]["modalities"][name]
        of_true = tf.gather(logits, labels, batch_dims=1)
        assert own["true_class_logit"] == pytest.approx(np.mean(of_true), abs=1e-5)
        assert min(own["gradients"].values()) > 0
    (weak,) = {"audio", "visual"} - {found["stronger"]}
    assert found["weaker"] == weak and len(found["clips"]["weak_gradient"]) == 9


def test_some_clips_are_chosen_from_all_of_a_split(records, tmp_path, capsys):
    run = write_run(tmp_path / "concat", records, ogm_tf.fusion.Concat(3))
    found = analyze.run(analyze.AnalyzeSettings(str(run.path), "train", 8, num_clips=4))
    assert found["num_clips"] == 4 and len(found["batches"]) == 1
    assert found["largest_difference"] < 1e-5
    printed = " ".join(capsys.readouterr().out.split())
    assert (
        "All clips Run Clips Shared factor" in printed
        and "concat 4 0." in printed
        and "By class" in printed
    )


@pytest.mark.slow
def test_the_report_shows_it(analysed, tmp_path, caplog):
    run, found = analysed
    settings = report.ReportSettings((str(run.path),), str(tmp_path / "page"), num_examples=0)
    page = Page(report.run(settings).read_text("utf-8"))
    assert f"{found['stronger'].capitalize()} is ahead: alone it gives" in page.words
    assert "sum Sum fusion, validation clips" in page.words
    assert f"sum, gradients {found['made']['command']} In " in page.words
    assert f"launchers.analyze --run_dir={run.path}" in found["made"]["command"]
    path = run.path / "imbalance.json"
    written = path.read_text()
    path.write_text(json.dumps({**found, "best_epoch": 0}))
    assert report_imbalance.sections([run]) == []
    assert "imbalance.json is of epoch 0, and the best is 1: run `analyze` again." in caplog.text
    page = report.run(dataclasses.replace(settings, output_dir=str(tmp_path / "stale")))
    assert "launchers.analyze" not in page.read_text("utf-8")
    path.write_text(json.dumps({"split": "test"}))
    with pytest.raises(ValueError, match="imbalance.json must be results that `analyze` wrote"):
        report.run(dataclasses.replace(settings, output_dir=str(tmp_path / "none")))
    assert not (tmp_path / "none").exists()
    path.unlink()
    assert report_imbalance.sections([run]) == []
    path.write_text(written)


def test_other_runs_are_refused(records, tmp_path):
    film = write_run(tmp_path / "film", records, ogm_tf.fusion.FiLM(3))
    with pytest.raises(ValueError, match="one of Sum, Concat. Received: FiLM"):
        analyze.run(analyze.AnalyzeSettings(str(film.path)))
    assert not (film.path / "imbalance.json").exists()
    pairs = RunFolder(tmp_path / "pairs")
    with pairs.locked():
        pairs.keep_config({"records_dir": str(records), "model": "l3net"})
    with pytest.raises(ValueError, match="runs of `train`. Received: .*pairs, a run of pretrain"):
        analyze.run(analyze.AnalyzeSettings(str(pairs.path)))
    with pytest.raises(FileNotFoundError, match="config.json"):
        analyze.run(analyze.AnalyzeSettings(str(tmp_path)))
