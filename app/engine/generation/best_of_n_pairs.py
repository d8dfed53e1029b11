"""Best-of-n preference pairs: a model answers each prompt several times; its best and worst answers become a pair.

Run as `python -m app.engine.generation.best_of_n_pairs PIPELINE_RUN STAGE`. The pairs are stored like an uploaded file,
so that any preference method can train on them.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from app.core import paths
from app.core.problems import Problem
from app.data import uploads
from app.data.rows import Row, prompt_and_answer
from app.engine.device_queue import queue_for_device
from app.engine.libraries import prepare_libraries
from app.engine.model.device import Device, choose_device, hide_other_devices
from app.pipelines import pipeline
from app.pipelines.pipeline import BestOfNSettings
from app.pipelines.pipeline_run import PipelineRun
from app.pipelines.prompts import read_prompts, scoring_spec
from app.runs import adapters, store
from app.setup import models

_OWNER = "me"


def main() -> int:
    pipeline_run, stage_name = PipelineRun(Path(sys.argv[1]).resolve()), sys.argv[2]
    device = choose_device("local")
    with queue_for_device(device, f"tries-{pipeline_run.id}", lambda ahead: None, lambda: None):
        hide_other_devices(device)
        prepare_libraries()
        tries = pipeline.best_of_n_settings(pipeline_run.pipeline.stage(stage_name), pipeline_run.stages)
        pairs, prompt_count = generate_pairs(tries, Device(device))
    summary = {"pairs": len(pairs), "prompts": prompt_count}
    store.write_json(pipeline_run.path / "tries.json", pipeline_run.tries | {stage_name: summary})
    store.write_json(
        pipeline_run.path / "stages.json",
        pipeline_run.stages | {stage_name: save_pairs(pairs, f"{pipeline_run.pipeline.title} {stage_name}")},
    )
    return 0


def generate_pairs(tries: BestOfNSettings, device: Device) -> tuple[list[Row], int]:
    """(preference pairs, number of prompts). Raises Problem when for each prompt all answers have the same score."""
    import torch

    from app.engine.generation.generate import generate_completions, score_completions
    from app.engine.model.load_model import load_for_inference

    spec = scoring_spec(tries.rewards, tries.source)
    folder = (
        adapters.locate_adapter(tries.model.start_from)
        if tries.model.start_from
        else models.locate_model(tries.model.id)
    )
    model, tokenizer = load_for_inference(folder, device)
    torch.manual_seed(tries.seed)
    rows = [
        (row, *question) for row in read_prompts(tries.source, tries.prompts) if (question := prompt_and_answer(row))
    ]
    prompt_requests = [request for request in rows for _ in range(tries.attempts)]
    completions = generate_completions(
        model, tokenizer, [prompt for _, prompt, _ in prompt_requests], tries.longest, temperature=tries.temperature
    )
    scores = score_completions(spec.rewards, tokenizer, prompt_requests, completions, str(model.device))
    totals = [_weighted_total(spec.rewards, scores, index) for index in range(len(completions))]
    attempts = tries.attempts
    groups = [
        (
            rows[index][1],
            completions[index * attempts : (index + 1) * attempts],
            totals[index * attempts : (index + 1) * attempts],
        )
        for index in range(len(rows))
    ]
    pairs = [pair for group in groups if (pair := best_worst_pair(*group))]
    if not pairs:
        raise Problem(
            f"All {attempts} answers to each of {len(rows)} prompts were as good: there is nothing to prefer.",
            advice="Raise the temperature or the number of answers, or choose another reward.",
        )
    return pairs, len(rows)


def _weighted_total(rewards: list[Any], scores: dict[str, list[float | None]], index: int) -> float | None:
    """Weighted sum of one answer's scores; None where a reward could not score it."""
    weighted_scores = [(reward.weight, scores[reward.label][index]) for reward in rewards]
    return (
        None
        if any(score is None for _, score in weighted_scores)
        else sum(weight * score for weight, score in weighted_scores)
    )


def best_worst_pair(prompt: Any, completions: list[str], totals: list[float | None]) -> Row | None:
    """One preference row; None where no answer is better than another."""
    scored_texts = [
        (total, text) for total, text in zip(totals, completions, strict=True) if total is not None and text.strip()
    ]
    if not scored_texts:
        return None
    (low, worst), (high, best) = (
        min(scored_texts, key=lambda scored_text: scored_text[0]),
        max(scored_texts, key=lambda scored_text: scored_text[0]),
    )
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    return (
        None
        if low == high
        else {"prompt": messages, "chosen": [_assistant_message(best)], "rejected": [_assistant_message(worst)]}
    )


def _assistant_message(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def save_pairs(pairs: list[Row], title: str) -> str:
    """Saves the pairs as an upload and returns its source string."""
    with tempfile.TemporaryDirectory(dir=paths.home("uploads"), prefix=".") as folder:
        path = Path(folder) / f"{uploads.safe_file_name(title)}.jsonl"
        path.write_text("".join(json.dumps(pair, ensure_ascii=False) + "\n" for pair in pairs), encoding="utf-8")
        return uploads.store_upload(path, _OWNER)["source"]


if __name__ == "__main__":
    sys.exit(main())
