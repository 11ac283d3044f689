import pytest

from benchmarks import balance, comparison, pretraining

MEANS = ("0.850", "0.750", "0.650", "0.550", "0.550")


def test_methods_without_plain_training_have_no_difference():
    rows = [{"pairs": 0.6}, {"pairs": 1.0}]
    lines = pretraining.table({"avsa": {"ogm": rows, "ogm_ge": rows}}).splitlines()
    assert lines == [
        "| network | method | pairs |",
        "| --- | --- | --- |",
        "| avsa | ogm | 0.800 ± 0.283 |",
        "| avsa | ogm_ge | 0.800 ± 0.283 |",
    ]


def test_what_some_seeds_lack_is_that_of_the_others():
    """As the minutes of runs that were stopped; a difference needs both of a seed."""
    none = [{"minutes": 1.0}, {"minutes": None}, {"minutes": 3.0}]
    ogm = [{"minutes": 2.0}, {"minutes": 9.0}, {"minutes": None}]
    assert comparison.lines({"none": none, "ogm": ogm}) == [
        ["none", "2.000 ± 1.414 (2 of 3)"],
        ["ogm", "5.500 ± 4.950 (2 of 3)"],
        ["ogm - none", "unknown (1 of 3)"],
    ]


def test_the_table_of_noise():
    rows = [
        {"accuracy": a, "audio_accuracy": a - 0.1, "visual_accuracy": a - 0.2,
         "accuracy_5db": a - 0.3, "accuracy_sweep": a - 0.3}
        for a in (0.8, 0.9)
    ]  # fmt: skip
    lines = balance.table({"visual only": rows, "none": rows}, (5.0,)).splitlines()
    assert lines == [
        "| method | fused | audio | visual | 5 dB | mean over noise |",
        "| --- | --- | --- | --- | --- | --- |",
        f"| visual only | {' | '.join(f'{mean} ± 0.071' for mean in MEANS)} |",
        f"| none | {' | '.join(f'{mean} ± 0.071' for mean in MEANS)} |",
        f"| visual only - none | {' | '.join(['+0.000 [+0.000, +0.000]'] * 5)} |",
    ]


@pytest.mark.parametrize("seeds", [(1,), (1, 1), ()])
def test_wrong_settings_are_refused(seeds):
    with pytest.raises(ValueError, match="--seeds must be 2 or more different seeds. Received:"):
        pretraining.PretrainingSettings("there", seeds=seeds)
    with pytest.raises(ValueError, match="--methods must be among none, ogm, ogm_ge. Received:"):
        pretraining.PretrainingSettings("there", methods=("visual only",))
