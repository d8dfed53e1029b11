"""Loading sources: slices, weights, holdout and unreadable rows, in memory and as a stream."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from app.core.problems import Problem
from app.engine.datasets import load as load_module
from app.engine.datasets.load import LoadedData, load_data
from app.engine.job import Job
from app.engine.libraries import prepare_libraries
from app.engine.model.device import Device
from app.engine.preview.preview_job import preview_job
from app.engine.preview.row_preview import preview_rows
from app.planning import preflight
from app.setup.spec import parse_spec
from tests.support import build_spec, conversation_rows, write_rows

PAIR_ROWS = [{"prompt": f"What is {i}?", "completion": f"It is {i}.", "set": "dev" if i % 4 == 0 else "train", "about": {"even": i % 2 == 0}}
         for i in range(100)]  # fmt: skip
TEXT_ROWS = [{"text": f"Day {i}."} for i in range(400)]


@pytest.fixture
def pairs_source(tmp_path: Path) -> str:
    return write_rows(tmp_path / "pairs.jsonl", PAIR_ROWS)


@pytest.fixture
def texts_source(tmp_path: Path) -> str:
    return write_rows(tmp_path / "texts.jsonl", TEXT_ROWS)


def load_sources(*sources: dict[str, Any], holdout: dict[str, Any] | None = None, **options: Any) -> LoadedData:
    spec = parse_spec({"method": "sft", "data": [*sources], "holdout": holdout or {}})
    return load_data(spec, ("prompt_completion", "text"), "Imitate examples", False, **options)


def prompts_of(rows: Any) -> list[str]:
    return [row["prompt"] for row in rows]


# -- slices and unreadable rows -----------------------------------------------------------------------------------


def test_only_the_chosen_slice_of_a_source_is_loaded(pairs_source: str) -> None:
    loaded_data = load_sources({"source": pairs_source, "start": 10, "limit": 5}, {"source": pairs_source, "start": 98})
    assert prompts_of(loaded_data.train) == [f"What is {i}?" for i in (*range(10, 15), 98, 99)]


def test_an_unreadable_row_is_refused_unless_skip_bad_is_set(pairs_source: str) -> None:
    with Path(pairs_source.removeprefix("path:")).open("a") as file:
        file.write('{"prompt": "cut off\n')
    with pytest.raises(Problem, match="line 101 is not JSON"):
        load_sources({"source": pairs_source})
    loaded_data = load_sources({"source": pairs_source, "skip_bad": True})
    assert len(loaded_data.train) == 100
    [(reason, count)] = loaded_data.dropped.items()
    assert (reason.partition(" (")[0], count) == ("pairs.jsonl cannot be read there, first line 101 is not JSON", 1)
    [finding] = loaded_data.findings
    assert (finding["id"], finding["severity"], finding["count"], finding["rows"]) == ("unreadable_rows", "careful", 1, [101])  # fmt: skip


def test_a_preview_reads_only_the_rows_it_shows(pairs_source: str) -> None:
    with Path(pairs_source.removeprefix("path:")).open("a") as file:
        file.write("broken\n")
    assert prompts_of(load_sources({"source": pairs_source}, max_rows=3).train) == [
        "What is 0?",
        "What is 1?",
        "What is 2?",
    ]


def test_a_preview_begins_with_the_first_training_row(pairs_source: str) -> None:
    """The first row is the first of the slice that is not held out."""
    source = {"source": pairs_source, "start": 4, "limit": 50}
    spec = build_spec("sft", pairs_source, data=[source], holdout={"column": "set", "value": "dev"})
    one_row_data, full_data = (preview_job(spec, rows).data for rows in (1, None))
    assert one_row_data.train[0] == full_data.train[0]
    assert full_data.train[0]["prompt"][0]["content"] == "What is 5?"
    assert (len(full_data.train), len(full_data.holdout)) == (37, 13)


# -- holdout ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("column", "value", "count"), [("set", "dev", 25), ("about.even", "true", 50), ("prompt", "What is 7?", 1)])  # fmt: skip
def test_rows_with_the_holdout_value_in_a_column_are_held_out_of_training(column: str, value: str, count: int, pairs_source: str) -> None:  # fmt: skip
    loaded_data = load_sources({"source": pairs_source}, holdout={"column": column, "value": value})
    assert (len(loaded_data.holdout), len(loaded_data.train)) == (count, 100 - count)
    assert not set(prompts_of(loaded_data.holdout)) & set(prompts_of(loaded_data.train))


def test_an_unknown_holdout_column_or_value_lists_the_existing_ones(pairs_source: str) -> None:
    with pytest.raises(Problem, match="No row to learn from says “test” in the column “set”") as raised:
        load_sources({"source": pairs_source}, holdout={"column": "set", "value": "test"})
    assert raised.value.advice == "It says “dev”, “train”."
    for check_or_load in (load_sources, lambda *sources, holdout: preflight.check_spec(parse_spec({"method": "sft", "data": [*sources], "holdout": holdout}))):  # fmt: skip
        with pytest.raises(Problem, match="No row has a column “sets”") as raised:
            check_or_load({"source": pairs_source}, holdout={"column": "sets", "value": "dev"})
        assert raised.value.advice == "Did you mean “set”?"


def test_a_separate_holdout_source_is_sliced_and_mapped_as_specified(pairs_source: str, tmp_path: Path) -> None:
    holdout_source = write_rows(tmp_path / "other.jsonl", [{"q": f"Other {i}?", "a": "Yes."} for i in range(9)])
    holdout_spec = {"source": holdout_source, "start": 2, "limit": 3, "mapping": {"prompt": "q", "completion": "a"}}
    loaded_data = load_sources({"source": pairs_source}, holdout={"source": holdout_spec})
    assert (len(loaded_data.train), prompts_of(loaded_data.holdout)) == (100, ["Other 2?", "Other 3?", "Other 4?"])
    assert list(loaded_data.files) == [pairs_source, holdout_source]
    with pytest.raises(Problem, match="are not there"):
        preflight.check_spec(parse_spec({"method": "sft", "data": [{"source": pairs_source}], "holdout": {"source": {"source": "path:/gone.jsonl"}}}))  # fmt: skip


def test_a_slice_of_the_training_split_does_not_limit_the_holdout_split() -> None:
    loaded_data = load_sources({"source": "sample:diary", "start": 3, "limit": 4}, holdout={"split": "holdout"})
    assert len(loaded_data.train) == 4
    assert len(loaded_data.holdout) > 4


# -- streams ------------------------------------------------------------------------------------------------------


def test_a_stream_repeats_deterministically_and_never_yields_held_out_rows(texts_source: str) -> None:
    loaded_data = load_sources({"source": texts_source}, holdout={"share": 0.1}, streaming=True)
    streamed_texts = [row["text"] for row in loaded_data.train.take(900)]
    held_out_texts = {row["text"] for row in loaded_data.holdout}
    assert 20 < len(held_out_texts) < 60, "about a tenth of 400"
    assert set(streamed_texts) | held_out_texts == {row["text"] for row in TEXT_ROWS}
    assert not held_out_texts & set(streamed_texts)
    reloaded_data = load_sources({"source": texts_source}, holdout={"share": 0.1}, streaming=True)
    assert [row["text"] for row in reloaded_data.train.take(900)] == streamed_texts, (
        "a resumed run skips the rows it has already read, so their order must not change"
    )


def test_a_stream_draws_rows_in_proportion_to_the_source_weight(texts_source: str, tmp_path: Path) -> None:
    small_source = write_rows(tmp_path / "few.jsonl", [{"text": f"Rare {i}."} for i in range(40)])
    loaded_data = load_sources({"source": texts_source}, {"source": small_source, "weight": 5}, streaming=True)
    counts = Counter(row["text"].partition(" ")[0] for row in loaded_data.train.take(1200))
    assert 300 < counts["Rare"] < 500, "40 rows five times beside 400 once: a third"


def test_a_stream_holds_out_by_column_and_source_too(pairs_source: str) -> None:
    loaded_data = load_sources({"source": pairs_source}, holdout={"column": "set", "value": "dev"}, streaming=True)
    assert len(loaded_data.holdout) == 25
    assert not set(prompts_of(loaded_data.holdout)) & set(prompts_of(loaded_data.train.take(200)))
    assert len(load_sources({"source": pairs_source}, holdout={"source": {"source": pairs_source, "limit": 7}}, streaming=True).holdout) == 7  # fmt: skip


@pytest.mark.slow
def test_streamed_conversations_are_trained_previewed_and_held_out(tmp_path: Path) -> None:
    """Rows are prepared during training; a preview shows the first of them, and a holdout share is set aside."""
    prepare_libraries()
    source = write_rows(tmp_path / "chats.jsonl", conversation_rows(40))
    with pytest.raises(Problem, match="no end of its own"):
        build_spec("sft", source, {"streaming": True})
    spec = build_spec("sft", source, {"streaming": True, "steps": 2, "batch_size": 2}, holdout={"share": 0.2})
    job = Job(spec, tmp_path / "run", Device("cpu"))
    trainer = job.method.build(job)
    trainer.train()
    assert trainer.state.global_step == 2
    assert 0 < len(job.data.holdout) < 20
    preview = preview_rows(spec, 3)
    assert len(preview["rows"]) == 3
    assert all(any(token["trained"] for token in row["tokens"]) for row in preview["rows"])


# -- memory -------------------------------------------------------------------------------------------------------


def test_examples_larger_than_memory_are_refused_before_they_are_read(tmp_path: Path) -> None:
    with (tmp_path / "large.jsonl").open("wb") as file:
        file.truncate(10**12)  # a sparse file: it takes no space on the disk
    with pytest.raises(Problem, match=r"The examples hold 1,000\.0 GB") as raised:
        load_sources({"source": f"path:{tmp_path / 'large.jsonl'}"})
    assert raised.value.reason == "too_large"


def test_loading_stops_before_the_rows_fill_the_memory(pairs_source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_module, "MIN_FREE_MEMORY", 10**15)
    with pytest.raises(Problem, match="fill this machine's memory"):
        load_sources({"source": pairs_source})
