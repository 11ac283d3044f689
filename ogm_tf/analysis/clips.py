"""Example clips: frames, flow, sound, spectrogram and answers, ready for the page's template."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from absl import logging

from ogm_tf.analysis import clip_figures, embedding
from ogm_tf.analysis.summaries import ClipExample

_MAX_SOUND_BYTES = 1_800_000
_MAX_FRAMES = 6
_BASE64_GROWTH = 4 / 3


def clip_views(
    examples: Sequence[ClipExample],
    run_names: Sequence[str],
    modalities: Sequence[str],
    max_bytes: int,
    max_sound_bytes: int = _MAX_SOUND_BYTES,
) -> list[dict[str, Any]]:
    """Returns what the page's template shows of each clip.

    Args:
      examples: Checked clips.
      run_names: In the order they are shown.
      modalities: Their names.
      max_bytes: Of the pictures and sounds of all clips together.
      max_sound_bytes: Of the sounds alone.

    Returns:
      One dictionary a clip. Long sounds are cut, and the last clips are left out with a warning
      where all of them would take more than `max_bytes`.
    """
    max_samples = samples_each(len(examples), max_bytes, max_sound_bytes)
    views = (clip_view(example, run_names, modalities, max_samples) for example in examples)
    return keep(views, len(examples), max_bytes)


def samples_each(num_clips: int, max_bytes: int, max_sound_bytes: int = _MAX_SOUND_BYTES) -> int:
    """Returns how many samples of every clip's sound fit a page: see `clip_views`."""
    return int(min(max_sound_bytes, max_bytes / 2) / _BASE64_GROWTH / 2 / max(1, num_clips))


def keep(views: Iterable[dict[str, Any]], num_clips: int, max_bytes: int) -> list[dict[str, Any]]:
    """Returns the first views whose pictures and sounds fit, with a warning where not all do."""
    kept, num_bytes = [], 0
    for view in views:
        num_bytes += embedding.num_bytes_of(view)
        if num_bytes > max_bytes:
            logging.warning("The report shows %s of %s clips, to stay small.", len(kept), num_clips)
            break
        kept.append(view)
    return kept


def shown_frames(num_frames: int) -> list[int]:
    """Returns the numbers of some of the frames, evenly spread."""
    places = np.linspace(0, num_frames - 1, min(_MAX_FRAMES, num_frames)).round()
    return [int(place) for place in np.unique(places)]


def clip_view(
    example: ClipExample,
    run_names: Sequence[str],
    modalities: Sequence[str],
    max_samples: int,
) -> dict[str, Any]:
    """Returns what the page's template shows of one clip: see `clip_views`."""
    spectrogram, seconds = (), 0.0
    if example.spectrogram is not None:
        spectrogram = embedding.themed(
            lambda theme: clip_figures.spectrogram_figure(
                example.spectrogram,
                example.sample_rate_hz,
                example.hop_length,
                is_mel=example.is_mel,
                start_s=example.start_s,
                theme=theme,
            ),
            embedding.to_jpeg_data_uri,
        )
        seconds = example.spectrogram.shape[1] * example.hop_length / example.sample_rate_hz
    sound, cut_s = None, None
    if example.waveform is not None:
        waveform = np.asarray(example.waveform)
        if len(waveform) > max_samples:
            waveform, cut_s = waveform[:max_samples], max_samples / example.sample_rate_hz
        sound = embedding.waveform_to_data_uri(waveform, example.sample_rate_hz)
    answers = []
    for name in run_names:
        said = example.predictions.get(name, {})
        cells = [said.get(branch) for branch in ("fused", *modalities)]
        answers.append((name, [_answer(cell, example.label) for cell in cells]))
    frames = () if example.frames is None else example.frames
    flow = () if example.flow is None else clip_figures.flow_pictures(example.flow)
    return {
        "id": example.clip_id,
        "label": example.label,
        "frames": _pictures(frames),
        "flow": _pictures(flow),
        "num_frames": max(len(frames), len(flow)),
        "spectrogram": spectrogram,
        "seconds": f"{seconds:.1f}",
        "sound": sound,
        "cut_s": None if cut_s is None else f"{cut_s:.1f}",
        "answers": answers,
    }


def _pictures(frames: Sequence[np.ndarray]) -> list[str]:
    return [embedding.picture_to_data_uri(frames[place]) for place in shown_frames(len(frames))]


def _answer(said: tuple[str, float] | None, label: str) -> dict[str, Any] | None:
    if said is None:
        return None
    name, probability = said
    percent = f"{probability:.0%}" if math.isfinite(probability) else "–"
    return {"name": name, "percent": percent, "is_right": name == label}
