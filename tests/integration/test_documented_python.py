"""The Python of README and docs runs, with what a page takes for granted."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import ogm_tf
from examples.serving import client
from tests import documentation
from tests.integration import rest_server
from tests.ogm_tf.serving import tiny_network

BLOCKS = documentation.of_language("python", is_long=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where a user works who has done what the pages say."""
    path = tmp_path_factory.mktemp("user")
    network = tiny_network.model()
    for name in ("mine", "sound"):
        (path / "models" / name).mkdir(parents=True)
    tiny_network.export(path / "models" / "mine" / "1", network, tflite=True)
    ogm_tf.serving.export_encoder(
        network.encoders["audio"], path / "models" / "sound" / "1", tiny_network.FRONT_ENDS["audio"]
    )
    (path / "runs" / "mine").mkdir(parents=True)
    confidence = np.linspace(0, 1, 12, dtype=np.float32).reshape(2, 2, 3)
    ids = np.array(["dog_003", "dog_007"])
    np.savez(path / "runs" / "mine" / "confidence.npz", clip_ids=ids, confidence=confidence)
    return path


@pytest.fixture(scope="module")
def url(folder):
    signatures = tf.saved_model.load(str(folder / "models" / "mine" / "1")).signatures
    with rest_server.of_model(signatures) as url:
        yield url


def network():
    """A compiled network, and what it is trained on."""
    encoders = {
        name: keras.Sequential([keras.Input([4]), keras.layers.Dense(5)], name=name)
        for name in ("audio", "visual")
    }
    model = ogm_tf.OGMModel(encoders, ogm_tf.fusion.Sum(3), ogm_tf.OGMGE(alpha=0.5))
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    random = np.random.default_rng(0)
    inputs = {name: random.normal(size=(8, 4)).astype(np.float32) for name in encoders}
    model(inputs)
    return model, inputs, np.arange(8) % 3


def of_training():
    model, inputs, labels = network()
    training = tf.data.Dataset.from_tensor_slices((inputs, labels)).batch(4)
    return {
        "model": model, "inputs": inputs, "labels": labels, "training": training,
        "class_names": ["a", "b", "c"],
    }  # fmt: skip


def of_serving(url):
    raw = tiny_network.raw(1)
    sound = (raw["waveform"][0] * 32767).astype(np.int16)
    return {
        **raw, "samples": raw["waveform"][0],
        "wav": tiny_network.wav(sound), "other_wav": tiny_network.wav(-sound),
        "jpeg": tiny_network.jpeg(raw["frames"][0, 0]),
        # The page's server is one of a user's own.
        "Client": lambda model, _: client.Client(model, url),
    }  # fmt: skip


def of_lite(_):
    features = tiny_network.features(tiny_network.raw(1))
    return {"spectrogram": features["audio"].numpy(), "frames": features["visual"].numpy()}


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_python_runs(block, folder, request, monkeypatch):
    given = {"tf": tf, "ogm_tf": ogm_tf}
    if block.page == "docs/analysis.md":
        given |= of_training()
    elif "Interpreter" in block.text or "saved_model" in block.text or "Client" in block.text:
        taken = of_lite if "Interpreter" in block.text else of_serving
        given |= taken(request.getfixturevalue("url"))
    monkeypatch.chdir(folder)
    exec(compile(block.text, str(block), "exec"), {"__name__": "__main__"} | given)
