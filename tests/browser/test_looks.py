"""Looks: every view at every width, light and dark: nothing sticks out, and nothing hinders a keyboard or a screen reader."""

from __future__ import annotations

import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from tests.browser.conftest import Site
from tests.browser.pictures import every
from tests.support import in_home, train_preset

pytestmark = pytest.mark.slow

# Words of the builders' that a visitor has no use for.
OURS = re.compile(r"\b(?:spec|knob|engine|backend)s?\b", re.IGNORECASE)


@pytest.mark.timeout(900)  # 42 pages, each looked at by axe
def test_every_view_fits_speaks_plainly_and_is_open_to_everyone(chromium: Browser, site: Site) -> None:
    with in_home(site.home):
        run = train_preset("first_tune", epochs=0.4)
    found = []
    for view, width, scheme, page in every(chromium, site, run.id):
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
