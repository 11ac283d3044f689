"""What the comparison of all methods tries, chooses, and says."""

import json
import pathlib
import re

import numpy as np
import pytest

import launchers
from benchmarks import launched, methods
from launchers.fitting import run_config
from launchers.runs import RunFolder
from launchers.settings import from_flagfile
from launchers.training import METHODS, TrainSettings
from ogm_tf.analysis import intervals

PRESETS = pathlib.Path(launchers.__file__).parent / "presets"
PRESET = str(PRESETS / "synthetic.flags")
METHOD_PRESETS = PRESETS / "methods"
BENCHMARKS = pathlib.Path(methods.__file__).parent
DOCS = BENCHMARKS.parent / "docs"


def published(name):
    return json.loads((BENCHMARKS / "results" / f"methods_{name}.json").read_text("utf-8"))


@pytest.mark.parametrize("method", methods.TRIALS)
def test_every_trial_is_one_of_train(method):
    trials = methods.TRIALS[method]
    assert len(trials) in (1, 3)
    found = [
        from_flagfile(TrainSettings, PRESET, *flags, records_dir="r", output_dir="o")
        for flags in trials
    ]
    assert len(set(found)) == len(trials)
    if method in METHODS:
        assert {own.modulation for own in found} == {method}


@pytest.mark.parametrize("preset", sorted(METHOD_PRESETS.glob("*.flags")), ids=lambda p: p.stem)
def test_every_preset_of_a_method_is_what_grid_digits_chose(preset):
    text = preset.read_text("utf-8")
    flags = [line for line in text.splitlines() if line.startswith("--")]
    by_stem = {name.replace(" ", "_").replace("+", "_"): name for name in methods.TRIALS}
    assert flags == published("grid")["chosen"][by_stem[preset.stem]]
    from_flagfile(TrainSettings, preset, records_dir="r", output_dir="o")


@pytest.mark.parametrize("name", ["grid", "synthetic"])
def test_the_page_has_the_numbers_of_the_results(name):
    result = published(name)
    tables = methods.table(result["test"], result["step_ms"]).split("\n\n")
    tables.append(methods.trials_table(result["tuning"]))
    page = (BENCHMARKS / "methods.md").read_text("utf-8")
    section = page.split("\n## ")[1 + ["grid", "synthetic"].index(name)]
    assert re.findall(r"(?:^\|.*\|$\n?)+", section, re.MULTILINE) == [f"{own}\n" for own in tables]
    assert result["chosen"] == {
        method: methods.best(methods.TRIALS[method], scores)
        for method, scores in result["tuning"].items()
    }


def test_the_page_that_helps_to_choose_has_the_numbers_of_the_results():
    """Rounded, in the order of the results, and marked where they are chance."""
    result = published("grid")
    tests, names = result["test"], list(result["test"])
    columns = ("fused", "visual", methods.SWEEP)
    methods_of_test = [name for name in names if name != "none" and "only" not in name]
    chance = set()
    for column in columns[1:]:
        differences = [
            [a[column] - b[column] for a, b in zip(tests[name], tests["none"], strict=True)]
            for name in methods_of_test
        ]
        ps = intervals.holm([intervals.student_p(own) for own in differences])
        chance |= {(n, column) for n, p in zip(methods_of_test, ps, strict=True) if p > 0.05}
    expected = []
    for name, rows in tests.items():
        cells = []
        for column in columns:
            mean = np.mean([row[column] for row in rows])
            mark = " †" if (name, column) in chance else ""
            cells.append(f"{mean:.2f}".removeprefix("0") + mark)
        ratio = np.median(result["step_ms"][name]) / np.median(result["step_ms"]["none"])
        expected.append([*cells, f"{ratio:.1f}"])
    # Sound alone has no visual branch.
    expected[names.index("audio only")][1] = "–"
    page = (DOCS / "methods.md").read_text("utf-8")
    lines = page[page.index("| method | fused |") :].splitlines()[2 : 2 + len(names)]
    found = [[cell.strip() for cell in line.split("|")[2:6]] for line in lines]
    assert [[*own[:3], own[3].split(",")[0]] for own in found] == expected


def test_all_methods_are_compared():
    assert set(METHODS) < set(methods.TRIALS)


def test_the_table_by_hand():
    results = {
        "none": [{"fused": a, "-5 dB": 0.1, "peak, MiB": 900.0} for a in (0.5, 0.6, 0.7)],
        "audio only": [{"fused": a, "peak, MiB": 900.0} for a in (0.5, 0.5, 0.5)],
        "ogm": [{"fused": a, "peak, MiB": 990.0} for a in (0.6, 0.8, 1.0)],
        "pmr": [{"fused": a, "peak, MiB": 910.0} for a in (0.6, 0.5, 0.7)],
    }
    times = {"none": [2.0, 9.0, 1.0], "audio only": [2.0], "ogm": [3.0], "pmr": [2.5]}
    # Differences .1 .2 .3: t = 3.4641, p = .0742, twice that; .1 -.1 0: p = 1.
    assert methods.table(results, times).splitlines() == [
        "| method | fused | peak, MiB | time |",
        "| --- | --- | --- | --- |",
        "| none | 0.600 ± 0.100 | 900 | 1.00 |",
        "| audio only | 0.500 ± 0.000 | 900 | 1.00 |",
        "| ogm | 0.800 ± 0.200 | 990 | 1.50 |",
        "| pmr | 0.600 ± 0.100 | 910 | 1.25 |",
        "",
        "| minus none | fused |",
        "| --- | --- |",
        "| ogm | +0.200 [-0.048, +0.448], p = 0.148 |",
        "| pmr | +0.000 [-0.248, +0.248], p = 1 |",
    ]


def test_the_trials_by_hand():
    found = methods.trials_table({"none": [], "opm": [0.5, 0.75, 0.75]})
    assert found.splitlines()[2:] == [
        "| opm | `--opm_probability` 0.3, 0.7, 1 | 0.500, **0.750**, 0.750 |"
    ]


def test_the_trial_that_validation_puts_first_is_chosen(monkeypatch, tmp_path):
    trained = []
    monkeypatch.setattr(methods, "_train", lambda *arguments: trained.append(arguments[2:]))
    scores = {"trial0": 0.5, "trial1": 0.7, "trial2": 0.7}
    monkeypatch.setattr(
        methods,
        "_accuracies",
        lambda _, run_dir, split: {methods.SWEEP: scores[run_dir.name], "fused": -len(split)},
    )
    settings = methods.MethodsSettings(PRESET, str(tmp_path), audio_noise_snr_db=(5.0,))
    found = methods._tune(settings, "records", "ogm")
    assert found == [0.5, 0.7, 0.7]
    assert methods.best(methods.TRIALS["ogm"], found) == ["--modulation=ogm", "--alpha=0.8"]
    assert [(path.name, seed) for path, _, seed in trained] == [
        (f"trial{number}", 100) for number in range(3)
    ]
    assert methods._tune(settings, "records", "none") == []
    assert methods.best(methods.TRIALS["none"], []) == []
    assert len(trained) == 3


def test_of_a_finished_run_the_settings_are_compared_without_a_process(monkeypatch, tmp_path):
    run_dir, flags = tmp_path / "none" / "plain_seed0", ["--alpha=0.7"]

    def trained(name, output_dir, flagfile, *rest):
        assert (name, flagfile) == ("train", f"--flagfile={PRESET}")
        own = from_flagfile(TrainSettings, PRESET, *rest, records_dir="r", output_dir=output_dir)
        folder = RunFolder(run_dir)
        folder.checkpoints.mkdir(parents=True)
        folder.keep_config(run_config(own))
        (folder.checkpoints / "epoch-0040-step-000000").mkdir()
        folder.add_metrics("test", {"accuracy": 0.75})
        return 0.0

    monkeypatch.setattr(
        launched, "launch", lambda name, out, *rest: trained(name, out.split("=", 1)[1], *rest)
    )
    settings = methods.MethodsSettings(PRESET, str(tmp_path))
    methods._train(settings, "r", run_dir, flags, seed=3)
    assert RunFolder(run_dir).read_config()["seed"] == 3
    monkeypatch.setattr(launched, "launch", None)
    methods._train(settings, "r", run_dir, flags, seed=3)
    with pytest.raises(ValueError, match="seed was 3 and is 4"):
        methods._train(settings, "r", run_dir, flags, seed=4)
    with pytest.raises(ValueError, match="alpha was 0.7 and is 2.0"):
        methods._train(settings, "r", run_dir, [], seed=3)
