import keras
import numpy as np
import pytest

from ogm_tf.localization import metrics


def test_segments_count_alike_background_among_them():
    # Two videos of three segments, three classes of which 2 is background.
    labels = np.array([[0, 0, 2], [2, 2, 2]])
    # Right: 2 of 3 (background at the end is missed), and 1 of 3.
    predicted = np.eye(3)[[[0, 0, 1], [1, 2, 0]]]
    metric = metrics.SegmentAccuracy()
    metric.update_state(labels, predicted)
    assert float(metric.result()) == pytest.approx(3 / 6)
    # A batch of one video more weighs by its segments.
    metric.update_state(labels[:1], np.eye(3)[labels[:1]])
    assert float(metric.result()) == pytest.approx(6 / 9)


def test_weights_of_videos_and_segments_and_one_hot_labels():
    labels = np.array([[0, 1], [1, 2]])
    predicted = np.eye(3)[[[0, 0], [1, 2]]]
    for weight, expected in (([1.0, 0.0], 1 / 2), ([[0.0, 0.0], [1.0, 0.0]], 1.0), (None, 3 / 4)):
        for given in (labels, np.eye(3)[labels]):
            metric = metrics.SegmentAccuracy()
            metric.update_state(given, predicted, weight)
            assert float(metric.result()) == pytest.approx(expected)


def test_it_leaves_padding_out_in_keras_and_survives_saving():
    model = keras.Sequential([keras.layers.Input((2, 3)), keras.layers.Activation("linear")])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(loss=loss, weighted_metrics=[metrics.SegmentAccuracy()])
    labels = np.array([[0, 1], [1, 2], [0, 0]])
    outputs = np.eye(3)[[[0, 0], [1, 2], [1, 1]]]
    results = model.evaluate(
        outputs, labels, sample_weight=np.array([1.0, 1, 0]), verbose=0, return_dict=True
    )
    assert results["segment_accuracy"] == pytest.approx(3 / 4)
    config = keras.saving.serialize_keras_object(metrics.SegmentAccuracy(name="right"))
    assert keras.saving.deserialize_keras_object(config).name == "right"


def test_predictions_of_videos_are_refused():
    with pytest.raises(ValueError, match=r"\[B, T, C\]. Received: .* \(4, 3\)"):
        metrics.SegmentAccuracy().update_state(np.zeros(4, int), np.zeros((4, 3)))


def test_naming_the_event_everywhere_is_right_where_there_is_one():
    labels = np.array([[5, 1, 1, 1, 5], [5, 5, 5, 5, 5], [0, 0, 0, 0, 0]])
    assert metrics.all_event_accuracy(labels, 5) == pytest.approx(8 / 15)
    with pytest.raises(ValueError, match=r"Received: shape \(0, 10\)"):
        metrics.all_event_accuracy(np.zeros((0, 10)), 5)
