"""The three networks under the balance of pairs, against explicit gradients of each group."""

import keras
import numpy as np
import pytest

import ogm_tf
from ogm_tf.representation.pair_model import PairModel
from tests.ogm_tf.representation.pair_steps import (
    assert_a_step_equals_explicit_group_gradients,
    compile_model,
)
from tests.ogm_tf.representation.tiny_networks import NETWORKS, TINY

ALPHA = 0.6
# Tracing takes a minute where the fusion has many layers and each group goes back by itself. The
# graph is that of the tiny fusion with batch normalisation in test_pair_model.py.
TRACED = ["l3_net", *(pytest.param(name, marks=pytest.mark.slow) for name in ("avsa", "avca"))]


def real_network(name):
    """One of the three networks, and pairs for it."""
    keras.utils.set_random_seed(3)
    network = NETWORKS[name].build("small", **TINY[name], l2=1e-2)
    model = PairModel(network.encoders, network.fusion, ogm_tf.OGM(ALPHA))
    rng = np.random.default_rng(5)
    inputs = {
        key: rng.uniform(-1, 1, (8, *shape)).astype(np.float32)
        for key, shape in network.inputs.items()
    }
    model(inputs)
    # The answer "match" is ahead.
    last = network.fusion.logit if name == "avsa" else network.fusion.logits
    last.bias.assign([1.0] if name == "avsa" else [0.0, 1.0])
    return model, inputs, np.array([1, 0, 1, 1, 0, 1, 1, 0], np.int32)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_step_of_every_network_equals_two_explicit_group_gradients(name):
    """Through batch normalisation of encoders and fusion, beside the penalty on kernels."""
    # Keras' batch renormalisation lacks double precision.
    keras.mixed_precision.set_global_policy("float32" if name == "avsa" else "float64")
    try:
        model, *data = real_network(name)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    compile_model(model, run_eagerly=True)
    assert_a_step_equals_explicit_group_gradients(model, *data, ALPHA, tolerance=1e-6)


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("name", TRACED)
def test_a_step_in_a_graph_equals_two_explicit_group_gradients(name, scaled):
    model, *data = real_network(name)
    compile_model(model, scaled)
    assert_a_step_equals_explicit_group_gradients(model, *data, ALPHA)


@pytest.mark.parametrize("eager", [True, pytest.param(False, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", TRACED)
def test_every_network_outside_of_the_window_is_plain(name, eager):
    """To the bit, but where a graph of two passes through the fusion is optimised otherwise."""
    tolerance = 1e-6 if name == "avsa" and not eager else 0.0
    network, inputs, labels = real_network(name)
    start = network.get_weights()
    results = []
    for policy in (None, ogm_tf.OGM(0.0), ogm_tf.OGMGE(0.9, start_epoch=5)):
        network.set_weights(start)
        model = PairModel(network.encoders, network.fusion, policy)
        compile_model(model, run_eagerly=eager)
        for _ in range(2):
            model.train_on_batch(inputs, labels)
        results.append(network.get_weights())
    for plain, *others in zip(*results, strict=True):
        for ours in others:
            np.testing.assert_allclose(ours, plain, rtol=tolerance, atol=tolerance)
    assert not all(map(np.array_equal, start, results[0]))
