"""The page about runs of events in videos: what it says, what it shows, and what it refuses."""

import base64
import dataclasses
import io
import re

import matplotlib.image
import numpy as np
import pytest

from ogm_tf.analysis import event_report
from ogm_tf.analysis.event_report import EventExample
from ogm_tf.analysis.summaries import RunSummary
from tests.ogm_tf.analysis.parsed_page import Page

CLASSES = ("<b>bell</b>", "dog", "background")
MODALITIES = ("audio", "visual")


def make_run(name, modulation, accuracy, audio, **changes):
    history = {"epoch": [0, 1], "loss": [0.7, 0.5], "accuracy": [0.5, 0.9]}
    for modality, end in (("audio", 0.81), ("visual", 0.62)):
        for kind in ("accuracy", "ratio", "coefficient"):
            history[f"{modality}_{kind}"] = [0.5, end]
    metrics = {"accuracy": accuracy, "audio_accuracy": audio, "visual_accuracy": 0.7}
    metrics |= {"event_accuracy": 0.25, "background_accuracy": 0.875, "all_event_accuracy": 0.625}
    values = {
        "config": {"model": "agva", "supervision": "full"},
        "history": history,
        "metrics": {"test": metrics},
        "best_epoch": 1,
    }
    return RunSummary(name=name, modulation=modulation, **values | changes)


def runs():
    return [make_run("plain", "none", 0.6, 0.4), make_run("ge", "ogm_ge", 0.7, 0.5)]


def said(*answers, score=0.9):
    """Returns probabilities [T, 3] whose largest is the answer."""
    return np.where(np.eye(3)[list(answers)] == 1, score, (1 - score) / 2)


def make_example(labels=(2, 1, 1, 0), maps=None, **changes):
    labels = np.array(labels)
    answers = {
        "fused": said(*labels),
        "audio": said(*[2] * len(labels), score=0.6),
        "visual": said(*[1] * len(labels), score=0.7),
    }
    values = {
        "video_id": "video-1",
        "labels": labels,
        "segment_s": 0.5,
        "probabilities": {"plain": answers},
        "maps": maps or {},
    }
    return EventExample(**values | changes)


def corners(num_segments=4):
    """Attention to another of 2 x 2 places in every segment."""
    values = np.full((num_segments, 2, 2), 0.1)
    for number in range(num_segments):
        values[number, number // 2 % 2, number % 2] = 0.7
    return values


def write(folder, examples, of_runs=None):
    path = event_report.write_event_report(
        folder, of_runs or runs(), examples, MODALITIES, CLASSES, "AGVA"
    )
    return Page(path.read_text("utf-8"))


def test_page_says_the_numbers(tmp_path):
    page = write(tmp_path, [make_example()])
    text = page.words
    assert (
        "OGM-GE lifts the audio branch from 0.40 to 0.50 and the fused network from 0.60 to 0.70 "
        "on the test split." in text
    )
    assert "Run fused audio visual Modulation" in text and "ge 0.700 0.500 0.700 OGM-GE" in text
    assert "Run segments with an event background segments the event everywhere" in text
    assert "plain 0.250 0.875 0.625" in text
    assert "Guessing among 3 classes gives about 0.33" in text
    assert "Events in videos by AGVA: which, and when?" in text and "supervision “weak”" not in text
    assert {tag for tag, _ in page.elements}.isdisjoint({"b", "script"})
    for tag, attributes in page.elements:
        for name in ("src", "srcset", "href"):
            assert attributes.get(name, "#").startswith(("data:", "#")), tag
    assert all(attributes.get("alt") for tag, attributes in page.elements if tag == "img")


def test_videos_are_shown_along_their_time(tmp_path):
    page = write(tmp_path, [make_example()])
    text = page.words
    assert "dog, <b>bell</b>video video-1" in text
    assert "0 s 0.5 s 1 s 1.5 s right background dog <b>bell</b> plain 4 of 4 right" in text
    fused = "fused background ✓right, score 90% dog ✓right, score 90% dog ✓right, score 90%"
    audio = (
        "audio background ✓right, score 60% background ✗wrong, score 20% "
        "background ✗wrong, score 20% background ✗wrong, score 20%"
    )
    visual = (
        "visual dog ✗wrong, score 15% dog ✓right, score 70% dog ✓right, score 70% "
        "dog ✗wrong, score 15%"
    )
    for row in (fused, audio, visual):
        assert row in text
    spans = [a["colspan"] for tag, a in page.elements if tag == "td" and "colspan" in a]
    assert spans == ["1", "2", "1"]
    # Neither frames nor maps are there.
    assert "Frame at" not in text and "Attention" not in text


@pytest.mark.parametrize("has_frames", [True, False])
def test_attention_is_drawn_on_its_segment(tmp_path, has_frames):
    frames = np.random.default_rng(0).integers(0, 256, (4, 48, 48, 3), np.uint8)
    example = make_example(maps={"plain": corners()}, frames=frames if has_frames else None)
    page = write(tmp_path, [example])
    pictures = {a["alt"]: a["src"] for tag, a in page.elements if tag == "img"}
    num_found = 0
    for text, source in pictures.items():
        pattern = r"Attention of run plain at ([\d.]+) s of video video-1: (.*)"
        if match := re.fullmatch(pattern, text):
            data = base64.b64decode(source.removeprefix("data:image/jpeg;base64,"))
            picture = matplotlib.image.imread(io.BytesIO(data), format="jpeg").astype(float)
            side = len(picture) // 2
            tint = (picture[..., 0] - picture[..., 2]).reshape(2, side, 2, side).mean(axis=(1, 3))
            number = int(float(match[1]) / 0.5)
            assert np.argmax(tint) == number
            left, top = ("25%", "75%")[number % 2], ("25%", "75%")[number // 2]
            assert match[2] == f"greatest, 0.7, at {left} from the left, {top} from the top"
            num_found += 1
    assert num_found == 4
    assert sum(text.startswith("Frame at") for text in pictures) == (4 if has_frames else 0)
    assert "The weights of a picture sum to 1" in page.words and "up to 0.7" in page.words


def test_long_videos_have_some_pictures_and_all_answers(tmp_path):
    labels = [2] * 30 + [1] * 15
    page = write(tmp_path, [make_example(labels, maps={"plain": corners(45)})])
    texts = [attributes["alt"] for tag, attributes in page.elements if tag == "img"]
    assert sum(words.startswith("Attention of run") for words in texts) == 10
    assert "Attention of run plain at 22 s of video" in " ".join(texts)
    assert page.words.count("score 90%") == 45 and "45 of 45 right" in page.words


def test_page_stays_small(tmp_path):
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (10, 96, 170, 3), np.uint8)
    probabilities = {
        name: make_example([1] * 10).probabilities["plain"] for name in ("plain", "ge")
    }
    maps = {name: rng.random((10, 7, 7)) for name in probabilities}
    example = make_example([1] * 10, maps, frames=frames, probabilities=probabilities)
    path = event_report.write_event_report(
        tmp_path, runs(), [example] * 24, MODALITIES, CLASSES, "AGVA"
    )
    assert 1_500_000 < path.stat().st_size < 5_000_000
    assert re.search(r"\d+ more videos are left out", path.read_text("utf-8"))


def without_ratio(run):
    history = {name: own for name, own in run.history.items() if name != "audio_ratio"}
    return dataclasses.replace(run, history=history)


@pytest.mark.parametrize(
    ("of_runs", "example", "received"),
    [
        (None, make_example(maps={"other": corners()}), "a run of plain, ge. Received: other"),
        (None, make_example(maps={"ge": corners(3)}), r"its 4 segments. Received: map of ge.*\(3"),
        (None, make_example(frames=np.zeros((4, 2, 2))), r"Received: frames of shape \(4, 2, 2\)"),
        (
            None,
            make_example(probabilities={"ge": {"fused": said(0, 1, 2, 2)}}),
            r"= \(4, 3\) of fused, audio, visual. Received: .* of run ge",
        ),
        ([without_ratio(runs()[0])], make_example(), "Received: .*without audio_ratio"),
    ],
)
def test_refused_and_nothing_written(tmp_path, of_runs, example, received):
    with pytest.raises(ValueError, match=received):
        write(tmp_path, [example], of_runs)
    assert not list(tmp_path.iterdir())
