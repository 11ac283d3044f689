"""Which runs and probes the benchmark makes, and which it keeps."""

import json

import pytest

from benchmarks import launched, pretraining
from launchers import probe
from launchers.runs import RunFolder

ACCURACIES = {"accuracy": 0.5, "positive_accuracy": 0.25, "negative_accuracy": 0.75}


@pytest.fixture
def calls(monkeypatch):
    """Takes the place of the launchers, and returns what is launched."""
    made = []

    def launch(name, *arguments):
        given = dict(argument.removeprefix("--").split("=", 1) for argument in arguments)
        made.append((name, given))
        if name == "probe":
            settings = probe.ProbeSettings(
                given["run_dir"], given["dataset"], given["data_dir"], seed=int(given["seed"])
            )
            mean = int(given["seed"]) / 10 + ("b" in given["data_dir"])
            results = {key: {"mean": mean} for key in pretraining.PROBED.values()}
            report = {**probe._identity(settings), "results": results}
            launched.write_json(launched.pathlib.Path(given["run_dir"]) / probe.FILE, report)
            return
        folder = RunFolder(launched.pathlib.Path(given["output_dir"]))
        folder.path.mkdir(exist_ok=True)
        folder.write_state({"epoch": 3, "best_epoch": 2, "best_score": 0.5})
        folder.add_metrics("test", ACCURACIES)

    monkeypatch.setattr(launched, "launch", launch)
    monkeypatch.setattr(pretraining, "_records", lambda settings, model: f"records/{model}")
    return made


def settings(folder, **changes):
    return pretraining.PretrainingSettings(
        str(folder), models=("avca",), methods=("none", "ogm_ge"), seeds=(1, 2), **changes
    )


def test_every_method_and_seed_is_trained_on_the_same_records(calls, tmp_path):
    pretraining.run(settings(tmp_path))
    assert [(name, g["modulation"], g["seed"], g["records_dir"]) for name, g in calls] == [
        ("pretrain", method, seed, "records/avca")
        for method in ("none", "ogm_ge")
        for seed in ("1", "2")
    ]
    stored = json.loads((tmp_path / "pretraining.json").read_text())
    row = stored["results"]["avca"]["none"][0]
    assert {name: row[name] for name in pretraining.PAIRS} == {
        "pairs": 0.5, "positive": 0.25, "negative": 0.75,
    }  # fmt: skip
    assert row["minutes"] >= 0


def test_probes_of_other_settings_are_made_again(calls, tmp_path):
    def probed(esc50_dir):
        calls.clear()
        pretraining.run(settings(tmp_path, esc50_dir=esc50_dir))
        stored = json.loads((tmp_path / "pretraining.json").read_text())
        rows = stored["results"]["avca"]["ogm_ge"]
        return sum(name == "probe" for name, _ in calls), [row["probe"] for row in rows]

    assert probed("a") == (4, [0.1, 0.2])
    assert probed("a") == (0, [0.1, 0.2])
    assert probed("b") == (4, [1.1, 1.2])
    # One that was made by hand with another seed, and one of an earlier epoch's network.
    path = tmp_path / "avca_ogm_ge_seed1" / probe.FILE
    for name, value in (("seed", 7), ("best_epoch", 0), ("classifier", "linear_svm")):
        path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))
        assert probed("b") == (1, [1.1, 1.2])
