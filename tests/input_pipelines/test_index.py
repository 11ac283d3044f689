import dataclasses
import json
import os

import pytest

from input_pipelines.index import (
    Index,
    Shard,
    SplitIndex,
    Statistics,
    read_index,
    write_index,
)
from input_pipelines.settings import AudioSettings, ClipSettings, MediaLimits, VideoSettings

SETTINGS = ClipSettings(window_s=2.0, audio=AudioSettings(sample_rate_hz=8000))
SHARD = Shard("train-0", 2, 99, "ab", "30 37")
INDEX = Index(
    class_names=("bark", "miaou é"),
    settings=SETTINGS,
    splits={"train": SplitIndex(4, (SHARD, SHARD), {"bark": 4}, {"2.00": 4})},
    skipped=({"clip_id": "x", "split": "train", "reason": "no sound"},),
    problems=({"clip_id": "y", "reason": "ends early"},),
    clips_sha256="00ff",
    validation_fraction=0.1,
    clips_per_shard=2,
    limits=MediaLimits(),
    statistics={"audio": Statistics((-5.0,), (2.0,), 4)},
)


def test_index_survives_the_disk(tmp_path):
    write_index(tmp_path, INDEX)
    assert os.listdir(tmp_path) == ["index.json"]
    assert read_index(tmp_path) == INDEX
    assert json.loads((tmp_path / "index.json").read_text())["settings"]["window_s"] == 2.0


def test_index_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match="Received: records_dir="):
        read_index(tmp_path)
    newer = dataclasses.replace(INDEX, version=99)
    with pytest.raises(ValueError, match="another version .* Received: version=99"):
        Index.from_json(newer.to_json())
    for text in ("{", "[]", "{}", '"text"'):
        with pytest.raises(ValueError, match="not an index of records. Received"):
            Index.from_json(text)
    values = json.loads(INDEX.to_json())
    del values["splits"]
    with pytest.raises(ValueError, match="damaged. Received"):
        Index.from_json(json.dumps(values))


def test_settings_that_an_index_does_not_name_have_their_defaults():
    values = json.loads(INDEX.to_json())
    del values["settings"]["video"]["brightness_jitter"]
    assert Index.from_json(json.dumps(values)) == INDEX


def test_records_lie_one_after_the_other_in_their_frames():
    offsets, sizes = Shard("a", 3, 5 + 70 + 1 + 3 * 16, "ab", "5 70 1").places()
    # A frame is 12 bytes before and 4 after.
    assert offsets.tolist() == [0, 21, 107] and sizes.tolist() == [5, 70, 1]


@pytest.mark.parametrize("record_sizes", ["", "67", "30 38", "67 0", "30 x", "10 10 31"])
def test_sizes_must_be_those_of_the_shard(record_sizes):
    shard = dataclasses.replace(SHARD, record_sizes=record_sizes)
    with pytest.raises(ValueError, match=f"Received: train-0 with record_sizes='{record_sizes}'"):
        shard.places()


def test_measured_statistics_stand_in_for_the_dataset_s():
    assert INDEX.input_settings == SETTINGS
    wanted = ClipSettings(
        audio=AudioSettings(normalization="dataset"), video=VideoSettings(normalization="dataset")
    )
    with pytest.raises(ValueError, match="launchers.measure .*Received: .* modality='visual'"):
        _ = dataclasses.replace(INDEX, settings=wanted).input_settings
    found = {
        "audio": Statistics((-5.0,), (2.0,), 4),
        "visual": Statistics((0.1, 0.2, 0.3), (0.4, 0.5, 0.6), 3),
    }
    settings = dataclasses.replace(INDEX, settings=wanted, statistics=found).input_settings
    assert (settings.audio.normalization, settings.audio.mean, settings.audio.deviation) == (
        "fixed", -5.0, 2.0,
    )  # fmt: skip
    assert settings.video == VideoSettings(mean=(0.1, 0.2, 0.3), deviation=(0.4, 0.5, 0.6))
