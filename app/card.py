"""Card: the README of a published model, made from the run's folder alone."""

from __future__ import annotations

import html
import json
from pathlib import Path

from app import events
from app.runs import Run, load_json
from app.spec import Spec


def card(run: Run) -> str:
    """Model card in the Hub's format: front matter, what it is, how it was made, before and after."""
    spec, facts = public(run.spec), load_json(run.path / "facts.json")
    base = "practice model" if spec.model.id == "pocket" else f"`{spec.model.id}`"
    sources = ", ".join(f"`{source.source}`" for source in spec.data)
    matter = [
        "---",
        "library_name: peft" if spec.adapter.kind != "none" else "library_name: transformers",
        "tags:",
        "- tunesmith",
        f"- {spec.method}",
    ]
    if spec.model.id.count("/") == 1 and not spec.model.id.startswith((".", "/")):
        matter.append(f"base_model: {spec.model.id}")
    body = [f"# {heading(run)}", "", f"{base} trained with {spec.method} on {sources}.", "", *tests(run),
            "## Made with", "", "```json", json.dumps(spec.to_dict(), indent=2, ensure_ascii=False), "```", "",
            f"Versions: {', '.join(f'{name} {number}' for name, number in facts.get('versions', {}).items())}.", ""]  # fmt: skip
    return "\n".join([*matter, "---", "", *body])


def heading(run: Run) -> str:
    return html.escape(" ".join(run.spec.title.split()) or run.id, quote=False)


def public(spec: Spec) -> Spec:
    """Without the folders of this machine: a stranger needs a file's name at most."""
    kept = [source.model_copy(update={"source": f"path:{Path(source.source).name}"}) if source.source.startswith("path:") else source
            for source in spec.data]  # fmt: skip
    return spec.model_copy(update={"data": kept})


def tests(run: Run) -> list[str]:
    """Before and after, as a table of the first and the last test on held-out examples."""
    found = [event for event in events.current(events.read(run.events)) if event["kind"] == "eval"]
    if len(found) < 2:
        return []
    first, last = found[0]["metrics"], found[-1]["metrics"]
    lines = [
        f"| {name} | {first[name]:.4g} | {last[name]:.4g} |"
        for name in last
        if first.get(name) is not None and last[name] is not None
    ]
    return ["| held-out | before | after |", "|---|---|---|", *lines, ""]
