"""Plan: what a setup would do, in the person's words, before anything is started."""

from __future__ import annotations

import tomllib
from functools import cache

from app import presets, rooms
from app.spec import Source, Spec
from components.look import alone, page, safe


def plan(spec: Spec) -> str:
    """Model, examples, lesson and test as a list of terms."""
    method = rooms.load("methods", spec.method)
    parts = [
        ("Model", model_of(spec), start_of(spec)),
        ("Examples", ", ".join(title_of(source) for source in spec.data), sentence_of(spec.data[0])),
        ("Lesson", method.TITLE, (method.__doc__ or "").strip()),
        ("Test", test_of(spec), "On examples kept aside, never learned from."),
    ]
    return f'<dl class="plan">{"".join(term(*part) for part in parts if part[1])}</dl>'


def term(name: str, value: str, more: str) -> str:
    small = f"<small>{safe(more)}</small>" if more else ""
    return f"<div><dt>{safe(name)}</dt><dd>{safe(value)}{small}</dd></div>"


def model_of(spec: Spec) -> str:
    return "The practice model" if spec.model.id == "pocket" else spec.model.id


def start_of(spec: Spec) -> str:
    if spec.model.start_from:
        return f"Goes on from {spec.model.start_from}."
    return "Small, comes with Tunesmith, answers at once." if spec.model.id == "pocket" else ""


def test_of(spec: Spec) -> str:
    """What the rewards measure, or the loss; nothing when no example is kept aside."""
    if not spec.holdout.split and not spec.holdout.share:
        return ""
    return ", ".join(rooms.load("rewards", reward.name).TITLE for reward in spec.rewards) or "Loss"


def title_of(source: Source) -> str:
    kind, _, name = source.source.partition(":")
    return samples().get(name, {}).get("title", name) if kind == "sample" else name


def sentence_of(source: Source) -> str:
    kind, _, name = source.source.partition(":")
    return samples().get(name, {}).get("sentence", "") if kind == "sample" else ""


@cache
def samples() -> dict[str, dict[str, str]]:
    """Titles and sentences of the shipped samples."""
    path = rooms.ROOT / "presets" / "samples" / "samples.toml"
    return tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


if __name__ == "__main__":
    alone(lambda: page(plan(presets.spec("first_tune"))))
