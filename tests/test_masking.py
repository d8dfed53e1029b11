"""Masking: what is learned of a row, turn by turn and letter by letter, on masks worked by hand."""

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
from tests.support import chats, spec_of, write_rows

MARKLESS = (  # as a person may paste it: it marks nothing, and takes white space away
    "{%- for turn in messages %}{{- '<|im_start|>' + turn['role'] + '\n' + turn['content'] | trim + '<|im_end|>' + '\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"
)


@pytest.fixture(scope="module")
def words() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(POCKET)


def said(role: str, content: Any, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content} | more


def part(text: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": text} | more


def learned(words: Any, mask: Any, row: dict[str, Any]) -> list[str]:
    """Runs of text whose tokens are learned."""
    made = BatchMasker(words, mask)({name: [value] for name, value in row.items()})
    runs = [""]
    for one, label in zip(made["input_ids"][0], made["labels"][0], strict=True):
        runs = (
            [*runs[:-1], runs[-1] + words.decode([one])] if label != IGNORE_INDEX else [*runs, ""] if runs[-1] else runs
        )
    return [run for run in runs if run]


def by_turns(words: Any, template: str | None = None, **choice: Any) -> ConversationMask:
    return ConversationMask(ChatTemplate(words, template or words.chat_template), LossMaskPolicy(**choice))


TALK = {"messages": [said("system", "Be brief."), said("user", "One?"), said("assistant", "Two."), said("user", "Three?"), said("assistant", "Four.")]}  # fmt: skip


@pytest.mark.parametrize("template", [None, MARKLESS])
@pytest.mark.parametrize(("choice", "runs"), [
    ({}, ["Two.<|im_end|>", "Four.<|im_end|>"]),
    ({"last": True}, ["Four.<|im_end|>"]),
    ({"ends": "last"}, ["Two.", "Four.<|im_end|>"]),
    ({"ends": "none"}, ["Two.", "Four."]),
    ({"roles": ("user",)}, ["One?<|im_end|>", "Three?<|im_end|>"]),
    ({"roles": ("system", "assistant"), "ends": "none"}, ["Be brief.", "Two.", "Four."]),
    ({"roles": ("user", "assistant"), "last": True}, ["Four.<|im_end|>"]),
])  # fmt: skip
def test_speakers_turns_and_end_marks_are_chosen(
    choice: dict[str, Any], runs: list[str], template: str | None, words: Any
) -> None:
    assert learned(words, by_turns(words, template, **choice), TALK) == runs


@pytest.mark.parametrize("template", [None, MARKLESS])
def test_turns_say_themselves_whether_they_are_learned(template: str | None, words: Any) -> None:
    row = {"messages": [said("user", "One?", train=True), said("assistant", "Two.", train=False), said("user", "Three?"), said("assistant", "Four.", weight=0), said("assistant", "Five.", weight=1)]}  # fmt: skip
    assert learned(words, by_turns(words, template, marked=True), row) == ["One?<|im_end|>", "Five.<|im_end|>"]
    assert learned(words, by_turns(words, template), row) == ["Two.<|im_end|>", "Four.<|im_end|>", "Five.<|im_end|>"]


def test_parts_say_it_letter_by_letter_and_what_lies_between_tokens_is_not_learned(words: Any) -> None:
    """The end mark goes with the part before it. A token of two parts that differ is not learned."""
    before = said("assistant", [part("I guess…", train=False), part(" It is four.", train=True)])
    assert learned(words, by_turns(words, marked=True), {"messages": [said("user", "2+2"), before]}) == [" It is four.<|im_end|>"]  # fmt: skip
    last = said("assistant", [part("It is four."), part(" I guess.", weight=0)])
    assert learned(words, by_turns(words, marked=True), {"messages": [said("user", "2+2"), last]}) == ["It is four."]
    loose = said("assistant", [part("I guess ", train=False), part("it is four.", train=True)])
    drawn = by_turns(words, marked=True)({"messages": [said("user", "2+2"), loose]})
    assert drawn.notes == ["loose"]
    [run] = learned(words, by_turns(words, marked=True), {"messages": [said("user", "2+2"), loose]})
    assert run == " is four.<|im_end|>", "“ it” is one token and begins in the other part"


def test_a_token_that_straddles_is_masked_though_its_tokenizer_hides_the_space(words: Any) -> None:
    from app.engine.masking.token_labels import token_spans, tokens_starting_with_space

    spaced = tokens_starting_with_space(words, len(words))
    ids = words("so it is", add_special_tokens=False).input_ids
    whole = words("so it is", add_special_tokens=False, return_offsets_mapping=True).offset_mapping
    trimmed = [(start + 1 if "so it is"[start] == " " else start, end) for start, end in whole]
    starts, ends = token_spans(ids, trimmed, spaced)
    assert [*zip(starts.tolist(), ends.tolist(), strict=True)] == [tuple(one) for one in whole]


def test_ranges_of_letters_include_their_last(words: Any) -> None:
    """As Axolotl counts: letters 0 to 4 are “Maybe”; what no range names is learned as the turn is."""
    turn = said("assistant", "Maybe four", train_detail=[{"begin_offset": 0, "end_offset": 4, "train": False}])
    assert learned(words, by_turns(words, marked=True), {"messages": [said("user", "2+2"), turn]}) == [" four<|im_end|>"]  # fmt: skip
    only = said("user", "What is it", train_spans=[{"begin_offset": 4, "end_offset": 6, "train": True}])
    assert learned(words, by_turns(words, marked=True), {"messages": [only, said("assistant", "x", train=False)]}) == [" is"]  # fmt: skip


def test_thoughts_have_marks_of_their_own(words: Any) -> None:
    template = template_source.template_text("trl:qwen3_training")
    turn = said("assistant", [part("Four.", train=True)], reasoning_content=[part("Five?", train=False), part(" No, four.", train=True)])  # fmt: skip
    inside = said("assistant", [{"type": "reasoning", "text": "Five? No, four.", "train": False}, part("Four.")])
    row = {"messages": [said("user", "2+2"), turn]}
    assert learned(words, by_turns(words, template, marked=True), row) == [" No, four.\n</think>\n\nFour.<|im_end|>"]
    row = {"messages": [said("user", "2+2"), inside]}
    assert learned(words, by_turns(words, template, marked=True), row) == ["Four.<|im_end|>"]


def test_thoughts_are_split_from_an_answer(words: Any) -> None:
    """The model's own format keeps the thoughts of the last answer alone, and only where they come apart."""
    template = template_source.template_text("trl:qwen3_training")
    row = {"messages": [said("user", "2+2"), said("assistant", "<think>\nFive? No.\n</think>\n\nFour.")]}
    mask = by_turns(words, template, splits_thoughts=True)
    assert learned(words, mask, row) == ["<think>\nFive? No.\n</think>\n\nFour.<|im_end|>"]
    assert mask(row).text.count("<think>") == 1


def test_a_question_apart_is_learned_only_where_it_says_so(words: Any) -> None:
    row = {"prompt": [said("user", "One?"), said("assistant", "Two."), said("user", "Three?")], "completion": [said("assistant", "Four.")]}  # fmt: skip
    assert learned(words, by_turns(words), row) == ["Four.<|im_end|>"]
    assert learned(words, by_turns(words, trains_prompts=True), row) == ["Two.<|im_end|>", "Four.<|im_end|>"]
    row["prompt"][1]["train"] = True
    assert learned(words, by_turns(words, marked=True), row) == ["Two.<|im_end|>", "Four.<|im_end|>"]


def test_segments_bring_all_their_marks_themselves(words: Any) -> None:
    row = {"segments": [{"text": "### Q\n", "train": False}, {"text": "Two", "train": True}, {"text": "\n### Q\n", "train": False}, {"text": "Four<|im_end|>", "train": True}]}  # fmt: skip
    assert learned(words, SegmentMask(), row) == ["Two", "Four<|im_end|>"]
    loose = {"segments": [{"text": "Q: ", "train": False}, {"text": "two", "train": True}]}
    assert SegmentMask()(loose).notes == ["loose"]


TEXT = {"text": "### Q: one ### A: two ### Q: three ### A: four"}


def test_what_follows_a_phrase_is_learned_up_to_the_next_question(words: Any) -> None:
    assert learned(words, PhraseMask(words, None, "### A:", "### Q:"), TEXT) == [" two ", " four<|im_end|>"]
    only_last = PhraseMask(words, None, "### A:")
    assert learned(words, only_last, TEXT) == [" four<|im_end|>"]
    assert only_last(TEXT).notes == ["several"]


def test_a_phrase_is_found_in_its_context_whatever_tokens_it_is_alone(words: Any) -> None:
    """Alone it is other tokens than after a word; as numbers it is the very same phrase."""
    text = "say one answer: two"
    ids = words("answer:", add_special_tokens=False).input_ids
    inside = words(text, add_special_tokens=False).input_ids
    assert not any(inside[at : at + len(ids)] == ids for at in range(len(inside))), "or the test shows nothing"
    for phrase in ("answer:", str(ids)):
        assert learned(words, PhraseMask(words, None, phrase), {"text": text}) == [" two<|im_end|>"]


def test_where_a_phrase_is_not_found_the_row_says_so(words: Any) -> None:
    mask = PhraseMask(words, None, "### B:")
    made = BatchMasker(words, mask)({"text": [TEXT["text"]]})
    assert made["why"] == ["“### B:”, which answers should begin with, does not stand in it"]
    assert set(made["labels"][0]) == {IGNORE_INDEX}


def test_a_phrase_that_ends_in_white_space_is_told_of(words: Any) -> None:
    made = BatchMasker(words, PhraseMask(words, None, "### A: "))({"text": ["### Q: one ### A: two"]})
    assert made["notes"] == [["swallowed"]]


def test_a_phrase_is_also_found_in_a_conversation(words: Any) -> None:
    mask = PhraseMask(words, ChatTemplate(words, words.chat_template), "<|im_start|>assistant\n", "<|im_start|>user\n")
    assert learned(words, mask, TALK) == ["Two.<|im_end|>\n", "Four.<|im_end|>\n"]


# -- through the front door -----------------------------------------------------------------------------------------


def shown(rows: list[dict[str, Any]], folder: Path, knobs: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    spec = spec_of("sft", write_rows(folder / "rows.jsonl", rows), knobs or {}, **more)
    return row_preview.preview_rows(spec, 10)


def runs_of(row: dict[str, Any]) -> str:
    return "".join(token["text"] for token in row["tokens"] if token["trained"])


@pytest.mark.slow
def test_what_rows_mark_counts_without_being_asked_for(tmp_path: Path) -> None:
    rows = chats(3)
    rows[1]["messages"][1] |= {"weight": 0}
    marked = [runs_of(row) for row in shown(rows, tmp_path)["rows"]]
    plain = [runs_of(row) for row in shown(chats(3), tmp_path)["rows"]]
    assert marked == [plain[0], "Yes.<|im_end|>", plain[2]]
    asked = [runs_of(row) for row in shown(rows, tmp_path, {"learn_from": "assistant"})["rows"]]
    assert asked == plain


@pytest.mark.slow
@pytest.mark.parametrize("packing", [False, True])
def test_a_row_of_which_nothing_is_learned_is_shown_with_its_reason(packing: bool, tmp_path: Path) -> None:
    rows = [TEXT, {"text": "nothing to find"}, TEXT]
    answer = shown(rows, tmp_path, {"learn_from": "template", "response_template": "### A:", "packing": packing})
    why = "“### A:”, which answers should begin with, does not stand in it"
    assert [row["left_out"] for row in answer["rows"] if "left_out" in row] == [why]
    assert len(answer["rows"]) == 3
    assert any(one["text"] == f"1 example is left out: {why}." and one["severity"] == "wrong" for one in answer["findings"])  # fmt: skip


@pytest.mark.slow
def test_what_learning_answers_alone_changes_in_the_text_is_said(tmp_path: Path) -> None:
    """Qwen3's case: TRL's training template writes empty thoughts into every answer, its own only into the last."""
    model = {"template": "trl:qwen3"}
    answer = shown(chats(4), tmp_path, model=model)
    [said] = [one for one in answer["findings"] if "in another way" in one["text"]]
    assert said["severity"] == "careful"
    assert "<think>⏎⏎</think>⏎⏎” in addition" in said["text"]
    written = "".join(token["text"] for token in answer["rows"][0]["tokens"])
    assert written.count("<think>") == 2
    everything = shown(chats(4), tmp_path, {"learn_from": "everything"}, model=model)
    assert "".join(token["text"] for token in everything["rows"][0]["tokens"]).count("<think>") == 1
    assert not any("in another way" in one["text"] for one in everything["findings"])


@pytest.mark.slow
def test_a_pasted_format_that_marks_nothing_still_lets_answers_be_learned(tmp_path: Path) -> None:
    answer = shown(chats(2), tmp_path, model={"template": MARKLESS})
    assert runs_of(answer["rows"][1]) == "well, it is 2.<|im_end|>Yes.<|im_end|>"


@pytest.mark.parametrize(("template", "why"), [
    ("{% for turn in messages %}{{ turn.content }", "unexpected '}' (line 1)"),
    ("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}{{ messages[0].content }}", "it takes more than 3 seconds"),
    ("{{ 'x' * 10**10 }}{{ messages[0].content }}", "it takes more memory than any conversation needs"),
    ("{{ messages.__class__.__mro__ }}", "unsafe"),
    ("Hi!", "it writes nothing of what is said"),
])  # fmt: skip
def test_a_broken_format_is_one_sentence(template: str, why: str, words: Any) -> None:
    import copy

    broken = copy.deepcopy(words)
    broken.chat_template = template
    with pytest.raises(Problem) as found:
        template_source.require_valid_template(broken)
    assert found.value.text.startswith("The chat format cannot be used: ")
    assert why in found.value.text


def test_what_answers_begin_with_must_be_said(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="not said what answers begin with"):
        spec_of("sft", write_rows(tmp_path / "rows.jsonl", [TEXT]), {"learn_from": "template"})


@pytest.mark.parametrize("knobs", [{"last_turn_only": True}, {"end_tokens": "none"}, {"split_thoughts": True}], ids=str)
def test_what_needs_turns_is_not_quietly_left_undone(knobs: dict[str, Any], tmp_path: Path) -> None:
    spec = spec_of("sft", write_rows(tmp_path / "rows.jsonl", [TEXT]), knobs)
    with pytest.raises(Problem, match="takes conversations of which answers are learned"):
        select_mask.build_mask(preview_job.preview_job(spec, 1), "everything")


def test_plain_text_has_no_speakers(tmp_path: Path) -> None:
    spec = spec_of("sft", write_rows(tmp_path / "rows.jsonl", [TEXT]), {"learn_from": "roles"})
    job = preview_job.preview_job(spec, 1)
    with pytest.raises(Problem, match="plain text, in which nobody speaks"):
        select_mask.build_mask(job, "roles")


REFUSED = {"messages": [said("user", "a"), said("user", "b"), said("assistant", "c")]}


@pytest.mark.slow
@pytest.mark.parametrize("word", ["everything", "assistant"])
def test_an_example_that_its_format_refuses_is_named(word: str, tmp_path: Path) -> None:
    refuses = r"The chat format refuses example 3: Conversation roles must alternate"
    with pytest.raises(Problem, match=refuses):
        shown([*chats(2), REFUSED], tmp_path, {"learn_from": word}, model={"template": "trl:gemma3"})


@pytest.mark.slow
def test_one_that_is_refused_where_we_mask_is_left_out(tmp_path: Path) -> None:
    answer = shown([*chats(2), REFUSED], tmp_path, {"end_tokens": "none"}, model={"template": "trl:gemma3"})
    told = [row.get("left_out", "").split(" (")[0] for row in answer["rows"]]
    assert told == ["", "", "the chat format refuses it"]
