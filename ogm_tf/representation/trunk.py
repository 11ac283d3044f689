"""AVSA's residual blocks, and its trunk: what becomes of sound and frames once they are merged."""

import keras
import tensorflow as tf

from ogm_tf.representation.network import require_features, require_sizes
from ogm_tf.representation.parts import Style, built, logits_dtype, penalty


class Blocks:
    """Makes AVSA's layers in one style.

    Args:
      batch_norm_momentum: In [0, 1).
      renormalization: Whether the normalisations that end a block are batch renormalisations.
      l2: Factor c of the penalty c * sum(w^2) on kernels, >= 0.
      synchronized: Whether batch normalisation takes its statistics over all replicas' rows.
    """

    def __init__(
        self, batch_norm_momentum: float, renormalization: bool, l2: float, synchronized: bool
    ):
        self.renormalization = renormalization
        self.style = Style(
            batch_norm_momentum, 1e-3, has_gain=False, l2=l2, synchronized=synchronized
        )

    def residual(self, x, filters: int, kernel_size: tuple, name: str, strides=1):
        """Applies a residual block, of sound or of frames.

        relu(bn(shortcut + conv(relu(bn(conv(x)))))), of which the first convolution strides and the
        second has a bias in place of a normalisation. The shortcut takes every so manieth value
        where the number of channels stays, or else is a 1 x 1 convolution with normalisation.
        """
        rank = len(kernel_size)
        shortcut = x
        if x.shape[-1] != filters:
            shortcut = self.style.conv_bn(x, filters, (1,) * rank, f"{name}_shortcut", strides)
        elif strides != 1:
            every = strides if isinstance(strides, tuple) else (strides,) * rank
            shortcut = Subsample(every, name=f"{name}_shortcut")(x)
        x = self.style.conv_bn_relu(x, filters, kernel_size, f"{name}_1", strides)
        x = self.style.conv(x, filters, kernel_size, f"{name}_2", use_bias=True)
        return self.join(x, shortcut, name)

    def join(self, x, shortcut, name: str):
        """Ends a block: relu(bn(x + shortcut))."""
        x = keras.layers.Add(name=f"{name}_add")([x, shortcut])
        x = self.style.batch_norm(x, name, self.renormalization)
        return keras.layers.ReLU(name=name)(x)


@keras.saving.register_keras_serializable(package="ogm_tf")
class Subsample(keras.layers.Layer):
    """Takes every so manieth value, from the first: `[B, T, C]` or `[B, T, H, W, C]`.

    Args:
      strides: One per axis between the batch's and the channels', all >= 1.
      **kwargs: Of `keras.layers.Layer`.

    Raises:
      ValueError: where `strides` are no integers >= 1.
    """

    def __init__(self, strides: tuple[int, ...], **kwargs):
        super().__init__(**kwargs)
        self.strides = require_sizes("strides", strides)

    def call(self, values):
        return values[(slice(None), *(slice(None, None, stride) for stride in self.strides))]

    def get_config(self):
        return {**super().get_config(), "strides": list(self.strides)}


@keras.saving.register_keras_serializable(package="ogm_tf")
class MergeShortcut(keras.layers.Layer):
    """The way past AVSA's merge: the first `width` channels, and the last `width`.

    Of the w channels of frames followed by 2 w of sound these are all of the frames' and half of
    the sound's.

    Args:
      width: Channels from either end, >= 1.
      **kwargs: Of `keras.layers.Layer`.

    Call arguments:
      merged: `[..., C]`, C >= 2 * width.

    Returns:
      `[..., 2 * width]`.

    Raises:
      ValueError: where `width` is no integer >= 1.
    """

    def __init__(self, width: int, **kwargs):
        super().__init__(**kwargs)
        (self.width,) = require_sizes("width", width, 1)

    def call(self, merged):
        return tf.concat([merged[..., : self.width], merged[..., -self.width :]], axis=-1)

    def get_config(self):
        return {**super().get_config(), "width": self.width}


@keras.saving.register_keras_serializable(package="ogm_tf")
class AVSAFusion(keras.layers.Layer):
    """Lays each time step's sound over the frames' map, and judges both together in 3-D residuals.

    After Owens and Efros, "Audio-Visual Scene Analysis with Self-Supervised Multisensory Features"
    (ECCV 2018). Their logit z of "aligned" is here the second of the logits [0, z], so that the
    softmax of both is their sigmoid(z).

    Args:
      last_stride: Stride in space of the last stage, 1 or 2.
      batch_norm_momentum: In [0, 1).
      renormalization: Whether the normalisations that end a block are batch renormalisations.
      l2: Factor c of the penalty c * sum(w^2) on kernels, >= 0.
      synchronized: Whether batch normalisation takes its statistics over all replicas' rows.
      **kwargs: Of `keras.layers.Layer`.

    Call arguments:
      features: The list of the sound `[P, T, 2 * w]` and the frames `[P, T, h, w', w]`.
      training: Whether normalisation takes the batch's statistics.

    Returns:
      Logits `[P, 2]`: 0, aligned.

    Raises:
      ValueError: where an argument is out of its range, or the features do not fit each other.
    """

    def __init__(
        self,
        last_stride: int = 2,
        batch_norm_momentum: float = 0.9997,
        renormalization: bool = True,
        l2: float = 0.0,
        synchronized: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if last_stride not in (1, 2):
            raise ValueError(
                f"`last_stride` must be 1 or 2. Received: last_stride={last_stride!r}."
            )
        self.last_stride = last_stride
        self.batch_norm_momentum = batch_norm_momentum
        self.renormalization = renormalization
        self.l2 = l2
        self.synchronized = synchronized
        self._blocks = Blocks(batch_norm_momentum, renormalization, l2, synchronized)

    def build(self, input_shape):
        form = "[P, T, 2 * w] and [P, T, h, w', w]"
        audio, visual = require_features(self, input_shape, (3, 5), form)
        if audio[1] != visual[1] or audio[2] != 2 * visual[4]:
            raise ValueError(
                f"AVSAFusion takes features of shapes {form}. "
                f"Received: features of shapes {audio} and {visual}."
            )
        self.trunk = self._build_trunk(visual[1:4], visual[4])
        logit = keras.layers.Dense(
            1,
            kernel_initializer=keras.initializers.HeNormal(),
            kernel_regularizer=penalty(self.l2),
            dtype=logits_dtype(),
            name="logit",
        )
        self.logit = built(logit, self.trunk.output_shape)
        super().build(input_shape)

    def call(self, features, training=None):
        features = self._trunk_map(features, training)
        # The same as the mean of the activation map, for the logit is linear.
        aligned = self.logit(tf.reduce_mean(features, axis=[1, 2, 3]))
        return tf.concat([tf.zeros_like(aligned), aligned], axis=-1)

    def activation_map(self, features: list[tf.Tensor]) -> tf.Tensor:
        """Returns where and when the frames speak for "aligned".

        It is the logit of each place by itself (Zhou et al., "Learning Deep Features for
        Discriminative Localization", CVPR 2016); its mean is the logit of the whole.

        Args:
          features: As of the layer.

        Returns:
          `[P, t, h', w'']`, coarser than the frames; less so with `last_stride` 1.
        """
        return tf.squeeze(self.logit(self._trunk_map(features, training=False)), axis=-1)

    def get_config(self):
        return {
            **super().get_config(),
            "last_stride": self.last_stride,
            "batch_norm_momentum": self.batch_norm_momentum,
            "renormalization": self.renormalization,
            "l2": self.l2,
            "synchronized": self.synchronized,
        }

    def _trunk_map(self, features, training: bool | None) -> tf.Tensor:
        audio, visual = features
        shape = tf.concat([tf.shape(visual)[:-1], tf.shape(audio)[-1:]], axis=0)
        tiled = tf.broadcast_to(audio[:, :, tf.newaxis, tf.newaxis], shape)
        return self.trunk(tf.concat([visual, tiled], axis=-1), training=training)

    def _build_trunk(self, places: tuple[int, ...], width: int) -> keras.Model:
        """The network from frames with sound, `[P, *places, 3 * width]`, to its last map."""
        blocks, last = self._blocks, self.last_stride
        inputs = keras.Input((*places, 3 * width))
        x = blocks.style.conv_bn_relu(inputs, 8 * width, (1, 1, 1), "merge1")
        x = blocks.style.conv(x, 2 * width, (1, 1, 1), "merge2", use_bias=True)
        x = blocks.join(x, MergeShortcut(width, name="merge_shortcut")(inputs), "merge")
        for name, multiple, strides in (
            ("conv3_1", 2, 1),
            ("conv3_2", 2, 1),
            ("conv4_1", 4, 2),
            ("conv4_2", 4, 1),
            ("conv5_1", 8, (1, last, last)),
            ("conv5_2", 8, 1),
        ):
            x = blocks.residual(x, multiple * width, (3, 3, 3), name, strides)
        return keras.Model(inputs, x, name="trunk")
