"""Kinds: pairs, thumbs, ranks and steps as people bring them become what the trainers take; what is no such row is left out with its reason."""

from __future__ import annotations

from typing import Any

import pytest

from app.data import rows
from app.data.apply_layout import drop_nulls
from app.data.row_types import ROW_TYPES

ASK, SAY, WORSE = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}, {"role": "assistant", "content": "What?"}  # fmt: skip
BEST = {"role": "assistant", "content": "Hello, dear Ada!"}
SYSTEM = {"role": "system", "content": "Be kind."}
PAIR = {"prompt": [ASK], "chosen": [SAY], "rejected": [WORSE]}


def made(kind: str, row: dict[str, Any], chat: bool = True) -> dict[str, Any] | str:
    return ROW_TYPES[kind](drop_nulls(row), chat)


def turns(*said: tuple[str, str]) -> list[dict[str, str]]:
    """As ShareGPT writes them."""
    return [{"from": role, "value": text} for role, text in said]


def test_every_kind_has_columns_and_words() -> None:
    assert set(ROW_TYPES) == set(rows.REQUIRED_COLUMNS) - {"conversations"} == set(rows.REQUIRED_COLUMNS_TEXT)


# -- pairs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", [
    {"prompt": "Hi", "chosen": "Hello!", "rejected": "What?"},
    {"prompt": [ASK], "chosen": [SAY], "rejected": [WORSE]},
    {"prompt": "Hi", "chosen": [ASK, SAY], "rejected": [ASK, WORSE]},
    {"prompt": " Hi\n", "chosen": [ASK, SAY], "rejected": [ASK, WORSE]},
    {"chosen": [ASK, SAY], "rejected": [ASK, WORSE]},
    {"prompt": [ASK], "chosen": [ASK, SAY], "rejected": [ASK, WORSE]},
    {"prompt": "Hi", "chosen": [SAY], "rejected": [WORSE]},
    {"prompt": [ASK], "chosen": "Hello!", "rejected": "What?"},
    {"prompt": "Hi", "chosen": SAY, "rejected": WORSE},
    {"chosen": {"messages": [ASK, SAY]}, "rejected": {"messages": [ASK, WORSE]}},
    {"chosen": turns(("human", "Hi"), ("gpt", "Hello!")), "rejected": turns(("human", "Hi"), ("gpt", "What?"))},
    {"prompt": turns(("human", "Hi")), "chosen": turns(("gpt", "Hello!")), "rejected": turns(("gpt", "What?"))},
    {"conversations": turns(("human", "Hi")), "chosen": {"from": "gpt", "value": "Hello!"}, "rejected": {"from": "gpt", "value": "What?"}},
    {"prompt": [{**ASK, "name": None}], "chosen": [{**SAY, "tool_calls": None}], "rejected": [WORSE]},
], ids=str)  # fmt: skip
def test_a_pair_is_read_however_it_is_written(row: dict[str, Any]) -> None:
    """Plain, in turns, with the prompt in the answers, with ShareGPT's roles, with holes."""
    assert made("preference", row) == PAIR


def test_what_comes_before_the_last_question_belongs_to_the_prompt() -> None:
    before = [SYSTEM, ASK, SAY, {"role": "user", "content": "And?"}]
    row = {"chosen": [*before, SAY], "rejected": [*before, WORSE]}
    assert made("preference", row) == {"prompt": before, "chosen": [SAY], "rejected": [WORSE]}
    assert made("preference", row | {"prompt": "And?"}) == {"prompt": before, "chosen": [SAY], "rejected": [WORSE]}
    assert made("preference", row | {"prompt": [SYSTEM]})["prompt"] == before
    started = {"prompt": [SYSTEM], "chosen": [ASK, SAY], "rejected": [ASK, WORSE]}
    assert made("preference", started) == PAIR | {"prompt": [SYSTEM, ASK]}


def test_an_answer_that_both_begin_with_is_no_prompt() -> None:
    row = {"chosen": [ASK, SAY, ASK, SAY], "rejected": [ASK, SAY]}
    assert made("preference", row)["prompt"] == [ASK]


def test_a_system_message_in_a_column_of_its_own_goes_first() -> None:
    row = {"system": "Be kind.", "prompt": "Hi", "chosen": "Hello!", "rejected": "What?"}
    assert made("preference", row) == PAIR | {"prompt": [SYSTEM, ASK]}
    assert made("preference", row, chat=False)["prompt"] == "Be kind.\n\nHi"
    assert made("preference", row | {"prompt": [SYSTEM, ASK]})["prompt"] == [SYSTEM, ASK]
    assert made("thumbs", {"system": "Be kind.", "prompt": "Hi", "completion": "Hello!", "label": 1})["prompt"] == [
        SYSTEM,
        ASK,
    ]


def test_plain_text_stays_text_where_the_model_does_not_chat() -> None:
    row = {"prompt": "Hi", "chosen": "Hello!", "rejected": "What?"}
    assert made("preference", row, chat=False) == row
    repeated = {"prompt": "Hi. ", "chosen": "Hi. Hello!", "rejected": "Hi. What?"}
    assert made("preference", repeated, chat=False) == row | {"prompt": "Hi. "}
    alone = {"chosen": "User: Hi\nBot: Hello!", "rejected": "User: Hi\nBot: Help?"}
    assert made("preference", alone, chat=False) == {
        "prompt": "User: Hi\nBot: ",
        "chosen": "Hello!",
        "rejected": "Help?",
    }


def test_how_clear_a_judgement_was_stays_when_it_is_a_number() -> None:
    row = {"prompt": "Hi", "chosen": "Hello!", "rejected": "What?"}
    assert made("preference", row | {"margin": 2})["margin"] == 2.0
    assert "margin" not in made("preference", row | {"margin": "much"})
    assert "margin" not in made("preference", row | {"margin": True})


@pytest.mark.parametrize(("row", "reason"), [
    ({"prompt": "Hi", "chosen": "Hello!", "rejected": "Hello!"}, "both answers are the same"),
    ({"prompt": "Hi", "chosen": "", "rejected": "What?"}, "an empty answer"),
    ({"prompt": "Hi", "chosen": [SAY], "rejected": [{"role": "assistant", "content": " "}]}, "an empty answer"),
    ({"prompt": "Hi", "chosen": [SAY], "rejected": []}, "an empty answer"),
    ({"prompt": "Hi", "chosen": [ASK, SAY], "rejected": "What?"}, "one answer is text and the other a list of turns"),
    ({"prompt": "Hi", "chosen": [5], "rejected": [SAY]}, "chosen or rejected is neither text nor a list of turns"),
    ({"prompt": "Hi", "chosen": None, "rejected": "What?"}, "chosen or rejected is neither text nor a list of turns"),
    ({"chosen": "Hello!", "rejected": "What?"}, "no prompt"),
    ({"chosen": [SAY], "rejected": [WORSE]}, "no prompt"),
], ids=str)  # fmt: skip
def test_what_is_no_pair_is_left_out_with_its_reason(row: dict[str, Any], reason: str) -> None:
    assert made("preference", row) == reason


def test_turns_need_a_model_that_chats() -> None:
    assert made("preference", PAIR, chat=False) == "conversations need a model with a chat format"


# -- ranks --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reference", ["Hello, dear Ada!", [BEST], BEST, [ASK, BEST], {"messages": [ASK, BEST]}, turns(("gpt", "Hello, dear Ada!"))])  # fmt: skip
def test_a_best_answer_may_repeat_the_prompt(reference: Any) -> None:
    assert made("ranked", PAIR | {"reference": reference}) == PAIR | {"reference": [BEST]}


def test_a_rank_without_a_best_answer_is_left_out() -> None:
    assert made("ranked", PAIR | {"reference": ""}) == "an empty reference"
    assert made("ranked", PAIR | {"reference": [ASK]}) == "an empty reference"
    assert made("ranked", PAIR) == "the reference is neither text nor a list of turns"
    assert (
        made("ranked", {"prompt": "Hi", "chosen": "a", "rejected": "a", "reference": "b"})
        == "both answers are the same"
    )


def test_plain_ranks_stay_text() -> None:
    row = {"prompt": "Hi. ", "chosen": "Hello!", "rejected": "What?", "reference": "Hello, dear Ada!"}
    assert made("ranked", row, chat=False) == row
    assert made("ranked", row | {"reference": "Hi. Hello, dear Ada!"}, chat=False) == row


# -- thumbs -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("label", "liked"), [
    (True, True), (False, False), (1, True), (0, False), (1.0, True), (0.0, False), ("true", True), ("No", False), (" 👍 ", True), ("👎", False),
    ("-1", False), ("up", True), ("disliked", False),
])  # fmt: skip
def test_a_thumb_is_read_in_every_usual_writing(label: Any, liked: bool) -> None:
    row = {"prompt": "Hi", "completion": "Hello!", "label": label}
    assert made("thumbs", row) == {"prompt": [ASK], "completion": [SAY], "label": liked}


@pytest.mark.parametrize("label", [None, "", "maybe", 2, 0.5, [], {}])
def test_a_thumb_that_points_nowhere_is_left_out(label: Any) -> None:
    assert made("thumbs", {"prompt": "Hi", "completion": "Hello!", "label": label}) == "the label is neither yes nor no"


def test_an_answer_that_was_disliked_is_no_answer_to_expect() -> None:
    row = {"prompt": [ASK], "completion": [SAY], "label": False}
    assert rows.prompt_and_answer(row) == ([ASK], "")
    assert rows.prompt_and_answer(row | {"label": True}) == ([ASK], "Hello!")
    assert rows.prompt_and_answer(PAIR) == ([ASK], "Hello!")
    assert rows.prompt_and_answer(PAIR | {"reference": [BEST]}) == ([ASK], "Hello, dear Ada!")
    assert rows.prompt_and_answer({"prompt": [ASK], "answer": "4", "reference": "5"}) == ([ASK], "4"), (
        "a column of somebody's own"
    )


# -- steps and hints ----------------------------------------------------------------------------------------------


def test_a_solution_is_judged_step_by_step() -> None:
    row = {"prompt": "2 + 2 + 2", "completions": ["That is 4.", "That is 6."], "labels": ["yes", 1], "source": "x"}
    assert made("stepwise", row) == {"prompt": "2 + 2 + 2", "completions": ["That is 4.", "That is 6."], "labels": [True, True]}  # fmt: skip


@pytest.mark.parametrize(("change", "reason"), [
    ({"prompt": ""}, "the prompt is no text"), ({"prompt": [ASK]}, "the prompt is no text"),
    ({"completions": []}, "the steps are not a list of texts"), ({"completions": ["a", " "]}, "the steps are not a list of texts"),
    ({"labels": [True]}, "not every step is judged right or wrong"), ({"labels": [True, "perhaps"]}, "not every step is judged right or wrong"),
])  # fmt: skip
def test_a_solution_that_is_not_judged_throughout_is_left_out(change: dict[str, Any], reason: str) -> None:
    row = {"prompt": "2 + 2 + 2", "completions": ["That is 4.", "That is 6."], "labels": [True, False]}
    assert made("stepwise", row | change) == reason


def test_a_hint_is_told_beside_the_question() -> None:
    row = {"prompt": "Hi", "privileged_context": "Ada is here.", "id": 7}
    assert made("hinted", row) == {"prompt": [ASK], "privileged_context": "Ada is here.", "id": 7}
    assert made("hinted", row | {"privileged_context": " "}) == "empty prompt or hint"
