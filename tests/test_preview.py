"""Previews and run estimates by the warm worker: trained tokens, findings, batches, and a restart after a crash."""

from __future__ import annotations

import os
import signal
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from app.core.problems import Problem
from app.planning import preflight, presets
from app.setup.spec import parse_spec
from app.worker.client import WorkerClient
from tests.support import (
    addition_rows,
    build_spec,
    conversation_rows,
    prompt_completion_rows,
    text_rows,
    wait_until,
    write_rows,
)

pytestmark = pytest.mark.slow


def joined_text(row: dict[str, Any], trained: bool | None = None) -> str:
    return "".join(token["text"] for token in row["tokens"] if trained is None or token["trained"] == trained)


def test_only_assistant_messages_are_trained(worker: WorkerClient, tmp_path: Path) -> None:
    preview = worker.preview_rows(build_spec("sft", write_rows(tmp_path / "a.jsonl", conversation_rows(5))), 3)
    assert len(preview["rows"]) == 3
    for row, conversation in zip(preview["rows"], conversation_rows(3), strict=True):
        trained_text = joined_text(row, trained=True)
        assert all(
            message["content"] in trained_text for message in conversation["messages"] if message["role"] == "assistant"
        )
        assert not any(
            message["content"] in trained_text for message in conversation["messages"] if message["role"] == "user"
        )
        assert row["length"] == len(row["tokens"])
    [finding] = preview["findings"]
    assert (finding["severity"], finding["text"]) == ("good", "Every example shown is whole and has tokens to learn.")


def test_every_token_of_a_plain_text_but_the_first_is_trained(worker: WorkerClient, tmp_path: Path) -> None:
    spec = build_spec("sft", write_rows(tmp_path / "a.jsonl", text_rows(3)))
    for row in worker.preview_rows(spec, 3)["rows"]:
        assert [token["trained"] for token in row["tokens"]] == [False] + [True] * (row["length"] - 1)


def test_a_character_of_several_tokens_is_decoded_as_one_character(worker: WorkerClient, tmp_path: Path) -> None:
    source = write_rows(tmp_path / "a.jsonl", [{"text": "Grüße 🜁 an 東京."}])
    [row] = worker.preview_rows(build_spec("pretrain", source, {"packing": False}), 1)["rows"]
    assert "Grüße 🜁 an 東京." in joined_text(row)
    assert "\ufffd" not in joined_text(row)


def test_findings_count_left_out_and_truncated_rows(worker: WorkerClient, tmp_path: Path) -> None:
    rows = [{"prompt": "a", "completion": ""}, {"prompt": "b", "completion": "word " * 200}, *prompt_completion_rows(2)]
    findings = worker.preview_rows(build_spec("sft", write_rows(tmp_path / "a.jsonl", rows), {"max_length": 32}), 10)[
        "findings"
    ]
    assert [finding["severity"] for finding in findings] == ["careful", "careful"]
    assert findings[0]["text"].startswith("1 example is left out")
    assert findings[1]["text"] == "1 of 3 loses its end: longer than the maximum length of 32 tokens."


def test_a_reward_method_previews_its_prompts_and_has_no_batches(worker: WorkerClient, tmp_path: Path) -> None:
    spec = build_spec("grpo", write_rows(tmp_path / "a.jsonl", addition_rows(3)), rewards=[{"name": "exact_match"}])
    preview = worker.preview_rows(spec, 3)
    assert "What is 0 + 0?" in joined_text(preview["rows"][0])
    assert not any(token["trained"] for row in preview["rows"] for token in row["tokens"])
    with pytest.raises(Problem, match="writes its own answers"):
        worker.preview_batches(spec)


def test_a_run_estimate_counts_rows_and_steps(worker: WorkerClient, tmp_path: Path) -> None:
    """40 rows minus a held-out quarter are 30; in batches of 4 that is 8 steps per epoch, 16 in 2 epochs."""
    spec = build_spec(
        "sft",
        write_rows(tmp_path / "a.jsonl", prompt_completion_rows(40)),
        {"batch_size": 4, "epochs": 2},
        holdout={"share": 0.25},
    )
    estimate = worker.estimate_run(spec)
    assert (estimate["rows"], estimate["held_out"], estimate["steps"]) == (30, 10, 16)
    assert 0 < estimate["tokens"]["trained"] < estimate["tokens"]["all"]


def test_a_run_estimate_reports_example_lengths_and_truncation(worker: WorkerClient, tmp_path: Path) -> None:
    """Lengths are measured without truncation. In one row the completion begins only after the maximum length."""
    rows = [*prompt_completion_rows(6), {"prompt": "word " * 60, "completion": "late"}, {"prompt": "a", "completion": "word " * 60}, {"prompt": "b", "completion": ""}]  # fmt: skip
    source = write_rows(tmp_path / "a.jsonl", rows)
    lengths = [row["length"] for row in worker.preview_rows(build_spec("sft", source, {"max_length": 1000}))["rows"]]
    estimate = worker.estimate_run(
        build_spec("sft", source, {"max_length": 40, "batch_size": 4, "accumulation": 2, "epochs": 1})
    )
    assert (estimate["rows"], estimate["truncated"], estimate["empty"]) == (8, 2, 1)
    assert estimate["left_out"] == {"empty prompt or completion": 1}
    assert (estimate["steps"], estimate["effective_batch"]) == (1, 8), "seven rows have tokens to train on"
    length_histogram = estimate["lengths"]
    assert (length_histogram["limit"], length_histogram["longest"], length_histogram["median"]) == (
        40,
        max(lengths),
        sum(sorted(lengths)[3:5]) / 2,
    )
    expected_counts = [
        sum(low <= length < high for length in lengths) for low, high in pairwise(length_histogram["edges"])
    ]
    assert length_histogram["counts"] == expected_counts
    assert sum(expected_counts) == 8


@pytest.mark.full
def test_a_run_estimate_of_joined_texts_truncates_nothing(worker: WorkerClient, tmp_path: Path) -> None:
    source = write_rows(tmp_path / "a.jsonl", text_rows(30))
    estimate = worker.estimate_run(build_spec("pretrain", source, {"max_length": 16}))
    assert (estimate["lengths"]["limit"], estimate["truncated"], estimate["empty"]) == (None, 0, 0)
    assert estimate["lengths"]["longest"] > 16
    packed_estimate = worker.estimate_run(build_spec("sft", source, {"max_length": 16, "packing": True}))
    assert (packed_estimate["lengths"]["limit"], packed_estimate["truncated"]) == (16, 30)


def test_a_run_estimate_of_a_stream_leaves_unknown_counts_empty(worker: WorkerClient, tmp_path: Path) -> None:
    source = write_rows(tmp_path / "a.jsonl", text_rows(30))
    estimate = worker.estimate_run(build_spec("pretrain", source, {"streaming": True, "steps": 7, "max_length": 32}))
    assert estimate["steps"] == 7
    assert [estimate[name] for name in ("rows", "tokens", "lengths", "truncated", "empty")] == [None] * 5
    assert estimate["seconds"] > 0


@pytest.mark.parametrize("preset_name", ["first_tune", "first_reward", "read_a_diary"])
def test_more_steps_take_longer_and_a_new_title_reuses_the_estimate(preset_name: str, worker: WorkerClient) -> None:
    spec = presets.preset_spec(preset_name)
    first_estimate = worker.estimate_run(spec)
    start_time = time.monotonic()
    assert (
        worker.estimate_run(spec.model_copy(update={"title": "Another", "prompts": []}))["steps"]
        == first_estimate["steps"]
    )
    assert time.monotonic() - start_time < 0.5, "takes a few milliseconds on an idle machine"
    longer_estimate = worker.estimate_run(
        spec.model_copy(update={"knobs": spec.knobs | {"steps": 10 * first_estimate["steps"]}})
    )
    assert 2 * first_estimate["seconds"] < longer_estimate["seconds"] <= 10 * first_estimate["seconds"]


def test_a_run_too_expensive_to_time_has_no_duration_and_says_why(worker: WorkerClient, tmp_path: Path) -> None:
    source = write_rows(tmp_path / "a.jsonl", addition_rows(40))
    spec = build_spec("grpo", source, {"max_completion_length": 4000}, rewards=[{"name": "exact_match"}])
    estimate = worker.estimate_run(spec)
    assert (estimate["seconds"], estimate["steps"]) == (None, 5)
    assert "too long to try" in estimate["seconds_why"]


@pytest.mark.full
def test_a_rewritten_source_file_is_counted_again(worker: WorkerClient, tmp_path: Path) -> None:
    spec = build_spec("sft", write_rows(tmp_path / "a.jsonl", prompt_completion_rows(12)))
    assert worker.estimate_run(spec)["rows"] == 12
    write_rows(tmp_path / "a.jsonl", prompt_completion_rows(13))
    assert worker.estimate_run(spec)["rows"] == 13


def test_every_token_has_a_reason(worker: WorkerClient, tmp_path: Path) -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "user"}, {"role": "assistant", "content": "Grüße 🜁 yes."}]  # fmt: skip
    source = write_rows(tmp_path / "a.jsonl", [{"messages": messages}])
    assert segment_reasons(worker.preview_rows(build_spec("sft", source), 1)["rows"][0]) == [
        ("<|im_start|>", "a mark of the format: read only"),
        ("system\n", "the frame around a turn: read only"),
        ("Be brief.", "the system message: read only"),
        ("<|im_end|>", "a mark of the format: read only"),
        ("\n", "the frame around a turn: read only"),
        ("<|im_start|>", "a mark of the format: read only"),
        ("user\n", "the frame around a turn: read only"),
        ("user", "the question: read only"),
        ("<|im_end|>", "a mark of the format: read only"),
        ("\n", "the frame around a turn: read only"),
        ("<|im_start|>", "a mark of the format: read only"),
        ("assistant\n", "the frame around a turn: read only"),
        ("Grüße 🜁 yes.", "the answer: learned"),
        ("<|im_end|>", "the end token: learned, so that the model knows when to stop"),
        ("\n", "the frame around a turn: read only"),
    ]
    reasons_when_all_is_trained = segment_reasons(
        worker.preview_rows(build_spec("sft", source, {"learn_from": "everything"}), 1)["rows"][0]
    )
    assert reasons_when_all_is_trained[0] == (
        "<|im_start|>",
        "the first token: read only, as nothing stands before it to tell it from",
    )
    assert ("Be brief.", "the system message: learned") in reasons_when_all_is_trained


def segment_reasons(row: dict[str, Any]) -> list[tuple[str, str]]:
    """(text, reason) of each segment; the segments cover all tokens without a gap."""
    segments = row["segments"]
    assert [0, *(segment["end"] for segment in segments)] == [
        *(segment["start"] for segment in segments),
        len(row["tokens"]),
    ]
    return [
        ("".join(token["text"] for token in row["tokens"][segment["start"] : segment["end"]]), segment["why"])
        for segment in segments
    ]


def test_plain_texts_and_prompts_have_reasons_too(worker: WorkerClient, tmp_path: Path) -> None:
    unformatted_preview = worker.preview_rows(
        build_spec("sft", write_rows(tmp_path / "a.jsonl", prompt_completion_rows(1)), {"chat_format": False}), 1
    )
    assert [why for _, why in segment_reasons(unformatted_preview["rows"][0])][:2] == [
        "the prompt: read only",
        "the answer: learned",
    ]
    grpo_spec = build_spec(
        "grpo", write_rows(tmp_path / "b.jsonl", addition_rows(1)), rewards=[{"name": "exact_match"}]
    )
    assert ("What is 0 + 0?", "the question: read only") in segment_reasons(
        worker.preview_rows(grpo_spec, 1)["rows"][0]
    )
    pretrain_preview = worker.preview_rows(
        build_spec("pretrain", write_rows(tmp_path / "c.jsonl", text_rows(9)), {"max_length": 16}), 3
    )
    assert all(("the text: learned" in [why for _, why in segment_reasons(row)]) for row in pretrain_preview["rows"])


@pytest.mark.parametrize("packing", [False, True])
def test_truncated_tokens_are_shown_after_the_remaining_ones(
    packing: bool, worker: WorkerClient, tmp_path: Path
) -> None:
    source = write_rows(tmp_path / "a.jsonl", conversation_rows(20))
    full_rows = worker.preview_rows(build_spec("sft", source), 20)["rows"]
    truncated_rows = worker.preview_rows(build_spec("sft", source, {"max_length": 40, "packing": packing}), 20)["rows"]
    full_texts = sorted(joined_text(row) for row in full_rows)
    assert sorted(joined_text(row) for row in truncated_rows) == full_texts
    for row in truncated_rows:
        assert (row["length"], row["length"] + row["cut"]) == (min(40, len(row["tokens"])), len(row["tokens"]))
        assert [token.get("cut", False) for token in row["tokens"]] == [False] * row["length"] + [True] * row["cut"]
        assert not any(token["trained"] for token in row["tokens"][row["length"] :])
        assert row["segments"][-1]["why"].endswith("cut off") == (row["cut"] > 0)
    assert any(row["cut"] for row in truncated_rows)


def test_a_preview_reports_the_total_number_of_examples(worker: WorkerClient, tmp_path: Path) -> None:
    source = write_rows(tmp_path / "a.jsonl", prompt_completion_rows(70))
    assert worker.preview_rows(build_spec("sft", source), 2)["of"] == 70
    limited_spec = build_spec("sft", source, data=[{"source": source, "limit": 9}, {"source": "sample:reviews"}])
    assert worker.preview_rows(limited_spec, 2)["of"] == 9 + 400


@pytest.mark.full
def test_a_batch_preview_reports_padding_and_left_out_batches(worker: WorkerClient, tmp_path: Path) -> None:
    source = write_rows(tmp_path / "a.jsonl", prompt_completion_rows(30))
    preview = worker.preview_batches(build_spec("sft", source, {"batch_size": 4}), 2)
    assert preview["left_out"] == 0
    for batch in preview["batches"]:
        document_tokens = sum(document["length"] for row in batch["rows"] for document in row["documents"])
        longest_document = max(row["documents"][0]["length"] for row in batch["rows"])
        assert batch["tokens"] == 4 * longest_document
        assert batch["padding"] == pytest.approx(1 - document_tokens / batch["tokens"], abs=1e-4)
    long_source = write_rows(tmp_path / "b.jsonl", [{"text": "The sun was warm. " * 4000}] * 40)
    long_preview = worker.preview_batches(build_spec("sft", long_source, {"batch_size": 8, "max_length": 16_000}), 5)
    assert (len(long_preview["batches"]), long_preview["left_out"]) == (1, 4), (
        "a batch has 128,000 positions, and at most 200,000 are shown"
    )


@pytest.mark.full
def test_a_row_of_32000_tokens_is_previewed_quickly(worker: WorkerClient, tmp_path: Path) -> None:
    source = write_rows(tmp_path / "a.jsonl", [{"text": "The sun was warm and the baker sang of 東京. " * 2300}])
    spec = build_spec("sft", source, {"max_length": 32_000})
    assert worker.preview_rows(spec, 1)["rows"][0]["length"] == 32_000
    start_time = time.monotonic()
    worker.preview_rows(spec, 1)
    assert time.monotonic() - start_time < 10, "takes half a second on an idle machine"


def test_sources_of_different_layouts_are_refused(worker: WorkerClient, tmp_path: Path) -> None:
    sources = [
        {"source": write_rows(tmp_path / f"{name}.jsonl", rows)}
        for name, rows in (("chats", conversation_rows(4)), ("pairs", text_rows(4)))
    ]
    spec = preflight.check_spec(parse_spec({"method": "sft", "data": sources, "holdout": {}}))
    with pytest.raises(
        Problem, match="The sources do not fit together: they hold a column `messages` and a column `text`"
    ):
        worker.preview_rows(spec, 20)


def test_a_problem_raised_in_the_worker_reaches_the_client_unchanged(worker: WorkerClient, tmp_path: Path) -> None:
    spec = build_spec("sft", write_rows(tmp_path / "a.jsonl", prompt_completion_rows(3)))
    (tmp_path / "a.jsonl").unlink()
    with pytest.raises(Problem) as raised:
        worker.preview_rows(spec)
    assert (raised.value.reason, raised.value.advice) == ("data_not_found", "Check the path.")
    with pytest.raises(Problem, match="There is no run called “nope”"):
        worker.generate("nope", ["Hello"])
    assert worker.preview_rows(presets.preset_spec("first_tune"), 1)["rows"], (
        "the worker still answers after refusing a request"
    )


def test_the_worker_answers_consecutive_requests_correctly(worker: WorkerClient) -> None:
    assert [len(worker.preview_rows(presets.preset_spec("first_tune"), count)["rows"]) for count in (1, 5, 2)] == [
        1,
        5,
        2,
    ]


def test_a_killed_worker_is_reported_and_restarted() -> None:
    spec = presets.preset_spec("first_tune")
    with WorkerClient() as worker:
        assert worker.preview_rows(spec, 1)["rows"]
        first_pid = worker.process.pid
        os.kill(first_pid, signal.SIGKILL)
        wait_until(lambda: worker.process.poll() is not None, 10)
        assert worker.preview_rows(spec, 1)["rows"], "killed while idle: the next request starts another worker"
        assert worker.process.pid != first_pid
        os.kill(worker.process.pid, signal.SIGSTOP)
        with pytest.raises(Problem) as raised:
            preview_and_kill_worker(worker, spec)
        assert raised.value.reason == "killed"


def preview_and_kill_worker(worker: WorkerClient, spec: Any) -> None:
    """Sends a request that the worker receives and never answers, because it is killed 0.5 s later."""
    import threading

    threading.Timer(0.5, os.kill, (worker.process.pid, signal.SIGKILL)).start()
    worker.preview_rows(spec, 1)


def test_a_worker_can_be_closed_after_it_was_killed() -> None:
    worker = WorkerClient()
    worker.ensure_started()
    os.kill(worker.process.pid, signal.SIGKILL)
    worker.process.wait()
    worker.close()
    WorkerClient().close()
