"""EBFT (feature matching): formulas with numbers worked by hand, block positions and attention masks, and how rows become prompts."""

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

ATTEMPT_FEATURES, REFERENCE_FEATURES = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]]), torch.tensor([1.0, 0.0])


def all_close(actual: Any, expected: Any) -> bool:
    return torch.allclose(
        torch.as_tensor(actual, dtype=torch.float), torch.tensor(expected, dtype=torch.float), atol=1e-5
    )


# -- rewards ------------------------------------------------------------------------------------------------------


def test_the_reward_is_twice_the_alignment_minus_twice_the_diversity() -> None:
    """Cosines 1, 0, 0.6; dot products 0 (first and second), 0.6 (first and third), 0.8 (second and third)."""
    scores = score_features(ATTEMPT_FEATURES, REFERENCE_FEATURES, RewardWeights())
    assert all_close(scores.alignment, [1, 0, 0.6])
    assert all_close(scores.diversity, [0.3, 0.4, 0.7])
    assert all_close(scores.rewards, [2 - 0.6, 0 - 0.8, 1.2 - 1.4])
    assert all_close(
        score_features(ATTEMPT_FEATURES, REFERENCE_FEATURES, RewardWeights(alignment=0.5, diversity=2)).rewards,
        [1 - 1.2, 0 - 1.6, 0.6 - 2.8],
    )


def test_alignment_is_a_cosine_and_diversity_a_dot_product() -> None:
    """(3, 4) and (6, 8) against (3, 4): both point in the reference's direction, and their dot product is 18 + 32."""
    scores = score_features(torch.tensor([[3.0, 4.0], [6.0, 8.0]]), torch.tensor([3.0, 4.0]), RewardWeights())
    assert all_close(scores.alignment, [1, 1])
    assert all_close(scores.diversity, [50, 50])
    assert all_close(scores.rewards, [-98, -98])


def test_cfm_is_the_squared_distance_of_the_mean_features_from_the_reference() -> None:
    """The mean is (1.6, 1.8)/3; it differs from (1, 0) by 1.4/3 and 1.8/3."""
    assert all_close(score_features(ATTEMPT_FEATURES, REFERENCE_FEATURES, RewardWeights()).cfm, (1.4**2 + 1.8**2) / 9)


def test_a_single_attempt_has_no_diversity_penalty() -> None:
    scores = score_features(ATTEMPT_FEATURES[2:], REFERENCE_FEATURES, RewardWeights(diversity=5))
    assert all_close(scores.diversity, [0])
    assert all_close(scores.rewards, [1.2])


def test_groups_are_scored_independently() -> None:
    scores = score_features(
        torch.stack([ATTEMPT_FEATURES, ATTEMPT_FEATURES.flip(0)]),
        torch.stack([REFERENCE_FEATURES, torch.tensor([0.0, 1.0])]),
        RewardWeights(),
    )
    assert all_close(scores.rewards, [[1.4, -0.8, -0.2], [1.6 - 1.4, 2 - 0.8, 0 - 0.6]])
    assert scores.cfm.shape == (2,)


def test_whitening_of_two_orthogonal_attempts() -> None:
    """Attempts (3, 0) and (0, 2): U is the identity, S is 3 and 2, so W = diag(1/3, 1/2). W is applied to the reference too."""
    features, reference = torch.tensor([[3.0, 0.0], [0.0, 2.0]]), torch.tensor([6.0, 2.0])
    assert all_close(whiten(features, reference)[0], [[1, 0], [0, 1]])
    assert all_close(whiten(features, reference)[1], [2, 1])
    scores = score_features(features, reference, RewardWeights(whitening=True))
    assert all_close(scores.alignment, [2 / math.sqrt(5), 1 / math.sqrt(5)])
    assert all_close(scores.diversity, [0, 0])
    assert all_close(scores.cfm, 1.5**2 + 0.5**2)
    assert all_close(scores.rewards, [4 / math.sqrt(5), 2 / math.sqrt(5)])
    assert all_close(scores.unwhitened_alignment, [6 / math.sqrt(40), 2 / math.sqrt(40)]), (
        "this is the alignment before whitening"
    )


def test_whitening_drops_directions_that_no_attempt_has() -> None:
    """Two attempts (1, 1): S is 2 along (1, 1)/√2 and 0 across it, so every element of W is 1/4; of (1, 0) only the part along it is left."""
    whitened_features, whitened_reference = whiten(torch.ones(2, 2), torch.tensor([1.0, 0.0]))
    assert all_close(whitened_features, [[0.5, 0.5], [0.5, 0.5]])
    assert all_close(whitened_reference, [0.25, 0.25])
    assert all_close(
        score_features(torch.ones(2, 2), torch.tensor([1.0, 0.0]), RewardWeights(whitening=True)).diversity, [0.5, 0.5]
    )


def test_whitening_equals_the_full_matrix_of_the_paper() -> None:
    """Multiplying by the full matrix W = U·diag(1/S)·Uᵀ gives the same result, with more features than attempts."""
    torch.manual_seed(7)
    features, reference = torch.randn(4, 9), torch.randn(9)
    u, s, _ = torch.linalg.svd(features.T, full_matrices=False)
    matrix = u @ torch.diag(1 / s) @ u.T
    assert all_close(whiten(features, reference)[0], (features @ matrix).tolist())
    assert all_close(whiten(features, reference)[1], (matrix @ reference).tolist())


@pytest.mark.parametrize(("estimator", "expected"), [
    ("rloo", [1 - 4, 2 - 3.5, 6 - 1.5]),  # the mean of the two others
    ("group_norm", [-2 / math.sqrt(7), -1 / math.sqrt(7), 3 / math.sqrt(7)]),  # variance (4 + 1 + 9)/2
    ("reinforce", [1, 2, 6]),
])  # fmt: skip
def test_advantages_within_a_group(estimator: str, expected: list[float]) -> None:
    assert all_close(advantages(torch.tensor([1.0, 2.0, 6.0]), estimator), expected)
    assert all_close(advantages(torch.tensor([[1.0, 2.0, 6.0], [5.0, 5.0, 5.0]]), estimator)[0], expected)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_advantage_of_a_single_attempt_is_its_reward(estimator: str) -> None:
    assert all_close(advantages(torch.tensor([[3.0], [-1.0]]), estimator), [[3], [-1]])


def test_equal_rewards_give_zero_advantages() -> None:
    assert all_close(advantages(torch.tensor([5.0, 5.0, 5.0]), "rloo"), [0, 0, 0])
    assert all_close(advantages(torch.tensor([5.0, 5.0, 5.0]), "group_norm"), [0, 0, 0])


# -- features -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer_count", "indices"), [(32, [8, 16, 24]), (4, [1, 2, 3]), (30, [7, 15, 22]), (28, [7, 14, 21])]
)
def test_layer_indices_are_fractions_of_the_depth(layer_count: int, indices: list[int]) -> None:
    assert layer_indices([0.75, 0.25, 0.5], layer_count) == indices


def test_depths_0_and_1_are_the_embeddings_and_the_last_layer() -> None:
    assert layer_indices([0.0, 1.0], 4) == [0, 4]


@pytest.mark.parametrize(("pooling", "first", "second"), [
    ("last_token", [4], [7]),
    ("mean_pooling", [2.5], [6.5]),
    ("completion_mean", [3], [0]),  # the second text has no answer
    ("concat", [2, 3, 4], [6, 7, 7]),  # indices 1, 2, 3 of four tokens; 0, 1, 1 of two
])  # fmt: skip
def test_pooled_features_of_two_texts(pooling: str, first: list[float], second: list[float]) -> None:
    """1 2 3 4 99: a text of four tokens whose answer begins at the second, and padding; 6 7 99 99 99: a text of two tokens."""
    states = torch.tensor([[1.0, 2, 3, 4, 99], [6, 7, 99, 99, 99]])[..., None]
    assert all_close(pool(states, torch.tensor([4, 2]), torch.tensor([1, 2]), pooling), [first, second])


# -- blocks -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text_length", "expected"), [(256, 31), (16, 1), (15, 0), (23, 1), (24, 2), (0, 0)])
def test_the_number_of_blocks_of_a_text(text_length: int, expected: int) -> None:
    """(text_length − 8 − 8)/8 + 1 with the default settings."""
    assert blocks.count_blocks(text_length, 8, 8, 8) == expected


def test_trained_blocks_exclude_the_prompt_and_the_skipped_answer_tokens() -> None:
    assert BlockPlan(2, 2, 2).trained_starts(10, 0) == [2, 4, 6, 8]
    assert BlockPlan(2, 2, 2).trained_starts(10, 5) == [6, 8]
    assert BlockPlan(2, 2, 2, skip=3).trained_starts(10, 5) == [8]
    assert BlockPlan(2, 2, 2, skip=3).trained_starts(10, 0) == [2, 4, 6, 8], (
        "plain text has no prompt, so skip has no effect"
    )


def mask_rows(attention_mask: Any) -> list[str]:
    return ["".join("x" if visible else "." for visible in row) for row in attention_mask.tolist()]


def layout_of(plan: BlockPlan, lengths: list[int], answer_starts: list[int] | None = None) -> blocks.BlockLayout:
    mask = torch.tensor([[int(i < length) for i in range(max(lengths))] for length in lengths])
    return blocks.build_layout(plan, mask, torch.tensor(answer_starts or [0] * len(lengths)))


def test_the_attention_mask_of_two_blocks() -> None:
    """Six tokens; two blocks of two tokens, after two and after four of them. Rows 7 to 10: the blocks' first tokens, then their second ones."""
    layout = layout_of(BlockPlan(2, 2, 2), [6])
    assert mask_rows(layout.attention_mask[0]) == [
        "x.........", "xx........", "xxx.......", "xxxx......", "xxxxx.....", "xxxxxx....",
        "xx....x...",  # the first block
        "xxxx...x..",  # the second block
        "xx....x.x.", "xxxx...x.x",
    ]  # fmt: skip
    assert layout.position_ids.tolist() == [0, 1, 2, 3, 4, 5, 2, 4, 3, 5]
    assert layout.attempted.tolist() == [[True, True]]


def test_a_block_cannot_attend_to_later_text() -> None:
    assert mask_rows(layout_of(BlockPlan(2, 2, 3), [5]).attention_mask[0])[5:] == ["xx...x..", "xx...xx.", "xx...xxx"]


def test_with_context_only_a_block_attends_to_its_context_alone() -> None:
    layout = layout_of(BlockPlan(2, 2, 2, context_only=True), [6])
    assert mask_rows(layout.attention_mask[0])[6:] == ["xx....x...", "..xx...x..", "xx....x.x.", "..xx...x.x"]
    assert (
        mask_rows(layout.attention_mask[0])[:6] == mask_rows(layout_of(BlockPlan(2, 2, 2), [6]).attention_mask[0])[:6]
    )


def test_a_shorter_text_in_a_batch_has_fewer_blocks() -> None:
    """No token attends to the padding; padding attends to itself, so that no row of the mask is empty."""
    layout = layout_of(BlockPlan(2, 2, 2), [6, 4], [0, 0])
    assert layout.attempted.tolist() == [[True, True], [True, False]]
    assert mask_rows(layout.attention_mask[1])[4] == "xxxxx....."[:4] + "x....."
    assert mask_rows(layout.attention_mask[1])[5] == "xxxx.x...."
    assert mask_rows(layout.attention_mask[1])[8] == "xx....x.x."
    assert layout_of(BlockPlan(2, 2, 2), [6, 6], [0, 3]).attempted.tolist() == [[True, True], [False, True]]


def test_the_additive_mask_is_0_where_visible_and_the_minimum_elsewhere() -> None:
    additive_mask = blocks.additive_mask(torch.tensor([[[True, False]]]), torch.float32)
    assert additive_mask.shape == (1, 1, 1, 2)
    assert additive_mask.flatten().tolist() == [0, torch.finfo(torch.float32).min]


def test_reference_blocks_are_read_and_generated_blocks_appended() -> None:
    token_ids = torch.tensor([[10, 11, 12, 13, 14, 15]])
    assert blocks.reference_blocks(layout_of(BlockPlan(2, 2, 2), [6]), token_ids).tolist() == [[[12, 13], [14, 15]]]
    assert blocks.append_blocks(token_ids, torch.tensor([[[1, 2], [3, 4]]])).tolist() == [
        [10, 11, 12, 13, 14, 15, 1, 3, 2, 4]
    ]


def test_tokens_after_the_first_end_token_are_ignored() -> None:
    assert mask_until_end(torch.tensor([[5, 2, 7, 2], [5, 6, 7, 8]]), [2, 3]).tolist() == [
        [True, True, False, False],
        [True, True, True, True],
    ]
    assert cut_after_first_end([5, 2, 7, 2], [2]) == [5, 2]
    assert cut_after_first_end([5, 6], [2]) == [5, 6]


# -- sampling -----------------------------------------------------------------------------------------------------


def sampled_token_ids(**sampling_settings: float) -> set[int]:
    torch.manual_seed(7)
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log().expand(2, 500, 4)
    samples = sample_token_ids(logits, SamplingSettings(max_new_tokens=1, **{"temperature": 1.0} | sampling_settings))
    assert samples.shape == (2, 500)
    return {*samples.flatten().tolist()}


def test_sampling_settings_limit_the_sampled_tokens() -> None:
    assert sampled_token_ids() == {0, 1, 2, 3}
    assert sampled_token_ids(temperature=0) == {0}
    assert sampled_token_ids(top_p=0.7) == {0, 1}
    assert sampled_token_ids(top_k=3) == {0, 1, 2}
    assert sampled_token_ids(min_p=0.25) == {0, 1, 2}


@pytest.mark.parametrize(("reference_lengths", "length_factor", "limit"), [
    ([4, 10], 1.5, 15), ([3], 1.5, 5), ([40], 1.5, 20), ([10], 0.0, 20), ([1], 0.1, 1),
])  # fmt: skip
def test_the_completion_limit_is_a_multiple_of_the_longest_reference(
    reference_lengths: list[int], length_factor: float, limit: int
) -> None:
    assert prompt_rows.completion_limit(reference_lengths, length_factor, 20) == limit


# -- rows ---------------------------------------------------------------------------------------------------------

CONVERSATION = [{"role": role, "content": f"{role} {i}"} for i in range(2) for role in ("user", "assistant")]


def test_conversation_mode_keeps_all_turns_after_the_first_as_completion() -> None:
    prompts, _ = prompt_rows.expand_prompts(
        [{"messages": [*CONVERSATION, {"role": "user", "content": "bye"}]}], "conversation"
    )
    assert prompts == [{"prompt": CONVERSATION[:1], "completion": CONVERSATION[1:]}]


@pytest.mark.parametrize(("turns", "prompt_lengths"), [("first", [1]), ("last", [3]), ("all", [1, 3])])
def test_a_conversation_gives_prompts_for_its_first_last_or_all_answers(turns: str, prompt_lengths: list[int]) -> None:
    prompts, dropped = prompt_rows.expand_prompts([{"messages": CONVERSATION}], turns)
    assert [len(row["prompt"]) for row in prompts] == prompt_lengths
    assert [row["completion"] for row in prompts] == [[CONVERSATION[length]] for length in prompt_lengths]
    assert not dropped


def test_unusable_rows_are_counted_by_reason() -> None:
    rows = [{"messages": [{"role": "assistant", "content": "I begin."}]}, {"prompt": "a", "completion": "b"},
             {"prompt": "a", "completion": "b", "tools": ["c"]}]  # fmt: skip
    prompts, drop_counts = prompt_rows.expand_prompts(rows, "all")
    assert prompts == [{"prompt": "a", "completion": "b"}]
    assert drop_counts == {prompt_rows.NO_ANSWER: 1, prompt_rows.HAS_TOOLS_OR_IMAGES: 1}


def test_an_answer_is_cut_after_its_last_end_token() -> None:
    assert cut_after_last_end([5, 6, 2, 9], [2, 3]) == [5, 6, 2]
    assert cut_after_last_end([5, 3, 6, 2, 9, 9], [2, 3]) == [5, 3, 6, 2]
    assert cut_after_last_end([5, 6], [2]) == [5, 6]


def test_only_the_answers_of_a_conversation_have_labels() -> None:
    tokenized = TokenizedPrompt([1, 2], [[3, 9], [6, 9]], [[4, 5]])
    assert tokenized.completion_ids == [3, 9, 4, 5, 6, 9]
    assert tokenized.labels == [-100, -100, 3, 9, -100, -100, 6, 9]


# -- settings -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("invalid_knobs", [
    {"layers": []}, {"layers": [0.5, 1.5]}, {"rl_weight": 0.0, "ce_weight": 0.0}, {"attempts": 0}, {"stride": 0}, {"pooling": "first"},
])  # fmt: skip
def test_invalid_settings_are_refused(invalid_knobs: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(invalid_knobs))):
        load_method("ebft").knobs.model_validate(invalid_knobs)
