"""Adaptive gradient modulation: by what each modality adds to the answer, damped or boosted."""

import itertools
import math
from collections.abc import Mapping

import keras
import tensorflow as tf

from ogm_tf.modulation.branches import VariableFilter, get_filter, serialized_filter
from ogm_tf.modulation.interface import Modulation, Step, require_number
from ogm_tf.modulation.scores import true_class_log_probabilities, weighted

# Bounds, without which the exponents of a sample that is wrong beyond doubt would overflow.
_LARGEST_GAP = 7.0
_LARGEST_LOSS = -math.log(1e-8)


@keras.saving.register_keras_serializable(package="ogm_tf")
class AGM(Modulation):
    """Multiplies the gradients of modality u by k_u, which may be less or more than 1.

    Li et al., "Boosting Multi-modal Model Performance with Adaptive Gradient Modulation" (ICCV
    2023). With f(S) the fused logits where the inputs of all modalities but those of S are zeros,
    and f of none 0, modality u answers by its Shapley value

        phi_u = sum over S without u of |S|! (M - |S| - 1)! / M! (f(S and u) - f(S))
        s_u = mean of -log softmax(phi_u)[true class]
        r_u = exp(mean over the others v of (s_v - s_u))         how far u is ahead
        k_u = exp(alpha (tau_u - r_u))

    where tau_u is made as r_u is, of the mean of s over all updates before. Two modalities have
    phi_u = (f(u, v) - f(v) + f(u)) / 2. Not of the paper are two bounds: a sample's loss counts as
    -log 1e-8 at most, and tau_u - r_u as 7 at most, as in BalanceBenchmark. An encoder has a
    factor of its own, and the head none.

    The 2^M - 1 passes without gradient are of the network as it is in evaluation: those of zeros
    would spoil what batch normalisation keeps. After the window there are none, and ratios are 1.

    Args:
      alpha: Finite, >= 0, by default 1; 0 turns it off.
      start_epoch: As of `Modulation`.
      end_epoch: As of `Modulation`.
      variables: Which of an encoder's variables, as of `OGM`; by default "all".

    Raises:
      ValueError: where a value is out of its range.
    """

    remembers = True

    def __init__(
        self,
        alpha: float = 1.0,
        start_epoch: int = 0,
        end_epoch: int | None = None,
        variables: str | VariableFilter = "all",
    ):
        super().__init__(start_epoch, end_epoch)
        self.alpha = require_number("alpha", alpha, ">= 0", lambda value: value >= 0)
        get_filter(variables)
        self.variables = variables

    def accepts(self, variable):
        return get_filter(self.variables)(variable)

    def statistics(self, step):
        """Returns the sum of each modality's -log p of the true class, and the samples' weight.

        After the window, zeros: nobody needs them any more, and they are dear.
        """
        if self.end_epoch is None:
            return self._compared(step)
        return tf.cond(
            step.moment.epoch <= self.end_epoch,
            lambda: self._compared(step),
            lambda: tf.zeros([len(step.unimodal) + 1]),
        )

    def _compared(self, step: Step) -> tf.Tensor:
        losses = []
        for logits in marginal_logits(step).values():
            own = -true_class_log_probabilities(logits, step.labels)
            own = tf.minimum(own, _LARGEST_LOSS)
            losses.append(tf.reduce_sum(weighted(own, step.sample_weight)))
        rows = tf.ones_like(true_class_log_probabilities(step.logits, step.labels))
        count = tf.reduce_sum(weighted(rows, step.sample_weight))
        return tf.stack([*losses, count])

    def ratios(self, scores, statistics):
        return dict(zip(scores, tf.unstack(_ahead(_means(statistics))), strict=True))

    def coefficients(self, ratios):
        """Returns each modality's factor: above 1 for one that is less far ahead than it was."""
        mean, count = self._mean(len(ratios)), self._count()
        reference = dict(zip(ratios, tf.unstack(_ahead(mean.read_value())), strict=True))
        result = {}
        for name, ratio in ratios.items():
            gap = tf.minimum(reference[name] - ratio, _LARGEST_GAP)
            result[name] = tf.where(count.read_value() > 0, tf.exp(self.alpha * gap), 1.0)
        return result

    def update_state(self, scores, statistics, finite):
        mean, count = self._mean(len(scores)), self._count()
        before, number = mean.read_value(), count.read_value()
        # After the window nothing is compared.
        finite &= statistics[-1] > 0
        after = before + (_means(statistics) - before) / (number + 1)
        mean.assign(tf.where(finite, after, before))
        count.assign(tf.where(finite, number + 1, number))

    def get_config(self):
        return {
            "alpha": self.alpha,
            **super().get_config(),
            "variables": serialized_filter(self.variables),
        }

    def _mean(self, num_modalities: int) -> tf.Variable:
        return self._state.get("mean", lambda: tf.zeros([num_modalities]))

    def _count(self) -> tf.Variable:
        return self._state.get("count", lambda: tf.zeros([]))


def marginal_logits(step: Step) -> dict[str, tf.Tensor]:
    """Returns each modality's Shapley value of the fused logits; see `AGM`.

    Args:
      step: Of a network whose inputs are `{modality: tensor}`, or a list in the order of its
        modalities.
    """
    names = list(step.unimodal)
    inputs = step.inputs
    if not isinstance(inputs, Mapping):
        inputs = dict(zip(names, inputs, strict=True))
    found: dict[frozenset[str], tf.Tensor | float] = {frozenset(): 0.0}
    for size in range(1, len(names) + 1):
        for present in map(frozenset, itertools.combinations(names, size)):
            parts = {
                name: inputs[name] if name in present else tf.zeros_like(inputs[name])
                for name in names
            }
            found[present] = tf.cast(tf.stop_gradient(step.network(parts)), tf.float32)
    total = math.factorial(len(names))
    result = {}
    for name in names:
        terms = [
            math.factorial(len(rest)) * math.factorial(len(names) - len(rest) - 1) / total
            * (found[rest | {name}] - found[rest])
            for rest in found
            if name not in rest
        ]  # fmt: skip
        result[name] = tf.add_n(terms)
    return result


def _means(statistics: tf.Tensor) -> tf.Tensor:
    return tf.math.divide_no_nan(statistics[:-1], statistics[-1])


def _ahead(losses: tf.Tensor) -> tf.Tensor:
    """Returns exp of how much larger the others' losses are than each one's own, `[M]`."""
    others = (tf.reduce_sum(losses) - losses) / float(losses.shape[0] - 1)
    return tf.exp(others - losses)
