"""Weights that are not all corrected alike: Muon for matrices, LoRA+, and embeddings with a rate of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from app.core.problems import Problem
from app.engine.trainers.mixin_bases import TrainerBase
from app.engine.trainers.training_args import TrainingKnobs

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module, Parameter
    from torch.optim import Optimizer
    from transformers import PreTrainedModel


class OptimizerMixin(TrainerBase):
    """Builds optimizers that transformers does not know, and gives single weights their own learning rates."""

    knobs: TrainingKnobs

    def create_optimizer(self, model: PreTrainedModel | None = None) -> Optimizer:
        trained_model = self.model if model is None else model
        if self.optimizer is not None:
            return self.optimizer
        if self.knobs.optimizer == "muon":
            self.optimizer_cls_and_kwargs = self._muon(trained_model)
        optimizer = super().create_optimizer(model)
        if rates := learning_rates(trained_model, self.knobs):
            set_learning_rates(optimizer, rates)
        return optimizer

    def _muon(self, model: PreTrainedModel) -> tuple[type[Optimizer], dict[str, Any]]:
        from app.engine.trainers.muon import MuonWithAdamW

        args = self.args
        betas = (args.adam_beta1, args.adam_beta2)
        tables = table_weights(model)
        return MuonWithAdamW, {"lr": args.learning_rate, "betas": betas, "eps": args.adam_epsilon, "tables": tables}


def table_weights(model: PreTrainedModel) -> list[Parameter]:
    """The trained weights of embeddings and of the head that gives logits, with those of new tokens."""
    modules: list[Module | None] = [model.get_input_embeddings(), model.get_output_embeddings()]
    weights = [weight for module in modules if module is not None for weight in module.parameters()]
    return [weight for weight in weights if weight.requires_grad]


def learning_rates(model: PreTrainedModel, knobs: TrainingKnobs) -> dict[Tensor, float]:
    """{trained weight: its learning rate}, for those whose rate is not the setting's. Raises Problem where embeddings are
    given a rate and none is trained.

    With LoRA+ (Hayou et al. 2024, arXiv:2402.12354) the weights that PEFT's `create_loraplus_optimizer` takes for it: the
    B matrices, and vectors such as DoRA's magnitudes.
    """
    assert knobs.learning_rate is not None  # methods fill it in
    rates: dict[Tensor, float] = {}
    if knobs.loraplus_lr_ratio != 1:
        fast_rate = knobs.learning_rate * knobs.loraplus_lr_ratio
        rates |= {
            weight: fast_rate
            for name, weight in model.named_parameters()
            if weight.requires_grad and ("lora_B" in name or weight.ndim == 1)
        }
    if knobs.embedding_learning_rate is not None:
        tables = table_weights(model)
        if not tables:
            raise Problem(
                "Embeddings are given a learning rate of their own, and none of the trained layers is one.",
                advice="Leave that rate empty, or add embed_tokens to the layers that are trained whole.",
            )
        rates |= dict.fromkeys(tables, knobs.embedding_learning_rate)
    return rates


def set_learning_rates(optimizer: Optimizer, rates: dict[Tensor, float]) -> None:
    """Splits each group of the optimizer's weights by rate; of each, the part at the group's own rate stays first, since
    the loop logs the rate of the first group."""
    groups = []
    for group in optimizer.param_groups:
        weights_by_rate: dict[float, list[Tensor]] = {group["lr"]: []}
        for weight in group["params"]:
            weights_by_rate.setdefault(rates.get(weight, group["lr"]), []).append(weight)
        groups += [group | {"params": weights, "lr": rate} for rate, weights in weights_by_rate.items() if weights]
    optimizer.param_groups[:] = groups
