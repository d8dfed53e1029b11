"""Groups: what GRPO, RLOO and online DPO do here beyond TRL, on the practice model: failed rewards, silent groups, replay, resumes."""

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
from tests.support import spec_of, sums, write_rows

ROUND = {"batch_size": 16, "attempts": 4, "max_completion_length": 8, "learning_rate": 0.001}
RIGHT = [{"name": "exact_match"}]
NAN = float("nan")


class Scripted:
    """A reward that says what it is told to. failed: for which answers it should have said something and could not."""

    def __init__(self, name: str, scores: list[float | None], failed: list[bool] | None = None):
        self.__name__, self.scores, self.failed = name, scores, failed or [False] * len(scores)

    def __call__(self, completions: list[Any], **_: Any) -> list[float | None]:
        return self.scores


class Watch(TrainerCallback):
    """Keeps what each step said; saves at one of them."""

    def __init__(self, save_at: int = 0):
        self.said: list[dict[str, float]] = []
        self.tokens: list[float | None] = []  # so far, in this attempt
        self.save_at = save_at

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **_: Any) -> None:
        if "loss" in logs:
            self.said.append({name: value for name, value in logs.items() if name not in ("step_time", "num_tokens")})
            self.tokens.append(logs.get("num_tokens"))

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        control.should_save = state.global_step == self.save_at
        return control


def job_of(folder: Path, method: str, knobs: dict[str, Any] | None = None, count: int = 64, **more: Any) -> Job:
    prepare_libraries()
    own = {name: value for name, value in ROUND.items() if method != "online_dpo" or name != "attempts"}
    source = write_rows(folder / "sums.jsonl", sums(count))
    return Job(spec_of(method, source, own | (knobs or {}), **({"rewards": RIGHT} | more)), folder, Device("cpu"))


def trainer_of(folder: Path, method: str, knobs: dict[str, Any] | None = None, **more: Any) -> Any:
    job = job_of(folder, method, knobs, **more)
    trainer = job.method.build(job)
    trainer.model.train()
    return trainer


def round_of(trainer: Any, prompts: int = 4) -> dict[str, Any]:
    """The answers to the first prompts, scored."""
    rows = [trainer.train_dataset[number] for number in range(prompts)]
    return trainer._generate_and_score_completions([dict(row) for row in rows for _ in range(trainer.num_generations)])


# -- rewards that fail ------------------------------------------------------------------------------------------------


def test_an_answer_that_a_reward_failed_on_is_left_out_of_its_group(tmp_path: Path) -> None:
    """Of 1, 0, failed and 1 the mean is ⅔ and the standard deviation √⅓; TRL adds 0.0001 to it.

    In the second group nothing failed: the second reward has nothing to say of its first answer, which counts by the other alone.
    """
    trainer = trainer_of(tmp_path, "grpo", {"batch_size": 8}, rewards=[*RIGHT, {"name": "valid_json"}])
    trainer.reward_funcs = [Scripted("exact_match", [1, 0, 1, 1, 1, 0, 0, 1], [False, False, True] + [False] * 5),
                            Scripted("valid_json", [0, 0, 0, 0, None, 0, 0, 1])]  # fmt: skip
    advantages = round_of(trainer, 2)["advantages"].tolist()
    wide = (1 / 3) ** 0.5 + 1e-4
    assert advantages[:4] == pytest.approx([1 / 3 / wide, -2 / 3 / wide, 0, 1 / 3 / wide], abs=1e-5)
    spread = (2.75 / 3) ** 0.5 + 1e-4  # of 1, 0, 0, 2 around their mean ¾
    assert advantages[4:] == pytest.approx([0.25 / spread, -0.75 / spread, -0.75 / spread, 1.25 / spread], abs=1e-5)


def test_rloo_compares_with_the_mean_of_those_that_could_be_scored(tmp_path: Path) -> None:
    """1, 0, failed, 1: each is compared with the mean of the two others, ½, 1 and ½."""
    trainer = trainer_of(tmp_path, "rloo", {"batch_size": 4, "kl": 0.0})
    trainer.reward_funcs = [Scripted("exact_match", [1, 0, 0, 1], [False, False, True, False])]
    assert round_of(trainer, 1)["advantages"].tolist() == pytest.approx([0.5, -1, 0, 0.5])


def test_a_pair_of_which_one_failed_teaches_nothing_and_neither_does_a_tie(tmp_path: Path) -> None:
    """Rivals stand half the batch apart: (1, 0) differ, (1, 1) tie, (0, 1) differ, but one of them failed."""
    scores, failed = [1, 1, 0, 0, 1, 1], [False] * 5 + [True]
    for skip, counts in ((True, [1, 0, 0, 1, 0, 0]), (False, [1, 1, 0, 1, 1, 0])):
        trainer = trainer_of(tmp_path, "online_dpo", {"batch_size": 3, "skip_ties": skip})
        trainer.reward_funcs = [Scripted("exact_match", scores, failed)]
        trainer._calculate_rewards_from_functions(["?"] * 6, ["!"] * 6, [[1]] * 6)
        assert trainer.pair_mask.tolist() == counts


def test_an_answer_that_was_cut_off_loses_to_one_that_earned_as_much(tmp_path: Path) -> None:
    """The first of each pair has ended, the second has not; in the other pair neither has."""
    trainer = trainer_of(tmp_path, "online_dpo", {"batch_size": 2, "unfinished_penalty": 0.5})
    trainer.reward_funcs = [Scripted("exact_match", [1, 0, 1, 0])]
    end = trainer.eos_token_ids[0]
    told = trainer._calculate_rewards_from_functions(["?"] * 4, ["!"] * 4, [[5, end], [5, 5], [5, 5], [5, 5]])
    assert told.tolist() == [1, -0.5, 0.5, -0.5]
    assert trainer.pair_mask.tolist() == [1, 0, 1, 0]


def test_parts_of_a_batch_add_up_to_its_mean(tmp_path: Path) -> None:
    """TRL's online DPO adds the means of the parts up; each counts for its share here."""
    trainer, slopes = trainer_of(tmp_path, "online_dpo", {"batch_size": 1}), []
    trainer.pair_mask, ids = torch.ones(2), torch.tensor([[5, 6, 7], [5, 6, 8]])
    for parts in (1, 4):
        trainer.current_gradient_accumulation_steps = parts
        trainer.model.zero_grad()
        trainer._forward(
            trainer.model.eval(), ids[:, :2], torch.ones(2, 2), ids[:, 2:], torch.ones(2, 1)
        ).sum().backward()
        slopes.append(next(weight.grad for name, weight in trainer.model.named_parameters() if "lora_B" in name))
    assert slopes[0].any()
    assert torch.allclose(slopes[0], 4 * slopes[1])


# -- groups that teach nothing ----------------------------------------------------------------------------------------


LOSSES = ["grpo", "dr_grpo", "dapo", "bnpo", "cispo", "sapo", "luspo", "vespo"]


@pytest.mark.slow
def test_leaving_silent_groups_out_changes_neither_loss_nor_gradient(tmp_path: Path) -> None:
    """Of every loss: two of four groups teach nothing, and one answer of another stands at its group's mean."""
    trainer = trainer_of(tmp_path, "grpo", {"kl": 0.0})
    trainer.reward_funcs = [Scripted("exact_match", [1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0.5, 0, 0.5])]
    batch = round_of(trainer)
    assert (batch["advantages"] != 0).sum() == 6
    for loss in LOSSES:
        trainer.loss_type = loss
        trainer.importance_sampling_level = "sequence" if loss == "luspo" else "token"
        whole, part = (gradient(trainer, batch, skip) for skip in (False, True))
        assert part[0] == pytest.approx(whole[0], abs=1e-6)
        assert torch.allclose(part[1], whole[1], atol=1e-6), loss
        assert whole[1].abs().max() > 1e-4, "without a gradient there is nothing to compare"


def gradient(trainer: Any, batch: dict[str, Any], skip: bool) -> tuple[float, torch.Tensor]:
    trainer.knobs = trainer.knobs.model_copy(update={"skip_silent": skip})
    trainer.current_gradient_accumulation_steps = 1
    trainer.model.zero_grad()
    loss = trainer._compute_loss(trainer.model, batch)
    loss.backward()
    return loss.item(), torch.cat([weight.grad.flatten() for weight in trainer.model.parameters() if weight.grad is not None])  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("skip", "moved"), [(True, False), (False, True)])
def test_a_step_in_which_nothing_can_be_learned_leaves_the_model_as_it_is(
    skip: bool, moved: bool, tmp_path: Path
) -> None:
    """Weight decay would move it even without a gradient."""
    rewards = [{"name": "length_band", "params": {"least": 0, "most": 1000}}]
    job = job_of(tmp_path, "grpo", {"steps": 2, "skip_silent": skip, "weight_decay": 0.5}, rewards=rewards)
    job.callbacks.append(watch := Watch())
    trainer = job.method.build(job)
    before = [weight.detach().clone() for weight in trainer.model.parameters() if weight.requires_grad]
    trainer.train()
    after = [weight for weight in trainer.model.parameters() if weight.requires_grad]
    assert any(not torch.equal(one, other) for one, other in zip(before, after, strict=True)) is moved
    assert [(said["silent_groups"], said["grad_norm"]) for said in watch.said] == [(1.0, 0.0)] * 2


@pytest.mark.slow
def test_what_failed_is_tried_again_and_what_differed_is_learned_from_again(tmp_path: Path) -> None:
    """Every second round all attempts fail, so that its groups are replaced and its prompts come back."""
    job = job_of(tmp_path, "grpo", {"steps": 4, "replay": 3, "reroll_after": 0.5, "reroll_groups": 2})
    job.callbacks.append(watch := Watch())
    trainer = job.method.build(job)
    scores, asked = [[1, 0, 1, 0] * 4, [0] * 16] * 2, []
    inner = trainer._calculate_rewards

    def told(inputs: list[dict[str, Any]], *rest: Any) -> Any:
        trainer.reward_funcs = [Scripted("exact_match", scores[len(asked)])]
        assert set(inputs[0]) == {"prompt", "answer"}, "no reward sees our column"
        asked.append([row["prompt"][0]["content"] for row in inputs[::4]])
        return inner(inputs, *rest)

    trainer._calculate_rewards = told
    trainer.train()
    assert [said["silent_groups"] for said in watch.said] == [0.0, 1.0, 0.0, 1.0]
    assert [said["replayed"] for said in watch.said] == [0, 3, 0, 3]
    assert [said["rerolled"] for said in watch.said] == [0, 0, 2, 2]
    assert asked[2][2:] + asked[3][2:] == asked[1], "those that failed longest ago come first"
    assert all(said["grad_norm"] > 0 for said in watch.said), "on the very model that wrote them the loss itself is 0"


# -- going on ---------------------------------------------------------------------------------------------------------


DEEP = {"replay": 4, "reroll_after": 0.0, "written_ahead": 2, "times_used": 2}
CASES = {"grpo": ("grpo", DEEP), "rloo": ("rloo", DEEP), "online_dpo": ("online_dpo", {})}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_resumed_run_equals_an_undisturbed_one(name: str, tmp_path: Path) -> None:
    """Stopped in the middle of a round of answers, with groups remembered and prompts waiting for another try."""
    method, knobs = CASES[name]
    whole, first, second = Watch(), Watch(save_at=3), Watch()
    run(tmp_path / "whole", method, knobs, whole)
    run(tmp_path / "parts", method, knobs, first)
    run(tmp_path / "parts", method, knobs, second, resume=tmp_path / "parts" / "checkpoints" / "checkpoint-3")
    assert len(whole.said) == 6
    assert first.said == whole.said
    assert second.said == whole.said[3:]
    assert (second.tokens[-1] or second.tokens[1]) + max(filter(None, first.tokens[:3])) == max(
        filter(None, whole.tokens)
    )
    assert method == "online_dpo" or sum(said.get("replayed", 0) + said.get("rerolled", 0) for said in second.said) > 1


def run(folder: Path, method: str, knobs: dict[str, Any], watch: Watch, resume: Path | None = None) -> None:
    job = job_of(folder, method, {"steps": 6} | knobs)
    job.callbacks.append(watch)
    job.method.build(job).train(resume_from_checkpoint=str(resume) if resume else None)


# -- what is refused, and a look beforehand ---------------------------------------------------------------------------


def test_more_prompts_are_asked_for_than_there_are(tmp_path: Path) -> None:
    job = job_of(tmp_path, "grpo", {"recipe": "gspo"}, count=15)
    with pytest.raises(Problem, match="Each round of answers asks 16 different prompts, and there are 15"):
        job.method.build(job)


@pytest.mark.parametrize("method", ["grpo", "rloo", "online_dpo"])
def test_any_of_these_methods_can_be_tried_out(method: str, tmp_path: Path) -> None:
    job = job_of(tmp_path, method)
    found = sample_attempts(job.method.build(job), job.data.train[0], 3, job.spec)
    assert found["prompt"] == "What is 0 + 0?"
    assert len(found["completions"]) == 3
    assert all(one["rewards"].keys() == {"exact_match"} and one["total"] in (0.0, 1.0) for one in found["completions"])


def test_a_trial_says_which_answers_a_reward_failed_on(tmp_path: Path) -> None:
    job = job_of(tmp_path, "grpo")
    trainer = job.method.build(job)
    trainer.reward_funcs = [Scripted("exact_match", [1, None], [False, True])]
    found = sample_attempts(trainer, job.data.train[0], 2, job.spec)
    assert [one["total"] for one in found["completions"]] == [1.0, None]
    assert found["spread"] == 0


LIMITS: list[tuple[str, dict[str, Any], str]] = [
    ("rloo", {"least_reward": 1.0, "most_reward": 1.0}, r"least_reward \(1\) should be below most_reward \(1\)"),
    ("rloo", {"attempts": 3}, "try 15"),
    ("online_dpo", {"max_length": 8}, r"answers of 8 tokens leave no room for a prompt in max_length \(8\)"),
]


@pytest.mark.parametrize(("method", "knobs", "said"), LIMITS)
def test_settings_without_a_meaning_are_refused_in_a_sentence(method: str, knobs: dict[str, Any], said: str, tmp_path: Path) -> None:  # fmt: skip
    with pytest.raises(Problem, match=said):
        job_of(tmp_path, method, knobs)


def test_the_first_reward_is_learned_as_it_always_was() -> None:
    """Of the preset: what TRL was told before there were recipes."""
    from app.engine.methods.grpo import Knobs
    from app.engine.trainers.group_rl.recipes import grpo_config_args

    told = grpo_config_args(Knobs.model_validate(presets.preset_spec("first_reward").knobs))
    assert {name: value for name, value in told.items() if value is not None} == {
        "loss_type": "dr_grpo", "importance_sampling_level": "token", "scale_rewards": "group", "multi_objective_aggregation": "sum_then_normalize",
        "epsilon": 0.2, "beta": 0.0, "mask_truncated_completions": False, "top_entropy_quantile": 1.0, "steps_per_generation": 1,
    }  # fmt: skip


def test_an_average_step_is_one_of_a_whole_round_of_answers(tmp_path: Path) -> None:
    from app.engine.preview.time_estimate import MAX_ROUND_STEPS, steps_per_round

    assert steps_per_round(job_of(tmp_path, "grpo")) == 1
    assert steps_per_round(job_of(tmp_path, "grpo", {"recipe": "gspo"})) == 4
    assert steps_per_round(job_of(tmp_path, "rloo", {"written_ahead": 3, "times_used": 2})) == 6
    assert steps_per_round(job_of(tmp_path, "rloo", {"written_ahead": 64})) == MAX_ROUND_STEPS
    assert steps_per_round(job_of(tmp_path, "online_dpo")) == 1
