"""Model files: an auxiliary model is loaded with its base model and tokenizer from a folder or the Hub, or without weights for a preview."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from app.core.problems import Problem
from app.engine.model.model_files import locate_model_files
from app.runs import adapters
from tests.hub import run_local_hub
from tests.hub.test_protocol import run_hub_client
from tests.in_process import POCKET, logits
from tests.support import build_spec

TEACHER = Path(adapters.locate_model_or_adapter("pocket-teacher"))


def distillation_job(teacher: str, folder: Path, preview: bool = False, **knobs: Any) -> Any:
    from app.engine.job import Job
    from app.engine.model.device import Device

    spec = build_spec("distill", "sample:sums", {"teacher": teacher} | knobs)
    return Job(spec, folder, Device("cpu"), preview=preview)


def test_an_adapter_is_located_with_its_base_model_and_tokenizer(tmp_path: Path) -> None:
    adapter_folder = str(TEACHER)
    assert locate_model_files(adapter_folder).base == (str(POCKET), None)
    assert (
        locate_model_files(adapter_folder).adapter,
        locate_model_files(adapter_folder).tokenizer,
        locate_model_files(adapter_folder).kind,
    ) == (
        (adapter_folder, None),
        (adapter_folder, None),
        "causal",
    )
    shutil.copytree(TEACHER, tmp_path / "bare")
    (tmp_path / "bare" / "tokenizer_config.json").unlink()
    assert locate_model_files(str(tmp_path / "bare")).tokenizer == (str(POCKET), None), (
        "an adapter without a tokenizer must use that of its base model"
    )
    assert locate_model_files(str(POCKET)).adapter is None


def test_an_adapter_without_a_base_model_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": None}))
    with pytest.raises(Problem, match="does not say which model it belongs to"):
        locate_model_files(str(tmp_path))


@pytest.mark.slow
def test_an_auxiliary_model_is_frozen_and_equals_the_merged_model(tmp_path: Path) -> None:
    """An adapter on its base model gives the logits of the merged model, which is loaded without an adapter."""
    import torch

    from app.engine.model.aux_models import load_aux_model

    model, tokenizer = load_aux_model("pocket-teacher", distillation_job("pocket-teacher", tmp_path), None)
    assert not model.training
    assert not any(weight.requires_grad for weight in model.parameters())
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    merged_folder = tmp_path / "whole"
    expected_logits = logits(model, tokenizer)
    model.merge_and_unload().save_pretrained(merged_folder)
    tokenizer.save_pretrained(merged_folder)
    merged_model, merged_tokenizer = load_aux_model(
        str(merged_folder), distillation_job(str(merged_folder), tmp_path), None
    )
    assert float((logits(merged_model, merged_tokenizer) - expected_logits).abs().max()) < 1e-4
    assert not hasattr(merged_model, "peft_config")


@pytest.mark.slow
def test_base_weights_are_loaded_in_the_precision_of_the_run(tmp_path: Path) -> None:
    import torch

    from app.engine.model.aux_models import load_aux_model

    model, _ = load_aux_model("pocket-teacher", distillation_job("pocket-teacher", tmp_path, precision="bf16"), None)
    assert {weight.dtype for name, weight in model.named_parameters() if "lora" not in name} == {torch.bfloat16}


@pytest.mark.slow
def test_a_model_for_inference_is_placed_on_the_compute_device() -> None:
    """The meta device stands in for a GPU: it is available on every machine."""
    from app.engine.model.device import Device
    from app.engine.model.load_model import load_for_inference

    model, _ = load_for_inference(TEACHER, Device("meta"))
    assert {weight.device.type for weight in model.parameters()} == {"meta"}


@pytest.mark.slow
def test_a_preview_model_needs_no_weights_and_stays_on_the_meta_device(tmp_path: Path) -> None:
    from app.engine.model.aux_models import load_aux_model

    folder_without_weights = tmp_path / "shape"
    shutil.copytree(POCKET, folder_without_weights, ignore=shutil.ignore_patterns("*.safetensors"))
    model, tokenizer = load_aux_model(
        str(folder_without_weights), distillation_job(str(folder_without_weights), tmp_path, preview=True), None
    )
    assert all(weight.is_meta for weight in model.to("cpu").parameters())
    assert len(tokenizer) == model.config.vocab_size


# -- on the Hub ---------------------------------------------------------------------------------------------------


UPLOAD_PROGRAM = """
api.create_repo("alice/base"); api.create_repo("alice/better")
base = api.upload_folder(repo_id="alice/base", folder_path={pocket!r}).oid
adapter = pathlib.Path({adapter!r})
config = json.loads((adapter / "adapter_config.json").read_text()) | {{"base_model_name_or_path": "alice/base", "revision": base}}
(adapter / "adapter_config.json").write_text(json.dumps(config))
better = api.upload_folder(repo_id="alice/better", folder_path=adapter).oid
api.upload_file(path_or_fileobj=b"{{}}", path_in_repo="config.json", repo_id="alice/base")
output = [base, better]
"""
LOAD_PROGRAM = """
from pathlib import Path
from app.engine.model.aux_models import load_aux_model
from tests.in_process import logits
from tests.test_model_files import distillation_job
model, tokenizer = load_aux_model("alice/better", job := distillation_job("alice/better", Path({folder!r}), preview={preview}))
output = [job.aux_models, str(model.device), logits(model, tokenizer).mean().item() if not {preview} else None, len(tokenizer)]
"""


@pytest.mark.slow
def test_an_adapter_on_the_hub_is_loaded_with_the_pinned_revision_of_its_base(tmp_path: Path) -> None:
    """The adapter has no tokenizer, and its base repo has a newer commit that is broken. A preview downloads no weights."""
    from app.engine.model.load_model import load_tuned

    adapter = tmp_path / "adapter"
    shutil.copytree(TEACHER, adapter, ignore=shutil.ignore_patterns("tokenizer*", "*.jinja"))
    with run_local_hub(tmp_path / "hub") as hub:
        _, adapter_commit = run_hub_client(
            hub, tmp_path / "first", UPLOAD_PROGRAM.format(pocket=str(POCKET), adapter=str(adapter))
        )
        requests_before = len(hub.server.hub.requests)
        preview_output = run_hub_client(hub, tmp_path / "look", LOAD_PROGRAM.format(folder=str(tmp_path), preview=True))
        requested_paths = [path for _, path, _ in hub.server.hub.requests[requests_before:]]
        load_output = run_hub_client(hub, tmp_path / "load", LOAD_PROGRAM.format(folder=str(tmp_path), preview=False))
    assert preview_output[:2] == [{}, "meta"]
    assert any("config.json" in path for path in requested_paths)
    assert not any("safetensors" in path for path in requested_paths)
    local_mean_logit = logits(*load_tuned(TEACHER)).mean().item()
    assert load_output[:2] == [{"alice/better": {"revision": adapter_commit}}, "cpu"]
    assert load_output[2] == pytest.approx(local_mean_logit, abs=1e-4)
    assert load_output[3] == preview_output[3]
