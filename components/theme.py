"""Look: the colours, type and space of every piece, in one theme and one stylesheet, without a request to another host."""

from __future__ import annotations

import functools
import html
from collections.abc import Callable
from pathlib import Path

import gradio as gr

FONT = ("ui-sans-serif", "system-ui", "sans-serif")
MONO = ("ui-monospace", "Consolas", "monospace")

# Before the stylesheet is there, the browser paints these two: they repeat the first lines of theme.css.
FIRST_PAINT = {
    "body_background_fill": "#FBFAF7",
    "body_background_fill_dark": "#14171A",
    "body_text_color": "#1F2428",
    "body_text_color_dark": "#ECEFF1",
}
# Everything else follows the stylesheet's own light and dark.
PARTS = {
    "body_text_size": "15px",
    "body_text_color_subdued": "var(--quiet)",
    "background_fill_primary": "var(--card)",
    "background_fill_secondary": "var(--page)",
    "border_color_primary": "var(--line)",
    "border_color_accent": "var(--edge)",
    "color_accent": "var(--teal)",
    "color_accent_soft": "var(--teal-soft)",
    "block_background_fill": "transparent",
    "block_border_width": "0px",
    "block_padding": "0px",
    "block_radius": "10px",
    "block_shadow": "none",
    "block_title_text_color": "var(--ink)",
    "block_title_text_size": "15px",
    "block_title_text_weight": "600",
    "block_info_text_color": "var(--quiet)",
    "block_info_text_size": "13px",
    "block_label_background_fill": "transparent",
    "input_background_fill": "var(--card)",
    "input_background_fill_focus": "var(--card)",
    "input_border_color": "var(--edge)",
    "input_border_color_focus": "var(--ink)",
    "input_border_width": "1px",
    "input_padding": "8px 12px",
    "input_radius": "10px",
    "input_text_size": "15px",
    "input_shadow": "none",
    "input_shadow_focus": "none",
    "layout_gap": "16px",
    "form_gap_width": "0px",
    "loader_color": "var(--teal)",
    "checkbox_label_background_fill": "var(--card)",
    "checkbox_label_background_fill_hover": "var(--page)",
    "checkbox_label_background_fill_selected": "var(--card)",
    "checkbox_label_border_width": "1px",
    "checkbox_label_border_color": "var(--edge)",
    "checkbox_label_border_color_selected": "var(--ink)",
    "checkbox_label_text_color_selected": "var(--ink)",
    "checkbox_label_text_weight": "400",
    "checkbox_label_padding": "16px",
    "checkbox_label_shadow": "none",
    "checkbox_border_color": "var(--edge)",
    "checkbox_border_color_selected": "var(--ink)",
    "checkbox_background_color": "var(--card)",
    "checkbox_background_color_selected": "var(--ink)",
    "button_primary_background_fill": "var(--ink)",
    "button_primary_background_fill_hover": "color-mix(in srgb, var(--ink) 85%, var(--card))",
    "button_primary_border_color": "var(--ink)",
    "button_primary_border_color_hover": "var(--ink)",
    "button_primary_text_color": "var(--card)",
    "button_secondary_background_fill": "var(--card)",
    "button_secondary_background_fill_hover": "var(--page)",
    "button_secondary_border_color": "var(--edge)",
    "button_secondary_border_color_hover": "var(--ink)",
    "button_secondary_text_color": "var(--ink)",
    "button_border_width": "1px",
    "button_large_radius": "10px",
    "button_large_text_size": "15px",
    "button_large_text_weight": "600",
    "button_large_padding": "8px 16px",
    "button_transition": "background-color 0.12s",
}


def theme() -> gr.Theme:
    """LOOK in Gradio's words."""
    both = {f"{name}{mode}": value for name, value in PARTS.items() for mode in ("", "_dark") if has(f"{name}{mode}")}
    return gr.themes.Base(font=FONT, font_mono=MONO).set(**FIRST_PAINT, **both)


@functools.cache
def has(name: str) -> bool:
    """Sizes have no dark twin."""
    return name in gr.themes.Base.set.__kwdefaults__


def styles() -> list[Path]:
    """The base, then what single pieces bring along."""
    folder = Path(__file__).parent
    return [folder / "theme.css", *sorted(set(folder.glob("*.css")) - {folder / "theme.css"})]


def page(value: str = "", **where: object) -> gr.HTML:
    """HTML that this project wrote, with every stranger's text in it escaped by `safe`.

    Never give gr.HTML a template with {{…}} for such text: what Handlebars leaves in place is then run as the body of a
    JavaScript template string, so that a row containing ${…} would be code (tests/browser shows that ours is not).
    """
    return gr.HTML(value, html_template="${value}", apply_default_css=False, **where)


def safe(text: object) -> str:
    """A stranger's text as it may stand in HTML, in an attribute too."""
    return html.escape(str(text))


def percent(share: float) -> str:
    return f"{share * 100:.0f} %"


def alone(draw: Callable[[], object], head: str = "") -> None:
    """Shows one piece by itself: `python -m components.NAME`."""
    with gr.Blocks(title="A piece of Tunesmith", analytics_enabled=False) as demo, gr.Column(elem_classes="card"):
        draw()
        demo.load(None, None, None, js="() => window.tunesmith?.ready()")
    demo.launch(theme=theme(), css_paths=styles(), head=head, footer_links=[], run_history=False)


def swatches() -> None:
    """The colours with their meaning."""
    names = ("page", "card", "ink", "quiet", "teal", "teal-soft", "special", "careful", "wrong")
    page("".join(f'<p><span class="swatch" style="background: var(--{n})"></span> {n}</p>' for n in names))


if __name__ == "__main__":
    alone(swatches)
