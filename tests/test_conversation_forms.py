"""Conversation forms: turns under other names, pairs, texts in turn, Gemini's parts and exports of chat assistants become messages; plain text stays text."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from app.data import rows
from app.data.conversations.messages import unwrap_messages
from app.data.findings.source_preview import preview_source
from app.data.findings.source_report import report_source
from app.data.reading import files
from app.setup.spec import Source
from tests.support import write_rows

SPOKEN = [("user", "Is it deep?"), ("assistant", "Very."), ("user", "How deep?"), ("assistant", "Nine metres.")]
TEXTS = [text for _, text in SPOKEN]
MESSAGES = [{"role": role, "content": text} for role, text in SPOKEN]
PAIRS = [TEXTS[:2], TEXTS[2:]]
SFT_ROW_TYPES = ("messages", "prompt_completion", "text", "segments", "tokens")


def turns(speaker_key: str, text_key: str, user: str = "user", assistant: str = "assistant") -> list[dict[str, str]]:
    names = {"user": user, "assistant": assistant}
    return [{speaker_key: names[role], text_key: text} for role, text in SPOKEN]


def pairs(question_key: str, answer_key: str) -> list[dict[str, str]]:
    return [{question_key: question, answer_key: answer} for question, answer in PAIRS]


GEMINI_TURNS = [{"role": {"assistant": "model"}.get(role, role), "parts": [{"text": text}]} for role, text in SPOKEN]
CLAUDE_TURNS = [
    {"uuid": "u", "sender": {"user": "human"}.get(role, role), "text": text, "content": [{"type": "text", "text": text}], "created_at": "2026-01-01", "attachments": []}
    for role, text in SPOKEN
]  # fmt: skip

# {form: (row, part of the sentence about it)}
FORMS: dict[str, tuple[dict[str, Any], str]] = {
    "texts": ({"conversations": TEXTS, "source": "x"}, "lists of text in turn: the first is the user's"),
    "texts under data": ({"id": "7", "data": TEXTS}, "lists of text in turn"),
    "texts under dialog": ({"dialog": TEXTS, "emotion": [0, 0, 1, 1]}, "lists of text in turn"),
    "pairs of texts": ({"conversation": PAIRS}, "lists of text in turn"),
    "speaker and text": ({"dialogue": turns("speaker", "text")}, "`speaker`, and what is said under `text`"),
    "author and message": ({"chat": turns("author", "message", "customer", "agent")}, "`author`"),
    "name and text": ({"turns": turns("name", "text", "User", "Bot")}, "`name`"),
    "sender and body": ({"messages": turns("sender", "body", "Human", "AI")}, "`body`"),
    "role and text": ({"messages": turns("role", "text", "user", "model")}, "`role`, and what is said under `text`"),
    "role and message": ({"messages": turns("role", "message")}, "`message`"),
    "speaker and utterance": ({"conversation": turns("speaker", "utterance")}, "`utterance`"),
    "input and output": ({"conversation": pairs("input", "output")}, "`input` and `output`"),
    "question and answer": ({"conversation": pairs("question", "answer")}, "`question` and `answer`"),
    "User and Bot": ({"conversation": pairs("User", "Bot")}, "`User` and `Bot`"),
    "one key for each turn": ({"dialogue": [{role: text} for role, text in SPOKEN]}, "`user` and `assistant`"),
    "parts": ({"contents": GEMINI_TURNS}, "Gemini's form"),
    "parts as texts": ({"messages": [turn | {"parts": [turn["parts"][0]["text"]]} for turn in GEMINI_TURNS]}, "Gemini's form"),
    "Claude's export": ({"uuid": "c", "name": "x", "chat_messages": CLAUDE_TURNS}, "`sender`"),
    "Claude's export without texts": ({"chat_messages": [turn | {"text": ""} for turn in CLAUDE_TURNS]}, "`sender`"),
}  # fmt: skip


def normalize(source: Source) -> list[dict[str, Any]]:
    normalizer = rows.RowNormalizer(SFT_ROW_TYPES, "Imitate examples", is_chat=True)
    normalized_rows = list(normalizer(files.read_source_rows(source), source))
    assert not normalizer.drop_counts
    return normalized_rows


@pytest.mark.parametrize("form", FORMS)
def test_a_form_of_conversations_becomes_messages_and_is_named(form: str, tmp_path: Path) -> None:
    row, sentence = FORMS[form]
    source = Source(source=write_rows(tmp_path / "a.jsonl", [row, row]))
    assert [normalized["messages"] for normalized in normalize(source)] == [MESSAGES, MESSAGES]
    report = report_source(source)
    assert (report.kind, report.certainty) == ("messages", "sure")
    assert [finding["severity"] for finding in report.findings] == ["good"]
    assert sentence in report.findings[0]["text"]
    preview = preview_source({"source": {"source": source.source}, "method": "sft"})
    [column] = preview["first_example"]["columns"]
    assert [(message["role_or_mask"], message["text"]) for message in column["messages"]] == SPOKEN


@pytest.mark.parametrize("form", ["texts", "pairs of texts", "speaker and text", "question and answer"])
def test_a_table_may_hold_the_form_as_json_in_a_column_named_so(form: str, tmp_path: Path) -> None:
    [cell] = [cell for cell in FORMS[form][0].values() if isinstance(cell, list)]
    text = io.StringIO()
    csv.writer(text).writerows([["dialog"], [json.dumps(cell)]])
    (tmp_path / "a.csv").write_text(text.getvalue())
    assert [row["messages"] for row in normalize(Source(source=f"path:{tmp_path / 'a.csv'}"))] == [MESSAGES]


def test_speakers_with_names_of_their_own_are_asked_about(tmp_path: Path) -> None:
    row = {"conversation": turns("name", "text", "Nora", "Omar")}
    source = Source(source=write_rows(tmp_path / "a.jsonl", [row]))
    findings = {finding["text"].partition(",")[0]: finding["remedy"] for finding in report_source(source).findings}
    assert "Row 1 has a turn by “Nora”" in findings
    roles = {"Nora": "user", "Omar": "assistant"}
    assert normalize(source.model_copy(update={"roles": roles})) == [{"messages": MESSAGES}]


PLAIN_ROWS = {
    "a list of tags beside an answer": {"question": "Which?", "answer": "This.", "data": ["red", "blue"]},
    "an answer that is a quiz in JSON": {"question": "A quiz?", "answer": json.dumps(pairs("question", "answer"))},
    "an answer that is a dialogue in JSON": {"question": "A dialogue?", "answer": json.dumps(turns("speaker", "text"))},
    "an answer that is a list in JSON": {"question": "Two fruits?", "answer": '["plum", "fig"]'},
}


@pytest.mark.parametrize("case", PLAIN_ROWS)
def test_plain_text_does_not_become_turns(case: str, tmp_path: Path) -> None:
    row = PLAIN_ROWS[case]
    [normalized] = normalize(Source(source=write_rows(tmp_path / "a.jsonl", [row])))
    assert normalized["completion"] == [{"role": "assistant", "content": row["answer"]}]


def test_files_with_names_are_no_speakers() -> None:
    named_files = [{"name": "a.py", "content": "x = 1"}, {"name": "b.py", "content": "y = 2"}]
    assert unwrap_messages(named_files) == named_files


def test_turns_in_two_forms_are_one_conversation() -> None:
    mixed_turns = [{"from": "human", "value": "Is it deep?"}, {"from": "gpt", "text": "Very."}]
    strange_turns = [{"role": ["user"], "from": "human", "content": "a"}, *mixed_turns]
    normalizer = rows.RowNormalizer(SFT_ROW_TYPES, "Imitate examples", is_chat=True)
    normalized = list(normalizer([{"messages": mixed_turns}, {"messages": strange_turns}]))
    assert normalized == [{"messages": MESSAGES[:2]}]


def test_geminis_system_instruction_calls_and_thoughts_are_kept(tmp_path: Path) -> None:
    call = {"functionCall": {"name": "depth", "args": {"of": "lake"}}}
    contents = [
        {"role": "user", "parts": [{"text": "How "}, {"text": "deep?"}]},
        {"role": "model", "parts": [{"text": "I ask.", "thought": True}, call]},
        {"role": "user", "parts": [{"functionResponse": {"name": "depth", "response": {"metres": 9}}}]},
        {"role": "model", "parts": [{"text": "Nine metres."}]},
    ]
    row = {"systemInstruction": {"role": "system", "parts": [{"text": "Be brief."}]}, "contents": contents}
    [normalized] = normalize(Source(source=write_rows(tmp_path / "a.jsonl", [row])))
    tool_call = {"type": "function", "function": {"name": "depth", "arguments": {"of": "lake"}}}
    assert normalized["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "How deep?"},
        {"role": "assistant", "content": "", "reasoning_content": "I ask.", "tool_calls": [tool_call]},
        {"role": "tool", "content": '{"metres": 9}'},
        {"role": "assistant", "content": "Nine metres."},
    ]


def test_geminis_images_are_no_text(tmp_path: Path) -> None:
    contents = [{"role": "user", "parts": [{"inlineData": {"mimeType": "image/png", "data": "x"}}]}]
    assert unwrap_messages(contents, is_conversation=True) == contents


# -- ChatGPT's export -----------------------------------------------------------------------------------------------


def export_node(name: str, parent: str | None, role: str, *parts: Any, **fields: Any) -> dict[str, Any]:
    message = {"author": {"role": role}, "content": {"content_type": "text", "parts": [*parts]}, "recipient": "all"}
    return {"id": name, "parent": parent, "message": message | fields}


def export_row(*nodes: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"title": "x", "mapping": {node["id"]: node for node in nodes}} | fields


def test_of_chatgpts_export_only_what_was_shown_last_is_read(tmp_path: Path) -> None:
    row = export_row(
        {"id": "root", "parent": None, "message": None},
        export_node("hidden", "root", "system", "You are ChatGPT.", weight=0),
        export_node("q", "hidden", "user", "Is it deep?"),
        export_node("first", "q", "assistant", "Discarded."),
        export_node("code", "q", "assistant", "look()", recipient="python"),
        export_node("result", "code", "tool", "9"),
        export_node("thought", "result", "assistant", "Hm.", content={"content_type": "thoughts", "parts": ["Hm."]}),
        export_node("a", "thought", "assistant", "Very."),
        export_node("more", "a", "assistant", "Nine metres."),
        current_node="more",
    )
    source = Source(source=write_rows(tmp_path / "conversations.jsonl", [row]))
    answer = {"role": "assistant", "content": "Very.\n\nNine metres."}
    assert [normalized["messages"] for normalized in normalize(source)] == [[MESSAGES[0], answer]]
    assert report_source(source).title == "Conversations exported from ChatGPT"


def test_a_turn_with_a_picture_leaves_chatgpts_conversation_out(tmp_path: Path) -> None:
    picture = {"content_type": "multimodal_text", "parts": [{"asset_pointer": "file://x"}, "What is it?"]}
    kept = export_row(export_node("q", None, "user", "Hi"), export_node("a", "q", "assistant", "Hello."))
    left_out = export_row(export_node("q", None, "user", content=picture), export_node("a", "q", "assistant", "A dog."))
    source = Source(source=write_rows(tmp_path / "a.jsonl", [kept, left_out]))
    [finding] = [finding for finding in report_source(source).findings if finding["severity"] != "good"]
    assert finding["rows"] == [2]
    assert "a picture or a file" in finding["text"]


def test_strange_metadata_of_chatgpts_messages_hides_nothing(tmp_path: Path) -> None:
    row = export_row(export_node("q", None, "user", "Is it deep?"), export_node("a", "q", "assistant", "Very.", metadata=["x"]))  # fmt: skip
    source = Source(source=write_rows(tmp_path / "a.jsonl", [row]))
    assert [normalized["messages"] for normalized in normalize(source)] == [MESSAGES[:2]]


def test_a_tree_that_runs_in_a_circle_ends(tmp_path: Path) -> None:
    row = export_row(export_node("q", "a", "user", "Hi"), export_node("a", "q", "assistant", "Hello."))
    report = report_source(Source(source=write_rows(tmp_path / "a.jsonl", [row])))
    assert report.rows == 1
