"""Which launchers there are, and their settings: for documentation and the tests that check it."""

import importlib
import pathlib
import re
import types

from launchers.settings import LauncherSettings

_LAUNCH = re.compile(r"^    launch\((\w+), ", re.MULTILINE)
_REST = re.compile(r"^    launch\(.*rest=\"(\w+)\"\)", re.MULTILINE)


def names(package: str = "launchers") -> list[str]:
    """Returns the names of a package's programs, sorted.

    Args:
      package: Whose modules call `launchers.settings.launch`: "launchers" or "benchmarks".
    """
    folder = pathlib.Path(importlib.import_module(package).__path__[0])
    return sorted(file.stem for file in folder.glob("*.py") if _LAUNCH.search(file.read_text()))


def module(name: str, package: str = "launchers") -> types.ModuleType:
    """Returns a program's module."""
    return importlib.import_module(f"{package}.{name}")


def settings_class(name: str, package: str = "launchers") -> type[LauncherSettings]:
    """Returns what a program's flags are made of."""
    program = module(name, package)
    found = _LAUNCH.search(pathlib.Path(program.__file__).read_text())
    return getattr(program, found[1])


def rest(name: str, package: str = "launchers") -> str | None:
    """Returns the flag that a program appends to what follows a final `--`, if it takes any."""
    found = _REST.search(pathlib.Path(module(name, package).__file__).read_text())
    return found and found[1]
