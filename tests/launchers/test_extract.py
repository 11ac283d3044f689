"""Features of segments: against encoders called by hand, from every kind of encoder, and errors."""

import dataclasses
import os

import keras
import numpy as np
import pytest
import tensorflow as tf

import ogm_tf
from input_pipelines import audio, event_videos, feature_folder, synthetic, synthetic_features
from launchers import extract, prepare
from launchers.extracting import ExtractSettings
from launchers.runs import RunFolder
from tests.input_pipelines import handmade_records
from tests.input_pipelines.handmade_records import SETTINGS

# Three segments of 0.25 s: silence around the event would be told by labels 3, 1, 3 and so on.
EVENTS = [(0.25, 0.5), (0.0, 0.75), (0.5, 0.75), (0.1, 0.3), (None, None), (0.25, 0.75)]
BACKGROUND = 3


def _clips(*numbers):
    return [
        dataclasses.replace(handmade_records.random_clip(number), event_s=EVENTS[number])
        for number in numbers
    ]


def _records(folder, settings=SETTINGS, **splits):
    return handmade_records.write(folder, splits, settings)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Records of six clips, and a run of them that has learned nothing."""
    folder = tmp_path_factory.mktemp("extract")
    _records(folder / "records", train=_clips(3, 1, 5), validation=_clips(2), test=_clips(0))
    keras.utils.set_random_seed(7)
    shapes = SETTINGS.shapes
    model = ogm_tf.OGMModel(
        {
            "audio": ogm_tf.encoders.small_cnn(shapes["audio"], name="audio", channels=(4, 8)),
            "visual": ogm_tf.encoders.resnet18(
                shapes["visual"], name="visual", width=4, blocks_per_stage=1
            ),
        },
        ogm_tf.fusion.Concat(num_classes=3),
    )
    model({name: tf.zeros([1, *shape]) for name, shape in shapes.items()})
    # Statistics of no layer's batch, so that they matter.
    for encoder in model.encoders.values():
        for variable in encoder.non_trainable_variables:
            draws = tf.random.stateless_uniform(variable.shape, [1, 2], 0.5, 1.5, alg="philox")
            variable.assign(draws)
    run = RunFolder(folder / "run")
    with run.locked():
        run.keep_config({"records_dir": str(folder / "records")})
        run.save_best(model)
        run.write_state({"epoch": 1, "best_epoch": 0, "best_score": 0.5})
    return folder


@pytest.fixture(scope="module")
def extracted(data):
    """Features of the records, by the run."""
    extract.run(_settings(data, data / "features"))
    return data / "features"


def _settings(data, output_dir, **values):
    defaults = {
        "records_dir": str(data / "records"),
        "audio_encoder": str(data / "run"),
        "visual_encoder": str(data / "run"),
        "segments": 3,
        "batch_size": 4,
    }
    return ExtractSettings(str(output_dir), **defaults | values)


def _by_name(folder):
    features = feature_folder.open_folder(folder)
    return {
        video_id: {name: np.array(array[row]) for name, array in features.arrays.items()}
        for row, video_id in enumerate(features.video_ids)
    }


def _sound_by_hand(number, first, last):
    """Features of some samples of a clip, batch of one."""
    sound = handmade_records.random_clip(number).waveform[first:last].astype(np.float32) / 32768
    return audio.features(sound[np.newaxis], SETTINGS.audio)


def _frames_by_hand(number, *places):
    """Some frames of a clip as a network gets them, batch of one, pixels in [0, 255]."""
    pictures = handmade_records.random_clip(number).visual
    encoded = [
        tf.io.encode_jpeg(pictures[place], quality=100, chroma_downsampling=False)
        for place in places
    ]
    decoded = tf.stack([tf.image.decode_jpeg(one) for one in encoded])
    return tf.image.resize(tf.cast(decoded, tf.float32), [12, 16])[tf.newaxis]


def _normalised(pixels):
    return (pixels / 255 - SETTINGS.video.mean) / SETTINGS.video.deviation


def test_features_are_what_the_encoders_of_a_run_make_of_windows_by_hand(data, extracted):
    about = feature_folder.read_about(extracted)
    features = feature_folder.open_folder(extracted)
    assert about.segment_s == 0.25 and about.class_names == ("a", "b", "c")
    assert features.shapes == {"audio": (3, 8), "visual": (3, 1, 1, 32)}
    assert features.video_ids == ("clip3", "clip1", "clip5", "clip2", "clip0")
    assert {name: rows.tolist() for name, rows in features.splits.items()} == {
        "train": [0, 1, 2], "validation": [3], "test": [4],
    }  # fmt: skip
    # Clip n is of class n % 3; a half of a segment is enough, and the largest part else.
    assert features.labels.tolist() == [
        [0, BACKGROUND, BACKGROUND],
        [1, 1, 1],
        [BACKGROUND, 2, 2],
        [BACKGROUND, BACKGROUND, 2],
        [BACKGROUND, 0, BACKGROUND],
    ]
    model = RunFolder(data / "run").load_best()
    visual = model.encoders["visual"]
    maps = keras.Model(visual.inputs, visual.get_layer("pool").input)
    for row, number in enumerate((3, 1, 5, 2, 0)):
        # Of the second segment, from 0.25 to 0.5 s, the window is from 0.125 to 0.625 s, and its
        # frames those nearest to 0.25 and 0.5 s.
        sound = model.encoders["audio"](_sound_by_hand(number, 1000, 5000))
        np.testing.assert_allclose(features.arrays["audio"][row, 1], sound[0], rtol=1e-4, atol=1e-5)
        frames = _normalised(_frames_by_hand(number, 1, 2))
        expected = tf.reduce_mean(maps(frames), axis=0)
        found = features.arrays["visual"][row, 1]
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_a_clip_has_the_same_features_whatever_batch_it_is_in(data, extracted, tmp_path):
    _records(tmp_path / "records", train=_clips(1), test=_clips(0, 5))
    other = _settings(data, tmp_path / "b", records_dir=str(tmp_path / "records"))
    extract.run(other)
    extract.run(_settings(data, tmp_path / "c", batch_size=7))
    folders = extracted, tmp_path / "b", tmp_path / "c"
    first, second, third = (_by_name(folder) for folder in folders)
    assert second.keys() == {"clip0", "clip1", "clip5"} < first.keys() == third.keys()
    for clip_id, own in first.items():
        for name, values in own.items():
            if clip_id in second:
                np.testing.assert_array_equal(values, second[clip_id][name])
            np.testing.assert_allclose(values, third[clip_id][name], rtol=1e-5, atol=1e-6)


def test_pictures_are_strips_of_the_segments_middle_frames(extracted):
    assert os.listdir(extracted / "pictures") == ["4.jpg"]
    strip = tf.io.decode_jpeg(feature_folder.read_picture(extracted, 4)).numpy()
    # Frames of 16 x 24 pixels are small enough.
    assert strip.shape == (16, 72, 3)
    # Those nearest to 0.125, 0.375 and 0.625 s.
    pictures = [handmade_records.random_clip(0).visual[place] for place in (1, 2, 3)]
    expected = np.concatenate(pictures, axis=1).astype(float)
    kept = np.corrcoef(strip.ravel(), expected.ravel())[0, 1]
    swapped = np.corrcoef(strip[:, ::-1].ravel(), expected.ravel())[0, 1]
    assert kept > 0.5 > 3 * swapped


def test_keras_files_and_applications_take_what_the_records_make_of_a_segment(data, tmp_path):
    # The records' window is 0.5 s, a segment 0.25 s: 2,000 samples, 11 steps.
    sound = keras.Sequential([keras.layers.Conv2D(3, 3, input_shape=(33, 11, 1))])
    sound.save(tmp_path / "sound.keras")
    video = dataclasses.replace(SETTINGS.video, height=32, width=32)
    settings = dataclasses.replace(SETTINGS, video=video)
    _records(tmp_path / "records", settings, train=_clips(0, 1, 2))
    network = keras.applications.MobileNet(include_top=False, weights=None, input_shape=(32, 32, 3))
    network.save_weights(tmp_path / "weights.h5")
    extract.run(
        _settings(
            data,
            tmp_path / "a",
            records_dir=str(tmp_path / "records"),
            audio_encoder=str(tmp_path / "sound.keras"),
            visual_encoder="mobilenet",
            visual_weights=str(tmp_path / "weights.h5"),
            dtype="float16",
        )
    )
    found = _by_name(tmp_path / "a")["clip1"]
    # Mean and maximum over the map.
    maps = sound(_sound_by_hand(1, 2000, 4000)).numpy()
    expected = np.concatenate([maps.mean((1, 2)), maps.max((1, 2))], axis=1)[0]
    assert found["audio"].dtype == np.float16
    np.testing.assert_allclose(found["audio"][1], expected, rtol=2e-3, atol=2e-3)
    # Of a quarter of a second from 0.25 s: the frames nearest to 0.3125 and 0.4375 s are one and
    # the same. MobileNet takes pixels from -1 to 1.
    encoded = tf.io.encode_jpeg(
        handmade_records.random_clip(1).visual[2], quality=100, chroma_downsampling=False
    )
    pictures = tf.image.resize(tf.cast(tf.image.decode_jpeg(encoded), tf.float32), [32, 32])
    expected = network(pictures[tf.newaxis] / 127.5 - 1)[0]
    assert found["visual"].shape == (3, 1, 1, 1024)
    np.testing.assert_allclose(found["visual"][1], expected, rtol=1e-2, atol=1e-2)


def test_a_finished_folder_is_left_and_other_settings_are_refused(data, extracted):
    before = os.stat(extracted / "audio.npy").st_mtime_ns
    # How many segments an encoder gets at once decides nothing.
    for batch_size in (4, 5):
        extract.run(_settings(data, extracted, batch_size=batch_size))
        assert os.stat(extracted / "audio.npy").st_mtime_ns == before
    with pytest.raises(ValueError, match=r"Received: .*dtype \('float32' there, 'float16' wanted"):
        extract.run(_settings(data, extracted, dtype="float16"))


def test_clips_without_an_event_are_background_if_that_is_said(data, tmp_path):
    records = _records(tmp_path / "records", train=_clips(0, 1, 4, 5))
    settings = _settings(data, tmp_path / "a", records_dir=str(records))
    with pytest.raises(ValueError, match="must have events.* with 3 events in 4 clips"):
        extract.run(settings)
    extract.run(dataclasses.replace(settings, background_clips=True))
    features = feature_folder.open_folder(tmp_path / "a")
    assert features.labels[2].tolist() == [BACKGROUND] * 3
    none = _records(tmp_path / "none", train=_clips(4))
    settings = dataclasses.replace(settings, records_dir=str(none), background_clips=True)
    with pytest.raises(ValueError, match="with 0 events in 1 clips"):
        extract.run(settings)


def test_short_clips_are_left_out_or_end_the_run_before_it_begins(data, tmp_path):
    (short,) = _clips(2)
    short = dataclasses.replace(short, waveform=short.waveform[:4900])
    records = _records(tmp_path / "records", train=[*_clips(0, 1), short])
    settings = _settings(data, tmp_path / "a", records_dir=str(records))
    # 4,900 samples are 0.6125 s; the middle of the last segment is at 0.625 s.
    with pytest.raises(ValueError, match="1 of 3 are shorter than 0.625 s, .* 0.61 s. Received: s"):
        extract.run(settings)
    assert not (tmp_path / "a").exists()
    extract.run(dataclasses.replace(settings, max_bad_fraction=0.4))
    assert feature_folder.open_folder(tmp_path / "a").video_ids == ("clip0", "clip1")
    with pytest.raises(ValueError, match="Received: segments=3 of 2 s"):
        extract.run(dataclasses.replace(settings, segment_s=2.0))


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ({"audio_encoder": "{}/none"}, FileNotFoundError, "Received: audio_encoder='.*none', whic"),
        ({"visual_encoder": "vgg91"}, FileNotFoundError, "keras.appl.* visual_encoder='vgg91', w"),
        ({"visual_encoder": "vgg19"}, ValueError, "never downloaded. Received: visual_encoder='vg"),
        ({"visual_weights": "w.h5"}, ValueError, "only with one.* Received: .* visual_weights='w"),
        ({"visual_encoder": "vgg19", "visual_weights": "w.h5"}, FileNotFoundError, "Received: vis"),
        ({"audio_encoder": "{}/notes.txt"}, ValueError, "a .keras file. Received: .*notes.txt"),
        ({"audio_encoder": "{}/broken.keras"}, ValueError, "Keras can load. Received: .*broken"),
        ({"audio_encoder": "{}/flat.keras"}, ValueError, r"\(None, 5, 5, 1\), audio of shape \(33"),
        ({"visual_encoder": "{}/flat.keras"}, ValueError, r"\(None, 5, 5, 1\), visual of shape"),
        ({"visual_encoder": "{}/vector.keras"}, ValueError, "must give a map, or pool.* vector"),
        ({"audio_encoder": "{}"}, FileNotFoundError, "must hold config.json"),
    ],
)
def test_encoders_that_cannot_be_had(data, tmp_path, values, error, message):
    (tmp_path / "notes.txt").touch()
    (tmp_path / "broken.keras").write_bytes(b"no model")
    keras.Sequential([keras.layers.Flatten(input_shape=(5, 5, 1))]).save(tmp_path / "flat.keras")
    vector = keras.Sequential([keras.layers.Flatten(input_shape=(12, 16, 3))], name="vector")
    vector.save(tmp_path / "vector.keras")
    values = {name: value.format(tmp_path) for name, value in values.items()}
    with pytest.raises(error, match=message):
        extract.run(_settings(data, tmp_path / "a", **values))
    assert not (tmp_path / "a").exists()


def test_sound_must_have_the_rate_that_the_encoder_knows(data, tmp_path):
    fast = dataclasses.replace(SETTINGS.audio, sample_rate_hz=16_000)
    records = _records(
        tmp_path / "records", dataclasses.replace(SETTINGS, audio=fast), train=_clips(0, 1)
    )
    with pytest.raises(ValueError, match="--sample_rate_hz=8000. Received: .* of 16000 Hz"):
        extract.run(_settings(data, tmp_path / "a", records_dir=str(records), segments=1))


def test_settings_are_of_records_or_of_a_built_in_dataset():
    with pytest.raises(ValueError, match="Received: no --records_dir, --visual_encoder"):
        ExtractSettings("a", audio_encoder="b")
    with pytest.raises(ValueError, match="Received: dataset='synthetic_sequences', audio_encoder"):
        ExtractSettings("a", dataset="synthetic_sequences", audio_encoder="b")


def test_built_in_sequences(tmp_path, monkeypatch):
    small = synthetic_features.SequenceSettings(
        num_classes=2, train_videos=4, validation_videos=2, test_videos=3, background_videos=1,
        num_segments=3, event_segments=(1, 2), num_distractors=1,
    )  # fmt: skip
    monkeypatch.setattr(
        synthetic_features,
        "SequenceSettings",
        lambda **values: dataclasses.replace(small, **values),
    )
    extract.run(ExtractSettings(str(tmp_path / "a"), dataset="synthetic_sequences", dataset_seed=3))
    found = feature_folder.open_folder(tmp_path / "a")
    expected = synthetic_features.make(dataclasses.replace(small, seed=3))
    assert found.video_ids == expected.video_ids and found.class_names == expected.class_names
    np.testing.assert_array_equal(found.labels, expected.labels)
    for name, array in expected.arrays.items():
        np.testing.assert_array_equal(found.arrays[name][4], array[4])
    assert feature_folder.read_about(tmp_path / "a").settings["seed"] == 3


def test_segments_of_built_in_videos_are_labelled_as_they_are_drawn(tmp_path):
    videos = event_videos.EventVideoSettings(
        num_classes=3, train_clips=6, validation_clips=3, test_clips=3, background_clips=1,
        num_segments=4, segment_s=0.25, event_segments=(1, 3), num_silent=1, frame_size=32,
        signal_to_noise_db=60.0, clutter=0.0,
    )  # fmt: skip
    manifest = synthetic.write_dataset(tmp_path / "data", videos, num_workers=1, progress=False)
    window = {"window_s": 0.25, "fft_length": 256, "hop_length": 256, "num_frames": 1}
    frames = {"frame_height": 16, "frame_width": 16, "frames_per_second": 8.0}
    prepare.run(
        prepare.PrepareSettings(
            str(tmp_path / "records"), manifest=str(manifest), num_workers=0, **window, **frames
        )
    )
    keras.Sequential([keras.layers.Reshape((129 * 16, 1, 1), input_shape=(129, 16, 1))]).save(
        tmp_path / "sound.keras"
    )
    keras.Sequential([keras.layers.AveragePooling2D(8, input_shape=(16, 16, 3))]).save(
        tmp_path / "pictures.keras"
    )
    extract.run(
        ExtractSettings(
            str(tmp_path / "features"), records_dir=str(tmp_path / "records"), segments=4,
            audio_encoder=str(tmp_path / "sound.keras"),
            visual_encoder=str(tmp_path / "pictures.keras"), background_clips=True,
        )
    )  # fmt: skip
    features = feature_folder.open_folder(tmp_path / "features")
    names = (*features.class_names, "background")
    assert len(features.video_ids) == 13 and features.shapes["visual"] == (4, 2, 2, 3)
    for row, video_id in enumerate(features.video_ids):
        split, index = video_id.split("-")
        plan = event_videos.draw_plan(videos, split, int(index))
        events = [] if plan.event is None else [plan.event]
        expected = [plan.label if held else "background" for held in _lie_in(*events)]
        assert [names[label] for label in features.labels[row]] == expected
        # Sound and picture of every segment are its own: the loudest of its spectrogram, and in how
        # many quarters of the frame there is something brighter than the ground.
        loudest = features.arrays["audio"][row][:, 1]
        heard = _lie_in(*(stretch for own in plan.heard.values() for stretch in own))
        if not heard.all():
            assert loudest[heard].min() > loudest[~heard].max() + 1
        maps = features.arrays["visual"][row].reshape(4, 4, 3)
        places = (maps - maps.min(axis=1, keepdims=True)).max(axis=-1) > 0.05
        seen = np.sum([_lie_in(own) for own in plan.seen.values()], axis=0)
        assert places.sum(axis=1).tolist() == seen.tolist()


def _lie_in(*stretches):
    """Which of four segments lie in one of these, each its first and the one after its last."""
    own = [[start <= n < end for n in range(4)] for start, end in stretches]
    return np.any(np.reshape(own, [-1, 4]), axis=0)
