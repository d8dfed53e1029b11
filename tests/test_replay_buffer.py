"""Replay: what is remembered, what is drawn, and how it takes its place in a batch, worked by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from app.engine.trainers.group_rl.replay_buffer import ReplayBuffer, extract_group, group_priorities, insert_groups
from app.engine.trainers.group_rl.retry_failed_prompts import add_retries

PAD = 0


def named(name: str) -> dict[str, Any]:
    return {"prompt": [name]}


def test_the_strongest_are_kept_and_of_equals_the_older() -> None:
    memory = ReplayBuffer(2)
    for strength, name in ((1.0, "weak"), (3.0, "strong"), (2.0, "older"), (2.0, "newer")):
        memory.add(strength, named(name))
    assert [(strength, group["prompt"]) for strength, group in memory.groups] == [(3.0, ["strong"]), (2.0, ["older"])]


def test_nothing_is_remembered_when_there_is_no_room() -> None:
    memory = ReplayBuffer(0)
    memory.add(1.0, named("any"))
    assert memory.groups == []
    assert memory.sample(3, seed=7) == []


def test_what_is_drawn_are_different_ones_by_seed_and_the_stronger_more_often() -> None:
    memory = ReplayBuffer(3, [(98.0, named("a")), (1.0, named("b")), (1.0, named("c"))])
    assert sorted(group["prompt"][0] for group in memory.sample(5, seed=1)) == ["a", "b", "c"]
    assert memory.sample(2, seed=4) == memory.sample(2, seed=4)
    assert sum(memory.sample(1, seed)[0]["prompt"] == ["a"] for seed in range(100)) > 85


def test_what_a_group_can_teach() -> None:
    """Two groups of two: rewards 1 and 0 (spread √½) with advantages ±½, and equal ones; a reward that is missing says nothing."""
    nan = float("nan")
    earned = torch.tensor([[1.0, nan], [0.0, nan], [1.0, 2.0], [1.0, 2.0]])
    assert group_priorities(earned, torch.tensor([0.5, -0.5, 0.0, 0.0]), 2) == [pytest.approx(0.5**0.5), 0.0]


def batch() -> dict[str, Any]:
    """Two groups of two answers. The first group's prompt is 5 6, the second's 7; an answer was cut off and does not count."""
    return {
        "prompt_ids": torch.tensor([[5, 6], [5, 6], [PAD, 7], [PAD, 7]]),
        "prompt_mask": torch.tensor([[1, 1], [1, 1], [0, 1], [0, 1]]),
        "completion_ids": torch.tensor([[11, PAD], [12, 13], [14, 15], [16, 17]]),
        "completion_mask": torch.tensor([[1, 0], [1, 1], [1, 1], [0, 0]]),
        "advantages": torch.tensor([1.0, -1.0, 0.0, 0.0]),
        "ref_per_token_logps": torch.tensor([[-0.1, 0.0], [-0.2, -0.3], [-0.4, -0.5], [-0.6, -0.7]]),
        "num_items_in_batch": torch.tensor(5),
    }


FIRST = {"prompt": [5, 6], "answers": [[11], [12, 13]], "counts": [True, True], "advantages": [1.0, -1.0],
         "reference": [[pytest.approx(-0.1)], [pytest.approx(-0.2), pytest.approx(-0.3)]]}  # fmt: skip


def test_a_group_is_kept_without_padding() -> None:
    assert extract_group(batch(), 0, 2) == FIRST
    second = extract_group(batch(), 2, 2)
    assert (second["prompt"], second["answers"], second["counts"]) == ([7], [[14, 15], [16, 17]], [True, False])
    del (bare := batch())["ref_per_token_logps"]
    assert extract_group(bare, 0, 2)["reference"] is None


def test_a_group_put_back_into_its_own_place_changes_nothing() -> None:
    before = batch()
    after = insert_groups(batch(), {0: extract_group(before, 0, 2), 1: extract_group(before, 2, 2)}, 2, PAD)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_longer_group_widens_the_batch_on_the_right_sides() -> None:
    long = {"prompt": [1, 2, 3], "answers": [[21, 22, 23], [24]], "counts": [True, False], "advantages": [0.7, -0.7], "reference": [[-1.0, -2.0, -3.0], [-4.0]]}  # fmt: skip
    made = insert_groups(batch(), {1: long}, 2, PAD)
    assert made["prompt_ids"].tolist() == [[PAD, 5, 6], [PAD, 5, 6], [1, 2, 3], [1, 2, 3]]
    assert made["prompt_mask"].tolist() == [[0, 1, 1], [0, 1, 1], [1, 1, 1], [1, 1, 1]]
    assert made["completion_ids"].tolist() == [[11, PAD, PAD], [12, 13, PAD], [21, 22, 23], [24, PAD, PAD]]
    assert made["completion_mask"].tolist() == [[1, 0, 0], [1, 1, 0], [1, 1, 1], [0, 0, 0]]
    assert made["advantages"].tolist() == pytest.approx([1.0, -1.0, 0.7, -0.7])
    assert made["ref_per_token_logps"][2:].tolist() == [[-1.0, -2.0, -3.0], [-4.0, 0.0, 0.0]]
    assert made["num_items_in_batch"] == 6
    assert batch()["prompt_ids"].shape == (4, 2), "the batch it was made from is left alone"


def test_a_shorter_group_leaves_nothing_of_what_stood_there() -> None:
    short = {"prompt": [9], "answers": [[31], [32]], "counts": [True, True], "advantages": [0.5, -0.5], "reference": [[-1.0], [-2.0]]}  # fmt: skip
    made = insert_groups(batch(), {0: short}, 2, PAD)
    assert made["prompt_ids"][:2].tolist() == [[PAD, 9], [PAD, 9]]
    assert made["completion_ids"][:2].tolist() == [[31, PAD], [32, PAD]]
    assert made["completion_mask"][:2].tolist() == [[1, 0], [1, 0]]
    assert made["ref_per_token_logps"][:2].tolist() == [[-1.0, 0.0], [-2.0, 0.0]]


@pytest.mark.parametrize(("asked", "failed", "most", "found"), [
    ([1, 2, 3], [], 2, ([1, 2, 3], 0)), ([1, 2, 3], [8, 9], 0, ([1, 2, 3], 0)), ([1, 2, 3], [8, 9], 1, ([1, 2, 8], 1)),
    ([1, 2, 3], [8, 9], 5, ([1, 8, 9], 2)), ([1], [8, 9], 5, ([8], 1)),
])  # fmt: skip
def test_prompts_that_failed_longest_ago_take_the_last_places(
    asked: list[int], failed: list[int], most: int, found: Any
) -> None:
    assert add_retries(asked, failed, most) == found
