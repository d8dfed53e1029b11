"""Proximal: PPO's trainer, small: answers are written, scored and valued, then learned from in several passes.

One step of the loop is one round: it writes a batch of answers, and corrects policy and critic once for each part of the
batch in each pass. So a checkpoint always stands between two rounds, and a resumed run goes on exactly.
"""

from __future__ import annotations

from collections import deque
from functools import cached_property
from pathlib import Path
from typing import Any

from app.engine.trainers.ppo import critic as critics
from app.engine.trainers.ppo import ppo_math as formulas
from app.engine.trainers.ppo.rollout import Batch, Rollout, pieces, some


def trainer_class() -> type:
    import torch

    from app.engine.generation.generate import trained_weights
    from app.engine.trainers.base import base, require_pad, with_adapter

    class PPOTrainer(Rollout, base()):
        """rewards: named callables as TRL takes them. critic: None where nothing is learned."""

        loss_is_scaled_for_ga = True
        _tag_names = ("ppo",)

        def __init__(self, model: Any, args: Any, train_dataset: Any, processing_class: Any, peft_config: Any = None,
                     callbacks: Any = None, *, knobs: Any, rewards: list[Any], weights: list[float], critic: Any = None):  # fmt: skip
            require_pad(processing_class, model)
            self.knobs, self.rewards, self.weights = knobs, rewards, weights
            self.chat_template_kwargs: dict[str, Any] = {}
            self._logs = {name: deque(maxlen=knobs.batch_size) for name in ("prompt", "completion", "advantages")}
            self._logs["against"] = "the critic foretold"
            self._logs["rewards"] = {one.__name__: deque(maxlen=knobs.batch_size) for one in rewards}
            super().__init__(model=with_adapter(model, peft_config, args), args=args, data_collator=list, train_dataset=train_dataset,
                             processing_class=processing_class, callbacks=callbacks)  # fmt: skip
            self.critic = critic and critic.to(self.accelerator.device)
            if critic and args.gradient_checkpointing:
                self.critic.gradient_checkpointing_enable({"use_reentrant": False})

        @cached_property
        def start(self) -> list[tuple[Any, Any]]:
            """The trained weights as the run began with them: with these the model is its own reference."""
            return trained_weights(self.model)

        def train(self, *args: Any, **kwargs: Any) -> Any:
            assert self.start  # kept now: a checkpoint to go on from is loaded only after this
            return super().train(*args, **kwargs)

        def _get_train_sampler(self, dataset: Any = None) -> Any:
            """As TRL's GRPO: whole rounds of prompts, each as often as it is tried."""
            from trl.trainer.utils import RepeatSampler

            knobs = self.knobs
            return RepeatSampler(dataset or self.train_dataset, knobs.attempts, knobs.batch_size // knobs.attempts, seed=self.args.seed)  # fmt: skip

        def create_optimizer(self, model: Any = None) -> Any:
            """One for both models, each with its own size of corrections."""
            fresh = self.optimizer is None
            super().create_optimizer(model)
            if fresh:
                own = [*critics.trained(self.critic).values()]
                self.optimizer.add_param_group({"params": own, "lr": self.knobs.value_learning_rate, "weight_decay": 0.0})  # fmt: skip
            return self.optimizer

        # -- one round ----------------------------------------------------------------------------------------------

        def training_step(self, model: Any, inputs: list[dict[str, Any]], num_items_in_batch: Any = None) -> Any:
            """Everything of a round but its very last correction, which the loop makes."""
            self.optimizer.zero_grad()
            with torch.no_grad():
                tried = self.tried(inputs)
            model.train()
            self.critic.train()
            losses = []
            for _ in range(self.knobs.passes):
                for part in self.parts(tried):
                    if losses:
                        self.correct(model)
                    losses.append(self.learn(model, part))
            return torch.stack(losses).mean()

        def tried(self, inputs: list[dict[str, Any]]) -> Batch:
            """Answers to the prompts of a round, with everything that is learned from them. Call without gradients."""
            self.model.eval()
            self.critic.eval()
            batch, knobs = self.write(inputs), self.knobs
            scores = self.score(inputs, batch)
            found = [self.looked_at(piece) for piece in pieces(batch, knobs.minibatches * knobs.accumulation)]
            batch |= {name: torch.cat([one[name] for one in found]) for name in found[0]}
            mask = batch["mask"] = batch["mask"] * ~scores.isnan()[:, None]  # what was not scored teaches nothing
            finished = scores.nan_to_num(0) - knobs.unfinished_penalty * ~batch["ended"]
            earned = formulas.token_rewards(finished, batch["logps"], batch["reference"], mask, knobs.kl)
            gains = formulas.advantages(earned, batch["values"], mask, knobs.discount, knobs.trace)
            batch |= {"returns": gains + batch["values"], "gains": formulas.whitened(gains, mask)}
            self.tell(batch, scores, gains)
            return batch

        def parts(self, tried: Batch) -> list[Batch]:
            """The answers in a new order, in equal parts, each for one correction."""
            order = torch.randperm(len(tried["ids"])).chunk(self.knobs.minibatches)
            return [some(tried, rows.to(tried["ids"].device)) for rows in order]

        def learn(self, model: Any, part: Batch) -> Any:
            """Gradients of one part for both models, piece by piece where memory is short. The loss of the part."""
            count, losses = part["mask"].sum().clamp(min=1), []
            for piece in pieces(part, self.knobs.accumulation):
                with self.compute_loss_context_manager():
                    loss = self.compute_loss(model, piece, num_items_in_batch=count)
                self.accelerator.backward(loss)
                losses.append(loss.detach())
            if self.args.max_grad_norm:
                torch.nn.utils.clip_grad_norm_(critics.trained(self.critic).values(), self.args.max_grad_norm)
            return torch.stack(losses).sum()

        def compute_loss(self, model: Any, piece: Batch, return_outputs: bool = False, num_items_in_batch: Any = None) -> Any:  # fmt: skip
            """Policy's and critic's loss, summed over tokens and divided by how many the whole part has."""
            logps, entropy = self.likelihoods(model, piece)
            lost, clipped = formulas.policy_loss(logps, piece["logps"], piece["gains"], self.knobs.clip)
            missed = formulas.value_loss(self.valued(piece), piece["values"], piece["returns"], self.knobs.value_clip)
            told = {"policy/loss": lost, "policy/clipped": clipped.float(), "policy/entropy": entropy, "value/loss": missed}  # fmt: skip
            self.note({name: formulas.masked_mean(values, piece["mask"]) for name, values in told.items()})
            return ((lost + missed) * piece["mask"]).sum() / num_items_in_batch

        def correct(self, model: Any) -> None:
            if self.args.max_grad_norm:
                self.accelerator.clip_grad_norm_(model.parameters(), self.args.max_grad_norm)
            self.optimizer.step()
            self.optimizer.zero_grad()

        # -- what is told, and what is kept --------------------------------------------------------------------------

        def tell(self, batch: Batch, scores: Any, gains: Any) -> None:
            """What the round's curves and shown attempts say."""
            mask, names = batch["mask"], [one.__name__ for one in self.rewards]
            for name, values in (("prompt", self.asked), ("completion", self.said), ("advantages", gains[:, 0].tolist())):  # fmt: skip
                self._logs[name].extend(values)
            for name, values in zip(names, self.scored, strict=True):
                self._logs["rewards"][name].extend(values.tolist())
                self.note({f"rewards/{name}/mean": values.nanmean()})
            self.tokens += int(batch["attention"].sum())
            self.note({
                "reward": scores.nanmean(),
                "policy/kl": formulas.masked_mean(formulas.divergence(batch["logps"], batch["reference"]), mask),
                "policy/length": batch["mask"].sum(-1).mean(),
                "policy/cut_off": (~batch["ended"]).float().mean(),
                "value/explained": formulas.explained(batch["values"], batch["returns"], mask),
            })  # fmt: skip

        def _save_checkpoint(self, model: Any, trial: Any) -> None:
            critics.save(self.critic, Path(self._get_output_dir(trial)) / f"checkpoint-{self.state.global_step}")
            super()._save_checkpoint(model, trial)

        def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            critics.restore(self.critic, Path(resume_from_checkpoint))

    return PPOTrainer
