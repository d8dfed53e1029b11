"""What of a model would make a run fail or learn badly, from its facts alone: before a download, each with its remedy.

The engine looks again at the loaded model; here nothing of it is on this machine yet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal

from app.contracts import Finding, Remedy, Severity
from app.core.problems import Problem
from app.engine.contracts import load_method
from app.planning.memory.device_memory import CARD_ATTENTION
from app.setup.chat_support import writes_token
from app.setup.model_facts import ModelFacts
from app.setup.spec import Spec

DeviceKind = Literal["cpu", "cuda", "mps"]

# State-space and linear attention: joined examples would leak into each other through a state that nothing resets.
_STATEFUL_ARCHITECTURES = ("mamba", "falcon_h1", "jamba", "bamba", "zamba", "rwkv", "recurrent_gemma", "granitemoehybrid", "nemotron_h",
    "qwen3_next", "qwen3_5", "lfm2", "kimi_linear", "minimax", "plamo", "xlstm", "olmo_hybrid", "bailing_hybrid")  # fmt: skip
# Their attention has learned sinks or soft-capped scores, which only some kernels compute.
_SPECIAL_ATTENTION = {
    "gpt_oss": ("eager", "flex_attention"),
    "gemma2": ("eager", "flash_attention_2", "flex_attention"),
}
_MAX_FLASH_HEAD_DIM = 256  # of FlashAttention 2 and of PyTorch's own flash kernels
_CHAT_ROWS = ("messages", "conversations")


def check_model(facts: ModelFacts, spec: Spec, device: DeviceKind = "cpu") -> list[Finding]:
    """Findings on training this model as the resolved Spec says, the worst first; empty where nothing is to be said."""
    checks: tuple[Callable[[], Iterator[Finding]], ...] = (
        lambda: _check_code(facts),
        lambda: _check_quantized(facts, spec, device),
        lambda: _check_template(facts, spec),
        lambda: _check_end_token(facts, spec),
        lambda: _check_experts(facts, spec),
        lambda: _check_compilation(facts, spec),
        lambda: _check_packing(facts, spec),
        lambda: _check_attention(facts, spec, device),
        lambda: _check_tied_weights(facts, spec),
        lambda: _check_processor(facts),
        lambda: _check_length(facts, spec),
    )
    findings = [finding for check in checks for finding in check()]
    order: tuple[Severity, ...] = ("wrong", "careful", "good")
    return sorted(findings, key=lambda finding: order.index(finding["severity"]))


def require_trainable(facts: ModelFacts, spec: Spec) -> None:
    """Raises Problem for the first finding on the model of a resolved Spec with which no run can succeed on any device; what
    one device does not compute is refused in app/engine/trainers/device_settings.py."""
    finding = next((finding for finding in check_model(facts, spec, "cuda") if finding["severity"] == "wrong"), None)
    if finding:
        remedy = finding["remedy"]
        raise Problem(finding["text"], advice=f"{remedy['title']}." if remedy else "", reason=finding["id"])


def _finding(name: str, severity: Severity, text: str, title: str = "", **changes: Any) -> Finding:
    """A finding; with a title it has a remedy, whose changes have __ for the dot in a path of the Spec."""
    paths = {path.replace("__", "."): value for path, value in changes.items()}
    remedy: Remedy | None = {"title": title, "changes": paths} if title else None
    return {"id": name, "severity": severity, "text": text, "count": 0, "rows": [], "remedy": remedy}


def _check_code(facts: ModelFacts) -> Iterator[Finding]:
    if facts.runs_code:
        text = "This model brings program code of its own. It is never run here: transformers knows the architecture itself."
        yield _finding("own_code", "good", text)


def _check_quantized(facts: ModelFacts, spec: Spec, device: DeviceKind) -> Iterator[Finding]:
    """Quantized weights learn nothing themselves, and a second quantization beside the first is refused by transformers."""
    if facts.quantized is None:
        return
    kind = f"The weights of this model are published quantized ({facts.quantized})"
    if spec.adapter.kind == "none":
        text = f"{kind}: they cannot be trained themselves. Train an adapter beside them, or choose the model that they were made from."
        yield _finding("quantized_base", "wrong", text, "Train an adapter", adapter__kind="lora")
    elif spec.model.quantization != "none":
        text = f"{kind}: they cannot be held as {spec.model.quantization} as well. Keep them as they are, or choose the model that they were made from."
        yield _finding("quantized_twice", "wrong", text, "Hold them as they are", model__quantization="none")
    elif device == "cpu" and facts.quantized not in ("mxfp4", "bitsandbytes"):
        text = f"{kind}, in a format that mostly needs a graphics card. Choose the model that they were made from."
        yield _finding("quantized_base", "careful", text)


def _check_template(facts: ModelFacts, spec: Spec) -> Iterator[Finding]:
    """Conversations need a chat template: the model's own, or one of the Spec."""
    if spec.model.template or facts.origin == "catalogue" or not _needs_template(spec):
        return
    if facts.template is None:
        text = "This model has no chat format: it is a base model that has never seen a conversation. Choose its instruct version, or take a format, which it then learns."
        yield _finding("no_template", "careful", text, "Take the format ChatML", model__template="chatml")
    elif facts.chat is None:
        text = "The chat format of this model is not valid. Take another one."
        yield _finding("no_template", "wrong", text, "Take the format ChatML", model__template="chatml")


def _needs_template(spec: Spec) -> bool:
    """Whether the method takes conversations, which only a chat template can write."""
    return spec.method != "pretrain" and any(kind in _CHAT_ROWS for kind in load_method(spec.method).row_types)


def _check_end_token(facts: ModelFacts, spec: Spec) -> Iterator[Finding]:
    """Generation stops at the tokenizer's end token; where the template never writes it, nothing learns to write it."""
    template = None if spec.model.template else facts.template
    if template and facts.eos_token and not writes_token(template, facts.eos_token):
        text = (
            f"The tokenizer’s end token is {facts.eos_token}, and the chat format of this model never writes it: answers may not end "
            "where they should. The tokens to learn show what each answer ends with."
        )
        yield _finding("end_token", "careful", text)


def _check_experts(facts: ModelFacts, spec: Spec) -> Iterator[Finding]:
    """`auto` reaches linear layers, and the experts of a mixture are stacked weights without layers of their own."""
    if facts.shape.num_experts and spec.adapter.kind != "none" and not spec.adapter.experts:
        text = (
            f"Most weights of this model lie in {facts.shape.num_experts} experts per layer, which an adapter reaches only by their names: "
            "as it is, it learns beside the attention alone. That is often enough."
        )
        names = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]
        kind = "rslora" if spec.adapter.kind == "rslora" else "lora"  # others and dropout do not reach experts
        changes: dict[str, Any] = {"adapter__experts": names, "adapter__dropout": 0.0, "adapter__kind": kind}
        changes |= {} if spec.adapter.init in ("default", "gaussian") else {"adapter__init": "default"}
        yield _finding("experts", "careful", text, "Adapt the experts too", **changes)


def _check_compilation(facts: ModelFacts, spec: Spec) -> Iterator[Finding]:
    """The layers of a mixture come apart into many pieces, each compiled anew in every layer."""
    if not spec.knobs.get("torch_compile"):
        return
    reason = ""
    if facts.shape.num_experts:
        reason = "chooses other experts for each token"
    elif facts.shape.model_type.startswith(_STATEFUL_ARCHITECTURES):
        reason = "carries a state from token to token"
    if reason:
        text = f"This model {reason}, and such layers are not compiled in one piece. Switch compilation off."
        yield _finding("compilation", "wrong", text, "Switch compilation off", knobs__torch_compile=False)


def _check_packing(facts: ModelFacts, spec: Spec) -> Iterator[Finding]:
    setting = next((name for name in ("packing", "padding_free") if spec.knobs.get(name)), None)
    if setting is None or spec.method == "pretrain":
        return
    remedy = f"Switch {setting.replace('_', '-')} off"
    changes: dict[str, Any] = {f"knobs__{setting}": False}
    if facts.shape.vision:
        text = f"This model reads pictures, and examples for it are not joined into rows. {remedy}."
        yield _finding("packing", "careful", text, remedy, **changes)
    elif facts.shape.model_type.startswith(_STATEFUL_ARCHITECTURES):
        text = (
            f"This model carries a state from token to token, so joined examples would leak into each other. {remedy}."
        )
        yield _finding("packing", "wrong", text, remedy, **changes)


def _check_attention(facts: ModelFacts, spec: Spec, device: DeviceKind) -> Iterator[Finding]:
    shape, attention, remedy = facts.shape, spec.knobs.get("attention", "auto"), "Leave the attention on automatic"
    if attention in CARD_ATTENTION and device != "cuda":
        text = f"The attention {attention} needs an NVIDIA card."
        yield _finding("attention", "wrong", text, remedy, knobs__attention="auto")
    if attention == "flash_attention_2" and shape.head_dim > _MAX_FLASH_HEAD_DIM:
        text = f"The heads of this model are {shape.head_dim} wide, and flash attention computes at most {_MAX_FLASH_HEAD_DIM}."
        yield _finding("attention", "wrong", text, remedy, knobs__attention="auto")
    supported = _SPECIAL_ATTENTION.get(shape.model_type)
    if attention != "auto" and supported and attention not in supported:
        text = f"{attention} does not compute the attention of {shape.model_type}; {' and '.join(supported)} do."
        yield _finding("attention", "wrong", text, remedy, knobs__attention="auto")


def _check_tied_weights(facts: ModelFacts, spec: Spec) -> Iterator[Finding]:
    """One table reads and writes tokens: what is trained in it changes both sides, and fits only a base tied alike."""
    trains_table = any("embed" in pattern or "lm_head" in pattern for pattern in spec.adapter.unfreeze)
    if not facts.shape.tie_word_embeddings or not (spec.model.new_tokens or trains_table):
        return
    text = (
        "In this model one table reads and writes tokens, so the new ones are learned for both at once. "
        "A program that merges the adapter has to keep them tied."
    )
    yield _finding("tied_weights", "careful", text)


def _check_processor(facts: ModelFacts) -> Iterator[Finding]:
    if facts.shape.vision and facts.has_processor is False:
        text = "This model reads pictures, and the files that prepare them (preprocessor_config.json) are missing. Choose the original that it was made from."
        yield _finding("no_processor", "wrong", text)


def _check_length(facts: ModelFacts, spec: Spec) -> Iterator[Finding]:
    limit, longest = facts.shape.max_position_embeddings, spec.knobs.get("max_length")
    if limit and isinstance(longest, int) and longest > limit:
        text = f"The maximum length of {longest:,} tokens is more than the {limit:,} that this model was made for."
        yield _finding("too_long", "careful", text, f"Set it to {limit:,}", knobs__max_length=limit)
