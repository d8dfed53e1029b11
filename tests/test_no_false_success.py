"""No false success: a run with a diagnosis is presented as one by page, lists, command line and model card alike."""

from __future__ import annotations

import json
from typing import Any

from app.core.workspace import local_workspace
from app.history import run_list
from app.history.snapshot import RunSnapshot
from app.hub.model_card import render_model_card
from app.runs import store
from app.runs.store import Run
from app.setup.spec import Launch
from tests.support import append_events, run_command_line
from tests.test_diagnoses import make_spec, rl_events, sft_events

FORGOTTEN = {"probe/unrelated_rest_loss": 7.0}


def make_run(events: list[dict[str, Any]], method: str = "sft") -> Run:
    run = store.create_run(local_workspace(), make_spec(method), Launch())
    append_events(run, events)
    return run


def displayed(run: Run) -> dict[str, Any]:
    snapshot = RunSnapshot(run)
    snapshot.refresh()
    return json.loads(snapshot.snapshot_json())


def test_the_page_gets_the_diagnosis_with_its_remedy_and_the_comparison_alone() -> None:
    run = make_run([*sft_events(last=FORGOTTEN)[:-1], {"kind": "done", "why": "finished", "verdict": "It forgot.\nOn 100 examples it never saw, the loss fell."}])  # fmt: skip
    page = displayed(run)
    (diagnosis,) = page["now"]["diagnoses"]
    assert (diagnosis["id"], diagnosis["severity"], diagnosis["title"]) == ("forgotten", "wrong", "forgot what it knew")
    assert diagnosis["remedy"]["changes"]["knobs.learning_rate"] > 0
    assert page["now"]["verdict"] == "On 100 examples it never saw, the loss fell."
    assert not [name for name in page["series"] if name.startswith("probe/")], "probes are for diagnoses"


def test_a_diagnosis_is_shown_while_the_run_goes_on() -> None:
    run = make_run(rl_events([0.0] * 20, 0.0, 0.0, policy__silent_groups=[1.0] * 20)[:12], "grpo")
    assert [diagnosis["id"] for diagnosis in displayed(run)["now"]["diagnoses"]] == ["reward_constant"]


def test_a_healthy_run_has_none() -> None:
    run = make_run(sft_events())
    assert "diagnoses" not in displayed(run)["now"]
    summary = run_list.summarize_run(run, alive=False)
    assert (summary["doubt"], summary["result"]) == (None, "4.00 → 0.70")
    assert "It did not go well" not in render_model_card(run)


def test_lists_tell_the_diagnosis_in_place_of_a_score() -> None:
    summary = run_list.summarize_run(make_run(sft_events(last=FORGOTTEN)), alive=False)
    assert (summary["state"], summary["result"], summary["doubt"]) == ("finished", "forgot what it knew", "wrong")


def test_the_model_card_says_it_before_anything_else_and_lists_no_probes() -> None:
    card = render_model_card(make_run(sft_events(last=FORGOTTEN)))
    assert "> **It did not go well:** It forgot what it knew" in card
    assert card.index("It did not go well") < card.index("| held-out examples |")
    assert "probe" not in card


def test_the_command_line_shows_the_diagnoses() -> None:
    run = make_run(sft_events(last=FORGOTTEN))
    shown = json.loads(run_command_line("show", run.id, "--json").stdout)
    assert [diagnosis["id"] for diagnosis in shown["diagnoses"]] == ["forgotten"]
    assert shown["diagnoses"][0]["advice"]
