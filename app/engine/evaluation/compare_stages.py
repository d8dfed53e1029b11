"""Comparison of a pipeline's stages on the same held-out prompts, as one table of scores.

Run as `python -m app.engine.evaluation.compare_stages PIPELINE_RUN`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TypedDict

from app.core.workspace import Workspace
from app.data.rows import Row
from app.engine.contracts import Metrics, SamplingSettings, load_method
from app.engine.device_queue import queue_for_device
from app.engine.libraries import prepare_libraries
from app.engine.model.device import Device, choose_device, hide_other_devices
from app.pipelines.pipeline import Pipeline, resolve_references
from app.pipelines.pipeline_run import PipelineRun
from app.pipelines.prompts import read_prompts, scoring_spec
from app.runs import adapters, store
from app.runs.records import write_record
from app.setup import models
from app.setup.spec import Reward, Spec

START = "start"  # the row of the model that the first stage starts from


class StageScores(TypedDict):
    """The mean of each reward over all prompts, and over those of each category."""

    scores: Metrics
    by: dict[str, Metrics]


class ComparedStage(StageScores):
    """A row of the table. stage: its name, or START."""

    stage: str


class ComparisonTable(TypedDict):
    """As in the pipeline run's compared.json. prompts: their number."""

    rewards: list[str]
    prompts: int
    rows: list[ComparedStage]


def main() -> int:
    pipeline_run = PipelineRun(Path(sys.argv[1]).resolve())
    device = choose_device("local")
    with queue_for_device(
        pipeline_run.workspace, device, f"compare-{pipeline_run.id}", lambda ahead: None, lambda: None
    ):
        hide_other_devices(device)
        prepare_libraries()
        write_record(pipeline_run.path / "compared.json", _comparison_table(pipeline_run, Device(device)))
    return 0


def _comparison_table(pipeline_run: PipelineRun, device: Device) -> ComparisonTable:
    """The scores of the first model, then of each generative stage."""
    workspace, pipeline, stage_runs = pipeline_run.workspace, pipeline_run.pipeline, pipeline_run.stages
    rewards = [
        Reward.model_validate(resolve_references(reward.model_dump(by_alias=True), stage_runs))
        for reward in pipeline.measure.rewards
    ]
    spec = scoring_spec(rewards, pipeline.measure.source)
    prompt_rows = read_prompts(pipeline.measure.source, pipeline.measure.prompts)
    generative_stages = [
        stage.name for stage in pipeline.training_stages if _is_generative(workspace, stage_runs[stage.name])
    ]
    folders = {START: _base_folder(workspace, stage_runs[pipeline.training_stages[0].name])} | {
        name: str(store.get_run(workspace, stage_runs[name]).adapter) for name in generative_stages
    }
    return {
        "rewards": [reward.label for reward in spec.rewards],
        "prompts": len(prompt_rows),
        "rows": [
            {"stage": name, **_stage_scores(folder, spec, prompt_rows, pipeline, device)}
            for name, folder in folders.items()
        ],
    }


def _is_generative(workspace: Workspace, run_id: str) -> bool:
    return load_method(store.get_run(workspace, run_id).spec.method).produces == "causal"


def _base_folder(workspace: Workspace, run_id: str) -> str:
    model = store.get_run(workspace, run_id).spec.model
    return adapters.locate_adapter(model.start_from) if model.start_from else models.locate_model(model.id)


def _stage_scores(folder: str, spec: Spec, prompt_rows: list[Row], pipeline: Pipeline, device: Device) -> StageScores:
    from app.engine.evaluation.completion_rewards import CompletionScorer, mean_score, prompts_of_rows
    from app.engine.generation.generate import generate_completions
    from app.engine.generation.transformers_generator import TransformersGenerator
    from app.engine.model.load_model import load_for_inference

    model, tokenizer = load_for_inference(folder, device)
    prompts = prompts_of_rows(prompt_rows)
    completions = generate_completions(
        TransformersGenerator(model, tokenizer),
        [prompt.prompt for prompt in prompts],
        SamplingSettings(max_new_tokens=pipeline.measure.longest),
    )
    means, samples = CompletionScorer(spec.rewards, tokenizer, str(model.device)).evaluate(prompts, completions)
    category = pipeline.measure.category
    groups: dict[str, list[Metrics]] = {}
    for row, sample in zip(prompt_rows, samples, strict=True):
        groups.setdefault(str(row.get(category)) if category else "", []).append(sample["rewards"])
    by_category = {
        name: {label: mean_score([sample[label] for sample in group]) for label in means}
        for name, group in sorted(groups.items())
    }
    return {"scores": means, "by": by_category if category else {}}


if __name__ == "__main__":
    sys.exit(main())
