from benchmarks import pretraining
from ogm_tf.analysis import paired


def test_spreads_and_intervals_by_hand():
    """Mean 2 and deviation 1 of three values; half of the interval is 4.303 / sqrt(3)."""
    assert paired.spread([1.0, 2.0, 3.0]) == "2.000 ± 1.000"
    assert paired.difference([1.0, 2.0, 3.0]) == "+2.000 [-0.484, +4.484]"


def test_methods_are_paired_by_seed():
    rows = {"none": [{"pairs": 0.5}, {"pairs": 0.9}], "ogm_ge": [{"pairs": 0.6}, {"pairs": 1.0}]}
    lines = pretraining.table({"avsa": rows}).splitlines()
    assert lines[2:] == [
        "| avsa | none | 0.700 ± 0.283 |",
        "| avsa | ogm_ge | 0.800 ± 0.283 |",
        "| avsa | ogm_ge - none | +0.100 [+0.100, +0.100] |",
    ]
