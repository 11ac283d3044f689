"""The repository's Python files and what they import, for the tests that keep its structure."""

import ast
import os
import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGES = ("ogm_tf", "input_pipelines", "launchers")

# What git ignores at the top of the tree: results and builds, with whatever lies in them.
_IGNORED = {"build", "data", "dist", "models", "records", "reports", "runs"}


def python_files() -> list[str]:
    """Returns the path of every Python file of the repository, relative to its root, sorted."""
    found = []
    for folder, subfolders, names in os.walk(ROOT):
        subfolders[:] = [
            name
            for name in subfolders
            if not name.startswith((".", "bazel-", "__pycache__"))
            and not (name in _IGNORED and pathlib.Path(folder) == ROOT)
        ]
        relative = pathlib.Path(folder).relative_to(ROOT)
        found += [(relative / name).as_posix() for name in names if name.endswith(".py")]
    return sorted(found)


def module_name(path: str) -> str:
    """Returns the dotted name a file, relative to the root, is imported by."""
    parts = pathlib.PurePosixPath(path).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


# Our modules by dotted name.
MODULES = {module_name(path): path for path in python_files()}


def imported_modules(source: str, path: str) -> set[str]:
    """Returns the modules that a source names in import statements, at the top or further in.

    Args:
      source: Python text.
      path: Where it stands, relative to the root; relative imports start there.

    Returns:
      Dotted names; `from package import name` is `package.name` where that is a module of ours.
    """
    module = module_name(path).split(".")
    package = module if path.endswith("__init__.py") else module[:-1]
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*above, *filter(None, [node.module])])
            children = [f"{origin}.{alias.name}" for alias in node.names]
            found.update(child if child in MODULES else origin for child in children)
    return found


def imported_modules_of(path: str) -> set[str]:
    """Returns the modules that a file, relative to the root, imports."""
    return imported_modules((ROOT / path).read_text("utf-8"), path)
