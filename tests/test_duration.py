"""How long a run takes, reckoned from arithmetic alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from app.planning import duration
from app.planning.duration import TokenCounts, count_tokens, estimate_duration
from app.planning.memory.device_memory import DeviceMemory
from app.planning.memory.workload import Workload
from app.planning.resolve import resolve
from app.setup.catalogue import load_catalogue
from app.setup.model_facts import facts_of_entry
from app.setup.spec import parse_spec
from app.setup.step_memory import RowLengths

GB = 10**9
CARD = DeviceMemory("cuda", 80 * GB, 79 * GB, "NVIDIA A100-SXM4-80GB")
TOKENS = TokenCounts(learned=1e6, row=200)


def workload(
    device: DeviceMemory = CARD, name: str = "Qwen/Qwen3-0.6B", method: str = "sft", **fields: Any
) -> Workload:
    entry = load_catalogue().find(name)
    facts = entry and facts_of_entry(entry)
    assert facts is not None
    source = "sample:facts" if method == "sft" else "sample:arithmetic"
    rewards = [] if method == "sft" else [{"name": "exact_match"}]
    setup = {"method": method, "model": {"id": name}, "data": [{"source": source}], "rewards": rewards} | fields
    spec = resolve(parse_spec(setup))
    return Workload(spec, facts.shape, RowLengths(text=256, learned=128, prompt=128), device, {})


def middle(work: Workload, tokens: TokenCounts = TOKENS) -> float:
    """Seconds of the arithmetic alone: the start, which is the same everywhere, is left out."""
    between = estimate_duration(work, tokens)
    nothing = estimate_duration(work, TokenCounts(learned=0, row=200))
    assert between is not None
    assert nothing is not None
    assert between["low"] < between["high"]
    return between["low"] - nothing["low"] + between["high"] - nothing["high"]


def test_an_adapter_of_a_small_model_on_a_large_card_takes_minutes() -> None:
    between = estimate_duration(workload(), TOKENS)
    assert between is not None
    # A million tokens of 0.6 billion weights are 2.4e15 operations, and an A100 does 3.1e14 a second at best.
    assert 15 + 17 < between["low"] < 15 + 30
    assert 60 < between["high"] < 300


def test_more_work_takes_longer() -> None:
    usual = middle(workload())
    assert middle(workload(adapter={"kind": "none"})) == pytest.approx(
        1.5 * usual, rel=0.01
    )  # directions of all weights
    assert middle(workload(knobs={"checkpointing": "on"})) == pytest.approx(
        1.5 * usual, rel=0.01
    )  # a second forward pass
    assert middle(workload(name="Qwen/Qwen3-4B")) > 5 * usual
    assert middle(workload(model={"id": "Qwen/Qwen3-0.6B", "quantization": "nf4"})) > usual
    assert middle(workload(knobs={"precision": "fp32"})) > 2 * usual
    assert middle(workload(), replace(TOKENS, row=4000)) > 1.05 * usual  # attention over longer rows
    assert middle(workload(), replace(TOKENS, read=1e6)) == pytest.approx(1.5 * usual, rel=0.01)  # no backward pass


def test_a_faster_card_is_quicker_and_an_unknown_one_says_nothing() -> None:
    def seconds(name: str) -> float:
        return middle(workload(replace(CARD, name=name)))

    assert (
        seconds("NVIDIA H100 80GB HBM3") < seconds("NVIDIA A100-PCIE-40GB") < seconds("NVIDIA L4") < seconds("Tesla T4")
    )
    assert seconds("NVIDIA L40S") < seconds("NVIDIA L40") < seconds("NVIDIA L4")  # names that begin alike
    laptop = seconds("NVIDIA GeForce RTX 4090 Laptop GPU")
    assert laptop == pytest.approx(2 * seconds("NVIDIA GeForce RTX 4090"))
    assert estimate_duration(workload(replace(CARD, name="Some card")), TOKENS) is None


def test_a_method_that_writes_while_it_learns_says_nothing() -> None:
    assert estimate_duration(workload(method="grpo"), TOKENS) is None


def test_a_processor_is_measured() -> None:
    processor = DeviceMemory("cpu", 16 * GB, 9 * GB)
    between = estimate_duration(workload(processor), TOKENS)
    assert between is not None
    assert between["low"] > 60
    assert 1e9 < duration.measure_processor() < 1e14


def test_tokens_are_counted_in_steps_and_evaluations() -> None:
    work = workload(knobs={"batch_size": 4, "accumulation": 2, "evaluations": 3})
    tokens = count_tokens(work, row_tokens=100, held_out=10, steps=50)
    assert (tokens.learned, tokens.read, tokens.row) == (50 * 8 * 100, 5 * 10 * 100, 100)
