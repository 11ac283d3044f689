"""Which clips come when, and whose they are: of one machine and of several."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from input_pipelines import dataset
from input_pipelines.order import epoch_order
from tests.input_pipelines import handmade_records
from tests.input_pipelines.handmade_records import assert_equal, flat, random_clip

NOISE = {"audio_noise_snr_db": 5.0}


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """11 training clips, 7 of test; the n-th is loudest in bin 2 (n + 1) of its spectrogram."""
    examples = [random_clip(number) for number in range(11)]
    splits = {"train": examples, "test": examples[:7]}
    return handmade_records.write(tmp_path_factory.mktemp("clips"), splits, shards=3)


def test_batches_hold_the_clips_of_the_epoch_s_order(clips):
    for step, (inputs, _) in enumerate(dataset.train_dataset(clips, 4, seed=8).dataset.take(6)):
        bins = np.argmax(np.mean(np.exp(inputs["audio"]), axis=(2, 3)), axis=1)
        # Two steps an epoch; three clips are left over.
        order = epoch_order(8, step // 2, 11).numpy()[4 * (step % 2) :][:4]
        np.testing.assert_array_equal(bins // 2 - 1, order)


def test_starting_late_equals_continuing(clips):
    def batches(start, rows=None):
        data = dataset.train_dataset(clips, 4, seed=1, start_step=start, rows=rows, **NOISE)
        per_step = 1 if rows is None else 2
        return list(itertools.islice(data.dataset, per_step * (7 - start)))

    rows = dataset.Rows(1, 2, 1)
    whole, own = batches(0), batches(0, rows)
    # Within an epoch, after whole ones, and within a later one.
    for start_step in (1, 4, 5):
        assert_equal(batches(start_step), whole[start_step:])
        assert_equal(batches(start_step, rows), own[2 * start_step :])


@pytest.mark.parametrize(
    ("num_workers", "batch_rows"), [(1, 2), (2, 2), pytest.param(4, 1, marks=pytest.mark.slow)]
)
def test_workers_rows_together_are_the_whole_batches(clips, num_workers, batch_rows):
    def read(split, rows=None):
        if split == "train":
            per_step = 1 if rows is None else 4 // num_workers // batch_rows
            data = dataset.train_dataset(clips, 4, seed=3, rows=rows, **NOISE)
            data = data.dataset.take(6 * per_step)
        else:
            data = dataset.eval_dataset(clips, split, 4, rows=rows, **NOISE).dataset
        return [np.concatenate(parts) for parts in zip(*map(flat, data), strict=True)]

    for split, num_batches in (("train", 6), ("test", 2)):
        workers = [
            read(split, dataset.Rows(worker, num_workers, batch_rows))
            for worker in range(num_workers)
        ]
        for expected, *parts in zip(read(split), *workers, strict=True):
            assert len(expected) == 4 * num_batches
            shares = [np.split(part, num_batches) for part in parts]
            joined = [share[batch] for batch in range(num_batches) for share in shares]
            np.testing.assert_array_equal(np.concatenate(joined), expected)


def test_a_worker_reads_no_rows_but_its_own(tmp_path):
    examples = [random_clip(number) for number in range(12)]
    folder = handmade_records.write(tmp_path, {"train": examples}, shards=1)
    data = dataset.train_dataset(folder, 4, seed=1, rows=dataset.Rows(1, 2, 2))
    expected = list(data.dataset.take(3))
    own = epoch_order(1, 0, 12).numpy().reshape(3, 4)[:, 2:]
    (shard,) = data.index.splits["train"].shards
    content = bytearray((folder / shard.file).read_bytes())
    for number, offset in enumerate(shard.places()[0]):
        if number not in own:
            content[offset + 20] ^= 1
    (folder / shard.file).write_bytes(content)
    assert_equal(data.dataset.take(3), expected)
    with pytest.raises(tf.errors.DataLossError):
        list(dataset.train_dataset(folder, 4, seed=1).dataset.take(3))
