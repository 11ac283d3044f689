"""The layers of the networks, against independent NumPy versions."""

import numpy as np
import pytest

from ogm_tf.localization.attention import AudioGuidedAttention
from ogm_tf.localization.heads import ResidualHead, SplitHead
from ogm_tf.localization.parts import bidirectional_lstm
from ogm_tf.localization.propagation import PositiveSamplePropagation
from tests.ogm_tf.localization.small_networks import numbers, weights_of


def relu(x):
    return np.maximum(x, 0)


def test_attention_equals_numpy():
    audio, visual = numbers(2, 4, 3), numbers(2, 4, 2, 3, 6, seed=1)
    layer = AudioGuidedAttention(7, name="attention")
    contexts = layer([audio, visual])
    w = weights_of(layer)
    for video in range(2):
        for t in range(4):
            places = visual[video, t].reshape(6, 6)
            seen = relu(places @ w["affine_video/kernel"] + w["affine_video/bias"])
            heard = relu(audio[video, t] @ w["affine_audio/kernel"] + w["affine_audio/bias"])
            energy = seen @ w["affine_v/kernel"]
            of_place = heard @ w["affine_g/kernel"]
            score = [
                np.tanh(energy[i] + of_place[i]) @ w["affine_h/kernel"][:, 0] for i in range(6)
            ]
            alpha = np.exp(score) / np.sum(np.exp(score))
            np.testing.assert_allclose(contexts[video, t], alpha @ places, atol=1e-5)
            shown = layer.attention_map([audio, visual])[video, t]
            np.testing.assert_allclose(shown, alpha.reshape(2, 3), atol=1e-6)


def test_lstm_is_drawn_as_pytorch_draws_it():
    lstm = bidirectional_lstm(4, 3, 16, "lstm")
    values = np.concatenate([np.ravel(w) for w in lstm.get_weights()])
    assert 0.24 < np.abs(values).max() <= 0.25
    assert not np.array_equal(*(lstm.get_weights()[i] for i in (0, 3)))
    # The second direction reads from the end.
    x = numbers(1, 4, 3)
    weights = lstm.get_weights()
    forward, backward = np.split(lstm(x).numpy(), 2, axis=-1)
    lstm.set_weights(weights[3:] + weights[:3])
    swapped = lstm(x[:, ::-1]).numpy()[:, ::-1]
    np.testing.assert_allclose(np.split(swapped, 2, axis=-1), [backward, forward], atol=1e-6)


def test_split_head_equals_numpy():
    audio, visual = numbers(2, 4, 3), numbers(2, 4, 5, seed=1)
    head = SplitHead(6, 7, "concat", name="head")
    logits, (own, _) = head([audio, visual])
    w = weights_of(head)
    hidden = relu(np.concatenate([audio, visual], axis=-1)) @ w["hidden/kernel"] + w["hidden/bias"]
    np.testing.assert_allclose(
        logits, relu(hidden) @ w["output/kernel"] + w["output/bias"], atol=1e-5
    )
    share = relu(audio) @ w["hidden/kernel"][:3] + w["hidden/bias"] / 2
    expected = ((hidden > 0) * share) @ w["output/kernel"] + w["output/bias"] / 2
    np.testing.assert_allclose(own, expected, atol=1e-5)


def test_split_head_of_a_mean_equals_numpy():
    audio, visual = numbers(2, 4, 3), numbers(2, 4, 3, seed=1)
    head = SplitHead(6, 7, "mean", use_bias=False, name="head")
    logits, (_, own) = head([audio, visual])
    w = weights_of(head)
    hidden = (audio + visual) / 2 @ w["hidden/kernel"]
    np.testing.assert_allclose(logits, relu(hidden) @ w["output/kernel"], atol=1e-6)
    expected = ((hidden > 0) * (visual / 2 @ w["hidden/kernel"])) @ w["output/kernel"]
    np.testing.assert_allclose(own, expected, atol=1e-6)
    zero = head([audio, visual], score_mode="zero")[1][1]
    np.testing.assert_allclose(
        zero, relu(visual / 2 @ w["hidden/kernel"]) @ w["output/kernel"], atol=1e-6
    )
    with pytest.raises(ValueError, match="one of concat, mean. Received: combine='sum'"):
        SplitHead(6, 7, "sum")


def test_residual_head_equals_numpy():
    audio, visual = numbers(2, 4, 3), numbers(2, 4, 3, seed=1)
    head = ResidualHead(6, name="head")
    logits, _ = head([audio, visual])
    w = weights_of(head)

    def update(x, name):
        x = np.tanh(x @ w[f"{name}_1/kernel"] + w[f"{name}_1/bias"])
        return x @ w[f"{name}_2/kernel"] + w[f"{name}_2/bias"]

    merged = (update(visual, "visual") + update(audio, "audio")) / 2
    fused = (np.tanh(audio + merged) + np.tanh(visual + merged)) / 2
    np.testing.assert_allclose(logits, fused @ w["output/kernel"] + w["output/bias"], atol=1e-5)


def normalised(rows):
    return rows / (rows.sum(axis=-1, keepdims=True) + 1e-8)


@pytest.mark.parametrize("weak", [False, True])
def test_propagation_equals_numpy(weak):
    features = numbers(2, 5, 8), numbers(2, 5, 8, seed=1)
    layer = PositiveSamplePropagation(0.2, weakly_supervised=weak, name="propagation")
    outputs = layer(list(features))
    w = weights_of(layer)
    for video in range(2):
        a, v = (feature[video] for feature in features)

        def mapped(x, name):
            return relu(x @ w[f"{name}/kernel"])

        beta = relu(mapped(v, "v_L2") @ mapped(a, "a_L1").T / np.sqrt(8))
        gammas = []
        for rows in (beta, beta.T):
            rows = normalised(rows)
            rows[rows <= 0.2] = 0
            gammas.append(rows if weak else normalised(rows))
        new_v = v + gammas[0] @ mapped(a, "a_L2")
        new_a = a + gammas[1] @ mapped(v, "v_L1")
        if not weak:
            new_v, new_a = mapped(new_v, "v_fc"), mapped(new_a, "a_fc")
        for new, output in ((new_a, outputs[0]), (new_v, outputs[1])):
            centred = new - new.mean(axis=-1, keepdims=True)
            expected = centred / np.sqrt(new.var(axis=-1, keepdims=True) + 1e-6)
            np.testing.assert_allclose(output[video], expected, atol=2e-4)


def test_rows_of_connections_sum_to_one_or_none():
    features = [numbers(20, 10, 8), numbers(20, 10, 8, seed=1)]
    layer = PositiveSamplePropagation(0.3, name="propagation")
    layer(features)
    for connections in layer.connections(features):
        sums = np.sum(connections, axis=-1)
        is_one = np.isclose(sums, 1, atol=1e-5)
        assert np.all(is_one | (sums == 0))
        assert is_one.any() and not is_one.all()


def test_a_threshold_above_one_cuts_every_connection():
    features = [numbers(2, 5, 8), numbers(2, 5, 8, seed=1)]
    layer = PositiveSamplePropagation(1.01, weakly_supervised=True, name="propagation")
    for output, feature in zip(layer(features), features, strict=True):
        np.testing.assert_allclose(output, layer.norm(feature), atol=1e-6)


def test_propagation_drops_in_training_only():
    features = [numbers(2, 5, 8), numbers(2, 5, 8, seed=1)]
    layer = PositiveSamplePropagation(0.1, dropout_rate=0.5, name="propagation")
    np.testing.assert_array_equal(layer(features)[0], layer(features)[0])
    assert not np.allclose(layer(features, training=True)[0], layer(features)[0])
    with pytest.raises(ValueError, match="Received: widths 3 and 4"):
        PositiveSamplePropagation(0.1).build([[None, 5, 3], [None, 5, 4]])
