"""Pipeline view: what the page shows of a pipeline before it starts, while it runs, after a stop, and at the end."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from app.core import platform, processes, registry
from app.core.json_files import write_json
from app.core.workspace import local_workspace
from app.history import run_list
from app.pipelines import pipeline, pipeline_run
from app.pipelines.pipeline_run import PipelineRun
from app.runs import store
from app.runs.store import Run
from app.server.views import pipeline as pipeline_view
from app.server.views import pipeline_description
from app.setup.spec import Launch
from tests.support import append_events

FINAL_EVENTS = {"finished": [{"kind": "done", "why": "finished"}], "stopped": [{"kind": "done", "why": "stopped"}],
        "failed": [{"kind": "failed", "reason": "out_of_memory", "text": "Too big.", "advice": ""}]}  # fmt: skip
COMPARISON = {"rewards": ["kind"], "prompts": 100, "rows": [
    {"stage": "start", "scores": {"kind": 0.0}, "by": {}}, {"stage": "imitate", "scores": {"kind": 0.0}, "by": {}},
    {"stage": "prefer", "scores": {"kind": 0.68}, "by": {}}]}  # fmt: skip


def create_pipeline_run_in_states(*states: str, comparison: dict[str, Any] | None = None) -> PipelineRun:
    """A pipeline run of two stages whose runs have these states; no process runs it."""
    created_run = pipeline_run.create_pipeline_run(local_workspace(), pipeline.load_pipeline("polite_pairs"))
    run_ids_by_stage: dict[str, str] = {}
    for stage, state in zip(created_run.pipeline.stages, states, strict=False):
        run_ids_by_stage[stage.name] = create_stage_run(
            created_run, stage.name, run_ids_by_stage, FINAL_EVENTS[state]
        ).id
    write_json(created_run.path / "stages.json", run_ids_by_stage)
    if comparison:
        write_json(created_run.path / "compared.json", comparison)
    return created_run


def create_stage_run(
    parent_run: PipelineRun, stage_name: str, run_ids_by_stage: dict[str, str], final_events: list[dict[str, Any]]
) -> Run:
    spec = pipeline.stage_spec(parent_run.pipeline.stage(stage_name), parent_run.pipeline.title, run_ids_by_stage)
    run = store.create_run(local_workspace(), spec, Launch(journey=f"{parent_run.id}/{stage_name}"))
    step_events = [{"kind": "step", "step": step, "of": 2, "metrics": {"train/loss": 1.0}} for step in (1, 2)]
    lines = [json.dumps({"seq": seq, "attempt": 1, "time": 100.0 + 10 * seq} | event) for seq, event in enumerate([*step_events, *final_events], 1)]  # fmt: skip
    run.events.write_text("".join(f"{line}\n" for line in lines))
    return run


def inspect_pipeline(name: str) -> dict[str, Any]:
    response = pipeline_view.inspect_pipeline(name)
    assert "answer" in response, response
    return response["answer"]


@pytest.mark.parametrize("name", registry.names("pipelines"))
def test_a_new_pipeline_shows_its_stages_as_not_begun(name: str) -> None:
    view = inspect_pipeline(name)
    assert (view["phase"], view["table"]) == ("new", None)
    assert len(view["stages"]) == len(pipeline.load_pipeline(name).stages)
    assert {stage["status_text"] for stage in view["stages"]} == {"Not begun"}
    assert all(stage["sentence"].endswith(".") for stage in view["stages"])
    assert all(measure["title"] and measure["kind"] for measure in view["measures"])
    assert name in [card["id"] for card in pipeline_view.pipeline_cards()]


def test_a_finished_pipeline_shows_stage_durations_and_the_comparison_table() -> None:
    view = inspect_pipeline(create_pipeline_run_in_states("finished", "finished", comparison=COMPARISON).id)
    assert (view["phase"], view["status_text"]) == ("finished", "Finished. “Kind” rose from 0 % to 68 %.")
    assert [stage["seconds"] for stage in view["stages"]] == [20.0, 20.0]  # three events, 10 s apart
    assert view["last"] == view["stages"][1]["run"]
    cells = [(row["title"], row["cells"][0]["text"], row["cells"][0]["change"]) for row in view["table"]["rows"]]
    assert cells == [("Before", "0 %", ""), ("Imitate", "0 %", "as before"), ("Prefer", "68 %", "+68 points")]


def test_a_lesson_with_a_diagnosis_is_marked_and_named() -> None:
    created_run = create_pipeline_run_in_states("finished", "finished", comparison=COMPARISON)
    evaluations = [{"kind": "eval", "step": step, "set": "holdout", "metrics": {"eval/loss": 2.0, "probe/unrelated_rest_loss": loss}}
                   for step, loss in ((0, 0.1), (2, 9.0))]  # fmt: skip
    append_events(created_run.stage_run("imitate"), [*evaluations, *FINAL_EVENTS["finished"]])
    view = inspect_pipeline(created_run.id)
    assert [stage["doubt"] for stage in view["stages"]] == ["wrong", None]
    assert view["stages"][0]["result"] == "forgot what it knew"
    assert view["status_text"].startswith("Finished, but not all went well. “Kind” rose")
    assert view["status_text"].endswith("Look at “Imitate”: forgot what it knew.")


def test_only_scores_from_zero_to_one_are_shown_as_percentages() -> None:
    assert pipeline_description.comparison_cell(-1.25, -2.0) == {"text": "-1.25", "share": None, "change": "+0.75"}
    assert pipeline_description.comparison_cell(0.25, 0.5) == {"text": "25 %", "share": 0.25, "change": "−25 points"}
    assert pipeline_description.comparison_cell(None, 0.5) == {"text": "–", "share": None, "change": ""}


@pytest.mark.parametrize(("states", "expected_status"), [
    (("stopped",), "Stopped in lesson 1."), (("finished", "failed"), "Lesson 2 failed."), (("finished",), "Lesson 2 has not begun."),
    (("finished", "finished"), "The comparison did not end."),
])  # fmt: skip
def test_an_interrupted_pipeline_says_where_it_stopped_and_how_to_continue(
    states: tuple[str, ...], expected_status: str
) -> None:
    view = inspect_pipeline(create_pipeline_run_in_states(*states).id)
    assert view["phase"] == "waiting"
    assert view["status_text"].startswith(expected_status)
    assert "go on" in view["status_text"].lower()


def test_the_last_log_line_is_the_reason_when_no_stage_gives_one() -> None:
    interrupted_run = create_pipeline_run_in_states("finished")
    (interrupted_run.path / "log.txt").write_text("Loading\nThe sample is gone. Choose another.\n\n")
    assert "The sample is gone. Choose another." in inspect_pipeline(interrupted_run.id)["status_text"]


def test_a_run_names_its_pipeline_run_and_the_newest_pipeline_runs_are_listed() -> None:
    first, second = create_pipeline_run_in_states("finished"), create_pipeline_run_in_states("stopped")
    [run] = [
        summary for summary in run_list.list_summaries(local_workspace()) if summary["id"] == second.stages["imitate"]
    ]
    assert run["journey"] == f"{second.id}/imitate"
    assert {listed_run["id"] for listed_run in pipeline_view.list_newest_pipeline_runs()["answer"]} == {
        first.id,
        second.id,
    }


def test_an_unknown_or_inactive_pipeline_run_gives_a_problem() -> None:
    for name in ("20200101-000000-nobody-0000", "../../etc", ""):
        assert "There is no such journey here." in pipeline_view.inspect_pipeline(name)["problem"]["text"]
    assert (
        "No lesson is being learned"
        in pipeline_view.stop_pipeline_run(create_pipeline_run_in_states("finished").id)["problem"]["text"]
    )


def test_deleting_a_pipeline_run_keeps_its_runs_and_an_active_one_is_not_deleted() -> None:
    deleted_run, remaining_run = (
        create_pipeline_run_in_states("finished", "stopped"),
        create_pipeline_run_in_states("stopped"),
    )
    run_ids_by_stage = {**deleted_run.stages}
    assert pipeline_view.delete_pipeline_run(deleted_run.id)["answer"] == deleted_run.id
    assert [listed_run.id for listed_run in pipeline_run.list_pipeline_runs(local_workspace())] == [remaining_run.id]
    assert [folder.name for folder in deleted_run.path.parent.iterdir()] == [remaining_run.id]
    assert {*run_ids_by_stage.values()} <= {summary["id"] for summary in run_list.list_summaries(local_workspace())}
    write_json(remaining_run.path / "handle.json", processes.process_identity(os.getpid()))
    assert "is under way" in pipeline_view.delete_pipeline_run(remaining_run.id)["problem"]["text"]
    write_json(remaining_run.path / "handle.json", {"pid": os.getpid(), "started": 0.0})  # as after a step of the clock
    with remaining_run.runner_lock.open("w") as lock:
        platform.lock_file(lock)
        assert remaining_run.is_active
        assert "is under way" in pipeline_view.delete_pipeline_run(remaining_run.id)["problem"]["text"]
    assert remaining_run.path.is_dir()
    assert not remaining_run.is_active
