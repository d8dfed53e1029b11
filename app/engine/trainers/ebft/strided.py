"""Strided: what makes a trainer attempt short pieces all over a text at once, and compare each with what the text says there.

A part of a trainer, under which stands app/engine/trainers/base.py. Of every text in a batch each block is attempted several times by
the model at rest; the untouched model reads the attempts and the text under the same mask; attempts whose features match are
made likelier. The loss is rl_weight · policy gradient + ce_weight · cross-entropy of the text.
"""

from __future__ import annotations

from typing import Any

from app.engine.trainers.ebft import block_generation, blocks
from app.engine.trainers.ebft.blocks import Layout
from app.engine.trainers.ebft.config import REWARD, Settings
from app.engine.trainers.ebft.feature_rewards import Scores, advantages, scores
from app.engine.trainers.ebft.features import Network, pieces, pooled
from app.engine.trainers.ebft.likelihood import cross_entropy
from app.engine.trainers.ebft.prompt_rows import collated
from app.engine.trainers.ebft.tokenized_prompts import Words

SHOWN = 64  # tokens before an attempt


class Strided:
    """Rows: input_ids, labels (UNLEARNED on what is only read) and begin, where what should be written begins."""

    loss_is_scaled_for_ga = False

    def __init__(
        self,
        model: Any,
        args: Any,
        peft_config: Any = None,
        *,
        settings: Settings,
        network: Network,
        words: Words,
        **loop: Any,
    ):
        from app.engine.trainers.base import with_adapter

        self.settings, self.network, self.words = settings, network, words
        self._logs: dict[str, Any] = {}  # see app/engine/trainers/group_rl/rollout_logging.py
        model = with_adapter(model, peft_config, args)
        super().__init__(model=model, args=args, data_collator=collated, **loop)

    def compute_loss(self, model: Any, inputs: dict[str, Any], *_: Any, **__: Any) -> Any:
        ids, mask, told = inputs["input_ids"], inputs["attention_mask"], self.settings
        plan = blocks.layout(told.plan, mask, inputs["begin"])
        written = self.attempt(model, ids, plan, told.attempts, told.temperature)
        alive = blocks.alive(written, self.words.ends)
        found = self.judge(ids, plan, written, alive)
        worth = advantages(found.rewards, told.estimator)
        chances, entropy = self.likelihoods(model, ids, plan, written)
        kept = alive & plan.tried[:, :, None, None]
        loss = told.rl_weight * -mean(chances * worth[..., None], kept)
        if told.ce_weight:
            ce = cross_entropy(model, ids, mask, inputs["labels"])
            loss = loss + told.ce_weight * ce
            self.note({"ce": ce.item()})
        self.tell(found, plan, mean(entropy, kept))
        self._logs = self.shown(ids, plan, written, alive) | {
            "rewards": {REWARD: found.rewards[0, middle(plan)].tolist()},
            "advantages": worth[0, middle(plan)].tolist(),
        }
        self.tokens += int(mask.sum()) + int(kept.sum())
        return loss

    def attempt(self, model: Any, ids: Any, plan: Layout, count: int, temperature: float) -> Any:
        """(texts, blocks, attempts, steps): what the model, at rest, writes in each block. temperature 0: the likeliest."""
        import torch

        training = model.training
        model.eval()
        with torch.no_grad(), self.compute_loss_context_manager():
            written = block_generation.blocks_of(
                model, ids, plan, count, lambda logits: block_generation.drawn(logits, temperature, self.settings)
            )
        model.train(training)
        return apart(written, len(ids))

    def likelihoods(self, model: Any, ids: Any, plan: Layout, written: Any) -> tuple[Any, Any]:
        """(log-probability, entropy) of every token written, of the shape of `written`, at the temperature it was drawn with."""
        import torch

        count, steps = written.shape[2:]
        flat = together(written)
        end = plan.first(steps - 1)  # the last tokens tell of no other
        rows = blocks.rows_with(ids.repeat_interleave(count, 0), flat[..., :-1])
        seen = blocks.additive(plan.seen[:, :end, :end], model.dtype).repeat_interleave(count, 0)
        before = torch.cat([plan.places - 1, torch.arange(plan.length, end, device=ids.device)])
        logits = model(input_ids=rows, attention_mask=seen, position_ids=plan.positions[None, :end].expand(len(rows), -1),
                       use_cache=False, logits_to_keep=before).logits  # fmt: skip
        every = torch.log_softmax(logits.float() / self.settings.temperature, dim=-1)
        every = every.unflatten(1, (steps, plan.blocks)).transpose(1, 2)  # rows, blocks, steps, vocabulary
        chances = every.gather(-1, flat[..., None])[..., 0]
        entropy = -(every.detach().exp() * every.detach()).sum(-1)
        return apart(chances, len(ids)), apart(entropy, len(ids))

    def judge(self, ids: Any, plan: Layout, written: Any, alive: Any) -> Scores:
        """Each attempt's features beside those of the text itself, which is laid out and read in the very same way."""
        import torch

        truth = blocks.truths(plan, ids)[:, :, None]
        every = torch.cat([written, truth], dim=2)
        whole = torch.cat([alive, torch.ones_like(truth, dtype=torch.bool)], dim=2)
        found = self.features(ids, plan, every, whole)
        return scores(found[:, :, :-1], found[:, :, -1], self.settings.weights)

    def features(self, ids: Any, plan: Layout, every: Any, alive: Any) -> Any:
        """(texts, blocks, attempts, features) of what stands in the blocks."""
        import torch

        count, steps = every.shape[2:]
        rows = blocks.rows_with(ids.repeat_interleave(count, 0), together(every))
        lengths, found = together(alive).sum(-1), []
        with self.network.of(self) as network:
            for part in pieces([*range(len(rows))], rows.shape[1]):
                seen = blocks.additive(plan.seen[[row // count for row in part]], network.dtype)
                states = self.network.states(network, rows[part], attention_mask=seen,
                                             position_ids=plan.positions[None].expand(len(part), -1))  # fmt: skip
                own = states[:, plan.length :].unflatten(1, (steps, plan.blocks)).transpose(1, 2).flatten(0, 1)
                long = lengths[part].flatten()
                told = pooled(own, long, torch.zeros_like(long), self.network.pooling)
                found.append(told.unflatten(0, (len(part), plan.blocks)))
        return apart(torch.cat(found), len(ids))

    # -- telling --------------------------------------------------------------------------------------------------

    def tell(self, found: Scores, plan: Layout, entropy: Any) -> None:
        told = {name: value[plan.tried].mean() for name, value in found.named().items()}
        spread = found.rewards[plan.tried].std(-1, correction=0).mean()
        self.note(told | {"entropy": entropy, "reward_std": spread})

    def shown(self, ids: Any, plan: Layout, written: Any, alive: Any) -> dict[str, Any]:
        """The attempts at the middle block of the first text."""
        block, count, say = middle(plan), written.shape[2], self.processing_class.decode
        place = int(plan.places[block])
        return {
            "prompt": [say(ids[0, max(0, place - SHOWN) : place])] * count,
            "completion": [say(written[0, block, i][alive[0, block, i]]) for i in range(count)],
        }


def middle(plan: Layout) -> int:
    """Of the first text's blocks."""
    places = plan.tried[0].nonzero()[:, 0]
    return int(places[len(places) // 2])


def mean(values: Any, counted: Any) -> Any:
    return (values * counted).sum() / counted.sum().clamp(min=1)


def together(rows: Any) -> Any:
    """(texts, blocks, attempts, …) as (texts × attempts, blocks, …)."""
    return rows.transpose(1, 2).flatten(0, 1)


def apart(rows: Any, texts: int) -> Any:
    """(texts × attempts, blocks, …) as (texts, blocks, attempts, …)."""
    return rows.unflatten(0, (texts, -1)).transpose(1, 2)
