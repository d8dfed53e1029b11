"""Check: in a real browser, with the real worker: what is shown is what the trainer prepared, and starting starts once."""

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
from tests.browser.conftest import Site, Visit
from tests.support import spec_of, until, write_rows

pytestmark = pytest.mark.slow

HOSTILE = "<script>window.hurt = 1</script><img src=x onerror='window.hurt = 2'>${Object.assign(window,{hurt:3})}{{{value}}}`\\</pre>"
SHOWN = """view => [...document.querySelectorAll(`${view} .token[role=option]`)].map(one => [one.textContent, one.className])"""


def to_check(page: Page, words: str) -> None:
    """Goes to Check, once the form has this title (a link fills it a moment after the page is there), until its setup is shown."""
    page.wait_for_function("title => tunesmith.setup?.setup.title === title", arg=words)
    setup = page.locator("#check-setup").filter(has_text=words)
    while not setup.count():  # what the form told may reach the server a moment later than the click
        page.evaluate("tunesmith.go('choose')")
        page.evaluate("tunesmith.go('check')")
        with contextlib.suppress(TimeoutError):
            setup.wait_for(timeout=2_000)
    expect(page.locator("#example .count")).not_to_be_empty()


def with_setup(visit: Visit, site: Site, spec: Spec) -> Page:
    """The page on Check with this setup, as a link brings it."""
    visit.open(site.address)
    page = visit.open(links.link_to_setup(spec, site.plain.rstrip("/")))
    to_check(page, spec.title)
    return page


def changed(name: str, **knobs: Any) -> Spec:
    """A preset under another title, with some settings changed."""
    spec = presets.preset_spec(name)
    return spec.model_copy(update={"title": f"Another {spec.title}", "knobs": spec.knobs | knobs})


def drawn(token: dict[str, Any]) -> list[str]:
    """A token's text and classes as they should be on the page."""
    kinds = [kind for kind in ("trained", "special", "cut") if token.get(kind)]
    return [token["text"].replace("\n", "⏎\n") or "·", " ".join(["token", *kinds])]


def test_the_tokens_shown_are_those_that_the_trainer_prepared(page: Page, worker: WorkerClient) -> None:
    answer = worker.preview_rows(presets.preset_spec("first_tune"), 50)
    to_check(page, "First tune")
    for row in answer["rows"][:3]:
        assert page.evaluate(SHOWN, "#example") == [drawn(token) for token in row["tokens"]]
        expect(page.locator("#example .share")).to_contain_text(
            f"{tokens.count_trained_tokens(row)} of {row['length']} tokens learned"
        )
        page.get_by_role("button", name="Next example").click()
    expect(page.locator("#example .count")).to_have_text(f"Example 4 of {answer['of']}")
    page.get_by_role("button", name="Previous example").click()
    expect(page.locator("#example .count")).to_have_text(f"Example 3 of {answer['of']}")
    style = "one => [getComputedStyle(one).textDecorationLine, getComputedStyle(one).outlineStyle]"
    assert page.locator("#example .token.trained").first.evaluate(style)[0] == "underline"
    assert page.locator("#example .token.special").first.evaluate(style)[1] == "solid"
    expect(page.locator("#findings li").first).to_be_visible()


def test_after_the_first_examples_the_others_are_fetched(page: Page) -> None:
    to_check(page, "First tune")
    page.locator("#example .token").first.click()
    for _ in range(50):
        page.keyboard.press("n")
    expect(page.locator("#example .count")).to_have_text(re.compile("Example 51 of"))


def test_pointer_and_keyboard_tell_text_id_and_reason(page: Page, worker: WorkerClient) -> None:
    [row] = worker.preview_rows(presets.preset_spec("first_tune"), 1)["rows"]
    to_check(page, "First tune")
    detail, all_tokens = page.locator("#example .detail"), page.locator("#example .token[role=option]")
    height = detail.bounding_box()["height"]
    learned = next(i for i, token in enumerate(row["tokens"]) if token["trained"])
    why = next(one["why"] for one in row["segments"] if learned < one["end"])
    all_tokens.nth(learned).hover()
    for said in (f"“{row['tokens'][learned]['text']}”", f"id {row['tokens'][learned]['id']}", "learned", why):
        expect(detail).to_contain_text(said)
    assert detail.bounding_box()["height"] == height, "the line keeps its size"

    assert page.locator("#example [tabindex='0']").count() == 1, "one tab stop, whatever the length"
    page.get_by_role("button", name="Next example").focus()
    page.keyboard.press("Tab")
    expect(detail).to_contain_text(f"token 1 of {row['length']}")
    expect(detail).to_have_attribute("aria-live", "polite")
    page.keyboard.press("ArrowRight")
    expect(detail).to_contain_text("token 2 of")
    page.keyboard.press("ArrowDown")
    below = int(re.search(r"token (\d+) of", detail.inner_text()).group(1))
    assert all_tokens.nth(below - 1).bounding_box()["y"] > all_tokens.nth(1).bounding_box()["y"] + 10
    page.keyboard.press("ArrowUp")
    expect(detail).to_contain_text("token 2 of")
    page.keyboard.press("End")
    expect(detail).to_contain_text(f"token {row['length']} of {row['length']}")
    page.keyboard.press("n")
    expect(page.locator("#example .count")).to_contain_text("Example 2 of")
    expect(page.locator("#example .token").first).to_be_focused()


@contextlib.contextmanager
def alone(visit: Visit, first: tokens.ViewerContent, then: tokens.ViewerContent) -> Iterator[Page]:
    """A viewer by itself, with a button that shows something else in it."""
    with gr.Blocks(analytics_enabled=False) as demo:
        shown = tokens.build_token_viewer(first, elem_id="example")
        assert shown.html_template == "${value.frame_html}"  # runs nothing of what it is given
        gr.Button("Then", elem_id="then").click(lambda: then, None, shown)
    app, address, _ = demo.launch(prevent_thread_lock=True, quiet=True, run_history=False, css_paths=theme.stylesheet_paths(), theme=theme.build_theme())  # fmt: skip
    scripts.serve_modules(app)
    try:
        visit.page.goto(address)
        visit.page.wait_for_selector("#then")
        yield visit.page
    finally:
        demo.close()


def test_what_a_row_holds_stays_text(visit: Visit, worker: WorkerClient, tmp_path: Path) -> None:
    source = write_rows(tmp_path / "a.jsonl", [{"prompt": HOSTILE, "completion": HOSTILE}])
    answer = worker.preview_rows(spec_of("sft", source), 1)
    with alone(
        visit, tokens.render_examples(answer), tokens.render_examples({"rows": answer["rows"] * 2, "of": 2})
    ) as page:
        for of in (1, 2):
            expect(page.locator("#example .count")).to_have_text(f"Example 1 of {of}")
            text = "".join(page.locator("#example .token[role=option]").all_text_contents())
            assert text.count(HOSTILE) == 2
            page.locator("#example .token[role=option]").nth(12).click()
            expect(page.locator("#example .detail")).to_contain_text("token 13")
            page.locator("#then").click()
        page.wait_for_timeout(500)
        assert page.evaluate("window.hurt") is None


def test_two_answers_stand_side_by_side_each_with_its_own_mark_and_tab_stop(visit: Visit) -> None:
    words = [{"text": text, "id": 7, "trained": text != "?", "special": False} for text in ("Kind", HOSTILE, "?")]
    part = {"tokens": words, "length": 3, "cut": 0, "segments": []}
    row = part | {"sides": [part | {"name": "chosen"}, part | {"name": "rejected"}], "beside": {HOSTILE: HOSTILE}}
    with alone(visit, tokens.render_examples({"rows": [row]}, "compared"), tokens.render_examples(None)) as page:
        better, worse = (page.locator("#example .tokens.answer").nth(i) for i in (0, 1))
        assert better.bounding_box()["y"] == worse.bounding_box()["y"]
        styles = [
            box.locator(".trained").first.evaluate("one => getComputedStyle(one).textDecoration")
            for box in (better, worse)
        ]
        assert [("underline" in style, "dashed" in style) for style in styles] == [(True, False), (True, True)]
        page.locator("#example .tokens.prompt .token").first.click()
        page.keyboard.press("Tab")
        page.keyboard.press("End")
        expect(better.locator(".token").last).to_be_focused()
        page.keyboard.press("Tab")
        expect(worse.locator(".token").first).to_be_focused()
        expect(page.locator("#example .detail")).to_contain_text("“Kind” – made less likely · token 1 of 3 · id 7")
        page.set_viewport_size({"width": 390, "height": 800})
        until(lambda: worse.bounding_box()["y"] > better.bounding_box()["y"] + 100, 10)
        assert page.evaluate("[window.hurt, document.documentElement.scrollWidth]") == [None, 390]


FRAMES = """async pixels => {
  const box = document.querySelector('#example .tokens'), gaps = [];
  let last = performance.now();
  for (let i = 0; i < 120; i++) {
    box.scrollTop += pixels;
    await new Promise(requestAnimationFrame);
    gaps.push(performance.now() - last);
    last = performance.now();
  }
  return gaps.sort((a, b) => a - b);
}"""
TURN = """async () => {
  const begun = performance.now();
  document.querySelector('#example [data-by="1"]').click();
  document.querySelector('#example .tokens').offsetHeight;
  const busy = performance.now() - begun;
  await new Promise(requestAnimationFrame);
  await new Promise(requestAnimationFrame);
  return [busy, performance.now() - begun];
}"""


def test_a_row_of_32000_tokens_is_drawn_at_once_and_scrolls(visit: Visit, worker: WorkerClient, tmp_path: Path) -> None:
    words = " ".join(f"word{i % 97} of the long tale," + ("\n" if i % 60 == 59 else "") for i in range(9_000))
    source = write_rows(tmp_path / "a.jsonl", [{"text": words}])
    [row] = worker.preview_rows(spec_of("pretrain", source, {"packing": False, "max_length": 32_000}), 1)["rows"]
    assert row["length"] == 32_000
    with alone(visit, tokens.render_examples({"rows": [row, row]}), tokens.render_examples(None)) as page:
        expect(page.locator("#example .share")).to_contain_text("of 32,000 tokens learned")
        busy, painted = page.evaluate(TURN)
        drawn_first = page.locator("#example .token[role=option]").count()
        still = page.evaluate(FRAMES, 0)
        gaps = page.evaluate(FRAMES, 100)  # a quick wheel: 6,000 pixels a second
        print(f"drawn in {busy:.0f} ms, painted after {painted:.0f} ms; frames: median {gaps[60]:.0f}, 95 % {gaps[113]:.0f}, worst {gaps[-1]:.0f} ms")  # fmt: skip
        assert drawn_first < 2_500, "only what is near the visible part is drawn"
        assert busy < 300
        assert gaps[60] < still[60] + 34, "half of the frames come as those of a page at rest, or 34 ms later"
        assert gaps[113] < still[113] + 100
        page.locator("#example .token").first.click()
        page.keyboard.press("End")
        expect(page.locator("#example .detail")).to_contain_text(f"token {len(row['tokens']):,} of")
        expect(page.locator("#example .token:focus")).to_be_in_viewport()


def test_packed_batches_show_their_documents_and_padding(visit: Visit, site: Site, worker: WorkerClient) -> None:
    spec = changed("first_tune", packing=True)
    batch = worker.preview_batches(spec)["batches"][0]
    page = with_setup(visit, site, spec)
    page.get_by_role("tab", name="Batches").click()
    expect(page.locator("#batches .count")).to_have_text(f"Batch 1, row 1 of {len(batch['rows'])}")
    row = max(range(len(batch["rows"])), key=lambda i: len(batch["rows"][i]["documents"]))
    documents = batch["rows"][row]["documents"]
    assert len(documents) > 1, "a row that holds several documents"
    page.locator(f"#batches .strip[data-go='{row}']").click()
    lengths = [int(length) for length in re.findall(r"Document \d+ of \d+: (\d+) token", page.locator("#batches .tokens").inner_text())]  # fmt: skip
    assert lengths == [document["length"] for document in documents]
    first = "one => { const token = one.nextElementSibling.firstChild; return token && [token.textContent, token.className]; }"
    for place, document in enumerate(documents):
        bound = page.locator("#batches .bound:not(.pad)").nth(place)
        bound.scroll_into_view_if_needed()
        assert until(lambda bound=bound: bound.evaluate(first), 10) == drawn(document["tokens"][0])


def test_attempts_that_all_earn_the_same_are_named_nothing_to_learn_from(visit: Visit, site: Site) -> None:
    page = with_setup(visit, site, changed("first_reward", temperature=0.05))
    expect(page.locator("#tried .attempts article")).to_have_count(8)
    expect(page.locator("#tried .notice")).to_contain_text(re.compile("nothing to (learn|prefer)|same", re.IGNORECASE))
    expect(page.locator("#tried .spread").first).to_have_text("all earn the same")
    expect(page.get_by_role("tab", name="Batches")).to_be_hidden()
    expect(page.locator("#example .count")).to_contain_text("Prompt 1 of")
    assert "learned" not in page.locator("#example").inner_text()
    page.get_by_role("button", name="Let it try again").click()
    expect(page.locator("#tried [aria-busy=true]")).to_have_count(1)
    expect(page.locator("#tried .attempts article")).to_have_count(8)


def made(site: Site) -> int:
    """How many runs there are."""
    return len([*(site.home / "runs").glob("[!.]*")])


def test_a_double_click_starts_one_run_and_watch_opens(visit: Visit, site: Site) -> None:
    before = made(site)
    page = with_setup(visit, site, changed("first_tune", epochs=0.1))
    start = page.locator("#begin")
    expect(start).to_be_in_viewport()
    start.dblclick()
    page.evaluate("for (let i = 0; i < 5; i++) document.querySelector('#begin').click()")
    page.wait_for_function("location.hash.startsWith('#watch/')")
    page.wait_for_timeout(1_500)
    assert made(site) == before + 1
    assert (site.home / "runs" / page.evaluate("tunesmith.run") / "spec.json").exists()
    page.evaluate("tunesmith.go('check')")
    expect(start).to_be_enabled()


def test_nothing_is_looked_at_again_until_the_setup_changes(page: Page, visit: Visit, site: Site) -> None:
    to_check(page, "First tune")
    expect(page.locator("#whole .facts")).to_be_visible()
    page.evaluate("document.querySelector('#example .chunk').kept = true")
    page.evaluate("tunesmith.go('choose')")
    page.evaluate("tunesmith.go('check')")
    page.wait_for_timeout(1_500)
    assert page.evaluate("document.querySelector('#example .chunk').kept") is True
    page = with_setup(visit, site, changed("first_tune", max_length=40))
    expect(page.locator("#whole")).to_contain_text(re.compile(r"Cut off\s*! \d+"))
    expect(page.locator("#audit .cut-line")).to_be_visible()
    while not page.locator("#example .token.cut").count():
        page.get_by_role("button", name="Next example").click()
    assert "line-through" in page.locator("#example .token.cut").first.evaluate("one => getComputedStyle(one).textDecoration")  # fmt: skip


def test_a_model_that_cannot_be_had_leaves_nothing_waiting(visit: Visit, site: Site) -> None:
    visit.open(site.address)
    spec = presets.preset_spec("first_tune")
    there = spec.model_copy(
        update={"title": "From afar", "model": spec.model.model_copy(update={"id": "someone/some-model"})}
    )
    page = visit.open(links.link_to_setup(there, site.plain.rstrip("/")))
    page.wait_for_function("() => tunesmith.setup?.setup.model.id === 'someone/some-model'")
    page.evaluate("tunesmith.go('check')")
    expect(page.locator("#check-notice [role=alert]")).to_contain_text("The model could not be found or reached")
    expect(page.locator("#check-setup")).to_contain_text("From afar")
    expect(page.locator("#begin")).to_be_disabled()
    expect(page.locator("#view-check [aria-busy=true]")).to_have_count(0)


def test_a_refused_setup_says_why_teaches_and_leads_back_to_the_setting(page: Page, site: Site) -> None:
    page.evaluate("tunesmith.go('choose')")
    page.locator("#sft-batch_size input").fill("0")
    page.keyboard.press("Tab")
    page.evaluate("tunesmith.go('check')")
    expect(page.locator("#check-notice [role=alert]")).to_contain_text("Choose between 1 and 4096 examples")
    expect(page.locator("#example")).to_contain_text("Here you see them as the model reads them")
    expect(page.locator("#begin")).to_be_disabled()
    page.get_by_role("link", name="Go to this setting").click()
    expect(page.locator("#sft-batch_size input")).to_be_focused()
    page.locator("#sft-batch_size input").fill("8")
    page.keyboard.press("Tab")
    page.evaluate("tunesmith.go('check')")
    expect(page.locator("#example .count")).to_contain_text("Example 1 of")
    expect(page.get_by_role("alert")).to_have_count(0)
    expect(page.locator("#begin")).to_be_enabled()
