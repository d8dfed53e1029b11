"""Group RL: what GRPO, RLOO and online DPO add to TRL: failed rewards, zero-variance groups, replay and resuming."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerCallback

from app.core.problems import Problem
from app.engine.job import Job
from app.engine.libraries import prepare_libraries
from app.engine.model.device import Device
from app.engine.preview.dry_run import sample_attempts
from app.planning import presets
from tests.support import addition_rows, build_spec, write_rows

ROUND_KNOBS = {"batch_size": 16, "attempts": 4, "max_completion_length": 8, "learning_rate": 0.001}
EXACT_MATCH_REWARD = [{"name": "exact_match"}]
NAN = float("nan")


class ScriptedReward:
    """A reward that returns given scores. failed: the completions whose score counts as failed, not as deliberately absent."""

    def __init__(self, name: str, scores: list[float | None], failed: list[bool] | None = None):
        self.__name__, self.scores, self.failed = name, scores, failed or [False] * len(scores)

    def __call__(self, completions: list[Any], **_: Any) -> list[float | None]:
        return self.scores


class LogRecorder(TrainerCallback):
    """Records the logs of each step and saves a checkpoint at one step."""

    def __init__(self, save_at: int = 0):
        self.step_logs: list[dict[str, float]] = []
        self.token_counts: list[float | None] = []  # tokens so far in this attempt, None for a step without them
        self.save_at = save_at

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **_: Any) -> None:
        if "loss" in logs:
            self.step_logs.append(
                {name: value for name, value in logs.items() if name not in ("step_time", "num_tokens")}
            )
            self.token_counts.append(logs.get("num_tokens"))

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        control.should_save = state.global_step == self.save_at
        return control


def build_job(
    folder: Path, method: str, knobs: dict[str, Any] | None = None, count: int = 64, **spec_fields: Any
) -> Job:
    prepare_libraries()
    method_knobs = {name: value for name, value in ROUND_KNOBS.items() if method != "online_dpo" or name != "attempts"}
    source = write_rows(folder / "sums.jsonl", addition_rows(count))
    return Job(
        build_spec(method, source, method_knobs | (knobs or {}), **({"rewards": EXACT_MATCH_REWARD} | spec_fields)),
        folder,
        Device("cpu"),
    )


def build_trainer(folder: Path, method: str, knobs: dict[str, Any] | None = None, **spec_fields: Any) -> Any:
    job = build_job(folder, method, knobs, **spec_fields)
    trainer = job.method.build(job)
    trainer.model.train()
    return trainer


def score_round(trainer: Any, prompt_count: int = 4) -> dict[str, Any]:
    """One round of scored completions of the first prompts."""
    rows = [trainer.train_dataset[index] for index in range(prompt_count)]
    return trainer._generate_and_score_completions([dict(row) for row in rows for _ in range(trainer.num_generations)])


# -- rewards that fail ------------------------------------------------------------------------------------------------


def test_a_completion_with_a_failed_score_is_left_out_of_its_groups_advantages(tmp_path: Path) -> None:
    """Of 1, 0, failed and 1 the mean is ⅔ and the standard deviation √⅓; TRL adds 0.0001 to it.

    In the second group nothing failed: the second reward returns None for its first completion, which counts by the other reward alone.
    """
    trainer = build_trainer(tmp_path, "grpo", {"batch_size": 8}, rewards=[*EXACT_MATCH_REWARD, {"name": "valid_json"}])
    trainer.reward_funcs = [ScriptedReward("exact_match", [1, 0, 1, 1, 1, 0, 0, 1], [False, False, True] + [False] * 5),
                            ScriptedReward("valid_json", [0, 0, 0, 0, None, 0, 0, 1])]  # fmt: skip
    advantages = score_round(trainer, 2)["advantages"].tolist()
    first_std = (1 / 3) ** 0.5 + 1e-4
    assert advantages[:4] == pytest.approx([1 / 3 / first_std, -2 / 3 / first_std, 0, 1 / 3 / first_std], abs=1e-5)
    second_std = (2.75 / 3) ** 0.5 + 1e-4  # of 1, 0, 0, 2 around their mean ¾
    assert advantages[4:] == pytest.approx(
        [0.25 / second_std, -0.75 / second_std, -0.75 / second_std, 1.25 / second_std], abs=1e-5
    )


def test_the_rloo_baseline_is_the_mean_of_the_other_scored_completions(tmp_path: Path) -> None:
    """Scores 1, 0, failed, 1: the baseline of each is the mean of the other two, ½, 1 and ½."""
    trainer = build_trainer(tmp_path, "rloo", {"batch_size": 4, "kl": 0.0})
    trainer.reward_funcs = [ScriptedReward("exact_match", [1, 0, 0, 1], [False, False, True, False])]
    assert score_round(trainer, 1)["advantages"].tolist() == pytest.approx([0.5, -1, 0, 0.5])


def test_pairs_with_a_failed_score_are_masked_and_ties_too_when_skipped(tmp_path: Path) -> None:
    """The completions of a pair are half a batch apart: (1, 0) differ, (1, 1) tie, (0, 1) differ, but one score failed."""
    scores, failed = [1, 1, 0, 0, 1, 1], [False] * 5 + [True]
    for skip_ties, expected_mask in ((True, [1, 0, 0, 1, 0, 0]), (False, [1, 1, 0, 1, 1, 0])):
        trainer = build_trainer(tmp_path, "online_dpo", {"batch_size": 3, "skip_ties": skip_ties})
        trainer.reward_funcs = [ScriptedReward("exact_match", scores, failed)]
        trainer._calculate_rewards_from_functions(["?"] * 6, ["!"] * 6, [[1]] * 6)
        assert trainer.pair_mask.tolist() == expected_mask


def test_unfinished_penalty_makes_a_truncated_completion_lose_a_tie(tmp_path: Path) -> None:
    """In the first pair only the first completion ends with EOS; in the second pair neither does."""
    trainer = build_trainer(tmp_path, "online_dpo", {"batch_size": 2, "unfinished_penalty": 0.5})
    trainer.reward_funcs = [ScriptedReward("exact_match", [1, 0, 1, 0])]
    eos_token_id = trainer.eos_token_ids[0]
    rewards = trainer._calculate_rewards_from_functions(
        ["?"] * 4, ["!"] * 4, [[5, eos_token_id], [5, 5], [5, 5], [5, 5]]
    )
    assert rewards.tolist() == [1, -0.5, 0.5, -0.5]
    assert trainer.pair_mask.tolist() == [1, 0, 1, 0]


def test_online_dpo_gradients_are_divided_by_the_accumulation_steps(tmp_path: Path) -> None:
    """TRL's online DPO sums the mean losses of the accumulation steps; here each is divided by their number."""
    trainer, gradients = build_trainer(tmp_path, "online_dpo", {"batch_size": 1}), []
    trainer.pair_mask, token_ids = torch.ones(2), torch.tensor([[5, 6, 7], [5, 6, 8]])
    for accumulation_steps in (1, 4):
        trainer.current_gradient_accumulation_steps = accumulation_steps
        trainer.model.zero_grad()
        trainer._forward(
            trainer.model.eval(), token_ids[:, :2], torch.ones(2, 2), token_ids[:, 2:], torch.ones(2, 1)
        ).sum().backward()
        gradients.append(
            next(parameter.grad for name, parameter in trainer.model.named_parameters() if "lora_B" in name)
        )
    assert gradients[0].any()
    assert torch.allclose(gradients[0], 4 * gradients[1])


# -- zero-variance groups ---------------------------------------------------------------------------------------------


LOSS_TYPES = ["grpo", "dr_grpo", "dapo", "bnpo", "cispo", "sapo", "luspo", "vespo"]


@pytest.mark.slow
def test_skipping_zero_variance_groups_changes_neither_loss_nor_gradient(tmp_path: Path) -> None:
    """For every loss type: two of four groups have zero variance, and two scores equal the mean of their group."""
    trainer = build_trainer(tmp_path, "grpo", {"kl": 0.0})
    trainer.reward_funcs = [ScriptedReward("exact_match", [1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0.5, 0, 0.5])]
    batch = score_round(trainer)
    assert (batch["advantages"] != 0).sum() == 6
    for loss_type in LOSS_TYPES:
        trainer.loss_type = loss_type
        trainer.importance_sampling_level = "sequence" if loss_type == "luspo" else "token"
        all_groups, without_silent_groups = (
            loss_and_gradient(trainer, batch, skip_silent) for skip_silent in (False, True)
        )
        assert without_silent_groups[0] == pytest.approx(all_groups[0], abs=1e-6)
        assert torch.allclose(without_silent_groups[1], all_groups[1], atol=1e-6), loss_type
        assert all_groups[1].abs().max() > 1e-4, "a zero gradient would prove nothing"


def loss_and_gradient(trainer: Any, batch: dict[str, Any], skip_silent: bool) -> tuple[float, torch.Tensor]:
    trainer.knobs = trainer.knobs.model_copy(update={"skip_silent": skip_silent})
    trainer.current_gradient_accumulation_steps = 1
    trainer.model.zero_grad()
    loss = trainer._compute_loss(trainer.model, batch)
    loss.backward()
    return loss.item(), torch.cat([parameter.grad.flatten() for parameter in trainer.model.parameters() if parameter.grad is not None])  # fmt: skip


@pytest.mark.full
@pytest.mark.slow
@pytest.mark.parametrize(("skip_silent", "weights_change"), [(True, False), (False, True)])
def test_a_step_of_only_skipped_groups_leaves_the_weights_unchanged(
    skip_silent: bool, weights_change: bool, tmp_path: Path
) -> None:
    """Weight decay would change the weights even without a gradient."""
    rewards = [{"name": "length_band", "params": {"least": 0, "most": 1000}}]
    job = build_job(tmp_path, "grpo", {"steps": 2, "skip_silent": skip_silent, "weight_decay": 0.5}, rewards=rewards)
    job.callbacks.append(recorder := LogRecorder())
    trainer = job.method.build(job)
    weights_before = [parameter.detach().clone() for parameter in trainer.model.parameters() if parameter.requires_grad]
    trainer.train()
    weights_after = [parameter for parameter in trainer.model.parameters() if parameter.requires_grad]
    assert (
        any(not torch.equal(before, after) for before, after in zip(weights_before, weights_after, strict=True))
        is weights_change
    )
    assert [(logs["silent_groups"], logs["grad_norm"]) for logs in recorder.step_logs] == [(1.0, 0.0)] * 2


@pytest.mark.slow
def test_failed_prompts_are_sampled_again_and_groups_with_variance_are_replayed(tmp_path: Path) -> None:
    """In every second round all scores are 0: its groups are replaced by replayed ones and its prompts are sampled again."""
    job = build_job(tmp_path, "grpo", {"steps": 4, "replay": 3, "reroll_after": 0.5, "reroll_groups": 2})
    job.callbacks.append(recorder := LogRecorder())
    trainer = job.method.build(job)
    scores_by_round, prompts_by_round = [[1, 0, 1, 0] * 4, [0] * 16] * 2, []
    calculate_rewards = trainer._calculate_rewards

    def scripted_rewards(inputs: list[dict[str, Any]], *args: Any) -> Any:
        trainer.reward_funcs = [ScriptedReward("exact_match", scores_by_round[len(prompts_by_round)])]
        assert set(inputs[0]) == {"prompt", "answer"}, "rewards do not get our internal column"
        prompts_by_round.append([row["prompt"][0]["content"] for row in inputs[::4]])
        return calculate_rewards(inputs, *args)

    trainer._calculate_rewards = scripted_rewards
    trainer.train()
    assert [logs["silent_groups"] for logs in recorder.step_logs] == [0.0, 1.0, 0.0, 1.0]
    assert [logs["replayed"] for logs in recorder.step_logs] == [0, 3, 0, 3]
    assert [logs["rerolled"] for logs in recorder.step_logs] == [0, 0, 2, 2]
    assert prompts_by_round[2][2:] + prompts_by_round[3][2:] == prompts_by_round[1], (
        "the prompts that failed first are sampled again first"
    )
    assert all(logs["grad_norm"] > 0 for logs in recorder.step_logs), (
        "the loss is 0 on the model that generated the completions, so the gradient is checked"
    )


# -- resuming ---------------------------------------------------------------------------------------------------------


REPLAY_KNOBS = {"replay": 4, "reroll_after": 0.0, "written_ahead": 2, "times_used": 2}
RESUME_CASES = {"grpo": ("grpo", REPLAY_KNOBS), "rloo": ("rloo", REPLAY_KNOBS), "online_dpo": ("online_dpo", {})}


@pytest.mark.full
@pytest.mark.slow
@pytest.mark.parametrize("case", RESUME_CASES)
def test_a_resumed_run_logs_the_same_as_an_uninterrupted_one(case: str, tmp_path: Path) -> None:
    """Stopped in the middle of a round, with groups in the replay buffer and prompts waiting to be sampled again."""
    method, knobs = RESUME_CASES[case]
    uninterrupted, interrupted, resumed = LogRecorder(), LogRecorder(save_at=3), LogRecorder()
    train_and_record(tmp_path / "whole", method, knobs, uninterrupted)
    train_and_record(tmp_path / "parts", method, knobs, interrupted)
    train_and_record(
        tmp_path / "parts", method, knobs, resumed, checkpoint=tmp_path / "parts" / "checkpoints" / "checkpoint-3"
    )
    assert len(uninterrupted.step_logs) == 6
    assert interrupted.step_logs == uninterrupted.step_logs
    assert resumed.step_logs == uninterrupted.step_logs[3:]
    assert (resumed.token_counts[-1] or resumed.token_counts[1]) + max(
        filter(None, interrupted.token_counts[:3])
    ) == max(filter(None, uninterrupted.token_counts))
    assert (
        method == "online_dpo"
        or sum(logs.get("replayed", 0) + logs.get("rerolled", 0) for logs in resumed.step_logs) > 1
    )


def train_and_record(
    folder: Path, method: str, knobs: dict[str, Any], recorder: LogRecorder, checkpoint: Path | None = None
) -> None:
    job = build_job(folder, method, {"steps": 6} | knobs)
    job.callbacks.append(recorder)
    job.method.build(job).train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)


# -- refused settings and sample_attempts -----------------------------------------------------------------------------


def test_fewer_prompts_than_one_round_needs_are_refused(tmp_path: Path) -> None:
    job = build_job(tmp_path, "grpo", {"recipe": "gspo"}, count=15)
    with pytest.raises(Problem, match="Each round of answers asks 16 different prompts, and there are 15"):
        job.method.build(job)


@pytest.mark.parametrize("method", ["grpo", "rloo", "online_dpo"])
def test_sample_attempts_works_for_every_group_method(method: str, tmp_path: Path) -> None:
    job = build_job(tmp_path, method)
    preview = sample_attempts(job.method.build(job), job.data.train[0], 3, job.spec)
    assert preview["prompt"] == "What is 0 + 0?"
    assert len(preview["completions"]) == 3
    assert all(
        completion["rewards"].keys() == {"exact_match"} and completion["total"] in (0.0, 1.0)
        for completion in preview["completions"]
    )


def test_sample_attempts_shows_completions_with_a_failed_score(tmp_path: Path) -> None:
    job = build_job(tmp_path, "grpo")
    trainer = job.method.build(job)
    trainer.reward_funcs = [ScriptedReward("exact_match", [1, None], [False, True])]
    preview = sample_attempts(trainer, job.data.train[0], 2, job.spec)
    assert [completion["total"] for completion in preview["completions"]] == [1.0, None]
    assert preview["spread"] == 0


INVALID_KNOBS: list[tuple[str, dict[str, Any], str]] = [
    ("rloo", {"least_reward": 1.0, "most_reward": 1.0}, r"least_reward \(1\) should be below most_reward \(1\)"),
    ("rloo", {"attempts": 3}, "try 15"),
    ("online_dpo", {"max_length": 8}, r"answers of 8 tokens leave no room for a prompt in max_length \(8\)"),
]


@pytest.mark.parametrize(("method", "knobs", "expected_text"), INVALID_KNOBS)
def test_meaningless_settings_are_refused_with_a_message(method: str, knobs: dict[str, Any], expected_text: str, tmp_path: Path) -> None:  # fmt: skip
    with pytest.raises(Problem, match=expected_text):
        build_job(tmp_path, method, knobs)


def test_the_first_reward_preset_gives_these_grpo_config_arguments() -> None:
    """The arguments of the preset from before recipes existed."""
    from app.engine.methods.grpo import Knobs
    from app.engine.trainers.group_rl.recipes import grpo_config_args

    config_args = grpo_config_args(Knobs.model_validate(presets.preset_spec("first_reward").knobs))
    assert {name: value for name, value in config_args.items() if value is not None} == {
        "loss_type": "dr_grpo", "importance_sampling_level": "token", "scale_rewards": "group", "multi_objective_aggregation": "sum_then_normalize",
        "epsilon": 0.2, "beta": 0.0, "mask_truncated_completions": False, "top_entropy_quantile": 1.0, "steps_per_generation": 1,
    }  # fmt: skip


def test_steps_per_round_follows_the_batches_and_iterations_of_a_round(tmp_path: Path) -> None:
    from app.engine.preview.time_estimate import MAX_ROUND_STEPS, steps_per_round

    assert steps_per_round(build_job(tmp_path, "grpo")) == 1
    assert steps_per_round(build_job(tmp_path, "grpo", {"recipe": "gspo"})) == 4
    assert steps_per_round(build_job(tmp_path, "rloo", {"written_ahead": 3, "times_used": 2})) == 6
    assert steps_per_round(build_job(tmp_path, "rloo", {"written_ahead": 64})) == MAX_ROUND_STEPS
    assert steps_per_round(build_job(tmp_path, "online_dpo")) == 1
