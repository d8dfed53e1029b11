"""Auxiliary models, which a method uses but does not train, such as a teacher or a reward model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.engine.job import Job
from app.engine.model.load_model import load_tuned, model_class, move_to_device, pin_to_meta_device
from app.engine.model.model_config import load_config
from app.engine.model.model_files import locate_model_files
from app.engine.model.tokenizer import resize_embeddings
from app.runs import adapters

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def load_aux_model(name: str, job: Job, revision: str | None = None) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """(model, tokenizer): frozen, in evaluation mode, on the run's device, in its dtype for frozen weights.

    name: as app.setup.models.place takes it. revision: of a Hub model; the base's revision is in an adapter's config.
    In a preview the model has no weights. Raises Problem; errors of the Hub pass through: app/core/problems.py explains
    them.
    """
    location = adapters.locate_model_or_adapter(name)
    if job.preview:
        return _meta_aux_model(location, revision)
    model, tokenizer = load_tuned(location, revision, job.device.dtype(job.knobs.precision, "lora"))
    job.aux_models[name] = {"revision": locate_model_files(location, revision).commit or revision}
    return move_to_device(model, job.device).requires_grad_(False), tokenizer


def _meta_aux_model(location: str, revision: str | None) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The same on the meta device: no weights are downloaded."""
    import torch
    from transformers import AutoTokenizer

    model_files = locate_model_files(location, revision)
    config = load_config(*model_files.base)
    tokenizer = AutoTokenizer.from_pretrained(model_files.tokenizer[0], revision=model_files.tokenizer[1])
    with torch.device("meta"):
        model = model_class(model_files.kind, config).from_config(config)
        resize_embeddings(model, tokenizer, model_files.embedding_multiple)
    return pin_to_meta_device(model).eval(), tokenizer
