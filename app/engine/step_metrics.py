"""Metrics of a training step: the trainer's log under our names, the memory in use, and numbers that are none."""

from __future__ import annotations

import math
from typing import Any

from app.core.problems import Problem

# {name in the trainer's log: `group/name` of the metric}; rewards are renamed by a rule, see `named_metrics`.
_METRIC_NAMES = {
    "loss": "train/loss",
    "grad_norm": "train/grad_norm",
    "learning_rate": "train/learning_rate",
    "entropy": "train/entropy",
    "mean_token_accuracy": "train/token_accuracy",
    "kl": "train/kl",
    "reward": "reward/mean",
    "reward_std": "reward/std",
    "frac_reward_zero_std": "reward/share_without_spread",
}
_OMITTED_METRICS = ("epoch", "total_flos", "train_runtime", "train_loss", "step_time", "num_tokens")
_REQUIRED_FINITE = ("train/loss", "train/grad_norm")  # when they are not finite the run is lost


def named_metrics(logs: dict[str, Any], method_names: dict[str, str] | None = None) -> dict[str, float | None]:
    """The trainer's log under our metric names: the method's own names take precedence; `rewards/NAME/mean` becomes
    `reward/NAME/mean`, and a name without a group belongs to `train/`."""
    names = _METRIC_NAMES | (method_names or {})
    metrics: dict[str, float | None] = {}
    for log_name, metric in logs.items():
        if log_name in _OMITTED_METRICS or not isinstance(metric, int | float | None):
            continue
        is_reward = log_name.startswith("rewards/")
        default = f"reward/{log_name.removeprefix('rewards/')}" if is_reward else log_name
        name = names.get(log_name) or default
        metrics[name if "/" in name else f"train/{name}"] = metric
    return metrics


def memory_metrics() -> dict[str, float]:
    """In gigabytes: memory of this process, and the most it had on the GPU."""
    import psutil
    import torch

    metrics = {"system/memory": round(psutil.Process().memory_info().rss / 1e9, 3)}
    if torch.cuda.is_available():
        metrics["system/gpu_memory"] = round(torch.cuda.max_memory_allocated() / 1e9, 3)
    return metrics


def require_finite(metrics: dict[str, float | None], step: int) -> None:
    """Raises Problem where the loss or the gradient of a step is no number: then what was learned is lost."""
    nonfinite = [name for name in _REQUIRED_FINITE if name in metrics and not _is_finite(metrics[name])]
    if nonfinite:
        raise Problem(
            f"At step {step} {nonfinite[0]} is no longer a number.",
            advice="Lower the learning rate, to a third for a start, and resume from the last checkpoint or start again."
            if step > 1
            else "Nothing was changed yet, so the model's weights or an example hold such numbers, or the number"
            " format is too small: load the model again, or set the precision to fp32.",
            reason="diverged",
        )


def _is_finite(number: float | None) -> bool:
    return number is not None and math.isfinite(number)
