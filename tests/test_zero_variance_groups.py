"""Silence: which groups teach nothing, worked by hand; and leaving them out changes neither loss nor gradient."""

from __future__ import annotations

import pytest
import torch

from app.engine.trainers.group_rl.zero_variance_groups import loss_scale, select_rows, total_rewards, zero_variance_mask

NAN = float("nan")


def told(judged: list[list[float]], size: int) -> list[bool]:
    return zero_variance_mask(torch.tensor(judged), size).tolist()


def test_a_group_is_silent_when_all_that_could_be_scored_earned_the_same() -> None:
    assert told([[1.0], [1.0], [0.0], [1.0]], 2) == [True, False]
    assert told([[NAN], [0.5], [0.5], [NAN], [NAN], [NAN]], 3) == [True, True]
    assert told([[NAN], [0.5], [0.6]], 3) == [False]
    assert told([[0.1], [0.1], [0.1 + 2e-6], [0.1]], 2) == [True, False]


def test_rewards_that_are_compared_apart_must_all_agree() -> None:
    """Two rewards may add up to the same and still tell the attempts apart, where each is compared by itself."""
    assert told([[1.0, 0.0], [0.0, 1.0]], 2) == [False]
    assert told([[1.0, 0.5], [1.0, 0.5]], 2) == [True]
    assert zero_variance_mask(total_rewards(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([1.0, 1.0]))[:, None], 2).tolist() == [True]  # fmt: skip


def test_a_total_weighs_what_could_be_scored() -> None:
    found = total_rewards(torch.tensor([[1.0, 2.0], [NAN, 2.0], [NAN, NAN]]), torch.tensor([1.0, 0.5]))
    assert found[:2].tolist() == [2.0, 1.0]
    assert found[2].isnan()


def test_a_part_of_a_batch_keeps_what_is_said_of_all_of_it() -> None:
    part = select_rows({"ids": torch.tensor([[1], [2], [3]]), "num_items": torch.tensor(7), "none": None}, torch.tensor([True, False, True]))  # fmt: skip
    assert part["ids"].tolist() == [[1], [3]]
    assert part["num_items"] == 7
    assert part["none"] is None


@pytest.mark.parametrize(("loss", "factor"), [
    ("grpo", 0.5), ("sapo", 0.5), ("luspo", 0.5), ("dr_grpo", 0.5), ("rloo", 0.5), ("dapo", 1.0), ("cispo", 1.0), ("vespo", 1.0), ("bnpo", 0.4),
])  # fmt: skip
def test_the_share_of_a_batch_by_what_its_loss_is_divided_by(loss: str, factor: float) -> None:
    """Four answers of 1, 2, 3 and 4 tokens, of which the first and the third are kept: 2 of 4 answers, 4 of 10 tokens."""
    mask = torch.tensor([[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]])
    assert float(loss_scale(loss, {"completion_mask": mask}, torch.tensor([True, False, True, False]))) == pytest.approx(factor)  # fmt: skip
