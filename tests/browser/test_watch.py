"""Watch: a run in a real browser while it goes: its curves, its answers, what is asked of it, and what may go wrong."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

from app.core import processes
from app.core.json_files import read_json, write_json
from app.core.workspace import local_workspace
from app.history import page_messages, reader, series, snapshot
from app.planning import preflight, presets
from app.runs import events, store
from app.runs.store import Run
from app.setup.spec import Launch, Spec
from tests.browser.conftest import PATIENCE, Site, Visit, serving
from tests.support import append_events, in_home, spec_of, start, until, wait

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # whole runs on cores that may be shared

HOSTILE = "<script>window.hurt = 1</script><img src=x onerror='window.hurt = 2'>${Object.assign(window,{hurt:3})}{{{value}}}`\\"
ENDED = re.compile("finished|stopped|failed|lost")

# {metric in words: [[step, value], …]} as plotly holds it
DRAWN = """() => Object.fromEntries([...document.querySelectorAll('.js-plotly-plot')].flatMap(plot => {
  const scale = plot.layout.meta?.scale ?? 1, plain = y => y === null ? null : Number((y / scale).toPrecision(5));
  return plot.data.map(line => [line.name, [...line.x].map((x, i) => [x, plain(line.y[i])])]);
}))"""
POINTS = "() => document.querySelector('[data-chart=loss] .js-plotly-plot')?.data[0].x.length ?? 0"


@pytest.fixture(autouse=True)
def at_home(site: Site) -> Iterator[Path]:
    """What a test starts or tells, the page sees."""
    with in_home(site.home):
        yield site.home


def begin(**knobs: Any) -> Run:
    """A real run of the first preset, on its way."""
    spec = presets.preset_spec("first_tune")
    return start(preflight.check_spec(spec.model_copy(update={"knobs": spec.knobs | knobs})))


def told(story: list[dict[str, Any]], alive: bool = False, spec: Spec | None = None) -> Run:
    """A run whose story we tell ourselves, with this very process as the one that works on it."""
    run = store.create_run(local_workspace(), spec or presets.preset_spec("first_tune"), Launch())
    if alive:
        handle = {"backend": "local", "folder": str(run.path)} | processes.process_identity(os.getpid())
        write_json(run.path / "handle.json", handle)
    append_events(run, story)
    return run


def step(number: int, loss: float, of: int = 200) -> dict[str, Any]:
    metrics = {"train/loss": loss, "train/grad_norm": 1.0 + loss, "train/learning_rate": 0.001}
    return {"kind": "step", "step": number, "of": of, "seconds_left": 9.0, "metrics": metrics}


def truth(run: Run) -> dict[str, list[list[float]]]:
    """What the charts should hold, from the run's own file."""
    names = snapshot.labels_by_metric(snapshot.spec_dict(run))
    return {names[name]: [[at, page_messages.round_value(value)] for at, value in zip(one.steps, one.values, strict=True)]
            for name, one in series.series_by_metric(events.read_events(run.events)).items() if reader.is_chart_metric(name)}  # fmt: skip


def open_run(page: Page, run: Run) -> Page:
    page.evaluate("run => tunesmith.go('watch', run)", run.id)
    return page


def state(page: Page) -> Any:
    return expect(page.locator("#progress .progress"))


def in_sight(page: Page) -> Page:
    """The page on a screen so tall that every chart is in sight: out of sight none is drawn anew."""
    page.set_viewport_size({"width": 1280, "height": 4_000})
    return page


def has_drawn(page: Page, run: Run) -> None:
    """Fails unless the charts come to hold exactly what the run's file tells."""
    wanted = truth(run)
    until(lambda: in_sight(page).evaluate(DRAWN) == wanted, 30)


def test_the_same_curve_grows_in_two_tabs_after_a_reload_and_over_a_stop(page: Page, visit: Visit, site: Site) -> None:
    """One run, from its first step to its end, as two tabs see it."""
    assert not [request for request in visit.requests if "plotly" in request.url]
    run = begin(epochs=2.0)
    open_run(page, run)
    page.wait_for_function(f"({POINTS})() >= 3")
    second = visit.context.new_page()
    second.goto(f"{site.plain}#watch/{run.id}")
    second.wait_for_function(f"({POINTS})() >= 3")
    page.reload()
    page.wait_for_function(f"({POINTS})() >= 4")
    assert store.is_alive(run), "the run ended before the curve was seen to move"
    page.get_by_role("button", name="Save now").click()
    expect(page.locator("[data-told=saved]")).to_contain_text("saved at step")
    page.get_by_role("button", name="Stop and save").click()
    state(page).to_have_attribute("data-state", "stopped")
    wait(run)
    assert run.adapter.is_dir()
    assert events.last_event(run.events).why == "stopped"
    before = page.evaluate(POINTS)
    page.get_by_role("button", name="Resume").click()
    page.wait_for_function(f"({POINTS})() > {before}")
    wait(run)
    for tab in (page, second):
        state(tab).to_have_attribute("data-state", "finished")
        expect(tab.locator(".verdict")).to_contain_text("never saw")
        expect(tab.get_by_role("button", name="Stop and save")).to_be_hidden()
        has_drawn(tab, run)
    steps = [at for at, _ in truth(run)["training"]]
    assert steps == [*range(1, len(steps) + 1)]
    expect(page.locator(".answer .said.now").first).to_be_visible()
    expect(page.locator(".answers-way output")).to_have_text(re.compile(r"step \d+"))
    page.get_by_role("button", name="Try it").click()
    page.wait_for_function("() => tunesmith.view === 'try'")


def test_a_killed_server_loses_nothing(chromium: Browser, tmp_path: Path) -> None:
    with in_home(tmp_path) as home, chromium.new_context() as context:
        context.set_default_timeout(PATIENCE)
        expect.set_options(timeout=PATIENCE)
        page = context.new_page()
        with serving(home) as site:
            run = begin(epochs=1.5)
            page.goto(site.address)
            page.wait_for_selector("#view-start", state="attached")
            open_run(page, run)
            page.wait_for_function(f"({POINTS})() >= 3")
            site.process.send_signal(signal.SIGKILL)
            site.process.wait(20)
            expect(page.locator(".live-notice")).to_contain_text("cannot be reached")
        port = int(site.plain.split(":")[2].strip("/"))
        with serving(home, port) as again:
            expect(page.locator(".live-notice")).to_contain_text("Open the address that its terminal prints")
            other = open_elsewhere(context, again)
            expect(page.locator(".live-notice")).to_have_count(0)  # it was let in again too, and has reloaded itself
            assert (
                not isinstance(events.last_event(run.events), events.FinalEvent)
                or store.run_state(run, alive=False) == "finished"
            )
            wait(run)
            for tab in (page, open_run(other, run)):
                state(tab).to_have_attribute("data-state", "finished")
                has_drawn(tab, run)


def open_elsewhere(context: BrowserContext, site: Site) -> Page:
    tab = context.new_page()
    tab.goto(site.address)
    tab.wait_for_selector("#view-start", state="attached")
    return tab


def test_what_a_model_says_stays_text(page: Page) -> None:
    rows = [{"prompt": HOSTILE, "completion": HOSTILE, "wanted": HOSTILE, "rewards": {HOSTILE: 1.0}, "advantage": 0.5}]
    metrics = {f"eval/{HOSTILE}": 1.0, f"reward/{HOSTILE}/mean": 0.5}
    run = told([
        {"kind": "sample", "step": 0, "rows": rows}, {"kind": "eval", "step": 0, "set": "holdout", "metrics": metrics},
        {"kind": "sample", "step": 4, "rows": rows}, {"kind": "eval", "step": 4, "set": "holdout", "metrics": metrics},
        {"kind": "note", "level": "careful", "text": HOSTILE},
        {"kind": "failed", "reason": "crashed", "text": HOSTILE, "advice": HOSTILE},
    ])  # fmt: skip
    (run.path / "log.txt").write_text(HOSTILE)
    title = read_json(run.path / "spec.json") | {"title": HOSTILE}
    write_json(run.path / "spec.json", title)
    open_run(page, run)
    expect(page.locator(".answer .said p").first).to_have_text(HOSTILE)
    expect(page.locator(".answer .said.now")).to_contain_text("better than its other tries")
    expect(page.locator("#progress .notice li")).to_have_count(3)
    expect(page.locator(".run-title")).to_have_text(HOSTILE)
    page.locator(".log summary").click()
    expect(page.locator(".log pre")).to_have_text(HOSTILE)
    page.wait_for_selector("[data-chart=score] .js-plotly-plot")
    in_sight(page)
    page.locator("[data-chart=score] .nsewdrag").hover()
    page.wait_for_timeout(500)
    assert page.evaluate("window.hurt") is None
    assert page.locator("#view-watch script, #view-watch img").count() == 0


def test_where_a_stream_does_not_come_through_the_page_asks(page: Page) -> None:
    page.context.route(re.compile(r"/live\?"), lambda route: route.abort())
    run = told([{"kind": "state", "state": "training"}, step(1, 3.0), step(2, 2.0)], alive=True)
    open_run(page, run)
    page.wait_for_function(f"({POINTS})() === 2")
    append_events(run, [step(3, 1.0)])
    page.wait_for_function(f"({POINTS})() === 3")
    expect(page.locator("[data-told=step]")).to_have_text("step 3 of 200")


def test_an_address_of_no_run_says_so_and_how_to_go_on(page: Page) -> None:
    page.evaluate("tunesmith.go('watch', '20200101-000000-nobody-0000')")
    expect(page.locator("#no-run")).to_contain_text("There is no such run here.")
    expect(page.locator("#progress")).to_be_hidden()
    expect(page.get_by_role("link", name="Choose what to teach")).to_be_visible()


def test_zoom_and_scale_survive_news_until_they_are_reset(page: Page) -> None:
    run = told([{"kind": "state", "state": "training"}, *(step(i, 5 / i) for i in range(1, 101))], alive=True)
    open_run(page, run)
    page.wait_for_function(f"({POINTS})() === 100")
    area = page.locator("[data-chart=loss] .nsewdrag").bounding_box()
    x, y = area["x"], area["y"] + area["height"] / 2
    page.mouse.move(x + 0.1 * area["width"], y)
    page.mouse.down()
    page.mouse.move(x + 0.3 * area["width"], y, steps=5)
    page.mouse.up()
    zoomed = page.evaluate(RANGE)
    assert zoomed[1] - zoomed[0] < 60
    page.get_by_label("Log scale").check()
    append_events(run, [step(i, 5 / i) for i in range(101, 111)])
    page.wait_for_function(f"({POINTS})() === 110")
    assert page.evaluate("() => document.querySelector('[data-chart=loss] .plot')._fullLayout.yaxis.type") == "log"
    page.get_by_label("Log scale").uncheck()
    append_events(run, [step(i, 5 / i) for i in range(111, 121)])
    page.wait_for_function(f"({POINTS})() === 120")
    assert page.evaluate(RANGE) == pytest.approx(zoomed, abs=0.01)
    page.get_by_role("button", name="Reset zoom").click()
    page.wait_for_function(f"() => String(({RANGE})()) === '0,200'")
    expect(page.get_by_role("button", name="Reset zoom")).to_be_disabled()


RANGE = "() => document.querySelector('[data-chart=loss] .plot')._fullLayout.xaxis.range"


def test_smoothing_draws_a_calmer_line_that_grows_too_and_is_remembered(page: Page) -> None:
    story = [step(i, 2.0 + (-1) ** i) for i in range(1, 101)]
    run = told([{"kind": "state", "state": "training"}, *story], alive=True)
    open_run(page, run)
    page.wait_for_function(f"({POINTS})() === 100")
    page.get_by_label("Smoothing").fill("60")
    page.wait_for_function("() => document.querySelector('[data-chart=loss] .plot').data.length === 2")
    append_events(run, [step(i, 2.0 + (-1) ** i) for i in range(101, 121)])
    page.wait_for_function(f"({POINTS})() === 120")
    calm = page.evaluate("() => document.querySelector('[data-chart=loss] .plot').data[1].y")
    assert len(calm) == 120
    assert all(1.7 < value < 2.3 for value in calm[40:])
    page.reload()
    page.wait_for_function("() => document.querySelector('[data-chart=loss] .plot')?.data?.length === 2")
    again = page.evaluate("() => document.querySelector('[data-chart=loss] .plot').data[1].y")
    assert again == pytest.approx(calm)


def test_a_long_curve_stays_small_keeps_its_spikes_and_is_the_same_after_a_reload(page: Page) -> None:
    def losses(first: int, end: int) -> list[dict[str, Any]]:
        return [step(i, 60.0 if i in (777, 5_555) else 1 + (i * 7919 % 101) / 100, of=8_000) for i in range(first, end)]

    run = told([{"kind": "state", "state": "training"}, *losses(1, 1_500)], alive=True)
    open_run(page, run)
    page.wait_for_function(f"({POINTS})() === 1499")
    for first in range(1_500, 6_000, 900):
        append_events(run, losses(first, first + 900))
        page.wait_for_function(f"() => (({DRAWN})().training?.at(-1)[0]) === {first + 899}")
        assert page.evaluate(POINTS) <= series.MAX_POINTS
    grown = page.evaluate(DRAWN)["training"]
    assert [777, 60.0] in grown
    assert [5_555, 60.0] in grown
    page.reload()
    page.wait_for_function(f"({POINTS})() > 0")
    loaded = page.evaluate(DRAWN)["training"]
    assert {tuple(at) for at in loaded} <= {tuple(at) for at in grown}  # what grew has the newest points besides


def test_a_run_that_goes_back_takes_its_curve_along(page: Page) -> None:
    run = told([{"kind": "state", "state": "training"}, *(step(i, 3.0) for i in range(1, 21))], alive=True)
    open_run(page, run)
    page.wait_for_function(f"({POINTS})() === 20")
    append_events(run, [{"kind": "resumed", "from_step": 10}, step(11, 1.0)])
    page.wait_for_function(f"({POINTS})() === 11")
    append_events(run, [step(12, 0.5)])
    page.wait_for_function(f"({POINTS})() === 12")
    assert page.evaluate(DRAWN)["training"] == truth(run)["training"]


def test_a_small_chart_is_enlarged_by_the_keyboard_too(page: Page) -> None:
    open_run(page, told([*(step(i, 1 / i) for i in range(1, 30))]))
    page.wait_for_selector("[data-chart=gradient] .js-plotly-plot .main-svg")
    chart = page.locator("[data-chart=gradient]")
    size_before = size(chart)
    button = page.get_by_role("button", name="Gradient norm")
    button.press("Enter")
    expect(button).to_have_attribute("aria-expanded", "true")
    assert size(chart)[0] > 2 * size_before[0]
    page.wait_for_selector("[data-chart=gradient] .nsewdrag", state="attached")
    button.press("Enter")
    expect(button).to_have_attribute("aria-expanded", "false")
    assert size(chart) == size_before


def size(piece: Locator) -> tuple[float, float]:
    box = piece.bounding_box()
    return box["width"], box["height"]


def test_a_chart_says_in_words_what_it_shows(page: Page) -> None:
    tests = [{"kind": "eval", "step": at, "set": "holdout", "metrics": {"eval/correct": at / 40}} for at in (0, 30)]
    open_run(page, told([tests[0], *(step(i, 4 / i) for i in range(1, 31)), tests[1]]))
    score = page.locator("[data-chart=score] .plot")
    expect(score).to_have_attribute("aria-label", re.compile("held-out: exactly the right answer went from 0 % at step 0 to 75 % at step 30"))  # fmt: skip
    expect(page.locator("[data-chart=score] .ends")).to_contain_text("held-out: exactly the right answer")
    expect(page.locator("[data-chart=loss] .ends")).to_contain_text("0.133")


def test_a_methods_own_numbers_have_charts_where_there_are_any(page: Page) -> None:
    def own(number: int) -> dict[str, Any]:
        more = {"prefer/accuracy": number / 4, "prefer/chosen": number / 10, "prefer/rejected": -number / 10}
        return step(number, 1 / number, of=4) | {"metrics": {"train/loss": 1 / number} | more}

    run = told([{"kind": "state", "state": "training"}], alive=True, spec=spec_of("dpo", "sample:manners"))
    open_run(page, run)
    expect(page.locator("[data-chart=margin]")).to_contain_text("The first point comes after the first step.")
    append_events(run, [own(number) for number in range(1, 4)])
    expect(page.locator("[data-chart=sides]")).to_contain_text("worse-0.3")
    expect(page.locator("[data-chart=score] .ends")).to_have_text("better answer preferred75 %")
    expect(page.locator("[data-chart=margin]")).to_be_hidden()
    open_run(page, told([step(1, 3.0)], spec=presets.preset_spec("read_a_diary")))
    expect(page.locator("[data-chart=score]")).to_contain_text("This lesson has no score")
    expect(page.locator("[data-chart=sides]")).to_have_count(0)
    open_run(page, told([step(1, 3.0)], spec=presets.preset_spec("first_reward")))
    expect(page.locator("[data-chart=loss]")).to_contain_text("not an error here")


def test_what_one_reward_earns_is_drawn_once(page: Page) -> None:
    rewards = [{"reward/mean": value, "reward/correct/mean": value} for value in (0.25, 0.5)]
    steps = [step(number, 1.0) | {"metrics": metrics} for number, metrics in enumerate(rewards, 1)]
    open_run(page, told(steps, spec=presets.preset_spec("first_reward")))
    expect(page.locator("[data-chart=score] .ends")).to_have_text("exactly the right answer50 %")


def test_earlier_answers_are_a_slide_away(page: Page) -> None:
    samples = [{"kind": "sample", "step": at, "rows": [{"prompt": "Sky?", "completion": f"Blue {at}.", "wanted": "Blue.",
                "rewards": {"correct": float(at == 80), "kind": 0.5}}]} for at in (0, 40, 80)]  # fmt: skip
    run = told([{"kind": "state", "state": "training"}, *samples], alive=True)
    open_run(page, run)
    now = page.locator(".answer .said.now")
    expect(now).to_contain_text("Blue 80.")
    expect(now).to_contain_text("wanted: Blue.")
    expect(now).to_contain_text("exactly the right answer")
    expect(page.locator(".answer .said").first).to_contain_text("Blue 0.")
    page.get_by_role("button", name="Earlier answers").click()
    expect(now).to_contain_text("Blue 40.")
    append_events(run, [{"kind": "sample", "step": 120, "rows": samples[0]["rows"]}])
    expect(page.get_by_label("Step of the answers")).to_have_attribute("max", "3")
    expect(now).to_contain_text("Blue 40.")  # whoever looks at an earlier step stays there
    page.get_by_label("Step of the answers").press("Home")
    expect(page.locator(".answers-way output")).to_have_text("before the first step")


@pytest.mark.parametrize(
    ("last", "words"),
    [
        ({"kind": "failed", "reason": "full", "text": "The disk is full.", "advice": "Free some space."},
         ["Failed", "The disk is full. Free some space.", "Resume goes on from step 2"]),
        ({"kind": "done", "why": "stopped", "verdict": "Loss from 3 to 2."}, ["Stopped and saved", "Loss from 3 to 2."]),
        ({"kind": "state", "state": "training"}, ["Gone: it ended without a last word", "memory ran out"]),
    ],
)  # fmt: skip
def test_an_end_is_told_with_what_to_do(page: Page, last: dict[str, Any], words: list[str]) -> None:
    run = told([step(1, 3.0), step(2, 2.0), {"kind": "saved", "step": 2, "what": "checkpoint", "path": "c"}])
    write_json(run.path / "handle.json", {"backend": "local", "pid": 2**22 + 1, "boot": processes.boot_id()})
    append_events(run, [last])
    open_run(page, run)
    for sentence in words:
        expect(page.locator("#progress")).to_contain_text(sentence)
    expect(page.get_by_role("button", name="Resume")).to_be_visible()
    expect(page.get_by_role("button", name="Stop and save")).to_be_hidden()


def test_what_was_stopped_before_its_first_step_can_be_started_again(page: Page) -> None:
    run = told([{"kind": "progress", "what": "waiting", "done": 0, "of": 1}])
    append_events(run, [{"kind": "done", "why": "stopped", "verdict": "Stopped before anything was learned."}])
    open_run(page, run)
    expect(page.locator("#progress strong")).to_have_text("Stopped")
    expect(page.get_by_role("button", name="Start again")).to_be_visible()
    expect(page.locator("[data-chart=loss]")).to_contain_text("It ended before its first step.")
    page.get_by_role("button", name="Use this setup again").click()
    expect(page.locator("#choose-notice")).to_contain_text("The setup of “First tune” filled the form.")


def test_waiting_says_how_many_are_ahead(page: Page) -> None:
    open_run(page, told([{"kind": "progress", "what": "waiting", "done": 0, "of": 2}], alive=True))
    expect(page.locator("#progress")).to_contain_text("Waiting for its turn")
    expect(page.locator("#progress")).to_contain_text("2 runs are ahead")


def test_nothing_moves_when_the_first_points_come(page: Page) -> None:
    run = told([{"kind": "state", "state": "training"}], alive=True)
    open_run(page, run)
    state(page).to_have_attribute("data-state", "training")
    places = [chart.bounding_box() for chart in page.locator(".chart").all()]
    append_events(run, [step(i, 1 / i) for i in range(1, 20)])
    page.wait_for_function(f"({POINTS})() === 19")
    assert [chart.bounding_box() for chart in page.locator(".chart").all()] == places
