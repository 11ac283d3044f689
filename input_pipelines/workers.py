"""Decodes clips in several processes and gives them back in order; loads no TensorFlow."""

import collections
import concurrent.futures
import contextlib
import dataclasses
import multiprocessing
import operator
import os
import signal
import sys
import threading
import types
from collections.abc import Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool

from absl import logging

from input_pipelines import files
from input_pipelines.listing import Clip
from input_pipelines.media import DecodedClip, MediaError, read_clip
from input_pipelines.settings import ClipSettings, MediaLimits

# Clips each worker may be ahead of the writer: enough to keep it busy, few enough to hold.
_AHEAD = 4
# A worker looks at its clock between packets; one that is this much late hangs inside of one.
_GRACE_S = 30.0


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a clip: `decoded`, or None and the `reason`."""

    decoded: DecodedClip | None
    reason: str = ""


def decode_clip(clip: Clip, settings: ClipSettings, limits: MediaLimits) -> Outcome:
    """Decodes one clip; whatever is wrong with it becomes the reason it is left out."""
    try:
        return Outcome(read_clip(clip, settings, limits))
    except MediaError as error:
        return Outcome(None, str(error))
    except Exception as error:
        # Broken media fail in ways nobody has listed; one of them must not end a long run.
        return Outcome(None, f"{files.name(clip.path)}: {type(error).__name__}: {error}")


def decode_in_order(
    clips: Iterable[Clip], settings: ClipSettings, limits: MediaLimits, num_workers: int
) -> Iterator[Outcome]:
    """Decodes clips, a bounded number of them at a time.

    A clip whose decoder ends its process, or hangs, is left out, and the others go on.

    Args:
      clips: What to decode; taken when their turn comes.
      settings: How.
      limits: What no clip may exceed.
      num_workers: Processes; 0: none but this one, which a clip may then take along.

    Yields:
      The outcome of every clip, in their order.
    """
    num_workers = min(num_workers, operator.length_hint(clips, num_workers))
    if num_workers == 0:
        for clip in clips:
            yield decode_clip(clip, settings, limits)
        return
    timeout_s = limits.max_decode_s + _GRACE_S
    waiting = iter(clips)
    pending = collections.deque()
    pool = _Pool(num_workers, settings, limits)
    try:
        while True:
            while len(pending) < _AHEAD * num_workers and (clip := next(waiting, None)):
                pending.append((clip, pool.submit(clip)))
            if not pending:
                return
            try:
                outcome = pending[0][1].result(timeout_s)
            except (BrokenProcessPool, TimeoutError):
                # Any of the clips being decoded may be the one: each gets a process of its own.
                pool.kill()
                for clip, future in pending:
                    yield _outcome_of(future) or _decode_alone(clip, settings, limits, timeout_s)
                pending.clear()
                pool = _Pool(num_workers, settings, limits)
                continue
            pending.popleft()
            yield outcome
    finally:
        pool.close()


class _Pool:
    """Processes that decode clips."""

    def __init__(self, num_workers: int, settings: ClipSettings, limits: MediaLimits):
        context = multiprocessing.get_context("spawn")
        self._executor = concurrent.futures.ProcessPoolExecutor(num_workers, context, _start_worker)
        self._arguments = (settings, limits)

    def submit(self, clip: Clip) -> concurrent.futures.Future:
        try:
            with without_main_module():
                return self._executor.submit(decode_clip, clip, *self._arguments)
        except BrokenProcessPool as error:
            failed = concurrent.futures.Future()
            failed.set_exception(error)
            return failed

    def kill(self) -> None:
        # Python 3.11 has no public way to end a process that hangs in native code.
        for process in list((self._executor._processes or {}).values()):
            process.kill()
        self._executor.shutdown(wait=True, cancel_futures=True)

    def close(self) -> None:
        self._executor.shutdown(wait=True, cancel_futures=True)


def _outcome_of(future: concurrent.futures.Future) -> Outcome | None:
    if not future.done() or future.cancelled() or future.exception() is not None:
        return None
    return future.result()


def _decode_alone(
    clip: Clip, settings: ClipSettings, limits: MediaLimits, timeout_s: float
) -> Outcome:
    pool = _Pool(1, settings, limits)
    try:
        return pool.submit(clip).result(timeout_s)
    except BrokenProcessPool:
        reason = "the decoder ended its process (often: out of memory)"
    except TimeoutError:
        reason = f"the decoder did not end within {timeout_s:g} s"
    finally:
        pool.kill()
    logging.warning("%s: %s.", clip.path, reason)
    return Outcome(None, f"{files.name(clip.path)}: {reason}")


def _start_worker() -> None:
    # The main process alone answers Ctrl-C; a worker whose main process is gone goes as well.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def leave_with_parent():
        parent.join()
        os._exit(1)

    threading.Thread(target=leave_with_parent, daemon=True).start()


@contextlib.contextmanager
def without_main_module() -> Iterator[None]:
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
