"""The clips of a dataset, as every adapter lists them and `prepare` reads them."""

import collections
import dataclasses
import hashlib
import json
from collections.abc import Sequence

from absl import logging

from input_pipelines import files

SPLITS = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True)
class Clip:
    """One labelled clip; its paths are absolute, or URLs of an object store.

    Args:
      clip_id: Unique in its listing.
      split: One of `SPLITS`.
      label: Name of the class, not empty.
      path: A video, an image, a folder of frames, or a sound file where only sound is wanted.
      audio_path: Where the sound is; None: in `path`.
      flow_x_path: A folder of grey images of the horizontal optical flow; None: no flow.
      flow_y_path: The same of the vertical flow.
      start_s: Where the clip begins in its media, seconds >= 0; None: at their beginning.
      end_s: Where the clip ends in its media, seconds > `start_s`; None: at their end.
      group: Clips of one group, such as of one recording, are held out together; None: the clip
        is a group of its own.
      event_start_s: Where in its media what the label names begins, seconds >= 0; None: not known.
      event_end_s: Where it ends, seconds > `event_start_s`; None: not known.
    """

    clip_id: str
    split: str
    label: str
    path: str
    audio_path: str | None = None
    flow_x_path: str | None = None
    flow_y_path: str | None = None
    start_s: float | None = None
    end_s: float | None = None
    group: str | None = None
    event_start_s: float | None = None
    event_end_s: float | None = None


@dataclasses.dataclass(frozen=True)
class Listing:
    """What there is of a dataset.

    Args:
      root: Folder that all paths are inside of.
      clips: Those whose media are there, in the order of the dataset's own lists.
      missing: Clips of the lists whose media are not there: `clip_id`, `split`, `reason`.
      class_names: In the dataset's order; None: the sorted labels of the train split.
    """

    root: str
    clips: tuple[Clip, ...]
    missing: tuple[dict[str, str], ...] = ()
    class_names: tuple[str, ...] | None = None

    def fingerprint(self) -> str:
        """Returns a SHA-256 of all of it, hexadecimal; the same wherever the folder is."""
        clips = [dataclasses.asdict(clip) for clip in self.clips]
        for clip in clips:
            for name in ("path", "audio_path", "flow_x_path", "flow_y_path"):
                if clip[name]:
                    clip[name] = files.relative(clip[name], self.root) or clip[name]
            # A listing without events is what it was before there were any.
            for name in ("event_start_s", "event_end_s"):
                if clip[name] is None:
                    del clip[name]
        # Not why they are missing: that is our wording.
        missing = [[clip["clip_id"], clip["split"]] for clip in self.missing]
        text = json.dumps([clips, missing, self.class_names], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def whole_files(listing: Listing) -> Listing:
    """Returns the listing with every file as one clip, from its beginning to its end.

    Where the clip was is the event's time, unless that was given. A file of several clips has name,
    split and label of the first of them, and no event: a clip has one at most.
    """
    clips: dict[tuple[str, str | None], Clip] = {}
    num_events_lost = 0
    for clip in listing.clips:
        if clip.event_end_s is None and clip.end_s is not None:
            event_s = (clip.start_s or 0.0, clip.end_s)
        else:
            event_s = (clip.event_start_s, clip.event_end_s)
        key = clip.path, clip.audio_path
        if key in clips:
            num_events_lost += clips[key].event_end_s is not None
            event_s = (None, None)
            clip = clips[key]
        clips[key] = dataclasses.replace(
            clip, start_s=None, end_s=None, event_start_s=event_s[0], event_end_s=event_s[1]
        )
    if num_events_lost:
        logging.warning(
            "%d files are of several clips: it is not known where their events are.",
            num_events_lost,
        )
    return dataclasses.replace(listing, clips=tuple(clips.values()))


def hold_out_validation(clips: Sequence[Clip], fraction: float) -> list[Clip]:
    """Moves a part of the training clips to a validation split, where there is none.

    A clip is moved for the hash of its group, or of its `clip_id`, alone, so it stays where it is
    when others are added. At least one group is moved where `fraction` is not 0, and of no class
    all of them.

    Args:
      clips: All clips.
      fraction: Share of the training clips to move, in [0, 1).

    Returns:
      All clips in the same order; unchanged where some are of the validation split already.

    Raises:
      ValueError: where `fraction` is out of its range.
    """
    if not 0 <= fraction < 1:
        raise ValueError(f"`fraction` must be in [0, 1). Received: fraction={fraction}.")
    if fraction == 0 or any(clip.split == "validation" for clip in clips):
        return list(clips)
    training = [clip for clip in clips if clip.split == "train"]
    positions = {clip: int(clip_hash(clip.group or clip.clip_id)[:16], 16) for clip in training}
    last = {}
    for clip, position in positions.items():
        last[clip.label] = max(last.get(clip.label, 0), position)
    kept = set(last.values())
    moveable = [position for position in positions.values() if position not in kept]
    threshold = max(fraction * 2**64, min(moveable, default=0) + 1)
    return [
        dataclasses.replace(clip, split="validation")
        if clip in positions and positions[clip] < threshold and positions[clip] not in kept
        else clip
        for clip in clips
    ]


def sorted_labels(clips: Sequence[Clip]) -> tuple[str, ...]:
    """Returns the labels of the train split, sorted: the class names of clips without an order."""
    return tuple(sorted({clip.label for clip in clips if clip.split == "train"}))


def check_splits(clips: Sequence[Clip], class_names: Sequence[str], num_missing: int = 0) -> None:
    """Checks that every label can be learned.

    Args:
      clips: All clips.
      class_names: The labels there may be.
      num_missing: Clips that would be there if their media were, for the error's text.

    Raises:
      ValueError: where the train split is empty, or a split has a label that train does not have
        or that is no class.
    """
    labels = {
        split: {clip.label for clip in clips if clip.split == split}
        for split in dict.fromkeys(clip.split for clip in clips)
    }
    if not labels.get("train"):
        raise ValueError(
            "The train split must not be empty. Received: "
            f"{dict(collections.Counter(clip.split for clip in clips))} clips."
        )
    for split in SPLITS:
        unknown = sorted(labels.get(split, set()) - (labels["train"] & set(class_names)))
        if unknown:
            raise ValueError(
                "Every label must be one of the train split: unknown label in a split. Received: "
                f"split={split!r}, labels={unknown}; {num_missing} clips have no media."
            )


def clip_hash(clip_id: str) -> str:
    """Returns the SHA-256 of a clip's name, 64 hexadecimal digits."""
    return hashlib.sha256(clip_id.encode("utf-8")).hexdigest()
