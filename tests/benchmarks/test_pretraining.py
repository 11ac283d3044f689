from benchmarks import pretraining


def test_methods_are_paired_by_seed():
    rows = {"none": [{"pairs": 0.5}, {"pairs": 0.9}], "ogm_ge": [{"pairs": 0.6}, {"pairs": 1.0}]}
    lines = pretraining.table({"avsa": rows}).splitlines()
    assert lines[2:] == [
        "| avsa | none | 0.700 ± 0.283 |",
        "| avsa | ogm_ge | 0.800 ± 0.283 |",
        "| avsa | ogm_ge - none | +0.100 [+0.100, +0.100] |",
    ]
