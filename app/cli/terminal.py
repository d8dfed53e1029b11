"""Terminal: what a person typed on the command line becomes, and what it prints: a document for programs, lines for people."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from app.core import registry
from app.core.problems import Problem
from app.setup import presets
from app.setup import spec as specs
from app.setup.spec import Spec

SHOWN = ("train/loss", "reward/mean", "system/tokens_per_second")


def setup_of(name: str, changes: list[str]) -> Spec:
    """A preset or a file, with the changes of --set."""
    spec = presets.spec_unresolved(name) if name in registry.choices("presets") else specs.read_file(existing(name))
    data = spec.to_dict()
    for change in changes:
        path, equals, text = change.partition("=")
        if not equals or not path:
            raise Problem(f"“{change}” sets nothing.", advice="Write it as path=value, such as knobs.epochs=2.")
        data = specs.set_value(data, path, as_value(text))
    return specs.read(data)


def existing(name: str) -> Path:
    if not Path(name).is_file():
        raise Problem(
            f"“{name}” is neither a preset nor a file.", advice=registry.nearest(name, registry.choices("presets"))
        )
    return Path(name)


def as_value(text: str) -> Any:
    """JSON, or the text itself: `--set title=Hello` needs no quotes within quotes."""
    try:
        return json.loads(text)
    except ValueError:  # a border: typed by a person
        return text


def show(data: Any, as_json: bool, line: Callable[[Any], str]) -> None:
    """The data as JSON, or each item of it as a line."""
    if as_json:
        print(json.dumps(data, ensure_ascii=False))
    else:
        print("\n".join(map(line, data)) if isinstance(data, list) else line(data))


def fitted_in_words(found: list[dict[str, Any]]) -> str:
    """What examples can teach: the usual first and why, then the others, then what those lack that cannot be taught."""
    best = [one for one in found if one["best"]]
    fits = [one for one in found if not one["lacks"] and not one["best"]]
    lines = [f"Most would begin with {one['name']} ({one['title']}). {one['why']}" for one in best] or [
        "Its columns go by names of their own: map them first (data.0.mapping)."
    ]
    lines += ["", "It could also learn by:", *(f"  {one['name']:<16} {one['title']}" for one in fits)] if fits else []
    return "\n".join(
        [
            *lines,
            "",
            "What is lacking for the others:",
            *(f"  {one['name']:<16} {one['lacks']}" for one in found if one["lacks"]),
        ]
    )


def knob_line(knob: dict[str, Any]) -> str:
    span = (
        f" [{knob['low']:g} to {knob['high']:g}{' ' + knob['unit'] if knob.get('unit') else ''}]"
        if knob.get("low") is not None
        else ""
    )
    options = f" [{', '.join(knob['choices'])}]" if knob.get("choices") else ""
    default = "automatic" if knob["default"] is None else knob["default"]
    return f"  knobs.{knob['name']} = {default}{span}{options}  {knob['sentence']}"


def marked(token: dict[str, Any]) -> str:
    """Trained tokens underlined on a terminal, in brackets elsewhere."""
    if not token["trained"]:
        return token["text"]
    return f"\x1b[4;36m{token['text']}\x1b[0m" if sys.stdout.isatty() else f"[{token['text']}]"


def example(row: dict[str, Any]) -> str:
    """A row of a preview; of several answers each by its name, below the prompt that they share."""
    answers = [f"{side['name']}: {''.join(map(marked, side['tokens']))}" for side in row.get("sides", [])]
    return "\n".join(["".join(map(marked, row["tokens"])), *answers])


def plan_in_words(plan: dict[str, Any]) -> str:
    tokens = plan["tokens"]
    learned = (
        f", {tokens['all']:,} tokens of which {tokens['trained'] / tokens['all']:.0%} are learned" if tokens else ""
    )
    rows = "" if plan["rows"] is None else f"{plan['rows']:,} examples{learned}; "
    return f"{rows}{plan['held_out']:,} held out; {plan['steps']:,} steps."


def in_words(event: dict[str, Any]) -> str:
    """One event as a line for a person; empty for what only a machine needs."""
    kind = event["kind"]
    if kind == "step":
        values = "  ".join(
            f"{name.removeprefix('train/')} {event['metrics'][name]:.4g}"
            for name in SHOWN
            if event["metrics"].get(name) is not None
        )
        return f"step {event['step']}/{event['of']}  {values}  {event.get('seconds_left') or 0:.0f} s left"
    if kind == "eval":
        return "held-out: " + "  ".join(
            f"{name.removeprefix('eval/')} {value:.4g}" for name, value in event["metrics"].items() if value is not None
        )
    if kind == "progress" and event["what"] == "waiting":
        return f"Waiting: {event['of']} ahead."
    if kind == "note":
        return event["text"]
    if kind == "failed":
        return f"Failed: {event['text']} {event['advice']}"
    if kind == "done":
        return f"Done ({event['why']}). {event.get('verdict') or ''}"
    return f"Resumed from step {event['from_step']}." if kind == "resumed" else ""


def opinions(said: dict[str, list[float]], answers: Sequence[str], steps: Sequence[str]) -> str:
    """Scores of answers, or for each step how likely it is right, one on each line."""
    if "scores" in said:
        return "\n".join(f"{score:+.2f}  {answer}" for score, answer in zip(said["scores"], answers, strict=True))
    return "\n".join(
        f"{'right' if chance >= 0.5 else 'wrong'} {max(chance, 1 - chance):4.0%}  {step}"
        for chance, step in zip(said["steps"], steps, strict=True)
    )
