"""Page: what its pieces show and refuse, without a browser."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import gradio as gr
import pytest

from app import presets, rooms, share
from app.page import build
from app.pages import choose
from app.pages.border import safely
from app.preview import Worker
from app.problems import Problem
from app.rooms import ROOT
from components import look, notices, plan, progress, settings, tokens

HOSTILE = "<script>steal()</script><img src=x onerror=steal()>\"'${steal()}{{steal}}"
OURS = ("spec", "knob", "engine", "backend")  # words for those who build, never for those who visit


def fields_of(method: str) -> dict[str, gr.components.Component]:
    with gr.Blocks(analytics_enabled=False):
        return settings.form(method, {})


@pytest.mark.parametrize("method", rooms.choices("methods"))
def test_each_everyday_setting_is_drawn_with_its_sentence_and_range(method: str) -> None:
    declared = settings.everyday(method)
    fields = fields_of(method)
    assert [*fields] == [knob["name"] for knob in declared]
    assert 0 < len(fields) <= 6
    for knob in declared:
        field = fields[knob["name"]]
        assert field.label == knob["title"]
        assert field.info.startswith(knob["sentence"])
        assert knob.get("low") is None or " to " in field.info


@pytest.mark.parametrize("method", rooms.choices("methods"))
def test_the_form_speaks_to_visitors(method: str) -> None:
    said = " ".join(f"{field.label} {field.info}" for field in fields_of(method).values()).lower()
    assert not [word for word in OURS if word in said.split()]


def test_numbers_are_written_in_full() -> None:
    assert settings.in_full(1e-07) == "0.0000001"
    assert settings.in_full(1_000_000) == "1,000,000"
    assert settings.in_full(0.1) == "0.1"
    assert settings.step_of({"type": "float"}, 0.002) == 0.001
    assert settings.step_of({"type": "float"}, 3.0) == 1
    assert settings.step_of({"type": "int"}, 8) == 1


def test_a_row_is_text_whatever_it_holds() -> None:
    row = {"tokens": [{"text": HOSTILE, "id": 1, "trained": True, "special": False}], "length": 1}
    shown = (tokens.example_html(row) + notices.problem(Problem(HOSTILE)) + notices.findings([{"severity": "wrong", "text": HOSTILE}]))  # fmt: skip
    assert "<script" not in shown
    assert "<img" not in shown
    assert shown.count("&lt;script&gt;") == 3
    assert look.page().html_template == "${value}"  # the one template that does not run what it is given


def test_tokens_show_what_is_learned() -> None:
    texts = [("<s>", False, True), ("a\n", False, False), ("b", True, False), ("", True, False), ("</s>", True, True)]
    row = {"tokens": [{"text": t, "id": i, "trained": a, "special": b} for i, (t, a, b) in enumerate(texts)],
           "length": 5}  # fmt: skip
    shown = tokens.example_html(row)
    assert shown.count('class="token trained"') == 2
    assert shown.count('class="token special"') == 1
    assert shown.count('class="token trained special"') == 1
    assert ">a⏎\n<" in shown
    assert ">·<" in shown  # a piece of a character
    assert "3 of 5 tokens" in tokens.count_html([row], 0)


def test_a_very_long_example_says_what_it_leaves_out() -> None:
    row = {"tokens": [{"text": "a", "id": 1, "trained": True, "special": False}] * 4_005, "length": 9_000}
    assert tokens.example_html(row).count("<span") == 4_000
    assert "5,000 more tokens" in tokens.example_html(row)


@pytest.mark.parametrize(("seconds", "words"), [(14.2, "14 s"), (150, "2 min"), (7500, "2 h 5 min")])
def test_time_left_has_the_unit_that_fits(seconds: float, words: str) -> None:
    assert progress.duration(seconds) == words


@pytest.mark.parametrize("name", rooms.choices("presets"))
def test_a_plan_says_what_a_preset_does_to_whom(name: str) -> None:
    shown = plan.plan(presets.spec(name))
    assert "pocket" not in shown
    assert "sample:" not in shown
    assert all(word in shown for word in ("Model", "Examples", "Lesson"))


@pytest.fixture
def chosen() -> choose.Choose:
    with gr.Blocks(analytics_enabled=False):
        return choose.draw()


def values_of(parts: choose.Choose, updates: dict[Any, Any]) -> tuple[Any, ...]:
    """What the browser would send back after these updates."""
    return tuple(updates.get(field, field.value) for field in parts.fields)


def test_the_form_changes_the_setup_and_nothing_else(chosen: choose.Choose) -> None:
    before = presets.spec("first_tune")
    fields = values_of(chosen, {chosen.forms["sft"]["epochs"]: 0.5})
    after = choose.chosen(chosen, before.to_dict(), fields)
    assert after == before.model_copy(update={"knobs": before.knobs | {"epochs": 0.5}})


def test_a_link_fills_the_form_and_chooses_no_preset(chosen: choose.Choose) -> None:
    changed = presets.spec("first_tune")
    changed = changed.model_copy(update={"knobs": changed.knobs | {"epochs": 7.0}, "seed": 11})
    updates = choose.open_link(chosen, share.encode(changed))
    assert updates[chosen.presets] is None
    assert choose.chosen(chosen, updates[chosen.setup], values_of(chosen, updates)) == changed


def test_a_problem_is_said_on_the_page_and_a_success_clears_it() -> None:
    with gr.Blocks(analytics_enabled=False):
        notice, other = look.page(), look.page()

    def refuse() -> dict:
        raise Problem("Batch 64 is too much.", advice="Try 32.")

    def stumble() -> dict:
        raise ZeroDivisionError("by zero")

    assert "Batch 64 is too much. Try 32." in safely(refuse, notice)()[notice]
    assert "Something broke" in safely(stumble, notice)()[notice]
    assert safely(lambda: {other: "well"}, notice)() == {notice: "", other: "well"}


def test_no_event_of_the_page_is_a_public_endpoint() -> None:
    demo = build(Worker())
    assert demo.config["dependencies"]
    assert all(event["api_visibility"] == "private" for event in demo.config["dependencies"])
    assert demo.analytics_enabled is False


def test_building_the_page_loads_nothing_heavy_and_starts_no_process() -> None:
    code = ("import sys, json; from app.page import build, serve; from app.preview import Worker; worker = Worker(); "
            "serve(build(worker), 7860); "
            "print(json.dumps([[n for n in ('torch', 'trl', 'transformers', 'vllm') if n in sys.modules], worker.process]))")  # fmt: skip
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(said.stdout.splitlines()[-1]) == [[], None]
