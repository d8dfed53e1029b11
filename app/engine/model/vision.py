"""Vision: examples with images, as a trainer collates them and as a vision model takes them for generation."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from app.core.problems import Problem
from app.engine.tokens.tokenized_examples import (
    Example,
    TokenizedText,
    batch_rows,
    collapse_image_tokens,
    common_prefix_length,
)

if TYPE_CHECKING:
    from PIL.Image import Image
    from transformers import BatchFeature, PreTrainedConfig, ProcessorMixin
    from trl.trainer.dpo_trainer import DataCollatorForVisionPreference
    from trl.trainer.kto_trainer import DataCollatorForVisionUnpairedPreference
    from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling

    from app.data.conversations.messages import Messages
    from app.data.fields import Row
    from app.engine.contracts import Trainer
    from app.engine.job import Job

    Collator = (
        DataCollatorForVisionLanguageModeling
        | DataCollatorForVisionPreference
        | DataCollatorForVisionUnpairedPreference
    )

_MESSAGE_COLUMNS = ("prompt", "messages", "completion", "chosen", "rejected", "reference")


def load_processor(job: Job) -> ProcessorMixin:
    """The model's processor, with the run's tokenizer and chat template. Raises Problem for a model without vision."""
    from transformers import AutoProcessor, ProcessorMixin

    from app.engine.model.load_model import base_location

    name, revision = base_location(job)
    processor = AutoProcessor.from_pretrained(name, revision=revision) if accepts_images(job.model.config) else None
    if not isinstance(processor, ProcessorMixin):
        raise Problem(
            f"The examples have pictures, and the model “{job.spec.model.id}” reads only text.",
            advice="Choose a model that takes pictures, such as pocket-vision.",
            reason="no_eyes",
        )
    processor.tokenizer = job.tokenizer
    processor.chat_template = job.tokenizer.chat_template or processor.chat_template
    return processor


def accepts_images(config: PreTrainedConfig) -> bool:
    """Whether a model with this config takes images."""
    return hasattr(config, "vision_config")


def find_image_token_id(config: PreTrainedConfig) -> int | None:
    """Id of the placeholder token for a part of an image; None for models without vision."""
    return (
        getattr(config, "image_token_id", None) or getattr(config, "image_token_index", None)
        if accepts_images(config)
        else None
    )


def prepares_in_collator(trainer: Trainer) -> bool:
    """Whether the trainer tokenizes its rows only when a batch is made of them."""
    return bool(getattr(trainer, "_is_vision_dataset", False))


def collate_examples(job: Job, trainer: Any, count: int) -> list[Example]:
    """The first examples, each as the trainer's own collator makes a batch of it alone."""
    collator: Collator = trainer.captured["data_collator"]
    unlimited_collator = replace(collator, max_length=None)
    return [
        _collate_example(job, collator, unlimited_collator, row) for row in islice(iter(trainer.train_dataset), count)
    ]


def _collate_example(job: Job, collator: Collator, unlimited_collator: Collator, row: Row) -> Example:
    texts = _collated_texts(job, unlimited_collator, row)
    _require_uncut_images(job, texts)
    cut = sum(len(text.token_ids) for text in texts) - sum(
        len(text.token_ids) for text in _collated_texts(job, collator, row)
    )
    texts = [collapse_image_tokens(text, job.image_token_id) for text in texts]
    return Example(
        texts,
        common_prefix_length(texts) if len(texts) > 1 else 0,
        raw_row=with_image_placeholders(row),
        truncated_tokens=cut if len(texts) == 1 else 0,
    )


def _collated_texts(job: Job, collator: Collator, row: Row) -> list[TokenizedText]:
    """The text of one row, or each of its answers, without padding."""
    batch = collator([dict(row)])
    batch_texts = batch_rows(batch, job.method.batch_sides, job.tokenizer.pad_token_id)
    return [
        TokenizedText(
            [
                token_id
                for token_id, keep in zip(batch_text.text.token_ids, batch_text.attention_mask, strict=True)
                if keep
            ],
            [
                token_id
                for token_id, keep in zip(batch_text.text.labels, batch_text.attention_mask, strict=True)
                if keep
            ],
            batch_text.text.name,
        )
        for batch_text in batch_texts
    ]


def _require_uncut_images(job: Job, texts: list[TokenizedText]) -> None:
    """Raises Problem where truncation would cut an image: the model cannot take a part of one."""
    limit = getattr(job.knobs, "max_length", None)
    needed = max(
        (
            position + 1
            for text in texts
            for position, token_id in enumerate(text.token_ids)
            if token_id == job.image_token_id
        ),
        default=0,
    )
    if limit and needed > limit:
        raise Problem(
            f"The maximum length of {limit} tokens cuts into a picture, which with the text before it takes {needed} tokens.",
            advice=f"Set the maximum length to at least {needed}, better to twice that.",
            reason="picture_cut",
        )


def with_image_placeholders(row: Row) -> Row:
    """The row with placeholders for its images in its messages, as the chat template gets them."""
    from trl.data_utils import prepare_multimodal_messages

    images, message_columns = row.get("images") or [], {}
    for name in _MESSAGE_COLUMNS:
        if isinstance(row.get(name), list):
            message_columns[name] = prepare_multimodal_messages(
                row[name], images if name in ("prompt", "messages") else None
            )
    return {name: value for name, value in row.items() if name != "images"} | message_columns


def prepare_prompts(
    processor: ProcessorMixin, prompts: Sequence[tuple[str | Messages, Sequence[Image | Row]]]
) -> BatchFeature:
    """A batch of (messages, images) as model inputs, each up to where its completion begins."""
    from trl.data_utils import prepare_multimodal_messages

    from app.data.row_types import as_messages

    conversations = [
        prepare_multimodal_messages(as_messages(prompt, "user"), [_open_image(image) for image in images])
        for prompt, images in prompts
    ]
    return processor.apply_chat_template(  # type: ignore[return-value]  # a batch, where it tokenizes
        conversations,
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        processor_kwargs={"padding": True, "padding_side": "left", "add_special_tokens": False},
    )


def _open_image(image: Image | Row) -> Image:
    """The pillow image itself, or that of {"path"} or {"bytes"}."""
    from PIL import Image

    if not isinstance(image, dict):
        return image
    with Image.open(image.get("path") or io.BytesIO(image["bytes"])) as opened_image:
        return opened_image.convert("RGB")
