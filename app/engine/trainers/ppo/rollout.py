"""Rollout: answers of a policy to prompts, with what they earned, how likely each token was, and what the critic expected of them."""

from __future__ import annotations

from typing import Any

from app.engine.generation.generate import rendered, swapped
from app.engine.trainers.group_rl.trainer import failures
from app.engine.trainers.ppo import critic as critics

Batch = dict[str, Any]  # tensors by name, one row for each answer; `mask` is 1 where a token of the answer stands


class Rollout:
    """Part of PPO's trainer (app/engine/trainers/ppo/trainer.py) that writes and looks; it learns nothing."""

    def _tokenize_prompts(self, prompts: list[Any]) -> tuple[list[list[int]]]:
        """A tuple, as TRL's: what else a prompt may hold would come second."""
        tokenizer = self.processing_class
        texts = [rendered(tokenizer, prompt, isinstance(prompt, list)) for prompt in prompts]
        plain = [isinstance(prompt, str) for prompt in prompts]
        return ([tokenizer(text, add_special_tokens=marks)["input_ids"] for text, marks in zip(texts, plain, strict=True)],)  # fmt: skip

    def write(self, inputs: list[dict[str, Any]]) -> Batch:
        """{"ids", "attention": (answers, prompt + answer), "mask": (answers, answer), "ended": (answers,)}: prompts stand at
        the right end of their room, answers at the left end of theirs."""
        import torch

        (asked,) = self._tokenize_prompts([row["prompt"] for row in inputs])
        prompts = self.processing_class.pad({"input_ids": asked}, padding_side="left", return_tensors="pt").to(self.accelerator.device)  # fmt: skip
        with self.compute_loss_context_manager():
            ids = self.model.generate(**prompts, generation_config=self.how_to_write())
        mask, ended = up_to_the_end(ids[:, prompts["input_ids"].shape[1] :], self.ends())
        return {"ids": ids, "attention": torch.cat([prompts["attention_mask"], mask], 1), "mask": mask.float(), "ended": ended}  # fmt: skip

    def how_to_write(self) -> Any:
        from transformers import GenerationConfig

        knobs = self.knobs
        return GenerationConfig(
            do_sample=True, max_new_tokens=knobs.max_completion_length, temperature=knobs.temperature, top_p=knobs.top_p,
            top_k=knobs.top_k, min_p=knobs.min_p or None, repetition_penalty=knobs.repetition_penalty, use_cache=True,
            pad_token_id=self.processing_class.pad_token_id, eos_token_id=self.ends(), disable_compile=True)  # fmt: skip

    def ends(self) -> list[int]:
        """Every token that ends an answer."""
        declared = self.model.generation_config.eos_token_id
        found = declared if isinstance(declared, list) else [declared]
        return sorted({one for one in (*found, self.processing_class.eos_token_id) if one is not None})

    def score(self, inputs: list[dict[str, Any]], batch: Batch) -> Any:
        """(answers,): the weighted sum of the rewards; NaN where none gave a number, or where one failed."""
        import torch

        answers = batch["ids"][:, -batch["mask"].shape[1] :]
        tokens = [row[keep.bool()].tolist() for row, keep in zip(answers, batch["mask"], strict=True)]
        texts = self.processing_class.batch_decode(tokens, skip_special_tokens=True)
        prompts = [row["prompt"] for row in inputs]
        said = [[{"role": "assistant", "content": text}] if isinstance(prompt, list) else text for prompt, text in zip(prompts, texts, strict=True)]  # fmt: skip
        columns = {name: [row.get(name) for row in inputs] for name in inputs[0] if name != "prompt"}
        columns |= {"prompts": prompts, "completion_ids": tokens, "trainer_state": self.state, "log_metric": self.log_metric}  # fmt: skip
        told = [reward(completions=said, **columns) for reward in self.rewards]
        self.scored = torch.tensor([[torch.nan if one is None else one for one in row] for row in told], device=answers.device)  # fmt: skip
        self.failed, self.asked, self.said = failures(self.rewards, len(inputs)), prompts, texts
        return totals(self.scored, self.weights, self.failed)

    def looked_at(self, piece: Batch) -> Batch:
        """How likely each token is to the policy and to its start, and its value."""
        logps, _ = self.likelihoods(self.model, piece)
        reference = logps
        if self.knobs.kl:
            with swapped(self.start):
                reference, _ = self.likelihoods(self.model, piece)
        return {"logps": logps, "reference": reference, "values": self.valued(piece)}

    def likelihoods(self, model: Any, piece: Batch) -> tuple[Any, Any]:
        """(answers, tokens): the log-probability of each token of the answers, and the entropy where it was chosen."""
        import torch

        ids, length = piece["ids"], piece["mask"].shape[1]
        with self.compute_loss_context_manager():
            logits = model(**as_read(piece), **last(model, length + 1), use_cache=False).logits
        told = (logits[:, -length - 1 : -1].float() / self.knobs.temperature).log_softmax(-1)
        with torch.no_grad():
            entropy = -(told.exp() * told).sum(-1)
        return told.gather(-1, ids[:, -length:, None])[..., 0], entropy

    def valued(self, piece: Batch) -> Any:
        """(answers, tokens): the value before each token of the answers."""
        with self.compute_loss_context_manager():
            return critics.values(self.critic, as_read(piece))[:, -piece["mask"].shape[1] - 1 : -1]

    def try_out(self, row: dict[str, Any], count: int) -> list[dict[str, Any]]:
        """See app/engine/preview/dry_run.py."""
        import torch

        self.model.eval()
        rows = [dict(row) for _ in range(count)]
        with torch.no_grad():
            self.score(rows, self.write(rows))
        names = [one.__name__ for one in self.rewards]
        return [{"text": text, "rewards": dict(zip(names, values, strict=True)), "failed": failed}
                for text, values, failed in zip(self.said, self.scored.T.tolist(), self.failed, strict=True)]  # fmt: skip


def as_read(piece: Batch) -> dict[str, Any]:
    """What the models are given: places are counted from where a prompt begins, not from where its room does."""
    places = (piece["attention"].cumsum(-1) - 1).clamp(min=0)
    return {"input_ids": piece["ids"], "attention_mask": piece["attention"], "position_ids": places}


def last(model: Any, count: int) -> dict[str, int]:
    """Lets a model work out only so many last positions, where it can."""
    import inspect

    inner = critics.inside(getattr(model, "module", model))
    return {"logits_to_keep": count} if "logits_to_keep" in inspect.signature(inner.forward).parameters else {}


def up_to_the_end(answers: Any, ends: list[int]) -> tuple[Any, Any]:
    """(1 for each token up to the first that ends its answer, and that one too; whether there is one)."""
    import torch

    is_end = torch.isin(answers, torch.tensor(ends, device=answers.device)).long()
    return (is_end.cumsum(1) - is_end == 0).long(), is_end.any(1)


def totals(scored: Any, weights: list[float], failed: list[bool]) -> Any:
    """(answers,): the weighted sum of (rewards, answers); NaN where no reward gave a number, or one failed."""
    import torch

    summed = (scored * torch.tensor(weights, device=scored.device)[:, None]).nansum(0)
    lost = scored.isnan().all(0) | torch.tensor(failed, device=scored.device)
    return summed.masked_fill(lost, torch.nan)


def some(batch: Batch, rows: Any) -> Batch:
    return {name: values[rows] for name, values in batch.items()}


def pieces(batch: Batch, count: int) -> list[Batch]:
    """The batch in that many equal pieces, in its order."""
    parts = {name: values.chunk(count) for name, values in batch.items()}
    return [{name: values[i] for name, values in parts.items()} for i in range(len(parts["ids"]))]
