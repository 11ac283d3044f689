"""Which clips are picked, and what is drawn of them."""

import numpy as np
import pytest

from ogm_tf.analysis import sample_section
from ogm_tf.analysis.pages import render
from ogm_tf.analysis.samples import Curves, Pick, common_clips, pick, pick_apart
from ogm_tf.analysis.summaries import ClipExample, RunSummary
from tests.ogm_tf.analysis.parsed_page import Page

NAMES = ("fused", "audio", "visual")


def curves(late, ids="abcd", early=0.1):
    """Eight epochs, the last two of which have these confidences, `[K, P]`."""
    late = np.array(late, np.float32)
    values = np.full((8, *late.shape), early, np.float32)
    # Their mean counts, not the last.
    values[6:] = late + np.array([0.05, -0.05], np.float32)[:, None, None]
    return Curves(tuple(ids), NAMES, values)


BEFORE = curves([[0.5, 0.9, 0.1], [0.6, 0.8, 0.2], [0.7, 0.9, 0.2], [0.8, 0.7, 0.3]])
AFTER = curves([[0.6, 0.9, 0.2], [0.6, 0.6, 0.7], [0.9, 0.8, 0.6], [0.2, 0.4, 0.4]])


def test_clips_are_picked_by_what_changed_most():
    np.testing.assert_allclose(AFTER.late[1], [0.6, 0.6, 0.7], atol=1e-6)
    assert pick(BEFORE, AFTER, "OGM-GE") == [
        Pick("b", "OGM-GE raises the visual branch most: from 0.20 to 0.70"),
        Pick("c", "OGM-GE raises the fused network most: from 0.70 to 0.90"),
        Pick("d", "OGM-GE lowers the fused network most: from 0.80 to 0.20"),
    ]
    # A clip is shown once, and what nowhere happens is not said.
    better = curves([[0.5, 0.9, 0.2], [0.9, 0.8, 0.9], [0.8, 0.9, 0.2], [0.8, 0.7, 0.3]])
    assert [own.clip_id for own in pick(BEFORE, better, "OGM")] == ["b", "c"]
    assert pick(BEFORE, BEFORE, "OGM") == []
    assert pick_apart(BEFORE) == [Pick("a", "the modalities differ most: audio 0.90, visual 0.10")]


def test_clips_in_common():
    other = curves(BEFORE.late[:2], "cb")
    assert common_clips([BEFORE, other]) == ["b", "c"]
    np.testing.assert_array_equal(other.of(["b"]).confidence[:, 0], other.confidence[:, 1])


def test_curves_of_no_epoch_or_of_another_shape_are_refused():
    for shape in ((0, 4, 3), (2, 3, 3), (4, 3)):
        with pytest.raises(ValueError, match=r"Received: shape \(.*of 4 clips"):
            Curves(tuple("abcd"), NAMES, np.zeros(shape))


def example(clip_id, waveform=None):
    frames = np.zeros((8, 20, 30, 3), np.uint8)
    return ClipExample(clip_id, "bell", frames, np.zeros((9, 20)), 8000, 80, {}, waveform)


def test_the_section_has_a_panel_a_method_beside_the_clip():
    runs = [
        RunSummary(name, how, {}, {}, {}) for name, how in (("plain", "none"), ("ge", "ogm_ge"))
    ]
    samples = [
        sample_section.Sample(
            Pick("b", "because of this"), example("b", np.zeros(4000, np.float32))
        ),
        sample_section.Sample(Pick("d", "and that"), example("d")),
    ]
    shown = {"plain": BEFORE.of(["b", "d"]), "ge": AFTER.of(["b", "d"])}
    section = sample_section.sample_section(samples, shown, runs, 3, "By hand.")
    page = Page(render("samples.html", section=section))
    assert "By hand." in page.words and "clip b: because of this." in page.words
    texts = [attributes["alt"] for tag, attributes in page.elements if tag == "img"]
    curves_of = [text for text in texts if text.startswith("Probability of the true class")]
    assert len(curves_of) == 4
    assert (
        "clip b per epoch of run ge. At the end: fused 0.55, audio 0.55, visual 0.65."
        in curves_of[1]
    )
    assert sum(text.startswith("Frame") for text in texts) == 12
    assert sum(text.startswith("Spectrogram") for text in texts) == 2
    assert sum(tag == "audio" for tag, _ in page.elements) == 1
    captions = [page.words.count(title) for title in ("no modulation, run plain", "OGM-GE, run ge")]
    assert captions == [2, 2]
