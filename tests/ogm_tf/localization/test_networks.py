"""AGVA, DMRN and PSP: parameters, branches, each modality's logits, files, refused arguments."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from ogm_tf.localization import agva, dmrn, psp
from ogm_tf.modulation import Unimodal
from tests.ogm_tf.localization.small_networks import NETWORKS, build, numbers, videos


@pytest.mark.parametrize(
    ("network", "preset", "weak", "count"),
    [
        (agva, "full", False, 1_333_198),
        (agva, "small", True, 28_013),
        (dmrn, "full", False, 1_569_102),
        (dmrn, "small", True, 30_157),
        (psp, "full", False, 1_546_609),
        (psp, "full", True, 1_251_854),
        (psp, "small", False, 39_280),
        (psp, "small", True, 29_101),
    ],
)
def test_parameter_counts(network, preset, weak, count):
    model = network.build(preset, weakly_supervised=weak)
    assert sum(np.prod(v.shape) for v in model.trainable_variables) == count


LSTM = [
    f"{way}_lstm/lstm_cell/{leaf}"
    for way in ("forward", "backward")
    for leaf in ("kernel", "recurrent_kernel", "bias")
]
PICTURE = {f"attention/{leaf}" for leaf in ("affine_video/kernel", "affine_video/bias")}
PICTURE |= {"attention/affine_v/kernel", "attention/affine_h/kernel"}
SHARED = {f"attention/affine_{leaf}" for leaf in ("audio/kernel", "audio/bias", "g/kernel")}
AUDIO = {f"audio_lstm/{leaf}" for leaf in LSTM}
VISUAL = {f"visual_lstm/{leaf}" for leaf in LSTM} | PICTURE
OWN = {
    ("agva", False): (set(), set()),
    ("agva", True): (set(), set()),
    ("dmrn", False): (set(), set()),
    ("dmrn", True): (set(), set()),
    ("psp", False): (
        {"fa_0/kernel", "fa_1/kernel"},
        {"fv_0/kernel", "fv_1/kernel"},
    ),
    ("psp", True): (set(), {"linear_v/kernel", "linear_v/bias"}),
}
SPLIT = {"head/hidden/kernel", "head/output/kernel"}
MIXED = {f"propagation/{leaf}/kernel" for leaf in ("v_L1", "v_L2", "a_L1", "a_L2")}
MIXED |= {"propagation/norm/gamma", "propagation/norm/beta"}
BLOCK = [
    f"head/{name}_{index}/{leaf}"
    for name in ("audio", "visual")
    for index in (1, 2)
    for leaf in ("kernel", "bias")
]
UNMODULATED = {
    ("agva", False): SPLIT | {"head/hidden/bias", "head/output/bias"},
    ("agva", True): SPLIT | {"head/hidden/bias", "head/output/bias"},
    ("dmrn", False): {*BLOCK, "head/output/kernel", "head/output/bias"},
    ("dmrn", True): {*BLOCK, "head/output/kernel", "head/output/bias"},
    ("psp", False): SPLIT | MIXED | {"propagation/v_fc/kernel", "propagation/a_fc/kernel"},
    ("psp", True): SPLIT | MIXED | {"importance/kernel"},
}


@pytest.mark.parametrize("owner", ["stream", "input", "skip"])
@pytest.mark.parametrize(("name", "weak"), OWN)
def test_every_variable_has_its_branch_or_none(name, weak, owner):
    model = build(name, weakly_supervised=weak, owner=owner)
    branches = {key: {v.name[:-2] for v in value} for key, value in model.branches.items()}
    own_audio, own_visual = OWN[name, weak]
    assert branches == {
        "audio": AUDIO | own_audio | (SHARED if owner == "input" else set()),
        "visual": VISUAL | own_visual | (SHARED if owner == "stream" else set()),
    }
    rest = {v.name[:-2] for v in model.trainable_variables} - set().union(*branches.values())
    assert rest == UNMODULATED[name, weak] | (SHARED if owner == "skip" else set())


def test_frozen_layers_leave_their_branch():
    model = build("psp")
    model.audio_lstm.trainable = False
    assert [v.name for v in model.branches["audio"]] == ["fa_0/kernel:0", "fa_1/kernel:0"]


@pytest.mark.parametrize("weak", [False, True])
@pytest.mark.parametrize("name", ["agva", "psp"])
def test_masked_logits_add_up(name, weak):
    model = build(name, weakly_supervised=weak, score_mode="masked")
    inputs = videos()
    logits, parts = model(inputs, unimodal=True)
    np.testing.assert_allclose(parts["audio"] + parts["visual"], logits, atol=1e-5)
    segments, parts = model.segment_logits(inputs, unimodal=True)
    np.testing.assert_allclose(parts["audio"] + parts["visual"], segments, atol=1e-5)
    assert segments.shape == (3, 4, 5)
    assert logits.shape == ((3, 5) if weak else (3, 4, 5))


@pytest.mark.parametrize("weak", [False, True])
@pytest.mark.parametrize("name", NETWORKS)
def test_zero_pre_logits_depend_on_their_own_input_alone(name, weak):
    model = build(name, weakly_supervised=weak, score_mode="zero_pre")
    first, second = videos(), videos(seed=7)
    for own, other in (("audio", "visual"), ("visual", "audio")):
        before = model.unimodal_logits(first)[own]
        # In training as well: dropout stays off.
        changed = model.unimodal_logits({**first, other: second[other]}, training=True)[own]
        np.testing.assert_array_equal(changed, before)
        changed = model.unimodal_logits({**first, own: second[own]})[own]
        assert not np.allclose(changed, before)


def _without(x):
    return np.zeros_like(x)


def _agva_logits(model, heard, seen):
    """The head's two maps of both features after a ReLU."""
    hidden, output = model.head.hidden, model.head.output_map
    features = np.maximum(np.concatenate([heard, seen], axis=-1), 0)
    units = np.maximum(features @ hidden.kernel.numpy() + hidden.bias.numpy(), 0)
    return units @ output.kernel.numpy() + output.bias.numpy()


def _psp_logits(model, heard, seen):
    """Where one feature is 0 no segments connect: a map and a ReLU, the norm, mean and head."""
    maps, norm = model.propagation.maps, model.propagation.norm
    features = []
    for name, feature in (("a_fc", heard), ("v_fc", seen)):
        own = np.maximum(feature @ maps[name].kernel.numpy(), 0)
        own = (own - own.mean(-1, keepdims=True)) / np.sqrt(own.var(-1, keepdims=True) + 1e-6)
        features.append(own * norm.gamma.numpy() + norm.beta.numpy())
    units = np.maximum(sum(features) / 2 @ model.head.hidden.kernel.numpy(), 0)
    return units @ model.head.output_map.kernel.numpy()


@pytest.mark.parametrize(("name", "by_hand"), [("agva", _agva_logits), ("psp", _psp_logits)])
def test_zero_pre_by_hand(name, by_hand):
    """The sound beside no picture; the mean of all places, which no sound guided, beside none."""
    model, inputs = build(name, score_mode="zero_pre"), videos()
    if name == "psp":
        # So that what the other modality leaves behind, the norm's offset, counts.
        model.propagation.norm.beta.assign(numbers(8))
    sound, places = inputs["audio"], inputs["visual"].reshape(3, 4, 6, 6).mean(axis=2)
    for kind in ("audio", "visual") if name == "psp" else ():
        for layer in getattr(model, f"{kind}_maps"):
            if kind == "audio":
                sound = sound @ layer.kernel.numpy()
            else:
                places = places @ layer.kernel.numpy()
    heard, seen = model.audio_lstm(sound).numpy(), model.visual_lstm(places).numpy()
    parts = model.unimodal_logits(inputs)
    expected = by_hand(model, heard, _without(seen)), by_hand(model, _without(heard), seen)
    np.testing.assert_allclose(parts["audio"], expected[0], atol=1e-5)
    np.testing.assert_allclose(parts["visual"], expected[1], atol=1e-5)


@pytest.mark.parametrize(("weak", "threshold"), [(False, 0.2475), (True, 0.2375)])
def test_the_threshold_of_psp_is_a_little_less_than_an_even_share(weak, threshold):
    model = build("psp", weakly_supervised=weak, threshold=None)
    assert model.propagation.threshold == pytest.approx(threshold)
    published = psp.build("small", weakly_supervised=weak)
    assert published.threshold == (0.095 if weak else 0.099)


@pytest.mark.parametrize("name", NETWORKS)
def test_score_modes_leave_the_fused_logits_alone(name):
    model = build(name)
    for mode in model.score_modes:
        np.testing.assert_array_equal(build(name, score_mode=mode)(videos()), model(videos()))


@pytest.mark.parametrize("name", ["agva", "dmrn"])
def test_zero_is_the_head_without_the_other_feature(name):
    model = build(name, score_mode="zero")
    heard, seen = features = [numbers(2, 4, 8), numbers(2, 4, 8, seed=1)]
    audio, visual = model.head(features, score_mode="zero")[1]
    np.testing.assert_allclose(audio, model.head([heard, 0 * seen])[0], atol=1e-6)
    np.testing.assert_allclose(visual, model.head([0 * heard, seen])[0], atol=1e-6)


def test_weak_agva_takes_the_largest_logit_over_time():
    inputs = videos()
    model = build("agva", weakly_supervised=True, score_mode="zero")
    segments, parts = model.segment_logits(inputs, unimodal=True)
    logits, pooled = model(inputs, unimodal=True)
    np.testing.assert_array_equal(logits, np.max(segments, axis=1))
    np.testing.assert_array_equal(pooled["audio"], np.max(parts["audio"], axis=1))


def test_weak_psp_averages_weighted_segments():
    inputs = videos()
    model = build("psp", weakly_supervised=True, score_mode="zero")
    heard = model.audio_lstm(inputs["audio"])
    context = model.attention([inputs["audio"], inputs["visual"]])
    seen = model.visual_lstm(model.visual_maps[0](context))
    scores, parts = model.head(model.propagation([heard, seen]), score_mode="zero")
    kernel = model.importance.kernel.numpy()

    def weighted(scores):
        return scores.numpy() / (1 + np.exp(-np.maximum(scores.numpy() @ kernel, 0)))

    np.testing.assert_allclose(model.segment_logits(inputs), weighted(scores), atol=1e-6)
    logits, pooled = model(inputs, unimodal=True)
    np.testing.assert_allclose(logits, weighted(scores).mean(axis=1), atol=1e-6)
    np.testing.assert_allclose(pooled["visual"], weighted(parts[1]).mean(axis=1), atol=1e-6)


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_survive_a_file(name, tmp_path):
    arguments = {"weakly_supervised": True, "owner": "input", "score_mode": "zero_pre"}
    model = build(name, **arguments)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.get_config() == model.get_config()
    np.testing.assert_array_equal(loaded(videos()), model(videos()))


@pytest.mark.parametrize("name", NETWORKS)
def test_half_precision_keeps_whole_logits(name):
    model = build(name, dtype="mixed_bfloat16")
    logits, parts = model(videos(), unimodal=True)
    assert logits.dtype == parts["audio"].dtype == tf.float32
    assert model.audio_lstm.compute_dtype == model.attention.compute_dtype == "bfloat16"
    # A threshold cuts other connections where numbers are rounded.
    threshold = {"threshold": 0.0} if name == "psp" else {}
    half, whole = (
        build(name, dtype=dtype, **threshold)(videos()) for dtype in ("mixed_bfloat16", "float32")
    )
    np.testing.assert_allclose(half, whole, atol=0.1)


def test_what_networks_refuse():
    with pytest.raises(ValueError, match="DMRN must be one of zero, zero_pre. Received:"):
        build("dmrn", score_mode="masked")
    with pytest.raises(ValueError, match="stream, input, skip. Received: owner='sound'"):
        build("agva", owner="sound")
    with pytest.raises(ValueError, match=r"number of segments. Received: audio_shape=\(5, 3\)"):
        build("agva", audio_shape=(5, 3))
    with pytest.raises(ValueError, match="labels of segments. Received: event_only=True"):
        build("agva", event_only=True, weakly_supervised=True)
    with pytest.raises(ValueError, match="OGM or ogm_tf.OGMGE alone.* Received: modulation=Unimod"):
        build("agva", modulation=Unimodal())
    with pytest.raises(ValueError, match="full, small. Received: preset='tiny'"):
        psp.build("tiny")
    with pytest.raises(ValueError, match=r"must be \[B, 4, 2, 3, 6\]. Received: shape \(1, 4, 6\)"):
        build("agva")({**videos(), "visual": np.zeros([1, 4, 6])})
    with pytest.raises(ValueError, match="`pair_weight` must be >= 0. Received: pair_weight=-1"):
        build("psp", pair_weight=-1)
    with pytest.raises(ValueError, match="`threshold` must be >= 0. Received: threshold=-0.1"):
        build("psp", threshold=-0.1)
