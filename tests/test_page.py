"""Page: what its components render and its handlers refuse, without a browser."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from app.core import dates, registry
from app.core.paths import ROOT
from app.core.problems import Problem
from app.data.findings import compatible_methods
from app.planning import presets
from app.server.error_boundary import stream_with_error_notice, with_error_notice
from app.server.page import build_page
from app.server.page_blocks import PageBlocks
from app.server.views import pipeline, runs
from app.worker.client import WorkerClient
from components import notices, preset_cards, theme
from components.real_work import render_real_work

HOSTILE = "<script>steal()</script><img src=x onerror=steal()>\"'${steal()}{{steal}}"


def test_hostile_text_in_a_notice_is_escaped() -> None:
    html = notices.render_problem(Problem(HOSTILE)) + notices.render_findings([{"severity": "wrong", "text": HOSTILE}])
    assert "<script" not in html
    assert "<img" not in html
    assert html.count("&lt;script&gt;") == 2
    assert theme.html_block().html_template == "${value}"  # the only template that does not execute its content


@pytest.mark.parametrize(("seconds", "formatted"), [(14.2, "14 s"), (150, "2 min"), (7500, "2 h 5 min")])
def test_a_duration_is_formatted_with_fitting_units(seconds: float, formatted: str) -> None:
    assert dates.format_duration(seconds) == formatted


def test_an_error_fills_the_notice_and_a_success_clears_it() -> None:
    with gr.Blocks(analytics_enabled=False):
        notice, other_output = theme.html_block(), theme.html_block()

    def raise_problem() -> dict:
        raise Problem("Batch 64 is too much.", advice="Try 32.")

    def raise_unexpected_error() -> dict:
        raise ZeroDivisionError("by zero")

    assert "Batch 64 is too much. Try 32." in with_error_notice(raise_problem, notice)()[notice]
    assert "Something broke" in with_error_notice(raise_unexpected_error, notice)()[notice]
    assert with_error_notice(lambda: {other_output: "well"}, notice)() == {notice: "", other_output: "well"}


def test_the_error_of_a_stream_fills_the_notice_and_leaves_the_updates_before() -> None:
    with gr.Blocks(analytics_enabled=False):
        notice, other_output = theme.html_block(), theme.html_block()

    def stream_then_raise():
        yield {other_output: "looking"}
        yield {other_output: "nothing"}
        raise Problem("It is gone.", advice="Take another.")

    *updates, last_update = stream_with_error_notice(stream_then_raise, notice)()
    assert updates == [{notice: ""}, {other_output: "looking"}, {other_output: "nothing"}]
    assert list(last_update) == [notice]
    assert "It is gone. Take another." in last_update[notice]


def test_an_update_that_a_browser_has_not_drawn_yet_is_not_changed_by_the_next() -> None:
    """Gradio's client makes the edits of an update in the object of the one before."""
    with PageBlocks(analytics_enabled=False) as demo:
        examples, answer, notice = (theme.html_block() for _ in range(3))
        demo.load(lambda: None, None, [examples, answer, notice])
    (function,) = demo.fns.values()
    unchanged = gr.skip()

    def send(*values, final: bool = False) -> list:
        return demo.handle_streaming_diffs(function, [*values], "session", "event", final)

    assert send({"rows": []}, "Once", unchanged) == [{"rows": []}, "Once", unchanged]
    assert send({"rows": [1]}, "Once upon", unchanged) == [
        [["replace", [], {"rows": [1]}]],
        [["append", [], " upon"]],
        [],
    ]
    assert send(unchanged, unchanged, "Done") == [
        [["replace", [], unchanged]],
        [["replace", [], unchanged]],
        [["replace", [], "Done"]],
    ]
    assert send(None, None, None, final=True) == [unchanged, unchanged, "Done"]


def test_no_event_of_the_page_is_a_public_endpoint() -> None:
    demo = build_page(WorkerClient())
    assert demo.config["dependencies"]
    assert all(event["api_visibility"] == "private" for event in demo.config["dependencies"])
    assert demo.analytics_enabled is False


@pytest.mark.slow
def test_building_the_page_imports_no_ml_library_and_starts_no_process() -> None:
    code = ("import sys, json; from app.server.page import build_page, create_app; from app.worker.client import WorkerClient; worker = WorkerClient(); "
            "create_app(build_page(worker), worker, 7860); "
            "print(json.dumps([[n for n in ('torch', 'trl', 'transformers', 'vllm') if n in sys.modules], worker.process]))")  # fmt: skip
    process = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(process.stdout.splitlines()[-1]) == [[], None]


def test_the_start_page_shows_every_preset_and_pipeline_once_by_family() -> None:
    practice = [preset for preset in presets.list_presets() if not preset["goal"]]
    html = preset_cards.render_preset_families(practice) + preset_cards.render_pipeline_family(
        [card for card in pipeline.pipeline_cards() if card["gigabytes"] is None]
    )
    titles = re.findall(r"<h3>(.*?)</h3>", html)
    html += render_real_work(presets.list_presets(), pipeline.pipeline_cards())
    assert sorted(re.findall(r'data-preset="(\w+)"', html)) == registry.names("presets")
    assert sorted(re.findall(r'data-chain="(\w+)"', html)) == registry.names("pipelines")
    family_titles = [title for title, *_ in compatible_methods.METHOD_FAMILIES.values()]
    assert titles[:-1] == [title for title in family_titles if title in titles]
    assert titles[-1] == "In several lessons"
    assert html.index("first_tune") == min(map(html.index, registry.names("presets")))


def test_presets_for_real_work_stand_by_what_they_are_for_each_with_its_card() -> None:
    html = render_real_work(presets.list_presets(), pipeline.pipeline_cards())
    titles = re.findall(r"<h3>(.*?)</h3>", html)
    assert titles == [*(title for title, _ in presets.GOALS.values()), "In several lessons"]
    assert "first_tune" not in html
    assert "minutes" not in html
    assert re.search(r'<li data-gigabytes="24"><button type="button" data-preset="maths_24gb">.*?<small class="card-size">24 GB</small>', html)  # fmt: skip
    entry: Any = presets.describe_preset("maths_24gb") | {"title": HOSTILE}
    assert "&lt;script&gt;" in render_real_work([entry], [])
    assert render_real_work([], []) == ""


def test_a_common_requirement_is_shown_once_and_differing_ones_on_each_card() -> None:
    [first_preset, second_preset, *_] = presets.list_presets()
    assert (
        preset_cards.common_requirement([first_preset, second_preset])
        == "Any computer will do, with the practice model."
    )
    assert preset_cards.common_requirement([first_preset, second_preset | {"needs": HOSTILE}]) == ""
    assert "&lt;script&gt;" in preset_cards.render_preset_families([first_preset, second_preset | {"needs": HOSTILE}])


def test_an_action_on_a_deleted_run_returns_a_problem_with_its_name(home: Path) -> None:
    missing_run = "20260101-000000-gone-zzzz"
    for action in (runs.delete_run, runs.delete_surplus_checkpoints, runs.encode_setup_link, runs.read_setup):
        assert missing_run in action(missing_run)["problem"]["text"]
    assert missing_run in runs.rename_run({"run": missing_run, "title": "Back"})["problem"]["text"]
    assert runs.list_runs()["answer"] == {"runs": [], "note": ""}


BUSY_SERVER_SCRIPT = """
import asyncio, runpy, socket
run_server = runpy.run_path("app.py")["run_server"]

def compute_for_ever():
    while True:
        pass

async def app(scope, receive, send):
    if scope["type"] == "http":
        print("busy", flush=True)
        await asyncio.to_thread(compute_for_ever)

listening_socket = socket.create_server(("127.0.0.1", 0))
print(listening_socket.getsockname()[1], flush=True)
run_server(app, listening_socket)
"""


@pytest.mark.slow
def test_ctrl_c_ends_the_server_within_five_seconds_while_a_thread_computes() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", BUSY_SERVER_SCRIPT], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout
        port = int(server.stdout.readline())
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert server.stdout.readline() == "busy\n"
            start_time = time.monotonic()
            server.send_signal(signal.SIGINT)
            assert server.wait(10) == 0
            assert time.monotonic() - start_time < 5
