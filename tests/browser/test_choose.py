"""Choose and the landing in a real browser: the form that keeps a draft, says what differs, takes files and links, and blocks nobody."""

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
from tests.browser.conftest import Site, Visit
from tests.support import in_home

pytestmark = pytest.mark.slow

HOSTILE = "<img src=x onerror='window.hurt=1'>${Object.assign(window,{hurt:2})}{{{value}}}"
OURS = re.compile(r"\b(spec|knob|engine|backend)s?\b", re.IGNORECASE)
ROWS = [{"frage": f"Wie viel ist {i} und 1?", "antwort": str(i + 1), "nummer": i} for i in range(20)]


@pytest.fixture
def form(page: Page) -> Page:
    """The page, at the form."""
    go(page, "choose")
    return page


def go(page: Page, view: str) -> None:
    page.wait_for_selector("#setup .sheet", state="attached")
    page.evaluate(f"tunesmith.go('{view}')")
    expect(page.locator(f"#view-{view}")).to_be_visible()


def start_from(page: Page, preset: str) -> None:
    """Chooses a preset, also one that waits behind a line."""
    page.locator(".more-starts").evaluate("one => { one.open = true; }")
    page.locator(f"[name=preset][value={preset}]").check()


def setting(page: Page, name: str) -> Locator:
    return setting_of(page, f"sft-{name}")


def setting_of(page: Page, setting_id: str) -> Locator:
    return page.locator(f"#{setting_id} input")


def planned(page: Page) -> Locator:
    """The card, once it has counted."""
    expect(page.locator(".plan dl")).to_have_attribute("aria-busy", "false")
    return page.locator(".plan")


def kept(page: Page) -> dict:
    return page.evaluate("tunesmith.setup.setup")


# -- the landing --------------------------------------------------------------------------------------------------


def test_one_click_leads_to_the_examples_of_a_first_try(page: Page) -> None:
    setting(page, "epochs").evaluate("one => { one.value = '30'; one.dispatchEvent(new Event('input')); }")
    page.get_by_role("button", name="Try it in a minute").click()
    expect(page.locator("#view-check")).to_be_visible()
    assert kept(page) == presets.unresolved_preset_spec("first_tune").to_dict()


def test_every_preset_is_a_card_that_fills_the_form(page: Page) -> None:
    cards = page.locator("#cards [data-preset]")
    expect(cards).to_have_count(len(presets.list_presets()))
    assert not OURS.search(page.locator("#view-start").inner_text())
    cards.filter(has_text="Read a diary").click()
    expect(page.locator("#view-choose")).to_be_visible()
    assert kept(page) == presets.unresolved_preset_spec("read_a_diary").to_dict()
    expect(page.locator("[name=preset]:checked")).to_have_value("read_a_diary")


def test_the_last_runs_are_one_click_away_and_their_titles_are_text(page: Page, site: Site) -> None:
    with in_home(site.home):
        run = store.create_run(
            local_workspace(), presets.preset_spec("first_tune").model_copy(update={"title": HOSTILE}), Launch()
        )
    page.reload()
    expect(page.locator("#cards .lately a").first).to_have_text(HOSTILE)
    expect(page.locator("#cards .how")).to_be_hidden()
    page.locator("#cards .lately a").first.click()
    expect(page).to_have_url(re.compile(f"#watch/{run.id}$"))
    assert page.evaluate("window.hurt") is None


# -- the draft, and what differs ----------------------------------------------------------------------------------


def test_what_differs_is_marked_and_goes_back_one_by_one_and_all_together(form: Page) -> None:
    expect(form.locator("#setup .mark-changed:visible")).to_have_count(0)
    setting(form, "epochs").fill("9")
    setting(form, "batch_size").fill("32")
    form.locator("#advanced > summary").click()
    form.locator("#setup-kind select").select_option("dora")
    expect(form.locator("#setup .mark-changed:visible")).to_have_count(3)
    expect(form.locator(".plan")).to_contain_text("3 settings differ from the preset")
    form.get_by_role("button", name="Epochs: back to 5 passes").click()
    expect(setting(form, "epochs")).to_have_value("5")
    expect(setting(form, "epochs")).to_be_focused()
    expect(form.locator(".plan")).to_contain_text("2 settings differ")
    form.get_by_role("button", name="Put all back").click()
    assert kept(form) == presets.unresolved_preset_spec("first_tune").to_dict()
    expect(form.locator("#setup .mark-changed:visible")).to_have_count(0)
    form.get_by_role("button", name="Undo").click()
    expect(setting(form, "batch_size")).to_have_value("32")


def test_a_setting_is_found_by_the_librarys_name_and_nothing_moves(form: Page) -> None:
    start_from(form, "first_reward")
    expect(form.locator(".ways-list strong").first).to_contain_text("Earn rewards · GRPO")
    expect(form.locator("label[for=grpo-attempts-input]")).to_have_attribute("title", "num_generations (here attempts)")
    expect(form.locator("#grpo-attempts-input")).to_have_accessible_description(re.compile("num_generations"))
    form.locator("#advanced > summary").click()
    search, count = form.get_by_role("searchbox", name="Find a setting"), form.locator("#find-setting-count")
    found = form.locator("#advanced .field:visible")
    search.scroll_into_view_if_needed()
    top = search.bounding_box()["y"]
    total = int(count.inner_text().split()[0])
    for query, title in [("num_generations", "Attempts"), ("beta", "Kl"), ("lora_alpha", "Strength")]:
        search.fill(query)
        expect(count).to_have_text(f"1 of {total} settings")
        expect(found).to_have_count(1)
        expect(found.locator("label")).to_have_text(title)
        assert search.bounding_box()["y"] == pytest.approx(top, abs=0.5)
    search.fill("num_generations")
    search.press("Tab")
    expect(setting_of(form, "grpo-attempts")).to_be_focused()
    setting_of(form, "grpo-attempts").fill("4")
    search.fill("no such thing")
    expect(count).to_have_text(re.compile("^No setting of “Earn rewards” is called that"))
    expect(found).to_have_count(0)
    top = search.bounding_box()["y"]  # the keyboard scrolled to the setting before
    search.press("Escape")
    expect(search).to_have_value("")
    expect(count).to_have_text(f"{total} settings")
    expect(form.locator("#everyday #grpo-attempts input")).to_have_value("4")
    assert search.bounding_box()["y"] == pytest.approx(top, abs=0.5)


def test_the_words_of_the_field_are_one_click_away(form: Page) -> None:
    form.get_by_role("link", name="Words").click()
    expect(form.get_by_role("heading", name="Words", level=1)).to_be_focused()
    expect(form.get_by_role("row", name="Prefer this over that DPO dpo")).to_be_visible()
    expect(form.locator("#glossary tr").filter(has_text="practice model")).to_be_visible()


def test_another_preset_says_what_it_replaced_and_can_be_undone(form: Page) -> None:
    setting(form, "epochs").fill("9")
    start_from(form, "first_reward")
    expect(form.locator("#choose-notice")).to_contain_text("“First reward” filled the form")
    expect(form.locator("#grpo-attempts input")).to_have_value("8")
    form.get_by_role("button", name="Undo").click()
    expect(setting(form, "epochs")).to_have_value("9")


def test_a_half_filled_form_survives_a_reload(form: Page) -> None:
    form.get_by_role("textbox", name="Name of the run").fill(HOSTILE)
    setting(form, "epochs").fill("many")
    form.get_by_role("radio", name="One from the Hub").check()
    form.get_by_label("Name on the Hub").fill("someone/some-model")
    form.reload()
    expect(form.get_by_role("textbox", name="Name of the run")).to_have_value(HOSTILE)
    expect(setting(form, "epochs")).to_have_value("many")
    expect(form.locator("#sft-epochs-note")).to_contain_text("“many” is not a number")
    expect(form.get_by_label("Name on the Hub")).to_have_value("someone/some-model")
    assert form.evaluate("window.hurt") is None
    assert not re.search("token|key", form.evaluate("Object.keys(localStorage).join()"), re.IGNORECASE)


BROKEN = [
    "",
    "{",
    "null",
    "[]",
    "5",
    '{"v": 1}',
    '{"v": 99, "preset": "first_tune"}',
    '{"v": 1, "preset": "gone", "setup": {}, "uploads": []}',
]


def test_a_draft_that_is_broken_or_of_another_version_is_left_alone(form: Page) -> None:
    whole = json.loads(form.evaluate("localStorage.getItem('tunesmith-draft')"))
    harmed = [whole | {"v": 0}, whole | {"setup": whole["setup"] | {"method": "constructor"}}, whole | {"setup": whole["setup"] | {"data": []}},
              whole | {"setup": whole["setup"] | {"knobs": {"of_tomorrow": 1}}}, whole | {"setup": whole["setup"] | {"data": [{"source": 5}]}}]  # fmt: skip
    for draft in [*BROKEN, *map(json.dumps, harmed)]:
        form.evaluate("draft => localStorage.setItem('tunesmith-draft', draft)", draft)
        form.reload()
        expect(setting(form, "epochs")).to_have_value("5")
        assert (
            kept(form) == presets.unresolved_preset_spec("first_tune").to_dict()
        )  # and the visit's fixture saw no error


def test_what_is_not_safe_is_said_and_what_cannot_be_is_refused(form: Page) -> None:
    setting(form, "epochs").fill("30")
    expect(form.locator("#sft-epochs-note")).to_have_text("Unusual: 1 to 10 passes is a safe start.")
    setting(form, "batch_size").fill("0")
    expect(form.locator("#sft-batch_size-note")).to_contain_text("Choose between 1 and 4096 examples")
    expect(form.locator(".plan .refused")).to_contain_text("One setting cannot be used")
    form.locator("#advanced > summary").click()
    form.locator("#setup-r input").fill("0")
    expect(form.locator(".plan .refused")).to_contain_text("2 settings cannot be used as they are")
    setting(form, "batch_size").fill("")
    form.locator("#advanced > summary").click()
    form.get_by_role("button", name="Go to it").click()
    expect(form.locator("#setup-r input")).to_be_focused()
    form.locator("#setup-r input").fill("8")
    expect(form.locator(".plan .refused")).to_be_empty()


def lesson(page: Page, family: str) -> Locator:
    return page.locator(f"#lesson [name=family][value={family}]")


def test_another_lesson_brings_its_own_settings(form: Page) -> None:
    lesson(form, "rewards").check()
    expect(form.locator("#grpo-attempts input")).to_have_value("8")
    assert kept(form)["knobs"] == {}
    expect(form.locator("#rewards")).to_contain_text("What earns a reward")
    expect(form.locator("#lesson .advice")).to_contain_text("“Earn rewards” needs a column of questions.")
    form.locator("#source").select_option("sample:sums")
    expect(form.locator("#lesson .advice")).to_contain_text("There are questions to try")
    form.locator("#add-reward").select_option("number")
    assert [one["name"] for one in kept(form)["rewards"]] == ["exact_match", "number"]
    form.get_by_role("button", name="Remove Exactly the right answer").click()
    assert [one["name"] for one in kept(form)["rewards"]] == ["number"]
    form.get_by_role("button", name="Lesson: back to Imitate examples").click()
    expect(setting(form, "epochs")).to_have_value("5")
    form.get_by_role("button", name="Take “Earn rewards”").click()
    assert kept(form)["method"] == "grpo"


def test_the_usual_way_comes_first_and_the_others_say_what_they_are_and_lack(form: Page) -> None:
    form.locator("#source").select_option("sample:manners")
    expect(form.locator("#lesson")).to_contain_text("The lesson is now “Prefer this over that”.")
    assert kept(form)["method"] == "dpo"
    expect(lesson(form, "prefer")).to_be_checked()
    expect(form.locator("#lesson .choice:has([value=imitate])")).to_contain_text("Needs a column of answers")
    form.get_by_text("Other ways", exact=False).click()
    ways = form.locator("#lesson [name=way]")
    expect(ways).to_have_count(
        sum(settings.method_entry(name)["family"] == "prefer" for name in settings.settings_menu()["methods"])
    )
    expect(ways.first).to_have_value("dpo")
    expect(form.locator("#lesson .choice:has([value=tpo])")).to_contain_text("experimental")
    expect(form.locator("#lesson .choice:has([value=tpo])")).to_contain_text("Needs a column of best answers")
    form.get_by_role("button", name="Undo").click()
    assert kept(form) == presets.unresolved_preset_spec("first_tune").to_dict()
    form.get_by_text("Other ways", exact=False).click()  # they stay unfolded while the examples are looked at
    form.locator("#lesson [value=pretrain]").check()
    assert kept(form)["method"] == "pretrain"
    expect(form.locator("#pretrain-epochs input")).to_be_visible()


def test_every_way_to_learn_can_be_chosen_and_draws_its_settings(form: Page) -> None:
    """And none breaks the page: the visit's fixture sees every error."""
    methods = settings.settings_menu()["methods"]
    for name, method in methods.items():
        lesson(form, method["family"]).check()
        form.locator(f"#lesson [name=way][value={name}]").evaluate(
            "one => { one.closest('details')?.setAttribute('open', ''); one.click(); }"
        )
        assert kept(form)["method"] == name
        drawn = form.locator(f"#setup .field[id^='{name}-']").evaluate_all(
            "all => all.filter(one => !one.closest('#rewards')).map(one => one.id)"
        )
        assert sorted(drawn) == sorted(one["id"] for one in method["fields"])
    assert form.locator("#setup [aria-invalid=true]").count() == 0


def test_every_reward_can_be_added_and_each_of_its_settings_be_filled(form: Page) -> None:
    start_from(form, "first_reward")
    form.get_by_role("button", name="Remove Exactly the right answer").click()
    rewards = settings.settings_menu()["rewards"]
    for place, (name, reward) in enumerate(rewards.items()):
        form.locator("#add-reward").select_option(name)
        for one in reward["fields"]:
            box = form.locator(f"[id='reward-{place}-{one['name']}-input']")
            if one["type"] == "choice":
                box.select_option(list(one["choices"])[-1])
            elif one["type"] == "bool":
                box.set_checked(not one.get("default"))
            elif one["type"] in ("int", "float"):
                box.fill(str(one.get("high", 1)))
            else:
                box.fill("several\nlines" if one["type"] == "lines" else "answer")
            given = form.evaluate("([i, name]) => tunesmith.setup.setup.rewards[i].params[name]", [place, one["name"]])
            assert given is not None, f"{name}: {one['name']} did not reach the setup"
    assert [one["name"] for one in kept(form)["rewards"]] == list(rewards)
    assert form.locator("#rewards [aria-invalid=true]").count() == 0


def test_settings_that_name_a_model_or_a_column_offer_what_there_is(form: Page) -> None:
    form.locator("#source").select_option("sample:sums")
    expect(lesson(form, "rewards")).to_be_checked()
    column = form.locator("#reward-0-column input")
    expect(form.locator("#reward-0-column option")).to_have_count(2)
    column.fill("solution")
    expect(form.locator("#reward-0-column-note")).to_contain_text(
        "The examples have no column “solution”. They have: prompt, answer."
    )
    lesson(form, "copy").check()
    teacher = form.locator("#distill-teacher input")
    teacher.fill("sees")
    expect(form.locator("#distill-teacher [role=option]")).to_have_text(
        ["The practice model that seesTakes pictures too."]
    )
    teacher.fill("")
    teacher.press("ArrowDown")
    teacher.press("Enter")
    assert kept(form)["knobs"]["teacher"] == "pocket"
    expect(form.locator("#distill-teacher")).to_contain_text("The practice model")


# -- the card -----------------------------------------------------------------------------------------------------


@pytest.mark.timeout(300)
def test_the_card_says_what_will_happen_and_never_blocks_the_form(form: Page) -> None:
    expect(planned(form)).to_contain_text("400 examples")
    expect(form.locator(".plan")).to_contain_text("30 % of 16,241 tokens")
    expect(form.locator(".plan")).to_contain_text("125 steps")
    expect(form.locator(".plan")).to_contain_text("16 at a time")
    height = form.locator(".plan dl").bounding_box()["height"]
    setting(form, "epochs").fill("2")
    expect(form.locator(".plan dl")).to_have_attribute("aria-busy", "true")
    assert form.locator(".plan dl").bounding_box()["height"] == pytest.approx(
        height, abs=30
    )  # the line of what differs may wrap
    setting(form, "epochs").fill("1")  # typed while it counts
    expect(planned(form)).to_contain_text("25 steps")
    expect(planned(form)).to_contain_text("So few seldom teach anything new.")
    form.get_by_role("button", name="Make it about 120").click()
    expect(setting(form, "epochs")).to_have_value("5")


# -- the Hub ------------------------------------------------------------------------------------------------------


def test_a_hub_that_is_down_blocks_nobody(form: Page) -> None:
    form.get_by_role("radio", name="One from the Hub").check()
    expect(form.locator(".plan .refused")).to_contain_text("Name a model from the Hub")
    box = form.get_by_label("Name on the Hub")
    box.press_sequentially("someone/some-model")
    expect(box).to_have_value("someone/some-model")
    expect(form.locator("#hub-note")).to_contain_text("Type the model’s whole name, and go on.")
    assert kept(form)["model"]["id"] == "someone/some-model"
    expect(form.locator(".plan")).to_contain_text("Not counted yet")  # nobody asked to fetch anything
    form.get_by_role("radio", name="The practice model").check()
    assert kept(form)["model"]["id"] == "pocket"


# -- files --------------------------------------------------------------------------------------------------------


@pytest.fixture
def brought(tmp_path: Path) -> dict[str, Path]:
    """The same examples in the three kinds that are taken."""
    lines, table, columns = (tmp_path / f"mine.{kind}" for kind in ("jsonl", "csv", "parquet"))
    lines.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    table.write_text(
        "frage,antwort,nummer\n" + "".join(f'"{row["frage"]}",{row["antwort"]},{row["nummer"]}\n' for row in ROWS)
    )
    parquet.write_table(pyarrow.Table.from_pylist(ROWS), columns)
    return {"jsonl": lines, "csv": table, "parquet": columns}


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_a_file_of_ones_own_becomes_the_examples(form: Page, brought: dict[str, Path], kind: str) -> None:
    form.set_input_files("#upload", brought[kind])
    expect(form.locator("#upload-note")).to_contain_text(f"mine.{kind}: 20 examples, read to the end.")
    expect(form.locator(".mapping table.rows thead")).to_contain_text("antwort")
    form.get_by_label("What the column frage is").select_option(label="The question")
    form.get_by_label("What the column antwort is").select_option(label="The answer")
    expect(form.locator(".mapping")).to_contain_text("“Wie viel ist 0 und 1?”")
    setup = kept(form)
    assert setup["data"][0]["source"].startswith("upload:")
    assert setup["data"][0]["mapping"] == {"prompt": "frage", "completion": "antwort"}
    assert setup["holdout"] == {"share": 0.1}
    expect(form.locator("#upload-note")).to_contain_text("“Epochs” is now 60")  # five would make ten steps
    expect(form.locator("#lesson .advice")).to_contain_text("Each question has the answer you want")
    assert kept(form)["knobs"]["epochs"] == 60
    expect(form.locator("#sft-epochs")).to_contain_text("Safe: 1 to 60 passes")
    expect(planned(form)).to_contain_text("18 examples")
    form.reload()
    expect(form.locator("#source option:checked")).to_have_text(f"mine.{kind}")
    expect(form.locator(".mapping table.rows thead")).to_contain_text("antwort")


def test_a_files_columns_decide_the_lesson_and_one_without_names_is_noticed(form: Page) -> None:
    rows = [{"question": f"Is {i} a number?", "better": "Yes, it is.", "worse": "Why ask?"} for i in range(90)]
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    form.set_input_files("#upload", {"name": "pairs.jsonl", "mimeType": "", "buffer": lines})
    expect(form.locator("#lesson")).to_contain_text("“Imitate examples” cannot be learned from these examples.")
    assert kept(form)["method"] == "dpo"
    assert kept(form)["data"][0]["mapping"] == {"prompt": "question", "chosen": "better", "rejected": "worse"}
    assert kept(form)["prompts"] == ["Is 0 a number?"]
    form.set_input_files(
        "#upload", {"name": "a.csv", "mimeType": "", "buffer": b"My lamp is broken.,Repairs\nWhere is it?,Shipping\n"}
    )
    expect(form.locator(".mapping")).to_contain_text("it looks like an example")


def test_a_file_that_cannot_be_read_is_refused_beside_the_button_and_nothing_is_lost(
    form: Page, tmp_path: Path
) -> None:
    before = kept(form)
    for name, content, words in [
        ("a.xlsx", b"PK", "cannot be read"), ("a.csv", b"", "is empty"), ("a.csv", b'question,answer\n1,"2\n3,4\n', "line 2 is not closed"),
        (f"{HOSTILE.replace('/', '')}.csv", b"a,b\n", "holds no examples"),
    ]:  # fmt: skip
        form.set_input_files("#upload", {"name": name, "mimeType": "text/csv", "buffer": content})
        expect(form.locator("#upload-note")).to_contain_text(words)
        assert kept(form) == before
    assert form.evaluate("window.hurt") is None


def test_a_file_of_two_gigabytes_is_refused_before_it_travels(form: Page, visit: Visit) -> None:
    sent = len(visit.requests)
    form.evaluate("""() => {
        const file = new File(['x'], 'huge.jsonl'), input = document.querySelector('#upload'), all = new DataTransfer();
        all.items.add(file);
        input.files = all.files;
        Object.defineProperty(input.files[0], 'size', { value: 2e9 });
        input.dispatchEvent(new Event('change'));
    }""")
    expect(form.locator("#upload-note")).to_contain_text("takes up to 500 MB")
    assert not [request for request in visit.requests[sent:] if "uploads" in request.url]


def test_a_hostile_file_stays_text(form: Page) -> None:
    row = {HOSTILE: HOSTILE, "answer": "x"}
    name = HOSTILE.replace("/", "") + ".jsonl"
    form.set_input_files("#upload", {"name": name, "mimeType": "", "buffer": (json.dumps(row) + "\n").encode() * 3})
    expect(form.locator("#upload-note")).to_contain_text("3 examples")
    expect(form.locator("#source option:checked")).to_have_text(name)
    expect(form.locator(".mapping")).to_contain_text("onerror")
    form.reload()
    expect(form.locator(".mapping")).to_contain_text("onerror")
    assert form.evaluate("window.hurt") is None


# -- links --------------------------------------------------------------------------------------------------------


def changed_setup() -> str:
    spec = presets.preset_spec("first_tune")
    return links.link_to_setup(spec.model_copy(update={"title": HOSTILE, "knobs": spec.knobs | {"epochs": 7.0}}), "")


def test_a_link_fills_the_form_says_what_differs_and_starts_nothing(page: Page, visit: Visit, site: Site) -> None:
    before = sorted(path.name for path in (site.home / "runs").glob("*"))
    visit.open(site.plain.rstrip("/") + changed_setup())
    expect(page.locator("#choose-notice")).to_contain_text("This setup came by a link. Nothing has started.")
    expect(page.locator("#choose-notice")).to_contain_text("1 setting differs")
    expect(setting(page, "epochs")).to_have_value("7")
    expect(page.get_by_role("textbox", name="Name of the run")).to_have_value(HOSTILE)
    expect(page.locator("[name=preset]:checked")).to_have_count(0)
    expect(page).to_have_url(f"{site.plain}#choose")
    setting(page, "epochs").fill("8")
    page.reload()
    expect(setting(page, "epochs")).to_have_value("8")
    assert sorted(path.name for path in (site.home / "runs").glob("*")) == before
    assert page.evaluate("window.hurt") is None


def test_a_link_that_cannot_be_opened_says_why_and_keeps_the_draft(page: Page, visit: Visit, site: Site) -> None:
    go(page, "choose")
    setting(page, "epochs").fill("9")
    newer = base64.urlsafe_b64encode(b'{"v": 2, "preset": "first_tune", "set": {}}').decode()
    for link, words in [
        (changed_setup()[:-20], "not a whole setup"),
        (f"?setup={newer}", "newer version"),
        ("?setup=", "not a whole setup"),
    ]:
        visit.open(f"{site.plain}{link.removeprefix('/')}")
        expect(page.get_by_role("alert")).to_contain_text(words)
        expect(setting(page, "epochs")).to_have_value("9")
        expect(page).to_have_url(f"{site.plain}#choose")


def test_a_link_to_this_setup_is_copied_and_opens_it_again(form: Page, visit: Visit, site: Site) -> None:
    visit.context.grant_permissions(["clipboard-read", "clipboard-write"])
    setting(form, "epochs").fill("6")
    form.get_by_role("button", name="Copy a link to this setup").click()
    expect(form.locator("#plan .sharing")).to_contain_text("Copied")
    link = form.evaluate("navigator.clipboard.readText()")
    assert link == form.get_by_label("Link to this setup").input_value()
    assert link.startswith(f"{site.plain}?setup=")
    assert "key" not in link
    assert links.decode_setup(link).knobs["epochs"] == 6


def test_a_setup_of_this_machine_says_why_it_has_no_link(form: Page) -> None:
    form.set_input_files("#upload", {"name": "a.csv", "mimeType": "", "buffer": b"question,answer\n1,2\n3,4\n"})
    expect(form.locator("#upload-note")).to_contain_text("2 examples")
    form.get_by_role("button", name="Copy a link to this setup").click()
    expect(form.locator("#plan .sharing")).to_contain_text("a link cannot carry them")


# -- for everyone -------------------------------------------------------------------------------------------------


def test_the_keyboard_reaches_every_setting_and_the_button(form: Page) -> None:
    form.locator("#advanced > summary").press("Enter")
    form.locator("[name=preset]:checked").focus()
    wanted = set(form.evaluate("""[...document.querySelectorAll('#setup :is(input, select, textarea):not([type=radio])')]
        .filter(one => one.checkVisibility()).map(one => one.id)""")) | {"check"}  # fmt: skip
    assert len(wanted) > 20
    reached = set()
    for _ in range(120):
        form.keyboard.press("Tab")
        reached.add(form.evaluate("document.activeElement.id"))
        if "check" in reached:
            break
    assert wanted <= reached


@pytest.mark.parametrize("view", ["start", "choose"])
def test_nothing_sticks_out_on_a_phone(page: Page, view: str) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    go(page, view)
    if view == "choose":
        page.get_by_role("textbox", name="Name of the run").fill("x" * 190)
        page.set_input_files(
            "#upload",
            {"name": "x" * 120 + ".csv", "mimeType": "", "buffer": f"{'c' * 150},answer\n{'v' * 900},2\n".encode()},
        )
        expect(page.locator("#upload-note")).to_contain_text("1 example")
        page.locator("#advanced > summary").click()
    assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_the_form_speaks_to_visitors(form: Page) -> None:
    form.locator("#advanced > summary").click()
    assert not OURS.search(form.locator("#view-choose").inner_text())


def test_the_form_makes_a_setup_that_can_be_read(form: Page) -> None:
    for one in presets.list_presets():
        start_from(form, one["name"])
        assert parse_spec(kept(form)) == presets.unresolved_preset_spec(one["name"])
