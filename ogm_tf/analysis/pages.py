"""Pages from templates, and files that appear whole or not at all."""

import os
import pathlib
from typing import Any

import jinja2

from ogm_tf.analysis import themes

_TEMPLATES = pathlib.Path(__file__).parent / "templates"


def render(template: str, **values: Any) -> str:
    """Returns a page.

    Args:
      template: Name of a file of the templates.
      **values: What it shows; the themes are given to it.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(light=themes.LIGHT, dark=themes.DARK, **values)


def write(path: pathlib.Path, data: bytes) -> None:
    """Writes a file: complete or not at all."""
    partial = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        partial.write_bytes(data)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
