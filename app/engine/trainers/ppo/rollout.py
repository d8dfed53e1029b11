"""Rollouts of a policy: completions of prompts, their rewards, the log-probability of each token and the critic's predicted values."""

from __future__ import annotations

from typing import Any

from app.engine.generation.generate import render_prompt, swapped_weights
from app.engine.trainers.group_rl.trainer import failed_completions
from app.engine.trainers.ppo import critic as critics

Batch = dict[str, Any]  # tensors by name, one row for each completion; `mask` is 1 on the tokens of the completion


class RolloutMixin:
    """The part of the PPO trainer (app/engine/trainers/ppo/trainer.py) that samples and scores; it trains nothing."""

    knobs: Any
    critic: Any
    initial_weights: Any
    reward_funcs: list[Any]
    reward_weights: list[float]

    def _tokenize_prompts(self, prompts: list[Any]) -> tuple[list[list[int]]]:
        """(token_ids of each prompt,): a tuple as in TRL, where images may come second."""
        tokenizer = self.processing_class
        texts = [render_prompt(tokenizer, prompt, isinstance(prompt, list)) for prompt in prompts]
        is_plain_text = [isinstance(prompt, str) for prompt in prompts]
        token_ids = [
            tokenizer(text, add_special_tokens=is_plain)["input_ids"]
            for text, is_plain in zip(texts, is_plain_text, strict=True)
        ]
        return (token_ids,)

    def generate_rollouts(self, inputs: list[dict[str, Any]]) -> Batch:
        """{"ids", "attention": (completions, prompt + completion tokens), "mask": (completions, completion tokens), "ended":
        (completions,)}. Prompts are padded on the left, completions on the right."""
        import torch

        (prompt_ids,) = self._tokenize_prompts([row["prompt"] for row in inputs])
        prompts = self.processing_class.pad({"input_ids": prompt_ids}, padding_side="left", return_tensors="pt")
        prompts = prompts.to(self.accelerator.device)
        with self.compute_loss_context_manager():
            ids = self.model.generate(**prompts, generation_config=self._generation_config())
        mask, has_ended = mask_through_eos(ids[:, prompts["input_ids"].shape[1] :], self._eos_token_ids())
        attention = torch.cat([prompts["attention_mask"], mask], 1)
        return {"ids": ids, "attention": attention, "mask": mask.float(), "ended": has_ended}

    def _generation_config(self) -> Any:
        from transformers import GenerationConfig

        knobs = self.knobs
        return GenerationConfig(
            do_sample=True,
            max_new_tokens=knobs.max_completion_length,
            temperature=knobs.temperature,
            top_p=knobs.top_p,
            top_k=knobs.top_k,
            min_p=knobs.min_p or None,
            repetition_penalty=knobs.repetition_penalty,
            use_cache=True,
            pad_token_id=self.processing_class.pad_token_id,
            eos_token_id=self._eos_token_ids(),
            disable_compile=True,
        )

    def _eos_token_ids(self) -> list[int]:
        """Every token that ends a completion."""
        declared = self.model.generation_config.eos_token_id
        token_ids = declared if isinstance(declared, list) else [declared]
        token_ids = [*token_ids, self.processing_class.eos_token_id]
        return sorted({token_id for token_id in token_ids if token_id is not None})

    def score_completions(self, inputs: list[dict[str, Any]], batch: Batch) -> Any:
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
        columns = {name: [row.get(name) for row in inputs] for name in inputs[0] if name != "prompt"}
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

    def token_logps_and_entropy(self, model: Any, batch: Batch) -> tuple[Any, Any]:
        """Two tensors of (completions, completion tokens): each token's log-probability, and the entropy where it was sampled."""
        import torch

        ids, length = batch["ids"], batch["mask"].shape[1]
        with self.compute_loss_context_manager():
            logits = model(**_model_inputs(batch), **_logits_to_keep(model, length + 1), use_cache=False).logits
        logps = (logits[:, -length - 1 : -1].float() / self.knobs.temperature).log_softmax(-1)
        with torch.no_grad():
            entropy = -(logps.exp() * logps).sum(-1)
        return logps.gather(-1, ids[:, -length:, None])[..., 0], entropy

    def token_values(self, batch: Batch) -> Any:
        """(completions, completion tokens): the predicted value before each token."""
        with self.compute_loss_context_manager():
            return critics.predicted_values(self.critic, _model_inputs(batch))[:, -batch["mask"].shape[1] - 1 : -1]

    def sample_scored_completions(self, row: dict[str, Any], count: int) -> list[dict[str, Any]]:
        """`count` completions of a row's prompt, each {"text", "rewards", "failed"}; see app/engine/preview/dry_run.py."""
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


def _model_inputs(batch: Batch) -> dict[str, Any]:
    """Arguments of the model's forward. Positions are counted from the first token of the prompt, not from its padding."""
    position_ids = (batch["attention"].cumsum(-1) - 1).clamp(min=0)
    return {"input_ids": batch["ids"], "attention_mask": batch["attention"], "position_ids": position_ids}


def _logits_to_keep(model: Any, count: int) -> dict[str, int]:
    """Has the model compute logits for the last `count` positions only, where it can."""
    import inspect

    unwrapped = critics.unwrapped_model(getattr(model, "module", model))
    return {"logits_to_keep": count} if "logits_to_keep" in inspect.signature(unwrapped.forward).parameters else {}


def mask_through_eos(completion_ids: Any, eos_token_ids: list[int]) -> tuple[Any, Any]:
    """(1 for each token up to and with the first end-of-sequence token, else 0; whether each completion has one)."""
    import torch

    is_eos = torch.isin(completion_ids, torch.tensor(eos_token_ids, device=completion_ids.device)).long()
    return (is_eos.cumsum(1) - is_eos == 0).long(), is_eos.any(1)


def total_scores(rewards: Any, weights: list[float], failed: list[bool]) -> Any:
    """(completions,): the weighted sum of (rewards, completions); NaN where no reward gave a number, or one failed."""
    import torch

    totals = (rewards * torch.tensor(weights, device=rewards.device)[:, None]).nansum(0)
    is_unscored = rewards.isnan().all(0) | torch.tensor(failed, device=rewards.device)
    return totals.masked_fill(is_unscored, torch.nan)


def select_rows(batch: Batch, rows: Any) -> Batch:
    """The batch with the given rows only, in their order."""
    return {name: tensor[rows] for name, tensor in batch.items()}


def split_batch(batch: Batch, count: int) -> list[Batch]:
    """The batch in `count` equal pieces, in its order."""
    chunks_by_name = {name: tensor.chunk(count) for name, tensor in batch.items()}
    return [{name: chunks[i] for name, chunks in chunks_by_name.items()} for i in range(len(chunks_by_name["ids"]))]
