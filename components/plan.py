"""Card with the run estimate of the setup in the form, and titles of models and samples."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from functools import cache
from typing import Any

import gradio as gr

from app.core import paths
from app.data import files
from app.setup.spec import Source, Spec
from components import scripts
from components.theme import html_block, launch_demo

_CARD = """<section class="plan" aria-labelledby="plan-name"><details open><summary><h2 id="plan-name">What will happen</h2>
<span class="brief"></span></summary><dl aria-busy="false"></dl><p class="refused" role="status"></p></details></section>"""


# Models that come with Tunesmith (app/setup/models.py): {id: (title, sentence)}.
SHIPPED_MODELS = {
    "pocket": ("The practice model", "Small, and answers at once."),
    "pocket-vision": ("The practice model that sees", "Takes pictures too."),
    "pocket-teacher": ("The practice model’s teacher", "Better at sums than the practice model."),
}


def build_plan_card(*server_functions: Callable[..., Any]) -> gr.HTML:
    """The card. On each change of the form it calls the server function `estimate_run(setup)`, one call at a time."""
    return html_block(
        _CARD, elem_id="plan", js_on_load=scripts.on_load("plan"), server_functions=list(server_functions)
    )


def model_title(spec: Spec) -> str:
    """Title of the model; its id where it does not come with Tunesmith."""
    return SHIPPED_MODELS.get(spec.model.id, (spec.model.id,))[0]


def source_title(source: Source) -> str:
    """Title of a sample dataset; the name of any other source."""
    source_name = files.display_name(source)
    if not source.source.startswith("sample:"):
        return source_name
    return sample_descriptions().get(source_name, {}).get("title", source_name)


@cache
def sample_descriptions() -> dict[str, dict[str, str]]:
    """{name: {"title", "sentence"}} of the sample datasets that come with Tunesmith."""
    path = paths.ROOT / "presets" / "samples" / "samples.toml"
    return tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


if __name__ == "__main__":
    launch_demo(build_plan_card)
