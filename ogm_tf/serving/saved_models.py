"""SavedModels on disk: whole or not at all, with several signatures and files beside them."""

import contextlib
import io
import logging
import os
import pathlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence

import keras
import tensorflow as tf

# The folder that TensorFlow Serving's convention leaves to whoever writes a SavedModel.
EXTRA_FOLDER = "assets.extra"

Signature = tuple[Callable[..., dict[str, tf.Tensor]], Sequence[tf.TensorSpec]]


def require_absent(path: pathlib.Path) -> None:
    """Raises FileExistsError where there is something at `path`."""
    if path.exists():
        raise FileExistsError(f"`path` must not exist yet. Received: path={str(path)!r}.")


@contextlib.contextmanager
def whole(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Gives a temporary folder's name beside `path`, and renames the folder at the end.

    The name is no number, so that a server that watches the folder above does not take it for a
    version.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        partial.rename(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write(
    path: pathlib.Path,
    model: keras.Model,
    signatures: Mapping[str, Signature],
    assets: Mapping[str, pathlib.Path] | None = None,
) -> None:
    """Writes a SavedModel.

    Args:
      path: Of the folder.
      model: What holds the variables.
      signatures: By name, a function and what it takes; "serving_default" among them.
      assets: Files to copy into its assets, and the attributes of the loaded object that name them.
    """
    archive = keras.export.ExportArchive()
    archive.track(model)
    for name, (answer, inputs) in signatures.items():
        archive.add_endpoint(name, answer, input_signature=list(inputs))
    for name, file in (assets or {}).items():
        setattr(archive, name, tf.saved_model.Asset(str(file)))
    with _quiet():
        archive.write_out(str(path))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps Keras and TensorFlow from listing every variable of every signature, by lines of KB."""
    level = logging.root.manager.disable
    logging.disable(max(level, logging.INFO))
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(level)
