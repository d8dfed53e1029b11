"""First rows: what the page shows of a file before anything is made of it: its table, how it is read, and what row 1 becomes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from app.core import registry
from app.core.problems import Problem
from app.data import source_preview
from app.server.views import data_sources
from app.worker.client import WorkerClient
from tests.support import write_rows


def seen(rows: list[dict[str, Any]], folder: Path, method: str = "sft", **how: Any) -> dict[str, Any]:
    source = write_rows(folder / "rows.jsonl", rows)
    return source_preview.preview_source({"source": {"source": source, **how}, "place": 0, "method": method})


ODD = [{"Kundenfrage": f"Where is parcel {i}?", "Ours": f"It is here, {i}.", "who": "Ana", "note": {"by": "x" * 900}} for i in range(7)]  # fmt: skip


def test_columns_of_odd_names_wait_for_a_word_and_are_then_read_as_it_says(tmp_path: Path) -> None:
    told = seen(ODD, tmp_path)
    assert told["now"]["layout"] is None
    assert [one["name"] for one in told["columns"]] == ["Kundenfrage", "Ours", "who", "note", "note.by"]
    assert len(told["cells"]) == source_preview.MAX_TABLE_ROWS
    assert told["cells"][1][:2] == ["Where is parcel 1?", "It is here, 1."]
    assert len(told["cells"][0][4]) == source_preview.MAX_CELL_LENGTH
    said = seen(ODD, tmp_path, mapping={"prompt": "Kundenfrage", "completion": "Ours"})
    assert (said["now"]["layout"], said["guess"]["layout"], said["fits"]) == ("pair", None, True)
    assert [one["title"] for one in said["made"]["parts"]] == ["The question", "The answer"]


def test_a_text_of_several_columns_is_tried_on_the_first_row(tmp_path: Path) -> None:
    templates = {"prompt": "{Kundenfrage} ({Ours})", "completion": "{Ours}"}
    [asked, _] = seen(ODD, tmp_path, templates=templates)["made"]["parts"]
    assert asked["says"] == [{"who": "user", "text": "Where is parcel 0? (It is here, 0.)"}]


def test_what_cannot_work_says_why(tmp_path: Path) -> None:
    told = seen(ODD, tmp_path, mapping={"prompt": "Kundenfrage", "completion": "Answer"})
    assert told["now"]["findings"][0]["severity"] == "wrong"
    assert "no column “Answer”" in told["now"]["findings"][0]["text"]
    assert "no column “Answer”" in told["made"]["why"]
    hollow = seen([{"prompt": "Why?", "completion": ""}, {"prompt": "Why?", "completion": "So."}], tmp_path)
    assert hollow["made"]["why"].startswith("Row 1 is left out")


def test_rows_that_a_lesson_does_not_take_are_still_known_for_what_they_are(tmp_path: Path) -> None:
    told = seen([{"prompt": "Sing.", "chosen": "La la.", "rejected": "No."}] * 3, tmp_path)
    assert (told["now"]["kind"], told["fits"], told["fit"]["best"]) == ("preference", False, "dpo")


@pytest.mark.parametrize("method", registry.names("methods"))
def test_whatever_a_file_holds_no_lesson_breaks_the_view(tmp_path: Path, method: str) -> None:
    rows = [{"messages": [{"from": "elf", "value": None}], "x": [[{}], 3, None], "": 1, "a.b": {"c": [True]}}, {"x": "<b>"}, {}]  # fmt: skip
    told = seen(rows, tmp_path, method)
    json.dumps(told)
    assert len(told["cells"]) == 3
    assert seen([{}], tmp_path, method)["columns"] == []


def test_a_space_reads_no_file_of_its_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYSTEM", "spaces")
    [preview_source, _] = data_sources.data_source_functions(WorkerClient())
    with pytest.raises(Problem, match="takes no file of the machine"):
        preview_source({"source": {"source": write_rows(tmp_path / "a.jsonl", ODD)}, "method": "sft"})


def test_only_a_name_on_the_hub_is_asked_for() -> None:
    [_, list_dataset_configs] = data_sources.data_source_functions(WorkerClient())
    with pytest.raises(Problem, match="is no name on the Hub"):
        list_dataset_configs({"name": "../../etc"})
