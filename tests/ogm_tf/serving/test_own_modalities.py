"""SavedModels of networks whose modalities are not sound and pictures."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import ogm_tf
from tests.ogm_tf.serving.tiny_network import CLASS_NAMES, SAMPLE_RATE_HZ, ask, assert_names


@pytest.mark.parametrize("fusion", [ogm_tf.fusion.FiLM, ogm_tf.fusion.Gated])
def test_fusions_that_multiply_answer_no_pair_of_clips(fusion, tmp_path):
    names = ("first", "second")
    encoders = {
        name: keras.Sequential([keras.Input([4]), keras.layers.Dense(5)], name=name)
        for name in names
    }
    network = ogm_tf.OGMModel(encoders, fusion(3))
    network({name: tf.ones([1, 4]) for name in names})

    def front_end(name):
        def halved(value):
            return value / 2

        halved.raw_input = tf.TensorSpec([None, 4], tf.float32, f"raw_{name}")
        return halved

    ogm_tf.serving.export(
        network, tmp_path / "1", {name: front_end(name) for name in names}, CLASS_NAMES
    )
    loaded = tf.saved_model.load(str(tmp_path / "1"))
    for signature, prefix in (("serving_default", "raw_"), ("features", "")):
        inputs = {f"{prefix}{name}": np.ones([3, 4], np.float32) for name in names}
        assert ask(loaded, signature, **inputs)["probabilities"].shape == (3, 3)
        inputs[f"{prefix}second"] = np.ones([1, 4], np.float32)
        with pytest.raises(
            tf.errors.InvalidArgumentError, match=r"\[3 1\] clips of first, second\."
        ):
            ask(loaded, signature, **inputs)


def test_other_modalities_have_the_signatures_that_make_sense_for_them(tmp_path):
    names = ("audio", "depth", "text")
    encoders = {
        name: keras.Sequential([keras.Input([4]), keras.layers.Dense(5)], name=name)
        for name in names
    }
    network = ogm_tf.OGMModel(encoders, ogm_tf.fusion.Sum(3))
    network({name: tf.ones([1, 4]) for name in names})

    # Its result has no known size.
    def front_end(waveform):
        return waveform[:, :4]

    def halved(depth_cm):
        return tf.cast(depth_cm, tf.float32) / 2

    def lengths(words):
        return tf.cast(tf.strings.length(words), tf.float32)

    halved.raw_input = tf.TensorSpec([None, 4], tf.int32, "depth_cm")
    lengths.raw_input = tf.TensorSpec([None, 4], tf.string, "words")
    ogm_tf.serving.export(
        network,
        tmp_path / "1",
        {"audio": front_end, "depth": halved, "text": lengths},
        CLASS_NAMES,
        SAMPLE_RATE_HZ,
    )
    loaded = tf.saved_model.load(str(tmp_path / "1"))
    assert set(loaded.signatures) == {
        "serving_default", "features", "raw_audio", "raw_depth", "raw_text",
    }  # fmt: skip
    waveform = np.array([[1, 2, 3, 4, 5]], np.float32)
    depth, words = np.array([[2, 4, 6, 8]], np.int32), [["a", "bb", "ccc", "dddd"]]
    answer = ask(loaded, "serving_default", waveform=waveform, depth_cm=depth, words=words)
    numbers = tf.constant([[1.0, 2, 3, 4]])
    inputs = dict.fromkeys(names, numbers)
    assert_names(answer, tf.nn.softmax(network(inputs)).numpy())
    answer = ask(loaded, "raw_text", words=words)
    assert_names(answer, tf.nn.softmax(network.unimodal_logits(inputs)["text"]).numpy())
