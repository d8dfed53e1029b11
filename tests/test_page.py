"""Page: what its pieces show and refuse, without a browser."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import gradio as gr
import pytest

from app.core import registry
from app.core.paths import ROOT
from app.core.problems import Problem
from app.data import compatible_methods
from app.planning import presets
from app.server.error_boundary import stream_with_error_notice, with_error_notice
from app.server.page import build_page
from app.server.views import pipeline, runs
from app.worker.client import WorkerClient
from components import notices, preset_cards, progress, theme

HOSTILE = "<script>steal()</script><img src=x onerror=steal()>\"'${steal()}{{steal}}"


def test_a_notice_is_text_whatever_it_holds() -> None:
    shown = notices.render_problem(Problem(HOSTILE)) + notices.render_findings([{"severity": "wrong", "text": HOSTILE}])
    assert "<script" not in shown
    assert "<img" not in shown
    assert shown.count("&lt;script&gt;") == 2
    assert theme.html_block().html_template == "${value}"  # the one template that does not run what it is given


@pytest.mark.parametrize(("seconds", "words"), [(14.2, "14 s"), (150, "2 min"), (7500, "2 h 5 min")])
def test_time_left_has_the_unit_that_fits(seconds: float, words: str) -> None:
    assert progress.format_duration(seconds) == words


def test_a_problem_is_said_on_the_page_and_a_success_clears_it() -> None:
    with gr.Blocks(analytics_enabled=False):
        notice, other = theme.html_block(), theme.html_block()

    def refuse() -> dict:
        raise Problem("Batch 64 is too much.", advice="Try 32.")

    def stumble() -> dict:
        raise ZeroDivisionError("by zero")

    assert "Batch 64 is too much. Try 32." in with_error_notice(refuse, notice)()[notice]
    assert "Something broke" in with_error_notice(stumble, notice)()[notice]
    assert with_error_notice(lambda: {other: "well"}, notice)() == {notice: "", other: "well"}


def test_what_went_wrong_is_said_together_with_the_last_news() -> None:
    """Of two updates that follow at once a browser may draw only the second."""
    with gr.Blocks(analytics_enabled=False):
        notice, other = theme.html_block(), theme.html_block()

    def begun():
        yield {other: "looking"}
        yield {other: "nothing"}
        raise Problem("It is gone.", advice="Take another.")

    *_, last = stream_with_error_notice(begun, notice)()
    assert last[other] == "nothing"
    assert "It is gone. Take another." in last[notice]


def test_no_event_of_the_page_is_a_public_endpoint() -> None:
    demo = build_page(WorkerClient())
    assert demo.config["dependencies"]
    assert all(event["api_visibility"] == "private" for event in demo.config["dependencies"])
    assert demo.analytics_enabled is False


def test_building_the_page_loads_nothing_heavy_and_starts_no_process() -> None:
    code = ("import sys, json; from app.server.page import build_page, create_app; from app.worker.client import WorkerClient; worker = WorkerClient(); "
            "create_app(build_page(worker), 7860); "
            "print(json.dumps([[n for n in ('torch', 'trl', 'transformers', 'vllm') if n in sys.modules], worker.process]))")  # fmt: skip
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(said.stdout.splitlines()[-1]) == [[], None]


def test_the_landing_offers_every_start_once_by_what_a_person_wants() -> None:
    shown = preset_cards.render_preset_families(presets.list_presets()) + preset_cards.render_pipeline_family(
        pipeline.pipeline_cards()
    )
    assert sorted(re.findall(r'data-preset="(\w+)"', shown)) == registry.names("presets")
    assert sorted(re.findall(r'data-chain="(\w+)"', shown)) == registry.names("pipelines")
    titles = re.findall(r"<h3>(.*?)</h3>", shown)
    wanted = [title for title, *_ in compatible_methods.METHOD_FAMILIES.values()]
    assert titles[:-1] == [title for title in wanted if title in titles]
    assert titles[-1] == "In several lessons"
    assert shown.index("first_tune") == min(map(shown.index, registry.names("presets")))


def test_what_a_start_needs_is_said_once_or_beside_each_that_differs() -> None:
    [one, other, *_] = presets.list_presets()
    assert preset_cards.common_requirement([one, other]) == "Any computer will do, with the practice model."
    assert preset_cards.common_requirement([one, other | {"needs": HOSTILE}]) == ""
    assert "&lt;script&gt;" in preset_cards.render_preset_families([one, other | {"needs": HOSTILE}])


def test_an_action_on_a_run_that_is_gone_is_refused_in_a_sentence(home: Path) -> None:
    gone = "20260101-000000-gone-zzzz"
    for action in (runs.delete_run, runs.delete_surplus_checkpoints, runs.encode_setup_link, runs.read_setup):
        assert gone in action(gone)["problem"]["text"]
    assert gone in runs.rename_run({"run": gone, "title": "Back"})["problem"]["text"]
    assert runs.list_runs()["answer"] == {"runs": [], "note": ""}
