"""The words of the page beside those of the field, and the methods under both names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import gradio as gr

from app.core import registry
from app.data.findings import compatible_methods
from app.engine.contracts import load_method
from components.theme import escape, html_block, launch_demo


class Term(NamedTuple):
    """One idea: what the page calls it, what the code does, and the word that a paper or a library has for it."""

    page: str
    code: str  # Markdown
    field: str


# CONTRIBUTING.md has the same table.
GLOSSARY = (
    Term("setup, lesson", "Spec, method", "training config, training method"),
    Term("Imitate examples", "`sft`", "supervised fine-tuning (SFT)"),
    Term("Read plain text", "`pretrain`", "continued pretraining"),
    Term("Prefer this over that", "`dpo`, `kto`, `orpo`, `cpo`, `simpo`, `tpo`", "preference optimisation"),
    Term("Earn rewards", "`grpo`, `rloo`, `ppo`, `online_dpo`", "reinforcement learning from rewards (RLHF, RLVR)"),
    Term("Score answers", "`reward`, `process_reward`", "reward model, process reward model (PRM)"),
    Term("Copy a bigger model", "`gkd`, `gold`, `distill`, `sdft`", "knowledge distillation, self-distillation"),
    Term("Match the meaning of examples", "`ebft`", "energy-based fine-tuning"),
    Term("practice model", "`pocket`", "a model of a few million parameters, shipped"),
    Term("setting", "knob", "hyperparameter"),
    Term("learned, only read", "trained, context", "label, label -100 (loss mask)"),
    Term("the mark that ends an answer", "EOS token", "end-of-sequence token"),
    Term("chat format", "chat template", "chat template (Jinja)"),
    Term("try, attempt", "rollout, completion", "rollout, sampled completion"),
    Term("kept aside, held out", "`holdout`", "evaluation split"),
    Term("several lessons", "pipeline, pipeline run, stage", "multi-stage training"),
    Term("look at the examples", "preview, audit", "tokenized preview, dataset audit"),
    Term("dry run", "`dry_run`", "sampling the untrained policy"),
    Term("result", "adapter", "LoRA adapter, fine-tuned weights"),
)


def build_glossary() -> gr.HTML:
    """Both tables: general words, then every method by family."""
    words = [(term.page, term.field) for term in GLOSSARY]
    return html_block(
        _render_table("In general", ("On this page", "In the field"), words)
        + _render_table("Ways to learn", ("On this page", "In the field", "In files"), _method_rows()),
        elem_id="glossary",
    )


def _method_rows() -> list[tuple[str, str, str]]:
    """(title, term, name) of every method, in the order of the form."""
    families = list(compatible_methods.METHOD_FAMILIES)
    methods = {name: load_method(name) for name in registry.names("methods")}
    ordered = sorted(
        methods, key=lambda name: (families.index(methods[name].family), compatible_methods.rank_in_family(name))
    )
    return [(methods[name].title, methods[name].term, name) for name in ordered]


def _render_table(caption: str, headings: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """HTML of a table whose rows have their first cell as a heading."""
    heads_html = "".join(f'<th scope="col">{escape(heading)}</th>' for heading in headings)
    rows_html = "".join(
        f'<tr><th scope="row">{escape(first)}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in others)}</tr>'
        for first, *others in rows
    )
    return f"<table><caption>{escape(caption)}</caption><thead><tr>{heads_html}</tr></thead><tbody>{rows_html}</tbody></table>"


if __name__ == "__main__":
    launch_demo(build_glossary)
