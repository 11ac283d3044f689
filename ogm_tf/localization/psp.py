"""PSP: events by positive sample propagation, balanced before the propagation only."""

import keras
import tensorflow as tf

from ogm_tf.localization import agva, losses
from ogm_tf.localization.event_model import EventModel, Segments, class_indices
from ogm_tf.localization.heads import SplitHead
from ogm_tf.localization.parts import dense
from ogm_tf.localization.propagation import PositiveSamplePropagation
from ogm_tf.representation.network import choose_sizes, require_sizes
from ogm_tf.representation.parts import built

PRESETS = {
    "full": {**agva.PRESETS["full"], "audio_units": (256, 128), "visual_units": (256, 128)},
    "small": {**agva.PRESETS["small"], "audio_units": (64, 32), "visual_units": (64, 32)},
}
# As parts of an even share of the segments, 1 / T: nearly even connections just survive.
THRESHOLDS = {"fully": 0.99, "weakly": 0.95}


@keras.saving.register_keras_serializable(package="ogm_tf")
class PSP(EventModel):
    """The network of Zhou et al., "Positive Sample Propagation along the Audio-Visual Event Line".

    CVPR 2021. Two linear maps precede AGVA's attention and LSTM of sounds, and two the LSTM of
    pictures; the LSTMs' outputs go through `PositiveSamplePropagation` and a head of two layers
    without biases, of their mean. Fully supervised, training and evaluation add the pair-similarity
    loss, reported as `pair_loss`, to that of `compile`. Weakly supervised, the sound has no map of
    its own and the picture one; each segment's logits are multiplied by its weight sigmoid(ReLU(w .
    logits)), and a video has their mean.

    As in the supplement of Peng et al. (CVPR 2022), only what comes before the propagation is
    modulated: nothing of the propagation and of what follows is in `branches`. The maps of sounds
    also guide the attention, so a part of their gradient comes by way of the picture.

    Score modes: "masked", each modality's half of the mean through the units that both open, which
    add up to the fused logits; "zero", the head with the other's half 0; both after the
    propagation, by which each modality holds something of the other. "zero_pre", the other LSTM's
    output 0 before the propagation, without dropout, and a picture whose places weigh the same.

    Args:
      audio_shape: As of `EventModel`; default that of AVE's features, (10, 128).
      visual_shape: As of `EventModel`; default that of AVE's features, (10, 7, 7, 512).
      num_classes: As of `EventModel`; default 29.
      weakly_supervised: As of `EventModel`; default False.
      attention_units: As of `EventModel`; default 512.
      lstm_units: As of `EventModel`; default 128.
      head_units: Width of the head's hidden vector, >= 1. Default 64.
      audio_units: Widths of the two maps of sounds, >= 1; of no use weakly supervised.
      visual_units: Widths of the two maps of pictures, >= 1; weakly supervised, the last is the
        width of the only one.
      threshold: Of the propagation, >= 0; None: 0.99 / T, or 0.95 / T weakly supervised, which is
        as published for T = 10.
      dropout_rate: Of the propagation, in [0, 1). Default 0.1.
      pair_weight: Of the pair-similarity loss, >= 0; of no use weakly supervised. Default 100.
      score_mode: "masked" (the default), "zero" or "zero_pre".
      **kwargs: `owner`, `event_only`, `modulation`, `accumulate_steps` and those of
        `keras.Model`; see `EventModel`.

    Raises:
      ValueError: as of `EventModel`, or where a number is out of its range.
    """

    score_modes = ("masked", "zero", "zero_pre")

    def __init__(
        self,
        audio_shape=PRESETS["full"]["audio_shape"],
        visual_shape=PRESETS["full"]["visual_shape"],
        num_classes=29,
        weakly_supervised=False,
        attention_units=512,
        lstm_units=128,
        head_units=64,
        audio_units=(256, 128),
        visual_units=(256, 128),
        threshold=None,
        dropout_rate=0.1,
        pair_weight=100.0,
        score_mode=None,
        **kwargs,
    ):
        super().__init__(
            audio_shape,
            visual_shape,
            num_classes,
            weakly_supervised,
            attention_units,
            lstm_units,
            score_mode,
            **kwargs,
        )
        (self.head_units,) = require_sizes("head_units", head_units, 1)
        self.audio_units = require_sizes("audio_units", audio_units, 2)
        self.visual_units = require_sizes("visual_units", visual_units, 2)
        if not pair_weight >= 0:
            raise ValueError(f"`pair_weight` must be >= 0. Received: {pair_weight=}.")
        self.pair_weight = float(pair_weight)
        if threshold is None:
            share = THRESHOLDS["weakly" if self.weakly_supervised else "fully"]
            threshold = share / self.audio_shape[0]
        self.threshold = threshold
        self.dropout_rate = dropout_rate
        self._build_maps()
        guide_width = self.audio_shape[-1] if self.weakly_supervised else self.audio_units[-1]
        self._build_streams(guide_width, self.visual_units[-1])
        features = [[None, self.audio_shape[0], 2 * self.lstm_units]] * 2
        propagation = PositiveSamplePropagation(
            self.threshold,
            self.weakly_supervised,
            self.dropout_rate,
            name="propagation",
            dtype=self.dtype_policy,
        )
        self.propagation = built(propagation, features)
        precision = self._full_precision()
        head = SplitHead(
            self.num_classes, self.head_units, "mean", use_bias=False, name="head", dtype=precision
        )
        self.head = built(head, features)
        if self.weakly_supervised:
            self.importance = dense(
                self.num_classes, 1, "importance", use_bias=False, glorot=True, dtype=precision
            )
        self.built = True

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None):
        if not self._has_pair_loss():
            return super().compute_loss(x, y, y_pred, sample_weight)
        similarity = getattr(y_pred, "_similarity", None)
        if similarity is None:
            similarity = self.similarity(x)
        labels = class_indices(y, self.num_classes)
        values = losses.pair_similarity(labels, similarity, self.num_classes - 1)
        counted = _counted(y_pred)
        pairs = losses.average_over_videos(values, _of_videos(sample_weight), counted)
        # Keras divides by the number of replicas what it counts into the reported loss this way.
        pairs *= self.pair_weight * self.distribute_strategy.num_replicas_in_sync
        num_videos = tf.size(values) if counted is None else tf.reduce_sum(counted)
        self._trackers.pair_loss.update_state(pairs, num_videos)
        return self.compiled_loss(
            y, y_pred, sample_weight, regularization_losses=[*self.losses, pairs]
        )

    def _has_pair_loss(self):
        return not self.weakly_supervised and self.pair_weight > 0

    def similarity(self, inputs) -> tf.Tensor:
        """Returns the cosine of sound and picture in each segment, `[B, T]`.

        Args:
          inputs: As of the model.
        """
        return self._segments(inputs, training=False).similarity

    def get_config(self):
        return {
            **super().get_config(),
            "head_units": self.head_units,
            "audio_units": list(self.audio_units),
            "visual_units": list(self.visual_units),
            "threshold": self.threshold,
            "dropout_rate": self.dropout_rate,
            "pair_weight": self.pair_weight,
        }

    def _build_maps(self) -> None:
        dtype = self.dtype_policy
        audio, visual = self.audio_shape[-1], self.visual_shape[-1]
        if self.weakly_supervised:
            self.audio_maps = []
            self.visual_maps = [dense(visual, self.visual_units[-1], "linear_v", dtype=dtype)]
            return
        self.audio_maps, self.visual_maps = (
            [
                dense(width, first, f"{name}_0", use_bias=False, dtype=dtype),
                dense(first, second, f"{name}_1", use_bias=False, dtype=dtype),
            ]
            for name, width, (first, second) in (
                ("fa", audio, self.audio_units),
                ("fv", visual, self.visual_units),
            )
        )

    def _own_layers(self):
        return {"audio": list(self.audio_maps), "visual": list(self.visual_maps)}

    def _guide(self, audio):
        for layer in self.audio_maps:
            audio = layer(audio)
        return audio

    def _seen(self, contexts):
        for layer in self.visual_maps:
            contexts = layer(contexts)
        return contexts

    def _head(self, features, training, score_mode):
        audio, visual = self.propagation(features, training=training)
        logits, parts = self.head([audio, visual], score_mode=score_mode)
        if self.weakly_supervised:
            weight = self._importance(logits)
            weights = [weight] * 2
            if score_mode != "masked":
                weights = [self._importance(part) for part in parts]
            parts = [own * part for own, part in zip(weights, parts, strict=True)]
            logits = weight * logits
        return Segments(logits, parts, _cosine(audio, visual))

    def _pool(self, found):
        return tf.reduce_mean(found.logits, axis=1), [
            tf.reduce_mean(part, axis=1) for part in found.parts
        ]

    def _importance(self, logits: tf.Tensor) -> tf.Tensor:
        """Returns the weight of each segment, `[B, T, 1]` in [0.5, 1)."""
        return tf.sigmoid(tf.nn.relu(self.importance(logits)))


def build(preset: str = "full", **arguments) -> PSP:
    """Returns PSP in one of two sizes.

    Args:
      preset: "full", AVE's published features and 1,546,609 parameters, weakly supervised
        1,251,854; or "small", ten segments of 32 numbers and 4 x 4 x 64 maps, and 39,280
        parameters, weakly supervised 29,101.
      **arguments: Of `PSP`, in place of the preset's; None keeps the preset's.

    Raises:
      ValueError: where there is no such preset, or as of `PSP`.
    """
    return PSP(**choose_sizes(PRESETS, preset, arguments))


def _cosine(audio: tf.Tensor, visual: tf.Tensor) -> tf.Tensor:
    audio, visual = (
        tf.math.l2_normalize(tf.cast(feature, tf.float32), axis=-1) for feature in (audio, visual)
    )
    return tf.reduce_sum(audio * visual, axis=-1)


def _of_videos(sample_weight: tf.Tensor | None) -> tf.Tensor | None:
    """Returns weights of videos or of their segments as `[B]`."""
    if sample_weight is None:
        return None
    weights = tf.cast(sample_weight, tf.float32)
    return tf.reduce_mean(tf.reshape(weights, [tf.shape(weights)[0], -1]), axis=-1)


def _counted(logits: tf.Tensor) -> tf.Tensor | None:
    """Returns which videos evaluation counts, `[B]`, where it marked them."""
    mask = getattr(logits, "_keras_mask", None)
    if mask is None:
        return None
    mask = tf.cast(mask, tf.float32)
    return tf.reduce_max(tf.reshape(mask, [tf.shape(mask)[0], -1]), axis=-1)
