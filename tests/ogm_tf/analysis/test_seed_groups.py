"""Runs that differ by their seed alone are one method: its mean, spread and gain, by hand."""

import csv
import math

import pytest

from ogm_tf.analysis import comparison, report
from ogm_tf.analysis.headlines import BRANCHES, headlines
from ogm_tf.analysis.seed_groups import group_by_seed, has_several_seeds, paired_with_plain
from ogm_tf.analysis.summaries import RunSummary
from tests.ogm_tf.analysis.parsed_page import Page

MODALITIES = ("audio", "visual")


def make_run(name, modulation, seed, fused, visual=0.5, metrics=None, **config):
    history = {"loss": [1.0, 0.5], "accuracy": [0.2, 0.4]}
    for modality in MODALITIES:
        for kind in ("accuracy", "ratio", "coefficient"):
            history[f"{modality}_{kind}"] = [0.5, 0.75]
    test = {"accuracy": fused, "audio_accuracy": 0.25, "visual_accuracy": visual}
    return RunSummary(
        name=name,
        modulation=modulation,
        config={"modulation": modulation, "alpha": 0.8, "seed": seed} | config,
        history=history,
        metrics={"test": test} if metrics is None else metrics,
        best_epoch=1,
    )


def several():
    """Gains of OGM-GE: fused .10, .12, .14, and visual 0, .1, -.1."""
    return [
        make_run("ge2", "ogm_ge", 2, 0.84, 0.3),
        make_run("p0", "none", 0, 0.50, 0.2, alpha=0.1),
        make_run("p1", "none", 1, 0.60, 0.3),
        make_run("p2", "none", 2, 0.70, 0.4, modulation_rule="tpami"),
        make_run("ge0", "ogm_ge", 0, 0.60, 0.2),
        make_run("ge1", "ogm_ge", 1, 0.72, 0.4),
    ]


def named(groups):
    return {group.title: [run.name for run in group.runs] for group in groups}


def test_what_a_method_that_is_off_is_given_does_not_tell_runs_apart():
    groups = group_by_seed(several())
    assert named(groups) == {"OGM-GE": ["ge0", "ge1", "ge2"], "no modulation": ["p0", "p1", "p2"]}
    assert has_several_seeds(groups)
    assert groups[0].seeds == (0, 1, 2) and groups[0].name == "OGM-GE"
    assert groups[0].metric("test", "accuracy") == pytest.approx(0.72)
    assert math.isnan(groups[0].metric("validation", "accuracy"))


def test_titles_say_what_tells_methods_apart():
    runs = [
        make_run("a", "none", 0, 0.5, fusion="sum", output_dir="a"),
        make_run("b", "none", 1, 0.5, fusion="sum", output_dir="b"),
        make_run("c", "ogm", 0, 0.5, alpha=0.3, fusion="sum"),
        make_run("d", "ogm", 0, 0.5, alpha=0.3, fusion="concat", modulation_end_epoch=None),
        make_run("e", "ogm", 0, 0.5, alpha=0.3, fusion="concat", modulation_end_epoch=4),
        make_run("f", "ogm", 0, 0.5, alpha=0.3, fusion="concat", modulation_end_epoch=4),
        make_run("g", "ogm", 0, 0.5, fusion="sum", remove_modality="audio"),
    ]
    assert named(group_by_seed(runs)) == {
        "no modulation, fusion sum": ["a", "b"],
        "OGM, alpha 0.3, fusion sum": ["c"],
        "OGM, alpha 0.3, fusion concat": ["d"],
        # The same twice, seed and all, is not two seeds.
        "OGM, alpha 0.3, fusion concat, modulation_end_epoch 4 (e)": ["e"],
        "OGM, alpha 0.3, fusion concat, modulation_end_epoch 4 (f)": ["f"],
        "OGM, alpha 0.8, fusion sum, remove_modality audio": ["g"],
    }
    unseeded = [RunSummary(name, "none", {}, {}, {}) for name in ("a", "b")]
    assert not has_several_seeds(group_by_seed(unseeded))


def test_what_is_written_and_looked_at_makes_no_other_method():
    runs = [
        make_run("a", "ogm", 0, 0.5, probe_every_epochs=5, record_samples=0, probe_clips=7),
        make_run("b", "ogm", 1, 0.5, checkpoint_every_steps=3, record_clip_ids=["x"]),
        make_run("c", "ogm", 2, 0.5, max_skipped_steps=3, output_dir="c"),
        make_run("d", "ogm", 3, 0.5, init_from="p"),
    ]
    assert named(group_by_seed(runs)) == {"OGM": ["a", "b", "c"], "OGM, init_from p": ["d"]}
    assert runs[0].num_differences(runs[1]) == 1 and runs[0].differences(runs[3]) == [
        "init_from", "seed",
    ]  # fmt: skip


def test_a_method_is_paired_with_the_closest_that_is_off_by_common_seeds():
    runs = [
        *(make_run(f"c{seed}", "none", seed, 0.1, fusion="concat") for seed in range(4)),
        *(make_run(f"s{seed}", "none", seed, 0.2, fusion="sum") for seed in range(4)),
        *(make_run(f"g{seed}", "ogm", seed, 0.4, fusion="sum") for seed in (1, 3, 5)),
    ]
    concat, plain, ogm = groups = group_by_seed(runs)
    before, after = paired_with_plain(ogm, groups)
    assert named([before, after]) == {plain.title: ["s1", "s3"], ogm.title: ["g1", "g3"]}
    assert paired_with_plain(plain, groups) is None
    assert paired_with_plain(ogm, [concat, ogm]) is not None
    assert paired_with_plain(ogm, [plain.of_seeds([1]), ogm]) is None
    many = [make_run(f"{m}{seed}", m, seed, 0.1) for m in ("none", "ogm") for seed in range(12)]
    plain, ogm = group_by_seed(many)
    assert paired_with_plain(ogm, [plain])[1].seeds == tuple(range(12))


def test_table_by_hand():
    """Deviations .12, .02 and .1 of three values; half an interval is 4.303 / sqrt(3) of them."""
    groups = group_by_seed(several())
    table = comparison.seed_table(groups, MODALITIES, BRANCHES)
    assert table["columns"] == ["fused", "audio", "visual", "mAP"]
    ((title, rows),) = table["groups"]
    assert title == "test split"
    assert rows == [
        (
            "OGM-GE",
            [("0.720", "± 0.120", True), ("0.250", "± 0.000", True), ("0.300", "± 0.100", True),
             ("–", "", False)],
            3,
            False,
        ),
        (
            "no modulation",
            [("0.600", "± 0.100", False), ("0.250", "± 0.000", True), ("0.300", "± 0.100", True),
             ("–", "", False)],
            3,
            False,
        ),
        (
            "OGM-GE − no modulation",
            [("+0.120", "[+0.070, +0.170]", False), ("+0.000", "[+0.000, +0.000]", False),
             ("+0.000", "[−0.248, +0.248]", False), ("–", "", False)],
            3,
            True,
        ),
    ]  # fmt: skip


def test_seeds_that_a_split_has_not_been_asked_of_are_left_out():
    runs = several()
    runs[0].metrics["validation"] = {"accuracy": 0.5}
    runs[3].metrics["validation"] = {"accuracy": None}
    del runs[2].metrics["test"]
    table = comparison.seed_table(group_by_seed(runs), MODALITIES, BRANCHES)
    counts = {
        title: [(name, num_seeds) for name, _, num_seeds, _ in rows]
        for title, rows in table["groups"]
    }
    assert counts == {
        "test split": [("OGM-GE", 3), ("no modulation", 2), ("OGM-GE − no modulation", 2)],
        "validation split": [("OGM-GE", 1)],
    }
    # 0.10 and 0.14; half of the interval is 12.706 times .02.
    difference = table["groups"][0][1][2][1][0]
    assert difference == ("+0.120", "[−0.134, +0.374]", False)


def test_headline_speaks_of_means_and_says_what_may_be_chance():
    ((sentence, against),) = headlines(several(), MODALITIES)
    assert sentence == (
        "With OGM-GE, the audio branch stays at 0.25 and the fused network goes from 0.60 to 0.72 "
        "on the test split, in the mean of 3 seeds."
    )
    assert against == (
        "Compared with no modulation seed by seed. Mean differences and their 95 % intervals: the "
        "audio branch +0.000 [+0.000, +0.000] and the fused network +0.120 [+0.070, +0.170]. That "
        "of the audio branch includes 0: this may be chance."
    )


def test_headline_lifts_only_what_is_sure():
    surely = [
        make_run(f"{modulation}{seed}", modulation, seed, 0.3 + gain + seed / 10, 0.1 + gain)
        for modulation, gain in (("none", 0), ("ogm", 0.2))
        for seed in range(3)
    ]
    ((sentence, against),) = headlines(surely, MODALITIES)
    assert sentence.startswith(
        "OGM lifts the visual branch from 0.10 to 0.30 and the fused network from 0.40 to 0.60"
    )
    assert "chance" not in against
    hardly = [*surely[:3], make_run("a", "ogm", 0, 0.9, 0.9), make_run("b", "ogm", 1, 0.41, 0.11)]
    ((sentence, against),) = headlines(hardly, MODALITIES)
    assert sentence.startswith("With OGM, the visual branch goes from 0.10 to ")
    assert "in the mean of 2 seeds" in sentence
    assert "Those of the visual branch and the fused network include 0" in against


def test_a_single_seed_is_told_as_a_run():
    runs = [*several()[1:4], make_run("once", "ogm_ge", 1, 0.9, 0.9)]
    ((sentence, against),) = headlines(runs, MODALITIES)
    assert "from 0.60 to 0.90" in sentence and "mean" not in sentence
    assert against.startswith("Run once compared with run p1")
    ((level, _),) = headlines(several()[1:4], MODALITIES)
    assert level == (
        "no modulation: the fused network answers 0.60, the audio branch 0.25 and the visual "
        "branch 0.30 of the test split correctly, in the mean of 3 seeds."
    )


def test_page_shows_methods_and_every_run(tmp_path):
    path = report.write_report(tmp_path, several(), [], MODALITIES, ("bell", "horn"))
    words = Page(path.read_text("utf-8")).words
    row = "0.720 ± 0.120 0.250 ± 0.000 0.300 ± 0.100 – 3"
    assert f"Test split OGM-GE {row}" in words
    assert "OGM-GE − no modulation +0.120 [+0.070, +0.170]" in words
    assert "Each run by itself" in words and "p1 0.600 0.250 0.300 – no modulation – 1 1" in words
    assert "Runs that differ by their seed alone are one method." in words
    with open(tmp_path / "comparison.csv", newline="") as file:
        assert [row["seed"] for row in csv.DictReader(file)] == ["2", "0", "1", "2", "0", "1"]
    path = report.write_report(tmp_path, several()[:2], [], MODALITIES, ("bell", "horn"))
    words = Page(path.read_text("utf-8")).words
    assert "repeat the runs with other seeds" in words and "Each run by itself" not in words


@pytest.mark.parametrize(
    ("modulation", "config", "strength", "alpha"),
    [
        ("ogm_ge", {}, "alpha 0.8", 0.8),
        ("unimodal", {"unimodal_weight": 2.0}, "weight 2.0", None),
        ("ogm+opm", {"opm_probability": 1.0}, "alpha 0.8, probability 1.0", 0.8),
        ("pmr", {}, "", None),
        ("none", {"unimodal_weight": 2.0}, "", None),
        ("none", {"fusion": "mmcosine", "mmcosine_scale": 5.0}, "cosine scale 5.0", None),
    ],
)
def test_a_method_is_as_strong_as_its_own_settings_say(modulation, config, strength, alpha):
    run = make_run("a", modulation, 0, 0.5, **config)
    assert (run.strength, run.alpha) == (strength, alpha)


def test_methods_are_told_apart_by_their_own_settings_alone():
    common = {"opm_probability": 0.7, "unimodal_weight": 1.0}
    runs = [
        make_run("p", "none", 0, 0.5, **common),
        make_run("g", "ogm_ge", 0, 0.5, **common),
        make_run("u1", "unimodal", 0, 0.5, **common | {"alpha": 0.5}),
        make_run("u2", "unimodal", 1, 0.5, **common | {"alpha": 0.3}),
        make_run("w", "unimodal", 0, 0.5, **common | {"unimodal_weight": 2.0}),
        make_run("o", "opm+unimodal", 0, 0.5, **common),
    ]
    assert named(group_by_seed(runs)) == {
        "no modulation": ["p"],
        "OGM-GE": ["g"],
        "Unimodal, unimodal_weight 1.0": ["u1", "u2"],
        "Unimodal, unimodal_weight 2.0": ["w"],
        "OPM + Unimodal, unimodal_weight 1.0": ["o"],
    }
    table = list(csv.DictReader(comparison.comparison_csv(runs).splitlines()))
    assert [row["strength"] for row in table[3:]] == [
        "weight 1.0", "weight 2.0", "probability 0.7, weight 1.0",
    ]  # fmt: skip


def test_what_else_differs_is_told():
    runs = [make_run("p", "none", 0, 0.5), make_run("o", "unimodal", 1, 0.9, fusion="mmcosine")]
    ((_, against),) = headlines(runs, MODALITIES)
    assert against == (
        "Run o compared with run p, which has no modulation, and differs in fusion and seed as "
        "well. One run each: this may be chance."
    )
