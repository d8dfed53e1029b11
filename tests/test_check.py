"""Check: what its pieces show, without a browser: numbers worked by hand, and every stranger's text as text."""

from __future__ import annotations

import html
import json
import re
from typing import Any

import pytest

from app.engine.contracts import load_method
from components import batches, dataset_stats, dry_run, lengths, notices, start_bar, tokens

HOSTILE = "<script>steal()</script><img src=x onerror=steal()>\"'${steal()}{{steal}}"
# Ten examples: one below 2 tokens, one below 4, three below 6, five below 8.
LENGTHS = {"edges": [0, 2, 4, 6, 8], "counts": [1, 1, 3, 5], "limit": 5, "longest": 7, "median": 6}


def token(text: str, trained: bool = False, special: bool = False, **more: Any) -> dict[str, Any]:
    return {"text": text, "id": len(text), "trained": trained, "special": special} | more


def row(*tokens: dict[str, Any], cut: int = 0, segments: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    return {"tokens": [*tokens], "length": len(tokens) - cut, "cut": cut, "segments": segments or []}


def told(shown: tokens.ViewerContent) -> dict[str, Any]:
    """The data that a viewer carries."""
    return json.loads(shown["examples_json"])


def heights(shown: str) -> list[str]:
    return re.findall(r'class="bar[^"]*" style="height: ([\d.]+%)"', shown)


def test_a_viewer_carries_every_token_with_its_kind_and_reason() -> None:
    segments = [{"start": 0, "end": 1, "why": "a mark"}, {"start": 1, "end": 4, "why": "the answer"}]
    one = row(token("<s>", special=True), token("a", True), token("</s>", True, True), token("z", cut=True), cut=1, segments=segments)  # fmt: skip
    data = told(tokens.render_examples({"rows": [one], "of": 7}))
    assert (data["noun"], data["of"]) == ("Example", 7)
    [shown] = data["rows"]
    assert shown["texts"] == ["<s>", "a", "</s>", "z"]
    assert shown["ids"] == [3, 1, 4, 1]
    assert shown["kinds"] == "2134"
    assert shown["whys"] == [[1, "a mark"], [4, "the answer"]]
    assert shown["share"] == "2 of 3 tokens learned (67 %) · 1 cut off"


def test_of_a_row_too_long_to_show_the_rest_is_counted() -> None:
    one = row(token("a", True), token("b")) | {"length": 90_000, "cut": 10_000}
    assert (
        tokens.token_share_text(one, "learned")
        == "1 of 2 tokens learned (50 %) · 10,000 cut off · the first 2 of 100,000 are shown"
    )


def test_what_is_only_asked_is_not_called_unlearned() -> None:
    shown = tokens.render_examples({"rows": [row(token("What is 1 + 1?"))], "of": 1}, "asked")
    assert told(shown)["rows"][0]["share"] == "1 token"
    assert told(shown)["noun"] == "Prompt"
    assert "learned" not in shown["frame_html"]


def pair() -> dict[str, Any]:
    """A prompt of one token, a better answer of one, and a worse one of two of which one is cut off."""
    better = row(token("Kind", True)) | {"name": "chosen"}
    worse = row(token(HOSTILE, True), token("z", cut=True), cut=1) | {"name": "rejected"}
    return row(token("Hello?")) | {"sides": [better, worse], "beside": {"answer": HOSTILE}}


def test_answers_to_one_prompt_say_what_becomes_of_them() -> None:
    [shown] = told(tokens.render_examples({"rows": [pair()]}, "compared"))["rows"]
    assert (shown["texts"], shown["said"], shown["share"]) == (["Hello?"], "1 token", "3 tokens")
    better, worse = shown["sides"]
    assert (better["title"], better["said"], better["mark"]) == ("The better answer", "1 token, made likelier", "")
    assert (worse["title"], worse["said"], worse["mark"]) == (
        "The worse answer",
        "1 token, made less likely · 1 cut off",
        "less",
    )
    [shown] = told(tokens.render_examples({"rows": [pair()]}, "scored"))["rows"]
    assert [(one["said"], one["mark"]) for one in shown["sides"]] == [
        ("1 token, scored", ""),
        ("1 token, scored · 1 cut off", ""),
    ]


def test_a_picture_is_one_token_that_counts_as_many() -> None:
    one = row(token("[picture: 16 tokens]", special=True, count=16), token("Blue.", True)) | {"length": 17}
    assert tokens.token_share_text(one, "learned") == "1 of 17 tokens learned (6 %)"


@pytest.mark.parametrize(("method", "way", "rows"), [
    ("sft", "learned", "example"), ("grpo", "asked", "prompt"), ("dpo", "compared", "pair"), ("kto", "thumbed", "answer"), ("reward", "scored", "pair"),
    ("process_reward", "judged", "example"), ("distill", "asked", "prompt"),
])  # fmt: skip
def test_each_method_shows_its_examples_in_its_own_way(method: str, way: str, rows: str) -> None:
    assert tokens.learning_mode_of(load_method(method)) == way
    assert tokens.LEARNING_MODES[way].row_noun == rows


def test_a_batch_of_pairs_names_its_rows() -> None:
    rows = [{"name": name, "documents": [row(token("a", True))], "padding": 0} for name in ("chosen", "rejected")]
    shown = batches.render_batches({"batches": [{"rows": rows}]}, "compared")
    assert "2 rows: 1 × the better answer, 1 × the worse answer, 2 positions" in shown["frame_html"]
    better, worse = told(shown)["rows"]
    assert (better["title"], better["mark"]) == ("Batch 1, row 1 of 2: the better answer", "")
    assert (worse["does"], worse["mark"], worse["share"]) == (
        "made less likely",
        "less",
        "1 of 1 token made less likely (100 %)",
    )


def test_no_examples_and_not_yet_any_keep_the_place() -> None:
    assert 'aria-busy="true"' in tokens.render_examples(None)["frame_html"]
    assert 'href="#choose"' in tokens.render_examples({"rows": []})["frame_html"]
    for shown in (tokens.render_examples(None), tokens.render_examples({"rows": []})):
        assert shown["frame_html"].count('class="tokens') == 1


def test_bars_and_the_cut_stand_where_they_should() -> None:
    """Highest is 5: 20 %, 20 %, 60 %, 100 %. 5 lies in the middle of the third bar: (2 + 0.5) / 4 = 62.5 %."""
    shown = lengths.render_length_histogram(LENGTHS)
    assert heights(shown) == ["20.0%", "20.0%", "60.0%", "100.0%"]
    assert "left: 62.50%" in shown
    assert "cut at 5" in shown
    assert shown.count("bar behind") == 1, "the last bar alone lies wholly behind the line"


def test_bars_begin_at_the_shortest_example() -> None:
    shown = lengths.render_length_histogram(LENGTHS | {"counts": [0, 0, 3, 6]})
    assert heights(shown) == ["50.0%", "100.0%"]
    assert "left: 25.00%" in shown, "5 is a quarter of the way from 4 to 8"
    assert lengths.reached_bins(LENGTHS | {"counts": [0, 0, 0, 6], "limit": 3})[0] == [2, 4, 6, 8], (
        "the limit stays in sight"
    )


@pytest.mark.parametrize("limit", [None, 8, 4096])
def test_no_line_where_nothing_is_cut(limit: int | None) -> None:
    shown = lengths.render_length_histogram(LENGTHS | {"limit": limit})
    assert "cut-line" not in shown
    assert "behind" not in shown


def test_the_histogram_is_told_in_words_and_numbers() -> None:
    shown = lengths.render_length_histogram(LENGTHS)
    assert "Half of the examples have at most 6 tokens, the longest has 7." in shown
    assert "The most common are 6 to 8 tokens long." in shown
    assert "<td>4 to 6</td><td>3</td>" in shown


def test_the_whole_data_is_counted_in_words() -> None:
    plan = {"rows": 412, "held_out": 20, "tokens": {"all": 40_000, "trained": 15_200}, "lengths": LENGTHS,
            "truncated": 3, "empty": 0, "left_out": {HOSTILE: 2}}  # fmt: skip
    shown = dataset_stats.render_dataset_stats(plan)
    for name, value in {"To learn from": "412 examples", "Kept aside to test": "20", "Tokens": "40,000", "Learned": "38 %",
                        "Cut off": "! 3", "Nothing to learn": "0"}.items():  # fmt: skip
        assert f"<dt>{name}</dt><dd>{value}</dd>" in shown
    assert f"2 left out: {html.escape(HOSTILE)}" in shown


def test_the_whole_data_of_a_method_that_earns_rewards_has_no_learned_share() -> None:
    plan = {"rows": 400, "held_out": 0, "tokens": None, "lengths": None, "truncated": None, "empty": None, "left_out": {}}  # fmt: skip
    shown = dataset_stats.render_dataset_stats(plan, "asked")
    assert "<dt>To learn from</dt><dd>400 prompts</dd>" in shown
    assert "Learned" not in shown
    assert "Cut off" not in shown


def packed() -> dict[str, Any]:
    """One batch: a row of documents of 2 and 3 tokens, and a row of 2 tokens and 3 of padding: 3 of 10 positions, 30 %."""
    document = [row(*[token(word, i > 0) for i, word in enumerate(words)]) for words in (("a", "b"), ("c", "d", "e"), ("f", "g"))]  # fmt: skip
    rows = [{"documents": document[:2], "padding": 0}, {"documents": document[2:], "padding": 3}]
    return {"batches": [{"rows": rows, "padding": 0.3, "tokens": 10}], "left_out": 2}


def test_packed_rows_show_where_documents_begin() -> None:
    shown = batches.render_batches(packed())
    first, second = told(shown)["rows"]
    assert first["title"] == "Batch 1, row 1 of 2"
    assert first["bounds"] == [[0, "Document 1 of 2: 2 tokens"], [2, "Document 2 of 2: 3 tokens"]]
    assert first["texts"] == ["a", "b", "c", "d", "e"]
    assert second["after"].startswith("Padding: 3 tokens")
    assert (first["after"], second["title"]) == ("", "Batch 1, row 2 of 2")


def test_batches_say_their_share_of_padding() -> None:
    shown = batches.render_batches(packed())["frame_html"]
    assert "2 rows, 3 documents, 10 positions, 30 % padding" in shown
    assert 'aria-label="Row 1: 2 documents, 5 tokens, 0 of padding"' in shown
    assert 'aria-label="Row 2: 1 document, 2 tokens, 3 of padding"' in shown
    assert "2 more are too long to show here" in shown


def tried(*totals: float) -> dict[str, Any]:
    answers = [{"text": HOSTILE, "rewards": {HOSTILE: total}, "total": total} for total in totals]
    return {"rows": [{"prompt": HOSTILE, "completions": answers, "spread": max(totals) - min(totals)}],
            "by_reward": {HOSTILE: {"lowest": min(totals), "mean": sum(totals) / len(totals), "highest": max(totals)}},
            "findings": [{"severity": "wrong", "text": HOSTILE}]}  # fmt: skip


def test_a_dry_run_says_how_far_attempts_lie_apart() -> None:
    assert "0.75 between the best and the worst" in dry_run.render_dry_run(tried(0.25, 1.0))
    assert "all earn the same" in dry_run.render_dry_run(tried(0.5, 0.5))
    assert "<td>0.25</td><td>0.625</td><td>1</td>" in dry_run.render_dry_run(tried(0.25, 1.0))
    assert dry_run.format_reward(None) == "–"


def test_a_dry_run_says_what_it_does() -> None:
    assert "tries prompt 4 of 8" in dry_run.render_dry_run_progress(3, 8)
    assert html.escape(HOSTILE) in dry_run.render_dry_run_progress(0, 0, HOSTILE)
    assert len(dry_run.escape_clipped("a" * 700)) < 610


def test_strangers_text_is_never_markup() -> None:
    data = {"rows": [row(token(HOSTILE))], "of": 1}
    viewers = [
        tokens.render_examples(data),
        tokens.render_examples({"rows": [pair()]}, "compared"),
        batches.render_batches({"batches": [{"rows": [{"documents": data["rows"], "padding": 0}]}]}),
    ]
    shown = ("".join(viewer["frame_html"] for viewer in viewers)
             + dry_run.render_dry_run(tried(0.0, 1.0)) + notices.render_findings([{"severity": "wrong", "text": HOSTILE}]))  # fmt: skip
    assert "<script" not in shown
    assert "<img" not in shown
    assert told(tokens.render_examples(data))["rows"][0]["texts"] == [HOSTILE]


def test_the_bar_says_what_starting_would_do() -> None:
    assert "120 steps here, about 50 s." in start_bar.render_start_summary({"steps": 120, "seconds": 50.0})
    shown = start_bar.render_start_summary({"steps": 1, "seconds": None, "seconds_why": "Not known <yet>."})
    assert "1 step here." in shown
    assert "Not known &lt;yet&gt;." in shown
