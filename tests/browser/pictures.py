"""Screenshots of every view, in light and dark colours, on a phone, a laptop and a wide screen.

    python -m tests.browser.pictures FOLDER

starts the real server on a home with one trained run and writes VIEW-WIDTH-SCHEME.png for each.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import Browser, Page, sync_playwright

from components.shell import VIEW_NAMES
from tests.browser.conftest import CHROMIUM, CHROMIUM_FLAGS, TIMEOUT_MS, Site, serve_site
from tests.support import train_preset, use_home

WIDTHS = (390, 1280, 1920)
SCHEMES = ("light", "dark")
ALL_VIEWPORTS = tuple((width, scheme) for scheme, width in product(SCHEMES, WIDTHS))
PIPELINE_PRESET = "sums_by_judge"
UPLOADED_CSV = "\n".join(["Nr,Kundenfrage,Ours,notes", *(f"{i},Where is parcel {i}?,Parcel {i} is on its way.," for i in range(40))]).encode()  # fmt: skip
VIEW_IS_IDLE = """view => {
  const shown = document.querySelector(`#view-${view}`);
  return shown && shown.offsetHeight > 0 && ![...shown.querySelectorAll('[aria-busy=true]')].some(one => one.offsetParent);
}"""


def iterate_views(
    browser: Browser, site: Site, run: str, viewports: Iterable[tuple[int, str]] = ALL_VIEWPORTS, settle_ms: int = 700
) -> Iterator[tuple[str, int, str, Page]]:
    """Yields (view, width, colour scheme, page showing it) for every view, then for Choose with an uploaded table. settle_ms: as in `open_view`."""
    for width, scheme in viewports:
        with browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme) as context:
            context.set_default_timeout(TIMEOUT_MS)
            page = context.new_page()
            page.goto(site.address)
            page.wait_for_selector("#view-start")
            for view in VIEW_NAMES:
                open_view(page, view, PIPELINE_PRESET if view == "journey" else run, settle_ms)
                yield view, width, scheme, page
            upload_table(page, settle_ms)
            yield "table", width, scheme, page


def upload_table(page: Page, settle_ms: int) -> None:
    """Opens Choose with an uploaded table and assigns its columns."""
    open_view(page, "choose", settle_ms=settle_ms)
    page.set_input_files("#upload", {"name": "messy.csv", "mimeType": "", "buffer": UPLOADED_CSV})
    page.get_by_label("What the column Kundenfrage is").select_option(label="The question")
    page.get_by_label("What the column Ours is").select_option(label="The answer")
    page.locator(".becomes dd").first.wait_for()
    page.wait_for_function(VIEW_IS_IDLE, arg="choose")


def open_view(page: Page, view: str, record_id: str = "", settle_ms: int = 700) -> None:
    """Opens a view and waits until nothing is busy. settle_ms: milliseconds within which requested work has started."""
    page.evaluate("([view, of]) => tunesmith.go(view, of || undefined)", [view, record_id])
    page.wait_for_function(VIEW_IS_IDLE, arg=view)
    page.wait_for_timeout(settle_ms)
    page.wait_for_function(VIEW_IS_IDLE, arg=view)


def save_screenshot(page: Page, width: int, file: Path) -> None:
    """Saves the full view. The viewport is as tall as the view, so that elements fixed to its lower edge are below the rest."""
    page.set_viewport_size({"width": width, "height": max(900, page.evaluate("document.documentElement.scrollHeight"))})
    page.wait_for_timeout(300)  # charts redraw themselves
    page.screenshot(path=file)
    page.set_viewport_size({"width": width, "height": 900})


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as home, sync_playwright() as playwright:
        with use_home(Path(home)):
            run = train_preset("first_tune")
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_FLAGS)
        with serve_site(Path(home)) as site:
            for view, width, scheme, page in iterate_views(browser, site, run.id):
                file = folder / f"{view}-{width}-{scheme}.png"
                save_screenshot(page, width, file)
                print(file)
        browser.close()


if __name__ == "__main__":
    main()
