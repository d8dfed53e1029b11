"""Cases whose peak memory is measured beside its estimate: every method, on models without a meaning, of a true shape."""

from __future__ import annotations

import gc
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.core.paths import ROOT
from app.planning import preflight
from app.planning.memory.device_memory import DeviceMemory
from app.planning.memory.estimate import MemoryEstimate, estimate_memory
from app.setup.model_shape import ModelShape, read_model_shape
from app.setup.spec import Spec, parse_spec
from tests.memory_models import random_model
from tests.real_model import real_model_folder
from tests.support import NO_EVALUATIONS_OR_SAVES

if TYPE_CHECKING:
    from app.engine.contracts import Trainer
    from app.engine.job import Job

_TEXT = "the fox runs over a hill and sees one big red house near water where two small birds sing all day long"
_ROWS = 16
_PLENTY = DeviceMemory("cpu", 10**12, 10**12)  # so that `auto` does not compute activations again


@dataclass(frozen=True)
class MemoryCase:
    """rows: the kind of examples, a name of _row. knobs, fields: of the Spec; a teacher in knobs is one of tests/memory_models.py.
    held_out: rows of another kind that are evaluated after the two steps."""

    method: str
    rows: str
    knobs: dict[str, Any]
    fields: dict[str, Any] = field(default_factory=dict)
    held_out: str = ""


_BATCH = {"batch_size": 4, "max_length": 96}
_PAIRS = {"batch_size": 2, "max_length": 96}
_FITTING = {"batch_size": 2, "max_length": 1024}  # for methods that leave longer rows out
_ANSWERS = {"batch_size": 8, "max_completion_length": 16}
_REWARD = {"rewards": [{"name": "length_band"}]}
_ALL_WEIGHTS = {"adapter": {"kind": "none"}}
_EXPERTS = {"adapter": {"experts": ["experts.gate_up_proj", "experts.down_proj"]}}
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
    "sft, muon": MemoryCase("sft", "messages", _BATCH | {"optimizer": "muon"}, _ALL_WEIGHTS),
    "sft, labels smoothed": MemoryCase("sft", "messages", _BATCH | {"label_smoothing": 0.1}),
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
# What the estimate says to cover, each on the model that shows it.
_GROUP = _ANSWERS | {"attempts": 4, "skip_silent": False}
_ADAPTER_CASES = {
    "sft, accumulated": ("small llama", MemoryCase("sft", "messages", _BATCH | {"accumulation": 2})),
    "sft, one text": ("small llama", MemoryCase("sft", "messages", _BATCH | {"batch_size": 1, "max_length": 384})),
    "sft, packed, wrapped": ("small llama", MemoryCase("sft", "messages", _BATCH | {"packing": True, "packing_strategy": "wrapped"})),
    "pretrain, packed": ("small llama", MemoryCase("pretrain", "text", _BATCH | {"packing": True})),
    "sft, longer held-out rows": ("small llama", MemoryCase("sft", "prompt_completion", _BATCH | {"batch_size": 2, "max_length": 256}, {}, "long")),
    "sft, recomputation, longer held-out rows": ("small llama", MemoryCase("sft", "prompt_completion", _BATCH | {"batch_size": 2, "max_length": 256, "checkpointing": "on"}, {}, "long")),
    "grpo, held-out rows": ("small llama", MemoryCase("grpo", "prompt", _GROUP, _REWARD, "prompt")),
    "sft, new tokens": ("small llama", MemoryCase("sft", "messages", _BATCH, {"model": {"new_tokens": ["<a>", "<b>"]}})),
    "sft, dora, bf16": ("small llama", MemoryCase("sft", "messages", _BATCH | {"precision": "bf16"}, {"adapter": {"kind": "dora"}})),
    "sft, dora, recomputation": ("small llama", MemoryCase("sft", "messages", _BATCH | {"checkpointing": "on"}, {"adapter": {"kind": "dora"}})),
    "sft, oft": ("small llama", MemoryCase("sft", "messages", _BATCH, {"adapter": {"kind": "oft"}})),
    "sft, vera": ("small llama", MemoryCase("sft", "messages", _BATCH, {"adapter": {"kind": "vera", "r": 256}})),
    "sft, fourierft": ("small llama", MemoryCase("sft", "messages", _BATCH, {"adapter": {"kind": "fourierft"}})),
    "sft, attention adapted": ("small llama", MemoryCase("sft", "messages", _BATCH, {"adapter": {"targets": "q_proj,v_proj"}})),
    "sft, nf4, bf16": ("small llama", MemoryCase("sft", "messages", _BATCH | {"precision": "bf16"}, {"model": {"quantization": "nf4"}})),
    "sft, nf4, recomputation": ("small llama", MemoryCase("sft", "messages", _BATCH | {"checkpointing": "on"}, {"model": {"quantization": "nf4"}})),
    "dpo, nf4": ("small llama", MemoryCase("dpo", "preference", _PAIRS, {"model": {"quantization": "nf4"}})),
    "sft, recomputation, bf16": ("small llama", MemoryCase("sft", "messages", _BATCH | {"checkpointing": "on", "precision": "bf16"})),
    "sft, long, recomputation": ("small llama", MemoryCase("sft", "messages", _BATCH | {"max_length": 384, "checkpointing": "on"})),
    "dpo, recomputation": ("small llama", MemoryCase("dpo", "preference", _PAIRS | {"checkpointing": "on"})),
    "grpo, recomputation": ("small llama", MemoryCase("grpo", "prompt", _GROUP | {"checkpointing": "on"}, _REWARD)),
    "grpo, accumulated": ("small llama", MemoryCase("grpo", "prompt", _GROUP | {"accumulation": 2}, _REWARD)),
    "grpo, bf16": ("small llama", MemoryCase("grpo", "prompt", _GROUP | {"precision": "bf16"}, _REWARD)),
    "gkd, one direction": ("llama", MemoryCase("gkd", "messages", _FITTING | {"own_share": 0.0, "beta": 0.0, "teacher": "teacher"})),
    "gkd, own answers": ("llama", MemoryCase("gkd", "prompt_completion", _FITTING | {"own_share": 1.0, "max_completion_length": 16, "teacher": "teacher"})),
    "distill, bf16": ("llama", MemoryCase("distill", "prompt", _ANSWERS | {"precision": "bf16", "teacher": "teacher"})),
}  # fmt: skip
_WHOLE_CASES = {
    "sft, all weights, recomputation": ("small llama", MemoryCase("sft", "messages", _BATCH | {"checkpointing": "on"}, _ALL_WEIGHTS)),
    "sft, all weights, adamw in 8 bits, bf16": ("small llama", MemoryCase("sft", "messages", _BATCH | {"optimizer": "adamw_8bit", "precision": "bf16"}, _ALL_WEIGHTS)),
    "sft, all weights, tied": ("small llama", MemoryCase("sft", "messages", _BATCH, _ALL_WEIGHTS)),
    "sft, one layer trained": ("small llama", MemoryCase("sft", "messages", _BATCH, {"adapter": {"kind": "none", "unfreeze": ["layers.3"]}})),
    "pretrain, all weights": ("small llama", MemoryCase("pretrain", "text", _BATCH, _ALL_WEIGHTS)),
    "pretrain, all weights, adafactor, recomputation": ("small llama", MemoryCase("pretrain", "text", _BATCH | {"optimizer": "adafactor", "checkpointing": "on"}, _ALL_WEIGHTS)),
    "dpo, all weights, reference beforehand": ("small llama", MemoryCase("dpo", "preference", _PAIRS | {"precompute_reference": True}, _ALL_WEIGHTS)),
    "kto, all weights": ("small llama", MemoryCase("kto", "thumbs", _BATCH, _ALL_WEIGHTS)),
    "orpo, all weights": ("small llama", MemoryCase("orpo", "preference", _PAIRS, _ALL_WEIGHTS)),
    "reward, all weights": ("small llama", MemoryCase("reward", "preference", _FITTING, _ALL_WEIGHTS)),
}  # fmt: skip
_FAMILY_CASES = (
    {f"sft ({family})": (family, MemoryCase("sft", "messages", _BATCH)) for family in ("small llama", "qwen3", "gemma3", "gpt2", "qwen3_moe", "mixtral", "gpt_oss")}
    | {f"sft, bf16 ({family})": (family, MemoryCase("sft", "messages", _BATCH | {"precision": "bf16"})) for family in ("qwen3", "gemma3", "qwen3_moe", "gpt_oss")}
    | {f"sft, all weights ({family})": (family, MemoryCase("sft", "messages", _BATCH, _ALL_WEIGHTS)) for family in ("gemma3", "gpt2", "qwen3_moe")}
    | {f"sft, recomputation ({family})": (family, MemoryCase("sft", "messages", _BATCH | {"checkpointing": "on"})) for family in ("gemma3", "mixtral", "gpt_oss")}
    | {f"sft, experts adapted{note}": ("qwen3_moe", MemoryCase("sft", "messages", _BATCH | knobs, _EXPERTS)) for note, knobs in (("", {}), (", recomputation", {"checkpointing": "on"}))}
)  # fmt: skip
_FP32 = {"precision": "fp32"}  # whatever `auto` is on this machine
_REAL_CASES = {
    "sft": MemoryCase("sft", "messages", _BATCH | _FP32),
    "sft, bf16": MemoryCase("sft", "messages", _BATCH | {"precision": "bf16"}),
    "sft, recomputation": MemoryCase("sft", "messages", _BATCH | _FP32 | {"checkpointing": "on"}),
    "sft, all weights": MemoryCase("sft", "messages", _BATCH | _FP32, _ALL_WEIGHTS),
    "dpo": MemoryCase("dpo", "preference", _PAIRS | _FP32),
}
# These compare the numbers of a teacher with the same vocabulary token by token.
_WITH_POCKET_TEACHER = {name: replace(_MAIN_CASES[name], knobs=_MAIN_CASES[name].knobs | {"teacher": "pocket teacher"}) for name in ("gkd", "distill")}  # fmt: skip
# {name: (model, case)}
CASES = (
    {f"{name} (practice model)": ("pocket", case) for name, case in (_MAIN_CASES | _WITH_POCKET_TEACHER).items()}
    | {f"{name} (32,000 words)": ("llama", case) for name, case in (_MAIN_CASES | _SETTING_CASES).items()}
    | _ADAPTER_CASES
    | _WHOLE_CASES
    | _FAMILY_CASES
    | {f"{name} (SmolLM2 135M)": ("SmolLM2", case) for name, case in _REAL_CASES.items()}
)


# -- models and rows ----------------------------------------------------------------------------------------------


def shape_of(model: str) -> ModelShape:
    folder = ROOT / "presets" / model if model == "pocket" else Path(model)
    return read_model_shape(json.loads((folder / "config.json").read_text("utf-8")))


def _model_id(name: str, folder: Path) -> str:
    if name == "SmolLM2":
        return str(real_model_folder())
    return name if name == "pocket" else random_model(folder, name)


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
        "long": {"prompt": prompt, "completion": f"{answer} {worse} {best}"},
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
    teacher = {"teacher": random_model(folder, case.knobs["teacher"])} if "teacher" in case.knobs else {}
    held_out = {"source": {"source": _write_rows(folder, case.held_out)}} if case.held_out else {"share": 0.0}
    fields: dict[str, Any] = {"data": [{"source": _write_rows(folder, case.rows)}], "holdout": held_out}
    fields |= case.fields | {"method": case.method, "model": case.fields.get("model", {}) | {"id": model}}
    fields["knobs"] = NO_EVALUATIONS_OR_SAVES | {"steps": 2} | case.knobs | teacher
    return preflight.check_spec(parse_spec(fields))


def measure_case(name: str, folder: Path) -> MeasuredMemory:
    """Two real steps in this process, and an evaluation where the case has one, under the tracker, beside the estimate."""
    from app.engine.evaluation.evaluate import evaluate
    from app.engine.job import Job
    from app.engine.libraries import prepare_libraries, remove_overhead
    from app.engine.model.device import Device
    from tests.live_tensors import LiveTensorTracker

    prepare_libraries()
    gc.collect()  # trainers of earlier cases
    with LiveTensorTracker() as before:
        left_over = before.current  # such as embeddings that bitsandbytes still knows from an earlier case
    model_name, case = CASES[name]
    model = _model_id(model_name, folder)
    spec = spec_of(case, model, folder)
    job = Job(spec, folder / "run", Device("cpu"))
    trainer = job.method.build(job)
    remove_overhead(trainer)
    with LiveTensorTracker() as tracker:
        trainer.train()
        if case.held_out:
            evaluate(job, trainer, job.data.holdout)
    estimate = estimate_case(job, trainer, _PLENTY)
    return MeasuredMemory(estimate, tracker.peak - left_over, dict(tracker.peak_composition.most_common(12)))


def estimate_case(job: Job, trainer: Trainer, device: DeviceMemory) -> MemoryEstimate:
    """The estimate for a job's model and the rows that its trainer has tokenized."""
    from app.engine.preview.row_lengths import row_lengths

    table = trainer.train_dataset if getattr(trainer, "uncut_rows", None) is None else trainer.uncut_rows
    teacher = job.spec.knobs.get("teacher")
    other_shapes = {teacher: shape_of(teacher)} if teacher else {}
    return estimate_memory(job.spec, shape_of(job.spec.model.id), row_lengths(job, table), device, other_shapes)
