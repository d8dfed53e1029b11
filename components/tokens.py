"""Token viewer: examples token by token, with trained tokens coloured and underlined."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict

import gradio as gr

from app.core.json_types import JsonObject
from app.engine.contracts import AnyMethod
from components import scripts
from components.theme import escape, format_percent, launch_demo

if TYPE_CHECKING:
    from app.engine.preview.page_types import PreviewedRow, PreviewedSide, PreviewedText, RowsPreview
    from app.engine.tokens.decode import Token
    from app.engine.tokens.reasons import Segment

_POINTER_HINT = "Point at a token, or use the arrow keys; N and P turn to the next and previous example."
_TOUCH_HINT = "Tap a token to see why it is learned or only read."
READING_TEXT = (
    "Reading the examples with the trainer's own code. The first look takes some seconds, while its libraries load."
)
FETCHING_TEXT = "Reaching the Hub for the model, then reading the examples with the trainer's own code."
_NO_EXAMPLES_TEXT = "No examples can be shown for this setup. Here you see them as the model reads them: every token, and which of them it learns."

EXAMPLE_AREA_HTML = '<p class="detail"></p><div class="parts"></div>'  # filled by tokens.js
_READ_ONLY_LEGEND = '<span><span class="token">read only</span> context, not trained</span>'
_SPECIAL_LEGEND = '<span><span class="token special">special</span> marks between turns</span>'
_CUT_OFF_LEGEND = '<span><span class="token cut">cut off</span> over the maximum length, never seen</span>'


@dataclass(frozen=True)
class LearningMode:
    """How the examples of a method train the model, and how the viewer labels them.

    trained_label: what happens to trained tokens. row_noun: what one example is called. is_paired: answers are drawn
    beside their prompt. is_contrastive: answers are made likelier or less likely, depending on their name.
    """

    legend_html: str
    trained_label: str = ""
    row_noun: str = "example"
    is_paired: bool = False
    is_contrastive: bool = False


_LEARNED_LEGEND = f'<span><span class="token trained">learned</span> trained to say this</span>{_READ_ONLY_LEGEND}{_SPECIAL_LEGEND}{_CUT_OFF_LEGEND}'
_PROMPT_LEGEND = f'<span><span class="token">asked</span> what the model is asked; it writes the answers itself</span>{_SPECIAL_LEGEND}'
_COMPARED_LEGEND = f"""<span><span class="token trained">likelier</span> made likelier</span>
<span class="less"><span class="token trained">less likely</span> made less likely</span>{_READ_ONLY_LEGEND}{_SPECIAL_LEGEND}{_CUT_OFF_LEGEND}"""
_SCORED_LEGEND = (
    f'<span><span class="token trained">scored</span> the score is read here</span>{_READ_ONLY_LEGEND}{_SPECIAL_LEGEND}'
)
_JUDGED_LEGEND = f'<span><span class="token trained">judged</span> a step ends here and is judged</span>{_READ_ONLY_LEGEND}{_SPECIAL_LEGEND}{_CUT_OFF_LEGEND}'
LEARNING_MODES = {
    "learned": LearningMode(_LEARNED_LEGEND, "learned"),
    "asked": LearningMode(_PROMPT_LEGEND, row_noun="prompt"),
    "compared": LearningMode(_COMPARED_LEGEND, "learned", "pair", is_paired=True, is_contrastive=True),
    "thumbed": LearningMode(_COMPARED_LEGEND, "learned", "answer", is_paired=True, is_contrastive=True),
    "scored": LearningMode(_SCORED_LEGEND, "scored", "pair", is_paired=True),
    "judged": LearningMode(_JUDGED_LEGEND, "judged"),
}

# Answers beside a prompt: {name: (title, effect of training)}.
ANSWER_LABELS = {
    "chosen": ("The better answer", "made likelier"),
    "rejected": ("The worse answer", "made less likely"),
    "reference": ("The best answer", "learned"),
    "liked": ("A liked answer", "made likelier"),
    "disliked": ("A disliked answer", "made less likely"),
}
_LESS_LIKELY_ANSWERS = ("rejected", "disliked")


class ViewerContent(TypedDict):
    """The value of a token viewer.

    frame_html: the HTML around the examples. examples_json: the examples, which tokens.js draws, so that their text is
    never parsed as HTML; empty where there are none. As text they reach the browser at once, as an object each token
    would be tracked for changes.
    """

    frame_html: str
    examples_json: str


def build_token_viewer(content: ViewerContent, **html_options: Any) -> gr.HTML:
    """A token viewer; its value is a ViewerContent. Its event `expand` asks for further examples."""
    return gr.HTML(
        content,
        html_template="${value.frame_html}",
        apply_default_css=False,
        js_on_load=scripts.on_load("tokens"),
        **html_options,
    )


def learning_mode_of(method: AnyMethod) -> str:
    """Key in LEARNING_MODES for a method, derived from what it declares."""
    if method.needs_rewards or method.generation_note:  # it writes the answers itself
        return "asked"
    if method.produces != "causal":
        return "scored" if method.produces == "scores" else "judged"
    if method.family != "prefer":
        return "learned"
    return "thumbed" if method.row_types[0] == "thumbs" else "compared"


def render_examples(
    response: RowsPreview | None,
    mode: str = "learned",
    *,
    selected_index: int = 0,
    can_load_more: bool = False,
    loading_text: str = READING_TEXT,
) -> ViewerContent:
    """The worker's response to `rows`; None: a placeholder of the same size.

    mode: a key of LEARNING_MODES. can_load_more: further examples can be asked for.
    loading_text: shown until there is a response.
    """
    if response is None:
        return {"frame_html": render_viewer_frame(render_loading(loading_text), mode), "examples_json": ""}
    if not response["rows"]:
        return render_no_examples(mode)
    rows = [compact_row(row, mode) for row in response["rows"]]
    if response.get("joined"):  # packed rows are not examples of the file, so they must not be counted as such
        rows = [row | {"title": f"Row {row_number:,} of joined texts"} for row_number, row in enumerate(rows, 1)]
    noun = "Prompt" if mode == "asked" else "Example"
    for row, worker_row in zip(rows, response["rows"], strict=True):
        if "number" in worker_row:  # selected rows, numbered by their position in the dataset
            row["title"] = f"{noun} {worker_row['number']:,}"
    viewer_data: JsonObject = {
        "noun": noun,
        "rows": [*rows],
        "of": response.get("of") or len(rows),
        "at": selected_index,
        "hint": _POINTER_HINT,
        "touch_hint": _TOUCH_HINT,
        "more": can_load_more,
    }
    return {
        "frame_html": render_viewer_frame(EXAMPLE_AREA_HTML, mode),
        "examples_json": to_examples_json(viewer_data),
    }


def render_viewer_frame(content_html: str, mode: str, noun: str = "") -> str:
    """HTML around the content: previous and next buttons, count, and legend. noun: what one row is called."""
    noun = noun or ("prompt" if mode == "asked" else "example")
    css_classes = f"viewer{' asked' if mode == 'asked' else ''}{' paired' if LEARNING_MODES[mode].is_paired else ''}"
    return (
        f'<div class="{css_classes}"><div class="turn">{_render_turn_button(-1, noun)}{_render_turn_button(1, noun)}'
        f'<p class="count" aria-live="polite"></p><p class="share"></p></div>{content_html}<p class="legend">{LEARNING_MODES[mode].legend_html}</p></div>'
    )


def _render_turn_button(offset: int, noun: str) -> str:
    direction, arrow = ("Next", "›") if offset > 0 else ("Previous", "‹")
    return f'<button type="button" data-by="{offset}" aria-label="{direction} {noun}">{arrow}</button>'


def to_examples_json(viewer_data: JsonObject) -> str:
    """JSON text of the examples for tokens.js."""
    return json.dumps(viewer_data, separators=(",", ":"))


def render_loading(text: str) -> str:
    """HTML of a placeholder with a text, while the worker is busy."""
    return f'<p class="detail"></p><div class="parts"><div class="tokens resting" aria-busy="true" role="status">{escape(text)}</div></div>'


def render_no_examples(mode: str = "learned") -> ViewerContent:
    """An empty viewer with a link to the form."""
    empty_html = f'<p class="detail"></p><div class="parts"><div class="tokens resting"><p>{_NO_EXAMPLES_TEXT}</p><a class="way" href="#choose">Choose the examples</a></div></div>'
    return {"frame_html": render_viewer_frame(empty_html, mode), "examples_json": ""}


def compact_row(row: PreviewedRow, mode: str = "learned", answer_name: str = "") -> JsonObject:
    """A row for tokens.js in few bytes: its tokens, or a prompt with the tokens of each answer under "sides".

    answer_name: which answer the row contains, if its name matters.
    """
    compacted = _compact_tokens(row) | {
        "share": token_share_text(row, mode, answer_name),
        "does": _training_effect(answer_name, mode),
        "mark": _answer_css_class(answer_name, mode),
    }
    if "sides" in row:
        compacted |= {
            "said": format_token_count(row["length"]),
            "sides": [_compact_answer(answer, mode) for answer in row["sides"]],
        }
    if row.get("beside"):
        compacted["beside"] = [[column, str(cell)] for column, cell in row["beside"].items()]
    return compacted


def _compact_tokens(tokenized_text: PreviewedText) -> JsonObject:
    """kinds: a digit per token (1 trained + 2 special + 4 cut off); whys: (end index of a span, reason for its mask)."""
    tokens = tokenized_text["tokens"]
    return {
        "texts": [token["text"] for token in tokens],
        "ids": [token["id"] for token in tokens],
        "kinds": "".join(str(_token_kind_bits(token)) for token in tokens),
        "whys": [[segment["end"], segment["why"]] for segment in tokenized_text.get("segments", [])],
    }


def _compact_answer(answer: PreviewedSide, mode: str) -> JsonObject:
    name = answer["name"]
    cut_text = f" · {answer['cut']:,} cut off" if answer.get("cut") else ""
    summary = f"{format_token_count(answer['length'])}, {_training_effect(name, mode)}{cut_text}"
    return _compact_tokens(answer) | {
        "title": ANSWER_LABELS[name][0],
        "said": summary,
        "mark": _answer_css_class(name, mode),
        "does": _training_effect(name, mode),
    }


def _training_effect(answer_name: str, mode: str) -> str:
    """What training does to an answer of that name."""
    return (
        ANSWER_LABELS[answer_name][1]
        if answer_name and LEARNING_MODES[mode].is_contrastive
        else LEARNING_MODES[mode].trained_label
    )


def _answer_css_class(answer_name: str, mode: str) -> str:
    """CSS class of answers that are made less likely; else empty."""
    return "less" if LEARNING_MODES[mode].is_contrastive and answer_name in _LESS_LIKELY_ANSWERS else ""


def _token_kind_bits(token: Token) -> int:
    return token["trained"] + 2 * token["special"] + 4 * bool(token.get("cut"))


def token_share_text(row: PreviewedRow, mode: str, answer_name: str = "") -> str:
    """Phrases about a row: how many tokens are trained, cut off, and not shown."""
    read_length, cut_off_count, visible_count = row["length"], row.get("cut", 0), sum(map(_token_weight, row["tokens"]))
    if mode == "asked" or "sides" in row:
        return format_token_count(read_length + sum(answer["length"] for answer in row.get("sides", [])))
    read_count = sum(_token_weight(token) for token in row["tokens"] if not token.get("cut"))
    trained_count, length = count_trained_tokens(row), read_length + cut_off_count
    trained_percent = format_percent(trained_count / max(1, read_count))
    effect = _training_effect(answer_name, mode)
    phrases = [f"{trained_count:,} of {format_token_count(read_count)} {effect} ({trained_percent})"]
    if cut_off_count:
        phrases.append(f"{cut_off_count:,} cut off")
    if visible_count < length:
        phrases.append(f"the first {visible_count:,} of {length:,} are shown")
    return " · ".join(phrases)


def _token_weight(token: Token) -> int:
    """How many tokens one shown token stands for: an image is many tokens, shown as one."""
    return token.get("count", 1)


def format_token_count(token_count: int) -> str:
    """Such as "1 token" or "1,200 tokens"."""
    return f"{token_count:,} token{'' if token_count == 1 else 's'}"


def count_trained_tokens(row: PreviewedText) -> int:
    """Number of tokens that contribute to the loss."""
    return sum(token["trained"] and not token.get("cut") for token in row["tokens"])


def _demo() -> None:
    texts = ["<user>", "What is ", "<b>2 + 2</b>?", "\n", "It is ", "4", "<end>"]
    tokens: list[Token] = [
        {"text": text, "id": index, "trained": index >= 4, "special": index in (0, 6)}
        for index, text in enumerate(texts)
    ]
    segments: list[Segment] = [
        {"start": 0, "end": 4, "why": "the question"},
        {"start": 4, "end": 7, "why": "the answer"},
    ]
    row: PreviewedRow = {"tokens": tokens, "length": 7, "cut": 0, "segments": segments}
    answers: list[PreviewedSide] = [
        {"name": name, "tokens": tokens[4:], "length": 7, "cut": 0, "segments": []} for name in ("chosen", "rejected")
    ]
    pair: PreviewedRow = {**row, "tokens": tokens[:4], "sides": answers}
    build_token_viewer(render_examples(_demo_preview(row, row)))
    build_token_viewer(render_examples(_demo_preview(pair), "compared"))
    build_token_viewer(render_examples(None))


def _demo_preview(*rows: PreviewedRow) -> RowsPreview:
    return {"rows": [*rows], "of": len(rows), "joined": False, "findings": []}


if __name__ == "__main__":
    launch_demo(_demo)
