"""Damaged small files: whatever is in them, every list, page and command goes on, and says at most one sentence about it."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from app.cli import pipeline_commands, result_commands, run_commands
from app.core.json_files import DamagedFile, read_json
from app.core.problems import Problem
from app.core.workspace import local_workspace
from app.engine.evaluation.baseline_eval import recorded_scores
from app.engine.generation.chat import prompts_are_chat
from app.history import run_list
from app.history.snapshot import RunSnapshot
from app.hub import model_card, publish_job
from app.pipelines import pipeline, pipeline_run
from app.pipelines.pipeline_run import PipelineRun
from app.planning import launcher
from app.runs import checkpoints, events, store
from app.runs.events import NoteEvent, ResumedEvent, SavedEvent, of_type
from app.runs.records import read_record, write_record
from app.runs.store import Run
from app.server.views import chat, chat_layout, publish, publish_layout, runs, sidebar, watch
from app.server.views import pipeline as pipeline_view
from app.setup.spec import Budget, Launch
from tests.bench import faults
from tests.support import append_events, build_spec, conversation_rows, start_run, wait_until, write_rows

EARLIER_RUN = Path(__file__).parent / "earlier" / "20261130-203431-first-tune-tsyd"
GOOD_ID, DAMAGED_ID = "20261130-203431-first-tune-good", "20261130-203432-first-tune-torn"


RESULT = {"step": 12, "last_step": 12, "of": 12, "metric": "correct", "best_step": 12, "best": 0.09, "last": 0.09, "lost_step": None, "patience": None}  # fmt: skip


def with_other_types(data: Any) -> bytes:
    """The same fields, each with a list in a list."""
    return json.dumps({key: [[]] for key in data} if isinstance(data, dict) else [[1]]).encode()


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "cut in half": lambda content: content[: len(content) // 2],
    "no text": lambda _: b"\xff\xfe{}",
    "list": lambda _: b"[1]",
    "null": lambda _: b"null",
    "lists without end": lambda _: b"[" * 100_000,
    "nested 400 times": lambda _: b'{"data":' * 400 + b"1" + b"}" * 400,
    "fields of other types": lambda content: with_other_types(json.loads(content)),
    "version of another type": lambda _: b'{"v": "1"}',
}
RUN_FILES = (
    "handle.json",
    "launch.json",
    "spec.json",
    "facts.json",
    "published.json",
    "result.json",
    "samples/000001.json",
)


# -- runs -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def damaged_run(home: Path) -> Run:
    """A finished run with all of its small files, beside another one; the test damages one of them."""
    for run_id in (GOOD_ID, DAMAGED_ID):
        run = Run(local_workspace().runs / run_id)
        shutil.copytree(EARLIER_RUN, run.path)
        write_record(run.path / "published.json", {"repo": "a/b", "address": "https://x", "private": True, "time": 1.0})
        write_record(run.path / "result.json", RESULT)
        (run.path / "samples").mkdir()
        (run.path / "samples" / "000001.json").write_text('[{"prompt": "Hi", "completion": "Hello", "given": true}]')
        append_events(run, [{"kind": "sample", "step": 12, "file": "samples/000001.json"}])
        append_events(run, [{"kind": "done", "why": "finished", "adapter": "adapter"}])
    return run


@pytest.fixture(scope="module")
def views() -> tuple[chat_layout.ChatView, publish_layout.PublishView]:
    with gr.Blocks():
        return chat_layout.build_chat_view(), publish_layout.build_publish_view()


def damage(path: Path, kind: str) -> None:
    path.write_bytes(DAMAGES[kind](path.read_bytes()))


def sentence_of(reader: Callable[[], Any]) -> str:
    """What a reader says: the text of its Problem, the problem in its response, or nothing. Other errors are not caught."""
    try:
        response = reader()
    except Problem as problem:
        return str(problem)
    fields = response.get("problem", {}) if isinstance(response, dict) else {}
    assert not fields or fields["reason"] != "crashed", fields
    return f"{fields['text']} {fields['advice']}" if fields else ""


def run_readers(
    run: Run, views: tuple[chat_layout.ChatView, publish_layout.PublishView]
) -> dict[str, Callable[[], Any]]:
    """Everything that reads a run's small files; a reader returns or raises a Problem."""
    chat_view, publish_view = views
    snapshot = RunSnapshot(run)
    snapshot.refresh()
    last_sample = snapshot.history.samples[-1]
    return {
        "watch": lambda: (snapshot.refresh(), snapshot.updates_since(-1), snapshot.snapshot_json()),
        "answers in watch": lambda: snapshot.read_sample(last_sample.seq),
        "resume in watch": lambda: watch._resume_run(run.id),
        "result in watch": lambda: watch._choice_handler("last")(run.id),
        "more steps in watch": lambda: watch._extend_run(run.id, 5),
        "stop in watch": lambda: watch._control_handler("stop")(run.id),
        "try": lambda: chat._show_run(chat_view, run.id, None),
        "ask": lambda: prompts_are_chat(run.id),
        "scores": lambda: recorded_scores(run.id),
        "publish": lambda: publish._show_run(publish_view, run),
        "account in publish": lambda: publish._show_account(publish_view, run, None),
        "published": lambda: publish_job.last_publication(run),
        "card": lambda: model_card.render_model_card(run),
        "rename": lambda: runs.rename_run({"run": run.id, "title": "Other"}),
        "link": lambda: runs.encode_setup_link(run.id),
        "setup": lambda: runs.read_setup(run.id),
        "resume": lambda: run_commands.resume(run.id, detach=True),
        "result": lambda: result_commands.choose_result(run.id, as_json=True),
        "stop": lambda: run_commands.stop(run.id),
    }


@pytest.fixture
def fake_backend(monkeypatch: pytest.MonkeyPatch) -> list[Run]:
    """The runs that were started; none is trained."""
    started_runs: list[Run] = []
    monkeypatch.setattr(launcher, "start_run", lambda run, launch: started_runs.append(run))
    return started_runs


@pytest.mark.parametrize("kind", DAMAGES)
@pytest.mark.parametrize("name", RUN_FILES)
def test_a_damaged_file_of_a_run_breaks_no_reader_and_hides_no_other_run(
    name: str,
    kind: str,
    damaged_run: Run,
    views: tuple[chat_layout.ChatView, publish_layout.PublishView],
    fake_backend: list[Run],
    capsys: pytest.CaptureFixture[str],
) -> None:
    readers = run_readers(damaged_run, views)
    damage(damaged_run.path / name, kind)
    for listed in (run_list.list_summaries(local_workspace()), runs.list_runs()["answer"]["runs"], sidebar.list_newest_runs()["answer"]):  # fmt: skip
        assert [summary["id"] for summary in listed] == [DAMAGED_ID, GOOD_ID]
        assert listed[1]["result"] == "0 % → 9 %, too few steps"
    for reader_name, reader in readers.items():
        sentence = sentence_of(reader)
        assert len(sentence.splitlines()) < 2, (reader_name, sentence)
        assert len(sentence) < 500, (reader_name, sentence)
        assert "Something broke" not in sentence, (reader_name, sentence)
    run_commands.list_runs(as_json=True)
    run_commands.show_run(damaged_run.id, as_json=True)
    shown = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith(("{", "["))]
    assert [summary["name"] for summary in shown[-2]] == [DAMAGED_ID, GOOD_ID]
    assert shown[-1]["name"] == DAMAGED_ID
    assert "answer" in runs.delete_run(DAMAGED_ID)
    assert [summary["id"] for summary in run_list.list_summaries(local_workspace())] == [GOOD_ID]


SENTENCES = [
    ("spec.json", "setup", "is empty. Delete the run"),
    ("launch.json", "resume", "is empty. Delete this file: the run then starts on this machine"),
    ("facts.json", "ask", "is empty. Delete this file: the model is then asked as a chat"),
    ("published.json", "published", "is empty. Publish the result again"),
    ("result.json", "result", "is empty. Delete this file: the result stays as it is"),
    ("result.json", "scores", "is empty. Delete this file: the result stays as it is"),
    ("samples/000001.json", "answers in watch", "is empty. The other answers can still be read"),
]


@pytest.mark.parametrize(("name", "reader_name", "expected"), SENTENCES)
def test_the_sentence_names_the_file_and_says_what_to_do(
    name: str, reader_name: str, expected: str, damaged_run: Run, views: Any, fake_backend: list[Run]
) -> None:
    append_events(damaged_run, [{"kind": "done", "why": "stopped"}])
    readers = run_readers(damaged_run, views)
    (damaged_run.path / name).write_bytes(b"")
    folder = (damaged_run.path / name).parent.name
    assert sentence_of(readers[reader_name]).startswith(f"The file {folder}/{Path(name).name} {expected}")


FAULTS = [
    (b"", "is empty"), (b'{"a": ', "is not valid JSON"), (b"\xff", "is not valid JSON"), (b"[1]", "does not hold what it should"),
    (b"[" * 100_000, "is nested too deep"), (b'{"a":' * 101 + b"1" + b"}" * 101, "is nested too deep"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "fault"), FAULTS)
def test_every_fault_has_words(content: bytes, fault: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(DamagedFile, match=f"a.json {fault}"):
        read_json(tmp_path / "a.json")


def test_a_folder_in_place_of_a_file_is_a_damaged_file(tmp_path: Path) -> None:
    (tmp_path / "handle.json").mkdir()
    with pytest.raises(DamagedFile, match="cannot be read"):
        read_record(tmp_path / "handle.json")


def test_the_lists_say_which_file_is_damaged(damaged_run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    (damaged_run.path / "spec.json").write_bytes(b"")
    (summary, _) = run_list.list_summaries(local_workspace())
    assert (summary["state"], summary["result"]) == ("damaged", "spec.json is empty")
    run_commands.list_runs()
    assert "damaged      The file 20261130-203432-first-tune-torn/spec.json is empty." in capsys.readouterr().out


@pytest.mark.parametrize("name", ["handle.json", "facts.json", "published.json", "launch.json"])
def test_damage_beside_the_setup_changes_neither_state_nor_result_in_the_list(name: str, damaged_run: Run) -> None:
    (damaged_run.path / name).write_bytes(b"")
    (summary, _) = run_list.list_summaries(local_workspace())
    assert (summary["title"], summary["state"], summary["result"]) == (
        "First tune",
        "finished",
        "0 % → 9 %, too few steps",
    )


def test_a_run_with_a_damaged_handle_can_be_resumed(damaged_run: Run, fake_backend: list[Run]) -> None:
    append_events(damaged_run, [{"kind": "done", "why": "stopped"}])
    (damaged_run.path / "handle.json").write_bytes(b"")
    watch._resume_run(damaged_run.id)
    run_commands.resume(damaged_run.id, detach=True)
    assert fake_backend == [damaged_run, damaged_run]


@pytest.mark.parametrize("name", ["facts.json", "published.json"])
def test_try_and_publish_open_and_say_what_is_damaged(name: str, damaged_run: Run, views: Any) -> None:
    chat_view, publish_view = views
    (damaged_run.path / name).write_bytes(b"")
    chat_updates, publish_updates = (
        chat._show_run(chat_view, damaged_run.id, None),
        publish._show_run(publish_view, damaged_run),
    )
    assert chat_updates[chat_view.body]["visible"]
    assert publish_updates[publish_view.body]["visible"]
    assert (f"{name} is empty" in chat_updates[chat_view.side_notice]) == (name == "facts.json")
    assert f"{name} is empty" in publish_updates[publish_view.published]


EVENT_DAMAGES = [b"\n", b"{}\n", b"[1]\n", b"null\n", b"\xff\xfe\n", b"\0\0\0\n", b"[" * 100_000 + b"\n", b'{"kind": "step", "seq": 90}\n',
                 b'{"kind": "done", "seq": 91, "attempt": 1, "time": 0.0}\n', b'{"kind": "step", "seq": "x", "attempt": 1, "time": 0.0, "step": 3}\n',
                 b'{"kind": "step", "seq": 92, "attempt": 1, "time": 0.0, "step": 3, "of": 4}\n', b'{"kind": ']  # fmt: skip


@pytest.mark.parametrize("line", EVENT_DAMAGES, ids=lambda line: repr(line[:40]))
def test_a_damaged_event_line_is_left_out_by_every_reader(line: bytes, damaged_run: Run) -> None:
    before = RunSnapshot(damaged_run)
    before.refresh()
    with damaged_run.events.open("ab") as file:
        file.write(line)
    after = RunSnapshot(damaged_run)
    after.refresh()
    assert after.snapshot_json() == before.snapshot_json()
    assert run_list.list_summaries(local_workspace())[0]["state"] == "finished"
    run_commands.show_events(damaged_run.id)


# -- pipelines ------------------------------------------------------------------------------------------------------

PIPELINE_FILES = ("chain.json", "stages.json", "tries.json", "compared.json", "handle.json")
COMPARISON = {"rewards": ["kind"], "prompts": 100, "rows": [{"stage": "start", "scores": {"kind": 0.1}, "by": {}}]}


@pytest.fixture
def damaged_pipeline_run(home: Path) -> PipelineRun:
    """A pipeline run with all of its small files, beside another one; the test damages one of them."""
    for _ in range(2):
        created_run = pipeline_run.create_pipeline_run(local_workspace(), pipeline.load_pipeline("polite_pairs"))
        for name, record in (("handle.json", {"pid": 1, "started": 1.0, "boot": "x"}), ("compared.json", COMPARISON)):
            write_record(created_run.path / name, record)
        stage_name = created_run.pipeline.stages[0].name
        (created_run.path / "tries.json").write_text(json.dumps({stage_name: {"pairs": 1, "prompts": 2}}))
        (created_run.path / "stages.json").write_text(json.dumps({stage_name: "20261130-203431-first-tune-none"}))
    return created_run


@pytest.mark.parametrize("kind", DAMAGES)
@pytest.mark.parametrize("name", PIPELINE_FILES)
def test_a_damaged_file_of_a_pipeline_run_breaks_no_reader_and_hides_no_other(
    name: str,
    kind: str,
    damaged_pipeline_run: PipelineRun,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    started: list[str] = []
    monkeypatch.setattr(pipeline_run.processes, "start_detached", lambda module, folder, output: started.append(folder))
    monkeypatch.setattr(pipeline_view, "_START_TIMEOUT", 0)
    damage(damaged_pipeline_run.path / name, kind)
    run_id = damaged_pipeline_run.id
    assert len(pipeline_view.list_newest_pipeline_runs()["answer"]) == 2
    sentences = [sentence_of(lambda: pipeline_view.inspect_pipeline(run_id)), sentence_of(lambda: pipeline_view.resume_pipeline_run(run_id))]  # fmt: skip
    assert all(sentence.count("\n") == 0 and len(sentence) < 500 for sentence in sentences)
    assert bool(sentences[1]) != bool(started), "it is resumed, or a sentence says why not"
    if name not in ("chain.json", "stages.json"):
        assert sentences == ["", ""], "what can be made again does not stop a resume"
    pipeline_commands.list_pipeline_runs(as_json=True)
    assert len(json.loads(capsys.readouterr().out)) == 2
    sentence_of(lambda: pipeline_commands.show_pipeline_run(run_id, as_json=True))
    sentence_of(lambda: pipeline_commands.stop(run_id))
    assert pipeline_view.delete_pipeline_run(run_id) == {"answer": run_id}


def test_the_list_of_pipeline_runs_says_which_file_is_damaged(damaged_pipeline_run: PipelineRun) -> None:
    (damaged_pipeline_run.path / "stages.json").write_bytes(b"")
    lines = {line["id"]: line for line in pipeline_view.list_newest_pipeline_runs()["answer"]}
    assert lines[damaged_pipeline_run.id]["status_text"].startswith(
        f"The file {damaged_pipeline_run.id}/stages.json is empty."
    )
    assert lines[damaged_pipeline_run.id]["title"]


# -- checkpoints ----------------------------------------------------------------------------------------------------


def saved_checkpoints(run: Run) -> list[SavedEvent]:
    return of_type(events.read_events(run.events), SavedEvent)


def files_of(checkpoint: Path) -> list[Path]:
    return [path for path in sorted(checkpoint.rglob("*")) if path.is_file()]


@pytest.mark.slow
def test_a_run_with_a_damaged_checkpoint_goes_on_from_the_one_before_and_says_so(tmp_path: Path) -> None:
    """Each file of a real checkpoint is cut in turn; then the run is resumed with one of them cut."""
    source = write_rows(tmp_path / "rows.jsonl", conversation_rows(32))
    run = start_run(build_spec("sft", source, {"steps": 300, "batch_size": 2, "saves": 150, "max_length": 32}))
    wait_until(lambda: len(saved_checkpoints(run)) >= 2, 240, run)
    os.kill(run.handle["pid"], signal.SIGKILL)
    faults.wait_for_run(run)
    earlier, newest = checkpoints.complete_checkpoints(run.checkpoints)[-2:]
    assert checkpoints.fault_of(newest) is None
    names = {path.name for path in files_of(newest)}
    assert {"adapter_model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json"} <= names
    mark = newest / checkpoints.COMPLETE_MARK
    mark_text = mark.read_text()
    mark_without_stamps = json.dumps({name: field for name, field in json.loads(mark_text).items() if name != "files"})
    for path in files_of(newest):
        content = path.read_bytes()
        path.write_bytes(content[:-1])
        assert path.name in (checkpoints.fault_of(newest) or ""), path
        if path != mark:
            mark.write_text(mark_without_stamps)
            is_checked_by_format = path.suffix in (
                ".safetensors",
                ".pt",
                ".pth",
                ".bin",
                ".json",
            ) and not content.endswith(b"\n")
            path.write_bytes(content[: len(content) // 2] if is_checked_by_format else b"")
            assert checkpoints.fault_of(newest) == f"{path.name} is damaged"
            mark.write_text(mark_text)
        path.write_bytes(content)
    assert checkpoints.fault_of(newest) is None
    optimizer = newest / "optimizer.pt"
    optimizer.write_bytes(optimizer.read_bytes()[:-1000])
    store.write_launch(run, Launch(budget=Budget(minutes=0.0001)))
    run_events = faults.resume(run)
    (note,) = of_type(run_events, NoteEvent)[-1:]
    earlier_step, newest_step = map(checkpoints.checkpoint_step, (earlier, newest))
    assert note.text.startswith(f"The checkpoint of step {newest_step} is damaged (optimizer.pt has ")
    assert note.text.endswith(f"so this run goes on from the checkpoint of step {earlier_step}.")
    assert of_type(run_events, ResumedEvent)[-1].from_step == earlier_step
    assert (run_events[-1].why, checkpoints.fault_of(checkpoints.complete_checkpoints(run.checkpoints)[-1])) == ("budget", None)  # fmt: skip
