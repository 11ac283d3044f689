import numpy as np
import pytest
import tensorflow as tf

from input_pipelines import clips
from input_pipelines.order import Rows, epoch_order, own_positions


def test_an_epoch_is_the_order_of_its_sorted_draws():
    orders = {}
    for seed, epoch in ((0, 0), (0, 1), (7, 0), (7, 2**40)):
        tf.random.set_seed(len(orders))
        draws = tf.random.stateless_uniform(
            [500],
            clips.draw_seed(seed, clips.Purpose.ORDER, epoch),
            minval=None,
            maxval=None,
            dtype=tf.int64,
            alg="philox",
        ).numpy()
        order = epoch_order(seed, tf.constant(epoch, tf.int64), 500).numpy()
        assert order.dtype == np.int64
        np.testing.assert_array_equal(order, np.argsort(draws, kind="stable"))
        np.testing.assert_array_equal(np.sort(order), np.arange(500))
        orders[seed, epoch] = order
    # Of two random permutations, about one element is in the same place.
    for one in orders:
        for other in orders:
            assert one == other or np.sum(orders[one] == orders[other]) < 10


def test_every_clip_may_come_anywhere():
    places = np.zeros((6, 6))
    for epoch in range(600):
        places[np.arange(6), epoch_order(3, epoch, 6)] += 1
    # Binomial of 600 and 1/6: 100 +- 9.1.
    assert np.abs(places - 100).max() < 45


def test_workers_read_their_own_rows():
    whole, batch_rows = own_positions(2, 8, None)
    assert batch_rows == 8 and whole.tolist() == list(range(16))
    assert own_positions(2, 8, Rows(1, 2, 4))[0].tolist() == [4, 5, 6, 7, 12, 13, 14, 15]
    assert own_positions(2, 8, Rows(2, 4, 1))[0].tolist() == [4, 5, 12, 13]
    assert own_positions(2, 8, Rows(2, 4, 1))[1] == 1


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (Rows(2, 2, 1), r"in \[0, num_workers\). Received: Rows\(worker=2"),
        (Rows(-1, 2, 1), r"Received: Rows\(worker=-1"),
        (Rows(0, 0, 1), "Received: Rows.*num_workers=0"),
        (Rows(0, 3, 1), r"multiple of num_workers \* rows.batch_size. .*batch_size=8, Rows.*=3"),
        (Rows(0, 2, 3), "batch_size=8, Rows.*num_workers=2, batch_size=3"),
        (Rows(0, 2, 0), "Received: .*batch_size=0"),
    ],
)
def test_rows_must_divide_the_batch(rows, message):
    with pytest.raises(ValueError, match=message):
        own_positions(2, 8, rows)
