"""What each modality could do: probes while training and after, references, and their report."""

import contextlib
import dataclasses
import io
import json
import os
import shutil
import signal

import keras
import numpy as np
import pytest

from input_pipelines import dataset
from input_pipelines.index import read_index
from launchers import (
    alone_runs,
    fitting,
    networks,
    probe_branches,
    references,
    report,
    report_branches,
    train,
)
from launchers.runs import RunFolder
from launchers.training import TrainSettings
from ogm_tf.analysis.summaries import RunSummary
from ogm_tf.representation import branch_probe
from tests.input_pipelines import handmade_records
from tests.integration import killed_runs
from tests.integration.same_runs import arrays, assert_same_runs
from tests.ogm_tf.analysis.parsed_page import Page

TRAINING = {
    "encoder_width": 3,
    "alpha": 0.25,
    "epochs": 1,
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


def encoder(settings, shape, name):
    """One layer, to be built in no time."""
    layers = [keras.layers.Flatten(), keras.layers.Dense(settings.encoder_width)]
    return keras.Sequential([keras.layers.Input(shape), *layers], name=name)


@pytest.fixture(scope="module")
def run_dir(records_dir, tmp_path_factory):
    """A run that is probed after its only epoch, and what `references` made of it."""
    path = tmp_path_factory.mktemp("runs") / "probed"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(networks, "_encoder", encoder)
        train.run(settings(records_dir, path, probe_every_epochs=1, probe_clips=15))
        references.run(references.ReferencesSettings(str(path)))
    return path


@pytest.fixture(autouse=True)
def small_encoders(monkeypatch):
    monkeypatch.setattr(networks, "_encoder", encoder)


def test_probes_are_columns_of_the_history_with_gaps(run_dir):
    history = RunFolder(run_dir).read_history()
    for name in PROBES:
        (value,) = history[name]
        assert value in np.arange(10) / 9
    # What a checkpoint keeps of them goes on as if it had never been written.
    rows = [{"loss": 3.0}, {"loss": 2.0, "probe": 0.5}, {"loss": 1.0}]
    recorder = fitting._Recorder(RunFolder(run_dir), False, None)
    for epoch, row in enumerate(rows):
        recorder.on_epoch_end(epoch, row)
        state = json.loads(json.dumps(recorder.get_state()))
        recorder = fitting._Recorder(RunFolder(run_dir), False, None)
        recorder.set_state(state)
    assert state["best_epoch"] == 2
    np.testing.assert_equal(
        state["history"],
        {"epoch": [0, 1, 2], "loss": [3, 2, 1], "probe": [np.nan, 0.5, np.nan]},
    )


@pytest.mark.slow
def test_a_stopped_run_ends_with_the_same_probes_and_one_without_has_the_same_weights(
    records_dir, tmp_path, monkeypatch
):
    monkeypatch.setattr(networks, "_encoder", killed_runs.encoder)
    probed, stopped, plain = (tmp_path / name for name in ("probed", "stopped", "plain"))
    changes = {"modulation": "ogm_ge", "epochs": 3, "probe_every_epochs": 2, "probe_clips": 15}
    train.run(settings(records_dir, probed, **changes))
    stops = []

    class Stop(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if not stops and batch == 1 and RunFolder(stopped).read_state():
                stops.append(batch)
                os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        callbacks = train._callbacks
        patch.setattr(train, "_callbacks", lambda *arguments: [*callbacks(*arguments), Stop()])
        with pytest.raises(SystemExit):
            train.run(settings(records_dir, stopped, **changes))
        assert stops and RunFolder(stopped).read_state()["epoch"] == 1
        train.run(settings(records_dir, stopped, **changes))
    assert_same_runs(stopped, probed)
    train.run(settings(records_dir, plain, modulation="ogm_ge", epochs=3))
    history = RunFolder(probed).read_history()
    assert RunFolder(plain).read_history() == {
        name: values for name, values in history.items() if name not in PROBES
    }
    received, expected = arrays(plain), arrays(probed)
    assert received.keys() == expected.keys()
    assert [name for name in expected if received[name] != expected[name]] == []


def test_references_are_the_run_without_the_others(run_dir):
    run = RunFolder(run_dir)
    for name, other in (NAMES, NAMES[::-1]):
        reference = RunFolder(run_dir / f"alone_{name}")
        config, own = reference.read_config(), run.read_config()
        changed = {key: config[key] for key in own if config[key] != own[key]}
        assert changed == {
            "alpha": 0.5, "remove_modality": other, "probe_every_epochs": 0,
            "probe_clips": 1000,
        }  # fmt: skip
        assert set(reference.read_metrics()) == {"validation", "test"}
        found = alone_runs.find(own, name, NAMES, [run_dir.parent, run_dir])
        assert found.path == reference.path
        # A run of another seed has others, one of another method the same.
        assert alone_runs.find({**own, "seed": 5}, name, NAMES, [run_dir]) is None
        modulated = {**own, "modulation": "ogm_ge", "alpha": 0.9, "probe_every_epochs": 0}
        modulated |= {"record_samples": 0, "checkpoint_every_steps": 3, "max_skipped_steps": 7}
        assert alone_runs.find(modulated, name, NAMES, [run_dir]).path == reference.path
    with pytest.raises(ValueError, match="all its modalities. Received: .*modality='visual'"):
        references.run(references.ReferencesSettings(str(run_dir / "alone_audio")))
    expected = alone_runs.expected_config({}, "visual", ("audio", "visual", "flow"))
    assert expected["remove_modality"] == "audio,flow"


def test_references_are_trained_on_one_machine_and_of_known_settings_alone(records_dir, tmp_path):
    run = RunFolder(tmp_path)
    config = dataclasses.asdict(settings(records_dir, "ignored", strategy="multi_worker"))
    del config["output_dir"]
    made = alone_runs.settings(json.loads(json.dumps(config)), "audio", NAMES, "here")
    assert made == settings(
        records_dir, "here", strategy="mirrored", alpha=0.5, remove_modality="visual"
    )
    with run.locked():
        run.keep_config({**config, "warp": 9})
    with pytest.raises(ValueError, match="of this version's `train`. Received: warp=9"):
        references.run(references.ReferencesSettings(str(tmp_path)))


@pytest.fixture(scope="module")
def probed(run_dir):
    """What `probe_branches` finds of the run, and what it prints."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        found = probe_branches.run(probe_branches.ProbeBranchesSettings(str(run_dir), batch_size=4))
    return found, printed.getvalue()


def test_branches_are_probed_on_the_runs_records(records_dir, run_dir, probed):
    found, printed = probed
    run = RunFolder(run_dir)
    written = json.loads((run_dir / "branches.json").read_text())
    assert written == json.loads(json.dumps(found))
    assert written["num_clips"] == {"train": 20, "validation": 9, "test": 10}
    assert written["best_epoch"] == run.read_state()["best_epoch"] and written["num_classes"] == 3
    model = run.load_best()
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


def test_the_report_shows_what_there_is(run_dir, probed, tmp_path):
    # Of another modulation alone, with neither probe nor references of its own.
    other = tmp_path / "other"
    shutil.copytree(run_dir, other, ignore=shutil.ignore_patterns("alone_*", "branches.json"))
    config = RunFolder(other).read_config()
    (other / "config.json").write_text(json.dumps({**config, "modulation": "ogm"}))
    own = (str(run_dir), str(other))
    page = report.run(report.ReportSettings(own, str(tmp_path / "page"), num_examples=0))
    shown = Page(page.read_text("utf-8"))
    assert ("a", {"href": "#branches"}) in shown.elements
    for name in NAMES:
        reference = RunFolder(run_dir / f"alone_{name}").read_metrics()
        for split in ("test", "validation"):
            alone = reference[split]["accuracy"]
            probe = probed[0]["modalities"][name]["probe"][split]
            branch = RunFolder(run_dir).read_metrics()[split][f"{name}_accuracy"]
            assert f"probed {name} {split} {alone:.3f} {probe:.3f} {branch:.3f}" in shown.words
            assert f"other {name} {split} {alone:.3f} – {branch:.3f} – –" in shown.words
    # How probes and references were made, once each.
    made = probed[0]["made"]["command"]
    assert f"probed, probes {made} In " in shown.words and f"--run_dir={run_dir}" in made
    for name in NAMES:
        (start,) = RunFolder(run_dir / f"alone_{name}").read_starts()
        assert shown.words.count(f"probed/alone_{name} {start['command']} In ") == 1
    texts = [attributes["alt"] for tag, attributes in shown.elements if tag == "img"]
    (bars,) = [text for text in texts if text.startswith("Accuracy on the test split.")]
    visual = probed[0]["modalities"]["visual"]["probe"]["test"]
    assert "probed, visual: alone 0." in bars and f"probe {visual:.2f}, branch" in bars
    curves = [text for text in texts if text.startswith("Accuracy on validation clips per epoch")]
    value = RunFolder(run_dir).read_history()[PROBES[0]][0]
    assert len(curves) == 2 and f"probe ends at {value:.2f}, branch ends" in curves[0]


def test_what_was_found_of_another_model_is_left_out_and_a_damaged_file_refused(
    records_dir, run_dir, probed, tmp_path
):
    run, path = RunFolder(run_dir), tmp_path / "branches.json"
    summary = RunSummary(
        "run", "none", run.read_config(), run.read_history(), run.read_metrics(), 0
    )
    index = read_index(records_dir)

    def columns():
        # A path that is absolute does not lie in the run's folder.
        (section,) = report_branches.sections([run], [summary], index, str(path))
        return [row[3:5] for row in section.values["table"].rows]

    path.write_text(json.dumps({**probed[0], "best_epoch": 77}))
    assert {probe for _, probe in columns()} == {"–"}
    assert "–" not in {alone for alone, _ in columns()}
    path.write_text("{}")
    with pytest.raises(ValueError, match=r"branches.json must be what .* Received: KeyError"):
        columns()


def test_what_cannot_be_probed_is_refused(records_dir, run_dir, tmp_path):
    with pytest.raises(ValueError, match="at most --epochs. Received: 3 and 1"):
        settings(records_dir, tmp_path, probe_every_epochs=3)
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
