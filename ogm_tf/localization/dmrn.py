"""DMRN: events by the dual multimodal residual network, AGVA with another head."""

import keras

from ogm_tf.localization import agva
from ogm_tf.localization.event_model import EventModel, Segments
from ogm_tf.localization.heads import ResidualHead
from ogm_tf.representation.network import choose_sizes
from ogm_tf.representation.parts import built

PRESETS = {
    preset: {name: value for name, value in sizes.items() if name != "head_units"}
    for preset, sizes in agva.PRESETS.items()
}


@keras.saving.register_keras_serializable(package="ogm_tf")
class DMRN(EventModel):
    """The dual multimodal residual network of Tian et al. (ECCV 2018).

    AGVA's attention and LSTMs, whose outputs a residual block mixes; see `ResidualHead`. Weakly
    supervised, a video has the largest logit of each class over its segments. The published network
    went on from a trained AGVA: copy the weights of `attention`, `audio_lstm` and `visual_lstm`
    with `get_weights` and `set_weights`.

    Score modes: "zero", the block with the other modality's feature 0; "zero_pre", the same, with a
    picture whose places weigh the same, so that no sound helps it. There is no "masked": the block
    has no split that adds up.

    Args:
      audio_shape: As of `EventModel`; default that of AVE's features, (10, 128).
      visual_shape: As of `EventModel`; default that of AVE's features, (10, 7, 7, 512).
      num_classes: As of `EventModel`; default 29.
      weakly_supervised: As of `EventModel`; default False.
      attention_units: As of `EventModel`; default 512.
      lstm_units: As of `EventModel`; default 128.
      score_mode: "zero" (the default) or "zero_pre".
      **kwargs: `owner`, `event_only`, `modulation`, `accumulate_steps` and those of
        `keras.Model`; see `EventModel`.

    Raises:
      ValueError: as of `EventModel`.
    """

    score_modes = ("zero", "zero_pre")

    def __init__(
        self,
        audio_shape=PRESETS["full"]["audio_shape"],
        visual_shape=PRESETS["full"]["visual_shape"],
        num_classes=29,
        weakly_supervised=False,
        attention_units=512,
        lstm_units=128,
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
        # The authors draw all but the last layer as PyTorch does.
        self._build_streams(self.audio_shape[-1], self.visual_shape[-1], attention_glorot=False)
        head = ResidualHead(self.num_classes, name="head", dtype=self._full_precision())
        self.head = built(head, [[None, None, 2 * self.lstm_units]] * 2)
        self.built = True

    def _head(self, features, training, score_mode):
        return Segments(*self.head(features))


def build(preset: str = "full", **arguments) -> DMRN:
    """Returns DMRN in one of two sizes.

    Args:
      preset: "full", AVE's published features and 1,569,102 parameters; or "small", ten segments of
        32 numbers and 4 x 4 x 64 maps, and 30,157 parameters.
      **arguments: Of `DMRN`, in place of the preset's; None keeps the preset's.

    Raises:
      ValueError: where there is no such preset, or as of `DMRN`.
    """
    return DMRN(**choose_sizes(PRESETS, preset, arguments))
