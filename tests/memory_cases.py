"""Cases whose peak memory is measured beside its estimate: every method, on models without a meaning, of a true shape."""

from __future__ import annotations

import gc
import json
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from app.core.paths import ROOT
from app.planning import preflight
from app.planning.memory.device_memory import DeviceMemory
from app.planning.memory.estimate import MemoryEstimate, estimate_memory
from app.setup.model_shape import ModelShape, read_model_shape
from app.setup.spec import Spec, parse_spec
from tests.support import NO_EVALUATIONS_OR_SAVES

_TEXT = "the fox runs over a hill and sees one big red house near water where two small birds sing all day long"
_ROWS = 16
_PLENTY = DeviceMemory("cpu", 10**12, 10**12)  # so that `auto` does not compute activations again
# A Llama with few layers, but with a vocabulary that makes logits and tables large beside them, as in real models.
LLAMA = {"hidden_size": 256, "intermediate_size": 704, "num_hidden_layers": 4, "num_attention_heads": 8, "num_key_value_heads": 4, "vocab_size": 32000}  # fmt: skip
TEACHER = LLAMA | {"hidden_size": 320, "intermediate_size": 896, "num_hidden_layers": 6}


@dataclass(frozen=True)
class MemoryCase:
    """rows: the kind of examples, a name of _row. knobs, fields: of the Spec; “teacher” in knobs is replaced by a model."""

    method: str
    rows: str
    knobs: dict[str, Any]
    fields: dict[str, Any] = field(default_factory=dict)


_BATCH = {"batch_size": 4, "max_length": 96}
_PAIRS = {"batch_size": 2, "max_length": 96}
_FITTING = {"batch_size": 2, "max_length": 1024}  # for methods that leave longer rows out
_ANSWERS = {"batch_size": 8, "max_completion_length": 16}
_REWARD = {"rewards": [{"name": "length_band"}]}
_ALL_WEIGHTS = {"adapter": {"kind": "none"}}
_MAIN_CASES = {
    "sft": MemoryCase("sft", "messages", _BATCH),
    "pretrain": MemoryCase("pretrain", "text", _BATCH),
    "dpo": MemoryCase("dpo", "preference", _PAIRS),
    "kto": MemoryCase("kto", "thumbs", _BATCH),
    "orpo": MemoryCase("orpo", "preference", _PAIRS),
    "cpo": MemoryCase("cpo", "preference", _PAIRS),
    "simpo": MemoryCase("simpo", "preference", _PAIRS),
    "tpo": MemoryCase("tpo", "ranked", _PAIRS),
    "reward": MemoryCase("reward", "preference", _FITTING),
    "process_reward": MemoryCase("process_reward", "stepwise", _BATCH),
    "grpo": MemoryCase("grpo", "prompt", _ANSWERS | {"attempts": 4, "skip_silent": False}, _REWARD),
    "rloo": MemoryCase("rloo", "prompt", _ANSWERS | {"attempts": 4, "skip_silent": False}, _REWARD),
    "ppo": MemoryCase("ppo", "prompt", _ANSWERS | {"minibatches": 2, "passes": 1}, _REWARD),
    "online_dpo": MemoryCase("online_dpo", "prompt", _ANSWERS | {"batch_size": 4}, _REWARD),
    "gkd": MemoryCase("gkd", "messages", _FITTING | {"own_share": 0.0, "teacher": "teacher"}),
    "gold": MemoryCase("gold", "messages", _FITTING | {"max_completion_length": 16, "teacher": "teacher"}),
    "distill": MemoryCase("distill", "prompt", _ANSWERS | {"teacher": "teacher"}),
    "sdft": MemoryCase("sdft", "hinted", _ANSWERS),
    "ebft": MemoryCase("ebft", "prompt_completion", {"batch_size": 2, "attempts": 4, "max_completion_length": 16}),
    "ebft, pieces of text": MemoryCase("ebft", "text", {"batch_size": 2, "attempts": 2, "max_length": 96}),
}
_SETTING_CASES = {
    "sft, bf16": MemoryCase("sft", "messages", _BATCH | {"precision": "bf16"}),
    "sft, all weights": MemoryCase("sft", "messages", _BATCH, _ALL_WEIGHTS),
    "sft, all weights, bf16": MemoryCase("sft", "messages", _BATCH | {"precision": "bf16"}, _ALL_WEIGHTS),
    "sft, all weights, accumulated": MemoryCase("sft", "messages", _BATCH | {"accumulation": 2}, _ALL_WEIGHTS),
    "sft, adafactor": MemoryCase("sft", "messages", _BATCH | {"optimizer": "adafactor"}, _ALL_WEIGHTS),
    "sft, lion": MemoryCase("sft", "messages", _BATCH | {"optimizer": "lion"}, _ALL_WEIGHTS),
    "sft, sgd": MemoryCase("sft", "messages", _BATCH | {"optimizer": "sgd"}, _ALL_WEIGHTS),
    "sft, adamw in 8 bits": MemoryCase("sft", "messages", _BATCH | {"optimizer": "adamw_8bit"}, _ALL_WEIGHTS),
    "sft, recomputation": MemoryCase("sft", "messages", _BATCH | {"checkpointing": "on"}),
    "sft, packed": MemoryCase("sft", "messages", _BATCH | {"packing": True}),
    "sft, nf4": MemoryCase("sft", "messages", _BATCH, {"model": {"quantization": "nf4"}}),
    "sft, int8": MemoryCase("sft", "messages", _BATCH, {"model": {"quantization": "int8"}}),
    "sft, dora": MemoryCase("sft", "messages", _BATCH, {"adapter": {"kind": "dora"}}),
    "sft, embeddings trained": MemoryCase("sft", "messages", _BATCH, {"adapter": {"unfreeze": ["embed_tokens"]}}),
    "dpo, all weights": MemoryCase("dpo", "preference", _PAIRS, _ALL_WEIGHTS),
    "dpo, bf16": MemoryCase("dpo", "preference", _PAIRS | {"precision": "bf16"}),
    "cpo, bf16": MemoryCase("cpo", "preference", _PAIRS | {"precision": "bf16"}),
    "grpo, all weights with kl": MemoryCase("grpo", "prompt", _ANSWERS | {"attempts": 4, "skip_silent": False, "kl": 0.04}, _REWARD | _ALL_WEIGHTS),
    "ppo, all weights": MemoryCase("ppo", "prompt", _ANSWERS | {"minibatches": 2, "passes": 1}, _REWARD | _ALL_WEIGHTS),
}  # fmt: skip
# {name: (model, case)}
CASES = (
    {f"{name} (practice model)": ("pocket", case) for name, case in _MAIN_CASES.items()}
    | {f"{name} (32,000 words)": ("llama", case) for name, case in _MAIN_CASES.items()}
    | {f"{name} (32,000 words)": ("llama", case) for name, case in _SETTING_CASES.items()}
)


# -- models and rows ----------------------------------------------------------------------------------------------


@lru_cache
def _model_without_meaning(folder: Path, name: str) -> str:
    """The folder of a Llama with random weights and the practice model's tokenizer."""
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(ROOT / "presets" / "pocket")
    token_ids = {name: getattr(tokenizer, name) for name in ("eos_token_id", "pad_token_id", "bos_token_id")}
    shape = TEACHER if name == "teacher" else LLAMA
    model = LlamaForCausalLM(LlamaConfig(**shape, **token_ids, max_position_embeddings=2048, tie_word_embeddings=False))
    model.save_pretrained(folder / name)
    tokenizer.save_pretrained(folder / name)
    return str(folder / name)


def shape_of(model: str) -> ModelShape:
    folder = ROOT / "presets" / model if model == "pocket" else Path(model)
    return read_model_shape(json.loads((folder / "config.json").read_text("utf-8")))


def _write_rows(folder: Path, kind: str) -> str:
    rows_file = folder / f"{kind}.jsonl"
    rows = [_row(kind, index) for index in range(_ROWS)]
    rows_file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return f"path:{rows_file}"


def _row(kind: str, index: int) -> dict[str, Any]:
    """A row of about 50 tokens before its answer and 120 after: longer than most cases allow. All rows are as long."""
    prompt, answer, worse, best = (_text(1, index), *(_text(3, index + shift) for shift in (1, 2, 3)))
    steps = [_text(1, index + step) for step in range(4)]
    return {
        "messages": {"messages": [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]},
        "text": {"text": f"{prompt} {answer}"},
        "preference": {"prompt": prompt, "chosen": answer, "rejected": worse},
        "ranked": {"prompt": prompt, "chosen": answer, "rejected": worse, "reference": best},
        "thumbs": {"prompt": prompt, "completion": answer, "label": index % 2 == 0},
        "prompt": {"prompt": prompt, "answer": answer},
        "prompt_completion": {"prompt": prompt, "completion": answer},
        "hinted": {"prompt": prompt, "privileged_context": _text(1, index + 4)},
        "stepwise": {"prompt": prompt, "completions": steps, "labels": [True, True, False, False]},
    }[kind]


def _text(repeats: int, first: int) -> str:
    """The words so many times, beginning with another one for each `first`."""
    words = _TEXT.split()
    start = first % len(words)
    return " ".join((words[start:] + words[:start]) * repeats)


# -- measurement --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class MeasuredMemory:
    """peak: bytes of live tensors. composition: {operation: its bytes at the peak}."""

    estimate: MemoryEstimate
    peak: int
    composition: dict[str, int]

    @property
    def is_inside(self) -> bool:
        return self.estimate["tensors_low"] <= self.peak <= self.estimate["tensors_high"]


def spec_of(case: MemoryCase, model: str, folder: Path) -> Spec:
    teacher = {"teacher": _model_without_meaning(folder, "teacher")} if "teacher" in case.knobs else {}
    fields: dict[str, Any] = {"data": [{"source": _write_rows(folder, case.rows)}], "holdout": {"share": 0.0}}
    fields |= case.fields | {"method": case.method, "model": case.fields.get("model", {}) | {"id": model}}
    fields["knobs"] = NO_EVALUATIONS_OR_SAVES | {"steps": 2} | case.knobs | teacher
    return preflight.check_spec(parse_spec(fields))


def measure_case(name: str, folder: Path) -> MeasuredMemory:
    """Two real steps in this process, under the tracker, beside the estimate."""
    from app.engine.job import Job
    from app.engine.libraries import prepare_libraries, remove_overhead
    from app.engine.model.device import Device
    from app.engine.preview.row_lengths import row_lengths
    from tests.live_tensors import LiveTensorTracker

    prepare_libraries()
    model_name, case = CASES[name]
    model = "pocket" if model_name == "pocket" else _model_without_meaning(folder, model_name)
    spec = spec_of(case, model, folder)
    job = Job(spec, folder / "run", Device("cpu"))
    trainer = job.method.build(job)
    remove_overhead(trainer)
    table = trainer.train_dataset if getattr(trainer, "uncut_rows", None) is None else trainer.uncut_rows
    lengths = row_lengths(job, table)
    teacher = spec.knobs.get("teacher")
    other_shapes = {teacher: shape_of(teacher)} if teacher else {}
    gc.collect()  # trainers of earlier cases
    with LiveTensorTracker() as tracker:
        trainer.train()
    estimate = estimate_memory(spec, shape_of(model), lengths, _PLENTY, other_shapes)
    return MeasuredMemory(estimate, tracker.peak, dict(tracker.peak_composition.most_common(12)))
