"""The Check page in a real browser with a real worker: it shows the tokens that the trainer prepared, and a double click starts one run."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from playwright.sync_api import Page, TimeoutError, expect

from app.planning import links, presets
from app.setup.spec import Spec
from app.worker.client import WorkerClient
from components import scripts, theme, tokens
from tests.browser.conftest import BrowserTab, Site
from tests.support import build_spec, wait_until, write_rows

pytestmark = pytest.mark.slow

XSS_PAYLOAD = "<script>window.hurt = 1</script><img src=x onerror='window.hurt = 2'>${Object.assign(window,{hurt:3})}{{{value}}}`\\</pre>"
TOKEN_TEXTS_AND_CLASSES_JS = """view => [...document.querySelectorAll(`${view} .token[role=option]`)].map(token => [token.textContent, token.className])"""


def open_check(page: Page, title: str) -> None:
    """Opens Check once the form has this title (a link fills the form shortly after the page loads) and waits until the setup is shown."""
    page.wait_for_function("title => tunesmith.setup?.setup.title === title", arg=title)
    setup = page.locator("#check-setup").filter(has_text=title)
    while not setup.count():  # the form's change may reach the server shortly after the click
        page.evaluate("tunesmith.go('choose')")
        page.evaluate("tunesmith.go('check')")
        with contextlib.suppress(TimeoutError):
            setup.wait_for(timeout=2_000)
    expect(page.locator("#example .count")).not_to_be_empty()


def open_check_with_spec(tab: BrowserTab, site: Site, spec: Spec) -> Page:
    """Opens the spec through a setup link and returns the page on Check."""
    tab.open(site.address)
    page = tab.open(links.link_to_setup(spec, site.base_url.rstrip("/")))
    open_check(page, spec.title)
    return page


def modified_preset(name: str, **knobs: Any) -> Spec:
    """The spec of a preset with another title and some settings changed."""
    spec = presets.preset_spec(name)
    return spec.model_copy(update={"title": f"Another {spec.title}", "knobs": spec.knobs | knobs})


def expected_token(token: dict[str, Any]) -> list[str]:
    """The text and the CSS classes that the page must show for a token."""
    css_classes = [css_class for css_class in ("trained", "special", "cut") if token.get(css_class)]
    return [token["text"].replace("\n", "⏎\n") or "·", " ".join(["token", *css_classes])]


def test_the_page_shows_the_tokens_that_the_trainer_prepared(page: Page, worker: WorkerClient) -> None:
    preview = worker.preview_rows(presets.preset_spec("first_tune"), 50)
    open_check(page, "First tune")
    for row in preview["rows"][:3]:
        assert page.evaluate(TOKEN_TEXTS_AND_CLASSES_JS, "#example") == [
            expected_token(token) for token in row["tokens"]
        ]
        expect(page.locator("#example .share")).to_contain_text(
            f"{tokens.count_trained_tokens(row)} of {row['length']} tokens learned"
        )
        page.get_by_role("button", name="Next example").click()
    expect(page.locator("#example .count")).to_have_text(f"Example 4 of {preview['of']}")
    page.get_by_role("button", name="Previous example").click()
    expect(page.locator("#example .count")).to_have_text(f"Example 3 of {preview['of']}")
    computed_style_js = "token => [getComputedStyle(token).textDecorationLine, getComputedStyle(token).outlineStyle]"
    assert page.locator("#example .token.trained").first.evaluate(computed_style_js)[0] == "underline"
    assert page.locator("#example .token.special").first.evaluate(computed_style_js)[1] == "solid"
    expect(page.locator("#findings li").first).to_be_visible()


@pytest.mark.full
def test_more_examples_are_fetched_after_the_first_50(page: Page) -> None:
    open_check(page, "First tune")
    page.locator("#example .token").first.click()
    for _ in range(50):
        page.keyboard.press("n")
    expect(page.locator("#example .count")).to_have_text(re.compile("Example 51 of"))


def test_hover_and_keyboard_show_the_text_id_and_reason_of_a_token(page: Page, worker: WorkerClient) -> None:
    [row] = worker.preview_rows(presets.preset_spec("first_tune"), 1)["rows"]
    open_check(page, "First tune")
    detail, all_tokens = page.locator("#example .detail"), page.locator("#example .token[role=option]")
    detail_height = detail.bounding_box()["height"]
    trained_index = next(i for i, token in enumerate(row["tokens"]) if token["trained"])
    reason = next(segment["why"] for segment in row["segments"] if trained_index < segment["end"])
    all_tokens.nth(trained_index).hover()
    for expected_text in (
        f"“{row['tokens'][trained_index]['text']}”",
        f"id {row['tokens'][trained_index]['id']}",
        "learned",
        reason,
    ):
        expect(detail).to_contain_text(expected_text)
    assert detail.bounding_box()["height"] == detail_height, "the detail line keeps its height"

    assert page.locator("#example [tabindex='0']").count() == 1, "the token list has one tab stop, whatever its length"
    page.get_by_role("button", name="Next example").focus()
    page.keyboard.press("Tab")
    expect(detail).to_contain_text(f"token 1 of {row['length']}")
    expect(detail).to_have_attribute("aria-live", "polite")
    page.keyboard.press("ArrowRight")
    expect(detail).to_contain_text("token 2 of")
    page.keyboard.press("ArrowDown")
    position_below = int(re.search(r"token (\d+) of", detail.inner_text()).group(1))
    assert all_tokens.nth(position_below - 1).bounding_box()["y"] > all_tokens.nth(1).bounding_box()["y"] + 10
    page.keyboard.press("ArrowUp")
    expect(detail).to_contain_text("token 2 of")
    page.keyboard.press("End")
    expect(detail).to_contain_text(f"token {row['length']} of {row['length']}")
    page.keyboard.press("n")
    expect(page.locator("#example .count")).to_contain_text("Example 2 of")
    expect(page.locator("#example .token").first).to_be_focused()


@contextlib.contextmanager
def isolated_viewer(
    tab: BrowserTab, first_content: tokens.ViewerContent, second_content: tokens.ViewerContent
) -> Iterator[Page]:
    """A page with only a token viewer and a button that replaces its content."""
    with gr.Blocks(analytics_enabled=False) as demo:
        viewer = tokens.build_token_viewer(first_content, elem_id="example")
        assert viewer.html_template == "${value.frame_html}"  # the template executes no part of the value
        gr.Button("Then", elem_id="then").click(lambda: second_content, None, viewer)
    app, address, _ = demo.launch(prevent_thread_lock=True, quiet=True, run_history=False, css_paths=theme.stylesheet_paths(), theme=theme.build_theme())  # fmt: skip
    scripts.serve_modules(app)
    try:
        tab.page.goto(address)
        tab.page.wait_for_selector("#then")
        yield tab.page
    finally:
        demo.close()


def test_markup_and_scripts_in_a_row_are_shown_as_text(tab: BrowserTab, worker: WorkerClient, tmp_path: Path) -> None:
    source = write_rows(tmp_path / "a.jsonl", [{"prompt": XSS_PAYLOAD, "completion": XSS_PAYLOAD}])
    preview = worker.preview_rows(build_spec("sft", source), 1)
    with isolated_viewer(
        tab, tokens.render_examples(preview), tokens.render_examples({"rows": preview["rows"] * 2, "of": 2})
    ) as page:
        for example_count in (1, 2):
            expect(page.locator("#example .count")).to_have_text(f"Example 1 of {example_count}")
            text = "".join(page.locator("#example .token[role=option]").all_text_contents())
            assert text.count(XSS_PAYLOAD) == 2
            page.locator("#example .token[role=option]").nth(12).click()
            expect(page.locator("#example .detail")).to_contain_text("token 13")
            page.locator("#then").click()
        page.wait_for_timeout(500)
        assert page.evaluate("window.hurt") is None


def test_chosen_and_rejected_answers_are_side_by_side_with_their_own_underline_and_tab_stop(tab: BrowserTab) -> None:
    token_entries = [
        {"text": text, "id": 7, "trained": text != "?", "special": False} for text in ("Kind", XSS_PAYLOAD, "?")
    ]
    example = {"tokens": token_entries, "length": 3, "cut": 0, "segments": []}
    row = example | {
        "sides": [example | {"name": "chosen"}, example | {"name": "rejected"}],
        "beside": {XSS_PAYLOAD: XSS_PAYLOAD},
    }
    with isolated_viewer(
        tab, tokens.render_examples({"rows": [row]}, "compared"), tokens.render_examples(None)
    ) as page:
        chosen, rejected = (page.locator("#example .tokens.answer").nth(i) for i in (0, 1))
        assert chosen.bounding_box()["y"] == rejected.bounding_box()["y"]
        styles = [
            answer.locator(".trained").first.evaluate("token => getComputedStyle(token).textDecoration")
            for answer in (chosen, rejected)
        ]
        assert [("underline" in style, "dashed" in style) for style in styles] == [(True, False), (True, True)]
        page.locator("#example .tokens.prompt .token").first.click()
        page.keyboard.press("Tab")
        page.keyboard.press("End")
        expect(chosen.locator(".token").last).to_be_focused()
        page.keyboard.press("Tab")
        expect(rejected.locator(".token").first).to_be_focused()
        expect(page.locator("#example .detail")).to_contain_text("“Kind” – made less likely · token 1 of 3 · id 7")
        page.set_viewport_size({"width": 390, "height": 800})
        wait_until(lambda: rejected.bounding_box()["y"] > chosen.bounding_box()["y"] + 100, 10)
        assert page.evaluate("[window.hurt, document.documentElement.scrollWidth]") == [None, 390]


SCROLL_FRAME_TIMES_JS = """async pixels => {
  const tokenBox = document.querySelector('#example .tokens'), frameTimes = [];
  let last = performance.now();
  for (let i = 0; i < 120; i++) {
    tokenBox.scrollTop += pixels;
    await new Promise(requestAnimationFrame);
    frameTimes.push(performance.now() - last);
    last = performance.now();
  }
  return frameTimes.sort((a, b) => a - b);
}"""
NEXT_EXAMPLE_TIMES_JS = """async () => {
  const startedAt = performance.now();
  document.querySelector('#example [data-by="1"]').click();
  document.querySelector('#example .tokens').offsetHeight;
  const renderTime = performance.now() - startedAt;
  await new Promise(requestAnimationFrame);
  await new Promise(requestAnimationFrame);
  return [renderTime, performance.now() - startedAt];
}"""


@pytest.mark.full
def test_a_row_of_32000_tokens_renders_quickly_and_scrolls_smoothly(
    tab: BrowserTab, worker: WorkerClient, tmp_path: Path
) -> None:
    text = " ".join(f"word{i % 97} of the long tale," + ("\n" if i % 60 == 59 else "") for i in range(9_000))
    source = write_rows(tmp_path / "a.jsonl", [{"text": text}])
    [row] = worker.preview_rows(build_spec("pretrain", source, {"packing": False, "max_length": 32_000}), 1)["rows"]
    assert row["length"] == 32_000
    with isolated_viewer(tab, tokens.render_examples({"rows": [row, row]}), tokens.render_examples(None)) as page:
        expect(page.locator("#example .share")).to_contain_text("of 32,000 tokens learned")
        render_ms, paint_ms = page.evaluate(NEXT_EXAMPLE_TIMES_JS)
        rendered_token_count = page.locator("#example .token[role=option]").count()
        idle_frame_ms = page.evaluate(SCROLL_FRAME_TIMES_JS, 0)
        scroll_frame_ms = page.evaluate(SCROLL_FRAME_TIMES_JS, 100)  # fast scrolling: 6,000 pixels a second
        print(f"rendered in {render_ms:.0f} ms, painted after {paint_ms:.0f} ms; frames: median {scroll_frame_ms[60]:.0f}, 95 % {scroll_frame_ms[113]:.0f}, worst {scroll_frame_ms[-1]:.0f} ms")  # fmt: skip
        assert rendered_token_count < 2_500, "only tokens near the visible part are rendered"
        assert render_ms < 300
        assert scroll_frame_ms[60] < idle_frame_ms[60] + 34, (
            "the median frame takes at most 34 ms longer than on an idle page"
        )
        assert scroll_frame_ms[113] < idle_frame_ms[113] + 100
        page.locator("#example .token").first.click()
        page.keyboard.press("End")
        expect(page.locator("#example .detail")).to_contain_text(f"token {len(row['tokens']):,} of")
        expect(page.locator("#example .token:focus")).to_be_in_viewport()


@pytest.mark.full
def test_packed_batches_show_the_length_and_first_token_of_each_document(
    tab: BrowserTab, site: Site, worker: WorkerClient
) -> None:
    spec = modified_preset("first_tune", packing=True)
    batch = worker.preview_batches(spec)["batches"][0]
    page = open_check_with_spec(tab, site, spec)
    page.get_by_role("tab", name="Batches").click()
    expect(page.locator("#batches .count")).to_have_text(f"Batch 1, row 1 of {len(batch['rows'])}")
    row_index = max(range(len(batch["rows"])), key=lambda i: len(batch["rows"][i]["documents"]))
    documents = batch["rows"][row_index]["documents"]
    assert len(documents) > 1, "the row must hold several documents"
    page.locator(f"#batches .strip[data-go='{row_index}']").click()
    lengths = [int(length) for length in re.findall(r"Document \d+ of \d+: (\d+) token", page.locator("#batches .tokens").inner_text())]  # fmt: skip
    assert lengths == [document["length"] for document in documents]
    first_token_js = "boundary => { const token = boundary.nextElementSibling.firstChild; return token && [token.textContent, token.className]; }"
    for document_index, document in enumerate(documents):
        boundary = page.locator("#batches .bound:not(.pad)").nth(document_index)
        boundary.scroll_into_view_if_needed()
        assert wait_until(lambda boundary=boundary: boundary.evaluate(first_token_js), 10) == expected_token(
            document["tokens"][0]
        )


@pytest.mark.full
def test_a_notice_says_that_attempts_with_equal_rewards_teach_nothing(tab: BrowserTab, site: Site) -> None:
    page = open_check_with_spec(tab, site, modified_preset("first_reward", temperature=0.05))
    expect(page.locator("#tried .attempts article")).to_have_count(8)
    expect(page.locator("#tried .notice")).to_contain_text(re.compile("nothing to (learn|prefer)|same", re.IGNORECASE))
    expect(page.locator("#tried .spread").first).to_have_text("all earn the same")
    expect(page.get_by_role("tab", name="Batches")).to_be_hidden()
    expect(page.locator("#example .count")).to_contain_text("Prompt 1 of")
    assert "learned" not in page.locator("#example").inner_text()
    page.get_by_role("button", name="Let it try again").click()
    expect(page.locator("#tried [aria-busy=true]")).to_have_count(1)
    expect(page.locator("#tried .attempts article")).to_have_count(8)


def count_runs(site: Site) -> int:
    """Number of run folders in the home of the site."""
    return len([*(site.home / "runs").glob("[!.]*")])


def test_a_double_click_starts_one_run_and_opens_watch(tab: BrowserTab, site: Site) -> None:
    runs_before = count_runs(site)
    page = open_check_with_spec(tab, site, modified_preset("first_tune", epochs=0.1))
    start_button = page.locator("#begin")
    expect(start_button).to_be_in_viewport()
    start_button.dblclick()
    page.evaluate("for (let i = 0; i < 5; i++) document.querySelector('#begin').click()")
    page.wait_for_function("location.hash.startsWith('#watch/')")
    page.wait_for_timeout(1_500)
    assert count_runs(site) == runs_before + 1
    assert (site.home / "runs" / page.evaluate("tunesmith.run") / "spec.json").exists()
    page.evaluate("tunesmith.go('check')")
    expect(start_button).to_be_enabled()


def test_check_is_not_repeated_until_the_setup_changes(page: Page, tab: BrowserTab, site: Site) -> None:
    open_check(page, "First tune")
    expect(page.locator("#whole .facts")).to_be_visible()
    page.evaluate("document.querySelector('#example .chunk').sameElement = true")
    page.evaluate("tunesmith.go('choose')")
    page.evaluate("tunesmith.go('check')")
    page.wait_for_timeout(1_500)
    assert page.evaluate("document.querySelector('#example .chunk').sameElement") is True
    page = open_check_with_spec(tab, site, modified_preset("first_tune", max_length=40))
    expect(page.locator("#whole")).to_contain_text(re.compile(r"Cut off\s*! \d+"))
    expect(page.locator("#audit .cut-line")).to_be_visible()
    while not page.locator("#example .token.cut").count():
        page.get_by_role("button", name="Next example").click()
    assert "line-through" in page.locator("#example .token.cut").first.evaluate("token => getComputedStyle(token).textDecoration")  # fmt: skip


@pytest.mark.full
def test_an_unreachable_model_gives_an_error_and_no_endless_loading(tab: BrowserTab, site: Site) -> None:
    tab.open(site.address)
    spec = presets.preset_spec("first_tune")
    remote_model_spec = spec.model_copy(
        update={"title": "From afar", "model": spec.model.model_copy(update={"id": "someone/some-model"})}
    )
    page = tab.open(links.link_to_setup(remote_model_spec, site.base_url.rstrip("/")))
    page.wait_for_function("() => tunesmith.setup?.setup.model.id === 'someone/some-model'")
    page.evaluate("tunesmith.go('check')")
    expect(page.locator("#check-notice [role=alert]")).to_contain_text("The model could not be found or reached")
    expect(page.locator("#check-setup")).to_contain_text("From afar")
    expect(page.locator("#begin")).to_be_disabled()
    expect(page.locator("#view-check [aria-busy=true]")).to_have_count(0)


def test_a_refused_setup_gives_the_reason_and_a_link_to_the_setting(page: Page, site: Site) -> None:
    page.evaluate("tunesmith.go('choose')")
    page.locator("#setup").get_by_role("button", name="Settings", exact=True).click()
    page.locator("#sft-batch_size input").fill("0")
    page.keyboard.press("Tab")
    page.evaluate("tunesmith.go('check')")
    expect(page.locator("#check-notice [role=alert]")).to_contain_text("Choose between 1 and 4096 examples")
    expect(page.locator("#example")).to_contain_text("Here you see them as the model reads them")
    expect(page.locator("#begin")).to_be_disabled()
    page.evaluate("document.querySelector('#everyday .expander').click()")
    page.get_by_role("link", name="Go to this setting").click()
    expect(page.locator("#sft-batch_size input")).to_be_focused()
    page.locator("#sft-batch_size input").fill("8")
    page.keyboard.press("Tab")
    page.evaluate("tunesmith.go('check')")
    expect(page.locator("#example .count")).to_contain_text("Example 1 of")
    expect(page.get_by_role("alert")).to_have_count(0)
    expect(page.locator("#begin")).to_be_enabled()


@pytest.mark.timeout(600)
def test_a_rehearsal_says_whether_it_fits_and_a_limit_stops_the_run(page: Page) -> None:
    open_check(page, "First tune")
    expect(page.locator("#promise")).to_contain_text("steps here")
    page.get_by_role("button", name="Rehearse twenty steps").click()
    report = page.locator("#rehearsed")
    expect(report.get_by_role("progressbar")).to_be_visible()
    expect(report).to_contain_text("20 real steps went well")
    expect(report).to_contain_text("It took at most")
    expect(report).to_contain_text("a model that only guesses has 7.41")

    page.get_by_role("button", name="Where it runs, and when it stops by itself").click()
    expect(page.locator("#run-cost")).to_have_text("With a price, this says what the run costs.")
    page.locator("#hour-dollars input").fill("3600")
    # The time was measured, or reckoned as a range where another run keeps this machine busy: the cost says the same.
    is_measured = "about" in page.locator("#promise").inner_text()
    dollars = r"\$\d+\.\d\d"
    cost = rf"the run costs about {dollars}\." if is_measured else rf"the run costs {dollars} to {dollars}\."
    expect(page.locator("#run-cost")).to_contain_text(re.compile(cost))
    page.locator("#hour-dollars input").fill("0")
    expect(page.locator("#run-cost")).to_contain_text("With a price")
    page.locator("#stop-dollars input").fill("1")
    page.get_by_role("button", name="Start training").click()
    expect(page.locator("#start-notice")).to_contain_text("say what the machine costs per hour")
    page.locator("#stop-dollars input").fill("0")
    page.locator("#stop-minutes input").fill("0.01")
    page.get_by_role("button", name="Start training").click()
    expect(page.locator("#view-watch")).to_be_visible()
    expect(page.locator("#view-watch [data-state]").first).to_have_attribute("data-state", "stopped")
    expect(page.locator("#view-watch")).to_contain_text("The limit that was set for this run is reached")
