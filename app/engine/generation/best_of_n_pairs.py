"""Best-of-n preference pairs: a model answers each prompt several times; its best and worst answers become a pair.

Run as `python -m app.engine.generation.best_of_n_pairs PIPELINE_RUN STAGE`. The pairs are stored like an uploaded file,
so that any preference method can train on them.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from app.core.json_files import write_json
from app.core.problems import Problem
from app.core.scratch import ScratchFolder
from app.core.workspace import Workspace
from app.data.conversations.messages import Messages
from app.data.reading import uploads
from app.data.rows import Row
from app.engine.contracts import SamplingSettings
from app.engine.device_queue import queue_for_device
from app.engine.libraries import prepare_libraries
from app.engine.model.device import Device, choose_device, hide_other_devices
from app.pipelines import pipeline
from app.pipelines.pipeline import BestOfNSettings
from app.pipelines.pipeline_run import PipelineRun
from app.pipelines.prompts import read_prompts, scoring_spec
from app.runs import adapters
from app.setup import models

if TYPE_CHECKING:
    from app.engine.evaluation.completion_rewards import RewardScores
    from app.setup.spec import Reward

_OWNER = "me"


def main() -> int:
    pipeline_run, stage_name = PipelineRun(Path(sys.argv[1]).resolve()), sys.argv[2]
    device = choose_device("local")
    with queue_for_device(pipeline_run.workspace, device, f"tries-{pipeline_run.id}", lambda ahead: None, lambda: None):
        hide_other_devices(device)
        prepare_libraries()
        tries = pipeline.best_of_n_settings(pipeline_run.pipeline.stage(stage_name), pipeline_run.stages)
        pairs, prompt_count = generate_pairs(tries, Device(device))
    summary = {"pairs": len(pairs), "prompts": prompt_count}
    write_json(pipeline_run.path / "tries.json", pipeline_run.tries | {stage_name: summary})
    write_json(
        pipeline_run.path / "stages.json",
        pipeline_run.stages
        | {stage_name: save_pairs(pipeline_run.workspace, pairs, f"{pipeline_run.pipeline.title} {stage_name}")},
    )
    return 0


def generate_pairs(settings: BestOfNSettings, device: Device) -> tuple[list[Row], int]:
    """(preference pairs, number of prompts). Raises Problem when for each prompt all answers have the same score."""
    from app.engine.evaluation.completion_rewards import CompletionScorer, prompts_of_rows
    from app.engine.generation.generate import generate_completions
    from app.engine.generation.transformers_generator import TransformersGenerator
    from app.engine.model.load_model import load_for_inference

    spec, attempts = scoring_spec(settings.rewards, settings.source), settings.attempts
    model, tokenizer = load_for_inference(_model_folder(settings), device)
    prompts = prompts_of_rows(read_prompts(settings.source, settings.prompts))
    repeated_prompts = [prompt for prompt in prompts for _ in range(attempts)]
    completions = generate_completions(
        TransformersGenerator(model, tokenizer),
        [prompt.prompt for prompt in repeated_prompts],
        SamplingSettings(max_new_tokens=settings.longest, temperature=settings.temperature, seed=settings.seed),
    )
    scores = CompletionScorer(spec.rewards, tokenizer, str(model.device)).scores(repeated_prompts, completions)
    totals = [_weighted_total(spec.rewards, scores, index) for index in range(len(completions))]
    pairs = []
    for start, prompt in zip(range(0, len(completions), attempts), prompts, strict=True):
        group = slice(start, start + attempts)
        if pair := best_worst_pair(prompt.prompt, completions[group], totals[group]):
            pairs.append(pair)
    if not pairs:
        raise Problem(
            f"All {attempts} answers to each of {len(prompts)} prompts were as good: there is nothing to prefer.",
            advice="Raise the temperature or the number of answers, or choose another reward.",
        )
    return pairs, len(prompts)


def _model_folder(settings: BestOfNSettings) -> str:
    start_from = settings.model.start_from
    return adapters.locate_adapter(start_from) if start_from else models.locate_model(settings.model.id)


def _weighted_total(rewards: list[Reward], scores: RewardScores, index: int) -> float | None:
    """Weighted sum of one answer's scores; None where a reward could not score it."""
    total = 0.0
    for reward in rewards:
        score = scores[reward.label][index]
        if score is None:
            return None
        total += reward.weight * score
    return total


def best_worst_pair(prompt: str | Messages, completions: list[str], totals: list[float | None]) -> Row | None:
    """One preference row; None where no answer is better than another."""
    scored_texts = [
        (total, text) for total, text in zip(totals, completions, strict=True) if total is not None and text.strip()
    ]
    if not scored_texts:
        return None
    low, worst = min(scored_texts, key=lambda scored_text: scored_text[0])
    high, best = max(scored_texts, key=lambda scored_text: scored_text[0])
    if low == high:
        return None
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    return {"prompt": messages, "chosen": [_assistant_message(best)], "rejected": [_assistant_message(worst)]}


def _assistant_message(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def save_pairs(workspace: Workspace, pairs: list[Row], title: str) -> str:
    """Saves the pairs as an upload and returns its source string."""
    with ScratchFolder(workspace) as folder:
        path = folder / f"{uploads.safe_file_name(title)}.jsonl"
        path.write_text("".join(json.dumps(pair, ensure_ascii=False) + "\n" for pair in pairs), encoding="utf-8")
        return uploads.store_upload(workspace, path, _OWNER)["source"]


if __name__ == "__main__":
    sys.exit(main())
