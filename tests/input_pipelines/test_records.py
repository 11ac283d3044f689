import dataclasses
import hashlib
import os

import numpy as np
import pytest
import tensorflow as tf

from input_pipelines import clips, records
from input_pipelines.index import Shard
from input_pipelines.listing import Clip
from input_pipelines.media import DecodedClip, DecodedFrames
from input_pipelines.settings import AudioSettings, ClipSettings

CLIP = Clip("ü1", "train", "bark", "/a.mp4", start_s=1.5, end_s=2.0)
FRAMES = DecodedFrames([b"first", b"second"], [40_000, 240_000], 48, 64, 4.0)
DECODED = DecodedClip(
    duration_s=6 / 8000,
    waveform=np.array([0, 1, -1, 32767, -32768, 258], np.int16),
    visual=FRAMES,
    flow=None,
    problems=[],
)
SETTINGS = ClipSettings(window_s=2.0, audio=AudioSettings(sample_rate_hz=8000))


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


def test_events_have_media_sequence_keys_on_the_clock_of_the_media():
    clip = dataclasses.replace(CLIP, event_start_s=1.75, event_end_s=1.9)
    data = records.encode_example(clip, 7, DECODED, SETTINGS)
    context = tf.train.SequenceExample.FromString(data).context.feature
    assert context["segment/start/timestamp"].int64_list.value == [1_750_000]
    assert context["segment/end/timestamp"].int64_list.value == [1_900_000]
    assert context["segment/label/index"].int64_list.value == [7]
    assert context["segment/label/string"].bytes_list.value == [b"bark"]
    # The clip begins at 1.5 s.
    assert clips.parse_event(data).numpy().tolist() == [250_000, 400_000]


def test_examples_without_an_event_have_no_key_of_one():
    data = records.encode_example(CLIP, 7, DECODED, SETTINGS)
    context = tf.train.SequenceExample.FromString(data).context.feature
    assert not [key for key in context if key.startswith("segment/")]
    assert clips.parse_event(data).numpy().tolist() == [records.NO_EVENT] * 2


def test_example_parses_with_the_exported_features():
    data = records.encode_example(CLIP, 7, DECODED, SETTINGS)
    context, lists = tf.io.parse_single_sequence_example(
        data, *records.parsed_features(("audio", "visual"))
    )
    assert context["clip/label/index"] == 7
    pcm = tf.io.decode_raw(context[records.WAVEFORM_PCM16], tf.int16)
    np.testing.assert_array_equal(pcm, DECODED.waveform)
    assert lists["image/encoded"].numpy().tolist() == [b"first", b"second"]
    assert lists["image/timestamp"].numpy().tolist() == [1_540_000, 1_740_000]


def test_examples_hold_the_modalities_there_are():
    flow = DecodedFrames([b"flow"], [0], 24, 32, 2.0)
    decoded = DecodedClip(duration_s=2.5, waveform=None, visual=FRAMES, flow=flow, problems=[])
    data = records.encode_example(CLIP, 0, decoded, SETTINGS)
    context = tf.train.SequenceExample.FromString(data).context.feature
    assert not [key for key in context if key.startswith("WAVEFORM")]
    assert context["clip/end/timestamp"].int64_list.value == [4_000_000]
    assert context["FORWARD_FLOW/image/height"].int64_list.value == [24]
    _, lists = tf.io.parse_single_sequence_example(
        data, *records.parsed_features(("visual", "flow"))
    )
    assert lists["FORWARD_FLOW/image/encoded"].numpy().tolist() == [b"flow"]
    sound = DecodedClip(6 / 8000, DECODED.waveform, None, None, [])
    example = tf.train.SequenceExample.FromString(records.encode_example(CLIP, 0, sound, SETTINGS))
    assert not example.feature_lists.feature_list


def test_shards_have_their_name_only_when_complete(tmp_path):
    name = records.shard_name("train", 2, 12)
    assert name == "train-00002-of-00012.tfrecord"
    path = tmp_path / name
    with records.write_shard(tmp_path, name) as writer:
        writer.write(b"one")
        assert not path.exists()
        writer.write(b"two")
    assert list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator()) == [b"one", b"two"]
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert writer.shard == Shard(name, 2, path.stat().st_size, digest, "3 3")
    with pytest.raises(KeyError):
        with records.write_shard(tmp_path, name) as writer:
            writer.write(b"three")
            raise KeyError
    with records.write_shard(tmp_path, "empty") as writer:
        pass
    assert writer.shard is None and os.listdir(tmp_path) == [name]
    assert len(list(tf.data.TFRecordDataset(str(path)))) == 2
