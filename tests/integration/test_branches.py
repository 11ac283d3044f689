"""What each modality could do: probes while training and after, references, and their report."""

import json
import os
import shutil
import signal

import keras
import numpy as np
import pytest

from input_pipelines import dataset
from launchers import alone_runs, networks, probe_branches, references, report, train
from launchers.runs import RunFolder
from launchers.training import TrainSettings
from ogm_tf.representation import branch_probe
from tests.input_pipelines import handmade_records
from tests.integration import killed_runs
from tests.integration.same_runs import arrays, assert_same_runs
from tests.ogm_tf.analysis.parsed_page import Page

TRAINING = {
    "encoder_width": 3,
    "modulation": "ogm_ge",
    "alpha": 0.25,
    "epochs": 3,
    "batch_size": 6,
    "learning_rate": 0.05,
    "seed": 4,
}
NAMES = ("audio", "visual")
PROBES = [f"val_{name}_probe_accuracy" for name in NAMES]


@pytest.fixture(scope="module")
def records_dir(tmp_path_factory):
    splits = {"train": range(20), "validation": range(20, 29), "test": range(30, 40)}
    return handmade_records.write(
        tmp_path_factory.mktemp("records") / "records",
        {name: list(map(handmade_records.random_clip, own)) for name, own in splits.items()},
    )


def settings(records_dir, run_dir, **changes):
    return TrainSettings(str(records_dir), str(run_dir), **{**TRAINING, **changes})


@pytest.fixture(scope="module")
def run_dir(records_dir, tmp_path_factory):
    """A run that is probed after two of three epochs, and what `references` made of it."""
    path = tmp_path_factory.mktemp("runs") / "probed"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(networks, "_encoder", killed_runs.encoder)
        train.run(settings(records_dir, path, probe_every_epochs=2, probe_clips=15))
        references.run(references.ReferencesSettings(str(path)))
    return path


@pytest.fixture(autouse=True)
def small_encoders(monkeypatch):
    monkeypatch.setattr(networks, "_encoder", killed_runs.encoder)


def test_a_stopped_run_ends_with_the_same_probes_and_one_without_has_the_same_weights(
    records_dir, run_dir, tmp_path, monkeypatch
):
    history = RunFolder(run_dir).read_history()
    for name in PROBES:
        assert np.isnan(history[name]).tolist() == [True, False, True]
    stopped = tmp_path / "stopped"
    own = settings(records_dir, stopped, probe_every_epochs=2, probe_clips=15)

    class Stop(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if (
                not stop_at_once
                and batch == 1
                and "val_accuracy" in RunFolder(stopped).read_history()
            ):
                stop_at_once.append(True)
                os.kill(os.getpid(), signal.SIGTERM)

    stop_at_once = []
    probes = train._probes
    monkeypatch.setattr(train, "_probes", lambda *arguments: [*probes(*arguments), Stop()])
    with pytest.raises(SystemExit):
        train.run(own)
    assert stop_at_once and RunFolder(stopped).read_state()["epoch"] == 1
    train.run(own)
    for name in NAMES:
        shutil.copytree(run_dir / f"alone_{name}", stopped / f"alone_{name}")
    assert_same_runs(stopped, run_dir)
    monkeypatch.undo()
    monkeypatch.setattr(networks, "_encoder", killed_runs.encoder)
    train.run(settings(records_dir, tmp_path / "plain"))
    plain = RunFolder(tmp_path / "plain").read_history()
    assert plain == {name: values for name, values in history.items() if name not in PROBES}
    received, expected = arrays(tmp_path / "plain"), arrays(run_dir)
    assert received.keys() == expected.keys()
    assert [name for name in expected if received[name] != expected[name]] == []


def test_references_are_the_run_without_the_others(records_dir, run_dir):
    run = RunFolder(run_dir)
    for name, other in (NAMES, NAMES[::-1]):
        reference = RunFolder(run_dir / f"alone_{name}")
        config, own = reference.read_config(), run.read_config()
        changed = {key: config[key] for key in own if config[key] != own[key]}
        assert changed == {
            "modulation": "none", "alpha": 0.5, "remove_modality": other, "probe_every_epochs": 0,
            "probe_clips": 1000,
        }  # fmt: skip
        assert set(reference.read_metrics()) == {"validation", "test"}
        found = alone_runs.find(own, name, NAMES, [run_dir.parent, run_dir])
        assert found.path == reference.path
        # One of a plain run of other settings serves nobody else.
        assert alone_runs.find({**own, "seed": 5}, name, NAMES, [run_dir]) is None
        plain = {**own, "modulation": "none", "alpha": 0.9, "probe_every_epochs": 1}
        assert alone_runs.find(plain, name, NAMES, [run_dir]).path == reference.path
        before = reference.best_model.read_bytes()
    again = references.run(references.ReferencesSettings(str(run_dir)))
    assert (
        again["visual"] == reference.read_metrics() and reference.best_model.read_bytes() == before
    )
    with pytest.raises(ValueError, match="all its modalities. Received: .*modality='visual'"):
        references.run(references.ReferencesSettings(str(run_dir / "alone_audio")))
    expected = alone_runs.expected_config({}, "visual", ("audio", "visual", "flow"))
    assert expected["remove_modality"] == "audio,flow"


def test_branches_are_probed_on_the_runs_records(records_dir, run_dir, capsys):
    found = probe_branches.run(probe_branches.ProbeBranchesSettings(str(run_dir), batch_size=4))
    run = RunFolder(run_dir)
    written = json.loads((run_dir / "branches.json").read_text())
    assert written == json.loads(json.dumps(found))
    assert written["num_clips"] == {"train": 20, "validation": 9, "test": 10}
    assert written["best_epoch"] == run.read_state()["best_epoch"] and written["num_classes"] == 3
    printed, model = capsys.readouterr().out, run.load_best()
    whole = {
        split: next(iter(dataset.eval_dataset(records_dir, split, count).dataset))
        for split, count in written["num_clips"].items()
    }
    for name in NAMES:
        own = written["modalities"][name]
        for split in ("validation", "test"):
            metrics = run.read_metrics()[split]
            assert own["branch"][split] == pytest.approx(metrics[f"{name}_accuracy"])
            assert written["fused"][split] == pytest.approx(metrics["accuracy"])
        expected = branch_probe.probe_splits(
            {
                split: model.encoders[name](inputs[name]).numpy()
                for split, (inputs, *_) in whole.items()
            },
            {split: labels.numpy() for split, (_, labels, _) in whole.items()},
        )
        assert own["probe"] == pytest.approx(expected.accuracies)
        assert own["c"] == expected.cost and own["num_features"] == 3
        cells = "  ".join(
            f"{value:>{w}.3f}" for value, w in zip(own["probe"].values(), (5, 10, 5), strict=True)
        )
        assert f"{name}, probe" in printed and cells in printed


def test_the_report_shows_what_there_is(records_dir, run_dir, tmp_path):
    probe_branches.run(probe_branches.ProbeBranchesSettings(str(run_dir)))
    path = run_dir / "branches.json"
    # Of another modulation alone, with neither probe nor references of its own.
    other = tmp_path / "other"
    shutil.copytree(run_dir, other, ignore=shutil.ignore_patterns("alone_*", "branches.json"))
    config = RunFolder(other).read_config()
    (other / "config.json").write_text(json.dumps({**config, "modulation": "none"}))

    def page(*run_dirs):
        own = report.ReportSettings(
            tuple(map(str, run_dirs)), str(tmp_path / "page"), num_examples=0
        )
        return Page(report.run(own).read_text("utf-8"))

    shown = page(run_dir, other)
    assert ("a", {"href": "#branches"}) in shown.elements
    probed = json.loads(path.read_text())["modalities"]
    for name in NAMES:
        reference = RunFolder(run_dir / f"alone_{name}").read_metrics()
        for split in ("test", "validation"):
            alone, probe = reference[split]["accuracy"], probed[name]["probe"][split]
            branch = RunFolder(run_dir).read_metrics()[split][f"{name}_accuracy"]
            row = f"probed {name} {split} {alone:.3f} {probe:.3f} {branch:.3f}"
            assert row in shown.words
            assert f"other {name} {split} {alone:.3f} – {branch:.3f} – –" in shown.words
    (bars,) = [
        own["alt"] for tag, own in shown.elements
        if tag == "img" and own["alt"].startswith("Accuracy on the test split.")
    ]  # fmt: skip
    visual = probed["visual"]["probe"]["test"]
    assert "probed, visual: alone 0." in bars and f"probe {visual:.2f}, branch" in bars
    curves = [
        own["alt"] for tag, own in shown.elements
        if tag == "img" and own["alt"].startswith("Accuracy on validation clips per epoch")
    ]  # fmt: skip
    value = RunFolder(run_dir).read_history()[PROBES[0]][1]
    assert len(curves) == 2 and f"probe ends at {value:.2f}, branch ends" in curves[0]
    # What was found of another epoch is not this model's.
    path.write_text(json.dumps({**json.loads(path.read_text()), "best_epoch": 77}))
    assert f"probed visual test {alone:.3f} –" not in page(other).words
    assert "probed visual test" in page(run_dir).words
    path.write_text("{}")
    with pytest.raises(ValueError, match=r"branches.json must be what .* Received: KeyError"):
        page(run_dir)
    path.unlink()


def test_what_cannot_be_probed_is_refused(records_dir, run_dir, tmp_path):
    with pytest.raises(ValueError, match="at most --epochs. Received: 4 and 3"):
        settings(records_dir, tmp_path, probe_every_epochs=4)
    with pytest.raises(ValueError, match="visual, not all. Received: .*='visual,audio'"):
        train.run(settings(records_dir, tmp_path / "run", remove_modality="visual,audio"))
    with pytest.raises(ValueError, match="flow, with commas. Received: remove_modality='visuals'"):
        settings(records_dir, tmp_path, remove_modality="visuals")
    clips = list(map(handmade_records.random_clip, range(8)))
    unsplit = handmade_records.write(tmp_path / "unsplit", {"train": clips})
    with pytest.raises(ValueError, match="with a validation split .* Received: splits train"):
        train.run(settings(unsplit, tmp_path / "run", probe_every_epochs=1))
    assert not (tmp_path / "run").exists()
    pairs = RunFolder(tmp_path / "pairs")
    with pairs.locked():
        pairs.keep_config({"records_dir": str(records_dir), "model": "avca"})
    with pytest.raises(ValueError, match="of `train`. Received: .*pairs, a run of pretrain"):
        probe_branches.run(probe_branches.ProbeBranchesSettings(str(pairs.path)))
    with pytest.raises(ValueError, match="all its modalities. Received: .*, a run of pretrain"):
        references.run(references.ReferencesSettings(str(pairs.path)))
