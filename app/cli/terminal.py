"""Terminal input and output: settings typed on the command line, and printing as JSON for programs or as lines for people."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, TypedDict, TypeVar

from app.core import registry
from app.core.json_types import JsonObject, JsonValue
from app.core.problems import Problem
from app.core.sizes import format_bytes
from app.data.findings.compatible_methods import ListedMethod
from app.planning import presets
from app.planning.duration import format_expected_time
from app.planning.library_names import change_settings
from app.runs.eval_sets import metrics_of_set
from app.runs.events import DoneEvent, EvalEvent, Event, FailedEvent, NoteEvent, ProgressEvent, ResumedEvent, StepEvent
from app.setup import spec as specs
from app.setup.sources import HELD_OUT_SET
from app.setup.spec import Spec

if TYPE_CHECKING:
    from app.engine.preview.page_types import PreviewedRow
    from app.engine.preview.run_estimate import RunEstimate
    from app.engine.tokens.decode import Token
    from app.planning.memory.changes import MemoryChange
    from app.planning.memory.estimate import MemoryEstimate

DocumentT = TypeVar("DocumentT")

# What a terminal obeys instead of showing it: control characters, of which some sequences write to the clipboard or hide
# lines, and marks that turn the direction of text. Line breaks and tabs stay.
_OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_PRINTED_METRICS = ("train/loss", "reward/mean", "system/tokens_per_second")


def read_setup(name: str, changes: list[str]) -> Spec:
    """The setup of a preset or a file, with the changes of --set. Raises Problem."""
    parsed_changes = [_parse_change(change) for change in changes]

    def with_changes(spec: Spec) -> Spec:
        return specs.parse_spec(change_settings(spec.to_dict(), parsed_changes))

    if name not in registry.names("presets"):
        return with_changes(specs.read_spec_file(existing_file(name)))
    chosen = with_changes(presets.unresolved_preset_spec(name))
    return with_changes(presets.preset_for(name, chosen))  # what the preset sets for another model or data is left out


def _parse_change(change: str) -> tuple[str, JsonValue]:
    """(path, value) of a --set option. Raises Problem where it has no path or no value."""
    path, equals, text = change.partition("=")
    if not equals or not path:
        raise Problem(f"“{change}” sets nothing.", advice="Write it as path=value, such as knobs.epochs=2.")
    return path, parse_setting(text)


def existing_file(name: str) -> Path:
    """The path of a file. Raises Problem where it does not exist."""
    if not Path(name).is_file():
        raise Problem(
            f"“{name}” is neither a preset nor a file.", advice=registry.suggest_name(name, registry.names("presets"))
        )
    return Path(name)


def parse_setting(text: str) -> JsonValue:
    """JSON, or the text itself: `--set title=Hello` needs no quotes within quotes."""
    try:
        return json.loads(text)
    except ValueError:  # a boundary: typed by a person
        return text


def escape_controls(text: str) -> str:
    """The text with what a terminal would obey as JSON escapes, so that JSON stays the same data."""
    return _OBEYED.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def print_text(text: object, file: TextIO | None = None, end: str = "\n", flush: bool = False) -> None:
    """Prints text that may hold a stranger's, such as a cell, the name of a file or an answer, with its controls escaped."""
    print(escape_controls(str(text)), file=file, end=end, flush=flush)


def print_document(document: DocumentT, as_json: bool, format_text: Callable[[DocumentT], str]) -> None:
    """Prints the document as JSON, or as text."""
    print_text(json.dumps(document, ensure_ascii=False) if as_json else format_text(document))


def print_list(documents: list[DocumentT], as_json: bool, format_line: Callable[[DocumentT], str]) -> None:
    """Prints the documents as one JSON list, or each as a line."""
    print_document(documents, as_json, lambda _: "\n".join(map(format_line, documents)))


def format_effort(minutes: float | None, gigabytes: int | None) -> str:
    """About how long it takes, or the card that it needs, in a column of one width."""
    return f"{minutes:>4g} min" if minutes else f"{gigabytes:>5} GB" if gigabytes else " " * 8


def format_compatible_methods(methods: list[ListedMethod]) -> str:
    """The methods that fit some examples: the recommended one and why, then other possible ones, then what is missing for the rest."""
    recommended = [method for method in methods if method["best"]]
    possible = [method for method in methods if not method["lacks"] and not method["best"]]
    lines = [
        f"Most would begin with {method['name']} ({method['title']}). {method['why']}" for method in recommended
    ] or ["Its columns go by names of their own: map them first (data.0.mapping)."]
    lines += (
        ["", "It could also learn by:", *(f"  {method['name']:<16} {method['title']}" for method in possible)]
        if possible
        else []
    )
    return "\n".join(
        [
            *lines,
            "",
            "What is lacking for the others:",
            *(f"  {method['name']:<16} {method['lacks']}" for method in methods if method["lacks"]),
        ]
    )


class MethodDescription(TypedDict):
    """A method. term: the field's word for it. layouts: the row types that it trains on. knobs: its settings."""

    name: str
    title: str
    term: str
    sentence: str
    layouts: tuple[str, ...]
    knobs: list[dict[str, Any]]


def format_method(method: MethodDescription) -> str:
    """A method with its term, and a line for each of its settings."""
    heading = f"{method['name']}: {method['title']} ({method['term']}). {method['sentence']}"
    return "\n".join([heading, *map(_format_knob, method["knobs"])])


def _format_knob(knob: dict[str, Any]) -> str:
    """One setting: its name and the libraries' name for it, default, range or choices, and help."""
    span = (
        f" [{knob['low']:g} to {knob['high']:g}{' ' + knob['unit'] if knob.get('unit') else ''}]"
        if knob.get("low") is not None
        else ""
    )
    options = f" [{', '.join(knob['choices'])}]" if knob.get("choices") else ""
    default = "automatic" if knob["default"] is None else knob["default"]
    library_name = f" ({knob['library_name']})" if knob.get("library_name") else ""
    return f"  knobs.{knob['name']}{library_name} = {default}{span}{options}  {knob['sentence']}"


def _mark_trained(token: Token) -> str:
    """Underlines a trained token on a terminal; puts it in brackets elsewhere."""
    text = escape_controls(token["text"])
    if not token["trained"] or not text:  # a piece of a character, which the last of its tokens shows
        return text
    return f"\x1b[4;36m{text}\x1b[0m" if sys.stdout.isatty() else f"[{text}]"


def format_preview_row(row: PreviewedRow) -> str:
    """A row of a preview; several answers each with its name, below the prompt that they share."""
    answers = [f"{side['name']}: {''.join(map(_mark_trained, side['tokens']))}" for side in row.get("sides", [])]
    return "\n".join(["".join(map(_mark_trained, row["tokens"])), *answers])


def format_plan(plan: RunEstimate) -> str:
    """Rows, tokens and steps of a run, about how long it takes here, and its memory by part."""
    tokens = plan["tokens"]
    trained = (
        f", {tokens['all']:,} tokens of which {tokens['trained'] / tokens['all']:.0%} are learned" if tokens else ""
    )
    rows = "" if plan["rows"] is None else f"{plan['rows']:,} examples{trained}; "
    time = format_expected_time(plan["seconds"], plan["seconds_range"])
    sets = "".join(f"{count:,} in the evaluation set {name}; " for name, count in plan["eval_sets"].items())
    counts = f"{rows}{plan['held_out']:,} held out; {sets}{plan['steps']:,} steps{time and f', {time} here'}."
    return "\n".join([counts, *(format_memory(plan["memory"], plan["memory_changes"]) if plan["memory"] else [])])


_FIT_WORDS = {"yes": "good: it fits", "tight": "careful: it may not fit", "no": "wrong: it does not fit"}


def format_memory(memory: MemoryEstimate, changes: list[MemoryChange]) -> list[str]:
    """Lines with the range, each part with its reason, and what would make it fit."""
    total = f"{format_bytes(memory['low'])} to {format_bytes(memory['high'])}"
    lines = [f"Memory: {total} ({_FIT_WORDS[memory['fits']]} into the {format_bytes(memory['free_bytes'])} that are free)."]  # fmt: skip
    for part in memory["parts"]:
        aside = "" if part["at_peak"] else " Not at the same time as the peak."
        lines.append(f"  {format_bytes(part['bytes']):>9}  {part['title']} ({part['term']}): {part['reason']}{aside}")
    for change in changes:
        lines.append(f"  {format_settings(change['settings'])}  saves {format_bytes(change['saved'])}; then {_FIT_WORDS[change['fits']]}. {change['reason']}")  # fmt: skip
    return lines


def format_settings(settings: JsonObject) -> str:
    """Changed settings as options of the command line."""
    return " ".join(f"--set {path}={json.dumps(setting)}" for path, setting in settings.items())


def format_event(event: Event) -> str:
    """One event as a line; empty for events that only programs need."""
    match event:
        case StepEvent():
            return f"step {event.step}/{event.of}  {_format_metrics(event)}  {event.seconds_left or 0:.0f} s left"
        case EvalEvent():
            measures = metrics_of_set(event.metrics, event.set)
            metrics = [
                f"{name.removeprefix('eval/')} {value:.4g}" for name, value in measures.items() if value is not None
            ]
            name = "held-out" if event.set == HELD_OUT_SET else event.set
            return f"{name}: {'  '.join(metrics)}" if metrics else ""
        case ProgressEvent(what="waiting"):
            return f"Waiting: {event.of} ahead."
        case NoteEvent():
            return event.text
        case FailedEvent():
            return f"Failed: {event.text} {event.advice}"
        case DoneEvent():
            return f"Done ({event.why}). {event.verdict or ''}"
        case ResumedEvent():
            return f"Resumed from step {event.from_step}."
    return ""


def _format_metrics(event: StepEvent) -> str:
    """The metrics that most want to see, where the step has them."""
    return "  ".join(
        f"{name.removeprefix('train/')} {metric:.4g}"
        for name in _PRINTED_METRICS
        if (metric := event.metrics.get(name)) is not None
    )


def format_scores(scores: dict[str, list[float]], answers: Sequence[str], steps: Sequence[str]) -> str:
    """Scores of answers, or for each step the probability that it is right, one per line."""
    if "scores" in scores:
        return "\n".join(f"{score:+.2f}  {answer}" for score, answer in zip(scores["scores"], answers, strict=True))
    return "\n".join(
        f"{'right' if probability >= 0.5 else 'wrong'} {max(probability, 1 - probability):4.0%}  {step}"
        for probability, step in zip(scores["steps"], steps, strict=True)
    )
