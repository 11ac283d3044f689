"""Do broken files do harm? Decodes mutated media and counts what became of them.

  python -m benchmarks.fuzz_media --output_dir=runs/fuzz_media --num_files=2000

Small files of every container and codec that PyAV can write are damaged: bits flipped, ends cut
off, blocks zeroed, swapped, doubled or removed, numbers of headers replaced by extreme ones. Every
damaged file is read by `read_clip` in a worker process. A worker that dies is a crash, one that
does not answer in time a hang; both go on with a fresh worker. The same seed gives the same files.

Prints a table, writes `fuzz_media.json` and, where there was harm, the files that did it. The exit
code is 1 where a worker crashed, hung, left a file open, took too much memory, or raised another
error than MediaError.
"""

import collections
import concurrent.futures
import dataclasses
import json
import multiprocessing
import os
import pathlib
import re
import tempfile
import time
from multiprocessing.connection import Connection

from benchmarks import memory
from benchmarks.damaged_media import Case, make_case, make_originals
from input_pipelines.listing import Clip
from input_pipelines.media import MediaError, read_clip
from input_pipelines.settings import AudioSettings, ClipSettings, MediaLimits, VideoSettings
from launchers.settings import LauncherSettings, launch, positive, setting

HARM = ("crash", "hang", "leak", "memory", "error")


@dataclasses.dataclass(frozen=True)
class FuzzSettings(LauncherSettings):
    """Settings of the fuzz."""

    output_dir: str = setting(dataclasses.MISSING, "Folder of the result and of harmful files.")
    num_files: int = positive(2000, "Damaged files to read.")
    num_workers: int = positive(2, "Processes.")
    seed: int = setting(0, "Of the damage.")
    time_limit_s: float = positive(30.0, "A file that takes longer is a hang, seconds.")
    memory_limit_mb: float = positive(600.0, "A worker that ever held more took too much.")


def read_case(case: Case, folder: pathlib.Path) -> dict[str, object]:
    """Reads a damaged file and returns what became of it.

    Args:
      case: The file.
      folder: Empty, to write it to.

    Returns:
      `outcome` ("kept", "damaged" where it was kept with a problem, "skipped", "leak", "error"),
      `reason`, `seconds`, and `peak_mb` of this process until here.
    """
    path = folder / case.name
    path.write_bytes(case.data)
    clip = Clip("fuzz", "train", "label", str(path))
    if case.window:
        clip = dataclasses.replace(clip, start_s=case.window[0], end_s=case.window[1])
    if case.modalities == ("flow",):
        clip = dataclasses.replace(clip, flow_x_path=str(folder), flow_y_path=str(folder))
    settings = ClipSettings(
        window_s=0.5, modalities=case.modalities, audio=AudioSettings(), video=VideoSettings()
    )
    num_open = len(os.listdir("/proc/self/fd"))
    begin_s = time.monotonic()
    outcome, reason = _outcome(clip, settings)
    seconds = time.monotonic() - begin_s
    path.unlink()
    if len(os.listdir("/proc/self/fd")) > num_open:
        outcome, reason = "leak", f"{outcome}, {reason}"
    return {
        "outcome": outcome,
        "reason": reason,
        "seconds": round(seconds, 3),
        "peak_mb": round(memory.peak_mib()),
    }


def _outcome(clip: Clip, settings: ClipSettings) -> tuple[str, str]:
    try:
        decoded = read_clip(clip, settings, MediaLimits(max_decode_s=20.0))
    except MediaError as error:
        return "skipped", str(error)
    except Exception as error:
        return "error", f"{type(error).__name__}: {error}"
    lengths = (round(decoded.duration_s * settings.audio.sample_rate_hz), 60 * 16_000)
    if decoded.waveform is not None and len(decoded.waveform) != min(lengths):
        return "error", f"{len(decoded.waveform)} samples in {decoded.duration_s} s"
    for frames in (decoded.visual, decoded.flow):
        if frames and not (frames.encoded and len(frames.encoded) == len(frames.timestamps_us)):
            return "error", f"{len(frames.encoded)} frames"
    return ("damaged" if decoded.problems else "kept"), "; ".join(decoded.problems)


def fuzz(settings: FuzzSettings, originals: dict[str, pathlib.Path]) -> list[dict[str, object]]:
    """Reads all damaged files in worker processes; returns what became of each, in order."""
    with concurrent.futures.ThreadPoolExecutor(settings.num_workers) as threads:
        parts = [
            threads.submit(_lead_worker, settings, originals, first)
            for first in range(settings.num_workers)
        ]
        results = [result for part in parts for result in part.result()]
    return sorted(results, key=lambda result: result["number"])


def _lead_worker(
    settings: FuzzSettings, originals: dict[str, pathlib.Path], first: int
) -> list[dict[str, object]]:
    results = []
    worker = None
    for number in range(first, settings.num_files, settings.num_workers):
        case = make_case(originals, settings.seed, number)
        if worker is None:
            worker = Worker()
        result = worker.read(case, settings.time_limit_s)
        if result["peak_mb"] > settings.memory_limit_mb:
            result["outcome"] = "memory"
        if result["outcome"] in ("crash", "hang", "memory"):
            worker.stop()
            worker = None
        if result["outcome"] in HARM:
            folder = pathlib.Path(settings.output_dir)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{number}_{case.name}").write_bytes(case.data)
        details = {
            "number": number, "name": case.name, "mutations": case.mutations,
            "modalities": case.modalities, "window": case.window,
        }  # fmt: skip
        results.append(details | result)
    if worker:
        worker.stop()
    return results


class Worker:
    """A process that reads one damaged file after the other."""

    def __init__(self):
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other,), daemon=True)
        self._process.start()
        other.close()
        self._pipe.recv()
        self.pid = self._process.pid

    def read(self, case: Case, time_limit_s: float) -> dict[str, object]:
        """Returns what `read_case` does, or that the process died or did not answer in time."""
        begin_s = time.monotonic()
        result = {"outcome": "hang", "reason": f"over {time_limit_s:g} s"}
        try:
            self._pipe.send(case)
            if self._pipe.poll(time_limit_s):
                return self._pipe.recv()
        except (EOFError, OSError):
            self._process.join()
            result = {"outcome": "crash", "reason": f"exit code {self._process.exitcode}"}
        return result | {"seconds": round(time.monotonic() - begin_s, 3), "peak_mb": 0}

    def stop(self) -> None:
        """Ends the process, whatever it is doing."""
        self._process.kill()
        self._process.join()
        self._pipe.close()


def _serve(pipe: Connection) -> None:
    with tempfile.TemporaryDirectory() as folder:
        pipe.send("ready")
        while True:
            try:
                case = pipe.recv()
            except EOFError:
                return
            pipe.send(read_case(case, pathlib.Path(folder)))


def reason_class(reason: str) -> str:
    """Returns a reason without what differs from file to file."""
    text = re.sub(r"[\w.-]+: ", "", reason.split("; ")[0])
    return re.sub(r"\d+(\.\d+)?(e[+-]?\d+)?", "N", text)


def table(results: list[dict[str, object]]) -> str:
    """Returns Markdown: how many files of each outcome, and for which reasons."""
    outcomes = collections.Counter(result["outcome"] for result in results)
    lines = ["| outcome | files | reason |", "| --- | --- | --- |"]
    for outcome, count in outcomes.most_common():
        lines.append(f"| **{outcome}** | **{count}** | |")
        reasons = collections.Counter(
            reason_class(result["reason"]) for result in results if result["outcome"] == outcome
        )
        lines += [
            f"| {outcome} | {n} | {reason} |" for reason, n in reasons.most_common() if reason
        ]
    slowest = max(results, key=lambda result: result["seconds"])
    lines.append(f"\nSlowest: {slowest['seconds']:.2f} s ({slowest['name']}).")
    lines.append(f"Peak memory of a worker: {max(r['peak_mb'] for r in results)} MB.")
    return "\n".join(lines)


def run(settings: FuzzSettings) -> None:
    """Reads damaged files, reports, and ends the program with 1 where one did harm."""
    begin_s = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        results = fuzz(settings, make_originals(pathlib.Path(folder)))
    output_dir = pathlib.Path(settings.output_dir)
    output_dir.mkdir(parents=True, exist_ok=True)
    outcomes = collections.Counter(result["outcome"] for result in results)
    report = {
        "settings": dataclasses.asdict(settings), "seconds": round(time.monotonic() - begin_s, 1),
        "outcomes": outcomes, "peak_mb": max(result["peak_mb"] for result in results),
        "files": results,
    }  # fmt: skip
    (output_dir / "fuzz_media.json").write_text(json.dumps(report, indent=1))
    print(table(results))
    if any(outcomes[harm] for harm in HARM):
        raise SystemExit(1)


if __name__ == "__main__":
    launch(FuzzSettings, run)
