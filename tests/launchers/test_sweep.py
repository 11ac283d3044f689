"""Which runs a sweep makes, which alpha it chooses, how it goes on, and what of failures."""

import json
import signal
import sys
import threading

import pytest
from absl import flags

from launchers import sweep
from launchers.settings import as_flags, define_flags, from_flags
from launchers.sweeping import (
    FUSED,
    Job,
    Result,
    SweepSettings,
    choose,
    final_table,
    progress_table,
    summary,
)
from launchers.training import TrainSettings
from tests.input_pipelines import handmade_records
from tests.integration import small_records

# In place of `train`: notes that it was called, and leaves what `train` does. Validation prefers
# alpha 0.3, test says which run it was; alpha 5 fails the first time, and alpha 7 waits.
TRAIN = """
import json, os, pathlib, signal, sys, time
given = dict(argument[2:].split("=") for argument in sys.argv[2:] if "=" in argument)
folder = pathlib.Path(given["output_dir"])
folder.mkdir(exist_ok=True)
with open(sys.argv[1], "a") as calls:
    calls.write(folder.name + "\\n")
alpha, seed, method = float(given.get("alpha", 0)), int(given.get("seed", 0)), folder.name[:4]
failed = folder / "failed"
if alpha == 5 and not failed.exists():
    failed.touch()
    sys.exit("no memory")
epoch = 3
if alpha == 7 and not failed.exists():
    failed.touch()
    def stop(number, frame):
        global epoch
        epoch = 1
    signal.signal(signal.SIGTERM, stop)
    os.kill(os.getppid(), signal.SIGTERM)
    while epoch == 3:
        time.sleep(0.01)
(folder / "state.json").write_text(json.dumps({"epoch": epoch}))
if epoch == 3:
    validation = 0.9 - abs(alpha - 0.3) + seed / 100
    test = 0.5 + seed / 10 + (0.25 + seed / 20 if method == "ogm_" else 0)
    parts = {"audio_accuracy": 0.5, "visual_accuracy": 0.25}
    metrics = {"validation": {"accuracy": validation}, "test": {"accuracy": test, **parts}}
    (folder / "metrics.json").write_text(json.dumps(metrics))
print("trained", folder.name)
"""


@pytest.fixture(scope="module")
def records_dir(tmp_path_factory):
    clips = [handmade_records.random_clip(number) for number in range(3)]
    return handmade_records.write(
        tmp_path_factory.mktemp("sweep") / "records",
        {"train": clips, "validation": clips, "test": clips},
    )


@pytest.fixture
def calls(tmp_path, monkeypatch):
    """Returns the names of the runs that were started since it was last asked."""
    program, path = tmp_path / "train.py", tmp_path / "calls"
    program.write_text(TRAIN)
    path.touch()
    monkeypatch.setattr(sweep, "_PROGRAM", (sys.executable, "-I", "-S", str(program), str(path)))

    def read():
        names = path.read_text().split()
        path.write_text("")
        return names

    return read


def settings(records_dir, tmp_path, **values):
    defaults = {"epochs": 3, "batch_size": 3, "report": False, "methods": ("none", "ogm_ge")}
    return SweepSettings(str(records_dir), str(tmp_path / "sweep"), **defaults | values)


def test_runs_are_methods_by_alphas_by_seeds(tmp_path):
    given = settings("r", tmp_path, methods=("none", "ogm"), alphas=(0.1, 1.0), seeds=(4, 0))
    assert [job.name for job in given.jobs()] == [
        "none_seed4", "ogm_alpha0.1_seed4", "ogm_alpha1_seed4",
        "none_seed0", "ogm_alpha0.1_seed0", "ogm_alpha1_seed0",
    ]  # fmt: skip
    given = settings("r", tmp_path, encoder="small_cnn", lr_decay_epochs=(2, 3), alpha=0.7)
    run = given.train_settings(Job("ogm_ge", 0.3, 2))
    assert run == TrainSettings(
        "r", str(tmp_path / "sweep" / "ogm_ge_alpha0.3_seed2"), modulation="ogm_ge", alpha=0.3,
        seed=2, encoder="small_cnn", lr_decay_epochs=(2, 3), epochs=3, batch_size=3,
    )  # fmt: skip
    assert given.train_settings(Job("none", None, 0)).alpha == 0.7


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"deterministic": False, "jit_compile": True, "lr_decay_epochs": (), "weight_decay": 0.0},
        {"lr_decay_epochs": (3, 5), "learning_rate": 1e-5, "remove_modality": "audio"},
    ],
)
def test_flags_and_settings_are_the_same(values):
    expected = TrainSettings("r", "o", **values)
    arguments = as_flags(expected)
    assert len(arguments) == 2 + len(values)
    found = flags.FlagValues()
    define_flags(TrainSettings, found)
    found(["train", *arguments])
    assert from_flags(TrainSettings, found) == expected


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"methods": ("none", "sgd")}, "none or different ones of ogm, .* Received: methods"),
        ({"alphas": (0.1, 0.1)}, "different numbers >= 0. Received: alphas"),
        ({"alphas": ()}, "Received: alphas"),
        ({"seeds": (1, 1)}, "different ones .* Received: seeds"),
        ({"modulation": "ogm"}, "give --methods. Received: modulation='ogm'"),
        ({"seed": 3}, "give --seeds. Received: seed=3"),
        ({"strategy": "multi_worker"}, "one machine. Received: strategy"),
        ({"epochs": 0}, "--epochs must be > 0"),
    ],
)
def test_bad_settings_are_named(values, message):
    with pytest.raises(ValueError, match=message):
        SweepSettings("r", "o", **values)


def _results(accuracies):
    """Results of runs by job: accuracy on validation, then on test."""
    return {
        job: Result({"validation": {"accuracy": own}, "test": {"accuracy": test}}, minutes=1.5)
        for job, (own, test) in accuracies.items()
    }


def test_alpha_is_chosen_by_the_mean_of_validation_and_ties_go_to_the_smaller():
    jobs = [Job("ogm", alpha, seed) for seed in (0, 1, 2) for alpha in (0.8, 0.3, 0.1)]
    # Means 0.2, 0.2 (of other numbers, so that their sums differ in the last bit) and less.
    own = {0.8: (0.1, 0.2, 0.3), 0.3: (0.2, 0.2, 0.2), 0.1: (0.9, -0.2, -0.2)}
    accuracies = {job: (own[job.alpha][job.seed], 1 - job.alpha) for job in jobs}
    chosen = choose(jobs, _results(accuracies))
    assert chosen == {"ogm": [Job("ogm", 0.3, seed) for seed in (0, 1, 2)]}
    # Of the best two a run is missing; then of all.
    for job in (Job("ogm", 0.3, 1), Job("ogm", 0.8, 2)):
        del accuracies[job]
    assert choose(jobs, _results(accuracies))["ogm"][0].alpha == 0.1
    del accuracies[Job("ogm", 0.1, 0)]
    assert choose(jobs, _results(accuracies)) == {}


def test_tables_by_hand():
    jobs = [Job(*own, seed) for seed in (0, 1) for own in (("none", None), ("ogm", 0.3))]
    results = _results(
        {jobs[0]: (0.5, 0.5), jobs[1]: (0.6, 0.7), jobs[2]: (0.7, 0.7), jobs[3]: (0.8, 1.0)}
    )
    chosen = choose(jobs, results)
    # Differences 0.2 and 0.3: deviation 0.05 sqrt(2), half of the interval 12.706 * 0.05.
    assert final_table(chosen, results, FUSED).rows == (
        ("none", "", "0.600 ± 0.141", "0.600 ± 0.141"),
        ("ogm", "0.3", "0.700 ± 0.141", "0.850 ± 0.212"),
        ("ogm - none", "", "", "+0.250 [-0.385, +0.885]"),
    )
    found = summary(chosen, results, FUSED)["ogm"]
    assert (found["alpha"], found["runs"]) == (0.3, ["ogm_alpha0.3_seed0", "ogm_alpha0.3_seed1"])
    assert found["test"]["accuracy"]["mean"] == pytest.approx(0.85)
    interval = found["test_difference_to_none"]["accuracy"]["interval_95"]
    assert interval == pytest.approx((-0.38531, 0.88531))
    del results[jobs[3]]
    table = progress_table(jobs, results, [])
    assert table.title == "3 of 4 runs done, 0 failed, 1 left, about 1.5 minutes"
    assert table.rows[1] == ("ogm alpha0.3", "1", "0", "1", "0.600", "1.5")
    assert progress_table(jobs, results, [jobs[3]]).title == "3 of 4 runs done, 1 failed, 0 left"


def test_a_sweep_and_what_it_writes(records_dir, tmp_path, calls, capsys):
    given = settings(records_dir, tmp_path, alphas=(0.1, 0.3), seeds=(0, 1))
    found = sweep.run(given)
    assert calls() == [job.name for job in given.jobs()]
    written = json.loads((tmp_path / "sweep" / "sweep.json").read_text())
    assert written["settings"]["alphas"] == [0.1, 0.3] and len(written["runs"]) == 6
    chosen = written["chosen"]["ogm_ge"]
    assert chosen["runs"] == ["ogm_ge_alpha0.3_seed0", "ogm_ge_alpha0.3_seed1"]
    assert chosen["validation_accuracy"]["mean"] == pytest.approx(0.905)
    # What the test split says is shown of the chosen runs alone.
    assert {run["name"] for run in written["runs"] if "test" in run} == {
        "none_seed0", "none_seed1", *chosen["runs"]
    }  # fmt: skip
    printed = capsys.readouterr().out
    assert printed.count("runs done") == 6 and "1 of 6 runs done, 0 failed, 5 left, " in printed
    assert "ogm_ge - none" in printed and "+0.275 [-0.043, +0.593]" in printed
    log = (tmp_path / "sweep" / "logs" / "none_seed1.log").read_text()
    assert "--seed=1" in log and "trained none_seed1" in log

    # The same again starts nothing; one more seed starts that one alone.
    again = sweep.run(given)
    assert calls() == [] and again == found
    more = settings(records_dir, tmp_path, alphas=(0.1, 0.3), seeds=(0, 1, 2))
    sweep.run(more)
    assert calls() == ["none_seed2", "ogm_ge_alpha0.1_seed2", "ogm_ge_alpha0.3_seed2"]


def test_a_run_that_fails_costs_the_others_nothing(records_dir, tmp_path, calls):
    given = settings(records_dir, tmp_path, alphas=(5.0, 0.8), seeds=(0,))
    log = tmp_path / "sweep" / "logs" / "ogm_ge_alpha5_seed0.log"
    with pytest.raises(RuntimeError) as raised:
        sweep.run(given)
    assert str(raised.value).endswith(
        f"Received: 1 of 3 that did not:\n  ogm_ge_alpha5_seed0: {log}"
    )
    assert "no memory" in log.read_text()
    assert len(calls()) == 3
    written = json.loads((tmp_path / "sweep" / "sweep.json").read_text())
    assert written["chosen"]["ogm_ge"]["alpha"] == 0.8
    assert [run["is_done"] for run in written["runs"]] == [True, False, True]
    # Now it comes to its end, though it is not the better one.
    assert sweep.run(given)["chosen"]["ogm_ge"]["alpha"] == 0.8
    assert calls() == ["ogm_ge_alpha5_seed0"]


def test_a_request_to_stop_is_passed_on(records_dir, tmp_path, calls):
    given = settings(records_dir, tmp_path, alphas=(7.0,), seeds=(0, 1))
    assert threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as raised:
        sweep.run(given)
    assert raised.value.code == 0 and signal.getsignal(signal.SIGTERM) is before
    assert calls() == ["none_seed0", "ogm_ge_alpha7_seed0"]
    assert not (tmp_path / "sweep" / "sweep.json").exists()
    sweep.run(settings(records_dir, tmp_path, alphas=(7.0,), seeds=(0,)))
    assert calls() == ["ogm_ge_alpha7_seed0"]


def test_what_cannot_be_swept_is_refused_before_a_run_starts(records_dir, tmp_path, calls):
    with pytest.raises(ValueError, match="at most the number of clips.* Received: batch_size=4"):
        sweep.run(settings(records_dir, tmp_path, batch_size=4))
    # What the last method cannot do.
    with pytest.raises(ValueError, match="whole batch .* Received: 3 clips, batch_size=2"):
        sweep.run(settings(records_dir, tmp_path, batch_size=2, methods=("none", "gblend")))
    clips = [handmade_records.random_clip(number) for number in range(3)]
    handmade_records.write(tmp_path / "records", {"train": clips, "test": clips})
    with pytest.raises(ValueError, match="validation split .* Received: .* of train, test."):
        sweep.run(settings(tmp_path / "records", tmp_path))
    assert not (tmp_path / "sweep").exists()
    # A run of other settings, of which there is a checkpoint.
    run_dir = tmp_path / "sweep" / "none_seed0"
    (run_dir / "checkpoints" / "epoch-0001-step-000000").mkdir(parents=True)
    given = settings(records_dir, tmp_path)
    config = sweep.fitting.run_config(given.train_settings(given.jobs()[0]))
    (run_dir / "config.json").write_text(json.dumps({**config, "epochs": 9}))
    with pytest.raises(ValueError, match="Received: epochs was 9 and is 3"):
        sweep.run(given)
    with sweep.output_folder.locked(str(tmp_path / "sweep")):
        (run_dir / "config.json").write_text(json.dumps(config))
        with pytest.raises(RuntimeError, match="Another run is writing to this folder"):
            sweep.run(given)
    assert calls() == []


@pytest.mark.slow
def test_a_real_sweep_and_its_report(tmp_path):
    records_dir = small_records.write(tmp_path)
    training = {**small_records.TRAINING, "batch_size": 8, "epochs": 1}
    del training["modulation"]
    given = SweepSettings(
        str(records_dir), str(tmp_path / "sweep"), methods=("none", "ogm_ge"), alphas=(0.5,),
        seeds=(0,), **training,
    )  # fmt: skip
    found = sweep.run(given)
    for method, name in (("none", "none_seed0"), ("ogm_ge", "ogm_ge_alpha0.5_seed0")):
        metrics = json.loads((tmp_path / "sweep" / name / "metrics.json").read_text())
        assert found["chosen"][method]["test"]["accuracy"]["mean"] == metrics["test"]["accuracy"]
    page = (tmp_path / "sweep" / "report" / "index.html").read_text()
    assert "none_seed0" in page and "ogm_ge_alpha0.5_seed0" in page
    logs = {path: path.read_text() for path in (tmp_path / "sweep" / "logs").iterdir()}
    assert sweep.run(given) == found
    assert len(logs) == 2 and logs == {path: path.read_text() for path in logs}
