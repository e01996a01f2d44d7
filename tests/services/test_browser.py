"""STAC Browser in a real web browser over the sample world: what somebody who opens the catalogue sees.

Screenshots go to the folder that TERRALOOM_ARTEFACTS names, else to build/screens.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from PIL import Image

from catalog.browser.build import build_browser, find_build
from catalog.browser.toolchain import find_node
from infra.errors import ConfigError
from infra.settings import cache_home
from tests.support.processes import CommandLine, stop

playwright = pytest.importorskip("playwright.sync_api", reason="the Python package playwright is not here")

pytestmark = [pytest.mark.services, pytest.mark.timeout(900)]

SCREENS = Path(os.environ.get("TERRALOOM_ARTEFACTS", "build/screens"))
SWITCHES = (
    *("--no-sandbox", "--no-first-run", "--disable-quic", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
    # maps are drawn by WebGL, which a machine without a graphics card does in software
    *("--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"),
)
SCHEMA_HOSTS = re.compile(r"https://(schemas\.stacspec\.org|geojson\.org)/|ResolverError")
"""What the search page asks for to explain queryables; it goes on without."""


@dataclass
class Visit:
    """One page, and everything it said and asked for."""

    page: Any
    base: str
    errors: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    answers: list[tuple[int, str]] = field(default_factory=list)

    def __post_init__(self):
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("response", lambda answer: self.answers.append((answer.status, answer.url)))

    def _hear(self, message):
        if message.type == "error":
            self.errors.append(message.text)

    def open(self, path):
        self.page.goto(f"{self.base}/browser/#{path}")
        self.page.wait_for_load_state("networkidle")

    def keep(self, name):
        """Keep a picture of the page."""
        SCREENS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SCREENS / f"{name}.png", full_page=True)

    def foreign(self):
        """Addresses of other hosts that the page asked for."""
        ours = urlsplit(self.base).netloc
        return [url for url in self.asked if url.startswith("http") and urlsplit(url).netloc != ours]


def colours(locator):
    """Count the colours of an element as it is drawn."""
    picture = Image.open(io.BytesIO(locator.screenshot())).convert("RGB")
    return len(picture.getcolors(maxcolors=picture.width * picture.height) or ())


def wait_for_colours(locator, at_least, timeout_s=40):
    deadline = time.monotonic() + timeout_s
    while (count := colours(locator)) < at_least and time.monotonic() < deadline:
        time.sleep(0.5)
    return count


def wait_for_width(picture, timeout_s=20):
    """Return a picture's own width once it is loaded; 0 when it never is."""
    deadline = time.monotonic() + timeout_s
    while not (width := picture.evaluate("img => img.naturalWidth")) and time.monotonic() < deadline:
        time.sleep(0.1)
    return width


@pytest.fixture(scope="module")
def pages():
    """STAC Browser in the user's cache; built when it is not there yet."""
    folder = find_build(cache_home(os.environ))
    if folder is not None:
        return folder
    try:
        return build_browser(
            cache_home(os.environ), find_node(os.environ), environ=os.environ, tell=lambda _line: None
        )
    except ConfigError as exc:
        pytest.skip(f"STAC Browser cannot be built here: {exc.message}")


@pytest.fixture(scope="module")
def chromium():
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("no Chromium on the PATH: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=found, args=list(SWITCHES))
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def base(pages, chromium, tmp_path_factory) -> Iterator[str]:
    """The sample world, mapped by the demo and shown by 'terraloom browse'."""
    folder = tmp_path_factory.mktemp("browsed")
    environment = {"XDG_DATA_HOME": str(folder / "data"), "TERRALOOM_DASK__DASHBOARD_PORT": "0"}
    terraloom = CommandLine(folder=folder, environment=environment)
    ended = terraloom.run("demo", "--no-serve", "--folder", folder / "demo", "--json", timeout_s=500)
    assert ended.code == 0, ended.err
    process = terraloom.start("browse", "--store", folder / "demo" / "store", "--port", "0", "--no-open")
    try:
        found = re.search(r"STAC Browser at (http://\S+)/browser/", process.stdout.readline())
        assert found, "browse named no address"
        yield found[1]
    finally:
        stop(process)


@pytest.fixture
def visit(chromium, base):
    page = chromium.new_page(viewport={"width": 1280, "height": 1000})
    page.set_default_timeout(30_000)
    visited = Visit(page=page, base=base)
    yield visited
    page.close()
    assert not [error for error in visited.errors if not SCHEMA_HOSTS.search(error)]
    assert not [url for url in visited.foreign() if not SCHEMA_HOSTS.search(url)]
    assert not [answer for answer in visited.answers if answer[0] >= 400]


@pytest.fixture(scope="module")
def item(base):
    """Some optical item of the catalogue."""
    features = httpx.get(f"{base}/search", params={"collections": "scenes"}).json()["features"]
    assert len(features) == 6
    return next(each for each in features if "optical" in each["id"])


def test_start_page_lists_collections(visit):
    visit.open("/")
    card = visit.page.get_by_role("link", name="Analysis-ready scenes")
    card.first.wait_for()
    visit.keep("1-start")
    card.first.click()
    visit.page.get_by_role("heading", name="Analysis-ready scenes").wait_for()


def test_collection_shows_its_items(visit):
    visit.open("/collections/scenes")
    cards = visit.page.locator(".item-card")
    cards.nth(5).wait_for()
    assert cards.count() == 6
    for index in range(6):
        picture = cards.nth(index).locator("img")
        picture.scroll_into_view_if_needed()
        assert wait_for_width(picture) > 0
    canvas = visit.page.locator(".ol-viewport").first
    canvas.scroll_into_view_if_needed()
    assert wait_for_colours(canvas, 200) >= 200
    visit.keep("2-collection")


def test_item_is_drawn_on_the_map(visit, item):
    visit.open(f"/collections/scenes/items/{item['id']}")
    visit.page.get_by_role("heading", name=item["properties"]["title"]).wait_for()
    canvas = visit.page.locator(".ol-viewport").first
    shown = wait_for_colours(canvas, 1000)
    visit.keep("3-item")
    assert shown >= 1000, "only the grid and the footprint are drawn"
    parts = [url for status, url in visit.answers if status == 206]
    assert parts
    assert all(url.endswith("/preview.tif") for url in parts)
    # without the picture, the same map is a few flat colours
    visit.page.locator(".ol-layercontrol button").click()
    visit.page.locator(".layercontrol .custom-checkbox label").last.click()
    visit.page.keyboard.press("Escape")
    deadline = time.monotonic() + 20
    while (left := colours(canvas)) * 3 > shown and time.monotonic() < deadline:
        time.sleep(0.5)
    assert left * 3 < shown


def test_item_shows_thumbnail_bands_and_sources(visit, item):
    visit.open(f"/collections/scenes/items/{item['id']}")
    visit.page.get_by_role("tab", name="Thumbnails").click()
    picture = visit.page.locator(".thumbnail img, img.thumbnail, .carousel img").first
    picture.wait_for(state="visible")
    assert wait_for_width(picture) > 100
    visit.page.get_by_role("button", name="Cube, full resolution").click()
    for band in ("red", "swir16"):
        visit.page.get_by_role("cell", name=band, exact=True).first.wait_for()
    visit.page.get_by_text("Terraloom").first.wait_for()
    visit.keep("4-assets")


def test_search_by_words(visit):
    visit.open("/search")
    visit.page.get_by_role("tab", name="Search for Items").click()
    panel = visit.page.get_by_role("tabpanel").locator("visible=true")
    words = panel.locator(".multiselect").first
    words.click()
    visit.page.keyboard.type("radar")
    visit.page.keyboard.press("Enter")
    visit.page.keyboard.press("Escape")
    panel.get_by_role("button", name="Submit").click()
    cards = visit.page.locator(".item-card")
    cards.first.wait_for()
    assert wait_for_colours(visit.page.locator(".ol-viewport").last, 200) >= 200
    visit.keep("5-search-words")
    titles = [title.lower() for title in cards.locator(".card-title").all_inner_texts()]
    assert titles
    assert all("radar" in title for title in titles)


def test_search_by_box(visit):
    visit.open("/search")
    visit.page.get_by_role("tab", name="Search for Items").click()
    panel = visit.page.get_by_role("tabpanel").locator("visible=true")
    panel.get_by_text("Filter by spatial extent").click()
    canvas = panel.locator(".ol-viewport")
    canvas.wait_for()
    time.sleep(1)
    place = canvas.bounding_box()

    def drag(left, top, right, bottom):
        at = [
            (place["x"] + place["width"] * x, place["y"] + place["height"] * y)
            for x, y in ((left, top), (right, bottom))
        ]
        visit.page.keyboard.down("Shift")
        visit.page.mouse.move(*at[0])
        visit.page.mouse.down()
        visit.page.mouse.move(*at[1], steps=8)
        visit.page.mouse.up()
        visit.page.keyboard.up("Shift")

    drag(0.40, 0.10, 0.60, 0.45)
    panel.get_by_role("button", name="Submit").click()
    cards = visit.page.locator(".item-card")
    cards.nth(8).wait_for()
    assert wait_for_colours(visit.page.locator(".ol-viewport").last, 200) >= 200
    visit.keep("6-search-box")
    assert cards.count() == 9  # six cubes, the map data and two registrations
    # the same longitudes south of the equator
    drag(0.40, 0.60, 0.60, 0.80)
    panel.get_by_role("button", name="Submit").click()
    cards.first.wait_for(state="detached")
    assert cards.count() == 0
