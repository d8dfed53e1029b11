"""Real: SmolLM2-135M-Instruct learns two tasks at the default learning rates with three seeds, and the saved result gives the same outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.bench.learning import table_row, train_in_parallel
from tests.learning_cases import EXACT_MATCH_REWARD, Case
from tests.real_model import real_model_folder

_ADAPTER = {"adapter": {"r": 8, "alpha": 16}}
_FP32 = {"precision": "fp32"}  # as results are loaded


def cases() -> dict[str, Case]:
    """The tasks; the model is built where it is missing."""
    model = {"model": {"id": str(real_model_folder())}}
    tickets = {
        "method": "sft",
        "data": [{"source": "sample:tickets"}],
        "holdout": {"split": "holdout"},
        "knobs": _FP32
        | {
            "steps": 60,
            "batch_size": 8,
            "max_length": 256,
            "eval_answers": 40,
            "eval_length": 32,
        },
    }
    manners = {
        "method": "dpo",
        "data": [{"source": "sample:manners"}],
        "holdout": {"split": "holdout"},
        "knobs": _FP32 | {"steps": 20, "batch_size": 8, "max_length": 128},
    }
    return {
        "sft: sort support messages": Case(tickets | model | _ADAPTER | EXACT_MATCH_REWARD, "correct", 0.2),
        "dpo: prefer kind answers": Case(manners | model | _ADAPTER, "preferred", 0.2),
    }


def run(folder: Path) -> list[dict[str, Any]]:
    selected_cases = cases()
    table = []
    for name, outcomes in train_in_parallel(selected_cases, folder):
        table.append(table_row(name, selected_cases[name], outcomes))
        print(table[-1], flush=True)
    return table
