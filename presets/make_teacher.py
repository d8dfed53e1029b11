"""Make teacher: the practice model, better at sums by an adapter of 0.6 million weights. `python -m presets.make_teacher`.

It lies beside the practice model, in presets/pocket-teacher, for the methods that copy a bigger model. An ordinary sft run on
short exact answers, under a minute on two cores; its tokenizer is the practice model's own, so that it can teach token by token.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

from app.core import paths
from app.core.json_files import read_json
from app.core.problems import Problem
from app.core.workspace import local_workspace
from app.engine.libraries import prepare_libraries
from app.planning import preflight
from app.runs import cleanup, events, store
from app.runs.store import Run
from app.setup.spec import Launch, parse_spec
from backends import local
from presets import pocket_text
from presets.make_samples import SUM_FORMS
from presets.village import pick_sum

FOLDER = paths.ROOT / "presets" / "pocket-teacher"
SEED = 3
LESSONS = 8_000  # sums beside those of the sample

TEACHING = {
    "steps": 30, "batch_size": 64, "learning_rate": 5e-3, "schedule": "cosine", "warmup": 0.05, "max_length": 64,
    "evaluations": 0, "eval_answers": 200, "eval_length": 8, "saves": 0,
}  # fmt: skip


def make() -> Path:
    """The teacher beside the practice model, in place of the one that lies there; the README beside it is written by hand."""
    prepare_libraries()
    with TemporaryDirectory() as lessons:
        pocket_text.write(Path(lessons) / "sums.jsonl", sums())
        run = teach(Path(lessons) / "sums.jsonl")
    for file in run.adapter.iterdir():
        shutil.copy2(file, FOLDER / file.name)
    halve(FOLDER / "adapter_model.safetensors")
    config = read_json(FOLDER / "adapter_config.json") | {"base_model_name_or_path": "pocket"}
    (FOLDER / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    (FOLDER / "made.json").write_text(json.dumps(about(run), indent=2) + "\n", encoding="utf-8")
    cleanup.delete_run(run)
    return FOLDER


def about(run: Run) -> dict[str, Any]:
    """What it was made of, and how many of the sample's held-out sums it answers."""
    facts = read_json(run.path / "facts.json")
    tests = [event.metrics for event in events.of_type(events.read_events(run.events), events.EvalEvent)]
    return {"parameters": facts["model"]["parameters"], "of_adapter": facts["model"]["trained"], "lessons": facts["data"]["rows"],
            "correct": {"before": tests[0]["eval/correct"], "after": tests[-1]["eval/correct"]},
            "settings": TEACHING, "versions": facts["versions"]}  # fmt: skip


def sums() -> Iterator[dict[str, str]]:
    """Sums of the training side, asked as the sample asks them, answered by the bare number."""
    random = Random(SEED)
    for _ in range(LESSONS):
        a, b = pick_sum(random)
        yield {"prompt": random.choice(SUM_FORMS).format(a=a, b=b), "answer": str(a + b)}


def teach(lessons: Path) -> Run:
    """Tested on the sample's held-out sums before and after."""
    answers = {"mapping": {"completion": "answer"}}
    return learned({"title": "teacher", "method": "sft", "data": [{"source": "sample:sums"} | answers, {"source": f"path:{lessons}"} | answers],
                    "holdout": {"split": "holdout"}, "adapter": {"r": 32, "alpha": 32}, "knobs": TEACHING, "seed": SEED,
                    "rewards": [{"name": "exact_match", "as": "correct"}]})  # fmt: skip


def learned(setup: dict[str, Any]) -> Run:
    """The finished run of a setup. Raises Problem when it did not finish."""
    run = store.create_run(local_workspace(), preflight.check_spec(parse_spec(setup)), Launch())
    for _ in local.follow(local.start(run, run.launch)):
        pass  # until its engine has ended
    last = events.last_event(run.events)
    if not isinstance(last, events.DoneEvent) or last.why != "finished":
        raise Problem(f"The run “{setup['title']}” did not finish.", advice=f"{run.path / 'log.txt'} says why.")
    return run


def halve(file: Path) -> None:
    """The same tensors in bfloat16: half the bytes."""
    import torch
    from safetensors.torch import load_file, save_file

    save_file({name: tensor.to(torch.bfloat16) for name, tensor in load_file(file).items()}, file, {"format": "pt"})


if __name__ == "__main__":
    print("Made", make())
