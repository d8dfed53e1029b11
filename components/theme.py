"""Theme of all components (colours, fonts, spacing), and helpers for their HTML. Nothing is loaded from other hosts."""

from __future__ import annotations

import functools
import html
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from components import scripts

_FONT = ("ui-sans-serif", "system-ui", "sans-serif")
_MONO_FONT = ("ui-monospace", "Consolas", "monospace")

# Painted before the stylesheet is loaded: they repeat the first lines of theme.css.
_FIRST_PAINT_COLORS = {
    "body_background_fill": "#FBFAF7",
    "body_background_fill_dark": "#14171A",
    "body_text_color": "#1F2428",
    "body_text_color_dark": "#ECEFF1",
}
# All others refer to the stylesheet's variables, which have a light and a dark version.
_THEME_VARIABLES = {
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


def build_theme() -> gr.Theme:
    """The Gradio theme made of the variables above."""
    variables = {
        f"{name}{mode}": css_value
        for name, css_value in _THEME_VARIABLES.items()
        for mode in ("", "_dark")
        if _has_theme_variable(f"{name}{mode}")
    }
    return gr.themes.Base(font=_FONT, font_mono=_MONO_FONT).set(**_FIRST_PAINT_COLORS, **variables)


@functools.cache
def _has_theme_variable(name: str) -> bool:
    """Whether Gradio has this theme variable: sizes have no dark version."""
    return name in (gr.themes.Base.set.__kwdefaults__ or {})


def stylesheet_paths() -> list[Path]:
    """theme.css, then the stylesheets of single components."""
    folder = Path(__file__).parent
    return [folder / "theme.css", *sorted(set(folder.glob("*.css")) - {folder / "theme.css"})]


def html_block(value: str = "", **html_options: Any) -> gr.HTML:
    """A gr.HTML with HTML written by this project, in which all foreign text was escaped with `escape`.

    Never give gr.HTML a template with {{…}} for foreign text: what Handlebars leaves in place is then run as the body
    of a JavaScript template string, so a row containing ${…} would be code (tests/browser shows that ours is not).
    """
    return gr.HTML(value, html_template="${value}", apply_default_css=False, **html_options)


def escape(text: object) -> str:
    """Escapes text for use in HTML, also in attributes."""
    return html.escape(str(text))


def format_percent(share: float) -> str:
    """Percentage without decimals. share: 0 to 1."""
    return f"{share * 100:.0f} %"


def launch_demo(build_component: Callable[[], object], head: str = "") -> None:
    """Shows one component alone: `python -m components.NAME`."""
    with gr.Blocks(title="A piece of Tunesmith", analytics_enabled=False) as demo, gr.Column(elem_classes="card"):
        build_component()
        demo.load(None, None, None, js=scripts.call("shell", "ready"))
    app, _, _ = demo.launch(
        theme=build_theme(),
        css_paths=stylesheet_paths(),
        head=head or scripts.head("shell"),
        footer_links=[],
        run_history=False,
        prevent_thread_lock=True,
    )
    scripts.serve_modules(app)
    demo.block_thread()


def _demo() -> None:
    """Swatches of the colours with their names."""
    names = ("page", "card", "ink", "quiet", "teal", "teal-soft", "special", "careful", "wrong")
    html_block("".join(f'<p><span class="swatch" style="background: var(--{n})"></span> {n}</p>' for n in names))


if __name__ == "__main__":
    launch_demo(_demo)
