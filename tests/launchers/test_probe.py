"""The probe of a run's audio encoder: windows, folds that do not fit, the report."""

import dataclasses
import json
import os
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf

import ogm_tf
from launchers import audio_encoders, probe, probe_sounds
from launchers.runs import RunFolder
from tests.conftest import ROOT
from tests.input_pipelines import handmade_records
from tests.input_pipelines.datasets.imitations import write
from tests.input_pipelines.handmade_records import SETTINGS
from tests.input_pipelines.media_files import tone, write_wav

HEADER = "filename,fold,target,category,esc10,src_file,take"


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    """A run that has learned nothing, of half a second of sound at 8 kHz."""
    folder = tmp_path_factory.mktemp("probe")
    clips = [handmade_records.random_clip(number) for number in range(3)]
    records = handmade_records.write(folder / "records", {"train": clips})
    keras.utils.set_random_seed(7)
    encoders = {
        name: ogm_tf.encoders.small_cnn(shape, name=name, channels=(4, 8))
        for name, shape in SETTINGS.shapes.items()
    }
    model = ogm_tf.OGMModel(encoders, ogm_tf.fusion.Concat(num_classes=3))
    model({name: tf.zeros([1, *shape]) for name, shape in SETTINGS.shapes.items()})
    run = RunFolder(folder / "run")
    with run.locked():
        run.keep_config({"records_dir": str(records)})
        run.save_best(model)
        run.write_state({"epoch": 1, "best_epoch": 0, "best_score": 0.5})
    return run.path


@pytest.fixture
def data_dir(tmp_path):
    """Two classes of tones, four clips of each of five folds; some are shorter than a window."""
    rows = [HEADER]
    for fold in range(1, 6):
        for number in range(8):
            target, frequency_hz = number % 2, (500.0, 1500.0)[number % 2]
            name = f"{fold}-{number}-A-{target}.wav"
            rows.append(f"{name},{fold},{target},{'lh'[target]},True,{fold}{number},A")
            (tmp_path / "esc/audio").mkdir(parents=True, exist_ok=True)
            sound = tone(0.3 if number == 7 else 0.8, frequency_hz + 20 * fold + 5 * number)
            write_wav(tmp_path / "esc/audio" / name, sound)
    write(tmp_path / "esc", "meta/esc50.csv", "\n".join(rows))
    return tmp_path / "esc"


def _settings(run_dir, data_dir, **values):
    defaults = {"num_windows": 3, "num_workers": 0, "c_values": (0.01, 0.1)}
    return probe.ProbeSettings(str(run_dir), "esc50", str(data_dir), **defaults | values)


def _edit_list(data_dir, edit):
    path = data_dir / "meta" / "esc50.csv"
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([header, *edit(rows)]))


@pytest.mark.parametrize(
    ("num_samples", "window_samples", "num_windows", "starts"),
    [
        (100, 10, 10, [0, 10, 20, 30, 40, 50, 60, 70, 80, 90]),
        (25, 10, 4, [0, 5, 10, 15]),
        (18, 10, 4, [0, 3, 5, 8]),
        (10, 10, 3, [0, 0, 0]),
        (21, 10, 1, [5]),
    ],
)
def test_windows_are_equally_spaced(num_samples, window_samples, num_windows, starts):
    found = probe_sounds.window_starts(num_samples, window_samples, num_windows)
    assert found.tolist() == starts


def test_short_sounds_are_repeated_cyclically():
    windows = probe_sounds.cut_windows(np.array([1.0, 2.0, 3.0]), 8, 2)
    assert windows.tolist() == [[1, 2, 3, 1, 2, 3, 1, 2]] * 2
    long = probe_sounds.cut_windows(np.arange(7.0), 3, 3)
    assert long.tolist() == [[0, 1, 2], [2, 3, 4], [4, 5, 6]]


def test_log_mel_statistics_are_means_and_deviations_over_time():
    loud_then_silent = np.concatenate([tone(0.5, rate_hz=8000)[0], np.zeros(4000)])
    both = np.stack([loud_then_silent, tone(1.0, rate_hz=8000)[0]]).astype(np.float32)
    found = probe_sounds.log_mel_statistics(tf.constant(both), 8000).numpy()
    means, deviations = np.split(found, 2, axis=1)
    band = np.argmax(means[1])
    # Half of the time 80 dB below: the mean is 40 dB lower, and the deviation is 40 dB.
    np.testing.assert_allclose(means[1, band] - means[0, band], 40, atol=3)
    np.testing.assert_allclose(deviations[:, band], [40, 0], atol=3)


def test_a_run_is_probed_beside_both_baselines(run_dir, data_dir, capsys):
    report = probe.run(_settings(run_dir, data_dir))
    printed = capsys.readouterr().out
    written = json.loads((run_dir / "probe.json").read_text())
    assert written == json.loads(json.dumps(report))
    assert written["num_clips"] == 40 and written["num_classes"] == 2
    assert written["num_shorter_than_window"] == 5
    assert not written["skipped"] and not written["unlisted"]
    assert (written["window_s"], written["sample_rate_hz"]) == (0.5, 8000)
    results = written["results"]
    assert {name: result["num_features"] for name, result in results.items()} == {
        "encoder": 8, "random_encoder": 8, "log_mel": 128,
    }  # fmt: skip
    for name, title in probe.TITLES.items():
        accuracies = results[name]["accuracies"]
        assert len(accuracies) == 5 and title in printed
        assert results[name]["mean"] == pytest.approx(np.mean(accuracies))
        assert results[name]["deviation"] == pytest.approx(np.std(accuracies))
    assert results["log_mel"]["mean"] == 1.0 and "100.0 ± 0.0" in printed
    other = data_dir / "results" / "other.json"
    assert probe.run(_settings(run_dir, data_dir, output_file=str(other))) == report
    assert json.loads(other.read_text()) == written
    assert probe.kept_report(_settings(run_dir, data_dir)) == written
    # Of other sounds, by another classifier, or where there is none.
    for changes in (
        {"data_dir": "elsewhere"}, {"seed": 1}, {"c_values": (0.1,)}, {"num_windows": 4},
        {"classifier": "linear_svm"}, {"output_file": "nowhere.json"},
    ):  # fmt: skip
        changed = dataclasses.replace(_settings(run_dir, data_dir), **changes)
        assert probe.kept_report(changed) is None


def test_the_random_encoder_is_another_one_of_the_same_configuration(run_dir):
    encoder = RunFolder(run_dir).load_best().encoders["audio"]
    settings = dataclasses.replace(SETTINGS, modalities=("audio",))
    windows = tf.random.stateless_uniform([3, settings.window_samples], [1, 2], -1.0, 1.0)
    first, again, other = (
        probe._extractor(encoder, settings, _settings(run_dir, "", seed=seed))(windows)
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first["encoder"], other["encoder"])
    np.testing.assert_array_equal(first["random_encoder"], again["random_encoder"])
    assert np.max(np.abs(first["random_encoder"] - first["encoder"])) > 1e-3
    assert np.max(np.abs(first["random_encoder"] - other["random_encoder"])) > 1e-3


def test_files_that_are_missing_broken_or_not_listed_are_counted(run_dir, data_dir):
    (data_dir / "audio" / "2-3-A-1.wav").unlink()
    (data_dir / "audio" / "4-0-A-0.wav").write_bytes(b"no sound")
    write_wav(data_dir / "audio" / "stranger.wav", tone(0.8))
    report = probe.run(_settings(run_dir, data_dir))
    assert report["num_clips"] == 38 and report["unlisted"] == ("stranger.wav",)
    assert [(skip["clip_id"], skip["fold"]) for skip in report["skipped"]] == [
        ("2-3-A-1", 2), ("4-0-A-0", 4),
    ]  # fmt: skip
    # One is missing before anything is decoded, and two cannot be used.
    for allowed, num_bad in ((0.01, 1), (0.03, 2)):
        message = f"{num_bad} of 40. Received: max_bad_fraction={allowed}, .*2-3-A-1"
        with pytest.raises(RuntimeError, match=message):
            probe.run(_settings(run_dir, data_dir, max_bad_fraction=allowed))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda rows: [r for r in rows if r[0] != "3"], "Received: none of fold 3;"),
        (
            lambda rows: [r for r in rows if r[0] == "1" or ",h," not in r],
            "Received: none of h outside of fold 1;",
        ),
        (lambda rows: [*rows, rows[0].replace("1-0-A", "gone")] * 2, "listed once"),
        (lambda rows: [r.replace(",1,", ",9,") for r in rows], "from 1 to 5"),
    ],
)
def test_folds_that_cannot_be_probed_are_refused(edit, message, run_dir, data_dir):
    _edit_list(data_dir, edit)
    with pytest.raises(ValueError, match=message):
        probe.run(_settings(run_dir, data_dir))


def test_a_fold_whose_sounds_all_fail_is_refused(run_dir, data_dir):
    for path in (data_dir / "audio").glob("5-*"):
        path.write_bytes(b"")
    with pytest.raises(ValueError, match="none of fold 5; 8 clips cannot be used: 5-0-A-0"):
        probe.run(_settings(run_dir, data_dir, max_bad_fraction=0.5))


def test_runs_that_cannot_be_probed_are_refused(run_dir, data_dir, tmp_path):
    with pytest.raises(FileNotFoundError, match="config.json"):
        probe.run(_settings(tmp_path, data_dir))
    encoder = RunFolder(run_dir)
    longer = dataclasses.replace(SETTINGS, window_s=0.7)
    with pytest.raises(ValueError, match=r"shape \(33, 21, 1\). Received: .* \(33, 29, 1\)"):
        audio_encoders.load(encoder, longer)
    with pytest.raises(ValueError, match="c_values.* Received"):
        _settings(run_dir, data_dir, c_values=(0.0,))
    silent = handmade_records.write(
        tmp_path / "silent",
        {"train": [dataclasses.replace(handmade_records.random_clip(0), waveform=None,
                                       duration_s=0.5)]},
        dataclasses.replace(SETTINGS, modalities=("visual",)),
    )  # fmt: skip
    run = RunFolder(tmp_path / "silent_run")
    with run.locked():
        run.keep_config({"records_dir": str(silent)})
    with pytest.raises(ValueError, match="learned from sound.* Received: .* of visual"):
        probe.run(_settings(run.path, data_dir))


@pytest.mark.slow
def test_esc10_as_it_is(run_dir, tmp_path):
    folder = pathlib.Path(os.environ.get("ESC10", ROOT.parent / "shared" / "data" / "esc10"))
    if not (folder / "meta" / "esc50.csv").is_file():
        pytest.skip(f"ESC10 does not name the ESC-10 clips. Received: {folder}")
    report = probe.run(_settings(run_dir, folder, output_file=str(tmp_path / "esc10.json")))
    assert (report["num_clips"], report["num_classes"], report["skipped"]) == (400, 10, ())
    # Chance is 10 %.
    assert report["results"]["log_mel"]["mean"] > 0.6
    assert report["results"]["random_encoder"]["mean"] > 0.2
