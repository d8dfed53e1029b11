"""Learning: a method's settings and rows decide whether TRL's own masks do, or which of ours."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from app.core.problems import Problem
from app.engine.masking.chat_template import Format
from app.engine.masking.conversation_mask import ByTurns
from app.engine.masking.label_policy import LossMaskPolicy
from app.engine.masking.masked_dataset import Mask
from app.engine.masking.text_mask import ByPhrase, BySegments

if TYPE_CHECKING:
    from app.engine.job import Job

SPOKEN = ("messages", "prompt", "completion")
FLAGS = ('"train":', '"weight":', '"train_detail":', '"train_spans":')


def chosen(job: Job) -> str:
    """What is learned, in one word, `auto` decided: the answers, or what the rows themselves mark where they do."""
    asked = job.knobs.learn_from
    if asked != "auto":
        return asked
    if is_marked(job.data.train):
        return "marks"
    return job.learn_from("auto")


def mask_of(job: Job, word: str) -> Mask | None:
    """None where TRL's own masks say what is wanted. Raises Problem for what these rows cannot be asked."""
    first = next(iter(job.data.train))
    if "segments" in first:
        return BySegments()
    if "input_ids" in first or word == "everything":
        return refuse_options(job.knobs) if asks_more(job.knobs) else None
    chat = any(isinstance(first.get(name), list) for name in SPOKEN)
    if word == "template":
        return by_phrase(job, chat)
    if not chat:
        return refuse() if word in ("roles", "marks") else refuse_options(job.knobs) if asks_more(job.knobs) else None
    if job.processor is not None:
        return None if is_usual(job.knobs, word) else refuse_pictures()
    form = Format(job.trainers_tokenizer, trained_format(job.trainers_tokenizer))
    trls = is_usual(job.knobs, word) and (word == "completion" or form.is_exact)
    return None if trls else ByTurns(form, choice_of(job.knobs, word))


def is_usual(knobs: Any, word: str) -> bool:
    """What TRL's own masks can say."""
    return word in ("assistant", "completion") and not asks_more(knobs)


def asks_more(knobs: Any) -> bool:
    return knobs.last_turn_only or knobs.split_thoughts or knobs.end_tokens != "all"


def choice_of(knobs: Any, word: str) -> LossMaskPolicy:
    roles = tuple(knobs.roles) if word in ("roles", "marks") else ("assistant",)
    return LossMaskPolicy(roles, word == "marks", knobs.last_turn_only, knobs.end_tokens, knobs.split_thoughts,
                  asked=word in ("roles", "assistant"))  # fmt: skip


def by_phrase(job: Job, chat: bool) -> ByPhrase:
    words = job.trainers_tokenizer
    form = Format(words, words.get_chat_template()) if chat else None
    return ByPhrase(words, form, job.knobs.response_template, job.knobs.instruction_template)


def refuse() -> None:
    raise Problem("These examples are plain text, in which nobody speaks in turn.",
                  advice="Learn everything, the completion, or what follows a phrase that answers begin with.")  # fmt: skip


def refuse_options(knobs: Any) -> None:
    asked = "the last turn alone" if knobs.last_turn_only else "thoughts apart" if knobs.split_thoughts else "answers without their end marks"  # fmt: skip
    raise Problem(f"To learn {asked} takes conversations of which answers are learned; here every token is, or the examples have no turns.",
                  advice="Set it back, or learn the answers of conversations.")  # fmt: skip


def refuse_pictures() -> None:
    raise Problem("Of examples with pictures, all answers are learned whole or everything; what they mark themselves is not read.",
                  advice="Choose that the assistant is learned, with all turns and end marks.")  # fmt: skip


def trained_format(tokenizer: Any) -> str:
    """The template that answers are learned with, as TRL takes it: one that marks them, where the model's own does not and TRL
    knows such a one; else the model's own."""
    from trl.chat_template_utils import get_training_chat_template, has_generation_markers

    own = tokenizer.get_chat_template()
    if has_generation_markers(own):
        return own
    try:
        return get_training_chat_template(tokenizer) or own
    except Exception:  # a border: TRL knows no such format, or its trial fails on a stranger's program
        return own


# -- whether rows say it themselves -------------------------------------------------------------------------------


def is_marked(table: Any) -> bool:
    """Some turn or part says itself whether it is learned."""
    names = [name for name in SPOKEN if name in (table.column_names or ())]
    return hasattr(table, "data") and any(holds_flags(table.data.column(name)) for name in names)


def holds_flags(column: Any) -> bool:
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if not pa.types.is_list(kind) and not pa.types.is_large_list(kind):
        return False
    inner = kind.value_type
    if pa.types.is_struct(inner):
        return any(filled(column, pc.list_flatten(column), inner))
    if isinstance(inner, pa.BaseExtensionType):
        texts = pa.chunked_array([one.storage for one in pc.list_flatten(column).chunks] or [pa.array([], pa.string())])
        return any(pc.any(pc.match_substring(texts, flag)).as_py() for flag in FLAGS)
    return False


def filled(column: Any, turns: Any, kind: Any) -> Iterable[bool]:
    import pyarrow.compute as pc

    names = [kind.field(number).name for number in range(kind.num_fields)]
    return (pc.struct_field(turns, name).null_count < len(turns) for name in names if f'"{name}":' in FLAGS)
