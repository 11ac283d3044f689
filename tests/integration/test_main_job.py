"""Clips on disk, records, training, evaluation, report, SavedModel: the whole sentence, small."""

import csv
import json

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from input_pipelines import dataset, video
from input_pipelines.index import read_index
from launchers import (
    evaluate,
    export,
    networks,
    predictions,
    prepare,
    provenance,
    recording,
    report,
    train,
)
from launchers.runs import RunFolder
from launchers.training import TrainSettings
from ogm_tf.analysis import embedding, figures
from tests.integration import killed_runs, small_records
from tests.ogm_tf.analysis import parsed_page


@pytest.fixture(scope="module")
def records_dir(tmp_path_factory):
    return small_records.write(tmp_path_factory.mktemp("data"))


def settings(records_dir, output_dir, **overrides):
    arguments = {**small_records.TRAINING, "batch_size": 8}
    return TrainSettings(str(records_dir), str(output_dir), **arguments | overrides)


@pytest.fixture
def small_encoders(monkeypatch):
    monkeypatch.setattr(networks, "_encoder", killed_runs.encoder)


@pytest.fixture(scope="module")
def run_dir(records_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "ogm_ge"
    train.run(settings(records_dir, folder))
    return folder


def test_a_run_folder_holds_what_it_should(run_dir, records_dir):
    folder = RunFolder(run_dir)
    assert folder.read_config()["alpha"] == 0.5
    history = folder.read_history()
    assert history["epoch"] == [0, 1]
    trackers = {"accuracy", "score", "ratio", "coefficient"}
    expected = {f"{name}_{tracker}" for name in ("audio", "visual") for tracker in trackers}
    expected |= {"loss", "accuracy", "val_loss", "val_accuracy", "val_audio_accuracy"}
    assert expected <= set(history)
    metrics = json.loads((run_dir / "metrics.json").read_text())
    assert set(metrics) == {"validation", "test"}
    assert {"accuracy", "audio_accuracy", "visual_accuracy", "mean_average_precision"} < set(
        metrics["test"]
    )
    best = folder.read_state()["best_epoch"]
    assert history["val_accuracy"][best] == max(history["val_accuracy"])
    assert metrics["validation"]["accuracy"] == pytest.approx(max(history["val_accuracy"]))
    (start,) = folder.read_starts()
    assert start["command"] == provenance.command("train", settings(records_dir, run_dir))
    assert (start["epoch"], start["step"], start["devices"]) == (0, 0, 1)
    assert any(folder.tensorboard.iterdir())
    assert folder.load_best().modulation.alpha == 0.5


def test_what_it_says_of_every_clip_is_there(run_dir, records_dir):
    folder, index = RunFolder(run_dir), read_index(records_dir)
    for split, num_clips in (("validation", 9), ("test", 12)):
        found = predictions.read(folder.predictions(split), index.class_names)
        assert len(set(found.clip_ids)) == num_clips
        for name, predicted in found.predicted.items():
            metric = "accuracy" if name == "fused" else f"{name}_accuracy"
            expected = folder.read_metrics()[split][metric]
            assert np.mean(predicted == found.labels) == pytest.approx(expected)


def test_confidence_of_the_best_epoch_is_that_of_the_best_model(run_dir):
    folder = RunFolder(run_dir)
    recorded = recording.read(folder)
    assert recorded.names.tolist() == ["fused", "audio", "visual"]
    assert recorded.epochs.tolist() == [0, 1] and recorded.confidence.shape == (2, 9, 3)
    with open(folder.predictions("validation"), newline="") as file:
        rows = list(csv.DictReader(file))
    assert recorded.clip_ids.tolist() == [row["clip_id"] for row in rows]
    assert recorded.labels.tolist() == [row["label"] for row in rows]
    columns = ("label_probability", "audio_label_probability", "visual_label_probability")
    expected = [[float(row[column]) for column in columns] for row in rows]
    best = folder.read_state()["best_epoch"]
    np.testing.assert_allclose(recorded.confidence[best], expected, atol=2e-6)
    assert np.abs(recorded.confidence[1 - best] - expected).max() > 1e-4


def test_tensorboard_shows_the_history_and_the_figures(run_dir):
    folder = RunFolder(run_dir)
    logs = {
        path.name: EventAccumulator(str(path), size_guidance={"tensors": 0, "images": 0}).Reload()
        for path in folder.tensorboard.iterdir()
    }
    history = folder.read_history()
    for name, values in history.items():
        if name != "epoch":
            log = "validation" if name.startswith("val_") else "train"
            events = logs[log].Tensors(f"epoch_{name.removeprefix('val_')}")
            assert [event.step for event in events] == history["epoch"]
            shown = [float(tf.make_ndarray(event.tensor_proto)) for event in events]
            assert shown == pytest.approx(values, rel=1e-6), name
    assert sorted(logs["figures"].Tags()["images"]) == ["accuracy", "modulation"]
    (shown,) = logs["figures"].Images("accuracy")
    expected = figures.accuracy_figure(
        history["val_accuracy"],
        {name: history[f"val_{name}_accuracy"] for name in ("audio", "visual")},
        best_epoch=folder.read_state()["best_epoch"],
    )
    assert shown.encoded_image_string == embedding.to_png(expected) and shown.step == 1
    pixels = tf.io.decode_png(shown.encoded_image_string)
    assert pixels.shape == (shown.height, shown.width, 4)


def test_metrics_equal_keras_evaluate(run_dir, records_dir):
    model = RunFolder(run_dir).load_best()
    data = dataset.eval_dataset(records_dir, "test", 5)
    expected = model.evaluate(data.dataset, verbose=0, return_dict=True)
    received = evaluate.run(evaluate.EvaluateSettings(str(run_dir), batch_size=5))["test"]
    assert {name: received[name] for name in expected} == pytest.approx(expected, abs=1e-5)


def test_a_finished_run_is_left_as_it_is(run_dir, records_dir):
    folder = RunFolder(run_dir)
    before = folder.best_model.read_bytes(), folder.read_starts()
    train.run(settings(records_dir, run_dir))
    assert (folder.best_model.read_bytes(), folder.read_starts()) == before
    with pytest.raises(ValueError, match="Received: alpha was 0.5 and is 0.9"):
        train.run(settings(records_dir, run_dir, alpha=0.9))


def test_noise_levels_have_keys_of_their_own(run_dir):
    levels = (5.0, -5.0, float("inf"))
    results = evaluate.run(evaluate.EvaluateSettings(str(run_dir), audio_noise_snr_db=levels))
    assert set(results) == {"test_snr_5db", "test_snr_-5db", "test_snr_infdb"}
    assert all(RunFolder(run_dir).predictions(name).exists() for name in results)
    metrics = RunFolder(run_dir).read_metrics()
    assert metrics["test_snr_infdb"] == pytest.approx(metrics["test"])
    assert metrics["test_snr_5db"]["loss"] != pytest.approx(metrics["test"]["loss"])
    assert metrics["test_snr_5db"]["visual_accuracy"] == metrics["test"]["visual_accuracy"]


def test_report_and_export(run_dir, records_dir, tmp_path):
    page = report.run(
        report.ReportSettings((str(run_dir),), str(tmp_path / "report"), num_examples=2)
    )
    text = page.read_text()
    metrics = RunFolder(run_dir).read_metrics()["test"]
    shown = ("accuracy", "audio_accuracy", "visual_accuracy", "mean_average_precision")
    row = " ".join(f"{metrics[name]:.3f}" for name in shown)
    assert f"Test split ogm_ge {row} OGM-GE alpha 0.5" in parsed_page.Page(text).words
    assert "Picked automatically of 9 recorded clips" in text
    assert "Probability of the true class of clip" in text
    assert "<span>--encoder_width=4</span>" in text
    export.run(export.ExportSettings(str(run_dir), str(tmp_path / "model" / "1")))
    clip = dataset.read_clips(records_dir, "test", 1)[0]
    serve = tf.saved_model.load(str(tmp_path / "model" / "1")).signatures["serving_default"]
    answer = serve(waveform=tf.constant(clip.waveform[None]), frames=tf.constant(clip.frames[None]))
    # The server's frames have been rounded to bytes; what evaluation gives the network has not.
    rounded = video.normalise(clip.frames[None], read_index(records_dir).settings.video)
    np.testing.assert_allclose(rounded[0], clip.inputs["visual"], atol=0.01)
    inputs = {"audio": clip.inputs["audio"][None], "visual": rounded}
    expected = tf.nn.softmax(RunFolder(run_dir).load_best()(inputs))
    np.testing.assert_allclose(answer["probabilities"], expected, rtol=0, atol=1e-5)


def test_settings_come_from_the_records(run_dir, records_dir):
    index = read_index(records_dir)
    model = RunFolder(run_dir).load_best()
    assert model.encoders["audio"].input_shape[1:] == index.settings.shapes["audio"]
    assert model.encoders["visual"].input_shape[1:] == index.settings.shapes["visual"]


def test_a_loss_that_is_no_number_ends_the_run(records_dir, tmp_path, small_encoders):
    with pytest.raises(ArithmeticError, match="2 steps in a row.*Received: .*epoch [01], step"):
        train.run(settings(records_dir, tmp_path / "run", learning_rate=1e30, max_skipped_steps=2))


def test_removed_sound_leaves_vision_only(records_dir, tmp_path, small_encoders):
    train.run(settings(records_dir, tmp_path / "run", remove_modality="audio", epochs=1))
    model = RunFolder(tmp_path / "run").load_best()
    data = dataset.eval_dataset(records_dir, "test", 12, removed="audio")
    inputs, _, _ = next(iter(data.dataset))
    assert float(tf.reduce_max(tf.abs(inputs["audio"]))) == 0
    parts = model.unimodal_logits(inputs)
    assert float(tf.reduce_max(tf.math.reduce_std(parts["audio"], axis=0))) < 1e-6


def test_more_batches_an_update_than_an_epoch_has_are_refused(records_dir, tmp_path):
    with pytest.raises(ValueError, match="at most the 3 batches.*Received: accumulate_steps=4"):
        train.run(settings(records_dir, tmp_path / "run", accumulate_steps=4))


def test_real_clips_become_records(grid_digits, tmp_path):
    prepare.run(
        prepare.PrepareSettings(
            str(tmp_path / "records"),
            manifest=str(grid_digits / "manifest.csv"),
            window_s=0.6,
            frames_per_second=10.0,
            num_frames=4,
            frame_height=32,
            frame_width=48,
            stored_short_side=48,
        )
    )
    index = read_index(tmp_path / "records")
    counts = {name: split.num_clips for name, split in index.splits.items()}
    assert counts == {"train": 600, "validation": 160, "test": 240}
    assert len(index.class_names) == 10 and not index.skipped
    clips = dataset.read_clips(tmp_path / "records", "test", 8)
    assert all(clip.waveform.shape == (9600,) for clip in clips)
    assert np.median([np.abs(clip.waveform).max() for clip in clips]) > 0.02, "somebody speaks"
    assert all(clip.frames.shape == (4, 32, 48, 3) for clip in clips)
    assert all(np.abs(np.diff(clip.frames.astype(float), axis=0)).mean() > 0.5 for clip in clips)


@pytest.mark.slow
def test_records_of_an_object_store_train_and_evaluate(records_dir, tmp_path, small_encoders):
    store = f"ram://{tmp_path.name}"
    for path in records_dir.iterdir():
        with tf.io.gfile.GFile(f"{store}/{path.name}", "wb") as file:
            file.write(path.read_bytes())
    metrics = train.run(settings(store, tmp_path / "run", epochs=1, modulation="none"))
    assert RunFolder(tmp_path / "run").read_config()["records_dir"] == store
    expected = train.run(settings(records_dir, tmp_path / "local", epochs=1, modulation="none"))
    assert metrics["test"] == expected["test"]
