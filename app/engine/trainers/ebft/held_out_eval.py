"""Held-out evaluation of EBFT: feature alignment of greedy completions, and the loss on the references."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.data.rows import Row
from app.engine.contracts import Metrics
from app.engine.generation.end_tokens import mask_until_end
from app.engine.tokens.length_batches import pad_texts
from app.engine.trainers.ebft import block_generation, blocks
from app.engine.trainers.ebft.feature_rewards import alignment
from app.engine.trainers.ebft.features import token_batches
from app.engine.trainers.ebft.likelihood import held_out_loss
from app.engine.trainers.ebft.prompt_rows import Turns, completion_limit, expand_prompts, tokenize_documents
from app.setup.sources import MAX_EVAL_ROWS

if TYPE_CHECKING:
    from app.engine.trainers.ebft.strided import StridedMixin
    from app.engine.trainers.ebft.structured import StructuredMixin


def evaluate_completions(trainer: StructuredMixin, rows: list[Row], turns: Turns, max_prompts: int) -> Metrics:
    """{"alignment": mean cosine of the greedy completions' features with the references', "loss": mean cross-entropy}.

    max_prompts: prompts that are completed; the loss uses all rows. In a conversation that is trained turn by turn,
    each answer is generated after the reference answers before it.
    """
    prompt_rows, _ = expand_prompts(rows, "all" if turns == "conversation" else turns)
    tokenized = [
        trainer.prompt_tokenizer.tokenize(row["prompt"], row["completion"]) for row in prompt_rows[:MAX_EVAL_ROWS]
    ]
    loss = held_out_loss(
        trainer,
        [prompt.prompt_ids + prompt.completion_ids for prompt in tokenized],
        [prompt.labels for prompt in tokenized],
    )
    prompts, references = (
        [prompt.prompt_ids for prompt in tokenized[:max_prompts]],
        [prompt.completion_ids for prompt in tokenized[:max_prompts]],
    )
    if not prompts:
        return {"alignment": None, "loss": loss}
    limit = completion_limit(
        [len(reference) for reference in references], trainer.length_factor, trainer.max_completion_length
    )
    completions = block_generation.greedy_completion_ids(trainer, prompts, limit)
    completion_features = trainer.feature_network.text_features(trainer, prompts, completions)
    reference_features = trainer.feature_network.text_features(trainer, prompts, references)
    return {"alignment": alignment(completion_features[:, None], reference_features).mean().item(), "loss": loss}


def evaluate_blocks(trainer: StridedMixin, rows: list[Row], turns: Turns, max_texts: int) -> Metrics:
    """The same metrics for greedy tokens in each block of the texts. max_texts: texts whose blocks are generated."""
    import torch

    documents, _ = tokenize_documents(rows, trainer.prompt_tokenizer, turns, trainer.ebft_config.plan)
    documents = documents[:MAX_EVAL_ROWS]
    loss = held_out_loss(
        trainer, [document.token_ids for document in documents], [document.labels for document in documents]
    )
    alignments = []
    for batch in token_batches([2 * len(document.token_ids) for document in documents[:max_texts]]):
        input_ids, attention_mask = pad_texts(
            [documents[index].token_ids for index in batch], trainer.accelerator.device
        )
        layout = blocks.build_layout(
            trainer.ebft_config.plan,
            attention_mask,
            torch.tensor([documents[index].answer_start for index in batch], device=input_ids.device),
        )
        block_ids = trainer.generate_attempts(trainer.model, input_ids, layout, 1, temperature=0.0)
        scores = trainer.score_attempts(
            input_ids, layout, block_ids, mask_until_end(block_ids, trainer.prompt_tokenizer.end_token_ids)
        )
        alignments += scores.unwhitened_alignment[layout.attempted].flatten().tolist()
    return {"alignment": sum(alignments) / len(alignments) if alignments else None, "loss": loss}
