"""The report of pre-training runs: what it shows is what their networks find in the clips."""

import dataclasses
import json
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from input_pipelines import dataset
from input_pipelines.index import read_index
from input_pipelines.settings import AudioSettings, ClipSettings, VideoSettings
from launchers import report, report_pairs
from launchers.runs import RunFolder
from ogm_tf.analysis import map_pictures
from ogm_tf.representation import PairModel, avca, avsa, l3_net
from tests.input_pipelines import handmade_records
from tests.ogm_tf.analysis.parsed_page import Page

LOG_MEL = AudioSettings(
    sample_rate_hz=8000,
    features="log_mel",
    fft_length=256,
    hop_length=480,
    mel_bins=32,
    time_steps=8,
)
WAVEFORM = AudioSettings(sample_rate_hz=8000, features="waveform", hop_length=160, fft_length=256)
# More wide than high, so that rows and columns of a map cannot be taken for each other.
VIDEO = VideoSettings(num_frames=8, height=32, width=48)
SETTINGS = {
    "avca": ClipSettings(window_s=0.5, audio=LOG_MEL, video=VIDEO),
    "avsa": ClipSettings(window_s=0.5, audio=WAVEFORM, video=VIDEO),
    "l3net": ClipSettings(
        window_s=0.5, audio=LOG_MEL, video=dataclasses.replace(VIDEO, num_frames=1)
    ),
}
BUILD = {"avca": avca.build, "avsa": avsa.build, "l3net": l3_net.build}


def write_records(folder, name, num_clips=3):
    clips = [handmade_records.random_clip(number) for number in range(num_clips)]
    return handmade_records.write(folder, {"train": clips, "test": clips}, SETTINGS[name])


def write_run(path, records, name, modulation="none"):
    """A run that has learned nothing, of two epochs."""
    keras.utils.set_random_seed(len(modulation))
    shapes = read_index(records).input_settings.shapes
    network = BUILD[name]("small", audio_shape=shapes["audio"], visual_shape=shapes["visual"])
    model = PairModel(network.encoders, network.fusion)
    model({part: tf.zeros([1, *shape]) for part, shape in shapes.items()})
    history = {"epoch": [0, 1], "loss": [0.7, 0.6], "accuracy": [0.5, 0.75]}
    for group in ("negative", "positive"):
        for kind in ("accuracy", "score", "ratio", "coefficient"):
            history[f"{group}_{kind}"] = [0.5, 0.75]
    run = RunFolder(path)
    with run.locked():
        run.keep_config(
            {"records_dir": str(records), "model": name, "modulation": modulation, "alpha": 0.5}
        )
        run.save_best(model)
        run.write_state({"epoch": 2, "best_epoch": 1, "best_score": 0.75})
        run.write_history(history)
        for split, accuracy in (("validation", 0.75), ("test", 0.625)):
            groups = {"positive_accuracy": accuracy + 0.125, "negative_accuracy": accuracy - 0.125}
            run.add_metrics(split, {"loss": 0.5, "accuracy": accuracy, **groups})
    return run


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Records and two runs of each network."""
    folder = tmp_path_factory.mktemp("pairs")
    found = {}
    for name in BUILD:
        records = write_records(folder / f"{name}_records", name)
        found[name] = [
            write_run(folder / f"{name}_{modulation}", records, name, modulation)
            for modulation in ("none", "ogm_ge")
        ]
    return found


def write_page(runs, output_dir, **values):
    settings = report.ReportSettings(
        run_dirs=tuple(str(run.path) for run in runs), output_dir=str(output_dir), **values
    )
    return Page(report.run(settings).read_text("utf-8"))


def finer_twin(model):
    """AVSA's fusion with the same weights, whose last stage keeps the size of its map."""
    shapes = {part: encoder.input_shape[1:] for part, encoder in model.encoders.items()}
    network = avsa.build(
        "small", audio_shape=shapes["audio"], visual_shape=shapes["visual"], last_stride=1
    )
    twin = PairModel(network.encoders, network.fusion)
    twin({part: tf.zeros([1, *shape]) for part, shape in shapes.items()})
    twin.set_weights(model.get_weights())
    return twin.fusion


@pytest.mark.parametrize(
    ("name", "find", "word"),
    [
        ("avca", "attention_map", "Attention"),
        pytest.param("avsa", "activation_map", "Activation", marks=pytest.mark.slow),
    ],
)
def test_the_maps_of_the_page_are_those_of_the_networks(made, tmp_path, name, find, word):
    page = write_page(made[name], tmp_path, num_examples=2)
    texts = [attributes["alt"] for tag, attributes in page.elements if tag == "img"]
    records = made[name][0].read_config()["records_dir"]
    num_found = 0
    for run in made[name]:
        model = run.load_best()
        for clip in dataset.read_clips(records, "test", 2):
            inputs = {part: tf.constant(value[None]) for part, value in clip.inputs.items()}
            features = [model.encoders[part](inputs[part]) for part in ("audio", "visual")]
            fusion = model.fusion if name == "avca" else finer_twin(model)
            maps = getattr(fusion, find)(features).numpy()[0]
            logits = model(inputs).numpy()[0]
            probability = 1 / (1 + np.exp(logits[0] - logits[1]))
            if name == "avca":
                assert maps.shape == (8, 2, 3)
                np.testing.assert_allclose(maps.sum(axis=(1, 2)), 1, atol=1e-6)
            else:
                assert maps.shape[1:] == (2, 3)
            answer = "in step" if probability >= 0.5 else "shifted"
            assert f"{run.path.name} {'✓' if answer == 'in step' else '✗'} {answer}" in page.words
            # Six of eight frames, evenly spread.
            for frame in (0, 1, 3, 4, 6, 7):
                # The window is the middle one of a clip of 0.75 s.
                time = f"{0.125 + (frame + 0.5) / 16:.2f} s"
                step = maps[frame * len(maps) // 8]
                text = f"{word} of run {run.path.name} at {time} of clip {clip.clip_id}"
                (shown,) = [words for words in texts if words.startswith(text)]
                assert shown.endswith(map_pictures.greatest(step))
                num_found += 1
    assert num_found == sum(words.startswith(word) for words in texts) == 24
    assert sum(words.startswith("Frame at") for words in texts) == 12


@pytest.mark.slow
def test_a_network_without_a_map_shows_its_frame_and_sound(made, tmp_path):
    page = write_page(made["l3net"], tmp_path, num_examples=2)
    texts = [attributes["alt"] for tag, attributes in page.elements if tag == "img"]
    assert sum(words.startswith("Frame at 0.38 s") for words in texts) == 2
    assert sum(words.startswith("Spectrogram") for words in texts) == 2
    model = made["l3net"][0].load_best()
    (clip, _) = dataset.read_clips(made["l3net"][0].read_config()["records_dir"], "test", 2)
    inputs = {part: tf.constant(value[None]) for part, value in clip.inputs.items()}
    probabilities = tf.nn.softmax(model(inputs))[0].numpy()
    answer = ("✗ no match", "✓ match")[probabilities.argmax()]
    assert f"{made['l3net'][0].path.name} {answer} {probabilities.max():.0%}" in page.words
    assert report_pairs.localization_map(model, inputs) is None


def test_page_has_the_accuracies_the_probe_and_the_settings(made, tmp_path):
    kinds = {"encoder": 0.5, "random_encoder": 0.25, "log_mel": 0.625}
    results = {kind: {"mean": mean, "deviation": mean / 8} for kind, mean in kinds.items()}
    probed = {
        "dataset": "esc50", "num_clips": 40, "num_classes": 2, "classifier": "softmax",
        "results": results,
    }  # fmt: skip
    path = made["avca"][1].path / "probe.json"
    path.write_text(json.dumps(probed))
    text = write_page(made["avca"], tmp_path, num_examples=0).words
    assert "Test split avca_none 0.625 0.750 0.500 no modulation – – 1" in text
    assert "Validation split avca_none 0.750 0.875 0.625 no modulation – – 1" in text
    assert "the run's encoder random encoder log-mel statistics" in text
    row = "avca_ogm_ge 50.0 ± 6.2 25.0 ± 3.1 62.5 ± 7.8 esc50 40 2 softmax"
    assert row in text and "modulation differs none ogm_ge" in text
    path.write_text(json.dumps({"results": {}}))
    with pytest.raises(ValueError, match=r"avca_ogm_ge/probe.json must be .* Received: "):
        write_page(made["avca"], tmp_path, num_examples=0)
    path.unlink()


def test_runs_that_cannot_be_compared_are_refused(made, tmp_path):
    (run, _), records = made["avca"], made["avca"][0].read_config()["records_dir"]
    trained = RunFolder(tmp_path / "trained")
    with trained.locked():
        trained.keep_config({"records_dir": records, "modulation": "none"})
    rule = "of the same launcher and network. Received: .*avca_none of pretrain --model=avca and "
    for other, made_by in ((trained, "train"), (made["avsa"][0], "pretrain --model=avsa")):
        with pytest.raises(ValueError, match=f"{rule}{re.escape(str(other.path))} of {made_by}"):
            write_page([run, other], tmp_path / "page")
    elsewhere = handmade_records.write(
        tmp_path / "other",
        {"test": [handmade_records.random_clip(number) for number in range(2)]},
        SETTINGS["avca"],
    )
    with pytest.raises(ValueError, match="the same classes and settings. Received: .* differ"):
        write_page([run, write_run(tmp_path / "run", elsewhere, "avca")], tmp_path / "page")
    assert not (tmp_path / "page").exists()


def test_attention_to_bands_alone_has_no_map():
    network = avca.build("small", mode="v2a")
    model = PairModel(network.encoders, network.fusion)
    assert report_pairs.localization_map(model, {}) is None
