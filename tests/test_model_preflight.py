"""Preflight of a model by its facts: what would make a run fail or learn badly is found before a download, with its remedy."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from app.contracts import Finding
from app.planning.model_preflight import check_model
from app.planning.resolve import resolve
from app.setup.catalogue import load_catalogue
from app.setup.chat_support import read_chat_support
from app.setup.model_facts import ModelFacts, facts_of_entry, facts_of_folder
from app.setup.spec import Spec, parse_spec

CHATML = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>{% endfor %}"


def facts_of(name: str, **changes: Any) -> ModelFacts:
    entry = load_catalogue().find(name)
    assert entry is not None
    fields: dict[str, Any] = {
        "origin": "hub",
        "template": CHATML,
        "chat": read_chat_support(CHATML),
        "eos_token": "<|im_end|>",
        "has_processor": True,
    }
    return replace(facts_of_entry(entry), **(fields | changes))


def spec_of(method: str = "sft", **fields: Any) -> Spec:
    return resolve(parse_spec({"method": method, "data": [{"source": "sample:tickets"}]} | fields))


def ids(findings: list[Finding]) -> dict[str, str]:
    return {finding["id"]: finding["severity"] for finding in findings}


def with_changes(spec: Spec, finding: Finding) -> Spec:
    """The Spec with the changes of a finding's remedy."""
    assert finding["remedy"] is not None
    data = spec.to_dict()
    for path, value in finding["remedy"]["changes"].items():
        *parents, last = path.split(".")
        target = data
        for parent in parents:
            target = target.setdefault(parent, {})
        target[last] = value
    return parse_spec(data)


QWEN, LLAMA, GPT_OSS, VISION = "Qwen/Qwen3-8B", "meta-llama/Llama-3.2-1B-Instruct", "openai/gpt-oss-20b", "Qwen/Qwen3-VL-4B-Instruct"  # fmt: skip


def test_nothing_is_said_of_a_model_that_fits_its_setup() -> None:
    assert check_model(facts_of(QWEN), spec_of()) == []
    assert check_model(facts_of_folder("pocket"), spec_of()) == []


@pytest.mark.parametrize(
    ("name", "changes", "fields", "finding", "severity"),
    [
        (QWEN, {"runs_code": True}, {}, "own_code", "good"),
        (QWEN, {"quantized": "awq"}, {"adapter": {"kind": "none"}}, "quantized_base", "wrong"),
        (QWEN, {"quantized": "awq"}, {"model": {"id": QWEN, "quantization": "nf4"}}, "quantized_twice", "wrong"),
        (QWEN, {"quantized": "awq"}, {}, "quantized_base", "careful"),
        (QWEN, {"template": None, "chat": None}, {}, "no_template", "careful"),
        (QWEN, {"template": "{% for %}", "chat": None}, {}, "no_template", "wrong"),
        (QWEN, {"eos_token": "<|endoftext|>"}, {}, "end_token", "careful"),
        (GPT_OSS, {}, {}, "experts", "careful"),
        (GPT_OSS, {}, {"knobs": {"torch_compile": True}}, "compilation", "wrong"),
        (VISION, {}, {"knobs": {"packing": True}}, "packing", "careful"),
        (LLAMA, {}, {"model": {"id": LLAMA, "new_tokens": ["<a>"]}}, "tied_weights", "careful"),
        (LLAMA, {}, {"adapter": {"unfreeze": ["embed_tokens"]}}, "tied_weights", "careful"),
        (VISION, {"has_processor": False}, {}, "no_processor", "wrong"),
        (QWEN, {}, {"knobs": {"max_length": 60_000}}, "too_long", "careful"),
    ],
)
def test_what_would_go_wrong_is_found(
    name: str, changes: dict[str, Any], fields: dict[str, Any], finding: str, severity: str
) -> None:
    assert ids(check_model(facts_of(name, **changes), spec_of(**fields))).get(finding) == severity


@pytest.mark.parametrize(
    ("name", "changes", "fields"),
    [
        (QWEN, {}, {"adapter": {"kind": "none"}}),
        (QWEN, {"quantized": "mxfp4"}, {}),
        (QWEN, {"template": None, "chat": None}, {"model": {"id": QWEN, "template": "trl:qwen3"}}),
        (QWEN, {"eos_token": "</s>"}, {"model": {"id": QWEN, "template": "trl:qwen3"}}),
        (GPT_OSS, {"quantized": None}, {"adapter": {"experts": ["mlp.experts.gate_up_proj"]}}),
        (QWEN, {}, {"knobs": {"packing": True}}),
        (QWEN, {}, {"knobs": {"torch_compile": True}}),
        (QWEN, {}, {"model": {"id": QWEN, "new_tokens": ["<a>"]}}),
        (LLAMA, {}, {}),
    ],
)
def test_what_is_right_is_left_alone(name: str, changes: dict[str, Any], fields: dict[str, Any]) -> None:
    assert check_model(facts_of(name, **changes), spec_of(**fields)) == []


def test_a_base_model_may_have_no_chat_format_where_plain_text_is_learned() -> None:
    spec = spec_of("pretrain", data=[{"source": "sample:diary"}])
    assert check_model(facts_of(QWEN, template=None, chat=None), spec) == []


@pytest.mark.parametrize(
    ("name", "device", "attention", "is_wrong"),
    [
        (QWEN, "cpu", "flash_attention_2", True),
        (QWEN, "mps", "flash_attention_2", True),
        (QWEN, "cuda", "flash_attention_2", False),
        (QWEN, "cuda", "auto", False),
        ("google/gemma-3-1b-it", "cuda", "flash_attention_2", False),
        (GPT_OSS, "cuda", "sdpa", True),
        (GPT_OSS, "cuda", "flex_attention", False),
    ],
)
def test_an_attention_that_cannot_compute_the_model_is_refused(
    name: str, device: Any, attention: str, is_wrong: bool
) -> None:
    findings = check_model(facts_of(name), spec_of(knobs={"attention": attention}), device)
    assert (ids(findings).get("attention") == "wrong") == is_wrong


def test_wide_heads_do_not_fit_flash_attention() -> None:
    facts = facts_of(QWEN)
    wide = replace(facts, shape=replace(facts.shape, head_dim=512))
    assert "attention" in ids(check_model(wide, spec_of(knobs={"attention": "flash_attention_2"}), "cuda"))


@pytest.mark.parametrize("setting", ["packing", "padding_free"])
def test_joined_examples_need_a_model_that_carries_no_state(setting: str) -> None:
    packed = spec_of(knobs={setting: True})
    assert not ids(check_model(facts_of(QWEN), packed, "cuda"))
    facts = facts_of(QWEN)
    stateful = replace(facts, shape=replace(facts.shape, model_type="qwen3_next"))
    (finding,) = check_model(stateful, packed)
    assert (finding["id"], finding["severity"]) == ("packing", "wrong")
    assert finding["remedy"] is not None
    assert finding["remedy"]["changes"] == {f"knobs.{setting}": False}


@pytest.mark.parametrize(
    ("name", "changes", "fields"),
    [
        (QWEN, {"quantized": "awq"}, {"adapter": {"kind": "none"}}),
        (QWEN, {"quantized": "awq"}, {"model": {"id": QWEN, "quantization": "nf4"}}),
        (QWEN, {"template": None, "chat": None}, {}),
        (GPT_OSS, {}, {"adapter": {"kind": "dora", "dropout": 0.1}}),
        (VISION, {}, {"knobs": {"packing": True}}),
        (QWEN, {}, {"knobs": {"max_length": 60_000}}),
    ],
)
def test_a_remedy_makes_its_finding_go(name: str, changes: dict[str, Any], fields: dict[str, Any]) -> None:
    facts, spec = facts_of(name, **changes), spec_of(**fields)
    finding = check_model(facts, spec, "cuda")[0]
    after = check_model(facts, with_changes(spec, finding), "cuda")
    assert finding["id"] not in ids(after)


def test_the_worst_comes_first() -> None:
    facts = facts_of(VISION, has_processor=False, runs_code=True, eos_token="</s>")
    severities = [finding["severity"] for finding in check_model(facts, spec_of())]
    assert severities == ["wrong", "careful", "good"]
