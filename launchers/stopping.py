"""How a run is asked to stop: by SIGTERM, as of a machine that is taken away, or by Ctrl-C."""

import contextlib
import signal
import threading
from collections.abc import Iterator

from ogm_tf.checkpoints import Stopped

_AT_ONCE = "Stopped when all epochs were saved."


class StopRequest:
    """Whether a signal asked to stop; called, it answers."""

    def __init__(self):
        self.is_made = False
        self._ends_at_once = False

    def __call__(self) -> bool:
        return self.is_made

    def make(self) -> None:
        """Asks to stop.

        Raises:
          Stopped: within `at_once`.
        """
        self.is_made = True
        if self._ends_at_once:
            raise Stopped(_AT_ONCE)

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """Within it a request raises `Stopped`: for work that is quick to do again.

        Raises:
          Stopped: where the request has been made before.
        """
        self._ends_at_once = True
        try:
            if self.is_made:
                raise Stopped(_AT_ONCE)
            yield
        finally:
            self._ends_at_once = False


@contextlib.contextmanager
def stop_request() -> Iterator[StopRequest]:
    """Turns SIGTERM and the first SIGINT into a request; a second SIGINT interrupts as ever.

    In another than the main thread, which alone receives signals, nothing is ever asked.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def ask(number, frame):
        del frame
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        request.make()

    before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
