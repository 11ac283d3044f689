"""What of a run becomes a SavedModel: its network, or its audio encoder."""

import contextlib
import dataclasses
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import ogm_tf
from input_pipelines import audio
from launchers.export import ExportSettings, run
from launchers.runs import RunFolder
from ogm_tf.representation import l3_net
from ogm_tf.representation.pooling import embedding_model
from ogm_tf.serving import CLASS_NAMES_FILE, EMBEDDING_FILE, TFLITE_FILE
from tests.input_pipelines import handmade_records
from tests.input_pipelines.handmade_records import SETTINGS


def _records(folder, settings):
    clips = [handmade_records.random_clip(number) for number in range(3)]
    if "flow" in settings.modalities:
        clips = [dataclasses.replace(clip, flow=clip.visual) for clip in clips]
    if "audio" not in settings.modalities:
        clips = [dataclasses.replace(clip, waveform=None, duration_s=0.5) for clip in clips]
    return handmade_records.write(folder / "records", {"train": clips}, settings)


def _run_folder(folder, settings, network, **config):
    """A run that has learned nothing."""
    network({name: tf.zeros([1, *shape]) for name, shape in settings.shapes.items()})
    made = RunFolder(folder / "run")
    with made.locked():
        made.keep_config({"records_dir": str(_records(folder, settings)), **config})
        made.save_best(network)
        made.write_state({"epoch": 1, "best_epoch": 0, "best_score": 0.5})
    return made.path


def _pair_run(folder):
    keras.utils.set_random_seed(7)
    one_frame = dataclasses.replace(SETTINGS.video, num_frames=1)
    settings = dataclasses.replace(SETTINGS, video=one_frame)
    shapes = settings.shapes
    network = l3_net.build(
        "small", audio_shape=shapes["audio"], visual_shape=shapes["visual"], channels=(4, 6)
    )
    model = ogm_tf.representation.PairModel(network.encoders, network.fusion)
    return _run_folder(folder, settings, model, model="l3net", size="small")


def _train_run(folder, settings=SETTINGS):
    keras.utils.set_random_seed(7)
    encoders = {
        name: ogm_tf.encoders.small_cnn(shape, name=name, channels=(4, 8))
        for name, shape in settings.shapes.items()
    }
    model = ogm_tf.OGMModel(encoders, ogm_tf.fusion.Concat(num_classes=3))
    return _run_folder(folder, settings, model)


def _check_embeddings(run_dir, output_dir, settings, width):
    """Checks the SavedModel against the run's encoder, and returns what it says of itself."""
    saved = tf.saved_model.load(str(output_dir)).signatures["serving_default"]
    waveform = np.random.default_rng(3).uniform(-1, 1, [5, 4000]).astype(np.float32)
    answer = saved(waveform=tf.constant(waveform))["embedding"]
    assert answer.shape == (5, width) and answer.dtype == tf.float32
    encoder = embedding_model(RunFolder(run_dir).load_best().encoders["audio"])
    expected = encoder(audio.front_end(settings)(waveform), training=False)
    np.testing.assert_allclose(answer, expected, rtol=1e-5, atol=1e-5)
    assert np.std(expected, axis=0).max() > 1e-3
    return json.loads((output_dir / EMBEDDING_FILE).read_text())


def test_a_run_of_pairs_gives_its_audio_encoder(tmp_path):
    run_dir, output_dir = _pair_run(tmp_path), tmp_path / "models" / "1"
    run(ExportSettings(str(run_dir), str(output_dir)))
    about = _check_embeddings(run_dir, output_dir, SETTINGS, 2 * 6)
    assert about == {
        "waveform": "float32 [B, samples], mono, in [-1, 1]",
        "sample_rate_hz": 8000,
        "window_samples": 4000,
        "longer_waveforms": "are cut after the window",
        "shorter_waveforms": "are repeated up to the window",
        "features": "spectrogram",
        "embedding": "float32 [B, embedding_width]",
        "embedding_width": 12,
    }
    saved = tf.saved_model.load(str(output_dir)).signatures["serving_default"]
    long = np.random.default_rng(4).uniform(-1, 1, [2, 4000]).astype(np.float32)
    short = long[:, :1000]
    for given, meant in (
        (np.concatenate([long, long], axis=1), long),
        (short, np.tile(short, [1, 4])),
    ):
        np.testing.assert_allclose(
            saved(waveform=tf.constant(given))["embedding"],
            saved(waveform=tf.constant(meant))["embedding"],
            rtol=1e-5, atol=1e-5,
        )  # fmt: skip
    with pytest.raises(FileExistsError, match="Received: output_dir="):
        run(ExportSettings(str(run_dir), str(output_dir)))
    with pytest.raises(ValueError, match="--part=network alone. Received: part='audio_encoder'"):
        run(ExportSettings(str(run_dir), str(tmp_path / "lite"), tflite=True))


def test_of_a_run_of_classes_either_part(tmp_path):
    run_dir, output_dir = _train_run(tmp_path), tmp_path / "network"
    run(ExportSettings(str(run_dir), str(output_dir), tflite=True))
    signatures = tf.saved_model.load(str(output_dir)).signatures
    assert {"probabilities", "label"} <= signatures["serving_default"].structured_outputs.keys()
    assert (output_dir / CLASS_NAMES_FILE).read_text() == "a\nb\nc\n"
    assert (output_dir / TFLITE_FILE).stat().st_size > 1000
    assert not (output_dir / EMBEDDING_FILE).exists()
    frame = tf.io.encode_jpeg(tf.zeros([8, 8, 3], tf.uint8))
    refused = pytest.raises(tf.errors.InvalidArgumentError, match=r"8000 Hz.*sample_rate_hz=44100")
    for rate, outcome in (
        (SETTINGS.audio.sample_rate_hz, contextlib.nullcontext()),
        (44100, refused),
    ):
        wav = tf.audio.encode_wav(tf.zeros([100, 1]), rate)
        with outcome:
            signatures["encoded"](audio_wav=[wav], frames_jpeg=[[frame]])
    run(ExportSettings(str(run_dir), str(tmp_path / "encoder"), part="audio_encoder"))
    _check_embeddings(run_dir, tmp_path / "encoder", SETTINGS, 8)


def test_versions_are_counted(tmp_path):
    run_dir, models = _train_run(tmp_path), tmp_path / "models"
    settings = ExportSettings(str(run_dir), str(models), next_version=True, part="audio_encoder")
    run(settings)
    (models / "10").mkdir()
    (models / ".11.12.partial").mkdir()
    (models / "notes").mkdir()
    run(settings)
    assert {folder.parent.name for folder in models.rglob("saved_model.pb")} == {"1", "11"}
    inside = dataclasses.replace(settings, output_dir=str(models / "1"))
    with pytest.raises(FileExistsError, match="folder above.* Received: .*a SavedModel"):
        run(inside)


def test_a_run_of_sound_and_flow_gives_its_audio_encoder(tmp_path):
    filled = dataclasses.replace(SETTINGS.audio, short_clips="fill", time_steps=21)
    settings = dataclasses.replace(SETTINGS, modalities=("audio", "flow"), audio=filled)
    run_dir = _train_run(tmp_path, settings)
    with pytest.raises(ValueError, match="sound and pictures.* Received: modalities"):
        run(ExportSettings(str(run_dir), str(tmp_path / "1")))
    run(ExportSettings(str(run_dir), str(tmp_path / "1"), part="audio_encoder"))
    about = _check_embeddings(run_dir, tmp_path / "1", settings, 8)
    assert about["shorter_waveforms"] == "get zeros after their features"


def test_what_cannot_be_exported(tmp_path):
    pair_run = _pair_run(tmp_path / "pairs")
    with pytest.raises(ValueError, match="no classes.* Received: part='network'"):
        run(ExportSettings(str(pair_run), str(tmp_path / "1"), part="network"))
    with pytest.raises(ValueError, match="--part must be one of network, audio_encoder. Received"):
        ExportSettings(str(pair_run), str(tmp_path / "1"), part="head")
    with pytest.raises(FileNotFoundError, match="config.json"):
        run(ExportSettings(str(tmp_path), str(tmp_path / "1")))

    longer = dataclasses.replace(SETTINGS, window_s=0.7)
    _records(tmp_path / "pairs", longer)
    with pytest.raises(ValueError, match=r"shape \(33, 21, 1\). Received: .* \(33, 29, 1\)"):
        run(ExportSettings(str(pair_run), str(tmp_path / "1")))

    silent = dataclasses.replace(SETTINGS, modalities=("visual",))
    _records(tmp_path / "pairs", silent)
    with pytest.raises(ValueError, match="learned from sound.* Received: .*run, of visual"):
        run(ExportSettings(str(pair_run), str(tmp_path / "1")))
    assert not (tmp_path / "1").exists()
