import keras
import numpy as np
import pytest
import tensorflow as tf

from ogm_tf.localization import losses

PERFECT = 200 * np.eye(29, dtype=np.float32)


def test_soft_margin_lies_between_the_floor_of_a_perfect_and_a_uniform_prediction():
    loss = losses.SoftMargin()
    labels = np.arange(28, -1, -1)
    # Of a perfect one, (log(1 + e^-1) + 28 log 2) / 29; the labels as indices and as rows.
    perfect = (np.log1p(np.exp(-1)) + 28 * np.log(2)) / 29
    for given in (labels, labels[:, np.newaxis], np.eye(29)[labels]):
        np.testing.assert_allclose(loss(given, PERFECT[::-1]), perfect, rtol=1e-6)
    assert round(perfect, 4) == 0.6800
    assert round(float(loss(labels, np.zeros((29, 29)))), 4) == 0.7093
    # Wrong everywhere: log 2 but for the class it names, log(1 + e), and the true one, log 2.
    wrong = (28 * np.log(2) + np.log1p(np.e)) / 29
    np.testing.assert_allclose(loss(labels, PERFECT), (28 * wrong + perfect) / 29, rtol=1e-6)


def test_cross_entropies_of_a_softmax_by_hand():
    # Probabilities 1/2, 1/4, 1/4.
    logits = np.log([[[2.0, 1.0, 1.0]]])
    assert float(losses.CrossEntropy()([[0]], logits)) == pytest.approx(np.log(2))
    soft = [[[0.5, 0.0, 0.5]]]
    assert float(losses.CrossEntropy()(soft, logits)) == pytest.approx(1.5 * np.log(2))
    binary = -np.log(0.5) - 2 * np.log(0.75)
    assert float(losses.BinaryCrossEntropy()([[0]], logits)) == pytest.approx(binary / 3)
    binary = -np.log(0.5) - np.log(0.75) - 0.5 * (np.log(0.25) + np.log(0.75))
    assert float(losses.BinaryCrossEntropy()(soft, logits)) == pytest.approx(binary / 3)


@pytest.mark.parametrize("name", losses.LOSSES)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_losses_and_their_gradients_stay_finite_however_sure_the_logits_are(name, dtype):
    logits = tf.constant([[300.0, -300.0, 0.0], [0.0, 0.0, 0.0]], dtype)
    for labels in ([0, 0], [1, 1]):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            loss = losses.get(name)(labels, logits)
        gradient = tape.gradient(loss, logits)
        assert np.isfinite(loss.numpy()) and np.all(np.isfinite(gradient.numpy()))
    # Sure of the wrong class: 600 for what it should be, 300 for what it should not.
    expected = {"cross_entropy": 600, "binary_cross_entropy": 300, "soft_margin": None}[name]
    if expected and dtype == "float32":
        assert float(losses.get(name)([1], logits[:1])) == pytest.approx(expected)


def test_weights_of_videos_weigh_their_segments():
    logits = np.random.default_rng(0).normal(size=(2, 5, 4)).astype(np.float32)
    labels = np.array([[0, 1, 2, 3, 0], [3, 3, 3, 3, 3]])
    values = losses.SoftMargin(reduction="none")(labels, logits).numpy()
    assert values.shape == (2, 5)
    weighted = losses.SoftMargin()(labels, logits, sample_weight=[3.0, 0.0])
    np.testing.assert_allclose(weighted, 3 * values[0].sum() / 10, rtol=1e-6)


def test_losses_survive_saving_and_learn_in_keras():
    model = keras.Sequential([keras.layers.Input((5, 2)), keras.layers.Dense(3)])
    model.compile(keras.optimizers.Adam(0.1), losses.SoftMargin(name="squashed"))
    labels = np.random.default_rng(1).integers(0, 3, (16, 5))
    inputs = np.eye(3)[labels][..., :2] * 4
    history = model.fit(inputs, labels, epochs=30, batch_size=16, verbose=0).history["loss"]
    assert history[-1] < history[0] - 0.05
    config = keras.saving.serialize_keras_object(model.loss)
    assert config["registered_name"] == "ogm_tf>SoftMargin"
    restored = keras.saving.deserialize_keras_object(config)
    assert type(restored) is losses.SoftMargin and restored.name == "squashed"


def test_wrong_shapes_and_names_are_refused():
    with pytest.raises(ValueError, match=r"of shape \(2, 5\), or rows .* Received: .* \(2, 4\)"):
        losses.CrossEntropy()(np.zeros((2, 4), int), np.zeros((2, 5, 3)))
    with pytest.raises(ValueError, match="soft_margin, .* Received: loss='hinge'"):
        losses.get("hinge")


def test_weak_targets_by_hand():
    # Three segments of class 1 and two of background; none; all; two events, the later one longer.
    labels = np.array([[3, 1, 1, 1, 3], [3] * 5, [0] * 5, [0, 0, 2, 2, 2]], np.int32)
    shares = losses.weak_targets(labels, 4)
    assert shares.dtype == tf.float32
    expected = [[0, 0.6, 0, 0.4], [0, 0, 0, 1], [1, 0, 0, 0], [0.4, 0, 0.6, 0]]
    np.testing.assert_allclose(shares, expected, atol=1e-7)
    np.testing.assert_array_equal(losses.weak_targets(labels, 4, "tag"), np.eye(4)[[1, 3, 0, 2]])
    # Background is never the tag of a video with an event, be it ever so short.
    np.testing.assert_array_equal(losses.weak_targets([3, 3, 3, 3, 2], 4, "tag"), [0, 0, 1, 0])
    with pytest.raises(ValueError, match="proportions, tag. Received: target='prop'"):
        losses.weak_targets(labels, 4, "prop")
    with pytest.raises(ValueError, match="Received: num_classes=1"):
        losses.weak_targets(labels, 1)


def test_the_event_of_a_video_is_its_largest_target_beside_background():
    # Mostly background, two events, equal ones, none.
    shares = [[0, 0.3, 0, 0.7], [0.1, 0, 0.2, 0.7], [0.5, 0.5, 0, 0], [0, 0, 0, 1]]
    found = losses.event_targets(tf.constant(shares))
    np.testing.assert_array_equal(found, np.eye(4)[[1, 2, 0, 3]])


def test_pair_similarity_of_ramps_by_hand():
    ramp = [1.0, 2.0, 3.0, 4.0]
    # Shares 0.1 to 0.4 against 0 and 1/2; an all-background video's 1/4 everywhere.
    labels = np.array([[9, 9, 5, 5], [9, 9, 9, 9], [5, 5, 5, 5], [5, 9, 9, 9]])
    targets = losses.pair_similarity_targets(tf.constant(labels), 9)
    np.testing.assert_allclose(
        targets, [[0, 0, 0.5, 0.5], [0.25] * 4, [0.25] * 4, [1, 0, 0, 0]], atol=1e-7
    )
    values = losses.pair_similarity(labels, [ramp] * 4, 9)
    last = (0.9**2 + 0.2**2 + 0.3**2 + 0.4**2) / 4
    np.testing.assert_allclose(values, [0.025, 0.0125, 0.0125, last], rtol=1e-5)
    # What is below zero counts as zero, and the scale does not count.
    signed = losses.pair_similarity([[9, 9, 5, 5]], [[-1.0, -0.2, 0.3, 0.3]], 9)
    np.testing.assert_allclose(signed, [0], atol=1e-9)


def test_pair_similarity_of_every_batch_has_targets_of_its_own():
    compute = tf.function(losses.pair_similarity, autograph=False)
    similarity = tf.fill([1, 4], 0.5)
    # The second video's event begins where the first one's ended.
    first = compute(tf.constant([[0, 0, 2, 2]]), similarity, tf.constant(2))
    second = compute(tf.constant([[2, 2, 0, 0]]), similarity, tf.constant(2))
    np.testing.assert_allclose([first, second], [[0.0625], [0.0625]], rtol=1e-5)


def test_pair_similarity_without_any_similarity_has_a_gradient():
    similarity = tf.constant([[-0.5, 0.0, -0.1, -1.0]])
    with tf.GradientTape() as tape:
        tape.watch(similarity)
        value = losses.pair_similarity([[0, 0, 2, 2]], similarity, 2)
    np.testing.assert_allclose(value, [0.125], rtol=1e-6)
    assert np.all(np.isfinite(tape.gradient(value, similarity)))


@pytest.mark.parametrize("labels", [np.zeros((2, 3), np.int32), np.zeros((2, 4), np.float32)])
def test_pair_similarity_refuses_labels_of_no_segments(labels):
    with pytest.raises(ValueError, match=r"Received: labels of shape \(2, .*\(2, 4\)"):
        losses.pair_similarity(labels, np.zeros((2, 4), np.float32), 2)


def test_shares_of_the_replicas_sum_to_the_mean_of_the_global_batch(mirrored):
    np.testing.assert_allclose(losses.average_over_videos([1.0, 2.0, 6.0]), 3)
    np.testing.assert_allclose(losses.average_over_videos([1.0, 2.0], [[2.0], [0.0]]), 1)
    np.testing.assert_allclose(losses.average_over_videos([1.0, np.nan], counted=[1, 0]), 1)
    np.testing.assert_allclose(losses.average_over_videos([1.0, 9.0], counted=[0, 0]), 0)
    values = mirrored.experimental_distribute_values_from_function(
        lambda context: tf.constant([[1.0, 2.0], [3.0, 6.0]][context.replica_id_in_sync_group])
    )
    shares = mirrored.run(losses.average_over_videos, (values,))
    np.testing.assert_allclose(mirrored.reduce("sum", shares, axis=None), 3)
