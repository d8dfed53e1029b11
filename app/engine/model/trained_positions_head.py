"""Head: scores only the positions that are trained, also where TRL's kernel would score all of them.

On devices with Triton TRL compacts the batch to its trained positions before the language-model head; elsewhere, as on
a CPU, it scores every prompt token and throws the result away. This gives the CPU the same saving, with the same sums.
"""

from __future__ import annotations

import functools
import types
from typing import Any

MOST = 2**28  # logits held at once, in elements (1 GiB of float32); larger batches keep TRL's tiled way


def trained_positions_only(trainer: Any) -> None:
    """Wraps the fused forward that TRL gave the model. Does nothing on a device where TRL already compacts."""
    from accelerate.utils import is_peft_model
    from trl.kernels.chunked_logprob import _use_triton

    if _use_triton(trainer.accelerator.device):
        return
    model = trainer.model.get_base_model() if is_peft_model(trainer.model) else trainer.model
    model.forward = types.MethodType(compacting(model.forward), model)


def compacting(fused: Any) -> Any:
    """A forward that answers `fused_lm_head=True` itself for plain text models, and leaves all else to `fused`."""
    import torch
    from trl.trainer.utils import FusedCausalLMOutput

    @functools.wraps(fused)  # generate() checks its arguments against the signature
    def forward(self: Any, *args: Any, fused_lm_head: bool = False, labels: Any = None, **kwargs: Any) -> Any:
        if not fused_lm_head or labels is None or not plain(self.config, kwargs):
            return fused(
                *args,
                **(({"labels": labels} if labels is not None else {}) | {"fused_lm_head": fused_lm_head} | kwargs),
            )
        mask = labels[:, 1:] != -100
        if int(mask.sum()) * self.config.get_text_config().vocab_size > MOST:
            return fused(*args, fused_lm_head=True, labels=labels, **kwargs)
        kwargs["use_cache"] = False
        hidden = self.base_model(*args, **kwargs).last_hidden_state[:, :-1][mask]
        log_probs, entropy, top = score(torch, self.get_output_embeddings()(hidden), labels[:, 1:][mask])

        def spread(x: Any) -> Any:
            return x.new_zeros(mask.shape).masked_scatter(mask, x)

        return FusedCausalLMOutput(
            loss=-log_probs.sum() / mask.sum().clamp(min=1), log_probs=spread(log_probs), entropy=spread(entropy),
            is_top1=spread(top), label_mask=mask)  # fmt: skip

    return forward


def score(torch: Any, logits: Any, targets: Any) -> tuple[Any, Any, Any]:
    """Log-probability of each target, entropy and whether it was the likeliest; all of shape (trained positions,)."""
    every = torch.log_softmax(logits.float(), dim=-1)
    log_probs = every.gather(-1, targets[:, None])[:, 0]
    with torch.no_grad():
        entropy = -(every.exp() * every).sum(-1)
        top = every.argmax(-1) == targets
    return log_probs, entropy, top


def plain(config: Any, kwargs: dict[str, Any]) -> bool:
    """No scaling or capping of logits, no routed experts: the cases TRL's own head treats specially stay with it."""
    text = config.get_text_config()
    special = (
        "final_logit_softcapping",
        "logit_scale",
        "output_multiplier",
        "lm_head_multiplier",
        "logits_scaling",
        "num_experts",
    )
    return (
        not any(getattr(text, name, None) for name in special)
        and not kwargs.get("output_router_logits")
        and "shift_labels" not in kwargs
    )
