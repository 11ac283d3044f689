"""Records of a few small clips of the built-in dataset, and a short training on them."""

import pathlib

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


def write(folder: pathlib.Path, num_classes: int = 3) -> pathlib.Path:
    """Writes clips and records and returns the records' folder."""
    manifest = synthetic.write_dataset(
        folder / "clips",
        synthetic.SyntheticSettings(
            num_classes=num_classes,
            train_clips=26,
            validation_clips=9,
            test_clips=12,
            duration_s=0.5,
            frame_size=32,
        ),
        num_workers=1,
        progress=False,
    )
    prepare.run(
        prepare.PrepareSettings(
            str(folder / "records"),
            manifest=str(manifest),
            clips_per_shard=10,
            window_s=0.5,
            sample_rate_hz=8000,
            fft_length=128,
            hop_length=128,
            frames_per_second=4.0,
            num_frames=2,
            frame_height=24,
            frame_width=24,
            stored_short_side=32,
            crop_min_area=1.0,
            num_workers=0,
        )
    )
    return folder / "records"
