"""Preview: the warm worker shows what will be learned, says what is wrong, and is started again when it died."""

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
from tests.support import chats, pairs, spec_of, sums, texts, until, write_rows

pytestmark = pytest.mark.slow


def text(row: dict[str, Any], trained: bool | None = None) -> str:
    return "".join(token["text"] for token in row["tokens"] if trained is None or token["trained"] == trained)


def test_only_the_answers_of_a_conversation_are_learned(worker: WorkerClient, tmp_path: Path) -> None:
    answer = worker.preview_rows(spec_of("sft", write_rows(tmp_path / "a.jsonl", chats(5))), 3)
    assert len(answer["rows"]) == 3
    for row, chat in zip(answer["rows"], chats(3), strict=True):
        learned = text(row, trained=True)
        assert all(turn["content"] in learned for turn in chat["messages"] if turn["role"] == "assistant")
        assert not any(turn["content"] in learned for turn in chat["messages"] if turn["role"] == "user")
        assert row["length"] == len(row["tokens"])
    [told] = answer["findings"]
    assert (told["severity"], told["text"]) == ("good", "Every example shown is whole and has tokens to learn.")


def test_everything_is_learned_but_the_first_token_when_asked(worker: WorkerClient, tmp_path: Path) -> None:
    spec = spec_of("sft", write_rows(tmp_path / "a.jsonl", texts(3)))
    for row in worker.preview_rows(spec, 3)["rows"]:
        assert [token["trained"] for token in row["tokens"]] == [False] + [True] * (row["length"] - 1)


def test_a_character_of_several_tokens_is_shown_whole(worker: WorkerClient, tmp_path: Path) -> None:
    source = write_rows(tmp_path / "a.jsonl", [{"text": "Grüße 🜁 an 東京."}])
    [row] = worker.preview_rows(spec_of("pretrain", source, {"packing": False}), 1)["rows"]
    assert "Grüße 🜁 an 東京." in text(row)
    assert "\ufffd" not in text(row)


def test_rows_left_out_and_cut_off_are_found(worker: WorkerClient, tmp_path: Path) -> None:
    rows = [{"prompt": "a", "completion": ""}, {"prompt": "b", "completion": "word " * 200}, *pairs(2)]
    findings = worker.preview_rows(spec_of("sft", write_rows(tmp_path / "a.jsonl", rows), {"max_length": 32}), 10)[
        "findings"
    ]
    assert [finding["severity"] for finding in findings] == ["careful", "careful"]
    assert findings[0]["text"].startswith("1 example is left out")
    assert findings[1]["text"] == "1 of 3 loses its end: longer than the maximum length of 32 tokens."


def test_a_method_that_earns_rewards_shows_what_is_asked(worker: WorkerClient, tmp_path: Path) -> None:
    spec = spec_of("grpo", write_rows(tmp_path / "a.jsonl", sums(3)), rewards=[{"name": "exact_match"}])
    answer = worker.preview_rows(spec, 3)
    assert "What is 0 + 0?" in text(answer["rows"][0])
    assert not any(token["trained"] for row in answer["rows"] for token in row["tokens"])
    with pytest.raises(Problem, match="writes its own answers"):
        worker.preview_batches(spec)


def test_a_plan_counts_rows_and_steps(worker: WorkerClient, tmp_path: Path) -> None:
    """40 rows, a quarter kept aside: 30, in batches of 4 for 2 passes: 8 steps each, 16 in all."""
    spec = spec_of(
        "sft", write_rows(tmp_path / "a.jsonl", pairs(40)), {"batch_size": 4, "epochs": 2}, holdout={"share": 0.25}
    )
    plan = worker.estimate_run(spec)
    assert (plan["rows"], plan["held_out"], plan["steps"]) == (30, 10, 16)
    assert 0 < plan["tokens"]["trained"] < plan["tokens"]["all"]


def test_a_plan_says_how_long_examples_are_and_what_the_cut_costs(worker: WorkerClient, tmp_path: Path) -> None:
    """The lengths are those of the rows shown without a limit; the second row's answer begins beyond this one."""
    rows = [*pairs(6), {"prompt": "word " * 60, "completion": "late"}, {"prompt": "a", "completion": "word " * 60}, {"prompt": "b", "completion": ""}]  # fmt: skip
    source = write_rows(tmp_path / "a.jsonl", rows)
    lengths = [row["length"] for row in worker.preview_rows(spec_of("sft", source, {"max_length": 1000}))["rows"]]
    plan = worker.estimate_run(
        spec_of("sft", source, {"max_length": 40, "batch_size": 4, "accumulation": 2, "epochs": 1})
    )
    assert (plan["rows"], plan["truncated"], plan["empty"]) == (8, 2, 1)
    assert plan["left_out"] == {"empty prompt or completion": 1}
    assert (plan["steps"], plan["effective_batch"]) == (1, 8), "seven rows are left to learn from"
    told = plan["lengths"]
    assert (told["limit"], told["longest"], told["median"]) == (40, max(lengths), sum(sorted(lengths)[3:5]) / 2)
    inside = [sum(low <= length < high for length in lengths) for low, high in pairwise(told["edges"])]
    assert told["counts"] == inside
    assert sum(inside) == 8


def test_a_plan_of_joined_texts_cuts_nothing_off(worker: WorkerClient, tmp_path: Path) -> None:
    source = write_rows(tmp_path / "a.jsonl", texts(30))
    plan = worker.estimate_run(spec_of("pretrain", source, {"max_length": 16}))
    assert (plan["lengths"]["limit"], plan["truncated"], plan["empty"]) == (None, 0, 0)
    assert plan["lengths"]["longest"] > 16
    packed = worker.estimate_run(spec_of("sft", source, {"max_length": 16, "packing": True}))
    assert (packed["lengths"]["limit"], packed["truncated"]) == (16, 30)


def test_a_plan_of_a_stream_says_what_it_cannot_know(worker: WorkerClient, tmp_path: Path) -> None:
    source = write_rows(tmp_path / "a.jsonl", texts(30))
    plan = worker.estimate_run(spec_of("pretrain", source, {"streaming": True, "steps": 7, "max_length": 32}))
    assert plan["steps"] == 7
    assert [plan[name] for name in ("rows", "tokens", "lengths", "truncated", "empty")] == [None] * 5
    assert plan["seconds"] > 0


@pytest.mark.parametrize("name", ["first_tune", "first_reward", "read_a_diary"])
def test_more_steps_take_longer_and_another_title_is_planned_at_once(name: str, worker: WorkerClient) -> None:
    spec = presets.preset_spec(name)
    first = worker.estimate_run(spec)
    began = time.monotonic()
    assert worker.estimate_run(spec.model_copy(update={"title": "Another", "prompts": []}))["steps"] == first["steps"]
    assert time.monotonic() - began < 0.5, "a few milliseconds when nothing else runs"
    longer = worker.estimate_run(spec.model_copy(update={"knobs": spec.knobs | {"steps": 10 * first["steps"]}}))
    assert 2 * first["seconds"] < longer["seconds"] <= 10 * first["seconds"]


def test_what_is_too_heavy_to_try_has_no_time_and_says_why(worker: WorkerClient, tmp_path: Path) -> None:
    source = write_rows(tmp_path / "a.jsonl", sums(40))
    spec = spec_of("grpo", source, {"max_completion_length": 4000}, rewards=[{"name": "exact_match"}])
    plan = worker.estimate_run(spec)
    assert (plan["seconds"], plan["steps"]) == (None, 5)
    assert "too long to try" in plan["seconds_why"]


def test_another_file_under_the_same_name_is_counted_anew(worker: WorkerClient, tmp_path: Path) -> None:
    spec = spec_of("sft", write_rows(tmp_path / "a.jsonl", pairs(12)))
    assert worker.estimate_run(spec)["rows"] == 12
    write_rows(tmp_path / "a.jsonl", pairs(13))
    assert worker.estimate_run(spec)["rows"] == 13


def test_every_token_has_its_reason(worker: WorkerClient, tmp_path: Path) -> None:
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "user"}, {"role": "assistant", "content": "Grüße 🜁 yes."}]  # fmt: skip
    source = write_rows(tmp_path / "a.jsonl", [{"messages": turns}])
    assert reasons(worker.preview_rows(spec_of("sft", source), 1)["rows"][0]) == [
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
    everything = reasons(worker.preview_rows(spec_of("sft", source, {"learn_from": "everything"}), 1)["rows"][0])
    assert everything[0] == ("<|im_start|>", "the first token: read only, as nothing stands before it to tell it from")
    assert ("Be brief.", "the system message: learned") in everything


def reasons(row: dict[str, Any]) -> list[tuple[str, str]]:
    """(text, why) of each segment; they cover the tokens without a gap."""
    found = row["segments"]
    assert [0, *(one["end"] for one in found)] == [*(one["start"] for one in found), len(row["tokens"])]
    return [("".join(token["text"] for token in row["tokens"][one["start"] : one["end"]]), one["why"]) for one in found]


def test_plain_text_and_what_is_asked_have_their_reasons_too(worker: WorkerClient, tmp_path: Path) -> None:
    raw = worker.preview_rows(spec_of("sft", write_rows(tmp_path / "a.jsonl", pairs(1)), {"chat_format": False}), 1)
    assert [why for _, why in reasons(raw["rows"][0])][:2] == ["the prompt: read only", "the answer: learned"]
    asked = spec_of("grpo", write_rows(tmp_path / "b.jsonl", sums(1)), rewards=[{"name": "exact_match"}])
    assert ("What is 0 + 0?", "the question: read only") in reasons(worker.preview_rows(asked, 1)["rows"][0])
    text = worker.preview_rows(spec_of("pretrain", write_rows(tmp_path / "c.jsonl", texts(9)), {"max_length": 16}), 3)
    assert all(("the text: learned" in [why for _, why in reasons(row)]) for row in text["rows"])


@pytest.mark.parametrize("packing", [False, True])
def test_what_is_cut_off_is_shown_behind_the_cut(packing: bool, worker: WorkerClient, tmp_path: Path) -> None:
    source = write_rows(tmp_path / "a.jsonl", chats(20))
    whole = worker.preview_rows(spec_of("sft", source), 20)["rows"]
    cut = worker.preview_rows(spec_of("sft", source, {"max_length": 40, "packing": packing}), 20)["rows"]
    texts_of = sorted(text(row) for row in whole)
    assert sorted(text(row) for row in cut) == texts_of
    for row in cut:
        assert (row["length"], row["length"] + row["cut"]) == (min(40, len(row["tokens"])), len(row["tokens"]))
        assert [token.get("cut", False) for token in row["tokens"]] == [False] * row["length"] + [True] * row["cut"]
        assert not any(token["trained"] for token in row["tokens"][row["length"] :])
        assert row["segments"][-1]["why"].endswith("cut off") == (row["cut"] > 0)
    assert any(row["cut"] for row in cut)


def test_the_answer_says_how_many_examples_there_are(worker: WorkerClient, tmp_path: Path) -> None:
    source = write_rows(tmp_path / "a.jsonl", pairs(70))
    assert worker.preview_rows(spec_of("sft", source), 2)["of"] == 70
    limited = spec_of("sft", source, data=[{"source": source, "limit": 9}, {"source": "sample:reviews"}])
    assert worker.preview_rows(limited, 2)["of"] == 9 + 400


def test_batches_say_how_much_is_padding_and_what_is_left_out(worker: WorkerClient, tmp_path: Path) -> None:
    source = write_rows(tmp_path / "a.jsonl", pairs(30))
    shown = worker.preview_batches(spec_of("sft", source, {"batch_size": 4}), 2)
    assert shown["left_out"] == 0
    for batch in shown["batches"]:
        read = sum(part["length"] for row in batch["rows"] for part in row["documents"])
        widest = max(row["documents"][0]["length"] for row in batch["rows"])
        assert batch["tokens"] == 4 * widest
        assert batch["padding"] == pytest.approx(1 - read / batch["tokens"], abs=1e-4)
    long = write_rows(tmp_path / "b.jsonl", [{"text": "The sun was warm. " * 4000}] * 40)
    wide = worker.preview_batches(spec_of("sft", long, {"batch_size": 8, "max_length": 16_000}), 5)
    assert (len(wide["batches"]), wide["left_out"]) == (1, 4), "128,000 positions each, and 200,000 are shown"


def test_a_row_of_32000_tokens_is_looked_at_within_a_second_or_so(worker: WorkerClient, tmp_path: Path) -> None:
    source = write_rows(tmp_path / "a.jsonl", [{"text": "The sun was warm and the baker sang of 東京. " * 2300}])
    spec = spec_of("sft", source, {"max_length": 32_000})
    assert worker.preview_rows(spec, 1)["rows"][0]["length"] == 32_000
    began = time.monotonic()
    worker.preview_rows(spec, 1)
    assert time.monotonic() - began < 10, "half a second when nothing else runs"


def test_sources_of_different_layouts_do_not_mix(worker: WorkerClient, tmp_path: Path) -> None:
    sources = [
        {"source": write_rows(tmp_path / f"{name}.jsonl", rows)}
        for name, rows in (("chats", chats(4)), ("pairs", texts(4)))
    ]
    spec = preflight.check_spec(parse_spec({"method": "sft", "data": sources, "holdout": {}}))
    with pytest.raises(
        Problem, match="The sources do not fit together: they hold a column `messages` and a column `text`"
    ):
        worker.preview_rows(spec, 20)


def test_what_the_worker_refuses_arrives_as_it_was_said(worker: WorkerClient, tmp_path: Path) -> None:
    spec = spec_of("sft", write_rows(tmp_path / "a.jsonl", pairs(3)))
    (tmp_path / "a.jsonl").unlink()
    with pytest.raises(Problem) as found:
        worker.preview_rows(spec)
    assert (found.value.reason, found.value.advice) == ("data_not_found", "Check the path.")
    with pytest.raises(Problem, match="There is no run called “nope”"):
        worker.generate("nope", ["Hello"])
    assert worker.preview_rows(presets.preset_spec("first_tune"), 1)["rows"], "and the worker lives on"


def test_the_worker_answers_in_the_home_of_its_start_whatever_libraries_print(worker: WorkerClient) -> None:
    assert [len(worker.preview_rows(presets.preset_spec("first_tune"), count)["rows"]) for count in (1, 5, 2)] == [
        1,
        5,
        2,
    ]


def test_a_worker_that_dies_is_named_and_started_again() -> None:
    spec = presets.preset_spec("first_tune")
    with WorkerClient() as worker:
        assert worker.preview_rows(spec, 1)["rows"]
        first = worker.process.pid
        os.kill(first, signal.SIGKILL)
        until(lambda: worker.process.poll() is not None, 10)
        assert worker.preview_rows(spec, 1)["rows"], "dead while idle: the next question starts another"
        assert worker.process.pid != first
        os.kill(worker.process.pid, signal.SIGSTOP)
        with pytest.raises(Problem) as found:
            ask_and_kill(worker, spec)
        assert found.value.reason == "killed"


def ask_and_kill(worker: WorkerClient, spec: Any) -> None:
    """A question that the worker has received and will never answer."""
    import threading

    threading.Timer(0.5, os.kill, (worker.process.pid, signal.SIGKILL)).start()
    worker.preview_rows(spec, 1)


def test_a_worker_can_be_closed_after_it_died() -> None:
    worker = WorkerClient()
    worker.ensure_started()
    os.kill(worker.process.pid, signal.SIGKILL)
    worker.process.wait()
    worker.close()
    WorkerClient().close()
