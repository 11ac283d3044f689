"""The index of a folder of records: what they hold, how they were made, how they are to be read."""

import dataclasses
import functools
import json
from typing import Any

import numpy as np

from input_pipelines import files
from input_pipelines.settings import ClipSettings, MediaLimits

INDEX_FILE = "index.json"
INDEX_VERSION = 3
# What a TFRecord has around its data: a length with its checksum before, a checksum after.
RECORD_FRAME_BYTES = 8 + 4 + 4


@dataclasses.dataclass(frozen=True)
class Shard:
    """One TFRecord file.

    Args:
      file: Its name in the records' folder.
      num_clips: Clips in it.
      num_bytes: Its size.
      sha256: Of its bytes, hexadecimal.
      record_sizes: Bytes of each record, without its frame; decimal, with spaces: JSON would give
        every number of a list a line.
    """

    file: str
    num_clips: int
    num_bytes: int
    sha256: str
    record_sizes: str

    def places(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns where each record's frame starts, and the bytes of its data; int64 `[num_clips]`.

        Raises:
          ValueError: where the sizes are not those of `num_clips` records in `num_bytes` bytes.
        """
        try:
            sizes = np.array(self.record_sizes.split(), np.int64)
        except ValueError:
            sizes = np.zeros(0, np.int64)
        ends = np.cumsum(sizes + RECORD_FRAME_BYTES)
        if not 0 < len(sizes) == self.num_clips or ends[-1] != self.num_bytes or min(sizes) < 1:
            raise ValueError(
                "The index must say how long every record of a shard is; prepare the records "
                f"again. Received: {self.file} with record_sizes={self.record_sizes[:80]!r}."
            )
        return ends - sizes - RECORD_FRAME_BYTES, sizes


@dataclasses.dataclass(frozen=True)
class SplitIndex:
    """One split.

    Args:
      num_clips: Clips in it.
      shards: Its files, in order.
      class_counts: Clips of each class by name.
      duration_counts: Clips of each length, seconds with two decimals.
      num_events: Clips of which it is known when their event is.
    """

    num_clips: int
    shards: tuple[Shard, ...]
    class_counts: dict[str, int]
    duration_counts: dict[str, int]
    num_events: int = 0


@dataclasses.dataclass(frozen=True)
class Statistics:
    """Mean and standard deviation of one modality over the train split.

    Args:
      mean: One number for sound; red, green and blue of pictures in [0, 1].
      deviation: The same of the standard deviation.
      num_clips: Clips they were measured over.
    """

    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    num_clips: int


@dataclasses.dataclass(frozen=True)
class Index:
    """What a folder of records holds and how it was made.

    Args:
      class_names: A label's index is its place here.
      settings: How the clips were decoded and are to be read.
      splits: What there is of each split.
      skipped: Clips that could not be used: `clip_id`, `split`, `reason`.
      problems: Clips that are damaged but kept: `clip_id`, `reason`.
      clips_sha256: Fingerprint of the listing the records were made of.
      validation_fraction: Share of the training clips that was asked to be held out.
      clips_per_shard: Clips of the listing in one shard, before bad ones were left out.
      limits: What no clip's media may exceed.
      statistics: What `launchers.measure` found, by modality; empty before it ran.
      version: Of the format, `INDEX_VERSION`.
    """

    class_names: tuple[str, ...]
    settings: ClipSettings
    splits: dict[str, SplitIndex]
    skipped: tuple[dict[str, str], ...]
    problems: tuple[dict[str, str], ...]
    clips_sha256: str
    validation_fraction: float
    clips_per_shard: int
    limits: MediaLimits
    statistics: dict[str, Statistics] = dataclasses.field(default_factory=dict)
    version: int = INDEX_VERSION

    @functools.cached_property
    def input_settings(self) -> ClipSettings:
        """The settings with measured statistics in place of the normalisation "dataset".

        Raises:
          ValueError: where they are wanted and have not been measured.
        """
        settings = self.settings
        for modality, kind in (("audio", "audio"), ("visual", "video")):
            own = getattr(settings, kind)
            if modality not in settings.modalities or own.normalization != "dataset":
                continue
            if modality not in self.statistics:
                raise ValueError(
                    "These records are normalised by their own statistics, which must be measured "
                    "first: python -m launchers.measure --records_dir=... . "
                    f"Received: normalization='dataset', modality={modality!r}."
                )
            found = self.statistics[modality]
            is_sound = modality == "audio"
            own = dataclasses.replace(
                own,
                normalization="fixed",
                mean=found.mean[0] if is_sound else found.mean,
                deviation=found.deviation[0] if is_sound else found.deviation,
            )
            settings = dataclasses.replace(settings, **{kind: own})
        return settings

    def to_json(self) -> str:
        """Returns the index as JSON text."""
        values = dataclasses.asdict(self)
        for split in values["splits"].values():
            # An index without events is what it was before there were any.
            if not split["num_events"]:
                del split["num_events"]
        return json.dumps(values, indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Index":
        """Returns the index `to_json` wrote.

        Raises:
          ValueError: where the text is not such an index, or of another version.
        """
        try:
            values: dict[str, Any] = json.loads(text)
            version = values["version"]
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise ValueError(
                f"This is not an index of records. Received: {text[:80]!r}."
            ) from error
        if version != INDEX_VERSION:
            raise ValueError(
                f"These records were made by another version (this one reads {INDEX_VERSION}); "
                f"prepare them again. Received: version={version!r}."
            )
        try:
            values["class_names"] = tuple(values["class_names"])
            values["settings"] = ClipSettings.from_dict(values["settings"])
            values["splits"] = {
                name: SplitIndex(
                    num_clips=split["num_clips"],
                    shards=tuple(Shard(**shard) for shard in split["shards"]),
                    class_counts=split["class_counts"],
                    duration_counts=split["duration_counts"],
                    num_events=split.get("num_events", 0),
                )
                for name, split in values["splits"].items()
            }
            values["skipped"] = tuple(values["skipped"])
            values["problems"] = tuple(values["problems"])
            values["limits"] = MediaLimits(**values["limits"])
            values["statistics"] = {
                name: Statistics(
                    tuple(found["mean"]), tuple(found["deviation"]), found["num_clips"]
                )
                for name, found in values["statistics"].items()
            }
            return cls(**values)
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"This index of records is damaged. Received: {error!r}.") from error


def shard_paths(records_dir: files.Path, split: SplitIndex) -> list[str]:
    """Returns the paths of a split's shards.

    Raises:
      FileNotFoundError: where one is missing.
      ValueError: where one has another size than it was written with.
    """
    paths = [files.join(records_dir, shard.file) for shard in split.shards]
    for path, shard in zip(paths, split.shards, strict=True):
        if not files.is_file(path):
            raise FileNotFoundError(
                f"A shard that the index names is missing. Received: shard={path!r}."
            )
        if (num_bytes := files.size(path)) != shard.num_bytes:
            raise ValueError(
                f"A shard must have the {shard.num_bytes} bytes that were written; prepare the "
                f"records again. Received: shard={path!r} of {num_bytes} bytes."
            )
    return paths


def read_index(records_dir: files.Path) -> Index:
    """Reads the index of a folder of records.

    Raises:
      FileNotFoundError: where there is none.
      ValueError: where it is damaged or of another version.
    """
    path = files.join(records_dir, INDEX_FILE)
    if not files.is_file(path):
        raise FileNotFoundError(
            f"There are no finished records here ({INDEX_FILE} is missing); make them with "
            f"launchers.prepare. Received: records_dir={str(records_dir)!r}."
        )
    return Index.from_json(files.read_text(path))


def write_index(records_dir: files.Path, index: Index) -> None:
    """Writes the index of a folder of records: complete or not at all."""
    files.write_text(files.join(records_dir, INDEX_FILE), index.to_json())
