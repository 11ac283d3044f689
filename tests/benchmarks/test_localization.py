import pytest

from benchmarks import launched, localization, localization_step
from launchers.runs import RunFolder


def test_methods_are_paired_by_seed():
    results = {
        "agva, full": {
            "none": [{"segments": 0.5}, {"segments": 0.9}],
            "ogm_ge": [{"segments": 0.6}, {"segments": 1.0}],
        }
    }
    assert localization.table(results).splitlines() == [
        "| network, supervision | method | segments |",
        "| --- | --- | --- |",
        "| agva, full | none | 0.700 ± 0.283 |",
        "| agva, full | ogm_ge | 0.800 ± 0.283 |",
        "| agva, full | ogm_ge - none | +0.100 [+0.100, +0.100] |",
    ]


def test_what_is_missing_is_run_and_finished_runs_keep_their_time(tmp_path, monkeypatch):
    calls = []

    def launch(name, *arguments):
        given = dict(argument.removeprefix("--").split("=", 1) for argument in arguments)
        calls.append((name, given))
        if name == "localize":
            folder = RunFolder(tmp_path / given["output_dir"].rsplit("/", 1)[1])
            folder.path.mkdir(exist_ok=True)
            # What the method is worth depends on the seed.
            value = int(given["seed"]) / 10 + (given["modulation"] == "ogm_ge") / 4
            folder.add_metrics("test", dict.fromkeys(localization.MEASURES.values(), value))

    monkeypatch.setattr(launched, "launch", launch)
    settings = localization.LocalizationSettings(
        str(tmp_path), models=("psp",), supervisions=("weak",), seeds=(1, 3)
    )
    localization.run(settings)
    runs = [given for name, given in calls if name == "localize"]
    assert [(run["modulation"], run["seed"]) for run in runs] == [
        ("none", "1"), ("none", "3"), ("ogm_ge", "1"), ("ogm_ge", "3")
    ]  # fmt: skip
    assert all(run["supervision"] == "weak" and run["model"] == "psp" for run in runs)
    # The same features for both methods, others for the other seed.
    assert [run["features_dir"][-5:] for run in runs] == ["seed1", "seed3"] * 2
    made = [given["dataset_seed"] for name, given in calls if name == "extract"]
    assert made == ["1", "3"] * 2
    stored = localization.json.loads((tmp_path / "localization.json").read_text())
    rows = stored["results"]["psp, weak"]["ogm_ge"]
    assert [row["segments"] for row in rows] == pytest.approx([0.35, 0.55])

    times = {path: path.read_text() for path in tmp_path.glob("*/training.json")}
    assert len(times) == 4
    localization.run(settings)
    assert times == {path: path.read_text() for path in times}


def test_features_of_one_s_own_are_taken_as_they_are(tmp_path):
    settings = localization.LocalizationSettings(str(tmp_path), features_dir="features/mine")
    assert localization._features(settings, 3) == "features/mine"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"models": ("avsa",)}, "among agva, dmrn, psp. Received: models=.'avsa',."),
        ({"supervisions": ()}, "among full, weak. Received: supervisions="),
        ({"seeds": (1, 1)}, "2 or more different seeds. Received: seeds="),
    ],
)
def test_wrong_settings_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        localization.LocalizationSettings("there", **changes)


def test_steps_are_compared_with_plain_keras_turn_by_turn():
    times = {
        "psp, plain": [4.0, 8.0, 5.0],
        "psp, OGM-GE": [4.4, 8.4, 6.0],
        "reading alone": [0.5, 0.25, 1.0],
    }
    assert localization_step.table(times).splitlines()[2:] == [
        "| psp, plain | 5.00 | 4.00 to 8.00 | 1.000 |",
        "| psp, OGM-GE | 6.00 | 4.40 to 8.40 | 1.100 |",
        "| reading alone | 0.50 | 0.25 to 1.00 |  |",
    ]
