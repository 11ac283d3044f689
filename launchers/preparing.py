"""Settings of `prepare`."""

import dataclasses
import math

from input_pipelines import datasets, synthetic
from input_pipelines.settings import (
    AUDIO_NORMALIZATIONS,
    FEATURES,
    MODALITIES,
    PADDINGS,
    SHORT_CLIPS,
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
        None,
        "A known dataset, instead of a manifest.",
        choices=(*synthetic.DATASETS, *datasets.NAMES),
    )
    data_dir: str | None = setting(
        None, f"Folder of the dataset's files.\n\n{datasets.describe_all()}"
    )
    whole_files: bool = setting(
        False,
        "Whether the manifest's files are clips as they are; its start_s and end_s are then when "
        "the event is, unless there are event_start_s and event_end_s.",
    )
    dataset_fold: int | None = positive(None, "Of ESC-50 (1 to 5) and UCF-101 (1 to 3); else none.")
    dataset_seed: int = not_negative(0, "Seed of a synthetic dataset's clips.")
    modalities: tuple[str, ...] = setting(
        ClipSettings.modalities,
        "What is stored and learned from, with commas.",
        rule=f"among {', '.join(MODALITIES)}",
        holds=lambda value: bool(value) and set(value) <= set(MODALITIES),
    )
    window_s: float = positive(ClipSettings.window_s, "Seconds of a clip the model gets.")
    window_position: str = setting(
        ClipSettings.window,
        "Where in a longer clip: anywhere (evaluation: the middle), or at its start.",
        choices=WINDOWS,
    )
    sample_rate_hz: int = positive(AudioSettings.sample_rate_hz, "Samples of sound a second.")
    features: str = setting(
        AudioSettings.features, "What the model gets of the sound.", choices=FEATURES
    )
    fft_length: int = positive(
        AudioSettings.fft_length, "Samples in one window of the spectrogram, even."
    )
    hop_length: int = positive(
        AudioSettings.hop_length, "Samples between windows of the spectrogram."
    )
    padding: str = setting(
        AudioSettings.padding, "Extension of the sound at both ends.", choices=PADDINGS
    )
    mel_bins: int = positive(AudioSettings.mel_bins, "Filters of mel features.")
    short_clips: str = setting(
        AudioSettings.short_clips,
        "Sound of clips shorter than the window: repeated, or filled to --time_steps.",
        choices=SHORT_CLIPS,
    )
    time_steps: int | None = positive(None, "Length that features are cut or filled to.")
    audio_normalization: str = setting(
        AudioSettings.normalization,
        "Of the features: by given numbers, the clip's own, or the dataset's.",
        choices=AUDIO_NORMALIZATIONS,
    )
    audio_mean: float = setting(AudioSettings.mean, "Subtracted from the features.")
    audio_deviation: float = positive(AudioSettings.deviation, "The features are divided by this.")
    num_masks: int = not_negative(AudioSettings.num_masks, "SpecAugment: masks along each axis.")
    max_mask_bins: int = not_negative(
        AudioSettings.max_mask_bins, "SpecAugment: widest mask of frequencies; 0: none."
    )
    max_mask_steps: int = not_negative(
        AudioSettings.max_mask_steps, "SpecAugment: widest mask of times; 0: none."
    )
    frames_per_second: float = positive(VideoSettings.frames_per_second, "Frames stored a second.")
    stored_short_side: int = positive(
        VideoSettings.stored_short_side, "Largest shorter side of a stored frame, pixels."
    )
    jpeg_quality: int = positive(VideoSettings.jpeg_quality, "Of the stored frames, 1 to 100.")
    folder_frames_per_second: float = positive(
        VideoSettings.folder_frames_per_second, "Of folders of frames without sound."
    )
    num_frames: int = positive(VideoSettings.num_frames, "Frames the model gets.")
    frame_spacing: str = setting(
        VideoSettings.spacing,
        "Times of the frames: even, or in training random in each part of the window.",
        choices=SPACINGS,
    )
    frame_height: int = positive(VideoSettings.height, "Of the frames the model gets, pixels.")
    frame_width: int = positive(VideoSettings.width, "Of the frames the model gets, pixels.")
    crop_min_area: float = positive(
        VideoSettings.crop_min_area, "Least share of a frame in a training crop; 1: no crops."
    )
    flip: bool = setting(VideoSettings.flip, "Whether training mirrors half of the clips.")
    augment_each_frame: bool = setting(
        VideoSettings.augment_each_frame, "Whether training varies every frame by itself."
    )
    gain_jitter: float = fraction(
        AudioSettings.gain_jitter, "Training scales the sound by 1 - this to 1 + this."
    )
    hue_jitter: float = not_negative(
        VideoSettings.hue_jitter, "Training turns hues by up to so many radians."
    )
    saturation_jitter: float = fraction(
        VideoSettings.saturation_jitter, "Training scales saturation by 1 - this to 1 + this."
    )
    value_jitter: float = fraction(
        VideoSettings.value_jitter, "Training scales brightness by 1 - this to 1 + this."
    )
    brightness_jitter: float = fraction(
        VideoSettings.brightness_jitter, "Training adds up to this share of white, or of black."
    )
    erase_area: float = fraction(
        VideoSettings.erase_area, "Training erases a square of this share of a frame."
    )
    frame_normalization: str = setting(
        VideoSettings.normalization,
        "Of the frames: by given numbers, or the dataset's.",
        choices=VIDEO_NORMALIZATIONS,
    )
    frame_mean: tuple[float, ...] = setting(
        VideoSettings.mean,
        "Subtracted from frames in [0, 1]: red,green,blue; by default ImageNet's.",
        rule="three finite numbers",
        holds=lambda value: len(value) == 3 and all(map(math.isfinite, value)),
    )
    frame_deviation: tuple[float, ...] = setting(
        VideoSettings.deviation,
        "The frames are divided by this: red,green,blue; by default ImageNet's.",
        rule="three numbers > 0",
        holds=lambda value: len(value) == 3 and all(0 < number < math.inf for number in value),
    )
    validation_fraction: float = fraction(
        0.0, "Share of the training clips held out for validation where there is no such split."
    )
    max_bad_fraction: float = fraction(
        0.05, "Share of missing and unreadable clips above which the run fails."
    )
    max_duration_s: float = positive(MediaLimits.max_duration_s, "Seconds kept of a longer clip.")
    max_pixels: int = positive(MediaLimits.max_pixels, "Files with larger pictures are left out.")
    max_decode_s: float = positive(
        MediaLimits.max_decode_s, "Files that take longer to decode are left out."
    )
    clips_per_shard: int = positive(64, "Clips in one file of records.")
    num_workers: int | None = not_negative(
        None, "Processes that decode; by default one a core; 0: this one alone."
    )
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
        if (self.dataset is None) != (self.data_dir is None):
            raise ValueError(
                "--data_dir must come with --dataset, and only with it. Received: "
                f"dataset={self.dataset!r}, data_dir={self.data_dir!r}."
            )
        if self.whole_files and self.manifest is None:
            raise ValueError(
                f"--whole_files must come with --manifest. Received: dataset={self.dataset!r}."
            )
        if self.dataset_fold is not None and self.dataset is None:
            raise ValueError(
                "--dataset_fold must come with --dataset. Received: "
                f"dataset_fold={self.dataset_fold}, dataset=None."
            )
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
                short_clips=self.short_clips,
                time_steps=self.time_steps,
                normalization=self.audio_normalization,
                mean=self.audio_mean,
                deviation=self.audio_deviation,
                num_masks=self.num_masks,
                max_mask_bins=self.max_mask_bins,
                max_mask_steps=self.max_mask_steps,
                gain_jitter=self.gain_jitter,
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
                brightness_jitter=self.brightness_jitter,
                erase_area=self.erase_area,
                normalization=self.frame_normalization,
                mean=self.frame_mean,
                deviation=self.frame_deviation,
            ),
        )

    def limits(self) -> MediaLimits:
        """Returns what no clip may exceed."""
        return MediaLimits(self.max_duration_s, self.max_pixels, self.max_decode_s)
