"""Tests of the memory estimate: beside measured peaks, published figures, PEFT's own counts, and of the changes that make a setup fit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from app.core import registry
from app.planning.memory.changes import cheapest_changes
from app.planning.memory.device_memory import DeviceMemory
from app.planning.memory.estimate import MemoryEstimate, estimate_memory
from app.planning.memory.layers import count_trained
from app.planning.memory.workload import recomputes_activations
from app.planning.resolve import resolve
from app.setup.model_shape import ModelShape
from app.setup.spec import Spec, parse_spec
from app.setup.step_memory import RowLengths

GB = 10**9
LLAMA_1B = ModelShape("llama", 2048, 8192, 16, 32, 8, 64, 128256, 131072, tie_word_embeddings=True)
LLAMA_3B = ModelShape("llama", 3072, 8192, 28, 24, 8, 128, 128256, 131072, tie_word_embeddings=True)
LLAMA_7B = ModelShape("llama", 4096, 11008, 32, 32, 32, 128, 32000, 4096)
LLAMA_13B = ModelShape("llama", 5120, 13824, 40, 40, 40, 128, 32000, 4096)
LLAMA_70B = ModelShape("llama", 8192, 28672, 80, 64, 8, 128, 128256, 131072)
LENGTHS = RowLengths(text=2048, learned=1024, prompt=1024)
LENGTHS_4096, LENGTHS_8192 = (RowLengths(text=tokens, learned=tokens, prompt=64) for tokens in (4096, 8192))


def card(gigabytes: float) -> DeviceMemory:
    return DeviceMemory("cuda", int(gigabytes * GB), int(gigabytes * GB))


def spec_of(method: str = "sft", *, kind: str = "lora", quantization: str = "none", **knobs: Any) -> Spec:
    rewards = [{"name": "length_band"}] if method in ("grpo", "rloo", "ppo", "online_dpo") else []
    fields = {"method": method, "model": {"id": "owner/name", "quantization": quantization}, "data": [{"source": "hub:owner/name"}]}  # fmt: skip
    return resolve(parse_spec(fields | {"adapter": {"kind": kind}, "rewards": rewards, "knobs": knobs}))


def estimate(spec: Spec, shape: ModelShape = LLAMA_7B, lengths: RowLengths = LENGTHS) -> MemoryEstimate:
    return estimate_memory(spec, shape, lengths, card(80))


def part(memory: MemoryEstimate, name: str) -> int:
    return sum(entry["bytes"] for entry in memory["parts"] if entry["name"] == name)


# -- measured peaks -----------------------------------------------------------------------------------------------


def test_the_tracker_counts_a_storage_once_and_until_its_last_view_is_gone() -> None:
    import torch

    from tests.live_tensors import LiveTensorTracker

    with LiveTensorTracker() as tracker:
        before = tracker.current
        numbers = torch.zeros(1000)
        view = (numbers + 1).view(10, 100)
        assert tracker.current - before == 8000
        del view
        assert tracker.current - before == 4000
        del numbers
        assert (tracker.current - before, tracker.peak - before) == (0, 8000)


def test_the_tracker_sees_what_is_kept_for_the_backward_pass() -> None:
    import torch

    from tests.live_tensors import LiveTensorTracker

    weight = torch.ones(100, requires_grad=True)
    with LiveTensorTracker() as tracker:
        before = tracker.current
        total = (weight * 2).exp().sum()  # the exponential keeps its result
        assert tracker.current - before == 400 + 4
        total.backward()
        assert weight.grad is not None


@pytest.mark.parametrize("name", ["sft (practice model)", "cpo (practice model)", "sft (gpt2)", "sft (qwen3_moe)"])  # fmt: skip
def test_the_measured_peak_lies_in_the_range(name: str, tmp_path: Path) -> None:
    import torch

    from tests.memory_cases import measure_case

    earlier = torch.zeros(25_000_000)  # of an earlier case: not counted
    measured = measure_case(name, tmp_path)
    assert earlier.nbytes == 100_000_000
    low, high = measured.estimate["tensors_low"], measured.estimate["tensors_high"]
    assert low <= measured.peak <= high


# -- published figures --------------------------------------------------------------------------------------------

# GB from Axolotl's hardware table, for 512 to 2048 tokens and one or two texts at once.
PUBLISHED = [
    (LLAMA_1B, "nf4", 6, 8), (LLAMA_3B, "nf4", 6, 8), (LLAMA_7B, "nf4", 10, 14), (LLAMA_13B, "nf4", 16, 20), (LLAMA_70B, "nf4", 40, 48),
    (LLAMA_3B, "none", 8, 12), (LLAMA_7B, "none", 16, 24), (LLAMA_13B, "none", 28, 40), (LLAMA_70B, "none", 140, 160),
]  # fmt: skip


@pytest.mark.parametrize(("shape", "quantization", "low", "high"), PUBLISHED)
def test_published_figures_lie_between_the_lightest_and_the_heaviest_of_such_setups(
    shape: ModelShape, quantization: str, low: int, high: int
) -> None:
    lightest = spec_of(quantization=quantization, batch_size=1, max_length=512, checkpointing="on")
    heaviest = spec_of(quantization=quantization, batch_size=2, max_length=2048, checkpointing="off")
    assert estimate(lightest, shape)["low"] < high * GB
    assert estimate(heaviest, shape)["high"] > low * GB


def test_a_model_of_7b_in_4_bits_fits_into_12_gb_and_with_an_adapter_in_16_bits_into_24() -> None:
    settings = {"batch_size": 1, "max_length": 1024, "checkpointing": "on"}
    assert estimate(spec_of(quantization="nf4", **settings))["high"] < 12 * GB
    in_16_bits = estimate(spec_of(**settings))
    assert 12 * GB < in_16_bits["low"] < in_16_bits["high"] < 24 * GB


def test_all_weights_take_16_bytes_each_because_trained_weights_stay_in_32_bits() -> None:
    memory = estimate(spec_of(kind="none", batch_size=1, checkpointing="on"))
    lasting = part(memory, "weights") + part(memory, "optimizer") + part(memory, "gradients")
    assert lasting / LLAMA_7B.num_parameters == pytest.approx(16, rel=0.01)


def test_4_bits_take_the_bytes_that_the_qlora_paper_counts() -> None:
    tables = 2 * 32000 * 4096
    memory = estimate(spec_of(quantization="nf4"))
    bits = 8 * (part(memory, "weights") - 2 * tables) / (LLAMA_7B.num_parameters - tables)
    assert bits == pytest.approx(4.127, abs=0.005)  # Dettmers et al. 2023: 0.127 bits for the doubly quantized scales


# -- parts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", registry.names("methods"))
def test_every_method_has_an_estimate_of_plain_sentences_no_wider_than_30_percent(method: str) -> None:
    memory = estimate(spec_of(method))
    assert 1 < memory["high"] / memory["low"] <= 1.3
    assert {entry["name"] for entry in memory["parts"]} >= {"weights", "adapter", "optimizer", "activations", "program"}
    assert all(entry["reason"].endswith(".") and entry["title"] and entry["bytes"] > 0 for entry in memory["parts"])


def test_the_estimate_needs_no_torch() -> None:
    script = (
        "import sys, tests.test_memory as t; [t.estimate(t.spec_of(m)) for m in t.registry.names('methods')]; "
        "t.cheapest_changes(t.spec_of(), t.LLAMA_7B, t.LENGTHS, t.card(8)); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_pairs_are_read_together_and_only_all_weights_need_a_copy_of_the_start() -> None:
    sft, dpo = (estimate(spec_of(method, max_length=1024, checkpointing="off")) for method in ("sft", "dpo"))
    assert part(dpo, "activations") == pytest.approx(2 * part(sft, "activations"), rel=0.01)
    assert part(dpo, "start") == 0
    full = estimate(spec_of("dpo", kind="none"))
    assert part(full, "start") == LLAMA_7B.num_parameters * 4
    assert part(estimate(spec_of("dpo", kind="none", precompute_reference=True)), "start") == 0


def test_a_teacher_counts_with_its_own_shape() -> None:
    spec = spec_of("distill", teacher="owner/teacher")
    known = estimate_memory(spec, LLAMA_1B, LENGTHS, card(80), {"owner/teacher": LLAMA_7B})
    assert part(known, "other_model") == LLAMA_7B.num_parameters * 2
    assert part(estimate(spec, LLAMA_1B), "other_model") == LLAMA_1B.num_parameters * 2


def test_logits_without_a_kernel_grow_with_the_vocabulary_and_tiles_do_not() -> None:
    small, large = LLAMA_1B, ModelShape(**{**vars(LLAMA_1B), "vocab_size": 256512})
    sizes = {
        method: [part(estimate(spec_of(method, checkpointing="on"), shape), "logits") for shape in (small, large)]
        for method in ("cpo", "sft")
    }
    assert sizes["cpo"][1] == pytest.approx(2 * sizes["cpo"][0], rel=0.01) != 0
    assert sizes["sft"][1] == sizes["sft"][0]


def test_a_packed_row_is_full_however_short_the_texts() -> None:
    short = RowLengths(text=100, learned=50, prompt=50)
    full, padded = (estimate(spec_of(packing=packing), lengths=short) for packing in (True, False))
    assert part(full, "activations") > 5 * part(padded, "activations")


@pytest.mark.parametrize("fields", [
    {}, {"targets": "q_proj,v_proj"}, {"kind": "dora"}, {"r": 4, "unfreeze": ["embed_tokens"]}, {"unfreeze": ["layers.3"]}, {"unfreeze": ["layers.*.mlp.down_proj"], "targets": "q_proj"}, {"r": 8, "init": "pissa", "kind": "rslora"}, {"kind": "ia3"}, {"kind": "loha"}, {"kind": "lokr"}, {"kind": "lokr", "r": 4}, {"kind": "oft"}, {"kind": "oft", "r": 7}, {"kind": "vera", "r": 64}, {"kind": "fourierft"},
    {"targets": "layers.*.q_proj,model.layers.*1.mlp.*"},
])  # fmt: skip
def test_trained_weights_are_counted_as_peft_counts_them(fields: dict[str, Any], tmp_path: Path) -> None:
    from peft import get_peft_model

    from app.engine.job import Job
    from app.engine.model.device import Device
    from tests.memory_cases import shape_of

    spec = resolve(parse_spec({"method": "sft", "data": [{"source": "sample:tickets"}], "adapter": fields}))
    job = Job(spec, tmp_path, Device("cpu"), preview=True)
    model = get_peft_model(job.model, job.peft_config)
    norms = (
        4 * 2 * 256 // 4 + 2 * 32 if fields.get("unfreeze") == ["layers.3"] else 0
    )  # of one block, which are not counted
    trained = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    assert count_trained(spec, shape_of("pocket")).total == trained - norms


def test_a_run_and_its_estimate_agree_on_whether_activations_are_computed_again() -> None:
    spec = spec_of(batch_size=8)
    assert recomputes_activations(spec, LLAMA_7B, card(24))
    assert estimate_memory(spec, LLAMA_7B, LENGTHS, card(24))["recomputes"]
    assert not recomputes_activations(spec, LLAMA_1B, card(2000))
    assert not recomputes_activations(spec_of(batch_size=8, checkpointing="off"), LLAMA_7B, card(24))


def test_activations_are_computed_again_where_they_do_not_fit_beside_the_weights() -> None:
    spec = spec_of(batch_size=2, max_length=512)
    free = estimate_memory(spec, LLAMA_7B, LENGTHS, card(2000))
    passing = sum(part["bytes"] for part in free["parts"] if part["at_peak"] and part["when"] == "training")
    gigabytes = round(2.5 * passing / 1e9)  # less than half of the card, but the weights take most of it
    assert part(free, "weights") > gigabytes * 0.5e9
    assert recomputes_activations(spec, LLAMA_7B, card(gigabytes))


# -- changes that make it fit -------------------------------------------------------------------------------------


def test_what_fits_needs_no_change() -> None:
    assert cheapest_changes(spec_of(batch_size=1), LLAMA_1B, LENGTHS, card(80)) == []


def test_recomputation_and_smaller_batches_come_before_what_changes_the_result() -> None:
    spec = spec_of(batch_size=8, checkpointing="off", max_length=2048)
    changes = cheapest_changes(spec, LLAMA_7B, LENGTHS, card(24))
    assert [change["name"] for change in changes] == ["recompute", "batch"]
    assert [change["effect"] for change in changes] == ["same", "same"]
    assert changes[-1]["fits"] == "yes"
    batch = changes[1]["settings"]
    assert batch["knobs.batch_size"] * batch["knobs.accumulation"] == 8, "a correction looks at as many texts as before"


def test_offloading_leaves_no_more_than_two_blocks_on_the_card_and_comes_before_what_changes_the_result() -> None:
    kept, offloaded, both = (
        estimate_memory(spec_of(max_length=4096, **knobs), LLAMA_7B, LENGTHS_4096, card(80))["high"]
        for knobs in (
            {"checkpointing": "off"},
            {"checkpointing": "off", "activation_offloading": True},
            {"checkpointing": "on", "activation_offloading": True},
        )
    )
    assert kept > 1.5 * offloaded > 1.5 * both
    names = [change["name"] for change in cheapest_changes(spec_of(max_length=8192), LLAMA_7B, LENGTHS_8192, card(7))]
    assert names.index("offload") < names.index("quantization")
    on_processor = DeviceMemory("cpu", 7 * 10**9, 7 * 10**9)
    names = [
        change["name"] for change in cheapest_changes(spec_of(max_length=8192), LLAMA_7B, LENGTHS_8192, on_processor)
    ]
    assert "offload" not in names


def test_a_small_card_leads_to_4_bits_and_then_to_shorter_texts() -> None:
    changes = cheapest_changes(spec_of(max_length=8192), LLAMA_7B, LENGTHS_8192, card(7))
    names = [*dict.fromkeys(change["name"] for change in changes)]
    assert names[-2:] == ["quantization", "length"]
    assert changes[-1]["settings"]["knobs.max_length"] < 8192
    assert all(change["saved"] > 0 for change in changes)


def test_all_weights_become_an_adapter_only_when_nothing_else_helps() -> None:
    names = [change["name"] for change in cheapest_changes(spec_of("dpo", kind="none"), LLAMA_7B, LENGTHS, card(24))]
    assert names.index("precompute_reference") < names.index("optimizer") < names.index("adapter")


def test_each_change_is_a_setup_with_the_memory_that_it_promises() -> None:
    spec, device = spec_of(batch_size=8), card(12)
    fields = spec.to_dict()
    for change in cheapest_changes(spec, LLAMA_7B, LENGTHS, device):
        for path, setting in change["settings"].items():
            group, _, name = path.partition(".")
            fields[group] |= {name: setting}
        assert estimate_memory(resolve(parse_spec(fields)), LLAMA_7B, LENGTHS, device)["high"] == change["high"]


def test_a_round_of_ppo_stays_as_large_and_kto_says_that_its_batch_matters() -> None:
    ppo = cheapest_changes(spec_of("ppo", max_completion_length=2048), LLAMA_1B, LENGTHS, card(16))
    assert not any("knobs.batch_size" in change["settings"] for change in ppo)
    assert any("knobs.accumulation" in change["settings"] for change in ppo)
    kto = cheapest_changes(spec_of("kto", batch_size=16, max_length=2048), LLAMA_7B, LENGTHS, card(24))
    assert {change["name"]: change["effect"] for change in kto}["batch"] == "slight"
