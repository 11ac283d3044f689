"""The page: what it says, that it needs nothing else, and what it refuses."""

import base64
import collections
import csv
import dataclasses
import io
import itertools
import re
import wave

import numpy as np
import pytest

from ogm_tf.analysis import headlines, report, run_page
from tests.ogm_tf.analysis import sample_pages
from tests.ogm_tf.analysis.parsed_page import Page

MODALITIES = ("audio", "visual")
CLASSES = ("bell", "<b>drum</b>", "horn")


def make_run(name, modulation, fused, visual, **changes):
    history = {"epoch": [0, 1, 2], "loss": [1.5, 1.0, float("nan")]}
    for column in ("accuracy", "audio_accuracy", "visual_accuracy", "visual_coefficient"):
        history[column] = [0.2, 0.4, 0.5]
    history |= {"audio_ratio": [1.0, 3e38, 2.0], "visual_ratio": [1.0, 0.0, 0.5]}
    history["audio_coefficient"] = [1.0, 0.25, None]
    values = {
        "modulation": modulation,
        "config": {"alpha": 0.3, "modulation_end_epoch": 1, "seed": 7, "note": f"<i>{name}</i>"},
        "history": history,
        "metrics": {
            "validation": {"accuracy": 0.5},
            "test": {
                "accuracy": fused,
                "audio_accuracy": 0.7,
                "visual_accuracy": visual,
                "mean_average_precision": 0.8125,
            },
            "test_snr_-5db": {"accuracy": 0.321},
            "test_snr_20db": {"accuracy": 0.654},
            "test_snr_infdb": {"accuracy": fused},
        },
        "best_epoch": 2,
    }
    return report.RunSummary(name=name, **(values | changes))


def make_example(**changes):
    rng = np.random.default_rng(0)
    values = {
        "clip_id": "clip-1",
        "label": CLASSES[1],
        "frames": rng.integers(0, 256, (8, 40, 30, 3), np.uint8),
        "spectrogram": rng.normal(size=(33, 50)).astype(np.float32),
        "sample_rate_hz": 8000,
        "hop_length": 80,
        "predictions": {"plain": {"fused": (CLASSES[1], 0.9), "visual": (CLASSES[0], 0.4321)}},
        "waveform": np.sin(np.arange(4000)).astype(np.float32),
    }
    return report.ClipExample(**(values | changes))


def runs():
    return [make_run("plain", "none", 0.70, 0.41), make_run("ge", "ogm_ge", 0.78, 0.63)]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report") / "new"
    path = report.write_report(folder, runs(), [make_example()], MODALITIES, CLASSES)
    return path, path.read_text("utf-8")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A page with all parts that a page about runs can have."""
    path = sample_pages.write_runs(tmp_path_factory.mktemp("whole"))
    return path, path.read_text("utf-8")


@pytest.mark.parametrize(("name", "tables"), [("written", []), ("whole", ["categories.csv"])])
def test_page_needs_no_other_file_and_no_network(name, tables, request):
    path, page = request.getfixturevalue(name)
    assert path.name == "index.html" and path.stat().st_size < 5_000_000
    files = sorted(file.name for file in path.parent.iterdir())
    assert files == [*tables, "comparison.csv", "index.html"]
    for tag, attributes in Page(page).elements:
        assert tag not in ("script", "iframe", "object"), tag
        for name in ("src", "srcset", "href"):
            assert attributes.get(name, "#").startswith(("data:", "#")), attributes
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)[1]
    assert "url(" not in style and "@import" not in style
    assert "http" not in re.sub(r"base64,[^\"]+", "", page)


def test_every_part_has_pictures_and_each_of_them_is_described(whole):
    elements = Page(whole[1]).elements
    part, pictures = None, collections.defaultdict(list)
    for tag, attributes in elements:
        part = attributes["id"] if tag == "h2" else part
        if tag == "img":
            pictures[part].append(attributes)
    # Bars, and curves of three runs; of each run two figures; of each part of the
    # network one; of two clips six frames, a spectrogram and three panels.
    own = {name: len(pictures[name]) for name in ("branches", "imbalance", "categories", "samples")}
    assert own == {"branches": 4, "imbalance": 6, "categories": 3, "samples": 20}
    # They leave room for the curves of the three runs, and for a clip.
    assert [len(pictures[name]) for name in ("accuracy", "balance")] == [3, 3]
    assert "Curves of the last" not in whole[1] and len(pictures["clips"]) >= 7
    for attributes in itertools.chain(*pictures.values()):
        assert len(attributes["alt"]) > 20 and attributes["src"].startswith("data:image/")


@pytest.mark.parametrize("name", ["written", "whole"])
def test_contents_lead_to_every_part(name, request):
    elements = Page(request.getfixturevalue(name)[1]).elements
    links = [own["href"] for tag, own in elements if tag == "a"]
    assert links and len(set(links)) == len(links)
    assert links == [f"#{own['id']}" for tag, own in elements if tag == "h2"]


def test_page_says_the_numbers(written):
    text = " ".join(Page(written[1]).text.split())
    assert (
        "OGM-GE lifts the visual branch from 0.41 to 0.63 and the fused network from 0.70 to 0.78 "
        "on the test split." in text
    )
    for words in ("0.780", "0.321", "Test split, noisy sound (−5 dB)", "0.812", "epochs 0 to 1"):
        assert words in text
    assert text.index("clean sound") < text.index("(20 dB)") < text.index("(−5 dB)")
    # Right and wrong are told by sign and word, not by colour alone.
    assert "✓ <b>drum</b> 90%, right" in text.replace("\N{NO-BREAK SPACE}", " ")
    assert "✗ bell 43%, wrong" in text.replace("\N{NO-BREAK SPACE}", " ")


def test_names_are_text_and_pictures_are_described(written):
    page = Page(written[1])
    assert {tag for tag, _ in page.elements}.isdisjoint({"b", "i"})
    assert "<i>ge</i>" in page.text
    pictures = [attributes for tag, attributes in page.elements if tag == "img"]
    # Two figures a run, two for all runs, one spectrogram, and six of the eight frames.
    assert len(pictures) == 2 * 2 + 2 + 1 + 6
    assert all(len(attributes["alt"]) > 20 for attributes in pictures)
    assert any("visual ends at 0.5" in attributes["alt"] for attributes in pictures)


def test_sound_can_be_played(written):
    (audio,) = [attributes for tag, attributes in Page(written[1]).elements if tag == "audio"]
    data = base64.b64decode(audio["src"].removeprefix("data:audio/wav;base64,"))
    with wave.open(io.BytesIO(data)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getnframes()) == (8000, 1, 4000)
        samples = np.frombuffer(file.readframes(4000), "<i2")
    np.testing.assert_allclose(samples / 32767, np.sin(np.arange(4000)), atol=2e-5)


def test_clips_show_what_they_have(tmp_path):
    film = make_example(
        clip_id="film", spectrogram=None, waveform=None, flow=np.full((2, 8, 9, 2), 0.5)
    )
    sound = make_example(clip_id="sound", frames=None, is_mel=True)
    motion = dataclasses.replace(film, clip_id="motion", frames=None)
    path = report.write_report(tmp_path, runs(), [film, sound, motion], MODALITIES, CLASSES)
    page = Page(path.read_text("utf-8"))
    shown = [attributes["alt"] for tag, attributes in page.elements if tag == "img"]

    def count(what, clip):
        return sum(alt.startswith(what) and f"clip {clip}" in alt for alt in shown)

    counts = {
        clip: [count(what, clip) for what in ("Frame", "Optical flow", "Spectrogram")]
        for clip in ("film", "sound", "motion")
    }
    assert counts == {"film": [6, 2, 0], "sound": [0, 0, 1], "motion": [0, 2, 0]}
    # Every clip has its answers, with sound or without.
    assert page.text.count("90%") == 3
    assert sum(tag == "audio" for tag, _ in page.elements) == 1


def test_comparison_table_holds_full_numbers(written):
    with open(written[0].parent / "comparison.csv", newline="") as file:
        rows = {(row["run"], row["split"]): row for row in csv.DictReader(file)}
    assert len(rows) == 10
    assert rows["ge", "test"]["mean_average_precision"] == "0.8125"
    assert rows["ge", "test"]["alpha"] == "0.3" and rows["plain", "test"]["alpha"] == ""
    assert rows["plain", "validation"]["visual_accuracy"] == ""


def headline(runs):
    return headlines.headlines(runs, MODALITIES)[0][0]


def test_headline_does_not_praise_what_did_not_rise():
    same_and_worse = [make_run("a", "none", 0.70, 0.412), make_run("b", "ogm", 0.66, 0.414)]
    assert headline(same_and_worse) == (
        "With OGM, the visual branch stays at 0.41 and the fused network goes from 0.70 to 0.66 "
        "on the test split."
    )


def test_each_run_is_compared_with_the_plain_run_of_its_own_seed():
    two_seeds = [
        make_run("p0", None, 0.5, 0.2, config={"seed": 0}),
        make_run("p1", None, 0.6, 0.3, config={"seed": 1}),
        make_run("g0", "ogm_ge", 0.7, 0.4, config={"seed": 0, "alpha": 0.8}),
    ]
    assert "from 0.20 to 0.40 and the fused network from 0.50 to 0.70" in headline(two_seeds)


def test_headline_without_anything_to_compare():
    assert headline(runs()[1:]) == (
        "ge: the fused network answers 0.78, the audio branch 0.70 and the visual branch 0.63 of "
        "the test split correctly."
    )
    unknown = make_run("a", "none", 0, 0, metrics={"test": {"accuracy": None}}, best_epoch=None)
    assert headline([unknown]).startswith("No split has been evaluated")


def test_page_stays_small_whatever_it_is_given(tmp_path):
    rng = np.random.default_rng(0)
    large = make_example(
        frames=rng.integers(0, 256, (6, 250, 250, 3), np.uint8),
        waveform=rng.uniform(-1, 1, 400_000).astype(np.float32),
    )
    page = report.write_report(tmp_path, runs(), [large] * 14, MODALITIES, CLASSES)
    assert page.stat().st_size < 5_000_000
    assert re.search(r"\d+ more clips are left out", page.read_text("utf-8"))


def test_page_stays_small_with_many_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(run_page, "_MAX_CURVES_BYTES", 450_000)
    many = [make_run(f"run {number}", "ogm", 0.5, 0.5) for number in range(4)]
    page = report.write_report(tmp_path, many, [], MODALITIES, CLASSES).read_text("utf-8")
    shown = 4 - int(re.search(r"last (\d+) runs are left out", page)[1])
    assert 1 <= shown <= 3 and page.count("<figcaption>") == 2 * shown
    assert page.count('<th scope="row">run 3</th>') == 5


def without(run, column):
    history = {name: values for name, values in run.history.items() if name != column}
    return dataclasses.replace(run, history=history)


@pytest.mark.parametrize(
    ("bad_runs", "examples", "received"),
    [
        ([], [], r"Received: runs=\[\]"),
        ([runs()[0]] * 2, [], r"Received: runs=\['plain', 'plain'\]"),
        ([without(runs()[0], "audio_ratio")], [], "Received: .*without audio_ratio"),
        ([make_run("a", "none", 0, 0, history={})], [], "Received: no column"),
        ([make_run("a", "none", 0, 0, best_epoch=3)], [], "Received: best_epoch=3"),
        (
            [dataclasses.replace(run, history=run.history | {"loss": []}) for run in runs()],
            [],
            "Received: .*'loss': 0",
        ),
        (runs(), [make_example(label="flute")], "a class of .*Received: flute"),
        (runs(), [make_example(predictions={"other": {}})], "a run of .*Received: other"),
        (runs(), [make_example(frames=np.zeros((2, 4, 4, 3)))], "Received: .*dtype=float64"),
        (runs(), [make_example(flow=np.zeros((1, 4, 4, 3)))], r"Received: flow.shape=\(1, 4, 4, 3"),
        (runs(), [make_example(spectrogram=np.zeros(3))], r"Received: spectrogram.shape=\(3,\)"),
    ],
)
def test_refused_and_nothing_written(tmp_path, bad_runs, examples, received):
    with pytest.raises(ValueError, match=received):
        report.write_report(tmp_path, bad_runs, examples, MODALITIES, CLASSES)
    assert not list(tmp_path.iterdir())
