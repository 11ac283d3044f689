"""The page about pre-training runs: what it says, what it shows, and what it refuses."""

import base64
import dataclasses
import io
import re

import matplotlib.image
import numpy as np
import pytest

from ogm_tf.analysis import pair_report
from ogm_tf.analysis.map_pictures import ACTIVATION, ATTENTION
from ogm_tf.analysis.pair_report import CORRESPONDENCE, SYNCHRONIZATION
from ogm_tf.analysis.summaries import ClipExample, RunSummary
from ogm_tf.analysis.tables import Table
from tests.ogm_tf.analysis.parsed_page import Page


def make_run(name, modulation, positive, negative, **changes):
    history = {"epoch": [0, 1], "loss": [0.7, 0.5], "accuracy": [0.5, 0.9]}
    for group, end in (("positive", 0.81), ("negative", 0.62)):
        for kind in ("accuracy", "score", "ratio", "coefficient"):
            history[f"{group}_{kind}"] = [0.5, end]
    accuracies = {"positive_accuracy": positive, "negative_accuracy": negative}
    metrics = {"test": {"loss": 0.3, "accuracy": (positive + negative) / 2, **accuracies}}
    values = {"config": {"model": "avca"}, "history": history, "metrics": metrics, "best_epoch": 1}
    return RunSummary(name=name, modulation=modulation, **values | changes)


def make_example(maps=None, num_frames=4, **changes):
    rng = np.random.default_rng(0)
    values = {
        "clip_id": "clip-1",
        "label": "in step",
        "frames": rng.integers(0, 256, (num_frames, 16, 16, 3), np.uint8),
        "spectrogram": rng.normal(size=(33, 50)).astype(np.float32),
        "sample_rate_hz": 8000,
        "hop_length": 80,
        "predictions": {"plain": {"fused": ("in step", 0.9)}, "ge": {"fused": ("shifted", 0.6)}},
        "waveform": np.sin(np.arange(4000)).astype(np.float32),
    }
    return pair_report.PairExample(ClipExample(**values | changes), "<b>bell</b>", 2.0, maps or {})


def runs():
    return [make_run("plain", "none", 0.9, 0.4), make_run("ge", "ogm_ge", 0.8, 0.7)]


def corner(row, column):
    """Attention of one of 2 x 2 places in the first half of the time, of the other after it."""
    values = np.full((2, 2, 2), 0.1)
    values[0, row, column] = values[1, 1 - row, 1 - column] = 0.7
    return values


def write(folder, examples, task=SYNCHRONIZATION, kind=ATTENTION, tables=(), of_runs=None):
    path = pair_report.write_pair_report(
        folder, of_runs or runs(), examples, task, "AVCA", kind, tables
    )
    return Page(path.read_text("utf-8"))


def test_page_says_the_numbers(tmp_path):
    table = Table("What the encoder knows", ("Run", "encoder"), (("ge", "41.5 ± 3.2"),), "Note.")
    page = write(tmp_path, [make_example({"plain": corner(0, 0)})], tables=[table])
    text = page.words
    assert (
        "OGM-GE lifts the accuracy on negative pairs from 0.40 to 0.70 and the accuracy on all "
        "pairs from 0.65 to 0.75 on the test split." in text
    )
    # The columns, and a row of them.
    assert "Run all pairs positive negative Modulation" in text
    assert "plain 0.650 0.900 0.400 no modulation" in text and "mAP" not in text
    assert "What the encoder knows Note." in text and "ge 41.5 ± 3.2" in text
    assert "✓ in step 90%, right" in text and "✗ shifted 60%, wrong" in text
    assert "<b>bell</b>" in text and {tag for tag, _ in page.elements}.isdisjoint({"b", "script"})
    for tag, attributes in page.elements:
        for name in ("src", "srcset", "href"):
            assert attributes.get(name, "#").startswith(("data:", "#")), tag
    figures = [a["alt"] for tag, a in page.elements if tag == "img" and "run ge" in a["alt"]]
    assert "positive ends at 0.81, negative ends at 0.62" in figures[0]
    for kind in ("Score", "Ratio", "Coefficient"):
        assert f"{kind}: positive ends at 0.81, negative ends at 0.62." in figures[1]


def test_maps_are_drawn_on_the_frames_of_their_time(tmp_path):
    page = write(tmp_path, [make_example({"plain": corner(0, 1), "ge": corner(1, 0)})])
    pictures = {a["alt"]: a["src"] for tag, a in page.elements if tag == "img"}
    drawn = {}
    for text, source in pictures.items():
        if match := re.match(r"Attention of run (\w+) at ([\d.]+) s of clip clip-1.*: (.*)", text):
            data = base64.b64decode(source.removeprefix("data:image/jpeg;base64,"))
            picture = matplotlib.image.imread(io.BytesIO(data), format="jpeg").astype(float)
            quarters = (picture[..., 0] - picture[..., 2]).reshape(2, 96, 2, 96).mean(axis=(1, 3))
            place = tuple(map(int, np.unravel_index(np.argmax(quarters), (2, 2))))
            drawn[match[1], float(match[2])] = place
            left, top = ("25%", "75%")[place[1]], ("25%", "75%")[place[0]]
            assert match[3] == f"greatest, 0.7, at {left} from the left, {top} from the top"
    times = (0.25, 0.75, 1.25, 1.75)
    places = {"plain": [(0, 1)] * 2 + [(1, 0)] * 2, "ge": [(1, 0)] * 2 + [(0, 1)] * 2}
    for name, own in places.items():
        assert [drawn[name, time] for time in times] == own
    assert sum(text.startswith("Frame at") for text in pictures) == 4
    text = page.words
    assert "sum to 1, over 2 × 2 places" in text and "up to 0.7." in text


def test_activation_is_explained_as_a_logit(tmp_path):
    maps = {"ge": np.array([[[0.5, -3.25]]])}
    page = write(tmp_path, [make_example(maps)], kind=ACTIVATION)
    text = page.words
    assert "Above 0 a place speaks for “in step”, below 0 for “shifted”" in text
    assert "1 × 2 places and 1 step in time" in text and "up to ±3.2" in text
    texts = [attributes["alt"] for tag, attributes in page.elements if tag == "img"]
    assert any("greatest, 0.5, at 25% from the left" in words for words in texts)
    assert any("−3.2, orange, speaks for shifted" in words for words in texts)


def test_networks_without_maps_show_frame_and_sound(tmp_path):
    example = make_example(num_frames=1, label="match", predictions={})
    page = write(tmp_path, [example], CORRESPONDENCE, None)
    texts = [attributes["alt"] for tag, attributes in page.elements if tag == "img"]
    assert sum(words.startswith("Frame at 1.00 s of clip clip-1") for words in texts) == 1
    assert sum(words.startswith("Spectrogram") for words in texts) == 1
    assert sum(tag == "audio" for tag, _ in page.elements) == 1
    assert "“no match”" in page.words and "Attention" not in page.words


def test_times_count_from_the_start_of_the_clip(tmp_path):
    page = write(tmp_path, [make_example({"plain": corner(0, 1)}, start_s=3.0)])
    texts = [attributes["alt"] for tag, attributes in page.elements if tag == "img"]
    for time in ("3.25", "3.75", "4.25", "4.75"):
        assert sum(f" at {time} s of clip clip-1" in words for words in texts) == 2
        assert f"{time} s" in page.words


def test_page_stays_small(tmp_path):
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (6, 250, 250, 3), np.uint8)
    example = make_example({"plain": rng.normal(size=(6, 9, 9))}, frames=frames)
    page = pair_report.write_pair_report(
        tmp_path, runs(), [example] * 14, SYNCHRONIZATION, "AVSA", ACTIVATION
    )
    assert 1_500_000 < page.stat().st_size < 5_000_000
    assert re.search(r"\d+ more clips are left out", page.read_text("utf-8"))


def test_headline_of_a_single_run(tmp_path):
    page = write(tmp_path, [], of_runs=runs()[:1])
    assert (
        "plain: it answers 0.65 of all pairs, 0.90 of the positive pairs and 0.40 of the negative "
        "pairs of the test split correctly." in page.words
    )


def without_scores(run):
    history = {name: own for name, own in run.history.items() if "score" not in name}
    return dataclasses.replace(run, history=history)


@pytest.mark.parametrize(
    ("of_runs", "example", "received"),
    [
        (None, make_example(label="match"), "a class of shifted, in step. Received: match"),
        (None, make_example({"other": corner(0, 0)}), "a run of plain, ge. Received: other"),
        (None, make_example({"ge": np.zeros((2, 2))}), r"\[t, h, w\].* Received: ge, shape=\(2, 2"),
        (None, make_example(frames=None), "must have frames. Received: clip-1"),
        ([without_scores(runs()[0])], make_example(), "Received: .*without positive_score"),
    ],
)
def test_refused_and_nothing_written(tmp_path, of_runs, example, received):
    with pytest.raises(ValueError, match=received):
        write(tmp_path, [example], of_runs=of_runs)
    assert not list(tmp_path.iterdir())
