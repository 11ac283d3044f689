"""From a folder of features to a network of events, its timelines, its evaluation, its report."""

import csv
import itertools
import json
import shutil
import signal

import numpy as np
import pytest
import tensorflow as tf

from launchers import evaluate, fitting, localize, report
from launchers.features import open_features
from launchers.localizing import LocalizeSettings
from launchers.runs import RunFolder
from ogm_tf.callbacks import SkippedSteps
from ogm_tf.localization import losses
from tests.input_pipelines import handmade_features
from tests.integration.same_runs import assert_same_runs
from tests.ogm_tf.analysis.parsed_page import Page


@pytest.fixture(scope="module")
def features_dir(tmp_path_factory):
    return handmade_features.write(tmp_path_factory.mktemp("data") / "features", num_pictures=2)


def settings(features_dir, output_dir, model="psp", **overrides):
    arguments = {
        "size": "small",
        "modulation": "ogm_ge",
        "epochs": 2,
        "batch_size": 4,
        "checkpoint_every_steps": 2,
    }
    return LocalizeSettings(
        output_dir=str(output_dir), features_dir=str(features_dir), model=model,
        **arguments | overrides,
    )  # fmt: skip


def read_timelines(run_dir, split):
    with open(run_dir / f"timelines_{split}.csv", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def run_dir(features_dir, tmp_path_factory):
    """A run of PSP, fully supervised."""
    folder = tmp_path_factory.mktemp("runs") / "psp"
    localize.run(settings(features_dir, folder, "psp"))
    return folder


def test_history_metrics_and_timelines_say_the_same(run_dir, features_dir):
    folder = RunFolder(run_dir)
    history, metrics = folder.read_history(), folder.read_metrics()
    (start,) = folder.read_starts()
    assert start["command"].startswith("python -m launchers.localize --output_dir=")
    assert folder.figures.stat().st_size > 10_000
    best = folder.read_state()["best_epoch"]
    assert history["val_accuracy"][best] == max(history["val_accuracy"])
    for name in ("loss", "pair_loss", "accuracy", "audio_accuracy", "visual_accuracy"):
        expected = history[f"val_{name}"][best]
        assert metrics["validation"][name] == pytest.approx(expected, rel=1e-4), name
    model, features = folder.load_best(), open_features(str(features_dir))
    rows = features.splits["test"]
    inputs = dict(zip(features.arrays, features.read(rows), strict=True))
    labels = features.labels[rows]
    logits, parts = model.segment_logits(inputs, unimodal=True)
    plain = np.mean(losses.CrossEntropy()(labels, logits))
    similarity = losses.pair_similarity(tf.constant(labels), model.similarity(inputs), 3)
    pairs = 100 * np.mean(similarity)
    assert metrics["test"]["pair_loss"] == pytest.approx(pairs, rel=1e-4)
    assert metrics["test"]["loss"] == pytest.approx(plain + pairs, rel=1e-4)

    is_right, is_event = logits.numpy().argmax(-1) == labels, labels != 3
    assert metrics["test"]["accuracy"] == pytest.approx(np.mean(is_right))
    assert metrics["test"]["event_accuracy"] == pytest.approx(np.mean(is_right[is_event]))
    assert metrics["test"]["background_accuracy"] == pytest.approx(np.mean(is_right[~is_event]))
    assert metrics["test"]["all_event_accuracy"] == pytest.approx(is_event.mean())
    names = (*handmade_features.CLASSES, "background")
    timelines = read_timelines(run_dir, "test")
    assert [line["video_id"] for line in timelines[::4]] == [f"test-{n}" for n in range(6)]
    assert [line["start_s"] for line in timelines[:4]] == ["0.0", "0.5", "1.0", "1.5"]
    assert [line["label"] for line in timelines] == [names[label] for label in labels.ravel()]
    for column, own in (("", logits), ("audio_", parts["audio"]), ("visual_", parts["visual"])):
        probabilities = tf.nn.softmax(own).numpy().reshape(-1, 4)
        for line, expected in zip(timelines, probabilities, strict=True):
            assert line[f"{column}predicted"] == names[expected.argmax()]
            confidence = float(line[f"{column}confidence"])
            assert confidence == pytest.approx(expected.max(), abs=1e-3)
    assert len(read_timelines(run_dir, "validation")) == 7 * 4


def test_a_run_is_evaluated_again_and_reported(run_dir, tmp_path):
    run_dir = shutil.copytree(run_dir, tmp_path / "psp")
    before = RunFolder(run_dir).read_metrics()
    found = evaluate.run(evaluate.EvaluateSettings(str(run_dir), "train", batch_size=5))["train"]
    assert {"loss", "pair_loss", "background_accuracy"} < found.keys()
    assert len(read_timelines(run_dir, "train")) == 18 * 4
    again = evaluate.run(evaluate.EvaluateSettings(str(run_dir), "test", batch_size=5))["test"]
    assert again == pytest.approx(before["test"], rel=1e-4)
    with pytest.raises(ValueError, match="without noise. Received: audio_noise_snr_db"):
        evaluate.run(evaluate.EvaluateSettings(str(run_dir), audio_noise_snr_db=(5.0,)))
    path = report.run(report.ReportSettings((str(run_dir),), str(tmp_path / "page")))
    page = Page(path.read_text("utf-8"))
    texts = [attributes["alt"] for tag, attributes in page.elements if tag == "img"]
    assert sum(words.startswith("Frame at") for words in texts) == 2 * 4
    assert sum(words.startswith("Attention of run psp at") for words in texts) == 4 * 4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "target"),
    [("agva", "tag"), ("psp", "proportions")],
)
def test_weak_supervision_is_told_of_videos_and_asked_for_segments(
    features_dir, tmp_path, model, target
):
    metrics = localize.run(
        settings(
            features_dir, tmp_path / "run", model, supervision="weak", epochs=1, modulation="none"
        )
    )
    folder = RunFolder(tmp_path / "run")
    assert folder.read_config()["weak_target"] == target
    history = folder.read_history()
    for name in ("loss", "video_accuracy", "accuracy", "visual_accuracy"):
        if name in metrics["validation"]:
            expected = history[f"val_{name}"][0]
            assert metrics["validation"][name] == pytest.approx(expected, rel=1e-4), name
    network, features = folder.load_best(), open_features(str(features_dir))
    rows = features.splits["validation"]
    inputs = dict(zip(features.arrays, features.read(rows), strict=True))
    labels = features.labels[rows]
    targets = losses.weak_targets(labels, 4, target)
    logits = network(inputs)
    found = history["val_loss"][0], history["val_video_accuracy"][0], history["val_accuracy"][0]
    segments = network.segment_logits(inputs).numpy().argmax(-1)
    # The tag, whatever the target.
    videos = np.argmax(logits, -1) == np.argmax(losses.weak_targets(labels, 4, "tag"), -1)
    expected = (
        np.mean(losses.get("cross_entropy")(targets, logits)),
        np.mean(videos),
        np.mean(segments == labels),
    )
    assert found == pytest.approx(expected, rel=1e-4)


@pytest.mark.slow
def test_a_stopped_run_ends_like_an_uninterrupted_one(run_dir, features_dir, tmp_path, monkeypatch):
    """It is stopped in the middle of the second epoch, and goes on."""
    parts = settings(features_dir, tmp_path / "psp", "psp")
    asked = itertools.count(1)

    class Stops(SkippedSteps):
        def on_train_batch_end(self, batch, logs=None):
            super().on_train_batch_end(batch, logs)
            if next(asked) == 6:
                signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patch, pytest.raises(SystemExit) as end:
        patch.setattr(fitting, "SkippedSteps", Stops)
        localize.run(parts)
    assert end.value.code == 0 and not (tmp_path / "psp" / "timelines_test.csv").exists()
    localize.run(parts)
    assert_same_runs(tmp_path / "psp", run_dir)
    for split in ("validation", "test"):
        name = f"timelines_{split}.csv"
        assert (tmp_path / "psp" / name).read_text() == (run_dir / name).read_text()


def test_a_run_goes_on_with_its_own_features_alone(run_dir, features_dir, tmp_path):
    copy = shutil.copytree(features_dir, tmp_path / "features")
    run = shutil.copytree(run_dir, tmp_path / "psp")
    config = {**RunFolder(run).read_config(), "features_dir": str(copy)}
    RunFolder(run).config_path.write_text(json.dumps(config))
    localize.run(settings(copy, run))
    shutil.rmtree(copy)
    handmade_features.write(copy, num_pictures=2, seed=1)
    with pytest.raises(ValueError, match="its own settings.* Received: features_sha256 was '"):
        localize.run(settings(copy, run))


@pytest.mark.slow
def test_two_devices_learn_what_one_does(features_dir, tmp_path):
    """Of every batch each has half; of the last of validation, of 7 videos, one has padding."""
    options = {"optimizer": "sgd", "learning_rate": 0.05, "modulation": "ogm"}
    for name, devices in (
        ("one", {}),
        ("two", {"strategy": "mirrored", "logical_devices": 2}),
    ):
        localize.run(settings(features_dir, tmp_path / name, "agva", **options, **devices))
    one, two = (RunFolder(tmp_path / name) for name in ("one", "two"))
    ours, theirs = two.read_history(), one.read_history()
    for name in theirs:
        assert ours[name] == pytest.approx(theirs[name], rel=1e-4, abs=1e-6), name
    assert two.read_metrics()["test"] == pytest.approx(one.read_metrics()["test"], rel=1e-4)
    weights = (folder.load_best().get_weights() for folder in (one, two))
    for own, other in zip(*weights, strict=True):
        np.testing.assert_allclose(other, own, atol=1e-5)


@pytest.mark.slow
def test_without_validation_the_last_epoch_is_kept(features_dir, tmp_path):
    folder = handmade_features.write(tmp_path / "features", {"train": 8, "test": 3})
    metrics = localize.run(settings(folder, tmp_path / "run", "dmrn"))
    assert set(metrics) == {"test"}
    assert RunFolder(tmp_path / "run").read_state()["best_epoch"] == 1
    assert not (tmp_path / "run" / "timelines_validation.csv").exists()
