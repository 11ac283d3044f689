"""Media and labels become record shards.

Your own clips, described by a manifest (columns clip_id, split, label, path, and optionally
audio_path, start_s, end_s):

  python -m launchers.prepare --manifest=data/manifest.csv --output_dir=records/mine

The built-in dataset, whose clips are written to --data_dir first:

  python -m launchers.prepare --dataset=synthetic --data_dir=data/synthetic \
      --output_dir=records/synthetic --flagfile=launchers/presets/synthetic.flags
"""

import dataclasses
import pathlib

from input_pipelines.settings import AudioSettings, ClipSettings, VideoSettings
from launchers.settings import (
    LauncherSettings,
    fraction,
    launch,
    not_negative,
    positive,
    setting,
)

DATASETS = ("synthetic",)


@dataclasses.dataclass(frozen=True)
class PrepareSettings(LauncherSettings):
    """Settings of `prepare`; those of a clip are described in `input_pipelines.settings`."""

    output_dir: str = setting(dataclasses.MISSING, "Folder for the records.")
    manifest: str | None = setting(None, "CSV file with one row a clip.")
    dataset: str | None = setting(None, "A known dataset, instead of a manifest.", choices=DATASETS)
    data_dir: str | None = setting(None, "Folder of the dataset's files.")
    dataset_seed: int = not_negative(0, "Seed of the synthetic dataset's clips.")
    window_s: float = positive(3.0, "Seconds of a clip the model gets.")
    sample_rate_hz: int = positive(16_000, "Samples of sound a second.")
    fft_length: int = positive(512, "Samples in one window of the spectrogram, even.")
    hop_length: int = positive(160, "Samples between windows of the spectrogram.")
    padding: str = setting(
        "reflect", "Extension of the sound at both ends.", choices=("reflect", "constant")
    )
    frames_per_second: float = positive(4.0, "Frames stored a second.")
    stored_short_side: int = positive(256, "Largest shorter side of a stored frame, pixels.")
    jpeg_quality: int = positive(95, "Of the stored frames, 1 to 100.")
    num_frames: int = positive(3, "Frames the model gets.")
    frame_height: int = positive(224, "Of the frames the model gets, pixels.")
    frame_width: int = positive(224, "Of the frames the model gets, pixels.")
    crop_min_area: float = positive(0.08, "Least share of a frame in a training crop; 1: no crops.")
    flip: bool = setting(True, "Whether training mirrors half of the clips.")
    validation_fraction: float = fraction(
        0.0, "Share of the training clips held out for validation where there is no such split."
    )
    max_bad_fraction: float = fraction(0.05, "Share of unreadable clips above which the run fails.")
    max_duration_s: float = positive(60.0, "Seconds kept of a longer clip.")
    clips_per_shard: int = positive(64, "Clips in one file of records.")
    num_workers: int | None = positive(None, "Processes; by default one a core.")

    def __post_init__(self):
        super().__post_init__()
        if (self.manifest is None) == (self.dataset is None):
            raise ValueError(
                "Exactly one of --manifest and --dataset must be given. Received: "
                f"manifest={self.manifest!r}, dataset={self.dataset!r}."
            )
        if self.dataset is not None and self.data_dir is None:
            raise ValueError("--dataset must come with --data_dir. Received: data_dir=None.")

    def clip_settings(self) -> ClipSettings:
        """Returns the settings stored with the records."""
        return ClipSettings(
            window_s=self.window_s,
            audio=AudioSettings(
                sample_rate_hz=self.sample_rate_hz,
                fft_length=self.fft_length,
                hop_length=self.hop_length,
                padding=self.padding,
            ),
            video=VideoSettings(
                frames_per_second=self.frames_per_second,
                stored_short_side=self.stored_short_side,
                jpeg_quality=self.jpeg_quality,
                num_frames=self.num_frames,
                height=self.frame_height,
                width=self.frame_width,
                crop_min_area=self.crop_min_area,
                flip=self.flip,
            ),
        )


def run(settings: PrepareSettings) -> None:
    """Writes the records."""
    clip_settings = settings.clip_settings()
    # Worker processes import the main module again; TensorFlow must not be among what they load.
    from input_pipelines import preparation, synthetic

    manifest = settings.manifest
    if settings.dataset == "synthetic":
        manifest = synthetic.write_dataset(
            settings.data_dir,
            synthetic.SyntheticSettings(seed=settings.dataset_seed),
            num_workers=settings.num_workers,
        )
    preparation.prepare(
        pathlib.Path(manifest),
        pathlib.Path(settings.output_dir),
        clip_settings,
        validation_fraction=settings.validation_fraction,
        max_bad_fraction=settings.max_bad_fraction,
        num_workers=settings.num_workers,
        clips_per_shard=settings.clips_per_shard,
        max_duration_s=settings.max_duration_s,
    )


if __name__ == "__main__":
    launch(PrepareSettings, run)
