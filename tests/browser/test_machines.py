"""A machine over ssh in the browser: added, prepared and used by clicks; its host goes away in mid-run and comes back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from app.runs import events
from app.runs.store import Run
from tests.browser.conftest import Site
from tests.ssh_server import SshServer, end_processes_of, ssh_server
from tests.support import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.full, pytest.mark.timeout(600)]


@pytest.fixture
def server(site: Site) -> Iterator[SshServer]:
    with ssh_server() as started:
        yield started
        end_processes_of(started, site.home)


def test_a_machine_is_added_prepared_and_used_by_clicks(page: Page, site: Site, server: SshServer) -> None:
    page.goto(f"{site.base_url}#check")
    expect(page.locator("#begin")).to_be_enabled()
    page.get_by_role("button", name="Where it runs, and when it stops by itself").click()
    page.get_by_role("button", name="Add a machine").click()
    page.get_by_role("button", name="For special cases").click()
    page.locator("#machine-name textarea, #machine-name input").fill("lab")
    page.locator("#machine-host textarea, #machine-host input").fill("lab")
    for name, value in server.fields.items():
        page.locator(f"#machine-{name} textarea, #machine-{name} input").fill(value)
    server.write_client_config(key="other_key")
    page.locator("#machine-add").click()
    expect(page.locator("#machine-notice")).to_contain_text("“lab” refuses your key")
    server.write_client_config()
    page.locator("#machine-add").click()
    expect(page.locator("#machine-report")).to_contain_text("Cores: ")
    page.locator("#machine-prepare").click()
    expect(page.locator("#machine-report")).to_contain_text("Ready.")
    expect(page.locator("#machine input")).to_have_value("lab, over ssh")

    page.locator("#begin").click()
    expect(page.locator("#view-watch")).to_be_visible()
    place = page.locator(".progress [data-told=place]")
    expect(place).to_have_text("on lab")
    expect(page.locator(".progress [data-told=step]")).to_contain_text("step 5")
    server.stop()
    expect(place).to_contain_text("without contact")
    expect(place).to_contain_text("it may still be training")
    server.start()
    expect(page.locator(".progress .told strong")).to_contain_text("Finished")
    expect(place).to_have_text("on lab")
    run_id = page.url.rpartition("/")[2]
    run = Run(site.home / "runs" / run_id)
    seqs = [event.seq for event in events.read_events(run.events)]
    assert seqs == list(range(1, len(seqs) + 1)), "the curve is whole"
    wait_until(run.adapter.is_dir)
