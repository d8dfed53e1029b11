"""Matching meaning: every formula by numbers worked by hand, where pieces stand and what they see, and which rows become what."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from app.engine.contracts import SamplingSettings, load_method
from app.engine.generation.end_tokens import cut_after_first_end, mask_until_end
from app.engine.generation.sampling import sample_token_ids
from app.engine.trainers.ebft import blocks, prompt_rows
from app.engine.trainers.ebft.blocks import BlockPlan
from app.engine.trainers.ebft.feature_rewards import ESTIMATORS, RewardWeights, advantages, score_features, whiten
from app.engine.trainers.ebft.features import layer_indices, pool
from app.engine.trainers.ebft.tokenized_prompts import TokenizedPrompt, cut_after_last_end

ATTEMPTS, TRUTH = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]]), torch.tensor([1.0, 0.0])


def close(found: Any, wanted: Any) -> bool:
    return torch.allclose(torch.as_tensor(found, dtype=torch.float), torch.tensor(wanted, dtype=torch.float), atol=1e-5)


# -- rewards ------------------------------------------------------------------------------------------------------


def test_an_attempt_earns_by_the_truth_and_pays_for_what_the_others_say() -> None:
    """cosines 1, 0, 0.6; dot products 0 (first and second), 0.6 (first and third), 0.8 (second and third)."""
    found = score_features(ATTEMPTS, TRUTH, RewardWeights())
    assert close(found.alignment, [1, 0, 0.6])
    assert close(found.diversity, [0.3, 0.4, 0.7])
    assert close(found.rewards, [2 - 0.6, 0 - 0.8, 1.2 - 1.4])
    assert close(
        score_features(ATTEMPTS, TRUTH, RewardWeights(alignment=0.5, diversity=2)).rewards,
        [1 - 1.2, 0 - 1.6, 0.6 - 2.8],
    )


def test_only_the_alignment_is_a_cosine() -> None:
    """(3, 4) and (6, 8) against (3, 4): both point at the truth, and their dot product is 18 + 32."""
    found = score_features(torch.tensor([[3.0, 4.0], [6.0, 8.0]]), torch.tensor([3.0, 4.0]), RewardWeights())
    assert close(found.alignment, [1, 1])
    assert close(found.diversity, [50, 50])
    assert close(found.rewards, [-98, -98])


def test_the_matching_loss_is_the_distance_of_the_mean() -> None:
    """The mean is (1.6, 1.8)/3; from (1, 0) it lies 1.4/3 and 1.8/3 away."""
    assert close(score_features(ATTEMPTS, TRUTH, RewardWeights()).cfm, (1.4**2 + 1.8**2) / 9)


def test_a_single_attempt_pays_for_nothing() -> None:
    found = score_features(ATTEMPTS[2:], TRUTH, RewardWeights(diversity=5))
    assert close(found.diversity, [0])
    assert close(found.rewards, [1.2])


def test_groups_are_scored_apart() -> None:
    both = score_features(
        torch.stack([ATTEMPTS, ATTEMPTS.flip(0)]), torch.stack([TRUTH, torch.tensor([0.0, 1.0])]), RewardWeights()
    )
    assert close(both.rewards, [[1.4, -0.8, -0.2], [1.6 - 1.4, 2 - 0.8, 0 - 0.6]])
    assert both.cfm.shape == (2,)


def test_whitening_worked_by_hand() -> None:
    """Attempts (3, 0) and (0, 2): U is the plane's own axes, S is 3 and 2, so W = diag(1/3, 1/2). The truth goes through it too."""
    written, truth = torch.tensor([[3.0, 0.0], [0.0, 2.0]]), torch.tensor([6.0, 2.0])
    assert close(whiten(written, truth)[0], [[1, 0], [0, 1]])
    assert close(whiten(written, truth)[1], [2, 1])
    found = score_features(written, truth, RewardWeights(whitening=True))
    assert close(found.alignment, [2 / math.sqrt(5), 1 / math.sqrt(5)])
    assert close(found.diversity, [0, 0])
    assert close(found.cfm, 1.5**2 + 0.5**2)
    assert close(found.rewards, [4 / math.sqrt(5), 2 / math.sqrt(5)])
    assert close(found.unwhitened_alignment, [6 / math.sqrt(40), 2 / math.sqrt(40)]), "before whitening"


def test_whitening_leaves_out_directions_that_no_attempt_has() -> None:
    """Twice (1, 1): S is 2 along (1, 1)/√2 and 0 across, so W is a quarter everywhere; of (1, 0) only the part along is left."""
    same, truth = whiten(torch.ones(2, 2), torch.tensor([1.0, 0.0]))
    assert close(same, [[0.5, 0.5], [0.5, 0.5]])
    assert close(truth, [0.25, 0.25])
    assert close(
        score_features(torch.ones(2, 2), torch.tensor([1.0, 0.0]), RewardWeights(whitening=True)).diversity, [0.5, 0.5]
    )


def test_whitening_is_the_matrix_of_the_source() -> None:
    """W = U·diag(1/S)·Uᵀ, made whole, does the same to more features than attempts."""
    torch.manual_seed(7)
    written, truth = torch.randn(4, 9), torch.randn(9)
    u, s, _ = torch.linalg.svd(written.T, full_matrices=False)
    matrix = u @ torch.diag(1 / s) @ u.T
    assert close(whiten(written, truth)[0], (written @ matrix).tolist())
    assert close(whiten(written, truth)[1], (matrix @ truth).tolist())


@pytest.mark.parametrize(("estimator", "worth"), [
    ("rloo", [1 - 4, 2 - 3.5, 6 - 1.5]),  # the mean of the two others
    ("group_norm", [-2 / math.sqrt(7), -1 / math.sqrt(7), 3 / math.sqrt(7)]),  # variance (4 + 1 + 9)/2
    ("reinforce", [1, 2, 6]),
])  # fmt: skip
def test_what_an_attempt_is_worth_among_its_group(estimator: str, worth: list[float]) -> None:
    assert close(advantages(torch.tensor([1.0, 2.0, 6.0]), estimator), worth)
    assert close(advantages(torch.tensor([[1.0, 2.0, 6.0], [5.0, 5.0, 5.0]]), estimator)[0], worth)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_single_attempt_counts_as_it_is(estimator: str) -> None:
    assert close(advantages(torch.tensor([[3.0], [-1.0]]), estimator), [[3], [-1]])


def test_attempts_that_earn_the_same_teach_nothing() -> None:
    assert close(advantages(torch.tensor([5.0, 5.0, 5.0]), "rloo"), [0, 0, 0])
    assert close(advantages(torch.tensor([5.0, 5.0, 5.0]), "group_norm"), [0, 0, 0])


# -- features -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("depth", "places"), [(32, [8, 16, 24]), (4, [1, 2, 3]), (30, [7, 15, 22]), (28, [7, 14, 21])])
def test_layers_lie_at_shares_of_the_depth(depth: int, places: list[int]) -> None:
    assert layer_indices([0.75, 0.25, 0.5], depth) == places


def test_the_ends_of_the_depth_are_the_words_and_the_last_layer() -> None:
    assert layer_indices([0.0, 1.0], 4) == [0, 4]


@pytest.mark.parametrize(("pooling", "first", "second"), [
    ("last_token", [4], [7]),
    ("mean_pooling", [2.5], [6.5]),
    ("completion_mean", [3], [0]),  # the second text has no answer
    ("concat", [2, 3, 4], [6, 7, 7]),  # places 1, 2, 3 of four tokens; 0, 1, 1 of two
])  # fmt: skip
def test_poolings_worked_by_hand(pooling: str, first: list[float], second: list[float]) -> None:
    """Five tokens 1 2 3 4 99, of which four count and the answer begins at the second; 6 7 99 99 99, of which two count."""
    states = torch.tensor([[1.0, 2, 3, 4, 99], [6, 7, 99, 99, 99]])[..., None]
    assert close(pool(states, torch.tensor([4, 2]), torch.tensor([1, 2]), pooling), [first, second])


# -- pieces -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("length", "expected"), [(256, 31), (16, 1), (15, 0), (23, 1), (24, 2), (0, 0)])
def test_how_many_pieces_a_text_has(length: int, expected: int) -> None:
    """(length − 8 − 8)/8 + 1 at the usual settings."""
    assert blocks.count_blocks(length, 8, 8, 8) == expected


def test_pieces_leave_out_the_question_and_the_first_words_of_an_answer() -> None:
    assert BlockPlan(2, 2, 2).trained_starts(10, 0) == [2, 4, 6, 8]
    assert BlockPlan(2, 2, 2).trained_starts(10, 5) == [6, 8]
    assert BlockPlan(2, 2, 2, skip=3).trained_starts(10, 5) == [8]
    assert BlockPlan(2, 2, 2, skip=3).trained_starts(10, 0) == [2, 4, 6, 8], "plain text has no question"


def picture(seen: Any) -> list[str]:
    return ["".join("x" if one else "." for one in row) for row in seen.tolist()]


def laid(plan: BlockPlan, lengths: list[int], begins: list[int] | None = None) -> blocks.BlockLayout:
    mask = torch.tensor([[int(i < length) for i in range(max(lengths))] for length in lengths])
    return blocks.build_layout(plan, mask, torch.tensor(begins or [0] * len(lengths)))


def test_the_mask_worked_by_hand() -> None:
    """Six tokens; two pieces of two tokens after two and after four of them, side by side: first tokens, then second ones."""
    found = laid(BlockPlan(2, 2, 2), [6])
    assert picture(found.attention_mask[0]) == [
        "x.........", "xx........", "xxx.......", "xxxx......", "xxxxx.....", "xxxxxx....",
        "xx....x...",  # the first piece
        "xxxx...x..",  # the second
        "xx....x.x.", "xxxx...x.x",
    ]  # fmt: skip
    assert found.position_ids.tolist() == [0, 1, 2, 3, 4, 5, 2, 4, 3, 5]
    assert found.attempted.tolist() == [[True, True]]


def test_a_single_piece_sees_nothing_that_comes_later() -> None:
    assert picture(laid(BlockPlan(2, 2, 3), [5]).attention_mask[0])[5:] == ["xx...x..", "xx...xx.", "xx...xxx"]


def test_a_piece_may_see_its_context_alone() -> None:
    found = laid(BlockPlan(2, 2, 2, context_only=True), [6])
    assert picture(found.attention_mask[0])[6:] == ["xx....x...", "..xx...x..", "xx....x.x.", "..xx...x.x"]
    assert picture(found.attention_mask[0])[:6] == picture(laid(BlockPlan(2, 2, 2), [6]).attention_mask[0])[:6]


def test_a_shorter_text_of_a_batch_has_fewer_pieces() -> None:
    """Nobody sees its padding, and its padding sees itself, so that no row of the mask is empty."""
    found = laid(BlockPlan(2, 2, 2), [6, 4], [0, 0])
    assert found.attempted.tolist() == [[True, True], [True, False]]
    assert picture(found.attention_mask[1])[4] == "xxxxx....."[:4] + "x....."
    assert picture(found.attention_mask[1])[5] == "xxxx.x...."
    assert picture(found.attention_mask[1])[8] == "xx....x.x."
    assert laid(BlockPlan(2, 2, 2), [6, 6], [0, 3]).attempted.tolist() == [[True, True], [False, True]]


def test_the_mask_as_attention_adds_it() -> None:
    added = blocks.additive_mask(torch.tensor([[[True, False]]]), torch.float32)
    assert added.shape == (1, 1, 1, 2)
    assert added.flatten().tolist() == [0, torch.finfo(torch.float32).min]


def test_what_the_text_says_where_pieces_stand() -> None:
    ids = torch.tensor([[10, 11, 12, 13, 14, 15]])
    assert blocks.reference_blocks(laid(BlockPlan(2, 2, 2), [6]), ids).tolist() == [[[12, 13], [14, 15]]]
    assert blocks.append_blocks(ids, torch.tensor([[[1, 2], [3, 4]]])).tolist() == [
        [10, 11, 12, 13, 14, 15, 1, 3, 2, 4]
    ]


def test_what_follows_an_end_was_never_meant() -> None:
    assert mask_until_end(torch.tensor([[5, 2, 7, 2], [5, 6, 7, 8]]), [2, 3]).tolist() == [
        [True, True, False, False],
        [True, True, True, True],
    ]
    assert cut_after_first_end([5, 2, 7, 2], [2]) == [5, 2]
    assert cut_after_first_end([5, 6], [2]) == [5, 6]


# -- writing ------------------------------------------------------------------------------------------------------


def drawn_from(**limits: float) -> set[int]:
    torch.manual_seed(7)
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log().expand(2, 500, 4)
    found = sample_token_ids(logits, SamplingSettings(max_new_tokens=1, **{"temperature": 1.0} | limits))
    assert found.shape == (2, 500)
    return {*found.flatten().tolist()}


def test_tokens_are_drawn_as_asked() -> None:
    assert drawn_from() == {0, 1, 2, 3}
    assert drawn_from(temperature=0) == {0}
    assert drawn_from(top_p=0.7) == {0, 1}
    assert drawn_from(top_k=3) == {0, 1, 2}
    assert drawn_from(min_p=0.25) == {0, 1, 2}


@pytest.mark.parametrize(("lengths", "times", "limit"), [
    ([4, 10], 1.5, 15), ([3], 1.5, 5), ([40], 1.5, 20), ([10], 0.0, 20), ([1], 0.1, 1),
])  # fmt: skip
def test_attempts_get_a_little_longer_than_the_truth(lengths: list[int], times: float, limit: int) -> None:
    assert prompt_rows.completion_limit(lengths, times, 20) == limit


# -- rows ---------------------------------------------------------------------------------------------------------

SAID = [{"role": role, "content": f"{role} {i}"} for i in range(2) for role in ("user", "assistant")]


def test_a_conversation_may_be_written_turn_by_turn() -> None:
    found, _ = prompt_rows.expand_prompts([{"messages": [*SAID, {"role": "user", "content": "bye"}]}], "conversation")
    assert found == [{"prompt": SAID[:1], "completion": SAID[1:]}]


@pytest.mark.parametrize(("turns", "lengths"), [("first", [1]), ("last", [3]), ("all", [1, 3])])
def test_a_conversation_asks_for_its_first_its_last_or_all_answers(turns: str, lengths: list[int]) -> None:
    found, left_out = prompt_rows.expand_prompts([{"messages": SAID}], turns)
    assert [len(row["prompt"]) for row in found] == lengths
    assert [row["completion"] for row in found] == [[SAID[length]] for length in lengths]
    assert not left_out


def test_rows_that_cannot_be_used_are_counted() -> None:
    asked = [{"messages": [{"role": "assistant", "content": "I begin."}]}, {"prompt": "a", "completion": "b"},
             {"prompt": "a", "completion": "b", "tools": ["c"]}]  # fmt: skip
    found, left_out = prompt_rows.expand_prompts(asked, "all")
    assert found == [{"prompt": "a", "completion": "b"}]
    assert left_out == {prompt_rows.NO_ANSWER: 1, prompt_rows.HAS_TOOLS_OR_IMAGES: 1}


def test_an_answer_ends_with_its_end_token() -> None:
    assert cut_after_last_end([5, 6, 2, 9], [2, 3]) == [5, 6, 2]
    assert cut_after_last_end([5, 3, 6, 2, 9, 9], [2, 3]) == [5, 3, 6, 2]
    assert cut_after_last_end([5, 6], [2]) == [5, 6]


def test_of_a_conversation_only_the_answers_are_learned() -> None:
    told = TokenizedPrompt([1, 2], [[3, 9], [6, 9]], [[4, 5]])
    assert told.completion_ids == [3, 9, 4, 5, 6, 9]
    assert told.labels == [-100, -100, 3, 9, -100, -100, 6, 9]


# -- settings -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [
    {"layers": []}, {"layers": [0.5, 1.5]}, {"rl_weight": 0.0, "ce_weight": 0.0}, {"attempts": 0}, {"stride": 0}, {"pooling": "first"},
])  # fmt: skip
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        load_method("ebft").knobs.model_validate(wrong)
