"""From record shards to batches of pairs of sound and frames that match or do not.

Correspondence: a match is sound and frames of one window of a clip; in a mismatch they are of two
clips. Synchronization: in a mismatch the sound is of another window of the same clip. Frames are
those whose stored times lie in their window; where the picture has a gap that is longer than the
window, the one that is nearest to its middle.

The batches follow from (run seed, epoch, step) alone, as in `dataset`. Pairs that share a clip are
a group: they are read together, and stay in one worker's rows.
"""

import dataclasses
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from input_pipelines import files, pair_clips
from input_pipelines.clips import Loader
from input_pipelines.dataset import finish, steps_per_epoch
from input_pipelines.index import Index, read_index, shard_paths
from input_pipelines.order import Rows, epoch_coins, epoch_order, epoch_others, own_positions
from input_pipelines.pair_groups import GroupLoader, Task
from input_pipelines.record_reader import RecordReader

# Shifts of multisensory's pairs.
SHIFT_S = (2.0, 5.8)
# Evaluation has the same pairs in every run, whatever its seed.
_EVALUATION_SEED = 0


class PairData(NamedTuple):
    """Pairs, and what they were made of.

    Args:
      dataset: Elements as `pair_dataset` says.
      steps_per_epoch: Global batches of an epoch; of an evaluation, all of them.
      num_clips: Clips in use.
      left_out: Names of the clips that are too short.
      index: Of the records.
    """

    dataset: tf.data.Dataset
    steps_per_epoch: int
    num_clips: int
    left_out: tuple[str, ...]
    index: Index


def pair_dataset(
    records_dir: files.Path,
    split: str,
    batch_size: int,
    seed: int,
    *,
    kind: str = "correspondence",
    sampling: str = "balanced",
    shift_s: tuple[float, float] = SHIFT_S,
    start_step: int = 0,
    rows: Rows | None = None,
    training: bool = True,
) -> PairData:
    """Batches of pairs: endless for training, each clip's two for evaluation.

    In training every epoch is a new permutation of the clips, its remainder left out. With
    "balanced", half of every batch and of any worker's part of it matches: in correspondence two
    clips give their frames, one to a match and one to a mismatch; in synchronization one clip's
    frames are in both, in random order. With "coin" every clip is in one pair an epoch. The sound
    of a mismatch is that of any other clip; its window and that of the frames are drawn apart from
    each other. Shifted windows are uniform over all ordered pairs of starts whose distance lies in
    `shift_s`, so shifts that fit a clip more often are more frequent; `ClipSettings.window` does
    not count there.

    In evaluation the pairs of a clip follow each other, the match first. Correspondence has the
    middle windows and in the mismatches every clip's sound once; the shifts of synchronization are
    drawn as in training, but are the same in every evaluation. Neither depends on `seed`.

    Clips that are shorter than the window, for synchronization with the least shift, are left out
    and named in the log.

    Args:
      records_dir: Folder that `preparation.prepare` wrote, with sound and pictures.
      split: Name of the split.
      batch_size: Pairs P of a global batch, >= 1; even unless a coin decides.
      seed: Of order, pairs, windows and augmentation.
      kind: "correspondence" or "synchronization".
      sampling: Of training: "balanced", or "coin": each pair's label by a fair coin.
      shift_s: Least and largest shift of synchronization, seconds > 0.
      start_step: Global batches of training already consumed; the dataset continues after them.
      rows: Of every global batch, those to read; None: all, in whole batches.
      training: Whether to augment and repeat.

    Returns:
      Elements `({"audio": [P, ...], "visual": [P, N, H, W, 3]}, label int32 [P])`, 1 for a match,
      in the shapes of `ClipSettings.shapes`; in evaluation followed by weight float32 `[P]`, 0 in
      the rows of zeros that fill the last batch. `rows.batch_size` instead of P where `rows` are
      given.

    Raises:
      ValueError: where an argument is out of range, the split is unknown or has too few clips that
        are long enough, the rows do not divide the batch, or a shard has been cut.
      FileNotFoundError: where the index or a shard is missing.
    """
    task = Task(kind, sampling, tuple(shift_s), training)
    task.check_batches(batch_size, start_step, rows)
    index = read_index(records_dir)
    settings = pair_clips.pair_settings(index)
    num_clips = steps_per_epoch(index, 1, split)
    reader = RecordReader(shard_paths(records_dir, index.splits[split]), index.splits[split].shards)
    usable, left_out = pair_clips.long_enough(index, split, reader, settings, task)
    pair_clips.require_enough(task, settings, split, len(usable), num_clips, batch_size)
    load = Loader(settings, seed if training else _EVALUATION_SEED, training)
    source = _Source(task, reader, usable, load)
    if training:
        dataset, steps = source.training_pairs(batch_size, start_step, rows)
    else:
        dataset, steps = source.evaluation_pairs(batch_size, rows)
    return PairData(dataset, steps, len(usable), left_out, index)


@dataclasses.dataclass(frozen=True)
class _Source:
    """Makes pairs of the clips whose numbers are `usable`, int64 `[n]`."""

    task: Task
    reader: RecordReader
    usable: np.ndarray
    load: Loader

    def training_pairs(
        self, batch_size: int, start_step: int, rows: Rows | None
    ) -> tuple[tf.data.Dataset, int]:
        """Returns endless batches, and how many of them are an epoch."""
        size = self.task.group_size
        steps = len(self.usable) * size // (batch_size * self.task.clips_per_group)
        groups, batch_rows = _own_groups(steps, batch_size, size, rows)
        num_groups = steps * batch_size // size
        first_epoch, first_step = divmod(start_step, steps)
        num_skipped = first_step * (len(groups) // steps)
        groups, usable = tf.constant(groups), tf.constant(self.usable)

        def read_epoch(epoch: tf.Tensor) -> tf.data.Dataset:
            own = groups[tf.where(epoch == first_epoch, num_skipped, 0) :]
            chosen, is_match = self._epoch(epoch, num_groups)
            samples = epoch * num_groups + own
            numbers = tf.gather(usable, tf.gather(chosen, own))
            return self._read(samples, tf.gather(is_match, own), numbers)

        dataset = tf.data.Dataset.range(first_epoch, tf.int64.max).flat_map(read_epoch)
        dataset = dataset.map(self._pairs, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        return _batched(dataset, batch_rows, size, rows), steps

    def evaluation_pairs(self, batch_size: int, rows: Rows | None) -> tuple[tf.data.Dataset, int]:
        """Returns the batches of one evaluation, and their number."""
        num_clips = len(self.usable)
        steps = -(-num_clips * 2 // batch_size)
        groups, batch_rows = _own_groups(steps, batch_size, 2, rows)
        own = groups[groups < num_clips]
        numbers, is_match = self._evaluation_numbers()[own], tf.ones([len(own)], tf.bool)

        def weighted(*element):
            return *self._pairs(*element), tf.ones([2])

        dataset = self._read(tf.constant(numbers[:, 0]), is_match, tf.constant(numbers))
        dataset = dataset.map(weighted, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        if missing := len(groups) - len(own):
            spec = dataset.element_spec
            padding = tf.nest.map_structure(lambda part: tf.zeros(part.shape, part.dtype), spec)
            dataset = dataset.concatenate(tf.data.Dataset.from_tensors(padding).repeat(missing))
        return _batched(dataset, batch_rows, 2, rows), steps

    def _epoch(self, epoch: tf.Tensor, num_groups: int) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the clips of each group, int64 `[groups, R]`, and if its first pair matches.

        Synchronization needs one clip; correspondence those of the frames, first the match's, then
        the one of the mismatch's sound. All are places in `usable`.
        """
        num_clips = len(self.usable)
        per_group = self.task.clips_per_group
        order = epoch_order(self.load.seed, epoch, num_clips)[: num_groups * per_group]
        chosen = tf.reshape(order, [num_groups, per_group])
        is_match = epoch_coins(self.load.seed, epoch, num_groups)
        if self.task.kind == "correspondence":
            own = chosen[:, -1]
            others = epoch_others(self.load.seed, epoch, own, num_clips)
            if self.task.is_coin:
                # A record that is not used is not read from far.
                others = tf.where(is_match, own, others)
            chosen = tf.concat([chosen, others[:, tf.newaxis]], axis=1)
        return chosen, is_match

    def _evaluation_numbers(self) -> np.ndarray:
        """Returns each group's clips, int64 `[num_clips, R]`, in order of the frames' clips."""
        if self.task.kind == "synchronization":
            return self.usable[:, np.newaxis]
        # Neighbours in the records may be of one kind.
        order = epoch_order(self.load.seed, 0, len(self.usable)).numpy()
        others = np.empty_like(order)
        others[order] = np.roll(order, -1)
        return np.stack([self.usable, self.usable[others]], axis=1)

    def _read(self, samples: tf.Tensor, is_match: tf.Tensor, numbers: tf.Tensor) -> tf.data.Dataset:
        """Returns of each group: number of its draws, if its first pair matches, its records."""
        read = self.reader.read(tf.reshape(numbers, [-1]))
        read = read.batch(numbers.shape[1], drop_remainder=True)
        slices = tf.data.Dataset.from_tensor_slices((samples, is_match))
        return tf.data.Dataset.zip((slices, read))

    @tf.autograph.experimental.do_not_convert
    def _pairs(
        self, draws: tuple[tf.Tensor, tf.Tensor], read: tuple[tf.Tensor, tf.Tensor]
    ) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        """Returns inputs and labels of a group's pairs."""
        places = range(self.task.num_records)
        records = [self.reader.checked(read[0][place], read[1][place]) for place in places]
        return GroupLoader(self.task, self.load)(*draws, records)


def _own_groups(
    steps: int, batch_size: int, group_size: int, rows: Rows | None
) -> tuple[np.ndarray, int]:
    """Returns the groups that a worker reads in an epoch, and the rows of its batches."""
    positions, batch_rows = own_positions(steps, batch_size, rows)
    return positions[::group_size] // group_size, batch_rows


def _batched(
    dataset: tf.data.Dataset, batch_rows: int, group_size: int, rows: Rows | None
) -> tf.data.Dataset:
    """Returns batches of rows, of a dataset of groups `[group_size, ...]`."""

    def as_rows(*element):
        return tf.nest.map_structure(
            lambda part: tf.reshape(part, [batch_rows, *part.shape[2:]]), element
        )

    dataset = dataset.batch(batch_rows // group_size, drop_remainder=True).map(as_rows)
    return finish(dataset, rows)
