"""From a listing to a folder of records: decode every clip once, so that training never has to."""

import collections
import contextlib
import functools
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tqdm
from absl import logging

from input_pipelines import files, listing, manifest, output_folder, shards, workers
from input_pipelines.index import (
    INDEX_FILE,
    INDEX_VERSION,
    Index,
    SplitIndex,
    read_index,
    write_index,
)
from input_pipelines.listing import Listing
from input_pipelines.progress import progress_bar
from input_pipelines.settings import ClipSettings, MediaLimits
from input_pipelines.shards import PROGRESS_FOLDER, Job, PlannedShard, ShardReport

# Writes the planned shards, in any order and anywhere, and yields each when it is there.
Engine = Callable[
    [Job, Sequence[PlannedShard], tqdm.tqdm], Iterator[tuple[PlannedShard, ShardReport]]
]

# So many bad clips show what is wrong with the data; a run that must fail need not see all.
_ENOUGH_BAD_CLIPS = 100


def prepare(
    source: Listing | files.Path,
    output_dir: files.Path,
    settings: ClipSettings,
    *,
    validation_fraction: float = 0.0,
    max_bad_fraction: float = 0.05,
    num_workers: int | None = None,
    clips_per_shard: int = 64,
    limits: MediaLimits | None = None,
    engine: Engine | None = None,
    progress: bool = True,
) -> Index:
    """Decodes the clips of a dataset into shards of records and writes their index last.

    The same clips and settings give the same bytes, whatever the engine, the number of workers and
    the interruptions: a run that was stopped, or failed, goes on after its last whole shard, and
    tries clips again whose media have changed. Clips that cannot be read are left out, logged, and
    listed in the index. A finished folder made with the same arguments is returned as it is.

    Args:
      source: The clips, or the path of a manifest, see `manifest.read_manifest`.
      output_dir: Folder for the records; made where it is missing. Other files in it stay.
      settings: How clips are decoded, and later read.
      validation_fraction: Share of the training clips to hold out where there is no validation
        split, in [0, 1).
      max_bad_fraction: The run fails where more than this share of all clips is missing or cannot
        be read, in [0, 1].
      num_workers: Processes that decode; None: as many as there are processors; 0: none but this
        one, which a clip may then take along.
      clips_per_shard: >= 1.
      limits: What no clip may exceed; None: the defaults of `MediaLimits`.
      engine: What writes the shards; None: processes of this machine.
      progress: Whether to show a progress bar.

    Returns:
      The index of the records.

    Raises:
      FileNotFoundError: where there is no such manifest.
      ValueError: for an argument out of its range; a manifest with errors; a folder with records
        made with other arguments; a split, or a class of train, of which no clip can be read.
      RuntimeError: where too many clips are bad, or another run of this machine writes to the
        folder; folders of object stores are not locked.
    """
    if num_workers is None:
        num_workers = len(os.sched_getaffinity(0))
    _check(isinstance(settings, ClipSettings), "settings", settings, "ClipSettings")
    _check(0 <= validation_fraction < 1, "validation_fraction", validation_fraction, "in [0, 1)")
    _check(0 <= max_bad_fraction <= 1, "max_bad_fraction", max_bad_fraction, "in [0, 1]")
    _check(num_workers >= 0, "num_workers", num_workers, ">= 0")
    _check(clips_per_shard >= 1, "clips_per_shard", clips_per_shard, ">= 1")
    limits = limits or MediaLimits()
    output_dir = files.absolute(output_dir)
    is_folder = files.is_folder(output_dir) or not files.exists(output_dir)
    _check(is_folder, "output_dir", output_dir, "a folder")
    if not isinstance(source, Listing):
        source = manifest.read_manifest(source)
    wanted = {
        "clips_sha256": source.fingerprint(),
        "validation_fraction": validation_fraction,
        "clips_per_shard": clips_per_shard,
        "limits": limits,
        "settings": settings,
        "version": INDEX_VERSION,
    }
    clips = listing.hold_out_validation(source.clips, validation_fraction)
    class_names = source.class_names or listing.sorted_labels(clips)
    listing.check_splits(clips, class_names, len(source.missing))
    engine = engine or functools.partial(_write_here, num_workers=num_workers)
    with output_folder.locked(output_dir):
        if files.exists(files.join(output_dir, INDEX_FILE)):
            found = read_index(output_dir)
            output_folder.require_same(
                {name: getattr(found, name) for name in wanted}, wanted, output_dir
            )
            # A run that died between writing the index and this.
            files.remove(files.join(output_dir, PROGRESS_FOLDER))
            logging.info("%s has these records already.", output_dir)
            return found
        job = Job(output_dir, class_names, settings, limits)
        run = _Run(job, source, shards.plan(clips, clips_per_shard), max_bad_fraction)
        run.check_missing()
        output_folder.start(output_dir, wanted)
        run.write(engine, progress)
        index = Index(
            class_names=class_names,
            splits=run.splits(),
            skipped=tuple(run.skipped()),
            problems=tuple(item for report in run.reports() for item in report.problems),
            **wanted,
        )
        write_index(output_dir, index)
        files.remove(files.join(output_dir, PROGRESS_FOLDER))
    logging.info(
        "%s: %s; %d clips skipped, %d damaged.",
        output_dir,
        ", ".join(f"{name} {split.num_clips}" for name, split in index.splits.items()),
        len(index.skipped),
        len(index.problems),
    )
    return index


class _Run:
    """The shards of one run, of which some may be there already."""

    def __init__(
        self, job: Job, source: Listing, planned: list[PlannedShard], max_bad_fraction: float
    ):
        self._job = job
        self._source = source
        self._planned = planned
        self._max_bad_fraction = max_bad_fraction
        self._num_clips = sum(len(shard.clips) for shard in planned) + len(source.missing)
        self._found: dict[str, ShardReport] = {}

    def check_missing(self) -> None:
        """Raises RuntimeError where so many clips have no media that the run would fail."""
        for missing in self._source.missing:
            logging.warning("Missing clip %s: %s", missing["clip_id"], missing["reason"])
        self._check_bad(enough=1)

    def write(self, engine: Engine, progress: bool) -> None:
        """Writes what is missing of the shards."""
        for shard in self._planned:
            if report := shards.finished_report(self._job, shard):
                self._found[shard.name] = report
        left = [shard for shard in self._planned if shard.name not in self._found]
        if self._found:
            logging.info("Going on after %d of %d shards.", len(self._found), len(self._planned))
        done = sum(len(shard.clips) for shard in self._planned if shard.name in self._found)
        num_readable = self._num_clips - len(self._source.missing)
        with progress_bar("prepare", num_readable, done=done, show=progress) as bar:
            self._check_bad(enough=_ENOUGH_BAD_CLIPS)
            if left:
                # Closed at once, not when it is collected: it holds processes.
                with contextlib.closing(engine(self._job, left, bar)) as reports:
                    for shard, report in reports:
                        self._found[shard.name] = report
                        self._check_bad(enough=_ENOUGH_BAD_CLIPS)
        self._check_bad(enough=1)

    def reports(self) -> list[ShardReport]:
        """Returns what is there, in the order of the shards."""
        return [self._found[shard.name] for shard in self._planned if shard.name in self._found]

    def skipped(self) -> list[dict[str, str]]:
        """Returns all clips that could not be used."""
        unread = [item for report in self.reports() for item in report.skipped]
        return [*self._source.missing, *unread]

    def splits(self) -> dict[str, SplitIndex]:
        """Returns what was written.

        Raises:
          ValueError: where nothing is left of a split or of a class of train.
        """
        splits = {}
        for split in dict.fromkeys(shard.split for shard in self._planned):
            reports = [self._found[shard.name] for shard in self._planned if shard.split == split]
            written = tuple(report.shard for report in reports if report.shard)
            counts, durations = collections.Counter(), collections.Counter()
            for report in reports:
                counts.update(report.class_counts)
                durations.update(report.duration_counts)
            if not counts:
                raise ValueError(
                    f"No clip of a split could be read. Received: split={split!r}, "
                    f"{self._first_reasons(split)}."
                )
            listed = {clip.label for shard in self._planned for clip in shard.clips
                      if shard.split == split}  # fmt: skip
            if split == "train" and (lost := sorted(listed - counts.keys())):
                raise ValueError(
                    "No clip of a class of the train split could be read. Received: "
                    f"labels={lost}, {self._first_reasons(split)}."
                )
            splits[split] = SplitIndex(
                counts.total(),
                written,
                dict(sorted(counts.items())),
                dict(sorted(durations.items(), key=lambda item: float(item[0]))),
                sum(report.num_events for report in reports),
            )
        return splits

    def _check_bad(self, enough: int) -> None:
        num_bad = len(self.skipped())
        if num_bad >= enough and num_bad > self._max_bad_fraction * self._num_clips:
            num_good = sum(report.shard.num_clips for report in self.reports() if report.shard)
            raise RuntimeError(
                f"Too many clips could not be read: {num_bad} of {num_bad + num_good} tried "
                f"({self._num_clips} in all). Received: max_bad_fraction={self._max_bad_fraction}, "
                f"{self._first_reasons()}."
            )

    def _first_reasons(self, split: str | None = None) -> str:
        of_split = [skip for skip in self.skipped() if split in (None, skip["split"])]
        reasons = [f"{skip['clip_id']} ({skip['reason']})" for skip in of_split[:3]]
        return f"first reasons: {'; '.join(reasons)}"


def _write_here(
    job: Job, planned: Sequence[PlannedShard], bar: tqdm.tqdm, num_workers: int
) -> Iterator[tuple[PlannedShard, ShardReport]]:
    """Writes shards one after the other, of clips that several processes decode."""
    clips = [clip for shard in planned for clip in shard.clips]
    outcomes = workers.decode_in_order(clips, job.settings, job.limits, num_workers)
    with contextlib.closing(outcomes):
        counted = _counted(outcomes, bar)
        for shard in planned:
            yield shard, shards.write(job, shard, counted)


def _counted(outcomes: Iterator[workers.Outcome], bar: tqdm.tqdm) -> Iterator[workers.Outcome]:
    for outcome in outcomes:
        bar.update()
        yield outcome


def _check(holds: bool, name: str, value: Any, rule: str) -> None:
    if not holds:
        raise ValueError(f"`{name}` must be {rule}. Received: {name}={value!r}.")
