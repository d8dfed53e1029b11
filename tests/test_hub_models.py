"""Models on the local Hub: their facts without a download, what is refused and why, downloads, the cache, and the refresh of the catalogue."""

from __future__ import annotations

import json
import struct
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.core.paths import ROOT
from app.core.problems import Problem
from app.hub import catalogue_refresh, model_downloads
from app.hub.model_facts import read_model_facts
from app.setup.catalogue import Catalogue, CatalogueEntry, FactSource, format_catalogue, load_catalogue
from app.setup.chat_support import ChatSupport
from app.setup.model_facts import ModelFacts
from tests.hub import LocalHub, run_local_hub
from tests.support import run_command_line, wait_until

CONFIG = {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2,
          "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 4, "vocab_size": 50, "max_position_embeddings": 512,
          "tie_word_embeddings": True, "dtype": "bfloat16"}  # fmt: skip
TEMPLATE = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>{% endfor %}{% if tools %}{{ tools }}{% endif %}"
TOKENIZER_CONFIG = {"chat_template": TEMPLATE, "eos_token": {"content": "<|im_end|>", "special": True}}
CARD = "---\nlicense: apache-2.0\n---\n# A model\n"


def safetensors(**shapes: list[int]) -> bytes:
    """A safetensors file with tensors of zeros in bfloat16."""
    header, offset = {}, 0
    for name, shape in shapes.items():
        size = 2
        for dimension in shape:
            size *= dimension
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(offset)


def model_files(config: dict[str, Any] | None = None, **changes: str | bytes | None) -> dict[str, str | bytes]:
    """The files of a small model. changes: {name with __ for the dot: content, or None to leave it out}."""
    files: dict[str, str | bytes | None] = {
        "README.md": CARD,
        "config.json": json.dumps(CONFIG if config is None else config),
        "tokenizer_config.json": json.dumps(TOKENIZER_CONFIG),
        "model.safetensors": safetensors(embed=[50, 16], layers=[100, 30]),
    }
    files |= {name.replace("__", "."): content for name, content in changes.items()}
    return {name: content for name, content in files.items() if content is not None}


@pytest.fixture
def local_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalHub]:
    """A local Hub for this process, with a cache of its own."""
    from huggingface_hub import constants

    # A request of an earlier test that timed out is still retried in a thread, and each retry closes the shared HTTP client.
    wait_until(lambda: not any(thread.name == "hub" for thread in threading.enumerate()), 90)
    with run_local_hub(tmp_path / "hub") as hub:
        for name, setting in hub.environment(tmp_path / "cache").items():
            monkeypatch.setenv(name, setting)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache" / "hub"))
        monkeypatch.setattr(constants, "HF_XET_CACHE", str(tmp_path / "cache" / "xet"))
        yield hub


def refusal(name: str, token: str | None = None) -> Problem:
    with pytest.raises(Problem) as error:
        read_model_facts(name, token)
    return error.value


# -- facts ----------------------------------------------------------------------------------------------------------


def test_the_facts_of_a_model_are_read_without_downloading_it(local_hub: LocalHub, tmp_path: Path) -> None:
    local_hub.add_files("alice/small", model_files(), kind="models")
    facts = read_model_facts("alice/small")
    assert (facts.origin, facts.parameters, facts.shape.num_hidden_layers) == ("hub", 50 * 16 + 3000, 2)
    assert facts.weight_bytes == len(safetensors(embed=[50, 16], layers=[100, 30]))
    assert (facts.licence, facts.gated, facts.dtype, facts.quantized) == ("apache-2.0", False, "bfloat16", None)
    assert facts.chat == ChatSupport(system=True, tools=True, reasoning="none")
    assert (facts.template, facts.eos_token, facts.has_processor) == (TEMPLATE, "<|im_end|>", False)
    assert not (tmp_path / "cache" / "hub").exists(), "a snapshot folder would look like a copy of the model"


def test_the_headers_of_shards_are_counted_together(local_hub: LocalHub) -> None:
    shards = {f"model-0000{i}-of-00002.safetensors": safetensors(**{f"part{i}": [10, 10 * i]}) for i in (1, 2)}
    index = {"metadata": {}, "weight_map": {f"part{i}": name for i, name in enumerate(shards, 1)}}
    files = model_files(model__safetensors=None) | shards | {"model.safetensors.index.json": json.dumps(index)}
    local_hub.add_files("alice/shards", files, kind="models")
    facts = read_model_facts("alice/shards")
    assert (facts.parameters, facts.weight_bytes) == (300, sum(map(len, shards.values())))


def test_a_template_in_a_file_of_its_own_is_read(local_hub: LocalHub) -> None:
    files = model_files(chat_template__jinja=TEMPLATE + "{% if enable_thinking %}<think>{% endif %}")
    local_hub.add_files("alice/thinks", files, kind="models")
    facts = read_model_facts("alice/thinks")
    assert facts.chat == ChatSupport(system=True, tools=True, reasoning="optional")


def test_a_licence_with_a_name_of_its_own_is_named(local_hub: LocalHub) -> None:
    card = "---\nlicense: other\nlicense_name: qwen-research\n---\n"
    local_hub.add_files("alice/other", model_files(README__md=card), kind="models")
    assert read_model_facts("alice/other").licence == "qwen-research"


def test_a_quantized_base_and_one_with_needless_code_say_so(local_hub: LocalHub) -> None:
    config = CONFIG | {"quantization_config": {"quant_method": "mxfp4"}, "auto_map": {"AutoConfig": "a.B"}}
    local_hub.add_files("alice/quantized", model_files(config), kind="models")
    facts = read_model_facts("alice/quantized")
    assert (facts.quantized, facts.runs_code) == ("mxfp4", True)
    assert facts.parameters == facts.shape.num_parameters, "packed weights do not say how many they are"


def test_a_folder_gives_the_same_facts(local_hub: LocalHub, tmp_path: Path) -> None:
    local_hub.add_files("alice/small", model_files(), kind="models")
    for name, content in model_files().items():
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    on_hub, in_folder = read_model_facts("alice/small"), read_model_facts(str(tmp_path))
    hub_only: dict[str, Any] = {
        "origin": "folder",
        "name": str(tmp_path),
        "licence": None,
        "gated": None,
        "revision": None,
    }
    assert in_folder == replace(on_hub, **hub_only)
    assert read_model_facts("pocket").parameters == 3245312


# -- what is refused --------------------------------------------------------------------------------------------------

GGUF = {"README.md": CARD, "model-q4.gguf": "GGUF"}
PICKLES = {"config.json": json.dumps(CONFIG), "pytorch_model.bin": "x"}
ADAPTER = {"adapter_config.json": json.dumps({"base_model_name_or_path": "Qwen/Qwen3-4B"}), "adapter_model.safetensors": safetensors(a=[2])}  # fmt: skip


@pytest.mark.parametrize(
    ("files", "reason", "text", "advice"),
    [
        (GGUF, "gguf_model", "as GGUF, which is for running a model", "Choose the model that it was made from"),
        (PICKLES, "pickled_weights", "has no safetensors files", "weights are .safetensors"),
        (ADAPTER, "adapter_as_model", "is an adapter, not a whole model", "“Qwen/Qwen3-4B” as the model"),
        ({"README.md": CARD}, "no_weights", "holds no weights", "Choose a language model"),
        ({"model.safetensors": safetensors(a=[2])}, "unknown_architecture", "no config.json", "format of transformers"),
        (model_files(CONFIG | {"model_type": "frobnicate"}), "unknown_architecture", "does not know the architecture “frobnicate”", "update transformers"),
        (model_files(CONFIG | {"model_type": "frobnicate", "auto_map": {"AutoConfig": "a.B"}}), "own_code", "program code of its own", "common architecture"),
        (model_files(CONFIG | {"model_type": "bert", "architectures": ["BertForMaskedLM"]}), "unknown_architecture", "of the kind bert, which does not write text", "Choose a language model"),
        (model_files(CONFIG | {"model_type": "t5", "is_encoder_decoder": True}), "unknown_architecture", "of the kind t5", "Choose a language model"),
        (model_files(CONFIG | {"model_type": "clip"}), "unknown_architecture", "of the kind clip", "Choose a language model"),
        (model_files({"model_type": "qwen3"}), "unknown_architecture", "does not say how large it is", "format of transformers"),
        (model_files(config__json="{"), "damaged_file", "config.json of “alice/bad” is not valid JSON", "another model"),
    ],
)  # fmt: skip
def test_what_is_no_model_to_train_is_refused_in_one_sentence(
    local_hub: LocalHub, files: dict[str, str | bytes], reason: str, text: str, advice: str
) -> None:
    local_hub.add_files("alice/bad", files, kind="models")
    problem = refusal("alice/bad")
    assert problem.reason == reason
    assert text in problem.text
    assert advice in problem.advice


def test_a_gated_model_names_its_licence_and_where_to_accept_it(local_hub: LocalHub) -> None:
    local_hub.add_files(
        "bob/gated", model_files(README__md="---\nlicense: llama3.2\n---\n"), kind="models", gated="manual"
    )
    problem = refusal("bob/gated", "hf_alice")
    assert problem.reason == "gated_model"
    assert "behind the licence “llama3.2”" in problem.text
    assert f"Open {local_hub.address}/bob/gated, accept it" in problem.advice
    assert read_model_facts("bob/gated", "hf_bob").gated is True


@pytest.mark.parametrize(
    ("name", "meant"),
    [("Qwen/Qwen3-4b-Instruct", "Qwen/Qwen3-4B-Instruct-2507"), ("microsoft/phi4-mini-instruct", "microsoft/Phi-4-mini-instruct"), ("HuggingFaceTB/SmolLM2-135-Instruct", "HuggingFaceTB/SmolLM2-135M-Instruct")],
)  # fmt: skip
def test_a_name_that_is_almost_a_model_says_which_may_be_meant(local_hub: LocalHub, name: str, meant: str) -> None:
    problem = refusal(name)
    assert problem.reason == "model_not_found"
    assert meant in problem.advice


def test_a_private_model_of_somebody_else_is_not_there(local_hub: LocalHub) -> None:
    local_hub.add_files("alice/open", model_files(), kind="models")
    repo = local_hub.server.hub.store.repo("models", "alice/open")
    repo.save_metadata(repo.metadata | {"private": True})
    assert refusal("alice/open", "hf_bob").reason == "model_not_found"
    assert "no such revision" in _revision_refusal("alice/open").text


def _revision_refusal(name: str) -> Problem:
    with pytest.raises(Problem) as error:
        read_model_facts(name, "hf_alice", revision="v9")
    return error.value


# -- downloads and the cache ------------------------------------------------------------------------------------------

EXTRAS = {"consolidated.safetensors": safetensors(copy=[500]), "original/model.safetensors": safetensors(copy=[500]),
          "onnx/model.onnx": "x" * 500, "model-q4.gguf": "GGUF", "pytorch_model.bin": "x" * 500}  # fmt: skip


def test_a_download_fetches_what_is_loaded_and_reports_its_bytes(local_hub: LocalHub) -> None:
    local_hub.add_files("alice/small", model_files() | EXTRAS, kind="models")
    plan = model_downloads.plan_download("alice/small")
    assert plan.files == ("config.json", "model.safetensors", "tokenizer_config.json")
    assert plan.missing_bytes == plan.total_bytes > 7000
    reports: list[tuple[int, int]] = []
    folder = model_downloads.download_model("alice/small", progress=lambda done, of: reports.append((done, of)))
    assert {file.name for file in folder.iterdir()} == set(plan.files)
    assert reports[0] == (0, plan.total_bytes)
    assert reports[-1] == (plan.total_bytes, plan.total_bytes)
    assert [done for done, _ in reports] == sorted(done for done, _ in reports)
    assert model_downloads.plan_download("alice/small").missing_bytes == 0
    (cached,) = model_downloads.list_cached_models()
    assert (cached.name, cached.size_bytes) == ("alice/small", plan.total_bytes)
    assert model_downloads.remove_cached_model("alice/small") == plan.total_bytes
    assert model_downloads.list_cached_models() == []


def test_an_interrupted_download_goes_on(local_hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> None:
    local_hub.add_files("alice/small", model_files(), kind="models")
    with monkeypatch.context() as patch:
        patch.setattr(model_downloads, "needed_files", lambda sizes: ["config.json"])
        model_downloads.download_model("alice/small")
    local_hub.server.hub.requests.clear()
    plan = model_downloads.plan_download("alice/small")
    assert 0 < plan.missing_bytes < plan.total_bytes
    first: list[int] = []
    model_downloads.download_model("alice/small", progress=lambda done, of: first.append(done))
    assert first[0] == plan.total_bytes - plan.missing_bytes
    fetched = [path for method, path, _ in local_hub.server.hub.requests if method == "GET" and "/resolve/" in path]
    assert not any(path.endswith("/config.json") for path in fetched)


def test_a_disk_without_room_is_refused_before_anything_is_fetched(
    local_hub: LocalHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    local_hub.add_files("alice/small", model_files(), kind="models")
    monkeypatch.setattr(model_downloads, "_free_bytes", lambda folder: 400_000_000)
    with pytest.raises(Problem, match=r"needs 0\.5 GB on the disk, which has 0\.4 GB free"):
        model_downloads.download_model("alice/small")
    assert not any("/resolve/" in path for _, path, _ in local_hub.server.hub.requests)


def test_what_is_not_in_the_cache_cannot_be_removed(local_hub: LocalHub) -> None:
    with pytest.raises(Problem, match=r"is not in the cache of this machine\. It holds no model"):
        model_downloads.remove_cached_model("alice/small")


# -- refresh of the catalogue -----------------------------------------------------------------------------------------


def catalogue_of(tmp_path: Path, *entries: CatalogueEntry) -> Path:
    file = tmp_path / "catalogue.json"
    sources = {"told": FactSource("A table", "https://example.org", "2026-01-01"), "other": FactSource("B", "https://example.org/b", "2026-01-01")}  # fmt: skip
    file.write_text(format_catalogue(Catalogue(entries, sources)), encoding="utf-8")
    return file


def entry_of(name: str, **changes: Any) -> CatalogueEntry:
    config = {field: value for field, value in CONFIG.items() if field not in ("architectures", "dtype")}
    fields = (*config, "parameters", "licence")
    entry = CatalogueEntry(name, "Small", "Test", "For tests.", 3800, config, {"told": fields, "other": ("num_hidden_layers",)}, licence="mit", system=True, tools=False, reasoning="none")  # fmt: skip
    return replace(entry, **changes)


def test_a_refresh_takes_what_the_models_own_files_say(local_hub: LocalHub, tmp_path: Path) -> None:
    local_hub.add_files("alice/small", model_files(), kind="models")
    local_hub.add_files("bob/gated", model_files(README__md="---\nlicense: gemma\n---\n"), kind="models", gated="auto")
    wrong = entry_of("alice/small", config=entry_of("x").config | {"num_hidden_layers": 3}, parameters=9999)
    file = catalogue_of(tmp_path, wrong, entry_of("bob/gated"), entry_of("alice/gone"))
    outcome = catalogue_refresh.refresh_catalogue(file)
    small, gated, gone = load_catalogue(file).entries
    assert (small.parameters, small.config["num_hidden_layers"], small.licence, small.gated) == (
        3800,
        2,
        "apache-2.0",
        False,
    )
    assert (small.tools, small.weight_bytes) == (True, len(safetensors(embed=[50, 16], layers=[100, 30])))
    assert small.unconfirmed == [], "what a model's own files say needs no second source"
    assert small.sources_of("num_hidden_layers") == ["hub"], "sources that said otherwise are left out"
    assert small.sources_of("hidden_size") == ["told", "hub"]
    assert (gated.licence, gated.gated, gated.is_confirmed("gated")) == ("gemma", True, True)
    assert gone == entry_of("alice/gone")
    assert set(outcome.changes) == {"alice/small", "bob/gated"}
    assert "num_hidden_layers: 3 → 2" in outcome.changes["alice/small"]
    assert set(outcome.failures) == {"bob/gated", "alice/gone"}
    again = catalogue_refresh.refresh_catalogue(file)
    assert again.changes == {}


def test_a_refresh_without_the_hub_changes_nothing(
    local_hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = catalogue_of(tmp_path, entry_of("alice/small"))
    text = file.read_text(encoding="utf-8")
    local_hub.server.hub.store.root.rename(tmp_path / "away")
    monkeypatch.setattr(catalogue_refresh, "read_model_facts", _out_of_reach)
    with pytest.raises(Problem, match="out of reach"):
        catalogue_refresh.refresh_catalogue(file)
    assert file.read_text(encoding="utf-8") == text


def _out_of_reach(name: str, token: str | None) -> ModelFacts:
    raise Problem("The Hub is out of reach.", reason="hub_out_of_reach")


# -- the command line -------------------------------------------------------------------------------------------------


def test_models_are_searched_shown_downloaded_listed_and_removed(local_hub: LocalHub) -> None:
    local_hub.add_files("alice/small", model_files(), kind="models")
    assert "Qwen/Qwen3-4B" in run_command_line("models", "search", "qwen 3 4b").stdout
    shown = json.loads(run_command_line("models", "show", "alice/small", "--json").stdout)
    assert (shown["parameters"], shown["has_template"]) == (3800, True)
    card = run_command_line("models", "show", "Qwen/Qwen3-4B", "--offline").stdout
    assert "4.02 B weights" in card
    assert "unconfirmed" in card
    assert "100%" in run_command_line("models", "download", "alice/small").stderr
    assert "alice/small" in run_command_line("models", "list").stdout
    assert "Freed" in run_command_line("models", "remove", "alice/small").stdout
    missing = run_command_line("models", "show", "alice/smal", expected_exit_code=2)
    assert "There is no model “alice/smal”" in missing.stderr


def test_the_shipped_catalogue_is_a_file_of_the_program() -> None:
    assert (ROOT / "app" / "setup" / "catalogue.json").is_file()
