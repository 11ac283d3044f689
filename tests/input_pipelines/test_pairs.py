import dataclasses
import functools
import logging as standard_logging
import re

import numpy as np
import pytest
import tensorflow as tf
from absl import logging

from input_pipelines import pair_clips, pair_groups
from input_pipelines.index import read_index
from input_pipelines.order import Rows, epoch_coins, epoch_order
from input_pipelines.pairs import pair_dataset
from input_pipelines.settings import AudioSettings, ClipSettings, VideoSettings
from tests.input_pipelines import handmade_records
from tests.input_pipelines.handmade_records import Source, assert_equal, flat

RATE_HZ = 1000
CLIP_MS = 4000
WINDOW_MS = 1000
NUM_FRAMES = 3
# Shifts with which windows overlap and with which they do not.
SHIFT_S = (0.5, 1.4)
SAMPLINGS = ("balanced", pytest.param("coin", marks=pytest.mark.slow))
SETTINGS = ClipSettings(
    window_s=WINDOW_MS / 1000,
    audio=AudioSettings(RATE_HZ, "waveform"),
    video=VideoSettings(
        num_frames=NUM_FRAMES, height=8, width=8, spacing="random", crop_min_area=1.0,
        mean=(0.0,) * 3, deviation=(1.0,) * 3,
    ),
)  # fmt: skip


def _times_ms():
    """When the frames of every clip are shown: at no rate, two of them in any 0.5 s."""
    random = np.random.default_rng(5)
    return 200 * np.arange(20) + random.integers(0, 150, 20)


TIMES_MS = _times_ms()


def _clip(number, length_ms=CLIP_MS):
    """A clip that tells by each sample and by each frame which it is of which clip."""
    waveform = np.arange(number * CLIP_MS, number * CLIP_MS + length_ms).astype(np.int16)
    frames = [
        np.full([16, 16, 3], [30 * number, 12 * frame, 128], np.uint8)
        for frame in range(np.sum(TIMES_MS < length_ms))
    ]
    times_us = [1000 * int(time_ms) for time_ms in TIMES_MS[: len(frames)]]
    return Source(f"clip{number}", "ab"[number % 2], waveform, frames, times_us=times_us)


def _told(sound, frames):
    """Returns clip and start of a sound; clip and times of frames."""
    samples = np.round(np.asarray(sound)[:, 0] * 32768).astype(int)
    np.testing.assert_array_equal(np.diff(samples), 1)
    levels = np.mean(np.asarray(frames) * 255, axis=(1, 2))
    np.testing.assert_allclose(levels[:, 2], 128, atol=4)
    (frames_clip,) = set(np.round(levels[:, 0] / 30).astype(int))
    places = np.round(levels[:, 1] / 12).astype(int)
    sound_clip, start_ms = divmod(samples[0], CLIP_MS)
    return sound_clip, start_ms, frames_clip, TIMES_MS[places]


def _rows(batches):
    """Returns of every pair (label, sound's clip, its start, frames' clip, their times)."""
    return [
        (int(label), *_told(sound, frames))
        for inputs, labels, *_ in batches
        for label, sound, frames in zip(labels, inputs["audio"], inputs["visual"], strict=True)
    ]


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """8 clips of 4 s, of which 7 are in the test split too."""
    sources = [_clip(number) for number in range(8)]
    splits = {"train": sources, "test": sources[:7]}
    return handmade_records.write(tmp_path_factory.mktemp("pairs"), splits, SETTINGS, shards=3)


def _data(records, kind, batch_size=8, **options):
    options = {"split": "train", "seed": 3, "shift_s": SHIFT_S} | options
    return pair_dataset(records, batch_size=batch_size, kind=kind, **options)


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("kind", pair_groups.KINDS)
def test_matches_are_of_one_moment(records, kind, sampling):
    data = _data(records, kind, sampling=sampling)
    starts = []
    for label, clip, start_ms, frames_clip, times_ms in _rows(data.dataset.take(25)):
        starts.append(start_ms)
        if label:
            assert clip == frames_clip
            # All frames while the sound is heard, as the records, not a rate, tell.
            assert np.all((times_ms >= start_ms) & (times_ms < start_ms + WINDOW_MS))
            np.testing.assert_array_equal(times_ms, np.sort(times_ms))
        else:
            assert (clip == frames_clip) == (kind == "synchronization")
        assert times_ms[-1] - times_ms[0] < WINDOW_MS
    # From one end to the other.
    assert min(starts) < 150 and max(starts) > CLIP_MS - WINDOW_MS - 150


@pytest.mark.parametrize("kind", pair_groups.KINDS)
def test_a_gap_of_the_picture_is_filled_with_the_nearest_frame(tmp_path, kind):
    """The last 2.5 s of every clip have sound, and no frame."""
    whole = [_clip(number) for number in range(4)]
    shown = int(np.sum(TIMES_MS < 1500))
    clips = [
        dataclasses.replace(clip, visual=clip.visual[:shown], times_us=clip.times_us[:shown])
        for clip in whole
    ]
    records = handmade_records.write(tmp_path, {"train": clips}, SETTINGS)
    gaps = 0
    for label, _, start_ms, _, times_ms in _rows(_data(records, kind, 4).dataset.take(20)):
        if label and start_ms > TIMES_MS[shown - 1]:
            gaps += 1
            np.testing.assert_array_equal(times_ms, TIMES_MS[shown - 1])
    assert gaps > 5


@pytest.mark.parametrize("seed", [0, 1])
def test_shifted_sound_has_the_frames_of_the_match(records, seed):
    data = _data(records, "synchronization", seed=seed)
    assert (data.steps_per_epoch, data.num_clips) == (2, 8)
    shifts, orders = [], []
    for step, (inputs, labels) in enumerate(data.dataset.take(50)):
        assert np.sum(labels) == 4
        pairs = _rows([(inputs, labels)])
        for first, second in zip(pairs[::2], pairs[1::2], strict=True):
            assert first[0] + second[0] == 1 and first[1] == second[1] == first[3]
            match, mismatch = (first, second) if first[0] else (second, first)
            shifts.append(mismatch[2] - match[2])
            orders.append(first[0])
        np.testing.assert_array_equal(inputs["visual"][::2], inputs["visual"][1::2])
        order = epoch_order(seed, step // 2, 8)[4 * (step % 2) :][:4]
        np.testing.assert_array_equal([pair[1] for pair in pairs[::2]], order)
    assert 500 <= np.min(np.abs(shifts)) and np.max(np.abs(shifts)) <= 1400
    assert 0.35 < np.mean(np.array(shifts) > 0) < 0.65
    assert 0.35 < np.mean(orders) < 0.65


def test_correspondence_is_balanced_and_uses_each_clip_s_frames_once(records):
    data = _data(records, "correspondence", batch_size=4)
    assert data.steps_per_epoch == 2
    batches = list(data.dataset.take(24))
    assert all(np.sum(labels) == 2 for _, labels in batches)
    sounds = set()
    for epoch in range(12):
        pairs = _rows(batches[2 * epoch :][:2])
        assert sorted(pair[3] for pair in pairs) == list(range(8))
        sounds |= {(pair[3], pair[1]) for pair in pairs if not pair[0]}
    # 48 mismatches, of 56 ordered pairs of clips.
    assert len(sounds) > 25


def test_coins_decide_on_every_pair(records):
    for kind in pair_groups.KINDS:
        data = _data(records, kind, sampling="coin", batch_size=3)
        assert data.steps_per_epoch == 2
        labels = np.concatenate([labels for _, labels in data.dataset.take(6)])
        expected = np.concatenate([epoch_coins(3, epoch, 6) for epoch in range(3)])
        np.testing.assert_array_equal(labels, expected)


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("kind", pair_groups.KINDS)
def test_starting_late_equals_continuing(records, kind, sampling):
    steps = 4 if kind == "synchronization" and sampling == "balanced" else 2

    def batches(start_step, rows=None):
        data = _data(records, kind, 4, sampling=sampling, start_step=start_step, rows=rows)
        assert data.steps_per_epoch == steps
        return list(data.dataset.take(7 - start_step))

    whole = batches(0)
    # Within an epoch, after a whole one, and within the next one.
    assert_equal(batches(1), whole[1:])
    assert_equal(batches(steps), whole[steps:])
    own = [tf.nest.map_structure(lambda part: part[2:], batch) for batch in whole]
    assert_equal(batches(steps + 1, Rows(1, 2, 2)), own[steps + 1 :])


@pytest.mark.parametrize("training", [pytest.param(True, marks=pytest.mark.slow), False])
@pytest.mark.parametrize("kind", pair_groups.KINDS)
def test_workers_rows_together_are_the_whole_batches(records, kind, training):
    options = {"split": "train" if training else "test", "training": training}
    # 7 clips are 14 pairs: two batches of 8.
    num_batches = 4 if training else 2

    def read(rows, batches):
        data = _data(records, kind, rows=rows, **options).dataset.take(batches)
        return [np.concatenate(parts) for parts in zip(*map(flat, data), strict=True)]

    whole = read(None, num_batches)
    for num_workers, batch_rows in ((1, 2), (2, 4)):
        per_batch = 8 // num_workers // batch_rows
        workers = [
            read(Rows(worker, num_workers, batch_rows), num_batches * per_batch)
            for worker in range(num_workers)
        ]
        for expected, *parts in zip(whole, *workers, strict=True):
            shares = [np.split(part, num_batches) for part in parts]
            joined = [share[batch] for batch in range(num_batches) for share in shares]
            np.testing.assert_array_equal(np.concatenate(joined), expected)


@pytest.mark.parametrize("kind", pair_groups.KINDS)
def test_evaluation_has_every_clip_once_in_a_match_and_once_not(records, kind):
    data = _data(records, kind, batch_size=4, split="test", training=False)
    batches = list(data.dataset)
    assert len(batches) == data.steps_per_epoch == 4
    weights = np.concatenate([weight for *_, weight in batches])
    np.testing.assert_array_equal(weights, [1.0] * 14 + [0.0] * 2)
    assert not np.any(batches[-1][0]["visual"][2:])
    pairs = []
    for inputs, labels, weight in batches:
        kept = np.asarray(weight) == 1
        kept_inputs = {name: value[kept] for name, value in inputs.items()}
        pairs += _rows([(kept_inputs, labels[kept])])
    assert [pair[0] for pair in pairs] == [1, 0] * 7
    assert [pair[3] for pair in pairs] == [clip for clip in range(7) for _ in range(2)]
    matches, mismatches = pairs[::2], pairs[1::2]
    assert [pair[1] for pair in matches] == list(range(7))
    if kind == "correspondence":
        assert sorted(pair[1] for pair in mismatches) == list(range(7))
        assert all(pair[1] != pair[3] and pair[2] == 1500 for pair in mismatches)
        assert all(pair[2] == 1500 for pair in matches)
    else:
        shifts = [other[2] - own[2] for own, other in zip(matches, mismatches, strict=True)]
        assert all(500 <= abs(shift) <= 1400 for shift in shifts) and len(set(shifts)) > 3
    again = _data(records, kind, batch_size=4, split="test", training=False, seed=9)
    assert_equal(again.dataset, batches)


# Of 1 s, 1.5 s and more; the second and the fourth lack one sample.
LENGTHS_MS = (CLIP_MS, 999, 1500, 1499, CLIP_MS)


@pytest.fixture(scope="module")
def unequal(tmp_path_factory):
    """A split of clips that are long enough, some of them by a sample, and of some that are not."""
    sources = [_clip(number, length_ms) for number, length_ms in enumerate(LENGTHS_MS)]
    return handmade_records.write(tmp_path_factory.mktemp("unequal"), {"train": sources}, SETTINGS)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    ("kind", "sampling", "shift_s", "num_long", "clips_per_pair"),
    [
        ("correspondence", "balanced", SHIFT_S, 4, 1),
        ("synchronization", "balanced", SHIFT_S, 3, 0.5),
        ("synchronization", "coin", (2.0, 2.5), 2, 1),
        ("synchronization", "balanced", (3.001, 4.0), 0, 0.5),
    ],
)
def test_a_split_is_refused_beforehand_where_its_pairs_would_be(
    unequal, kind, sampling, shift_s, num_long, clips_per_pair, training
):
    """With the same words, and without a computation that would choose TensorFlow's devices."""
    task = pair_groups.Task(kind, sampling, shift_s, training)
    options = {"sampling": sampling, "shift_s": shift_s, "training": training}
    accepted = []
    for batch_size in (2, 4, 6, 8):
        least = 2 if kind == "correspondence" else 1
        if training:
            least = max(least, batch_size * clips_per_pair)
        check = functools.partial(
            pair_clips.check_split, unequal, read_index(unequal), "train", batch_size, task
        )
        with tf.Graph().as_default() as graph:
            if num_long >= least:
                check()
                accepted.append(batch_size)
                continue
            with pytest.raises(ValueError) as caught:
                check()
        assert not graph.get_operations()
        problem = str(caught.value)
        assert f"need at least {least:g} clips" in problem
        assert f"split='train' with {num_long} of 5 clips of" in problem
        with pytest.raises(ValueError, match=re.escape(problem)):
            _data(unequal, kind, batch_size, **options)
    for batch_size in accepted[-1:]:
        assert _data(unequal, kind, batch_size, **options).num_clips == num_long


def test_a_damaged_record_is_named_before_training(tmp_path):
    """Where the index leaves open whether the clips are long enough."""
    folder = handmade_records.write(tmp_path, {"train": [_clip(0, 999)]}, SETTINGS, shards=1)
    (path,) = folder.glob("*.tfrecord*")
    data = bytearray(path.read_bytes())
    data[12:20] = b"\xff" * 8
    path.write_bytes(data)
    task = pair_groups.Task("correspondence", "balanced", SHIFT_S, False)
    with pytest.raises(ValueError, match="--verify. Received: .*without its record at byte 0"):
        pair_clips.check_split(folder, read_index(folder), "train", 2, task)


def test_short_clips_are_left_out_and_named(unequal, caplog):
    folder = unequal
    logging.get_absl_logger().addHandler(caplog.handler)
    with caplog.at_level(standard_logging.WARNING):
        corresponding = _data(folder, "correspondence", 4)
        shifted = _data(folder, "synchronization", 6)
    logging.get_absl_logger().removeHandler(caplog.handler)
    assert "1 of 5 clips are left out of correspondence, for they are shorter than 1 s: clip1" in (
        caplog.text
    )
    assert "shorter than 1.5 s: clip1, clip3." in caplog.text
    assert (corresponding.num_clips, corresponding.left_out) == (4, ("clip1",))
    assert (shifted.num_clips, shifted.left_out) == (3, ("clip1", "clip3"))
    assert {pair[1] for pair in _rows(corresponding.dataset.take(2))} <= {0, 2, 3, 4}
    pairs = _rows(shifted.dataset.take(3))
    assert {pair[1] for pair in pairs} == {0, 2, 4}
    # There are but two pairs of starts in the third.
    assert {pair[2] for pair in pairs if pair[1] == 2} == {0, 500}
    with pytest.raises(ValueError, match=r"least 4 clips .* Received: split='train' with 3 of 5 "):
        _data(folder, "synchronization", 8)


def test_bad_arguments(records, tmp_path):
    for options, problem in (
        ({"kind": "both"}, "Received: kind='both'"),
        ({"sampling": "fair"}, "Received: sampling='fair'"),
        ({"batch_size": 5}, "even and >= 2. Received: batch_size=5"),
        ({"rows": Rows(0, 2, 1)}, "`rows.batch_size` must be even"),
        ({"rows": Rows(0, 3, 2)}, r"multiple of num_workers \* rows.batch_size"),
        ({"shift_s": (2.0, 1.0)}, r"Received: shift_s=\(2.0, 1.0\)"),
        ({"shift_s": (0.0, 1.0)}, r"Received: shift_s=\(0.0, 1.0\)"),
        ({"shift_s": (0.5002, 0.5008)}, "Received: shift_s=.* at sample_rate_hz=1000"),
        ({"shift_s": (3.5, 9.0)}, "Received: split='train' with 0 of 8 clips of 4.5 s or more"),
        ({"start_step": 1, "training": False}, "Received: start_step=1, training=False"),
        ({"split": "validation"}, "Received: split='validation'"),
    ):
        with pytest.raises(ValueError, match=problem):
            _data(records, **({"kind": "synchronization"} | options))
    alone = handmade_records.write(tmp_path / "alone", {"train": [_clip(0)]}, SETTINGS)
    with pytest.raises(ValueError, match="correspondence .* at least 2 clips .* Received:"):
        _data(alone, "correspondence", 2, training=False)
    silent = ClipSettings(window_s=1.0, modalities=("visual",), audio=AudioSettings(RATE_HZ))
    source = Source("a", "a", visual=[np.zeros([16, 16, 3], np.uint8)], duration_s=2.0)
    folder = handmade_records.write(tmp_path / "silent", {"train": [source]}, silent)
    with pytest.raises(ValueError, match=r"Received: modalities=\('visual',\), without audio"):
        _data(folder, "synchronization", 2)
