import dataclasses
import itertools

import numpy as np
import pytest
import tensorflow as tf

from input_pipelines import audio, dataset, video
from input_pipelines.index import Index, Shard, SplitIndex, write_index
from input_pipelines.settings import AudioSettings, ClipSettings, MediaLimits, VideoSettings

SETTINGS = ClipSettings(
    window_s=0.5,
    audio=AudioSettings(sample_rate_hz=8000, fft_length=64, hop_length=200),
    video=VideoSettings(num_frames=2, height=8, width=8, crop_min_area=0.3),
)


def _feature(value):
    if isinstance(value, bytes):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
    return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))


def _record(clip_id, label, waveform, frames, timestamps_us):
    jpegs = [tf.io.encode_jpeg(frame, quality=100).numpy() for frame in frames]
    context = {
        "clip/media_id": _feature(clip_id.encode()),
        "clip/label/string": _feature(b"abc"[label : label + 1]),
        "clip/label/index": _feature(label),
        "clip/start/timestamp": _feature(0),
        "clip/end/timestamp": _feature(len(waveform) * 125),
        "WAVEFORM/pcm16": _feature(np.asarray(waveform).astype("<i2").tobytes()),
    }
    lists = {"image/encoded": jpegs, "image/timestamp": timestamps_us}
    return tf.train.SequenceExample(
        context=tf.train.Features(feature=context),
        feature_lists=tf.train.FeatureLists(
            feature_list={
                name: tf.train.FeatureList(feature=[_feature(value) for value in values])
                for name, values in lists.items()
            }
        ),
    ).SerializeToString()


def _timed_clip(number, duration_s, frames_per_second=8, rate=8000):
    """A clip that shows and sounds its time: grey level and sample value grow with it."""
    num_samples = round(duration_s * rate)
    waveform = np.arange(num_samples) * 32_000 // (4 * rate)
    times_s = np.arange(round(duration_s * frames_per_second)) / frames_per_second
    frames = [np.full([16, 24, 3], round(60 * time_s), np.uint8) for time_s in times_s]
    timestamps_us = [round(time_s * 1e6) for time_s in times_s]
    return _record(f"clip{number}", number % 3, waveform, frames, timestamps_us)


def _random_clip(number):
    """Every clip its own frequency and its own pictures."""
    random = np.random.default_rng(number)
    # Bin 2 (number + 1) of the spectrogram; the noise tells windows apart.
    waveform = 9000 * np.sin(np.arange(6000) * 2 * np.pi * (2 + 2 * number) / 64)
    waveform += random.normal(size=6000) * 500
    frames = random.integers(0, 255, [4, 16, 24, 3]).astype(np.uint8)
    return _record(f"clip{number}", number % 3, waveform, frames, [0, 200_000, 400_000, 600_000])


def _write(folder, splits, settings=SETTINGS, shards=3):
    folder.mkdir(exist_ok=True)
    index = {}
    for split, examples in splits.items():
        parts = [part.tolist() for part in np.array_split(np.arange(len(examples)), shards)]
        listed = []
        for number, part in enumerate(parts):
            file = f"{split}-{number:05d}-of-{shards:05d}.tfrecord"
            with tf.io.TFRecordWriter(str(folder / file)) as writer:
                for position in part:
                    writer.write(examples[position])
            listed.append(Shard(file, len(part), (folder / file).stat().st_size, ""))
        index[split] = SplitIndex(len(examples), tuple(listed), {})
    write_index(
        folder,
        Index(("a", "b", "c"), settings, index, (), (), "0" * 64, 0.0, 64, MediaLimits()),
    )
    return folder


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """11 training clips of 0.75 s, 7 of test: random windows of 0.5 s."""
    examples = [_random_clip(number) for number in range(11)]
    return _write(
        tmp_path_factory.mktemp("clips"), {"train": examples, "test": examples[:7], "empty": []}
    )


def _flat(element):
    return [np.asarray(value) for value in tf.nest.flatten(element)]


def _assert_equal(left, right):
    left, right = list(left), list(right)
    assert len(left) == len(right)
    for one, other in zip(left, right, strict=True):
        for value, expected in zip(_flat(one), _flat(other), strict=True):
            np.testing.assert_array_equal(value, expected)


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
    folder = _write(tmp_path, {"train": [_timed_clip(i, 4.0) for i in range(6)]}, settings)
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
    folder = _write(tmp_path, {"test": [_timed_clip(0, 3.0)]}, shards=1)
    (example,) = dataset.read_clips(folder, "test", 5)
    start = 10_000
    np.testing.assert_allclose(
        example.waveform * 32_768, np.arange(start, start + 4000) * 32_000 // 32_000, atol=1e-3
    )
    # Window 1.25 to 1.75 s: wanted are 1.375 and 1.625 s, which are stored.
    np.testing.assert_allclose(example.frames[:, 0, 0, 0], [60 * 1.375, 60 * 1.625], atol=1.5)


def test_short_clips_are_tiled_and_their_frames_spread(tmp_path):
    folder = _write(tmp_path, {"test": [_timed_clip(0, 0.25, 16)]}, shards=1)
    (example,) = dataset.read_clips(folder, "test", 1)
    np.testing.assert_array_equal(example.waveform[:2000], example.waveform[2000:])
    np.testing.assert_allclose(example.waveform[:2000] * 32_768, np.arange(2000), atol=1e-3)
    np.testing.assert_allclose(example.frames[:, 0, 0, 0], [60 * 0.0625, 60 * 0.1875], atol=1.5)


def test_frames_past_the_last_are_held(tmp_path):
    frames = [np.full([16, 16, 3], level, np.uint8) for level in (50, 200)]
    record = _record("still", 0, np.ones(4000), frames, [0, 60_000])
    folder = _write(tmp_path, {"test": [record]}, shards=1)
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
    _assert_equal(batches(16, 9), expected)
    other = next(iter(dataset.train_dataset(clips, 4, seed=6, audio_noise_snr_db=10.0).dataset))
    assert not np.array_equal(other[0]["audio"], expected[0][0]["audio"])


def test_starting_late_equals_continuing(clips):
    def batches(start):
        data = dataset.train_dataset(clips, 4, seed=1, start_step=start, audio_noise_snr_db=0.0)
        return list(itertools.islice(data.dataset, 7 - start))

    # Two steps an epoch: within an epoch, and after whole ones.
    whole = batches(0)
    for start_step in (1, 4):
        _assert_equal(batches(start_step), whole[start_step:])


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


def test_augmentation_differs_between_clips_and_epochs(tmp_path):
    folder = _write(tmp_path, {"train": [_random_clip(3)] * 4}, shards=1)
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
        ({"audio_noise_snr_db": float("nan")}, "Received: audio_noise_snr_db=nan"),
    ],
)
def test_bad_arguments_are_named(clips, arguments, message):
    with pytest.raises(ValueError, match=message):
        dataset.train_dataset(clips, **{"batch_size": 4, "seed": 0} | arguments)


def test_lost_records_are_an_error(tmp_path):
    folder = _write(tmp_path, {"train": [_random_clip(number) for number in range(5)]}, shards=2)
    shard = folder / "train-00001-of-00002.tfrecord"
    with tf.io.TFRecordWriter(str(shard)) as writer:
        writer.write(_random_clip(0))
    for data in (
        dataset.train_dataset(folder, 5, seed=0),
        dataset.eval_dataset(folder, "train", 5),
    ):
        with pytest.raises(
            tf.errors.FailedPreconditionError, match="5 elements but contained only 4"
        ):
            list(data.dataset.take(2))
    shard.unlink()
    with pytest.raises(FileNotFoundError, match="Received: shard=.*train-00001"):
        dataset.train_dataset(folder, 2, seed=0)
    with pytest.raises(FileNotFoundError, match="Received: records_dir="):
        dataset.train_dataset(tmp_path / "nowhere", 2, seed=0)
