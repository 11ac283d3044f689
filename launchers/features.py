"""Features of videos, from either kind of folder that `localize` takes."""

import hashlib
import json

import numpy as np

from input_pipelines import ave_features, feature_folder, files
from input_pipelines.feature_sequences import FeatureSequences

# AVE's files have a segment a second.
_AVE_SEGMENT_S = 1.0


def open_features(features_dir: str, background_videos: bool = False) -> FeatureSequences:
    """Opens a folder that `extract` wrote, or one of AVE's published files.

    Args:
      features_dir: The folder.
      background_videos: Whether to add AVE's videos without an event to the train split.

    Raises:
      FileNotFoundError: where there is neither.
      ValueError: where the files are elsewhere, damaged or do not fit each other, or background
        videos are asked of a folder that has no such list.
    """
    if files.is_remote(features_dir):
        raise ValueError(
            "Features are read at random and must be on this machine. "
            f"Received: features_dir={features_dir!r}."
        )
    if not _is_of_ave(features_dir):
        if background_videos:
            raise ValueError(
                "--background_videos needs AVE's published files. "
                f"Received: features_dir={features_dir!r}, which `extract` wrote."
            )
        return feature_folder.open_folder(features_dir)
    return ave_features.open_features(features_dir, background_videos=background_videos)


def fingerprint(features: FeatureSequences) -> str:
    """Returns the SHA-256 of what tells features from others, in hexadecimal.

    It is taken of classes, names, labels, splits and shapes, and of the features of each split's
    first video: other features of the same videos differ there as well.
    """
    about = {
        "class_names": features.class_names,
        "video_ids": features.video_ids,
        "shapes": features.shapes,
        "splits": {split: rows.tolist() for split, rows in features.splits.items()},
    }
    found = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    first = np.array([rows[0] for rows in features.splits.values() if len(rows)], np.int64)
    for values in (features.labels.astype(np.int32), *features.read(first)):
        found.update(values.tobytes())
    return found.hexdigest()


def segment_seconds(features_dir: str) -> float:
    """Returns how long a segment is."""
    if _is_of_ave(features_dir):
        return _AVE_SEGMENT_S
    return feature_folder.read_about(features_dir).segment_s


def read_picture(features_dir: str, row: int) -> bytes | None:
    """Returns a JPEG file of a video's frames side by side, one a segment; None: there is none."""
    return None if _is_of_ave(features_dir) else feature_folder.read_picture(features_dir, row)


def _is_of_ave(features_dir: str) -> bool:
    if feature_folder.is_folder(features_dir):
        return False
    if files.is_file(files.join(features_dir, ave_features.FEATURES["audio"])):
        return True
    raise FileNotFoundError(
        "--features_dir must be a folder that `extract` wrote, with features.json, or hold AVE's "
        f"published files. Received: features_dir={features_dir!r}."
    )
