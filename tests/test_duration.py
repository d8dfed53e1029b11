"""How long a run takes, reckoned from arithmetic alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from app.planning import duration
from app.planning.duration import DurationRange, estimate_duration
from app.planning.memory.device_memory import DeviceMemory
from app.planning.memory.workload import Workload
from app.planning.resolve import resolve
from app.setup.catalogue import load_catalogue
from app.setup.model_facts import facts_of_entry
from app.setup.spec import parse_spec
from app.setup.step_memory import RowLengths

GB = 10**9
CARD = DeviceMemory("cuda", 80 * GB, 79 * GB, "NVIDIA A100-SXM4-80GB")
ROW_TOKENS = 200


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


def seconds_of(
    work: Workload, learned: float = 1e6, read: float = 0, row_tokens: float = ROW_TOKENS
) -> DurationRange | None:
    """learned, read: tokens of all steps, and of an evaluation where there is one beside that before and that after."""
    steps = learned / row_tokens / (work.knobs.batch_size * work.knobs.accumulation)
    evaluations = work.knobs.evaluations + 2
    return estimate_duration(
        work, steps=steps, row_tokens=row_tokens, set_sizes=[round(read / row_tokens / evaluations)]
    )


def middle(work: Workload, **tokens: float) -> float:
    """Seconds of the arithmetic alone: the start, which is the same everywhere, is left out."""
    between, nothing = seconds_of(work, **tokens), seconds_of(work, learned=0)
    assert between is not None
    assert nothing is not None
    assert between["low"] < between["high"]
    return between["low"] - nothing["low"] + between["high"] - nothing["high"]


def test_an_adapter_of_a_small_model_on_a_large_card_takes_minutes() -> None:
    between = seconds_of(workload())
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
    assert middle(workload(), row_tokens=4000) > 1.05 * usual  # attention over longer rows
    assert middle(workload(), read=4e5) == pytest.approx(1.2 * usual, rel=0.01)  # no backward pass


def test_a_faster_card_is_quicker_and_an_unknown_one_says_nothing() -> None:
    def seconds(name: str) -> float:
        return middle(workload(replace(CARD, name=name)))

    assert (
        seconds("NVIDIA H100 80GB HBM3") < seconds("NVIDIA A100-PCIE-40GB") < seconds("NVIDIA L4") < seconds("Tesla T4")
    )
    assert seconds("NVIDIA L40S") < seconds("NVIDIA L40") < seconds("NVIDIA L4")  # names that begin alike
    assert seconds("NVIDIA RTX A4000") > seconds("NVIDIA A40")
    laptop = seconds("NVIDIA GeForce RTX 4090 Laptop GPU")
    assert laptop == pytest.approx(2 * seconds("NVIDIA GeForce RTX 4090"))
    assert all(seconds_of(workload(replace(CARD, name=name))) is None for name in ("Some card", "NVIDIA T400 4GB"))


def test_a_method_that_writes_while_it_learns_says_nothing() -> None:
    assert seconds_of(workload(method="grpo")) is None


def test_a_processor_is_measured() -> None:
    processor = DeviceMemory("cpu", 16 * GB, 9 * GB)
    between = seconds_of(workload(processor))
    assert between is not None
    assert between["low"] > 60
    assert 1e9 < duration.measure_processor() < 1e14


def test_a_processor_with_units_for_bfloat16_is_quicker_where_it_uses_them() -> None:
    plain = DeviceMemory("cpu", 16 * GB, 9 * GB)
    quick = replace(plain, bfloat16_speedup=6.0)
    assert middle(workload(quick)) < middle(workload(plain)) / 1.5
    assert middle(workload(quick, knobs={"precision": "fp32"})) == middle(workload(plain))


def test_every_evaluation_reads_so_many_held_out_rows_at_most() -> None:
    few, many = (workload(knobs={"evaluations": count}) for count in (0, 6))
    assert middle(many, read=1.6e5) == pytest.approx(middle(few, read=1.6e5), rel=0.01)  # as many tokens in all
    capped = estimate_duration(few, steps=0, row_tokens=ROW_TOKENS, set_sizes=[512])
    assert estimate_duration(few, steps=0, row_tokens=ROW_TOKENS, set_sizes=[9999]) == capped
    assert estimate_duration(few, steps=0, row_tokens=ROW_TOKENS, set_sizes=[511]) != capped
    assert estimate_duration(few, steps=0, row_tokens=ROW_TOKENS, set_sizes=[256, 256]) == capped
    assert estimate_duration(few, steps=0, row_tokens=ROW_TOKENS, set_sizes=[512, 512]) != capped
