"""Fusion heads against independent NumPy versions."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from ogm_tf import fusion

PAIR_HEADS = [
    fusion.Concat(5),
    fusion.Sum(5),
    fusion.FiLM(5),
    fusion.Gated(5),
    fusion.Gated(5, units=3),
]
ALL_HEADS = [*PAIR_HEADS, fusion.MMCosine(5, scale=3.0)]
HEADS_OF_ANY = [fusion.Concat, fusion.Sum, fusion.MMCosine]


def ids(head):
    return f"{type(head).__name__}{getattr(head, 'units', None) or ''}"


def features(widths=(4, 4), batch=6, seed=0):
    random = np.random.default_rng(seed)
    return [tf.constant(random.normal(size=(batch, width)), tf.float32) for width in widths]


def fresh(head):
    """An unbuilt copy of the head."""
    return type(head).from_config(head.get_config())


def randomize(head, seed=1):
    """Gives all variables, biases too, random values, and returns them by name."""
    random = np.random.default_rng(seed)
    head.set_weights([random.normal(size=w.shape).astype(np.float32) for w in head.get_weights()])
    return {v.name.split(":")[0].split("/", 1)[1]: v.numpy() for v in head.trainable_variables}


@pytest.mark.parametrize(
    ("head", "count"),
    [
        (fusion.Concat, lambda c: 1025 * c),
        (fusion.Sum, lambda c: 1026 * c),
        (fusion.FiLM, lambda c: 525_312 + 513 * c),
        (fusion.Gated, lambda c: 525_312 + 513 * c),
    ],
)
def test_parameter_counts_names_and_initial_values(head, count):
    head = head(31)
    head(features((512, 512)))
    assert head.count_params() == count(31)
    for variable in head.trainable_variables:
        if variable.name.endswith("/bias:0"):
            assert not variable.numpy().any()
        else:
            assert variable.name.endswith("/kernel:0")
            # Xavier-normal; truncated at two standard deviations the largest would be 2.27 times.
            stddev = np.sqrt(2 / sum(variable.shape))
            assert variable.numpy().std() == pytest.approx(stddev, rel=0.03)
            assert np.abs(variable.numpy()).max() > 3 * stddev


@pytest.mark.parametrize("head", PAIR_HEADS, ids=ids)
def test_equals_numpy(head):
    head, (a, v) = fresh(head), features()
    head([a, v])
    w = randomize(head)
    fused, (audio, visual) = head([a, v])
    a, v = a.numpy(), v.numpy()
    if isinstance(head, fusion.Sum):
        expected = [
            a @ w["output_0/kernel"] + w["output_0/bias"],
            v @ w["output_1/kernel"] + w["output_1/bias"],
        ]
        expected = [expected[0] + expected[1], *expected]
    else:
        kernel, bias = w["output/kernel"], w["output/bias"]
        if isinstance(head, fusion.Concat):
            expected = [
                np.concatenate([a, v], 1) @ kernel + bias,
                a @ kernel[:4] + bias / 2,
                v @ kernel[4:] + bias / 2,
            ]
        elif isinstance(head, fusion.FiLM):
            film = a @ w["film/kernel"] + w["film/bias"]
            parts = film[:, :4] * v + film[:, 4:], a, v
        else:
            p = a @ w["gate/kernel"] + w["gate/bias"]
            q = v @ w["content/kernel"] + w["content/bias"]
            parts = q / (1 + np.exp(-p)), p, q
        if not isinstance(head, fusion.Concat):
            fused_part, *own_parts = parts
            expected = [fused_part @ kernel + bias, *(x @ kernel + bias / 2 for x in own_parts)]
    for received, wanted in zip((fused, audio, visual), expected, strict=True):
        np.testing.assert_allclose(received, wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("head", HEADS_OF_ANY)
def test_three_modalities_of_different_widths_add_up(head):
    head, inputs = head(3), features((2, 5, 3))
    head(inputs)
    randomize(head)
    fused, parts = head(inputs)
    np.testing.assert_allclose(fused, sum(parts), rtol=0, atol=1e-5)
    assert [part.shape for part in parts] == [(6, 3)] * 3
    # Only its own modality moves a modality's logits.
    changed = head([inputs[0], inputs[1] + 1.0, inputs[2]])[1]
    moved = [not np.array_equal(x, y) for x, y in zip(parts, changed, strict=True)]
    assert moved == [False, True, False]


@pytest.mark.parametrize("head", ALL_HEADS, ids=ids)
def test_every_modality_depends_on_its_own_input_at_initialisation(head):
    head, inputs = fresh(head), features()
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(inputs)
        parts = head(inputs)[1]
    for part, own, other in zip(parts, inputs, reversed(inputs), strict=True):
        assert np.ptp(part.numpy(), axis=0).min() > 0.01
        assert np.abs(tape.gradient(part, own).numpy()).max(axis=1).min() > 0.01
        assert tape.gradient(part, other) is None


@pytest.mark.parametrize("head", ALL_HEADS, ids=ids)
def test_saved_model_answers_the_same(head, tmp_path):
    inputs = [keras.Input((4,), name=name) for name in ("audio", "visual")]
    fused, parts = fresh(head)(inputs)
    model = keras.Model(inputs, [fused, *parts])
    model.set_weights([w + 0.1 for w in model.get_weights()])
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.layers[-1].get_config() == model.layers[-1].get_config()
    for before, after in zip(model(features()), loaded(features()), strict=True):
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize(
    ("policy", "dtype"),
    [("mixed_bfloat16", "float32"), ("mixed_float16", "float32"), ("float64", "float64")],
)
def test_precision(policy, dtype):
    try:
        keras.mixed_precision.set_global_policy(policy)
        heads = [fusion.Concat(3), fusion.FiLM(3), fusion.MMCosine(3)]
    finally:
        keras.mixed_precision.set_global_policy("float32")
    for head in [*heads, fusion.Gated(3, dtype=keras.mixed_precision.Policy(policy))]:
        fused, parts = head([tf.cast(x, tf.float16) for x in features()])
        assert {fused.dtype, *(part.dtype for part in parts)} == {tf.as_dtype(dtype)}
        assert {v.dtype for v in head.variables} == {tf.as_dtype(dtype)}


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda: fusion.Concat(1), "Received: num_classes=1"),
        (lambda: fusion.Sum(2.5), "Received: num_classes=2.5"),
        (lambda: fusion.Gated(2, units=0), "Received: units=0"),
        (lambda: fusion.Concat(2)(features((4,))), r"Received: features of shapes \['\(6, 4\)'\]"),
        (lambda: fusion.Sum(2)(features()[0]), "list of features.*Received"),
        (lambda: fusion.Sum(2)([tf.ones([6, 2, 2]), tf.ones([6, 2])]), r"Received.*\(6, 2, 2\)"),
        (lambda: fusion.FiLM(2)(features((4, 4, 4))), "Received: 3 features"),
        (lambda: fusion.Gated(2)(features((4, 4, 4))), "Received: 3 features"),
        (lambda: fusion.FiLM(2)(features((4, 5))), "Received: widths 4 and 5"),
    ],
)
def test_errors(run, message):
    with pytest.raises(ValueError, match=message):
        run()


def test_later_features_must_fit_too():
    head = fusion.Concat(2)
    head(features((4, 4)))
    with pytest.raises(ValueError, match="Received: features of widths 4, 4, 4"):
        head(features((4, 4, 4)))


def test_mmcosine_hears_no_louder_features():
    head = fusion.MMCosine(5)
    inputs = features()
    fused, parts = head(inputs)
    for part, feature, kernel in zip(parts, inputs, head.kernels, strict=True):
        f, k = feature.numpy(), kernel.numpy()
        cosines = f @ k / np.linalg.norm(f, axis=1)[:, None] / np.linalg.norm(k, axis=0)
        np.testing.assert_allclose(part, 15 * cosines, atol=1e-4)
    np.testing.assert_allclose(fused, parts[0] + parts[1], atol=1e-5)
    louder, _ = head([10 * feature for feature in inputs])
    np.testing.assert_allclose(louder, fused, atol=1e-4)


@pytest.mark.parametrize("kind", [fusion.Sum, fusion.MMCosine])
def test_modalities_of_one_width_begin_with_weights_of_their_own(kind):
    head = kind(5)
    head(features())
    first, second = (weight for weight in head.get_weights() if weight.ndim == 2)
    assert np.abs(first - second).max() > 0.1


def test_mmcosine_of_a_missing_modality_has_no_gradient():
    head = fusion.MMCosine(5, scale=2.0)
    present = features()[0]
    missing = tf.Variable(tf.zeros_like(present))
    with tf.GradientTape() as tape:
        fused, parts = head([missing, present])
        loss = tf.reduce_sum(tf.square(fused))
    gradient, *of_kernels = tape.gradient(loss, [missing, *head.kernels])
    np.testing.assert_array_equal(parts[0], np.zeros([6, 5]))
    for own in (gradient, of_kernels[0]):
        np.testing.assert_array_equal(own, np.zeros_like(own))
    assert np.abs(of_kernels[1]).max() > 0.01


@pytest.mark.parametrize("scale", [0, -1.0, float("inf"), float("nan"), True, "15"])
def test_a_wrong_scale_is_refused(scale):
    with pytest.raises(ValueError, match="`scale` must be .* Received: scale="):
        fusion.MMCosine(5, scale=scale)
