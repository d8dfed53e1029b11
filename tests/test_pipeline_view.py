"""Journey: what the page tells of several lessons: before they begin, on the way, after a stop, and at the end."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from app.core import processes, registry
from app.core.json_files import write_json
from app.core.workspace import local_workspace
from app.history import run_list
from app.pipelines import pipeline, pipeline_run
from app.pipelines.pipeline_run import PipelineRun
from app.runs import store
from app.runs.store import Run
from app.server.views import pipeline as page
from app.server.views import pipeline_description
from app.setup.spec import Launch

TOLD = {"finished": [{"kind": "done", "why": "finished"}], "stopped": [{"kind": "done", "why": "stopped"}],
        "failed": [{"kind": "failed", "reason": "out_of_memory", "text": "Too big.", "advice": ""}]}  # fmt: skip
COMPARED = {"rewards": ["kind"], "prompts": 100, "rows": [
    {"stage": "start", "scores": {"kind": 0.0}, "by": {}}, {"stage": "imitate", "scores": {"kind": 0.0}, "by": {}},
    {"stage": "prefer", "scores": {"kind": 0.68}, "by": {}}]}  # fmt: skip


def walked(*states: str, compared: dict[str, Any] | None = None) -> PipelineRun:
    """A journey along two lessons, as far as these states; nobody conducts it."""
    journey = pipeline_run.create_pipeline_run(local_workspace(), pipeline.load_pipeline("polite_pairs"))
    begun: dict[str, str] = {}
    for stage, state in zip(journey.pipeline.stages, states, strict=False):
        begun[stage.name] = told(journey, stage.name, begun, TOLD[state]).id
    write_json(journey.path / "stages.json", begun)
    if compared:
        write_json(journey.path / "compared.json", compared)
    return journey


def told(journey: PipelineRun, name: str, begun: dict[str, str], end: list[dict[str, Any]]) -> Run:
    spec = pipeline.stage_spec(journey.pipeline.stage(name), journey.pipeline.title, begun)
    run = store.create_run(local_workspace(), spec, Launch(journey=f"{journey.id}/{name}"))
    steps = [{"kind": "step", "step": step, "of": 2, "metrics": {"train/loss": 1.0}} for step in (1, 2)]
    lines = [json.dumps({"seq": seq, "attempt": 1, "time": 100.0 + 10 * seq} | event) for seq, event in enumerate([*steps, *end], 1)]  # fmt: skip
    run.events.write_text("".join(f"{line}\n" for line in lines))
    return run


def shown(name: str) -> dict[str, Any]:
    said = page.inspect_pipeline(name)
    assert "answer" in said, said
    return said["answer"]


@pytest.mark.parametrize("name", registry.names("pipelines"))
def test_a_chain_is_shown_before_anything_begins(name: str) -> None:
    one = shown(name)
    assert (one["phase"], one["table"]) == ("new", None)
    assert [stage["words"] for stage in one["stages"]] == ["Not begun"] * len(pipeline.load_pipeline(name).stages)
    assert all(stage["sentence"].endswith(".") for stage in one["stages"])
    assert all(measure["title"] and measure["kind"] for measure in one["measures"])
    assert name in [card["id"] for card in page.pipeline_cards()]


def test_at_its_end_every_lesson_says_what_it_took_and_the_table_what_came_of_it() -> None:
    one = shown(walked("finished", "finished", compared=COMPARED).id)
    assert (one["phase"], one["words"]) == ("finished", "Finished. “Kind” rose from 0 % to 68 %.")
    assert [stage["seconds"] for stage in one["stages"]] == [20.0, 20.0]  # from its first event to its last, 10 s apart
    assert one["last"] == one["stages"][1]["run"]
    cells = [(row["title"], row["cells"][0]["text"], row["cells"][0]["change"]) for row in one["table"]["rows"]]
    assert cells == [("Before", "0 %", ""), ("Imitate", "0 %", "as before"), ("Prefer", "68 %", "+68 points")]


def test_a_score_without_bounds_is_no_share() -> None:
    assert pipeline_description.comparison_cell(-1.25, -2.0) == {"text": "-1.25", "share": None, "change": "+0.75"}
    assert pipeline_description.comparison_cell(0.25, 0.5) == {"text": "25 %", "share": 0.25, "change": "−25 points"}
    assert pipeline_description.comparison_cell(None, 0.5) == {"text": "–", "share": None, "change": ""}


@pytest.mark.parametrize(("states", "words"), [
    (("stopped",), "Stopped in lesson 1."), (("finished", "failed"), "Lesson 2 failed."), (("finished",), "Lesson 2 has not begun."),
    (("finished", "finished"), "The comparison did not end."),
])  # fmt: skip
def test_a_journey_that_stands_still_says_where_and_what_to_do(states: tuple[str, ...], words: str) -> None:
    one = shown(walked(*states).id)
    assert one["phase"] == "waiting"
    assert one["words"].startswith(words)
    assert "go on" in one["words"].lower()


def test_who_conducted_it_has_the_last_word_where_no_lesson_says_why() -> None:
    journey = walked("finished")
    (journey.path / "log.txt").write_text("Loading\nThe sample is gone. Choose another.\n\n")
    assert "The sample is gone. Choose another." in shown(journey.id)["words"]


def test_a_run_says_which_journey_it_belongs_to_and_the_newest_come_first() -> None:
    first, second = walked("finished"), walked("stopped")
    [run] = [one for one in run_list.list_summaries(local_workspace()) if one["id"] == second.stages["imitate"]]
    assert run["journey"] == f"{second.id}/imitate"
    assert {one["id"] for one in page.list_newest_pipeline_runs()["answer"]} == {first.id, second.id}


def test_what_is_not_there_is_a_problem_in_words() -> None:
    for name in ("20200101-000000-nobody-0000", "../../etc", ""):
        assert "There is no such journey here." in page.inspect_pipeline(name)["problem"]["text"]
    assert "No lesson is being learned" in page.stop_pipeline_run(walked("finished").id)["problem"]["text"]


def test_removing_a_journey_keeps_its_runs_and_one_under_way_stays() -> None:
    journey, other = walked("finished", "stopped"), walked("stopped")
    began = {**journey.stages}
    assert page.delete_pipeline_run(journey.id)["answer"] == journey.id
    assert [one.id for one in pipeline_run.list_pipeline_runs(local_workspace())] == [other.id]
    assert [one.name for one in journey.path.parent.iterdir()] == [other.id]
    assert {*began.values()} <= {one["id"] for one in run_list.list_summaries(local_workspace())}
    write_json(other.path / "handle.json", processes.process_identity(os.getpid()))
    assert "is under way" in page.delete_pipeline_run(other.id)["problem"]["text"]
    assert other.path.is_dir()
