"""Gains by category against numbers computed by hand."""

import csv
import io
import math

import numpy as np
import pytest

from ogm_tf.analysis import category_section, embedding
from ogm_tf.analysis.categories import Answers, Comparison, to_csv
from ogm_tf.analysis.pages import render
from tests.ogm_tf.analysis.parsed_page import Page

CLASSES = ("bell", "drum", "horn", "silence")
# Four clips of bell, four of drum, two of horn, none of silence.
LABELS = np.repeat([0, 1, 2], [4, 4, 2])


def answers(**right):
    """A run that answers so many of each class's clips rightly, by part."""
    predicted = {}
    for part, counts in right.items():
        is_right = np.concatenate(
            [np.arange(size) < count for size, count in zip((4, 4, 2), counts, strict=True)]
        )
        predicted[part] = np.where(is_right, LABELS, 3)
    return Answers(LABELS, predicted)


# Two seeds; bell is heard, drum is seen, horn is heard as well as it is seen.
BEFORE = [
    answers(fused=(2, 2, 2), audio=(3, 1, 1), visual=(1, 2, 1)),
    answers(fused=(3, 2, 2), audio=(4, 1, 1), visual=(1, 3, 1)),
]
AFTER = [
    answers(fused=(3, 1, 2), audio=(3, 1, 2), visual=(2, 2, 1)),
    answers(fused=(4, 2, 2), audio=(4, 3, 2), visual=(3, 2, 1)),
]


@pytest.fixture
def comparison():
    return Comparison("OGM-GE", [0, 1], BEFORE, AFTER, CLASSES)


def test_accuracies_and_gains(comparison):
    assert comparison.parts == ("fused", "audio", "visual")
    assert comparison.categories == ["bell", "drum", "horn"]
    assert comparison.num_clips.tolist() == [4, 4, 2]
    np.testing.assert_allclose(
        comparison.before[0], [[0.5, 0.75, 0.25], [0.5, 0.25, 0.5], [1, 0.5, 0.5]]
    )
    np.testing.assert_allclose(comparison.gains[..., 0], [[0.25, -0.25, 0], [0.25, 0, 0]])
    assert comparison.order.tolist() == [0, 2, 1]
    assert comparison.dominant == ["audio", "visual", ""]


def test_intervals_are_students_over_the_seeds(comparison):
    # Gains of drum -0.25 and 0: mean -0.125, deviation 0.17678, half 12.706 * 0.17678 / sqrt(2).
    assert comparison.interval("gain", 1, 0) == pytest.approx(
        (-0.125 - 1.58828, -0.125 + 1.58828), abs=1e-3
    )
    assert comparison.interval("gain", 0, 0) == pytest.approx((0.25, 0.25))
    # Bell before: 0.5 and 0.75.
    assert comparison.interval("before", 0, 0) == pytest.approx(
        (0.625 - 1.58828, 0.625 + 1.58828), abs=1e-3
    )


def test_the_weaker_modality_is_told_by_the_other_seed(comparison):
    # Of seed 0, by seed 1: bell's weaker is visual (+0.25; audio 0), drum's is audio (0; visual 0).
    # Of seed 1, by seed 0: bell's visual +0.5, audio 0; drum's audio +0.5, visual -0.25.
    found = comparison.weaker_gain()
    assert found.weaker == pytest.approx((0.125 + 0.5) / 2)
    assert found.stronger == pytest.approx((0 - 0.125) / 2)
    assert found.difference == pytest.approx((0.125 + 0.625) / 2)
    # Two pairs that tell each other are correlated by 1 / pi.
    half = 12.7062 * 0.5 / math.sqrt(2) / math.sqrt(2)
    half *= math.sqrt((1 + 0.31831) / (1 - 0.31831))
    assert (found.low, found.high) == pytest.approx((0.375 - half, 0.375 + half), abs=1e-3)
    assert found.num_categories == (2, 2) and found.is_over_seeds


def test_one_seed_has_intervals_over_clips_and_categories():
    comparison = Comparison("OGM-GE", [7], BEFORE[:1], AFTER[:1], CLASSES)
    assert all(map(math.isnan, comparison.interval("gain", 0, 0)))
    # Wilson's of 3 of 4.
    assert comparison.interval("after", 0, 0) == pytest.approx((0.3006, 0.9544), abs=1e-4)
    found = comparison.weaker_gain()
    # Bell +0.25 against 0, drum 0 against 0: mean 0.125, deviation 0.17678.
    assert found.difference == pytest.approx(0.125) and not found.is_over_seeds
    assert (found.low, found.high) == pytest.approx((0.125 - 1.58828, 0.125 + 1.58828), abs=1e-3)
    text = " ".join(category_section.category_section([comparison], "test").values["sentences"])
    assert "+0.125 [−1.463, +1.713]" in text and "over the categories of one seed" in text


def test_chance_alone_favours_no_modality():
    """Modalities that are equally good, and stay so: told by its own run, the weaker would gain."""
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(60), 10)

    def run():
        return Answers(
            labels,
            {
                part: np.where(random.random(len(labels)) < 0.5, labels, 60)
                for part in ("fused", "audio", "visual")
            },
        )

    names = [f"class {number}" for number in range(61)]
    runs = [[run() for _ in range(8)] for _ in range(2)]
    found = Comparison("OGM", range(8), *runs, names).weaker_gain()
    assert found.low < 0 < found.high and abs(found.difference) < 0.05
    alone = Comparison("OGM", [0], runs[0][:1], runs[1][:1], names).weaker_gain()
    assert alone.difference > 0.1


@pytest.mark.parametrize("num_seeds", [2, 5])
def test_the_interval_holds_95_percent_where_nothing_changes(num_seeds):
    """Of 1000, 950 with a deviation of 7; the spread of the seeds alone gives below 925."""
    random = np.random.default_rng(0)
    num_covered = 0
    for _ in range(1000):
        comparison = object.__new__(Comparison)
        comparison.seeds = tuple(range(num_seeds))
        comparison.before, comparison.after = random.binomial(10, 0.5, (2, num_seeds, 20, 3)) / 10
        found = comparison.weaker_gain()
        num_covered += found.low <= 0 <= found.high
    assert 930 <= num_covered <= 970


def test_modalities_that_are_alike_have_no_weaker_one():
    run = answers(fused=(1, 1, 1), audio=(1, 1, 1), visual=(1, 1, 1))
    comparison = Comparison("OGM", [0], [run], [run], CLASSES)
    assert comparison.weaker_gain().num_categories == (0,)
    section = category_section.category_section([comparison], "test")
    assert section.values["sentences"] == [
        "OGM: in no category is one modality weaker than another."
    ]


def test_the_number_of_categories_is_told_of_every_seed():
    alike = answers(fused=(1, 1, 1), audio=(1, 1, 1), visual=(1, 1, 1))
    one, two = (answers(fused=(1, 1, 1), audio=(1, own, 1), visual=(2, 1, 1)) for own in (1, 2))

    def said(*runs):
        found = Comparison("OGM", range(len(runs)), runs, runs, CLASSES)
        return found.weaker_gain().num_categories, category_section._weaker_sentence(found)

    counts, sentence = said(one, two)
    assert counts == (2, 1) and "in the mean over 1 to 2 categories and 2 seeds" in sentence
    counts, sentence = said(alike, two)
    assert counts == (2, 0) and sentence == (
        "OGM: whether the weaker modality gains more is not known, for by the other seeds’ runs no "
        "category has a weaker one. Seeds: 1."
    )


def test_the_table_holds_every_number(comparison):
    one = Comparison("OGM", [7], BEFORE[:1], AFTER[:1], CLASSES)
    rows = list(csv.DictReader(io.StringIO(to_csv([one, comparison]))))
    assert [(row["modulation"], row["category"]) for row in rows] == [
        (title, name) for title, order in (("OGM", "bell horn drum"), ("OGM-GE", "bell horn drum"))
        for name in order.split()
    ]  # fmt: skip
    bell = rows[3]
    assert (bell["seeds"], bell["clips"], bell["dominant"]) == ("0 1", "4", "audio")
    assert bell["fused_before"] == "0.625000" and bell["fused_gain"] == "0.250000"
    assert bell["visual_gain"] == "0.375000" and bell["intervals_over"] == "seeds (Student)"
    assert float(bell["visual_gain_low"]) == pytest.approx(0.375 - 1.58828, abs=1e-3)
    assert rows[0]["fused_gain_low"] == "" and rows[0]["fused_after_low"] == "0.300642"


def test_the_figure_draws_the_numbers_in_the_order_of_the_gain(comparison):
    rows = category_section.shown_rows(comparison)
    (axes,) = category_section.category_figure(comparison, 2, rows).axes
    assert [text.get_text() for text in axes.get_yticklabels()] == ["bell", "horn", "drum"]
    points = {
        (line.get_label(), x, y)
        for line in axes.get_lines()
        for x, y in zip(*line.get_data(), strict=True)
        if not line.get_label().startswith("_")
    }
    assert points == {
        ("audio dominates", 0.625, 0),
        ("neither dominates", 0.5, -1),
        ("visual dominates", 0.5, -2),
    }
    # Visual of bell before is 0.25; gains of 0.25 and 0.5.
    low, high = category_section.whisker(comparison, 0, 2)
    assert (low + high) / 2 == pytest.approx(0.625) and high > 1
    assert axes.get_xlabel() == "visual accuracy"


def test_long_names_keep_both_ends():
    assert category_section._cut("playing_the_bass_guitar_") == "playing_the_bass_guitar_"
    assert category_section._cut("playing_the_old_bass_guitar") == "playing_the_…bass_guitar"


def test_of_many_categories_the_most_changed_are_drawn(comparison):
    assert category_section.shown_rows(comparison, max_rows=2).tolist() == [0, 1]


def test_section_says_and_shows_it(comparison):
    section = category_section.category_section([comparison], "test", ["A note."])
    page = Page(render("categories.html", section=section))
    assert "the weaker modality of a category gains more" in page.words
    assert "+0.375 [−4.042, +4.792], in the mean over 2 categories and 2 seeds" in page.words
    assert "Means over 2 seeds, 0, 1" in page.words and "A note." in page.words
    titles = ["Fused network", "Audio branch", "Visual branch"]
    assert [title for title in titles if title in page.words] == titles
    texts = [attributes["alt"] for tag, attributes in page.elements if tag == "img"]
    assert "bell 0.25 to 0.62; horn 0.50 to 0.50; drum 0.62 to 0.50" in texts[2]
    assert section.files["categories.csv"].count("\n") == 4
    assert embedding.num_bytes_of(section.values) < 300_000


@pytest.mark.parametrize(
    ("before", "after", "received"),
    [
        ([], [], "Received: 0 and 0 runs of 1 seeds"),
        (BEFORE[:1], AFTER, "Received: 1 and 2 runs"),
        (
            BEFORE[:1],
            [Answers(LABELS[::-1], AFTER[0].predicted)],
            "same clips. Received: seed=0, of 10 and 10",
        ),
        (BEFORE[:1], [Answers(LABELS, {"fused": LABELS})], r"parts=\[\('fused', 'audio', 'vis"),
    ],
)
def test_runs_that_make_no_pair_are_refused(before, after, received):
    with pytest.raises(ValueError, match=received):
        Comparison("OGM", [0], before, after, CLASSES)
