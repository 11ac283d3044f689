"""The presets are the paper's and the authors' settings, value by value."""

import pathlib
import re

import pytest

import launchers
from input_pipelines import synthetic
from input_pipelines.settings import AudioSettings, ClipSettings, VideoSettings
from launchers.extracting import ExtractSettings
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
# No default is left to the settings: a changed default changes what a preset means.
# librosa's transform of 16 kHz sound, as it is.
SOUND = {
    "sample_rate_hz": 16_000,
    "features": "spectrogram",
    "fft_length": 512,
    "hop_length": 160,
    "padding": "reflect",
    "mel_bins": 128,
    "short_clips": "tile",
    "time_steps": None,
    "normalization": "fixed",
    "mean": 0.0,
    "deviation": 1.0,
    "num_masks": 1,
    "max_mask_bins": 0,
    "max_mask_steps": 0,
}
# scipy.signal.spectrogram with 353 of 512 samples overlapping; (x - mean) / deviation of the clip.
DENSITY = SOUND | {"features": "psd", "hop_length": 512 - 353, "normalization": "clip"}
# torchvision's RandomResizedCrop(224) and RandomHorizontalFlip, of every frame by itself, of frames
# at 1 a second.
PICTURES = {
    "frames_per_second": 1.0,
    "stored_short_side": 256,
    "jpeg_quality": 95,
    "folder_frames_per_second": 25.0,
    "num_frames": 3,
    "spacing": "even",
    "height": 224,
    "width": 224,
    "crop_min_area": 0.08,
    "flip": True,
    "augment_each_frame": True,
    "hue_jitter": 0.0,
    "saturation_jitter": 0.0,
    "value_jitter": 0.0,
    "brightness_jitter": 0.0,
    "erase_area": 0.0,
    "normalization": "fixed",
    "mean": (0.485, 0.456, 0.406),
    "deviation": (0.229, 0.224, 0.225),
}
# A modality that a preset has not got keeps the defaults.
NO_PICTURES = PICTURES | {"frames_per_second": 4.0, "augment_each_frame": False}


def _clip(window_s, window, modalities, sound, pictures):
    audio, video = AudioSettings(**sound), VideoSettings(**pictures)
    return ClipSettings(window_s, window, modalities, audio, video)


BOTH = ("audio", "visual")
# By name: seconds and place of the window, modalities, and what differs from the above.
SETTINGS = {
    "crema_d": _clip(
        3.0, "start", BOTH,
        SOUND | {"sample_rate_hz": 22_050, "hop_length": 353},
        PICTURES | {"stored_short_side": 360, "num_frames": 1},
    ),
    "crema_d_paper": _clip(
        3.0, "start", BOTH, DENSITY,
        PICTURES | {"frames_per_second": 4.0, "stored_short_side": 360, "spacing": "random"},
    ),
    # 10 ms steps; the authors divide by twice AudioSet's deviation.
    "kinetics_sounds": _clip(
        10.255, "start", BOTH,
        SOUND | {
            "features": "kaldi_fbank", "short_clips": "fill", "time_steps": 1024,
            "mean": -4.503877, "deviation": 2 * 5.141276,
        },
        PICTURES,
    ),
    "vggsound": _clip(
        5.0, "random", BOTH,
        SOUND | {"fft_length": 256, "hop_length": 128}, PICTURES | {"spacing": "random"},
    ),
    "ave": _clip(10.0, "start", BOTH, DENSITY, PICTURES | {"spacing": "random"}),
    "esc50": _clip(
        5.0, "start", ("audio",),
        SOUND | {
            "sample_rate_hz": 22_050, "features": "log_mel", "fft_length": 1024,
            "hop_length": 512, "normalization": "clip", "max_mask_bins": 16, "max_mask_steps": 24,
        },
        NO_PICTURES,
    ),
    # BalanceBenchmark's: Resize and a flip.
    "ucf101": _clip(
        6.0, "start", ("visual", "flow"), SOUND,
        PICTURES | {
            "frames_per_second": 4.0, "stored_short_side": 240, "spacing": "random",
            "crop_min_area": 1.0, "augment_each_frame": False,
        },
    ),
}  # fmt: skip


def _prepare_settings(name):
    path = PRESETS / f"{name}.flags"
    return from_flagfile(PrepareSettings, path, manifest="m", output_dir="o")


def test_every_preset_of_a_known_dataset_is_here():
    # The others are this project's own, of pairs, or of segments.
    names = {path.stem for path in PRESETS.glob("*.flags") if "--model=" not in path.read_text()}
    others = {"ave_segments", "grid_digits", "synthetic", "synthetic_events"}
    assert names - others == SHAPES.keys() == SETTINGS.keys()


def test_ave_in_segments_is_for_prepare_train_and_extract():
    path = PRESETS / "ave_segments.flags"
    preparing = from_flagfile(PrepareSettings, path, manifest="m", output_dir="o")
    shapes = {"audio": (64, 96, 1), "visual": (4, 224, 224, 3)}
    assert preparing.clip_settings().shapes == shapes
    values = {"records_dir": "r", "audio_encoder": "a", "visual_encoder": "v", "output_dir": "o"}
    extracting = from_flagfile(ExtractSettings, path, **values)
    assert (extracting.segments, extracting.segment_s) == (10, 1.0)
    assert extracting.background_clips
    training = from_flagfile(TrainSettings, path, records_dir="r", output_dir="o")
    assert (training.encoder, training.epochs, training.lr_decay_epochs) == ("resnet18", 40, (28,))
    undefok, *others = _flags("ave_segments")
    names = [line.removeprefix("--").partition("=")[0] for line in others]
    assert undefok == f"--undefok={','.join(names)}"


def test_built_in_events_are_for_prepare_train_and_extract():
    path = PRESETS / "synthetic_events.flags"
    videos = synthetic.DATASETS["synthetic_events"]
    settings = _prepare_settings("synthetic_events").clip_settings()
    values = {"records_dir": "r", "audio_encoder": "a", "visual_encoder": "v", "output_dir": "o"}
    extracting = from_flagfile(ExtractSettings, path, **values)
    training = from_flagfile(TrainSettings, path, records_dir="r", output_dir="o")
    # A window is a segment, and the segments are the video.
    assert settings.window_s == videos.segment_s
    assert extracting.segments * settings.window_s == videos.duration_s
    assert (training.encoder, training.epochs) == ("small_cnn", 16)


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
def test_settings_and_shapes_of_a_clip(name):
    settings = _prepare_settings(name).clip_settings()
    assert settings == SETTINGS[name]
    assert settings.shapes == SHAPES[name]


def test_values_of_the_paper():
    alphas, unpublished = {}, {"kinetics_sounds", "ave", "ucf101"}
    for name in SHAPES.keys() - {"esc50"}:
        path = PRESETS / f"{name}.flags"
        train = from_flagfile(TrainSettings, path, records_dir="r", output_dir="o")
        assert (train.encoder, train.fusion) == ("resnet18", "concat")
        assert (train.optimizer, train.epochs) == ("sgd", 100)
        assert (train.batch_size, train.momentum, train.weight_decay) == (64, 0.9, 1e-4)
        rates = [train.learning_rate_at(epoch) for epoch in (0, 69, 70, 99)]
        assert rates == pytest.approx([1e-3, 1e-3, 1e-4, 1e-4])
        assert (train.modulation_start_epoch, train.modulation_end_epoch) == (0, 50)
        alphas[name] = train.alpha
        text = path.read_text("utf-8")
        assert ("Never published" in text) == (name in unpublished)
    published = {"crema_d": 0.8, "crema_d_paper": 0.8, "vggsound": 0.1}
    assert alphas == published | dict.fromkeys(unpublished, 0.5)


def test_validation_parts_and_missing_videos():
    held_out, bad = {}, {}
    for name in SHAPES:
        settings = _prepare_settings(name)
        held_out[name] = settings.validation_fraction
        bad[name] = settings.max_bad_fraction
    published_none = {"crema_d", "crema_d_paper", "kinetics_sounds", "vggsound"}
    assert {name for name, fraction in held_out.items() if fraction == 0.1} == published_none
    assert {name for name, fraction in bad.items() if fraction == 0.3} == {
        "kinetics_sounds", "vggsound",
    }  # fmt: skip
