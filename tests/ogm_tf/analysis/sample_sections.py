"""What has been found of runs, as parts of their page: made-up numbers, as wide as they come."""

from collections.abc import Sequence

import numpy as np

from ogm_tf.analysis import imbalance_figures
from ogm_tf.analysis.branch_section import RunBranches, branch_section
from ogm_tf.analysis.categories import Answers, Comparison
from ogm_tf.analysis.category_section import category_section
from ogm_tf.analysis.sample_section import Sample, sample_section
from ogm_tf.analysis.samples import Curves, Pick
from ogm_tf.analysis.sections import Section
from ogm_tf.analysis.summaries import ClipExample, RunSummary

MODALITIES = ("audio", "visual")
_PARTS = ("fused", *MODALITIES)
_GRADIENTS = ("kernel", "bias", "feature", "encoder")
_NUM_CATEGORIES = 45
_CLIPS_EACH = 8


def all_sections(
    runs: Sequence[RunSummary], class_names: Sequence[str], clips: Sequence[ClipExample]
) -> list[Section]:
    """Returns branches, imbalance, categories and samples of three runs, the first a plain one."""
    names = [run.name for run in runs]
    found = [_branches(name, number) for number, name in enumerate(names)]
    return [
        branch_section(found, MODALITIES, len(class_names)),
        imbalance_figures.section({name: _imbalance(class_names) for name in names}),
        category_section(
            [_comparison("OGM", [3]), _comparison("OGM-GE", [0, 1, 2])], "test",
            ["Left out of OGM, with their pairs: " + "a_run_with_a_long_name, " * 5 + "and more."],
        ),
        sample_section(
            [Sample(Pick(clip.clip_id, "OGM-GE raises the visual branch most"), clip)
             for clip in clips],
            {name: _curves(clips, number) for number, name in enumerate(names)},
            runs, len(class_names), "Picked by hand.",
        ),
    ]  # fmt: skip


def _branches(name, number):
    accuracies = {
        modality: {"alone": 0.9, "probe": 0.8 - 0.2 * place, "branch": 0.7 - 0.3 * place}
        for place, modality in enumerate(MODALITIES)
    }
    rise = 1 - np.exp(-np.arange(12) / (3 + number))
    gaps = np.where(np.arange(12) % 3 == 2, 0.8 * rise, np.nan)
    curves = {
        modality: {"alone": 0.9 * rise, "probe": gaps, "branch": 0.6 * rise}
        for modality in MODALITIES
    }
    return RunBranches(name, {"test": accuracies, "validation": accuracies}, curves)


def _described(num_clips, shared_factor):
    modalities = {}
    for name, share in zip(MODALITIES, (1.25, -0.25), strict=True):
        norms = {kind: 123.4567 * (number + 1) for number, kind in enumerate(_GRADIENTS)}
        modalities[name] = {
            "true_class_logit": 12.345 * share, "lead": 12.345 * share, "share": share,
            "probability": 0.5 + 0.3 * share, "gradients": norms, "automatic_gradients": norms,
        }  # fmt: skip
    return {
        "num_clips": num_clips, "probability": 1 - shared_factor, "shared_factor": shared_factor,
        "modalities": modalities, "largest_difference": 3e-8,
    }  # fmt: skip


def _imbalance(class_names):
    rng = np.random.default_rng(0)
    sure = rng.uniform(0, 1, 200)
    scales = np.linspace(0, 2, 9)
    return {
        "split": "validation", "fusion": "Concat", "modalities": list(MODALITIES),
        "num_clips": len(sure), "stronger": "audio", "weaker": "visual",
        "relative_difference": 3e-8, "all": _described(len(sure), 0.2),
        "classes": {name: _described(50, 0.4) for name in class_names},
        "batches": [_described(32, 0.2) for _ in range(7)],
        "what_if": {
            "scales": scales.tolist(), "all": np.exp(-scales).tolist(),
            "right": np.exp(-2 * scales).tolist(), "wrong": np.exp(scales / 3).tolist(),
            "num_right": 150,
        },
        "clips": {
            "strong_probability": sure.tolist(),
            "weak_gradient": (2 * (1.1 - sure) * rng.uniform(0.5, 1.5, len(sure))).tolist(),
        },
    }  # fmt: skip


def _comparison(title, seeds):
    names = [f"playing_the_instrument_of_number_{number}" for number in range(_NUM_CATEGORIES)]
    labels = np.repeat(np.arange(_NUM_CATEGORIES), _CLIPS_EACH)
    rng = np.random.default_rng(len(seeds))

    def answers(gain):
        levels = zip(_PARTS, (0.6, 0.5, 0.4), strict=True)
        return Answers(
            labels,
            {
                part: np.where(rng.random(len(labels)) < level + gain, labels, (labels + 1) % 45)
                for part, level in levels
            },
        )

    before, after = ([answers(gain) for _ in seeds] for gain in (0, 0.2))
    return Comparison(title, seeds, before, after, names)


def _curves(clips, number):
    rise = 1 - np.exp(-np.arange(12) / (2 + number))
    levels = np.array([0.9, 0.8, 0.3 + 0.2 * number])
    values = np.repeat((rise[:, None] * levels)[:, None], len(clips), axis=1)
    return Curves(tuple(clip.clip_id for clip in clips), _PARTS, values)
