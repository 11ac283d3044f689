"""The SavedModel of an encoder against the encoder, and alone in another process."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import ogm_tf
from input_pipelines import audio
from input_pipelines.settings import AudioSettings, ClipSettings
from ogm_tf.representation import avca, avsa, l3_net
from ogm_tf.representation.pooling import embedding_model


def noise(batch=3, samples=500):
    """Returns waveforms, `[batch, samples]`."""
    random = np.random.default_rng(0)
    return random.uniform(-1, 1, (batch, samples)).astype(np.float32)


def wave_clip(**audio_values):
    values = {"sample_rate_hz": 1000, "fft_length": 64, "hop_length": 32}
    return ClipSettings(window_s=0.5, audio=AudioSettings(**values | audio_values))


def audio_encoder(name, clip):
    keras.utils.set_random_seed(5)
    shape = clip.shapes["audio"]
    if name == "l3net":
        network = l3_net.build("small", audio_shape=shape, channels=(4, 6))
    elif name == "avsa":
        frames = (2, 32, 32, 3)
        network = avsa.build("small", audio_shape=shape, visual_shape=frames, width=2)
    elif name == "avca":
        frames = (4, 32, 32, 3)
        network = avca.build("small", audio_shape=shape, visual_shape=frames, width=2)
    else:
        return ogm_tf.encoders.small_cnn(shape, name="audio", channels=(4, 8))
    encoder = network.encoders["audio"]
    # As after training, when no normalisation has its initial statistics.
    for _ in range(20):
        encoder(audio.front_end(clip)(noise()), training=True)
    return encoder


@pytest.mark.parametrize(
    ("name", "clip", "width"),
    [
        ("l3net", wave_clip(features="log_mel", mel_bins=16), 12),
        ("avsa", wave_clip(features="waveform"), 16),
        ("avca", wave_clip(features="log_mel", mel_bins=16, time_steps=16), 32),
        ("small_cnn", wave_clip(short_clips="fill", time_steps=12, normalization="clip"), 8),
    ],
)
def test_embeddings_equal_the_encoder(tmp_path, name, clip, width):
    encoder, front_end = audio_encoder(name, clip), audio.front_end(clip)
    about = ogm_tf.serving.export_encoder(encoder, tmp_path / "1", front_end, {"rate": 1000})
    assert about == {"rate": 1000, "embedding_width": width}
    assert json.loads((tmp_path / "1" / ogm_tf.serving.EMBEDDING_FILE).read_text()) == about
    embed = tf.saved_model.load(str(tmp_path / "1")).signatures["serving_default"]
    whole = noise(samples=500)
    for waveform in (whole, noise(1, 777), noise(7, 120)):
        answer = embed(waveform=tf.constant(waveform))
        assert list(answer) == ["embedding"] and answer["embedding"].dtype == tf.float32
        assert answer["embedding"].shape == (len(waveform), width)
        inputs = front_end(tf.constant(waveform))
        expected = embedding_model(encoder)(inputs, training=False)
        np.testing.assert_allclose(answer["embedding"], expected, rtol=1e-5, atol=1e-5)
    assert np.std(expected, axis=0).max() > 1e-3
    # Sound after the window does not count.
    longer = np.concatenate([whole, np.ones([3, 200], np.float32)], axis=1)
    np.testing.assert_allclose(
        embed(waveform=tf.constant(longer))["embedding"],
        embed(waveform=tf.constant(whole))["embedding"],
        rtol=1e-5, atol=1e-5,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["l3net", "avsa"])
def test_embeddings_of_a_mixed_precision_encoder_are_float32(tmp_path, name):
    clip = wave_clip(features="waveform" if name == "avsa" else "spectrogram")
    expected = audio_encoder(name, clip)
    keras.mixed_precision.set_global_policy("mixed_float16")
    encoder = audio_encoder(name, clip)
    encoder.set_weights(expected.get_weights())
    ogm_tf.serving.export_encoder(encoder, tmp_path / "1", audio.front_end(clip))
    keras.mixed_precision.set_global_policy("float32")
    embed = tf.saved_model.load(str(tmp_path / "1")).signatures["serving_default"]
    waveform = tf.constant(noise())
    inputs = audio.front_end(clip)(waveform)
    answer = embed(waveform=waveform)["embedding"]
    assert answer.dtype == tf.float32
    wanted = embedding_model(expected)(inputs, training=False)
    np.testing.assert_allclose(answer, wanted, rtol=1e-5, atol=1e-5)
    reduced = tf.cast(embedding_model(encoder)(inputs, training=False), tf.float32)
    assert np.abs(reduced - wanted).max() > 1e-4


def test_embeddings_where_only_tensorflow_is_imported(tmp_path):
    front_ends = ("log_mel", "kaldi_fbank", "psd", "waveform")
    for features in front_ends:
        clip = wave_clip(features=features, mel_bins=8)
        encoder = audio_encoder("avsa" if features == "waveform" else "small_cnn", clip)
        ogm_tf.serving.export_encoder(encoder, tmp_path / features, audio.front_end(clip))
    program = f"""
import sys
import tensorflow as tf
for features in {front_ends!r}:
    embed = tf.saved_model.load(features).signatures["serving_default"]
    answer = embed(waveform=tf.zeros([2, 700]))["embedding"]
    print(features, answer.shape[1], bool(tf.reduce_all(tf.math.is_finite(answer))))
assert not any(name.split(".")[0] in ("ogm_tf", "tensorflow_io") for name in sys.modules)
"""
    output = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout
    assert output.splitlines()[-4:] == [
        "log_mel 8 True", "kaldi_fbank 8 True", "psd 8 True", "waveform 16 True",
    ]  # fmt: skip


def test_bad_exports_of_encoders_leave_nothing(tmp_path):
    clip, path = wave_clip(), tmp_path / "1"
    encoder, front_end = audio_encoder("small_cnn", clip), audio.front_end(clip)
    with pytest.raises(ValueError, match="weights.* Received: the unbuilt encoder"):
        ogm_tf.serving.export_encoder(keras.Sequential(name="empty"), path, front_end)
    with pytest.raises(ValueError, match="incompatible with the layer"):
        ogm_tf.serving.export_encoder(
            encoder, path, audio.front_end(wave_clip(features="waveform"))
        )
    with pytest.raises(TypeError, match="JSON serializable"):
        ogm_tf.serving.export_encoder(encoder, path, front_end, {"clip": clip})
    assert list(tmp_path.iterdir()) == []
    path.mkdir()
    with pytest.raises(FileExistsError, match="Received"):
        ogm_tf.serving.export_encoder(encoder, path, front_end)
