"""Settings of `prepare`."""

import dataclasses
import math

from input_pipelines import datasets
from input_pipelines.settings import (
    AUDIO_NORMALIZATIONS,
    FEATURES,
    MODALITIES,
    PADDINGS,
    SPACINGS,
    VIDEO_NORMALIZATIONS,
    WINDOWS,
    AudioSettings,
    ClipSettings,
    MediaLimits,
    VideoSettings,
)
from launchers.settings import (
    LauncherSettings,
    fraction,
    not_negative,
    positive,
    setting,
)

RUNNERS = ("local", "beam")


@dataclasses.dataclass(frozen=True)
class PrepareSettings(LauncherSettings):
    """Settings of `prepare`; those of a clip are described in `input_pipelines.settings`."""

    output_dir: str = setting(dataclasses.MISSING, "Folder for the records.")
    manifest: str | None = setting(None, "CSV file with one row a clip.")
    dataset: str | None = setting(
        None, "A known dataset, instead of a manifest.", choices=("synthetic", *datasets.NAMES)
    )
    data_dir: str | None = setting(
        None, f"Folder of the dataset's files.\n\n{datasets.describe_all()}"
    )
    dataset_fold: int | None = positive(None, "Of ESC-50 (1 to 5) and UCF-101 (1 to 3); else none.")
    dataset_seed: int = not_negative(0, "Seed of the synthetic dataset's clips.")
    modalities: tuple[str, ...] = setting(
        ("audio", "visual"), "What is stored and learned from, with commas.",
        rule=f"among {', '.join(MODALITIES)}",
        holds=lambda value: bool(value) and set(value) <= set(MODALITIES),
    )  # fmt: skip
    window_s: float = positive(3.0, "Seconds of a clip the model gets.")
    window_position: str = setting(
        "random", "Where in a longer clip: anywhere (evaluation: the middle), or at its start.",
        choices=WINDOWS,
    )  # fmt: skip
    sample_rate_hz: int = positive(16_000, "Samples of sound a second.")
    features: str = setting("spectrogram", "What the model gets of the sound.", choices=FEATURES)
    fft_length: int = positive(512, "Samples in one window of the spectrogram, even.")
    hop_length: int = positive(160, "Samples between windows of the spectrogram.")
    padding: str = setting("reflect", "Extension of the sound at both ends.", choices=PADDINGS)
    mel_bins: int = positive(128, "Filters of mel features.")
    time_steps: int | None = positive(None, "Length that features are cut or filled to.")
    audio_normalization: str = setting(
        "fixed", "Of the features: by given numbers, the clip's own, or the dataset's.",
        choices=AUDIO_NORMALIZATIONS,
    )  # fmt: skip
    audio_mean: float = setting(0.0, "Subtracted from the features.")
    audio_deviation: float = positive(1.0, "The features are divided by this.")
    num_masks: int = not_negative(1, "SpecAugment: masks along each axis.")
    max_mask_bins: int = not_negative(0, "SpecAugment: widest mask of frequencies; 0: none.")
    max_mask_steps: int = not_negative(0, "SpecAugment: widest mask of times; 0: none.")
    frames_per_second: float = positive(4.0, "Frames stored a second.")
    stored_short_side: int = positive(256, "Largest shorter side of a stored frame, pixels.")
    jpeg_quality: int = positive(95, "Of the stored frames, 1 to 100.")
    folder_frames_per_second: float = positive(25.0, "Of folders of frames without sound.")
    num_frames: int = positive(3, "Frames the model gets.")
    frame_spacing: str = setting(
        "even", "Times of the frames: even, or in training random in each part of the window.",
        choices=SPACINGS,
    )  # fmt: skip
    frame_height: int = positive(224, "Of the frames the model gets, pixels.")
    frame_width: int = positive(224, "Of the frames the model gets, pixels.")
    crop_min_area: float = positive(0.08, "Least share of a frame in a training crop; 1: no crops.")
    flip: bool = setting(True, "Whether training mirrors half of the clips.")
    augment_each_frame: bool = setting(False, "Whether every frame has its own crop and flip.")
    hue_jitter: float = not_negative(0.0, "Training turns hues by up to so many radians.")
    saturation_jitter: float = fraction(0.0, "Training scales saturation by 1 - this to 1 + this.")
    value_jitter: float = fraction(0.0, "Training scales brightness by 1 - this to 1 + this.")
    erase_area: float = fraction(0.0, "Training erases a square of this share of a frame.")
    frame_normalization: str = setting(
        "fixed", "Of the frames: by ImageNet's numbers, or the dataset's.",
        choices=VIDEO_NORMALIZATIONS,
    )  # fmt: skip
    validation_fraction: float = fraction(
        0.0, "Share of the training clips held out for validation where there is no such split."
    )
    max_bad_fraction: float = fraction(
        0.05, "Share of missing and unreadable clips above which the run fails."
    )
    max_duration_s: float = positive(60.0, "Seconds kept of a longer clip.")
    max_pixels: int = positive(7680 * 4320, "Files with larger pictures are left out.")
    max_decode_s: float = positive(600.0, "Files that take longer to decode are left out.")
    clips_per_shard: int = positive(64, "Clips in one file of records.")
    num_workers: int | None = positive(None, "Processes; by default one a core.")
    runner: str = setting(
        "local", "Processes of this machine, or an Apache Beam pipeline.", choices=RUNNERS
    )
    beam_options: tuple[str, ...] = setting(
        (), "Beam's own options, with commas; those with commas of their own follow a final --."
    )
    verify: bool = setting(False, "Re-reads finished records instead of making them.")

    def __post_init__(self):
        super().__post_init__()
        if self.verify:
            return
        if (self.manifest is None) == (self.dataset is None):
            raise ValueError(
                "Exactly one of --manifest and --dataset must be given. Received: "
                f"manifest={self.manifest!r}, dataset={self.dataset!r}."
            )
        if self.dataset is not None and self.data_dir is None:
            raise ValueError("--dataset must come with --data_dir. Received: data_dir=None.")
        if self.beam_options and self.runner != "beam":
            raise ValueError(
                f"Options of Beam need --runner=beam. Received: {' '.join(self.beam_options)}."
            )
        if not math.isfinite(self.audio_mean):
            raise ValueError(
                f"--audio_mean must be finite. Received: audio_mean={self.audio_mean}."
            )

    def clip_settings(self) -> ClipSettings:
        """Returns the settings stored with the records."""
        return ClipSettings(
            window_s=self.window_s,
            window=self.window_position,
            modalities=self.modalities,
            audio=AudioSettings(
                sample_rate_hz=self.sample_rate_hz,
                features=self.features,
                fft_length=self.fft_length,
                hop_length=self.hop_length,
                padding=self.padding,
                mel_bins=self.mel_bins,
                time_steps=self.time_steps,
                normalization=self.audio_normalization,
                mean=self.audio_mean,
                deviation=self.audio_deviation,
                num_masks=self.num_masks,
                max_mask_bins=self.max_mask_bins,
                max_mask_steps=self.max_mask_steps,
            ),
            video=VideoSettings(
                frames_per_second=self.frames_per_second,
                stored_short_side=self.stored_short_side,
                jpeg_quality=self.jpeg_quality,
                folder_frames_per_second=self.folder_frames_per_second,
                num_frames=self.num_frames,
                spacing=self.frame_spacing,
                height=self.frame_height,
                width=self.frame_width,
                crop_min_area=self.crop_min_area,
                flip=self.flip,
                augment_each_frame=self.augment_each_frame,
                hue_jitter=self.hue_jitter,
                saturation_jitter=self.saturation_jitter,
                value_jitter=self.value_jitter,
                erase_area=self.erase_area,
                normalization=self.frame_normalization,
            ),
        )

    def limits(self) -> MediaLimits:
        """Returns what no clip may exceed."""
        return MediaLimits(self.max_duration_s, self.max_pixels, self.max_decode_s)
