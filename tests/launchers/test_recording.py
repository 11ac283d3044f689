"""Which clips a run records, of records whose clips are known."""

import base64

import numpy as np
import pytest

from input_pipelines import dataset
from input_pipelines.index import read_index
from launchers import recording
from launchers.runs import RunFolder
from launchers.training import TrainSettings
from tests.input_pipelines import handmade_records


@pytest.fixture(scope="module")
def records_dir(tmp_path_factory):
    """Eleven validation clips, four each of classes a and b, three of c, in two shards."""
    sources = [handmade_records.random_clip(number) for number in range(11)]
    splits = {"train": sources[:3], "validation": sources}
    return handmade_records.write(tmp_path_factory.mktemp("data") / "r", splits)


def recorder(records_dir, **settings):
    settings = TrainSettings(str(records_dir), "run", **settings)
    return recording.recorder(settings, read_index(records_dir))


def test_names_and_labels_of_a_split_are_in_the_order_of_its_batches(records_dir):
    clip_ids, labels = dataset.list_clips(records_dir, "validation")
    assert clip_ids == [f"clip{number}" for number in range(11)]
    assert labels.tolist() == [number % 3 for number in range(11)]
    batches = dataset.eval_dataset(records_dir, "validation", 4).dataset
    rows = [batch for _, batch, weights in batches for batch in batch[weights != 0].numpy()]
    assert labels.tolist() == rows
    with pytest.raises(ValueError, match="Received: split='test'"):
        dataset.list_clips(records_dir, "test")


def test_single_clips_are_read_by_their_numbers(records_dir):
    found = dataset.read_clips(records_dir, "validation", [7, 0])
    assert [clip.clip_id for clip in found] == ["clip7", "clip0"]
    whole = next(iter(dataset.eval_dataset(records_dir, "validation", 11).dataset))[0]
    np.testing.assert_array_equal(found[0].inputs["visual"], whole["visual"][7])
    for wanted in ([11], [-1]):
        with pytest.raises(ValueError, match=r"in \[0, 11\).*Received: wanted="):
            dataset.read_clips(records_dir, "validation", wanted)


def test_clips_are_spread_over_the_classes_by_their_names(records_dir):
    clip_ids, labels = dataset.list_clips(records_dir, "validation")
    chosen = recording.spread(clip_ids, labels, 6)
    assert chosen == sorted(chosen) and len(set(chosen)) == 6
    assert np.bincount(labels[chosen]).tolist() == [2, 2, 2]
    # Another order of the records, the same clips.
    order = np.random.default_rng(0).permutation(11)
    shuffled = recording.spread([clip_ids[place] for place in order], labels[order], 6)
    assert {clip_ids[order[place]] for place in shuffled} == {clip_ids[place] for place in chosen}
    # More of them: the same, and others.
    assert set(chosen) < set(recording.spread(clip_ids, labels, 7))
    assert recording.spread(clip_ids, labels, 12) == list(range(11))


def test_what_is_recorded_follows_the_settings(records_dir):
    assert recorder(records_dir).kept.tolist() == list(range(11))
    assert recorder(records_dir, record_samples=-1).kept.tolist() == list(range(11))
    assert len(recorder(records_dir, record_samples=5).kept) == 5
    assert recorder(records_dir, record_samples=0) is None
    chosen = recorder(records_dir, record_samples=0, record_clip_ids=("clip9", "clip2"))
    assert chosen.kept.tolist() == [9, 2] and chosen.num_samples == 11
    with pytest.raises(ValueError, match="clip0, clip1, clip2 and so on. Received: clip11, x"):
        recorder(records_dir, record_clip_ids=("clip11", "clip1", "x"))
    with pytest.raises(ValueError, match="record_samples must be >= -1. Received"):
        recorder(records_dir, record_samples=-2)


def test_without_a_validation_split_nothing_is_recorded(tmp_path):
    clips = [handmade_records.random_clip(0)]
    folder = handmade_records.write(tmp_path / "r", {"train": clips}, shards=1)
    assert recorder(folder) is None
    with pytest.raises(ValueError, match="a validation split. Received: record_clip_ids=clip0"):
        recorder(folder, record_clip_ids=("clip0",))


def test_what_was_recorded_comes_back(records_dir, tmp_path):
    folder = RunFolder(tmp_path)
    assert recording.read(folder) is None
    own = recorder(records_dir, record_clip_ids=("clip9", "clip2"))
    own.names = ("fused", "audio", "visual")
    values = np.arange(12, dtype=np.float32).reshape(2, 2, 3) / 12
    own.set_state({"epochs": [0, 1], "confidence": base64.b64encode(values.tobytes()).decode()})
    own.write(folder)
    found = recording.read(folder)
    np.testing.assert_array_equal(found.confidence, values)
    assert found.clip_ids.tolist() == ["clip9", "clip2"] and found.labels.tolist() == ["a", "c"]
    assert found.numbers.tolist() == [9, 2] and found.epochs.tolist() == [0, 1]
    before = folder.confidence.read_bytes()
    own.write(folder)
    assert folder.confidence.read_bytes() == before, "the same numbers, the same bytes"
    folder.confidence.write_bytes(before[: len(before) // 2])
    with pytest.raises(ValueError, match="confidence.npz must hold what .* Received: "):
        recording.read(folder)
