"""Networks of a few numbers, and random videos for them."""

import keras
import numpy as np

from ogm_tf.localization import agva, dmrn, psp

NETWORKS = {"agva": agva, "dmrn": dmrn, "psp": psp}
CLASSES = 5
STEPS = 4
SIZES = {
    "audio_shape": (STEPS, 3),
    "visual_shape": (STEPS, 2, 3, 6),
    "num_classes": CLASSES,
    "attention_units": 7,
    "lstm_units": 4,
}


def build(name, seed=0, **arguments):
    keras.utils.set_random_seed(seed)
    sizes = dict(SIZES)
    if name != "dmrn":
        sizes["head_units"] = 9
    if name == "psp":
        sizes.update(audio_units=(5, 6), visual_units=(6, 5), threshold=0.2)
    return NETWORKS[name].build("small", **{**sizes, **arguments})


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def videos(count=3, seed=0):
    return {
        name: numbers(count, *SIZES[f"{name}_shape"], seed=seed + index)
        for index, name in enumerate(("audio", "visual"))
    }


def labels(count=3, seed=0):
    return np.random.default_rng(seed).integers(0, CLASSES, [count, STEPS]).astype(np.int32)


def weights_of(layer):
    """The layer's weights by name without its own."""
    return {v.name.split(layer.name + "/", 1)[1][:-2]: v.numpy() for v in layer.weights}
