"""Tests of the catalogue: each entry's facts agree with each other, with transformers and with their sources; search finds what is meant."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoConfig

from app.setup.catalogue import (
    CATALOGUE_FILE,
    OWN_FILES,
    CatalogueEntry,
    closest_entries,
    format_catalogue,
    load_catalogue,
    search_catalogue,
)
from app.setup.chat_support import ChatSupport, read_chat_support, writes_token
from app.setup.model_facts import facts_of_entry, language_architectures
from app.setup.models import chat_template_folder
from app.setup.sources import HUB_NAME

CATALOGUE = load_catalogue()
every_entry = pytest.mark.parametrize("entry", CATALOGUE.entries, ids=lambda entry: entry.name)


def names(entries: list[CatalogueEntry]) -> list[str]:
    return [entry.name for entry in entries]


@every_entry
def test_the_shape_of_an_entry_has_its_number_of_parameters(entry: CatalogueEntry) -> None:
    counted = entry.shape.num_parameters + (entry.vision_parameters or 0)
    assert counted == pytest.approx(entry.parameters, rel=0.03)
    assert entry.shape.vision == entry.vision


@every_entry
def test_transformers_builds_a_configuration_of_the_fields(entry: CatalogueEntry) -> None:
    fields = {name: value for name, value in entry.full_config.items() if name not in ("model_type", "vision_config")}
    config = AutoConfig.for_model(entry.config["model_type"], **fields).get_text_config()
    for field, value in entry.config.items():
        if field not in ("model_type", "tie_word_embeddings"):
            assert getattr(config, field) == value, field
    assert entry.config["model_type"] in language_architectures()


@every_entry
def test_every_fact_has_a_source_with_a_date(entry: CatalogueEntry) -> None:
    assert HUB_NAME.fullmatch(entry.name)
    assert set(entry.sources) <= set(CATALOGUE.sources)
    facts = {**entry.config, **entry.__dict__}
    for field in (*entry.config, "parameters", "weight_bytes", "licence", "gated", "system", "tools", "reasoning"):
        sources = entry.sources_of(field)
        assert bool(sources) == (facts[field] is not None), f"{field} has {sources}"
        assert entry.is_confirmed(field) == (len(sources) >= 2 or OWN_FILES in sources)
        assert (field in entry.unconfirmed) == (bool(sources) and not entry.is_confirmed(field))
    assert all(len(CATALOGUE.sources[source].date) == 10 for source in entry.sources)


@every_entry
def test_an_entry_says_of_its_chat_template_what_the_template_of_its_family_does(entry: CatalogueEntry) -> None:
    if entry.template is None:
        assert facts_of_entry(entry).template is None
        return
    text = (chat_template_folder() / f"{entry.template.removeprefix('trl:')}.jinja").read_text(encoding="utf-8")
    assert read_chat_support(text) == ChatSupport(bool(entry.system), bool(entry.tools), entry.reasoning or "none")


def test_there_are_about_forty_entries_of_every_size_that_people_train() -> None:
    assert len(CATALOGUE.entries) >= 40
    assert len({entry.name.casefold() for entry in CATALOGUE.entries}) == len(CATALOGUE.entries)
    sizes = sorted(entry.parameters for entry in CATALOGUE.entries)
    assert sizes[0] < 2e8 < 3e10 < sizes[-1]
    assert sum(entry.vision for entry in CATALOGUE.entries) >= 6
    assert sum(entry.shape.num_experts > 0 for entry in CATALOGUE.entries) >= 3


def test_the_file_is_written_as_it_is_read(tmp_path: Path) -> None:
    text = format_catalogue(CATALOGUE)
    assert text == CATALOGUE_FILE.read_text(encoding="utf-8")
    copy = tmp_path / "catalogue.json"
    copy.write_text(text, encoding="utf-8")
    assert load_catalogue(copy) == CATALOGUE


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("qwen 3 4b", "Qwen/Qwen3-4B"),
        ("QWEN3 4B", "Qwen/Qwen3-4B"),
        ("gemma 270m", "google/gemma-3-270m-it"),
        ("qwen2.5 0.5b", "Qwen/Qwen2.5-0.5B-Instruct"),
        ("llama 3.1 8b", "meta-llama/Llama-3.1-8B-Instruct"),
        ("mistralai/Mistral-7B-Instruct-v0.3", "mistralai/Mistral-7B-Instruct-v0.3"),
        ("Qwen2.5-7B-Intsruct", "Qwen/Qwen2.5-7B-Instruct"),
        ("microsoft/Phi4-mini-instruct", "microsoft/Phi-4-mini-instruct"),
        ("smolm2 135m instruct", "HuggingFaceTB/SmolLM2-135M-Instruct"),
        ("gpt oss", "openai/gpt-oss-20b"),
    ],
)
def test_search_finds_what_is_meant(text: str, first: str) -> None:
    assert names(search_catalogue(text))[0] == first


def test_a_size_is_found_only_as_a_whole() -> None:
    found = search_catalogue("4b")
    assert found
    assert all(entry.parameters < 6e9 for entry in found), "14B and 24B are other sizes"


def test_an_empty_search_shows_all_and_nonsense_nothing() -> None:
    assert search_catalogue("") == list(CATALOGUE.entries)
    assert search_catalogue("zzzz") == []
    assert closest_entries("owner/qqqq") == []


def test_a_name_is_found_in_any_case() -> None:
    entry = CATALOGUE.find(" qwen/qwen3-4b ")
    assert entry is not None
    assert entry.name == "Qwen/Qwen3-4B"
    assert CATALOGUE.find("Qwen/Qwen3-4") is None


# -- what a template supports ---------------------------------------------------------------------------------------

CHATML = "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message.content }}<|im_end|>{% endfor %}"


@pytest.mark.parametrize(
    ("template", "support"),
    [
        (CHATML, ChatSupport(True, False, "none")),
        ("{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}{{ messages[0].content }}", ChatSupport(False, False, "none")),
        ("{% for m in messages %}{% if m.role == 'user' %}U: {% else %}A: {% endif %}{{ m.content }}{% endfor %}", ChatSupport(False, False, "none")),
        (CHATML + "{% if tools %}{{ tools | tojson }}{% endif %}", ChatSupport(True, True, "none")),
        (CHATML + "{% set tools = [] %}", ChatSupport(True, False, "none")),
        (CHATML + "{% if enable_thinking %}<think>{% endif %}", ChatSupport(True, False, "optional")),
        (CHATML + "{% set enable_thinking = enable_thinking | default(true) %}<think>", ChatSupport(True, False, "optional")),
        (CHATML + "{% set thinking = messages[0].thinking %}<think>{{ thinking }}</think>", ChatSupport(True, False, "always")),
        ("{% generation %}" + CHATML + "{% endgeneration %}", ChatSupport(True, False, "none")),
        ("{% for %}", None),
        ("x" * 1_000_001, None),
    ],
)  # fmt: skip
def test_what_a_template_supports_is_read_without_running_it(template: str, support: ChatSupport | None) -> None:
    assert read_chat_support(template) == support


def test_every_template_of_trl_is_read() -> None:
    for file in chat_template_folder().glob("*.jinja"):
        assert read_chat_support(file.read_text(encoding="utf-8")) is not None, file.name


def test_whether_a_template_writes_an_end_token() -> None:
    assert writes_token(CHATML, "<|im_end|>")
    assert not writes_token(CHATML, "</s>")
    assert writes_token("{{ messages[0].content }}{{ eos_token }}", "</s>")
