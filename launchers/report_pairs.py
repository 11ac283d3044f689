"""The report of runs of `pretrain`: what it shows beside the report of `train`'s."""

import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from input_pipelines.clips import Example
from input_pipelines.index import Index
from launchers.pretraining import KINDS
from launchers.report_clips import clip_example
from ogm_tf.analysis import map_pictures, pair_report
from ogm_tf.analysis.map_pictures import MapKind
from ogm_tf.analysis.pair_report import PairExample
from ogm_tf.analysis.sections import Section
from ogm_tf.analysis.summaries import RunSummary
from ogm_tf.analysis.tables import Table
from ogm_tf.representation import PairModel
from ogm_tf.representation.co_attention import AVCAFusion
from ogm_tf.representation.trunk import AVSAFusion

_NETWORKS = {"l3net": "L3-Net", "avsa": "AVSA", "avca": "AVCA"}
_TASKS = {
    "correspondence": pair_report.CORRESPONDENCE,
    "synchronization": pair_report.SYNCHRONIZATION,
}


def write(
    output_dir: pathlib.Path,
    summaries: Sequence[RunSummary],
    models: Mapping[str, PairModel],
    clips: Sequence[Example],
    index: Index,
    tables: Sequence[Table],
    sections: Sequence[Section],
) -> pathlib.Path:
    """Writes the page and returns its path.

    Args:
      output_dir: Its folder.
      summaries: Of the runs, all of one network.
      models: The best of each run, by its name.
      clips: To show.
      index: Of the records.
      tables: To follow the comparison.
      sections: More parts.
    """
    network = summaries[0].config["model"]
    task = _TASKS[KINDS[network]]
    return pair_report.write_pair_report(
        output_dir,
        summaries,
        [_example(clip, models, index, task) for clip in clips],
        task,
        _NETWORKS[network],
        _map_kind(next(iter(models.values()))),
        tables,
        sections,
    )


def localization_map(model: PairModel, inputs: Mapping[str, tf.Tensor]) -> np.ndarray | None:
    """Returns where in its frames a network looks or finds something; None where it has no map.

    Args:
      model: The network.
      inputs: Of pairs, `{"audio": [P, ...], "visual": [P, ...]}`.

    Returns:
      float32 `[P, t, h, w]`: AVCA's attention to the frames, AVSA's class activation.
    """
    kind = _map_kind(model)
    if kind is None:
        return None
    features = [encoder(inputs[name], training=False) for name, encoder in model.encoders.items()]
    if kind is map_pictures.ATTENTION:
        found = model.fusion.attention_map(features)
    else:
        found = _finer(model.fusion, features).activation_map(features)
    return tf.cast(found, tf.float32).numpy()


def _finer(fusion: AVSAFusion, features: list[tf.Tensor]) -> AVSAFusion:
    """Returns the fusion with its weights and a last stage that keeps the size of its map."""
    fine = AVSAFusion.from_config({**fusion.get_config(), "last_stride": 1})
    fine.build([feature.shape for feature in features])
    fine.set_weights(fusion.get_weights())
    return fine


def _example(
    clip: Example,
    models: Mapping[str, PairModel],
    index: Index,
    task: pair_report.PairTask,
) -> PairExample:
    """Returns a clip's own sound and frames, with what every run says of them."""
    answers = (task.negative, task.positive)
    predictions, maps = {}, {}
    for name, model in models.items():
        inputs = {part: tf.expand_dims(clip.inputs[part], 0) for part in model.encoders}
        probabilities = tf.nn.softmax(model(inputs, training=False)[0]).numpy()
        answer = int(probabilities.argmax())
        predictions[name] = {"fused": (answers[answer], float(probabilities[answer]))}
        found = localization_map(model, inputs)
        if found is not None:
            maps[name] = found[0]
    return PairExample(
        clip=clip_example(clip, index, task.positive, predictions),
        class_name=index.class_names[clip.label],
        window_s=clip.end_s - clip.start_s,
        maps=maps,
    )


def _map_kind(model: PairModel) -> MapKind | None:
    if isinstance(model.fusion, AVSAFusion):
        return map_pictures.ACTIVATION
    # Without attention from sound to picture there are no weights over the frames.
    if isinstance(model.fusion, AVCAFusion) and model.fusion.mode != "v2a":
        return map_pictures.ATTENTION
    return None
