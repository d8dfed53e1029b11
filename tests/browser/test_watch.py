"""Watch view: a live run in a real browser: its curves, its answers, its commands, and error cases."""

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
from app.runs import checkpoints, events, store
from app.runs.records import write_record
from app.runs.result import RESULT_FILE
from app.runs.store import Run
from app.setup.spec import Launch, Spec
from tests.browser.conftest import TIMEOUT_MS, BrowserTab, Site, copy_run, serve_site
from tests.browser.test_choose import current_setup
from tests.support import append_events, build_spec, metrics_by_step, start_run, use_home, wait_for_run, wait_until
from tests.test_diagnoses import sft_events

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # complete runs, on cores that may be shared

HOSTILE_TEXT = "<script>window.hurt = 1</script><img src=x onerror='window.hurt = 2'>${Object.assign(window,{hurt:3})}{{{value}}}`\\"
ENDED_STATES = re.compile("finished|stopped|failed|lost")

# {label of the metric: [[step, value], …]} as plotly has drawn them
DRAWN_CURVES = """() => Object.fromEntries([...document.querySelectorAll('.js-plotly-plot')].flatMap(plot => {
  const scale = plot.layout.meta?.scale ?? 1, plain = y => y === null ? null : Number((y / scale).toPrecision(5));
  return plot.data.map(line => [line.name, [...line.x].map((x, i) => [x, plain(line.y[i])])]);
}))"""
LOSS_POINT_COUNT = "() => document.querySelector('[data-chart=loss] .js-plotly-plot')?.data[0].x.length ?? 0"


@pytest.fixture(autouse=True)
def use_site_home(site: Site) -> Iterator[Path]:
    """Tests create their runs in the home of the site, where the page sees them."""
    with use_home(site.home):
        yield site.home


def start_first_tune(**knobs: Any) -> Run:
    """Starts a real run of the first preset."""
    spec = presets.preset_spec("first_tune")
    return start_run(preflight.check_spec(spec.model_copy(update={"knobs": spec.knobs | knobs})))


def create_run_with_events(event_dicts: list[dict[str, Any]], alive: bool = False, spec: Spec | None = None) -> Run:
    """A run with the given events. alive: it counts as running, with this test process as its engine."""
    run = store.create_run(local_workspace(), spec or presets.preset_spec("first_tune"), Launch())
    if alive:
        handle = {"backend": "local", "folder": str(run.path)} | processes.process_identity(os.getpid())
        write_json(run.path / "handle.json", handle)
    append_events(run, event_dicts)
    return run


def step_event(step: int, loss: float, total_steps: int = 200) -> dict[str, Any]:
    metrics = {"train/loss": loss, "train/grad_norm": 1.0 + loss, "train/learning_rate": 0.001}
    return {"kind": "step", "step": step, "of": total_steps, "seconds_left": 9.0, "metrics": metrics}


def expected_curves(run: Run) -> dict[str, list[list[float]]]:
    """The curves that the charts should show, read from the run's event file."""
    labels = snapshot.labels_by_metric(snapshot.spec_dict(run))
    return {labels[name]: [[step, page_messages.round_value(metric_value)] for step, metric_value in zip(metric_series.steps, metric_series.values, strict=True)]
            for name, metric_series in series.series_by_metric(events.read_events(run.events)).items() if reader.is_chart_metric(name)}  # fmt: skip


def open_run(page: Page, run: Run) -> Page:
    page.evaluate("run => tunesmith.go('watch', run)", run.id)
    return page


def expect_run_state(page: Page) -> Any:
    return expect(page.locator("#progress .progress"))


def show_all_charts(page: Page) -> Page:
    """The page with a viewport so tall that every chart is visible, also folded ones: charts out of view are not redrawn."""
    page.set_viewport_size({"width": 1280, "height": 4_000})
    unfold_charts(page)
    return page


def unfold_charts(page: Page) -> None:
    """Opens the charts of the steps and the machine, and those of the method that are folded away."""
    page.evaluate("document.querySelectorAll('.charts .fold').forEach(fold => { fold.open = true; })")


def wait_for_curves(page: Page, run: Run) -> None:
    """Waits until the charts show exactly the curves of the run's event file."""
    expected = expected_curves(run)
    wait_until(lambda: show_all_charts(page).evaluate(DRAWN_CURVES) == expected, 30)


@pytest.mark.full  # CI stops and resumes in test_first_evening.py, and reloads below
def test_two_tabs_show_the_same_curve_after_a_reload_a_stop_and_a_resume(
    page: Page, tab: BrowserTab, site: Site
) -> None:
    """One run from its first step to its end, seen in two tabs."""
    assert not [request for request in tab.requests if "plotly" in request.url]
    run = start_first_tune(epochs=3.0)
    open_run(page, run)
    page.wait_for_function(f"({LOSS_POINT_COUNT})() >= 3")
    second_page = tab.context.new_page()
    second_page.goto(f"{site.base_url}#watch/{run.id}")
    second_page.wait_for_function(f"({LOSS_POINT_COUNT})() >= 3")
    page.reload()
    page.wait_for_function(f"({LOSS_POINT_COUNT})() >= 4")
    assert store.is_alive(run), "the run ended before the curve was seen to grow"
    page.get_by_role("button", name="Save now").click()
    expect(page.locator("[data-told=saved]")).to_contain_text("saved at step")
    page.get_by_role("button", name="Stop and save").click()
    expect_run_state(page).to_have_attribute("data-state", "stopped")
    wait_for_run(run)
    assert run.adapter.is_dir()
    assert events.last_event(run.events).why == "stopped"
    points_before_resume = page.evaluate(LOSS_POINT_COUNT)
    page.get_by_role("button", name="Resume").click()
    page.wait_for_function(f"({LOSS_POINT_COUNT})() > {points_before_resume}")
    wait_for_run(run)
    for open_page in (page, second_page):
        expect_run_state(open_page).to_have_attribute("data-state", "finished")
        expect(open_page.locator(".verdict")).to_contain_text("never saw")
        expect(open_page.get_by_role("button", name="Stop and save")).to_be_hidden()
        wait_for_curves(open_page, run)
    steps = [step for step, _ in expected_curves(run)["training"]]
    assert steps == [*range(1, len(steps) + 1)]
    expect(page.locator(".answer .said.now").first).to_be_visible()
    expect(page.locator(".answers-way output")).to_have_text(re.compile(r"step \d+"))
    page.get_by_role("button", name="Try it").click()
    page.wait_for_function("() => tunesmith.view === 'try'")


def test_a_run_and_open_pages_survive_a_killed_server(chromium: Browser, tmp_path: Path) -> None:
    with use_home(tmp_path) as home, chromium.new_context() as context:
        context.set_default_timeout(TIMEOUT_MS)
        expect.set_options(timeout=TIMEOUT_MS)
        page = context.new_page()
        with serve_site(home) as site:
            run = start_first_tune(epochs=1.5)
            page.goto(site.address)
            page.wait_for_selector("#view-start", state="attached")
            open_run(page, run)
            page.wait_for_function(f"({LOSS_POINT_COUNT})() >= 3")
            site.process.send_signal(signal.SIGKILL)
            site.process.wait(20)
            expect(page.locator(".live-notice")).to_contain_text("cannot be reached")
        port = int(site.base_url.split(":")[2].strip("/"))
        with serve_site(home, port) as restarted_site:
            expect(page.locator(".live-notice")).to_contain_text("Open the address that its terminal prints")
            new_tab = open_new_tab(context, restarted_site)
            expect(page.locator(".live-notice")).to_have_count(0)  # it was signed in again and reloaded itself
            assert (
                not isinstance(events.last_event(run.events), events.FinalEvent)
                or store.run_state(run, alive=False) == "finished"
            )
            wait_for_run(run)
            for tab in (page, open_run(new_tab, run)):
                expect_run_state(tab).to_have_attribute("data-state", "finished")
                wait_for_curves(tab, run)


def open_new_tab(context: BrowserContext, site: Site) -> Page:
    tab = context.new_page()
    tab.goto(site.address)
    tab.wait_for_selector("#view-start", state="attached")
    return tab


def test_hostile_text_of_a_run_is_escaped(page: Page) -> None:
    rows = [
        {
            "prompt": HOSTILE_TEXT,
            "completion": HOSTILE_TEXT,
            "wanted": HOSTILE_TEXT,
            "rewards": {HOSTILE_TEXT: 1.0},
            "advantage": 0.5,
        }
    ]
    metrics = {f"eval/{HOSTILE_TEXT}": 1.0, f"reward/{HOSTILE_TEXT}/mean": 0.5}
    run = create_run_with_events([
        {"kind": "sample", "step": 0, "rows": rows}, {"kind": "eval", "step": 0, "set": "holdout", "metrics": metrics},
        {"kind": "sample", "step": 4, "rows": rows}, {"kind": "eval", "step": 4, "set": "holdout", "metrics": metrics},
        {"kind": "note", "level": "careful", "text": HOSTILE_TEXT},
        {"kind": "failed", "reason": "crashed", "text": HOSTILE_TEXT, "advice": HOSTILE_TEXT},
    ])  # fmt: skip
    (run.path / "log.txt").write_text(HOSTILE_TEXT)
    spec_dict = read_json(run.path / "spec.json") | {"title": HOSTILE_TEXT}
    write_json(run.path / "spec.json", spec_dict)
    open_run(page, run)
    expect(page.locator(".answer .said p").first).to_have_text(HOSTILE_TEXT)
    expect(page.locator(".answer .said.now")).to_contain_text("better than its other tries")
    expect(page.locator("#progress .notice li")).to_have_count(3)
    expect(page.locator("#view-watch .run-title")).to_have_text(HOSTILE_TEXT)
    page.locator(".log summary").click()
    expect(page.locator(".log pre")).to_have_text(HOSTILE_TEXT)
    page.wait_for_selector("[data-chart=score] .js-plotly-plot")
    show_all_charts(page)
    page.locator("[data-chart=score] .nsewdrag").hover()
    page.wait_for_timeout(500)
    assert page.evaluate("window.hurt") is None
    assert page.locator("#view-watch script, #view-watch img").count() == 0


def test_the_page_polls_when_the_event_stream_is_blocked(page: Page) -> None:
    page.context.route(re.compile(r"/live\?"), lambda route: route.abort())
    run = create_run_with_events(
        [{"kind": "state", "state": "training"}, step_event(1, 3.0), step_event(2, 2.0)], alive=True
    )
    open_run(page, run)
    page.wait_for_function(f"({LOSS_POINT_COUNT})() === 2")
    append_events(run, [step_event(3, 1.0)])
    page.wait_for_function(f"({LOSS_POINT_COUNT})() === 3")
    expect(page.locator("[data-told=step]")).to_have_text("step 3 of 200")


def test_an_unknown_run_id_shows_a_message_and_a_way_forward(page: Page) -> None:
    page.evaluate("tunesmith.go('watch', '20200101-000000-nobody-0000')")
    expect(page.locator("#no-run")).to_contain_text("There is no such run here.")
    expect(page.locator("#progress")).to_be_hidden()
    expect(page.get_by_role("link", name="Choose what to teach")).to_be_visible()


@pytest.mark.full
def test_zoom_and_log_scale_persist_over_new_events_until_reset(page: Page) -> None:
    run = create_run_with_events(
        [{"kind": "state", "state": "training"}, *(step_event(i, 5 / i) for i in range(1, 101))], alive=True
    )
    open_run(page, run)
    page.wait_for_function(f"({LOSS_POINT_COUNT})() === 100")
    plot_area = page.locator("[data-chart=loss] .nsewdrag").bounding_box()
    x, y = plot_area["x"], plot_area["y"] + plot_area["height"] / 2
    page.mouse.move(x + 0.1 * plot_area["width"], y)
    page.mouse.down()
    page.mouse.move(x + 0.3 * plot_area["width"], y, steps=5)
    page.mouse.up()
    zoomed_range = page.evaluate(X_AXIS_RANGE)
    assert zoomed_range[1] - zoomed_range[0] < 60
    page.get_by_label("Log scale").check()
    append_events(run, [step_event(i, 5 / i) for i in range(101, 111)])
    page.wait_for_function(f"({LOSS_POINT_COUNT})() === 110")
    assert page.evaluate("() => document.querySelector('[data-chart=loss] .plot')._fullLayout.yaxis.type") == "log"
    page.get_by_label("Log scale").uncheck()
    append_events(run, [step_event(i, 5 / i) for i in range(111, 121)])
    page.wait_for_function(f"({LOSS_POINT_COUNT})() === 120")
    assert page.evaluate(X_AXIS_RANGE) == pytest.approx(zoomed_range, abs=0.01)
    page.get_by_role("button", name="Reset zoom").click()
    page.wait_for_function(f"() => String(({X_AXIS_RANGE})()) === '0,200'")
    expect(page.get_by_role("button", name="Reset zoom")).to_be_disabled()


X_AXIS_RANGE = "() => document.querySelector('[data-chart=loss] .plot')._fullLayout.xaxis.range"


@pytest.mark.full
def test_a_smoothed_curve_grows_with_new_events_and_is_remembered(page: Page) -> None:
    step_events = [step_event(i, 2.0 + (-1) ** i) for i in range(1, 101)]
    run = create_run_with_events([{"kind": "state", "state": "training"}, *step_events], alive=True)
    open_run(page, run)
    page.wait_for_function(f"({LOSS_POINT_COUNT})() === 100")
    page.get_by_label("Smoothing").fill("60")
    page.wait_for_function("() => document.querySelector('[data-chart=loss] .plot').data.length === 2")
    append_events(run, [step_event(i, 2.0 + (-1) ** i) for i in range(101, 121)])
    page.wait_for_function(f"({LOSS_POINT_COUNT})() === 120")
    smoothed = page.evaluate("() => document.querySelector('[data-chart=loss] .plot').data[1].y")
    assert len(smoothed) == 120
    assert all(1.7 < loss < 2.3 for loss in smoothed[40:])
    page.reload()
    page.wait_for_function("() => document.querySelector('[data-chart=loss] .plot')?.data?.length === 2")
    smoothed_after_reload = page.evaluate("() => document.querySelector('[data-chart=loss] .plot').data[1].y")
    assert smoothed_after_reload == pytest.approx(smoothed)


@pytest.mark.full
def test_a_long_curve_is_downsampled_keeps_its_spikes_and_survives_a_reload(page: Page) -> None:
    def step_events(first: int, end: int) -> list[dict[str, Any]]:
        return [
            step_event(i, 60.0 if i in (777, 5_555) else 1 + (i * 7919 % 101) / 100, total_steps=8_000)
            for i in range(first, end)
        ]

    run = create_run_with_events([{"kind": "state", "state": "training"}, *step_events(1, 1_500)], alive=True)
    open_run(page, run)
    page.wait_for_function(f"({LOSS_POINT_COUNT})() === 1499")
    for first in range(1_500, 6_000, 900):
        append_events(run, step_events(first, first + 900))
        page.wait_for_function(f"() => (({DRAWN_CURVES})().training?.at(-1)[0]) === {first + 899}")
        assert page.evaluate(LOSS_POINT_COUNT) <= series.MAX_POINTS
    streamed_curve = page.evaluate(DRAWN_CURVES)["training"]
    assert [777, 60.0] in streamed_curve
    assert [5_555, 60.0] in streamed_curve
    page.reload()
    page.wait_for_function(f"({LOSS_POINT_COUNT})() > 0")
    reloaded_curve = page.evaluate(DRAWN_CURVES)["training"]
    assert {tuple(point) for point in reloaded_curve} <= {
        tuple(point) for point in streamed_curve
    }  # the streamed curve has the newest points in addition


@pytest.mark.full
def test_a_resume_from_an_earlier_step_shortens_the_curve(page: Page) -> None:
    run = create_run_with_events(
        [{"kind": "state", "state": "training"}, *(step_event(i, 3.0) for i in range(1, 21))], alive=True
    )
    open_run(page, run)
    page.wait_for_function(f"({LOSS_POINT_COUNT})() === 20")
    append_events(run, [{"kind": "resumed", "from_step": 10}, step_event(11, 1.0)])
    page.wait_for_function(f"({LOSS_POINT_COUNT})() === 11")
    append_events(run, [step_event(12, 0.5)])
    page.wait_for_function(f"({LOSS_POINT_COUNT})() === 12")
    assert page.evaluate(DRAWN_CURVES)["training"] == expected_curves(run)["training"]


@pytest.mark.full
def test_a_small_chart_can_be_enlarged_by_keyboard(page: Page) -> None:
    open_run(page, create_run_with_events([*(step_event(i, 1 / i) for i in range(1, 30))]))
    expect(page.locator("[data-chart=gradient]")).to_be_hidden()
    page.locator("[data-fold=machine] > summary").press("Enter")
    page.wait_for_selector("[data-chart=gradient] .js-plotly-plot .main-svg")
    expect(page.locator("[data-chart=gradient] .chart-value")).not_to_be_empty()
    chart = page.locator("[data-chart=gradient]")
    size_before = element_size(chart)
    button = page.get_by_role("button", name="Gradient norm")
    button.press("Enter")
    expect(button).to_have_attribute("aria-expanded", "true")
    assert element_size(chart)[0] > 2 * size_before[0]
    page.wait_for_selector("[data-chart=gradient] .nsewdrag", state="attached")
    button.press("Enter")
    expect(button).to_have_attribute("aria-expanded", "false")
    assert element_size(chart) == size_before


def element_size(element: Locator) -> tuple[float, float]:
    box = element.bounding_box()
    return box["width"], box["height"]


def test_a_chart_has_a_text_description(page: Page) -> None:
    eval_events = [
        {"kind": "eval", "step": step, "set": "holdout", "metrics": {"eval/correct": step / 40}} for step in (0, 30)
    ]
    open_run(
        page, create_run_with_events([eval_events[0], *(step_event(i, 4 / i) for i in range(1, 31)), eval_events[1]])
    )
    score_plot = page.locator("[data-chart=score] .plot")
    expect(score_plot).to_have_attribute("aria-label", re.compile("held-out: exactly the right answer went from 0 % at step 0 to 75 % at step 30"))  # fmt: skip
    expect(page.locator("[data-chart=score] .ends")).to_contain_text("held-out: exactly the right answer")
    expect(page.locator("[data-chart=loss] .ends")).to_contain_text("0.133")


@pytest.mark.full
def test_method_specific_metrics_have_charts(page: Page) -> None:
    def dpo_step_event(number: int) -> dict[str, Any]:
        preference_metrics = {
            "prefer/accuracy": number / 4,
            "prefer/chosen": number / 10,
            "prefer/rejected": -number / 10,
        }
        return step_event(number, 1 / number, total_steps=4) | {
            "metrics": {"train/loss": 1 / number} | preference_metrics
        }

    run = create_run_with_events(
        [{"kind": "state", "state": "training"}], alive=True, spec=build_spec("dpo", "sample:manners")
    )
    open_run(page, run)
    expect(page.locator("[data-chart=margin]")).to_contain_text("The first point comes after the first step.")
    append_events(run, [dpo_step_event(number) for number in range(1, 4)])
    expect(page.locator("[data-chart=sides]")).to_contain_text("worse-0.3")
    expect(page.locator("[data-chart=score] .ends")).to_have_text("better answer preferred75 %")
    expect(page.locator("[data-chart=margin]")).to_be_hidden()
    open_run(page, create_run_with_events([step_event(1, 3.0)], spec=presets.preset_spec("read_a_diary")))
    expect(page.locator("[data-chart=score]")).to_be_hidden()
    expect(page.locator(".no-score")).to_have_text("This lesson has no score: its loss tells how it goes.")
    expect(page.locator("[data-chart=sides]")).to_have_count(0)
    open_run(page, create_run_with_events([step_event(1, 3.0)], spec=presets.preset_spec("first_reward")))
    expect(page.locator("[data-chart=loss]")).to_contain_text("not an error here")


@pytest.mark.full
def test_a_single_reward_is_drawn_as_one_curve(page: Page) -> None:
    step_metrics = [{"reward/mean": reward, "reward/correct/mean": reward} for reward in (0.25, 0.5)]
    step_events = [step_event(number, 1.0) | {"metrics": metrics} for number, metrics in enumerate(step_metrics, 1)]
    open_run(page, create_run_with_events(step_events, spec=presets.preset_spec("first_reward")))
    expect(page.locator("[data-chart=score] .ends")).to_have_text("exactly the right answer50 %")


def test_answers_of_earlier_steps_can_be_selected(page: Page) -> None:
    sample_events = [{"kind": "sample", "step": step, "rows": [{"prompt": "Sky?", "completion": f"Blue {step}.", "wanted": "Blue.",
                "rewards": {"correct": float(step == 80), "kind": 0.5}}]} for step in (0, 40, 80)]  # fmt: skip
    run = create_run_with_events([{"kind": "state", "state": "training"}, *sample_events], alive=True)
    open_run(page, run)
    current_answer = page.locator(".answer .said.now")
    expect(current_answer).to_contain_text("Blue 80.")
    expect(current_answer).to_contain_text("wanted: Blue.")
    expect(current_answer).to_contain_text("exactly the right answer")
    expect(page.locator(".answer .said").first).to_contain_text("Blue 0.")
    page.get_by_role("button", name="Earlier answers").click()
    expect(current_answer).to_contain_text("Blue 40.")
    append_events(run, [{"kind": "sample", "step": 120, "rows": sample_events[0]["rows"]}])
    expect(page.get_by_label("Step of the answers")).to_have_attribute("max", "3")
    expect(current_answer).to_contain_text("Blue 40.")  # the selected earlier step stays selected
    page.get_by_label("Step of the answers").press("Home")
    expect(page.locator(".answers-way output")).to_have_text("before the first step")


def test_a_finished_run_says_which_checkpoint_its_result_is_and_takes_another(page: Page) -> None:
    evaluations = [
        {"kind": "eval", "step": step, "set": "holdout", "metrics": {"eval/loss": loss}}
        for step, loss in ((0, 2.0), (40, 1.234), (60, 1.31))
    ]
    run = create_run_with_events([step_event(60, 0.1, 60), *evaluations])
    for folder, content in (
        (run.adapter, "40"),
        *((run.checkpoints / f"checkpoint-{step}", str(step)) for step in (40, 60)),
    ):
        folder.mkdir(parents=True)
        (folder / "adapter_model.safetensors").write_text(content)
    for step in (40, 60):
        checkpoints.mark_complete(run.checkpoints, step, {})
    facts = {"step": 40, "last_step": 60, "of": 60, "metric": "loss", "best_step": 40, "best": 1.234, "last": 1.31}
    write_record(run.path / RESULT_FILE, {**facts, "lost_step": None, "patience": None})
    append_events(run, [{"kind": "done", "why": "finished", "adapter": "adapter"}])
    words = open_run(page, run).locator("#progress .result-step")
    best_words = "The result is from step 40 of 60: there the held-out loss was lowest, 1.23; at the end it was 1.31."
    expect(words).to_have_text(best_words)
    expect(page.get_by_role("button", name="Use the best checkpoint")).to_be_hidden()
    page.get_by_role("button", name="Use the last checkpoint").click()
    expect(words).to_have_text(
        "The result is from the last step, 60: there the held-out loss was 1.31; it was lowest at step 40, 1.23."
    )
    assert (run.adapter / "adapter_model.safetensors").read_text() == "60"
    expect(page.get_by_role("button", name="Use the last checkpoint")).to_be_hidden()
    page.get_by_role("button", name="Use the best checkpoint").click()
    expect(words).to_have_text(best_words)
    page.evaluate("run => tunesmith.go('try', run)", run.id)
    expect(page.locator("#view-try .result-step")).to_have_text(best_words)


def test_a_finished_run_goes_on_for_more_steps(page: Page, finished_run: Run) -> None:
    run = copy_run(finished_run, local_workspace().path, "20261201-101010-more-steps-abcd")
    last_step = max(metrics_by_step(run))
    open_run(page, run)
    expect_run_state(page).to_have_attribute("data-state", "finished")
    more_steps = page.locator("#more-steps input")
    expect(page.locator("#more-steps-row")).to_contain_text(
        "learning rate follows its schedule laid out over the new length"
    )
    more_steps.fill("")
    page.get_by_role("button", name="Go on for more steps").click()
    expect(page.locator("#watch-notice")).to_contain_text("Type a number, such as 60.")
    more_steps.fill("3")
    page.get_by_role("button", name="Go on for more steps").click()
    expect(page.locator("[data-told=step]")).to_have_text(f"step {last_step + 3} of {last_step + 3}")
    expect_run_state(page).to_have_attribute("data-state", "finished")
    page.locator("[data-chart=loss]").scroll_into_view_if_needed()  # what is not visible is not drawn
    page.wait_for_function(f"() => ({LOSS_POINT_COUNT})() === {last_step + 3}")
    assert sorted(metrics_by_step(run)) == [*range(1, last_step + 4)]


@pytest.mark.parametrize(
    ("last_event", "expected_texts"),
    [
        ({"kind": "failed", "reason": "full", "text": "The disk is full.", "advice": "Free some space."},
         ["Failed", "The disk is full. Free some space.", "Resume goes on from step 2"]),
        ({"kind": "done", "why": "stopped", "verdict": "Loss from 3 to 2."}, ["Stopped and saved", "Loss from 3 to 2."]),
        ({"kind": "state", "state": "training"}, ["Gone: it ended without a last word", "memory ran out"]),
    ],
)  # fmt: skip
def test_an_ended_run_shows_why_and_can_be_resumed(
    page: Page, last_event: dict[str, Any], expected_texts: list[str]
) -> None:
    run = create_run_with_events(
        [step_event(1, 3.0), step_event(2, 2.0), {"kind": "saved", "step": 2, "what": "checkpoint", "path": "c"}]
    )
    write_json(run.path / "handle.json", {"backend": "local", "pid": 2**22 + 1, "boot": processes.boot_id()})
    append_events(run, [last_event])
    open_run(page, run)
    for text in expected_texts:
        expect(page.locator("#progress")).to_contain_text(text)
    expect(page.get_by_role("button", name="Resume")).to_be_visible()
    expect(page.get_by_role("button", name="Stop and save")).to_be_hidden()


@pytest.mark.full
def test_a_run_stopped_before_its_first_step_can_be_started_again(page: Page) -> None:
    run = create_run_with_events([{"kind": "progress", "what": "waiting", "done": 0, "of": 1}])
    append_events(run, [{"kind": "done", "why": "stopped", "verdict": "Stopped before anything was learned."}])
    open_run(page, run)
    expect(page.locator("#progress strong")).to_have_text("Stopped")
    expect(page.get_by_role("button", name="Start again")).to_be_visible()
    expect(page.locator("[data-chart=loss]")).to_contain_text("It ended before its first step.")
    page.get_by_role("button", name="Use this setup again").click()
    expect(page.locator("#choose-notice")).to_contain_text("The setup of “First tune” filled the form.")


def test_a_remedy_changes_the_form_only_where_the_setup_of_its_run_was_read(page: Page) -> None:
    spec = build_spec("sft", "sample:tickets", {"epochs": 1})
    run = create_run_with_events(sft_events([4.0, 3.6, 3.1], last={"eval/loss": 2.9}), spec=spec)
    open_run(page, run)
    remedy = page.locator("#progress .diagnosis .mend")
    expect(remedy).to_contain_text("40 passes, about 120 steps")
    setup_before = current_setup(page)
    spec_text = (run.path / "spec.json").read_text()
    (run.path / "spec.json").write_text("{")
    remedy.click()
    expect(page.locator("#runs-count")).to_contain_text("on disk")  # the runs are listed, and the reason stays
    expect(page.locator("#runs-notice .wrong")).to_be_visible()
    assert current_setup(page) == setup_before
    (run.path / "spec.json").write_text(spec_text)
    open_run(page, run)
    remedy.click()
    expect(page.locator("#view-choose")).to_be_visible()
    page.wait_for_function("() => tunesmith.setup.setup.knobs.epochs === 40")


def test_of_a_run_with_a_diagnosis_the_step_of_its_result_stands_behind_the_verdict(page: Page) -> None:
    run = create_run_with_events(sft_events([4.0, 3.6, 3.1], last={"eval/loss": 2.9}))
    open_run(page, run)
    expect(page.locator("#progress .diagnosis")).to_be_visible()
    orders = page.evaluate(
        "() => ['.notice', '.verdict', '.result-step'].map(name => getComputedStyle(document.querySelector(`.progress ${name}`).closest('.progress > *')).order)"
    )
    assert orders == ["0", "1", "1"]


def test_a_waiting_run_shows_how_many_runs_are_ahead(page: Page) -> None:
    open_run(page, create_run_with_events([{"kind": "progress", "what": "waiting", "done": 0, "of": 2}], alive=True))
    expect(page.locator("#progress")).to_contain_text("Waiting for its turn")
    expect(page.locator("#progress")).to_contain_text("2 runs are ahead")


def test_loss_and_answers_are_on_the_first_screen_and_the_plot_uses_its_width(page: Page) -> None:
    sample = {"kind": "sample", "step": 5, "rows": [{"prompt": "Sky?", "completion": "Blue.", "wanted": "Blue."}]}
    events = [{"kind": "state", "state": "training"}, *(step_event(i, 5 / i) for i in range(1, 101)), sample]
    open_run(page, create_run_with_events(events, alive=True))
    page.wait_for_function(f"({LOSS_POINT_COUNT})() === 100")
    expect(page.locator(".answer")).to_contain_text("Blue.")
    for selector in ("[data-chart=loss]", ".answer"):
        box = page.locator(selector).bounding_box()
        assert box["y"] + box["height"] <= 900, selector
    plot_width = page.locator("[data-chart=loss] .plot").bounding_box()["width"]
    assert page.locator("[data-chart=loss] .nsewdrag").bounding_box()["width"] >= 0.6 * plot_width


def test_charts_do_not_move_when_the_first_points_arrive(page: Page) -> None:
    run = create_run_with_events([{"kind": "state", "state": "training"}], alive=True)
    open_run(page, run)
    expect_run_state(page).to_have_attribute("data-state", "training")
    page.locator("#curves [data-fold=machine] summary").click()
    page.wait_for_function("document.querySelectorAll('#curves .soon').length === 6")
    chart_boxes = [chart.bounding_box() for chart in page.locator(".chart").all()]
    append_events(run, [step_event(i, 1 / i) for i in range(1, 20)])
    page.wait_for_function(f"({LOSS_POINT_COUNT})() === 19")
    assert [chart.bounding_box() for chart in page.locator(".chart").all()] == chart_boxes
