import dataclasses
import itertools

import numpy as np
import pytest
import tensorflow as tf

from input_pipelines import audio, dataset, video
from input_pipelines.settings import VideoSettings
from tests.input_pipelines import handmade_records
from tests.input_pipelines.handmade_records import SETTINGS, Source, assert_equal, random_clip


def _timed_clip(number, duration_s, frames_per_second=8, rate=8000, start_s=0.0):
    """A clip that shows and sounds its time: grey level and sample value grow with it."""
    num_samples = round(duration_s * rate)
    waveform = np.arange(num_samples) * 32_000 // (4 * rate)
    times_s = np.arange(round(duration_s * frames_per_second)) / frames_per_second
    return Source(
        f"clip{number}",
        "abc"[number % 3],
        waveform.astype(np.int16),
        [np.full([16, 24, 3], round(60 * time_s), np.uint8) for time_s in times_s],
        times_us=[round(time_s * 1e6) for time_s in times_s],
        start_s=start_s,
    )


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """11 training clips of 0.75 s, 7 of test: random windows of 0.5 s."""
    examples = [random_clip(number) for number in range(11)]
    splits = {"train": examples, "test": examples[:7], "empty": []}
    return handmade_records.write(tmp_path_factory.mktemp("clips"), splits, shards=3)


def _fingerprints(inputs):
    """One number a clip: the frequency bin it sounds in, whatever the window."""
    return np.argmax(np.mean(np.exp(inputs["audio"]), axis=(2, 3)), axis=1)


def _time_heard(log_spectrogram, settings):
    """Mean of a slow ramp in the middle window, from its 0 Hz bin; seconds."""
    middle = log_spectrogram[0, log_spectrogram.shape[1] // 2, 0]
    return np.exp(middle) / (settings.audio.fft_length / 2) * 32_768 / 32_000 * 4


def test_sound_and_frames_come_from_the_same_window(tmp_path):
    # One frame, in the middle of the window, 8 stored a second: half a distance is 1/16 s.
    settings = dataclasses.replace(
        SETTINGS, video=VideoSettings(num_frames=1, height=8, width=8, crop_min_area=0.3)
    )
    examples = [_timed_clip(number, 4.0) for number in range(6)]
    folder = handmade_records.write(tmp_path, {"train": examples}, settings, shards=3)
    data = dataset.train_dataset(folder, 6, seed=3)
    heard, seen = [], []
    for inputs, _ in data.dataset.take(8):
        for log_spectrogram, frames in zip(inputs["audio"], inputs["visual"], strict=True):
            heard.append(_time_heard(log_spectrogram, settings))
            seen.append(video.denormalise(frames, settings.video).numpy().mean() / 60)
    difference = np.array(heard) - np.array(seen)
    assert np.abs(difference).max() < 0.09
    # Windows of half a second begin anywhere from 0 to 3.5 s.
    assert min(heard) < 0.6 and max(heard) > 3.4 and np.std(heard) > 0.8


def test_evaluation_takes_the_middle_and_frames_at_its_quarters(tmp_path):
    # The frames' times are stored from the beginning of the media, not of the clip.
    example = _timed_clip(0, 3.0, start_s=7.25)
    folder = handmade_records.write(tmp_path, {"test": [example]}, shards=1)
    (example,) = dataset.read_clips(folder, "test", 5)
    start = 10_000
    np.testing.assert_allclose(
        example.waveform * 32_768, np.arange(start, start + 4000) * 32_000 // 32_000, atol=1e-3
    )
    # Window 1.25 to 1.75 s: wanted are 1.375 and 1.625 s, which are stored.
    np.testing.assert_allclose(example.frames[:, 0, 0, 0], [60 * 1.375, 60 * 1.625], atol=1.5)


def test_short_clips_are_tiled_and_their_frames_spread(tmp_path):
    folder = handmade_records.write(tmp_path, {"test": [_timed_clip(0, 0.25, 16)]}, shards=1)
    (example,) = dataset.read_clips(folder, "test", 1)
    np.testing.assert_array_equal(example.waveform[:2000], example.waveform[2000:])
    np.testing.assert_allclose(example.waveform[:2000] * 32_768, np.arange(2000), atol=1e-3)
    assert (example.start_s, example.end_s) == (0.0, 0.25)
    np.testing.assert_allclose(example.frames[:, 0, 0, 0], [60 * 0.0625, 60 * 0.1875], atol=1.5)


def test_short_clips_are_filled_after_their_own_features(tmp_path):
    sound = dataclasses.replace(
        SETTINGS.audio, short_clips="fill", time_steps=21, mean=-2.0, deviation=0.5
    )
    settings = dataclasses.replace(SETTINGS, audio=sound)
    examples = [_timed_clip(0, 0.25, 16), _timed_clip(1, 0.75), _timed_clip(2, 0.001, 2000)]
    folder = handmade_records.write(tmp_path, {"test": examples}, settings)
    inputs, _, _ = next(iter(dataset.eval_dataset(folder, "test", 3).dataset))
    assert inputs["audio"].shape == (3, 33, 21, 1)
    plain = dataclasses.replace(sound, short_clips="tile", time_steps=None)
    own = audio.features(examples[0].waveform / np.float32(32_768), plain)
    # 1 + 2000 // 200 steps of sound; the others are (0 - mean) / deviation.
    np.testing.assert_allclose(inputs["audio"][0, :, :11], own, atol=1e-5)
    np.testing.assert_array_equal(inputs["audio"][0, :, 11:], np.full([33, 10, 1], 4.0))
    # 1 ms is less than one transform needs, and becomes one step.
    np.testing.assert_array_equal(inputs["audio"][2, :, 1:], np.full([33, 20, 1], 4.0))
    short, long, tiny = dataset.read_clips(folder, "test", 3)
    np.testing.assert_array_equal(short.waveform * 32_768, examples[0].waveform)
    np.testing.assert_array_equal(long.waveform * 32_768, examples[1].waveform[1000:5000])
    assert np.isfinite(tiny.inputs["audio"]).all()


def test_frames_past_the_last_are_held(tmp_path):
    frames = [np.full([16, 16, 3], level, np.uint8) for level in (50, 200)]
    record = Source("still", "a", np.ones(4000, np.int16), frames, times_us=[0, 60_000])
    folder = handmade_records.write(tmp_path, {"test": [record]}, shards=1)
    (example,) = dataset.read_clips(folder, "test", 1)
    np.testing.assert_allclose(example.frames[:, 0, 0, 0], [200, 200], atol=1)


def test_inputs_are_the_front_ends_of_what_is_stored(clips):
    (example,) = dataset.read_clips(clips, "test", 1)
    assert example.clip_id == "clip0" and example.label == 0
    assert example.frames.dtype == np.uint8 and example.frames.shape == SETTINGS.shapes["visual"]
    expected = audio.front_end(SETTINGS)(example.waveform[np.newaxis])[0]
    np.testing.assert_allclose(example.inputs["audio"], expected, atol=1e-5)
    inputs, label, weight = next(iter(dataset.eval_dataset(clips, "test", 3).dataset))
    np.testing.assert_allclose(inputs["audio"][0], example.inputs["audio"], atol=1e-5)
    np.testing.assert_allclose(inputs["visual"][0], example.inputs["visual"], atol=1e-5)
    assert inputs["audio"].shape == (3, *SETTINGS.shapes["audio"]) and label.dtype == tf.int32


def test_training_does_not_depend_on_threads_or_the_global_seed(clips):
    def batches(threads, global_seed):
        tf.random.set_seed(global_seed)
        data = dataset.train_dataset(clips, 4, seed=5, audio_noise_snr_db=10.0)
        options = tf.data.Options()
        options.threading.private_threadpool_size = threads
        return list(data.dataset.with_options(options).take(5))

    expected = batches(1, 0)
    assert_equal(batches(16, 9), expected)
    other = next(iter(dataset.train_dataset(clips, 4, seed=6, audio_noise_snr_db=10.0).dataset))
    assert not np.array_equal(other[0]["audio"], expected[0][0]["audio"])


def test_every_epoch_is_a_permutation_without_the_remainder(clips):
    names = _fingerprints(next(iter(dataset.eval_dataset(clips, "train", 11).dataset))[0])
    np.testing.assert_array_equal(names, np.arange(2, 24, 2))
    data = dataset.train_dataset(clips, 4, seed=1)
    assert data.steps_per_epoch == dataset.steps_per_epoch(data.index, 4) == 2
    epochs = [[], [], [], []]
    for step, (inputs, _) in enumerate(data.dataset.take(8)):
        epochs[step // 2] += _fingerprints(inputs).tolist()
    for epoch in epochs:
        assert len(set(epoch)) == 8 and set(epoch) <= set(names)
    assert len({tuple(epoch) for epoch in epochs}) == 4
    assert set(itertools.chain(*epochs)) == set(names)


def test_clips_that_are_held_out_are_not_trained_on(clips):
    index = dataset.read_index(clips)
    kept, held_out = dataset.hold_out(index, 4, seed=2, share=0.2)
    assert len(held_out) == 4 and sorted([*kept, *held_out]) == list(range(11))
    assert list(kept) == sorted(kept) and list(held_out) == sorted(held_out)
    assert any(set(dataset.hold_out(index, 4, s, 0.2)[1]) != set(held_out) for s in (3, 4))
    data = dataset.train_dataset(clips, 4, seed=1, numbers=kept)
    assert data.steps_per_epoch == dataset.steps_per_epoch(index, 4, num_clips=7) == 1
    seen = [_fingerprints(inputs) // 2 - 1 for inputs, _ in data.dataset.take(8)]
    assert {len(set(epoch)) for epoch in seen} == {4}
    assert set(np.concatenate(seen)) == set(kept)
    judged = dataset.eval_dataset(clips, "train", 4, numbers=held_out)
    assert judged.num_clips == 4
    ((inputs, labels, weights),) = judged.dataset
    np.testing.assert_array_equal(_fingerprints(inputs) // 2 - 1, held_out)
    np.testing.assert_array_equal(labels, held_out % 3)
    assert weights.numpy().all()
    # Starting late is going on.
    later = dataset.train_dataset(clips, 4, seed=1, numbers=kept, start_step=3)
    np.testing.assert_array_equal(_fingerprints(next(iter(later.dataset))[0]) // 2 - 1, seen[3])
    with pytest.raises(ValueError, match="whole batch.*11 clips, batch_size=6, share=0.2"):
        dataset.hold_out(index, 6, seed=2, share=0.2)


def test_augmentation_differs_between_clips_and_epochs(tmp_path):
    folder = handmade_records.write(tmp_path, {"train": [random_clip(3)] * 4}, shards=1)
    batches = list(dataset.train_dataset(folder, 4, seed=0).dataset.take(2))
    for name in ("audio", "visual"):
        rows = np.concatenate([inputs[name] for inputs, _ in batches]).reshape(8, -1)
        assert len(np.unique(rows, axis=0)) == 8


@pytest.mark.parametrize(("batch_size", "weights"), [(3, [1] * 7 + [0] * 2), (7, [1] * 7)])
def test_evaluation_has_every_clip_once(clips, batch_size, weights):
    data = dataset.eval_dataset(clips, "test", batch_size)
    batches = list(data.dataset)
    assert data.num_clips == 7
    assert all(label.shape == (batch_size,) for _, label, _ in batches)
    np.testing.assert_array_equal(np.concatenate([weight for *_, weight in batches]), weights)
    labels = np.concatenate([label for _, label, _ in batches])
    np.testing.assert_array_equal(labels[:7], [0, 1, 2, 0, 1, 2, 0])
    sound = np.concatenate([inputs["audio"] for inputs, *_ in batches])
    assert len(np.unique(_fingerprints({"audio": sound[:7]}))) == 7
    assert not sound[7:].any()


def test_evaluation_can_be_of_some_clips(clips):
    def found(batch_size, limit_clips, seed=0):
        data = dataset.eval_dataset(clips, "train", batch_size, seed=seed, limit_clips=limit_clips)
        inputs, labels, weights = zip(*data.dataset, strict=True)
        sound = np.concatenate([own["audio"] for own in inputs])
        counted = np.concatenate(weights) == 1
        names = _fingerprints({"audio": sound})[counted] // 2 - 1
        np.testing.assert_array_equal(np.concatenate(labels)[counted], names % 3)
        assert data.num_clips == len(names)
        return names.tolist()

    some = found(4, 6)
    assert len(some) == 6 and some == sorted(set(some)) and some == found(2, 6)
    assert any(found(6, 6, seed) != some for seed in (1, 2))
    assert found(4, 20) == list(range(11))
    with pytest.raises(ValueError, match="Received: limit_clips=-1"):
        found(4, -1)


def test_evaluation_noise_depends_on_the_position_only(clips):
    def sound(batch_size, seed):
        data = dataset.eval_dataset(clips, "test", batch_size, seed=seed, audio_noise_snr_db=5.0)
        return np.concatenate([inputs["audio"] for inputs, *_ in data.dataset])[:7]

    np.testing.assert_array_equal(sound(2, 0), sound(7, 0))
    assert np.abs(sound(7, 1) - sound(7, 0)).max() > 0.1


def test_a_removed_modality_is_zero_and_the_other_as_before(clips):
    def first(**settings):
        data = dataset.train_dataset(clips, 4, seed=2, audio_noise_snr_db=5.0, **settings)
        return next(iter(data.dataset))[0]

    whole = first()
    for removed, kept in [("audio", "visual"), ("visual", "audio")]:
        part = first(removed=removed)
        np.testing.assert_array_equal(part[kept], whole[kept])
        assert part[removed].shape == whole[removed].shape and not np.any(part[removed])
    evaluated = next(iter(dataset.eval_dataset(clips, "test", 7, removed="audio").dataset))[0]
    assert not np.any(evaluated["audio"]) and np.any(evaluated["visual"])
    nothing = dataset.eval_dataset(clips, "test", 7, removed="visual,audio").dataset
    assert not any(np.any(values) for values in next(iter(nothing))[0].values())


def test_clips_are_read_evenly_over_the_split(clips):
    names = [example.clip_id for example in dataset.read_clips(clips, "test", 3)]
    assert names == ["clip0", "clip2", "clip4"]
    assert len(dataset.read_clips(clips, "test", 99)) == 7


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 12}, "'train', 11. Received: batch_size=12"),
        ({"batch_size": 0}, "Received: batch_size=0"),
        ({"split": "valid"}, "empty, test, train. Received: split='valid'"),
        ({"split": "empty", "batch_size": 1}, "no clips. Received: split='empty'"),
        ({"removed": "sound"}, "audio, visual. Received: removed='sound'"),
        ({"start_step": -1}, "Received: start_step=-1"),
        ({"rows": dataset.Rows(0, 3, 1)}, "Received: batch_size=4, Rows.*num_workers=3"),
        ({"audio_noise_snr_db": float("nan")}, "Received: audio_noise_snr_db=nan"),
    ],
)
def test_bad_arguments_are_named(clips, arguments, message):
    with pytest.raises(ValueError, match=message):
        dataset.train_dataset(clips, **{"batch_size": 4, "seed": 0} | arguments)


def test_lost_records_are_an_error(tmp_path):
    examples = [random_clip(number) for number in range(5)]
    folder = handmade_records.write(tmp_path, {"train": examples}, shards=2)
    datasets = [
        dataset.train_dataset(folder, 5, seed=0).dataset,
        dataset.eval_dataset(folder, "train", 5).dataset,
    ]
    shard = folder / "train-00001-of-00002.tfrecord"
    first = next(iter(tf.data.TFRecordDataset(str(shard))))
    with tf.io.TFRecordWriter(str(shard)) as writer:
        writer.write(first.numpy())
    # They began with whole files.
    for data in datasets:
        with pytest.raises(tf.errors.InvalidArgumentError, match="Received:.*train-00001-of-00002"):
            list(data.take(2))
    size = shard.stat().st_size
    for open_dataset in (
        lambda: dataset.train_dataset(folder, 2, seed=0),
        lambda: dataset.eval_dataset(folder, "train", 2),
        lambda: dataset.read_clips(folder, "train", 2),
    ):
        with pytest.raises(ValueError, match=f"Received: shard=.*train-00001.* {size} bytes"):
            open_dataset()
    shard.unlink()
    with pytest.raises(FileNotFoundError, match="Received: shard=.*train-00001"):
        dataset.train_dataset(folder, 2, seed=0)
    with pytest.raises(FileNotFoundError, match="Received: records_dir="):
        dataset.train_dataset(tmp_path / "nowhere", 2, seed=0)
