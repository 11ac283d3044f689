"""The models that the settings of a run and the index of its records describe."""

from collections.abc import Mapping

import keras
import tensorflow as tf

import ogm_tf
from input_pipelines.feature_sequences import FeatureSequences
from input_pipelines.index import Index
from launchers.localizing import LocalizeSettings
from launchers.pretraining import PretrainSettings
from launchers.training import FitSettings, TrainSettings
from ogm_tf import modulation
from ogm_tf.localization import EventModel, agva, dmrn, losses, psp
from ogm_tf.modulation import Modulation
from ogm_tf.representation import avca, avsa, l3_net
from ogm_tf.representation.pair_model import PairModel

_FUSIONS = {
    "concat": ogm_tf.fusion.Concat,
    "sum": ogm_tf.fusion.Sum,
    "film": ogm_tf.fusion.FiLM,
    "gated": ogm_tf.fusion.Gated,
    "mmcosine": ogm_tf.fusion.MMCosine,
}
_PAIR_NETWORKS = {"l3net": l3_net, "avsa": avsa, "avca": avca}
_EVENT_NETWORKS = {"agva": agva.build, "dmrn": dmrn.build, "psp": psp.build}
# PyTorch's, with which the networks of events were published.
_ADAM_EPSILON = 1e-8


def build_model(settings: TrainSettings, index: Index) -> ogm_tf.OGMModel:
    """Returns the compiled model of a run.

    Args:
      settings: Of the run.
      index: Of its records: input shapes and classes.
    """
    shapes = index.settings.shapes
    model = ogm_tf.OGMModel(
        encoders={name: _encoder(settings, shape, name) for name, shape in shapes.items()},
        fusion=_fusion(settings, len(index.class_names)),
        modulation=make_modulation(settings),
        accumulate_steps=settings.accumulate_steps,
    )
    return _compiled(model, settings, shapes)


def _fusion(settings: TrainSettings, num_classes: int) -> keras.layers.Layer:
    scale = settings.mmcosine_scale
    own = {} if scale is None else {"scale": scale}
    return _FUSIONS[settings.fusion](num_classes=num_classes, **own)


def require_pair_inputs(model: str, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Refuses, without building it, what a network of `pretrain` cannot take.

    Args:
      model: Name of the network.
      shapes: Of sound and pictures.

    Raises:
      ValueError: where their sizes are too small, or do not fit each other.
    """
    _PAIR_NETWORKS[model].require_inputs(shapes["audio"], shapes["visual"])


def build_pair_model(settings: PretrainSettings, index: Index) -> PairModel:
    """Returns the compiled model of a run of `pretrain`.

    Args:
      settings: Of the run.
      index: Of its records: input shapes.

    Raises:
      ValueError: where the network cannot take the records' sound or pictures.
    """
    shapes = {name: index.settings.shapes[name] for name in ("audio", "visual")}
    network = _PAIR_NETWORKS[settings.model].build(
        settings.size,
        audio_shape=shapes["audio"],
        visual_shape=shapes["visual"],
        synchronized=settings.synchronized_batch_norm,
    )
    model = PairModel(network.encoders, network.fusion, make_modulation(settings))
    return _compiled(model, settings, shapes)


def build_event_model(settings: LocalizeSettings, features: FeatureSequences) -> EventModel:
    """Returns the compiled model of a run of `localize`.

    Args:
      settings: Of the run.
      features: Its videos: input shapes and classes.
    """
    shapes = features.shapes
    own = {"pair_weight": settings.pair_weight} if settings.model == "psp" else {}
    model = _EVENT_NETWORKS[settings.model](
        settings.size,
        audio_shape=shapes["audio"],
        visual_shape=shapes["visual"],
        num_classes=features.num_classes,
        weakly_supervised=settings.is_weak,
        score_mode=settings.score_mode,
        owner=settings.owner,
        event_only=settings.event_only,
        modulation=make_modulation(settings),
        **own,
    )
    is_adam = settings.optimizer.lower() == "adam"
    optimizer = _optimizer(settings, **({"epsilon": _ADAM_EPSILON} if is_adam else {}))
    return _compiled(model, settings, shapes, losses.get(settings.loss), optimizer)


def _compiled(
    model: ogm_tf.OGMModel,
    settings: FitSettings,
    shapes: Mapping[str, tuple[int, ...]],
    loss: keras.losses.Loss | None = None,
    optimizer: keras.optimizers.Optimizer | None = None,
) -> ogm_tf.OGMModel:
    """Returns the model with its weights, ready for `fit`; by default it learns classes."""
    model({name: tf.zeros((1, *shape)) for name, shape in shapes.items()})
    model.compile(
        optimizer=optimizer or _optimizer(settings),
        loss=loss or keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        weighted_metrics=[],
        jit_compile=settings.jit_compile,
    )
    return model


def _encoder(settings: TrainSettings, shape: tuple[int, ...], name: str) -> keras.Model:
    common = {"name": name, "synchronized": settings.synchronized_batch_norm}
    width = settings.encoder_width
    if settings.encoder == "resnet18":
        return ogm_tf.encoders.resnet18(shape, width=width or 64, **common)
    width = width or 16
    channels = (width, 2 * width, 4 * width, 8 * width)
    return ogm_tf.encoders.small_cnn(shape, channels=channels, **common)


def make_modulation(settings: FitSettings) -> Modulation | None:
    """Returns the methods of --modulation, or None.

    Raises:
      ValueError: where they do not go together.
    """
    if settings.modulation == "none":
        return None
    window = settings.modulation_start_epoch, settings.modulation_end_epoch
    make = {
        "ogm": lambda: ogm_tf.OGM(
            settings.alpha, *window, settings.modulation_variables, settings.modulation_rule
        ),
        "ogm_ge": lambda: ogm_tf.OGMGE(
            settings.alpha,
            *window,
            settings.modulation_variables,
            settings.modulation_rule,
            settings.seed,
        ),
        "agm": lambda: modulation.AGM(settings.alpha, *window),
        "unimodal": lambda: modulation.Unimodal(settings.unimodal_weight),
        "gblend": lambda: modulation.GBlend(),
        "mmpareto": lambda: modulation.MMPareto(settings.pareto_gamma),
        "opm": lambda: modulation.OPM(
            settings.opm_base,
            settings.opm_strength,
            settings.opm_probability,
            seed=settings.seed,
        ),
        "pmr": lambda: modulation.PMR(
            settings.pmr_strength,
            settings.pmr_entropy,
            settings.pmr_entropy_end_epoch,
        ),
    }
    methods = [make[name]() for name in settings.modulation.split("+")]
    return methods[0] if len(methods) == 1 else modulation.Combination(methods)


def _optimizer(settings: FitSettings, **own: float) -> keras.optimizers.Optimizer:
    arguments = {"learning_rate": settings.learning_rate, **own}
    weight_decay = settings.weight_decay
    if settings.optimizer.lower() == "sgd":
        arguments["momentum"] = settings.momentum
        weight_decay = 1e-4 if weight_decay is None else weight_decay
    if weight_decay:
        arguments["weight_decay"] = weight_decay
    if settings.clip_norm is not None:
        arguments["global_clipnorm"] = settings.clip_norm
    try:
        return ogm_tf.optimizers.get(settings.optimizer, **arguments)
    except TypeError as error:
        raise ValueError(
            f"--optimizer={settings.optimizer} must take the settings given for it. "
            f"Received: {', '.join(arguments)}; {error}."
        ) from error
