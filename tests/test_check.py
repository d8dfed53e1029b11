"""Check: what its components render, without a browser. Expected numbers are worked by hand; foreign text is always escaped."""

from __future__ import annotations

import html
import json
import re
from typing import Any

import pytest

from app.engine.contracts import load_method
from components import batches, dataset_stats, dry_run, lengths, notices, start_bar, tokens

HOSTILE = "<script>steal()</script><img src=x onerror=steal()>\"'${steal()}{{steal}}"
# Lengths of ten examples: one shorter than 2 tokens, one shorter than 4, three shorter than 6, five shorter than 8.
LENGTH_HISTOGRAM = {"edges": [0, 2, 4, 6, 8], "counts": [1, 1, 3, 5], "limit": 5, "longest": 7, "median": 6}


def token(text: str, trained: bool = False, special: bool = False, **extra_fields: Any) -> dict[str, Any]:
    return {"text": text, "id": len(text), "trained": trained, "special": special} | extra_fields


def row(*tokens: dict[str, Any], cut: int = 0, segments: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    return {"tokens": [*tokens], "length": len(tokens) - cut, "cut": cut, "segments": segments or []}


def examples_json(viewer: tokens.ViewerContent) -> dict[str, Any]:
    """The JSON of the examples that a token viewer contains."""
    return json.loads(viewer["examples_json"])


def bar_heights(histogram_html: str) -> list[str]:
    return re.findall(r'class="bar[^"]*" style="height: ([\d.]+%)"', histogram_html)


def test_a_viewer_contains_every_token_with_its_kind_and_reason() -> None:
    segments = [{"start": 0, "end": 1, "why": "a mark"}, {"start": 1, "end": 4, "why": "the answer"}]
    example = row(token("<s>", special=True), token("a", True), token("</s>", True, True), token("z", cut=True), cut=1, segments=segments)  # fmt: skip
    content = examples_json(tokens.render_examples({"rows": [example], "of": 7}))
    assert (content["noun"], content["of"]) == ("Example", 7)
    [rendered_row] = content["rows"]
    assert rendered_row["texts"] == ["<s>", "a", "</s>", "z"]
    assert rendered_row["ids"] == [3, 1, 4, 1]
    assert rendered_row["kinds"] == "2134"
    assert rendered_row["whys"] == [[1, "a mark"], [4, "the answer"]]
    assert rendered_row["share"] == "2 of 3 tokens learned (67 %) · 1 cut off"


def test_the_hidden_tokens_of_a_long_row_are_counted() -> None:
    example = row(token("a", True), token("b")) | {"length": 90_000, "cut": 10_000}
    assert (
        tokens.token_share_text(example, "learned")
        == "1 of 2 tokens learned (50 %) · 10,000 cut off · the first 2 of 100,000 are shown"
    )


def test_a_prompt_without_an_answer_has_no_trained_share() -> None:
    viewer = tokens.render_examples({"rows": [row(token("What is 1 + 1?"))], "of": 1}, "asked")
    assert examples_json(viewer)["rows"][0]["share"] == "1 token"
    assert examples_json(viewer)["noun"] == "Prompt"
    assert "learned" not in viewer["frame_html"]


def preference_row() -> dict[str, Any]:
    """A prompt of one token, a chosen answer of one token, and a rejected answer of two tokens, the second of which is truncated."""
    chosen = row(token("Kind", True)) | {"name": "chosen"}
    rejected = row(token(HOSTILE, True), token("z", cut=True), cut=1) | {"name": "rejected"}
    return row(token("Hello?")) | {"sides": [chosen, rejected], "beside": {"answer": HOSTILE}}


def test_each_answer_of_a_pair_states_how_it_is_used() -> None:
    [rendered_row] = examples_json(tokens.render_examples({"rows": [preference_row()]}, "compared"))["rows"]
    assert (rendered_row["texts"], rendered_row["said"], rendered_row["share"]) == (["Hello?"], "1 token", "3 tokens")
    chosen, rejected = rendered_row["sides"]
    assert (chosen["title"], chosen["said"], chosen["mark"]) == ("The better answer", "1 token, made likelier", "")
    assert (rejected["title"], rejected["said"], rejected["mark"]) == (
        "The worse answer",
        "1 token, made less likely · 1 cut off",
        "less",
    )
    [rendered_row] = examples_json(tokens.render_examples({"rows": [preference_row()]}, "scored"))["rows"]
    assert [(side["said"], side["mark"]) for side in rendered_row["sides"]] == [
        ("1 token, scored", ""),
        ("1 token, scored · 1 cut off", ""),
    ]


def test_a_picture_is_one_token_that_counts_as_sixteen() -> None:
    example = row(token("[picture: 16 tokens]", special=True, count=16), token("Blue.", True)) | {"length": 17}
    assert tokens.token_share_text(example, "learned") == "1 of 17 tokens learned (6 %)"


@pytest.mark.parametrize(("method", "learning_mode", "row_noun"), [
    ("sft", "learned", "example"), ("grpo", "asked", "prompt"), ("dpo", "compared", "pair"), ("kto", "thumbed", "answer"), ("reward", "scored", "pair"),
    ("process_reward", "judged", "example"), ("distill", "asked", "prompt"),
])  # fmt: skip
def test_each_method_has_its_learning_mode_and_row_noun(method: str, learning_mode: str, row_noun: str) -> None:
    assert tokens.learning_mode_of(load_method(method)) == learning_mode
    assert tokens.LEARNING_MODES[learning_mode].row_noun == row_noun


def test_a_batch_of_pairs_labels_its_rows_as_better_and_worse() -> None:
    rows = [{"name": name, "documents": [row(token("a", True))], "padding": 0} for name in ("chosen", "rejected")]
    viewer = batches.render_batches({"batches": [{"rows": rows}]}, "compared")
    assert "2 rows: 1 × the better answer, 1 × the worse answer, 2 positions" in viewer["frame_html"]
    chosen, rejected = examples_json(viewer)["rows"]
    assert (chosen["title"], chosen["mark"]) == ("Batch 1, row 1 of 2: the better answer", "")
    assert (rejected["does"], rejected["mark"], rejected["share"]) == (
        "made less likely",
        "less",
        "1 of 1 token made less likely (100 %)",
    )


def test_a_viewer_without_examples_renders_one_empty_frame() -> None:
    assert 'aria-busy="true"' in tokens.render_examples(None)["frame_html"]
    assert 'href="#choose"' in tokens.render_examples({"rows": []})["frame_html"]
    for viewer in (tokens.render_examples(None), tokens.render_examples({"rows": []})):
        assert viewer["frame_html"].count('class="tokens') == 1


def test_the_bar_heights_and_the_position_of_the_limit() -> None:
    """The highest count is 5: 20 %, 20 %, 60 %, 100 %. The limit of 5 is the middle of the third bar: (2 + 0.5) / 4 = 62.5 %."""
    histogram_html = lengths.render_length_histogram(LENGTH_HISTOGRAM)
    assert bar_heights(histogram_html) == ["20.0%", "20.0%", "60.0%", "100.0%"]
    assert "left: 62.50%" in histogram_html
    assert "cut at 5" in histogram_html
    assert histogram_html.count("bar behind") == 1, "only the last bar lies completely beyond the limit"


def test_the_histogram_starts_at_the_first_bin_with_examples() -> None:
    histogram_html = lengths.render_length_histogram(LENGTH_HISTOGRAM | {"counts": [0, 0, 3, 6]})
    assert bar_heights(histogram_html) == ["50.0%", "100.0%"]
    assert "left: 25.00%" in histogram_html, "5 is one quarter of the distance from 4 to 8"
    assert lengths.reached_bins(LENGTH_HISTOGRAM | {"counts": [0, 0, 0, 6], "limit": 3})[0] == [2, 4, 6, 8], (
        "the limit must stay visible"
    )


@pytest.mark.parametrize("limit", [None, 8, 4096])
def test_the_histogram_has_no_limit_line_when_nothing_is_truncated(limit: int | None) -> None:
    histogram_html = lengths.render_length_histogram(LENGTH_HISTOGRAM | {"limit": limit})
    assert "cut-line" not in histogram_html
    assert "behind" not in histogram_html


def test_the_histogram_has_a_text_summary_and_a_table() -> None:
    histogram_html = lengths.render_length_histogram(LENGTH_HISTOGRAM)
    assert "Half of the examples have at most 6 tokens, the longest has 7." in histogram_html
    assert "The most common are 6 to 8 tokens long." in histogram_html
    assert "<td>4 to 6</td><td>3</td>" in histogram_html


def test_dataset_stats_show_all_counts_with_labels() -> None:
    stats = {"rows": 412, "held_out": 20, "tokens": {"all": 40_000, "trained": 15_200}, "lengths": LENGTH_HISTOGRAM,
            "truncated": 3, "empty": 0, "left_out": {HOSTILE: 2}}  # fmt: skip
    stats_html = dataset_stats.render_dataset_stats(stats)
    for label, text in {"To learn from": "412 examples", "Kept aside to test": "20", "Tokens": "40,000", "Learned": "38 %",
                        "Cut off": "! 3", "Nothing to learn": "0"}.items():  # fmt: skip
        assert f"<dt>{label}</dt><dd>{text}</dd>" in stats_html
    assert f"2 left out: {html.escape(HOSTILE)}" in stats_html


def test_dataset_stats_of_a_reward_method_have_no_trained_share() -> None:
    stats = {"rows": 400, "held_out": 0, "tokens": None, "lengths": None, "truncated": None, "empty": None, "left_out": {}}  # fmt: skip
    stats_html = dataset_stats.render_dataset_stats(stats, "asked")
    assert "<dt>To learn from</dt><dd>400 prompts</dd>" in stats_html
    assert "Learned" not in stats_html
    assert "Cut off" not in stats_html


def packed_batch() -> dict[str, Any]:
    """One batch of two rows: documents of 2 and 3 tokens, and a document of 2 tokens with 3 of padding: 3 of 10 positions, 30 %."""
    documents = [row(*[token(text, i > 0) for i, text in enumerate(token_texts)]) for token_texts in (("a", "b"), ("c", "d", "e"), ("f", "g"))]  # fmt: skip
    rows = [{"documents": documents[:2], "padding": 0}, {"documents": documents[2:], "padding": 3}]
    return {"batches": [{"rows": rows, "padding": 0.3, "tokens": 10}], "left_out": 2}


def test_packed_rows_show_where_each_document_begins() -> None:
    viewer = batches.render_batches(packed_batch())
    first_row, second_row = examples_json(viewer)["rows"]
    assert first_row["title"] == "Batch 1, row 1 of 2"
    assert first_row["bounds"] == [[0, "Document 1 of 2: 2 tokens"], [2, "Document 2 of 2: 3 tokens"]]
    assert first_row["texts"] == ["a", "b", "c", "d", "e"]
    assert second_row["after"].startswith("Padding: 3 tokens")
    assert (first_row["after"], second_row["title"]) == ("", "Batch 1, row 2 of 2")


def test_batches_show_their_share_of_padding() -> None:
    frame_html = batches.render_batches(packed_batch())["frame_html"]
    assert "2 rows, 3 documents, 10 positions, 30 % padding" in frame_html
    assert 'aria-label="Row 1: 2 documents, 5 tokens, 0 of padding"' in frame_html
    assert 'aria-label="Row 2: 1 document, 2 tokens, 3 of padding"' in frame_html
    assert "2 more are too long to show here" in frame_html


def dry_run_report(*total_rewards: float) -> dict[str, Any]:
    completions = [
        {"text": HOSTILE, "rewards": {HOSTILE: total_reward}, "total": total_reward} for total_reward in total_rewards
    ]
    return {"rows": [{"prompt": HOSTILE, "completions": completions, "spread": max(total_rewards) - min(total_rewards)}],
            "by_reward": {HOSTILE: {"lowest": min(total_rewards), "mean": sum(total_rewards) / len(total_rewards), "highest": max(total_rewards)}},
            "findings": [{"severity": "wrong", "text": HOSTILE}]}  # fmt: skip


def test_a_dry_run_shows_the_reward_spread_between_attempts() -> None:
    assert "0.75 between the best and the worst" in dry_run.render_dry_run(dry_run_report(0.25, 1.0))
    assert "all earn the same" in dry_run.render_dry_run(dry_run_report(0.5, 0.5))
    assert "<td>0.25</td><td>0.625</td><td>1</td>" in dry_run.render_dry_run(dry_run_report(0.25, 1.0))
    assert dry_run.format_reward(None) == "–"


def test_dry_run_progress_names_the_prompt_and_escapes_its_text() -> None:
    assert "tries prompt 4 of 8" in dry_run.render_dry_run_progress(3, 8)
    assert html.escape(HOSTILE) in dry_run.render_dry_run_progress(0, 0, HOSTILE)
    assert len(dry_run.escape_clipped("a" * 700)) < 610


def test_foreign_text_is_never_rendered_as_markup() -> None:
    examples = {"rows": [row(token(HOSTILE))], "of": 1}
    viewers = [
        tokens.render_examples(examples),
        tokens.render_examples({"rows": [preference_row()]}, "compared"),
        batches.render_batches({"batches": [{"rows": [{"documents": examples["rows"], "padding": 0}]}]}),
    ]
    page_html = ("".join(viewer["frame_html"] for viewer in viewers)
             + dry_run.render_dry_run(dry_run_report(0.0, 1.0)) + notices.render_findings([{"severity": "wrong", "text": HOSTILE}]))  # fmt: skip
    assert "<script" not in page_html
    assert "<img" not in page_html
    assert examples_json(tokens.render_examples(examples))["rows"][0]["texts"] == [HOSTILE]


def test_the_start_bar_shows_the_steps_and_the_expected_time() -> None:
    assert "120 steps here, about 50 s." in start_bar.render_start_summary({"steps": 120, "seconds": 50.0})
    summary_html = start_bar.render_start_summary({"steps": 1, "seconds": None, "seconds_why": "Not known <yet>."})
    assert "1 step here." in summary_html
    assert "Not known &lt;yet&gt;." in summary_html
    reckoned = {"steps": 1, "seconds": None, "seconds_why": "Unknown.", "seconds_range": {"low": 60.0, "high": 600.0}}
    summary_html = start_bar.render_start_summary(reckoned)
    assert "1 step here, 60 s to 10 min." in summary_html
    assert "Unknown" not in summary_html


def test_a_price_says_what_the_run_costs() -> None:
    def cost(price: float | None, seconds: float | None = None, between: tuple[float, float] | None = None) -> str:
        reckoned = between and {"low": between[0], "high": between[1]}
        return start_bar.render_cost({"seconds": seconds, "seconds_range": reckoned}, price)

    assert "costs $1.25 to $2.50." in cost(1.25, between=(3600, 7200))
    assert "costs about $1.25." in cost(1.25, seconds=3600)
    assert "costs about $0.01." in cost(1.25, between=(1, 2))
    assert "not known yet" in cost(1.25)
    assert "not known yet" in start_bar.render_cost(None, 1.25)
    assert "With a price" in cost(0, seconds=3600)
    assert "With a price" in cost(None, seconds=3600)
