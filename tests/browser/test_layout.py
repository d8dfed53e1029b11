"""Looks: every view on a laptop, light and dark, and on a phone: nothing sticks out, and nothing hinders a keyboard or a screen
reader. At every width: `python -m tests.browser.pictures`."""

from __future__ import annotations

import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from app.runs.store import Run
from tests.browser.conftest import Site
from tests.browser.pictures import every

pytestmark = pytest.mark.slow

# Words of the builders' that a visitor has no use for.
OURS = re.compile(r"\b(?:spec|knob|engine|backend)s?\b", re.IGNORECASE)


LOOKS = ((1280, "light"), (1280, "dark"), (390, "light"))


@pytest.mark.timeout(900)  # two dozen pages, each looked at by axe
def test_every_view_fits_speaks_plainly_and_is_open_to_everyone(chromium: Browser, site: Site, ready: Run) -> None:
    found = []
    for view, width, scheme, page in every(chromium, site, ready.id, LOOKS, calm=200):
        where = f"{view} at {width} pixels, {scheme}"
        if page.evaluate("document.documentElement.scrollWidth") > width:
            found.append(f"{where}: something sticks out")
        found += [f"{where}: the word {word}" for word in OURS.findall(page.locator("body").inner_text())]
        found += [f"{where}: {one}" for one in hindrances(page)]
    assert found == []


def hindrances(page: Page) -> list[str]:
    """axe-core's serious and critical findings, each with the first place it was seen at."""
    answer = Axe().run(page)
    return [
        f"{one['id']}: {one['help']} ({one['nodes'][0]['html'][:160]})"
        for one in answer.response["violations"]
        if one["impact"] in ("serious", "critical")
    ]
