"""Others: models that a method asks but does not train, such as a teacher or a reward model, by the name a setting gives them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from app import models
from app.engine.job import Job
from app.engine.model import load_tuned


def other(name: str, job: Job) -> tuple[Any, Any]:
    """(model, tokenizer): frozen, in evaluation mode, on the run's device. name: as app.models.place takes it. Raises Problem."""
    folder = models.place(name)
    if not Path(folder).is_dir():
        folder = download(folder)
    model, tokenizer = load_tuned(folder)
    return model.requires_grad_(False).to(job.device.name), tokenizer


def download(name: str) -> str:
    """The folder of a Hub model's files; errors of the Hub travel: app/problems.py knows them."""
    from huggingface_hub import snapshot_download

    return snapshot_download(name, ignore_patterns=["*.bin", "*.pt", "*.gguf", "*.onnx", "*.msgpack", "*.h5"])
