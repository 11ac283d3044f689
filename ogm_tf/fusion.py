"""Fusion heads: one feature per modality in, fused logits and each modality's own logits out.

The gradient modulation compares how well the modalities do by themselves, so every head splits its
output into what each modality contributes. Heads are never modulated.
"""

import numbers
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

Logits = tuple[tf.Tensor, list[tf.Tensor]]


class Fusion(keras.layers.Layer):
    """What all fusion heads share: checks, precision, and Xavier-normal linear maps.

    A head of your own derives from this class and implements `build_head` and `fuse`. Under a half
    precision policy heads compute in float32, so that the softmax sees whole logits. `adds_up` is
    False in a class of which a feature of zeros takes more than its own modality's part of the
    answer away: methods that drop features are refused then.

    Args:
      num_classes: Number of classes C, >= 2.
      **kwargs: Of `keras.layers.Layer`. A `dtype` of float64 is kept, any other means float32.

    Call arguments:
      features: List of one `[B, D_m]` tensor per modality; the order of the list is the order of
        the modalities.

    Returns:
      The fused logits `[B, C]`, and the list of each modality's logits `[B, C]`.

    Raises:
      ValueError: where `num_classes` is no integer >= 2, or the features do not fit the head.
    """

    adds_up = True

    def __init__(self, num_classes: int, **kwargs):
        super().__init__(dtype=_full_precision(kwargs.pop("dtype", None)), **kwargs)
        if not isinstance(num_classes, numbers.Integral) or num_classes < 2:
            raise ValueError(
                f"`num_classes` must be an integer >= 2. Received: num_classes={num_classes!r}."
            )
        self.num_classes = int(num_classes)

    def build_head(self, widths: list[int]) -> None:
        """Creates the variables, for features of these widths."""
        raise NotImplementedError

    def fuse(self, features: list[tf.Tensor]) -> Logits:
        """Returns the fused logits and each modality's."""
        raise NotImplementedError

    def build(self, input_shape):
        self._built_widths = tuple(self._widths(input_shape))
        self.build_head(list(self._built_widths))
        super().build(input_shape)

    def call(self, features):
        # `build` has seen the first features only; later ones may be others.
        widths = self._widths([feature.shape for feature in _as_list(features)])
        if tuple(widths) != self._built_widths:
            raise ValueError(
                f"The head was built for features of widths {_comma(self._built_widths)}. "
                f"Received: features of widths {_comma(widths)}."
            )
        return self.fuse(list(features))

    def get_config(self):
        return {**super().get_config(), "num_classes": self.num_classes}

    def add_dense(
        self, name: str, input_width: int, output_width: int
    ) -> tuple[tf.Variable, tf.Variable]:
        """Creates a linear map with Xavier-normal kernel (not truncated) and zero bias.

        Args:
          name: The variables become `<name>/kernel` and `<name>/bias`.
          input_width: Number of features in.
          output_width: Number of features out.

        Returns:
          The kernel `[input_width, output_width]` and the bias `[output_width]`.
        """
        kernel = self.add_kernel(name, input_width, output_width)
        bias = self.add_weight(name=f"{name}/bias", shape=(output_width,), initializer="zeros")
        return kernel, bias

    def add_kernel(self, name: str, input_width: int, output_width: int) -> tf.Variable:
        """Creates the kernel of `add_dense` alone, `[input_width, output_width]`."""
        # Each has an initialiser of its own: one that is used twice gives both the same values.
        xavier = keras.initializers.VarianceScaling(1.0, "fan_avg", "untruncated_normal")
        shape = (input_width, output_width)
        return self.add_weight(name=f"{name}/kernel", shape=shape, initializer=xavier)

    def _widths(self, shapes: Any) -> list[int]:
        """Returns the features' widths, having checked them."""
        shapes = [tf.TensorShape(shape) for shape in _as_list(shapes)]
        received = f"Received: features of shapes {[str(shape) for shape in shapes]}."
        if len(shapes) < 2:
            raise ValueError(f"{type(self).__name__} fuses at least two modalities. {received}")
        if any(shape.rank != 2 or shape[-1] is None for shape in shapes):
            raise ValueError(f"Every feature must be [B, D], of a known width D. {received}")
        return [shape[-1] for shape in shapes]


@keras.saving.register_keras_serializable(package="ogm_tf")
class Concat(Fusion):
    """One linear map of the concatenated features; any number of modalities.

        fused = W [phi_1; ...; phi_M] + b
        logits of modality m = W_m phi_m + b / M

    where W_m are the rows of W that meet phi_m, so the modalities' logits add up to the fused ones
    (OGM-GE, CVPR 2022, Eq. 1-2 and 7).

    Args:
      num_classes: Number of classes C, >= 2.
      **kwargs: As of `Fusion`.
    """

    def build_head(self, widths):
        self.kernel, self.bias = self.add_dense("output", sum(widths), self.num_classes)

    @property
    def heads(self) -> list[tuple[tf.Tensor, tf.Tensor]]:
        """Each modality's W_m `[D_m, C]` and share of the bias, b / M, `[C]`."""
        share = self.bias / len(self._built_widths)
        return [(rows, share) for rows in tf.split(self.kernel, self._built_widths)]

    def fuse(self, features):
        fused = tf.matmul(tf.concat(features, axis=-1), self.kernel) + self.bias
        return fused, [
            tf.matmul(feature, rows) + share
            for feature, (rows, share) in zip(features, self.heads, strict=True)
        ]


@keras.saving.register_keras_serializable(package="ogm_tf")
class Sum(Fusion):
    """One linear map per modality, added up; any number of modalities.

        logits of modality m = W_m phi_m + b_m
        fused = sum of the modalities' logits

    Every modality has its own whole bias. The authors' code once halved it in the scores (issue 33
    of GeWu-Lab/OGM-GE_CVPR2022) and still does in its evaluation; here training and evaluation
    agree.

    Args:
      num_classes: Number of classes C, >= 2.
      **kwargs: As of `Fusion`.
    """

    def build_head(self, widths):
        self.heads = [
            self.add_dense(f"output_{index}", width, self.num_classes)
            for index, width in enumerate(widths)
        ]

    def fuse(self, features):
        logits = [
            tf.matmul(feature, kernel) + bias
            for feature, (kernel, bias) in zip(features, self.heads, strict=True)
        ]
        return tf.add_n(logits), logits


@keras.saving.register_keras_serializable(package="ogm_tf")
class MMCosine(Fusion):
    """Cosines of features and class weights, modality by modality; any number of modalities.

        logits of modality m = s cos(W_m,j, phi_m)   for every class j
        fused = sum of the modalities' logits

    Xu et al., "MMCosine: Multi-Modal Cosine Loss Towards Balanced Audio-Visual Fine-Grained
    Learning" (ICASSP 2023): no modality can answer louder by longer features or weights. There is
    no bias. A feature of zeros, as of a missing modality, has a cosine of 0 and no gradient.

    Args:
      num_classes: Number of classes C, >= 2.
      scale: s, finite and > 0. The published comparisons use 15.
      **kwargs: As of `Fusion`.

    Raises:
      ValueError: where `scale` is out of its range.
    """

    def __init__(self, num_classes: int, scale: float = 15.0, **kwargs):
        super().__init__(num_classes, **kwargs)
        is_number = isinstance(scale, numbers.Real) and not isinstance(scale, bool)
        if not is_number or not 0 < scale < float("inf"):
            raise ValueError(f"`scale` must be a finite number > 0. Received: scale={scale!r}.")
        self.scale = float(scale)

    def build_head(self, widths):
        self.kernels = [
            self.add_kernel(f"output_{index}", width, self.num_classes)
            for index, width in enumerate(widths)
        ]

    def fuse(self, features):
        logits = []
        for feature, kernel in zip(features, self.kernels, strict=True):
            cosines = tf.matmul(_direction(feature, axis=-1), _direction(kernel, axis=0))
            logits.append(self.scale * cosines)
        return tf.add_n(logits), logits

    def get_config(self):
        return {**super().get_config(), "scale": self.scale}


class _PairFusion(Fusion):
    """A head of exactly two modalities, whose logits share one output map."""

    adds_up = False

    def _widths(self, shapes):
        widths = super()._widths(shapes)
        if len(widths) != 2:
            raise ValueError(
                f"{type(self).__name__} fuses exactly two modalities. "
                f"Received: {len(widths)} features."
            )
        return widths

    def _output(self, fused: tf.Tensor, parts: Sequence[tf.Tensor]) -> Logits:
        """Returns W fused + b, and W part + b / 2 of both parts."""
        logits = tf.matmul(fused, self.kernel) + self.bias
        return logits, [tf.matmul(part, self.kernel) + self.bias / 2 for part in parts]


@keras.saving.register_keras_serializable(package="ogm_tf")
class FiLM(_PairFusion):
    """Feature-wise linear modulation: the first modality scales and shifts the second.

        gamma, beta = split(U a + c)
        fused = W (gamma * v + beta) + b
        logits of the first = W a + b / 2
        logits of the second = W v + b / 2

    for features a, v of one width D, after Perez et al., "FiLM: Visual Reasoning with a General
    Conditioning Layer" (AAAI 2018). OGM-GE offers this head, but its code cuts W into two halves of
    256 rows, which features of 512 values do not fit, and crashes. The authors' recipe is the part
    before fusion (issue 20 of GeWu-Lab/OGM-GE_CVPR2022): the output map applied to a and to v.
    Setting the other feature to zero would not do: at initialisation a = 0 makes gamma and beta 0,
    and the second modality's logits constant.

    Args:
      num_classes: Number of classes C, >= 2.
      **kwargs: As of `Fusion`.

    Raises:
      ValueError: where there are not two features, or their widths differ.
    """

    def _widths(self, shapes):
        widths = super()._widths(shapes)
        if widths[0] != widths[1]:
            raise ValueError(
                "FiLM needs two features of the same width. "
                f"Received: widths {widths[0]} and {widths[1]}."
            )
        return widths

    def build_head(self, widths):
        width = widths[0]
        self.film_kernel, self.film_bias = self.add_dense("film", width, 2 * width)
        self.kernel, self.bias = self.add_dense("output", width, self.num_classes)

    def fuse(self, features):
        condition, content = features
        film = tf.matmul(condition, self.film_kernel) + self.film_bias
        gamma, beta = tf.split(film, 2, axis=-1)
        return self._output(gamma * content + beta, (condition, content))


@keras.saving.register_keras_serializable(package="ogm_tf")
class Gated(_PairFusion):
    """Gated fusion: the first modality opens or closes each value of the second.

        p = U a + c,  q = V v + d
        fused = W (sigmoid(p) * q) + b
        logits of the first = W p + b / 2
        logits of the second = W q + b / 2

    after Kiela et al., "Efficient Large-Scale Multi-Modal Classification" (AAAI 2018). OGM-GE
    offers this head, but its code crashes on it as on FiLM; the parts before fusion, p and q, take
    the output map here too (issue 20 of GeWu-Lab/OGM-GE_CVPR2022).

    Args:
      num_classes: Number of classes C, >= 2.
      units: Width of p and q, >= 1; None for the width of the second feature.
      **kwargs: As of `Fusion`.

    Raises:
      ValueError: where `units` is no integer >= 1, or there are not two features.
    """

    def __init__(self, num_classes: int, units: int | None = None, **kwargs):
        super().__init__(num_classes, **kwargs)
        if units is not None and (not isinstance(units, numbers.Integral) or units < 1):
            raise ValueError(f"`units` must be None or an integer >= 1. Received: units={units!r}.")
        self.units = None if units is None else int(units)

    def build_head(self, widths):
        units = self.units or widths[1]
        self.gate_kernel, self.gate_bias = self.add_dense("gate", widths[0], units)
        self.content_kernel, self.content_bias = self.add_dense("content", widths[1], units)
        self.kernel, self.bias = self.add_dense("output", units, self.num_classes)

    def fuse(self, features):
        gate = tf.matmul(features[0], self.gate_kernel) + self.gate_bias
        content = tf.matmul(features[1], self.content_kernel) + self.content_bias
        return self._output(tf.sigmoid(gate) * content, (gate, content))

    def get_config(self):
        return {**super().get_config(), "units": self.units}


def _direction(values: tf.Tensor, axis: int) -> tf.Tensor:
    """Returns vectors of length 1; those of zeros stay so, with a gradient of 0."""
    squares = tf.reduce_sum(tf.square(values), axis=axis, keepdims=True)
    is_zero = squares == 0
    # The root of 0 has no gradient, even where it is not taken.
    length = tf.sqrt(tf.where(is_zero, tf.ones_like(squares), squares))
    return tf.where(is_zero, tf.zeros_like(values), values / length)


def _comma(values: Sequence[int]) -> str:
    return ", ".join(map(str, values))


def _as_list(features: Any) -> list:
    if not isinstance(features, list | tuple):
        raise ValueError(
            "Fusion takes a list of features, one per modality. "
            f"Received: {type(features).__name__}."
        )
    return list(features)


def _full_precision(dtype: Any) -> str:
    if dtype is None:
        dtype = keras.mixed_precision.global_policy()
    if not isinstance(dtype, keras.mixed_precision.Policy):
        dtype = keras.mixed_precision.Policy(dtype if isinstance(dtype, str) else dtype.name)
    return "float64" if dtype.compute_dtype == "float64" else "float32"
