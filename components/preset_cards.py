"""Cards of the landing page: presets for practice by method family, presets for real work, pipelines, and the latest runs."""

from __future__ import annotations

from collections.abc import Sequence

import gradio as gr

from app.data.findings import compatible_methods
from app.engine.contracts import load_method
from app.planning import presets
from components import scripts
from components.preset_entries import CardEntry, PipelineEntry, PresetEntry
from components.real_work import render_real_work
from components.settings import FIRST_PRESET
from components.theme import escape, html_block, launch_demo

# Fills the form with the first preset and opens Check.
TRY_FIRST_PRESET_JS = scripts.call("preset_cards", "tryPreset", FIRST_PRESET)
_STEP_SENTENCES = [
    ("Choose", "A preset, a model and examples."),
    ("Check", "Every token that will be learned, before anything starts."),
    ("Watch", "The curve, and the answers as they change."),
    ("Try", "The model before and after, side by side."),
    ("Publish", "The result, if you like it: a small file."),
]


def build_preset_cards(
    preset_entries: Sequence[PresetEntry], pipeline_entries: Sequence[PipelineEntry] = ()
) -> gr.HTML:
    """All cards: a button for each preset, which fills the form and opens Choose, and one for each pipeline."""
    steps_html = "".join(
        f"<li><strong>{title}</strong> <span>{escape(sentence)}</span></li>" for title, sentence in _STEP_SENTENCES
    )
    practice_presets = [entry for entry in preset_entries if entry["gigabytes"] is None]
    practice_pipelines = [entry for entry in pipeline_entries if entry["gigabytes"] is None]
    requirement = common_requirement([*practice_presets, *practice_pipelines])
    families_html = render_preset_families(practice_presets) + render_pipeline_family(practice_pipelines)
    return html_block(
        f"<h2>Or start from a preset <small>{escape(requirement)}</small></h2>"
        f'<div class="families">{families_html}</div>'
        f"{render_real_work(preset_entries, pipeline_entries)}"
        '<section class="lately" hidden><h2>Go on with</h2><ul></ul></section>'
        f'<section class="how"><h2>How it goes</h2><ol>{steps_html}</ol></section>',
        elem_id="cards",
        js_on_load=scripts.on_load("preset_cards"),
    )


def common_requirement(entries: Sequence[CardEntry]) -> str:
    """Sentence about the hardware, where all entries need the same; else empty."""
    requirements = {entry["needs"] for entry in entries}
    return f"{requirements.pop()} will do, with the practice model." if len(requirements) == 1 else ""


def render_preset_families(preset_entries: Sequence[PresetEntry]) -> str:
    """HTML card for each method family, in the order of Choose: the usual method first, then the quickest preset."""
    requirements_differ = len({entry["needs"] for entry in preset_entries}) > 1
    rows_by_family: dict[str, list[str]] = {family: [] for family in compatible_methods.METHOD_FAMILIES}
    for entry in sorted(
        preset_entries,
        key=lambda entry: (entry["name"] != FIRST_PRESET, compatible_methods.rank_in_family(entry["method"])),
    ):
        family = load_method(entry["method"]).family
        note = entry["needs"] if requirements_differ else ""
        rows_by_family[family].append(_render_row(entry, f'data-preset="{escape(entry["name"])}"', note))
    return "".join(
        _render_family(*compatible_methods.METHOD_FAMILIES[family][:2], rows_html)
        for family, rows_html in rows_by_family.items()
        if rows_html
    )


def render_pipeline_family(pipeline_entries: Sequence[PipelineEntry]) -> str:
    """HTML card of the pipelines; empty where there are none."""
    rows_html = [_render_row(entry, f'data-chain="{escape(entry["id"])}"') for entry in pipeline_entries]
    if not rows_html:
        return ""
    return _render_family(
        "In several lessons", "Each builds on the one before; all are compared at the end.", rows_html
    )


def _render_family(title: str, sentence: str, rows_html: list[str]) -> str:
    items_html = "".join(f"<li>{row_html}</li>" for row_html in rows_html)
    return f'<section class="family"><h3>{escape(title)}</h3><small>{escape(sentence)}</small><ul>{items_html}</ul></section>'


def _render_row(entry: CardEntry, data_attribute: str, note: str = "") -> str:
    """HTML button of one preset or pipeline. data_attribute: names it for preset_cards.js."""
    note_html = f"<small>{escape(note)}</small>" if note else ""
    minutes_html = f'<small class="minutes">{entry["minutes"]:g} min</small>' if entry["minutes"] else ""
    return (
        f'<button type="button" {data_attribute}><strong>{escape(entry["title"])}</strong>{minutes_html}'
        f"<span>{escape(entry['sentence'])}</span>{note_html}</button>"
    )


if __name__ == "__main__":
    launch_demo(lambda: build_preset_cards(presets.list_presets()))
