"""Figures, pictures and sound as data URIs, so that a page needs no other file."""

import base64
import io
import re
import wave
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import matplotlib
import numpy as np
from matplotlib import image
from matplotlib.figure import Figure

from ogm_tf.analysis.themes import DARK, LIGHT

_JPEG_QUALITY = {"quality": 85}
# A position in points; numbers below 1 are scales, of which every digit counts.
_LONG_NUMBER = re.compile(r"[1-9]\d*\.\d{3,}(?!\d)")


def to_svg_data_uri(figure: Figure) -> str:
    """Returns a figure as an SVG data URI: small and sharp where it holds curves."""
    buffer = io.BytesIO()
    # Fixed identifiers and no date: the same numbers give the same bytes.
    with matplotlib.rc_context({"svg.hashsalt": "ogm_tf"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = _LONG_NUMBER.sub(lambda number: f"{float(number[0]):.2f}", buffer.getvalue().decode())
    return _data_uri("image/svg+xml", re.sub(r"\s+", " ", text).encode())


def to_png(figure: Figure, dots_per_inch: int = 144) -> bytes:
    """Returns a figure as a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dots_per_inch, metadata={"Software": None})
    return buffer.getvalue()


def to_png_data_uri(figure: Figure, dots_per_inch: int = 144) -> str:
    """Returns a figure as a PNG data URI."""
    return _data_uri("image/png", to_png(figure, dots_per_inch))


def to_jpeg_data_uri(figure: Figure, dots_per_inch: int = 144) -> str:
    """Returns a figure as a JPEG data URI: a fifth of the PNG where it holds a spectrogram."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="jpeg", dpi=dots_per_inch, pil_kwargs=_JPEG_QUALITY)
    return _data_uri("image/jpeg", buffer.getvalue())


def themed(
    draw: Callable[..., Figure], encode: Callable[[Figure], str] = to_svg_data_uri
) -> tuple[str, str]:
    """Returns a figure as a data URI for light and one for dark surroundings.

    Args:
      draw: Takes `theme` and returns the figure.
      encode: Takes the figure and returns the data URI.
    """
    return encode(draw(theme=LIGHT)), encode(draw(theme=DARK))


def picture_to_data_uri(picture: np.ndarray, max_side: int = 256) -> str:
    """Returns a picture as a JPEG data URI, shrunk by a whole factor where it is large.

    Args:
      picture: [H, W, 3] uint8.
      max_side: Most pixels of the longer side.
    """
    factor = -(-max(picture.shape[:2]) // max_side)
    # A side shorter than the factor is left as it is.
    factors = [min(factor, side) for side in picture.shape[:2]]
    height, width = (side // by for side, by in zip(picture.shape, factors, strict=False))
    picture = picture[: height * factors[0], : width * factors[1]]
    picture = picture.reshape(height, factors[0], width, factors[1], 3).mean(axis=(1, 3))
    buffer = io.BytesIO()
    pixels = np.round(picture).astype(np.uint8)
    image.imsave(buffer, pixels, format="jpeg", pil_kwargs=_JPEG_QUALITY)
    return _data_uri("image/jpeg", buffer.getvalue())


def waveform_to_data_uri(waveform: np.ndarray, sample_rate_hz: int) -> str:
    """Returns mono sound as a 16-bit WAV data URI.

    Args:
      waveform: [S] float in [-1, 1]; values outside are cut, NaN is silence.
      sample_rate_hz: Samples per second.
    """
    samples = np.clip(np.nan_to_num(np.asarray(waveform, np.float32)), -1, 1)
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(int(sample_rate_hz))
        file.writeframes(np.round(samples * 32767).astype("<i2").tobytes())
    return _data_uri("audio/wav", buffer.getvalue())


def num_bytes_of(value: Any) -> int:
    """Returns the length of all data URIs in dictionaries, lists and tuples."""
    if isinstance(value, str):
        return len(value) if value.startswith("data:") else 0
    parts = value.values() if isinstance(value, Mapping) else value
    return sum(map(num_bytes_of, parts)) if isinstance(parts, Iterable) else 0


def _data_uri(media_type: str, data: bytes) -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode('ascii')}"
