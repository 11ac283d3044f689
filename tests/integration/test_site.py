"""The documentation's site: it is built without a warning, and every link leads somewhere."""

import html.parser
import os
import re
import subprocess
import sys
import urllib.parse

import pytest

from launchers import catalogue
from tests.source_tree import ROOT


class Links(html.parser.HTMLParser):
    """Collects what a page links to and shows, and the places in it that a link can name."""

    def __init__(self, text):
        super().__init__()
        self.targets, self.places = [], set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            if name in ("href", "src") and value:
                self.targets.append(value)
            if name in ("id", "name"):
                self.places.add(value)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    makefile = (ROOT / "Makefile").read_text()
    # As `make docs` does.
    (arguments,) = re.findall(r"\$\(VENV_PYTHON\) (-m mkdocs build.*)", makefile)
    done = subprocess.run(
        [sys.executable, *arguments.split(), "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
def test_links_lead_somewhere(site):
    pages = {path: Links(path.read_text("utf-8")) for path in site.rglob("*.html")}
    assert {"index.html", "api.html", "launchers.html", "readme.html"} <= {p.name for p in pages}
    broken, num_followed = [], 0
    for page, links in pages.items():
        if page.name == "404.html":
            # Its links are for any folder of a server.
            continue
        for target in links.targets:
            link = urllib.parse.urlsplit(target)
            if link.scheme:
                continue
            path = page if not link.path else (page.parent / urllib.parse.unquote(link.path))
            path = path.resolve()
            place = urllib.parse.unquote(link.fragment)
            is_there = path.is_relative_to(site) and path.exists()
            if is_there and place and path in pages:
                is_there = place in pages[path].places
            num_followed += 1
            if not is_there:
                broken.append(f"{page.relative_to(site)}: {target}")
    assert broken == [] and num_followed > 500


@pytest.mark.slow
def test_what_pages_link_to_is_taken_along(site):
    for path in ("examples/serving/client.py", "examples/serving/client.c", "report.png"):
        (source,) = (file for file in (ROOT / path, ROOT / "docs" / path) if file.is_file())
        assert (site / path).read_bytes() == source.read_bytes()
    assert not (site / "site_hooks.py").exists()


@pytest.mark.slow
def test_every_launcher_and_flag_is_there(site):
    text = (site / "launchers.html").read_text("utf-8")
    places = Links(text).places
    for name in catalogue.names():
        assert name in places, name
        for flag in catalogue.settings_class(name).__dataclass_fields__:
            assert f"<code>--{flag}</code>" in text, flag
