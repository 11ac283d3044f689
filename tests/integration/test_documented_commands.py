"""Commands of the pages, run one after the other as a user would, on clips that are small."""

import pathlib
import shlex
import subprocess
import sys

import numpy as np
import pytest
from absl import flags

from input_pipelines import synthetic
from launchers import catalogue
from launchers.settings import define_flags, from_flags
from tests import documentation
from tests.ogm_tf.serving import tiny_network

# What makes them short; the flags of the page stay.
SMALL = {
    "prepare": [
        "--window_s=0.5", "--sample_rate_hz=8000", "--fft_length=128", "--hop_length=128",
        "--num_frames=2", "--frame_height=24", "--frame_width=24", "--stored_short_side=32",
        "--num_workers=0",
    ],
    "train": ["--encoder=small_cnn", "--encoder_width=4", "--epochs=1", "--batch_size=8"],
    "predict": ["--num_workers=0"],
}  # fmt: skip


@pytest.mark.slow
def test_from_clips_to_a_saved_model(tmp_path, monkeypatch):
    """README's chain: records, runs without and with balancing, report, answers, SavedModel."""
    (block,) = (
        block
        for block in documentation.blocks_of(documentation.ROOT / "README.md")
        if "launchers.prepare --manifest" in block.text and "launchers.export" in block.text
    )
    monkeypatch.chdir(tmp_path)
    clips = synthetic.SyntheticSettings(
        num_classes=2, train_clips=40, validation_clips=2, test_clips=6, duration_s=0.5,
        frame_size=32,
    )  # fmt: skip
    manifest = synthetic.write_dataset(pathlib.Path("data"), clips, num_workers=1, progress=False)
    assert manifest == tmp_path / "data" / "manifest.csv"
    # A user's own clips have none, and some are held out.
    manifest.write_text(manifest.read_text().replace(",validation,", ",train,"))
    videos = sorted(pathlib.Path("data").rglob("*.mp4"))
    pathlib.Path("new_videos").mkdir()
    for number, video in enumerate(videos[:2]):
        pathlib.Path(f"new_videos/{number}.mp4").write_bytes(video.read_bytes())
    done = []
    for package, name, arguments in documentation.programs(block):
        values = flags.FlagValues()
        settings_class = catalogue.settings_class(name, package)
        define_flags(settings_class, values)
        assert values([name, *arguments, *SMALL.get(name, [])])[1:] == []
        catalogue.module(name, package).run(from_flags(settings_class, values))
        done.append(name)
    assert done == [
        "prepare", "inspect", "train", "train", "evaluate", "report", "predict", "export",
    ]  # fmt: skip
    assert len(pathlib.Path("answers.jsonl").read_text().splitlines()) == 2
    page = pathlib.Path("reports/mine/index.html").read_text()
    assert "ogm_ge" in page and "none" in page
    assert pathlib.Path("models/mine/1/saved_model.pb").is_file()


@pytest.mark.slow
def test_the_command_line_of_tensorflow(tmp_path):
    blocks = documentation.blocks_of(documentation.ROOT / "docs" / "serving.md")
    (block,) = (block for block in blocks if "saved_model_cli" in block.text)
    (tmp_path / "models" / "mine").mkdir(parents=True)
    tiny_network.export(tmp_path / "models" / "mine" / "1")
    for name, value in tiny_network.raw().items():
        np.save(tmp_path / f"{name}.npy", value)
    commands = block.text.replace("\\\n", " ").strip().splitlines()
    assert len(commands) == 2
    for command in commands:
        program, *arguments = shlex.split(command)
        assert program == "saved_model_cli"
        done = subprocess.run(
            [sys.executable, "-m", f"tensorflow.python.tools.{program}", *arguments],
            cwd=tmp_path, capture_output=True, text=True, check=True,
        )  # fmt: skip
        for name in ("probabilities", "audio_probabilities", "label"):
            assert name in done.stdout
