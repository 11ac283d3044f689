import itertools

import numpy as np
import pytest
import tensorflow as tf

from input_pipelines import feature_sequences
from input_pipelines.feature_sequences import FeatureSequences, Joined
from input_pipelines.order import Rows, epoch_order


class CountedArray:
    """Features whose every number is the row's; remembers which rows were read."""

    def __init__(self, *shape, dtype=np.float64):
        self.shape, self.dtype, self.rows_read = shape, dtype, []

    def __getitem__(self, row):
        self.rows_read.append(int(row))
        return np.full(self.shape[1:], row, self.dtype)


def make(num_videos=12, splits=None, **changes):
    arguments = {
        "arrays": {"audio": CountedArray(num_videos, 4, 3), "visual": np.zeros((num_videos, 4, 2))},
        "labels": np.arange(num_videos * 4).reshape(num_videos, 4) % 3,
        "splits": splits or {"train": np.arange(11)[::-1], "test": np.array([11])},
        "class_names": ("one", "two"),
        "video_ids": tuple(f"v{row}" for row in range(num_videos)),
    }
    return FeatureSequences(**{**arguments, **changes})


def videos(batch):
    return batch[0]["audio"][:, 0, 0].numpy().astype(int).tolist()


def test_batches_hold_the_videos_of_the_epoch_s_order():
    features = make()
    data = feature_sequences.train_dataset(features, 4, seed=8)
    assert data.steps_per_epoch == 2
    for step, (inputs, labels) in enumerate(data.dataset.take(6)):
        # Three videos are left over; the split has its rows from the last to the first.
        order = epoch_order(8, step // 2, 11).numpy()[4 * (step % 2) :][:4]
        rows = 10 - order
        assert inputs["audio"].dtype == np.float32 and labels.dtype == np.int32
        np.testing.assert_array_equal(inputs["audio"], np.tile(rows[:, None, None], (1, 4, 3)))
        np.testing.assert_array_equal(labels, features.labels[rows])
    spec = data.dataset.element_spec
    assert spec[0]["visual"].shape == (4, 4, 2) and spec[1].shape == (4, 4)


def test_starting_late_equals_continuing():
    def read(start, rows=None):
        data = feature_sequences.train_dataset(make(), 4, 1, start_step=start, rows=rows)
        per_step = 1 if rows is None else 2
        return [videos(batch) for batch in itertools.islice(data.dataset, per_step * (7 - start))]

    rows = Rows(1, 2, 1)
    whole, own = read(0), read(0, rows)
    for start_step in (1, 4, 5):
        assert read(start_step) == whole[start_step:]
        assert read(start_step, rows) == own[2 * start_step :]


@pytest.mark.parametrize(("num_workers", "batch_rows"), [(1, 2), (2, 2), (4, 1)])
def test_workers_read_their_rows_and_together_whole_batches(num_workers, batch_rows):
    def read(split, rows=None):
        features = make()
        if split == "train":
            per_step = 1 if rows is None else 4 // num_workers // batch_rows
            data = feature_sequences.train_dataset(features, 4, 3, rows=rows).dataset
            found = [videos(batch) for batch in data.take(2 * per_step)]
        else:
            data = feature_sequences.eval_dataset(features, split, 4, rows=rows).dataset
            found = [(batch[0]["audio"][:, 0, 0] * batch[2]).numpy().tolist() for batch in data]
        found = np.concatenate(found).astype(int)
        return found, features.arrays["audio"].rows_read

    for split in ("train", "test"):
        expected, _ = read(split)
        shares = []
        for worker in range(num_workers):
            own, rows_read = read(split, Rows(worker, num_workers, batch_rows))
            shares.append(own.reshape(len(expected) // 4, -1))
            # And no others, but what is read ahead of what was taken; in any order, for rows are
            # read in parallel.
            if split == "test":
                assert sorted(rows_read) == sorted(row for row in own if row)
        np.testing.assert_array_equal(np.concatenate(shares, axis=1).ravel(), expected)


def test_replicas_share_the_batches_of_one_dataset(mirrored):
    dataset = feature_sequences.train_dataset(make(), 4, seed=8).dataset
    (batch,) = itertools.islice(mirrored.experimental_distribute_dataset(dataset), 1)
    shares = mirrored.experimental_local_results(batch[0]["audio"])
    order = epoch_order(8, 0, 11).numpy()
    assert [share[:, 0, 0].numpy().tolist() for share in shares] == [
        (10 - order[:2]).tolist(),
        (10 - order[2:4]).tolist(),
    ]


def test_evaluation_has_every_video_once_and_weight_0_for_padding():
    features = make(splits={"train": np.array([0]), "test": np.array([7, 1, 3, 10, 5])})
    data = feature_sequences.eval_dataset(features, "test", 3)
    first, second = data.dataset
    assert data.num_videos == 5 and videos(first) == [7, 1, 3] and videos(second) == [10, 5, 0]
    np.testing.assert_array_equal(second[2], [1, 1, 0])
    np.testing.assert_array_equal(second[1][:2], features.labels[[10, 5]])
    assert sorted(features.arrays["audio"].rows_read) == [1, 3, 5, 7, 10]


def test_joined_arrays_are_one():
    parts = [np.arange(6).reshape(3, 2), np.arange(100, 102).reshape(1, 2), np.zeros((2, 2))]
    joined = Joined(parts)
    assert joined.shape == (6, 2)
    np.testing.assert_array_equal([joined[row] for row in range(6)], np.concatenate(parts))
    for wrong in ([], [np.zeros((2, 3)), np.zeros((2, 4))]):
        with pytest.raises(ValueError, match="rows of one shape. Received: shapes"):
            Joined(wrong)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": np.zeros((12, 5), int)}, r"labels of shape \(12, 5\).*'audio': \(12, 4, 3\)"),
        ({"labels": np.zeros(12, int)}, r"Received: labels of shape \(12,\)"),
        ({"arrays": {}}, "Received: .*features of shapes {}"),
        ({"video_ids": ("v",)}, "12 videos. Received: 1 video_ids"),
        ({"labels": np.full((12, 4), 3)}, r"in \[0, 2\]. Received: 3"),
        ({"splits": {"train": [3, 12]}}, r"in \[0, 12\).*Received: row 12 in 'train'"),
        ({"splits": {"train": [3], "test": [2, 3]}}, "Received: row 3 in 'train' and 'test'"),
    ],
)
def test_parts_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        make(**changes)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf, 1e39])
def test_features_that_are_not_finite_are_refused_by_name(wrong):
    # Their sums are too large for float32, they themselves are not.
    visual = np.full((12, 4, 2), 3e38)
    features = make(arrays={"audio": np.ones((12, 4, 3)), "visual": visual})
    assert features.read(np.array([5]))[1].max() == np.float32(3e38)
    visual[5, 3, 1] = wrong
    with pytest.raises(ValueError, match="finite.* Received: visual of video_id='v5', row 5"):
        features.read(np.array([4, 5]))
    data = feature_sequences.train_dataset(features, 11, seed=0)
    with pytest.raises(tf.errors.InvalidArgumentError, match="visual of video_id='v5', row 5"):
        next(iter(data.dataset))


def test_wrong_arguments_are_refused():
    features = make(splits={"train": np.arange(3), "test": np.array([], int)})
    train, evaluate = feature_sequences.train_dataset, feature_sequences.eval_dataset
    for call, message in (
        (lambda: train(features, 4, 0), "'train', 3. Received: batch_size=4"),
        (lambda: train(features, 0, 0), "Received: batch_size=0"),
        (lambda: train(features, 1, 0, start_step=-1), "Received: start_step=-1"),
        (lambda: train(features, 1, 0, split="dev"), "test, train. Received: split='dev'"),
        (lambda: evaluate(features, "test", 2), "no videos. Received: split='test'"),
        (lambda: evaluate(features, "train", 3, rows=Rows(0, 2, 1)), "Received: batch_size=3"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
