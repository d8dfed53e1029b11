"""Language-model head that computes logits only at trained positions, also on devices where TRL's kernel computes them everywhere.

On devices with Triton, TRL compacts the batch to its trained positions before the language-model head; elsewhere, as on
a CPU, it computes logits for every prompt token and discards them. This saves the same work there, with the same sums.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedConfig, PreTrainedModel
    from trl.trainer.utils import FusedCausalLMOutput

    from app.engine.contracts import Trainer

_ENTROPY_CHUNK = 2**20  # elements at once, so that they stay in the processor's cache
_MAX_LOGITS = 2**28  # elements in memory at once (1 GiB of float32); larger batches use TRL's tiled computation


def score_trained_positions_only(trainer: Trainer) -> None:
    """Wraps the fused forward that TRL gave the model. Does nothing on a device where TRL already compacts."""
    from trl.kernels.chunked_logprob import _use_triton

    if _use_triton(trainer.accelerator.device):
        return
    model = base_model_of(trainer)
    model.forward = types.MethodType(_compacting_forward(model.forward), model)


def base_model_of(trainer: Trainer) -> PreTrainedModel:
    """The trained model without the wrapper of an adapter: the one whose forward TRL replaced."""
    from peft import PeftModel

    return trainer.model.get_base_model() if isinstance(trainer.model, PeftModel) else trainer.model


def _compacting_forward(fused: Callable[..., FusedCausalLMOutput]) -> Callable[..., FusedCausalLMOutput]:
    """A forward that handles `fused_lm_head=True` itself for plain text models, and passes all else to `fused`."""
    from trl.trainer.utils import FusedCausalLMOutput

    from app.engine.model.frozen_head import is_frozen_head, score_by_frozen_head

    @functools.wraps(fused)  # generate() checks its arguments against the signature
    def forward(
        self: PreTrainedModel,
        *args: Tensor,
        fused_lm_head: bool = False,
        labels: Tensor | None = None,
        **kwargs: Any,
    ) -> FusedCausalLMOutput:
        if not fused_lm_head or labels is None or not _has_plain_head(self.config, kwargs):
            return fused(
                *args,
                **(({"labels": labels} if labels is not None else {}) | {"fused_lm_head": fused_lm_head} | kwargs),
            )
        mask, head = labels[:, 1:] != -100, self.get_output_embeddings()
        is_frozen = is_frozen_head(head)
        if not is_frozen and int(mask.sum()) * self.config.get_text_config().vocab_size > _MAX_LOGITS:
            return fused(*args, fused_lm_head=True, labels=labels, **kwargs)
        kwargs["use_cache"] = False
        hidden, targets = self.base_model(*args, **kwargs).last_hidden_state[:, :-1][mask], labels[:, 1:][mask]
        score = score_by_frozen_head(head, hidden, targets) if is_frozen else score_targets(head(hidden), targets)
        log_probs, entropy, is_top1 = score

        def spread(scored: Tensor) -> Tensor:
            return scored.new_zeros(mask.shape).masked_scatter(mask, scored)

        return FusedCausalLMOutput(
            loss=-log_probs.sum() / mask.sum().clamp(min=1),
            log_probs=spread(log_probs),
            entropy=spread(entropy),
            is_top1=spread(is_top1),
            label_mask=mask,
        )

    return forward


def score_targets(logits: Tensor, targets: Tensor, smoothing: float = 0.0) -> tuple[Tensor, Tensor, Tensor]:
    """(log-probability of each target, entropy, whether the target is the likeliest), each of shape (trained positions,).

    smoothing: the share of each target that is spread over the vocabulary, see app/engine/model/label_smoothing.py.
    """
    import torch

    all_log_probs = torch.log_softmax(logits.float(), dim=-1)
    log_probs = all_log_probs.gather(-1, targets[:, None])[:, 0]
    if smoothing:
        log_probs = (1 - smoothing) * log_probs + smoothing * all_log_probs.mean(-1)
    with torch.no_grad():
        rows = all_log_probs.split(max(1, _ENTROPY_CHUNK // all_log_probs.shape[-1]))
        entropy = -torch.cat([(chunk.exp() * chunk).sum(-1) for chunk in rows])
        is_top1 = all_log_probs.argmax(-1) == targets
    return log_probs, entropy, is_top1


def _has_plain_head(config: PreTrainedConfig, kwargs: dict[str, Any]) -> bool:
    """Whether the model has no scaling or capping of logits and no routed experts: TRL's own head handles those."""
    text_config = config.get_text_config()
    special_settings = (
        "final_logit_softcapping",
        "logit_scale",
        "output_multiplier",
        "lm_head_multiplier",
        "logits_scaling",
        "num_experts",
    )
    return (
        not any(getattr(text_config, name, None) for name in special_settings)
        and not kwargs.get("output_router_logits")
        and "shift_labels" not in kwargs
    )
