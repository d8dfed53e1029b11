"""Choose: the menu that the form is drawn from, the requests of the form and their answers, and uploads; without a browser."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from app.core import paths, registry
from app.core.problems import Problem
from app.core.workspace import local_workspace
from app.data.reading import uploads
from app.engine.contracts import load_method
from app.planning import links, presets
from app.planning.resolve import resolve
from app.runs import store
from app.server.error_boundary import as_response
from app.server.views import choose, data_sources
from app.setup.spec import Launch, Spec, parse_spec
from app.worker.client import WorkerClient
from components import glossary, settings
from components.theme import escape

# Words of the code that must not be on the page.
INTERNAL_WORDS = re.compile(r"\b(spec|knob|engine|backend)s?\b", re.IGNORECASE)
CSV_BYTES = b"question,answer\nOne?,1\nTwo?,2\n"


def resolved_preset(name: str = "first_tune", **changes: Any) -> Spec:
    return resolve(parse_spec(presets.unresolved_preset_spec(name).to_dict() | changes))


# -- the menu that the form is drawn from --------------------------------------------------------------------------


@pytest.mark.parametrize("method", registry.names("methods"))
def test_a_method_has_at_most_six_everyday_settings_each_with_a_sentence_and_a_safe_range(method: str) -> None:
    fields = settings.settings_menu()["methods"][method]["fields"]
    everyday_fields = [field for field in fields if field["everyday"]]
    assert 0 < len(everyday_fields) <= 6 < len(fields)
    for field in everyday_fields:
        assert field["sentence"].endswith(".")
        # the page computes an automatic default for the chosen model
        has_automatic_default = field["type"] == "float" and "default" not in field
        is_full_range = (field.get("low"), field.get("high")) == (0.0, 1.0)  # the full range is safe
        assert (
            field["type"] in ("choice", "bool", "str") or "safe" in field or is_full_range or has_automatic_default
        ), field["name"]


def test_safe_ranges_lie_within_the_limits_and_contain_the_values_of_presets() -> None:
    menu = settings.settings_menu()
    for field in [*menu["common"], *(field for method in menu["methods"].values() for field in method["fields"])]:
        if "safe" in field:
            assert field["low"] <= field["safe"][0] < field["safe"][1] <= field["high"], field["name"]
    for preset in menu["presets"]:
        fields_by_name = {field["name"]: field for field in menu["methods"][preset["method"]]["fields"]}
        for name, value in preset["setup"]["knobs"].items():
            safe_low, safe_high = fields_by_name[name].get("safe", (value, value))
            assert safe_low <= value <= safe_high, f"{preset['name']} sets {name} to {value}"


@pytest.mark.parametrize("field", settings.COMMON_SETTINGS, ids=lambda field: field["name"])
def test_limits_of_common_settings_are_those_of_the_spec(field: dict[str, Any]) -> None:
    def is_accepted(value: Any) -> bool:
        group, _, setting = field["path"].rpartition(".")
        spec_dict = presets.unresolved_preset_spec("first_tune").to_dict()
        (
            spec_dict
            if not group
            else spec_dict.setdefault(group, {})
            if group != "holdout"
            else spec_dict.update(holdout={}) or spec_dict["holdout"]
        )[setting] = value
        try:
            return bool(parse_spec(spec_dict))
        except Problem:
            return False

    if "low" in field:
        assert is_accepted(field["low"])
        assert is_accepted(field["high"])
        assert not is_accepted(field["low"] - 1)
    for setting in field.get("choices", {}):
        assert is_accepted(int(setting) if field.get("numeric") else setting)


def test_the_form_uses_no_internal_words() -> None:
    menu = settings.settings_menu()
    field_groups = [
        menu["common"],
        [method["fields"] for method in menu["methods"].values()],
        [reward["fields"] for reward in menu["rewards"].values()],
    ]
    assert not INTERNAL_WORDS.search(
        json.dumps([[field["title"], field["sentence"]] for group in field_groups for field in flatten(group)])
    )


def flatten(group: list[Any]) -> Iterator[dict[str, Any]]:
    for entry in group:
        yield from flatten(entry) if isinstance(entry, list) else [entry]


def test_the_menu_is_valid_json_and_every_default_is_one_of_the_choices() -> None:
    menu = settings.settings_menu()
    assert json.loads(orjson.dumps(menu)) == json.loads(json.dumps(menu)), (
        "orjson, which serializes the menu for the page, rejects keys that are not strings"
    )
    for field in menu["common"]:
        assert field["type"] != "choice" or str(field["default"]) in field["choices"]


def test_the_menu_gives_the_standard_terms_of_methods_and_settings() -> None:
    menu = settings.settings_menu()
    assert [menu["methods"][name]["term"] for name in ("sft", "dpo", "process_reward")] == ["SFT", "DPO", "PRM"]
    assert all(method["term"] for method in menu["methods"].values())
    library_names = {
        field["name"]: field.get("library_name") for field in [*menu["common"], *menu["methods"]["grpo"]["fields"]]
    }
    assert library_names["attempts"] == "num_generations"
    assert library_names["kl"] == "beta"
    assert library_names["alpha"] == "lora_alpha"
    assert library_names["learning_rate"] is None  # the library uses the same name
    assert library_names["r"] is None


def test_the_glossary_names_every_method_and_equals_the_table_in_contributing() -> None:
    import gradio as gr

    expected_rows = [f"| {term.page} | {term.code} | {term.field} |" for term in glossary.GLOSSARY]
    contributing_glossary = (paths.ROOT / "CONTRIBUTING.md").read_text("utf-8").partition("## Glossary")[2]
    assert [line for line in contributing_glossary.splitlines() if line.startswith("|")][2:] == expected_rows
    with gr.Blocks(analytics_enabled=False):
        glossary_html = glossary.build_glossary().value
    for name in registry.names("methods"):
        method = load_method(name)
        expected_html = f'<th scope="row">{escape(method.title)}</th><td>{escape(method.term)}</td><td>{name}</td>'
        assert glossary_html.count(expected_html) == 1, name
    assert "end-of-sequence token" in glossary_html


def test_every_preset_uses_only_samples_and_families_of_the_menu() -> None:
    menu = settings.settings_menu()
    assert menu["presets"][0]["name"] == menu["first"]
    sample_sources = {sample["source"] for sample in menu["samples"]}
    for preset in menu["presets"]:
        sources = {source["source"] for source in preset["setup"]["data"]}
        assert sources <= sample_sources or (preset["goal"] and all(source.startswith("hub:") for source in sources))
        assert not preset["goal"] or preset["goal"] in menu["goals"]
        assert menu["methods"][preset["method"]]["family"] in menu["families"]
    assert all(model["title"] != model["id"] for model in menu["shipped"]), "every shipped model has a title"


def test_the_html_template_of_the_form_contains_no_value() -> None:
    """A value inside the template would be executed as code; see components/theme.py."""
    import gradio as gr

    with gr.Blocks(analytics_enabled=False):
        assert settings.build_settings_form().html_template == '<div class="setup"></div>'


# -- setups from the form, presets and links -----------------------------------------------------------------------


def test_the_form_returns_the_spec_it_was_filled_with() -> None:
    spec = resolved_preset(seed=11)
    assert choose.read_chosen_spec(spec.to_dict()) == spec
    assert choose.read_chosen_spec(choose.compare_with_nearest_preset(spec)["setup"]) == parse_spec(
        links.preset_changes(spec, "first_tune")
    )
    with pytest.raises(Problem, match="“seed”"):
        choose.read_chosen_spec(spec.to_dict() | {"seed": "x"})


WORKER = WorkerClient()  # its processes are started by the first call, and end with this one


def open_setup_link(code: str) -> dict[str, Any]:
    return choose.open_setup_link_function(WORKER.bounded_calls)(code, None)


@pytest.mark.parametrize("name", registry.names("presets"))
def test_a_preset_is_its_own_nearest_preset_without_changes(name: str) -> None:
    assert choose.compare_with_nearest_preset(presets.preset_spec(name)) == {
        "preset": name,
        "setup": presets.unresolved_preset_spec(name).to_dict(),
    }


def test_a_link_says_what_it_changes_as_old_and_new_values() -> None:
    answer = open_setup_link(links.encode_setup(resolved_preset("read_a_diary", seed=11)))["answer"]
    assert answer["changes"] == [{"path": "seed", "title": "Seed", "before": "7", "after": "11"}]


def test_a_setup_link_keeps_only_the_differences_from_its_preset() -> None:
    spec = resolved_preset("read_a_diary", seed=11)
    answer = open_setup_link(links.encode_setup(spec))["answer"]
    assert answer["preset"] == "read_a_diary"
    assert answer["setup"] == presets.unresolved_preset_spec("read_a_diary").to_dict() | {"seed": 11}
    assert resolve(parse_spec(answer["setup"])) == spec


def test_a_link_that_changes_the_adapter_keeps_the_resolved_settings() -> None:
    """Without an adapter the automatic learning rate is another one."""
    spec = presets.preset_spec("read_a_diary")
    spec = spec.model_copy(update={"adapter": spec.adapter.model_copy(update={"kind": "none"})})
    answer = open_setup_link(links.encode_setup(spec))["answer"]
    assert resolve(parse_spec(answer["setup"])) == spec


def preview_source(source: str, **source_fields: Any) -> dict[str, Any]:
    """The response to the form's request for a preview of a source."""
    [preview_source_handler, _] = map(as_response, data_sources.data_source_functions(WORKER))
    return preview_source_handler({"source": {"source": source, **source_fields}, "place": 0, "method": "sft"})


# -- requests of the form ------------------------------------------------------------------------------------------


def test_a_request_that_cannot_be_answered_returns_a_problem() -> None:
    link = links.encode_setup(presets.preset_spec("first_tune"))
    newer_link = base64.urlsafe_b64encode(b'{"v": 2, "preset": "first_tune", "set": {}}').decode()
    assert "newer version" in open_setup_link(newer_link)["problem"]["text"]
    assert "not a whole setup" in open_setup_link(link[: len(link) // 2])["problem"]["text"]
    assert "cannot be read" in preview_source("path:/etc/hosts")["problem"]["text"]
    assert "Upload the file again" in preview_source(f"upload:{'0' * 64}.csv")["problem"]["advice"]
    setup_without_model = presets.unresolved_preset_spec("first_tune").to_dict() | {"model": {"id": ""}}
    with pytest.raises(Problem, match="Name a model, or choose the practice model"):
        choose.read_chosen_spec(setup_without_model)


def test_automatic_settings_follow_the_model_and_the_adapter() -> None:
    def learning_rate(model: str, adapter: str) -> float:
        return choose.resolve_automatic_settings({"method": "sft", "adapter": adapter, "model": {"id": model}})[
            "answer"
        ]["learning_rate"]

    assert learning_rate("pocket", "lora") == 2e-3
    assert learning_rate("owner/name", "lora") == 2e-4
    assert learning_rate("owner/name", "none") == 2e-5


def test_only_finished_runs_with_an_adapter_can_be_continued(home: Path) -> None:
    def create_run(title: str, *event_dicts: dict[str, Any], has_adapter: bool = True) -> str:
        run = store.create_run(
            local_workspace(), presets.preset_spec("first_tune").model_copy(update={"title": title}), Launch()
        )
        lines = [
            json.dumps({"seq": seq, "attempt": 1, "time": 0.0} | event) for seq, event in enumerate(event_dicts, 1)
        ]
        run.events.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        if has_adapter:
            run.adapter.mkdir()
        return run.id

    done_event = {"kind": "done", "why": "finished", "adapter": "adapter", "verdict": ""}
    finished_run_id = create_run("Good", done_event)
    create_run("Stopped", done_event | {"why": "stopped"})
    create_run("Failed", {"kind": "failed", "reason": "x", "text": "x", "advice": "x", "step": 1})
    create_run("Tidied", done_event, has_adapter=False)
    [listed_run] = choose.list_finished_runs()["answer"]
    assert listed_run["id"] == finished_run_id
    assert listed_run["model"]["id"] == "pocket"
    assert listed_run["title"].startswith("Good · ")  # then the date, because titles can repeat
    assert listed_run["model"]["start_from"] == f"run:{finished_run_id}"
    assert parse_spec(
        presets.unresolved_preset_spec("first_tune").to_dict()
        | {"model": listed_run["model"], "adapter": listed_run["adapter"]}
    )


def test_a_setup_with_an_upload_gets_no_link_and_the_problem_does_not_contain_its_file_name() -> None:
    setup = presets.unresolved_preset_spec("first_tune").to_dict() | {
        "data": [{"source": f"upload:{'0a' * 32}.csv"}],
        "holdout": {"share": 0.1},
    }
    problem = choose.create_setup_link({"setup": setup, "page": "http://127.0.0.1:7860/"})["problem"]
    assert "uploaded" in problem["text"]
    assert "0a0a" not in problem["text"]
    link = choose.create_setup_link(
        {"setup": presets.unresolved_preset_spec("first_tune").to_dict(), "page": "http://127.0.0.1:7860/"}
    )["answer"]
    assert link.startswith("http://127.0.0.1:7860/?setup=")


# -- uploads over HTTP --------------------------------------------------------------------------------------------


@pytest.fixture
def client() -> TestClient:
    app = FastAPI()
    choose.mount_upload_route(app, WORKER.bounded_calls)
    return TestClient(app)


def test_an_uploaded_file_is_stored_and_described(client: TestClient, home: Path) -> None:
    upload = client.post("/uploads", params={"name": "mine.csv"}, content=CSV_BYTES).json()["answer"]
    assert upload["rows"] == 2
    assert preview_source(upload["source"])["answer"]["fit"]["best"] == "sft"
    assert preview_source(upload["source"], mapping={"text": "question"})["answer"]["fit"]["methods"]["pretrain"] == ""
    assert uploads.describe_source(upload["source"])["columns"][0]["name"] == "question"


def test_an_upload_of_an_unknown_type_is_refused_with_a_problem(client: TestClient, home: Path) -> None:
    response = client.post("/uploads", params={"name": "mine.exe"}, content=CSV_BYTES)
    assert response.status_code == 422
    assert "“.exe”" in response.json()["problem"]["text"]


def test_an_upload_whose_content_length_is_too_large_is_refused(client: TestClient, home: Path) -> None:
    response = client.post(
        "/uploads", params={"name": "a.csv"}, content=b"x", headers={"content-length": str(2_000_000_000)}
    )
    assert "larger than 500 MB" in response.json()["problem"]["text"]
