import dataclasses
import json
import os

import numpy as np
import pytest
import tensorflow as tf

from input_pipelines import records
from input_pipelines.manifest import Clip
from input_pipelines.media import DecodedClip
from input_pipelines.records import Index, Shard, SplitIndex
from input_pipelines.settings import AudioSettings, ClipSettings

CLIP = Clip("ü1", "train", "bark", "/a.mp4", None, 1.5, 2.0)
DECODED = DecodedClip(
    waveform=np.array([0, 1, -1, 32767, -32768, 258], np.int16),
    frames=[b"first", b"second"],
    timestamps_us=[40_000, 240_000],
    height=48,
    width=64,
    frame_rate=4.0,
    problems=[],
)
SETTINGS = ClipSettings(window_s=2.0, audio=AudioSettings(sample_rate_hz=8000))
INDEX = Index(
    version=records.INDEX_VERSION,
    class_names=("bark", "miaou é"),
    settings=SETTINGS,
    splits={"train": SplitIndex(3, (Shard("train-0", 2), Shard("train-1", 1)), {"bark": 3})},
    skipped=({"clip_id": "x", "split": "train", "reason": "no sound"},),
    problems=({"clip_id": "y", "reason": "ends early"},),
    manifest_sha256="00ff",
    validation_fraction=0.1,
)


def test_example_has_media_sequence_keys_and_values():
    data = records.encode_example(CLIP, 7, DECODED, SETTINGS)
    example = tf.train.SequenceExample.FromString(data)
    context = example.context.feature
    assert {key: list(context[key].int64_list.value) for key in context if
            context[key].HasField("int64_list")} == {
        "clip/label/index": [7],
        "clip/start/timestamp": [1_500_000],
        # 6 samples at 8 kHz are 750 us.
        "clip/end/timestamp": [1_500_750],
        "image/height": [48],
        "image/width": [64],
        "WAVEFORM/feature/num_samples": [6],
    }  # fmt: skip
    assert context["clip/media_id"].bytes_list.value == ["ü1".encode()]
    assert context["clip/label/string"].bytes_list.value == [b"bark"]
    assert context["image/format"].bytes_list.value == [b"JPEG"]
    assert context["image/frame_rate"].float_list.value == [4.0]
    assert context["WAVEFORM/feature/sample_rate"].float_list.value == [8000.0]
    # Little-endian, two's complement; 258 is 0x0102.
    assert context["WAVEFORM/pcm16"].bytes_list.value == [
        b"\x00\x00\x01\x00\xff\xff\xff\x7f\x00\x80\x02\x01"
    ]
    assert data == records.encode_example(CLIP, 7, DECODED, SETTINGS)


def test_example_parses_with_the_exported_features():
    data = records.encode_example(CLIP, 7, DECODED, SETTINGS)
    context, lists = tf.io.parse_single_sequence_example(
        data, records.CONTEXT_FEATURES, records.SEQUENCE_FEATURES
    )
    assert context["clip/label/index"] == 7
    pcm = tf.io.decode_raw(context[records.WAVEFORM_PCM16], tf.int16)
    np.testing.assert_array_equal(pcm, DECODED.waveform)
    assert lists[records.IMAGE_ENCODED].numpy().tolist() == [b"first", b"second"]
    assert lists[records.IMAGE_TIMESTAMP].numpy().tolist() == [40_000, 240_000]


def test_index_survives_the_disk(tmp_path):
    records.write_index(tmp_path, INDEX)
    assert os.listdir(tmp_path) == ["index.json"]
    assert records.read_index(tmp_path) == INDEX
    assert json.loads((tmp_path / "index.json").read_text())["settings"]["window_s"] == 2.0


def test_index_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match="Received: records_dir="):
        records.read_index(tmp_path)
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


def test_shards_have_their_name_only_when_complete(tmp_path):
    name = records.shard_name("train", 2, 12)
    assert name == "train-00002-of-00012.tfrecord"
    path = tmp_path / name
    with records.write_shard(path) as writer:
        writer.write(b"one")
        assert not path.exists()
        writer.write(b"two")
    assert list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator()) == [b"one", b"two"]
    with pytest.raises(KeyError):
        with records.write_shard(path) as writer:
            writer.write(b"three")
            raise KeyError
    assert os.listdir(tmp_path) == [name]
    assert len(list(tf.data.TFRecordDataset(str(path)))) == 2
