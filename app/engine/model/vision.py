"""Seeing: rows with pictures, as a trainer prepares them on the way and as a model that sees is asked."""

from __future__ import annotations

import io
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from app.core.problems import Problem
from app.engine.tokens.tokenized_examples import Example, Text, alike, batch_rows, folded

if TYPE_CHECKING:
    from app.engine.job import Job

PARTS = ("prompt", "messages", "completion", "chosen", "rejected", "reference")


def processor_of(job: Job) -> Any:
    """Tokenizer and eye of the model, the first as the run speaks. Raises Problem for a model that only reads."""
    from transformers import AutoProcessor, ProcessorMixin

    from app.engine.model.load_model import base_of

    name, revision = base_of(job)
    processor = AutoProcessor.from_pretrained(name, revision=revision) if sees(job.model.config) else None
    if not isinstance(processor, ProcessorMixin):
        raise Problem(f"The examples have pictures, and the model “{job.spec.model.id}” reads only text.",
                      advice="Choose a model that takes pictures, such as pocket-vision.", reason="no_eyes")  # fmt: skip
    processor.tokenizer = job.tokenizer
    processor.chat_template = job.tokenizer.chat_template or processor.chat_template
    return processor


def sees(config: Any) -> bool:
    return hasattr(config, "vision_config")


def picture_of(config: Any) -> int | None:
    """The token that stands for a part of a picture in what the model reads."""
    return (
        getattr(config, "image_token_id", None) or getattr(config, "image_token_index", None) if sees(config) else None
    )


def on_the_way(trainer: Any) -> bool:
    """Its rows become tokens and pictures only when a batch is made of them."""
    return bool(getattr(trainer, "_is_vision_dataset", False))


def collated(job: Job, trainer: Any, count: int) -> list[Example]:
    """The first examples, each as the trainer's own collator makes a batch of it alone."""
    collator = trainer.captured["data_collator"]
    endless = replace(collator, max_length=None)
    return [example(job, collator, endless, row) for row in islice(iter(trainer.train_dataset), count)]


def example(job: Job, collator: Any, endless: Any, row: dict[str, Any]) -> Example:
    texts = texts_of(job, endless, row)
    require_whole_pictures(job, texts)
    cut = sum(len(text.ids) for text in texts) - sum(len(text.ids) for text in texts_of(job, collator, row))
    texts = [folded(text, job.picture) for text in texts]
    return Example(texts, alike(texts) if len(texts) > 1 else 0, raw=read(row), cut=cut if len(texts) == 1 else 0)


def texts_of(job: Job, collator: Any, row: dict[str, Any]) -> list[Text]:
    """Of one row: its text, or each of its answers, without padding."""
    batch = collator([dict(row)])
    found = batch_rows(batch, getattr(job.method, "SIDES", ()), job.tokenizer.pad_token_id)
    return [
        Text(
            [one for one, keep in zip(each.text.ids, each.kept, strict=True) if keep],
            [one for one, keep in zip(each.text.labels, each.kept, strict=True) if keep],
            each.text.name,
        )
        for each in found
    ]


def require_whole_pictures(job: Job, texts: list[Text]) -> None:
    """Half a picture is no picture: the model would break on it. Raises Problem."""
    limit = getattr(job.knobs, "max_length", None)
    needed = max((place + 1 for text in texts for place, one in enumerate(text.ids) if one == job.picture), default=0)
    if limit and needed > limit:
        raise Problem(f"The maximum length of {limit} tokens cuts into a picture, which with the text before it takes {needed} tokens.",
                      advice=f"Set the maximum length to at least {needed}, better to twice that.", reason="picture_cut")  # fmt: skip


def read(row: dict[str, Any]) -> dict[str, Any]:
    """The row with the places of its pictures in its turns, as the chat format gets them."""
    from trl.data_utils import prepare_multimodal_messages

    pictures, made = row.get("images") or [], {}
    for name in PARTS:
        if isinstance(row.get(name), list):
            made[name] = prepare_multimodal_messages(row[name], pictures if name in ("prompt", "messages") else None)
    return {name: value for name, value in row.items() if name != "images"} | made


def question(processor: Any, asked: list[tuple[Any, list[Any]]]) -> Any:
    """A batch of (messages, their pictures) as the model takes it, each up to where its answer begins."""
    from trl.data_utils import prepare_multimodal_messages

    from app.data.row_types import as_messages

    told = [
        prepare_multimodal_messages(as_messages(prompt, "user"), [opened(one) for one in shown])
        for prompt, shown in asked
    ]
    return processor.apply_chat_template(told, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt",
                                         processor_kwargs={"padding": True, "padding_side": "left", "add_special_tokens": False})  # fmt: skip


def opened(picture: Any) -> Any:
    """pillow's picture of {"path"} or {"bytes"}."""
    from PIL import Image

    if not isinstance(picture, dict):
        return picture
    with Image.open(picture.get("path") or io.BytesIO(picture["bytes"])) as found:
        return found.convert("RGB")
