"""Make pocket: builds the practice model from nothing, with this project's own pretrain and sft. `python -m presets.make_pocket`.

Text and tokenizer come from scripts beside this one; both trainings are ordinary runs. Ten to fifteen minutes on two idle cores.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from app.core import paths
from app.core.json_files import read_json
from app.core.workspace import local_workspace
from app.planning import preflight
from app.runs import events, store
from app.runs.store import Run
from app.setup.spec import Launch, parse_spec
from backends import local
from presets import pocket_shape, pocket_text

FOLDER = paths.ROOT / "presets" / "pocket"
WHOLE = {"kind": "none"}
SEED = 0
QUIET = {"evaluations": 1, "eval_answers": 0, "saves": 1, "precision": "bf16", "max_length": 256}

READING = {
    "from_scratch": True,
    "steps": 2200,
    "batch_size": 8,
    "learning_rate": 2e-3,
    "schedule": "cosine",
    "warmup": 0.05,
}
CHATTING = {
    "steps": 250,
    "batch_size": 16,
    "learning_rate": 1e-3,
    "schedule": "cosine",
    "warmup": 0.04,
    "learn_from": "assistant",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=FOLDER, help="where the model goes")
    out = parser.parse_args().out
    build = local_workspace().cache("pocket")
    pocket_text.write(build / "pretrain.jsonl", pocket_text.reading_rows())
    pocket_text.write(build / "chat.jsonl", pocket_text.chat_rows())
    pocket_shape.build(build / "shape", build / "pretrain.jsonl")
    began = time.monotonic()
    reading = learn("pretrain", build / "pretrain.jsonl", READING, {"id": str(build / "shape")})
    chatting = learn(
        "sft", build / "chat.jsonl", CHATTING, {"id": str(build / "shape"), "start_from": f"run:{reading.id}"}
    )
    publish(chatting, build / "shape", out, {"minutes": round((time.monotonic() - began) / 60, 1)})


def learn(method: str, rows: Path, knobs: dict[str, Any], model: dict[str, Any]) -> Run:
    """One ordinary run, followed to its end."""
    data = {"title": f"practice model {method}", "method": method, "model": model, "data": [{"source": f"path:{rows}"}],
            "holdout": {"share": 0.002}, "adapter": WHOLE, "knobs": QUIET | knobs, "seed": SEED}  # fmt: skip
    run = store.create_run(local_workspace(), preflight.check_spec(parse_spec(data)), Launch())
    for line in local.follow(local.start(run, run.launch)):
        event = events.parse_line(line)
        is_hundredth_step = isinstance(event, events.StepEvent) and event.step % 100 == 0
        if is_hundredth_step or isinstance(event, events.EvalEvent):
            print(method, event.step, event.metrics.get("train/loss") or event.metrics, flush=True)
    last = events.last_event(run.events)
    if not isinstance(last, events.DoneEvent):
        sys.exit(f"The run {run.id} did not finish: {last}")
    return run


def publish(run: Run, shape: Path, out: Path, facts: dict[str, Any]) -> None:
    """Weights in bfloat16 with the shape's own files; the README beside them is written by hand."""
    import torch
    from transformers import AutoModelForCausalLM

    out.mkdir(parents=True, exist_ok=True)
    for file in shape.iterdir():
        shutil.copy2(file, out / file.name)
    AutoModelForCausalLM.from_pretrained(run.adapter, dtype=torch.bfloat16).save_pretrained(out)
    shutil.copy2(shape / "generation_config.json", out / "generation_config.json")
    run_facts = read_json(run.path / "facts.json")
    facts |= {
        "parameters": run_facts["model"]["parameters"],
        "reading": READING,
        "chatting": CHATTING,
        "versions": run_facts["versions"],
    }
    (out / "made.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
