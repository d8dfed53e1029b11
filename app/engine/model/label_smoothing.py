"""Label smoothing: a part of each target's probability is spread evenly over the vocabulary, while the model trains.

TRL's own switch for it is deprecated and reads each batch a second time for its metrics. Here the head gives the
smoothed log-probabilities in the place of the plain ones, so that loss and metrics come from one forward pass.
"""

from __future__ import annotations

import functools
import types
from typing import TYPE_CHECKING, Any

from app.engine.model.trained_positions_head import base_model_of, score_targets

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel
    from trl.trainer.utils import FusedCausalLMOutput

    from app.engine.contracts import Trainer


def smooth_labels(trainer: Trainer, smoothing: float) -> None:
    """Wraps the fused forward that TRL gave the model. Evaluations keep the plain loss, which is comparable between runs.

    smoothing: ε of Szegedy et al. 2016 (arXiv:1512.00567). The loss of a position is
    (1 - ε)·(-log p of the target) + ε·(the mean of -log p over the vocabulary), as in transformers' LabelSmoother.
    """
    from trl.trainer.utils import FusedCausalLMOutput

    model = base_model_of(trainer)
    fused = model.forward

    @functools.wraps(fused)  # generate() checks its arguments against the signature
    def forward(
        self: PreTrainedModel,
        *args: Tensor,
        fused_lm_head: bool = False,
        labels: Tensor | None = None,
        **kwargs: Any,
    ) -> FusedCausalLMOutput:
        if not (fused_lm_head and self.training) or labels is None:
            given_labels = {} if labels is None else {"labels": labels}
            return fused(*args, **(given_labels | {"fused_lm_head": fused_lm_head} | kwargs))
        mask = labels[:, 1:] != -100
        positions = mask.any(0).nonzero()[:, 0]  # learned in any row
        # the model's own forward, so that models which scale or cap their logits do so here too
        outputs = fused(*args, **(kwargs | {"logits_to_keep": positions, "use_cache": False}))
        scores = score_targets(outputs.logits[mask[:, positions]], labels[:, 1:][mask], smoothing)
        log_probs, entropy, is_top1 = (score.new_zeros(mask.shape).masked_scatter(mask, score) for score in scores)
        return FusedCausalLMOutput(
            loss=-log_probs.sum() / mask.sum().clamp(min=1),
            log_probs=log_probs,
            entropy=entropy,
            is_top1=is_top1,
            label_mask=mask,
            aux_loss=outputs.get("aux_loss"),
        )

    model.forward = types.MethodType(forward, model)
