"""From a manifest to a folder of records: decode every clip once, so that training never has to."""

import collections
import contextlib
import dataclasses
import fcntl
import hashlib
import math
import os
import pathlib
import re
from collections.abc import Iterator, Sequence
from typing import Any

import tqdm
from absl import logging

from input_pipelines import manifest, records, workers
from input_pipelines.manifest import Clip
from input_pipelines.records import Index, Shard, SplitIndex
from input_pipelines.settings import ClipSettings

_LOCK_FILE = ".prepare.lock"
_OWN_FILE = re.compile(
    rf"(({'|'.join(manifest.SPLITS)})-\d{{5}}-of-\d{{5}}\.tfrecord|index\.json)(\.\d+\.tmp)?"
)
# So many bad clips show what is wrong with the data; a run that must fail need not see all.
_ENOUGH_BAD_CLIPS = 100


def prepare(
    manifest_path: str | os.PathLike,
    output_dir: str | os.PathLike,
    settings: ClipSettings,
    *,
    validation_fraction: float = 0.0,
    max_bad_fraction: float = 0.05,
    num_workers: int | None = None,
    clips_per_shard: int = 64,
    max_duration_s: float = 60.0,
    progress: bool = True,
) -> Index:
    """Decodes the clips of a manifest into shards of records and writes their index last.

    The same manifest, media and settings give the same bytes, whatever the number of workers.
    Clips that cannot be read are left out, logged, and listed in the index. A finished folder made
    with the same arguments is returned as it is.

    Args:
      manifest_path: The CSV file, see `manifest.read_manifest`.
      output_dir: Folder for the records; made where it is missing. Other files in it stay.
      settings: How clips are decoded, and later read.
      validation_fraction: Share of the training clips to hold out where the manifest has no
        validation split, in [0, 1).
      max_bad_fraction: The run fails where more than this share of all clips cannot be read, in
        [0, 1].
      num_workers: Processes that decode, >= 1; None: as many as there are processors.
      clips_per_shard: >= 1.
      max_duration_s: Longer clips are cut to this, seconds > 0.
      progress: Whether to show a progress bar.

    Returns:
      The index of the records.

    Raises:
      FileNotFoundError: where there is no such manifest.
      ValueError: for an argument out of its range; a manifest with errors; a folder with records
        made with other arguments; a split, or a class of train, of which no clip can be read.
      RuntimeError: where too many clips are bad, a worker dies, or another run writes to the
        folder. Nothing of the failed run is left.
    """
    if num_workers is None:
        num_workers = os.cpu_count() or 1
    _check(isinstance(settings, ClipSettings), "settings", settings, "ClipSettings")
    _check(0 <= validation_fraction < 1, "validation_fraction", validation_fraction, "in [0, 1)")
    _check(0 <= max_bad_fraction <= 1, "max_bad_fraction", max_bad_fraction, "in [0, 1]")
    _check(num_workers >= 1, "num_workers", num_workers, ">= 1")
    _check(clips_per_shard >= 1, "clips_per_shard", clips_per_shard, ">= 1")
    _check(0 < max_duration_s < math.inf, "max_duration_s", max_duration_s, "finite and > 0")
    output_dir = pathlib.Path(output_dir)
    is_folder = output_dir.is_dir() or not output_dir.exists()
    _check(is_folder, "output_dir", str(output_dir), "a folder")
    clips = manifest.hold_out_validation(manifest.read_manifest(manifest_path), validation_fraction)
    manifest.check_splits(clips)
    wanted = {
        "manifest_sha256": hashlib.sha256(pathlib.Path(manifest_path).read_bytes()).hexdigest(),
        "validation_fraction": validation_fraction,
        "max_duration_s": max_duration_s,
        "settings": settings,
    }
    with _own_folder(output_dir):
        if (output_dir / records.INDEX_FILE).exists():
            return _finished_index(output_dir, wanted)
        for path in output_dir.iterdir():
            if _OWN_FILE.fullmatch(path.name):
                logging.info("Removing %s of an unfinished run.", path)
                path.unlink()
        try:
            run = _Run(output_dir, clips, settings, clips_per_shard, max_bad_fraction)
            outcomes = workers.decode_in_order(run.clips, settings, max_duration_s, num_workers)
            with tqdm.tqdm(None, "prepare", len(clips), unit="clip", disable=not progress) as bar:
                run.write(outcomes, bar)
            index = Index(
                version=records.INDEX_VERSION,
                class_names=run.class_names,
                splits=run.splits(),
                skipped=tuple(run.skipped),
                problems=tuple(run.problems),
                **wanted,
            )
            records.write_index(output_dir, index)
        except BaseException:
            for path in output_dir.iterdir():
                if _OWN_FILE.fullmatch(path.name):
                    path.unlink()
            raise
    logging.info(
        "%s: %s; %d clips skipped, %d damaged.",
        output_dir,
        ", ".join(f"{name} {split.num_clips}" for name, split in index.splits.items()),
        len(index.skipped),
        len(index.problems),
    )
    return index


class _Run:
    """Writes the shards of one run and keeps the counts for the index."""

    def __init__(
        self,
        output_dir: pathlib.Path,
        clips: Sequence[Clip],
        settings: ClipSettings,
        clips_per_shard: int,
        max_bad_fraction: float,
    ):
        self.class_names = tuple(sorted({clip.label for clip in clips if clip.split == "train"}))
        self.skipped: list[dict[str, str]] = []
        self.problems: list[dict[str, str]] = []
        self._output_dir = output_dir
        self._settings = settings
        self._max_bad_fraction = max_bad_fraction
        self._label_index = {name: index for index, name in enumerate(self.class_names)}
        self._counts: dict[str, collections.Counter] = {}
        self._shards: dict[str, list[Shard]] = {}
        # Shards are cut before any clip is read, so that a bad clip moves no other one.
        self._plan: list[tuple[str, list[Clip]]] = []
        for split in manifest.SPLITS:
            # By hash, so that every shard mixes the classes.
            members = sorted(
                (clip for clip in clips if clip.split == split),
                key=lambda clip: manifest.clip_hash(clip.clip_id),
            )
            if members:
                self._counts[split] = collections.Counter()
                self._shards[split] = []
            starts = range(0, len(members), clips_per_shard)
            for shard, start in enumerate(starts):
                name = records.shard_name(split, shard, len(starts))
                self._plan.append((name, members[start : start + clips_per_shard]))
        self.clips = [clip for _, members in self._plan for clip in members]

    def write(self, outcomes: Iterator[workers.Outcome], bar: tqdm.tqdm) -> None:
        """Writes all shards; `outcomes` are those of `clips`, in their order."""
        with contextlib.closing(outcomes):
            for name, members in self._plan:
                num_clips = 0
                with contextlib.ExitStack() as stack:
                    writer = None
                    for clip in members:
                        outcome = next(outcomes)
                        bar.update()
                        if outcome.decoded is None:
                            self._skip(clip, outcome.reason)
                            continue
                        if writer is None:
                            # Not before: a shard without clips is not written.
                            shard = records.write_shard(self._output_dir / name)
                            writer = stack.enter_context(shard)
                        writer.write(self._encode(clip, outcome.decoded))
                        num_clips += 1
                if num_clips:
                    self._shards[members[0].split].append(Shard(name, num_clips))
        self._check_bad(enough=1)

    def splits(self) -> dict[str, SplitIndex]:
        """Returns what was written.

        Raises:
          ValueError: where nothing is left of a split or of a class of train.
        """
        for split, counts in self._counts.items():
            lost = [name for name in self.class_names if not counts[name]]
            if not counts.total():
                raise ValueError(
                    f"No clip of a split could be read. Received: split={split!r}, "
                    f"{self._first_reasons(split)}."
                )
            if split == "train" and lost:
                raise ValueError(
                    "No clip of a class of the train split could be read. Received: "
                    f"labels={lost}, {self._first_reasons(split)}."
                )
        return {
            split: SplitIndex(
                counts.total(), tuple(self._shards[split]), dict(sorted(counts.items()))
            )
            for split, counts in self._counts.items()
        }

    def _encode(self, clip: Clip, decoded: Any) -> bytes:
        self._counts[clip.split][clip.label] += 1
        if decoded.problems:
            reason = "; ".join(decoded.problems)
            logging.warning("Kept damaged clip %s: %s", clip.clip_id, reason)
            self.problems.append({"clip_id": clip.clip_id, "reason": reason})
        index = self._label_index[clip.label]
        return records.encode_example(clip, index, decoded, self._settings)

    def _skip(self, clip: Clip, reason: str) -> None:
        logging.warning("Skipped clip %s: %s", clip.clip_id, reason)
        self.skipped.append({"clip_id": clip.clip_id, "split": clip.split, "reason": reason})
        self._check_bad(enough=_ENOUGH_BAD_CLIPS)

    def _check_bad(self, enough: int) -> None:
        num_bad = len(self.skipped)
        if num_bad >= enough and num_bad > self._max_bad_fraction * len(self.clips):
            num_good = sum(counts.total() for counts in self._counts.values())
            raise RuntimeError(
                f"Too many clips could not be read: {num_bad} of {num_bad + num_good} tried "
                f"({len(self.clips)} in all). Received: max_bad_fraction={self._max_bad_fraction}, "
                f"{self._first_reasons()}."
            )

    def _first_reasons(self, split: str | None = None) -> str:
        of_split = [skip for skip in self.skipped if split in (None, skip["split"])]
        reasons = [f"{skip['clip_id']} ({skip['reason']})" for skip in of_split[:3]]
        return f"first reasons: {'; '.join(reasons)}"


def _check(holds: bool, name: str, value: Any, rule: str) -> None:
    if not holds:
        raise ValueError(f"`{name}` must be {rule}. Received: {name}={value!r}.")


@contextlib.contextmanager
def _own_folder(folder: pathlib.Path) -> Iterator[None]:
    """Makes the folder where it is missing and keeps other runs out of it."""
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    lock_path = folder / _LOCK_FILE
    try:
        with lock_path.open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise RuntimeError(
                    f"Another run is writing to this folder. Received: output_dir={str(folder)!r}."
                ) from error
            try:
                yield
            finally:
                lock_path.unlink(missing_ok=True)
    finally:
        # Folders this run made and left empty go again.
        for path in made:
            with contextlib.suppress(OSError):
                path.rmdir()


def _finished_index(output_dir: pathlib.Path, wanted: dict[str, Any]) -> Index:
    """Returns the index of finished records that were made with the wanted arguments."""
    index = records.read_index(output_dir)
    old = _flat({name: getattr(index, name) for name in wanted})
    new = _flat(wanted)
    different = [
        f"{name} ({old.get(name)!r} there, {value!r} wanted)"
        for name, value in new.items()
        if old.get(name) != value
    ]
    if different:
        raise ValueError(
            "This folder has records made with other arguments; choose another output_dir or "
            f"remove them. Received: output_dir={str(output_dir)!r}, {', '.join(different)}."
        )
    logging.info("%s has these records already.", output_dir)
    return index


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for name, value in values.items():
        if dataclasses.is_dataclass(value):
            flat |= _flat(vars(value), f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat
