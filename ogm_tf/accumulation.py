"""Gradient accumulation: several batches of the dataset that count as one."""

import tensorflow as tf

from ogm_tf.modulation.gradients import Contribution


class Accumulator:
    """Sums of what this replica's last batches contribute to an update.

    A plain object, so that a model holding it counts none of its variables among its weights.

    Args:
      num_batches: Batches of the dataset in one update, >= 1; with 1 there are no variables.
    """

    def __init__(self, num_batches: int):
        self.num_batches = num_batches
        self._count: tf.Variable | None = None
        self._sums: list[tf.Variable] = []

    @property
    def variables(self) -> list[tf.Variable]:
        """The sums and the count; none before the first batch."""
        return [] if self._count is None else [*self._sums, self._count]

    def forget(self) -> None:
        """Forgets the batches added, and of which variables they were."""
        self._sums, self._count = [], None

    @property
    def count(self) -> tf.Tensor:
        """Batches added since the last update, int64 `[]`."""
        return tf.zeros([], tf.int64) if self._count is None else self._count.read_value()

    def clear(self) -> None:
        """Forgets the batches added."""
        if self._count is not None:
            self._count.assign(0)

    def add(self, batch: Contribution) -> tf.Tensor:
        """Adds a batch; the first after an update replaces the sums.

        Returns:
          Batches added since the last update, int64 `[]`; 0 where an update is due.
        """
        values = _tensors(batch)
        with tf.init_scope():
            if self._count is None:
                self._sums = [_replica_local(value.shape, value.dtype) for value in values]
                self._count = _replica_local(
                    [], tf.int64, tf.VariableAggregation.ONLY_FIRST_REPLICA
                )
        count = self._count.read_value()
        for total, value in zip(self._sums, values, strict=True):
            # Not a product with 0: the sums of a skipped update may not be finite.
            total.assign(tf.where(count == 0, value, total.read_value() + value))
        count = (count + 1) % self.num_batches
        self._count.assign(count)
        return count

    def mean(self, like: Contribution) -> Contribution:
        """Returns what all batches contribute together.

        Args:
          like: The contribution of one of them, for its structure.

        Returns:
          The sums of scores and statistics, and the means of loss and gradients.
        """
        sums = iter(self._sums)
        scores, statistics = next(sums).read_value(), next(sums).read_value()
        means = (total.read_value() / self.num_batches for total in sums)
        return Contribution(
            scores,
            next(means),
            [None if value is None else next(means) for value in like.gradients],
            [None if value is None else next(means) for value in like.penalties],
            statistics,
            [None if value is None else next(means) for value in like.added],
        )


def _tensors(batch: Contribution) -> list[tf.Tensor]:
    values = (
        batch.scores,
        batch.statistics,
        batch.loss,
        *batch.gradients,
        *batch.penalties,
        *batch.added,
    )
    return [tf.convert_to_tensor(value) for value in values if value is not None]


def _replica_local(
    shape: tf.TensorShape | list[int],
    dtype: tf.DType,
    # What the replicas have of a sum adds up, so that it can be divided among others.
    aggregation: tf.VariableAggregation = tf.VariableAggregation.SUM,
) -> tf.Variable:
    """Returns a variable of zeros of which every replica has its own value."""
    return tf.Variable(
        tf.zeros(shape, dtype),
        trainable=False,
        synchronization=tf.VariableSynchronization.ON_READ,
        aggregation=aggregation,
    )
