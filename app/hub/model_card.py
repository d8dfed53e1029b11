"""Model card: the README of a published model, from the run's folder. Text that people wrote is escaped."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.core import registry
from app.core.json_files import DamagedFile
from app.core.json_types import JsonObject, JsonValue
from app.core.problems import Problem, shorten
from app.engine.contracts import load_method, load_reward
from app.history.diagnoses import diagnose_events
from app.history.result_words import known_result_step, result_words
from app.history.summary import eval_metrics
from app.hub.snippets import pipeline_tag, usage_snippet
from app.planning import links, presets
from app.runs import events
from app.runs.events import Event, SampleEvent, of_type
from app.runs.store import Run, sample_rows
from app.setup import models
from app.setup.knob import describe_knobs
from app.setup.set_value import value_at
from app.setup.sources import HUB_NAME
from app.setup.spec import Spec

_Difference = tuple[str, JsonValue, JsonValue]  # setting, its value in the preset, its value here
_SEVERITY_WORDS = {"wrong": "It did not go well", "careful": "To be careful with"}
_MAX_PROMPTS = 4  # whose completions are shown
_MAX_ANSWER_LENGTH = 600  # characters


@dataclass(frozen=True)
class CardContext:
    """What a model card needs beside the run's folder.

    repo: where the model is published. base: the base model of an adapter, on the Hub. licence: of the base model.
    page: the URL of the page that opens a link to the setup. curve: whether there is an image of the curves.
    """

    repo: str = "OWNER/NAME"
    base: str | None = None
    licence: str | None = None
    page: str | None = None
    curve: bool = False


def render_model_card(run: Run, context: CardContext | None = None) -> str:
    """The model card in the Hub's format: front matter, summary, held-out metrics and samples before and after,
    usage and setup."""
    context = context or CardContext()
    spec, facts = _without_local_paths(run.spec), run.facts
    has_vision = bool((facts.get("model") or {}).get("sees"))
    events_of_run = events.drop_rewound(events.read_events(run.events))
    step, words = known_result_step(run), result_words(run)
    curve_lines = ["![Curves of the loss and the score while learning](curve.png)", ""] if context.curve else []
    sections = [
        f"# {_heading(run)}",
        "",
        _summary_sentence(spec, context),
        "",
        *_diagnosis_lines(events_of_run, run.spec, step),
        *_eval_table(events_of_run, step),
        *([_escape_markdown(words), ""] if words else []),
        *curve_lines,
        *_sample_section(run, events_of_run, step),
        *usage_section(spec, facts, context),
        *_setup_section(spec, facts, context),
        *_remix_section(run.spec, context),
    ]
    return "\n".join(["---", _front_matter(spec, context, has_vision).rstrip(), "---", "", *sections])


def _front_matter(spec: Spec, context: CardContext, has_vision: bool = False) -> str:
    """The metadata of the card as YAML, dumped by a library so that no title or name can add fields."""
    from huggingface_hub import ModelCardData

    has_adapter = spec.adapter.kind != "none"
    base = context.base or (spec.model.id if _is_hub_model(spec) else None)
    datasets = [source.source.removeprefix("hub:") for source in spec.data if source.source.startswith("hub:")]
    return ModelCardData(
        library_name="peft" if has_adapter else "transformers",
        pipeline_tag=pipeline_tag(spec, has_vision),
        tags=["tunesmith", "trl", spec.method, *([spec.adapter.kind] if has_adapter else [])],
        base_model=base or None,
        base_model_relation=("adapter" if has_adapter else "finetune") if base else None,
        license=context.licence or None,
        datasets=datasets or None,
    ).to_yaml()


def _is_hub_model(spec: Spec) -> bool:
    """Whether the base model is a repository on the Hub, not a path."""
    return spec.model.id.count("/") == 1 and not spec.model.id.startswith((".", "/", "~"))


def _heading(run: Run) -> str:
    """The title of the card: that of the run, or its id."""
    return _escape_markdown(run.spec.title) or run.id


def _escape_markdown(text: str) -> str:
    """Text on one line, escaped for Markdown and HTML."""
    line = html.escape(" ".join(text.split()), quote=False)
    return re.sub(r"([\\`*_{}\[\]()#+!|~])", r"\\\1", line)


def _inline_code(text: JsonValue) -> str:
    """A name or a number as inline code, safe within a table."""
    return f"`{' '.join(str(text).split()).replace('`', 'ˋ').replace('|', '¦')}`"


def _code_block(text: str, language: str = "text") -> list[str]:
    """Text in a code block whose fence is longer than any fence within the text."""
    fence = "`" * max(3, 1 + max((len(backticks) for backticks in re.findall("`+", text)), default=0))
    return [f"{fence}{language}", text, fence, ""]


def _without_local_paths(spec: Spec) -> Spec:
    """The spec without paths of this machine: only file names remain."""
    sources = [
        source.model_copy(update={"source": f"path:{Path(source.source).name}"})
        if source.source.startswith("path:")
        else source
        for source in spec.data
    ]
    model = (
        spec.model
        if spec.model.id in models.SHIPPED_MODELS or _is_hub_model(spec)
        else spec.model.model_copy(update={"id": Path(spec.model.id).name})
    )
    knobs = _without_model_folders(load_method(spec.method).knobs, spec.knobs)
    rewards = [
        reward.model_copy(update={"params": _without_model_folders(load_reward(reward.name).params, reward.params)})
        for reward in spec.rewards
    ]
    return spec.model_copy(update={"data": sources, "model": model, "knobs": knobs, "rewards": rewards})


def _without_model_folders(settings_class: type, values: JsonObject) -> JsonObject:
    """Setting values without local paths: a setting that picks a model, such as a teacher, keeps only the folder's
    name."""
    model_settings = {setting["name"] for setting in describe_knobs(settings_class) if setting["picks"] == "model"}
    local_settings = {name for name in model_settings if _is_local_folder(str(values.get(name, "")))}
    return {name: Path(str(value)).name if name in local_settings else value for name, value in values.items()}


def _is_local_folder(name: str) -> bool:
    """Whether a model name is a path: not a shipped model, a run or a repository on the Hub."""
    return name not in models.SHIPPED_MODELS and not name.startswith("run:") and not HUB_NAME.fullmatch(name)


def _summary_sentence(spec: Spec, context: CardContext) -> str:
    """What was trained, by which method, on which data."""
    base = f"[{context.base}](https://huggingface.co/{context.base})" if context.base else _inline_code(spec.model.id)
    name = f"the practice model of Tunesmith ({base})" if spec.model.id in models.SHIPPED_MODELS else base
    begun_as = "" if spec.adapter.init == "default" else f", begun as {spec.adapter.init}"
    rank = f", rank {spec.adapter.as_stored.r}" if spec.adapter.has_rank else ""
    adapter = f"An adapter ({spec.adapter.kind}{rank}{begun_as})"
    subject = "All weights" if spec.adapter.kind == "none" else adapter
    method = load_method(spec.method)
    sources = ", ".join(_inline_code(source.source) for source in spec.data)
    licence = f" The base is under the licence {_inline_code(context.licence)}." if context.licence else ""
    return f"{subject} of {name}, taught with “{method.title}” on {sources}. {method.sentence.strip()}{licence}"


def _diagnosis_lines(events_of_run: Sequence[Event], spec: Spec, result_step: int | None) -> list[str]:
    """What went wrong while it learned, so that nobody takes the model for a success; empty for a healthy run."""
    lines = [
        f"> **{_SEVERITY_WORDS[diagnosis.severity]}:** {_escape_markdown(diagnosis.text)}"
        for diagnosis in diagnose_events(events_of_run, spec, result_step=result_step)
    ]
    return [line for text in lines for line in (text, "")]


def _eval_table(events_of_run: Sequence[Event], result_step: int | None) -> list[str]:
    """A table of the held-out metrics of the first evaluation and that of the result; empty with fewer than two."""
    evaluations = eval_metrics(events_of_run, result_step)
    if len(evaluations) < 2:
        return []
    first_metrics, last_metrics = evaluations[0], evaluations[-1]
    lines = [
        f"| {_escape_markdown(name.removeprefix('eval/'))} | {first:.4g} | {last:.4g} |"
        for name, last in last_metrics.items()
        if last is not None and (first := first_metrics.get(name)) is not None
    ]
    return ["| held-out examples | before | after |", "|---|---|---|", *lines, ""]


def _sample_section(run: Run, events_of_run: Sequence[Event], result_step: int | None) -> list[str]:
    """Completions of the same prompts before and after training.

    Only prompts of the setup: held-out examples may be private.
    """
    samples = [event for event in of_type(events_of_run, SampleEvent) if event.step <= (result_step or event.step)]
    completions = [completions_by_prompt(run, event) for event in samples]
    if len(completions) < 2:
        return []
    lines: list[str] = []
    for prompt in run.spec.prompts[:_MAX_PROMPTS]:
        before, after = completions[0].get(prompt), completions[-1].get(prompt)
        if before is not None and after is not None:
            for title, text in (("Prompt:", prompt), ("Before:", before), ("After:", after)):
                lines += [title, "", *_code_block(_truncate_answer(text))]
    return ["## Answers before and after", "", *lines] if lines else []


def completions_by_prompt(run: Run, event: SampleEvent) -> dict[str, str]:
    """{prompt: completion} of a sample event; empty where its file is damaged, as a card and a view go on without."""
    try:
        rows = sample_rows(run, event)
    except DamagedFile:  # boundary: the disk; the view Watch says it where a person opens these answers
        return {}
    return {
        prompt: completion
        for row in rows
        if isinstance(prompt := row.get("prompt"), str) and isinstance(completion := row.get("completion"), str)
    }


def _truncate_answer(text: str) -> str:
    """Text of limited length."""
    return text if len(text) <= _MAX_ANSWER_LENGTH else text[: _MAX_ANSWER_LENGTH - 1] + "…"


def usage_section(spec: Spec, facts: dict[str, Any], context: CardContext) -> list[str]:
    """How to load and use the model, in Python."""
    snippet = usage_snippet(spec, facts, context.repo, context.base or spec.model.id)
    notes = [line for note in facts.get("end_notes", []) for line in (_escape_markdown(note), "")]
    return ["## Use it", "", *notes, *_code_block(snippet, "python")]


def _setup_section(spec: Spec, facts: dict[str, Any], context: CardContext) -> list[str]:
    """What differs from the nearest preset, then the whole spec."""
    title, differences = _diff_from_nearest_preset(spec)
    rows = [
        f"| {_inline_code(name.removeprefix('knobs.'))} | {_setting_text(before)} | {_setting_text(after)} |"
        for name, before, after in differences
    ]
    table = ["| setting | preset | here |", "|---|---|---|", *rows, ""] if rows else []
    differs = f"Nearest preset: “{title}”. " + ("What differs:" if rows else "Nothing differs.")
    setup = json.dumps(spec.to_dict(), indent=2, ensure_ascii=False)
    versions = ", ".join(f"{name} {number}" for name, number in facts.get("versions", {}).items())
    return [
        "## How it was made",
        "",
        differs,
        "",
        *table,
        "<details><summary>The whole setup</summary>",
        "",
        *_code_block(setup, "json"),
        "</details>",
        "",
        *([f"Versions: {versions}.", ""] if versions else []),
    ]


def _setting_text(value: JsonValue) -> str:
    """The value of a setting as short inline code."""
    return "none" if value is None else _inline_code(shorten(json.dumps(value, ensure_ascii=False), 60))


def _diff_from_nearest_preset(spec: Spec) -> tuple[str, list[_Difference]]:
    """(title of the nearest preset, what differs), without title and prompts."""
    spec_dict = spec.to_dict()
    candidates: list[tuple[str, list[_Difference]]] = []
    for name in registry.names("presets"):
        preset_dict = presets.preset_spec(name).to_dict()
        changed = [path for path in links.changed_paths(preset_dict, spec_dict) if path not in ("title", "prompts")]
        differences = [(path, value_at(preset_dict, path), value_at(spec_dict, path)) for path in changed]
        candidates.append((presets.describe_preset(name)["title"], differences))
    return min(candidates, key=lambda candidate: len(candidate[1]))


def _remix_section(spec: Spec, context: CardContext) -> list[str]:
    """A link that opens this setup; empty where it does not fit into a link."""
    if context.page is None:
        return []
    try:
        link = links.link_to_setup(spec, context.page)
    except Problem:  # data or a base model of this machine, as the setup in the card shows
        return []
    location = "" if context.page.startswith("https://") else " with Tunesmith running on your machine"
    return ["## Make your own", "", f"[Open this setup]({link}){location}, change it, and train your own.", ""]
