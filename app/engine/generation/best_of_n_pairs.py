"""Tries: `python -m app.engine.generation.best_of_n_pairs JOURNEY STAGE` lets a model answer prompts several times, and makes pairs of the best and worst.

The pairs become a file like one that a person brought, so that any method of preferences can learn from them.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from app.core import registry
from app.core.problems import Problem
from app.data import uploads
from app.data.rows import Row, as_question
from app.engine.device_queue import turn
from app.engine.libraries import prepare_libraries
from app.engine.model.device import Device, choose, hide_others
from app.pipelines import pipeline
from app.pipelines.pipeline import Tries
from app.pipelines.pipeline_run import Journey
from app.pipelines.prompts import prompts, scoring
from app.runs import store
from app.setup import models

OWNER = "me"


def main() -> int:
    journey, name = Journey(Path(sys.argv[1]).resolve()), sys.argv[2]
    device = choose("local")
    with turn(device, f"tries-{journey.id}", lambda ahead: None, lambda: None):
        hide_others(device)
        prepare_libraries()
        tries = pipeline.tries_of(journey.chain.stage(name), journey.stages)
        pairs, asked = made(tries, Device(device))
    told = {"pairs": len(pairs), "prompts": asked}
    store.write_json(journey.path / "tries.json", journey.tries | {name: told})
    store.write_json(
        journey.path / "stages.json", journey.stages | {name: kept(pairs, f"{journey.chain.title} {name}")}
    )
    return 0


def made(tries: Tries, device: Device) -> tuple[list[Row], int]:
    """(the pairs, number of prompts). Raises Problem when all answers to every prompt are as good."""
    import torch

    from app.engine.generation.generate import answer, scored
    from app.engine.model.load_model import load_to_ask

    spec = scoring(tries.rewards, tries.source)
    folder = models.start_folder(tries.model.start_from) if tries.model.start_from else models.locate(tries.model.id)
    model, tokenizer = load_to_ask(folder, device)
    torch.manual_seed(tries.seed)
    rows = [(row, *question) for row in prompts(tries.source, tries.prompts) if (question := as_question(row))]
    asked = [one for one in rows for _ in range(tries.attempts)]
    said = answer(model, tokenizer, [prompt for _, prompt, _ in asked], tries.longest, temperature=tries.temperature)
    named = scored(spec.rewards, tokenizer, asked, said, str(model.device))
    totals = [total(spec.rewards, named, i) for i in range(len(said))]
    count = tries.attempts
    groups = [(rows[i][1], said[i * count : (i + 1) * count], totals[i * count : (i + 1) * count]) for i in range(len(rows))]  # fmt: skip
    pairs = [pair for group in groups if (pair := best_over_worst(*group))]
    if not pairs:
        raise Problem(
            f"All {count} answers to each of {len(rows)} prompts were as good: there is nothing to prefer.",
            advice="Raise the temperature or the number of answers, or choose another reward.",
        )
    return pairs, len(rows)


def total(rewards: list[Any], named: dict[str, list[float | None]], i: int) -> float | None:
    """The weighted sum of one answer's scores; None where a reward could not score it."""
    values = [(one.weight, named[one.label][i]) for one in rewards]
    return None if any(value is None for _, value in values) else sum(weight * value for weight, value in values)


def best_over_worst(prompt: Any, said: list[str], totals: list[float | None]) -> Row | None:
    """One pair of preferences; None where no answer is better than another."""
    known = [(value, text) for value, text in zip(totals, said, strict=True) if value is not None and text.strip()]
    if not known:
        return None
    (low, worst), (high, best) = min(known, key=lambda one: one[0]), max(known, key=lambda one: one[0])
    turns = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    return None if low == high else {"prompt": turns, "chosen": [said_by(best)], "rejected": [said_by(worst)]}


def said_by(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def kept(pairs: list[Row], title: str) -> str:
    """The source that names the pairs, once they are a file among those that people brought."""
    with tempfile.TemporaryDirectory(dir=registry.home("uploads"), prefix=".") as folder:
        path = Path(folder) / f"{uploads.plain_name(title)}.jsonl"
        path.write_text("".join(json.dumps(pair, ensure_ascii=False) + "\n" for pair in pairs), encoding="utf-8")
        return uploads.keep(path, OWNER)["source"]


if __name__ == "__main__":
    sys.exit(main())
