"""What a block of Python names is there, and takes what it is given; nothing of it is run."""

import ast
import importlib
import inspect
import types
from typing import Any

# Blocks take them for granted.
_OURS = ("ogm_tf", "input_pipelines", "launchers")


class Unknown(Exception):
    """A block names something that does not exist."""


class _Instance:
    """What a call of a class gave."""

    def __init__(self, kind: type):
        self.kind = kind


def check(text: str) -> None:
    """Looks up imports, attributes of what is imported, and the arguments of its calls.

    Methods are looked up where a name is given an instance of an imported class.

    Args:
      text: Python.

    Raises:
      Unknown: where there is no such module, attribute or argument, or one is missing.
    """
    tree = ast.parse(text)
    names = {name: importlib.import_module(name) for name in _OURS}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                module = _module(alias.name)
                top = alias.name.split(".")[0]
                names[alias.asname or top] = module if alias.asname else _module(top)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                names[alias.asname or alias.name] = _attribute(_module(node.module), alias.name)
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            kind = _find(node.value.func, names)
            if inspect.isclass(kind):
                made = {t.id: _Instance(kind) for t in node.targets if isinstance(t, ast.Name)}
                names.update(made)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            _find(node, names)
        if isinstance(node, ast.Call):
            _check_arguments(node, names)


def _module(name: str) -> types.ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise Unknown(f"There is no module {name}.") from error


def _attribute(owner: Any, name: str) -> Any:
    if not hasattr(owner, name) and isinstance(owner, types.ModuleType):
        return _module(f"{owner.__name__}.{name}")
    if not hasattr(owner, name):
        raise Unknown(f"{owner!r} has no {name}.")
    return getattr(owner, name)


def _find(node: ast.expr, names: dict[str, Any]) -> Any:
    """Returns what an expression stands for, or None where that cannot be known."""
    if isinstance(node, ast.Name):
        return names.get(node.id)
    if not isinstance(node, ast.Attribute):
        return None
    owner = _find(node.value, names)
    if isinstance(owner, _Instance):
        # What __init__ sets cannot be known.
        return getattr(owner.kind, node.attr, None)
    is_known = isinstance(owner, types.ModuleType) or inspect.isclass(owner)
    return _attribute(owner, node.attr) if is_known else None


def _check_arguments(call: ast.Call, names: dict[str, Any]) -> None:
    function = _find(call.func, names)
    if not callable(function):
        return
    try:
        signature = inspect.signature(function)
    except ValueError:
        # Of what is written in C.
        return
    positional = [None for value in call.args if not isinstance(value, ast.Starred)]
    if isinstance(call.func, ast.Attribute) and isinstance(
        _find(call.func.value, names), _Instance
    ):
        positional.insert(0, None)
    keywords = {keyword.arg: None for keyword in call.keywords if keyword.arg}
    is_whole = len(call.args) + len(call.keywords) == len(keywords) + sum(
        not isinstance(value, ast.Starred) for value in call.args
    )
    try:
        (signature.bind if is_whole else signature.bind_partial)(*positional, **keywords)
    except TypeError as error:
        raise Unknown(f"{ast.unparse(call)}: {error}.") from error
