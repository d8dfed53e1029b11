"""How long a run takes on a device, as a range, from arithmetic alone: nothing is downloaded or tried."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Sequence
from functools import lru_cache
from typing import TypedDict

from app.core.dates import format_duration
from app.planning.memory.device_memory import DeviceMemory
from app.planning.memory.workload import Workload
from app.setup.sources import MAX_EVAL_ROWS

# Arithmetic of matrices in 16 bits, without sparsity, in 10¹² operations a second, from the makers' data sheets; for
# GeForce cards with sums in 32 bits. The first name that is in the card's own name, as whole words, counts.
_CARD_TERAFLOPS = {
    "B200": 2250,
    "GH200": 989,
    "H200": 989,
    "H100 PCIe": 756,
    "H100": 989,
    "H20": 148,
    "A100": 312,
    "A800": 312,
    "L40S": 362,
    "L40": 181,
    "L4": 121,
    "A40": 150,
    "A30": 165,
    "A10G": 70,
    "A10": 125,
    "T4": 65,
    "V100": 112,
    "P100": 19,
    "RTX 6000 Ada": 364,
    "RTX A6000": 155,
    "RTX A5000": 111,
    "RTX A4000": 77,
    "RTX 5090": 210,
    "RTX 5080": 113,
    "RTX 5070": 62,
    "RTX 4090": 165,
    "RTX 4080": 97,
    "RTX 4070": 58,
    "RTX 4060": 30,
    "RTX 3090": 71,
    "RTX 3080": 60,
    "RTX 3070": 41,
    "RTX 3060": 26,
    "RTX 2080": 43,
}
# Of these a training step reaches so much: small batches and layers leave a card waiting. A processor is measured with
# matrices that are about as large as those of a layer, so it reaches more of that.
_REACHED_SHARE = {"cuda": (0.12, 0.45), "cpu": (0.35, 0.95)}
_FLOAT32_SHARE = 0.25  # of a card's speed where it computes in 32 bits
_QUANTIZED_SHARE = 0.6  # of the speed where weights are unpacked for each product
_BFLOAT16_GAIN = 1.7  # of a step on a processor with units for it, measured with SmolLM2; matrices alone gain more
_LAPTOP_SHARE = 0.5  # of the card with the same name in a desktop
_START_SECONDS = {"cuda": (15, 90), "cpu": (5, 30)}  # loading the libraries, the model and the rows
EVALUATIONS_AROUND = 2  # those that a setup counts: before the first step and after the last
_MATRIX_SIZE = 1024  # of the measured product


class DurationRange(TypedDict):
    """low, high: seconds of the whole run, evaluations included."""

    low: float
    high: float


def format_expected_time(measured: float | None, reckoned: DurationRange | None) -> str:
    """About so many seconds where these were measured, else a range such as "3 min to 2 h 5 min"; empty where neither is known."""
    if measured:
        return f"about {format_duration(measured)}"
    return f"{format_duration(reckoned['low'])} to {format_duration(reckoned['high'])}" if reckoned else ""


def estimate_duration(
    workload: Workload, *, steps: float, row_tokens: float, set_sizes: Sequence[int]
) -> DurationRange | None:
    """How long the steps and evaluations of a workload take; None for a card that the table does not know, and for a
    method that writes texts while it learns, whose length nobody knows before.

    row_tokens: of an average row, padding included. set_sizes: rows of the held-out ones and of each evaluation set, of which every evaluation reads MAX_EVAL_ROWS at most.
    """
    speed, knobs = device_flops(workload.device), workload.knobs
    if speed is None or workload.step.generated_texts:
        return None
    if workload.device.kind == "cuda" and not workload.computes_in_half_precision:
        speed *= _FLOAT32_SHARE
    if workload.device.kind == "cpu" and workload.computes_in_half_precision and workload.device.bfloat16_speedup:
        speed *= min(_BFLOAT16_GAIN, workload.device.bfloat16_speedup)
    if workload.spec.model.quantization != "none":
        speed *= _QUANTIZED_SHARE
    learned_rows = steps * knobs.batch_size * knobs.accumulation
    read_rows = (knobs.evaluations + EVALUATIONS_AROUND) * sum(min(size, MAX_EVAL_ROWS) for size in set_sizes)
    passes = learned_rows * _passes_of_a_step(workload) + read_rows
    flops = passes * row_tokens * _token_flops(workload, row_tokens)
    kind = "cuda" if workload.device.kind == "cuda" else "cpu"
    (low_share, high_share), (first, last) = _REACHED_SHARE[kind], _START_SECONDS[kind]
    return {"low": flops / (speed * high_share) + first, "high": flops / (speed * low_share) + last}


def _token_flops(workload: Workload, row_tokens: float) -> float:
    """Of a forward pass: a product and a sum for each weight, and for each earlier token in the attention."""
    shape = workload.model_shape
    attention = 2 * 2 * shape.num_hidden_layers * shape.num_attention_heads * shape.head_dim * row_tokens / 2
    return 2 * shape.active_parameters + attention


def _passes_of_a_step(workload: Workload) -> int:
    """How often a step computes as much as a forward pass. The backward pass finds directions for what each layer read, and
    for its weights where they are trained; with recomputation the forward pass happens twice, and a reference model reads
    the rows too."""
    trains_all = workload.spec.adapter.kind == "none" and not workload.spec.adapter.unfreeze
    return 2 + trains_all + workload.recomputes + workload.step.keeps_start


def device_flops(device: DeviceMemory) -> float | None:
    """Products and sums of matrices a second, at best; None where that is not known."""
    if device.kind == "cpu":
        return measure_processor()
    is_part = (speed for name, speed in _CARD_TERAFLOPS.items() if re.search(rf"\b{name}\b", device.name))
    teraflops = next(is_part, None)
    return teraflops * 1e12 * (_LAPTOP_SHARE if "Laptop" in device.name else 1) if teraflops else None


@lru_cache(maxsize=1)
def measure_processor() -> float:
    """Products and sums in 32 bits a second on all processors, from a tenth of a second of them. Kept until this process
    ends: the machine may be busy with something else then."""
    import numpy as np

    matrix = np.random.default_rng(0).random((_MATRIX_SIZE, _MATRIX_SIZE), dtype=np.float32)
    shortest, ends = math.inf, time.perf_counter() + 0.1
    while time.perf_counter() < ends or math.isinf(shortest):
        start = time.perf_counter()
        _ = matrix @ matrix
        shortest = min(shortest, time.perf_counter() - start)
    return 2 * _MATRIX_SIZE**3 / shortest
