"""Pages as headless Chromium draws them: on a desk and on a phone, in light and in dark."""

import html
import json
import re
import shutil
import subprocess

import matplotlib.colors
import matplotlib.image
import numpy as np
import pytest

from ogm_tf.analysis import themes
from tests.ogm_tf.analysis import sample_pages

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
ARGUMENTS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--hide-scrollbars", "--virtual-time-budget=5000", "--dump-dom",
)  # fmt: skip
# As the browser numbers them.
SCHEMES = {"dark": (0, themes.DARK), "light": (1, themes.LIGHT)}
DESK, PHONE, HEIGHT = 1280, 390, 1600
# The browser's own window cannot be as narrow as a phone; a frame in it can.
FRAMES = f"""<!doctype html><meta name="color-scheme" content="light dark">
<style>body {{ margin: 0; display: flex; }} iframe {{ flex: none; border: 0; height: {HEIGHT}px; }}
</style><iframe src="page.html" style="width: {DESK}px"></iframe>
<iframe src="page.html" style="width: {PHONE}px"></iframe><pre></pre><script>
const said = []; addEventListener("message", event => {{ said.push(event.data);
document.querySelector("pre").textContent = JSON.stringify(said); }});</script>"""
# Tells the page around it what the page is like.
PROBE = """<script>addEventListener("load", () => { const root = document.documentElement;
parent.postMessage({ width: root.clientWidth, needed: root.scrollWidth, height: root.scrollHeight,
  pictures: document.images.length,
  broken: [...document.images].filter(image => !image.naturalWidth).map(image => image.alt),
}, "*"); });</script>"""


def find_browser():
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"None of {', '.join(BROWSERS)} is installed")
    return found


@pytest.fixture(scope="module")
def browser():
    return find_browser()


@pytest.fixture(scope="module")
def written(browser, tmp_path_factory):
    return sample_pages.write_all(tmp_path_factory.mktemp("pages"))


def look(browser, page, folder, scheme):
    """Returns what a page says of itself on a desk and on a phone, and screenshots of both.

    They are [H, W, 3] in [0, 1].
    """
    (folder / "page.html").write_text(page.read_text("utf-8") + PROBE, "utf-8")
    (folder / "frames.html").write_text(FRAMES)
    done = subprocess.run(
        [
            browser, *ARGUMENTS, f"--user-data-dir={folder / 'profile'}",
            f"--blink-settings=preferredColorScheme={scheme}",
            f"--window-size={DESK + PHONE},{HEIGHT}", f"--screenshot={folder / 'shot.png'}",
            (folder / "frames.html").as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    said = re.search("<pre>(.+?)</pre>", done.stdout)
    assert said, done.stderr[-2000:]
    shot = matplotlib.image.imread(folder / "shot.png")[..., :3]
    by_width = {own["width"]: own for own in json.loads(html.unescape(said[1]))}
    return (by_width[DESK], shot[:, :DESK]), (by_width[PHONE], shot[:, DESK:])


def test_without_a_browser_there_is_nothing_to_look_with(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(pytest.skip.Exception, match="None of chromium, .* is installed"):
        find_browser()


@pytest.mark.slow
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("kind", sample_pages.KINDS)
def test_page_fits_the_screen_and_follows_its_colours(browser, written, tmp_path, kind, scheme):
    number, theme = SCHEMES[scheme]
    for said, shot in look(browser, written[kind], tmp_path, number):
        assert said["needed"] <= said["width"], "scrolls sideways"
        assert said["height"] > HEIGHT and said["pictures"] >= 4 and said["broken"] == []
        assert shot.shape == (HEIGHT, said["width"], 3)
        # Ground, cards, and text on them, all the way down.
        for color, least in ((theme.page, 0.1), (theme.surface, 0.1), (theme.ink, 0.002)):
            away = np.abs(shot - matplotlib.colors.to_rgb(color)).max(axis=-1)
            assert np.mean(away < 0.02) > least, color
        assert all(part.std() > 0.02 for part in np.array_split(shot, 8)), "blank"
