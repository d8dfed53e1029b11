"""Chat template of the Spec, pasted or named, tried under limits before it is used: it is a program that may be from anywhere."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from difflib import SequenceMatcher
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import jinja2
from jinja2.sandbox import SandboxedEnvironment

from app.core.platform import TimeLimitExceeded, memory_limit, time_limit
from app.core.problems import Problem, shorten
from app.setup import models
from app.setup.spec import NAMED_TEMPLATE

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from app.data.conversations.messages import Messages

# What rendering raises where a chat template, which is foreign code, refuses a conversation or stumbles over it.
TEMPLATE_ERRORS = (
    jinja2.TemplateError,
    TypeError,
    ValueError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RecursionError,
    MemoryError,  # a template may multiply texts
)
_MAX_NUMBER_BITS = 4_096
_MAX_REPEATED_LENGTH = 1_000_000  # of a text or list that is multiplied
MAX_SECONDS = 3.0  # for a short conversation
_MAX_BYTES = 1 << 29  # memory that a template may take
_MAX_CHARACTERS = 1_000_000  # of a short conversation
_MAX_DIFFERENCE = 60  # characters quoted of a difference
TRIAL_MESSAGES = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Good day"}]


def _multiply(left: Any, right: Any) -> Any:
    """Multiplication in a chat template: nothing interrupts that of two huge numbers."""
    if isinstance(left, int) and isinstance(right, int):
        _require_small(left.bit_length() + right.bit_length(), _MAX_NUMBER_BITS)
    for sequence, count in ((left, right), (right, left)):
        if isinstance(count, int) and hasattr(sequence, "__len__"):
            _require_small(len(sequence) * count, _MAX_REPEATED_LENGTH)
    return left * right


def _power(base: Any, exponent: Any) -> Any:
    """A power in a chat template, see `_multiply`."""
    if isinstance(base, int) and isinstance(exponent, int):
        _require_small(base.bit_length() * exponent, _MAX_NUMBER_BITS)
    return base**exponent


def _require_small(size: int, limit: int) -> None:
    if size > limit:
        raise OverflowError("it multiplies to more than any conversation needs")


# Of all templates in this process: the library compiles them in an environment of its own.
SandboxedEnvironment.intercepted_binops = frozenset({"*", "**"})
SandboxedEnvironment.default_binop_table = SandboxedEnvironment.default_binop_table | {"*": _multiply, "**": _power}


def template_text(template: str) -> str:
    """A chat template's text: as it was pasted, of ChatML, or `trl:NAME` of those that TRL ships. Raises Problem."""
    match = NAMED_TEMPLATE.fullmatch(template.strip())
    if match is None:
        return template
    name = match["trl_name"]
    path = models.chat_template_folder() / f"{name}.jinja" if name else models.CHATML_TEMPLATE
    if not path.is_file():
        raise Problem(
            f"TRL ships no chat format called “{name}”.",
            advice=f"Choose one of {', '.join(models.chat_template_names())}.",
        )
    return path.read_text(encoding="utf-8")


def try_render(tokenizer: PreTrainedTokenizerBase, messages: Messages, **template_kwargs: Any) -> str | None:
    """The conversation as the chat template writes it; None where the template refuses it.

    template_kwargs: as for `apply_chat_template`.
    """
    try:
        return str(tokenizer.apply_chat_template(messages, tokenize=False, **template_kwargs))
    except TEMPLATE_ERRORS:  # boundary: a template may be from anywhere
        return None


def require_valid_template(tokenizer: PreTrainedTokenizerBase) -> None:
    """Raises Problem for a tokenizer's chat template that is invalid or does not end."""
    template = tokenizer.chat_template
    special_tokens = tuple(
        (name, token) for name, token in tokenizer.special_tokens_map.items() if isinstance(token, str)
    )
    if isinstance(template, str) and (error_text := _template_error(template, special_tokens)):
        raise Problem(
            f"The chat format cannot be used: {error_text}.",
            advice="Mend it, or take the model’s own.",
            reason="bad_template",
        )


@lru_cache(maxsize=64)
def _template_error(template: str, special_tokens: tuple[tuple[str, str], ...]) -> str:
    """What is wrong with a chat template, in a few words; empty where nothing is. It may refuse some conversations."""
    try:
        with resource_limits():
            rendered_texts = [
                _render_trial(template, messages, dict(special_tokens))
                for messages in (TRIAL_MESSAGES, with_content_parts(TRIAL_MESSAGES))
            ]
    except TimeLimitExceeded:
        return f"it takes more than {MAX_SECONDS:g} seconds to write “Hello”"
    except MemoryError:
        return "it takes more memory than any conversation needs"
    except _InvalidTemplate as error:
        return str(error)
    if any(len(text) > _MAX_CHARACTERS for text in rendered_texts):
        return f"it makes more than {_MAX_CHARACTERS:,} characters of “Hello”"
    return "" if any("Hello" in text for text in rendered_texts) else "it writes nothing of what is said"


def _render_trial(template: str, messages: Messages, special_tokens: dict[str, str]) -> str:
    """The conversation as the template writes it. Where the template refuses this conversation, its first text, so that it passes.
    Raises _InvalidTemplate."""
    from transformers.utils.chat_template_utils import render_jinja_template

    variables: dict[str, Any] = {**special_tokens}  # of the template, beside the function's own parameters
    try:
        return render_jinja_template([messages], chat_template=template, **variables)[0][0]
    except (TimeLimitExceeded, MemoryError):
        raise
    except Exception as error:  # a boundary: a template may be from anywhere
        name, line = type(error).__name__, getattr(error, "lineno", None)
        if "Syntax" in name or "Security" in name or "Overflow" in name or "Recursion" in name:
            line_text = f" (line {line})" if line else ""
            raise _InvalidTemplate(shorten(str(error).strip().rstrip("."), 160) + line_text) from error
        return messages[0]["content"] if isinstance(messages[0]["content"], str) else ""


def with_content_parts(messages: Messages) -> Messages:
    """Messages with their content in parts, as vision models take them."""
    return [message | {"content": [{"type": "text", "text": message["content"]}]} for message in messages]


class _InvalidTemplate(Exception):
    """The text is no chat template, or does what none may do."""


@contextlib.contextmanager
def resource_limits(seconds: float = MAX_SECONDS, max_bytes: int = _MAX_BYTES) -> Iterator[None]:
    """Limits time and memory inside the `with` block, in a process's main thread and on Linux. Raises TimeLimitExceeded or
    MemoryError. max_bytes: 0 for no limit of memory."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    # the time limit inside: it has ended when the memory limit is taken back
    with memory_limit(max_bytes) if max_bytes else contextlib.nullcontext(), time_limit(seconds):
        yield


@contextlib.contextmanager
def template_time_limit(template: str | None, seconds: float = 60) -> Iterator[None]:
    """Raises Problem when rows take longer than `seconds` to be written by the Spec's own template."""
    if not template:
        yield
        return
    try:
        with resource_limits(seconds, max_bytes=0):
            yield
    except TimeLimitExceeded as exceeded:
        raise Problem(
            f"The chat format takes more than {seconds:g} seconds to write these examples.",
            advice="Mend it, or take the model’s own.",
            reason="bad_template",
        ) from exceeded


# -- differences of templates -------------------------------------------------------------------------------------


def template_differences(before: str, after: str) -> list[tuple[str, str]]:
    """[(old text, new text)] of two texts, each difference once."""
    differences: dict[tuple[str, str], None] = {}
    for kind, old_start, old_end, new_start, new_end in SequenceMatcher(
        None, before, after, autojunk=False
    ).get_opcodes():
        if kind == "delete":
            differences[(_aligned_insertion(before, old_start, old_end), "")] = None
        elif kind == "insert":
            differences[("", _aligned_insertion(after, new_start, new_end))] = None
        elif kind == "replace":
            differences[(before[old_start:old_end], after[new_start:new_end])] = None
    return list(differences)


def _aligned_insertion(text: str, start: int, end: int) -> str:
    """Inserted text, beginning with its first word: the line break before it may equally be the one after it."""
    while end < len(text) and text[start].isspace() and text[start] == text[end]:
        start, end = start + 1, end + 1
    return text[start:end]


def difference_phrase(difference: tuple[str, str]) -> str:
    """A difference in words."""
    old, new = (shorten(text.replace("\n", "⏎"), _MAX_DIFFERENCE) for text in difference)
    if not old:
        return f"writes “{new}” in addition"
    return f"leaves out “{old}”" if not new else f"writes “{new}” instead of “{old}”"
