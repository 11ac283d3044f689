"""Which clips go into which shard, and what became of them: the unit of work of `prepare`."""

import collections
import dataclasses
import json
from collections.abc import Iterator, Sequence
from typing import Any

from absl import logging

from input_pipelines import files, records
from input_pipelines.index import Shard
from input_pipelines.listing import SPLITS, Clip, clip_hash
from input_pipelines.media import DecodedClip
from input_pipelines.settings import ClipSettings, MediaLimits
from input_pipelines.workers import Outcome

# Reports of finished shards wait here until the index is written.
PROGRESS_FOLDER = ".prepare"


@dataclasses.dataclass(frozen=True)
class PlannedShard:
    """One shard's file name, split and clips."""

    name: str
    split: str
    clips: tuple[Clip, ...]


@dataclasses.dataclass(frozen=True)
class ShardReport:
    """What a shard holds.

    Args:
      shard: None where no clip could be read, and no file was written.
      class_counts: Clips of each class by name.
      duration_counts: Clips of each length, seconds with two decimals.
      skipped: Clips left out: `clip_id`, `split`, `reason`.
      problems: Clips that are damaged but kept: `clip_id`, `reason`.
      skipped_media: State of the files of each clip left out, by its name: where they change, the
        clip is worth another try.
      num_events: Clips of which it is known when their event is.
    """

    shard: Shard | None
    class_counts: dict[str, int]
    duration_counts: dict[str, int]
    skipped: tuple[dict[str, str], ...]
    problems: tuple[dict[str, str], ...]
    skipped_media: dict[str, str]
    num_events: int = 0

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "ShardReport":
        """Returns what `dataclasses.asdict` was given."""
        values = dict(values)
        values["shard"] = values["shard"] and Shard(**values["shard"])
        for name in ("skipped", "problems"):
            values[name] = tuple(values[name])
        return cls(**values)


@dataclasses.dataclass(frozen=True)
class Job:
    """What every worker of one run knows."""

    output_dir: str
    class_names: tuple[str, ...]
    settings: ClipSettings
    limits: MediaLimits


def plan(clips: Sequence[Clip], clips_per_shard: int) -> list[PlannedShard]:
    """Cuts the clips of every split into shards, in an order that mixes the classes.

    They are cut before any clip is read, so that a bad clip moves no other one.
    """
    planned = []
    for split in SPLITS:
        members = sorted(
            (clip for clip in clips if clip.split == split),
            key=lambda clip: clip_hash(clip.clip_id),
        )
        starts = range(0, len(members), clips_per_shard)
        for shard, start in enumerate(starts):
            name = records.shard_name(split, shard, len(starts))
            planned.append(
                PlannedShard(name, split, tuple(members[start : start + clips_per_shard]))
            )
    return planned


def write(job: Job, planned: PlannedShard, outcomes: Iterator[Outcome]) -> ShardReport:
    """Writes one shard, then its report.

    Args:
      job: Of the run.
      planned: The shard.
      outcomes: Those of its clips, in their order; further ones are left where they are.
    """
    skipped, problems, skipped_media = [], [], {}
    labels, durations = collections.Counter(), collections.Counter()
    num_events = 0
    label_index = {name: index for index, name in enumerate(job.class_names)}
    with records.write_shard(job.output_dir, planned.name) as writer:
        for clip in planned.clips:
            outcome = next(outcomes)
            if outcome.decoded is None:
                logging.warning("Skipped clip %s: %s", clip.clip_id, outcome.reason)
                skipped.append(
                    {"clip_id": clip.clip_id, "split": clip.split, "reason": outcome.reason}
                )
                skipped_media[clip.clip_id] = _media_state(clip)
                continue
            reasons = [*outcome.decoded.problems, *_event_problems(clip, outcome.decoded)]
            if reasons:
                reason = "; ".join(reasons)
                logging.warning("Kept damaged clip %s: %s", clip.clip_id, reason)
                problems.append({"clip_id": clip.clip_id, "reason": reason})
            index = label_index[clip.label]
            writer.write(records.encode_example(clip, index, outcome.decoded, job.settings))
            labels[clip.label] += 1
            durations[f"{outcome.decoded.duration_s:.2f}"] += 1
            num_events += clip.event_end_s is not None
    report = ShardReport(
        writer.shard,
        dict(labels),
        dict(durations),
        tuple(skipped),
        tuple(problems),
        skipped_media,
        num_events,
    )
    files.make_folder(files.join(job.output_dir, PROGRESS_FOLDER))
    files.write_text(report_path(job, planned), json.dumps(dataclasses.asdict(report)))
    return report


def finished_report(job: Job, planned: PlannedShard) -> ShardReport | None:
    """Returns the report of a shard that an earlier run finished, or None.

    A shard is not finished whose file is gone, or of which a clip was left out whose media are no
    longer what they were.
    """
    path = report_path(job, planned)
    if not files.is_file(path):
        return None
    report = ShardReport.from_dict(json.loads(files.read_text(path)))
    if report.shard is not None:
        file = files.join(job.output_dir, report.shard.file)
        if not files.is_file(file) or files.size(file) != report.shard.num_bytes:
            return None
    if any(
        _media_state(clip) != report.skipped_media[clip.clip_id]
        for clip in planned.clips
        if clip.clip_id in report.skipped_media
    ):
        return None
    return report


def report_path(job: Job, planned: PlannedShard) -> str:
    """Returns where the report of a shard is."""
    return files.join(job.output_dir, PROGRESS_FOLDER, f"{planned.name}.json")


def _event_problems(clip: Clip, decoded: DecodedClip) -> list[str]:
    end_s = (clip.start_s or 0.0) + decoded.duration_s
    if clip.event_start_s is None or clip.event_start_s < end_s:
        return []
    name = files.name(clip.path)
    return [f"{name}: its event begins at {clip.event_start_s:g} s, after its end at {end_s:g} s"]


def _media_state(clip: Clip) -> str:
    paths = (clip.path, clip.audio_path, clip.flow_x_path, clip.flow_y_path)
    return "; ".join(files.state(path) for path in paths if path)
