"""Gathering: slices, weights and what is held out, in memory and as a stream; what cannot be read is left out only when asked."""

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
from tests.support import chats, spec_of, write_rows

PAIRS = [{"prompt": f"What is {i}?", "completion": f"It is {i}.", "set": "dev" if i % 4 == 0 else "train", "about": {"even": i % 2 == 0}}
         for i in range(100)]  # fmt: skip
TEXTS = [{"text": f"Day {i}."} for i in range(400)]


@pytest.fixture
def pairs(tmp_path: Path) -> str:
    return write_rows(tmp_path / "pairs.jsonl", PAIRS)


@pytest.fixture
def texts(tmp_path: Path) -> str:
    return write_rows(tmp_path / "texts.jsonl", TEXTS)


def loaded(*sources: dict[str, Any], holdout: dict[str, Any] | None = None, **how: Any) -> LoadedData:
    spec = parse_spec({"method": "sft", "data": [*sources], "holdout": holdout or {}})
    return load_data(spec, ("prompt_completion", "text"), "Imitate examples", False, **how)


def asked(found: Any) -> list[str]:
    return [row["prompt"] for row in found]


# -- slices and what cannot be read -------------------------------------------------------------------------------


def test_a_slice_is_all_that_is_learned_from_a_source(pairs: str) -> None:
    found = loaded({"source": pairs, "start": 10, "limit": 5}, {"source": pairs, "start": 98})
    assert asked(found.train) == [f"What is {i}?" for i in (*range(10, 15), 98, 99)]


def test_rows_that_cannot_be_read_stop_it_until_a_person_says_otherwise(pairs: str) -> None:
    with Path(pairs.removeprefix("path:")).open("a") as file:
        file.write('{"prompt": "cut off\n')
    with pytest.raises(Problem, match="line 101 is not JSON"):
        loaded({"source": pairs})
    found = loaded({"source": pairs, "skip_bad": True})
    assert len(found.train) == 100
    [(reason, count)] = found.dropped.items()
    assert (reason.partition(" (")[0], count) == ("pairs.jsonl cannot be read there, first line 101 is not JSON", 1)
    [finding] = found.findings
    assert (finding["id"], finding["severity"], finding["count"], finding["rows"]) == ("unreadable_rows", "careful", 1, [101])  # fmt: skip


def test_a_preview_reads_no_further_than_it_shows(pairs: str) -> None:
    with Path(pairs.removeprefix("path:")).open("a") as file:
        file.write("broken\n")
    assert asked(loaded({"source": pairs}, max_rows=3).train) == ["What is 0?", "What is 1?", "What is 2?"]


def test_a_preview_shows_what_the_run_learns_from(pairs: str) -> None:
    """The first row is the slice's first that is not held out."""
    source = {"source": pairs, "start": 4, "limit": 50}
    spec = spec_of("sft", pairs, data=[source], holdout={"column": "set", "value": "dev"})
    first, whole = (preview_job(spec, rows).data for rows in (1, None))
    assert first.train[0] == whole.train[0]
    assert whole.train[0]["prompt"][0]["content"] == "What is 5?"
    assert (len(whole.train), len(whole.holdout)) == (37, 13)


# -- held out -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("column", "value", "count"), [("set", "dev", 25), ("about.even", "true", 50), ("prompt", "What is 7?", 1)])  # fmt: skip
def test_rows_whose_column_says_so_are_held_out_and_never_learned(column: str, value: str, count: int, pairs: str) -> None:  # fmt: skip
    found = loaded({"source": pairs}, holdout={"column": column, "value": value})
    assert (len(found.holdout), len(found.train)) == (count, 100 - count)
    assert not set(asked(found.holdout)) & set(asked(found.train))


def test_a_column_or_value_that_is_nowhere_names_what_is_there(pairs: str) -> None:
    with pytest.raises(Problem, match="No row to learn from says “test” in the column “set”") as found:
        loaded({"source": pairs}, holdout={"column": "set", "value": "test"})
    assert found.value.advice == "It says “dev”, “train”."
    for deed in (loaded, lambda *sources, holdout: preflight.check_spec(parse_spec({"method": "sft", "data": [*sources], "holdout": holdout}))):  # fmt: skip
        with pytest.raises(Problem, match="No row has a column “sets”") as found:
            deed({"source": pairs}, holdout={"column": "sets", "value": "dev"})
        assert found.value.advice == "Did you mean “set”?"


def test_rows_of_a_source_of_their_own_are_held_out_as_it_says(pairs: str, tmp_path: Path) -> None:
    other = write_rows(tmp_path / "other.jsonl", [{"q": f"Other {i}?", "a": "Yes."} for i in range(9)])
    aside = {"source": other, "start": 2, "limit": 3, "mapping": {"prompt": "q", "completion": "a"}}
    found = loaded({"source": pairs}, holdout={"source": aside})
    assert (len(found.train), asked(found.holdout)) == (100, ["Other 2?", "Other 3?", "Other 4?"])
    assert list(found.files) == [pairs, other]
    with pytest.raises(Problem, match="are not there"):
        preflight.check_spec(parse_spec({"method": "sft", "data": [{"source": pairs}], "holdout": {"source": {"source": "path:/gone.jsonl"}}}))  # fmt: skip


def test_a_held_out_split_is_whole_though_only_a_slice_is_learned() -> None:
    found = loaded({"source": "sample:diary", "start": 3, "limit": 4}, holdout={"split": "holdout"})
    assert len(found.train) == 4
    assert len(found.holdout) > 4


# -- streams ------------------------------------------------------------------------------------------------------


def test_a_stream_begins_again_and_never_gives_what_is_held_out(texts: str) -> None:
    found = loaded({"source": texts}, holdout={"share": 0.1}, streaming=True)
    seen = [row["text"] for row in found.train.take(900)]
    aside = {row["text"] for row in found.holdout}
    assert 20 < len(aside) < 60, "about a tenth of 400"
    assert set(seen) | aside == {row["text"] for row in TEXTS}
    assert not aside & set(seen)
    again = loaded({"source": texts}, holdout={"share": 0.1}, streaming=True)
    assert [row["text"] for row in again.train.take(900)] == seen, "a run that is resumed skips what it has seen"


def test_a_stream_draws_each_row_as_often_as_its_source_weighs(texts: str, tmp_path: Path) -> None:
    few = write_rows(tmp_path / "few.jsonl", [{"text": f"Rare {i}."} for i in range(40)])
    found = loaded({"source": texts}, {"source": few, "weight": 5}, streaming=True)
    counts = Counter(row["text"].partition(" ")[0] for row in found.train.take(1200))
    assert 300 < counts["Rare"] < 500, "40 rows five times beside 400 once: a third"


def test_a_stream_holds_out_by_column_and_source_too(pairs: str) -> None:
    found = loaded({"source": pairs}, holdout={"column": "set", "value": "dev"}, streaming=True)
    assert len(found.holdout) == 25
    assert not set(asked(found.holdout)) & set(asked(found.train.take(200)))
    assert len(loaded({"source": pairs}, holdout={"source": {"source": pairs, "limit": 7}}, streaming=True).holdout) == 7  # fmt: skip


@pytest.mark.slow
def test_conversations_of_any_number_are_imitated_as_they_come(tmp_path: Path) -> None:
    """Rows are prepared on the way; a preview shows the first of them, and what is held out is tested."""
    prepare_libraries()
    source = write_rows(tmp_path / "chats.jsonl", chats(40))
    with pytest.raises(Problem, match="no end of its own"):
        spec_of("sft", source, {"streaming": True})
    spec = spec_of("sft", source, {"streaming": True, "steps": 2, "batch_size": 2}, holdout={"share": 0.2})
    job = Job(spec, tmp_path / "run", Device("cpu"))
    trainer = job.method.build(job)
    trainer.train()
    assert trainer.state.global_step == 2
    assert 0 < len(job.data.holdout) < 20
    shown = preview_rows(spec, 3)
    assert len(shown["rows"]) == 3
    assert all(any(token["trained"] for token in row["tokens"]) for row in shown["rows"])


# -- memory -------------------------------------------------------------------------------------------------------


def test_examples_that_would_not_fit_are_refused_before_they_are_read(tmp_path: Path) -> None:
    with (tmp_path / "large.jsonl").open("wb") as file:
        file.truncate(10**12)  # holes: nothing of it lies on the disk
    with pytest.raises(Problem, match=r"The examples hold 1,000\.0 GB") as found:
        loaded({"source": f"path:{tmp_path / 'large.jsonl'}"})
    assert found.value.reason == "too_large"


def test_rows_that_fill_the_memory_stop_before_they_do(pairs: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_module, "MIN_FREE_MEMORY", 10**15)
    with pytest.raises(Problem, match="fill this machine's memory"):
        loaded({"source": pairs})
