"""Preview equals training: what is shown is what the loss receives."""

from __future__ import annotations

from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest

from app.core import registry
from app.core.problems import Problem
from app.engine.contracts import load_method
from tests.bench import equality
from tests.support import chats, preferences, ranks, solutions, spec_of, sums, texts, thumbs, write_rows


@pytest.mark.slow
@pytest.mark.parametrize("case", [case for case in equality.CASES if case not in equality.SLOWER])
def test_the_previewed_batches_are_those_the_loss_receives(case: str, tmp_path: Path) -> None:
    spec = equality.spec_for(case, tmp_path)
    shown, real = equality.previewed(spec), equality.received(spec)
    assert equality.differences(shown, real) == []


@pytest.mark.slow
def test_the_comparison_sees_a_single_changed_token(tmp_path: Path) -> None:
    spec = equality.spec_for("sft, assistant only", tmp_path)
    shown, other = equality.previewed(spec), equality.previewed(spec)
    other[1]["labels"][0, -1] += 1
    assert equality.differences(shown, other) == ["batch 2: labels"]


@pytest.mark.slow
@pytest.mark.parametrize("case", ["sft, assistant only", "sft, packed", "sft, completion only"])
def test_rows_shown_one_by_one_are_the_documents_in_the_batches(case: str, tmp_path: Path) -> None:
    from app.engine.job import Job
    from app.engine.model.device import Device
    from app.engine.tokens import decode

    spec = equality.spec_for(case, tmp_path)

    def key(row: dict) -> tuple:
        return tuple((token["id"], token["trained"]) for token in row["tokens"])

    shown = {key(row) for row in decode.decode_first_rows(Job(spec, tmp_path, Device("cpu"), max_rows=equality.ROWS))}
    batches = decode.decode_batches(Job(spec, tmp_path, Device("cpu")), 2)
    documents = [part for batch in batches for row in batch["rows"] for part in row["documents"]]
    assert len(documents) >= 8
    assert all(key(part) in shown for part in documents)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["pretrain", "sft"])
def test_where_joined_texts_begin_is_told(method: str, tmp_path: Path) -> None:
    """The rows in one line are the texts in one line, which begin after each other's tokens; worked out from the texts alone."""
    from app.engine.preview import row_preview

    source = write_rows(tmp_path / "texts.jsonl", texts(40))
    knobs = {"max_length": 32, "batch_size": 4} | (
        {"packing": True, "packing_strategy": "wrapped"} if method == "sft" else {}
    )
    alone = row_preview.preview_rows(spec_of("sft", source, {"max_length": 1000}), 40)["rows"]
    spec = spec_of(method, source, knobs)
    line = [token for row in row_preview.preview_rows(spec, 500)["rows"] for token in row["tokens"]]
    begins = [place for place, token in enumerate(line) if token.get("begins")]
    assert begins == [0, *accumulate(row["length"] for row in alone)][:-1]
    batches = row_preview.preview_batches(spec, 2)["batches"]
    rows = [row["documents"] for batch in batches for row in batch["rows"]]
    assert sum(len(row) > 1 for row in rows) > 2
    assert all(told.startswith("Day") for row in rows for told in map(text, row[1:]))
    assert all("Day" not in told[1:] for row in rows for told in map(text, row))


def text(part: dict[str, Any]) -> str:
    return "".join(token["text"] for token in part["tokens"])


def hinted(count: int) -> list[dict[str, Any]]:
    return [row | {"privileged_context": f"Think of {row['answer']}."} for row in sums(count)]


ROWS_OF = {"sft": chats, "gkd": chats, "gold": chats, "ebft": texts, "pretrain": texts, "kto": thumbs, "tpo": ranks, "sdft": hinted,
           "process_reward": solutions, **dict.fromkeys(("dpo", "orpo", "cpo", "simpo", "reward"), preferences)}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("method", registry.names("methods"))
def test_every_method_shows_any_row_by_its_number(method: str, tmp_path: Path) -> None:
    from app.engine.libraries import prepare_libraries
    from app.engine.preview import row_preview

    prepare_libraries()
    scored = load_method(method).needs_rewards
    more = {"rewards": [{"name": "exact_match", "params": {"column": "answer"}}]} if scored else {}
    source = write_rows(tmp_path / "rows.jsonl", ROWS_OF.get(method, sums)(30))
    spec = spec_of(method, source, {"packing": False} if method == "pretrain" else {}, **more)
    every = row_preview.preview_rows(spec, 30)["rows"]
    some = row_preview.preview_rows(spec, 2, [17, 3])["rows"]
    assert [row["number"] for row in some] == [17, 3]
    if (
        method != "kto"
    ):  # it learns in an order of its own, by which rows are numbered; the first are shown as the file has them
        assert [said(row) for row in some] == [said(every[16]), said(every[2])]
    with pytest.raises(Problem, match="There is no example 31: 30 are learned from"):
        row_preview.preview_rows(spec, 1, [31])


def said(row: dict[str, Any]) -> list[str]:
    return [text(part) for part in (row, *row.get("sides", ()))]
