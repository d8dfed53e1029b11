"""Parts: what a model consists of that is named by a folder or on the Hub: an adapter, if it is one, its base and its tokenizer."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.core.problems import Problem
from app.engine.model import quantization
from app.engine.model.load_model import TASKS
from app.setup import models
from app.setup.spec import Model

Place = tuple[str, str | None]  # a folder or a Hub name, and a revision

ENDINGS = {"scores": "ForSequenceClassification", "step_scores": "ForTokenClassification"}  # of a whole model's class


@dataclass(frozen=True)
class Parts:
    """kind: what it does. commit: of the Hub's files, where they are from there. quantization: how the base of an adapter was
    held while the adapter was trained; whole: its layers that were trained whole, and so held as they are; multiple: of how
    many rows its embeddings grew to one, where they grew."""

    kind: str
    base: Place
    words: Place
    adapter: Place | None = None
    commit: str | None = None
    quantization: str = "none"
    whole: tuple[str, ...] = ()
    multiple: int = Model().embedding_multiple


def parts(name: str, revision: str | None = None) -> Parts:
    """Of a folder or a Hub name. Reads, and fetches, no more than its settings. Raises Problem; errors of the Hub travel."""
    whole = (name, revision)
    found = file_of(name, "adapter_config.json", revision)
    if found is None:
        config = file_of(name, "config.json", revision)
        return Parts(kind_of(read(config)), whole, whole, commit=commit_of(config))
    told = read(found)
    base = told.get("base_model_name_or_path")
    if not base:
        raise Problem(f"The adapter “{name}” does not say which model it belongs to.", advice="Choose another.")
    base = (models.locate(base), told.get("revision"))
    words = whole if file_of(name, "tokenizer_config.json", revision) else base  # many adapters come without
    kind = next((kind for kind, task in TASKS.items() if task == told.get("task_type")), "causal")
    note = file_of(name, quantization.NOTE, revision)
    return Parts(kind, base, words, whole, commit_of(found), quantization.of_result(note), tuple(told.get("modules_to_save") or ()), quantization.multiple_of(note))  # fmt: skip


def file_of(name: str, file: str, revision: str | None) -> Path | None:
    """One file of a folder or of a Hub model; None where there is none."""
    if Path(name).is_dir():
        path = Path(name) / file
        return path if path.exists() else None
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    try:
        return Path(hf_hub_download(name, file, revision=revision))
    except EntryNotFoundError:  # a border: the Hub, or what is kept of it here
        return None


def kind_of(config: dict[str, Any]) -> str:
    architecture = (config.get("architectures") or [""])[0]
    return next((kind for kind, ending in ENDINGS.items() if architecture.endswith(ending)), "causal")


def commit_of(file: Path | None) -> str | None:
    """The Hub's cache keeps a file under its commit."""
    return file.parent.name if file and file.parent.parent.name == "snapshots" else None


def read(file: Path | None) -> dict[str, Any]:
    return json.loads(file.read_text(encoding="utf-8")) if file else {}
