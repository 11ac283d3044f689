"""Measured means and deviations against NumPy's, over all numbers at once."""

import dataclasses

import numpy as np
import pytest

from input_pipelines import audio, dataset, preparation, statistics
from input_pipelines.index import read_index
from input_pipelines.settings import ClipSettings
from tests.input_pipelines import handmade_records
from tests.input_pipelines.handmade_records import SETTINGS, Source
from tests.input_pipelines.media_files import tone, write_video

WANTED = dataclasses.replace(
    SETTINGS,
    audio=dataclasses.replace(SETTINGS.audio, normalization="dataset", max_mask_bins=20),
    video=dataclasses.replace(SETTINGS.video, normalization="dataset", hue_jitter=1.0),
)


def make_source(number, colour):
    random = np.random.default_rng(number)
    # As long as the window, so that NumPy needs no window of its own.
    waveform = (random.normal(size=4000) * 300 * (number + 1)).astype(np.int16)
    picture = np.broadcast_to(np.uint8(colour), (16, 24, 3))
    return Source(f"clip{number}", "ab"[number % 2], waveform, [picture, picture])


COLOURS = [[0, 255, 40], [51, 255, 41], [102, 0, 42], [153, 0, 43], [204, 0, 44]]
SOURCES = [make_source(number, colour) for number, colour in enumerate(COLOURS)]


def expected(sources, settings):
    features = [
        audio.features(source.waveform / 32768.0, settings.audio, normalize=False)
        for source in sources
    ]
    return np.mean(features, dtype=np.float64), np.std(features, dtype=np.float64)


@pytest.fixture
def folder(tmp_path):
    return handmade_records.write(tmp_path / "r", {"train": SOURCES, "test": SOURCES[:1]}, WANTED)


def test_numbers_are_those_of_all_training_clips_at_once(folder):
    with pytest.raises(ValueError, match="launchers.measure .*Received: .*modality='audio'"):
        dataset.read_clips(folder, "train", 1)
    index, is_changed = statistics.measure(folder, progress=False)
    assert is_changed and read_index(folder) == index
    mean, deviation = expected(SOURCES, WANTED)
    sound, pictures = index.statistics["audio"], index.statistics["visual"]
    np.testing.assert_allclose([*sound.mean, *sound.deviation], [mean, deviation], rtol=1e-6)
    # Evenly coloured pictures lose nothing in JPEG but a level or two of rounding.
    colours = np.array(COLOURS) / 255
    np.testing.assert_allclose(pictures.mean, colours.mean(axis=0), atol=1.5 / 255)
    np.testing.assert_allclose(pictures.deviation, colours.std(axis=0), atol=1.5 / 255)
    # The inputs of evaluation become what is wanted of them.
    examples = dataset.read_clips(folder, "train", 5)
    for name, axes in (("audio", None), ("visual", (0, 1, 2, 3))):
        inputs = np.stack([example.inputs[name] for example in examples]).astype(np.float64)
        np.testing.assert_allclose(inputs.mean(axis=axes), 0, atol=1e-4)
        np.testing.assert_allclose(inputs.std(axis=axes), 1, atol=1e-4)


def test_a_second_run_changes_nothing(folder):
    statistics.measure(folder, progress=False)
    text, changed = (folder / "index.json").read_bytes(), (folder / "index.json").stat().st_mtime_ns
    index, is_changed = statistics.measure(folder, limit_clips=3, progress=False)
    assert not is_changed and (folder / "index.json").read_bytes() == text
    assert (folder / "index.json").stat().st_mtime_ns == changed


def test_a_fuller_measurement_replaces_one_of_few_clips(folder):
    index, _ = statistics.measure(folder, limit_clips=2, progress=False)
    # Of the two shards, of clips 0 to 2 and 3 to 4, the first clip each.
    mean, deviation = expected([SOURCES[0], SOURCES[3]], WANTED)
    found = index.statistics["audio"]
    np.testing.assert_allclose([*found.mean, *found.deviation], [mean, deviation], rtol=1e-6)
    assert found.num_clips == 2
    index, is_changed = statistics.measure(folder, progress=False)
    assert is_changed and index.statistics["audio"].num_clips == 5


def test_large_means_lose_no_digits():
    random = np.random.default_rng(0)
    parts = [1e8 + random.normal(size=(size, 2)) for size in (1, 7, 1000, 3)]
    moments = statistics.Moments()
    for part in parts:
        mean = part.mean(axis=0)
        moments.add(len(part), mean, ((part - mean) ** 2).sum(axis=0))
    together = np.concatenate(parts)
    np.testing.assert_allclose(moments.mean, together.mean(axis=0), rtol=1e-14)
    np.testing.assert_allclose(
        np.sqrt(moments.squares / moments.count), together.std(axis=0), rtol=1e-6
    )


def test_prepare_returns_measured_records(tmp_path):
    write_video(tmp_path / "a.mp4", range(60, 85), tone(1.0))
    (tmp_path / "m.csv").write_text("clip_id,split,label,path\na,train,x,a.mp4\n")
    settings = ClipSettings(window_s=0.5, audio=WANTED.audio, video=WANTED.video)

    def prepare():
        return preparation.prepare(
            tmp_path / "m.csv", tmp_path / "r", settings, num_workers=0, progress=False
        )

    prepare()
    index, _ = statistics.measure(tmp_path / "r", progress=False)
    assert index.statistics and prepare() == index


@pytest.mark.parametrize(
    ("splits", "limit_clips", "message"),
    [
        ({"train": SOURCES}, -1, "Received: limit_clips=-1"),
        ({"test": SOURCES}, 0, "train split .*Received: records_dir=.* with test"),
        ({"train": SOURCES[:1]}, 0, r"different .*Received: visual .*deviation=\(0.0, 0.0, 0.0\)"),
    ],
)
def test_bad_arguments_are_named_and_nothing_is_written(tmp_path, splits, limit_clips, message):
    folder = handmade_records.write(tmp_path / "r", splits, WANTED)
    with pytest.raises(ValueError, match=message):
        statistics.measure(folder, limit_clips=limit_clips, progress=False)
    assert not read_index(folder).statistics


def test_records_without_sound_and_pictures_have_nothing_to_measure(tmp_path):
    settings = dataclasses.replace(SETTINGS, modalities=("flow",))
    flow = [np.full((16, 16, 3), 128, np.uint8)]
    source = Source("a", "x", flow=flow, duration_s=0.5)
    folder = handmade_records.write(tmp_path / "r", {"train": [source]}, settings)
    index, is_changed = statistics.measure(folder, progress=False)
    assert not is_changed and not index.statistics
