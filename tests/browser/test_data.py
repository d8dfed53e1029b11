"""Data in a real browser: a messy table is uploaded, mapped by clicking, audited, fixed twice, and trained on."""

from __future__ import annotations

import json
import re

import pytest
from playwright.sync_api import Page, expect

from app.runs import store
from tests.browser.conftest import Site
from tests.browser.test_choose import HOSTILE_TEXT, current_setup, expand_sections, open_view, sft_setting_input
from tests.support import use_home

pytestmark = pytest.mark.slow

# Uninformative column names, two duplicate rows, a missing answer, an e-mail address, and one row that is far too long.
CSV_LINES = [f"{i},Where is parcel {i}?,Parcel {i} is on its way.," for i in range(40)] + [
    "40,Where is parcel 3?,Parcel 3 is on its way.,",
    "41,Where is parcel 4?,Parcel 4 is on its way.,",
    "42,Can I pay later?,,",
    "43,Who do I write to?,Write to anna.meier@posteo.de.,vip",
    f"44,What is in the box?,{'A lamp and a chair. ' * 30},",
]
MESSY_CSV = "\n".join(["Ticket,Kundenfrage (EN),Our reply,notes", *CSV_LINES]).encode()


@pytest.fixture
def form(page: Page) -> Page:
    open_view(page, "choose")
    expand_sections(page)
    return page


def upload_file(form: Page, name: str, content: bytes) -> None:
    form.set_input_files("#upload", {"name": name, "mimeType": "", "buffer": content})
    expect(form.locator("#upload-note")).to_contain_text(re.compile("read to the end"))
    expect(form.locator(".mapping table.rows")).to_be_visible()


def first_data_source(page: Page) -> dict:
    return current_setup(page)["data"][0]


@pytest.mark.timeout(600)
def test_a_messy_table_is_mapped_audited_fixed_and_trained_on(form: Page, site: Site) -> None:
    upload_file(form, "messy.csv", MESSY_CSV)
    expect(form.locator(".mapping")).to_contain_text("Which column is asked and which is answered is only a guess")
    form.get_by_label("What the column Kundenfrage (EN) is").select_option(label="The question")
    form.get_by_label("What the column Our reply is").select_option(label="The answer")
    expect(form.locator(".reading")).to_contain_text(
        "We read this as: Questions and answers, because 44 of 45 rows have"
    )
    expect(form.locator(".becomes")).to_contain_text("Parcel 0 is on its way.")
    assert first_data_source(form)["mapping"] == {"prompt": "Kundenfrage (EN)", "completion": "Our reply"}

    sft_setting_input(form, "epochs").fill("1")
    form.get_by_role("button", name="Check the examples").click()
    audit = form.locator("#audit")
    expect(audit.locator(".audit-summary")).to_contain_text("examples looked at")
    expect(audit.locator(".audit-dropped")).to_contain_text("left out")
    expect(audit).to_contain_text("e-mail")
    audit.locator("li", has_text="word for word").locator(".audit-opens button").first.click()
    expect(form.locator("#audit-note")).to_contain_text("Back to the first examples")
    expect(form.locator("#example")).to_contain_text("Where is parcel")

    audit.locator("li", has_text="word for word").locator(".mend").click()
    expect(audit.locator(".audit-mended li")).to_have_count(1)
    expect(audit.locator(".resting")).to_have_count(0)
    expect(audit.locator(".audit-dropped")).to_contain_text("the same stands there already")
    assert current_setup(form)["drop"] == ["duplicates"]
    expect(audit.locator("li", has_text="word for word")).to_have_count(0)

    length_slider = audit.get_by_role("slider", name="Maximum length in tokens")
    length_slider.fill("64")
    expect(audit.locator(".cut-says")).to_contain_text(
        re.compile(r"At 64 tokens, 1 example of \d+ loses its end: \d+ tokens")
    )
    length_slider.press("ArrowRight")
    expect(audit.locator(".cut-says")).to_contain_text("At 65 tokens")
    audit.get_by_role("button", name="Set the maximum length to 65").click()
    expect(audit.locator(".audit-mended li")).to_have_count(2)
    expect(audit.locator(".resting")).to_have_count(0)
    expect(audit).to_contain_text("1 example is cut off")
    assert current_setup(form)["knobs"]["max_length"] == 65

    form.get_by_role("button", name="Start training").click()
    expect(form.locator("#view-watch")).to_be_visible()
    expect(form.locator("#try-it")).to_be_visible()
    with use_home(site.home):
        run = store.Run(site.home / "runs" / form.evaluate("tunesmith.run"))
        assert run.spec.drop == ["duplicates"]
        assert run.spec.data[0].mapping == {"prompt": "Kundenfrage (EN)", "completion": "Our reply"}


def test_a_prompt_made_of_several_columns_is_previewed_while_typing(form: Page) -> None:
    upload_file(form, "messy.csv", MESSY_CSV)
    form.get_by_label("What the column Our reply is").select_option(label="The answer")
    form.locator("#map-prompt").select_option(label="A text made of several columns …")
    form.locator("#map-prompt-text").fill("Ticket {Ticket}: ")
    form.get_by_role("button", name="{Kundenfrage (EN)}").click()
    expect(form.locator("#map-prompt-text")).to_be_focused()
    expect(form.locator(".becomes")).to_contain_text("Ticket 0: Where is parcel 0?")
    form.locator("#map-prompt-text").fill("{Kundenfrage}")
    expect(form.locator(".becomes")).to_contain_text("speaks of a column “Kundenfrage”, and there is none")
    form.get_by_role("button", name="Back to what was recognised").click()
    assert first_data_source(form).get("templates") is None


def test_an_unknown_role_can_be_assigned(form: Page) -> None:
    rows = [
        {
            "talk": [{"from": "keeper", "value": "Hello?"}, {"from": "gpt", "value": "Good day."}],
            HOSTILE_TEXT: HOSTILE_TEXT,
        }
    ] * 5
    upload_file(form, "talk.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())
    form.get_by_label("What the column talk is").select_option(label="The conversation")
    form.get_by_label("Who keeper is").select_option("user")
    expect(form.locator(".becomes")).to_contain_text("Good day.")
    assert first_data_source(form)["roles"] == {"keeper": "user"}
    assert form.evaluate("window.hurt") is None


@pytest.mark.full
def test_stars_choose_the_lesson_and_are_mapped_by_a_click(form: Page) -> None:
    rows = [{"question": f"Who is {i}?", "answer": f"A friend of {i + 1}.", "stars": 1 + i % 5} for i in range(30)]
    upload_file(form, "stars.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())
    expect(form.locator(".said-here")).to_contain_text("does not use all that these examples say")
    assert current_setup(form)["method"] == "kto"
    expect(form.locator(".mapping")).to_contain_text("nothing says which of them are good")
    expect(form.get_by_label("What 4 says")).to_have_value("")
    form.get_by_role("button", name="4 and 5 are good, 1 and 2 bad, 3 left out").click()
    expect(form.get_by_label("What 3 says")).to_have_value("left_out")
    expect(form.locator(".mapping")).not_to_contain_text("nothing says which of them are good")
    form.get_by_label("What 3 says").select_option(label="bad")
    expect(form.locator(".becomes")).to_contain_text("A friend of 1.")
    assert first_data_source(form)["labels"] == {"5": "good", "4": "good", "3": "bad", "2": "bad", "1": "bad"}


def test_verdicts_of_a_second_source_are_decided_apart(form: Page) -> None:
    for name in ("first", "second"):
        rows = [
            {"question": f"Who is {name} {i}?", "answer": f"A friend of {i}.", "stars": 1 + i % 5} for i in range(30)
        ]
        if name == "second":
            form.get_by_role("button", name="Add another source").click()
            expect(form.locator(".sources li")).to_have_count(2)
        upload_file(form, f"{name}.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())
        expect(form.locator(".mapping table.rows")).to_contain_text(f"Who is {name} 0?")
        number = int(name == "second")
        expect(form.get_by_label("What 4 says")).to_have_id(f"verdict-{number}-1")
        expect(form.get_by_label("What 4 says")).to_have_value("")
        form.get_by_role("button", name="4 and 5 are good, 1 and 2 bad, 3 left out").click()
        expect(form.get_by_label("What 4 says")).to_have_value("good")
    assert [source["labels"]["4"] for source in current_setup(form)["data"]] == ["good", "good"]


@pytest.mark.full
def test_a_role_of_another_lesson_takes_that_lesson(form: Page) -> None:
    rows = [{"frage": f"Wer ist {i}?", "gut": f"Ein Freund von {i}.", "schlecht": f"Niemand, {i}."} for i in range(9)]
    upload_file(form, "pairs.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())
    form.get_by_label("What the column gut is").select_option(label="The better answer")
    form.get_by_label("What the column schlecht is").select_option(label="The worse answer")
    form.get_by_label("What the column frage is").select_option(label="The question")
    expect(form.locator(".becomes")).to_contain_text("Niemand, 0.")
    assert current_setup(form)["method"] == "dpo"


def test_several_sources_have_weights_and_the_holdout_can_be_switched_off(form: Page) -> None:
    form.get_by_role("button", name="Add another source").click()
    expect(form.locator(".sources li")).to_have_count(2)
    form.locator("#weight-1").fill("0.5")
    expect(form.locator(".sources li").nth(1)).to_contain_text("50 % of them a pass")
    assert [data_source.get("weight") for data_source in current_setup(form)["data"]] == [1, 0.5]
    form.locator("#held-input").select_option("none")
    assert current_setup(form)["holdout"] == {"share": 0}
    form.get_by_role("button", name="Take", exact=False).last.click()
    expect(form.locator(".sources")).to_be_hidden()
    assert len(current_setup(form)["data"]) == 1


def test_the_hub_is_contacted_only_after_a_click(form: Page) -> None:
    form.get_by_text("From the Hub", exact=True).click()
    form.locator("#hub-data").fill("someone/some-data")
    form.wait_for_timeout(500)
    expect(form.locator("#hub-data-note")).to_be_empty()
    form.get_by_role("button", name="See what it holds").click()
    expect(form.locator("#hub-data-note")).to_contain_text(re.compile("Hub|reached|offline", re.IGNORECASE))
    assert first_data_source(form)["source"] == "sample:tickets"
