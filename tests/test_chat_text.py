"""Chats that are text already: recognised by the marks of their format, learned as they are, or turned back into turns."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from app.data.conversations.chat_text import parse_chat_text
from app.data.findings.source_report import report_rows
from app.data.row_types import ROW_TYPES
from app.engine.preview import row_preview
from app.setup.set_value import set_value
from app.setup.spec import Source, parse_spec
from tests.support import build_spec, write_rows

SYSTEM = {"role": "system", "content": "Be kind."}
DIALOGUE = [{"role": "user", "content": "Are you open?"}, {"role": "assistant", "content": "Until six."}]

TEXTS: dict[str, tuple[str, list[dict[str, str]], str]] = {  # {format: (text, its turns, what is learned)}
    "chatml": ("<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nAre you open?<|im_end|>\n<|im_start|>assistant\nUntil six.<|im_end|>\n", [SYSTEM, *DIALOGUE], "Until six.<|im_end|>"),
    "llama3": ("<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nAre you open?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nUntil six.<|eot_id|>", DIALOGUE, "Until six.<|eot_id|>"),
    "llama4": ("<|begin_of_text|><|header_start|>user<|header_end|>\n\nAre you open?<|eot|><|header_start|>assistant<|header_end|>\n\nUntil six.<|eot|>", DIALOGUE, "Until six.<|eot|>"),
    "gemma": ("<bos><start_of_turn>user\nAre you open?<end_of_turn>\n<start_of_turn>model\nUntil six.<end_of_turn>\n", DIALOGUE, "Until six.<end_of_turn>"),
    "zephyr": ("<|system|>\nBe kind.</s>\n<|user|>\nAre you open?</s>\n<|assistant|>\nUntil six.</s>", [SYSTEM, *DIALOGUE], "Until six.</s>"),
    "phi": ("<|user|>\nAre you open?<|end|>\n<|assistant|>\nUntil six.<|end|>", DIALOGUE, "Until six.<|end|>"),
    "mistral": ("<s>[INST] Are you open? [/INST] Until six.</s>", DIALOGUE, " Until six.</s>"),
    "llama2": ("<s>[INST] <<SYS>>\nBe kind.\n<</SYS>>\n\nAre you open? [/INST] Until six. </s>", [SYSTEM, *DIALOGUE], " Until six. </s>"),
    "deepseek": ("<｜begin▁of▁sentence｜><｜User｜>Are you open?<｜Assistant｜>Until six.<｜end▁of▁sentence｜>", DIALOGUE, "Until six.<｜end▁of▁sentence｜>"),
    "alpaca": ("Below is an instruction that describes a task.\n\n### Instruction:\nAre you open?\n\n### Response:\nUntil six.", DIALOGUE, "Until six."),
    "vicuna": ("Be kind. USER: Are you open? ASSISTANT: Until six.</s>", [SYSTEM, *DIALOGUE], " Until six.</s>"),
}  # fmt: skip


@pytest.mark.parametrize("name", TEXTS)
def test_a_chat_is_split_at_the_marks_of_its_format(name: str) -> None:
    text, messages, learned = TEXTS[name]
    chat = parse_chat_text(text)
    assert chat is not None
    assert chat.messages() == messages
    segments = chat.segments()
    assert "".join(segment["text"] for segment in segments) == text
    assert [segment["text"] for segment in segments if segment["train"]] == [learned]


def test_later_turns_and_an_open_answer() -> None:
    text = "<s>[INST] One? [/INST] First. </s><s>[INST] Two? [/INST]"
    chat = parse_chat_text(text)
    assert chat is not None
    assert [message["content"] for message in chat.messages()] == ["One?", "First.", "Two?"]
    alpaca = parse_chat_text("### Instruction:\nAdd.\n\n### Input:\n2 and 3\n\n### Response:\n5")
    assert alpaca is not None
    assert alpaca.messages()[0]["content"] == "Add.\n\n2 and 3"


@pytest.mark.parametrize("text", [
    "The tag <|im_start|> begins a turn in ChatML.", "### Instruction: read this heading\nand nothing else",
    "Dear USER: your ticket is closed.", "Press [INST] to install.", "A diary of a plain day.", "",
    "<|im_start|>user\nHi<|im_end|> and text behind the mark\n<|im_start|>assistant\nHello<|im_end|>",
])  # fmt: skip
def test_a_text_that_only_names_a_mark_is_no_chat(text: str) -> None:
    assert parse_chat_text(text) is None


LONG_TEXTS = {
    "white space before a turn": f"USER: Open?{' ' * 200_000}x ASSISTANT: Until six.",
    "white space in a turn": f"<|im_start|>user\nOpen?{chr(10) * 200_000}y\n<|im_start|>assistant\nUntil six.",
    "a beginning mark": f"[INST] Open? [/INST] Until six.{' ' * 200_000}<s>[INST] Sure? [/INST] Yes.",
    "inputs": "### Instruction:\nAdd.\n" + "### Input:\n2\n" * 20_000 + "### Response:\n4",
}


@pytest.mark.parametrize("kind", LONG_TEXTS)
def test_a_long_text_takes_time_in_proportion_to_its_length(kind: str) -> None:
    started = time.process_time()
    chat = parse_chat_text(LONG_TEXTS[kind])
    assert chat is not None
    assert chat.messages()[1]["content"].startswith(("Until six.", "4"))
    assert time.process_time() - started < 3


def test_a_beginning_mark_before_the_next_question_is_no_part_of_the_answer() -> None:
    chat = parse_chat_text(LONG_TEXTS["a beginning mark"])
    assert chat is not None
    assert [message["content"] for message in chat.messages()] == ["Open?", "Until six.", "Sure?", "Yes."]


@pytest.mark.parametrize("mark", ["<|eom_id|>", "<turn|>", "<|end_of_text|>", "<｜end▁of▁sentence｜>", "<|im_end|>"])
def test_white_space_behind_a_mark_that_ends_a_text_is_left_out(mark: str) -> None:
    row = ROW_TYPES["text"]({"text": f"Until six.{mark} \n"}, True)
    assert row == {"text": f"Until six.{mark}"}


@pytest.mark.parametrize("start", [None, 7])
def test_rows_are_numbered_as_in_the_file(start: int | None) -> None:
    texts = [{"text": "A plain day."}, {"text": TEXTS["chatml"][0]}, {"text": "Another day."}]
    [finding] = report_rows(texts, Source(source="path:x", start=start, layout="text")).findings
    assert (finding["id"], finding["rows"]) == ("chat_text", [2 + (start or 0)])


@pytest.mark.parametrize("name", TEXTS)
def test_the_report_says_so_and_offers_turns(name: str) -> None:
    text, messages, _ = TEXTS[name]
    report = report_rows([{"text": text}] * 3)
    assert (report.layout, report.kind) == ("chat_text_segments", "segments")
    [finding] = report.findings
    assert (finding["id"], finding["severity"], finding["count"]) == ("chat_text", "careful", 3)
    assert finding["remedy"] is not None
    source: Any = {"data": [Source(source="path:x").model_dump()]}
    for path, setting in finding["remedy"]["changes"].items():
        source = set_value(source, path, setting)
    turned = report_rows([{"text": text}] * 3, Source.model_validate(source["data"][0]))
    assert (turned.layout, turned.findings) == ("chat_text", [])
    assert [speaker["name"] for speaker in turned.speakers] == [] or messages


def trained_texts(spec: Any) -> list[str]:
    return [
        "".join(token["text"] for token in row["tokens"] if token["trained"])
        for row in row_preview.preview_rows(spec, 3)["rows"]
    ]


def whole_texts(spec: Any) -> list[str]:
    return ["".join(token["text"] for token in row["tokens"]) for row in row_preview.preview_rows(spec, 3)["rows"]]


@pytest.mark.slow
def test_as_it_is_only_answers_are_learned_and_no_mark_stands_twice(tmp_path: Path) -> None:
    chatml, llama3 = TEXTS["chatml"][0], TEXTS["llama3"][0]
    own = build_spec("sft", write_rows(tmp_path / "own.jsonl", [{"text": chatml}]))
    assert trained_texts(own) == ["Until six.<|im_end|>"]
    assert whole_texts(own) == [chatml]
    foreign = build_spec("sft", write_rows(tmp_path / "foreign.jsonl", [{"text": llama3}]))
    assert trained_texts(foreign) == ["Until six.<|eot_id|><|im_end|>"], (
        "the end token that this model knows follows once"
    )
    read = build_spec("pretrain", write_rows(tmp_path / "read.jsonl", [{"text": chatml}]), {"packing": False})
    assert whole_texts(read) == [chatml.rstrip()]


def test_turned_back_the_models_own_format_writes_it(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "a.jsonl", [{"text": TEXTS["llama3"][0]}])
    spec = build_spec("sft", source)
    turned = parse_spec(set_value(spec.to_dict(), "data.0.layout", "chat_text"))
    assert whole_texts(turned) == [
        "<|im_start|>user\nAre you open?<|im_end|>\n<|im_start|>assistant\nUntil six.<|im_end|>\n"
    ]


@pytest.mark.slow
def test_marks_in_questions_and_answers_are_not_wrapped_again(tmp_path: Path) -> None:
    prompt = "<|im_start|>user\nOpen?<|im_end|>\n<|im_start|>assistant\n"
    source = write_rows(tmp_path / "a.jsonl", [{"prompt": prompt, "completion": "Until six.<|im_end|>"}])
    spec = build_spec("sft", source)
    assert whole_texts(spec) == [f"{prompt}Until six.<|im_end|>"]
    assert trained_texts(spec) == ["Until six.<|im_end|>"]
    [finding] = report_rows([{"prompt": prompt, "completion": "Until six.<|im_end|>"}]).findings
    changed = spec.to_dict()
    for path, setting in finding["remedy"]["changes"].items():
        changed = set_value(changed, path, setting)
    assert trained_texts(parse_spec(changed)) == ["Until six.<|im_end|>"]
