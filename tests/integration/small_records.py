"""Records of a few small clips of the built-in dataset, and a short training on them."""

import pathlib
from typing import Any

from input_pipelines import synthetic
from launchers import prepare

TRAINING = {
    "encoder": "small_cnn",
    "encoder_width": 4,
    "modulation": "ogm_ge",
    "epochs": 2,
    "batch_size": 4,
    "learning_rate": 0.01,
}
STEPS_PER_EPOCH = 6


def write(
    folder: pathlib.Path,
    num_classes: int = 3,
    clips: dict[str, Any] | None = None,
    **preparing: Any,
) -> pathlib.Path:
    """Writes clips and records and returns the records' folder.

    Args:
      folder: For both.
      num_classes: Of the clips.
      clips: Further settings of the clips.
      **preparing: Settings of `prepare` in place of those here.
    """
    settings = {"duration_s": 0.5, "frame_size": 32, **(clips or {})}
    manifest = synthetic.write_dataset(
        folder / "clips",
        synthetic.SyntheticSettings(
            num_classes=num_classes,
            train_clips=26,
            validation_clips=9,
            test_clips=12,
            **settings,
        ),
        num_workers=1,
        progress=False,
    )
    arguments = {
        "window_s": 0.5,
        "sample_rate_hz": 8000,
        "fft_length": 128,
        "hop_length": 128,
        "frames_per_second": 4.0,
        "num_frames": 2,
        "frame_height": 24,
        "frame_width": 24,
        "stored_short_side": 32,
        "crop_min_area": 1.0,
        "clips_per_shard": 10,
        "num_workers": 0,
    }
    prepare.run(
        prepare.PrepareSettings(
            str(folder / "records"), manifest=str(manifest), **arguments | preparing
        )
    )
    return folder / "records"
