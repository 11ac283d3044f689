"""From clips of sounding objects to a pair network, its evaluation, and what it refuses."""

import dataclasses
import itertools
import json
import math
import shutil
import signal

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from input_pipelines import pairs
from input_pipelines.index import read_index, write_index
from launchers import evaluate, fitting, pretrain, probe
from launchers.pretraining import KINDS, PretrainSettings
from launchers.runs import RunFolder
from ogm_tf.callbacks import SkippedSteps
from ogm_tf.representation import l3_net
from ogm_tf.representation.pair_model import PairModel
from tests.input_pipelines import handmade_records
from tests.input_pipelines.media_files import tone, write_wav
from tests.integration import small_records
from tests.integration.same_runs import assert_same_runs

CLIPS = {"duration_s": 1.5, "events": True, "traits": True}
SPECTROGRAM = {"features": "log_mel", "mel_bins": 16, "hop_length": 256, "time_steps": 16}
WAVEFORM = {"features": "waveform", "sample_rate_hz": 4000, "window_s": 0.512}
RECORDS = {
    "l3net": {**SPECTROGRAM, "num_frames": 1, "frame_spacing": "random"},
    "avsa": {**WAVEFORM, "frames_per_second": 8.0, "num_frames": 4},
    "avca": {**SPECTROGRAM, "frames_per_second": 8.0, "num_frames": 4, "window_s": 0.512},
}


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """Returns the folder of the records that a network takes."""
    folders = {}

    def of(model):
        if model not in folders:
            folder = tmp_path_factory.mktemp(model)
            folders[model] = small_records.write(folder, clips=CLIPS, **RECORDS[model])
        return folders[model]

    return of


def settings(records_dir, output_dir, model, **overrides):
    arguments = {
        "size": "small",
        "modulation": "ogm_ge",
        "epochs": 2,
        "batch_size": 8,
        "shift_s": (0.3, 0.9),
        "checkpoint_every_steps": 2,
    }
    return PretrainSettings(str(records_dir), str(output_dir), model=model, **arguments | overrides)


@pytest.fixture
def tiny_l3_net(monkeypatch):
    """Makes the small L3-Net one of a single block, to be built in no time."""
    monkeypatch.setitem(l3_net.PRESETS["small"], "channels", (4,))


@pytest.mark.parametrize(
    ("model", "size"),
    [("l3net", "tiny"), *(pytest.param(name, "small", marks=pytest.mark.slow) for name in KINDS)],
)
def test_every_network_learns_from_records(records, tmp_path, request, model, size):
    if size == "tiny":
        request.getfixturevalue("tiny_l3_net")
    metrics = pretrain.run(settings(records(model), tmp_path / "run", model))
    folder = RunFolder(tmp_path / "run")
    history = folder.read_history()
    assert len(history["epoch"]) == 2 and np.isfinite(history["loss"]).all()
    for group in ("negative", "positive"):
        ratio, coefficient = history[f"{group}_ratio"], history[f"{group}_coefficient"]
        assert all(0 < value < math.inf for value in ratio)
        assert all(0 <= value <= 1 for value in coefficient)
        assert {f"{group}_accuracy", f"{group}_score", f"val_{group}_accuracy"} <= history.keys()
    # In every batch one of the groups is damped, and one is not.
    for one, other in zip(
        history["negative_coefficient"], history["positive_coefficient"], strict=True
    ):
        assert 0.999 < one + other < 2.0
    best = folder.load_best()
    assert isinstance(best, PairModel)
    data = pairs.pair_dataset(
        records(model), "test", 24, seed=5, kind=KINDS[model], shift_s=(0.3, 0.9), training=False
    )
    assert data.steps_per_epoch == 1
    inputs, labels, _ = next(iter(data.dataset))
    logits = best(inputs, training=False)
    is_right = logits.numpy().argmax(-1) == labels.numpy()
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    expected = {
        "loss": float(tf.reduce_mean(losses)),
        "accuracy": is_right.mean(),
        "positive_accuracy": is_right[labels.numpy() == 1].mean(),
        "negative_accuracy": is_right[labels.numpy() == 0].mean(),
    }
    assert {name: metrics["test"][name] for name in expected} == pytest.approx(expected, rel=1e-4)
    (start,) = folder.read_starts()
    assert start["command"].startswith("python -m launchers.pretrain --records_dir=")
    # Score, ratio and coefficient are drawn one over the other.
    shown = EventAccumulator(str(folder.figures.parent)).Reload()
    assert shown.Images("modulation")[0].height > 2 * shown.Images("accuracy")[0].height
    again = evaluate.run(evaluate.EvaluateSettings(str(folder.path), "test"))["test"]
    assert again == pytest.approx(metrics["test"])


@pytest.mark.slow
@pytest.mark.parametrize(("model", "stops"), [("l3net", (4,)), ("avca", (2, 4))])
@pytest.mark.usefixtures("tiny_l3_net")
def test_a_stopped_run_ends_like_an_uninterrupted_one(records, tmp_path, monkeypatch, model, stops):
    """It is stopped in the middle of an epoch, or of each, and goes on."""
    pretrain.run(settings(records(model), tmp_path / "whole", model))
    parts = settings(records(model), tmp_path / "parts", model)
    for num_steps in stops:
        asked = itertools.count(1)

        class Stops(SkippedSteps):
            def on_train_batch_end(self, batch, logs=None, asked=asked, num_steps=num_steps):
                super().on_train_batch_end(batch, logs)
                if next(asked) == num_steps:
                    signal.raise_signal(signal.SIGTERM)

        with monkeypatch.context() as patch, pytest.raises(SystemExit) as end:
            patch.setattr(fitting, "SkippedSteps", Stops)
            pretrain.run(parts)
        assert end.value.code == 0
    pretrain.run(parts)
    assert_same_runs(tmp_path / "parts", tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.usefixtures("tiny_l3_net")
def test_two_devices_learn_what_one_does(records, tmp_path):
    """Of every batch each has half, of either group; validation's last batch has padding."""
    options = {
        "optimizer": "sgd", "learning_rate": 0.005, "modulation": "ogm", "epochs": 1,
        "synchronized_batch_norm": True,
    }  # fmt: skip
    for name, devices in (("one", {}), ("two", {"strategy": "mirrored", "logical_devices": 2})):
        pretrain.run(settings(records("l3net"), tmp_path / name, "l3net", **options, **devices))
    one, two = (RunFolder(tmp_path / name) for name in ("one", "two"))
    ours, theirs = two.read_history(), one.read_history()
    assert min(theirs["negative_coefficient"] + theirs["positive_coefficient"]) < 0.9
    for name in theirs:
        assert ours[name] == pytest.approx(theirs[name], rel=1e-4, abs=1e-5), name
    assert two.read_metrics()["test"] == pytest.approx(one.read_metrics()["test"], rel=1e-4)
    weights = (folder.load_best().get_weights() for folder in (one, two))
    for own, other in zip(*weights, strict=True):
        # Moving variances are large, and float32 rounds them by their size.
        np.testing.assert_allclose(other, own, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_a_pre_trained_encoder_is_probed(records, tmp_path):
    pretrain.run(settings(records("avsa"), tmp_path / "run", "avsa", epochs=1))
    (tmp_path / "esc" / "meta").mkdir(parents=True)
    (tmp_path / "esc" / "audio").mkdir()
    rows = ["filename,fold,target,category,esc10,src_file,take"]
    for fold, target, number in itertools.product(range(1, 6), range(2), range(2)):
        name = f"{fold}-{100 * fold + 10 * target + number}-A-{target}.wav"
        rows.append(f"{name},{fold},{target},class {target},False,{name[:5]},A")
        write_wav(tmp_path / "esc" / "audio" / name, tone(0.6, 200.0 + 900 * target + 9 * number))
    (tmp_path / "esc" / "meta" / "esc50.csv").write_text("\n".join(rows) + "\n")
    report = probe.run(
        probe.ProbeSettings(
            str(tmp_path / "run"), "esc50", str(tmp_path / "esc"), num_windows=2, num_workers=0
        )
    )
    # The mean and the maximum of the 32 channels of the small network's embedding.
    assert report["results"]["encoder"]["num_features"] == 64
    assert report["results"]["encoder"]["mean"] == 1.0


@pytest.mark.slow
def test_a_run_starts_from_the_weights_of_another(records, tmp_path):
    first = settings(records("l3net"), tmp_path / "first", "l3net", epochs=1)
    pretrain.run(first)
    second = settings(
        records("l3net"), tmp_path / "second", "l3net",
        epochs=1, learning_rate=1e-30, modulation="none", init_from=first.output_dir,
    )  # fmt: skip
    pretrain.run(second)
    ours, theirs = (
        RunFolder(tmp_path / name).load_best().trainable_weights for name in ("first", "second")
    )
    assert len(ours) == len(theirs) > 40
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-12)


@pytest.mark.parametrize(
    ("model", "of", "message"),
    [
        ("avsa", "avca", r"avsa takes the sound itself.*Received: .*\(16, 16, 1\)"),
        ("avca", "avsa", r"avca takes a spectrogram.*Received: .*\(2048, 1\)"),
        ("l3net", "avca", r"l3net takes one frame.*Received: .*\(4, 24, 24, 3\)"),
    ],
)
def test_records_of_another_network_are_refused(records, tmp_path, model, of, message):
    with pytest.raises(ValueError, match=message):
        pretrain.run(settings(records(of), tmp_path / "run", model))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"shift_s": (2.0, 5.8)}, "least 4 clips .* Received: split='train' with 0 of 26 clips"),
        # A clip a pair, as opposed to half of one.
        ({"sampling": "coin", "batch_size": 28}, "least 28 clips .* split='train' with 26 of 26"),
        ({"sampling": "coin", "batch_size": 5}, "must be even.* Received: batch_size=5"),
        (
            {"strategy": "mirrored", "logical_devices": 2, "batch_size": 6},
            "even number of pairs.* Received: batch_size=6, 3 a device",
        ),
    ],
)
def test_pairs_that_cannot_be_made_are_refused(records, tmp_path, overrides, message):
    with pytest.raises(ValueError, match=message):
        pretrain.run(settings(records("avca"), tmp_path / "run", "avca", **overrides))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_split_of_short_clips_is_refused_before_training(tmp_path, split):
    """One of its two clips is as long as the window, and correspondence needs two."""
    clips = [handmade_records.random_clip(number) for number in range(8)]
    short = dataclasses.replace(clips[0], clip_id="short", waveform=clips[0].waveform[:3999])
    splits = {"train": clips, split: [clips[1], short]}
    video = dataclasses.replace(handmade_records.SETTINGS.video, num_frames=1)
    clip_settings = dataclasses.replace(handmade_records.SETTINGS, video=video)
    folder = handmade_records.write(tmp_path / "records", splits, clip_settings)
    message = f"least 2 clips .* Received: split='{split}' with 1 of 2 clips of 0.5 s or more"
    with pytest.raises(ValueError, match=message):
        pretrain.run(settings(folder, tmp_path / "run", "l3net"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("model", "changes", "message"),
    [
        (
            "avca", {"time_steps": 12},
            r"prepare --time_steps or --num_frames\): .* 4, 8 or 16. Received: .*\(16, 12, 1\)",
        ),
        (
            "avsa", {"num_frames": 9},
            r"prepare --window_s, --sample_rate_hz or --num_frames\): .*at least 2061 samples.*"
            r"Received: audio_shape=\(2048, 1\), visual_shape=\(9, 24, 24, 3\)",
        ),
        (
            "l3net", {"mel_bins": 7},
            r"prepare --time_steps, --hop_length or --mel_bins\): .*3 halvings.*\(7, 16, 1\)",
        ),
    ],
)  # fmt: skip
def test_sizes_that_do_not_fit_are_refused(records, tmp_path, model, changes, message):
    index = read_index(records(model))
    audio, video = index.settings.audio, index.settings.video
    of_sound = {name: value for name, value in changes.items() if hasattr(audio, name)}
    of_pictures = {name: value for name, value in changes.items() if hasattr(video, name)}
    clip_settings = dataclasses.replace(
        index.settings,
        audio=dataclasses.replace(audio, **of_sound),
        video=dataclasses.replace(video, **of_pictures),
    )
    shutil.copytree(records(model), tmp_path / "records")
    write_index(tmp_path / "records", dataclasses.replace(index, settings=clip_settings))
    with pytest.raises(ValueError, match=message):
        pretrain.run(settings(tmp_path / "records", tmp_path / "run", model))
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_pairs_are_evaluated_without_noise(records, tmp_path):
    pretrain.run(settings(records("l3net"), tmp_path / "run", "l3net", epochs=1))
    assert json.loads((tmp_path / "run" / "config.json").read_text())["model"] == "l3net"
    with pytest.raises(ValueError, match="without noise. Received: audio_noise_snr_db"):
        evaluate.run(evaluate.EvaluateSettings(str(tmp_path / "run"), audio_noise_snr_db=(5.0,)))
