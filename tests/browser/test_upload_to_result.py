"""Three people from their own material to what they came for: a support lead, an engineer, and a phone that follows a run."""

from __future__ import annotations

import csv
import io
import json
import random
import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from app.planning import launcher, preflight, presets
from app.runs import store
from app.runs.store import Run
from tests.browser.conftest import TIMEOUT_MS, BrowserTab, Site
from tests.browser.test_choose import current_setup, setting_input
from tests.browser.test_first_evening import ClickRecorder
from tests.browser.test_watch import LOSS_POINT_COUNT
from tests.hub import LocalHub
from tests.support import start_run, use_home

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

# -- a support lead -----------------------------------------------------------------------------------------------

MAX_SUPPORT_LEAD_ACTIONS = 10
ANSWERS = {
    "Rechnung": "Guten Tag, die Rechnung über {n} € liegt in Ihrem Konto unter „Belege“.",
    "Lieferung": "Guten Tag, Ihr Paket {n} ist unterwegs – es kommt übermorgen.",
    "Rückgabe": "Guten Tag, für die Rückgabe {n} schicken wir Ihnen ein Etikett.",
}
QUESTIONS = {
    "Rechnung": "Wo finde ich die Rechnung über {n} €?",
    "Lieferung": "Wann kommt mein Paket {n}?",
    "Rückgabe": "Wie schicke ich die Bestellung {n} zurück?",
}


def support_table() -> bytes:
    """200 rows as a German spreadsheet program writes them: Windows-1252, semicolons, six columns, repeated and empty rows."""
    randomness = random.Random(7)
    table = io.StringIO()
    writer = csv.writer(table, delimiter=";")
    writer.writerow(["Ticket", "Datum", "Thema", "Kundenfrage", "Unsere Antwort", "Bearbeitet von"])
    rows = []
    for i in range(180):
        topic, number = randomness.choice(list(QUESTIONS)), randomness.randrange(100, 999)
        question, answer = QUESTIONS[topic].format(n=number), ANSWERS[topic].format(n=number)
        rows.append([f"T-{i:04}", f"{1 + i % 28:02}.09.2026", topic, question, answer, randomness.choice("ABC")])
    rows += rows[:12]  # exported twice
    rows += [[f"T-9{i:03}", "", "", QUESTIONS["Rechnung"].format(n=i), "", "A"] for i in range(5)]  # not answered yet
    rows += [[""] * 6] * 3
    writer.writerows(rows)
    return table.getvalue().encode("cp1252")


@pytest.fixture(scope="module")
def site(signed_in_site: Site) -> Site:
    return signed_in_site


def test_a_support_lead_publishes_what_learned_from_a_spreadsheet(page: Page, site: Site, hub: LocalHub) -> None:
    click = ClickRecorder()
    page.locator(".own-examples input[type=file]").set_input_files(
        {"name": "Tickets September.csv", "mimeType": "text/csv", "buffer": support_table()}
    )
    click.labels.append("Choose a file")
    expect(page.locator("#upload-note")).to_contain_text("It may be in Windows-1252")
    click(page.locator(".offers button", has_text="Windows-1252"))
    expect(page.locator("#upload-note")).to_contain_text("Tickets September.csv is taken")
    expect(page.locator(".reading")).to_contain_text("Questions and answers")
    click(page.get_by_role("button", name="Ask “Kundenfrage”, learn “Unsere Antwort”"))
    expect(page.locator(".becomes")).to_contain_text("Guten Tag, ")
    assert current_setup(page)["data"][0]["mapping"] == {"prompt": "Kundenfrage", "completion": "Unsere Antwort"}

    click(page.get_by_role("button", name="Check the examples"))
    audit = page.locator("#audit")
    expect(audit.locator(".audit-summary")).to_contain_text("examples looked at")
    click(audit.locator("li", has_text="word for word").locator(".mend"))
    expect(audit.locator(".audit-mended li")).to_have_count(1)

    click(page.get_by_role("button", name="Start training"))
    expect(page.locator("#progress .progress")).to_have_attribute("data-state", "finished", timeout=600_000)
    expect(page.locator("#progress .verdict")).to_contain_text("never saw")
    click(page.locator("#try-it"))
    prompt = page.locator("#talk-prompts [data-prompt]").first
    click(prompt)
    expect(page.locator("#talk-answers .tuned small")).to_contain_text("tokens in")
    # The practice model knows a little English alone: that it learned is in the verdict, here that its answer changed.
    tuned, base = (page.locator(f"#talk-answers .{side} .words-said").inner_text() for side in ("tuned", "base"))
    assert tuned != base
    click(page.locator("#talk-publish"))
    expect(page.locator("#publish-who")).to_contain_text("alice")
    click(page.locator("#publish-push"))
    expect(page.locator("#publish-done")).to_contain_text("alice/")
    assert len(click.labels) <= MAX_SUPPORT_LEAD_ACTIONS, click.labels

    repo = re.search(r"alice/[\w.-]+", page.locator("#publish-done").inner_text())
    assert repo is not None
    assert "adapter_model.safetensors" in hub.files(repo.group())


# -- an engineer --------------------------------------------------------------------------------------------------

RATE = 3e-4  # unlike the preset's
TEMPLATE = "chatml"


def preference_file() -> bytes:
    """Pairs of answers in TRL's layout, with a split to learn from and one to evaluate on."""

    def pairs(numbers: range) -> list[dict[str, str]]:
        return [
            {"prompt": f"Is parcel {n} there?", "chosen": f"Yes, parcel {n} is there.", "rejected": "No idea."}
            for n in numbers
        ]

    return json.dumps({"train": pairs(range(48)), "test": pairs(range(60, 68))}).encode()


def test_an_engineer_finds_rate_template_and_evaluation_split_by_their_names_in_trl(page: Page, site: Site) -> None:
    page.locator(".own-examples input[type=file]").set_input_files(
        {"name": "pairs.json", "mimeType": "application/json", "buffer": preference_file()}
    )
    expect(page.locator("#upload-note")).to_contain_text("pairs.json: ")
    search = page.get_by_role("searchbox", name="Find a setting")
    search.fill("learning_rate")
    setting_input(page, "dpo-learning_rate").fill(str(RATE))
    search.fill("chat_template")
    page.get_by_label("Which chat format", exact=True).select_option(TEMPLATE)
    search.fill("eval_dataset")
    page.get_by_label("Kept aside for the test", exact=True).select_option("split")
    search.fill("max_steps")
    setting_input(page, "dpo-steps").fill("6")
    search.fill("")
    setup = current_setup(page)
    assert setup["method"] == "dpo", "the columns choose the method"
    assert (setup["model"]["template"], setup["holdout"]) == (TEMPLATE, {"split": "test"})

    page.get_by_role("button", name="Check the examples").click()
    expect(page.locator("#example .tokens .token.trained").first).to_be_visible()
    page.get_by_role("button", name="Start training").click()
    expect(page.locator("#progress .progress")).to_have_attribute("data-state", "finished", timeout=300_000)
    with use_home(site.home):
        run = store.Run(site.home / "runs" / page.evaluate("tunesmith.run"))
        assert (run.spec.method, run.spec.knobs["learning_rate"]) == ("dpo", RATE)
        assert (run.spec.model.template, run.spec.holdout.split) == (TEMPLATE, "test")


# -- a phone ------------------------------------------------------------------------------------------------------

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


@pytest.fixture
def phone(chromium: Browser, site: Site) -> Iterator[BrowserTab]:
    """A tab of a phone, without the access key."""
    expect.set_options(timeout=TIMEOUT_MS)
    with chromium.new_context(**PHONE) as context:
        context.set_default_timeout(TIMEOUT_MS)
        tab = BrowserTab(context)
        yield tab
        tab.close()
    assert tab.errors == []


@pytest.fixture
def running_run(site: Site) -> Iterator[Run]:
    """A run that trains for longer than the test takes."""
    with use_home(site.home):
        spec = presets.preset_spec("first_tune")
        run = start_run(preflight.check_spec(spec.model_copy(update={"knobs": spec.knobs | {"epochs": 60.0}})))
        yield run
        launcher.stop_run(run)


def test_a_phone_reaches_a_running_run_in_two_taps(phone: BrowserTab, site: Site, running_run: Run) -> None:
    page = phone.open(site.address)  # the first tap, on the link that another browser handed out
    page.locator("#cards .lately a").first.tap()
    expect(page).to_have_url(re.compile(f"#watch/{running_run.id}$"))
    page.wait_for_function(f"({LOSS_POINT_COUNT})() >= 2")
    expect(page.get_by_role("button", name="Stop and save")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert store.is_alive(running_run)
