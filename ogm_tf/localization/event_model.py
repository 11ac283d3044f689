"""What AGVA, DMRN and PSP have in common: from features of segments to logits and branches."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from ogm_tf.localization.attention import AudioGuidedAttention
from ogm_tf.localization.losses import event_targets
from ogm_tf.localization.parts import bidirectional_lstm
from ogm_tf.localization.trackers import EventTrackers
from ogm_tf.metrics import counted_rows
from ogm_tf.model import Logits, OGMModel
from ogm_tf.model_checks import by_modality
from ogm_tf.modulation.interface import Modulation
from ogm_tf.modulation.ogm import OGM
from ogm_tf.representation.network import require_sizes

OWNERS = ("stream", "input", "skip")
MODALITIES = ("audio", "visual")


class Segments(NamedTuple):
    """What a network says of every segment.

    Args:
      logits: `[B, T, C]`.
      parts: The audio's and the picture's own logits, `[B, T, C]` each.
      similarity: Of sound and picture, the cosine `[B, T]`, where the network compares them.
    """

    logits: tf.Tensor
    parts: list[tf.Tensor]
    similarity: tf.Tensor | None = None


class EventModel(OGMModel):
    """Says which event is heard and seen in every segment of a video, or that there is none.

    The sound of a segment guides where to look in its picture; an LSTM in both directions of time
    reads the sounds, another what was looked at; a head joins the two. Subclasses give the head.

    Fully supervised, the logits are the segments', `[B, T, C]`, learnt from labels `[B, T]`. Weakly
    supervised they are the video's, `[B, C]`, learnt from one row of targets a video;
    `segment_logits` gives those of the segments either way. `evaluate`, and the validation of
    `fit`, then also take labels `{"video": targets [B, C], "segments": class indices [B, T]}`: the
    loss is of the videos, accuracies are of the segments, and `video_accuracy` is of the videos.
    A video is right, and modalities are compared, by its event: the class of the largest target
    beside background's, or background where there is no other.

    Branches: a modality owns its LSTM and what leads there. The attention's two maps of the sound,
    `affine_audio` and `affine_g`, belong to `owner`: "stream", the picture's branch, whose feature
    they shape; "input", the sound's, which they read; "skip", none.

    Args:
      audio_shape: `(T, D)`: segments, and numbers of a segment's sound.
      visual_shape: `(T, h, w, C)`: segments, and maps of a segment's picture.
      num_classes: Number of classes, background as the last one, >= 2.
      weakly_supervised: Whether there is one row of targets a video instead of a segment.
      attention_units: Width of the attention's hidden vectors, >= 1.
      lstm_units: Of each direction, >= 1.
      score_mode: Of each modality's own logits; see the subclass.
      owner: "stream" (the default), "input" or "skip".
      event_only: Whether segments of background count nothing in the scores that modalities are
        compared by; fully supervised only. The reported `m_score` is of all. Default False.
      modulation: `ogm_tf.OGM`, `ogm_tf.OGMGE`, or None for plain training.
      accumulate_steps: As of `OGMModel`.
      **kwargs: Of `keras.Model`.

    Call arguments:
      inputs: `{"audio": [B, T, D], "visual": [B, T, h, w, C]}`.
      training: Whether dropout drops. Default False.
      unimodal: Whether to return each modality's logits as well. Default False.

    Raises:
      ValueError: where a size is no integer >= 1, a name is unknown, the shapes do not fit, or
        `modulation` is neither an OGM nor an OGMGE.
    """

    # The subclass' own, the first its default.
    score_modes: tuple[str, ...] = ()

    def __init__(
        self,
        audio_shape: tuple[int, int],
        visual_shape: tuple[int, int, int, int],
        num_classes: int,
        weakly_supervised: bool,
        attention_units: int,
        lstm_units: int,
        score_mode: str | None,
        owner: str = "stream",
        event_only: bool = False,
        modulation: Modulation | None = None,
        accumulate_steps: int = 1,
        **kwargs,
    ):
        super().__init__(modulation=modulation, accumulate_steps=accumulate_steps, **kwargs)
        self.audio_shape = require_sizes("audio_shape", audio_shape, 2)
        self.visual_shape = require_sizes("visual_shape", visual_shape, 4)
        if self.audio_shape[0] != self.visual_shape[0]:
            raise ValueError(
                "Sound and picture must have the same number of segments. Received: "
                f"audio_shape={self.audio_shape}, visual_shape={self.visual_shape}."
            )
        (self.num_classes,) = require_sizes("num_classes", num_classes, 1)
        if self.num_classes < 2:
            raise ValueError(f"`num_classes` must be >= 2. Received: {num_classes=}.")
        (self.attention_units,) = require_sizes("attention_units", attention_units, 1)
        (self.lstm_units,) = require_sizes("lstm_units", lstm_units, 1)
        self.weakly_supervised = bool(weakly_supervised)
        self.score_mode = score_mode or self.score_modes[0]
        for name, value, known in (
            ("score_mode", self.score_mode, self.score_modes),
            ("owner", owner, OWNERS),
        ):
            if value not in known:
                raise ValueError(
                    f"`{name}` of {type(self).__name__} must be one of {', '.join(known)}. "
                    f"Received: {name}={value!r}."
                )
        if event_only and self.weakly_supervised:
            raise ValueError(
                "`event_only` needs labels of segments. "
                "Received: event_only=True with weakly_supervised=True."
            )
        self.owner = owner
        self.event_only = bool(event_only)

    def _require_modulation(self, modulation):
        super()._require_modulation(modulation)
        if modulation is not None and not isinstance(modulation, OGM):
            raise ValueError(
                "Networks of events are balanced by ogm_tf.OGM or ogm_tf.OGMGE alone. "
                f"Received: modulation={modulation!r}."
            )

    def _build_streams(
        self, guide_width: int, visual_width: int, attention_glorot: bool = True
    ) -> None:
        """Creates the attention and the LSTMs.

        Args:
          guide_width: Numbers of what guides the attention and the LSTM of sounds reads.
          visual_width: Numbers of what the LSTM of pictures reads.
          attention_glorot: As `glorot` of the attention.
        """
        steps = self.audio_shape[0]
        dtype = self.dtype_policy
        self.attention = AudioGuidedAttention(
            self.attention_units, attention_glorot, name="attention", dtype=dtype
        )
        # Called by its name, as if it had been used.
        with tf.name_scope(self.attention.name):
            self.attention.build([[None, steps, guide_width], [None, *self.visual_shape]])
        for modality, width in (("audio", guide_width), ("visual", visual_width)):
            name = f"{modality}_lstm"
            lstm = bidirectional_lstm(steps, width, self.lstm_units, name, dtype=dtype)
            setattr(self, name, lstm)

    def _guide(self, audio: tf.Tensor) -> tf.Tensor:
        """Returns what guides the attention and the LSTM of sounds reads, `[B, T, D']`."""
        return audio

    def _seen(self, contexts: tf.Tensor) -> tf.Tensor:
        """Returns what the LSTM of pictures reads of the attention's contexts, `[B, T, C']`."""
        return contexts

    def _head(self, features: list[tf.Tensor], training: bool, score_mode: str) -> Segments:
        """Returns what the head says of the LSTMs' outputs, audio first."""
        raise NotImplementedError

    def _own_layers(self) -> dict[str, list[keras.layers.Layer]]:
        """Returns the layers that lead to each modality's LSTM beside the attention."""
        return {name: [] for name in MODALITIES}

    def _pool(self, found: Segments) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Returns the logits of whole videos, `[B, C]`, and each modality's.

        The largest over time; where modalities' logits are to add up, each modality's of the
        segment where the sum is largest, and else its own largest.
        """
        fused = tf.reduce_max(found.logits, axis=1)
        if self.score_mode != "masked":
            return fused, [tf.reduce_max(part, axis=1) for part in found.parts]
        where = tf.argmax(found.logits, axis=1)[..., tf.newaxis]
        return fused, [
            tf.gather(tf.transpose(part, [0, 2, 1]), where, batch_dims=2)[..., 0]
            for part in found.parts
        ]

    @property
    def branches(self) -> dict[str, list[tf.Variable]]:
        """Each modality's trainable variables; the head's and what mixes modalities is in none."""
        layers = self._own_layers()
        layers["visual"] = [*self.attention.visual_layers, *layers["visual"], self.visual_lstm]
        layers["audio"] = [*layers["audio"], self.audio_lstm]
        owner = {"stream": "visual", "input": "audio"}.get(self.owner)
        if owner:
            layers[owner] += self.attention.audio_layers
        return {
            name: [variable for layer in layers[name] for variable in layer.trainable_variables]
            for name in MODALITIES
        }

    def forward(self, inputs: Any, training: bool = False):
        return self._answer(self._segments(inputs, training))

    def _answer(self, found: Segments) -> Logits:
        """Returns the logits that the loss takes, and each modality's."""
        logits, parts = found.logits, found.parts
        if self.weakly_supervised:
            logits, parts = self._pool(found)
        # The loss is called with the logits alone.
        logits._similarity = found.similarity
        return logits, dict(zip(MODALITIES, parts, strict=True))

    def segment_logits(self, inputs: Any, unimodal: bool = False) -> Any:
        """Returns what the network says of every segment, however it is supervised.

        Args:
          inputs: As of the model.
          unimodal: Whether to return each modality's logits as well.

        Returns:
          Logits `[B, T, C]`, whose largest is the prediction; with `unimodal` also `{modality:
          [B, T, C]}`.
        """
        found = self._segments(inputs, training=False)
        if not unimodal:
            return found.logits
        return found.logits, dict(zip(MODALITIES, found.parts, strict=True))

    def attention_map(self, inputs: Any) -> tf.Tensor:
        """Returns where the sound looks: `[B, T, h, w]`, >= 0, of sum 1 over each segment.

        Args:
          inputs: As of the model.
        """
        audio, visual = self._features_of(inputs)
        return self.attention.attention_map([self._guide(audio), visual])

    def get_config(self):
        return {
            **super().get_config(),
            "audio_shape": list(self.audio_shape),
            "visual_shape": list(self.visual_shape),
            "num_classes": self.num_classes,
            "weakly_supervised": self.weakly_supervised,
            "attention_units": self.attention_units,
            "lstm_units": self.lstm_units,
            "score_mode": self.score_mode,
            "owner": self.owner,
            "event_only": self.event_only,
        }

    def test_step(self, data):
        inputs, labels, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        if not (self.weakly_supervised and isinstance(labels, Mapping)):
            return super().test_step(data)
        found = self._segments(inputs, training=False)
        results = self._evaluate(self._answer(found), inputs, labels["video"], sample_weight)
        results = {
            f"video_{name}" if name.endswith("accuracy") else name: value
            for name, value in results.items()
        }
        parts = dict(zip(MODALITIES, found.parts, strict=True))
        counted = None if sample_weight is None else counted_rows(sample_weight, found.logits)
        return results | self._trackers.update_segments(
            found.logits, parts, labels["segments"], counted
        )

    def reset_metrics(self):
        super().reset_metrics()
        if self._trackers:
            self._trackers.reset_segments()

    def _has_pair_loss(self) -> bool:
        """Returns whether the loss compares sound and picture, too."""
        return False

    def _make_trackers(self):
        return EventTrackers(MODALITIES, self.accumulate_steps > 1, self._has_pair_loss())

    def _truth(self, labels):
        rows = tf.convert_to_tensor(labels)
        are_targets = rows.shape.rank == 2 and rows.shape[-1] == self.num_classes
        return event_targets(rows) if self.weakly_supervised and are_targets else labels

    def _learn(self, tape, losses, step):
        # The loss is made already: here the weights are the scores' alone.
        if self.event_only:
            is_event = class_indices(step.labels, self.num_classes) != self.num_classes - 1
            weights = tf.cast(is_event, tf.float32)
            if step.sample_weight is not None:
                given = tf.cast(step.sample_weight, tf.float32)
                weights *= tf.reshape(given, [tf.shape(given)[0], -1])
            step = step._replace(sample_weight=weights)
        return super()._learn(tape, losses, step)

    def _full_precision(self) -> str:
        """Returns the heads' precision: never half, so that the softmax sees whole logits."""
        return "float64" if self.compute_dtype == "float64" else "float32"

    def _segments(self, inputs: Any, training: bool) -> Segments:
        audio, visual = self._features_of(inputs)
        guide = self._guide(audio)
        heard = self.audio_lstm(guide)
        seen = self.visual_lstm(self._seen(self.attention([guide, visual])))
        if self.score_mode != "zero_pre":
            return self._head([heard, seen], training, self.score_mode)
        found = self._head([heard, seen], training, "zero")
        # Without any sound, no place of the picture is better than another.
        unguided = self.visual_lstm(self._seen(tf.reduce_mean(visual, axis=[2, 3])))
        alone = (
            [heard, tf.zeros_like(seen)],
            [tf.zeros_like(heard), unguided],
        )
        parts = [self._head(features, False, "zero").logits for features in alone]
        return found._replace(parts=parts)

    def _features_of(self, inputs: Any) -> list[tf.Tensor]:
        """Returns the audio and the visual input, having checked their shapes."""
        inputs = by_modality(inputs, MODALITIES)
        features = []
        for name, shape in zip(MODALITIES, (self.audio_shape, self.visual_shape), strict=True):
            value = tf.convert_to_tensor(inputs[name])
            if not value.shape.is_compatible_with([None, *shape]):
                raise ValueError(
                    f"The {name} input must be [B, {', '.join(map(str, shape))}]. "
                    f"Received: shape {value.shape}."
                )
            value = tf.cast(value, self.compute_dtype)
            features.append(tf.ensure_shape(value, [None, *shape]))
        return features


def class_indices(labels: tf.Tensor, num_classes: int) -> tf.Tensor:
    """Returns labels `[B, T]`, `[B, T, 1]` or one-hot `[B, T, C]` as integers `[B, T]`."""
    labels = tf.convert_to_tensor(labels)
    if labels.shape.rank == 3 and labels.shape[-1] == num_classes:
        return tf.argmax(labels, axis=-1, output_type=tf.int32)
    if labels.shape.rank == 3 and labels.shape[-1] == 1:
        labels = tf.squeeze(labels, axis=-1)
    return tf.cast(labels, tf.int32)
