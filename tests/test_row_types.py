"""Row types: rows in the forms that users bring are converted to the trainers' format; invalid rows are dropped with a reason."""

from __future__ import annotations

from typing import Any

import pytest

from app.data import rows
from app.data.apply_layout import drop_nulls
from app.data.row_types import ROW_TYPES

USER_TURN, ASSISTANT_TURN, REJECTED_TURN = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}, {"role": "assistant", "content": "What?"}  # fmt: skip
BEST_TURN = {"role": "assistant", "content": "Hello, dear Ada!"}
SYSTEM_TURN = {"role": "system", "content": "Be kind."}
PREFERENCE_ROW = {"prompt": [USER_TURN], "chosen": [ASSISTANT_TURN], "rejected": [REJECTED_TURN]}


def convert(row_type: str, row: dict[str, Any], has_chat_template: bool = True) -> dict[str, Any] | str:
    return ROW_TYPES[row_type](drop_nulls(row), has_chat_template)


def sharegpt_turns(*role_text_pairs: tuple[str, str]) -> list[dict[str, str]]:
    """Turns in the ShareGPT format."""
    return [{"from": role, "value": text} for role, text in role_text_pairs]


def test_every_row_type_has_required_columns_and_their_description() -> None:
    assert set(ROW_TYPES) == set(rows.REQUIRED_COLUMNS) - {"conversations"} == set(rows.REQUIRED_COLUMNS_TEXT)


# -- preference ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", [
    {"prompt": "Hi", "chosen": "Hello!", "rejected": "What?"},
    {"prompt": [USER_TURN], "chosen": [ASSISTANT_TURN], "rejected": [REJECTED_TURN]},
    {"prompt": "Hi", "chosen": [USER_TURN, ASSISTANT_TURN], "rejected": [USER_TURN, REJECTED_TURN]},
    {"prompt": " Hi\n", "chosen": [USER_TURN, ASSISTANT_TURN], "rejected": [USER_TURN, REJECTED_TURN]},
    {"chosen": [USER_TURN, ASSISTANT_TURN], "rejected": [USER_TURN, REJECTED_TURN]},
    {"prompt": [USER_TURN], "chosen": [USER_TURN, ASSISTANT_TURN], "rejected": [USER_TURN, REJECTED_TURN]},
    {"prompt": "Hi", "chosen": [ASSISTANT_TURN], "rejected": [REJECTED_TURN]},
    {"prompt": [USER_TURN], "chosen": "Hello!", "rejected": "What?"},
    {"prompt": "Hi", "chosen": ASSISTANT_TURN, "rejected": REJECTED_TURN},
    {"chosen": {"messages": [USER_TURN, ASSISTANT_TURN]}, "rejected": {"messages": [USER_TURN, REJECTED_TURN]}},
    {"chosen": sharegpt_turns(("human", "Hi"), ("gpt", "Hello!")), "rejected": sharegpt_turns(("human", "Hi"), ("gpt", "What?"))},
    {"prompt": sharegpt_turns(("human", "Hi")), "chosen": sharegpt_turns(("gpt", "Hello!")), "rejected": sharegpt_turns(("gpt", "What?"))},
    {"conversations": sharegpt_turns(("human", "Hi")), "chosen": {"from": "gpt", "value": "Hello!"}, "rejected": {"from": "gpt", "value": "What?"}},
    {"prompt": [{**USER_TURN, "name": None}], "chosen": [{**ASSISTANT_TURN, "tool_calls": None}], "rejected": [REJECTED_TURN]},
], ids=str)  # fmt: skip
def test_a_preference_row_is_converted_from_every_supported_form(row: dict[str, Any]) -> None:
    """Plain text, turns, answers that repeat the prompt, ShareGPT roles, and fields that are None."""
    assert convert("preference", row) == PREFERENCE_ROW


def test_all_turns_before_the_answer_belong_to_the_prompt() -> None:
    earlier_turns = [SYSTEM_TURN, USER_TURN, ASSISTANT_TURN, {"role": "user", "content": "And?"}]
    row = {"chosen": [*earlier_turns, ASSISTANT_TURN], "rejected": [*earlier_turns, REJECTED_TURN]}
    assert convert("preference", row) == {
        "prompt": earlier_turns,
        "chosen": [ASSISTANT_TURN],
        "rejected": [REJECTED_TURN],
    }
    assert convert("preference", row | {"prompt": "And?"}) == {
        "prompt": earlier_turns,
        "chosen": [ASSISTANT_TURN],
        "rejected": [REJECTED_TURN],
    }
    assert convert("preference", row | {"prompt": [SYSTEM_TURN]})["prompt"] == earlier_turns
    split_prompt = {
        "prompt": [SYSTEM_TURN],
        "chosen": [USER_TURN, ASSISTANT_TURN],
        "rejected": [USER_TURN, REJECTED_TURN],
    }
    assert convert("preference", split_prompt) == PREFERENCE_ROW | {"prompt": [SYSTEM_TURN, USER_TURN]}


def test_shared_assistant_turns_are_not_moved_into_the_prompt() -> None:
    row = {"chosen": [USER_TURN, ASSISTANT_TURN, USER_TURN, ASSISTANT_TURN], "rejected": [USER_TURN, ASSISTANT_TURN]}
    assert convert("preference", row)["prompt"] == [USER_TURN]


def test_a_system_column_becomes_the_first_turn() -> None:
    row = {"system": "Be kind.", "prompt": "Hi", "chosen": "Hello!", "rejected": "What?"}
    assert convert("preference", row) == PREFERENCE_ROW | {"prompt": [SYSTEM_TURN, USER_TURN]}
    assert convert("preference", row, has_chat_template=False)["prompt"] == "Be kind.\n\nHi"
    assert convert("preference", row | {"prompt": [SYSTEM_TURN, USER_TURN]})["prompt"] == [SYSTEM_TURN, USER_TURN]
    assert convert("thumbs", {"system": "Be kind.", "prompt": "Hi", "completion": "Hello!", "label": 1})["prompt"] == [
        SYSTEM_TURN,
        USER_TURN,
    ]


def test_without_a_chat_template_plain_text_stays_text() -> None:
    row = {"prompt": "Hi", "chosen": "Hello!", "rejected": "What?"}
    assert convert("preference", row, has_chat_template=False) == row
    prompt_repeated = {"prompt": "Hi. ", "chosen": "Hi. Hello!", "rejected": "Hi. What?"}
    assert convert("preference", prompt_repeated, has_chat_template=False) == row | {"prompt": "Hi. "}
    without_prompt = {"chosen": "User: Hi\nBot: Hello!", "rejected": "User: Hi\nBot: Help?"}
    assert convert("preference", without_prompt, has_chat_template=False) == {
        "prompt": "User: Hi\nBot: ",
        "chosen": "Hello!",
        "rejected": "Help?",
    }


def test_margin_is_kept_only_when_it_is_a_number() -> None:
    row = {"prompt": "Hi", "chosen": "Hello!", "rejected": "What?"}
    assert convert("preference", row | {"margin": 2})["margin"] == 2.0
    assert "margin" not in convert("preference", row | {"margin": "much"})
    assert "margin" not in convert("preference", row | {"margin": True})


@pytest.mark.parametrize(("row", "reason"), [
    ({"prompt": "Hi", "chosen": "Hello!", "rejected": "Hello!"}, "both answers are the same"),
    ({"prompt": "Hi", "chosen": "", "rejected": "What?"}, "an empty answer"),
    ({"prompt": "Hi", "chosen": [ASSISTANT_TURN], "rejected": [{"role": "assistant", "content": " "}]}, "an empty answer"),
    ({"prompt": "Hi", "chosen": [ASSISTANT_TURN], "rejected": []}, "an empty answer"),
    ({"prompt": "Hi", "chosen": [USER_TURN, ASSISTANT_TURN], "rejected": "What?"}, "one answer is text and the other a list of turns"),
    ({"prompt": "Hi", "chosen": [5], "rejected": [ASSISTANT_TURN]}, "chosen or rejected is neither text nor a list of turns"),
    ({"prompt": "Hi", "chosen": None, "rejected": "What?"}, "chosen or rejected is neither text nor a list of turns"),
    ({"chosen": "Hello!", "rejected": "What?"}, "no prompt"),
    ({"chosen": [ASSISTANT_TURN], "rejected": [REJECTED_TURN]}, "no prompt"),
], ids=str)  # fmt: skip
def test_an_invalid_preference_row_is_dropped_with_the_reason(row: dict[str, Any], reason: str) -> None:
    assert convert("preference", row) == reason


def test_conversations_need_a_chat_template() -> None:
    assert (
        convert("preference", PREFERENCE_ROW, has_chat_template=False)
        == "conversations need a model with a chat format"
    )


# -- ranked -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reference", ["Hello, dear Ada!", [BEST_TURN], BEST_TURN, [USER_TURN, BEST_TURN], {"messages": [USER_TURN, BEST_TURN]}, sharegpt_turns(("gpt", "Hello, dear Ada!"))])  # fmt: skip
def test_the_reference_of_a_ranked_row_may_repeat_the_prompt(reference: Any) -> None:
    assert convert("ranked", PREFERENCE_ROW | {"reference": reference}) == PREFERENCE_ROW | {"reference": [BEST_TURN]}


def test_a_ranked_row_without_a_reference_is_dropped() -> None:
    assert convert("ranked", PREFERENCE_ROW | {"reference": ""}) == "an empty reference"
    assert convert("ranked", PREFERENCE_ROW | {"reference": [USER_TURN]}) == "an empty reference"
    assert convert("ranked", PREFERENCE_ROW) == "the reference is neither text nor a list of turns"
    assert (
        convert("ranked", {"prompt": "Hi", "chosen": "a", "rejected": "a", "reference": "b"})
        == "both answers are the same"
    )


def test_ranked_rows_of_plain_text_stay_text() -> None:
    row = {"prompt": "Hi. ", "chosen": "Hello!", "rejected": "What?", "reference": "Hello, dear Ada!"}
    assert convert("ranked", row, has_chat_template=False) == row
    assert convert("ranked", row | {"reference": "Hi. Hello, dear Ada!"}, has_chat_template=False) == row


# -- thumbs -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("label", "expected_label"), [
    (True, True), (False, False), (1, True), (0, False), (1.0, True), (0.0, False), ("true", True), ("No", False), (" 👍 ", True), ("👎", False),
    ("-1", False), ("up", True), ("disliked", False),
])  # fmt: skip
def test_a_label_is_read_in_every_common_spelling(label: Any, expected_label: bool) -> None:
    row = {"prompt": "Hi", "completion": "Hello!", "label": label}
    assert convert("thumbs", row) == {"prompt": [USER_TURN], "completion": [ASSISTANT_TURN], "label": expected_label}


@pytest.mark.parametrize("label", [None, "", "maybe", 2, 0.5, [], {}])
def test_a_row_with_an_unclear_label_is_dropped(label: Any) -> None:
    assert (
        convert("thumbs", {"prompt": "Hi", "completion": "Hello!", "label": label}) == "the label is neither yes nor no"
    )


def test_a_disliked_completion_is_not_the_expected_answer() -> None:
    row = {"prompt": [USER_TURN], "completion": [ASSISTANT_TURN], "label": False}
    assert rows.prompt_and_answer(row) == ([USER_TURN], "")
    assert rows.prompt_and_answer(row | {"label": True}) == ([USER_TURN], "Hello!")
    assert rows.prompt_and_answer(PREFERENCE_ROW) == ([USER_TURN], "Hello!")
    assert rows.prompt_and_answer(PREFERENCE_ROW | {"reference": [BEST_TURN]}) == ([USER_TURN], "Hello, dear Ada!")
    assert rows.prompt_and_answer({"prompt": [USER_TURN], "answer": "4", "reference": "5"}) == ([USER_TURN], "4"), (
        "with an answer column, `reference` is a user's own column"
    )


# -- stepwise and hinted ------------------------------------------------------------------------------------------


def test_a_stepwise_row_has_one_label_for_each_step() -> None:
    row = {"prompt": "2 + 2 + 2", "completions": ["That is 4.", "That is 6."], "labels": ["yes", 1], "source": "x"}
    assert convert("stepwise", row) == {"prompt": "2 + 2 + 2", "completions": ["That is 4.", "That is 6."], "labels": [True, True]}  # fmt: skip


@pytest.mark.parametrize(("row_changes", "reason"), [
    ({"prompt": ""}, "the prompt is no text"), ({"prompt": [USER_TURN]}, "the prompt is no text"),
    ({"completions": []}, "the steps are not a list of texts"), ({"completions": ["a", " "]}, "the steps are not a list of texts"),
    ({"labels": [True]}, "not every step is judged right or wrong"), ({"labels": [True, "perhaps"]}, "not every step is judged right or wrong"),
])  # fmt: skip
def test_an_invalid_stepwise_row_is_dropped_with_the_reason(row_changes: dict[str, Any], reason: str) -> None:
    row = {"prompt": "2 + 2 + 2", "completions": ["That is 4.", "That is 6."], "labels": [True, False]}
    assert convert("stepwise", row | row_changes) == reason


def test_a_hinted_row_keeps_its_privileged_context() -> None:
    row = {"prompt": "Hi", "privileged_context": "Ada is here.", "id": 7}
    assert convert("hinted", row) == {"prompt": [USER_TURN], "privileged_context": "Ada is here.", "id": 7}
    assert convert("hinted", row | {"privileged_context": " "}) == "empty prompt or hint"
