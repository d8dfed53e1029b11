"""Card with the run estimate of the setup in the form, and titles of models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

from app.setup.spec import Spec
from components import scripts
from components.theme import html_block, launch_demo

_CARD = """<section class="plan" aria-labelledby="plan-name"><details open><summary><h2 id="plan-name">What will happen</h2>
<span class="brief"></span></summary><div class="story"></div><dl aria-busy="false"></dl><p class="refused" role="status"></p></details></section>"""


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


if __name__ == "__main__":
    launch_demo(build_plan_card)
