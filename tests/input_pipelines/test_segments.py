"""Segments of clips: which hold the event, and what window of sound and frames each gets."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from input_pipelines import audio, clips, segments
from input_pipelines.index import read_index
from input_pipelines.records import NO_EVENT
from input_pipelines.segments import SegmentLoader
from tests.input_pipelines import handmade_records
from tests.input_pipelines.handmade_records import SETTINGS

S = 1_000_000
FRONT_ENDS = {
    name: dataclasses.replace(SETTINGS, modalities=(name,)) for name in SETTINGS.modalities
}


@pytest.mark.parametrize(
    ("event_s", "segment_s", "expected"),
    [
        # Whole seconds, as AVE's.
        ((2, 5), 1.0, [0, 0, 1, 1, 1]),
        ((0, 5), 1.0, [1, 1, 1, 1, 1]),
        # Half of a segment is enough, less is not.
        ((1.5, 3.25), 1.0, [0, 1, 1, 0, 0]),
        ((1.501, 3.499), 1.0, [0, 0, 1, 0, 0]),
        ((0.5, 1.0), 1 / 3, [0, 1, 1, 0, 0]),
        # Where no segment has its half: the one with most of it, the first of two.
        ((1.2, 1.4), 1.0, [0, 1, 0, 0, 0]),
        ((1.9, 2.3), 1.0, [0, 0, 1, 0, 0]),
        ((1.8, 2.2), 1.0, [0, 1, 0, 0, 0]),
        # Cut by the clip's ends, and outside of it.
        ((-1.0, 0.5), 1.0, [1, 0, 0, 0, 0]),
        ((4.4, 9.0), 1.0, [0, 0, 0, 0, 1]),
        ((5.0, 6.0), 1.0, [0, 0, 0, 0, 0]),
    ],
)
def test_segments_hold_an_event_with_half_of_their_length(event_s, segment_s, expected):
    event_us = np.array([round(second * S) for second in event_s])
    labels = segments.event_labels(event_us, 3, 7, 5, segment_s)
    assert labels.dtype == np.int32
    assert labels.tolist() == [3 if held else 7 for held in expected]


def test_clips_without_an_event_are_background():
    labels = segments.event_labels(np.array([NO_EVENT, NO_EVENT]), 0, 7, 3, 1.0)
    assert labels.tolist() == [7, 7, 7]


def test_places_outside_are_mirrored():
    places = np.array([[-9, -3, -1, 0, 3], [4, 5, 6, 8, 9]])
    found = segments.mirrored(places, tf.constant(4, tf.int64))
    assert found.numpy().tolist() == [[1, 3, 1, 0, 3], [4, 3, 2, 0, 1]]
    assert segments.mirrored(np.array([-2, 0, 5]), tf.constant(0, tf.int64)).numpy().any() == 0


def _serialized(folder, source):
    index = read_index(handmade_records.write(folder, {"train": [source]}, shards=1))
    (shard,) = index.splits["train"].shards
    (record,) = tf.data.TFRecordDataset(str(folder / shard.file))
    return record


def test_windows_are_centred_on_segments_and_mirrored_at_the_ends(tmp_path):
    # 6,000 samples, frames at 0, 0.2, 0.4 and 0.6 s; windows of 4,000 samples.
    source = dataclasses.replace(handmade_records.random_clip(4), start_s=1.5, event_s=(1.75, 2.0))
    record = _serialized(tmp_path, source)
    load = SegmentLoader(FRONT_ENDS, 3, 0.25)
    assert load.starts(FRONT_ENDS["audio"]).tolist() == [-1000, 1000, 3000]
    found = load(record, SETTINGS)
    assert found.clip_id.numpy().tolist() == [b"clip4"] * 3
    assert found.label.numpy().tolist() == [0] * 3
    assert found.duration_us.numpy().tolist() == [750_000] * 3
    assert found.event_us.numpy().tolist() == [[250_000, 500_000]] * 3
    sound = (source.waveform / 32768).astype(np.float32)
    windows = [
        np.concatenate([sound[1000:0:-1], sound[:3000]]),
        sound[1000:5000],
        np.concatenate([sound[3000:], sound[-2:-1002:-1]]),
    ]
    expected = audio.features(np.stack(windows), SETTINGS.audio)
    np.testing.assert_array_equal(found.inputs["audio"], expected)
    stored = clips.parse(record, SETTINGS).visual.encoded.numpy()
    # The middles are 0.125, 0.375 and 0.625 s.
    assert found.frame.numpy().tolist() == [stored[1], stored[2], stored[3]]


def test_a_window_inside_is_what_training_evaluates(tmp_path):
    record = _serialized(tmp_path, handmade_records.random_clip(4))
    found = SegmentLoader(FRONT_ENDS, 3, 0.25)(record, SETTINGS).inputs
    # Evaluation takes the middle of a clip, which is the second segment's window.
    expected = clips.example(record, clips.Loader(SETTINGS, 0, False)).inputs
    for name in ("audio", "visual"):
        assert found[name].shape == (3, *SETTINGS.shapes[name])
        np.testing.assert_array_equal(found[name][1], expected[name])
    # The first segment's frames are at 0 and 0.25 s: the first and the second one.
    np.testing.assert_array_equal(found["visual"][1, 0], found["visual"][0, 1])


def test_encoders_may_have_windows_of_their_own(tmp_path):
    short = dataclasses.replace(FRONT_ENDS["audio"], window_s=0.1)
    record = _serialized(tmp_path, handmade_records.random_clip(4))
    load = SegmentLoader({"audio": short, "visual": FRONT_ENDS["visual"]}, 3, 0.25)
    found = load(record, SETTINGS).inputs
    assert load.starts(short).tolist() == [600, 2600, 4600]
    assert found["audio"].shape == (3, 33, 5, 1) and found["visual"].shape == (3, 2, 12, 16, 3)
    sound = handmade_records.random_clip(4).waveform[2600:3400].astype(np.float32) / 32768
    np.testing.assert_array_equal(found["audio"][1], audio.features(sound, SETTINGS.audio))


def test_segments_of_a_split_come_in_the_order_of_the_shards(tmp_path):
    sources = [handmade_records.random_clip(number) for number in range(5)]
    folder = handmade_records.write(tmp_path, {"train": sources})
    index = read_index(folder)
    dataset = segments.read_segments(folder, index, "train", SegmentLoader(FRONT_ENDS, 3, 0.25))
    names = [segment.clip_id.numpy().decode() for segment in dataset]
    assert names == [f"clip{number}" for number in range(5) for _ in range(3)]
