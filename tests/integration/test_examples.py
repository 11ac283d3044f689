"""The examples run, and do what they say."""

import importlib.util
import pathlib

import numpy as np

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "examples"


def load(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_own_network_is_balanced():
    example = load("own_network")
    history = example.main().history
    assert history["sound_coefficient"][-1] < 1, "the loud modality is damped"
    assert history["sound_ratio"][-1] > 1
    assert history["accuracy"][-1] > history["accuracy"][0]


def test_own_network_survives_a_file(tmp_path):
    example = load("own_network")
    network = example.CrossAttentionNetwork(3, width=4, modulation=example.ogm_tf.OGM(0.3))
    inputs, _ = example.make_data(4)
    expected = network(inputs)
    network.save(tmp_path / "network.keras")
    again = example.keras.models.load_model(tmp_path / "network.keras")
    np.testing.assert_array_equal(again(inputs), expected)
    assert (again.width, again.modulation.alpha) == (4, 0.3)


def test_own_network_modulates_its_encoders_kernels_only():
    example = load("own_network")
    inputs, labels = example.make_data(8)
    network = example.CrossAttentionNetwork(3, modulation=example.ogm_tf.OGMGE(alpha=0.0))
    network.compile("sgd", example.keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    plain = example.CrossAttentionNetwork(3)
    plain.compile("sgd", example.keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    for model in (network, plain):
        model(inputs)
    plain.set_weights(network.get_weights())
    for model in (network, plain):
        model.train_on_batch(inputs, labels)
    changed = {
        ours.name
        for ours, theirs in zip(network.weights, plain.weights, strict=True)
        if np.abs(ours.numpy() - theirs.numpy()).max() > 1e-7
    }
    # alpha = 0 damps nobody, so only the noise tells a modulated variable.
    assert {name.split("/")[-1] for name in changed} == {"kernel:0", "recurrent_kernel:0"}
    assert len(changed) == 4
