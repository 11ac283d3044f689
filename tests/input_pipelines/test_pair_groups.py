import numpy as np
import pytest
import tensorflow as tf

from input_pipelines import clips, pair_groups
from input_pipelines.clips import Purpose
from input_pipelines.order import epoch_coins, epoch_others


@pytest.mark.parametrize(
    ("num_free", "low", "high", "count"),
    # The first is the multisensory network's: 302 frames, windows of 125, 60 of them shared.
    [(176, 65, 176, 12_656), (20, 3, 9, None), (20, 20, 50, 2), (7, 1, 1, 14)],
)
def test_all_pairs_of_starts_are_enumerated_once(num_free, low, high, count):
    expected = {
        (first, second)
        for first in range(num_free + 1)
        for second in range(num_free + 1)
        if low <= abs(first - second) <= high
    }
    total = int(pair_groups.num_starts(num_free, low, high))
    assert total == len(expected) == (count or total)
    first, second = pair_groups.starts(tf.range(total, dtype=tf.int64), num_free, low, high)
    assert set(zip(first.numpy(), second.numpy(), strict=True)) == expected


def test_starts_of_long_clips_stay_in_range():
    # An hour at 48 kHz: squares of this need all digits of a float64.
    num_free, low, high = 172_800_000, 96_000, 172_800_000
    total = int(pair_groups.num_starts(num_free, low, high))
    ranks = np.r_[np.random.default_rng(1).integers(0, total, 1000), 0, 1, total - 2, total - 1]
    first, second = (np.array(s) for s in pair_groups.starts(ranks, num_free, low, high))
    assert min(first.min(), second.min()) == 0 and max(first.max(), second.max()) == num_free
    assert np.abs(first - second).min() >= low and np.abs(first - second).max() == high


def test_drawn_shifts_are_as_frequent_as_their_places():
    num_free, low, high, draws = 12, 3, 9, 40_000

    def draw(number):
        seed = clips.draw_seed(7, Purpose.SHIFT, number)
        return tf.stack(pair_groups.draw_starts(tf.constant(num_free), low, high, seed))

    numbers = tf.data.Dataset.range(draws).map(draw, tf.data.AUTOTUNE).batch(draws)
    first, second = next(iter(numbers)).numpy().T
    shifts = second - first
    distances = np.arange(low, high + 1)
    places = num_free + 1 - distances
    for sign in (-1, 1):
        counts = np.array([np.sum(shifts == sign * distance) for distance in distances])
        expected = draws * places / (2 * np.sum(places))
        assert np.all(np.abs(counts - expected) < 4 * np.sqrt(expected))
    # Pairs, not starts, are evenly drawn: of 98 ordered pairs, so many have each first start.
    starts = [sum(low <= abs(a - b) <= high for b in range(13)) for a in range(13)]
    expected = draws * np.array(starts) / sum(starts)
    assert np.all(np.abs(np.bincount(first) - expected) < 4 * np.sqrt(expected))


def test_coins_are_fair_and_independent():
    coins = np.stack([epoch_coins(1, epoch, 1000) for epoch in range(40)]).astype(int)
    # Four standard deviations of 40,000 tosses, and of 40 x 999 and 39 x 1000 neighbours.
    assert abs(np.mean(coins) - 0.5) < 0.01
    assert abs(np.mean(coins[:, 1:] == coins[:, :-1]) - 0.5) < 0.01
    assert abs(np.mean(coins[1:] == coins[:-1]) - 0.5) < 0.01


def test_other_clips_are_evenly_drawn():
    own = np.arange(6000) % 5
    others = epoch_others(1, 0, tf.constant(own), 5).numpy()
    counts = np.zeros([5, 5], int)
    np.add.at(counts, (own, others), 1)
    assert np.all(np.diag(counts) == 0)
    # Each of 20 pairs is expected 300 times; five standard deviations.
    assert np.all(np.abs(counts[~np.eye(5, dtype=bool)] - 300) < 75)
