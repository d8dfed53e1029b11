"""Worker: completions are streamed side by side, wait in the device queue, stop when their stream is closed, and never hang."""

from __future__ import annotations

import io
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Never

import pytest

from app import contracts
from app.core.paths import ROOT
from app.core.problems import Problem
from app.core.workspace import local_workspace
from app.engine import worker as engine_worker
from app.engine.device_queue import queue_for_device
from app.planning import presets
from app.runs import events
from app.runs.store import Run
from app.worker import rpc
from app.worker.client import WorkerClient
from tests.support import (
    addition_rows,
    build_spec,
    conversation_rows,
    prompt_completion_rows,
    train,
    wait_until,
    write_rows,
)

pytestmark = pytest.mark.slow

PROMPT = "Are you sure?"
FAST_KNOBS = {"steps": 30, "batch_size": 16, "learning_rate": 0.004, "eval_answers": 8, "eval_length": 16}


@dataclass
class TrainedRuns:
    """A home with two finished runs, one of an adapter and one of full fine-tuning, and a worker in that home."""

    home: Path
    adapter_run: Run
    full_run: Run
    worker: WorkerClient


@pytest.fixture(scope="module")
def trained_runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrainedRuns]:
    home = tmp_path_factory.mktemp("evening")
    source = write_rows(home / "rows.jsonl", conversation_rows(96))
    with pytest.MonkeyPatch.context() as monkeypatch, WorkerClient() as worker:
        monkeypatch.setenv("TUNESMITH_HOME", str(home))
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        spec_fields = {"holdout": {"share": 0.1}, "rewards": [{"name": "exact_match", "as": "correct"}]}
        adapter_run = train(build_spec("sft", source, FAST_KNOBS, **spec_fields))
        full_run = train(
            build_spec("sft", source, FAST_KNOBS | {"learning_rate": 0.002}, adapter={"kind": "none"}, **spec_fields)
        )
        worker.preview_rows(presets.preset_spec("first_tune"), 1)
        yield TrainedRuns(home, adapter_run, full_run, worker)


@pytest.fixture
def home_with_runs(trained_runs: TrainedRuns, monkeypatch: pytest.MonkeyPatch) -> TrainedRuns:
    monkeypatch.setenv("TUNESMITH_HOME", str(trained_runs.home))
    return trained_runs


def streamed_text(messages: list[dict[str, Any]], side: str) -> str:
    return "".join(message["text"] for message in messages if message.get("who") == side)


@pytest.mark.parametrize("run_attribute", ["adapter_run", "full_run"])
def test_base_and_tuned_completions_are_streamed_alternately(trained_runs: TrainedRuns, run_attribute: str) -> None:
    run = getattr(trained_runs, run_attribute)
    *messages, last_message = trained_runs.worker.stream_completions(run.id, PROMPT, max_new_tokens=32)
    answers = last_message["done"]
    assert {side: streamed_text(messages, side) for side in answers} == {
        side: answer["text"] for side, answer in answers.items()
    }
    assert answers["base"]["text"] != answers["tuned"]["text"]
    side_order = [message["who"] for message in messages]
    assert side_order[:3] == ["base", "tuned", "base"], "neither side waits for the other to finish"
    generated = trained_runs.worker.generate(run.id, [PROMPT], with_base_model=True, max_new_tokens=32)
    assert {side: [answer["text"]] for side, answer in answers.items()} == generated


@pytest.mark.full
def test_the_streamed_completion_equals_that_of_the_result_loaded_with_peft(trained_runs: TrainedRuns) -> None:
    import torch
    from peft import AutoPeftModelForCausalLM
    from transformers import AutoTokenizer

    folder = str(trained_runs.adapter_run.adapter)
    model = AutoPeftModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    messages = [{"role": "user", "content": "What is 3 + 4?"}, {"role": "assistant", "content": "it is 7."}, {"role": "user", "content": PROMPT}]  # fmt: skip
    model_inputs = tokenizer.apply_chat_template(
        messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    completion_ids = model.generate(**model_inputs, max_new_tokens=32, do_sample=False)[
        0, model_inputs["input_ids"].shape[1] :
    ]
    *_, last_message = trained_runs.worker.stream_completions(
        trained_runs.adapter_run.id, PROMPT, with_base_model=False, max_new_tokens=32, messages=messages[:2]
    )
    assert last_message["done"]["tuned"]["text"] == tokenizer.decode(completion_ids, skip_special_tokens=True)
    assert list(last_message["done"]) == ["tuned"]


def test_a_completion_reports_why_it_stopped_and_its_token_count(trained_runs: TrainedRuns) -> None:
    def stop_reason_and_length(max_new_tokens: int) -> tuple[str, int]:
        *_, last_message = trained_runs.worker.stream_completions(
            trained_runs.adapter_run.id, PROMPT, with_base_model=False, max_new_tokens=max_new_tokens
        )
        return last_message["done"]["tuned"]["why"], last_message["done"]["tuned"]["tokens"]

    assert stop_reason_and_length(2) == ("longest", 2)
    assert stop_reason_and_length(200)[0] == "finished"


def test_a_prompt_longer_than_the_context_and_an_unknown_run_are_refused(trained_runs: TrainedRuns) -> None:
    with pytest.raises(Problem, match=r"the model reads at most 2,048"):
        list(trained_runs.worker.stream_completions(trained_runs.adapter_run.id, "well, " * 3000))
    with pytest.raises(Problem, match="There is no run called"):
        list(trained_runs.worker.stream_completions("nobody-knows", PROMPT))


def test_a_closed_stream_stops_generating_and_does_not_delay_the_next(trained_runs: TrainedRuns) -> None:
    """At this temperature the end token is very unlikely; 1,900 tokens on both sides would take half a minute."""
    abandoned_stream = trained_runs.worker.stream_completions(
        trained_runs.adapter_run.id, PROMPT, max_new_tokens=1900, temperature=50.0
    )
    assert next(abandoned_stream)["who"] == "base"
    abandoned_stream.close()
    start_time = time.monotonic()
    messages = list(trained_runs.worker.stream_completions(trained_runs.adapter_run.id, PROMPT, max_new_tokens=8))
    assert time.monotonic() - start_time < 10
    assert messages[-1]["done"]


def test_a_preview_is_answered_while_a_completion_is_streamed(trained_runs: TrainedRuns) -> None:
    answer_stream = trained_runs.worker.stream_completions(
        trained_runs.adapter_run.id, PROMPT, max_new_tokens=1900, temperature=50.0
    )
    assert next(answer_stream)["who"] == "base"
    start_time = time.monotonic()
    assert trained_runs.worker.preview_rows(presets.preset_spec("first_tune"), 5)["rows"]
    assert time.monotonic() - start_time < 10
    assert "text" in next(answer_stream), "the stream of the completion continues"
    answer_stream.close()


def test_a_completion_waits_in_the_device_queue_and_reports_it(home_with_runs: TrainedRuns) -> None:
    with queue_for_device(local_workspace(), "cpu", "a-run", lambda ahead: None, lambda: None):
        answer_stream = home_with_runs.worker.stream_completions(
            home_with_runs.adapter_run.id, PROMPT, max_new_tokens=4
        )
        assert next(answer_stream)["waiting"].endswith("Your turn comes right after it.")
        assert home_with_runs.worker.preview_rows(presets.preset_spec("first_tune"), 1)["rows"], (
            "a preview does not wait in the queue"
        )
        assert len(queue_tickets(home_with_runs.home)) == 1
    assert "done" in list(answer_stream)[-1]


def test_closing_a_waiting_stream_removes_its_queue_ticket(home_with_runs: TrainedRuns) -> None:
    with queue_for_device(local_workspace(), "cpu", "a-run", lambda ahead: None, lambda: None):
        answer_stream = home_with_runs.worker.stream_completions(
            home_with_runs.adapter_run.id, PROMPT, max_new_tokens=4
        )
        assert "waiting" in next(answer_stream)
        answer_stream.close()
        wait_until(lambda: queue_tickets(home_with_runs.home) == [], 10)


def queue_tickets(home: Path) -> list[str]:
    return [name for name in os.listdir(home / "locks" / "cpu") if not name.startswith(".")]


def test_the_scores_are_those_of_the_runs_first_and_last_eval(trained_runs: TrainedRuns) -> None:
    eval_metrics = [
        event.metrics for event in events.of_type(events.read_events(trained_runs.adapter_run.events), events.EvalEvent)
    ]
    scores = trained_runs.worker.evaluate(trained_runs.adapter_run.id)
    assert (scores["set"], scores["from"], scores["count"]) == ("held-out", "run", 8)
    for side, metrics in (("base", eval_metrics[0]), ("tuned", eval_metrics[-1])):
        assert scores[side] == {"loss": metrics["eval/loss"], "correct": metrics["eval/correct"]}


@pytest.mark.full
@pytest.mark.parametrize("run_attribute", ["adapter_run", "full_run"])
def test_a_run_without_its_last_eval_is_evaluated_now_with_the_same_loss(
    home_with_runs: TrainedRuns, run_attribute: str
) -> None:
    run = getattr(home_with_runs, run_attribute)
    recorded_scores = home_with_runs.worker.evaluate(run.id)
    events_text = run.events.read_text()
    try:
        lines = events_text.splitlines(keepends=True)
        last_eval_index = max(i for i, line in enumerate(lines) if json.loads(line)["kind"] == "eval")
        run.events.write_text("".join(lines[:last_eval_index] + lines[last_eval_index + 1 :]))
        scores = home_with_runs.worker.evaluate(run.id)
    finally:
        run.events.write_text(events_text)
    assert scores["from"] == "now"
    for side in ("base", "tuned"):
        assert scores[side]["loss"] == pytest.approx(recorded_scores[side]["loss"], rel=1e-3)
    assert scores["tuned"]["loss"] < scores["base"]["loss"]


def dry_run(
    worker: WorkerClient, folder: Path, *rewards: dict[str, Any], rows: list[dict[str, Any]] | None = None
) -> Any:
    source = write_rows(folder / "sums.jsonl", rows or addition_rows(6))
    knobs = {"max_completion_length": 8, "attempts": 8, "batch_size": 16}
    return worker.dry_run(build_spec("grpo", source, knobs, rewards=list(rewards)), prompts=3, attempts=4)


def test_a_dry_run_scores_generated_completions_with_the_rewards_and_weights_of_the_run(
    worker: WorkerClient, tmp_path: Path
) -> None:
    report = dry_run(worker, tmp_path, {"name": "length_band", "as": "short", "weight": 2.0, "params": {"least": 1, "most": 3}},
                  {"name": "pattern", "as": "digits", "weight": -0.5, "params": {"pattern": r"\d"}})  # fmt: skip
    assert [row["prompt"] for row in report["rows"]] == [row["prompt"] for row in addition_rows(3)]
    for row in report["rows"]:
        totals = [completion["total"] for completion in row["completions"]]
        assert len(totals) == 4
        assert row["spread"] == pytest.approx(max(totals) - min(totals))
        for completion in row["completions"]:
            text_length = len(completion["text"].strip())
            expected_score = (
                1.0 if 1 <= text_length <= 3 else max(0.0, 1 - (text_length - 3) / 1.5) if text_length else 0.0
            )
            assert completion["rewards"]["short"] == pytest.approx(expected_score, abs=0.01), completion["text"]
            assert completion["rewards"]["digits"] == any(character.isdigit() for character in completion["text"])
            assert completion["total"] == pytest.approx(
                2 * completion["rewards"]["short"] - 0.5 * completion["rewards"]["digits"], abs=1e-5
            )
    scores = [completion["rewards"]["short"] for row in report["rows"] for completion in row["completions"]]
    statistics = report["by_reward"]["short"]
    assert (statistics["lowest"], statistics["highest"]) == (min(scores), max(scores))
    assert statistics["mean"] == pytest.approx(sum(scores) / 12)


@pytest.mark.parametrize(("reward", "answer", "message"), [
    ({"name": "exact_match"}, "a camel", "All 12 attempts earn 0, so there is nothing to learn from."),
    ({"name": "length_band", "params": {"least": 0, "most": 9000}}, "5", "Every attempt at a prompt earns the same, so there is nothing to learn from."),
    ({"name": "number"}, "unknown", "The reward “number” could not score a single answer."),
])  # fmt: skip
def test_a_dry_run_reports_rewards_without_a_training_signal(
    reward: dict[str, Any], answer: str, message: str, worker: WorkerClient, tmp_path: Path
) -> None:
    [finding] = dry_run(worker, tmp_path, reward, rows=[row | {"answer": answer} for row in addition_rows(6)])[
        "findings"
    ]
    assert finding["severity"] == "wrong"
    assert finding["text"].startswith(message)


def test_a_dry_run_with_a_training_signal_reports_it_as_good(worker: WorkerClient) -> None:
    report = worker.dry_run(presets.preset_spec("first_reward"))
    assert [finding["severity"] for finding in report["findings"]] == ["good"]
    assert any(row["spread"] for row in report["rows"])


def test_a_dry_run_is_refused_for_methods_without_rewards(worker: WorkerClient) -> None:
    with pytest.raises(Problem, match="learns from examples"):
        worker.dry_run(presets.preset_spec("first_tune"))


def test_a_request_over_its_time_limit_is_stopped_and_the_next_is_answered(tmp_path: Path) -> None:
    spec = build_spec("sft", write_rows(tmp_path / "a.jsonl", prompt_completion_rows(4000)))
    with WorkerClient({"plan": 0.1}) as worker:
        assert worker.preview_rows(spec, 1)["rows"]
        first_pid, concurrent_outcomes = worker.process.pid, []
        thread = threading.Thread(target=lambda: concurrent_outcomes.append(preview_outcome(worker, spec)))
        threading.Timer(0.05, thread.start).start()
        with pytest.raises(Problem) as raised:
            worker.estimate_run(spec)
        assert raised.value.reason == "too_slow"
        wait_until(lambda: concurrent_outcomes, 60)
        assert concurrent_outcomes[0] in ("restarted", "answered"), (
            "a request queued behind it is told of the restart, or is answered by the new process"
        )
        assert worker.preview_rows(spec, 1)["rows"]
        assert worker.process.pid != first_pid


ENDLESS_LOOP = (  # on rows, not on the short texts that a chat format is tried with
    "{% if 'Hello' not in messages | string %}{% for a in range(90000) %}{% for b in range(90000) %}"
    "{% endfor %}{% endfor %}{% endif %}"
)


def test_what_nobody_waits_for_is_interrupted_and_the_process_goes_on(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "a.jsonl", prompt_completion_rows(20))
    template = ENDLESS_LOOP + (ROOT / "presets/pocket/chat_template.jinja").read_text()
    endless = build_spec("sft", source, model={"id": "pocket", "template": template})
    with WorkerClient() as worker:
        assert worker.preview_rows(build_spec("sft", source), 1)["rows"]
        process, began = worker.process, time.monotonic()
        for ask in (lambda client: client.preview_rows(endless, 1), lambda client: client.estimate_run(endless)):
            browser_left = threading.Event()
            threading.Timer(1, browser_left.set).start()
            with pytest.raises(Problem) as raised:
                ask(worker.while_wanted(browser_left.is_set))
            assert raised.value.reason == "abandoned"
        assert worker.preview_rows(build_spec("sft", source, seed=2), 1)["rows"], "the next question is answered"
        assert worker.process is process, "by the same process"
        assert time.monotonic() - began < 100


def preview_outcome(worker: WorkerClient, spec: Any) -> str:
    try:
        return "answered" if worker.preview_rows(spec, 1)["rows"] else "nothing"
    except Problem as problem:
        return problem.reason


def test_a_worker_ends_when_its_input_is_closed() -> None:
    worker = WorkerClient()
    assert worker.preview_rows(presets.preset_spec("first_tune"), 1)["rows"]
    process = worker.process
    worker.close()
    assert process.returncode == 0, "it ended by itself when its input was closed; it was not killed"


@dataclass(frozen=True)
class NumberQuestion(contracts.Question[int, Never]):
    title = "Number"
    timeout = 1.0
    schedule = "at_once"

    number: int

    def answer(self) -> int:
        return self.number


def test_questions_are_computed_in_their_order_of_arrival(monkeypatch: pytest.MonkeyPatch) -> None:
    def read_question(name: str, arguments: dict[str, Any]) -> NumberQuestion:
        time.sleep(0.2 if arguments["number"] == 0 else 0.0)  # the first request takes longest to parse
        return NumberQuestion(**arguments)

    def request_lines() -> Iterator[str]:
        yield from (json.dumps({"id": number, "what": "numbered", "number": number}) for number in range(5))
        threading.Event().wait()  # the end of the iterator would end this process

    monkeypatch.setattr(engine_worker, "read_question", read_question)
    output = io.StringIO()
    request_loop = engine_worker.RequestLoop(output)
    threading.Thread(target=request_loop.listen, args=(request_lines(),), daemon=True).start()
    threading.Thread(target=request_loop.compute_forever, daemon=True).start()
    wait_until(lambda: output.getvalue().count('"result"') == 5, 10)
    messages = [json.loads(line) for line in output.getvalue().splitlines()]
    assert [message["id"] for message in messages if "began" in message] == [0, 1, 2, 3, 4]
    assert {message["id"]: message["result"] for message in messages if "result" in message} == {
        number: number for number in range(5)
    }


def test_a_request_that_is_cancelled_while_another_is_computed_never_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    began, may_end = threading.Event(), threading.Event()
    answered: list[int] = []

    @dataclass(frozen=True)
    class SlowQuestion(NumberQuestion):
        def answer(self) -> int:
            answered.append(self.number)
            began.set()
            may_end.wait()
            return self.number

    def request_lines() -> Iterator[str]:
        yield from (json.dumps({"id": number, "what": "slow", "number": number}) for number in (1, 2, 3))
        began.wait()
        yield json.dumps({"cancel": 2})
        may_end.set()
        threading.Event().wait()

    monkeypatch.setattr(engine_worker, "read_question", lambda name, arguments: SlowQuestion(**arguments))
    output = io.StringIO()
    request_loop = engine_worker.RequestLoop(output)
    threading.Thread(target=request_loop.listen, args=(request_lines(),), daemon=True).start()
    threading.Thread(target=request_loop.compute_forever, daemon=True).start()
    wait_until(lambda: '"id": 3, "result"' in output.getvalue(), 10)
    assert answered == [1, 3]


@pytest.mark.full
def test_a_worker_that_does_not_start_is_stopped_after_the_start_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpc, "_START_TIMEOUT", 1.0)
    client = rpc.RpcClient([sys.executable, "-c", "import time; time.sleep(60)"])
    with pytest.raises(Problem, match="Rows: the process that answers did not start within 1 seconds"):
        list(client.stream({"what": "rows"}, "Rows", 300.0))
    client.close()
