"""Mask selection: whether TRL's own loss masks suffice for a setup and its rows, or which of ours is needed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NoReturn, Protocol

from app.core.problems import Problem
from app.engine.masking.assistant_spans import marks_answers_exactly
from app.engine.masking.chat_template import ChatTemplate
from app.engine.masking.conversation_mask import ConversationMask
from app.engine.masking.label_policy import LossMaskPolicy
from app.engine.masking.masked_dataset import Mask
from app.engine.masking.text_mask import PhraseMask, SegmentMask
from app.engine.model.template_source import TEMPLATE_ERRORS

if TYPE_CHECKING:
    import pyarrow
    from datasets import Dataset, IterableDataset
    from transformers import PreTrainedTokenizerBase

    from app.engine.job import Job

_CONVERSATION_COLUMNS = ("messages", "prompt", "completion")
_LABEL_KEYS = ('"train":', '"weight":', '"train_detail":', '"train_spans":')


class _MaskSettings(Protocol):
    """The settings of supervised fine-tuning that decide what is trained of a conversation."""

    roles: list[str]
    last_turn_only: bool
    end_tokens: str
    split_thoughts: bool


def resolve_learn_from(job: Job) -> str:
    """The setting `learn_from` with `auto` decided: the answers, or what the rows themselves mark where they do."""
    learn_from = job.knobs.learn_from
    if learn_from != "auto":
        return learn_from
    if has_label_marks(job.data.train):
        return "marks"
    return job.resolve_label_policy("auto")


def build_mask(job: Job, learn_from: str) -> Mask | None:
    """The mask for these rows; None where TRL's own masks do what is wanted. Raises Problem where these rows do not
    allow it."""
    first_row = next(iter(job.data.train))
    if "segments" in first_row:
        return SegmentMask(job.trainers_tokenizer)
    if "input_ids" in first_row or learn_from == "everything":
        _require_no_mask_options(job.knobs)
        return None
    is_conversation = any(isinstance(first_row.get(name), list) for name in _CONVERSATION_COLUMNS)
    if learn_from == "template":
        return _phrase_mask(job, is_conversation)
    if not is_conversation:
        if learn_from in ("roles", "marks"):
            _refuse_plain_text()
        _require_no_mask_options(job.knobs)
        return None
    if job.processor is not None:
        if not _is_supported_by_trl(job.knobs, learn_from):
            _refuse_images()
        return None
    chat_template = ChatTemplate(job.trainers_tokenizer, training_template(job.trainers_tokenizer))
    is_supported = _is_supported_by_trl(job.knobs, learn_from)
    if is_supported and (learn_from == "completion" or marks_answers_exactly(chat_template)):
        return None
    return ConversationMask(chat_template, _loss_mask_policy(job.knobs, learn_from))


def _is_supported_by_trl(knobs: _MaskSettings, learn_from: str) -> bool:
    """Whether TRL's own masks can express it."""
    return learn_from in ("assistant", "completion") and not _has_mask_options(knobs)


def _has_mask_options(knobs: _MaskSettings) -> bool:
    return knobs.last_turn_only or knobs.split_thoughts or knobs.end_tokens != "all"


def _require_no_mask_options(knobs: _MaskSettings) -> None:
    """Raises Problem for options that only conversations with trained answers can have."""
    if _has_mask_options(knobs):
        _refuse_options(knobs)


def _loss_mask_policy(knobs: _MaskSettings, learn_from: str) -> LossMaskPolicy:
    return LossMaskPolicy(
        roles=tuple(knobs.roles) if learn_from in ("roles", "marks") else ("assistant",),
        marked=learn_from == "marks",
        last=knobs.last_turn_only,
        ends=knobs.end_tokens,
        splits_thoughts=knobs.split_thoughts,
        trains_prompts=learn_from in ("roles", "assistant"),
    )


def _phrase_mask(job: Job, is_conversation: bool) -> PhraseMask:
    tokenizer = job.trainers_tokenizer
    chat_template = ChatTemplate(tokenizer, tokenizer.get_chat_template()) if is_conversation else None
    return PhraseMask(tokenizer, chat_template, job.knobs.response_template, job.knobs.instruction_template)


def _refuse_plain_text() -> NoReturn:
    raise Problem(
        "These examples are plain text, in which nobody speaks in turn.",
        advice="Learn everything, the completion, or what follows a phrase that answers begin with.",
    )


def _refuse_options(knobs: _MaskSettings) -> NoReturn:
    if knobs.last_turn_only:
        option = "the last turn alone"
    else:
        option = "thoughts apart" if knobs.split_thoughts else "answers without their end marks"
    raise Problem(
        f"To learn {option} takes conversations of which answers are learned; "
        "here every token is, or the examples have no turns.",
        advice="Set it back, or learn the answers of conversations.",
    )


def _refuse_images() -> NoReturn:
    raise Problem(
        "Of examples with pictures, all answers are learned whole or everything; "
        "what they mark themselves is not read.",
        advice="Choose that the assistant is learned, with all turns and end marks.",
    )


def template_of_rows(job: Job) -> str:
    """The chat template that this job's conversations are rendered with, as far as that is known before they are read."""
    own_policies = ("everything", "completion", "template")  # of which TRL renders the model's own template
    if getattr(job.knobs, "learn_from", own_policies[0]) in own_policies:
        return job.trainers_tokenizer.get_chat_template()
    return training_template(job.trainers_tokenizer)


def training_template(tokenizer: PreTrainedTokenizerBase) -> str:
    """The chat template that answers are trained with, as TRL chooses it: one that marks answers, where the model's own
    does not and TRL knows one for it; otherwise the model's own."""
    from trl.chat_template_utils import get_training_chat_template, has_generation_markers

    own_template = tokenizer.get_chat_template()
    if has_generation_markers(own_template):
        return own_template
    try:
        return get_training_chat_template(tokenizer) or own_template
    except TEMPLATE_ERRORS:  # boundary: TRL knows no such template, or its trial of this foreign code fails
        return own_template


# -- whether rows say themselves what is trained ------------------------------------------------------------------


def has_label_marks(table: Dataset | IterableDataset) -> bool:
    """Whether any message or part in the table says itself whether it is trained."""
    names = [name for name in _CONVERSATION_COLUMNS if name in (table.column_names or ())]
    return hasattr(table, "data") and any(_column_has_marks(table.data.column(name)) for name in names)


def _column_has_marks(column: pyarrow.ChunkedArray) -> bool:
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_list(column.type) and not pa.types.is_large_list(column.type):
        return False
    message_type = column.type.value_type
    messages = pc.list_flatten(column)
    if pa.types.is_struct(message_type):
        return any(_filled_label_fields(messages, message_type))
    if isinstance(message_type, pa.BaseExtensionType):  # messages as JSON text
        texts = pa.chunked_array([chunk.storage for chunk in messages.chunks] or [pa.array([], pa.string())])
        return any(pc.any(pc.match_substring(texts, key)).as_py() for key in _LABEL_KEYS)
    return False


def _filled_label_fields(messages: pyarrow.ChunkedArray, message_type: pyarrow.StructType) -> Iterable[bool]:
    """For each label field of the messages whether any message has a value there."""
    import pyarrow.compute as pc

    names = [message_type.field(index).name for index in range(message_type.num_fields)]
    label_names = [name for name in names if f'"{name}":' in _LABEL_KEYS]
    return (pc.struct_field(messages, name).null_count < len(messages) for name in label_names)
