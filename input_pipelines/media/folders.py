"""Folders of images as the pictures, or as the optical flow, of a clip."""

import re
from typing import Any

import av
import numpy as np
from av.error import FFmpegError

from input_pipelines import files
from input_pipelines.media.budget import Budget, MediaError
from input_pipelines.media.decoding import (
    IMAGE_SUFFIXES,
    error_text,
    no_picture_text,
    open_media,
    prepare,
)
from input_pipelines.media.pictures import SWSCALE, NearestFrames, scaled_size

# The third channel of a flow frame, which has but two.
_NO_FLOW = 128
# JPEG's brightness and two differences of colour (JFIF, ITU-R BT.601) from red, green and blue.
_JPEG_COLOURS = np.array(
    [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], np.float32
)
_JPEG_OFFSETS = np.array([0, 128, 128], np.float32)[:, None, None]


def list_images(folder: str) -> list[str]:
    """Returns the paths of the images in a folder; frame2 comes before frame10.

    Raises:
      MediaError: where there are none.
    """
    names = [
        name
        for name in files.names_in(folder)
        if files.suffix(name) in IMAGE_SUFFIXES and not name.startswith(".")
    ]
    if not names:
        reason = "the folder has no images" if files.is_folder(folder) else "no such folder"
        raise MediaError(f"{files.name(folder)}: {reason}")
    return [files.join(folder, name) for name in sorted(names, key=_natural_order)]


def pair_flow(folder_x: str, folder_y: str, problems: list[str]) -> list[tuple[str, str]]:
    """Returns the paths of both parts of every flow frame.

    Raises:
      MediaError: where a folder has no images.
    """
    both = [list_images(folder) for folder in (folder_x, folder_y)]
    counts = [len(images) for images in both]
    if counts[0] != counts[1]:
        problems.append(f"{counts[0]} images of horizontal flow, {counts[1]} of vertical")
    return list(zip(*both, strict=False))


def show(
    name: str,
    items: list[Any],
    start_s: float,
    interval_s: float,
    frames: NearestFrames,
    budget: Budget,
) -> None:
    """Gives `frames` one item every `interval_s`; the clip begins `start_s` after the first.

    Raises:
      MediaError: where reading the folder of this name takes too long.
    """
    for index, item in enumerate(items):
        budget.check_time(name)
        if frames.finished:
            break
        frames.add(item, index * interval_s - start_s)
    frames.close(interval_s, still=False)


def read_image(path: str, budget: Budget) -> av.VideoFrame:
    """Returns the picture in an image file; raises MediaError."""
    name = files.name(path)
    with open_media(path, budget) as (container, _):
        for stream in container.streams.video:
            prepare(stream, name, budget)
            try:
                for frame in container.decode(stream):
                    return frame
            except FFmpegError as error:
                reason = error_text(error)
                raise MediaError(f"{name}: not readable as an image ({reason})") from error
    raise MediaError(f"{name}: {no_picture_text(budget)}")


def read_flow(paths: tuple[str, str], short_side: int, budget: Budget) -> av.VideoFrame:
    """Returns a picture, scaled as it is stored, of horizontal flow in red and vertical in green.

    Args:
      paths: Of both images.
      short_side: The shorter side gets at most this many pixels.
      budget: What reading may cost.

    Raises:
      MediaError: where an image cannot be read, or they differ in size.
    """
    images = [read_image(path, budget) for path in paths]
    sizes = [f"{image.width}x{image.height}" for image in images]
    if sizes[0] != sizes[1]:
        raise MediaError(f"{files.name(paths[0])}: flow of {' and '.join(sizes)}")
    height, width = scaled_size(images[0].height, images[0].width, short_side)
    x, y = (
        image.reformat(
            width,
            height,
            "gray",
            dst_color_range="JPEG",
            interpolation=SWSCALE,
            threads=1,
        ).to_ndarray()
        for image in images
    )
    # Here and not by FFmpeg, whose conversion is off by one or two.
    red_green_blue = np.stack([x, y, np.full_like(x, _NO_FLOW)]).astype(np.float32)
    planes = np.tensordot(_JPEG_COLOURS, red_green_blue, axes=1) + _JPEG_OFFSETS
    planes = planes.round().clip(0, 255).astype(np.uint8)
    return av.VideoFrame.from_ndarray(planes, format="yuvj444p")


def _natural_order(name: str) -> list[str | int]:
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]
