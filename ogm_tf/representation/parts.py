"""The layers that networks are assembled of: convolutions with batch normalisation and ReLU."""

import dataclasses
from typing import Any

import keras
import tensorflow as tf

_CONVOLUTIONS = {1: keras.layers.Conv1D, 2: keras.layers.Conv2D, 3: keras.layers.Conv3D}
_ZERO_PADDINGS = {2: keras.layers.ZeroPadding2D, 3: keras.layers.ZeroPadding3D}


@dataclasses.dataclass(frozen=True)
class Style:
    """How all convolutions and normalisations of one network are made.

    Args:
      momentum: Of batch normalisation's running averages, in [0, 1).
      epsilon: Of batch normalisation, > 0.
      has_gain: Whether batch normalisation multiplies by a learnt gain.
      fan: What the variance of kernels, 2 / fan, is made of: "fan_in", drawn from a normal cut off
        at two deviations, or "fan_out", drawn from a whole one.
      is_symmetric: Whether padding is the same on both sides, as PyTorch's, or by Keras' "same";
        for pictures and videos only.
      l2: Factor c of the penalty c * sum(w^2) on kernels, >= 0.
      synchronized: Whether batch normalisation takes its statistics over all replicas' rows.

    Raises:
      ValueError: where `momentum` or `l2` is out of its range.
    """

    momentum: float
    epsilon: float
    has_gain: bool = True
    fan: str = "fan_in"
    is_symmetric: bool = False
    l2: float = 0.0
    synchronized: bool = False

    def __post_init__(self):
        if not 0 <= self.momentum < 1:
            raise ValueError(
                "`batch_norm_momentum` must be in [0, 1). "
                f"Received: batch_norm_momentum={self.momentum!r}."
            )
        if not self.l2 >= 0:
            raise ValueError(f"`l2` must be >= 0. Received: l2={self.l2!r}.")

    def conv(
        self, x, filters: int, kernel_size: tuple, name: str, strides=1, use_bias: bool = False
    ):
        """Applies a convolution of as many dimensions as `kernel_size` has numbers."""
        rank = len(kernel_size)
        padding = "same"
        if self.is_symmetric:
            padding = "valid"
            margins = tuple(size // 2 for size in kernel_size)
            if any(margins):
                x = _ZERO_PADDINGS[rank](margins, name=f"{name}_pad")(x)
        distribution = "truncated_normal" if self.fan == "fan_in" else "untruncated_normal"
        return _CONVOLUTIONS[rank](
            filters,
            kernel_size,
            strides=strides,
            padding=padding,
            use_bias=use_bias,
            # One initialiser per layer: Keras draws the same values twice from one that is shared.
            kernel_initializer=keras.initializers.VarianceScaling(2.0, self.fan, distribution),
            kernel_regularizer=penalty(self.l2),
            name=f"{name}_conv",
        )(x)

    def batch_norm(self, x, name: str, renormalization: bool = False):
        """Applies batch normalisation, or batch renormalisation (Ioffe, arXiv 1702.03275)."""
        return keras.layers.BatchNormalization(
            momentum=self.momentum,
            epsilon=self.epsilon,
            scale=self.has_gain,
            synchronized=self.synchronized,
            name=f"{name}_bn",
            **({"renorm": True} if renormalization else {}),
        )(x)

    def conv_bn(self, x, filters: int, kernel_size: tuple, name: str, strides=1):
        """Applies a convolution without bias and batch normalisation."""
        return self.batch_norm(self.conv(x, filters, kernel_size, name, strides), name)

    def conv_bn_relu(self, x, filters: int, kernel_size: tuple, name: str, strides=1):
        """Applies a convolution without bias, batch normalisation and ReLU."""
        x = self.conv_bn(x, filters, kernel_size, name, strides)
        return keras.layers.ReLU(name=f"{name}_relu")(x)


def built(layer: keras.layers.Layer, input_shape: Any) -> keras.layers.Layer:
    """Returns the layer with its variables, called by the layer's name as if it had been used."""
    with tf.name_scope(layer.name):
        layer.build(input_shape)
    return layer


def penalty(l2: float) -> keras.regularizers.Regularizer | None:
    """Returns the penalty `l2 * sum(w^2)`, or None where it is 0."""
    return keras.regularizers.L2(l2) if l2 else None


def logits_dtype() -> str:
    """Returns the precision of logits: never half, so that the softmax sees whole ones."""
    policy = keras.mixed_precision.global_policy()
    return "float64" if policy.compute_dtype == "float64" else "float32"
