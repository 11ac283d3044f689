"""Whether a folder of records is what its index says."""

import collections

import tensorflow as tf
import tqdm
from absl import logging

from input_pipelines import files, records
from input_pipelines.index import Index, Shard, read_index
from input_pipelines.progress import progress_bar


def verify(records_dir: files.Path, progress: bool = True) -> Index:
    """Re-reads every record and compares it with the index.

    Of every shard its size and SHA-256; of every record its size, from which follows where it
    starts, the checksum of the file format, that it parses, its label, and that it has sound and
    frames.

    Args:
      records_dir: Folder that `preparation.prepare` wrote.
      progress: Whether to show a progress bar.

    Returns:
      The index.

    Raises:
      FileNotFoundError: where there is no index.
      ValueError: where something differs; its text names every damaged shard.
    """
    index = read_index(records_dir)
    damages = []
    num_clips = sum(split.num_clips for split in index.splits.values())
    with progress_bar("verify", num_clips, show=progress) as bar:
        for name, split in index.splits.items():
            counts = collections.Counter()
            for shard in split.shards:
                if damage := _damage(records_dir, shard, index, counts, bar):
                    damages.append(f"{shard.file}: {damage}")
            if not damages and dict(counts) != split.class_counts:
                damages.append(
                    f"{name}: {dict(counts)} clips of the classes, the index says "
                    f"{split.class_counts}"
                )
    if damages:
        raise ValueError(
            "Records must be what their index says; remove the folder and prepare them again. "
            f"Received: records_dir={str(records_dir)!r}, {'; '.join(damages)}."
        )
    logging.info("%s: %d clips, all as they were written.", records_dir, num_clips)
    return index


def _damage(
    records_dir: files.Path, shard: Shard, index: Index, counts: collections.Counter, bar: tqdm.tqdm
) -> str | None:
    """Returns what is wrong with a shard; counts its labels."""
    path = files.join(records_dir, shard.file)
    if not files.is_file(path):
        return "is missing"
    num_read, sizes = 0, []
    try:
        for serialized in tf.data.TFRecordDataset(path):
            sizes.append(len(serialized.numpy()))
            if damage := _record_damage(serialized, index, counts):
                return f"record {num_read}: {damage}"
            num_read += 1
            bar.update()
    except (tf.errors.DataLossError, tf.errors.InvalidArgumentError) as error:
        return f"record {num_read} cannot be read ({error.message.splitlines()[0]})"
    if num_read != shard.num_clips:
        return f"{num_read} records, the index says {shard.num_clips}"
    if files.size(path) != shard.num_bytes or records.sha256(path) != shard.sha256:
        return "other bytes than were written"
    # Last: where the bytes are those that were written, it is the index that is wrong.
    if " ".join(map(str, sizes)) != shard.record_sizes:
        return f"records of {sizes[:3]}... bytes, the index says {shard.record_sizes[:80]!r}"
    return None


def _record_damage(serialized: tf.Tensor, index: Index, counts: collections.Counter) -> str | None:
    """Returns what is wrong with a record that parses; counts its label."""
    context, sequence = tf.io.parse_single_sequence_example(
        serialized, *records.parsed_features(index.settings.modalities)
    )
    label = int(context[records.LABEL_INDEX])
    if not 0 <= label < len(index.class_names):
        return f"label {label} of {len(index.class_names)} classes"
    counts[index.class_names[label]] += 1
    if "audio" in index.settings.modalities and not len(context[records.WAVEFORM_PCM16].numpy()):
        return "no sound"
    for modality, prefix in records.IMAGE_PREFIXES.items():
        if modality not in index.settings.modalities:
            continue
        num_frames, num_times = (
            len(sequence[f"{prefix}encoded"]),
            len(sequence[f"{prefix}timestamp"]),
        )
        if not num_frames or num_frames != num_times:
            return f"{num_frames} frames and {num_times} times of {modality}"
    return None
