"""Beside TRL: each method beside the plain TRL script with the same settings. A case is one entry of CASES."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.models import locate
from app.rooms import ROOT
from app.spec import Spec
from tests.support import (
    chats,
    losses,
    pairs,
    preferences,
    ranks,
    spec_of,
    steps_of,
    sums,
    texts,
    thumbs,
    train,
    write_rows,
)

STEPS, RATE = 6, 0.001
OURS = {"steps": STEPS, "batch_size": 8, "learning_rate": RATE}
THEIRS = {"max_steps": STEPS, "per_device_train_batch_size": 8, "learning_rate": RATE, "seed": 7, "gradient_checkpointing": False,
          "max_grad_norm": 1.0}  # fmt: skip
LORA = {"r": 16, "lora_alpha": 32, "lora_dropout": 0.0}
GROUPED = {"train_sampling_strategy": "group_by_length"}
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Case:
    """method, knobs, spec: ours. trainer, config, script: TRL's, in the words of tests/plain_trl.py.

    theirs: the rows as somebody would write them for TRL, where that differs. short: runs in CI. adapter: lora or none.
    """

    method: str
    trainer: str
    rows: Rows
    knobs: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    theirs: Rows | None = None
    spec: dict[str, Any] = field(default_factory=dict)
    script: dict[str, Any] = field(default_factory=dict)
    adapter: str = "lora"
    short: bool = True


def as_turns(rows: Rows) -> Rows:
    """Plain prompts and answers as chat messages, as a person writing a script would do by hand."""
    return [{key: [{"role": ROLES[key], "content": told}] if key in ROLES else told for key, told in row.items()} for row in rows]  # fmt: skip


def as_text(rows: Rows) -> Rows:
    """As the practice model's own template writes them, with nothing after the end token: TRL's older trainers would add a second one."""
    frames = {"prompt": "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n", "chosen": "{}<|im_end|>", "rejected": "{}<|im_end|>"}  # fmt: skip
    return [{key: frames[key].format(told) for key, told in row.items()} for row in rows]


def one_by_one(rows: Rows) -> Rows:
    """Pairs as single answers with a thumb."""
    return [{"prompt": row["prompt"], "completion": row[side], "label": side == "chosen"} for row in rows for side in ("chosen", "rejected")]  # fmt: skip


ROLES = {"prompt": "user", **dict.fromkeys(("completion", "chosen", "rejected", "reference"), "assistant")}

CASES = {
    "sft on conversations": Case("sft", "trl.SFTTrainer", chats(200), {"learn_from": "assistant"}, {"assistant_only_loss": True, **GROUPED}),
    "sft on conversations, all weights": Case("sft", "trl.SFTTrainer", chats(200), {"learn_from": "assistant"},
        {"assistant_only_loss": True, **GROUPED}, adapter="none"),
    "sft on pairs": Case("sft", "trl.SFTTrainer", pairs(200), {}, {"completion_only_loss": True, **GROUPED}, as_turns(pairs(200))),
    "sft packed": Case("sft", "trl.SFTTrainer", chats(200), {"packing": True, "learn_from": "everything", "max_length": 256},
        {"packing": True, "max_length": 256}),
    "pretrain": Case("pretrain", "trl.SFTTrainer", texts(200), {"max_length": 128},
        {"packing": True, "packing_strategy": "wrapped", "max_length": 128}),
    "grpo": Case("grpo", "trl.GRPOTrainer", sums(64), {"batch_size": 16, "attempts": 4, "max_completion_length": 8},
        {"per_device_train_batch_size": 16, "num_generations": 4, "max_completion_length": 8, "loss_type": "dapo"}, as_turns(sums(64)),
        spec={"rewards": [{"name": "exact_match"}]}, script={"keywords": {"reward_funcs": ["exact"]}}),
}  # fmt: skip

PAIRS, RANKED, THUMBS = preferences(120), ranks(120), thumbs(120)
MIXED = {"divergence": "js_divergence", "beyond_shorter": 0.5, "loss": "own_mix", "mix": "robust 0.7, hinge 0.2, sft 0.5", "label_smoothing": 0.1}  # fmt: skip
MIXED_THERE = {"loss_type": ["robust", "hinge", "sft"], "loss_weights": [0.7, 0.2, 0.5], "label_smoothing": 0.1,
               "f_divergence_type": "js_divergence", "ld_alpha": 0.5}  # fmt: skip
SYNCED = {"sync_ref_model": True, "ref_model_sync_steps": 2, "ref_model_mixup_alpha": 0.9}
FLOAT = {"model_init_kwargs": {"dtype": "float32"}}  # TRL's older trainers take the type that the weights are stored in
CLOSED = "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"  # fmt: skip
ORPO, CPO, TPO = (f"trl.experimental.{name.lower()}.{name}Trainer" for name in ("ORPO", "CPO", "TPO"))


def dpo(knobs: dict[str, Any], config: dict[str, Any], **more: Any) -> Case:
    return Case("dpo", "trl.DPOTrainer", PAIRS, knobs, config, as_turns(PAIRS), **more)


CASES |= {
    "dpo": dpo({"beta": 0.2}, {"beta": 0.2}),
    "dpo, all weights": dpo({}, {}, adapter="none"),
    "dpo, all weights, the start catches up": dpo({"sync_every": 2}, SYNCED, adapter="none", short=False),
    "dpo, reference asked beforehand": dpo({"precompute_reference": True}, {"precompute_ref_log_probs": True}, short=False),
    "dpo, own mix": dpo(MIXED, MIXED_THERE),
    "dpo, weighed pairs": dpo({"weigh_pairs": True}, {"use_weighting": True}, short=False),
    "dpo, mpo": dpo({"loss": "mpo"}, {"loss_type": ["sigmoid", "bco_pair", "sft"], "loss_weights": [0.8, 0.2, 1.0]}, short=False),
    "dpo, rpo": dpo({"loss": "rpo"}, {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 1.0]}, short=False),
    **{f"dpo, {loss}": dpo({"loss": loss}, {"loss_type": [loss]}, short=False) for loss in
       ("sigmoid_norm", "hinge", "ipo", "nca_pair", "bco_pair", "sppo_hard", "aot", "aot_unpaired", "apo_zero", "apo_down", "discopop", "sft")},
    **{f"dpo, {loss}": dpo({"loss": loss, "label_smoothing": 0.1}, {"loss_type": [loss], "label_smoothing": 0.1}, short=False) for loss in
       ("robust", "exo_pair")},
    "kto": Case("kto", "trl.KTOTrainer", THUMBS, {}, {"desirable_weight": 2.0}, as_turns(THUMBS), script={"shuffle": 7}),
    "kto, all weights": Case("kto", "trl.KTOTrainer", THUMBS, {"balance": False}, {}, as_turns(THUMBS), script={"shuffle": 7}, adapter="none", short=False),
    "kto from pairs": Case("kto", "trl.KTOTrainer", PAIRS, {}, {}, as_turns(one_by_one(PAIRS)), script={"shuffle": 7}),
    "kto, apo_zero_unpaired": Case("kto", "trl.KTOTrainer", THUMBS, {"loss": "apo_zero_unpaired"},
        {"loss_type": "apo_zero_unpaired", "desirable_weight": 2.0, "train_sampling_strategy": "random"}, as_turns(THUMBS), script={"shuffle": 7}, short=False),
    "orpo": Case("orpo", ORPO, PAIRS, {}, FLOAT, as_text(PAIRS), short=False),
    "orpo, cut off": Case("orpo", ORPO, PAIRS, {"max_length": 26}, FLOAT | {"max_length": 26}, as_text(PAIRS)),
    "cpo": Case("cpo", CPO, PAIRS, {}, FLOAT, as_text(PAIRS), short=False),
    "cpo, a template that ends with its end token": Case("cpo", CPO, PAIRS, {}, FLOAT, as_turns(PAIRS),
        spec={"model": {"template": CLOSED}}, script={"template": CLOSED}),
    "simpo": Case("simpo", CPO, PAIRS, {}, FLOAT | {"loss_type": "simpo", "cpo_alpha": 0.0, "beta": 2.0}, as_text(PAIRS)),
    "simpo, bent": Case("simpo", CPO, PAIRS, {"shape": 0.25}, FLOAT | {"loss_type": "alphapo", "alpha": 0.25, "beta": 2.0}, as_text(PAIRS), short=False),
    "tpo": Case("tpo", TPO, RANKED, {}, {}, as_turns(RANKED)),
    "tpo, tpo_l": Case("tpo", TPO, RANKED, {"loss": "tpo_l", "beta": 2.0}, {"loss_type": "tpo-l", "beta": 2.0}, as_turns(RANKED), short=False),
}  # fmt: skip


@dataclass(frozen=True)
class Told:
    """What a training said at each step."""

    losses: list[float]
    rewards: list[float]


def spec_for(case: Case, folder: Path) -> Spec:
    source = write_rows(folder / "ours.jsonl", case.rows)
    return spec_of(case.method, source, OURS | case.knobs, **({"adapter": {"kind": case.adapter}} | case.spec))


def by_engine(case: Case, folder: Path) -> Told:
    """In a real engine process."""
    run = train(spec_for(case, folder))
    return Told(losses(run), [metrics.get("reward/mean", 0.0) for metrics in steps_of(run).values()])


def here(case: Case, folder: Path) -> Told:
    """In this process: the trainer as the method builds it, without the engine around it."""
    from transformers import TrainerCallback

    from app.engine.device import Device
    from app.engine.job import Job
    from app.engine.libraries import prepare_libraries

    told = Told([], [])

    class Log(TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **_: Any) -> None:
            if "loss" in logs:
                told.losses.append(logs["loss"])
                told.rewards.append(logs.get("reward", 0.0))

    prepare_libraries()
    job = Job(spec_for(case, folder), folder, Device("cpu"))
    job.callbacks.append(Log())
    job.method.build(job).train()
    return told


def by_plain_scripts(cases: dict[str, Case], folder: Path) -> dict[str, Told]:
    """Of all cases in one process that cannot import us: importing TRL takes longer than a case."""
    files = [settings(case, folder / str(number)) for number, case in enumerate(cases.values())]
    environment = os.environ | {"HF_HUB_DISABLE_TELEMETRY": "1", "OMP_WAIT_POLICY": "PASSIVE", "PYTHONPATH": "", "TRL_EXPERIMENTAL_SILENCE": "1"}  # fmt: skip
    done = subprocess.run([sys.executable, str(ROOT / "tests" / "plain_trl.py"), *map(str, files)], cwd=folder, env=environment,
                          text=True, capture_output=True, timeout=60 + 60 * len(files))  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    results = [json.loads(line.removeprefix("RESULT ")) for line in done.stdout.splitlines() if line.startswith("RESULT ")]  # fmt: skip
    return {name: Told(one["losses"], one["rewards"]) for name, one in zip(cases, results, strict=True)}


def settings(case: Case, folder: Path) -> Path:
    """The file of settings for tests/plain_trl.py."""
    write_rows(folder / "theirs.jsonl", case.theirs or case.rows)
    told = {"trainer": case.trainer, "model": locate("pocket"), "rows": str(folder / "theirs.jsonl"),
            "config": THEIRS | case.config | {"output_dir": str(folder / "out")}, "lora": LORA if case.adapter == "lora" else None}  # fmt: skip
    file = folder / "settings.json"
    file.write_text(json.dumps(told | case.script))
    return file


def difference(one: list[float], other: list[float]) -> float:
    """The largest, relative to the value where that is above 1; infinite when one said less."""
    if len(one) != len(other):
        return float("inf")
    return max(abs(a - b) / max(1.0, abs(b)) for a, b in zip(one, other, strict=True))
