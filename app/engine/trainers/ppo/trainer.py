"""Small PPO trainer: it samples and scores completions, then learns from them in several passes.

One step of the training loop is one round: the policy writes a batch of completions, then policy and critic take one
optimizer step for each minibatch in each pass. So a checkpoint always lies between two rounds, and a resumed run
continues exactly as it would have.
"""

from __future__ import annotations

from collections import deque
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from app.engine.generation.generate import copy_trained_weights
from app.engine.trainers.base import base_trainer_class, ensure_pad_token, with_adapter
from app.engine.trainers.ppo import critic as critics
from app.engine.trainers.ppo import ppo_math
from app.engine.trainers.ppo.rollout import Batch, RolloutMixin, select_rows, split_batch


def ppo_trainer_class() -> type:
    """The PPO mixin on the base class of app/engine/trainers/base.py, which imports TRL."""
    return type("PPOTrainer", (PPOMixin, base_trainer_class()), {})


class PPOMixin(RolloutMixin):
    """PPO on top of the class that app/engine/trainers/base.py makes.

    rewards: named callables as TRL takes them, weights: one for each. critic: None in a preview, where nothing is
    trained.
    """

    loss_is_scaled_for_ga = True
    _tag_names = ("ppo",)

    def __init__(
        self,
        model: Any,
        args: Any,
        train_dataset: Any,
        processing_class: Any,
        peft_config: Any = None,
        callbacks: Any = None,
        *,
        knobs: Any,
        rewards: list[Any],
        weights: list[float],
        critic: Any = None,
    ):
        ensure_pad_token(processing_class, model)
        self.knobs, self.reward_funcs, self.reward_weights = knobs, rewards, weights
        self.chat_template_kwargs: dict[str, Any] = {}
        names = ("prompt", "completion", "advantages")
        self._logs: dict[str, Any] = {name: deque(maxlen=knobs.batch_size) for name in names}
        self._logs["against"] = "the critic foretold"
        self._logs["rewards"] = {reward.__name__: deque(maxlen=knobs.batch_size) for reward in rewards}
        super().__init__(
            model=with_adapter(model, peft_config, args),
            args=args,
            data_collator=list,
            train_dataset=train_dataset,
            processing_class=processing_class,
            callbacks=callbacks,
        )
        self.critic = critic and critic.to(self.accelerator.device)
        if critic and args.gradient_checkpointing:
            self.critic.gradient_checkpointing_enable({"use_reentrant": False})

    @cached_property
    def initial_weights(self) -> list[tuple[Any, Any]]:
        """The trained weights as they were when the run began: with these the model is its own reference."""
        return copy_trained_weights(self.model)

    def train(self, *args: Any, **kwargs: Any) -> Any:
        assert self.initial_weights  # copied now: a checkpoint to resume from is loaded only after this
        return super().train(*args, **kwargs)

    def _get_train_sampler(self, dataset: Any = None, /) -> Any:
        """As in TRL's GRPO: full rounds of prompts, each prompt as often as it is sampled."""
        from trl.trainer.utils import RepeatSampler

        num_prompts = self.knobs.batch_size // self.knobs.attempts
        return RepeatSampler(dataset or self.train_dataset, self.knobs.attempts, num_prompts, seed=self.args.seed)

    def create_optimizer(self, model: Any = None) -> Any:
        """One optimizer for both models, each with its own learning rate."""
        is_new = self.optimizer is None
        super().create_optimizer(model)
        if is_new:
            critic_weights = [*critics.trainable_weights(self.critic).values()]
            critic_group = {"params": critic_weights, "lr": self.knobs.value_learning_rate, "weight_decay": 0.0}
            self.optimizer.add_param_group(critic_group)
        return self.optimizer

    # -- one round --------------------------------------------------------------------------------------------------

    def training_step(self, model: Any, inputs: list[dict[str, Any]], num_items_in_batch: Any = None) -> Any:
        """One round without its very last optimizer step, which the training loop takes. The mean loss, a scalar."""
        self.optimizer.zero_grad()
        with torch.no_grad():
            rollouts = self.collect_rollouts(inputs)
        model.train()
        self.critic.train()
        losses: list[Any] = []
        for _ in range(self.knobs.passes):
            for minibatch in self._minibatches(rollouts):
                if losses:
                    self._optimizer_step(model)
                losses.append(self._backward_minibatch(model, minibatch))
        return torch.stack(losses).mean()

    def collect_rollouts(self, inputs: list[dict[str, Any]]) -> Batch:
        """Completions of a round's prompts, with log-probabilities, values, advantages and returns. Call without gradients."""
        self.model.eval()
        self.critic.eval()
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

    def _backward_minibatch(self, model: Any, minibatch: Batch) -> Any:
        """Gradients of a minibatch for both models, in `accumulation` pieces to save memory. Its loss, a scalar."""
        num_tokens, losses = minibatch["mask"].sum().clamp(min=1), []
        for piece in split_batch(minibatch, self.knobs.accumulation):
            with self.compute_loss_context_manager():
                loss = self.compute_loss(model, piece, num_items_in_batch=num_tokens)
            self.accelerator.backward(loss)
            losses.append(loss.detach())
        if self.args.max_grad_norm:
            torch.nn.utils.clip_grad_norm_(critics.trainable_weights(self.critic).values(), self.args.max_grad_norm)
        return torch.stack(losses).sum()

    def compute_loss(
        self, model: Any, inputs: Batch, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Policy loss plus value loss, summed over tokens and divided by the number of tokens in the minibatch."""
        mask = inputs["mask"]
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
        return ((policy_loss + value_loss) * mask).sum() / num_items_in_batch

    def _optimizer_step(self, model: Any) -> None:
        if self.args.max_grad_norm:
            self.accelerator.clip_grad_norm_(model.parameters(), self.args.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()

    # -- logs and checkpoints ---------------------------------------------------------------------------------------

    def _log_rollouts(self, batch: Batch, scores: Any, advantages: Any) -> None:
        """Fills the metrics of the round, and `_logs`, from which sampled completions are shown."""
        mask = batch["mask"]
        self._logs["prompt"].extend(self.last_prompts)
        self._logs["completion"].extend(self.last_completions)
        self._logs["advantages"].extend(advantages[:, 0].tolist())
        for reward_func, rewards in zip(self.reward_funcs, self.last_rewards, strict=True):
            self._logs["rewards"][reward_func.__name__].extend(rewards.tolist())
            self.record_metrics({f"rewards/{reward_func.__name__}/mean": rewards.nanmean()})
        self.num_tokens_seen += int(batch["attention"].sum())
        kl = ppo_math.masked_mean(ppo_math.kl_estimate(batch["logps"], batch["reference"]), mask)
        metrics = {
            "reward": scores.nanmean(),
            "policy/kl": kl,
            "policy/length": mask.sum(-1).mean(),
            "policy/cut_off": (~batch["ended"]).float().mean(),
            "value/explained": ppo_math.explained_variance(batch["values"], batch["returns"], mask),
        }
        self.record_metrics(metrics)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        critics.save_critic(self.critic, Path(self._get_output_dir(trial)) / f"checkpoint-{self.state.global_step}")
        super()._save_checkpoint(model, trial)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        critics.load_critic(self.critic, Path(resume_from_checkpoint))
