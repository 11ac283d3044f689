"""Mean and standard deviation of what a model gets, measured over the train split."""

import dataclasses
import math

import numpy as np
import tensorflow as tf
from absl import logging

from input_pipelines import clips, files
from input_pipelines.index import Index, Statistics, read_index, shard_paths, write_index
from input_pipelines.progress import progress_bar
from input_pipelines.settings import ClipSettings

SPLIT = "train"
# Flow stays in [0, 1], around the 0.5 of what does not move.
MEASURED = ("audio", "visual")
# As many as float32 holds; the order of a sum, which differs between machines, shows after them.
_DIGITS = 7


@dataclasses.dataclass
class Moments:
    """Mean and spread of numbers that come in parts, in float64 and in one pass.

    Sums of squares lose every digit where the mean is large; merging the parts' own means and
    squared deviations (Chan, Golub and LeVeque) does not.

    Attributes:
      count: Numbers so far, of each channel.
      mean: Of them, `[channels]`.
      squares: Sum of their squared distances to the mean, `[channels]`.
    """

    count: int = 0
    mean: np.ndarray | float = 0.0
    squares: np.ndarray | float = 0.0

    def add(self, count: int, mean: np.ndarray, squares: np.ndarray) -> None:
        """Merges a part, which is given by what the attributes say of it."""
        total = self.count + count
        distance = mean - self.mean
        self.squares = self.squares + squares + distance**2 * (self.count * count / total)
        self.mean = self.mean + distance * (count / total)
        self.count = total

    def statistics(self, num_clips: int) -> Statistics:
        """Returns mean and standard deviation, of the population."""
        deviation = np.sqrt(np.atleast_1d(self.squares) / self.count)
        return Statistics(_rounded(np.atleast_1d(self.mean)), _rounded(deviation), num_clips)


def measure(
    records_dir: files.Path, *, limit_clips: int = 0, progress: bool = True
) -> tuple[Index, bool]:
    """Measures the inputs of the train split and writes the result into the records' index.

    What is measured is what evaluation sees before it is normalised: of sound all elements of the
    features together, of pictures each of red, green and blue in [0, 1]. The same records give the
    same numbers. What has been measured before stays, for models may have been trained with it,
    unless it was measured over fewer clips.

    Args:
      records_dir: Folder that `preparation.prepare` wrote.
      limit_clips: Clips to measure, of all shards alike, >= 0; 0: all.
      progress: Whether to show a progress bar.

    Returns:
      The index with its statistics, and whether there was anything left to measure.

    Raises:
      FileNotFoundError: where the index or a shard is missing.
      ValueError: where `limit_clips` is below 0, there are no training clips, a shard has been
        cut, or an input is constant or not finite.
    """
    if limit_clips < 0:
        raise ValueError(f"`limit_clips` must be >= 0. Received: limit_clips={limit_clips}.")
    index = read_index(records_dir)
    num_clips = index.splits[SPLIT].num_clips if SPLIT in index.splits else 0
    count = min(limit_clips or num_clips, num_clips)
    before = index.statistics
    wanted = [
        name
        for name in index.settings.modalities
        if name in MEASURED and (name not in before or before[name].num_clips < count)
    ]
    if not wanted:
        return index, False
    if not num_clips:
        raise ValueError(
            f"There must be clips of the train split to measure. Received: records_dir="
            f"{str(records_dir)!r} with {', '.join(index.splits) or 'nothing'}."
        )
    found = {name: Moments() for name in wanted}
    dataset = _moments_of_clips(records_dir, index, wanted, count)
    with progress_bar("measure", count, show=progress) as bar:
        for parts in dataset:
            for name, part in parts.items():
                found[name].add(*(value.numpy() for value in part))
            bar.update()
    statistics = {name: moments.statistics(count) for name, moments in found.items()}
    for name, values in statistics.items():
        _check(name, values)
    index = dataclasses.replace(index, statistics=index.statistics | statistics)
    write_index(records_dir, index)
    logging.info("%s: measured %d of %d clips.", records_dir, count, num_clips)
    return index, True


def _moments_of_clips(
    records_dir: files.Path, index: Index, names: list[str], count: int
) -> tf.data.Dataset:
    """Returns count, mean and squares of each input of `count` clips."""
    split = index.splits[SPLIT]
    # The first clips of every shard: shards are cut by hash, so that no place in one is special.
    ends = np.cumsum([0, *(shard.num_clips for shard in split.shards)]) * count // split.num_clips
    paths = shard_paths(records_dir, split)
    dataset = tf.data.Dataset.from_tensor_slices((paths, np.diff(ends)))
    dataset = dataset.flat_map(lambda path, wanted: tf.data.TFRecordDataset(path).take(wanted))
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(count))
    load = clips.Loader(_not_normalised(index.settings), seed=0, training=False)

    def measure_clip(serialized):
        inputs, _ = load(tf.constant(0, tf.int64), serialized)
        return {name: _moments(inputs[name], name) for name in names}

    dataset = dataset.map(measure_clip, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return dataset.prefetch(tf.data.AUTOTUNE)


def _not_normalised(settings: ClipSettings) -> ClipSettings:
    """Returns settings that load the same inputs, normalised by nothing."""
    return dataclasses.replace(
        settings,
        audio=dataclasses.replace(settings.audio, normalization="fixed", mean=0.0, deviation=1.0),
        video=dataclasses.replace(
            settings.video, normalization="fixed", mean=(0.0,) * 3, deviation=(1.0,) * 3
        ),
    )


def _moments(values: tf.Tensor, name: str) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    channels = 1 if name == "audio" else 3
    values = tf.reshape(tf.cast(values, tf.float64), [-1, channels])
    mean = tf.reduce_mean(values, axis=0)
    squares = tf.reduce_sum(tf.square(values - mean), axis=0)
    return tf.shape(values)[0], mean, squares


def _rounded(values: np.ndarray) -> tuple[float, ...]:
    return tuple(float(f"{value:.{_DIGITS}g}") for value in values)


def _check(name: str, values: Statistics) -> None:
    if not all(map(math.isfinite, (*values.mean, *values.deviation))):
        rule = "finite"
    elif not all(deviation > 0 for deviation in values.deviation):
        rule = "different from each other"
    else:
        return
    raise ValueError(
        f"The numbers of a modality must be {rule}. Received: {name} with mean={values.mean} and "
        f"deviation={values.deviation}."
    )
