"""Run manifest: what a run turned out to be made of, so that others can check and repeat it."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from app.engine.generation.end_tokens import declared_end_token_ids
from app.engine.job import Job
from app.engine.model import quantization
from app.engine.model.hub_files import cached_commit
from app.engine.model.load_model import base_location
from app.engine.model.vision import accepts_images
from app.engine.tokens.tokenized_examples import token_counts

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset
    from transformers import PreTrainedModel

    from app.core.json_types import JsonObject
    from app.engine.contracts import Trainer
    from app.engine.job import AuxModel
    from app.setup.spec import Extension

_PACKAGES = ("torch", "transformers", "trl", "peft", "datasets", "accelerate", "bitsandbytes")


class TokenTotals(TypedDict):
    """Tokens of one epoch before truncation."""

    all: int
    trained: int


class ModelFacts(TypedDict):
    """The trained model. parameters, trained: counts. held: its quantization. bytes: in memory. sees: accepts images."""

    id: str
    revision: str | None
    parameters: int
    trained: int
    held: str
    bytes: int
    sees: bool


class DataFacts(TypedDict):
    """The rows. files: {file: its hash}. earlier_files: {file: its hashes in earlier attempts}, of files that have changed. dropped: {reason: rows}. rows, prepared_rows: None for a stream. eval_sets: {name: rows}."""

    files: dict[str, str]
    earlier_files: dict[str, list[str]]
    rows: int | None
    prepared_rows: int | None
    held_out: int
    eval_sets: dict[str, int]
    dropped: dict[str, int]
    tokens: TokenTotals | None


class DeviceFacts(TypedDict):
    """What the run computes on. machine: the architecture. checkpointing: of gradients."""

    name: str
    machine: str
    bf16: bool
    fp16: bool
    checkpointing: bool


class RunManifest(TypedDict):
    """What facts.json of a run holds. chat: prompts are chat messages. end_tokens: ids of those that end an answer. end_notes: what
    a program that loads the adapter has to know about them. template: hash of the chat template. others: the auxiliary models.
    extensions: the lengths in steps of a run that was extended, see Extension in app/setup/spec.py."""

    model: ModelFacts
    others: dict[str, AuxModel]
    data: DataFacts
    chat: bool
    end_tokens: list[int]
    end_notes: list[str]
    template: str | None
    versions: dict[str, str]
    device: DeviceFacts
    extensions: list[JsonObject]


def build_run_manifest(
    job: Job,
    trainer: Trainer,
    earlier: Mapping[str, Any] | None = None,
    extension: Extension | None = None,
    end_notes: Sequence[str] = (),
) -> RunManifest:
    """Revisions and hashes of model and data, the chat template's hash, rows and tokens, versions, device. earlier: the
    manifest of the attempt before. end_notes: see RunManifest."""
    chat_template = job.tokenizer.chat_template or ""
    extensions = [*(earlier or {}).get("extensions", [])]
    if extension and extension.model_dump() not in extensions:  # an attempt that resumes an extended run has it already
        extensions.append(extension.model_dump())
    return {
        "model": _model_facts(job, trainer.model),
        "others": job.aux_models,
        "data": _data_facts(job, trainer.train_dataset, (earlier or {}).get("data", {})),
        "chat": job.prompts_are_chat,
        "end_tokens": declared_end_token_ids(trainer.model) if job.kind == "causal" else [],
        "end_notes": [*end_notes],
        "template": hashlib.sha256(chat_template.encode()).hexdigest() if chat_template else None,
        "versions": {name: version(name) for name in _PACKAGES} | {"python": platform.python_version()},
        "device": {
            "name": job.device.name,
            "machine": platform.machine(),
            "bf16": trainer.args.bf16,
            "fp16": trainer.args.fp16,
            "checkpointing": bool(trainer.args.gradient_checkpointing),
        },
        "extensions": extensions,
    }


def _model_facts(job: Job, model: PreTrainedModel) -> ModelFacts:
    parameters = quantization.count_parameters(model)
    return {
        "id": job.spec.model.id,
        "revision": _base_commit(job) or job.spec.model.revision,
        "parameters": sum(size for size, _ in parameters),
        "trained": sum(size for size, is_trained in parameters if is_trained),
        # Evaluation and chat quantize the model alike: an adapter fits the weights it was trained beside.
        "held": job.spec.model.quantization,
        "bytes": quantization.memory_footprint(model),
        "sees": accepts_images(model.config),
    }


def _base_commit(job: Job) -> str | None:
    """The commit of the base model's weights, from the Hub's cache, in which they now are; None for a folder."""
    from huggingface_hub import try_to_load_from_cache

    name, revision = base_location(job)
    config_path = None if Path(name).is_dir() else try_to_load_from_cache(name, "config.json", revision=revision)
    return cached_commit(Path(config_path)) if isinstance(config_path, str) else None


def _data_facts(job: Job, train_dataset: Dataset | IterableDataset, earlier: Mapping[str, Any]) -> DataFacts:
    earlier_hashes = {name: [*hashes] for name, hashes in earlier.get("earlier_files", {}).items()}
    for name, earlier_hash in earlier.get("files", {}).items():
        if job.data.files.get(name) != earlier_hash:
            earlier_hashes.setdefault(name, []).append(earlier_hash)
    return {
        "files": job.data.files,
        "earlier_files": earlier_hashes,
        "rows": None if job.streaming else len(job.data.train),
        "prepared_rows": None if job.streaming else len(train_dataset),
        "held_out": len(job.data.holdout),
        "eval_sets": {name: len(rows) for name, rows in job.data.eval_sets.items()},
        "dropped": dict(job.data.dropped),
        "tokens": count_dataset_tokens(train_dataset, job.streaming),
    }


def count_dataset_tokens(dataset: Dataset | IterableDataset, streaming: bool) -> TokenTotals | None:
    """None where rows are only prepared during training."""
    counts = None if streaming else token_counts(dataset)
    return None if counts is None else {"all": int(counts[0].sum()), "trained": int(counts[1].sum())}
