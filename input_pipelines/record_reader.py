"""Reads the records of a split one by one, from wherever they lie in their shards.

Nothing but the wanted records is read, through TensorFlow's file systems, with the checksums of
the file format; a file is open while one of its records is read.
"""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from input_pipelines.index import RECORD_FRAME_BYTES, Shard

# A read from an object store is a wait of tens of milliseconds, in which others go on.
READS_AT_ONCE = 32


class RecordReader:
    """The records of some shards, numbered in their order.

    Args:
      paths: Of the shards.
      shards: What the index says of them.
    """

    def __init__(self, paths: Sequence[str], shards: Sequence[Shard]):
        offsets, sizes = zip(*(shard.places() for shard in shards), strict=True)
        counts = [shard.num_clips for shard in shards]
        # Eager tensors, which datasets refer to; arrays would be copied into each of their graphs.
        self._paths = tf.constant(list(paths))
        self._shards = tf.constant(np.repeat(np.arange(len(counts)), counts))
        self._offsets = tf.constant(np.concatenate(offsets))
        self._sizes = tf.constant(np.concatenate(sizes))

    @tf.autograph.experimental.do_not_convert
    def read(self, numbers: tf.Tensor) -> tf.data.Dataset:
        """Returns a dataset of records, to be `checked`, in the order of `numbers`, int64 `[N]`.

        Its elements are the number and the record, a string scalar.

        Raises:
          tf.errors.NotFoundError: on iteration, where a shard is gone; it names the file.
          tf.errors.DataLossError: on iteration, where a record is cut or fails its checksums; it
            names the byte, `verification.verify` the file.
        """
        lanes = tf.data.Dataset.range(READS_AT_ONCE).interleave(
            lambda lane: self._read_in_turn(numbers[lane::READS_AT_ONCE]),
            cycle_length=READS_AT_ONCE,
            num_parallel_calls=READS_AT_ONCE,
            deterministic=True,
        )
        return tf.data.Dataset.zip((tf.data.Dataset.from_tensor_slices(numbers), lanes))

    def checked(self, number: tf.Tensor, record: tf.Tensor) -> tf.Tensor:
        """Returns a record that `read` gave, if it is one.

        It belongs into the map that is made of the records anyway: one of its own costs more.

        Raises:
          tf.errors.InvalidArgumentError: where the shard ends before it, or has another one there;
            it names the file.
        """
        is_whole = tf.strings.length(record) == tf.cast(self._sizes[number], tf.int32)
        path, offset = self._paths[self._shards[number]], self._offsets[number]
        rule = "Records must stay as they were written; try launchers.prepare --verify. Received:"
        problem = [rule, path, "without its record at byte", offset]
        with tf.control_dependencies([tf.debugging.Assert(is_whole, problem)]):
            return tf.identity(record)

    def _read_in_turn(self, numbers: tf.Tensor) -> tf.data.Dataset:
        shards = tf.gather(self._shards, numbers)
        places = (shards, tf.gather(self._offsets, numbers), tf.gather(self._sizes, numbers))
        return tf.data.Dataset.from_tensor_slices(places).flat_map(self._read_one)

    @tf.autograph.experimental.do_not_convert
    def _read_one(self, shard: tf.Tensor, offset: tf.Tensor, size: tf.Tensor) -> tf.data.Dataset:
        """Returns a dataset of one record; of the empty string where the file ends before it."""
        records = tf.data.experimental.from_variant(
            tf.raw_ops.TFRecordDatasetV2(
                filenames=self._paths[shard][tf.newaxis],
                compression_type="",
                # All of the record at once, and nothing of the next.
                buffer_size=size + RECORD_FRAME_BYTES,
                byte_offsets=offset[tf.newaxis],
            ),
            tf.TensorSpec([], tf.string),
        )
        # Not from_tensors: with deterministic operations, TensorFlow would read one at a time.
        nothing = tf.data.Dataset.from_tensor_slices([""])
        return records.concatenate(nothing).take(1)
