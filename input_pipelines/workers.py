"""Decodes clips in several processes and gives them back in order."""

import collections
import concurrent.futures
import contextlib
import dataclasses
import multiprocessing
import os
import signal
import sys
import threading
import types
from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool

from input_pipelines.manifest import Clip
from input_pipelines.media import DecodedClip, MediaError, read_clip
from input_pipelines.settings import ClipSettings

# Clips each worker may be ahead of the writer: enough to keep it busy, few enough to hold.
_AHEAD = 4


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a clip: `decoded`, or None and the `reason`."""

    decoded: DecodedClip | None
    reason: str = ""


def decode_in_order(
    clips: Sequence[Clip], settings: ClipSettings, max_duration_s: float, num_workers: int
) -> Iterator[Outcome]:
    """Decodes clips, a bounded number of them at a time.

    Args:
      clips: What to decode.
      settings: How.
      max_duration_s: Longer clips are cut to this, seconds.
      num_workers: Processes, >= 1; 1 is this one.

    Yields:
      The outcome of every clip, in their order.

    Raises:
      RuntimeError: where a worker process dies.
    """
    num_workers = min(num_workers, len(clips))
    if num_workers <= 1:
        for clip in clips:
            yield _decode(clip, settings, max_duration_s)
        return
    pool = concurrent.futures.ProcessPoolExecutor(
        num_workers, multiprocessing.get_context("spawn"), _start_worker
    )
    waiting = iter(clips)
    pending = collections.deque()
    try:
        while True:
            while len(pending) < _AHEAD * num_workers and (clip := next(waiting, None)):
                with _without_main_module():
                    pending.append((clip, pool.submit(_decode, clip, settings, max_duration_s)))
            if not pending:
                return
            clip, future = pending[0]
            outcome = future.result()
            pending.popleft()
            yield outcome
    except BrokenProcessPool as error:
        unfinished = [clip.clip_id for clip, future in pending if _is_lost(future)]
        raise RuntimeError(
            "A worker process died (often: out of memory); one of these clips was being decoded: "
            f"{', '.join(unfinished[: num_workers * 2])}. Received: num_workers={num_workers}."
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _decode(clip: Clip, settings: ClipSettings, max_duration_s: float) -> Outcome:
    try:
        return Outcome(read_clip(clip, settings, max_duration_s=max_duration_s))
    except MediaError as error:
        return Outcome(None, str(error))
    except Exception as error:
        # Broken media fail in ways nobody has listed; one of them must not end a long run.
        return Outcome(None, f"{clip.path.name}: {type(error).__name__}: {error}")


def _is_lost(future: concurrent.futures.Future) -> bool:
    return not future.done() or future.cancelled() or future.exception() is not None


def _start_worker() -> None:
    # The main process alone answers Ctrl-C; a worker whose main process is gone goes as well.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def leave_with_parent():
        parent.join()
        os._exit(1)

    threading.Thread(target=leave_with_parent, daemon=True).start()


@contextlib.contextmanager
def _without_main_module() -> Iterator[None]:
    """Keeps new processes from running the main program's module again.

    Workers need nothing of it: they would pay for its imports, TensorFlow among them, and a script
    without `if __name__ == "__main__"` would start over in each.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
