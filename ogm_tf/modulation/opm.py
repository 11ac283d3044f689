"""On-the-fly prediction modulation: whose feature is dropped where it is ahead."""

import keras
import tensorflow as tf

from ogm_tf.modulation import discrepancy
from ogm_tf.modulation.interface import Modulation, Moment, is_integer, require_number

# By default each kind of device has its own.
_ALGORITHM = "philox"


@keras.saving.register_keras_serializable(package="ogm_tf")
class OPM(Modulation):
    """Drops, in training, the whole feature of the modality that is ahead from some samples.

    Wei et al., "On-the-fly Modulation for Balanced Multimodal Learning" (TPAMI 2024). From the
    ratios rho_t of one update follow the probabilities of the next,

        q_u = q_base (1 + lambda tanh(rho_u - 1))   where rho_u > 1, clipped to [0, 1]
        q_u = 0                                     else

    with which every sample's feature phi_u is replaced by 0 before the fusion. What is left is
    divided by 1 - theta, theta the mean of q weighted by the features' widths, so that the sum over
    a fused vector keeps its expectation where the features of all modalities have one mean. With
    `probability` p, an update is touched at all in a share p of cases. It is for heads that add up
    what each modality says; of `MMCosine`, which does not hear how long a feature is, the division
    changes nothing, and others of `ogm_tf.fusion` are refused.

    The weakest modality has a ratio of at most 1, and is never dropped, so that no sample loses
    all. Modalities are compared by their whole features. Draws are those of a sample's place in its
    update: the same on one device and on many that get as many rows each, with and without
    accumulated batches, but others where XLA compiles the step. The head is called twice in a step,
    with whole features and with what is left of them; what it adds to the loss itself, such as the
    penalty of an `activity_regularizer`, counts twice.

    Args:
      base: q_base, in [0, 1]. The authors' is 0.5.
      strength: lambda, finite and >= 0. The authors' is 0.5.
      probability: p, in [0, 1]. The authors' is 0.7.
      start_epoch: As of `Modulation`.
      end_epoch: As of `Modulation`.
      seed: Of the draws, an integer in [0, 2**31).

    Raises:
      ValueError: where a value is out of its range.
    """

    drops_features = True
    remembers = True

    def __init__(
        self,
        base: float = 0.5,
        strength: float = 0.5,
        probability: float = 0.7,
        start_epoch: int = 0,
        end_epoch: int | None = None,
        seed: int = 0,
    ):
        super().__init__(start_epoch, end_epoch)
        self.base = require_number("base", base, "in [0, 1]", lambda value: 0 <= value <= 1)
        self.strength = require_number("strength", strength, ">= 0", lambda value: value >= 0)
        self.probability = require_number(
            "probability", probability, "in [0, 1]", lambda value: 0 <= value <= 1
        )
        if not is_integer(seed) or not 0 <= seed < 2**31:
            raise ValueError(f"`seed` must be an integer in [0, 2**31). Received: seed={seed!r}.")
        self.seed = int(seed)

    def change_features(self, features, moment: Moment):
        drop = self._probabilities(len(features)).read_value()
        drop = tf.where(self.is_active(moment.epoch), drop, tf.zeros_like(drop))
        seed = tf.stack([tf.constant(self.seed, tf.int64), tf.cast(moment.step, tf.int64)])
        # Of numbers that are drawn first, so that the second draw does not depend on the batch.
        touched = tf.random.stateless_uniform([], seed, alg=_ALGORITHM) < self.probability
        drop = tf.where(touched, drop, tf.zeros_like(drop))
        rows = _uniform_of_rows(seed, next(iter(features.values())), len(features), moment)
        widths = tf.constant([float(feature.shape[-1]) for feature in features.values()])
        scale = 1 / (1 - tf.reduce_sum(widths * drop) / tf.reduce_sum(widths))
        kept = tf.cast(rows >= drop, tf.float32) * scale
        return {
            name: feature * tf.cast(kept[:, index : index + 1], feature.dtype)
            for index, (name, feature) in enumerate(features.items())
        }

    def update_state(self, scores, statistics, finite):
        ratios = discrepancy.discrepancy_ratios(scores)
        ahead = tf.stack([ratios[name] for name in scores])
        drop = tf.clip_by_value(self.base * (1 + self.strength * tf.tanh(ahead - 1)), 0.0, 1.0)
        drop = tf.where(ahead > 1, drop, tf.zeros_like(drop))
        variable = self._probabilities(len(scores))
        variable.assign(tf.where(finite, drop, variable.read_value()))

    def get_config(self):
        return {
            "base": self.base,
            "strength": self.strength,
            "probability": self.probability,
            **super().get_config(),
            "seed": self.seed,
        }

    def _probabilities(self, num_modalities: int) -> tf.Variable:
        return self._state.get("probabilities", lambda: tf.zeros([num_modalities]))


def _uniform_of_rows(seed: tf.Tensor, feature: tf.Tensor, count: int, moment: Moment) -> tf.Tensor:
    """Returns numbers in [0, 1), `[B, count]`, that belong to the rows' places in their update."""
    context = tf.distribute.get_replica_context()
    num_rows = tf.shape(feature)[0]
    replicas = context.num_replicas_in_sync
    place = tf.cast(moment.batch, tf.int32) * replicas + context.replica_id_in_sync_group
    total = num_rows * replicas * moment.num_batches
    drawn = tf.random.stateless_uniform([total, count], seed + 1, alg=_ALGORITHM)
    return drawn[place * num_rows : (place + 1) * num_rows]
