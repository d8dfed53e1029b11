"""Parts and others: a model named by a folder, a run or the Hub is found whole, with its base and its words; or only as an outline."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from app.core.problems import Problem
from app.engine.model.model_files import locate_model_files
from app.runs import adapters
from tests.hub import opened
from tests.hub.test_protocol import client
from tests.in_process import POCKET, logits
from tests.support import spec_of

TEACHER = Path(adapters.locate_model_or_adapter("pocket-teacher"))


def job_with(teacher: str, folder: Path, preview: bool = False, **knobs: Any) -> Any:
    from app.engine.job import Job
    from app.engine.model.device import Device

    spec = spec_of("distill", "sample:sums", {"teacher": teacher} | knobs)
    return Job(spec, folder, Device("cpu"), preview=preview)


def test_an_adapter_is_found_with_its_base_and_its_words(tmp_path: Path) -> None:
    here = str(TEACHER)
    assert locate_model_files(here).base == (str(POCKET), None)
    assert (locate_model_files(here).adapter, locate_model_files(here).tokenizer, locate_model_files(here).kind) == (
        (here, None),
        (here, None),
        "causal",
    )
    shutil.copytree(TEACHER, tmp_path / "bare")
    (tmp_path / "bare" / "tokenizer_config.json").unlink()
    assert locate_model_files(str(tmp_path / "bare")).tokenizer == (str(POCKET), None), (
        "without words of its own it uses its base's"
    )
    assert locate_model_files(str(POCKET)).adapter is None


def test_an_adapter_that_names_no_base_is_refused(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": None}))
    with pytest.raises(Problem, match="does not say which model it belongs to"):
        locate_model_files(str(tmp_path))


@pytest.mark.slow
def test_another_model_is_frozen_and_answers_as_it_was_saved(tmp_path: Path) -> None:
    """An adapter on its base gives the numbers of the two merged, which is a whole model."""
    import torch

    from app.engine.model.aux_models import load_aux_model

    model, words = load_aux_model("pocket-teacher", job_with("pocket-teacher", tmp_path), None)
    assert not model.training
    assert not any(weight.requires_grad for weight in model.parameters())
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    whole = tmp_path / "whole"
    told = logits(model, words)
    model.merge_and_unload().save_pretrained(whole)
    words.save_pretrained(whole)
    merged, again = load_aux_model(str(whole), job_with(str(whole), tmp_path), None)
    assert float((logits(merged, again) - told).abs().max()) < 1e-4
    assert not hasattr(merged, "peft_config")


@pytest.mark.slow
def test_weights_are_held_as_the_device_likes_them(tmp_path: Path) -> None:
    import torch

    from app.engine.model.aux_models import load_aux_model

    model, _ = load_aux_model("pocket-teacher", job_with("pocket-teacher", tmp_path, precision="bf16"), None)
    assert {weight.dtype for name, weight in model.named_parameters() if "lora" not in name} == {torch.bfloat16}


@pytest.mark.slow
def test_what_is_only_asked_lies_on_the_device_that_computes() -> None:
    """Of which this machine may have only the one without weights."""
    from app.engine.model.device import Device
    from app.engine.model.load_model import load_for_inference

    model, _ = load_for_inference(TEACHER, Device("meta"))
    assert {weight.device.type for weight in model.parameters()} == {"meta"}


@pytest.mark.slow
def test_an_outline_needs_no_weights_and_stays_where_it_is(tmp_path: Path) -> None:
    from app.engine.model.aux_models import load_aux_model

    shape = tmp_path / "shape"
    shutil.copytree(POCKET, shape, ignore=shutil.ignore_patterns("*.safetensors"))
    model, words = load_aux_model(str(shape), job_with(str(shape), tmp_path, preview=True), None)
    assert all(weight.is_meta for weight in model.to("cpu").parameters())
    assert len(words) == model.config.vocab_size


# -- on the Hub ---------------------------------------------------------------------------------------------------


PUT = """
api.create_repo("alice/base"); api.create_repo("alice/better")
base = api.upload_folder(repo_id="alice/base", folder_path={pocket!r}).oid
adapter = pathlib.Path({adapter!r})
told = json.loads((adapter / "adapter_config.json").read_text()) | {{"base_model_name_or_path": "alice/base", "revision": base}}
(adapter / "adapter_config.json").write_text(json.dumps(told))
better = api.upload_folder(repo_id="alice/better", folder_path=adapter).oid
api.upload_file(path_or_fileobj=b"{{}}", path_in_repo="config.json", repo_id="alice/base")
said = [base, better]
"""
FIND = """
from pathlib import Path
from app.engine.model.aux_models import load_aux_model
from tests.in_process import logits
from tests.test_model_files import job_with
told = load_aux_model("alice/better", job := job_with("alice/better", Path({place!r}), preview={preview}))
said = [job.aux_models, str(told[0].device), logits(*told).mean().item() if not {preview} else None, len(told[1])]
"""


@pytest.mark.slow
def test_an_adapter_on_the_hub_finds_the_very_version_of_its_base(tmp_path: Path) -> None:
    """It comes without words, as many do, and its base has become something else since. A look ahead fetches no weights."""
    from app.engine.model.load_model import load_tuned

    adapter = tmp_path / "adapter"
    shutil.copytree(TEACHER, adapter, ignore=shutil.ignore_patterns("tokenizer*", "*.jinja"))
    with opened(tmp_path / "hub") as hub:
        _, better = client(hub, tmp_path / "first", PUT.format(pocket=str(POCKET), adapter=str(adapter)))
        before = len(hub.server.hub.seen)
        ahead = client(hub, tmp_path / "look", FIND.format(place=str(tmp_path), preview=True))
        fetched = [path for _, path, _ in hub.server.hub.seen[before:]]
        told = client(hub, tmp_path / "load", FIND.format(place=str(tmp_path), preview=False))
    assert ahead[:2] == [{}, "meta"]
    assert any("config.json" in path for path in fetched)
    assert not any("safetensors" in path for path in fetched)
    here = logits(*load_tuned(TEACHER)).mean().item()
    assert told[:2] == [{"alice/better": {"revision": better}}, "cpu"]
    assert told[2] == pytest.approx(here, abs=1e-4)
    assert told[3] == ahead[3]
