"""What networks of events report in training and in evaluation."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from ogm_tf.localization import losses
from tests.ogm_tf.localization.small_networks import CLASSES, build, labels, videos


def padded(count, extra):
    """Inputs, labels and weights of which the last ones are padding."""
    inputs = {
        name: np.concatenate([value, 9 + value[:extra]]) for name, value in videos(count).items()
    }
    truth = np.concatenate([labels(count), labels(count)[:extra]])
    return inputs, truth, np.repeat([1, 0], [count, extra]).astype(np.float32)


def compiled(name, **arguments):
    model = build(name, **arguments)
    model.compile(
        keras.optimizers.SGD(0.0), losses.CrossEntropy(), metrics=["accuracy"],
        weighted_metrics=[], run_eagerly=True,
    )  # fmt: skip
    return model


def test_the_loss_of_pairs_is_reported_alike_everywhere(mirrored):
    """In fit, its validation and evaluate; of 5 videos, and padding, on one device and on two."""
    inputs, truth = videos(5), labels(5)
    for strategy in (tf.distribute.get_strategy(), mirrored):
        with strategy.scope():
            model = compiled("psp", pair_weight=10.0, dropout_rate=0.0)
        logits = model(inputs)
        pairs = 10 * np.mean(losses.pair_similarity(truth, logits._similarity, CLASSES - 1))
        expected = np.mean(losses.CrossEntropy()(truth, logits)) + pairs
        # The last batch of the padded videos has one that counts.
        data = tf.data.Dataset.from_tensor_slices(padded(5, 3)).batch(4)
        training = tf.data.Dataset.from_tensors((inputs, truth))
        if strategy is mirrored:
            # Replicas of training must have as many videos.
            training = tf.data.Dataset.from_tensors(
                (
                    {name: np.repeat(value, 2, 0) for name, value in inputs.items()},
                    truth.repeat(2, 0),
                )
            )
        history = model.fit(training, validation_data=data, verbose=0).history
        found = model.evaluate(data, verbose=0, return_dict=True)
        reported = [history["loss"][0], history["val_loss"][0], found["loss"]]
        assert reported == pytest.approx([expected] * 3, rel=1e-5)
        reported = [history["pair_loss"][0], history["val_pair_loss"][0], found["pair_loss"]]
        assert reported == pytest.approx([pairs] * 3, rel=1e-5)


@pytest.mark.parametrize("arguments", [{"pair_weight": 0.0}, {"weakly_supervised": True}])
def test_without_a_loss_of_pairs_none_is_reported(arguments):
    model = compiled("psp", **arguments)
    weak = arguments.get("weakly_supervised")
    truth = losses.weak_targets(labels(), CLASSES) if weak else labels()
    assert "pair_loss" not in model.evaluate(videos(), truth, verbose=0, return_dict=True)


@pytest.mark.parametrize(("name", "replicas"), [("agva", 1), ("psp", 1), ("agva", 2)])
def test_weak_networks_are_asked_for_segments(mirrored, name, replicas):
    strategy = mirrored if replicas == 2 else tf.distribute.get_strategy()
    with strategy.scope():
        model = compiled(name, weakly_supervised=True)
    inputs, truth, weights = padded(5, 3)
    targets = losses.weak_targets(truth, CLASSES)
    data = tf.data.Dataset.from_tensor_slices(
        (inputs, {"video": targets, "segments": truth}, weights)
    ).batch(4)
    for _ in range(2):
        # Counted anew every time.
        found = model.evaluate(data, verbose=0, return_dict=True)
    inputs, truth, targets = videos(5), truth[:5], targets[:5]
    logits, parts = model.segment_logits(inputs, unimodal=True)
    videos_said, videos_parts = model(inputs, unimodal=True)
    expected = {"loss": np.mean(losses.CrossEntropy()(targets, videos_said))}
    # The most frequent class beside background, 4, of four segments each.
    events = [np.bincount(own, minlength=5)[:4].argmax() for own in truth]
    assert np.any(np.argmax(targets, -1) != events) and (truth != 4).any(axis=1).all()
    for prefix, said, of_video in (
        ("", logits, videos_said),
        ("audio_", parts["audio"], videos_parts["audio"]),
        ("visual_", parts["visual"], videos_parts["visual"]),
    ):
        expected[f"{prefix}accuracy"] = np.mean(np.argmax(said, -1) == truth)
        is_right = np.argmax(of_video, -1) == events
        expected[f"video_{prefix}accuracy"] = np.mean(is_right)
    assert found == pytest.approx(expected, rel=1e-5)
    training = tf.data.Dataset.from_tensors((inputs, targets))
    if replicas == 2:
        training = tf.data.Dataset.from_tensor_slices((inputs, targets)).repeat(2).batch(2)
    history = model.fit(training, verbose=0).history
    assert history["accuracy"][0] == pytest.approx(expected["video_accuracy"])
    assert not any("segment" in name for name in history)


def test_evaluation_of_weak_networks_takes_one_pass_a_batch(monkeypatch):
    model = compiled("psp", weakly_supervised=True)
    passes = []
    once = model._segments
    monkeypatch.setattr(
        model, "_segments", lambda *given, **own: passes.append(1) or once(*given, **own)
    )
    targets = {"video": losses.weak_targets(labels(), CLASSES), "segments": labels()}
    model.evaluate(tf.data.Dataset.from_tensors((videos(), targets)), verbose=0)
    assert len(passes) == 1
