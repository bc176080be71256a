"""Tests of the page in a browser without a network; skipped without Chromium."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest
from PIL import Image

from raysearch.report.page import PANELS, render_page
from raysearch.results.predictions import Predictions
from tests.raysearch.report.histories import rich_view
from trainables.protocol import PredictedPicture, PredictedRow, PredictionPanel

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync"]

playwright = pytest.importorskip("playwright.sync_api")


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    if not CHROMIUM.exists():
        pytest.skip("there is no Chromium")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield opened
        opened.close()


def _pictures(folder: Path) -> Predictions:
    names = ("image.jpg", "truth.png", "winner.png", "default.png")
    for name in names:
        Image.new("RGB", (64, 48), (30, 90, 160)).save(folder / name)
    pictures = tuple(PredictedPicture(name, f"{name} 0.300", name.endswith("png")) for name in names)
    rows = tuple(PredictedRow(f"{'worst' if n < 4 else 'typical'}: 0016E5_{n:05d}", pictures) for n in range(6))
    legend = (("sky", "#000000"), ("a class of a very long name indeed", "#e69f00"))
    return Predictions(folder, PredictionPanel("The images that trial 45 is worst at.", rows, legend))


# Returns what is wrong with a page, in words; empty if nothing is.
FAULTS = """() => {
  const faults = [];
  const root = document.documentElement;
  const beyond = root.scrollWidth - root.clientWidth;
  if (beyond > 0) faults.push(`wider than the window by ${beyond}`);
  for (const heading of document.querySelectorAll("h1, h2")) {
    const box = heading.getBoundingClientRect();
    const seen = box.width > 0 && box.height > 0 && box.left >= 0 && box.left < root.clientWidth;
    if (!seen) faults.push(heading.textContent);
  }
  for (const plot of document.querySelectorAll(".plot")) {
    const drawn = plot.querySelectorAll(".scatterlayer .trace, .barlayer .trace, .contourlayer .contour").length;
    if (!drawn || plot.getBoundingClientRect().width < 200) faults.push(`not drawn: ${plot.ariaLabel}`);
  }
  for (const image of document.images) if (!image.naturalWidth) faults.push("a broken picture");
  return faults;
}"""


# Figures follow the width of the window with a delay.
FITTED = """[...document.querySelectorAll(".plot")].every(
  (plot) => !plot.firstChild || plot.firstChild.offsetWidth <= plot.offsetWidth)"""


def _wait_until(page: "Page", expression: str) -> None:
    """Wait in this process, because the page's policy forbids Playwright's own waiting."""
    for _ in range(200):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(50)
    raise AssertionError(expression)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_whole_at_every_width_in_both_schemes(
    browser: "Browser", scheme: Literal["light", "dark"], tmp_path: Path
) -> None:
    view = replace(rich_view(40), predictions=_pictures(tmp_path))
    path = tmp_path / "report.html"
    path.write_text(render_page(view, "a search with a name"), encoding="utf-8")
    context = browser.new_context(color_scheme=scheme, viewport={"width": 360, "height": 800}, offline=True)
    page = context.new_page()
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url.partition(":")[0]))
    page.goto(path.as_uri())
    assert [heading.inner_text() for heading in page.query_selector_all("h2")] == [title for title, _ in PANELS]
    for width in (360, 800, 1920):
        page.set_viewport_size({"width": width, "height": 800})
        _wait_until(page, FITTED)
        assert page.evaluate(FAULTS) == [], f"at a width of {width}"
    paper, ink = page.evaluate(
        "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
    )
    brightness = [sum(map(int, color[4:-1].split(","))) for color in (paper, ink)]
    assert (brightness[0] > brightness[1]) == (scheme == "light")
    page.click("#config .copy")
    _wait_until(page, "document.querySelector('#config .copy').textContent != 'Copy'")
    assert said == []
    assert [kind for kind in asked if kind not in ("file", "data", "blob")] == []
    context.close()
