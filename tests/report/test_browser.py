"""What a browser makes of a page: by light, by dark, on paper, on a telephone."""

from __future__ import annotations

import json
import shutil
import subprocess

import numpy as np
import pytest

from onepass.report.colors import DARK, LIGHT
from onepass.report.page import render

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SCRIPT = """<script>
const wide = document.documentElement.scrollWidth, room = document.documentElement.clientWidth;
const out = [...document.querySelectorAll('svg text')].filter(t => {
  const box = t.getBoundingClientRect(), svg = t.closest('svg').getBoundingClientRect();
  return box.left < svg.left - 1 || box.right > svg.right + 1;
}).map(t => t.textContent);
const color = getComputedStyle(document.body).backgroundColor;
document.title = JSON.stringify([wide, room, out, color]);
</script>"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """Run Chromium without a screen."""
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip("there is no Chromium")
    pytest.importorskip("PIL.Image")
    profile = tmp_path_factory.mktemp("profile")

    def run(page, *options):
        file = profile / "report.html"
        file.write_text(page)
        command = [path, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        command += [f"--user-data-dir={profile}", "--disable-dev-shm-usage", *options]
        done = subprocess.run(
            [*command, file.as_uri()], capture_output=True, text=True, check=True, timeout=120
        )
        return done.stdout

    return run


@pytest.fixture(scope="module")
def page(facts, drift):
    names = ["the first feature, of a name that is long", "b", "c", "d"]
    return render(facts(sweep=range(2, 12), drift=drift, names=names, name="flights"))


def rgb(color):
    return tuple(bytes.fromhex(color[1:]))


def screenshot(browser, page, tmp_path, width, *options):
    from PIL import Image

    path = tmp_path / "screen.png"
    browser(page, f"--window-size={width},1400", f"--screenshot={path}", *options)
    return Image.open(path).convert("RGB")


@pytest.mark.parametrize(
    ("colors", "options"),
    [(LIGHT, ()), (DARK, ("--blink-settings=preferredColorScheme=0",))],
    ids=["light", "dark"],
)
def test_it_is_seen_by_light_and_by_dark(browser, page, tmp_path, colors, options):
    image = screenshot(browser, page, tmp_path, 1100, *options)
    assert image.getpixel((2, 2)) == rgb(colors["paper"])
    pixels = np.asarray(image).reshape(-1, 3)
    for name in ("paper", "panel", "ink", "accent", "c0", "c1"):
        there = (pixels == rgb(colors[name])).all(axis=1).sum()
        assert there > 20, f"{name} is seen"


@pytest.mark.parametrize("width", [1400, 1100, 700, 500])
def test_nothing_is_cut_off(browser, page, width):
    """Chromium's windows are 500 pixels wide at least."""
    measuring = page.replace("</body>", f"{SCRIPT}</body>")
    dump = browser(measuring, f"--window-size={width},900", "--dump-dom")
    title = dump[dump.index("<title>") + 7 : dump.index("</title>")]
    wide, room, out, _ = json.loads(title)
    assert wide <= room
    assert out == []


def test_on_paper_it_is_light(browser, page, tmp_path):
    path = tmp_path / "page.pdf"
    browser(page, f"--print-to-pdf={path}", "--blink-settings=preferredColorScheme=0")
    content = path.read_bytes()
    assert content.startswith(b"%PDF-")
    assert 2 <= content.count(b"/Type /Page\n") + content.count(b"/Type /Page ") <= 8
