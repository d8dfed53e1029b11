"""Worker: answers stream side by side, take their turn for the device, stop when nobody listens, and never hang."""

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
from app.core.problems import Problem
from app.core.workspace import local_workspace
from app.engine import worker as engine_worker
from app.engine.device_queue import queue_for_device
from app.planning import presets
from app.runs import events
from app.runs.store import Run
from app.worker import rpc
from app.worker.client import WorkerClient
from tests.support import chats, pairs, spec_of, sums, train, until, write_rows

pytestmark = pytest.mark.slow

ASKED = "Are you sure?"
FAST = {"steps": 30, "batch_size": 16, "learning_rate": 0.004, "eval_answers": 8, "eval_length": 16}


@dataclass
class Evening:
    """A home with two results, an adapter's and a whole model's, and a worker that lives in it."""

    home: Path
    adapter: Run
    whole: Run
    worker: WorkerClient


@pytest.fixture(scope="module")
def evening(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Evening]:
    home = tmp_path_factory.mktemp("evening")
    source = write_rows(home / "rows.jsonl", chats(96))
    with pytest.MonkeyPatch.context() as patch, WorkerClient() as worker:
        patch.setenv("TUNESMITH_HOME", str(home))
        patch.setenv("HF_HUB_OFFLINE", "1")
        more = {"holdout": {"share": 0.1}, "rewards": [{"name": "exact_match", "as": "correct"}]}
        adapter = train(spec_of("sft", source, FAST, **more))
        whole = train(spec_of("sft", source, FAST | {"learning_rate": 0.002}, adapter={"kind": "none"}, **more))
        worker.preview_rows(presets.preset_spec("first_tune"), 1)
        yield Evening(home, adapter, whole, worker)


@pytest.fixture
def at_home(evening: Evening, monkeypatch: pytest.MonkeyPatch) -> Evening:
    monkeypatch.setenv("TUNESMITH_HOME", str(evening.home))
    return evening


def heard(parts: list[dict[str, Any]], who: str) -> str:
    return "".join(part["text"] for part in parts if part.get("who") == who)


@pytest.mark.parametrize("kind", ["adapter", "whole"])
def test_base_and_tuned_are_written_side_by_side(evening: Evening, kind: str) -> None:
    run = getattr(evening, kind)
    *parts, last = evening.worker.stream_completions(run.id, ASKED, max_new_tokens=32)
    done = last["done"]
    assert {who: heard(parts, who) for who in done} == {who: said["text"] for who, said in done.items()}
    assert done["base"]["text"] != done["tuned"]["text"]
    order = [part["who"] for part in parts]
    assert order[:3] == ["base", "tuned", "base"], "neither waits for the other's end"
    said = evening.worker.generate(run.id, [ASKED], with_base_model=True, max_new_tokens=32)
    assert {who: [one["text"]] for who, one in done.items()} == said


def test_the_streamed_answer_is_that_of_whoever_loads_the_result(evening: Evening) -> None:
    import torch
    from peft import AutoPeftModelForCausalLM
    from transformers import AutoTokenizer

    folder = str(evening.adapter.adapter)
    model = AutoPeftModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    asked = [{"role": "user", "content": "What is 3 + 4?"}, {"role": "assistant", "content": "it is 7."}, {"role": "user", "content": ASKED}]  # fmt: skip
    tokens = tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    out = model.generate(**tokens, max_new_tokens=32, do_sample=False)[0, tokens["input_ids"].shape[1] :]
    *_, last = evening.worker.stream_completions(
        evening.adapter.id, ASKED, with_base_model=False, max_new_tokens=32, messages=asked[:2]
    )
    assert last["done"]["tuned"]["text"] == tokenizer.decode(out, skip_special_tokens=True)
    assert list(last["done"]) == ["tuned"]


def test_an_answer_says_whether_it_came_to_its_end(evening: Evening) -> None:
    def why(longest: int) -> tuple[str, int]:
        *_, last = evening.worker.stream_completions(
            evening.adapter.id, ASKED, with_base_model=False, max_new_tokens=longest
        )
        return last["done"]["tuned"]["why"], last["done"]["tuned"]["tokens"]

    assert why(2) == ("longest", 2)
    assert why(200)[0] == "finished"


def test_a_question_longer_than_the_model_reads_is_refused(evening: Evening) -> None:
    with pytest.raises(Problem, match=r"the model reads at most 2,048"):
        list(evening.worker.stream_completions(evening.adapter.id, "well, " * 3000))
    with pytest.raises(Problem, match="There is no run called"):
        list(evening.worker.stream_completions("nobody-knows", ASKED))


def test_a_conversation_that_was_left_stops_and_holds_nobody_up(evening: Evening) -> None:
    """So hot that it hardly ever ends by itself: 1,900 tokens on both sides take half a minute."""
    left = evening.worker.stream_completions(evening.adapter.id, ASKED, max_new_tokens=1900, temperature=50.0)
    assert next(left)["who"] == "base"
    left.close()
    began = time.monotonic()
    parts = list(evening.worker.stream_completions(evening.adapter.id, ASKED, max_new_tokens=8))
    assert time.monotonic() - began < 10
    assert parts[-1]["done"]


def test_a_look_comes_between_the_words_of_an_answer(evening: Evening) -> None:
    spoken = evening.worker.stream_completions(evening.adapter.id, ASKED, max_new_tokens=1900, temperature=50.0)
    assert next(spoken)["who"] == "base"
    began = time.monotonic()
    assert evening.worker.preview_rows(presets.preset_spec("first_tune"), 5)["rows"]
    assert time.monotonic() - began < 10
    assert "text" in next(spoken), "and the answer goes on"
    spoken.close()


def test_an_answer_waits_its_turn_and_says_so(at_home: Evening) -> None:
    with queue_for_device(local_workspace(), "cpu", "a-run", lambda ahead: None, lambda: None):
        parts = at_home.worker.stream_completions(at_home.adapter.id, ASKED, max_new_tokens=4)
        assert next(parts)["waiting"].endswith("Your turn comes right after it.")
        assert at_home.worker.preview_rows(presets.preset_spec("first_tune"), 1)["rows"], "a look does not wait"
        assert len(tickets(at_home.home)) == 1
    assert "done" in list(parts)[-1]


def test_who_leaves_while_waiting_leaves_no_ticket(at_home: Evening) -> None:
    with queue_for_device(local_workspace(), "cpu", "a-run", lambda ahead: None, lambda: None):
        parts = at_home.worker.stream_completions(at_home.adapter.id, ASKED, max_new_tokens=4)
        assert "waiting" in next(parts)
        parts.close()
        until(lambda: tickets(at_home.home) == [], 10)


def tickets(home: Path) -> list[str]:
    return [name for name in os.listdir(home / "locks" / "cpu") if not name.startswith(".")]


def test_the_scores_are_those_of_the_runs_own_first_and_last_test(evening: Evening) -> None:
    tests = [event.metrics for event in events.of_type(events.read_events(evening.adapter.events), events.EvalEvent)]
    found = evening.worker.evaluate(evening.adapter.id)
    assert (found["set"], found["from"], found["count"]) == ("held-out", "run", 8)
    for side, metrics in (("base", tests[0]), ("tuned", tests[-1])):
        assert found[side] == {"loss": metrics["eval/loss"], "correct": metrics["eval/correct"]}


@pytest.mark.parametrize("kind", ["adapter", "whole"])
def test_without_its_last_test_a_run_is_scored_now_and_comes_to_the_same(at_home: Evening, kind: str) -> None:
    run = getattr(at_home, kind)
    known = at_home.worker.evaluate(run.id)
    story = run.events.read_text()
    try:
        lines = story.splitlines(keepends=True)
        last = max(i for i, line in enumerate(lines) if json.loads(line)["kind"] == "eval")
        run.events.write_text("".join(lines[:last] + lines[last + 1 :]))
        found = at_home.worker.evaluate(run.id)
    finally:
        run.events.write_text(story)
    assert found["from"] == "now"
    for side in ("base", "tuned"):
        assert found[side]["loss"] == pytest.approx(known[side]["loss"], rel=1e-3)
    assert found["tuned"]["loss"] < found["base"]["loss"]


def trial(
    worker: WorkerClient, folder: Path, *rewards: dict[str, Any], rows: list[dict[str, Any]] | None = None
) -> Any:
    source = write_rows(folder / "sums.jsonl", rows or sums(6))
    knobs = {"max_completion_length": 8, "attempts": 8, "batch_size": 16}
    return worker.dry_run(spec_of("grpo", source, knobs, rewards=list(rewards)), prompts=3, attempts=4)


def test_a_trial_scores_real_attempts_with_the_runs_rewards_and_weights(worker: WorkerClient, tmp_path: Path) -> None:
    found = trial(worker, tmp_path, {"name": "length_band", "as": "short", "weight": 2.0, "params": {"least": 1, "most": 3}},
                  {"name": "pattern", "as": "digits", "weight": -0.5, "params": {"pattern": r"\d"}})  # fmt: skip
    assert [row["prompt"] for row in found["rows"]] == [row["prompt"] for row in sums(3)]
    for row in found["rows"]:
        totals = [one["total"] for one in row["completions"]]
        assert len(totals) == 4
        assert row["spread"] == pytest.approx(max(totals) - min(totals))
        for one in row["completions"]:
            size = len(one["text"].strip())
            short = 1.0 if 1 <= size <= 3 else max(0.0, 1 - (size - 3) / 1.5) if size else 0.0
            assert one["rewards"]["short"] == pytest.approx(short, abs=0.01), one["text"]
            assert one["rewards"]["digits"] == any(letter.isdigit() for letter in one["text"])
            assert one["total"] == pytest.approx(2 * one["rewards"]["short"] - 0.5 * one["rewards"]["digits"], abs=1e-5)
    scores = [one["rewards"]["short"] for row in found["rows"] for one in row["completions"]]
    named = found["by_reward"]["short"]
    assert (named["lowest"], named["highest"]) == (min(scores), max(scores))
    assert named["mean"] == pytest.approx(sum(scores) / 12)


@pytest.mark.parametrize(("reward", "answer", "said"), [
    ({"name": "exact_match"}, "a camel", "All 12 attempts earn 0, so there is nothing to learn from."),
    ({"name": "length_band", "params": {"least": 0, "most": 9000}}, "5", "Every attempt at a prompt earns the same, so there is nothing to learn from."),
    ({"name": "number"}, "unknown", "The reward “number” could not score a single answer."),
])  # fmt: skip
def test_a_trial_says_when_there_is_nothing_to_learn_from(
    reward: dict[str, Any], answer: str, said: str, worker: WorkerClient, tmp_path: Path
) -> None:
    [finding] = trial(worker, tmp_path, reward, rows=[row | {"answer": answer} for row in sums(6)])["findings"]
    assert finding["severity"] == "wrong"
    assert finding["text"].startswith(said)


def test_a_trial_that_can_teach_says_so(worker: WorkerClient) -> None:
    found = worker.dry_run(presets.preset_spec("first_reward"))
    assert [finding["severity"] for finding in found["findings"]] == ["good"]
    assert any(row["spread"] for row in found["rows"])


def test_only_methods_that_earn_rewards_have_a_trial(worker: WorkerClient) -> None:
    with pytest.raises(Problem, match="learns from examples"):
        worker.dry_run(presets.preset_spec("first_tune"))


def test_a_question_that_takes_too_long_is_ended_and_the_next_is_answered(tmp_path: Path) -> None:
    spec = spec_of("sft", write_rows(tmp_path / "a.jsonl", pairs(4000)))
    with WorkerClient({"plan": 0.1}) as worker:
        assert worker.preview_rows(spec, 1)["rows"]
        first, beside = worker.process.pid, []
        thread = threading.Thread(target=lambda: beside.append(asked(worker, spec)))
        threading.Timer(0.05, thread.start).start()
        with pytest.raises(Problem) as found:
            worker.estimate_run(spec)
        assert found.value.reason == "too_slow"
        until(lambda: beside, 60)
        assert beside[0] in ("restarted", "answered"), "whoever stood behind it hears of it, or came to the new one"
        assert worker.preview_rows(spec, 1)["rows"]
        assert worker.process.pid != first


def asked(worker: WorkerClient, spec: Any) -> str:
    try:
        return "answered" if worker.preview_rows(spec, 1)["rows"] else "nothing"
    except Problem as problem:
        return problem.reason


def test_a_worker_whose_parent_is_gone_ends_at_once() -> None:
    worker = WorkerClient()
    assert worker.preview_rows(presets.preset_spec("first_tune"), 1)["rows"]
    process = worker.process
    worker.close()
    assert process.returncode == 0, "it heard its input end; it was not killed"


@dataclass(frozen=True)
class Numbered(contracts.Question[int, Never]):
    title = "Number"
    timeout = 1.0
    schedule = "at_once"

    number: int

    def answer(self) -> int:
        return self.number


def test_questions_are_computed_in_the_order_in_which_they_came(monkeypatch: pytest.MonkeyPatch) -> None:
    def read_question(name: str, arguments: dict[str, Any]) -> Numbered:
        time.sleep(0.2 if arguments["number"] == 0 else 0.0)  # the first takes longest to read
        return Numbered(**arguments)

    def lines() -> Iterator[str]:
        yield from (json.dumps({"id": number, "what": "numbered", "number": number}) for number in range(5))
        threading.Event().wait()  # the end of the lines would end this process

    monkeypatch.setattr(engine_worker, "read_question", read_question)
    answers = io.StringIO()
    loop = engine_worker.RequestLoop(answers)
    threading.Thread(target=loop.listen, args=(lines(),), daemon=True).start()
    threading.Thread(target=loop.compute_forever, daemon=True).start()
    until(lambda: answers.getvalue().count('"result"') == 5, 10)
    messages = [json.loads(line) for line in answers.getvalue().splitlines()]
    assert [message["id"] for message in messages if "began" in message] == [0, 1, 2, 3, 4]
    assert {message["id"]: message["result"] for message in messages if "result" in message} == {n: n for n in range(5)}


def test_a_worker_that_does_not_start_is_given_up_after_the_time_that_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpc, "_START_TIMEOUT", 1.0)
    client = rpc.RpcClient([sys.executable, "-c", "import time; time.sleep(60)"])
    with pytest.raises(Problem, match="Rows: no answer came within 1 seconds, so it was stopped"):
        list(client.stream({"what": "rows"}, "Rows", 300.0))
    client.close()
