"""The built-in datasets `synthetic...`: sounding objects, written as real mp4 files.

Every clip shows one moving shape on a cluttered background and plays the shape's sound in noise.
Either modality names the class, but sound is learned within a few epochs and vision slowly: the
set is built to show how a quick modality keeps a slow one from being learned.
"""

import concurrent.futures
import dataclasses
import fractions
import functools
import json
import multiprocessing
import os
import pathlib
import shutil
from collections.abc import Callable, Iterator

import av
import numpy as np
from absl import logging

from input_pipelines import event_videos
from input_pipelines.event_plans import EventVideoSettings
from input_pipelines.manifest import SPLITS, write_manifest
from input_pipelines.progress import progress_bar
from input_pipelines.sounding_objects import CLASS_NAMES, draw_picture, draw_shared, draw_sound
from input_pipelines.workers import without_main_module

# At audio difficulty 0 and 1.
SIGNAL_TO_NOISE_DB = (20.0, -10.0)

_FORMAT_VERSION = 4
_MANIFEST = "manifest.csv"
_SETTINGS = "settings.json"


@dataclasses.dataclass(frozen=True)
class SyntheticSettings:
    """What the built-in dataset holds.

    Args:
      num_classes: Classes, from 2 to 8; the first ones of `CLASS_NAMES`.
      train_clips: Clips of the training split, >= num_classes. Labels are balanced to one clip.
      validation_clips: Clips of the validation split, >= num_classes.
      test_clips: Clips of the test split, >= num_classes.
      duration_s: Length of a clip in seconds, from 0.5 to 60; with events, >= 1.5.
      frame_size: Height and width of a frame in pixels, even, from 32 to 512.
      frame_rate: Frames per second, from 1 to 60.
      sample_rate_hz: Of the sound, one of AAC's rates from 8,000 to 48,000.
      audio_difficulty: Of training and validation sound, from 0 to 1: the ratio of sound to noise
        falls from 20 dB at 0 to -10 dB at 1, straight.
      test_audio_difficulty: The same for the test split.
      visual_difficulty: From 0 to 1: the contrast of distractors, lines and texture as a share of
        the object's own contrast.
      events: Whether the object comes and goes, seen and heard in the same moments: what a network
        that tells synchronous from shifted sound learns from.
      traits: Whether the object's colour tells how much it hums and how much it ticks, and the
        ground's how loud it hisses: what a network that tells one clip's sound from another's
        learns from.
      seed: Of all draws, >= 0.

    Raises:
      ValueError: where a value is out of its range.
    """

    num_classes: int = 6
    train_clips: int = 720
    validation_clips: int = 160
    test_clips: int = 240
    duration_s: float = 1.0
    frame_size: int = 64
    frame_rate: int = 10
    sample_rate_hz: int = 16_000
    audio_difficulty: float = 0.1
    test_audio_difficulty: float = 0.9
    visual_difficulty: float = 0.7
    events: bool = False
    traits: bool = False
    seed: int = 0

    def __post_init__(self):
        self._require(2 <= self.num_classes <= len(CLASS_NAMES), "num_classes", "from 2 to 8")
        for split in SPLITS:
            name = f"{split}_clips"
            self._require(
                getattr(self, name) >= self.num_classes, name, f">= num_classes={self.num_classes}"
            )
        self._require(0.5 <= self.duration_s <= 60, "duration_s", "from 0.5 to 60")
        # The first event may begin after 1.2 s, and a clip without one would have no sound.
        self._require(
            not self.events or self.duration_s >= 1.5, "duration_s", ">= 1.5 where there are events"
        )
        self._require(
            32 <= self.frame_size <= 512 and self.frame_size % 2 == 0,
            "frame_size", "even and from 32 to 512",
        )  # fmt: skip
        self._require(1 <= self.frame_rate <= 60, "frame_rate", "from 1 to 60")
        rates = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
        self._require(self.sample_rate_hz in rates, "sample_rate_hz", f"one of {rates}")
        for name in ("audio_difficulty", "test_audio_difficulty", "visual_difficulty"):
            self._require(0 <= getattr(self, name) <= 1, name, "from 0 to 1")
        self._require(self.seed >= 0, "seed", ">= 0")

    def _require(self, holds: bool, name: str, rule: str) -> None:
        if not holds:
            raise ValueError(f"`{name}` must be {rule}. Received: {name}={getattr(self, name)!r}.")

    def num_clips(self, split: str) -> int:
        """Returns the clips of one split."""
        return getattr(self, f"{split}_clips")

    def signal_to_noise_db(self, split: str) -> float:
        """Returns the ratio of sound to noise of one split in dB."""
        easiest, hardest = SIGNAL_TO_NOISE_DB
        difficulty = self.test_audio_difficulty if split == "test" else self.audio_difficulty
        return easiest + (hardest - easiest) * difficulty


Settings = SyntheticSettings | EventVideoSettings

# Those that `prepare` knows by name. Sound and picture of a clip belong together by their traits,
# or by the moments in which they are heard and seen.
DATASETS = {
    "synthetic": SyntheticSettings(),
    "synthetic_correspondence": SyntheticSettings(
        num_classes=4,
        train_clips=2400,
        validation_clips=400,
        test_clips=400,
        test_audio_difficulty=0.1,
        visual_difficulty=0.0,
        traits=True,
    ),
    "synthetic_synchronization": SyntheticSettings(
        num_classes=8,
        train_clips=1200,
        validation_clips=160,
        test_clips=200,
        duration_s=5.0,
        frame_rate=16,
        test_audio_difficulty=0.1,
        visual_difficulty=0.0,
        events=True,
    ),
    "synthetic_events": EventVideoSettings(),
}


def render_clip(
    settings: SyntheticSettings, split: str, index: int
) -> tuple[np.ndarray, np.ndarray, str]:
    """Draws one clip; the same arguments give the same clip.

    Picture and sound are drawn from their own generators, and the difficulties only scale what is
    drawn: changing one knob leaves everything else of a clip as it was.

    Args:
      settings: What the dataset holds.
      split: "train", "validation" or "test".
      index: Of the clip in its split, from 0.

    Returns:
      Frames uint8 `[N, H, W, 3]`, waveform float32 `[S]` in [-1, 1], and the label.

    Raises:
      ValueError: where the split is unknown or the index outside of it.
    """
    if split not in SPLITS:
        raise ValueError(f"`split` must be one of {', '.join(SPLITS)}. Received: split={split!r}.")
    if not 0 <= index < settings.num_clips(split):
        raise ValueError(
            f"`index` must be from 0 to {settings.num_clips(split) - 1}. Received: index={index!r}."
        )
    label = CLASS_NAMES[index % settings.num_classes]
    key = [settings.seed, SPLITS.index(split), index]
    shared = draw_shared(
        np.random.default_rng([*key, 2]),
        settings.duration_s,
        events=settings.events,
        traits=settings.traits,
    )
    frames = draw_picture(
        label,
        np.random.default_rng([*key, 0]),
        num_frames=max(1, round(settings.duration_s * settings.frame_rate)),
        frame_rate=settings.frame_rate,
        frame_size=settings.frame_size,
        clutter=settings.visual_difficulty,
        shared=shared,
    )
    waveform = draw_sound(
        label,
        np.random.default_rng([*key, 1]),
        num_samples=round(settings.duration_s * settings.sample_rate_hz),
        sample_rate_hz=settings.sample_rate_hz,
        signal_to_noise_db=settings.signal_to_noise_db(split),
        shared=shared,
    )
    return frames, waveform, label


def encode_clip(
    path: str | os.PathLike,
    frames: np.ndarray,
    waveform: np.ndarray,
    *,
    frame_rate: int,
    sample_rate_hz: int,
) -> None:
    """Writes one mp4 file with H.264 pictures and AAC sound.

    Args:
      path: Of the file.
      frames: uint8 `[N, H, W, 3]`, RGB, height and width even.
      waveform: float32 `[S]` in [-1, 1], mono.
      frame_rate: Frames per second.
      sample_rate_hz: Samples per second, one that AAC knows.

    Raises:
      ValueError: where frames or waveform have another shape.
    """
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or not len(frames):
        raise ValueError(
            "`frames` must be uint8 [N, H, W, 3]. "
            f"Received: frames of shape {frames.shape} and dtype {frames.dtype}."
        )
    if waveform.ndim != 1 or not len(waveform):
        raise ValueError(f"`waveform` must be [S]. Received: waveform of shape {waveform.shape}.")
    with av.open(os.fspath(path), "w", format="mp4") as container:
        # On several threads, or tuned to the processor, x264 does not always give the same bytes
        # for the same pictures.
        options = {"crf": "18", "preset": "veryfast", "threads": "1"}
        options["x264-params"] = "cpu-independent=1"
        video = container.add_stream("libx264", rate=frame_rate, options=options)
        video.height, video.width = frames.shape[1:3]
        video.pix_fmt = "yuv420p"
        audio = container.add_stream("aac", rate=sample_rate_hz, layout="mono")
        audio.bit_rate = 64_000
        for number, pixels in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            picture.pts = number
            picture.time_base = fractions.Fraction(1, frame_rate)
            container.mux(video.encode(picture))
        container.mux(video.encode())
        sound = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(waveform, np.float32)[None], format="fltp", layout="mono"
        )
        sound.sample_rate = sample_rate_hz
        sound.pts = 0
        sound.time_base = fractions.Fraction(1, sample_rate_hz)
        container.mux(audio.encode(sound))
        container.mux(audio.encode())


def _write_clip(folder: pathlib.Path, settings: Settings, item: tuple[str, int]) -> dict:
    split, index = item
    clip_id = f"{split}-{index:05d}"
    path = f"clips/{clip_id}.mp4"
    event = {}
    if isinstance(settings, EventVideoSettings):
        frames, waveform, label, event_s = event_videos.render_clip(settings, split, index)
        if event_s is not None:
            event = dict(zip(("event_start_s", "event_end_s"), event_s, strict=True))
    else:
        frames, waveform, label = render_clip(settings, split, index)
    encode_clip(
        folder / path,
        frames,
        waveform,
        frame_rate=settings.frame_rate,
        sample_rate_hz=settings.sample_rate_hz,
    )
    return {"clip_id": clip_id, "split": split, "label": label, "path": path, **event}


def _as_text(settings: Settings) -> str:
    stored = {"format_version": _FORMAT_VERSION, **dataclasses.asdict(settings)}
    return json.dumps(stored, indent=2) + "\n"


def _is_finished(output_dir: pathlib.Path, settings: Settings) -> bool:
    if not output_dir.exists() or (output_dir.is_dir() and not any(output_dir.iterdir())):
        return False
    if not (output_dir / _SETTINGS).is_file() or not (output_dir / _MANIFEST).is_file():
        raise ValueError(
            "`output_dir` must be empty, absent or hold a synthetic dataset. "
            f"Received: output_dir={str(output_dir)!r}."
        )
    wanted = json.loads(_as_text(settings))
    found = json.loads((output_dir / _SETTINGS).read_text(encoding="utf-8"))
    differences = [
        f"{name}={wanted.get(name)!r}, there {found.get(name)!r}"
        for name in sorted(wanted.keys() | found.keys())
        if wanted.get(name) != found.get(name)
    ]
    if differences:
        raise ValueError(
            f"{str(output_dir)!r} holds a synthetic dataset made with other settings; choose "
            f"another folder or delete it. Received: {'; '.join(differences)}."
        )
    return True


def write_dataset(
    output_dir: str | os.PathLike,
    settings: Settings,
    num_workers: int | None = None,
    progress: bool = True,
) -> pathlib.Path:
    """Writes the dataset: mp4 files, `manifest.csv` and `settings.json`.

    All of it is written beside `output_dir` and renamed at the end, so that a folder of that name
    is always whole. One that holds the same settings is left as it is.

    Args:
      output_dir: Absent, empty, or a dataset written before.
      settings: What the dataset holds.
      num_workers: Processes that draw and encode; 0 and 1: this one alone. Default: one a
        core.
      progress: Whether to show a progress bar.

    Returns:
      Path of the manifest.

    Raises:
      ValueError: where the folder holds something else, or a dataset with other settings.
    """
    if num_workers is None:
        num_workers = len(os.sched_getaffinity(0))
    if num_workers < 0:
        raise ValueError(f"`num_workers` must be >= 0. Received: num_workers={num_workers!r}.")
    output_dir = pathlib.Path(os.path.abspath(output_dir))
    if _is_finished(output_dir, settings):
        logging.info("%s is already written.", output_dir)
        return output_dir / _MANIFEST
    output_dir.parent.mkdir(parents=True, exist_ok=True)
    partial = output_dir.with_name(f".{output_dir.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    (partial / "clips").mkdir(parents=True)
    try:
        rows = _write_clips(partial, settings, num_workers, progress)
        write_manifest(partial / _MANIFEST, rows)
        (partial / _SETTINGS).write_text(_as_text(settings), encoding="utf-8")
        try:
            os.rename(partial, output_dir)
        except OSError:
            # Somebody else may have finished the same dataset meanwhile.
            if not _is_finished(output_dir, settings):
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return output_dir / _MANIFEST


def _write_clips(
    folder: pathlib.Path, settings: Settings, num_workers: int, progress: bool
) -> list[dict]:
    items = [(split, index) for split in SPLITS for index in range(settings.num_clips(split))]
    write = functools.partial(_write_clip, folder, settings)
    with progress_bar("Writing clips", len(items), show=progress) as bar:
        rows = []
        for row in _map_in_processes(write, items, num_workers):
            rows.append(row)
            bar.update()
        return rows


def _map_in_processes(
    write: Callable[[tuple[str, int]], dict], items: list[tuple[str, int]], num_workers: int
) -> Iterator[dict]:
    if num_workers <= 1:
        yield from map(write, items)
        return
    # Not "fork": the caller may have started TensorFlow's threads.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    with concurrent.futures.ProcessPoolExecutor(num_workers, context) as pool:
        with without_main_module():
            results = pool.map(write, items, chunksize=8)
        yield from results
