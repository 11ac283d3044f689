"""Networks that tell whether sound and picture belong together, balanced between the answers."""

import threading

import keras
import tensorflow as tf

from ogm_tf.metrics import ModalityTrackers
from ogm_tf.model import OGMModel
from ogm_tf.model_checks import by_modality
from ogm_tf.modulation.discrepancy import discrepancy_ratios
from ogm_tf.modulation.gradients import (
    Contribution,
    compute_gradients,
    compute_scaled_gradients,
    sum_of,
    sum_over_replicas,
)
from ogm_tf.modulation.ogm import OGM
from ogm_tf.modulation.pair_groups import group_scores, scale_rows
from ogm_tf.modulation.scores import correct_predictions, true_class_probabilities
from ogm_tf.modulation.updates import modulate_and_apply

# A label is the place of its group.
GROUPS = ("negative", "positive")


class GroupTrackers(ModalityTrackers):
    """Accuracy, score, ratio and coefficient of negative and of positive pairs."""

    def __init__(self):
        super().__init__(GROUPS)

    def update_accuracy(self, logits, labels, sample_weight=None):
        for name in GROUPS:
            self.accuracy[name].update_state(
                correct_predictions(logits[name], labels), _members(name, labels, sample_weight)
            )

    def update_score(self, logits, labels, sample_weight=None):
        for name in GROUPS:
            self.score[name].update_state(
                true_class_probabilities(logits[name], labels),
                _members(name, labels, sample_weight),
            )


@keras.saving.register_keras_serializable(package="ogm_tf")
class PairModel(OGMModel):
    """Learns from pairs of sound and picture whether they belong together.

    The representation learning of the supplement of Peng et al. (CVPR 2022), section 2.1: the two
    that are balanced are not the modalities but the positive and the negative pairs. The score of a
    group is the mean probability of the right answer over its pairs; from the two scores follow
    ratios and coefficients as for modalities (Eq. 9 and 10), and the gradient of the encoders is

        k_negative * gradient of the negative pairs + k_positive * gradient of the positive pairs,

    to which OGM-GE adds noise of its spread. The fusion's gradient is not touched. A group without
    a pair in the batch damps nobody. A fusion that says `mixes_rows = False`, so that each row of
    its logits depends on that row of the features alone, takes one backward pass, which scales the
    rows between encoders and fusion. Any other, such as one with batch normalisation, may mix
    them: there they are scaled at the logits, and the fusion's own gradient takes one more pass
    through it, inside and outside of the window.

    The coefficients are those of all variables of the encoders; `variables` of the modulation says
    which of them get noise. OGM-GE's noise has the spread of the balanced gradient k_- g_- + k_+
    g_+, where that for modalities has the spread of the gradient before it is damped.

    `fit` reports `positive_accuracy`, `positive_score`, `positive_ratio`, `positive_coefficient`,
    and the same of `negative`; `evaluate` reports the accuracies.

    Args:
      encoders: `{"audio": keras.Model, "visual": keras.Model}`, of any output `[P, ...]`.
      fusion: A layer that takes the list of the encoders' outputs and returns logits `[P, 2]`: of
        no match, and of a match. Its attribute `mixes_rows`, by default True, see above.
      modulation: `ogm_tf.OGM`, `ogm_tf.OGMGE`, or None for plain training.
      **kwargs: Of `keras.Model`.

    Call arguments:
      inputs: `{"audio": [P, ...], "visual": [P, ...]}`.
      training: Whether layers such as dropout behave as in training. Default False.

    Raises:
      ValueError: where encoders or fusion are missing or of a wrong kind, or gradients are to be
        accumulated: coefficients belong to the pairs of one batch.
    """

    def __init__(self, encoders=None, fusion=None, modulation=None, **kwargs):
        if kwargs.get("accumulate_steps", 1) != 1:
            raise ValueError(
                "Pairs are balanced within a batch: `accumulate_steps` must be 1. "
                f"Received: accumulate_steps={kwargs['accumulate_steps']!r}."
            )
        super().__init__(encoders, fusion, modulation, **kwargs)
        # One value a thread, for every replica has a thread and coefficients of its own rows.
        self._rows = threading.local()

    def _require_modulation(self, modulation):
        super()._require_modulation(modulation)
        if modulation is not None and not isinstance(modulation, OGM):
            raise ValueError(
                "Groups of pairs are balanced by ogm_tf.OGM or ogm_tf.OGMGE alone: the other "
                f"methods are defined for modalities. Received: modulation={modulation!r}."
            )

    def forward(self, inputs, training=False):
        inputs = by_modality(inputs, list(self.encoders))
        features = [
            scale_rows(encoder(inputs[name], training=training), self._row_coefficients)
            for name, encoder in self.encoders.items()
        ]
        logits = self.fusion(features)
        if training and getattr(self._rows, "in_step", False):
            self._rows.logits = logits
        return logits, dict.fromkeys(GROUPS, logits)

    def train_step(self, data):
        self._rows.in_step = True
        try:
            return super().train_step(data)
        finally:
            # What a step has traced would live as long as the thread.
            vars(self._rows).clear()

    def _row_coefficients(self) -> tf.Tensor | None:
        return getattr(self._rows, "coefficients", None)

    def _mixes_rows(self) -> bool:
        return getattr(self.fusion, "mixes_rows", True)

    def _make_trackers(self):
        return GroupTrackers()

    def _causes(self):
        return ["the loss", "what the method makes of the batch"]

    def _learn(self, tape, losses, step):
        labels = tf.reshape(step.labels, [-1])
        sums_and_counts = group_scores(step.unimodal["positive"], labels, step.sample_weight)
        loss = tf.cast(losses.total, tf.float32)
        totals = tf.concat([tf.reshape(sums_and_counts, [-1]), [loss]], axis=0)
        totals = sum_over_replicas([totals])[0]
        sums, counts, loss_of_all = totals[:2], totals[2:4], totals[4]
        scores = tf.math.divide_no_nan(sums, counts)
        ratios = discrepancy_ratios(dict(zip(GROUPS, tf.unstack(scores), strict=True)))
        both = tf.reduce_all(counts > 0)
        ratios = {name: tf.where(both, ratio, 1.0) for name, ratio in ratios.items()}
        coefficients = {name: tf.ones([]) for name in GROUPS}
        if self.modulation is not None:
            active = self.modulation.is_active(self.epoch)
            for name, value in self.modulation.coefficients(ratios).items():
                coefficients[name] = tf.where(active, value, 1.0)
        batch = self._contribution_of_groups(tape, losses, scores, labels, coefficients)
        finite = modulate_and_apply(
            batch,
            [loss_of_all, tf.add_n(list(coefficients.values()))],
            # The rows have been scaled: what is left to do is the noise.
            {name: tf.ones([]) for name in self.branches},
            self.branches,
            self.trainable_variables,
            self.optimizer,
            self.modulation,
            self.epoch,
        )
        is_finite = tf.reduce_all(finite)
        self._trackers.update_balance(ratios, coefficients, is_finite)
        self._trackers.skipped.update_state(finite)
        return is_finite

    def _contribution_of_groups(self, tape, losses, scores, labels, coefficients) -> Contribution:
        """Returns the contribution in which each group counts by its coefficient."""
        if self.modulation is None:
            return self._contribution(tape, losses, scores)
        rows = tf.gather(tf.stack([coefficients[name] for name in GROUPS]), labels)
        if self._mixes_rows():
            return self._contribution_of_mixed_rows(tape, losses, scores, rows)
        self._rows.coefficients = rows
        return self._contribution(tape, losses, scores)

    def _contribution_of_mixed_rows(self, tape, losses, scores, rows) -> Contribution:
        variables = self.trainable_variables
        in_encoders = {id(member) for branch in self.branches.values() for member in branch}
        before = [variable for variable in variables if id(variable) in in_encoders]
        behind = [variable for variable in variables if id(variable) not in in_encoders]
        penalties = [None] * len(variables)
        if losses.regularization is not None:
            penalties = compute_gradients(self.optimizer, losses.regularization, variables, tape)
        scaled = compute_scaled_gradients(
            self.optimizer,
            losses.total,
            losses.regularization,
            self._rows.logits,
            rows,
            before,
            tape,
        )
        whole = compute_gradients(self.optimizer, losses.total, behind, tape)
        found = {
            id(v): gradient for v, gradient in zip(before + behind, [*scaled, *whole], strict=True)
        }
        # The others' gradients have their penalties in them.
        gradients = [
            sum_of(found[id(variable)], penalty if id(variable) in in_encoders else None)
            for variable, penalty in zip(variables, penalties, strict=True)
        ]
        return Contribution(scores, losses.total, gradients, penalties, tf.zeros([0]))


def _members(name: str, labels: tf.Tensor, sample_weight: tf.Tensor | None) -> tf.Tensor:
    """Returns the weight of every pair in a group, float32 `[P]`."""
    members = tf.cast(tf.reshape(labels, [-1]) == GROUPS.index(name), tf.float32)
    if sample_weight is None:
        return members
    return members * tf.cast(tf.reshape(sample_weight, [-1]), tf.float32)
