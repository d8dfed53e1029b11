"""Settings: a setup as one form, drawn in the browser from what presets, methods and rewards declare of themselves."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import gradio as gr

from app.core import registry
from app.data import compatible_methods, messages, uploads
from app.hub import identity
from app.setup import models, presets
from app.setup.knob import describe
from app.setup.spec import Adapter, Model
from components.plan import SHIPPED, samples
from components.theme import alone
from components.tokens import WAYS, way_of

MINUTE = "first_tune"  # the preset of the first minute, which also fills the form at first
MOST = 6  # everyday settings of one method; the rest waits under Advanced
SCRIPTS = ("fields", "model", "table", "file_options", "mapping", "sources", "holdout", "data_examples", "method_picker", "rewards", "chat_template", "init_from", "settings")  # one scope: the first ones serve the last  # fmt: skip

# What every setup has beside its method's own settings, in the words of app/setup/knob.py.
COMMON = [
    {"name": "title", "path": "title", "type": "str", "title": "Name of the run", "sentence": "How you find it again."},
    {"name": "prompts", "path": "prompts", "type": "lines", "title": "Questions", "default": [],
     "sentence": "Asked before, during and after training, so that you see the change. One on each line."},
    {"name": "seed", "path": "seed", "type": "int", "title": "Seed", "low": 0, "high": 2**32 - 1, "default": 7,
     "sentence": "Decides every draw of chance. The same seed repeats the same run."},
    {"name": "kind", "path": "adapter.kind", "type": "choice", "title": "Kind", "default": Adapter().kind, "sentence": "An adapter is a small file beside the model.",
     "choices": {"lora": "An adapter: quick, small, keeps what the model knew.", "dora": "An adapter that also learns how strong each direction is: a little better, slower.",
                 "rslora": "An adapter whose strength stays even at a high rank.", "none": "No adapter: all weights are trained. Slow, and needs several times the memory."}},
    {"name": "r", "path": "adapter.r", "type": "int", "title": "Rank", "low": 1, "high": 1024, "safe": [4, 64], "default": Adapter().r,
     "sentence": "How much the adapter can hold. More learns finer things and takes more memory."},
    {"name": "alpha", "path": "adapter.alpha", "type": "float", "title": "Strength", "low": 0.01, "high": 4096, "safe": [8, 128], "default": Adapter().alpha,
     "sentence": "How strongly the adapter is heard (alpha), usually twice the rank."},
    {"name": "dropout", "path": "adapter.dropout", "type": "float", "title": "Dropout", "low": 0, "high": 0.99, "safe": [0, 0.2], "default": Adapter().dropout,
     "sentence": "Share of the adapter switched off at each step, against reciting."},
    {"name": "holdout", "path": "model.quantization", "type": "choice", "title": "How the frozen weights are held", "default": Model().quantization,
     "sentence": "Beside an adapter the model itself stays as it is, and may lie in memory in fewer bits.",
     "choices": {"none": "As they are, in 16 or 32 bits each.", "nf4": "In 4 bits each (NF4): a quarter to an eighth of the memory, slower, a little coarser.",
                 "fp4": "In 4 bits each (FP4): the same size, mostly coarser than NF4.", "int8": "In 8 bits each: half to a quarter of the memory, hardly coarser."}},
    {"name": "targets", "path": "adapter.targets", "type": "str", "title": "Layers with an adapter", "default": Adapter().targets,
     "sentence": "auto takes all that read and write; or names with commas between, such as q_proj,v_proj."},
    {"name": "unfreeze", "path": "adapter.unfreeze", "type": "lines", "title": "Layers trained whole", "default": [],
     "sentence": "Beside the adapter, or with none instead of all weights. Names such as layers.3 or embed_tokens; * stands for anything. One on each line."},
    {"name": "experts", "path": "adapter.experts", "type": "lines", "title": "Experts with an adapter", "default": [],
     "sentence": "Only for mixtures of experts: their stacked weights, such as mlp.experts.gate_up_proj. One on each line."},
    {"name": "words", "path": "model.new_tokens", "type": "lines", "title": "New words", "default": [],
     "sentence": "Each becomes one token of the model, which learns it here: a label of your own, or a mark of the chat format. One on each line."},
    {"name": "rows", "path": "model.embedding_multiple", "type": "choice", "numeric": True, "title": "Rows for new words", "default": Model().embedding_multiple,
     "sentence": "Where new words do not fit into the model’s table of words, it grows to a multiple of so many rows.",
     "choices": {"1": "No row to spare: the table is as long as the vocabulary, which some programs that load it expect.", "8": "A few rows to spare: enough for most graphics cards.",
                 "64": "Up to 63 rows to spare: what graphics cards compute fastest, as usual.", "128": "Up to 127 rows to spare, so that the table can be split among many graphics cards."}},
    {"name": "start", "path": "model.start_from", "type": "str", "title": "Goes on from", "default": "", "empty": "nothing: a new adapter",
     "sentence": "An adapter on the Hub, such as owner/name, made for this model. It keeps its kind, rank and strength: set them to the same."},
]  # fmt: skip


def form(*asked: Callable[..., Any]) -> gr.HTML:
    """The form. Its value is the setup chosen, as plain data. asked: what it may ask of the page, see app/server/views/choose.py.

    Its template holds no value at all, so nothing a stranger wrote can be taken for HTML or code: the scripts draw with textContent.
    """
    folder = Path(__file__).parent
    script = "\n".join((folder / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS)
    return gr.HTML(presets.spec_unresolved(MINUTE).to_dict(), html_template='<div class="setup"></div>', apply_default_css=False,
                   elem_id="setup", js_on_load=script, server_functions=list(asked), menu=menu())  # fmt: skip


@cache
def menu() -> dict[str, Any]:
    """Everything there is to choose from. A preset, method or reward is here because its file is."""
    return {
        "presets": [one | {"setup": presets.spec_unresolved(one["name"]).to_dict()} for one in every()],
        "methods": {name: method(name) for name in registry.choices("methods")},
        "rewards": {name: reward(name) for name in registry.choices("rewards")},
        "families": {
            name: {"title": title, "sentence": sentence}
            for name, (title, sentence, _) in compatible_methods.FAMILIES.items()
        },
        "samples": [{"source": f"sample:{name}"} | told for name, told in samples().items()],
        "columns": {name: {"title": one.title, "often": one.often} for name, one in compatible_methods.COLUMNS.items()},
        "layouts": {name: layout(name) for name in registry.choices("layouts")},
        "roles": messages.OURS,
        "formats": models.chat_formats(),
        "local": not identity.in_space(),
        "shipped": [shipped(name) for name in models.SHIPPED],
        "first": MINUTE,
        "common": [one | {"id": f"setup-{one['name']}"} for one in COMMON],
        "kinds": uploads.KINDS,
        "most": uploads.MOST,
    }


def every() -> list[dict[str, Any]]:
    """The first one first, then the quickest."""
    return sorted(presets.every(), key=lambda one: one["name"] != MINUTE)


def everyday(name: str) -> list[dict[str, Any]]:
    """The few settings of a method that most people change."""
    return [one for one in describe(registry.load("methods", name).Knobs) if one.get("everyday")][:MOST]


def method(name: str) -> dict[str, Any]:
    """Title, sentence, what rows it takes, and its settings with their places in a setup."""
    module = registry.load("methods", name)
    shown = {one["name"] for one in everyday(name)}
    fields = [one | {"path": f"knobs.{one['name']}", "id": f"{name}-{one['name']}", "everyday": one["name"] in shown}
              for one in fields_of(module.Knobs)]  # fmt: skip
    return {"title": module.TITLE, "sentence": said(module), "layouts": module.LAYOUTS, "family": compatible_methods.family(module),
            "order": compatible_methods.order(name), "experimental": getattr(module, "EXPERIMENTAL", False), "way": way_of(module), "noun": WAYS[way_of(module)].rows,
            "rewarded": getattr(module, "NEEDS_REWARDS", False), "fields": fields}  # fmt: skip


def layout(name: str) -> dict[str, Any]:
    """A form that rows may have: what they then are to a method, the columns that make them so, and those beside them."""
    module = registry.load("layouts", name)
    return {"title": module.TITLE, "kind": module.KIND, "needs": module.NEEDS, "may": getattr(module, "MAY", ())}


def shipped(name: str) -> dict[str, Any]:
    """A model that comes with Tunesmith. base: it can be taught; else it only teaches."""
    title, sentence = SHIPPED.get(name, (name, ""))
    base = (registry.ROOT / "presets" / name / "config.json").exists()
    return {"id": name, "title": title, "sentence": sentence, "base": base}


def reward(name: str) -> dict[str, Any]:
    module = registry.load("rewards", name)
    return {"title": module.TITLE, "sentence": said(module), "fields": fields_of(module.Params)}


def fields_of(shape: type) -> list[dict[str, Any]]:
    """As declared; a list is written in lines, and nothing empty travels."""
    kinds = {"list": "lines"}
    return [{key: value for key, value in one.items() if value not in (None, "")} | {"type": kinds.get(one["type"], one["type"])}
            for one in describe(shape)]  # fmt: skip


def said(module: Any) -> str:
    return (module.__doc__ or "").strip()


if __name__ == "__main__":
    alone(form)
