"""Replay buffer: which groups are kept, which are sampled, and how they replace groups of a batch, worked by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from app.engine.trainers.group_rl.replay_buffer import ReplayBuffer, extract_group, group_priorities, insert_groups
from app.engine.trainers.group_rl.retry_failed_prompts import add_retries

PAD = 0


def group_named(name: str) -> dict[str, Any]:
    return {"prompt": [name]}


def test_the_highest_priorities_are_kept_and_of_equal_ones_the_oldest() -> None:
    replay_buffer = ReplayBuffer(2)
    for priority, name in ((1.0, "weak"), (3.0, "strong"), (2.0, "older"), (2.0, "newer")):
        replay_buffer.add(priority, group_named(name))
    assert [(priority, group["prompt"]) for priority, group in replay_buffer.groups] == [
        (3.0, ["strong"]),
        (2.0, ["older"]),
    ]


def test_a_buffer_of_capacity_0_stays_empty() -> None:
    replay_buffer = ReplayBuffer(0)
    replay_buffer.add(1.0, group_named("any"))
    assert replay_buffer.groups == []
    assert replay_buffer.sample(3, seed=7) == []


def test_sampling_is_seeded_without_replacement_and_weighted_by_priority() -> None:
    replay_buffer = ReplayBuffer(3, [(98.0, group_named("a")), (1.0, group_named("b")), (1.0, group_named("c"))])
    assert sorted(group["prompt"][0] for group in replay_buffer.sample(5, seed=1)) == ["a", "b", "c"]
    assert replay_buffer.sample(2, seed=4) == replay_buffer.sample(2, seed=4)
    assert sum(replay_buffer.sample(1, seed)[0]["prompt"] == ["a"] for seed in range(100)) > 85


def test_the_priority_is_the_advantages_times_the_reward_spread() -> None:
    """Two groups of two: rewards 1 and 0 (standard deviation √½) with advantages ±½, and equal rewards. A missing reward has no effect."""
    nan = float("nan")
    rewards = torch.tensor([[1.0, nan], [0.0, nan], [1.0, 2.0], [1.0, 2.0]])
    assert group_priorities(rewards, torch.tensor([0.5, -0.5, 0.0, 0.0]), 2) == [pytest.approx(0.5**0.5), 0.0]


def example_batch() -> dict[str, Any]:
    """Two groups of two completions. The first group's prompt is 5 6, the second's 7; the last completion was truncated and is masked."""
    return {
        "prompt_ids": torch.tensor([[5, 6], [5, 6], [PAD, 7], [PAD, 7]]),
        "prompt_mask": torch.tensor([[1, 1], [1, 1], [0, 1], [0, 1]]),
        "completion_ids": torch.tensor([[11, PAD], [12, 13], [14, 15], [16, 17]]),
        "completion_mask": torch.tensor([[1, 0], [1, 1], [1, 1], [0, 0]]),
        "advantages": torch.tensor([1.0, -1.0, 0.0, 0.0]),
        "ref_per_token_logps": torch.tensor([[-0.1, 0.0], [-0.2, -0.3], [-0.4, -0.5], [-0.6, -0.7]]),
        "num_items_in_batch": torch.tensor(5),
    }


FIRST_GROUP = {"prompt": [5, 6], "answers": [[11], [12, 13]], "counts": [True, True], "advantages": [1.0, -1.0],
         "reference": [[pytest.approx(-0.1)], [pytest.approx(-0.2), pytest.approx(-0.3)]]}  # fmt: skip


def test_an_extracted_group_has_no_padding() -> None:
    assert extract_group(example_batch(), 0, 2) == FIRST_GROUP
    second_group = extract_group(example_batch(), 2, 2)
    assert (second_group["prompt"], second_group["answers"], second_group["counts"]) == (
        [7],
        [[14, 15], [16, 17]],
        [True, False],
    )
    del (batch_without_reference := example_batch())["ref_per_token_logps"]
    assert extract_group(batch_without_reference, 0, 2)["reference"] is None


def test_reinserting_a_group_at_its_own_index_changes_nothing() -> None:
    before = example_batch()
    after = insert_groups(example_batch(), {0: extract_group(before, 0, 2), 1: extract_group(before, 2, 2)}, 2, PAD)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_longer_group_pads_prompts_on_the_left_and_completions_on_the_right() -> None:
    longer_group = {"prompt": [1, 2, 3], "answers": [[21, 22, 23], [24]], "counts": [True, False], "advantages": [0.7, -0.7], "reference": [[-1.0, -2.0, -3.0], [-4.0]]}  # fmt: skip
    new_batch = insert_groups(example_batch(), {1: longer_group}, 2, PAD)
    assert new_batch["prompt_ids"].tolist() == [[PAD, 5, 6], [PAD, 5, 6], [1, 2, 3], [1, 2, 3]]
    assert new_batch["prompt_mask"].tolist() == [[0, 1, 1], [0, 1, 1], [1, 1, 1], [1, 1, 1]]
    assert new_batch["completion_ids"].tolist() == [[11, PAD, PAD], [12, 13, PAD], [21, 22, 23], [24, PAD, PAD]]
    assert new_batch["completion_mask"].tolist() == [[1, 0, 0], [1, 1, 0], [1, 1, 1], [0, 0, 0]]
    assert new_batch["advantages"].tolist() == pytest.approx([1.0, -1.0, 0.7, -0.7])
    assert new_batch["ref_per_token_logps"][2:].tolist() == [[-1.0, -2.0, -3.0], [-4.0, 0.0, 0.0]]
    assert new_batch["num_items_in_batch"] == 6
    assert example_batch()["prompt_ids"].shape == (4, 2), "the original batch must not change"


def test_a_shorter_group_overwrites_all_tokens_of_the_old_group() -> None:
    shorter_group = {"prompt": [9], "answers": [[31], [32]], "counts": [True, True], "advantages": [0.5, -0.5], "reference": [[-1.0], [-2.0]]}  # fmt: skip
    new_batch = insert_groups(example_batch(), {0: shorter_group}, 2, PAD)
    assert new_batch["prompt_ids"][:2].tolist() == [[PAD, 9], [PAD, 9]]
    assert new_batch["completion_ids"][:2].tolist() == [[31, PAD], [32, PAD]]
    assert new_batch["completion_mask"][:2].tolist() == [[1, 0], [1, 0]]
    assert new_batch["ref_per_token_logps"][:2].tolist() == [[-1.0, 0.0], [-2.0, 0.0]]


@pytest.mark.parametrize(("prompts", "failed_prompts", "max_retries", "expected"), [
    ([1, 2, 3], [], 2, ([1, 2, 3], 0)), ([1, 2, 3], [8, 9], 0, ([1, 2, 3], 0)), ([1, 2, 3], [8, 9], 1, ([1, 2, 8], 1)),
    ([1, 2, 3], [8, 9], 5, ([1, 8, 9], 2)), ([1], [8, 9], 5, ([8], 1)),
])  # fmt: skip
def test_the_oldest_failed_prompts_replace_the_last_prompts(
    prompts: list[int], failed_prompts: list[int], max_retries: int, expected: Any
) -> None:
    assert add_retries(prompts, failed_prompts, max_retries) == expected
