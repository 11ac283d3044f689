"""The methods of --modulation, from records to a report."""

import itertools
import signal

import numpy as np
import pytest

from input_pipelines import dataset
from launchers import fitting, networks, report, train, training
from launchers.runs import RunFolder
from launchers.sweeping import SweepSettings
from launchers.training import METHODS as METHODS_OF_TRAIN
from launchers.training import TrainSettings
from ogm_tf.analysis.summaries import MODULATION_SETTINGS, RunSummary
from ogm_tf.callbacks import SkippedSteps
from ogm_tf.gradient_blending import GBlendEstimator
from tests.integration import killed_runs, small_records
from tests.integration.same_runs import assert_same_runs

METHODS = "opm+agm+pmr"
WINDOW = {"modulation_start_epoch", "modulation_end_epoch"}


@pytest.fixture(autouse=True)
def small_encoders(monkeypatch):
    monkeypatch.setattr(networks, "_encoder", killed_runs.encoder)


@pytest.fixture(scope="module")
def records_dir(tmp_path_factory):
    return small_records.write(tmp_path_factory.mktemp("data"))


def settings(records_dir, output_dir, **own):
    own = {
        **small_records.TRAINING, "checkpoint_every_steps": 2, "modulation": METHODS,
        "keep": "last", **own,
    }  # fmt: skip
    if "gblend" in own["modulation"]:
        own["gblend_super_epoch"] = 1
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
        ("mmcosine+opm", "MMCosine is --fusion=mmcosine.* Received: modulation='mmcosine"),
        ("best", "none or different ones of ogm, .* Received: modulation='best'"),
        ("gblend+unimodal", "losses twice. Received: GBlend [+] Unimodal"),
        ("ogm+agm+opm", "must not be film or gated. Received: fusion='film'"),
        ("opm", "go with the method unimodal.* Received: unimodal_weight=3.0, and the methods opm"),
        (
            "mmpareto",
            "go with the method ogm or ogm_ge.* modulation_rule='tpami', and the methods mm",
        ),
    ],
)
def test_what_goes_not_together_is_refused_before_a_folder_is_made(tmp_path, method, message):
    given = {
        "mmcosine": {"mmcosine_scale": 5.0},
        "film": {"fusion": "film"},
        "unimodal_weight": {"unimodal_weight": 3.0},
        "tpami": {"modulation_rule": "tpami"},
    }
    own = next((value for key, value in given.items() if key in message), {})
    with pytest.raises(ValueError, match=message):
        train.run(settings(tmp_path / "records", tmp_path / "run", modulation=method, **own))
    assert not (tmp_path / "run").exists()


def test_losses_features_and_gradients_at_once_under_cosines(records_dir, tmp_path):
    run_dir = tmp_path / "run"
    train.run(
        settings(
            records_dir,
            run_dir,
            modulation="opm+mmpareto",
            epochs=1,
            fusion="mmcosine",
            mmcosine_scale=5.0,
            pareto_gamma=1.2,
            opm_probability=1.0,
        )  # fmt: skip
    )
    history = RunFolder(run_dir).read_history()
    assert history["skipped_steps"] == [0] and np.isfinite(history["loss"]).all()
    model = RunFolder(run_dir).load_best()
    assert (model.fusion.scale, model.modulation.name) == (5.0, "OPM + MMPareto")
    page = report.run(report.ReportSettings((str(run_dir),), str(tmp_path / "page")))
    assert "probability 1.0, gamma 1.2, cosine scale 5.0" in page.read_text("utf-8")


def test_every_setting_of_a_method_is_an_argument_of_it():
    own = {
        "alpha": 0.11, "modulation_start_epoch": 2, "modulation_end_epoch": 7,
        "modulation_rule": "tpami", "modulation_variables": "conv", "seed": 5,
        "unimodal_weight": 0.12, "pareto_gamma": 1.3, "opm_base": 0.14, "opm_strength": 0.15,
        "opm_probability": 0.16, "pmr_strength": 0.17, "pmr_entropy": 0.18,
        "pmr_entropy_end_epoch": 9,
    }  # fmt: skip
    window = {"start_epoch": 2, "end_epoch": 7}
    ogm = {"alpha": 0.11, "variables": "conv", "rule": "tpami", **window}
    # The others act in all epochs, whatever a preset of a dataset says of OGM-GE.
    whole = {"start_epoch": 0, "end_epoch": None}
    expected = {
        "ogm": ogm,
        "ogm_ge": {**ogm, "seed": 5},
        "agm": {"alpha": 0.11, "variables": "all", **window},
        "unimodal": {"weight": 0.12, **whole},
        "gblend": whole,
        "mmpareto": {"gamma": 1.3, "variables": "all", **whole},
        "opm": {"base": 0.14, "strength": 0.15, "probability": 0.16, "seed": 5, **whole},
        "pmr": {
            "strength": 0.17, "entropy": 0.18, "entropy_end_epoch": 9, "momentum": 0.9, **whole,
        },
    }  # fmt: skip
    sweep = SweepSettings(records_dir="r", output_dir="s", methods=METHODS_OF_TRAIN, **{
        name: value for name, value in own.items() if name != "seed"
    }, seeds=(5,), alphas=(0.11,))  # fmt: skip
    assert {job.method for job in sweep.jobs()} == expected.keys()
    for job in sweep.jobs():
        found = sweep.train_settings(job)
        assert networks.make_modulation(found).get_config() == expected[job.method]
        # What others have is as it is by default, or the run would be refused.
        for name, default in training.unowned_settings([job.method]).items():
            assert getattr(found, name) == default


@pytest.mark.parametrize(
    ("method", "own"),
    [
        ("unimodal", {"unimodal_weight"}),
        ("mmpareto", {"pareto_gamma"}),
        ("agm", {"alpha", *WINDOW}),
        ("ogm_ge", {"alpha", "modulation_rule", "modulation_variables", *WINDOW}),
        ("agm+unimodal", {"alpha", "unimodal_weight", *WINDOW}),
    ],
)
def test_reports_and_runs_know_which_settings_a_method_has(tmp_path, method, own):
    run = RunSummary("a", method, dict.fromkeys(WINDOW, 1), {"loss": [1.0] * 4}, {})
    assert set(MODULATION_SETTINGS) - run.unused_settings == {"modulation", *own}
    assert run.window == ((1, 1) if own > WINDOW else (0, 3))
    given = {"alpha": 0.3, "modulation_end_epoch": 7}
    found = settings(tmp_path, tmp_path / "run", modulation=method, **given)
    assert training.settings_without_effect(found) == [name for name in given if name not in own]


def test_a_method_of_one_s_own_has_settings_that_reports_do_not_know():
    assert RunSummary("a", "my_own", {}, {}, {}).unused_settings == set()


def test_opm_is_refused_with_the_heads_that_the_library_refuses():
    heads = {name: networks._FUSIONS[name] for name in training.FUSIONS}
    refused = {name for name, head in heads.items() if not head.adds_up}
    assert refused == set(training.FUSIONS_WITHOUT_OPM)


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
