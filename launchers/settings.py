"""Settings of the launchers: one frozen dataclass each, from which its flags are made.

A field says its rule where it says its default, so that a flag, a call from a test and a run folder
read back from disk are checked by the same words.
"""

import dataclasses
import math
import os
import sys
import types
import typing
from collections.abc import Callable, Sequence
from typing import Any

from absl import app, flags, logging


def setting(
    default: Any,
    help: str,
    *,
    choices: Sequence[str] | None = None,
    rule: str | None = None,
    holds: Callable[[Any], bool] | None = None,
) -> Any:
    """Returns a dataclass field that is also a flag.

    Args:
      default: Of the field; `dataclasses.MISSING` makes it required.
      help: Of the flag.
      choices: The values allowed, if they are few.
      rule: What the value must be, in words that follow "must be".
      holds: Whether a value that is not None follows the rule.
    """
    metadata = {"help": help, "choices": choices, "rule": rule, "holds": holds}
    if default is dataclasses.MISSING:
        return dataclasses.field(metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def positive(default: Any, help: str) -> Any:
    """Returns a field whose value is > 0."""
    return setting(default, help, rule="> 0", holds=lambda value: 0 < value < math.inf)


def not_negative(default: Any, help: str) -> Any:
    """Returns a field whose value is >= 0."""
    return setting(default, help, rule=">= 0", holds=lambda value: 0 <= value < math.inf)


def fraction(default: Any, help: str) -> Any:
    """Returns a field whose value is in [0, 1)."""
    return setting(default, help, rule="in [0, 1)", holds=lambda value: 0 <= value < 1)


@dataclasses.dataclass(frozen=True)
class LauncherSettings:
    """Base of the settings of a launcher; checks every field's rule.

    Raises:
      ValueError: where a value breaks its rule; an unknown name lists the known ones.
    """

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            choices, holds = field.metadata["choices"], field.metadata["holds"]
            if value is None:
                continue
            if choices and value not in choices:
                rule = f"one of {', '.join(choices)}"
            elif holds and not holds(value):
                rule = field.metadata["rule"]
            else:
                continue
            raise ValueError(f"--{field.name} must be {rule}. Received: {field.name}={value!r}.")


def define_flags(
    settings_class: type[LauncherSettings], flag_values: flags.FlagValues = flags.FLAGS
) -> None:
    """Defines one absl flag for every field of a launcher's settings."""
    for field in dataclasses.fields(settings_class):
        required = field.default is dataclasses.MISSING
        default = None if required else field.default
        help = field.metadata["help"]
        if field.metadata["choices"]:
            help = f"{help} One of: {', '.join(field.metadata['choices'])}."
        kind = _kind(field.type)
        if kind is bool:
            flags.DEFINE_bool(field.name, default, help, flag_values)
        elif kind is tuple:
            items = None if default is None else [str(item) for item in default]
            flags.DEFINE_list(field.name, items, help, flag_values)
        else:
            define = {int: flags.DEFINE_integer, float: flags.DEFINE_float}.get(
                kind, flags.DEFINE_string
            )
            define(field.name, default, help, flag_values=flag_values, required=required)


def from_flags(
    settings_class: type[LauncherSettings],
    flag_values: flags.FlagValues = flags.FLAGS,
    **overrides: Any,
) -> LauncherSettings:
    """Returns the settings the parsed flags describe.

    Args:
      settings_class: Of the launcher.
      flag_values: Parsed.
      **overrides: Fields whose flags do not count.

    Raises:
      ValueError: where a flag's value breaks its rule.
    """
    values = {}
    for field in dataclasses.fields(settings_class):
        value = flag_values[field.name].value
        if _kind(field.type) is tuple and value is not None:
            item = typing.get_args(_without_none(field.type))[0]
            try:
                value = tuple(item(text) for text in value)
            except ValueError as error:
                raise ValueError(
                    f"--{field.name} must be a list of numbers with commas. "
                    f"Received: {field.name}={','.join(value)}."
                ) from error
        values[field.name] = value
    return settings_class(**values | overrides)


def as_flags(settings: LauncherSettings) -> list[str]:
    """Returns the arguments of a launcher that `from_flags` makes these settings of.

    Fields at their default are left out.
    """
    values = flags.FlagValues()
    define_flags(type(settings), values)
    written = []
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if value == field.default:
            continue
        flag = values[field.name]
        flag.value = [str(item) for item in value] if isinstance(value, tuple) else value
        written.append(flag.serialize())
    return written


def from_flagfile(
    settings_class: type[LauncherSettings],
    path: str | os.PathLike,
    *arguments: str,
    **overrides: Any,
) -> LauncherSettings:
    """Returns the settings a flagfile describes.

    Args:
      settings_class: Of the launcher.
      path: Of the flagfile.
      *arguments: Further flags, such as "--alpha=0.5", which count more than the file's.
      **overrides: Fields that the file leaves open, or others than its own.

    Raises:
      ValueError: where a value breaks its rule, or something is no flag.
    """
    values = flags.FlagValues()
    define_flags(settings_class, values)
    required = [
        f"--{field.name}={overrides[field.name]}"
        for field in dataclasses.fields(settings_class)
        if field.default is dataclasses.MISSING
    ]
    rest = values(["program", f"--flagfile={path}", *required, *arguments])[1:]
    if rest:
        raise ValueError(f"Everything is a flag. Received: {' '.join(rest)}.")
    return from_flags(settings_class, values, **overrides)


def launch(
    settings_class: type[LauncherSettings], run: Callable[[Any], Any], rest: str | None = None
) -> None:
    """Runs a launcher as a program: flags to settings, settings to `run`.

    An error of the user's ends the program with its one sentence and exit code 1; the traceback is
    shown with `--verbosity=1`.

    Args:
      settings_class: Of the launcher.
      run: Takes the settings.
      rest: Field that what follows a final `--` is appended to; None: nothing may follow.
    """
    define_flags(settings_class)
    for field in dataclasses.fields(settings_class):
        # absl's --help shows the flags of the program's own module only.
        flags.FLAGS.register_key_flag_for_module(sys.argv[0], flags.FLAGS[field.name])

    def main(arguments):
        if len(arguments) > 1 and rest is None:
            raise app.UsageError(f"Everything is a flag. Received: {' '.join(arguments[1:])}.")
        more = {rest: (*flags.FLAGS[rest].value, *arguments[1:])} if rest else {}
        try:
            run(from_flags(settings_class, **more))
        except Exception as error:
            if logging.get_verbosity() >= logging.DEBUG or not _has_a_sentence(error):
                raise
            logging.error("%s", error)
            raise SystemExit(1) from error

    app.run(main)


def _has_a_sentence(error: Exception) -> bool:
    """Returns whether an error says what was wrong with what the user gave."""
    kinds = (ValueError, OSError, RuntimeError, ArithmeticError, ImportError)
    # TensorFlow's say which record is damaged; a launcher that never loads it has none of them.
    tensorflow = sys.modules.get("tensorflow")
    return isinstance(error, (*kinds, tensorflow.errors.OpError) if tensorflow else kinds)


def _kind(annotation: Any) -> type:
    """Returns bool, int, float, str or tuple of an annotation such as `int | None`."""
    annotation = _without_none(annotation)
    return typing.get_origin(annotation) or annotation


def _without_none(annotation: Any) -> Any:
    """Returns `int` of `int | None`, and of `int`."""
    if typing.get_origin(annotation) is types.UnionType:
        return next(a for a in typing.get_args(annotation) if a is not type(None))
    return annotation
