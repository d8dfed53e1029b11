"""Model cards: which models of the catalogue are offered and in which order, what is said of a chosen one, and downloads that are cancelled and resumed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from app.core.problems import Problem
from app.hub import download_job, model_choice, model_downloads
from app.planning import model_cards, preflight, presets
from app.planning.memory.device_memory import DeviceMemory
from app.planning.model_cards import ModelCard, PlannedRows, suggest_models
from app.planning.resolve import resolve
from app.server.views import model_choice as server_functions
from app.setup.cached_models import cached_copy, known_facts
from app.setup.catalogue import load_catalogue
from app.setup.spec import Spec, parse_spec
from tests.hub import LocalHub
from tests.support import wait_until
from tests.test_hub_models import CONFIG, local_hub, model_files, safetensors  # noqa: F401 a fixture

GB = 10**9
PROCESSOR = DeviceMemory("cpu", 24 * GB, 22 * GB)


def card(gigabytes: float) -> DeviceMemory:
    return DeviceMemory("cuda", int(gigabytes * GB), int(gigabytes * GB))


def spec_of(name: str = "owner/model", **fields: Any) -> Spec:
    spec = {"method": "sft", "data": [{"source": "sample:tickets"}], "model": {"id": name}}
    return resolve(parse_spec(spec | fields))


def titles(cards: list[ModelCard]) -> list[str]:
    return [card["title"] for card in cards]


# -- which are offered ------------------------------------------------------------------------------------------------


def test_on_a_processor_small_models_come_first_the_larger_of_them_before() -> None:
    cards = suggest_models(spec_of(), PROCESSOR)
    assert titles(cards)[:3] == ["Qwen3 0.6B", "Qwen2.5 0.5B Instruct", "SmolLM2 360M Instruct"]
    assert len(cards) == 8
    slow = [card["slow"] for card in cards]
    assert slow == sorted(slow), "what takes hours comes after what does not"
    assert [card["parameters"] for card in cards if card["slow"]] == sorted(
        card["parameters"] for card in cards if card["slow"]
    )


@pytest.mark.parametrize(
    ("gigabytes", "first"), [(8, "Qwen3 1.7B"), (16, "Qwen3 4B"), (28, "Qwen3 8B"), (48, "Qwen3 14B")]
)
def test_on_a_graphics_card_the_largest_that_fits_is_first(gigabytes: int, first: str) -> None:
    cards = suggest_models(spec_of(), card(gigabytes))
    assert titles(cards)[0] == first
    assert all(card["memory"]["fits"] == "yes" for card in cards)


def test_what_fits_comes_before_what_may_fit_and_what_does_not_and_the_nearest_of_these_first() -> None:
    cards = suggest_models(spec_of(), DeviceMemory("cpu", 16 * GB, 9 * GB))
    fits = ["yes", "tight", "no"]
    order = [fits.index(card["memory"]["fits"]) for card in cards]
    assert order == sorted(order)
    assert {0, 2} <= set(order)
    too_large = [card["parameters"] for card in cards if card["memory"]["fits"] == "no"]
    assert too_large == sorted(too_large)


def test_at_most_two_of_a_family_are_offered() -> None:
    families = {entry.name: entry.family for entry in load_catalogue().entries}
    offered = [families[card["id"]] for card in suggest_models(spec_of(), card(48))]
    assert max(offered.count(family) for family in offered) == 2


def test_within_a_size_the_newer_the_plain_and_the_open_come_first() -> None:
    qwen3 = load_catalogue().find("Qwen/Qwen3-8B")
    assert qwen3 is not None
    entries = [
        replace(qwen3, name="a/gated", family="a", gated=True),
        replace(qwen3, name="b/thinks", family="b", reasoning="always"),
        replace(qwen3, name="Qwen/Qwen2.5-7B-Instruct", family="c"),
        replace(qwen3, name="d/smaller", family="d", parameters=7_900_000_000),
        qwen3,
    ]
    names = [card["id"] for card in suggest_models(spec_of(), card(48), entries=entries)]
    assert names == ["Qwen/Qwen3-8B", "d/smaller", "a/gated", "b/thinks", "Qwen/Qwen2.5-7B-Instruct"]


def test_examples_with_pictures_get_models_that_read_pictures() -> None:
    vision = presets.preset_spec(
        next(p["name"] for p in presets.list_presets() if presets.preset_spec(p["name"]).model.id == "pocket-vision")
    )
    assert model_cards.has_pictures(vision)
    assert all(card["vision"] for card in suggest_models(vision, card(24)))
    assert not any(card["vision"] for card in suggest_models(spec_of(), card(24)))


def test_a_model_that_cannot_be_trained_so_is_not_offered() -> None:
    names = {card["id"] for card in suggest_models(spec_of(), card(80), count=50)}
    assert "openai/gpt-oss-20b" in names
    whole = suggest_models(spec_of(adapter={"kind": "none"}), card(80), count=50)
    assert "openai/gpt-oss-20b" not in {card["id"] for card in whole}


def test_the_memory_of_a_card_follows_method_adapter_and_length() -> None:
    entries = [entry for entry in load_catalogue().entries if entry.name == "Qwen/Qwen3-4B"]

    def high(spec: Spec, longest: int | None = None) -> int:
        planned: PlannedRows | None = None
        if longest is not None:
            planned = PlannedRows(longest=longest, rows=100, row_tokens=longest / 2, held_out=10)
        (shown,) = suggest_models(spec, card(80), planned, entries=entries)
        return shown["memory"]["high"]

    assert high(spec_of(), 64) < high(spec_of(), 1024) == high(spec_of())
    assert high(spec_of()) < high(spec_of(adapter={"kind": "none"}))
    assert high(spec_of("a/b", model={"id": "a/b", "quantization": "nf4"}), 64) < high(spec_of(), 64)


def test_a_card_says_how_long_the_planned_rows_take() -> None:
    entries = [entry for entry in load_catalogue().entries if entry.name == "Qwen/Qwen3-4B"]
    device = DeviceMemory("cuda", 80 * GB, 79 * GB, "NVIDIA A100-SXM4-80GB")
    planned = PlannedRows(longest=300, rows=900, row_tokens=150, held_out=100)

    def high(**knobs: Any) -> float:
        (shown,) = suggest_models(spec_of(knobs=knobs), device, planned, entries=entries)
        assert shown["duration"] is not None
        return shown["duration"]["high"]

    assert high(epochs=1) < high(epochs=4) == high(steps=4 * 113)
    (unplanned,) = suggest_models(spec_of(), device, entries=entries)
    assert unplanned["duration"] is None


def test_what_the_page_says_of_its_plan_is_checked() -> None:
    setup = spec_of("Qwen/Qwen3-0.6B").to_dict()
    counts: dict[str, Any] = {"longest": 300, "rows": 90, "row_tokens": 150.5, "held_out": 10}
    for planned in (counts, None, {}):
        suggested = server_functions.suggest_models({"setup": setup, "planned": planned})
        assert suggested["cards"]
        assert all((card["duration"] is None) == (not planned) for card in suggested["cards"])
    for wrong in ({"longest": 9}, counts | {"rows": -1}, counts | {"rows": 1e300}, counts | {"row_tokens": "many"}):
        with pytest.raises(Problem, match="The plan"):
            server_functions.suggest_models({"setup": setup, "planned": wrong})


# -- what is said of a chosen one -----------------------------------------------------------------------------------------


def describe(name: str, token: str | None = None, **fields: Any) -> model_choice.ModelDescription:
    fields = {"knobs": {"max_length": 256}} | fields
    return model_choice.describe_model(spec_of(name, **fields), token, PROCESSOR)


def test_any_model_of_the_hub_gets_a_card_without_a_download(local_hub: LocalHub, tmp_path: Path) -> None:  # noqa: F811
    local_hub.add_files("alice/small", model_files(), kind="models")
    description = describe("alice/small")
    assert description["card"] is not None
    shown = description["card"]
    assert (shown["title"], shown["licence"], shown["gated"], shown["downloaded"]) == (
        "small",
        "apache-2.0",
        False,
        False,
    )
    assert shown["memory"]["fits"] == "yes"
    assert description["findings"] == []
    assert description["refusal"] is None
    download = description["download"]
    assert download is not None
    assert download["missing"] == download["total"] > 0
    assert download["has_room"]
    assert description["address"] == f"{local_hub.address}/alice/small"
    assert not (tmp_path / "cache" / "hub").exists()


def test_what_cannot_be_a_base_says_why_in_one_sentence(local_hub: LocalHub) -> None:  # noqa: F811
    local_hub.add_files("alice/gguf", {"model-q4.gguf": "GGUF"}, kind="models")
    local_hub.add_files("alice/odd", model_files(CONFIG | {"model_type": "martian"}), kind="models")
    local_hub.add_files("carol/gated", model_files(), kind="models", gated="auto")
    for name, words in (("alice/gguf", "GGUF"), ("alice/odd", "martian"), ("carol/gated", "licence")):
        description = describe(name)
        assert description["refusal"] is not None, name
        assert words in description["refusal"]["text"]
        assert description["download"] is None
    assert describe("carol/gated")["address"] == f"{local_hub.address}/carol/gated", "where its terms are accepted"


def test_a_name_that_is_almost_a_model_says_which_may_be_meant(local_hub: LocalHub) -> None:  # noqa: F811
    description = describe("Qwen/Qwen3-4b-Instrct-2507")
    assert description["refusal"] is not None
    assert description["suggestions"][0]["id"] == "Qwen/Qwen3-4B-Instruct-2507"
    assert description["address"] == ""


def test_a_finding_brings_its_remedy(local_hub: LocalHub) -> None:  # noqa: F811
    quantized = CONFIG | {"quantization_config": {"quant_method": "awq"}}
    local_hub.add_files("alice/quantized", model_files(quantized), kind="models")
    (finding,) = describe("alice/quantized", adapter={"kind": "none"})["findings"]
    assert finding["severity"] == "wrong"
    assert finding["remedy"] == {"title": "Train an adapter", "changes": {"adapter.kind": "lora"}}


def test_without_the_hub_the_catalogue_tells_what_it_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    description = describe("Qwen/Qwen3-0.6B")
    assert description["card"] is not None
    assert description["refusal"] is None
    assert "This is what the catalogue knows." in description["note"]
    with pytest.raises(Problem, match="could not be reached"):
        describe("alice/elsewhere")


def test_a_folder_gets_the_same_card_where_it_is_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, content in model_files().items():
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    request = {"setup": spec_of(str(tmp_path)).to_dict()}
    description = server_functions.describe_model(request, object())  # type: ignore[typeddict-item, arg-type]
    assert description["card"] is not None
    assert (description["card"]["parameters"], description["card"]["downloaded"]) == (50 * 16 + 3000, True)
    assert (description["address"], description["download"]) == ("", None)
    monkeypatch.setenv("TUNESMITH_SHARED", "1")
    with pytest.raises(Problem, match="is a folder of the machine this page runs on"):
        server_functions.describe_model(request, object())  # type: ignore[typeddict-item, arg-type]


def test_search_finds_the_catalogue_also_without_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    found = server_functions.search_models("qwen3 4b", object())  # type: ignore[arg-type]
    assert found["catalogue"][0]["id"] == "Qwen/Qwen3-4B"
    assert "could not be reached" in found["hub_problem"]


# -- before a start -------------------------------------------------------------------------------------------------------


def test_a_finding_with_which_no_run_can_succeed_is_refused_before_a_start() -> None:
    spec = {"method": "sft", "data": [{"source": "sample:tickets"}], "model": {"id": "openai/gpt-oss-20b"}}
    preflight.check_spec(parse_spec(spec))
    with pytest.raises(Problem, match="published quantized"):
        preflight.check_spec(parse_spec(spec | {"adapter": {"kind": "none"}}))
    with pytest.raises(Problem, match="published quantized"):
        preflight.check_spec(parse_spec(spec | {"model": {"id": "openai/gpt-oss-20b", "quantization": "nf4"}}))


def test_a_model_of_the_hub_that_cannot_be_trained_is_refused_before_a_start(
    local_hub: LocalHub,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    local_hub.add_files("alice/small", model_files(), kind="models")
    local_hub.add_files("alice/gguf", {"model-q4.gguf": "GGUF"}, kind="models")
    model_choice.require_usable_model(spec_of("alice/small"))
    with pytest.raises(Problem, match="GGUF"):
        model_choice.require_usable_model(spec_of("alice/gguf"))
    monkeypatch.setattr(model_downloads, "_free_bytes", lambda folder: 1000)
    with pytest.raises(Problem, match="on the disk, which has"):
        model_choice.require_usable_model(spec_of("alice/small"))


def test_a_model_that_is_downloaded_needs_no_hub(local_hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    local_hub.add_files("alice/small", model_files(), kind="models")
    model_downloads.download_model("alice/small")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    spec = spec_of("alice/small")
    model_choice.require_usable_model(spec)
    assert preflight.check_spec(spec).model.id == "alice/small"
    facts = known_facts("alice/small")
    assert facts is not None
    assert (facts.name, facts.parameters) == ("alice/small", 50 * 16 + 3000)


def test_a_copy_without_one_of_its_files_is_no_copy(local_hub: LocalHub) -> None:  # noqa: F811
    local_hub.add_files("alice/small", model_files(), kind="models")
    folder = model_downloads.download_model("alice/small")
    assert cached_copy("alice/small") == folder
    (folder / "model.safetensors").unlink()
    assert cached_copy("alice/small") is None


def test_a_copy_in_the_cache_of_a_space_is_not_looked_at(local_hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    local_hub.add_files("alice/small", model_files(), kind="models")
    model_downloads.download_model("alice/small")
    monkeypatch.setenv("SYSTEM", "spaces")
    assert known_facts("alice/small") is None
    with pytest.raises(Problem, match="On a Space"):
        server_functions.remove_model("alice/small")


# -- download -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def without_jobs() -> Iterator[None]:
    yield
    for name in list(download_job._JOBS):
        download_job.cancel_download(name)
    download_job._JOBS.clear()


def test_a_download_in_the_background_tells_its_progress_and_ends(local_hub: LocalHub, without_jobs: None) -> None:  # noqa: F811
    local_hub.add_files("alice/small", model_files(), kind="models")
    assert download_job.start_download("alice/small")["state"] == "running"
    wait_until(lambda: (download_job.download_state("alice/small") or {})["state"] != "running", 60)
    state = download_job.download_state("alice/small")
    assert state is not None
    assert state["state"] == "finished", state
    assert state["done"] == state["of"] > 0
    assert cached_copy("alice/small") is not None


def test_a_download_that_fails_says_why(local_hub: LocalHub, without_jobs: None) -> None:  # noqa: F811
    download_job.start_download("alice/nothing")
    wait_until(lambda: (download_job.download_state("alice/nothing") or {})["state"] != "running", 60)
    state = download_job.download_state("alice/nothing")
    assert state is not None
    assert (state["state"], "There is no model “alice/nothing”" in state["problem"]) == ("failed", True)


def test_a_part_of_the_weights_without_their_list_is_no_whole_copy(local_hub: LocalHub, tmp_path: Path) -> None:  # noqa: F811
    part = {"model-00001-of-00002.safetensors": safetensors(a=[10])}
    local_hub.add_files("alice/parts", model_files(model__safetensors=None) | part, kind="models")
    model_downloads.download_model("alice/parts")
    assert cached_copy("alice/parts") is None


def test_a_cancelled_download_is_resumed(local_hub: LocalHub, without_jobs: None, tmp_path: Path) -> None:  # noqa: F811
    big = {
        "model-00001-of-00002.safetensors": safetensors(a=[10]),
        "model-00002-of-00002.safetensors": safetensors(b=[10_000, 2000]),
    }
    index = {"metadata": {}, "weight_map": dict(zip("ab", big, strict=True))}
    files = model_files(model__safetensors=None) | big | {"model.safetensors.index.json": json.dumps(index)}
    local_hub.add_files("alice/large", files, kind="models")
    local_hub.server.hub.delays["model-00002-of-00002.safetensors"] = 20
    download_job.start_download("alice/large")
    first = tmp_path / "cache" / "hub" / "models--alice--large" / "snapshots"
    wait_until(lambda: any(first.rglob("model-00001-of-00002.safetensors")), 60)
    state = download_job.cancel_download("alice/large")
    assert state is not None
    assert state["state"] == "cancelled"
    plan = model_downloads.plan_download("alice/large")
    assert 0 < plan.missing_bytes < plan.total_bytes, "what was fetched is kept"
    assert cached_copy("alice/large") is None
    local_hub.server.hub.delays.clear()
    assert download_job.start_download("alice/large")["state"] == "running"
    wait_until(lambda: (download_job.download_state("alice/large") or {})["state"] == "finished", 60)
    assert cached_copy("alice/large") is not None
