"""Fills the page of the launchers with every flag, and takes along what pages link to elsewhere."""

import dataclasses
import html
import inspect
import pathlib
import posixpath
import re

from mkdocs.structure.files import File, InclusionLevel

from launchers import catalogue

_MARK = "<!-- launchers -->"
# MkDocs would make of README the page that index.md is.
_README = "readme.md"
_LINK = re.compile(r"(?<=\]\()(?!\w+:)[^)#\s]+")


def on_files(files, config):
    """Adds README as a page, and the files of the repository that pages link to; a hook of MkDocs.

    They stand in the site where they stand in the repository.
    """
    root = _root(config)
    found = ["README.md", *(f"docs/{page.src_uri}" for page in files.documentation_pages())]
    # Pages that are added may link to more.
    for path in found:
        if path.endswith(".md"):
            links = _LINK.findall((root / path).read_text("utf-8"))
            targets = {posixpath.normpath(posixpath.join(path, "..", link)) for link in links}
            found += sorted(targets - set(found))
    for path in found:
        if not path.startswith("docs/"):
            source = str(root / path)
            # The pages' own Python is excluded by its ending.
            kept = InclusionLevel.INCLUDED
            files.append(
                File.generated(config, _in_site(path), abs_src_path=source, inclusion=kept)
            )
    return files


def on_page_markdown(markdown: str, page, config, files) -> str:
    """Returns a page's text with the launchers in place of the mark; a hook of MkDocs.

    Links are those of the site, where docs is the root.
    """
    uri = page.file.src_uri
    is_ours = (_root(config) / "docs" / uri).exists()
    path = f"docs/{uri}" if is_ours else "README.md" if uri == _README else uri

    def in_site(link):
        target = _in_site(posixpath.normpath(posixpath.join(path, "..", link[0])))
        return posixpath.relpath(target, posixpath.dirname(uri) or ".")

    markdown = _LINK.sub(in_site, markdown)
    return markdown.replace(_MARK, launchers()) if _MARK in markdown else markdown


def _root(config) -> pathlib.Path:
    return pathlib.Path(config.config_file_path).parent


def _in_site(path: str) -> str:
    """Returns where a path of the repository stands in the site."""
    return _README if path == "README.md" else path.removeprefix("docs/")


def launchers() -> str:
    """Returns a section a launcher: what it does, and a table of its flags."""
    return "\n\n".join(_launcher(name) for name in catalogue.names())


def _launcher(name: str) -> str:
    module = catalogue.module(name)
    rows = ["| flag | default | |", "| --- | --- | --- |"]
    for field in dataclasses.fields(catalogue.settings_class(name)):
        is_required = field.default is dataclasses.MISSING
        default = "**required**" if is_required else _default(field.default)
        # A paragraph a dataset would break the table.
        words = [field.metadata["help"].split("\n\n")[0]]
        if field.metadata["choices"]:
            words.append(f"One of: {', '.join(field.metadata['choices'])}.")
        if field.metadata["rule"]:
            words.append(f"{field.metadata['rule'][:1].upper()}{field.metadata['rule'][1:]}.")
        help = html.escape(" ".join(words), quote=False).replace("|", "\\|").replace("\n", " ")
        rows.append(f"| `--{field.name}` | {default} | {help} |")
    return "\n".join([f"## {name}", "", _with_code(inspect.getdoc(module)), "", *rows])


def _with_code(docstring: str) -> str:
    """Returns a docstring as Markdown: what is set in by two spaces is a command."""
    lines, was_code = [], False
    for line in [*docstring.splitlines(), ""]:
        is_code = line.startswith("  ") or (was_code and not line)
        if is_code != was_code:
            lines.append("```bash" if is_code else "```\n")
        lines.append(line.removeprefix("  "))
        was_code = is_code
    text = "\n".join([*lines, "```"] if was_code else lines)
    return text


def _default(value) -> str:
    if value is None or value == ():
        return ""
    if isinstance(value, tuple):
        value = ",".join(map(str, value))
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"
