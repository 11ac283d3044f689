"""What is said of records whose content is known."""

import dataclasses

import numpy as np
import pytest

from input_pipelines import dataset, inspection
from tests.input_pipelines import handmade_records
from tests.input_pipelines.handmade_records import SETTINGS, Source

ALL = dataclasses.replace(SETTINGS, modalities=("audio", "visual", "flow"))
LENGTHS_S = (0.25, 0.5, 0.75, 2.0, 1.5)


def make_source(number, length_s):
    waveform = np.random.default_rng(number).integers(-9000, 9000, round(8000 * length_s), np.int16)
    pictures = [np.full((16, 24, 3), 40 * number + level, np.uint8) for level in (0, 30)]
    return Source(f"clip{number}", "aab"[number % 3], waveform, pictures, pictures)


SOURCES = [make_source(number, length_s) for number, length_s in enumerate(LENGTHS_S)]
SKIPPED = [
    {"clip_id": "x", "split": "train", "reason": "my film.mp4: no visual track"},
    {"clip_id": "y", "split": "train", "reason": "b.mkv: ends at 1.25 s, but declares 3 s"},
    {"clip_id": "z", "split": "test", "reason": "c.mkv: ends at 2 s, but declares 3.5 s"},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    splits = {"train": SOURCES, "test": SOURCES[1:3]}
    path = tmp_path_factory.mktemp("clips") / "r"
    return handmade_records.write(path, splits, ALL, skipped=tuple(SKIPPED))


def test_clips_are_those_the_model_gets_and_lengths_those_of_all(folder):
    found = inspection.inspect(folder, "train", 3, seed=4)
    expected = dataset.read_clips(folder, "train", 3, training=True, seed=4)
    assert [clip.clip_id for clip in found.examples] == ["clip0", "clip1", "clip3"]
    for clip, other in zip(found.examples, expected, strict=True):
        for name in ALL.modalities:
            np.testing.assert_array_equal(clip.inputs[name], other.inputs[name])
    np.testing.assert_allclose(found.durations_s["train"], LENGTHS_S)
    np.testing.assert_allclose(found.durations_s["test"], LENGTHS_S[1:3])
    values = np.concatenate([clip.inputs["flow"].ravel() for clip in found.examples])
    expected = [values.min(), values.mean(), values.std(), values.max(), 0, 0]
    np.testing.assert_allclose(dataclasses.astuple(found.ranges["flow"]), expected, rtol=1e-5)
    evaluated = inspection.inspect(folder, "train", 3, training=False)
    assert not np.array_equal(evaluated.examples[2].waveform, found.examples[2].waveform)


def test_value_ranges_tell_what_is_not_a_number():
    found = inspection.value_range([np.array([1.0, np.nan]), np.array([[3.0, -np.inf]])])
    assert dataclasses.astuple(found) == (1, 2, 1, 3, 1, 1)
    assert "not finite" in found.warning()
    assert np.isnan(inspection.value_range([np.array([np.nan])]).mean)
    assert "constant" in inspection.value_range([np.ones(3)]).warning(is_normalised=False)
    levels = inspection.value_range([np.array([0.0, 255.0])])
    assert "mean is far" in levels.warning() and not levels.warning(is_normalised=False)
    assert "deviation is far" in inspection.value_range([np.array([0.0, 0.1])]).warning()
    assert not inspection.value_range([np.array([-1.0, 1.0])]).warning()


def test_reasons_are_counted_without_names_and_numbers():
    found = inspection.reasons(SKIPPED, num_first=1)
    assert [(reason.text, reason.num_clips) for reason in found] == [
        ("ends at … s, but declares … s", 2),
        ("no visual track", 1),
    ]
    assert found[0].first == (SKIPPED[1],)


def test_a_waveform_is_shown_as_its_spectrogram():
    """A tone of 1,000 Hz at 8,000 samples/s is an eighth of the way up to the rate."""
    shown = dataclasses.replace(SETTINGS.audio, features="waveform")
    tone = np.sin(2 * np.pi * np.arange(SETTINGS.window_samples) / 8).astype(np.float32)
    example = dataset.Example("a", 0, None, None, {"audio": tone[:, np.newaxis]})
    found = inspection.spectrogram(example, dataclasses.replace(SETTINGS, audio=shown))
    assert found.shape == SETTINGS.shapes["audio"][:2]
    assert np.all(found.argmax(axis=0)[1:-1] == SETTINGS.audio.fft_length // 8)


def test_filter_banks_are_turned_frequencies_first():
    kaldi = dataclasses.replace(SETTINGS.audio, features="kaldi_fbank", mel_bins=7)
    settings = dataclasses.replace(SETTINGS, audio=kaldi)
    values = np.arange(35, dtype=np.float32).reshape(5, 7, 1)
    example = dataset.Example("a", 0, None, None, {"audio": values})
    np.testing.assert_array_equal(inspection.spectrogram(example, settings), values[..., 0].T)
    np.testing.assert_array_equal(inspection.spectrogram(example, SETTINGS), values[..., 0])
    assert inspection.is_mel(settings) and not inspection.is_mel(SETTINGS)
    silent = dataset.Example("a", 0, None, None, {})
    assert inspection.spectrogram(silent, settings) is None
