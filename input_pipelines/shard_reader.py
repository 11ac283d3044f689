"""A few bytes of large shards: what is not wanted is skipped by seeking, never read.

A clip's record holds a few hundred bytes about it and, before and after them, up to megabytes of
sound and pictures. Reading 200,000 clips takes as long as the disk needs for all of them; this
takes a minute.
"""

import bisect
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

import tensorflow as tf

from input_pipelines import files
from input_pipelines.index import Shard

# The length of a record and its checksum come before it, another checksum after it.
_HEADER_BYTES, _LENGTH_BYTES, _FOOTER_BYTES = 12, 8, 4
# A key or a length takes at most ten bytes.
_MAX_VARINT_BYTES = 10
_LENGTH_DELIMITED = 2
_CONTEXT, _ENTRY = 1, 1
# Of what a record says of its clip; longer is what it holds of it.
_MAX_ENTRY_BYTES = 4096


def read_records(
    records_dir: files.Path, shards: Sequence[Shard], positions: Sequence[int]
) -> Iterator[bytes]:
    """Reads some clips of a split.

    Args:
      records_dir: Folder of the shards.
      shards: Of the split, in order.
      positions: Of the wanted clips in the split, from 0, ascending.

    Yields:
      Their serialised records.

    Raises:
      FileNotFoundError: where a shard that is needed is missing.
      ValueError: where it is damaged.
    """
    first = 0
    for shard in shards:
        last = first + shard.num_clips
        ends = bisect.bisect_left(positions, first), bisect.bisect_left(positions, last)
        here = {position - first for position in positions[slice(*ends)]}
        if here:
            with _opened(records_dir, shard) as file:
                for number, (start, length) in enumerate(_spans(file, shard)):
                    if number in here:
                        file.seek(start)
                        yield file.read(length)
        first = last


def read_contexts(records_dir: files.Path, shard: Shard) -> Iterator[dict[str, Any]]:
    """Reads what a shard's records say of their clips.

    Args:
      records_dir: Folder of the shard.
      shard: Of an index.

    Yields:
      For each clip, `tf.train.Feature` by key of the record's context, but for those that hold
      more than 4 KiB, which are sound.

    Raises:
      FileNotFoundError: where the shard is missing.
      ValueError: where it is damaged.
    """
    with _opened(records_dir, shard) as file:
        for start, length in _spans(file, shard):
            context = {}
            for field, at, size in _fields(file, shard, start, start + length):
                if field == _CONTEXT:
                    context |= _small_entries(file, shard, at, at + size)
            yield context


def _small_entries(file: BinaryIO, shard: Shard, start: int, end: int) -> dict[str, Any]:
    entries = {}
    for field, at, size in _fields(file, shard, start, end):
        if field == _ENTRY and size <= _MAX_ENTRY_BYTES:
            file.seek(at)
            entry = tf.train.Features.FeatureEntry.FromString(file.read(size))
            entries[entry.key] = entry.value
    return entries


def _spans(file: BinaryIO, shard: Shard) -> Iterator[tuple[int, int]]:
    """Yields where the bytes of each record begin, and how many they are."""
    at = 0
    for _ in range(shard.num_clips):
        file.seek(at)
        header = file.read(_HEADER_BYTES)
        start, length = at + _HEADER_BYTES, int.from_bytes(header[:_LENGTH_BYTES], "little")
        at = start + length + _FOOTER_BYTES
        if len(header) < _HEADER_BYTES or at > shard.num_bytes:
            raise _damaged(shard)
        yield start, length
    if at != shard.num_bytes:
        raise _damaged(shard)


def _fields(file: BinaryIO, shard: Shard, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yields number, start and size of the fields of a Protocol Buffers message."""
    while start < end:
        file.seek(start)
        head = file.read(2 * _MAX_VARINT_BYTES)
        key, used = _varint(head, 0, shard)
        size, used = _varint(head, used, shard)
        if key & 7 != _LENGTH_DELIMITED or start + used + size > end:
            raise _damaged(shard)
        yield key >> 3, start + used, size
        start += used + size


def _varint(data: bytes, at: int, shard: Shard) -> tuple[int, int]:
    """Returns a number of seven bits a byte, the lowest first, and where it ends."""
    value = 0
    for shift, byte in enumerate(data[at : at + _MAX_VARINT_BYTES]):
        value |= (byte & 127) << 7 * shift
        if byte < 128:
            return value, at + shift + 1
    raise _damaged(shard)


def _opened(records_dir: files.Path, shard: Shard) -> BinaryIO:
    path = files.join(records_dir, shard.file)
    if not files.is_file(path):
        raise FileNotFoundError(f"A shard that the index names is missing. Received: {path!r}.")
    if files.size(path) != shard.num_bytes:
        raise _damaged(shard)
    return files.open_to_read(path)


def _damaged(shard: Shard) -> ValueError:
    return ValueError(
        "A shard is damaged; `python -m launchers.prepare --verify` checks all of them. Received: "
        f"shard={shard.file!r}."
    )
