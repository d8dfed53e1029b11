"""Pictures: every view as its visitor sees it, in light and dark, on a phone, a laptop and a wide screen.

    python -m tests.browser.pictures FOLDER

starts the real page on a home with one trained run and writes VIEW-WIDTH-SCHEME.png for each.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import Browser, Page, sync_playwright

from components.shell import VIEW_NAMES
from tests.browser.conftest import CHROMIUM, FLAGS, PATIENCE, Site, serving
from tests.support import in_home, train_preset

WIDTHS = (390, 1280, 1920)
SCHEMES = ("light", "dark")
EVERY = tuple((width, scheme) for scheme, width in product(SCHEMES, WIDTHS))
CHAIN = "sums_by_judge"
TABLE = "\n".join(["Nr,Kundenfrage,Ours,notes", *(f"{i},Where is parcel {i}?,Parcel {i} is on its way.," for i in range(40))]).encode()  # fmt: skip
SETTLED = """view => {
  const shown = document.querySelector(`#view-${view}`);
  return shown && shown.offsetHeight > 0 && ![...shown.querySelectorAll('[aria-busy=true]')].some(one => one.offsetParent);
}"""


def every(
    browser: Browser, site: Site, run: str, looks: Iterable[tuple[int, str]] = EVERY, calm: int = 700
) -> Iterator[tuple[str, int, str, Page]]:
    """(view, width, colour scheme, the page showing it), one after the other, and last a table that somebody brought. calm: as in `open_view`."""
    for width, scheme in looks:
        with browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme) as context:
            context.set_default_timeout(PATIENCE)
            page = context.new_page()
            page.goto(site.address)
            page.wait_for_selector("#view-start")
            for view in VIEW_NAMES:
                open_view(page, view, CHAIN if view == "journey" else run, calm)
                yield view, width, scheme, page
            bring_table(page, calm)
            yield "table", width, scheme, page


def bring_table(page: Page, calm: int) -> None:
    """Choose with a table of one's own, its columns told apart by clicking."""
    open_view(page, "choose", calm=calm)
    page.set_input_files("#upload", {"name": "messy.csv", "mimeType": "", "buffer": TABLE})
    page.get_by_label("What the column Kundenfrage is").select_option(label="The question")
    page.get_by_label("What the column Ours is").select_option(label="The answer")
    page.locator(".becomes dd").first.wait_for()
    page.wait_for_function(SETTLED, arg="choose")


def open_view(page: Page, view: str, of: str = "", calm: int = 700) -> None:
    """Goes there and waits until nothing is busy any more. calm: milliseconds after which what was asked for has begun."""
    page.evaluate("([view, of]) => tunesmith.go(view, of || undefined)", [view, of])
    page.wait_for_function(SETTLED, arg=view)
    page.wait_for_timeout(calm)
    page.wait_for_function(SETTLED, arg=view)


def take(page: Page, width: int, file: Path) -> None:
    """The whole view. On a screen as tall as that, so that what keeps to the screen's lower edge stands below the rest."""
    page.set_viewport_size({"width": width, "height": max(900, page.evaluate("document.documentElement.scrollHeight"))})
    page.wait_for_timeout(300)  # charts draw themselves anew
    page.screenshot(path=file)
    page.set_viewport_size({"width": width, "height": 900})


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as home, sync_playwright() as playwright:
        with in_home(Path(home)):
            run = train_preset("first_tune")
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        with serving(Path(home)) as site:
            for view, width, scheme, page in every(browser, site, run.id):
                file = folder / f"{view}-{width}-{scheme}.png"
                take(page, width, file)
                print(file)
        browser.close()


if __name__ == "__main__":
    main()
