"""The clips of a report's samples are the recorded ones, with the curves of each run."""

import numpy as np
import pytest

from input_pipelines import dataset
from input_pipelines.index import read_index
from launchers import report_samples
from launchers.runs import RunFolder
from ogm_tf.analysis.embedding import picture_to_data_uri
from ogm_tf.analysis.summaries import RunSummary
from tests.input_pipelines import handmade_records

NAMES = ("fused", "audio", "visual")


@pytest.fixture(scope="module")
def records_dir(tmp_path_factory):
    sources = [handmade_records.random_clip(number) for number in range(6)]
    splits = {"train": sources[:3], "validation": sources}
    return handmade_records.write(tmp_path_factory.mktemp("data") / "r", splits)


def make_run(path, records_dir, modulation, late, numbers=range(6), **config):
    """A run whose confidence is 0.5 everywhere, but for these clips' parts in the last epoch."""
    folder = RunFolder(path)
    with folder.locked():
        folder.keep_config({"records_dir": str(records_dir), "modulation": modulation, **config})
    confidence = np.full((4, len(numbers), 3), 0.5, np.float32)
    for (number, part), value in late.items():
        confidence[3, list(numbers).index(number), NAMES.index(part)] = value
    folder.write_confidence(
        {
            "epochs": np.arange(4),
            "names": np.array(NAMES),
            "clip_ids": np.array([f"clip{number}" for number in numbers]),
            "labels": np.array(["abc"[number % 3] for number in numbers]),
            "numbers": np.array(numbers),
            "confidence": confidence,
        }
    )
    return folder, RunSummary(path.name, modulation, config, {}, {})


@pytest.fixture
def made(tmp_path, records_dir):
    plain = make_run(tmp_path / "plain", records_dir, "none", {(3, "visual"): 0.1})
    ogm = make_run(tmp_path / "ogm", records_dir, "ogm", {}, alpha=0.5)
    late = {(3, "visual"): 0.9, (4, "fused"): 0.75, (2, "fused"): 0.25}
    ge = make_run(tmp_path / "ge", records_dir, "ogm_ge", late, numbers=[5, 4, 3, 2], seed=0)
    return [plain, ogm, ge]


def sections(made, records_dir, *clip_ids):
    return report_samples.sections(*zip(*made, strict=True), read_index(records_dir), clip_ids)


def test_the_most_changed_clips_are_shown_with_their_own_frames(made, records_dir):
    (section,) = sections(made, records_dir)
    shown = {sample["clip"]["id"]: sample for sample in section.values["samples"]}
    assert {name: own["reason"] for name, own in shown.items()} == {
        "clip3": "OGM-GE raises the visual branch most: from 0.10 to 0.90",
        "clip4": "OGM-GE raises the fused network most: from 0.50 to 0.75",
        "clip2": "OGM-GE lowers the fused network most: from 0.50 to 0.25",
    }
    # Of six and four recorded clips, four are in all runs.
    assert "of 4 recorded clips" in section.values["how_picked"]
    panels = shown["clip4"]["panels"]
    assert [panel["run"] for panel in panels] == ["plain", "ogm", "ge"]
    assert panels[2]["text"].endswith("At the end: fused 0.75, audio 0.50, visual 0.50.")
    (clip,) = dataset.read_clips(records_dir, "validation", [3])
    frames = [picture_to_data_uri(frame) for frame in clip.frames]
    assert shown["clip3"]["clip"]["frames"] == frames
    assert shown["clip3"]["clip"]["label"] == "a"


@pytest.mark.slow
def test_chosen_clips_are_shown_in_their_order(made, records_dir):
    (section,) = sections(made, records_dir, "clip5", "clip2")
    assert [own["clip"]["id"] for own in section.values["samples"]] == ["clip5", "clip2"]
    assert section.values["how_picked"] == "These clips were asked for."
    with pytest.raises(ValueError, match="all of the runs shown recorded.*Received: clip0, x"):
        sections(made, records_dir, "clip5", "clip0", "x")


def test_a_run_alone_shows_where_its_modalities_differ(made, records_dir):
    (section,) = sections(made[:1], records_dir)
    (sample,) = section.values["samples"]
    assert sample["reason"] == "the modalities differ most: audio 0.50, visual 0.10"
    assert sample["clip"]["id"] == "clip3" and len(sample["panels"]) == 1


def test_one_run_of_each_modulation_is_shown():
    runs = [
        RunSummary(name, modulation, {"seed": seed, "fusion": fusion}, {}, {})
        for name, modulation, seed, fusion in (
            ("a", "ogm_ge", 1, "sum"), ("b", "none", 0, "sum"), ("c", "none", 1, "sum"),
            ("d", "ogm_ge", 0, "film"), ("e", "ogm_ge", 0, "sum"), ("f", "ogm", 3, "film"),
        )
    ]  # fmt: skip
    chosen = report_samples.one_of_each(runs)
    assert [run.name for run in chosen] == ["b", "e", "f"]
    assert report_samples.one_of_each([]) == []


def test_what_was_not_recorded_is_not_shown(made, records_dir, tmp_path):
    for folder, _ in made:
        folder.confidence.unlink()
    assert sections(made, records_dir) == []
    with pytest.raises(ValueError, match="recorded their confidence. Received: .*clip1"):
        sections(made, records_dir, "clip1")
    # No clip in common.
    others = [
        make_run(tmp_path / f"other{n}", records_dir, "none", {}, numbers=[n]) for n in range(2)
    ]
    assert len(sections(others, records_dir)) == 1, "two runs without modulation: one is shown"
    others[1] = make_run(tmp_path / "ogm2", records_dir, "ogm", {}, numbers=[1])
    assert sections(others, records_dir) == []


def test_other_records_in_the_place_of_a_runs_own_are_refused(tmp_path):
    sources = [handmade_records.random_clip(number) for number in (1, 0, 2)]
    folder = handmade_records.write(tmp_path / "r", {"train": sources, "validation": sources})
    made = [make_run(tmp_path / "run", folder, "none", {(0, "visual"): 0.1}, numbers=[0, 1, 2])]
    with pytest.raises(ValueError, match="Received: the clip 'clip1' in the place of 'clip0'"):
        sections(made, folder)
