"""Source preview: what the page shows of a file before training: its table, its layout, and the normalized first row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from app.core import registry
from app.core.problems import Problem
from app.data.findings import source_preview
from app.server.views import data_sources
from app.worker.client import WorkerClient
from tests.support import write_rows


def preview_rows(rows: list[dict[str, Any]], folder: Path, method: str = "sft", **source_fields: Any) -> dict[str, Any]:
    source = write_rows(folder / "rows.jsonl", rows)
    return source_preview.preview_source({"source": {"source": source, **source_fields}, "place": 0, "method": method})


UNKNOWN_COLUMN_ROWS = [{"Kundenfrage": f"Where is parcel {i}?", "Ours": f"It is here, {i}.", "who": "Ana", "note": {"by": "x" * 900}} for i in range(7)]  # fmt: skip


def test_columns_with_unknown_names_are_read_only_with_a_mapping(tmp_path: Path) -> None:
    preview = preview_rows(UNKNOWN_COLUMN_ROWS, tmp_path)
    assert (preview["now"]["layout"], preview["now"]["certainty"]) == ("pair", "possible")
    assert "Map your columns" in preview["first_example"]["why"], "a guess is never used"
    assert [column["name"] for column in preview["columns"]] == ["Kundenfrage", "Ours", "who", "note.by", "note"]
    assert len(preview["cells"]) == source_preview.MAX_TABLE_ROWS
    assert preview["cells"][1][:2] == ["Where is parcel 1?", "It is here, 1."]
    assert len(preview["cells"][0][3]) == source_preview.MAX_CELL_LENGTH
    mapped_preview = preview_rows(
        UNKNOWN_COLUMN_ROWS, tmp_path, mapping={"prompt": "Kundenfrage", "completion": "Ours"}
    )
    assert (mapped_preview["now"]["certainty"], mapped_preview["guess"]["certainty"]) == ("sure", "possible")
    assert (mapped_preview["now"]["layout"], mapped_preview["fits"]) == ("pair", True)
    assert [column["title"] for column in mapped_preview["first_example"]["columns"]] == ["The question", "The answer"]


def test_templates_are_applied_to_the_first_row(tmp_path: Path) -> None:
    templates = {"prompt": "{Kundenfrage} ({Ours})", "completion": "{Ours}"}
    [prompt_column, _] = preview_rows(UNKNOWN_COLUMN_ROWS, tmp_path, templates=templates)["first_example"]["columns"]
    assert prompt_column["messages"] == [{"role_or_mask": "user", "text": "Where is parcel 0? (It is here, 0.)"}]


def test_a_wrong_mapping_and_an_empty_first_row_are_explained(tmp_path: Path) -> None:
    preview = preview_rows(UNKNOWN_COLUMN_ROWS, tmp_path, mapping={"prompt": "Kundenfrage", "completion": "Answer"})
    assert preview["now"]["findings"][0]["severity"] == "wrong"
    assert "no column “Answer”" in preview["now"]["findings"][0]["text"]
    assert "no column “Answer”" in preview["first_example"]["why"]
    empty_row_preview = preview_rows(
        [{"prompt": "Why?", "completion": ""}, {"prompt": "Why?", "completion": "So."}], tmp_path
    )
    assert empty_row_preview["first_example"]["why"].startswith("Row 1 is left out")


def test_the_type_of_rows_that_the_method_cannot_use_is_still_detected(tmp_path: Path) -> None:
    preview = preview_rows([{"prompt": "Sing.", "chosen": "La la.", "rejected": "No."}] * 3, tmp_path)
    assert (preview["now"]["kind"], preview["fits"], preview["fit"]["best"]) == ("preference", False, "dpo")


@pytest.mark.slow
@pytest.mark.first_cases(6)
@pytest.mark.parametrize("method", registry.names("methods"))
def test_arbitrary_rows_do_not_break_the_preview_of_any_method(tmp_path: Path, method: str) -> None:
    rows = [{"messages": [{"from": "elf", "value": None}], "x": [[{}], 3, None], "": 1, "a.b": {"c": [True]}}, {"x": "<b>"}, {}]  # fmt: skip
    preview = preview_rows(rows, tmp_path, method)
    json.dumps(preview)
    assert len(preview["cells"]) == 3
    assert preview_rows([{}], tmp_path, method)["columns"] == []


def test_a_space_refuses_files_of_its_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYSTEM", "spaces")
    [preview_source, _] = data_sources.data_source_functions(WorkerClient())
    with pytest.raises(Problem, match="takes no file of the machine"):
        preview_source({"source": {"source": write_rows(tmp_path / "a.jsonl", UNKNOWN_COLUMN_ROWS)}, "method": "sft"})


def test_an_invalid_hub_name_is_refused() -> None:
    [_, list_dataset_configs] = data_sources.data_source_functions(WorkerClient())
    with pytest.raises(Problem, match="is no name on the Hub"):
        list_dataset_configs({"name": "../../etc"})
