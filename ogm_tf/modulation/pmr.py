"""Prototypical modal rebalance: the slow modality is pulled to its classes' prototypes."""

import keras
import tensorflow as tf

from ogm_tf.modulation import discrepancy
from ogm_tf.modulation.interface import Modulation, Step, is_integer, require_number
from ogm_tf.modulation.scores import one_hot, weighted


@keras.saving.register_keras_serializable(package="ogm_tf")
class PMR(Modulation):
    """Adds a loss of distances to class prototypes for the modality that is behind.

    Fan et al., "PMR: Prototypical Modal Rebalance for Multimodal Learning" (CVPR 2023). With c_uk
    the prototype of class k in the features phi_u of modality u,

        p_u = softmax over k of -|phi_u - c_uk|
        rho_u = mean over the others v of S_u / S_v,   S_u the sum of p_u of the true class
        slow_u = clip(mean over the others v of S_v / S_u - 1, 0, 1)
        fast_u = clip(rho_u - 1, 0, 1)
        L = L(fused) + sum over u of strength slow_u (-log p_u[true class])
                     - sum over u of entropy fast_u H(p_u)      until `entropy_end_epoch`

    Prototypes are moving means of each class' features over updates, c <- momentum c + (1 -
    momentum) mean of the update, of features as training computes them; the authors' move once an
    epoch, to means over a part of the clips. rho is that of the last update, so that a step needs
    nothing of other replicas before its loss. Classes without a prototype yet count nowhere. The
    terms are means over a batch, whatever reduction or weight the model's loss has.

    Args:
      strength: Of the pull, finite and >= 0; by default 1, as the authors' alpha.
      entropy: mu of the regularisation, finite and >= 0, by default 0.01.
      entropy_end_epoch: Last epoch of the regularisation, >= 0, by default 10: an epoch of the
        training, as `end_epoch`, so that a window that starts later has none.
      momentum: In [0, 1), by default 0.9.
      start_epoch: As of `Modulation`.
      end_epoch: As of `Modulation`.

    Raises:
      ValueError: where a value is out of its range.
    """

    needs_features = True
    remembers = True

    def __init__(
        self,
        strength: float = 1.0,
        entropy: float = 0.01,
        entropy_end_epoch: int = 10,
        momentum: float = 0.9,
        start_epoch: int = 0,
        end_epoch: int | None = None,
    ):
        super().__init__(start_epoch, end_epoch)
        self.strength = require_number("strength", strength, ">= 0", lambda value: value >= 0)
        self.entropy = require_number("entropy", entropy, ">= 0", lambda value: value >= 0)
        if not is_integer(entropy_end_epoch) or entropy_end_epoch < 0:
            raise ValueError(
                "`entropy_end_epoch` must be an integer >= 0. "
                f"Received: entropy_end_epoch={entropy_end_epoch!r}."
            )
        self.entropy_end_epoch = int(entropy_end_epoch)
        self.momentum = require_number(
            "momentum", momentum, "in [0, 1)", lambda value: 0 <= value < 1
        )

    def loss(self, step):
        slow, fast = tf.unstack(self._pace(step).read_value())
        in_time = tf.cast(step.moment.epoch <= self.entropy_end_epoch, tf.float32)
        terms = []
        for index, name in enumerate(step.features):
            log_p, targets = self._log_probabilities(name, step)
            pull = -tf.reduce_sum(targets * log_p, axis=-1)
            p = tf.exp(log_p)
            spread = -tf.reduce_sum(tf.where(p > 0, p * log_p, tf.zeros_like(p)), axis=-1)
            # The entropy counts of rows with a prototype alone, as the pull does.
            spread *= tf.reduce_sum(targets, axis=-1)
            terms.append(
                self.strength * slow[index] * pull - self.entropy * in_time * fast[index] * spread
            )
        rows = tf.cast(tf.shape(terms[0])[0], tf.float32)
        rows *= tf.cast(tf.distribute.get_replica_context().num_replicas_in_sync, tf.float32)
        # The last batch may leave a replica without rows.
        return tf.math.divide_no_nan(
            tf.reduce_sum(weighted(tf.add_n(terms), step.sample_weight)), rows
        )

    def statistics(self, step):
        targets = one_hot(step.logits, step.labels)
        counted = weighted(tf.ones(tf.shape(targets)[:1]), step.sample_weight)
        rows = targets * counted[:, tf.newaxis]
        parts = [tf.reduce_sum(rows, axis=0)]
        for name, feature in step.features.items():
            log_p, known = self._log_probabilities(name, step)
            right = tf.reduce_sum(known * tf.exp(log_p), axis=-1)
            feature = tf.stop_gradient(tf.cast(feature, tf.float32))
            sums = tf.matmul(rows, feature, transpose_a=True)
            parts += [tf.reshape(tf.reduce_sum(right * counted), [1]), tf.reshape(sums, [-1])]
        self._shapes = {
            name: (targets.shape[-1], feature.shape[-1]) for name, feature in step.features.items()
        }
        return tf.stop_gradient(tf.concat(parts, axis=0))

    def update_state(self, scores, statistics, finite):
        num_classes = next(iter(self._shapes.values()))[0]
        counts, rest = statistics[:num_classes], statistics[num_classes:]
        seen = (counts > 0)[:, tf.newaxis]
        right = {}
        for name, (_, width) in self._shapes.items():
            right[name], rest = rest[0], rest[1:]
            sums = tf.reshape(rest[: num_classes * width], [num_classes, width])
            rest = rest[num_classes * width :]
            means = tf.math.divide_no_nan(sums, counts[:, tf.newaxis])
            prototypes, known = self._prototypes(name, num_classes, width)
            before, were = prototypes.read_value(), known.read_value()
            moved = self.momentum * before + (1 - self.momentum) * means
            after = tf.where(seen, tf.where(were[:, tf.newaxis] > 0, moved, means), before)
            prototypes.assign(tf.where(finite, after, before))
            known.assign(tf.where(finite & seen[:, 0], tf.ones_like(were), were))
        ratios = discrepancy.discrepancy_ratios(right)
        behind = discrepancy.behind_ratios(right)
        pace = tf.stack(
            [
                tf.stack([tf.clip_by_value(part[name] - 1, 0.0, 1.0) for name in right])
                for part in (behind, ratios)
            ]
        )
        variable = self._state.get("pace", lambda: tf.zeros([2, len(right)]))
        # Before there was a prototype nobody was ahead.
        enough = finite & (tf.add_n(list(right.values())) > 0)
        variable.assign(tf.where(enough, pace, variable.read_value()))

    def get_config(self):
        return {
            "strength": self.strength,
            "entropy": self.entropy,
            "entropy_end_epoch": self.entropy_end_epoch,
            "momentum": self.momentum,
            **super().get_config(),
        }

    def _pace(self, step: Step) -> tf.Variable:
        return self._state.get("pace", lambda: tf.zeros([2, len(step.features)]))

    def _prototypes(self, name: str, num_classes: int, width: int) -> tuple[tf.Variable, ...]:
        return (
            self._state.get(f"{name}_prototypes", lambda: tf.zeros([num_classes, width])),
            self._state.get(f"{name}_known", lambda: tf.zeros([num_classes])),
        )

    def _log_probabilities(self, name: str, step: Step) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns log p of each class, `[B, C]`, and the rows' known classes."""
        feature = tf.cast(step.features[name], tf.float32)
        targets = one_hot(step.logits, step.labels)
        prototypes, known = self._prototypes(name, targets.shape[-1], feature.shape[-1])
        apart = feature[:, tf.newaxis] - prototypes.read_value()
        # The root has no gradient at 0.
        distances = tf.sqrt(tf.reduce_sum(tf.square(apart), axis=-1) + 1e-12)
        known = known.read_value()
        logits = tf.where(known > 0, -distances, tf.fill(tf.shape(distances), -1e9))
        return tf.nn.log_softmax(logits), targets * known
