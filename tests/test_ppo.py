"""PPO: every formula against numbers worked by hand, and a trainer that samples, estimates values, learns, and resumes exactly."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.core.problems import Problem
from tests.support import addition_rows, build_spec, metrics_by_step, train, write_rows

LN2 = math.log(2)


def tensor(rows: list[Any]) -> Any:
    import torch

    return torch.tensor(rows, dtype=torch.float32)


# -- formulas ----------------------------------------------------------------------------------------------------------


def test_token_rewards_are_kl_penalties_plus_the_score_at_the_last_token() -> None:
    from app.engine.trainers.ppo.ppo_math import token_rewards

    logps, reference = tensor([[-1, -2, -3], [-1, -1, -1]]), tensor([[-1.5, -1, -9], [-1, -2, -1]])
    mask = tensor([[1, 1, 0], [1, 1, 1]])
    rewards = token_rewards(tensor([1, -2]), logps, reference, mask, kl_coef=0.1)
    # row 1: −0.1·(−1 + 1.5) = −0.05, then 1 − 0.1·(−2 + 1) = 1.1; row 2: 0, −0.1·1, and the score at the third token
    assert rewards.tolist() == [pytest.approx([-0.05, 1.1, 0]), pytest.approx([0, -0.1, -2])]


def test_token_rewards_of_an_empty_completion_are_zero() -> None:
    from app.engine.trainers.ppo.ppo_math import token_rewards

    rewards = token_rewards(tensor([5]), tensor([[-1, -2]]), tensor([[-2, -2]]), tensor([[0, 0]]), kl_coef=0.1)
    assert rewards.tolist() == [[0, 0]]


@pytest.mark.parametrize(("discount", "gae_lambda", "expected_advantages"), [
    # δ = (0 + 0.4 − 0.5, 0 + 0.2 − 0.4, 1 − 0.2) = (−0.1, −0.2, 0.8); A₂ = 0.8, A₁ = −0.2 + 0.5·0.8, A₀ = −0.1 + 0.5·0.2
    (1.0, 0.5, [0.0, 0.2, 0.8]),
    # δ = (0.36 − 0.5, 0.18 − 0.4, 0.8); A₁ = −0.22 + 0.45·0.8, A₀ = −0.14 + 0.45·0.14
    (0.9, 0.5, [-0.077, 0.14, 0.8]),
    (1.0, 0.0, [-0.1, -0.2, 0.8]),  # only the next value is used
    (1.0, 1.0, [0.5, 0.6, 0.8]),  # the remaining reward minus the value
])  # fmt: skip
def test_gae_advantages_equal_values_worked_by_hand(
    discount: float, gae_lambda: float, expected_advantages: list[float]
) -> None:
    from app.engine.trainers.ppo.ppo_math import gae_advantages

    advantages = gae_advantages(
        tensor([[0, 0, 1]]), tensor([[0.5, 0.4, 0.2]]), tensor([[1, 1, 1]]), discount, gae_lambda
    )
    assert advantages[0].tolist() == pytest.approx(expected_advantages, abs=1e-6)


def test_gae_ignores_rewards_and_values_after_the_last_token() -> None:
    from app.engine.trainers.ppo.ppo_math import gae_advantages

    advantages = gae_advantages(tensor([[0, 1, 9]]), tensor([[0.5, 0.5, 7]]), tensor([[1, 1, 0]]), 1.0, 0.5)
    assert advantages[0].tolist() == pytest.approx([0.25, 0.5, 0])  # A₁ = 1 − 0.5, A₀ = 0.5 − 0.5 + 0.5·0.5


@pytest.mark.parametrize(("ratio", "advantage", "expected_loss", "is_clipped"), [
    (1.0, 2, -2.0, False), (1.5, 2, -2.4, True), (1.5, -2, 3.0, False), (0.5, 2, -1.0, False), (0.5, -2, 1.6, True),
    (1.2, 2, -2.4, False), (1.1, -1, 1.1, False),
])  # fmt: skip
def test_the_policy_loss_is_clipped_only_on_the_side_where_it_would_gain(
    ratio: float, advantage: float, expected_loss: float, is_clipped: bool
) -> None:
    from app.engine.trainers.ppo.ppo_math import policy_loss

    computed_loss, clipped_tokens = policy_loss(tensor([math.log(ratio) - 1]), tensor([-1]), tensor([advantage]), 0.2)
    assert computed_loss.item() == pytest.approx(expected_loss)
    assert bool(clipped_tokens) is is_clipped


@pytest.mark.parametrize(("predicted_value", "old_value", "target_return", "expected_loss"), [
    (1.0, 0.0, 2.0, 1.62),  # unclipped ½·1², clipped at 0.2: ½·1.8²
    (0.1, 0.0, 2.0, 1.805),  # within the clip: ½·1.9²
    (3.0, 0.0, 0.1, 4.205),  # a move away from the return is never clipped: ½·2.9²
    (2.0, 2.0, 2.0, 0.0),
])  # fmt: skip
def test_the_value_loss_is_the_larger_of_unclipped_and_clipped(
    predicted_value: float, old_value: float, target_return: float, expected_loss: float
) -> None:
    from app.engine.trainers.ppo.ppo_math import value_loss

    assert value_loss(
        tensor([predicted_value]), tensor([old_value]), tensor([target_return]), 0.2
    ).item() == pytest.approx(expected_loss)


@pytest.mark.parametrize(("logp_difference", "expected_kl"), [(0.0, 0.0), (LN2, 1 - LN2), (-LN2, LN2 - 0.5)])
def test_the_kl_estimate_is_never_negative(logp_difference: float, expected_kl: float) -> None:
    """e^d − d − 1 for d = ln 2: 2 − ln 2 − 1; for −ln 2: ½ + ln 2 − 1."""
    from app.engine.trainers.ppo.ppo_math import kl_estimate

    assert kl_estimate(tensor([-1]), tensor([-1 + logp_difference])).item() == pytest.approx(expected_kl)


def test_whitening_uses_only_tokens_in_the_mask() -> None:
    from app.engine.trainers.ppo.ppo_math import masked_mean, masked_whiten

    values, mask = tensor([[1, 3, 100], [5, 7, -100]]), tensor([[1, 1, 0], [1, 1, 0]])
    whitened = masked_whiten(values, mask)
    standard_deviation = math.sqrt(5)  # of 1, 3, 5, 7 around their mean 4
    assert whitened.tolist() == [
        pytest.approx([-3 / standard_deviation, -1 / standard_deviation, 0]),
        pytest.approx([1 / standard_deviation, 3 / standard_deviation, 0]),
    ]
    assert masked_mean(values, mask).item() == 4
    assert masked_whiten(tensor([[2, 2]]), tensor([[1, 1]])).tolist() == [[0, 0]]


@pytest.mark.parametrize(
    ("predicted_returns", "expected_explained_variance"),
    [([1, 2, 3], 1.0), ([2, 2, 2], 0.0), ([3, 2, 1], -3.0), ([11, 12, 13], 1.0)],
)
def test_the_explained_variance_of_the_critic(
    predicted_returns: list[float], expected_explained_variance: float
) -> None:
    """Returns of 1, 2, 3 have a variance of ⅔; predicted in reverse order the errors are −2, 0, 2, with a variance of 8⁄3."""
    from app.engine.trainers.ppo.ppo_math import explained_variance

    assert explained_variance(
        tensor([predicted_returns]), tensor([[1, 2, 3]]), tensor([[1, 1, 1]])
    ).item() == pytest.approx(expected_explained_variance, abs=1e-6)


def test_a_completion_is_cut_after_its_first_end_token() -> None:
    import torch

    from app.engine.generation.end_tokens import cut_after_first_end, mask_until_end

    completions, end_token_ids = [[5, 2, 2, 7], [5, 6, 7, 8], [3, 5, 2, 0]], [2, 3]
    assert mask_until_end(torch.tensor(completions), end_token_ids).tolist() == [
        [1, 1, 0, 0],
        [1, 1, 1, 1],
        [1, 0, 0, 0],
    ]
    cut_completions = [cut_after_first_end(token_ids, end_token_ids) for token_ids in completions]
    assert cut_completions == [[5, 2], [5, 6, 7, 8], [3]]
    assert [token_ids[-1] in end_token_ids for token_ids in cut_completions] == [True, False, True]


def test_total_scores_are_weighted_sums_that_are_nan_when_no_reward_is_known() -> None:
    from app.engine.trainers.ppo.rollout import total_scores

    rewards_by_function = tensor([[1.0, 2.0, math.nan, 1.0], [10.0, math.nan, math.nan, 1.0]])
    total_rewards = total_scores(rewards_by_function, [1.0, 0.5], [False, False, False, True]).tolist()
    assert total_rewards[:2] == [6.0, 2.0]
    assert all(map(math.isnan, total_rewards[2:]))


# -- refusals ----------------------------------------------------------------------------------------------------------

REWARDS = [{"name": "exact_match", "as": "correct"}]


@pytest.mark.parametrize(
    ("knobs", "expected_message"),
    [
        ({"batch_size": 64, "minibatches": 3}, "cannot be split into 3 equal parts.*try 63"),
        ({"batch_size": 64, "minibatches": 4, "accumulation": 5}, "4 minibatches of 5 pieces.*try 60"),
        ({"batch_size": 64, "attempts": 5}, "groups of 5 attempts; try 65"),
        ({"value_from": "reward_model"}, "no reward of this setup is one"),
    ],
)
def test_impossible_settings_are_refused_before_a_run_starts(
    tmp_path: Path, knobs: dict[str, Any], expected_message: str
) -> None:
    with pytest.raises(Problem, match=expected_message):
        build_spec("ppo", write_rows(tmp_path / "rows.jsonl", addition_rows(64)), knobs, rewards=REWARDS)


# -- a trainer ---------------------------------------------------------------------------------------------------------

SMALL_KNOBS = {
    "steps": 4,
    "batch_size": 8,
    "minibatches": 2,
    "passes": 2,
    "max_completion_length": 4,
    "learning_rate": 0.002,
    "kl": 0.1,
}
MakeTrainer = Callable[..., Any]


# -- a dry run ---------------------------------------------------------------------------------------------------------


def test_a_dry_run_scores_sampled_completions_and_builds_no_critic(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """2 prompts, 3 completions each; their rewards are computed again here from their texts."""
    from app.engine.libraries import prepare_libraries
    from app.engine.questions.dry_run import Question
    from app.engine.trainers.ppo import critic as critic_module

    prepare_libraries()
    monkeypatch.setattr(critic_module, "build_critic", lambda *_: pytest.fail("a dry run builds no critic"))
    rewards = [{"name": "pattern", "as": "digits", "weight": -0.5, "params": {"pattern": r"\d"}},
               {"name": "length_band", "as": "short", "weight": 2.0, "params": {"least": 1, "most": 3}}]  # fmt: skip
    spec = build_spec("ppo", write_rows(tmp_path / "rows.jsonl", addition_rows(8)), SMALL_KNOBS, rewards=rewards)
    answer_parts = Question(spec, prompts=2, attempts=3).answer()
    assert [next(answer_parts)["progress"] for _ in range(2)] == [{"done": 1, "of": 2}, {"done": 2, "of": 2}]
    with pytest.raises(StopIteration) as stop_iteration:
        next(answer_parts)
    dry_run = stop_iteration.value.value
    assert [row["prompt"] for row in dry_run["rows"]] == [row["prompt"] for row in addition_rows(2)]
    attempts = [attempt for row in dry_run["rows"] for attempt in row["completions"]]
    assert len(attempts) == 6
    for attempt in attempts:
        text_length = len(attempt["text"].strip())
        # each character over 3 takes off 1 / 1.5
        expected_short_reward = 1.0 if 1 <= text_length <= 3 else 1 / 3 if text_length == 4 else 0.0
        assert attempt["rewards"]["short"] == pytest.approx(expected_short_reward, abs=0.01), attempt["text"]
        assert attempt["rewards"]["digits"] == any(character.isdigit() for character in attempt["text"])
        assert attempt["total"] == pytest.approx(2 * attempt["rewards"]["short"] - 0.5 * attempt["rewards"]["digits"])
    for row in dry_run["rows"]:
        totals = [attempt["total"] for attempt in row["completions"]]
        assert row["spread"] == pytest.approx(max(totals) - min(totals), abs=1e-6)
    for name, reward_stats in dry_run["by_reward"].items():
        scores = [attempt["rewards"][name] for attempt in attempts]
        assert (reward_stats["lowest"], reward_stats["mean"], reward_stats["highest"]) == (min(scores), pytest.approx(sum(scores) / 6), max(scores))  # fmt: skip
    assert dry_run["by_reward"].keys() == {"digits", "short"}


# -- rollouts ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def make_trainer(tmp_path_factory: pytest.TempPathFactory) -> MakeTrainer:
    """make_trainer(folder, callbacks, rewards=…, **knobs) -> the trainer that the method builds, in this process."""
    from app.engine.libraries import prepare_libraries

    prepare_libraries()
    default_folder = tmp_path_factory.mktemp("ppo")
    source = write_rows(default_folder / "rows.jsonl", addition_rows(32))

    def build_trainer(folder: Path | None = None, callbacks: Any = (), **knobs: Any) -> Any:
        from app.engine.job import Job
        from app.engine.model.device import Device

        spec = build_spec("ppo", source, SMALL_KNOBS | knobs, rewards=knobs.pop("rewards", REWARDS))
        job = Job(spec, folder or default_folder, Device("cpu"), callbacks=[*callbacks])
        return job.method.build(job)

    return build_trainer


def first_rows(trainer: Any, count: int = 8) -> list[dict[str, Any]]:
    return [trainer.train_dataset[index] for index in range(count)]


@pytest.fixture(scope="module")
def first_rollouts(make_trainer: MakeTrainer, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """(a new trainer, its first rollouts)"""
    import torch

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("TUNESMITH_HOME", str(tmp_path_factory.mktemp("home")))
        trainer = make_trainer()
        with torch.no_grad():
            return trainer, trainer.collect_rollouts(first_rows(trainer))


@pytest.mark.slow
def test_rollout_logps_equal_those_of_each_completion_alone(first_rollouts: tuple[Any, Any]) -> None:
    """Padding, position ids and the cut to the completion tokens do not change log-probabilities."""
    import torch

    trainer, batch = first_rollouts
    for row in range(3):
        token_ids = batch["ids"][row][batch["attention"][row].bool()][None]
        completion_length = int(batch["mask"][row].sum())
        with torch.no_grad():
            log_probs = trainer.model(input_ids=token_ids).logits.log_softmax(-1)[0, -completion_length - 1 : -1]
        expected_logps = log_probs.gather(-1, token_ids[0, -completion_length:, None])[:, 0]
        assert batch["logps"][row, :completion_length].tolist() == pytest.approx(expected_logps.tolist(), abs=1e-4)


@pytest.mark.slow
def test_before_training_the_reference_equals_the_policy_and_all_values_are_zero(
    first_rollouts: tuple[Any, Any],
) -> None:
    trainer, batch = first_rollouts
    assert batch["reference"].tolist() == batch["logps"].tolist()
    assert not batch["values"].any()
    scores = trainer.last_rewards[0]
    assert {*scores.tolist()} <= {0.0, 1.0}
    returns = batch["returns"][:, 0]
    assert returns.tolist() == pytest.approx((scores * 0.95 ** (batch["mask"].sum(-1) - 1)).tolist(), abs=1e-5)


@pytest.mark.full
@pytest.mark.slow
def test_the_reference_stays_the_initial_model(make_trainer: MakeTrainer) -> None:
    """With the adapter disabled the practice model is unchanged, and the stored reference equals it."""
    import torch

    trainer = make_trainer()
    trainer.train()
    assert [log_entry["policy/kl"] for log_entry in trainer.state.log_history if "policy/kl" in log_entry][-1] > 0.001
    with torch.no_grad():
        batch = trainer.generate_rollouts(first_rows(trainer))
        batch |= trainer.logps_and_values(batch)
        with trainer.model.disable_adapter():
            initial_logps, _ = trainer.token_logps_and_entropy(trainer.model, batch)
    assert (batch["reference"] - initial_logps).abs().max() < 1e-5
    assert (batch["logps"] - initial_logps).abs().max() > 0.01


@pytest.mark.slow
def test_the_first_update_of_a_rollout_clips_no_ratio(make_trainer: MakeTrainer) -> None:
    """With one pass and one minibatch the weights have not changed yet: no token is clipped, and the loss is minus the mean advantage."""
    trainer = make_trainer(passes=1, minibatches=1, steps=1)
    trainer.train()
    first_log_entry = trainer.state.log_history[0]
    assert first_log_entry["policy/clipped"] == 0
    assert first_log_entry["policy/loss"] == pytest.approx(0, abs=1e-5)  # whitened advantages have mean 0
    assert first_log_entry["value/loss"] > 0


def logged_losses(trainer: Any) -> list[float]:
    return [log_entry["loss"] for log_entry in trainer.state.log_history if "loss" in log_entry]


@pytest.mark.full
@pytest.mark.slow
def test_gradient_accumulation_does_not_change_the_losses(make_trainer: MakeTrainer) -> None:
    losses_per_run = []
    for accumulation in (1, 2):
        trainer = make_trainer(steps=2, accumulation=accumulation, unfinished_penalty=0.5)
        trainer.train()
        losses_per_run.append(logged_losses(trainer))
    assert losses_per_run[0] == pytest.approx(losses_per_run[1], abs=1e-5)
    assert losses_per_run[0][0] != losses_per_run[0][1]


@pytest.mark.full
@pytest.mark.slow
def test_a_resumed_run_equals_an_uninterrupted_one(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    """Also in the weights of the critic."""
    from transformers import TrainerCallback

    class SaveAt2(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
            control.should_save = state.global_step == 2
            return control

    uninterrupted = make_trainer(tmp_path, [SaveAt2()])
    uninterrupted.train()
    resumed = make_trainer(tmp_path)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoints" / "checkpoint-2"))
    assert logged_losses(resumed)[2:] == pytest.approx(logged_losses(uninterrupted)[2:], abs=1e-6)
    critic_weights, resumed_critic_weights = (
        uninterrupted.critic.trainable_weights(),
        resumed.critic.trainable_weights(),
    )
    assert all((critic_weights[name] - resumed_critic_weights[name]).abs().max() < 1e-6 for name in critic_weights)
    assert any(weight.abs().max() > 0 for name, weight in critic_weights.items() if "score" in name), (
        "the value head was trained"
    )


@pytest.mark.slow
def test_an_engine_run_logs_ppo_metrics_and_samples(tmp_path: Path) -> None:
    """Every metric is logged, and the metrics of PPO have labels."""
    from app.history import metric_labels
    from app.runs import events

    source = write_rows(tmp_path / "rows.jsonl", addition_rows(24))
    run = train(
        build_spec(
            "ppo",
            source,
            SMALL_KNOBS | {"steps": 2, "samples_every": 1, "eval_answers": 4},
            rewards=REWARDS,
            holdout={"share": 0.2},
        )
    )
    last_metrics = metrics_by_step(run)[2]
    ppo_metrics = {
        "policy/kl",
        "policy/entropy",
        "policy/clipped",
        "value/loss",
        "value/explained",
        "policy/length",
        "policy/cut_off",
    }
    assert (
        ppo_metrics | {"reward/mean", "reward/correct/mean", "train/loss", "train/grad_norm", "system/tokens"}
        <= last_metrics.keys()
    )
    assert ppo_metrics <= metric_labels.labels_by_metric(run.spec.to_dict()).keys()
    assert last_metrics["system/tokens"] > metrics_by_step(run)[1]["system/tokens"] > 0
    run_events = events.read_events(run.events)
    sample_rows = next(
        event.rows for event in events.of_type(run_events, events.SampleEvent) if "advantage" in event.rows[0]
    )
    assert len(sample_rows) == 4
    assert all(row["rewards"].keys() == {"correct"} and row["against"] == "the critic foretold" for row in sample_rows)
    evaluations = [event.metrics for event in events.of_type(run_events, events.EvalEvent)]
    assert [{name for name in metrics if not name.startswith("probe/")} for metrics in evaluations] == [
        {"eval/correct"},
        {"eval/correct"},
    ]
    assert not list(run.adapter.glob("*critic*")), "the critic is not saved with the adapter"
