"""Muon for matrices, with AdamW for all other trained weights, as one optimizer with one state."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import AdamW, Muon, Optimizer


class MuonWithAdamW(Optimizer):
    """`torch.optim.Muon` (Jordan et al. 2024) for matrices; AdamW for embeddings, the head, vectors and stacks of experts.

    Muon makes all directions of a correction equally large. They are scaled as in Liu et al. 2025 (arXiv:2502.16982), so
    that one learning rate suits both. Each group of parameters becomes up to two, with the name of the one that corrects
    it under "algorithm"; state and groups are those of an ordinary optimizer, so that checkpoints and schedules work.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float,
        betas: tuple[float, float],
        eps: float,
        tables: Collection[Tensor] = (),
        weight_decay: float = 0.0,
    ):
        """tables: trained matrices that are looked up or give logits, which AdamW corrects."""
        self._table_ids = {id(table) for table in tables}
        placeholder = [torch.zeros(1, 1)]  # the real groups are handed over at each step
        self._algorithms = {
            "muon": Muon(placeholder, lr=lr, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"),
            "adamw": AdamW(placeholder, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay),
        }
        super().__init__(params, {})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        members = {"muon": [], "adamw": []}  # type: dict[str, list[Tensor]]
        for weight in param_group["params"]:
            is_matrix = weight.ndim == 2 and min(weight.shape) > 1 and id(weight) not in self._table_ids
            members["muon" if is_matrix else "adamw"].append(weight)
        for algorithm, weights in members.items():
            if weights:
                settings = self._algorithms[algorithm].defaults | param_group
                super().add_param_group(settings | {"params": weights, "algorithm": algorithm})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for name, algorithm in self._algorithms.items():
            algorithm.state = self.state
            algorithm.param_groups = [group for group in self.param_groups if group["algorithm"] == name]
            algorithm.step()
        return loss
