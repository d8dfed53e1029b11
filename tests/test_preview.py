"""Preview: the warm worker shows what will be learned, says what is wrong, and is started again when it died."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from app import presets
from app.preview import Worker
from app.problems import Problem
from tests.support import chats, pairs, spec_of, sums, texts, until, write_rows

pytestmark = pytest.mark.slow


def text(row: dict[str, Any], trained: bool | None = None) -> str:
    return "".join(token["text"] for token in row["tokens"] if trained is None or token["trained"] == trained)


def test_only_the_answers_of_a_conversation_are_learned(worker: Worker, tmp_path: Path) -> None:
    answer = worker.rows(spec_of("sft", write_rows(tmp_path / "a.jsonl", chats(5))), 3)
    assert len(answer["rows"]) == 3
    for row, chat in zip(answer["rows"], chats(3), strict=True):
        learned = text(row, trained=True)
        assert all(turn["content"] in learned for turn in chat["messages"] if turn["role"] == "assistant")
        assert not any(turn["content"] in learned for turn in chat["messages"] if turn["role"] == "user")
        assert row["length"] == len(row["tokens"])
    assert answer["findings"] == [{"severity": "good", "text": "Every example shown is whole and has tokens to learn."}]


def test_everything_is_learned_but_the_first_token_when_asked(worker: Worker, tmp_path: Path) -> None:
    spec = spec_of("sft", write_rows(tmp_path / "a.jsonl", texts(3)))
    for row in worker.rows(spec, 3)["rows"]:
        assert [token["trained"] for token in row["tokens"]] == [False] + [True] * (row["length"] - 1)


def test_a_character_of_several_tokens_is_shown_whole(worker: Worker, tmp_path: Path) -> None:
    source = write_rows(tmp_path / "a.jsonl", [{"text": "Grüße 🜁 an 東京."}])
    [row] = worker.rows(spec_of("pretrain", source, {"packing": False}), 1)["rows"]
    assert "Grüße 🜁 an 東京." in text(row)
    assert "\ufffd" not in text(row)


def test_rows_left_out_and_cut_off_are_found(worker: Worker, tmp_path: Path) -> None:
    rows = [{"prompt": "a", "completion": ""}, {"prompt": "b", "completion": "word " * 200}, *pairs(2)]
    findings = worker.rows(spec_of("sft", write_rows(tmp_path / "a.jsonl", rows), {"max_length": 32}), 10)["findings"]
    assert [finding["severity"] for finding in findings] == ["careful", "careful"]
    assert findings[0]["text"].startswith("1 example is left out")
    assert findings[1]["text"] == "1 of 3 loses its end: longer than the maximum length of 32 tokens."


def test_a_method_that_earns_rewards_shows_what_is_asked(worker: Worker, tmp_path: Path) -> None:
    spec = spec_of("grpo", write_rows(tmp_path / "a.jsonl", sums(3)), rewards=[{"name": "exact_match"}])
    answer = worker.rows(spec, 3)
    assert "What is 0 + 0?" in text(answer["rows"][0])
    assert not any(token["trained"] for row in answer["rows"] for token in row["tokens"])
    with pytest.raises(Problem, match="writes its own answers"):
        worker.batches(spec)


def test_a_plan_counts_rows_and_steps(worker: Worker, tmp_path: Path) -> None:
    """40 rows, a quarter kept aside: 30, in batches of 4 for 2 passes: 8 steps each, 16 in all."""
    spec = spec_of(
        "sft", write_rows(tmp_path / "a.jsonl", pairs(40)), {"batch_size": 4, "epochs": 2}, holdout={"share": 0.25}
    )
    plan = worker.plan(spec)
    assert (plan["rows"], plan["held_out"], plan["steps"]) == (30, 10, 16)
    assert 0 < plan["tokens"]["trained"] < plan["tokens"]["all"]


def test_what_the_worker_refuses_arrives_as_it_was_said(worker: Worker, tmp_path: Path) -> None:
    spec = spec_of("sft", write_rows(tmp_path / "a.jsonl", pairs(3)))
    (tmp_path / "a.jsonl").unlink()
    with pytest.raises(Problem) as found:
        worker.rows(spec)
    assert (found.value.reason, found.value.advice) == ("data_not_found", "Check the path.")
    with pytest.raises(Problem, match="There is no run called “nope”"):
        worker.chat("nope", ["Hello"])
    assert worker.rows(presets.spec("first_tune"), 1)["rows"], "and the worker lives on"


def test_the_worker_answers_in_the_home_of_its_start_whatever_libraries_print(worker: Worker) -> None:
    assert [len(worker.rows(presets.spec("first_tune"), count)["rows"]) for count in (1, 5, 2)] == [1, 5, 2]


def test_a_worker_that_dies_is_named_and_started_again() -> None:
    spec = presets.spec("first_tune")
    with Worker() as worker:
        assert worker.rows(spec, 1)["rows"]
        first = worker.process.pid
        os.kill(first, signal.SIGKILL)
        until(lambda: worker.process.poll() is not None, 10)
        assert worker.rows(spec, 1)["rows"], "dead while idle: the next question starts another"
        assert worker.process.pid != first
        os.kill(worker.process.pid, signal.SIGSTOP)
        with pytest.raises(Problem) as found:
            ask_and_kill(worker, spec)
        assert found.value.reason == "killed"


def ask_and_kill(worker: Worker, spec: Any) -> None:
    """A question that the worker has received and will never answer."""
    import threading

    threading.Timer(0.5, os.kill, (worker.process.pid, signal.SIGKILL)).start()
    worker.rows(spec, 1)


def test_a_worker_can_be_closed_after_it_died() -> None:
    worker = Worker()
    worker.warm()
    os.kill(worker.process.pid, signal.SIGKILL)
    worker.process.wait()
    worker.close()
    Worker().close()
