"""Tests of what is counted in a memory estimate beside the usual parts: optimizers, DoRA, experts, teachers, moments."""

from __future__ import annotations

from dataclasses import replace

import pytest

from app.planning.memory.estimate import estimate_memory
from app.planning.memory.moments import training_moments
from app.planning.memory.workload import Workload
from app.planning.resolve import resolve
from app.setup.model_shape import ModelShape
from app.setup.spec import parse_spec
from tests.test_memory import LENGTHS, LLAMA_1B, LLAMA_7B, card, estimate, part, spec_of

MOE = ModelShape("qwen3_moe", 2048, 6144, 48, 32, 4, 128, 151936, 40960, False, 128, 8, 768)


def test_adamw_in_8_bits_keeps_the_state_of_embeddings_in_32() -> None:
    memory = estimate(spec_of(kind="none", optimizer="adamw_8bit"), LLAMA_1B)
    table = LLAMA_1B.vocab_size * LLAMA_1B.hidden_size
    others = LLAMA_1B.num_parameters - table
    assert part(memory, "optimizer") == pytest.approx(8 * table + 2.04 * others, rel=0.001)
    adapter = estimate(spec_of(optimizer="adamw_8bit"), LLAMA_1B)
    assert part(adapter, "optimizer") == pytest.approx(2.04 / 4 * part(adapter, "adapter"), rel=0.001)


def test_muon_remembers_one_number_for_matrices_and_adamw_two_for_tables_and_experts() -> None:
    tied = part(estimate(spec_of(kind="none", optimizer="muon"), LLAMA_1B), "optimizer")
    table = LLAMA_1B.vocab_size * LLAMA_1B.hidden_size
    assert tied == pytest.approx(8 * table + 4 * (LLAMA_1B.num_parameters - table), rel=0.001)
    with_head = part(estimate(spec_of(kind="none", optimizer="muon"), LLAMA_7B), "optimizer")
    tables = 2 * 32000 * 4096
    assert with_head == pytest.approx(8 * tables + 4 * (LLAMA_7B.num_parameters - tables), rel=0.001)
    experts = part(estimate(spec_of(kind="none", optimizer="muon"), MOE), "optimizer")
    others = 48 * 128 * 3 * 2048 * 768 + 2 * 151936 * 2048
    assert experts == pytest.approx(8 * others + 4 * (MOE.num_parameters - others), rel=0.001)
    adapter = estimate(spec_of(optimizer="muon"), LLAMA_7B)
    assert part(adapter, "optimizer") == pytest.approx(part(estimate(spec_of(), LLAMA_7B), "optimizer") / 2, rel=0.001)


def test_dora_keeps_both_results_of_each_matrix_for_the_magnitude() -> None:
    lora, dora = (estimate(spec_of(kind=kind, max_length=512, batch_size=1, checkpointing="off")) for kind in ("lora", "dora"))  # fmt: skip
    outputs = 4 * 4096 + 2 * 11008 + 4096  # of the matrices of one block
    casts = 3 * 4096 + 4096  # DoRA casts each input of q, k, v, gate, up and o anew; plain LoRA reads shared ones
    assert part(dora, "activations") - part(lora, "activations") == 32 * 512 * (2 * outputs + casts) * 2


def test_experts_with_an_adapter_are_kept_a_second_time_in_each_block_unless_it_is_computed_again() -> None:
    fields = spec_of(max_length=512, batch_size=1, checkpointing="off").to_dict()
    spec = resolve(parse_spec(fields | {"adapter": {"experts": ["experts.gate_up_proj", "experts.down_proj"]}}))
    again = resolve(parse_spec(spec.to_dict() | {"knobs": spec.knobs | {"checkpointing": "on"}}))
    plain = estimate(resolve(parse_spec(fields)), MOE)
    stacks = 48 * 128 * 3 * 2048 * 768 * 2
    assert part(estimate(spec, MOE), "activations") - part(plain, "activations") == pytest.approx(stacks, rel=0.03)
    assert part(estimate(again, MOE), "activations") < 3 * stacks / 48


def test_a_teacher_with_a_larger_vocabulary_gives_larger_logits() -> None:
    teacher = replace(LLAMA_1B, vocab_size=256_000)
    spec, student = spec_of("gold", teacher="owner/teacher"), replace(LLAMA_1B, vocab_size=32_000)
    sizes = [
        part(estimate_memory(spec, student, LENGTHS, card(80), {"owner/teacher": shape}), "logits")
        for shape in (student, teacher)
    ]
    assert sizes[1] > 1.9 * sizes[0] > 0


def test_a_block_that_is_computed_again_and_the_logits_are_not_there_at_once() -> None:
    spec = spec_of("cpo", max_length=1024, batch_size=1, checkpointing="on")
    loss, *_, block, _, _ = training_moments(Workload(spec, LLAMA_7B, LENGTHS, card(80), {}))
    assert loss.logits > 0
    assert block.logits == 0
    assert block.activations > loss.activations
