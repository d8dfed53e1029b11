"""Preview equals training: the previewed batches, rows and texts are those that the loss receives."""

from __future__ import annotations

from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest

from app.core import registry
from app.core.problems import Problem
from app.engine.contracts import load_method
from tests.bench import equality
from tests.support import (
    addition_rows,
    build_spec,
    conversation_rows,
    preference_rows,
    ranked_rows,
    stepwise_rows,
    text_rows,
    unpaired_preference_rows,
    write_rows,
)


@pytest.mark.slow
@pytest.mark.parametrize("case", [case for case in equality.CASES if case not in equality.BENCH_ONLY_CASES])
def test_previewed_batches_equal_the_batches_the_loss_receives(case: str, tmp_path: Path) -> None:
    spec = equality.spec_for(case, tmp_path)
    previewed, received = equality.previewed_batches(spec), equality.received_batches(spec)
    assert equality.batch_differences(previewed, received) == []


@pytest.mark.slow
def test_batch_differences_reports_a_single_changed_token(tmp_path: Path) -> None:
    spec = equality.spec_for("sft, assistant only", tmp_path)
    previewed, altered = equality.previewed_batches(spec), equality.previewed_batches(spec)
    altered[1]["labels"][0, -1] += 1
    assert equality.batch_differences(previewed, altered) == ["batch 2: labels"]


@pytest.mark.slow
@pytest.mark.parametrize("case", ["sft, assistant only", "sft, packed", "sft, completion only"])
def test_previewed_rows_are_the_documents_in_the_batches(case: str, tmp_path: Path) -> None:
    from app.engine.job import Job
    from app.engine.model.device import Device
    from app.engine.tokens import decode

    spec = equality.spec_for(case, tmp_path)

    def token_ids_and_mask(row: dict) -> tuple:
        return tuple((token["id"], token["trained"]) for token in row["tokens"])

    previewed_rows = {
        token_ids_and_mask(row)
        for row in decode.decode_first_rows(Job(spec, tmp_path, Device("cpu"), max_rows=equality.ROW_COUNT))
    }
    batches = decode.decode_batches(Job(spec, tmp_path, Device("cpu")), 2)
    documents = [document for batch in batches for row in batch["rows"] for document in row["documents"]]
    assert len(documents) >= 8
    assert all(token_ids_and_mask(document) in previewed_rows for document in documents)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["pretrain", "sft"])
def test_packed_rows_mark_where_each_text_begins(method: str, tmp_path: Path) -> None:
    """Packed rows are the concatenated texts; the expected begin positions are computed from the texts' own lengths."""
    from app.engine.preview import row_preview

    source = write_rows(tmp_path / "texts.jsonl", text_rows(40))
    knobs = {"max_length": 32, "batch_size": 4} | (
        {"packing": True, "packing_strategy": "wrapped"} if method == "sft" else {}
    )
    separate_rows = row_preview.preview_rows(build_spec("sft", source, {"max_length": 1000}), 40)["rows"]
    spec = build_spec(method, source, knobs)
    packed_tokens = [
        token for documents in row_preview.preview_rows(spec, 500)["rows"] for token in documents["tokens"]
    ]
    begin_positions = [position for position, token in enumerate(packed_tokens) if token.get("begins")]
    assert begin_positions == [0, *accumulate(documents["length"] for documents in separate_rows)][:-1]
    batches = row_preview.preview_batches(spec, 2)["batches"]
    documents_by_row = [documents["documents"] for batch in batches for documents in batch["rows"]]
    assert sum(len(documents) > 1 for documents in documents_by_row) > 2
    assert all(
        document_text.startswith("Day")
        for documents in documents_by_row
        for document_text in map(tokens_text, documents[1:])
    )
    assert all(
        "Day" not in document_text[1:]
        for documents in documents_by_row
        for document_text in map(tokens_text, documents)
    )


def tokens_text(document: dict[str, Any]) -> str:
    return "".join(token["text"] for token in document["tokens"])


def rows_with_hints(count: int) -> list[dict[str, Any]]:
    return [row | {"privileged_context": f"Think of {row['answer']}."} for row in addition_rows(count)]


ROWS_BY_METHOD = {"sft": conversation_rows, "gkd": conversation_rows, "gold": conversation_rows, "ebft": text_rows, "pretrain": text_rows, "kto": unpaired_preference_rows, "tpo": ranked_rows, "sdft": rows_with_hints,
           "process_reward": stepwise_rows, **dict.fromkeys(("dpo", "orpo", "cpo", "simpo", "reward"), preference_rows)}  # fmt: skip


@pytest.mark.slow
@pytest.mark.first_cases(8)
@pytest.mark.parametrize("method", registry.names("methods"))
def test_every_method_previews_rows_by_their_number(method: str, tmp_path: Path) -> None:
    from app.engine.libraries import prepare_libraries
    from app.engine.preview import row_preview

    prepare_libraries()
    needs_rewards = load_method(method).needs_rewards
    spec_fields = {"rewards": [{"name": "exact_match", "params": {"column": "answer"}}]} if needs_rewards else {}
    source = write_rows(tmp_path / "rows.jsonl", ROWS_BY_METHOD.get(method, addition_rows)(30))
    spec = build_spec(method, source, {"packing": False} if method == "pretrain" else {}, **spec_fields)
    all_rows = row_preview.preview_rows(spec, 30)["rows"]
    selected_rows = row_preview.preview_rows(spec, 2, [17, 3])["rows"]
    assert [row["number"] for row in selected_rows] == [17, 3]
    if method != "kto":  # KTO numbers its rows in its own training order, and shows the first rows in the file's order
        assert [row_texts(row) for row in selected_rows] == [row_texts(all_rows[16]), row_texts(all_rows[2])]
    with pytest.raises(Problem, match="There is no example 31: 30 are learned from"):
        row_preview.preview_rows(spec, 1, [31])


def row_texts(row: dict[str, Any]) -> list[str]:
    return [tokens_text(row_or_side) for row_or_side in (row, *row.get("sides", ()))]
