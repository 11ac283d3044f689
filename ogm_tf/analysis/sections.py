"""Parts of a page about runs, each from a template of its own."""

import dataclasses
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of a page: an entry of its contents, a title, and what a template makes of it.

    Args:
      title: Of the part.
      anchor: Its place in the page's address, lower case, unique in the page.
      template: Name of a file of the templates, which shows `section`.
      values: What the template shows, as `section.values`; pictures are data URIs.
      files: Texts to write beside the page, by name.
      is_last: Whether it stands at the end, above the settings, or else after the curves.
    """

    title: str
    anchor: str
    template: str
    values: Mapping[str, Any]
    files: Mapping[str, str] = dataclasses.field(default_factory=dict)
    is_last: bool = False
