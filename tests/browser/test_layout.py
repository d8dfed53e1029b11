"""Layout: every view at the width of a laptop, light and dark, and of a phone: nothing overflows, and keyboards and screen readers
can use it. For screenshots at every width: `python -m tests.browser.pictures`."""

from __future__ import annotations

import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from app.runs.store import Run
from tests.browser.conftest import Site
from tests.browser.pictures import iterate_views

pytestmark = pytest.mark.slow

# Words of the code that must not be on the page, except in commands and files that it shows.
PROSE_JS = """() => {
  const code = [...document.querySelectorAll('code, pre, textarea')].filter(shown => shown.offsetParent);
  return code.reduce((text, shown) => text.replaceAll(shown.innerText, ''), document.body.innerText);
}"""
INTERNAL_WORDS = re.compile(r"\b(?:spec|knob|engine|backend)s?\b", re.IGNORECASE)


WIDTHS_AND_COLOR_SCHEMES = ((1280, "light"), (1280, "dark"), (390, "light"))


@pytest.mark.timeout(900)  # two dozen pages, each checked by axe
def test_every_view_fits_its_width_uses_plain_words_and_is_accessible(
    chromium: Browser, site: Site, finished_run: Run
) -> None:
    problems = []
    for view, width, scheme, page in iterate_views(
        chromium, site, finished_run.id, WIDTHS_AND_COLOR_SCHEMES, settle_ms=200
    ):
        view_label = f"{view} at {width} pixels, {scheme}"
        if page.evaluate("document.documentElement.scrollWidth") > width:
            problems.append(f"{view_label}: something sticks out")
        problems += [f"{view_label}: the word {word}" for word in INTERNAL_WORDS.findall(page.evaluate(PROSE_JS))]
        problems += [f"{view_label}: {violation}" for violation in accessibility_violations(page)]
    assert problems == []


def accessibility_violations(page: Page) -> list[str]:
    """The serious and critical violations that axe-core reports, each with the HTML of the first element."""
    axe_results = Axe().run(page)
    return [
        f"{violation['id']}: {violation['help']} ({violation['nodes'][0]['html'][:160]})"
        for violation in axe_results.response["violations"]
        if violation["impact"] in ("serious", "critical")
    ]
