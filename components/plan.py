"""Plan: what a setup would do, counted by the trainer's own code while the form stays free."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import gradio as gr

from app.core import registry
from app.data import files
from app.setup.spec import Source, Spec
from components.theme import alone, page

CARD = """<section class="plan" aria-labelledby="plan-name"><details open><summary><h2 id="plan-name">What will happen</h2>
<span class="brief"></span></summary><dl aria-busy="false"></dl><p class="refused" role="status"></p></details></section>"""


# The models that come with Tunesmith, see app/setup/models.py: what each is called, and what it is for.
SHIPPED = {
    "pocket": ("The practice model", "Small, and answers at once."),
    "pocket-vision": ("The practice model that sees", "Takes pictures too."),
    "pocket-teacher": ("The practice model’s teacher", "Better at sums than the practice model."),
}


def plan(*asked: Callable[..., Any]) -> gr.HTML:
    """The card. It hears of each change from the form and asks `plan(setup)` of the page, one question at a time."""
    script = Path(__file__).with_suffix(".js").read_text(encoding="utf-8")
    return page(CARD, elem_id="plan", js_on_load=script, server_functions=list(asked))


def model_of(spec: Spec) -> str:
    return SHIPPED.get(spec.model.id, (spec.model.id,))[0]


def title_of(source: Source) -> str:
    name = files.name_of(source)
    return samples().get(name, {}).get("title", name) if source.source.startswith("sample:") else name


@cache
def samples() -> dict[str, dict[str, str]]:
    """Titles and sentences of the shipped samples."""
    path = registry.ROOT / "presets" / "samples" / "samples.toml"
    return tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


if __name__ == "__main__":
    alone(plan)
