"""The list “For real work” of the landing page: presets by what they are for, and pipelines, each with the card that it needs."""

from __future__ import annotations

from collections.abc import Sequence

from app.planning import presets
from components.preset_entries import CardEntry, PipelineEntry, PresetEntry
from components.theme import escape

_SENTENCE = "With models that people use, and public examples or your own. Each fits on a graphics card of the size beside it, as estimated."


def render_real_work(preset_entries: Sequence[PresetEntry], pipeline_entries: Sequence[PipelineEntry]) -> str:
    """HTML section with a card for each goal; empty where there are no presets for real work."""
    groups_html = [
        _render_goal(title, sentence, [_render_preset(entry) for entry in preset_entries if entry["goal"] == goal])
        for goal, (title, sentence) in presets.GOALS.items()
    ]
    pipelines_html = [_render_pipeline(entry) for entry in pipeline_entries if entry["gigabytes"] is not None]
    groups_html.append(
        _render_goal(
            "In several lessons", "Each builds on the one before; all are compared at the end.", pipelines_html
        )
    )
    if not any(groups_html):
        return ""
    return (
        '<section class="real-work"><header><h2>For real work</h2>'
        f"<label>What fits on <select></select></label><p>{escape(_SENTENCE)}</p></header>"
        f'<div class="families">{"".join(groups_html)}</div></section>'
    )


def _render_goal(title: str, sentence: str, rows_html: Sequence[str]) -> str:
    if not rows_html:
        return ""
    return (
        f'<section class="family"><h3>{escape(title)}</h3><small>{escape(sentence)}</small>'
        f"<ul>{''.join(rows_html)}</ul></section>"
    )


def _render_preset(entry: PresetEntry) -> str:
    return _render_row(entry, f'data-preset="{escape(entry["name"])}"')


def _render_pipeline(entry: PipelineEntry) -> str:
    return _render_row(entry, f'data-chain="{escape(entry["id"])}"')


def _render_row(entry: CardEntry, data_attribute: str) -> str:
    """A button of one line. data_attribute: names the entry for preset_cards.js."""
    return (
        f'<li data-gigabytes="{entry["gigabytes"]}"><button type="button" {data_attribute}>'
        f'<strong>{escape(entry["title"])}</strong><small class="card-size">{entry["gigabytes"]} GB</small></button></li>'
    )
