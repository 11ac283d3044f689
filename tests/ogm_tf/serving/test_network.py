"""The signatures of a network's SavedModel against the network it was made of."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import ogm_tf
from tests.ogm_tf.serving import tiny_network
from tests.ogm_tf.serving.tiny_network import (
    CLASS_NAMES,
    FRONT_ENDS,
    SAMPLE_RATE_HZ,
    ask,
    assert_names,
)


@pytest.fixture(scope="module")
def network():
    return tiny_network.model()


@pytest.fixture(scope="module")
def exported(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "1"
    tiny_network.export(path, network, tflite=True)
    return path


@pytest.fixture(scope="module")
def loaded(exported):
    return tf.saved_model.load(str(exported))


def test_signatures_and_assets(exported, loaded):
    received = {
        name: {key: (spec.dtype, spec.shape.as_list()) for key, spec in inputs.items()}
        for name, inputs in (
            (name, signature.structured_input_signature[1])
            for name, signature in loaded.signatures.items()
        )
    }
    waveform = (tf.float32, [None, None])
    frames = (tf.uint8, [None, None, None, None, 3])
    assert received == {
        "serving_default": {"waveform": waveform, "frames": frames},
        "features": {
            "audio": (tf.float32, [None, 33, 16, 1]),
            "visual": (tf.float32, [None, 2, 16, 24, 3]),
        },
        "encoded": {"audio_wav": (tf.string, [None]), "frames_jpeg": (tf.string, [None, None])},
        "raw_audio": {"waveform": waveform},
        "raw_visual": {"frames": frames},
    }
    for name, signature in loaded.signatures.items():
        parts = {"audio_probabilities", "visual_probabilities"}
        expected = {"probabilities", "label"} | (set() if name.startswith("raw_") else parts)
        assert set(signature.structured_outputs) == expected
    file = exported / ogm_tf.serving.CLASS_NAMES_FILE
    assert loaded.class_names.asset_path.numpy().decode() == str(file)
    assert file.read_text("utf-8").splitlines() == CLASS_NAMES


@pytest.mark.parametrize(
    "sizes", [{}, {"samples": 220, "frames": 5, "height": 40, "batch": 1}, {"batch": 32}]
)
def test_answers_equal_predict(network, loaded, sizes):
    inputs = tiny_network.raw(**sizes)
    features = tiny_network.features(inputs)
    expected = tf.nn.softmax(network.predict(features, verbose=0)).numpy()
    if len(expected) > 1:
        assert np.ptp(expected, axis=0).max() > 1e-2
    parts = network.unimodal_logits(features)
    for answer in (
        ask(loaded, "serving_default", **inputs),
        ask(loaded, "features", **features),
    ):
        assert_names(answer, expected)
        for name, logits in parts.items():
            np.testing.assert_allclose(
                answer[f"{name}_probabilities"], tf.nn.softmax(logits), rtol=0, atol=1e-5
            )
    # A network that misses a modality says what the other says.
    for name, received in (("audio", "waveform"), ("visual", "frames")):
        answer = ask(loaded, f"raw_{name}", **{received: inputs[received]})
        assert_names(answer, tf.nn.softmax(parts[name]).numpy())


def test_files_are_answered_as_what_is_in_them(loaded):
    random = np.random.default_rng(1)
    # Shorter than the window, as long, and longer; of one and of two channels.
    sounds = [random.integers(-20000, 20000, shape) for shape in ([130], [500, 2], [777, 2])]
    pictures = [random.integers(0, 256, (2, 8 * n, 24, 3)).astype(np.uint8) for n in (1, 2, 5)]
    files = [[tiny_network.jpeg(frame) for frame in clip] for clip in pictures]
    answer = ask(
        loaded,
        "encoded",
        audio_wav=[tiny_network.wav(sound) for sound in sounds],
        frames_jpeg=files,
    )
    for row, (sound, frames) in enumerate(zip(sounds, files, strict=True)):
        mono = sound if sound.ndim == 1 else (sound[:, 0] + sound[:, 1]) / 2
        decoded = np.stack([tf.io.decode_jpeg(frame).numpy() for frame in frames])
        waveform = (mono / 32768).astype(np.float32)
        expected = ask(loaded, "serving_default", waveform=waveform[None], frames=decoded[None])
        for name in ("probabilities", "audio_probabilities", "visual_probabilities"):
            np.testing.assert_allclose(answer[name][row], expected[name][0], rtol=0, atol=1e-6)
        assert answer["label"][row] == expected["label"][0]
    assert np.ptp(answer["audio_probabilities"], axis=0).max() > 1e-3
    assert np.ptp(answer["visual_probabilities"], axis=0).max() > 1e-3


def test_files_that_do_not_fit_are_refused_with_the_reason(loaded):
    sound = np.zeros([500])
    small, large = (tiny_network.jpeg(np.zeros([side, 9, 3], np.uint8)) for side in (8, 16))
    for wavs, frames, reason in (
        (
            [tiny_network.wav(sound), tiny_network.wav(sound, 8000)],
            [[small], [small]],
            r"the sample rate of the model, 1000 Hz. Received: sample_rate_hz=8000\.\]",
        ),
        (
            [tiny_network.wav(sound)],
            [[small, large]],
            r"be of one size in a clip. Received: heights=\[8 16\], widths=\[9 9\]\.\]",
        ),
        ([b"RIFX no sound"], [[small]], "Expected RIFF"),
        ([tiny_network.wav(sound)], [[b"no picture"]], "Invalid JPEG data, size 10"),
    ):
        with pytest.raises(tf.errors.InvalidArgumentError, match=reason):
            ask(loaded, "encoded", audio_wav=wavs, frames_jpeg=frames)


def test_nothing_and_no_numbers_are_refused_with_the_reason(loaded):
    good = tiny_network.raw()
    waveform, frames = good["waveform"], good["frames"]
    features = {name: value[:0] for name, value in tiny_network.features(good).items()}
    infinite = waveform.copy()
    infinite[[0, 2], [3, 499]] = np.nan, np.inf
    # NumPy's own strings would lose the zeros that end a file.
    wav = np.array([tiny_network.wav(np.zeros([500]))], object)
    silence = np.array([tiny_network.wav(np.zeros([0]))], object)
    jpeg = np.array([[tiny_network.jpeg(np.zeros([8, 9, 3], np.uint8))]], object)
    for signature, inputs, reason in (
        ("serving_default", {"waveform": infinite, "frames": frames}, r"the clips \[0 2\]\.\]"),
        ("serving_default", {"waveform": waveform[:, :0], "frames": frames}, r"shape=\[3 0\]"),
        ("serving_default", good | {"frames": frames[:, :0]}, r"`frames`.*shape=\[3 0 16 24 3\]"),
        ("raw_audio", {"waveform": waveform[:0]}, r"`waveform` must.*shape=\[0 500\]"),
        ("raw_visual", {"frames": frames[:0]}, r"must not be empty.*shape=\[0 2 16 24 3\]"),
        ("features", features, r"of the same clips, at least one. Received: \[0 0\] clips"),
        ("encoded", {"audio_wav": wav, "frames_jpeg": jpeg[:, :0]}, r"`frames_jpeg`.*=\[1 0\]"),
        ("encoded", {"audio_wav": wav[:0], "frames_jpeg": jpeg}, r"`audio_wav`.*shape=\[0\]"),
        ("encoded", {"audio_wav": silence, "frames_jpeg": jpeg}, r"`waveform`.*shape=\[1 0\]"),
    ):
        with pytest.raises(tf.errors.InvalidArgumentError, match=reason):
            ask(loaded, signature, **inputs)


@pytest.mark.parametrize("batch", [1, 3])
def test_tensorflow_lite_answers_the_same(exported, loaded, batch):
    features = tiny_network.features(tiny_network.raw(batch))
    features = {name: value.numpy() for name, value in features.items()}
    lite = tf.lite.Interpreter(str(exported / ogm_tf.serving.TFLITE_FILE))
    answer = lite.get_signature_runner("features")(**features)
    expected = ask(loaded, "features", **features)
    assert answer.keys() == expected.keys()
    assert list(answer.pop("label")) == list(expected.pop("label"))
    for name, value in expected.items():
        np.testing.assert_allclose(answer[name], value, rtol=0, atol=1e-5)


def test_loads_where_only_tensorflow_is_imported(exported):
    program = f"""
import json, sys
import tensorflow as tf
signatures = tf.saved_model.load({str(exported)!r}).signatures
jpeg = tf.io.encode_jpeg(tf.zeros([9, 9, 3], tf.uint8))
wav = tf.audio.encode_wav(tf.zeros([700, 1]), {SAMPLE_RATE_HZ})
answers = [
    signatures["serving_default"](
        waveform=tf.zeros([2, 700]), frames=tf.zeros([2, 1, 9, 9, 3], tf.uint8)
    ),
    signatures["encoded"](audio_wav=[wav, wav], frames_jpeg=[[jpeg], [jpeg]]),
]
assert not any(name.split(".")[0] in ("ogm_tf", "tensorflow_io") for name in sys.modules)
print(json.dumps([{{name: value.shape.as_list() for name, value in a.items()}} for a in answers]))
"""
    output = subprocess.run(
        [sys.executable, "-c", program],
        cwd=exported, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert json.loads(output.splitlines()[-1]) == 2 * [
        {
            "probabilities": [2, 3],
            "label": [2],
            "audio_probabilities": [2, 3],
            "visual_probabilities": [2, 3],
        }
    ]


def test_a_mixed_precision_model_is_served_in_float32(tmp_path):
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    network = tiny_network.model()
    float32 = ogm_tf.serving.in_float32(network)
    assert {layer.dtype_policy.name for layer in float32.encoders["audio"].layers} == {"float32"}
    for ours, theirs in zip(float32.get_weights(), network.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    # Without a sample rate no file can be checked.
    ogm_tf.serving.export(network, tmp_path / "1", FRONT_ENDS, CLASS_NAMES)
    loaded = tf.saved_model.load(str(tmp_path / "1"))
    assert "encoded" not in loaded.signatures
    inputs = tiny_network.raw()
    answer = ask(loaded, "serving_default", **inputs)
    assert answer["probabilities"].dtype == np.float32
    assert_names(answer, tf.nn.softmax(float32(tiny_network.features(inputs))).numpy())


def test_inputs_of_different_numbers_of_clips_are_refused(loaded):
    inputs = tiny_network.raw()
    one = tiny_network.raw(1)
    features = tiny_network.features(inputs)
    wavs = [tiny_network.wav(np.zeros([500]))] * 3
    frames = [[tiny_network.jpeg(np.zeros([8, 9, 3], np.uint8))]]
    for signature, unequal in (
        ("serving_default", inputs | {"frames": one["frames"]}),
        ("features", features | {"visual": features["visual"][:1]}),
        ("encoded", {"audio_wav": wavs, "frames_jpeg": frames}),
    ):
        with pytest.raises(
            tf.errors.InvalidArgumentError,
            match=r"at least one. Received: \[3 1\] clips of audio, visual\.",
        ):
            ask(loaded, signature, **unequal)


def test_bad_exports_leave_nothing(network, tmp_path):
    path = tmp_path / "1"
    with pytest.raises(ValueError, match="Received: \\['audio'\\]"):
        ogm_tf.serving.export(network, path, {"audio": FRONT_ENDS["audio"]}, CLASS_NAMES)
    with pytest.raises(ValueError, match="3 classes. Received: 2 names"):
        ogm_tf.serving.export(network, path, FRONT_ENDS, CLASS_NAMES[:2])
    with pytest.raises(ValueError, match="one line. Received: 'b\\\\nc'"):
        ogm_tf.serving.export(network, path, FRONT_ENDS, ["a", "b\nc", "d"])
    with pytest.raises(ValueError, match="named tf.TensorSpec. Received: raw_input=None"):
        unnamed = {"audio": FRONT_ENDS["audio"], "depth": FRONT_ENDS["visual"]}
        encoders = {"audio": network.encoders["audio"], "depth": network.encoders["visual"]}
        other = ogm_tf.OGMModel(encoders, network.fusion)
        other.built = True
        ogm_tf.serving.export(other, path, unnamed, CLASS_NAMES)
    assert list(tmp_path.iterdir()) == []
    path.mkdir()
    with pytest.raises(FileExistsError, match="Received"):
        ogm_tf.serving.export(network, path, FRONT_ENDS, CLASS_NAMES)
