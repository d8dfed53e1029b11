"""Choose: what the form is drawn from, what it asks of the page, and what it answers; without a browser."""

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
from app.data import uploads
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

OURS = re.compile(
    r"\b(spec|knob|engine|backend)s?\b", re.IGNORECASE
)  # words for those who build, never for those who visit
TABLE = b"question,answer\nOne?,1\nTwo?,2\n"


def changed(name: str = "first_tune", **changes: Any) -> Spec:
    return resolve(parse_spec(presets.unresolved_preset_spec(name).to_dict() | changes))


# -- what the form is drawn from ----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", registry.names("methods"))
def test_at_most_six_settings_are_for_every_day_each_with_a_sentence_and_a_safe_range(method: str) -> None:
    fields = settings.settings_menu()["methods"][method]["fields"]
    everyday = [one for one in fields if one["everyday"]]
    assert 0 < len(everyday) <= 6 < len(fields)
    for one in everyday:
        assert one["sentence"].endswith(".")
        follows = one["type"] == "float" and "default" not in one  # the page works it out for the model chosen
        share = (one.get("low"), one.get("high")) == (0.0, 1.0)  # all of it is safe
        assert one["type"] in ("choice", "bool", "str") or "safe" in one or share or follows, one["name"]


def test_what_is_safe_lies_within_the_limits_and_holds_what_presets_choose() -> None:
    menu = settings.settings_menu()
    for one in [*menu["common"], *(one for method in menu["methods"].values() for one in method["fields"])]:
        if "safe" in one:
            assert one["low"] <= one["safe"][0] < one["safe"][1] <= one["high"], one["name"]
    for preset in menu["presets"]:
        fields = {one["name"]: one for one in menu["methods"][preset["method"]]["fields"]}
        for name, value in preset["setup"]["knobs"].items():
            low, high = fields[name].get("safe", (value, value))
            assert low <= value <= high, f"{preset['name']} sets {name} to {value}"


@pytest.mark.parametrize("one", settings.COMMON_SETTINGS, ids=lambda one: one["name"])
def test_limits_of_what_every_setup_has_are_those_of_the_setup_itself(one: dict[str, Any]) -> None:
    def taken(value: Any) -> bool:
        group, _, name = one["path"].rpartition(".")
        data = presets.unresolved_preset_spec("first_tune").to_dict()
        (
            data
            if not group
            else data.setdefault(group, {})
            if group != "holdout"
            else data.update(holdout={}) or data["holdout"]
        )[name] = value
        try:
            return bool(parse_spec(data))
        except Problem:
            return False

    if "low" in one:
        assert taken(one["low"])
        assert taken(one["high"])
        assert not taken(one["low"] - 1)
    for name in one.get("choices", {}):
        assert taken(int(name) if one.get("numeric") else name)


def test_the_form_speaks_to_visitors() -> None:
    menu = settings.settings_menu()
    words = [
        menu["common"],
        [m["fields"] for m in menu["methods"].values()],
        [r["fields"] for r in menu["rewards"].values()],
    ]
    assert not OURS.search(json.dumps([[one["title"], one["sentence"]] for group in words for one in flat(group)]))


def flat(group: list[Any]) -> Iterator[dict[str, Any]]:
    for one in group:
        yield from flat(one) if isinstance(one, list) else [one]


def test_what_is_offered_can_be_written_as_json_and_offers_what_is_usual() -> None:
    menu = settings.settings_menu()
    assert json.loads(orjson.dumps(menu)) == json.loads(json.dumps(menu)), (
        "orjson, which sends it, takes no numbers as names"
    )
    for one in menu["common"]:
        assert one["type"] != "choice" or str(one["default"]) in one["choices"]


def test_the_menu_names_methods_and_settings_as_the_field_does() -> None:
    menu = settings.settings_menu()
    assert [menu["methods"][name]["term"] for name in ("sft", "dpo", "process_reward")] == ["SFT", "DPO", "PRM"]
    assert all(method["term"] for method in menu["methods"].values())
    names = {one["name"]: one.get("library_name") for one in [*menu["common"], *menu["methods"]["grpo"]["fields"]]}
    assert names["attempts"] == "num_generations"
    assert names["kl"] == "beta"
    assert names["alpha"] == "lora_alpha"
    assert names["learning_rate"] is None  # the library calls it the same
    assert names["r"] is None


def test_the_glossary_names_every_method_and_is_the_one_for_contributors() -> None:
    import gradio as gr

    rows = [f"| {term.page} | {term.code} | {term.field} |" for term in glossary.GLOSSARY]
    table = (paths.ROOT / "CONTRIBUTING.md").read_text("utf-8").partition("## Glossary")[2]
    assert [line for line in table.splitlines() if line.startswith("|")][2:] == rows
    with gr.Blocks(analytics_enabled=False):
        page = glossary.build_glossary().value
    for name in registry.names("methods"):
        method = load_method(name)
        row = f'<th scope="row">{escape(method.title)}</th><td>{escape(method.term)}</td><td>{name}</td>'
        assert page.count(row) == 1, name
    assert "end-of-sequence token" in page


def test_every_preset_fills_the_form_with_what_is_offered() -> None:
    menu = settings.settings_menu()
    assert menu["presets"][0]["name"] == menu["first"]
    offered = {one["source"] for one in menu["samples"]}
    for preset in menu["presets"]:
        assert {one["source"] for one in preset["setup"]["data"]} <= offered
        assert menu["methods"][preset["method"]]["family"] in menu["families"]
    assert all(one["title"] != one["id"] for one in menu["shipped"]), (
        "every model that comes along has a name for visitors"
    )


def test_the_form_has_a_template_that_holds_no_value() -> None:
    """A template with a value in it would run what the value says; see components/theme.py."""
    import gradio as gr

    with gr.Blocks(analytics_enabled=False):
        assert settings.build_settings_form().html_template == '<div class="setup"></div>'


# -- what comes from it, and what fills it ------------------------------------------------------------------------


def test_the_form_gives_back_the_setup_it_was_given() -> None:
    spec = changed(seed=11)
    assert choose.read_chosen_spec(spec.to_dict()) == spec
    assert choose.read_chosen_spec(choose.compare_with_nearest_preset(spec)["setup"]) == parse_spec(
        links.preset_changes(spec, "first_tune")
    )
    with pytest.raises(Problem, match="“seed”"):
        choose.read_chosen_spec(spec.to_dict() | {"seed": "x"})


@pytest.mark.parametrize("name", registry.names("presets"))
def test_a_preset_filled_in_again_differs_in_nothing(name: str) -> None:
    assert choose.compare_with_nearest_preset(presets.preset_spec(name)) == {
        "preset": name,
        "setup": presets.unresolved_preset_spec(name).to_dict(),
    }


def test_what_a_link_changes_is_all_that_differs_from_its_preset() -> None:
    spec = changed("read_a_diary", seed=11)
    said = choose.open_setup_link(links.encode_setup(spec))["answer"]
    assert said["preset"] == "read_a_diary"
    assert said["setup"] == presets.unresolved_preset_spec("read_a_diary").to_dict() | {"seed": 11}
    assert resolve(parse_spec(said["setup"])) == spec


def test_a_link_that_changes_what_others_follow_keeps_its_meaning() -> None:
    """Without an adapter the step would be another one, had it been left to follow."""
    spec = presets.preset_spec("read_a_diary")
    spec = spec.model_copy(update={"adapter": spec.adapter.model_copy(update={"kind": "none"})})
    said = choose.open_setup_link(links.encode_setup(spec))["answer"]
    assert resolve(parse_spec(said["setup"])) == spec


def look(source: str, **how: Any) -> dict[str, Any]:
    """What the form hears of a source when it asks."""
    [asked, _] = map(as_response, data_sources.data_source_functions(WorkerClient()))
    return asked({"source": {"source": source, **how}, "place": 0, "method": "sft"})


# -- what it asks -------------------------------------------------------------------------------------------------


def test_a_question_that_cannot_be_answered_says_why() -> None:
    link = links.encode_setup(presets.preset_spec("first_tune"))
    newer = base64.urlsafe_b64encode(b'{"v": 2, "preset": "first_tune", "set": {}}').decode()
    assert "newer version" in choose.open_setup_link(newer)["problem"]["text"]
    assert "not a whole setup" in choose.open_setup_link(link[: len(link) // 2])["problem"]["text"]
    assert "cannot be read" in look("path:/etc/hosts")["problem"]["text"]
    assert "Upload the file again" in look(f"upload:{'0' * 64}.csv")["problem"]["advice"]
    unnamed = presets.unresolved_preset_spec("first_tune").to_dict() | {"model": {"id": ""}}
    with pytest.raises(Problem, match="Name a model, or choose the practice model"):
        choose.read_chosen_spec(unnamed)


def test_automatic_settings_follow_the_model_and_the_adapter() -> None:
    def step(model: str, adapter: str) -> float:
        return choose.resolve_automatic_settings({"method": "sft", "adapter": adapter, "model": {"id": model}})[
            "answer"
        ]["learning_rate"]

    assert step("pocket", "lora") == 2e-3
    assert step("owner/name", "lora") == 2e-4
    assert step("owner/name", "none") == 2e-5


def test_only_finished_runs_with_a_result_can_be_gone_on_from(home: Path) -> None:
    def made(title: str, *story: dict[str, Any], result: bool = True) -> str:
        run = store.create_run(
            local_workspace(), presets.preset_spec("first_tune").model_copy(update={"title": title}), Launch()
        )
        lines = [json.dumps({"seq": i, "attempt": 1, "time": 0.0} | event) for i, event in enumerate(story, 1)]
        run.events.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        if result:
            run.adapter.mkdir()
        return run.id

    done = {"kind": "done", "why": "finished", "adapter": "adapter", "verdict": ""}
    good = made("Good", done)
    made("Stopped", done | {"why": "stopped"})
    made("Failed", {"kind": "failed", "reason": "x", "text": "x", "advice": "x", "step": 1})
    made("Tidied", done, result=False)
    [one] = choose.list_finished_runs()["answer"]
    assert one["id"] == good
    assert one["model"]["id"] == "pocket"
    assert one["title"].startswith("Good · ")  # and when, as others may be called alike
    assert one["model"]["start_from"] == f"run:{good}"
    assert parse_spec(
        presets.unresolved_preset_spec("first_tune").to_dict() | {"model": one["model"], "adapter": one["adapter"]}
    )


def test_a_setup_with_an_upload_is_not_put_into_a_link_and_no_name_of_this_machine_is_said() -> None:
    setup = presets.unresolved_preset_spec("first_tune").to_dict() | {
        "data": [{"source": f"upload:{'0a' * 32}.csv"}],
        "holdout": {"share": 0.1},
    }
    said = choose.create_setup_link({"setup": setup, "page": "http://127.0.0.1:7860/"})["problem"]
    assert "uploaded" in said["text"]
    assert "0a0a" not in said["text"]
    plain = choose.create_setup_link(
        {"setup": presets.unresolved_preset_spec("first_tune").to_dict(), "page": "http://127.0.0.1:7860/"}
    )["answer"]
    assert plain.startswith("http://127.0.0.1:7860/?setup=")


# -- uploads over HTTP --------------------------------------------------------------------------------------------


@pytest.fixture
def client() -> TestClient:
    app = FastAPI()
    choose.mount_upload_route(app)
    return TestClient(app)


def test_a_file_is_sent_as_its_bytes(client: TestClient, home: Path) -> None:
    said = client.post("/uploads", params={"name": "mine.csv"}, content=TABLE).json()["answer"]
    assert said["rows"] == 2
    assert look(said["source"])["answer"]["fit"]["best"] == "sft"
    assert look(said["source"], mapping={"text": "question"})["answer"]["fit"]["methods"]["pretrain"] == ""
    assert uploads.describe_source(said["source"])["columns"][0]["name"] == "question"


def test_a_refused_file_is_told_in_words(client: TestClient, home: Path) -> None:
    said = client.post("/uploads", params={"name": "mine.exe"}, content=TABLE)
    assert said.status_code == 422
    assert "“.exe”" in said.json()["problem"]["text"]


def test_a_file_that_says_it_is_too_large_is_not_read(client: TestClient, home: Path) -> None:
    said = client.post(
        "/uploads", params={"name": "a.csv"}, content=b"x", headers={"content-length": str(2_000_000_000)}
    )
    assert "larger than 500 MB" in said.json()["problem"]["text"]
