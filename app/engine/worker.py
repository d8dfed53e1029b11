"""Worker: a warm process that answers previews and chat, one JSON line for each on its stdin. It ends with its parent."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from tempfile import gettempdir
from typing import Any

from app import models, runs
from app.engine.emitter import silence_stdout
from app.engine.libraries import prepare_libraries
from app.problems import Problem, explain
from app.resolve import resolve
from app.spec import read


def main() -> None:
    """Reads {"id", "what", …} lines, writes {"id", "result"} or {"id", "problem"} lines, in order."""
    answers = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    silence_stdout()
    prepare_libraries()
    warm_up()
    answers.write(json.dumps({"ready": True}) + "\n")
    for line in sys.stdin:
        request = json.loads(line)
        answers.write(json.dumps({"id": request["id"]} | reply(request), ensure_ascii=False) + "\n")


def warm_up() -> None:
    """The slow imports, done before anybody asks; trl itself loads its trainers only when they are named."""
    import peft
    import trl

    assert trl.SFTTrainer
    assert trl.GRPOTrainer
    assert peft.AutoPeftModelForCausalLM


def reply(request: dict[str, Any]) -> dict[str, Any]:
    """The outermost border of a request: whatever goes wrong is said to the one who asked."""
    try:
        return {"result": ANSWERS[request["what"]](request)}
    except Exception as error:
        problem = explain(error)
        if not isinstance(error, Problem):
            traceback.print_exception(error)
        return {"problem": {"text": problem.text, "advice": problem.advice, "reason": problem.reason}}


def job_of(request: dict[str, Any], rows: int | None) -> Any:
    from app.engine.device import Device
    from app.engine.job import Job

    return Job(resolve(read(request["spec"])), Path(gettempdir()), Device("cpu"), rows=rows)


def rows(request: dict[str, Any]) -> dict[str, Any]:
    """The first rows as tokens, at once; and the findings on them."""
    from app.engine import check, tokens

    job = job_of(request, request["rows"])
    shown = tokens.rows(job)
    return {"rows": shown, "findings": check.findings(job, shown)}


def batches(request: dict[str, Any]) -> dict[str, Any]:
    """The first batches over the whole data, prepared, packed and collated."""
    from app.engine import tokens

    job = job_of(request, None)
    if getattr(job.method, "NEEDS_REWARDS", False):
        raise Problem("This method writes its own answers, so there are no batches to show before it starts.")
    return {"batches": tokens.batch_tokens(job, request["batches"])}


def plan(request: dict[str, Any]) -> dict[str, Any]:
    """How much there is to do: rows, tokens, steps, by the trainer's own count."""
    from app.engine import tokens
    from app.engine.facts import tokens_of

    job = job_of(request, None)
    job.preview, job.shape = True, tokens.weightless
    trainer = job.method.build(job)
    *_, steps = trainer.set_initial_training_values(trainer.args, trainer.get_train_dataloader())
    return {"rows": None if job.streaming else len(job.data.train), "held_out": len(job.data.holdout),
            "tokens": tokens_of(trainer.train_dataset, job.streaming), "steps": steps}  # fmt: skip


def chat(request: dict[str, Any]) -> dict[str, Any]:
    """Answers of a run's result to prompts, and of its base when asked: {"tuned": […], "base": […]}."""
    from app.engine.answers import answer

    model, tokenizer = result_of(request["run"])
    facts = runs.load_json(runs.find(request["run"]).path / "facts.json")
    ask = (tokenizer, request["prompts"], request.get("longest", 128))
    how = {"chat": facts.get("chat", True)}
    said = {"tuned": answer(model, *ask, **how)}
    if request.get("base") and hasattr(model, "disable_adapter"):
        with model.disable_adapter():
            said["base"] = answer(model, *ask, **how)
    elif request.get("base"):
        said["base"] = answer(load_base(request["run"]), *ask, **how)
    return said


def result_of(run: str) -> tuple[Any, Any]:
    folder = runs.find(run).adapter
    if not folder.is_dir():
        raise Problem(f"The run {run} has no result yet.", advice="Wait for it to finish, or stop it: stopping saves.")
    return loaded(folder, folder.stat().st_mtime_ns)


@lru_cache(maxsize=1)  # one model at a time is in memory; a resumed run's new result is another
def loaded(folder: Path, _changed: int) -> tuple[Any, Any]:
    from app.engine.model import load_tuned

    return load_tuned(folder)


def load_base(run: str) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    model = runs.find(run).spec.model
    return AutoModelForCausalLM.from_pretrained(
        models.locate(model.id), revision=model.revision, dtype=torch.float32
    ).eval()


ANSWERS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "rows": rows,
    "batches": batches,
    "plan": plan,
    "chat": chat,
}

if __name__ == "__main__":
    main()
