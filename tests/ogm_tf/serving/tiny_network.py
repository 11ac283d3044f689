"""A small network of sound and pictures, and requests to it in every form."""

import io
import wave

import keras
import numpy as np
import tensorflow as tf

import ogm_tf
from input_pipelines import audio, video
from input_pipelines.settings import AudioSettings, ClipSettings, VideoSettings

CLASS_NAMES = ["bell", "drum", "Stimme eines Menschen, für sich"]
SAMPLE_RATE_HZ = 1000
CLIP = ClipSettings(
    window_s=0.5,
    audio=AudioSettings(sample_rate_hz=SAMPLE_RATE_HZ, fft_length=64, hop_length=32),
    video=VideoSettings(num_frames=2, height=16, width=24),
)
FRONT_ENDS = {"audio": audio.front_end(CLIP), "visual": video.front_end(CLIP)}


def model():
    """Returns a network that has learned nothing."""
    keras.utils.set_random_seed(3)
    shapes = CLIP.shapes
    network = ogm_tf.OGMModel(
        {
            name: ogm_tf.encoders.small_cnn(shape, name=name, channels=(4, 4, 8, 8))
            for name, shape in shapes.items()
        },
        ogm_tf.fusion.Concat(3),
    )
    network({name: tf.zeros([1, *shape]) for name, shape in shapes.items()})
    return network


def raw(batch=3, samples=500, frames=2, height=16, width=24):
    """Returns `waveform` and `frames` of different loudness and brightness."""
    random = np.random.default_rng(0)
    loudness = np.geomspace(0.01, 1, batch)[:, None]
    waveform = loudness * random.uniform(-1, 1, (batch, samples))
    top = np.linspace(40, 256, batch)[:, None, None, None, None]
    pictures = random.uniform(0, top, (batch, frames, height, width, 3))
    return {"waveform": waveform.astype(np.float32), "frames": pictures.astype(np.uint8)}


def features(inputs):
    """Returns what the front ends make of `waveform` and `frames`."""
    return {
        "audio": FRONT_ENDS["audio"](tf.constant(inputs["waveform"])),
        "visual": FRONT_ENDS["visual"](tf.constant(inputs["frames"])),
    }


def wav(samples, sample_rate_hz=SAMPLE_RATE_HZ):
    """Returns the bytes of a WAV file of int16 `[samples]`, or `[samples, channels]`."""
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(sample_rate_hz)
        file.writeframes(samples.astype("<i2").tobytes())
    return content.getvalue()


def jpeg(frame):
    """Returns the bytes of a JPEG file of a picture, uint8 `[H, W, 3]`."""
    return tf.io.encode_jpeg(frame).numpy()


def export(path, network=None, **options):
    """Exports the network with all its signatures."""
    ogm_tf.serving.export(
        network or model(), path, FRONT_ENDS, CLASS_NAMES, SAMPLE_RATE_HZ, **options
    )


def ask(loaded, signature, **inputs):
    """Returns what a signature of a loaded SavedModel answers, as arrays."""
    answer = loaded.signatures[signature](**{n: tf.constant(v) for n, v in inputs.items()})
    return {name: value.numpy() for name, value in answer.items()}


def assert_names(answer, probabilities):
    """Checks that an answer has these probabilities, and names the likeliest class of each row."""
    np.testing.assert_allclose(answer["probabilities"], probabilities, rtol=0, atol=1e-5)
    assert [name.decode() for name in answer["label"]] == [
        CLASS_NAMES[index] for index in probabilities.argmax(-1)
    ]
