"""The start and choose views in a real browser: the setup form with its draft, changed settings, uploads, links and plan card."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

import pyarrow
import pytest
from playwright.sync_api import Locator, Page, expect
from pyarrow import parquet

from app.core.workspace import local_workspace
from app.planning import links, presets
from app.runs import store
from app.setup.spec import Launch, parse_spec
from components import settings
from tests.browser.conftest import BrowserTab, Site
from tests.support import use_home

pytestmark = pytest.mark.slow

HOSTILE_TEXT = "<img src=x onerror='window.hurt=1'>${Object.assign(window,{hurt:2})}{{{value}}}"
INTERNAL_WORDS = re.compile(r"\b(spec|knob|engine|backend)s?\b", re.IGNORECASE)
GERMAN_ROWS = [{"frage": f"Wie viel ist {i} und 1?", "antwort": str(i + 1), "nummer": i} for i in range(20)]


@pytest.fixture
def form(page: Page) -> Page:
    """The page with the choose view open, all of its sections expanded."""
    open_view(page, "choose")
    expand_sections(page)
    return page


def open_view(page: Page, view: str) -> None:
    page.wait_for_selector("#setup .sheet", state="attached")
    page.evaluate(f"tunesmith.go('{view}')")
    expect(page.locator(f"#view-{view}")).to_be_visible()


def expand_sections(page: Page) -> None:
    """Expands every section, or keeps it expanded."""
    page.evaluate(
        "document.querySelectorAll('#setup .expander[aria-expanded=false]').forEach(button => button.click())"
    )


def section_button(page: Page, title: str) -> Locator:
    """The button in the heading of a section."""
    return page.locator("#setup").get_by_role("button", name=title, exact=True)


def select_preset(page: Page, preset_name: str) -> None:
    """Selects a preset, also one in the folded list. All sections are expanded afterwards."""
    expand_sections(page)
    page.locator(".more-starts").evaluate_all("boxes => { for (const box of boxes) box.open = true; }")
    page.locator(f"[name=preset][value={preset_name}]").check()
    page.wait_for_function("document.querySelector('#presets .expander').ariaExpanded === 'false'")
    expand_sections(page)


def sft_setting_input(page: Page, name: str) -> Locator:
    return setting_input(page, f"sft-{name}")


def setting_input(page: Page, setting_id: str) -> Locator:
    return page.locator(f"#{setting_id} input")


def finished_plan_card(page: Page) -> Locator:
    """The plan card, once its estimate is complete."""
    expect(page.locator(".plan dl")).to_have_attribute("aria-busy", "false")
    return page.locator(".plan")


def current_setup(page: Page) -> dict:
    return page.evaluate("tunesmith.setup.setup")


# -- the start view -----------------------------------------------------------------------------------------------


def test_try_it_in_a_minute_opens_the_check_view_with_the_first_preset(page: Page) -> None:
    sft_setting_input(page, "epochs").evaluate(
        "input => { input.value = '30'; input.dispatchEvent(new Event('input')); }"
    )
    page.get_by_role("button", name="Try it in a minute").click()
    expect(page.locator("#view-check")).to_be_visible()
    assert current_setup(page) == presets.unresolved_preset_spec("first_tune").to_dict()


def test_every_preset_is_a_card_that_fills_the_form(page: Page) -> None:
    cards = page.locator("#cards [data-preset]")
    expect(cards).to_have_count(len(presets.list_presets()))
    assert not INTERNAL_WORDS.search(page.locator("#view-start").inner_text())
    cards.filter(has_text="Read a diary").click()
    expect(page.locator("#view-choose")).to_be_visible()
    assert current_setup(page) == presets.unresolved_preset_spec("read_a_diary").to_dict()
    expect(page.locator("[name=preset]:checked")).to_have_value("read_a_diary")


@pytest.mark.full
def test_the_latest_run_is_linked_and_its_title_is_escaped(page: Page, site: Site) -> None:
    with use_home(site.home):
        run = store.create_run(
            local_workspace(), presets.preset_spec("first_tune").model_copy(update={"title": HOSTILE_TEXT}), Launch()
        )
    page.reload()
    expect(page.locator("#cards .lately a").first).to_have_text(HOSTILE_TEXT)
    expect(page.locator("#cards .how")).to_be_hidden()
    page.locator("#cards .lately a").first.click()
    expect(page).to_have_url(re.compile(f"#watch/{run.id}$"))
    assert page.evaluate("window.hurt") is None


def test_a_file_dropped_on_the_start_view_becomes_the_training_data(page: Page) -> None:
    csv_text = "question,answer\n" + "".join(f"Where is parcel {i}?,It is on its way {i}.\n" for i in range(40))
    page.locator("#ways-in .way-in").last.evaluate(
        """(target, text) => {
            const dataTransfer = new DataTransfer();
            dataTransfer.items.add(new File([text], 'parcels.csv'));
            target.dispatchEvent(new DragEvent('drop', { dataTransfer, bubbles: true, cancelable: true }));
        }""",
        csv_text,
    )
    expect(page.locator("#view-choose")).to_be_visible()
    expect(page.locator("#upload-note")).to_contain_text("parcels.csv: 40 examples, read to the end.")
    expect(page.locator("#examples")).to_contain_text("Where is parcel 0?")
    assert current_setup(page)["data"][0]["source"].startswith("upload:")


def test_both_ways_in_are_equally_large_and_a_file_can_be_chosen_by_keyboard(page: Page) -> None:
    boxes = [way.bounding_box() for way in page.locator("#ways-in .way-in").all()]
    assert len(boxes) == 2
    assert boxes[0]["y"] == boxes[1]["y"]
    assert boxes[0]["width"] == pytest.approx(boxes[1]["width"], abs=1)
    assert boxes[0]["height"] == pytest.approx(boxes[1]["height"], abs=1)
    assert page.evaluate("getComputedStyle(document.querySelector('#minute')).backgroundColor") == page.evaluate(
        "getComputedStyle(document.querySelector('.own-examples label')).backgroundColor"
    )

    # The browser is told early to report its dialog: told at the key press, it may open a dialog of its own first.
    page.on("filechooser", lambda chooser: None)
    # A part of the page that is still drawn would take the focus: the form is the last one.
    page.wait_for_selector("#setup .sheet", state="attached")
    page.wait_for_timeout(1000)
    page.locator("#minute").focus()
    page.keyboard.press("Tab")
    expect(page.locator(".own-examples input[type=file]")).to_be_focused()
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files({"name": "a.csv", "mimeType": "", "buffer": b"question,answer\n1,2\n3,4\n"})
    expect(page.locator("#upload-note")).to_contain_text("a.csv: 2 examples")


# -- sections -----------------------------------------------------------------------------------------------------


def test_unchanged_sections_are_one_line_each_in_the_order_of_the_questions(page: Page) -> None:
    open_view(page, "choose")
    heads = page.locator("#setup .section-head")
    expect(heads.locator("h2")).to_have_text(["Start from", "Examples", "Model", "Lesson", "Settings", "Advanced"])
    expect(page.locator("#setup .expander[aria-expanded=true]")).to_have_count(0)
    expect(heads.nth(0)).to_contain_text("First tune")
    expect(heads.nth(1)).to_contain_text("Support tickets (sample)")
    expect(heads.nth(2)).to_contain_text("The practice model")
    expect(heads.nth(3)).to_contain_text("Imitate examples · SFT")
    expect(heads.nth(4)).to_contain_text("Epochs 5 passes")
    last_head = heads.last.bounding_box()
    assert last_head
    assert last_head["y"] + last_head["height"] <= 900, "all sections are on the first screen"
    name_top = page.get_by_role("textbox", name="Name of the run").bounding_box()["y"]
    assert name_top > heads.last.bounding_box()["y"]


def test_a_section_expands_by_click_and_by_keyboard_and_stays_so_after_a_reload(page: Page) -> None:
    open_view(page, "choose")
    model_button = section_button(page, "Model")
    expect(model_button).to_have_accessible_description("The practice model")
    model_button.press("Enter")
    expect(model_button).to_have_attribute("aria-expanded", "true")
    expect(model_button).to_be_focused()
    expect(page.get_by_role("radio", name="One from the Hub")).to_be_visible()
    page.locator("#lesson .holds").click(force=True)  # the whole line expands it
    expect(page.locator("#lesson [name=family]").first).to_be_visible()
    page.reload()
    expect(section_button(page, "Model")).to_have_attribute("aria-expanded", "true")
    expect(section_button(page, "Settings")).to_have_attribute("aria-expanded", "false")
    section_button(page, "Model").click()
    expect(page.get_by_role("radio", name="One from the Hub")).to_be_hidden()


def test_a_changed_section_is_expanded_until_another_preset_is_chosen(page: Page) -> None:
    open_view(page, "choose")
    page.evaluate(
        "document.dispatchEvent(new CustomEvent('tunesmith:alter', { detail: { changes: { 'knobs.epochs': 7 } } }))"
    )
    expect(sft_setting_input(page, "epochs")).to_be_visible()
    page.get_by_role("button", name="Epochs: back to 5 passes").click()
    expect(sft_setting_input(page, "epochs")).to_be_focused()  # nothing collapses under the hands
    section_button(page, "Start from").click()
    page.locator("[name=preset][value=first_reward]").check()
    expect(section_button(page, "Start from")).to_have_attribute("aria-expanded", "false")
    expect(page.locator("#presets .holds")).to_have_text("First reward")
    expect(page.locator("#setup .expander[aria-expanded=true]")).to_have_count(0)
    expect(page.locator("#rewards .holds")).to_have_text("Exactly the right answer")


def test_arrow_keys_go_through_the_presets_without_collapsing_their_list(page: Page) -> None:
    open_view(page, "choose")
    section_button(page, "Start from").press("Enter")
    page.locator("[name=preset]:checked").focus()
    for _ in range(2):
        page.keyboard.press("ArrowDown")
    expect(section_button(page, "Start from")).to_have_attribute("aria-expanded", "true")
    assert page.evaluate("document.activeElement.name") == "preset"


def test_a_problem_expands_its_section_and_what_has_the_focus_stays_in_place(page: Page) -> None:
    open_view(page, "choose")
    section_button(page, "Settings").click()
    section_button(page, "Advanced").click()
    rank_input = setting_input(page, "setup-r")
    rank_input.scroll_into_view_if_needed()
    rank_input.focus()
    top_before = rank_input.bounding_box()["y"]
    page.evaluate("document.dispatchEvent(new CustomEvent('tunesmith:refused', { detail: 'model' }))")
    expect(section_button(page, "Model")).to_have_attribute("aria-expanded", "true")
    assert rank_input.bounding_box()["y"] == pytest.approx(top_before, abs=2)
    section_button(page, "Settings").click()
    expect(sft_setting_input(page, "epochs")).to_be_hidden()
    page.evaluate(
        "document.dispatchEvent(new CustomEvent('tunesmith:alter', { detail: { changes: { 'knobs.epochs': 'many' } } }))"
    )
    expect(sft_setting_input(page, "epochs")).to_be_visible()


def test_no_preset_expands_a_section_by_itself(page: Page) -> None:
    open_view(page, "choose")
    local_presets = [preset for preset in presets.list_presets() if not preset_spec_reads_hub(preset["name"])]
    for preset in {preset["method"]: preset for preset in local_presets}.values():
        page.evaluate(
            "name => document.dispatchEvent(new CustomEvent('tunesmith:preset', { detail: name }))", preset["name"]
        )
        page.wait_for_function("!document.querySelector('#presets .holds').textContent.endsWith('…')")
        page.wait_for_timeout(700)  # until its first rows are read
        assert page.locator("#setup .expander[aria-expanded=true]").all_inner_texts() == [], preset["name"]


def preset_spec_reads_hub(name: str) -> bool:
    return any(source.source.startswith("hub:") for source in presets.unresolved_preset_spec(name).data)


def test_the_practice_model_says_that_it_is_made_for_the_samples(page: Page) -> None:
    open_view(page, "choose")
    section_button(page, "Model").click()
    expect(page.locator("#practice-note")).to_be_hidden()
    page.set_input_files("#upload", {"name": "a.csv", "mimeType": "", "buffer": b"question,answer\n1,2\n3,4\n"})
    expect(page.locator("#practice-note")).to_contain_text("made for the samples")
    section_button(page, "Model").click()
    expect(page.locator("#model .holds")).to_have_text("The practice model · made for the samples")
    section_button(page, "Model").click()
    page.get_by_role("radio", name="One from the Hub").check()
    expect(page.locator("#practice-note")).to_be_hidden()


# What people and papers call things, and a title that the search must show.
SEARCHED_TERMS = {
    "lr": "Learning rate", "QLoRA": "How the frozen weights are held", "context length": "Max length", "load_in_4bit": "How the frozen weights are held",
    "num_train_epochs": "Epochs", "per_device_train_batch_size": "Batch size", "gradient_accumulation_steps": "Accumulation",
    "target_modules": "Layers with an adapter", "lora_r": "Rank", "max_seq_length": "Max length", "special tokens": "New words",
    "run_name": "Name of the run", "chat_template": "Which chat format", "random": "Seed", "full fine-tuning": "Kind",
}  # fmt: skip


def test_the_search_finds_every_setting_by_its_title_and_by_the_words_of_experts(page: Page) -> None:
    open_view(page, "choose")
    search_box = page.get_by_role("searchbox", name="Find a setting")
    search_box_top = search_box.bounding_box()["y"]
    menu = settings.settings_menu()
    for field in [*menu["methods"]["sft"]["fields"], *menu["common"]]:
        search_box.fill(field["title"])
        expect(page.locator(f"[id='{field['id']}']")).to_be_visible()
    for term, title in SEARCHED_TERMS.items():
        search_box.fill(term)
        titles = page.locator("#setup .field:visible > .field-head > :is(label, h2)")
        assert title in titles.all_inner_texts(), term
    for term, section in [("dataset", "examples"), ("holdout", "examples"), ("DPO", "lesson"), ("checkpoint", "model")]:
        search_box.fill(term)
        expect(page.locator(f"#{section}-content")).to_be_visible()
    assert search_box.bounding_box()["y"] == pytest.approx(search_box_top, abs=0.5)
    search_box.press("Escape")
    expect(page.locator("#setup .expander[aria-expanded=true]")).to_have_count(0)


def test_a_reward_is_found_where_the_lesson_earns_them(form: Page) -> None:
    select_preset(form, "first_reward")
    form.get_by_role("searchbox", name="Find a setting").fill("reward functions")
    expect(form.locator("#rewards-content")).to_be_visible()
    expect(form.locator("#examples")).to_be_hidden()


def test_only_what_was_changed_can_be_shown(page: Page) -> None:
    open_view(page, "choose")
    page.get_by_label("Only what I changed").check()
    expect(page.locator("#find-setting-count")).to_have_text("Nothing differs from the preset.")
    expect(page.locator("#setup .field:visible")).to_have_count(0)
    page.get_by_label("Only what I changed").uncheck()
    expand_sections(page)
    sft_setting_input(page, "epochs").fill("9")
    setting_input(page, "setup-r").fill("4")
    finished_plan_card(page)
    page.get_by_role("button", name="Show them").click()
    expect(page.get_by_label("Only what I changed")).to_be_checked()
    expect(page.locator("#setup .field:visible label")).to_have_text(["Epochs", "Rank"])
    expect(page.locator("#find-setting-count")).to_contain_text("2 of")
    page.get_by_role("button", name="Epochs: back to 5 passes").click()
    expect(sft_setting_input(page, "epochs")).to_be_visible()  # it does not vanish under the hands
    page.get_by_label("Only what I changed").uncheck()
    expect(page.locator("#examples")).to_be_visible()


# -- the draft and changed settings -------------------------------------------------------------------------------


def test_changed_settings_are_marked_and_can_be_reset_individually_or_all_at_once(form: Page) -> None:
    expect(form.locator("#setup .mark-changed:visible")).to_have_count(0)
    sft_setting_input(form, "epochs").fill("9")
    sft_setting_input(form, "batch_size").fill("32")
    form.locator("#setup-kind select").select_option("dora")
    expect(form.locator("#setup .mark-changed:visible")).to_have_count(3)
    expect(form.locator(".plan")).to_contain_text("3 settings differ from the preset")
    form.get_by_role("button", name="Epochs: back to 5 passes").click()
    expect(sft_setting_input(form, "epochs")).to_have_value("5")
    expect(sft_setting_input(form, "epochs")).to_be_focused()
    expect(form.locator(".plan")).to_contain_text("2 settings differ")
    form.get_by_role("button", name="Put all back").click()
    assert current_setup(form) == presets.unresolved_preset_spec("first_tune").to_dict()
    expect(form.locator("#setup .mark-changed:visible")).to_have_count(0)
    form.get_by_role("button", name="Undo").click()
    expect(sft_setting_input(form, "batch_size")).to_have_value("32")


def test_a_setting_is_found_by_its_library_name_and_the_search_box_does_not_move(form: Page) -> None:
    select_preset(form, "first_reward")
    expect(form.locator(".ways-list strong").first).to_contain_text("Earn rewards · GRPO")
    expect(form.locator("label[for=grpo-attempts-input]")).to_have_attribute("title", "num_generations (here attempts)")
    expect(form.locator("#grpo-attempts-input")).to_have_accessible_description(re.compile("num_generations"))
    search_box, match_count = form.get_by_role("searchbox", name="Find a setting"), form.locator("#find-setting-count")
    visible_fields = form.locator("#setup .field:visible")
    search_box.scroll_into_view_if_needed()
    search_box_top = search_box.bounding_box()["y"]
    setting_count = int(match_count.inner_text().split()[0])
    for query, titles in [
        ("num_generations", ["Attempts"]),
        ("beta", ["Adam beta1", "Adam beta2", "Kl"]),
        ("lora_alpha", ["Strength"]),
    ]:
        search_box.fill(query)
        expect(match_count).to_have_text(f"{len(titles)} of {setting_count} settings")
        expect(visible_fields.locator("label")).to_have_text(titles)
        assert search_box.bounding_box()["y"] == pytest.approx(search_box_top, abs=0.5)
    search_box.fill("num_generations")
    search_box.press("Tab")
    for _ in range(3):  # past what stands beside the search, and the head of its section
        if not setting_input(form, "grpo-attempts").evaluate("input => input === document.activeElement"):
            form.keyboard.press("Tab")
    expect(setting_input(form, "grpo-attempts")).to_be_focused()
    setting_input(form, "grpo-attempts").fill("4")
    search_box.fill("no such thing")
    expect(match_count).to_have_text(re.compile("^Nothing is called that. Try a plain word"))
    expect(visible_fields).to_have_count(0)
    search_box_top = search_box.bounding_box()["y"]  # focusing the setting with Tab has scrolled the page
    search_box.press("Escape")
    expect(search_box).to_have_value("")
    expect(match_count).to_contain_text(f"{setting_count} settings")
    expect(form.locator("#everyday #grpo-attempts input")).to_have_value("4")
    assert search_box.bounding_box()["y"] == pytest.approx(search_box_top, abs=0.5)


@pytest.mark.full
def test_the_glossary_is_one_click_away(form: Page) -> None:
    form.get_by_role("link", name="Words").click()
    expect(form.get_by_role("heading", name="Words", level=1)).to_be_focused()
    expect(form.get_by_role("row", name="Prefer this over that DPO dpo")).to_be_visible()
    expect(form.locator("#glossary tr").filter(has_text="practice model")).to_be_visible()


def test_selecting_another_preset_shows_a_notice_and_can_be_undone(form: Page) -> None:
    sft_setting_input(form, "epochs").fill("9")
    select_preset(form, "first_reward")
    expect(form.locator("#choose-notice")).to_contain_text("“First reward” filled the form")
    expect(form.locator("#grpo-attempts input")).to_have_value("8")
    form.get_by_role("button", name="Undo").click()
    expect(sft_setting_input(form, "epochs")).to_have_value("9")


def test_an_incomplete_form_survives_a_reload(form: Page) -> None:
    form.get_by_role("textbox", name="Name of the run").fill(HOSTILE_TEXT)
    sft_setting_input(form, "epochs").fill("many")
    form.get_by_role("radio", name="One from the Hub").check()
    form.get_by_label("Name on the Hub").fill("someone/some-model")
    form.reload()
    expect(form.get_by_role("textbox", name="Name of the run")).to_have_value(HOSTILE_TEXT)
    expect(sft_setting_input(form, "epochs")).to_have_value("many")
    expect(form.locator("#sft-epochs-note")).to_contain_text("“many” is not a number")
    expect(form.get_by_label("Name on the Hub")).to_have_value("someone/some-model")
    assert form.evaluate("window.hurt") is None
    assert not re.search("token|key", form.evaluate("Object.keys(localStorage).join()"), re.IGNORECASE)


BROKEN_DRAFTS = [
    "",
    "{",
    "null",
    "[]",
    "5",
    '{"v": 1}',
    '{"v": 99, "preset": "first_tune"}',
    '{"v": 1, "preset": "gone", "setup": {}, "uploads": []}',
]


@pytest.mark.full
def test_a_damaged_draft_or_one_of_another_version_is_ignored(form: Page) -> None:
    valid_draft = json.loads(form.evaluate("localStorage.getItem('tunesmith-draft')"))
    damaged_drafts = [valid_draft | {"v": 0}, valid_draft | {"setup": valid_draft["setup"] | {"method": "constructor"}}, valid_draft | {"setup": valid_draft["setup"] | {"data": []}},
              valid_draft | {"setup": valid_draft["setup"] | {"knobs": {"of_tomorrow": 1}}}, valid_draft | {"setup": valid_draft["setup"] | {"data": [{"source": 5}]}}]  # fmt: skip
    for draft in [*BROKEN_DRAFTS, *map(json.dumps, damaged_drafts)]:
        form.evaluate("draft => localStorage.setItem('tunesmith-draft', draft)", draft)
        form.reload()
        expect(sft_setting_input(form, "epochs")).to_have_value("5")
        assert (
            current_setup(form) == presets.unresolved_preset_spec("first_tune").to_dict()
        )  # and the fixture `tab` recorded no page error


def test_unusual_settings_show_a_warning_and_invalid_settings_are_refused(form: Page) -> None:
    sft_setting_input(form, "epochs").fill("30")
    expect(form.locator("#sft-epochs-note")).to_have_text("Unusual: 1 to 10 passes is a safe start.")
    sft_setting_input(form, "batch_size").fill("0")
    expect(form.locator("#sft-batch_size-note")).to_contain_text("Choose between 1 and 4096 examples")
    expect(form.locator(".plan .refused")).to_contain_text("One setting cannot be used")
    form.locator("#setup-r input").fill("0")
    expect(form.locator(".plan .refused")).to_contain_text("2 settings cannot be used as they are")
    sft_setting_input(form, "batch_size").fill("")
    section_button(form, "Advanced").click()
    expect(form.locator("#setup-r input")).to_be_hidden()
    form.get_by_role("button", name="Go to it").click()
    expect(form.locator("#setup-r input")).to_be_focused()
    form.locator("#setup-r input").fill("8")
    expect(form.locator(".plan .refused")).to_be_empty()


def family_choice(page: Page, family: str) -> Locator:
    return page.locator(f"#lesson [name=family][value={family}]")


def test_selecting_another_method_family_shows_its_own_settings(form: Page) -> None:
    family_choice(form, "rewards").check()
    expect(form.locator("#grpo-attempts input")).to_have_value("8")
    assert current_setup(form)["knobs"] == {}
    expect(form.locator("#rewards")).to_contain_text("What earns a reward")
    expect(form.locator("#lesson .advice")).to_contain_text("“Earn rewards” needs a column of questions.")
    expand_sections(form)
    form.locator("#source").select_option("sample:sums")
    expect(form.locator("#lesson .advice")).to_contain_text("There are questions to try")
    form.locator("#add-reward").select_option("number")
    assert [reward["name"] for reward in current_setup(form)["rewards"]] == ["exact_match", "number"]
    form.get_by_role("button", name="Remove Exactly the right answer").click()
    assert [reward["name"] for reward in current_setup(form)["rewards"]] == ["number"]
    form.get_by_role("button", name="Lesson: back to Imitate examples").click()
    expect(sft_setting_input(form, "epochs")).to_have_value("5")
    form.get_by_role("button", name="Take “Earn rewards”").click()
    assert current_setup(form)["method"] == "grpo"


def test_the_default_method_is_listed_first_and_the_others_show_their_status_and_missing_columns(form: Page) -> None:
    form.locator("#source").select_option("sample:manners")
    expect(form.locator("#lesson")).to_contain_text("The lesson is now “Prefer this over that”.")
    assert current_setup(form)["method"] == "dpo"
    expect(family_choice(form, "prefer")).to_be_checked()
    expect(form.locator("#lesson .choice:has([value=imitate])")).to_contain_text("Needs a column of answers")
    form.get_by_text("Other ways", exact=False).click()
    method_choices = form.locator("#lesson [name=way]")
    expect(method_choices).to_have_count(
        sum(settings.method_entry(name)["family"] == "prefer" for name in settings.settings_menu()["methods"])
    )
    expect(method_choices.first).to_have_value("dpo")
    expect(form.locator("#lesson .choice:has([value=tpo])")).to_contain_text("experimental")
    expect(form.locator("#lesson .choice:has([value=tpo])")).to_contain_text("Needs a column of best answers")
    form.get_by_role("button", name="Undo").click()
    assert current_setup(form) == presets.unresolved_preset_spec("first_tune").to_dict()
    form.get_by_text("Other ways", exact=False).click()  # they stay unfolded while the examples are inspected
    form.locator("#lesson [value=pretrain]").check()
    assert current_setup(form)["method"] == "pretrain"
    expect(form.locator("#pretrain-epochs input")).to_be_visible()


@pytest.mark.full
def test_every_method_can_be_selected_and_shows_its_settings(form: Page) -> None:
    """And none breaks the page: the fixture `tab` fails on any page error."""
    methods = settings.settings_menu()["methods"]
    for name, method in methods.items():
        family_choice(form, method["family"]).check()
        form.locator(f"#lesson [name=way][value={name}]").evaluate(
            "choice => { choice.closest('details')?.setAttribute('open', ''); choice.click(); }"
        )
        assert current_setup(form)["method"] == name
        field_ids = form.locator(f"#setup .field[id^='{name}-']").evaluate_all(
            "fields => fields.filter(field => !field.closest('#rewards')).map(field => field.id)"
        )
        assert sorted(field_ids) == sorted(field["id"] for field in method["fields"])
    assert form.locator("#setup [aria-invalid=true]").count() == 0


@pytest.mark.full
def test_every_reward_can_be_added_and_each_of_its_params_reaches_the_setup(form: Page) -> None:
    select_preset(form, "first_reward")
    form.get_by_role("button", name="Remove Exactly the right answer").click()
    rewards = settings.settings_menu()["rewards"]
    for reward_index, (name, reward) in enumerate(rewards.items()):
        form.locator("#add-reward").select_option(name)
        for field in reward["fields"]:
            field_input = form.locator(f"[id='reward-{reward_index}-{field['name']}-input']")
            if field["type"] == "choice":
                field_input.select_option(list(field["choices"])[-1])
            elif field["type"] == "bool":
                field_input.set_checked(not field.get("default"))
            elif field["type"] in ("int", "float"):
                field_input.fill(str(field.get("high", 1)))
            else:
                field_input.fill("several\nlines" if field["type"] == "lines" else "answer")
            stored_param = form.evaluate(
                "([i, name]) => tunesmith.setup.setup.rewards[i].params[name]", [reward_index, field["name"]]
            )
            assert stored_param is not None, f"{name}: {field['name']} did not reach the setup"
    assert [field["name"] for field in current_setup(form)["rewards"]] == list(rewards)
    assert form.locator("#rewards [aria-invalid=true]").count() == 0


def test_model_and_column_settings_suggest_the_available_choices(form: Page) -> None:
    expand_sections(form)
    form.locator("#source").select_option("sample:sums")
    expect(family_choice(form, "rewards")).to_be_checked()
    expand_sections(form)  # those of the new method are collapsed
    column_input = form.locator("#reward-0-column input")
    expect(form.locator("#reward-0-column option")).to_have_count(2)
    column_input.fill("solution")
    expect(form.locator("#reward-0-column-note")).to_contain_text(
        "The examples have no column “solution”. They have: prompt, answer."
    )
    family_choice(form, "copy").check()
    teacher_input = form.locator("#distill-teacher input")
    teacher_input.fill("sees")
    expect(form.locator("#distill-teacher [role=option]")).to_have_text(
        ["The practice model that seesTakes pictures too."]
    )
    teacher_input.fill("")
    teacher_input.press("ArrowDown")
    teacher_input.press("Enter")
    assert current_setup(form)["knobs"]["teacher"] == "pocket"
    expect(form.locator("#distill-teacher")).to_contain_text("The practice model")


# -- the plan card ------------------------------------------------------------------------------------------------


@pytest.mark.timeout(300)
def test_the_plan_card_shows_the_estimate_and_does_not_block_the_form(form: Page) -> None:
    expect(finished_plan_card(form)).to_contain_text("400 examples")
    expect(form.locator(".plan .story p").first).to_have_text(
        re.compile(r"^5 passes over 400 examples with the practice model, about \d+ (s|minutes) here\.$")
    )
    expect(form.locator(".plan .story")).to_contain_text("100 are kept aside to see whether it learned.")
    expect(form.locator(".plan .story")).to_contain_text(re.compile(r"Most of the time, \d+ %, goes into the"))
    expect(form.locator(".plan")).to_contain_text("30 % of 16,241 tokens")
    expect(form.locator(".plan")).to_contain_text("125 steps")
    expect(form.locator(".plan")).to_contain_text("16 at a time")
    height = form.locator(".plan dl").bounding_box()["height"]
    sft_setting_input(form, "epochs").fill("2")
    expect(form.locator(".plan dl")).to_have_attribute("aria-busy", "true")
    assert form.locator(".plan dl").bounding_box()["height"] == pytest.approx(
        height, abs=30
    )  # the line with the changed settings may wrap
    sft_setting_input(form, "epochs").fill("1")  # typed while the estimate is computed
    expect(finished_plan_card(form)).to_contain_text("25 steps")
    expect(finished_plan_card(form)).to_contain_text("So few seldom teach anything new.")
    form.get_by_role("button", name="Make it about 120").click()
    expect(sft_setting_input(form, "epochs")).to_have_value("5")


# -- the Hub ------------------------------------------------------------------------------------------------------


def test_an_unreachable_hub_does_not_block_the_form(form: Page) -> None:
    form.get_by_role("radio", name="One from the Hub").check()
    expect(form.locator(".plan .refused")).to_contain_text("Name a model from the Hub")
    model_name_input = form.get_by_label("Name on the Hub")
    model_name_input.press_sequentially("someone/some-model")
    expect(model_name_input).to_have_value("someone/some-model")
    expect(form.locator("#hub-note")).to_contain_text("Type the model’s whole name, and go on.")
    assert current_setup(form)["model"]["id"] == "someone/some-model"
    expect(form.locator(".plan")).to_contain_text("Not counted yet")  # no download was requested
    form.get_by_role("radio", name="The practice model").check()
    assert current_setup(form)["model"]["id"] == "pocket"


# -- uploads ------------------------------------------------------------------------------------------------------


@pytest.fixture
def example_files(tmp_path: Path) -> dict[str, Path]:
    """The same rows in each of the three accepted file formats, by extension."""
    jsonl_path, csv_path, parquet_path = (tmp_path / f"mine.{extension}" for extension in ("jsonl", "csv", "parquet"))
    jsonl_path.write_text("".join(json.dumps(row) + "\n" for row in GERMAN_ROWS))
    csv_path.write_text(
        "frage,antwort,nummer\n"
        + "".join(f'"{row["frage"]}",{row["antwort"]},{row["nummer"]}\n' for row in GERMAN_ROWS)
    )
    parquet.write_table(pyarrow.Table.from_pylist(GERMAN_ROWS), parquet_path)
    return {"jsonl": jsonl_path, "csv": csv_path, "parquet": parquet_path}


@pytest.mark.parametrize("extension", ["jsonl", "csv", "parquet"])
def test_an_uploaded_file_becomes_the_training_data(form: Page, example_files: dict[str, Path], extension: str) -> None:
    form.set_input_files("#upload", example_files[extension])
    expect(form.locator("#upload-note")).to_contain_text(f"mine.{extension}: 20 examples, read to the end.")
    expect(form.locator(".mapping table.rows thead")).to_contain_text("antwort")
    form.get_by_label("What the column frage is").select_option(label="The question")
    form.get_by_label("What the column antwort is").select_option(label="The answer")
    expect(form.locator(".mapping")).to_contain_text("“Wie viel ist 0 und 1?”")
    setup = current_setup(form)
    assert setup["data"][0]["source"].startswith("upload:")
    assert setup["data"][0]["mapping"] == {"prompt": "frage", "completion": "antwort"}
    assert setup["holdout"] == {"share": 0.1}
    expect(form.locator("#upload-note")).to_contain_text("“Epochs” is now 60")  # 5 epochs would make only 10 steps
    expect(form.locator("#lesson .advice")).to_contain_text("Each question has the answer you want")
    assert current_setup(form)["knobs"]["epochs"] == 60
    expect(form.locator("#sft-epochs")).to_contain_text("Safe: 1 to 60 passes")
    expect(finished_plan_card(form)).to_contain_text("18 examples")
    # A model that knows its language sees them less often, in smaller batches; the way back is as it was.
    form.locator("[name=model-kind][value=hub]").check()
    expect(form.locator("#upload-note")).to_contain_text("“Epochs” is now 7: each is seen 7 times, in about 63 steps")
    assert current_setup(form)["knobs"] | {"epochs": 7, "batch_size": 2} == current_setup(form)["knobs"]
    form.locator("[name=model-kind][value=practice]").check()
    expect(form.locator("#upload-note")).to_contain_text("“Epochs” is now 60")
    assert current_setup(form)["knobs"]["epochs"] == 60
    form.reload()
    expect(form.locator("#source option:checked")).to_have_text(f"mine.{extension}")
    expect(form.locator(".mapping table.rows thead")).to_contain_text("antwort")


def test_uploaded_columns_select_the_method_and_a_missing_header_is_reported(form: Page) -> None:
    rows = [{"question": f"Is {i} a number?", "better": "Yes, it is.", "worse": "Why ask?"} for i in range(90)]
    jsonl_bytes = "".join(json.dumps(row) + "\n" for row in rows).encode()
    form.set_input_files("#upload", {"name": "pairs.jsonl", "mimeType": "", "buffer": jsonl_bytes})
    expect(form.locator("#lesson")).to_contain_text("“Imitate examples” cannot be learned from these examples.")
    assert current_setup(form)["method"] == "dpo"
    assert current_setup(form)["data"][0]["mapping"] == {"prompt": "question", "chosen": "better", "rejected": "worse"}
    assert current_setup(form)["prompts"] == ["Is 0 a number?"]
    form.set_input_files(
        "#upload", {"name": "a.csv", "mimeType": "", "buffer": b"My lamp is broken.,Repairs\nWhere is it?,Shipping\n"}
    )
    expect(form.locator(".mapping")).to_contain_text("it looks like an example")


def test_an_unreadable_upload_shows_an_error_and_leaves_the_setup_unchanged(form: Page, tmp_path: Path) -> None:
    setup_before = current_setup(form)
    for file_name, content, message in [
        ("a.xlsx", b"PK", "cannot be read"), ("a.csv", b"", "is empty"), ("a.csv", b'question,answer\n1,"2\n3,4\n', "line 2 is not closed"),
        (f"{HOSTILE_TEXT.replace('/', '')}.csv", b"a,b\n", "holds no examples"),
    ]:  # fmt: skip
        form.set_input_files("#upload", {"name": file_name, "mimeType": "text/csv", "buffer": content})
        expect(form.locator("#upload-note")).to_contain_text(message)
        assert current_setup(form) == setup_before
    assert form.evaluate("window.hurt") is None


def test_a_file_over_the_size_limit_is_refused_before_it_is_uploaded(form: Page, tab: BrowserTab) -> None:
    request_count_before = len(tab.requests)
    form.evaluate("""() => {
        const file = new File(['x'], 'huge.jsonl'), input = document.querySelector('#upload'), transfer = new DataTransfer();
        transfer.items.add(file);
        input.files = transfer.files;
        Object.defineProperty(input.files[0], 'size', { value: 2e9 });
        input.dispatchEvent(new Event('change'));
    }""")
    expect(form.locator("#upload-note")).to_contain_text("takes up to 500 MB")
    assert not [request for request in tab.requests[request_count_before:] if "uploads" in request.url]


def test_html_in_an_uploaded_file_is_escaped(form: Page) -> None:
    row = {HOSTILE_TEXT: HOSTILE_TEXT, "answer": "x"}
    file_name = HOSTILE_TEXT.replace("/", "") + ".jsonl"
    form.set_input_files(
        "#upload", {"name": file_name, "mimeType": "", "buffer": (json.dumps(row) + "\n").encode() * 3}
    )
    expect(form.locator("#upload-note")).to_contain_text("3 examples")
    expect(form.locator("#source option:checked")).to_have_text(file_name)
    expect(form.locator(".mapping")).to_contain_text("onerror")
    form.reload()
    expect(form.locator(".mapping")).to_contain_text("onerror")
    assert form.evaluate("window.hurt") is None


# -- links --------------------------------------------------------------------------------------------------------


def modified_setup_link() -> str:
    spec = presets.preset_spec("first_tune")
    return links.link_to_setup(
        spec.model_copy(update={"title": HOSTILE_TEXT, "knobs": spec.knobs | {"epochs": 7.0}}), ""
    )


def test_a_setup_link_fills_the_form_counts_the_changed_settings_and_starts_no_run(
    page: Page, tab: BrowserTab, site: Site
) -> None:
    runs_before = sorted(path.name for path in (site.home / "runs").glob("*"))
    tab.open(site.base_url.rstrip("/") + modified_setup_link())
    expect(page.locator("#choose-notice")).to_contain_text("This setup came by a link. Nothing has started.")
    expect(page.locator("#choose-notice")).to_contain_text("2 settings differ")
    expect(page.locator("#choose-notice .setting-changes")).to_contain_text("5 → 7")
    expect(sft_setting_input(page, "epochs")).to_have_value("7")
    expect(page.get_by_role("textbox", name="Name of the run")).to_have_value(HOSTILE_TEXT)
    expect(page.locator("[name=preset]:checked")).to_have_count(0)
    expect(page).to_have_url(f"{site.base_url}#choose")
    sft_setting_input(page, "epochs").fill("8")
    page.reload()
    expect(sft_setting_input(page, "epochs")).to_have_value("8")
    assert sorted(path.name for path in (site.home / "runs").glob("*")) == runs_before
    assert page.evaluate("window.hurt") is None


def test_an_invalid_setup_link_shows_the_reason_and_keeps_the_draft(page: Page, tab: BrowserTab, site: Site) -> None:
    open_view(page, "choose")
    expand_sections(page)
    sft_setting_input(page, "epochs").fill("9")
    newer_version_setup = base64.urlsafe_b64encode(b'{"v": 2, "preset": "first_tune", "set": {}}').decode()
    for link, message in [
        (modified_setup_link()[:-20], "not a whole setup"),
        (f"?setup={newer_version_setup}", "newer version"),
        ("?setup=", "not a whole setup"),
    ]:
        tab.open(f"{site.base_url}{link.removeprefix('/')}")
        expect(page.get_by_role("alert")).to_contain_text(message)
        expect(sft_setting_input(page, "epochs")).to_have_value("9")
        expect(page).to_have_url(f"{site.base_url}#choose")


def test_the_copied_setup_link_decodes_to_the_same_setup(form: Page, tab: BrowserTab, site: Site) -> None:
    tab.context.grant_permissions(["clipboard-read", "clipboard-write"])
    sft_setting_input(form, "epochs").fill("6")
    form.get_by_role("button", name="Copy a link to this setup").click()
    expect(form.locator("#plan .sharing")).to_contain_text("Copied")
    link = form.evaluate("navigator.clipboard.readText()")
    assert link == form.get_by_label("Link to this setup").input_value()
    assert link.startswith(f"{site.entry_url}?setup=")
    assert "key" not in link
    assert links.decode_setup(link).knobs["epochs"] == 6


@pytest.mark.full
def test_a_setup_with_an_uploaded_file_explains_why_it_has_no_link(form: Page) -> None:
    form.set_input_files("#upload", {"name": "a.csv", "mimeType": "", "buffer": b"question,answer\n1,2\n3,4\n"})
    expect(form.locator("#upload-note")).to_contain_text("2 examples")
    form.get_by_role("button", name="Copy a link to this setup").click()
    expect(form.locator("#plan .sharing")).to_contain_text("a link cannot carry them")


# -- accessibility and small screens ------------------------------------------------------------------------------


def test_the_tab_key_reaches_every_setting_and_the_check_button(form: Page) -> None:
    form.locator("[name=preset]:checked").focus()
    expected_ids = set(form.evaluate("""[...document.querySelectorAll('#setup :is(input, select, textarea):not([type=radio])')]
        .filter(control => control.checkVisibility()).map(control => control.id)""")) | {"check"}  # fmt: skip
    assert len(expected_ids) > 20
    focused_ids = set()
    for _ in range(120):
        form.keyboard.press("Tab")
        focused_ids.add(form.evaluate("document.activeElement.id"))
        if "check" in focused_ids:
            break
    assert expected_ids <= focused_ids


@pytest.mark.parametrize("view", ["start", "choose"])
def test_nothing_overflows_horizontally_on_a_phone(page: Page, view: str) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    open_view(page, view)
    if view == "choose":
        page.get_by_role("textbox", name="Name of the run").fill("x" * 190)
        page.set_input_files(
            "#upload",
            {"name": "x" * 120 + ".csv", "mimeType": "", "buffer": f"{'c' * 150},answer\n{'v' * 900},2\n".encode()},
        )
        expect(page.locator("#upload-note")).to_contain_text("1 example")
        expand_sections(page)
    assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_the_form_contains_no_internal_words(form: Page) -> None:
    assert not INTERNAL_WORDS.search(form.locator("#view-choose").inner_text())


@pytest.mark.full
def test_every_preset_gives_a_setup_that_parses_to_its_spec(form: Page) -> None:
    for preset in presets.list_presets():
        select_preset(form, preset["name"])
        assert parse_spec(current_setup(form)) == presets.unresolved_preset_spec(preset["name"])
