"""The page about records: its files, what it says, and what it needs."""

import dataclasses
import re

import matplotlib.image
import numpy as np
import pytest

from input_pipelines.index import read_index
from launchers import inspect, measure
from tests.input_pipelines import handmade_records
from tests.input_pipelines.handmade_records import SETTINGS, Source


def make_source(number):
    random = np.random.default_rng(number)
    waveform = random.integers(-9000, 9000, 4000 + 800 * number).astype(np.int16)
    pictures = list(random.integers(0, 255, (2, 16, 24, 3)).astype(np.uint8))
    return Source(
        f"clip{number}", ["<b>bell</b>", "drum"][number % 2], waveform, pictures, pictures
    )


SKIPPED = ({"clip_id": "lost$1", "split": "train", "reason": "a.mp4: no visual track"},)


def write(tmp_path, modalities=("audio", "visual", "flow"), **changes):
    settings = dataclasses.replace(SETTINGS, modalities=modalities, **changes)
    splits = {
        split: [
            dataclasses.replace(
                make_source(number),
                duration_s=0.5,
                **{name: None for name in ("visual", "flow") if name not in modalities},
                **({} if "audio" in modalities else {"waveform": None}),
            )
            for number in range(count)
        ]
        for split, count in (("train", 6), ("test", 3))
    }
    return handmade_records.write(tmp_path / "mine", splits, settings, skipped=SKIPPED)


def test_page_sheet_and_tables(tmp_path, capsys):
    page = inspect.run(
        inspect.InspectSettings(str(write(tmp_path)), output_dir=str(tmp_path / "out"), num_clips=4)
    )
    names = ["classes.png", "contact_sheet.png", "index.html", "lengths.png"]
    assert sorted(path.name for path in page.parent.iterdir()) == names
    text = page.read_text("utf-8")
    assert not re.search(r"https?://|<script|<b>", text)
    for source in re.findall(r'(?:src|srcset|href)="([^"]*)', text):
        assert source.startswith("data:")
    # Four clips of two frames, two of flow, a spectrogram and a sound each, and two charts.
    assert text.count("<img") == 4 * (2 + 2 + 1) + 2 and text.count("<audio") == 4
    for words in ("Varied as in training", "lost$1", "no visual track", "&lt;b&gt;bell&lt;/b&gt;"):
        assert words in text
    sheet = matplotlib.image.imread(page.parent / "contact_sheet.png")
    assert sheet.shape[0] > 200 and sheet.shape[1] > 1000
    # Pictures and spectrograms, not a page of one colour: random frames have every level.
    assert len(np.unique((sheet[..., 0] * 255).round())) > 200 and sheet.std() > 0.1
    said = capsys.readouterr().out
    assert "6 train, 3 test clips of 2 classes; 1 skipped" in said
    assert re.search(r"train +6 +3 +3 +0\.50 +0\.50 +0\.50 +0 +2 +0\.", said)
    assert re.search(r"flow +2 × 12 × 16 × 2 +0\.\d+", said)


@pytest.mark.parametrize("modalities", [("audio",), ("visual",), ("flow", "visual")])
def test_records_show_what_they_have(tmp_path, modalities):
    folder = str(write(tmp_path, modalities))
    page = inspect.run(inspect.InspectSettings(folder, "test", str(tmp_path / "out"), seed=1))
    text = page.read_text("utf-8")
    assert "As evaluation sees them: 3 clips" in text
    assert text.count("<audio") == 3 * ("audio" in modalities)
    assert text.count('alt="Spectrogram') == 3 * ("audio" in modalities)
    assert text.count('alt="Optical flow') == 6 * ("flow" in modalities)


def test_a_wrong_normalisation_is_seen(tmp_path, caplog):
    audio = dataclasses.replace(SETTINGS.audio, mean=500.0, deviation=2.0)
    folder = str(write(tmp_path, ("audio",), audio=audio))
    page = inspect.run(inspect.InspectSettings(folder, output_dir=str(tmp_path / "out")))
    warning = "The audio input is not normalised: its mean is far from 0."
    assert warning in page.read_text("utf-8") and warning in caplog.text


def test_measured_numbers_are_printed_and_stay(tmp_path, capsys):
    folder = write(tmp_path)
    measure.run(measure.MeasureSettings(str(folder)))
    said, found = capsys.readouterr().out, read_index(folder).statistics["audio"]
    assert f"--audio_mean={found.mean[0]!r} --audio_deviation={found.deviation[0]!r}" in said
    assert "visual green" in said and "stay as they are" not in said
    measure.run(measure.MeasureSettings(str(folder)))
    assert "stay as they are" in capsys.readouterr().out


def test_bad_settings_are_named(tmp_path):
    folder = write(tmp_path)
    for output_dir in (folder, folder / "page"):
        with pytest.raises(ValueError, match="Received: output_dir="):
            inspect.InspectSettings(str(folder), output_dir=str(output_dir))
    with pytest.raises(ValueError, match="Received: num_clips=0"):
        inspect.InspectSettings(str(folder), num_clips=0)
    with pytest.raises(ValueError, match="Received: split='validation'"):
        inspect.run(inspect.InspectSettings(str(folder), "validation", str(tmp_path / "out")))
    assert not (tmp_path / "out").exists()
