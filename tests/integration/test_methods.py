"""The methods of --modulation, from records to a report."""

import itertools
import signal

import numpy as np
import pytest

from input_pipelines import dataset
from launchers import fitting, networks, report, train
from launchers.runs import RunFolder
from launchers.sweeping import SweepSettings
from launchers.training import TrainSettings
from ogm_tf.callbacks import SkippedSteps
from ogm_tf.gradient_blending import GBlendEstimator
from tests.integration import killed_runs, small_records
from tests.integration.same_runs import assert_same_runs

METHODS = "opm+agm+pmr"


@pytest.fixture(autouse=True)
def small_encoders(monkeypatch):
    monkeypatch.setattr(networks, "_encoder", killed_runs.encoder)


@pytest.fixture(scope="module")
def records_dir(tmp_path_factory):
    return small_records.write(tmp_path_factory.mktemp("data"))


def settings(records_dir, output_dir, **own):
    own = {
        **small_records.TRAINING, "checkpoint_every_steps": 2, "modulation": METHODS,
        "gblend_super_epoch": 1, "keep": "last", **own,
    }  # fmt: skip
    return TrainSettings(records_dir=str(records_dir), output_dir=str(output_dir), **own)


@pytest.mark.slow
@pytest.mark.parametrize("methods", [METHODS, f"{METHODS}+gblend"])
def test_methods_with_a_memory_go_on_where_they_were_stopped(
    records_dir, tmp_path, monkeypatch, methods
):
    """In the middle of the second epoch, after which their state counts."""
    train.run(settings(records_dir, tmp_path / "whole", modulation=methods))
    asked = itertools.count(1)

    class Stops(SkippedSteps):
        def on_train_batch_end(self, batch, logs=None):
            super().on_train_batch_end(batch, logs)
            if next(asked) == small_records.STEPS_PER_EPOCH + 2:
                signal.raise_signal(signal.SIGTERM)

    parts = settings(records_dir, tmp_path / "parts", modulation=methods)
    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(fitting, "SkippedSteps", Stops)
        train.run(parts)
    train.run(parts)
    assert_same_runs(tmp_path / "parts", tmp_path / "whole")
    folder = RunFolder(tmp_path / "whole")
    history = folder.read_history()
    assert folder.read_state()["best_epoch"] == 1
    kept = folder.read_metrics()["validation"]["accuracy"]
    assert kept == pytest.approx(history["val_accuracy"][1])
    assert max(history["audio_coefficient"] + history["visual_coefficient"]) > 1
    page = report.run(report.ReportSettings((str(tmp_path / "whole"),), str(tmp_path / "page")))
    assert "OPM + AGM + PMR" in page.read_text("utf-8")


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("ogm+agm", "One method at most may act on the gradients.* Received: OGM [+] AGM"),
        ("ogm+ogm", "different ones of .* Received: modulation='ogm[+]ogm'"),
        ("unimodal", "needs --fusion=mmcosine. Received: mmcosine_scale=5.0, fusion='concat'"),
        ("best", "none or different ones of ogm, .* Received: modulation='best'"),
    ],
)
def test_what_goes_not_together_is_refused_before_a_folder_is_made(tmp_path, method, message):
    own = {"mmcosine_scale": 5.0} if "mmcosine" in message else {}
    with pytest.raises(ValueError, match=message):
        train.run(settings(tmp_path / "records", tmp_path / "run", modulation=method, **own))
    assert not (tmp_path / "run").exists()


def test_gblend_needs_enough_clips(records_dir, tmp_path):
    with pytest.raises(ValueError, match="whole batch.*26 clips, batch_size=14, share=0.2"):
        train.run(settings(records_dir, tmp_path / "run", batch_size=14, modulation="gblend"))
    assert not (tmp_path / "run").exists()


def test_what_is_held_out_is_not_trained_on(records_dir, monkeypatch, tmp_path):
    asked = {}

    def remember(name):
        read = getattr(dataset, name)

        def reading(*arguments, numbers=None, **options):
            asked.setdefault(name, []).append(numbers)
            return read(*arguments, numbers=numbers, **options)

        monkeypatch.setattr(dataset, name, reading)

    for name in ("train_dataset", "eval_dataset"):
        remember(name)
    # Of the clips that are read, not of what is learned.
    monkeypatch.setattr(GBlendEstimator, "estimate", lambda _: np.zeros(3))
    train.run(settings(records_dir, tmp_path / "run", modulation="gblend", epochs=1))
    of_fit, of_heads = asked["train_dataset"]
    (held_out,) = [numbers for numbers in asked["eval_dataset"] if numbers is not None]
    assert sorted([*of_fit, *held_out]) == list(range(26)) and len(held_out) == 4
    assert list(of_heads) == list(of_fit)


def test_a_sweep_has_alphas_for_methods_that_have_one():
    sweep = SweepSettings(
        records_dir="records", output_dir="sweep", seeds=(0,), alphas=(0.1, 0.5),
        methods=("none", "unimodal", "ogm_ge+unimodal", "agm"),
    )  # fmt: skip
    found = [(job.method, job.alpha) for job in sweep.jobs()]
    assert found == [
        ("none", None), ("unimodal", None), ("ogm_ge+unimodal", 0.1), ("ogm_ge+unimodal", 0.5),
        ("agm", 0.1), ("agm", 0.5),
    ]  # fmt: skip
    assert sweep.run_dir(sweep.jobs()[2]).name == "ogm_ge+unimodal_alpha0.1_seed0"
