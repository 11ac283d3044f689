import numpy as np
import pytest
import tensorflow as tf

from input_pipelines import record_reader, records
from input_pipelines.record_reader import RecordReader

SIZES = [[5, 300_000, 1], [70], [9, 8, 7, 2000]]
# More than are read at once, with repeats, and not a multiple of them.
NUMBERS = [7, 0, 3, 1, 2, 2, 6, 5, 4] * 4 + [1]


@pytest.fixture
def written(tmp_path):
    """Three shards of eight records: their contents, and what reads them."""
    random = np.random.default_rng(0)
    contents, shards = [], []
    for number, sizes in enumerate(SIZES):
        with records.write_shard(tmp_path, f"shard{number}") as writer:
            for size in sizes:
                contents.append(random.bytes(size))
                writer.write(contents[-1])
        shards.append(writer.shard)
    return contents, RecordReader([str(tmp_path / shard.file) for shard in shards], shards)


def _read(reader, numbers):
    found = reader.read(tf.constant(numbers, tf.int64))
    found = found.map(lambda number, record: (number, reader.checked(number, record)))
    return list(found.as_numpy_iterator())


@pytest.mark.parametrize("count", [len(NUMBERS), record_reader.READS_AT_ONCE, 3, 0])
def test_records_come_in_the_order_they_are_asked_for(written, count):
    contents, reader = written
    expected = [(number, contents[number]) for number in NUMBERS[:count]]
    assert _read(reader, NUMBERS[:count]) == expected


def _damage(path, damage):
    data = bytearray(path.read_bytes())
    # Frames of 12 and 4 bytes around 9, 8, 7 and 2000: record 6 begins at 25 + 24.
    if damage == "length":
        data[49] ^= 1
    elif damage == "content":
        data[49 + 12] ^= 1
    elif damage == "cut within":
        del data[49 + 15 :]
    elif damage == "cut before":
        del data[49:]
    elif damage == "other records":
        with tf.io.TFRecordWriter(str(path)) as writer:
            for size in (9, 8, 3, 2004):
                writer.write(b"x" * size)
        return
    path.unlink()
    if damage != "gone":
        path.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        ("length", tf.errors.DataLossError, "record at 49"),
        ("content", tf.errors.DataLossError, "record at 61"),
        ("cut within", tf.errors.DataLossError, "record at 49"),
        ("cut before", tf.errors.InvalidArgumentError, r"Received:\].*shard2\].*\[49\]"),
        ("other records", tf.errors.InvalidArgumentError, r"Received:\].*shard2\].*\[49\]"),
        ("gone", tf.errors.NotFoundError, "shard2"),
    ],
)
def test_a_record_that_is_not_what_was_written_is_an_error(
    written, tmp_path, damage, error, message
):
    contents, reader = written
    _damage(tmp_path / "shard2", damage)
    with pytest.raises(error, match=message):
        _read(reader, [0, 6, 1])
    assert _read(reader, [3, 1]) == [(3, contents[3]), (1, contents[1])]
    if damage in ("length", "content"):
        assert _read(reader, [4, 7]) == [(4, contents[4]), (7, contents[7])]


def test_object_stores_are_read_alike(written, tmp_path):
    contents, _ = written
    with records.write_shard("ram://reader", "a") as writer:
        for content in contents:
            writer.write(content)
    reader = RecordReader(["ram://reader/a"], [writer.shard])
    assert _read(reader, [7, 1, 0]) == [(7, contents[7]), (1, contents[1]), (0, contents[0])]
