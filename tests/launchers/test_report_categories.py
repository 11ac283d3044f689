"""Which runs are compared by category, and what their files say."""

import numpy as np
import pytest

from launchers import predictions, report_categories
from launchers.runs import RunFolder
from ogm_tf.analysis.summaries import RunSummary

CLASSES = ("bell", "drum")
CLIPS = ("a", "b", "c", "d")
LABELS = np.array([0, 0, 1, 1])


def make_run(tmp_path, name, modulation, seed, is_right=(1, 1, 1, 1), clips=CLIPS, **config):
    """A run whose fused network and sound are right where asked, and whose pictures never."""
    folder = RunFolder(tmp_path / name)
    folder.path.mkdir()
    right, wrong = np.eye(2)[LABELS], np.eye(2)[1 - LABELS]
    logits = np.where(np.array(is_right, bool)[:, None], right, wrong)
    header, rows = predictions.table(
        clips, LABELS, {"fused": logits, "audio": logits, "visual": wrong}, CLASSES
    )
    folder.write_predictions("test", header, rows)
    config = {
        "seed": seed,
        "modulation": modulation,
        "alpha": 0.5,
        "records_dir": "records",
        **config,
    }
    return folder, RunSummary(name, modulation, config, {}, {})


def sections(made, split="test"):
    return report_categories.sections(*zip(*made, strict=True), CLASSES, split)


def test_predictions_come_back_with_their_probabilities(tmp_path):
    folder, _ = make_run(tmp_path, "run", "none", 0, (1, 0, 1, 1))
    lines = folder.predictions("test").read_text().splitlines()
    assert lines[0] == (
        "clip_id,label,predicted,label_probability,audio_predicted,audio_label_probability,"
        "visual_predicted,visual_label_probability"
    )
    # softmax([0, 1])[0] = 1 / (1 + e).
    assert lines[2] == "b,bell,drum,0.268941,drum,0.268941,drum,0.268941"
    found = predictions.read(folder.predictions("test"), CLASSES)
    assert found.clip_ids == CLIPS and found.labels.tolist() == LABELS.tolist()
    assert {name: own.tolist() for name, own in found.predicted.items()} == {
        "fused": [0, 1, 1, 1], "audio": [0, 1, 1, 1], "visual": [1, 1, 0, 0],
    }  # fmt: skip
    with pytest.raises(ValueError, match="predictions_test.csv must hold .*Received: KeyError"):
        predictions.read(folder.predictions("test"), ("bell", "horn"))


def test_runs_are_paired_by_seed_and_by_all_other_settings(tmp_path):
    made = [
        make_run(tmp_path, "plain0", "none", 0, alpha=9.0),
        make_run(tmp_path, "plain1", "none", 1),
        make_run(tmp_path, "film", "none", 2, fusion="film"),
        make_run(tmp_path, "ge1", "ogm_ge", 1),
        make_run(tmp_path, "ge0", "ogm_ge", 0),
        make_run(tmp_path, "ge2", "ogm_ge", 2),
        make_run(tmp_path, "ge_strong", "ogm_ge", 0, alpha=0.9),
        make_run(tmp_path, "ogm", "ogm", 0),
        make_run(tmp_path, "longer", "ogm", 0, epochs=7),
    ]
    found = report_categories.pair_by_seed([run for _, run in made])
    names = {
        title: {seed: tuple(run.name for run in pair) for seed, pair in pairs.items()}
        for title, pairs in found.items()
    }
    assert names == {
        "OGM, alpha 0.5": {0: ("plain0", "ogm")},
        "OGM-GE, alpha 0.5": {0: ("plain0", "ge0"), 1: ("plain1", "ge1")},
        "OGM-GE, alpha 0.9": {0: ("plain0", "ge_strong")},
    }
    assert report_categories.pair_by_seed([run for _, run in made[:3]]) == {}


def test_initial_weights_and_clips_tell_runs_apart_and_what_is_written_does_not(tmp_path, caplog):
    looked_at = {"probe_every_epochs": 5, "probe_clips": 9, "checkpoint_every_steps": 2,
                 "record_samples": 0, "record_clip_ids": ["a"], "max_skipped_steps": 3}  # fmt: skip
    made = [
        make_run(tmp_path, "scratch", "none", 0, init_from=None),
        make_run(tmp_path, "pretrained", "none", 0, init_from="p"),
        make_run(tmp_path, "ge", "ogm_ge", 0, init_from="p", **looked_at),
        make_run(tmp_path, "elsewhere", "ogm", 0, init_from="p", records_dir="others"),
    ]
    runs = [run for _, run in made]
    found = report_categories.pair_by_seed(runs)
    assert found == {"OGM-GE": {0: (runs[1], runs[2])}}
    assert not caplog.text
    # None of these is a pair, and what tells the closest two apart is said.
    assert sections([made[0], made[3], made[2]]) == []
    assert "The closest, scratch and ge, differ in init_from as well." in caplog.text


def test_a_run_that_was_asked_nothing_is_left_out_with_its_pair(tmp_path, caplog):
    made = [
        make_run(tmp_path, f"{modulation}{seed}", modulation, seed)
        for seed in range(3)
        for modulation in ("none", "ogm_ge")
    ]
    made[2][0].predictions("test").unlink()
    (section,) = sections(made)
    assert section.files["categories.csv"].splitlines()[1].startswith("OGM-GE,0 2,")
    assert section.values["notes"] == [
        "Left out of OGM-GE, with their pairs, for `evaluate` has not asked them of the test "
        "split: none1."
    ]
    assert "no predictions_test.csv of none1" in caplog.text


def test_the_section_compares_what_the_files_say(tmp_path, caplog):
    made = [
        make_run(tmp_path, "plain", "none", 0, (1, 0, 0, 0)),
        make_run(tmp_path, "ge", "ogm_ge", 0, (1, 1, 0, 0)),
        make_run(tmp_path, "plain1", "none", 1),
        make_run(tmp_path, "ge1", "ogm_ge", 1, clips=("a", "b", "c", "x")),
    ]
    (section,) = sections(made)
    row = section.files["categories.csv"].splitlines()[1].split(",")
    # One of two bells before, both after, and their Wilson intervals.
    assert row[:4] == ["OGM-GE", "0", "clips (Wilson)", "bell"]
    assert row[4:8] == ["2", "audio", "0.500000", "0.094531"]
    assert row[9] == "1.000000" and row[12:15] == ["0.500000", "", ""]
    assert section.values["notes"] == [
        "Left out of OGM-GE, for their two runs answered other clips: seeds 1."
    ]
    assert "One seed, 0: there is no interval over seeds" in section.values["reading"]
    assert sections(made, "validation") == []
    assert "predictions_validation.csv" in caplog.text
    assert sections(made[:1]) == sections(made[:1] + made[3:]) == []
