"""Zero-variance groups: which groups have no advantage, and the loss scale when they are left out, worked by hand."""

from __future__ import annotations

import pytest
import torch

from app.engine.trainers.group_rl.zero_variance_groups import loss_scale, select_rows, total_rewards, zero_variance_mask

NAN = float("nan")


def zero_variance(rewards: list[list[float]], group_size: int) -> list[bool]:
    return zero_variance_mask(torch.tensor(rewards), group_size).tolist()


def test_a_group_has_zero_variance_when_all_scored_completions_have_the_same_reward() -> None:
    assert zero_variance([[1.0], [1.0], [0.0], [1.0]], 2) == [True, False]
    assert zero_variance([[NAN], [0.5], [0.5], [NAN], [NAN], [NAN]], 3) == [True, True]
    assert zero_variance([[NAN], [0.5], [0.6]], 3) == [False]
    assert zero_variance([[0.1], [0.1], [0.1 + 2e-6], [0.1]], 2) == [True, False]


def test_rewards_normalized_separately_must_all_have_zero_variance() -> None:
    """Two rewards may have equal sums and still differ between completions when each reward is normalized by itself."""
    assert zero_variance([[1.0, 0.0], [0.0, 1.0]], 2) == [False]
    assert zero_variance([[1.0, 0.5], [1.0, 0.5]], 2) == [True]
    assert zero_variance_mask(total_rewards(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([1.0, 1.0]))[:, None], 2).tolist() == [True]  # fmt: skip


def test_the_total_reward_is_the_weighted_sum_of_the_available_scores() -> None:
    totals = total_rewards(torch.tensor([[1.0, 2.0], [NAN, 2.0], [NAN, NAN]]), torch.tensor([1.0, 0.5]))
    assert totals[:2].tolist() == [2.0, 1.0]
    assert totals[2].isnan()


def test_selecting_rows_leaves_batch_wide_entries_unchanged() -> None:
    selected = select_rows({"ids": torch.tensor([[1], [2], [3]]), "num_items": torch.tensor(7), "none": None}, torch.tensor([True, False, True]))  # fmt: skip
    assert selected["ids"].tolist() == [[1], [3]]
    assert selected["num_items"] == 7
    assert selected["none"] is None


@pytest.mark.parametrize(("loss", "expected_scale"), [
    ("grpo", 0.5), ("sapo", 0.5), ("luspo", 0.5), ("dr_grpo", 0.5), ("rloo", 0.5), ("dapo", 1.0), ("cispo", 1.0), ("vespo", 1.0), ("bnpo", 0.4),
])  # fmt: skip
def test_the_loss_scale_of_each_loss_matches_its_normalization(loss: str, expected_scale: float) -> None:
    """Completions of 1, 2, 3 and 4 tokens; the first and third remain: 2 of 4 completions, 4 of 10 tokens."""
    completion_mask = torch.tensor([[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]])
    assert float(loss_scale(loss, {"completion_mask": completion_mask}, torch.tensor([True, False, True, False]))) == pytest.approx(expected_scale)  # fmt: skip
