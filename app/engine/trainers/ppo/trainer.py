"""Small PPO trainer: it samples and scores completions, then learns from them in several passes.

One step of the training loop is one round: the policy writes a batch of completions, then policy and critic take one
optimizer step for each minibatch in each pass. So a checkpoint always lies between two rounds, and a resumed run
continues exactly as it would have.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from app.data.rows import Row
from app.engine.trainer_class import extended
from app.engine.trainers.base import base_trainer_class, ensure_pad_token, with_adapter
from app.engine.trainers.group_rl.rollout_logging import RolloutLoggingMixin, RolloutLogs
from app.engine.trainers.mixin_bases import TrainerBase
from app.engine.trainers.ppo import ppo_math
from app.engine.trainers.ppo.critic import Critic
from app.engine.trainers.ppo.rollout import Batch, RolloutMixin, select_rows, split_batch

if TYPE_CHECKING:
    import optuna
    from datasets import Dataset
    from peft import PeftConfig
    from torch.nn import Module
    from torch.optim import Optimizer
    from torch.utils.data import Sampler
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback, TrainingArguments
    from transformers.trainer_utils import TrainOutput

    from app.engine.job import Job
    from app.engine.methods.ppo import Knobs
    from app.engine.reward_runtime.error_policy import RewardErrorPolicy


def ppo_trainer_class(job: Job) -> type:
    """The class of app/engine/trainers/base.py with PPO_MIXINS."""
    return extended(base_trainer_class(), PPO_MIXINS, job)


class CriticMixin(TrainerBase):
    """Trains a critic beside the model: one optimizer for both, and its weights in each checkpoint."""

    knobs: Knobs
    critic: Critic  # missing in a preview and a dry run, where nothing is trained

    def create_optimizer(self, model: Module | None = None) -> Optimizer:
        """One optimizer for both models, each with its own learning rate."""
        is_new = self.optimizer is None
        optimizer = super().create_optimizer(model)
        if is_new:
            critic_weights = [*self.critic.trainable_weights().values()]
            critic_group = {"params": critic_weights, "lr": self.knobs.value_learning_rate, "weight_decay": 0.0}
            optimizer.add_param_group(critic_group)
        return optimizer

    def _save_checkpoint(self, model: Module, trial: optuna.Trial | dict[str, Any] | None) -> None:
        self.critic.save(Path(self._get_output_dir(trial)) / f"checkpoint-{self.state.global_step}")
        super()._save_checkpoint(model, trial)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Module | None = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        self.critic.load(Path(resume_from_checkpoint))


class PPOMixin(CriticMixin, RolloutMixin):
    """The rounds of PPO: rollouts become advantages, and those train policy and critic in several passes.

    rewards: named callables as TRL takes them, weights: one for each. critic: None in a preview, where nothing is
    trained.
    """

    loss_is_scaled_for_ga = True
    _tag_names = ("ppo",)
    _logs: RolloutLogs
    optimizer: Optimizer

    def __init__(
        self,
        model: PreTrainedModel,
        args: TrainingArguments,
        train_dataset: Dataset,
        processing_class: PreTrainedTokenizerBase,
        peft_config: PeftConfig | None = None,
        callbacks: list[TrainerCallback] | None = None,
        *,
        rewards: list[RewardErrorPolicy],
        weights: list[float],
        critic: Critic | None = None,
    ):
        ensure_pad_token(processing_class, model)
        self.reward_funcs, self.reward_weights = rewards, weights
        super().__init__(
            model=with_adapter(model, peft_config, args),
            args=args,
            data_collator=_collate,
            train_dataset=train_dataset,
            processing_class=processing_class,
            callbacks=callbacks,
        )
        if critic is not None:
            critic.model.to(self.accelerator.device)
            self.critic = critic
            if args.gradient_checkpointing:
                critic.model.gradient_checkpointing_enable({"use_reentrant": False})

    def train(self, *args: Any, **kwargs: Any) -> TrainOutput:
        assert self.initial_weights  # copied now: a checkpoint to resume from is loaded only after this
        return super().train(*args, **kwargs)

    def _get_train_sampler(self, dataset: Dataset | None = None, /) -> Sampler[int]:
        """As in TRL's GRPO: full rounds of prompts, each prompt as often as it is sampled."""
        from trl.trainer.utils import RepeatSampler

        num_prompts = self.knobs.batch_size // self.knobs.attempts
        return RepeatSampler(dataset or self.train_dataset, self.knobs.attempts, num_prompts, seed=self.args.seed)

    # -- one round --------------------------------------------------------------------------------------------------

    def training_step(
        self, model: Module, inputs: dict[str, Any], num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        """One round without its very last optimizer step, which the training loop takes. The mean loss, a scalar.

        inputs: {"rows": those of the round, each prompt as often as it is sampled}.
        """
        self.optimizer.zero_grad()
        with torch.no_grad():
            rollouts = self.collect_rollouts(inputs["rows"])
        model.train()
        self.critic.model.train()
        losses: list[Tensor] = []
        for _ in range(self.knobs.passes):
            for minibatch in self._minibatches(rollouts):
                if losses:
                    self._optimizer_step(model)
                losses.append(self._backward_minibatch(model, minibatch))
        return torch.stack(losses).mean()

    def collect_rollouts(self, inputs: list[Row]) -> Batch:
        """Completions of a round's prompts, with log-probabilities, values, advantages and returns. Call without gradients."""
        self.model.eval()
        self.critic.model.eval()
        batch, knobs = self.generate_rollouts(inputs), self.knobs
        scores = self.score_completions(inputs, batch)
        pieces = split_batch(batch, knobs.minibatches * knobs.accumulation)
        outputs = [self.logps_and_values(piece) for piece in pieces]
        batch |= {name: torch.cat([output[name] for output in outputs]) for name in outputs[0]}
        mask = batch["mask"] = batch["mask"] * ~scores.isnan()[:, None]  # a completion without a score trains nothing
        penalized_scores = scores.nan_to_num(0) - knobs.unfinished_penalty * ~batch["ended"]
        rewards = ppo_math.token_rewards(penalized_scores, batch["logps"], batch["reference"], mask, knobs.kl)
        advantages = ppo_math.gae_advantages(rewards, batch["values"], mask, knobs.discount, knobs.trace)
        batch["returns"] = advantages + batch["values"]
        batch["advantages"] = ppo_math.masked_whiten(advantages, mask)
        self._log_rollouts(batch, scores, advantages)
        return batch

    def _minibatches(self, rollouts: Batch) -> list[Batch]:
        """The completions in a new random order, in equal parts, each for one optimizer step."""
        order = torch.randperm(len(rollouts["ids"])).chunk(self.knobs.minibatches)
        return [select_rows(rollouts, rows.to(rollouts["ids"].device)) for rows in order]

    def _backward_minibatch(self, model: Module, minibatch: Batch) -> Tensor:
        """Gradients of a minibatch for both models, in `accumulation` pieces to save memory. Its loss, a scalar."""
        num_tokens, losses = minibatch["mask"].sum().clamp(min=1), []
        for piece in split_batch(minibatch, self.knobs.accumulation):
            with self.compute_loss_context_manager():
                loss = self.compute_loss(model, piece, num_items_in_batch=num_tokens)
            self.accelerator.backward(loss)
            losses.append(loss.detach())
        if self.args.max_grad_norm:
            torch.nn.utils.clip_grad_norm_(self.critic.trainable_weights().values(), self.args.max_grad_norm)
        return torch.stack(losses).sum()

    def compute_loss(
        self,
        model: Module,
        inputs: Batch,
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor:
        """Policy loss plus value loss, summed over tokens and divided by the number of tokens in the minibatch."""
        mask = inputs["mask"]
        num_tokens = mask.sum().clamp(min=1) if num_items_in_batch is None else num_items_in_batch
        logps, entropy = self.token_logps_and_entropy(model, inputs)
        policy_loss, is_clipped = ppo_math.policy_loss(logps, inputs["logps"], inputs["advantages"], self.knobs.clip)
        value_loss = ppo_math.value_loss(
            self.token_values(inputs), inputs["values"], inputs["returns"], self.knobs.value_clip
        )
        token_metrics = {
            "policy/loss": policy_loss,
            "policy/clipped": is_clipped.float(),
            "policy/entropy": entropy,
            "value/loss": value_loss,
        }
        self.record_metrics({name: ppo_math.masked_mean(metric, mask) for name, metric in token_metrics.items()})
        return ((policy_loss + value_loss) * mask).sum() / num_tokens

    def _optimizer_step(self, model: Module) -> None:
        if self.args.max_grad_norm:
            self.accelerator.clip_grad_norm_(model.parameters(), self.args.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()

    # -- logs ------------------------------------------------------------------------------------------------------

    def _log_rollouts(self, batch: Batch, totals: Tensor, advantages: Tensor) -> None:
        """Fills the metrics of the round, and `_logs`, from which sampled completions are shown."""
        mask = batch["mask"]
        rewards = {func.__name__: scores for func, scores in zip(self.reward_funcs, self.last_rewards, strict=True)}
        self._logs = {
            "prompt": self.last_prompts,
            "completion": self.last_completions,
            "rewards": {name: scores.tolist() for name, scores in rewards.items()},
            "advantages": advantages[:, 0].tolist(),
            "against": "the critic foretold",
        }
        self.record_metrics({f"rewards/{name}/mean": scores.nanmean() for name, scores in rewards.items()})
        self.num_tokens_seen += int(batch["attention"].sum())
        kl = ppo_math.masked_mean(ppo_math.kl_estimate(batch["logps"], batch["reference"]), mask)
        metrics = {
            "reward": totals.nanmean(),
            "policy/kl": kl,
            "policy/length": mask.sum(-1).mean(),
            "policy/cut_off": (~batch["ended"]).float().mean(),
            "value/explained": ppo_math.explained_variance(batch["values"], batch["returns"], mask),
        }
        self.record_metrics(metrics)


def _collate(rows: list[Row]) -> dict[str, list[Row]]:
    return {"rows": rows}


# The outermost first: `super()` in each is the one below it, and in the last the base trainer, which logs the mean of
# each metric recorded in a step.
PPO_MIXINS = (
    RolloutLoggingMixin,  # shows a few completions with their rewards as events of the run
    PPOMixin,  # the rounds: rollouts, advantages, and passes over minibatches
    CriticMixin,  # the critic in optimizer and checkpoints
    RolloutMixin,  # samples completions, scores them, and computes log-probabilities and predicted values
)
