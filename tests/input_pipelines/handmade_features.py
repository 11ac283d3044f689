"""A folder of features of a few numbers, in which events can be heard and seen."""

import io

import matplotlib.image
import numpy as np

from input_pipelines import feature_folder
from input_pipelines.feature_folder import Video

CLASSES = ("bell", "dog", "car")
SEGMENTS = 4
SEGMENT_S = 0.5
SHAPES = {"audio": (SEGMENTS, 5), "visual": (SEGMENTS, 2, 3, 6)}
SPLITS = {"train": 18, "validation": 7, "test": 6}
# Of a frame, in pixels.
FRAME = (12, 16)


def write(folder, splits=None, num_pictures=0, shapes=None, seed=0):
    """Writes videos of random events, the first ones of the test split with pictures."""
    rng = np.random.default_rng(seed)
    shapes = shapes or SHAPES
    videos = [
        _video(rng, split, number, shapes, split == "test" and number < num_pictures)
        for split, count in (splits or SPLITS).items()
        for number in range(count)
    ]
    feature_folder.write_features(
        folder, videos, class_names=CLASSES, segment_s=SEGMENT_S, settings={"made": "by hand"}
    )
    return folder


def _video(rng, split, number, shapes, has_picture):
    num_segments = shapes["audio"][0]
    start, end = sorted(rng.integers(0, num_segments + 1, 2))
    labels = np.full(num_segments, len(CLASSES), np.int32)
    labels[start:end] = number % len(CLASSES)
    inputs = {
        name: rng.normal(size=shape).astype(np.float32) + 2 * np.eye(shape[-1])[_at(labels, shape)]
        for name, shape in shapes.items()
    }
    inputs = {name: values.astype(np.float32) for name, values in inputs.items()}
    picture = _strip(labels) if has_picture else None
    return Video(f"{split}-{number}", split, labels, inputs, picture)


def _at(labels, shape):
    """Returns the place of 1 for every segment, over axes that the features have more."""
    places = np.minimum(labels, shape[-1] - 1)
    return np.broadcast_to(places.reshape(-1, *[1] * (len(shape) - 2)), shape[:-1])


def _strip(labels):
    """Returns a JPEG file of a frame a segment: brighter by the class."""
    frames = [np.full((*FRAME, 3), 40 * (label + 1), np.uint8) for label in labels]
    buffer = io.BytesIO()
    matplotlib.image.imsave(buffer, np.concatenate(frames, axis=1), format="jpeg")
    return buffer.getvalue()
