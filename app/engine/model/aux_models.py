"""Others: models that a method asks but does not train, such as a teacher or a reward model, by the name a setting gives them."""

from __future__ import annotations

from typing import Any

from app.engine.job import Job
from app.engine.model.load_model import class_for, load_tuned, put
from app.engine.model.model_files import parts
from app.engine.model.tokenizer import fit
from app.setup import models


def other(name: str, job: Job, revision: str | None = None) -> tuple[Any, Any]:
    """(model, tokenizer): frozen, in evaluation mode, on the run's device, held as the device likes frozen weights.

    name: as app.setup.models.place takes it. revision: of a Hub model; an adapter's own settings say that of its base. In a preview
    the model is only an outline. Raises Problem; errors of the Hub travel: app/core/problems.py knows them.
    """
    place = models.place(name)
    if job.preview:
        return outline(place, revision)
    model, tokenizer = load_tuned(place, revision, job.device.dtype(job.knobs.precision, "lora"))
    job.others[name] = {"revision": parts(place, revision).commit or revision}
    return put(model, job.device).requires_grad_(False), tokenizer


def outline(place: str, revision: str | None) -> tuple[Any, Any]:
    """The same without a byte of weights, and none is fetched; it stays where it is, as there is nothing to move."""
    import torch
    from transformers import AutoConfig, AutoTokenizer

    found = parts(place, revision)
    config = AutoConfig.from_pretrained(found.base[0], revision=found.base[1])
    tokenizer = AutoTokenizer.from_pretrained(found.words[0], revision=found.words[1])
    with torch.device("meta"):
        model = class_for(found.kind, config).from_config(config)
        fit(model, tokenizer, found.multiple)
    model.to = lambda *_, **__: model
    return model.eval(), tokenizer
