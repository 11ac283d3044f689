"""AGVA: events by audio-guided visual attention, two LSTMs and a head of two layers."""

import keras

from ogm_tf.localization.event_model import EventModel, Segments
from ogm_tf.localization.heads import SplitHead
from ogm_tf.representation.network import choose_sizes, require_sizes
from ogm_tf.representation.parts import built

PRESETS = {
    "full": {
        "audio_shape": (10, 128),
        "visual_shape": (10, 7, 7, 512),
        "num_classes": 29,
        "attention_units": 512,
        "lstm_units": 128,
        "head_units": 64,
    },
    "small": {
        "audio_shape": (10, 32),
        "visual_shape": (10, 4, 4, 64),
        "num_classes": 29,
        "attention_units": 64,
        "lstm_units": 16,
        "head_units": 32,
    },
}


@keras.saving.register_keras_serializable(package="ogm_tf")
class AGVA(EventModel):
    """Audio-guided visual attention: the network of Tian et al. (ECCV 2018) that OGM-GE trains.

    The outputs of the two LSTMs, concatenated, go through a ReLU and two linear maps. Weakly
    supervised, a video has the largest logit of each class over its segments.

    Score modes: "zero", the head with the other modality's feature 0; "masked", each modality's
    share through the units that the sum of both opens, which add up to the fused logits, weakly
    supervised in the segments of the largest sum; "zero_pre", as "zero", with a picture whose
    places weigh the same, so that no sound helps it.

    Example:

    ```python
    model = ogm_tf.localization.agva.build("small", modulation=ogm_tf.OGMGE(alpha=0.3))
    model.compile("adam", ogm_tf.localization.losses.CrossEntropy())
    # Of ({"audio": [B, 10, 32], "visual": [B, 10, 4, 4, 64]}, labels [B, 10]).
    model.fit(dataset, epochs=30)
    ```

    Args:
      audio_shape: As of `EventModel`; default that of AVE's features, (10, 128).
      visual_shape: As of `EventModel`; default that of AVE's features, (10, 7, 7, 512).
      num_classes: As of `EventModel`; default 29.
      weakly_supervised: As of `EventModel`; default False.
      attention_units: As of `EventModel`; default 512.
      lstm_units: As of `EventModel`; default 128.
      head_units: Width of the head's hidden vector, >= 1. Default 64.
      score_mode: "zero" (the default), "masked" or "zero_pre".
      **kwargs: `owner`, `event_only`, `modulation`, `accumulate_steps` and those of
        `keras.Model`; see `EventModel`.

    Raises:
      ValueError: as of `EventModel`.
    """

    score_modes = ("zero", "masked", "zero_pre")

    def __init__(
        self,
        audio_shape=PRESETS["full"]["audio_shape"],
        visual_shape=PRESETS["full"]["visual_shape"],
        num_classes=29,
        weakly_supervised=False,
        attention_units=512,
        lstm_units=128,
        head_units=64,
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
        self._build_streams(self.audio_shape[-1], self.visual_shape[-1])
        head = SplitHead(
            self.num_classes, self.head_units, "concat", name="head", dtype=self._full_precision()
        )
        self.head = built(head, [[None, None, 2 * self.lstm_units]] * 2)
        self.built = True

    def _head(self, features, training, score_mode):
        return Segments(*self.head(features, score_mode=score_mode))

    def get_config(self):
        return {**super().get_config(), "head_units": self.head_units}


def build(preset: str = "full", **arguments) -> AGVA:
    """Returns AGVA in one of two sizes.

    Args:
      preset: "full", AVE's published features and 1,333,198 parameters; or "small", ten segments of
        32 numbers and 4 x 4 x 64 maps, and 28,013 parameters.
      **arguments: Of `AGVA`, in place of the preset's; None keeps the preset's.

    Raises:
      ValueError: where there is no such preset, or as of `AGVA`.
    """
    return AGVA(**choose_sizes(PRESETS, preset, arguments))
