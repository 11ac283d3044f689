import pathlib
import re

import pytest

import launchers
from launchers.prepare import PrepareSettings
from launchers.settings import from_flagfile
from launchers.training import TrainSettings

PRESETS = pathlib.Path(launchers.__file__).parent / "presets"
FRAMES = (3, 224, 224, 3)
# Frequencies x times, but times x filters of Kaldi's: 1 + samples // hop where windows are centred,
# 1 + (samples - window) // hop where not.
SHAPES = {
    "crema_d": {"audio": (257, 188, 1), "visual": (1, 224, 224, 3)},
    "crema_d_paper": {"audio": (257, 299, 1), "visual": FRAMES},
    "kinetics_sounds": {"audio": (1024, 128, 1), "visual": FRAMES},
    "vggsound": {"audio": (129, 626, 1), "visual": FRAMES},
    "ave": {"audio": (257, 1004, 1), "visual": FRAMES},
    "esc50": {"audio": (128, 216, 1)},
    "ucf101": {"visual": FRAMES, "flow": (3, 224, 224, 2)},
}


def _flags(name):
    lines = (PRESETS / f"{name}.flags").read_text("utf-8").splitlines()
    return [line for line in lines if line.startswith("--")]


@pytest.mark.parametrize("name", SHAPES)
def test_every_flag_may_be_unknown_to_one_of_the_two_programs(name):
    undefok, *others = _flags(name)
    names = [re.fullmatch(r"--([a-z_]+)(=\S+)?", line).group(1) for line in others]
    assert undefok == f"--undefok={','.join(names)}"
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", SHAPES)
def test_shapes(name):
    path = PRESETS / f"{name}.flags"
    settings = from_flagfile(PrepareSettings, path, manifest="m", output_dir="o")
    assert settings.clip_settings().shapes == SHAPES[name]


def test_values_of_the_paper():
    alphas = {}
    for name in SHAPES.keys() - {"esc50"}:
        path = PRESETS / f"{name}.flags"
        train = from_flagfile(TrainSettings, path, records_dir="r", output_dir="o")
        assert (train.encoder, train.optimizer, train.epochs) == ("resnet18", "sgd", 100)
        assert (train.batch_size, train.momentum, train.weight_decay) == (64, 0.9, 1e-4)
        rates = [train.learning_rate_at(epoch) for epoch in (0, 69, 70, 99)]
        assert rates == pytest.approx([1e-3, 1e-3, 1e-4, 1e-4])
        assert (train.modulation_start_epoch, train.modulation_end_epoch) == (0, 50)
        alphas[name] = train.alpha
        text = path.read_text("utf-8")
        assert ("Never published" in text) == (name in ("kinetics_sounds", "ave", "ucf101"))
    assert (alphas["crema_d"], alphas["crema_d_paper"], alphas["vggsound"]) == (0.8, 0.8, 0.1)


def test_validation_parts_and_missing_videos():
    held_out, bad = {}, {}
    for name in SHAPES:
        path = PRESETS / f"{name}.flags"
        settings = from_flagfile(PrepareSettings, path, manifest="m", output_dir="o")
        held_out[name] = settings.validation_fraction
        bad[name] = settings.max_bad_fraction
    published_none = {"crema_d", "crema_d_paper", "kinetics_sounds", "vggsound"}
    assert {name for name, fraction in held_out.items() if fraction == 0.1} == published_none
    assert {name for name, fraction in bad.items() if fraction == 0.3} == {
        "kinetics_sounds", "vggsound",
    }  # fmt: skip
