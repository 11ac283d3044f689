"""A program that trains in forked processes and kills them; TensorFlow is imported only once.

  python killed_runs.py <settings.json> <run folder> <kill point> <kill point> ...

Each kill point is one process on the run folder. It is killed by SIGKILL, at "step:7" when its
seventh step has ended, at "file:30" before its thirtieth operation on a file of the run folder, at
"rename:.best" before the first renaming of a file whose name begins so, at "time:0.5" half a second
after its first step. At "term:3" it gets a SIGTERM when its third step has ended; with "slow:1"
every renaming of a file takes a second; "none" lets it be. Prints a line of the kill point, the
exit code, and how many steps and operations there were.
"""

import json
import os
import pathlib
import signal
import sys
import threading
import time
import traceback

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

import keras  # noqa: E402
from absl import logging  # noqa: E402

from launchers import fitting, networks, train  # noqa: E402
from launchers.training import TrainSettings  # noqa: E402
from ogm_tf.layers import Dropout  # noqa: E402

FILE_EVENTS = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir")


def arm(kill_point: str, run_dir: str) -> dict[str, int]:
    """Makes this process die at a kill point; returns counts that grow."""
    kind, _, wanted = kill_point.partition(":")
    seen = {"step": 0, "file": 0}

    def kill(number=signal.SIGKILL):
        os.kill(os.getpid(), number)

    def count(name):
        seen[name] += 1
        if kind == name and seen[name] == int(wanted):
            kill()

    def audit(event, arguments):
        if event in FILE_EVENTS and run_dir in str(arguments[0]):
            count("file")
            name = pathlib.Path(str(arguments[0])).name
            if (kind, event) == ("rename", "os.rename") and name.startswith(wanted):
                kill()
            if (kind, event) == ("slow", "os.rename"):
                time.sleep(float(wanted))

    class CountedSteps(fitting.SkippedSteps):
        def on_train_batch_end(self, batch, logs=None):
            super().on_train_batch_end(batch, logs)
            if kind == "time" and not seen["step"]:
                threading.Timer(float(wanted), kill).start()
            count("step")
            if kind == "term" and seen["step"] == int(wanted):
                kill(signal.SIGTERM)

    sys.addaudithook(audit)
    fitting.SkippedSteps = CountedSteps
    return seen


def encoder(settings: TrainSettings, shape: tuple[int, ...], name: str) -> keras.Model:
    """Returns one layer of each kind that holds something, to be built in no time."""
    width = settings.encoder_width
    inputs = keras.layers.Input(shape)
    x = keras.layers.Dense(width, activation="relu")(inputs)
    x = keras.layers.BatchNormalization()(x)
    x = Dropout(0.3, seed=len(name))(x)
    x = keras.layers.Reshape((-1, width))(x)
    return keras.Model(inputs, keras.layers.GlobalAveragePooling1D()(x), name=name)


def main(settings_path: str, run_dir: str, *kill_points: str) -> None:
    networks._encoder = encoder
    settings = json.loads(pathlib.Path(settings_path).read_text())
    for kill_point in kill_points:
        process = os.fork()
        if process == 0:
            code = 1
            seen = arm(kill_point, run_dir)
            try:
                keras.utils.disable_interactive_logging()
                logging.set_verbosity(logging.INFO)
                train.run(TrainSettings(output_dir=run_dir, **settings))
                code = 0
            except SystemExit as end:
                code = end.code
            except Exception:
                traceback.print_exc()
            finally:
                print(seen)
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        _, status = os.waitpid(process, 0)
        print(kill_point, os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
