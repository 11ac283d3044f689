"""The part of the page about starving: bins, curves, sentences and tables hold their numbers."""

from ogm_tf.analysis import imbalance_figures, report
from tests.ogm_tf.analysis.parsed_page import Page

PAGE_CURVES = ("accuracy", "ratio", "coefficient")
KINDS = ("kernel", "bias", "feature", "encoder")


def modality(probability, lead, share, gradient):
    norms = {kind: gradient * (index + 1) for index, kind in enumerate(KINDS)}
    return {
        "true_class_logit": lead, "lead": lead, "share": share, "probability": probability,
        "gradients": norms, "automatic_gradients": norms,
    }  # fmt: skip


def described(num_clips, shared_factor, audio_share=0.9):
    own = {
        "audio": modality(0.75, 3.6, audio_share, 0.5),
        "visual": modality(0.25, 0.4, None if audio_share is None else 1 - audio_share, 0.125),
    }
    return {
        "num_clips": num_clips, "probability": 1 - shared_factor, "shared_factor": shared_factor,
        "modalities": own, "largest_difference": 3e-8,
    }  # fmt: skip


def found(**changes):
    """What `analyze` finds where sound starves the picture."""
    values = {
        "split": "validation", "fusion": "Sum", "modalities": ["audio", "visual"], "num_clips": 4,
        "stronger": "audio", "weaker": "visual", "relative_difference": 3e-8,
        "all": described(4, 0.2),
        "classes": {"bell": described(3, 0.125), "horn": described(1, 0.425, None)},
        "batches": [described(4, 0.2)],
        "what_if": {
            "scales": [0.0, 1.0, 2.0], "all": [0.8, 0.2, 0.15], "right": [0.8, 0.1, 0.05],
            "wrong": None, "num_right": 4,
        },
        "clips": {
            "strong_probability": [0.1, 0.19, 0.8, 1.0], "weak_gradient": [2.0, 3.0, 0.75, 0.25],
        },
    }  # fmt: skip
    return values | changes


def test_bins_are_means_over_fifths():
    low, *between, high = imbalance_figures.bins(found()["clips"])
    assert low == (0.0, 0.2, 2, 2.5) and high == (0.8, 1.0, 2, 0.5)
    assert [(own.num_clips, own.mean) for own in between] == [(0, None)] * 3


def test_figures_hold_the_numbers():
    (axes,) = imbalance_figures.what_if_figure(found(), top=1.0).axes
    lines = {line.get_label(): list(line.get_ydata()) for line in axes.get_lines()}
    assert lines["all clips"] == [0.8, 0.2, 0.15] and lines["audio right"] == [0.8, 0.1, 0.05]
    assert "audio wrong" not in lines and axes.get_ylim() == (0, 1)
    (axes,) = imbalance_figures.starving_figure(found()).axes
    points, *means = axes.get_lines()
    assert points.get_xydata().tolist() == [[0.1, 2], [0.19, 3], [0.8, 0.75], [1, 0.25]]
    assert [line.get_xydata().tolist() for line in means] == [
        [[0, 2.5], [0.2, 2.5]], [[0.8, 0.5], [1, 0.5]],
    ]  # fmt: skip


def test_many_clips_are_a_small_picture():
    many = {"strong_probability": [0.5] * 5000, "weak_gradient": [1.0] * 5000}
    (axes,) = imbalance_figures.starving_figure(found(clips=many)).axes
    assert len(axes.get_lines()[0].get_xdata()) == 300


def test_sentences_say_the_numbers():
    assert imbalance_figures.sentences(found()) == [
        "Audio is ahead: alone it gives the true class a probability of 0.75, visual alone 0.25. "
        "Of what lifts the true class above the others, 90% come from audio and 10% from visual.",
        "With audio silent, the visual encoder would be told 4.00 times as much as it is; with "
        "audio twice as loud, 0.75 times as much.",
        "On the 2 clips to whose true class audio alone gives 0.8 to 1.0, the visual encoder’s "
        "gradient is 0.20 times what it is on the 2 to which it gives 0.0 to 0.2.",
    ]
    # Nothing is learnt, nothing is shared, and all clips are alike.
    silent = found(
        all=described(4, 0.2, None),
        what_if={"scales": [0, 1, 2], "all": [0, 0, 0], "right": [0, 0, 0], "wrong": None},
        clips={"strong_probability": [1.0], "weak_gradient": [0.0]},
    )
    (said,) = imbalance_figures.sentences(silent)
    assert said.endswith("visual alone 0.25.")
    assert imbalance_figures.section({"still": silent}).values["runs"]


def test_tables_for_a_terminal():
    text = imbalance_figures.as_text("plain", found())
    lines = [" ".join(line.split()) for table in text for line in table.splitlines()]
    assert "plain 4 0.200 90% 10% 2 0.5 3e-08" in lines
    assert "bell 3 0.125 90% 10% 2 0.5" in lines and "horn 1 0.425 – – 2 0.5" in lines
    assert "visual autodiff 0.125 0.25 0.375 0.5" in lines
    assert lines[-1].startswith("On the 2 clips")


def test_the_page_shows_every_run(tmp_path):
    names, modalities = ("plain", "ge"), ("audio", "visual")
    section = imbalance_figures.section(dict.fromkeys(names, found()))
    columns = [f"{own}_{kind}" for own in modalities for kind in PAGE_CURVES]
    history = dict.fromkeys(["loss", "accuracy", *columns], [0.5, 0.75])
    runs = [report.RunSummary(name, "none", {}, history, {}) for name in names]
    path = report.write_report(tmp_path, runs, [], modalities, ["bell"], sections=[section])
    page = Page(path.read_text("utf-8"))
    links = [own["href"] for tag, own in page.elements if tag == "a"]
    assert links == [f"#{own['id']}" for tag, own in page.elements if tag == "h2"]
    assert "#imbalance" in links and "Why the weak modality starves" in page.words
    assert page.words.count("Audio is ahead: alone it gives the true class") == 2
    assert "plain 4 0.200 90% 10% 2 0.5 3e-08" in page.words
    assert page.words.count("Sum fusion, validation clips") == 2
    texts = [own["alt"] for tag, own in page.elements if tag == "img"]
    for start, end in (
        ("Run ge: gradient that reaches", "0.8 at 0, 0.2 at 1, 0.15 at 2."),
        ("Run ge: mean gradient of the visual", "0.5 over 2 clips of 0.8 to 1.0, by"),
    ):
        (text,) = [own for own in texts if own.startswith(start)]
        assert end in text
    assert path.stat().st_size < 5_000_000
