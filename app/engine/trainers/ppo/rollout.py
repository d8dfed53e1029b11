"""Rollouts of a policy: completions of prompts, their rewards, the log-probability of each token and the critic's predicted values."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

from app.data.conversations.messages import Messages
from app.data.rows import Row
from app.engine.generation.end_tokens import end_token_ids_of
from app.engine.generation.generate import SavedWeights, copy_trained_weights, render_prompt, swapped_weights
from app.engine.generation.sampling import sampling_settings
from app.engine.generation.transformers_generator import TransformersGenerator, single_batch
from app.engine.tokens.length_batches import pad_texts
from app.engine.trainers.base import StepMetricsMixin
from app.engine.trainers.group_rl.scoring import ScoredCompletion, failed_completions
from app.engine.trainers.ppo.critic import Critic, unwrapped_model

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

    from app.engine.methods.ppo import Knobs
    from app.engine.reward_runtime.error_policy import RewardErrorPolicy

Batch: TypeAlias = "dict[str, Tensor]"  # one row for each completion; `mask` is 1 on the tokens of the completion


class RolloutMixin(StepMetricsMixin):
    """The part of the PPO trainer (app/engine/trainers/ppo/trainer.py) that samples and scores; it trains nothing."""

    knobs: Knobs
    critic: Critic
    reward_funcs: list[RewardErrorPolicy]
    reward_weights: list[float]

    @cached_property
    def initial_weights(self) -> SavedWeights:
        """The trained weights as they were when the run began: with these the model is its own reference."""
        return copy_trained_weights(self.model)

    def _tokenize_prompts(self, prompts: list[str | Messages]) -> tuple[list[list[int]]]:
        """(token_ids of each prompt,): a tuple as in TRL, where images may come second."""
        tokenizer = self.processing_class
        texts = [render_prompt(tokenizer, prompt, isinstance(prompt, list)) for prompt in prompts]
        is_plain_text = [isinstance(prompt, str) for prompt in prompts]
        token_ids = [
            tokenizer(text, add_special_tokens=is_plain)["input_ids"]
            for text, is_plain in zip(texts, is_plain_text, strict=True)
        ]
        return (token_ids,)

    def generate_rollouts(self, inputs: list[Row]) -> Batch:
        """{"ids", "attention": (completions, prompt + completion tokens), "mask": (completions, completion tokens), "ended":
        (completions,)}. Prompts are padded on the left, completions on the right."""
        import torch

        (prompt_ids,) = self._tokenize_prompts([row["prompt"] for row in inputs])
        pad_token_id, device = self.processing_class.pad_token_id, self.accelerator.device
        end_token_ids = end_token_ids_of(self.model, self.processing_class)
        generator = TransformersGenerator(self.model, self.processing_class, make_batches=single_batch)
        with self.compute_loss_context_manager():
            completions = generator.generate(prompt_ids, sampling_settings(self.knobs, end_token_ids))
        completion_ids = [completion.token_ids for completion in completions]
        padded_prompts, prompt_mask = pad_texts(prompt_ids, device, pad_token_id, side="left")
        padded_completions, mask = pad_texts(completion_ids, device, pad_token_id)
        return {
            "ids": torch.cat([padded_prompts, padded_completions], 1),
            "attention": torch.cat([prompt_mask, mask], 1),
            "mask": mask.float(),
            "ended": torch.tensor([token_ids[-1] in end_token_ids for token_ids in completion_ids], device=device),
        }

    def score_completions(self, inputs: list[Row], batch: Batch) -> Tensor:
        """(completions,): the weighted sum of the rewards; NaN where none gave a number, or where one failed."""
        import torch

        completion_ids = batch["ids"][:, -batch["mask"].shape[1] :]
        token_ids = [ids[mask.bool()].tolist() for ids, mask in zip(completion_ids, batch["mask"], strict=True)]
        texts = self.processing_class.batch_decode(token_ids, skip_special_tokens=True)
        prompts = [row["prompt"] for row in inputs]
        completions = [
            [{"role": "assistant", "content": text}] if isinstance(prompt, list) else text
            for prompt, text in zip(prompts, texts, strict=True)
        ]
        columns: Row = {name: [row.get(name) for row in inputs] for name in inputs[0] if name != "prompt"}
        columns |= {"prompts": prompts, "completion_ids": token_ids}
        columns |= {"trainer_state": self.state, "log_metric": self.log_metric}
        rewards_by_func = [
            [torch.nan if reward is None else reward for reward in reward_func(completions=completions, **columns)]
            for reward_func in self.reward_funcs
        ]
        self.last_rewards = torch.tensor(rewards_by_func, device=completion_ids.device)  # (rewards, completions)
        self.last_failed = failed_completions(self.reward_funcs, len(inputs))
        self.last_prompts, self.last_completions = prompts, texts
        return total_scores(self.last_rewards, self.reward_weights, self.last_failed)

    def logps_and_values(self, batch: Batch) -> Batch:
        """{"logps", "reference", "values"}: of each completion token the log-probability by the policy, that by its initial
        weights, and the value before it."""
        logps, _ = self.token_logps_and_entropy(self.model, batch)
        ref_logps = logps
        if self.knobs.kl:
            with swapped_weights(self.initial_weights):
                ref_logps, _ = self.token_logps_and_entropy(self.model, batch)
        return {"logps": logps, "reference": ref_logps, "values": self.token_values(batch)}

    def token_logps_and_entropy(self, model: Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """Two tensors of (completions, completion tokens): each token's log-probability, and the entropy where it was sampled."""
        import torch

        ids, length = batch["ids"], batch["mask"].shape[1]
        with self.compute_loss_context_manager():
            logits = model(**_model_inputs(batch), **_logits_to_keep(model, length + 1), use_cache=False).logits
        logps = (logits[:, -length - 1 : -1].float() / self.knobs.temperature).log_softmax(-1)
        with torch.no_grad():
            entropy = -(logps.exp() * logps).sum(-1)
        return logps.gather(-1, ids[:, -length:, None])[..., 0], entropy

    def token_values(self, batch: Batch) -> Tensor:
        """(completions, completion tokens): the predicted value before each token."""
        with self.compute_loss_context_manager():
            return self.critic.predicted_values(_model_inputs(batch))[:, -batch["mask"].shape[1] - 1 : -1]

    def sample_scored_completions(self, row: Row, count: int) -> list[ScoredCompletion]:
        """`count` completions of a row's prompt; see app/engine/preview/dry_run.py."""
        import torch

        self.model.eval()
        rows = [dict(row) for _ in range(count)]
        with torch.no_grad():
            self.score_completions(rows, self.generate_rollouts(rows))
        names = [reward_func.__name__ for reward_func in self.reward_funcs]
        samples = zip(self.last_completions, self.last_rewards.T.tolist(), self.last_failed, strict=True)
        return [
            {"text": text, "rewards": dict(zip(names, rewards, strict=True)), "failed": has_failed}
            for text, rewards, has_failed in samples
        ]


def _model_inputs(batch: Batch) -> dict[str, Tensor]:
    """Arguments of the model's forward. Positions are counted from the first token of the prompt, not from its padding."""
    position_ids = (batch["attention"].cumsum(-1) - 1).clamp(min=0)
    return {"input_ids": batch["ids"], "attention_mask": batch["attention"], "position_ids": position_ids}


def _logits_to_keep(model: Module, count: int) -> dict[str, int]:
    """Has the model compute logits for the last `count` positions only, where it can."""
    import inspect

    unwrapped = unwrapped_model(getattr(model, "module", model))
    return {"logits_to_keep": count} if "logits_to_keep" in inspect.signature(unwrapped.forward).parameters else {}


def total_scores(rewards: Tensor, weights: list[float], failed: list[bool]) -> Tensor:
    """(completions,): the weighted sum of (rewards, completions); NaN where no reward gave a number, or one failed."""
    import torch

    totals = (rewards * torch.tensor(weights, device=rewards.device)[:, None]).nansum(0)
    is_unscored = rewards.isnan().all(0) | torch.tensor(failed, device=rewards.device)
    return totals.masked_fill(is_unscored, torch.nan)


def select_rows(batch: Batch, rows: Tensor) -> Batch:
    """The batch with the given rows only, in their order."""
    return {name: tensor[rows] for name, tensor in batch.items()}


def split_batch(batch: Batch, count: int) -> list[Batch]:
    """The batch in `count` equal pieces, in its order."""
    chunks_by_name = {name: tensor.chunk(count) for name, tensor in batch.items()}
    return [{name: chunks[i] for name, chunks in chunks_by_name.items()} for i in range(len(chunks_by_name["ids"]))]
