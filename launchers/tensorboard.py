"""The figures of a run for TensorBoard, beside the scalars that Keras writes."""

import time

import tensorflow as tf

from launchers.run_summaries import summarize
from launchers.runs import RunFolder
from ogm_tf.analysis import run_figures
from ogm_tf.analysis.embedding import to_png
from ogm_tf.analysis.event_report import SEGMENTS
from ogm_tf.analysis.headlines import BRANCHES, PAIRS

_TERMS = {"train": BRANCHES, "pretrain": PAIRS, "localize": SEGMENTS}
_RGBA = 4


def write_figures(folder: RunFolder) -> None:
    """Writes the curves of the run's page, in place of those that are there, at its last epoch.

    Args:
      folder: Of a run that has finished an epoch.
    """
    run, terms = summarize(folder), _TERMS[folder.launcher]
    columns = [name for name in run.history if not name.startswith("val_")]
    names = [name.removesuffix("_ratio") for name in columns if name.endswith("_ratio")]
    figures = {
        "accuracy": run_figures.accuracy(run, names, terms),
        "modulation": run_figures.modulation(run, names, terms),
    }
    images = []
    for name, figure in figures.items():
        picture = to_png(figure)
        height, width, _ = tf.io.decode_png(picture).shape
        image = tf.compat.v1.Summary.Image(
            height=height, width=width, colorspace=_RGBA, encoded_image_string=picture
        )
        images.append(tf.compat.v1.Summary.Value(tag=name, image=image))
    now = time.time()
    folder.write_figures(
        [
            tf.compat.v1.Event(wall_time=now, file_version="brain.Event:2"),
            tf.compat.v1.Event(
                wall_time=now,
                step=run.num_epochs - 1,
                summary=tf.compat.v1.Summary(value=images),
            ),
        ]
    )
