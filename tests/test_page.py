"""Page: what its pieces show and refuse, without a browser."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import gradio as gr
import pytest

from app.core import registry
from app.core.problems import Problem
from app.core.registry import ROOT
from app.data import compatible_methods
from app.server.error_boundary import safely, steadily
from app.server.page import build
from app.server.views import pipeline
from app.setup import presets
from app.worker.client import Worker
from components import notices, preset_cards, progress, theme

HOSTILE = "<script>steal()</script><img src=x onerror=steal()>\"'${steal()}{{steal}}"


def test_a_notice_is_text_whatever_it_holds() -> None:
    shown = notices.problem(Problem(HOSTILE)) + notices.findings([{"severity": "wrong", "text": HOSTILE}])
    assert "<script" not in shown
    assert "<img" not in shown
    assert shown.count("&lt;script&gt;") == 2
    assert theme.page().html_template == "${value}"  # the one template that does not run what it is given


@pytest.mark.parametrize(("seconds", "words"), [(14.2, "14 s"), (150, "2 min"), (7500, "2 h 5 min")])
def test_time_left_has_the_unit_that_fits(seconds: float, words: str) -> None:
    assert progress.duration(seconds) == words


def test_a_problem_is_said_on_the_page_and_a_success_clears_it() -> None:
    with gr.Blocks(analytics_enabled=False):
        notice, other = theme.page(), theme.page()

    def refuse() -> dict:
        raise Problem("Batch 64 is too much.", advice="Try 32.")

    def stumble() -> dict:
        raise ZeroDivisionError("by zero")

    assert "Batch 64 is too much. Try 32." in safely(refuse, notice)()[notice]
    assert "Something broke" in safely(stumble, notice)()[notice]
    assert safely(lambda: {other: "well"}, notice)() == {notice: "", other: "well"}


def test_what_went_wrong_is_said_together_with_the_last_news() -> None:
    """Of two updates that follow at once a browser may draw only the second."""
    with gr.Blocks(analytics_enabled=False):
        notice, other = theme.page(), theme.page()

    def begun():
        yield {other: "looking"}
        yield {other: "nothing"}
        raise Problem("It is gone.", advice="Take another.")

    *_, last = steadily(begun, notice)()
    assert last[other] == "nothing"
    assert "It is gone. Take another." in last[notice]


def test_no_event_of_the_page_is_a_public_endpoint() -> None:
    demo = build(Worker())
    assert demo.config["dependencies"]
    assert all(event["api_visibility"] == "private" for event in demo.config["dependencies"])
    assert demo.analytics_enabled is False


def test_building_the_page_loads_nothing_heavy_and_starts_no_process() -> None:
    code = ("import sys, json; from app.server.page import build, serve; from app.worker.client import Worker; worker = Worker(); "
            "serve(build(worker), 7860); "
            "print(json.dumps([[n for n in ('torch', 'trl', 'transformers', 'vllm') if n in sys.modules], worker.process]))")  # fmt: skip
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(said.stdout.splitlines()[-1]) == [[], None]


def test_the_landing_offers_every_start_once_by_what_a_person_wants() -> None:
    shown = preset_cards.starts(presets.every()) + preset_cards.ways(pipeline.cards())
    assert sorted(re.findall(r'data-preset="(\w+)"', shown)) == registry.choices("presets")
    assert sorted(re.findall(r'data-chain="(\w+)"', shown)) == registry.choices("pipelines")
    titles = re.findall(r"<h3>(.*?)</h3>", shown)
    wanted = [title for title, *_ in compatible_methods.FAMILIES.values()]
    assert titles[:-1] == [title for title in wanted if title in titles]
    assert titles[-1] == "In several lessons"
    assert shown.index("first_tune") == min(map(shown.index, registry.choices("presets")))


def test_what_a_start_needs_is_said_once_or_beside_each_that_differs() -> None:
    [one, other, *_] = presets.every()
    assert preset_cards.needs([one, other]) == "Any computer will do, with the practice model."
    assert preset_cards.needs([one, other | {"needs": HOSTILE}]) == ""
    assert "&lt;script&gt;" in preset_cards.starts([one, other | {"needs": HOSTILE}])
