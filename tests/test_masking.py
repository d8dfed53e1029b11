"""Loss masks: which tokens of a row are trained, by turn and by character, compared with masks worked out by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.core.problems import Problem
from app.engine.masking import select_mask
from app.engine.masking.chat_template import ChatTemplate
from app.engine.masking.conversation_mask import ConversationMask
from app.engine.masking.label_policy import LossMaskPolicy
from app.engine.masking.masked_dataset import BatchMasker
from app.engine.masking.text_mask import PhraseMask, SegmentMask
from app.engine.model import template_source
from app.engine.preview import preview_job, row_preview
from app.engine.tokens.tokenized_examples import IGNORE_INDEX
from tests.in_process import POCKET
from tests.support import build_spec, conversation_rows, write_rows

TEMPLATE_WITHOUT_GENERATION_TAGS = (  # as a user may paste it: no generation tags, and content is stripped
    "{%- for turn in messages %}{{- '<|im_start|>' + turn['role'] + '\n' + turn['content'] | trim + '<|im_end|>' + '\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"
)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(POCKET)


def message(role: str, content: Any, **extra_keys: Any) -> dict[str, Any]:
    return {"role": role, "content": content} | extra_keys


def text_part(text: str, **extra_keys: Any) -> dict[str, Any]:
    return {"type": "text", "text": text} | extra_keys


def trained_texts(tokenizer: Any, mask: Any, row: dict[str, Any]) -> list[str]:
    """The contiguous spans of text whose tokens are trained."""
    batch = BatchMasker(tokenizer, mask)({name: [value] for name, value in row.items()})
    trained_spans = [""]
    for token_id, label in zip(batch["input_ids"][0], batch["labels"][0], strict=True):
        trained_spans = (
            [*trained_spans[:-1], trained_spans[-1] + tokenizer.decode([token_id])]
            if label != IGNORE_INDEX
            else [*trained_spans, ""]
            if trained_spans[-1]
            else trained_spans
        )
    return [span for span in trained_spans if span]


def conversation_mask(tokenizer: Any, template: str | None = None, **policy: Any) -> ConversationMask:
    return ConversationMask(ChatTemplate(tokenizer, template or tokenizer.chat_template), LossMaskPolicy(**policy))


CONVERSATION = {"messages": [message("system", "Be brief."), message("user", "One?"), message("assistant", "Two."), message("user", "Three?"), message("assistant", "Four.")]}  # fmt: skip


@pytest.mark.parametrize("template", [None, TEMPLATE_WITHOUT_GENERATION_TAGS])
@pytest.mark.parametrize(("policy", "expected_spans"), [
    ({}, ["Two.<|im_end|>", "Four.<|im_end|>"]),
    ({"last": True}, ["Four.<|im_end|>"]),
    ({"ends": "last"}, ["Two.", "Four.<|im_end|>"]),
    ({"ends": "none"}, ["Two.", "Four."]),
    ({"roles": ("user",)}, ["One?<|im_end|>", "Three?<|im_end|>"]),
    ({"roles": ("system", "assistant"), "ends": "none"}, ["Be brief.", "Two.", "Four."]),
    ({"roles": ("user", "assistant"), "last": True}, ["Four.<|im_end|>"]),
])  # fmt: skip
def test_the_policy_selects_roles_turns_and_end_tokens(
    policy: dict[str, Any], expected_spans: list[str], template: str | None, tokenizer: Any
) -> None:
    assert trained_texts(tokenizer, conversation_mask(tokenizer, template, **policy), CONVERSATION) == expected_spans


@pytest.mark.parametrize("template", [None, TEMPLATE_WITHOUT_GENERATION_TAGS])
def test_train_and_weight_keys_of_messages_select_the_trained_turns(template: str | None, tokenizer: Any) -> None:
    row = {"messages": [message("user", "One?", train=True), message("assistant", "Two.", train=False), message("user", "Three?"), message("assistant", "Four.", weight=0), message("assistant", "Five.", weight=1)]}  # fmt: skip
    assert trained_texts(tokenizer, conversation_mask(tokenizer, template, marked=True), row) == [
        "One?<|im_end|>",
        "Five.<|im_end|>",
    ]
    assert trained_texts(tokenizer, conversation_mask(tokenizer, template), row) == [
        "Two.<|im_end|>",
        "Four.<|im_end|>",
        "Five.<|im_end|>",
    ]


def test_train_keys_of_parts_select_characters_and_a_token_across_parts_is_masked(tokenizer: Any) -> None:
    """The end token follows the last part. A token that spans two parts with different `train` keys is not trained."""
    masked_first = message("assistant", [text_part("I guess…", train=False), text_part(" It is four.", train=True)])
    assert trained_texts(tokenizer, conversation_mask(tokenizer, marked=True), {"messages": [message("user", "2+2"), masked_first]}) == [" It is four.<|im_end|>"]  # fmt: skip
    masked_last = message("assistant", [text_part("It is four."), text_part(" I guess.", weight=0)])
    assert trained_texts(
        tokenizer, conversation_mask(tokenizer, marked=True), {"messages": [message("user", "2+2"), masked_last]}
    ) == ["It is four."]
    straddling = message("assistant", [text_part("I guess ", train=False), text_part("it is four.", train=True)])
    rendered = conversation_mask(tokenizer, marked=True)({"messages": [message("user", "2+2"), straddling]})
    assert rendered.notes == ["loose"]
    [span] = trained_texts(
        tokenizer, conversation_mask(tokenizer, marked=True), {"messages": [message("user", "2+2"), straddling]}
    )
    assert span == " is four.<|im_end|>", "“ it” is one token and starts in the masked part"


def test_offsets_without_the_leading_space_are_extended_to_include_it(tokenizer: Any) -> None:
    from app.engine.masking.token_labels import token_spans, tokens_starting_with_space

    starts_with_space = tokens_starting_with_space(tokenizer, len(tokenizer))
    token_ids = tokenizer("so it is", add_special_tokens=False).input_ids
    full_offsets = tokenizer("so it is", add_special_tokens=False, return_offsets_mapping=True).offset_mapping
    trimmed_offsets = [(start + 1 if "so it is"[start] == " " else start, end) for start, end in full_offsets]
    starts, ends = token_spans(token_ids, trimmed_offsets, starts_with_space)
    assert [*zip(starts.tolist(), ends.tolist(), strict=True)] == [tuple(offsets) for offsets in full_offsets]


def test_character_ranges_include_their_end_offset(tokenizer: Any) -> None:
    """As in Axolotl, characters 0 to 4 are “Maybe”; text outside every range follows the setting of its turn."""
    message_with_detail = message(
        "assistant", "Maybe four", train_detail=[{"begin_offset": 0, "end_offset": 4, "train": False}]
    )
    assert trained_texts(tokenizer, conversation_mask(tokenizer, marked=True), {"messages": [message("user", "2+2"), message_with_detail]}) == [" four<|im_end|>"]  # fmt: skip
    message_with_span = message("user", "What is it", train_spans=[{"begin_offset": 4, "end_offset": 6, "train": True}])
    assert trained_texts(tokenizer, conversation_mask(tokenizer, marked=True), {"messages": [message_with_span, message("assistant", "x", train=False)]}) == [" is"]  # fmt: skip


def test_reasoning_parts_have_their_own_train_keys(tokenizer: Any) -> None:
    template = template_source.template_text("trl:qwen3_training")
    separate_reasoning = message("assistant", [text_part("Four.", train=True)], reasoning_content=[text_part("Five?", train=False), text_part(" No, four.", train=True)])  # fmt: skip
    inline_reasoning = message(
        "assistant", [{"type": "reasoning", "text": "Five? No, four.", "train": False}, text_part("Four.")]
    )
    row = {"messages": [message("user", "2+2"), separate_reasoning]}
    assert trained_texts(tokenizer, conversation_mask(tokenizer, template, marked=True), row) == [
        " No, four.\n</think>\n\nFour.<|im_end|>"
    ]
    row = {"messages": [message("user", "2+2"), inline_reasoning]}
    assert trained_texts(tokenizer, conversation_mask(tokenizer, template, marked=True), row) == ["Four.<|im_end|>"]


def test_reasoning_inside_an_answer_is_split_from_it(tokenizer: Any) -> None:
    """The model's own template keeps only the reasoning of the last answer, and only when it is passed separately."""
    template = template_source.template_text("trl:qwen3_training")
    row = {"messages": [message("user", "2+2"), message("assistant", "<think>\nFive? No.\n</think>\n\nFour.")]}
    mask = conversation_mask(tokenizer, template, splits_thoughts=True)
    assert trained_texts(tokenizer, mask, row) == ["<think>\nFive? No.\n</think>\n\nFour.<|im_end|>"]
    assert mask(row).text.count("<think>") == 1


def test_a_separate_prompt_is_trained_only_when_requested(tokenizer: Any) -> None:
    row = {"prompt": [message("user", "One?"), message("assistant", "Two."), message("user", "Three?")], "completion": [message("assistant", "Four.")]}  # fmt: skip
    assert trained_texts(tokenizer, conversation_mask(tokenizer), row) == ["Four.<|im_end|>"]
    assert trained_texts(tokenizer, conversation_mask(tokenizer, trains_prompts=True), row) == [
        "Two.<|im_end|>",
        "Four.<|im_end|>",
    ]
    row["prompt"][1]["train"] = True
    assert trained_texts(tokenizer, conversation_mask(tokenizer, marked=True), row) == [
        "Two.<|im_end|>",
        "Four.<|im_end|>",
    ]


def test_segments_set_their_own_mask(tokenizer: Any) -> None:
    row = {"segments": [{"text": "### Q\n", "train": False}, {"text": "Two", "train": True}, {"text": "\n### Q\n", "train": False}, {"text": "Four<|im_end|>", "train": True}]}  # fmt: skip
    assert trained_texts(tokenizer, SegmentMask(tokenizer), row) == ["Two", "Four<|im_end|>"]
    straddling = {"segments": [{"text": "Q: ", "train": False}, {"text": "two", "train": True}]}
    assert SegmentMask(tokenizer)(straddling).notes == ["loose"]


@pytest.mark.parametrize(("answer", "expected"), [("Two<|im_end|>\n", "Two<|im_end|>"), ("Two</s>", "Two</s><|im_end|>"), ("Two", "Two<|im_end|>")])  # fmt: skip
def test_a_chat_as_text_gets_an_end_token_only_where_it_has_none(answer: str, expected: str, tokenizer: Any) -> None:
    end = answer.rstrip()
    segments = [{"text": "### Q\n", "train": False}, {"text": end, "train": True}, {"text": answer[len(end) :], "train": False}]  # fmt: skip
    row = {"segments": segments, "add_special_tokens": True}
    assert trained_texts(tokenizer, SegmentMask(tokenizer), row) == [expected]


CALL = {"type": "function", "function": {"name": "stock", "arguments": {"item": "lamp"}}}


@pytest.mark.parametrize("result", ['{"left": 7, "note": "a \\"lamp\\""}', 'line one\n"line two"', "tab\tand \\ sign"])
def test_answers_are_found_although_the_template_rewrites_what_a_tool_returned(result: str, tokenizer: Any) -> None:
    """Llama 3.1 writes a tool's result as JSON, with quotes and escapes."""
    template = template_source.template_text("trl:llama3_1")
    row = {"messages": [message("user", "Lamps?"), message("assistant", "", tool_calls=[CALL]), message("tool", result), message("assistant", "Seven are left."), message("user", "Thank you"), message("assistant", "Any time.")]}  # fmt: skip
    assert result not in conversation_mask(tokenizer, template)(row).text
    *calls, first_answer, second_answer = trained_texts(tokenizer, conversation_mask(tokenizer, template), row)
    assert first_answer.startswith("Seven are left")
    assert second_answer.startswith("Any time")
    assert '"name": "stock"' in "".join(calls)


def test_a_rewritten_answer_is_still_refused(tokenizer: Any) -> None:
    template = "{%- for turn in messages %}{{- '<|im_start|>' + turn['role'] + '\n' + turn['content'] | upper + '<|im_end|>\n' }}{%- endfor %}"
    masked = conversation_mask(tokenizer, template)({"messages": [message("user", "One?"), message("assistant", "Two.")]})  # fmt: skip
    assert not masked.char_mask.is_trained.any()


TEXT_ROW = {"text": "### Q: one ### A: two ### Q: three ### A: four"}


def test_text_after_the_response_phrase_is_trained_up_to_the_instruction_phrase(tokenizer: Any) -> None:
    assert trained_texts(tokenizer, PhraseMask(tokenizer, None, "### A:", "### Q:"), TEXT_ROW) == [
        " two ",
        " four<|im_end|>",
    ]
    response_only = PhraseMask(tokenizer, None, "### A:")
    assert trained_texts(tokenizer, response_only, TEXT_ROW) == [" four<|im_end|>"]
    assert response_only(TEXT_ROW).notes == ["several"]


def test_a_phrase_matches_in_context_also_when_it_tokenizes_differently_alone(tokenizer: Any) -> None:
    """Alone, the phrase has other token ids than after a word; a list of token ids is accepted as the same phrase."""
    text = "say one answer: two"
    phrase_ids = tokenizer("answer:", add_special_tokens=False).input_ids
    text_ids = tokenizer(text, add_special_tokens=False).input_ids
    assert not any(text_ids[start : start + len(phrase_ids)] == phrase_ids for start in range(len(text_ids))), (
        "the phrase must tokenize differently in context, or this test proves nothing"
    )
    for phrase in ("answer:", str(phrase_ids)):
        assert trained_texts(tokenizer, PhraseMask(tokenizer, None, phrase), {"text": text}) == [" two<|im_end|>"]


def test_a_row_without_the_phrase_gives_the_reason_and_is_fully_masked(tokenizer: Any) -> None:
    mask = PhraseMask(tokenizer, None, "### B:")
    batch = BatchMasker(tokenizer, mask)({"text": [TEXT_ROW["text"]]})
    assert batch["why"] == ["“### B:”, which answers should begin with, does not stand in it"]
    assert set(batch["labels"][0]) == {IGNORE_INDEX}


def test_a_phrase_that_ends_in_white_space_adds_a_note(tokenizer: Any) -> None:
    batch = BatchMasker(tokenizer, PhraseMask(tokenizer, None, "### A: "))({"text": ["### Q: one ### A: two"]})
    assert batch["notes"] == [["swallowed"]]


def test_a_phrase_also_matches_in_a_conversation(tokenizer: Any) -> None:
    mask = PhraseMask(
        tokenizer, ChatTemplate(tokenizer, tokenizer.chat_template), "<|im_start|>assistant\n", "<|im_start|>user\n"
    )
    assert trained_texts(tokenizer, mask, CONVERSATION) == ["Two.<|im_end|>\n", "Four.<|im_end|>\n"]


# -- previews of complete specs -------------------------------------------------------------------------------------


def preview_sft_rows(
    rows: list[dict[str, Any]], folder: Path, knobs: dict[str, Any] | None = None, **spec_fields: Any
) -> dict[str, Any]:
    spec = build_spec("sft", write_rows(folder / "rows.jsonl", rows), knobs or {}, **spec_fields)
    return row_preview.preview_rows(spec, 10)


def trained_text(row: dict[str, Any]) -> str:
    return "".join(token["text"] for token in row["tokens"] if token["trained"])


@pytest.mark.slow
def test_weight_keys_apply_by_default_and_not_with_learn_from_assistant(tmp_path: Path) -> None:
    rows = conversation_rows(3)
    rows[1]["messages"][1] |= {"weight": 0}
    marked_texts = [trained_text(row) for row in preview_sft_rows(rows, tmp_path)["rows"]]
    unmarked_texts = [trained_text(row) for row in preview_sft_rows(conversation_rows(3), tmp_path)["rows"]]
    assert marked_texts == [unmarked_texts[0], "Yes.<|im_end|>", unmarked_texts[2]]
    assistant_texts = [
        trained_text(row) for row in preview_sft_rows(rows, tmp_path, {"learn_from": "assistant"})["rows"]
    ]
    assert assistant_texts == unmarked_texts


@pytest.mark.slow
@pytest.mark.parametrize("packing", [False, True])
def test_a_row_without_trained_tokens_is_previewed_with_its_reason(packing: bool, tmp_path: Path) -> None:
    rows = [TEXT_ROW, {"text": "nothing to find"}, TEXT_ROW]
    preview = preview_sft_rows(
        rows, tmp_path, {"learn_from": "template", "response_template": "### A:", "packing": packing}
    )
    reason = "“### A:”, which answers should begin with, does not stand in it"
    assert [row["left_out"] for row in preview["rows"] if "left_out" in row] == [reason]
    assert len(preview["rows"]) == 3
    assert any(finding["text"] == f"1 example is left out: {reason}." and finding["severity"] == "wrong" for finding in preview["findings"])  # fmt: skip


@pytest.mark.slow
def test_a_finding_says_how_the_training_template_changes_the_text(tmp_path: Path) -> None:
    """Example Qwen3: TRL's training template adds empty <think> blocks to every answer, the original one only to the last."""
    model = {"template": "trl:qwen3"}
    preview = preview_sft_rows(conversation_rows(4), tmp_path, model=model)
    [difference] = [finding for finding in preview["findings"] if "in another way" in finding["text"]]
    assert difference["severity"] == "careful"
    assert "<think>⏎⏎</think>⏎⏎” in addition" in difference["text"]
    previewed_text = "".join(token["text"] for token in preview["rows"][0]["tokens"])
    assert previewed_text.count("<think>") == 2
    full_preview = preview_sft_rows(conversation_rows(4), tmp_path, {"learn_from": "everything"}, model=model)
    assert "".join(token["text"] for token in full_preview["rows"][0]["tokens"]).count("<think>") == 1
    assert not any("in another way" in finding["text"] for finding in full_preview["findings"])


@pytest.mark.slow
def test_a_pasted_template_without_generation_tags_still_trains_answers(tmp_path: Path) -> None:
    preview = preview_sft_rows(conversation_rows(2), tmp_path, model={"template": TEMPLATE_WITHOUT_GENERATION_TAGS})
    assert trained_text(preview["rows"][1]) == "well, it is 2.<|im_end|>Yes.<|im_end|>"


@pytest.mark.parametrize(("template", "reason"), [
    ("{% for turn in messages %}{{ turn.content }", "unexpected '}' (line 1)"),
    ("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}{{ messages[0].content }}", "it takes more than 3 seconds"),
    ("{{ 'x' * 10**10 }}{{ messages[0].content }}", "it multiplies to more than any conversation needs"),
    ("{{ messages.__class__.__mro__ }}", "unsafe"),
    ("Hi!", "it writes nothing of what is said"),
])  # fmt: skip
def test_a_broken_template_is_refused_in_one_sentence(template: str, reason: str, tokenizer: Any) -> None:
    import copy

    broken_tokenizer = copy.deepcopy(tokenizer)
    broken_tokenizer.chat_template = template
    with pytest.raises(Problem) as exc_info:
        template_source.require_valid_template(broken_tokenizer)
    assert exc_info.value.text.startswith("The chat format cannot be used: ")
    assert reason in exc_info.value.text


def test_a_missing_response_template_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="not said what answers begin with"):
        build_spec("sft", write_rows(tmp_path / "rows.jsonl", [TEXT_ROW]), {"learn_from": "template"})


@pytest.mark.parametrize("knobs", [{"last_turn_only": True}, {"end_tokens": "none"}, {"split_thoughts": True}], ids=str)
def test_settings_that_need_turns_are_refused_for_plain_text(knobs: dict[str, Any], tmp_path: Path) -> None:
    spec = build_spec("sft", write_rows(tmp_path / "rows.jsonl", [TEXT_ROW]), knobs)
    with pytest.raises(Problem, match="takes conversations of which answers are learned"):
        select_mask.build_mask(preview_job.preview_job(spec, 1), "everything")


def test_learning_from_roles_is_refused_for_plain_text(tmp_path: Path) -> None:
    spec = build_spec("sft", write_rows(tmp_path / "rows.jsonl", [TEXT_ROW]), {"learn_from": "roles"})
    job = preview_job.preview_job(spec, 1)
    with pytest.raises(Problem, match="plain text, in which nobody speaks"):
        select_mask.build_mask(job, "roles")


ROW_WITH_REPEATED_ROLE = {"messages": [message("user", "a"), message("user", "b"), message("assistant", "c")]}


@pytest.mark.slow
@pytest.mark.parametrize("knobs", [{"learn_from": "everything"}, {"learn_from": "assistant"}, {"end_tokens": "none"}])
def test_an_example_that_the_template_refuses_is_named(knobs: dict[str, Any], tmp_path: Path) -> None:
    rows = [*conversation_rows(2), ROW_WITH_REPEATED_ROLE]
    preview = preview_sft_rows(rows, tmp_path, knobs, model={"template": "trl:gemma3"})
    [finding] = [finding for finding in preview["findings"] if finding["id"] == "refused"]
    assert finding["rows"] == [3]
    assert "the chat format refuses it (Conversation roles must alternate" in finding["text"]
    assert len(preview["rows"]) == 2
