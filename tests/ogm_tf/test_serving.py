"""The SavedModel against the model it was made of, and alone in another process."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import ogm_tf
from input_pipelines import audio, video
from input_pipelines.settings import AudioSettings, ClipSettings, VideoSettings

CLASS_NAMES = ["bell", "drum", "voice"]
CLIP = ClipSettings(
    window_s=0.5,
    audio=AudioSettings(sample_rate_hz=1000, fft_length=64, hop_length=32),
    video=VideoSettings(num_frames=2, height=16, width=24),
)
FRONT_ENDS = {"audio": audio.front_end(CLIP), "visual": video.front_end(CLIP)}


def model():
    keras.utils.set_random_seed(3)
    shapes = CLIP.shapes
    network = ogm_tf.OGMModel(
        {
            name: ogm_tf.encoders.small_cnn(shape, name=name, channels=(4, 4, 8, 8))
            for name, shape in shapes.items()
        },
        ogm_tf.fusion.Concat(3),
    )
    network({name: tf.zeros([1, *shape]) for name, shape in shapes.items()})
    return network


def raw(batch=3, samples=500, frames=2, height=16, width=24):
    random = np.random.default_rng(0)
    return {
        "waveform": random.uniform(-1, 1, (batch, samples)).astype(np.float32),
        "frames": random.integers(0, 256, (batch, frames, height, width, 3)).astype(np.uint8),
    }


@pytest.mark.parametrize("sizes", [{}, {"samples": 220, "frames": 5, "height": 40, "batch": 1}])
def test_answers_equal_the_model(tmp_path, sizes):
    network = model()
    ogm_tf.serving.export(network, tmp_path / "1", FRONT_ENDS, CLASS_NAMES)
    inputs = raw(**sizes)
    serve = tf.saved_model.load(str(tmp_path / "1")).signatures["serving_default"]
    answer = serve(**{name: tf.constant(value) for name, value in inputs.items()})
    features = {
        "audio": FRONT_ENDS["audio"](tf.constant(inputs["waveform"])),
        "visual": FRONT_ENDS["visual"](tf.constant(inputs["frames"])),
    }
    expected = tf.nn.softmax(network(features)).numpy()
    np.testing.assert_allclose(answer["probabilities"], expected, atol=1e-5)
    assert [name.decode() for name in answer["label"].numpy()] == [
        CLASS_NAMES[index] for index in expected.argmax(-1)
    ]
    for name, logits in network.unimodal_logits(features).items():
        np.testing.assert_allclose(
            answer[f"{name}_probabilities"], tf.nn.softmax(logits), atol=1e-5
        )


def test_a_mixed_precision_model_is_served_in_float32(tmp_path):
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    network = model()
    float32 = ogm_tf.serving.in_float32(network)
    assert {layer.dtype_policy.name for layer in float32.encoders["audio"].layers} == {"float32"}
    for ours, theirs in zip(float32.get_weights(), network.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    ogm_tf.serving.export(network, tmp_path / "1", FRONT_ENDS, CLASS_NAMES)
    serve = tf.saved_model.load(str(tmp_path / "1")).signatures["serving_default"]
    answer = serve(**{name: tf.constant(value) for name, value in raw().items()})
    assert answer["probabilities"].dtype == tf.float32
    np.testing.assert_allclose(tf.reduce_sum(answer["probabilities"], -1), 1, atol=1e-5)


def test_loads_where_only_tensorflow_is_imported(tmp_path):
    ogm_tf.serving.export(model(), tmp_path / "1", FRONT_ENDS, CLASS_NAMES)
    program = f"""
import json, sys
import tensorflow as tf
serve = tf.saved_model.load({str(tmp_path / "1")!r}).signatures["serving_default"]
answer = serve(waveform=tf.zeros([2, 700]), frames=tf.zeros([2, 1, 9, 9, 3], tf.uint8))
assert not any(name.split(".")[0] in ("ogm_tf", "tensorflow_io") for name in sys.modules)
print(json.dumps({{name: value.shape.as_list() for name, value in answer.items()}}))
"""
    output = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout
    assert json.loads(output.splitlines()[-1]) == {
        "probabilities": [2, 3],
        "label": [2],
        "audio_probabilities": [2, 3],
        "visual_probabilities": [2, 3],
    }


def test_bad_exports_leave_nothing(tmp_path):
    path = tmp_path / "1"
    with pytest.raises(ValueError, match="Received: \\['audio'\\]"):
        ogm_tf.serving.export(model(), path, {"audio": FRONT_ENDS["audio"]}, CLASS_NAMES)
    with pytest.raises(ValueError, match="3 classes. Received: 2 names"):
        ogm_tf.serving.export(model(), path, FRONT_ENDS, CLASS_NAMES[:2])
    assert list(tmp_path.iterdir()) == []
    path.mkdir()
    with pytest.raises(FileExistsError, match="Received"):
        ogm_tf.serving.export(model(), path, FRONT_ENDS, CLASS_NAMES)
