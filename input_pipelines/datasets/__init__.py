"""Published datasets: the folder as its makers lay it out becomes a listing of clips.

Each module has a docstring that says where to get the dataset and what folder it expects, and
`list_clips(data_dir, fold=None)`, which reads the lists and looks up the media but opens none.
"""

import importlib
import inspect
import types

NAMES = ("crema_d", "kinetics_sounds", "vggsound", "ave", "esc50", "ucf101", "folders")


def get(name: str) -> types.ModuleType:
    """Returns the module of a dataset.

    Args:
      name: One of `NAMES`.

    Raises:
      ValueError: where the name is unknown.
    """
    if name not in NAMES:
        raise ValueError(f"A dataset must be one of {', '.join(NAMES)}. Received: name={name!r}.")
    return importlib.import_module(f"{__name__}.{name}")


def describe(name: str) -> str:
    """Returns where to get a dataset, the folder it expects, its splits and its preset.

    Args:
      name: One of `NAMES`.

    Raises:
      ValueError: where the name is unknown.
    """
    return inspect.getdoc(get(name))


def describe_all() -> str:
    """Returns the descriptions of all datasets, each under its name."""
    return "\n\n".join(f"--dataset={name}\n\n{describe(name)}" for name in NAMES)
