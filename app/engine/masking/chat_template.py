"""Chat template: what it writes before and after an answer, and what it marks as trained."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

from app.data.conversations.messages import Messages
from app.data.fields import Row
from app.engine.model.template_source import TEMPLATE_ERRORS
from app.engine.model.tokenizer import special_token_ids

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Span = tuple[int, int]  # from and to in characters
TemplateKwargs = dict[str, Any]  # what a template gets beside the messages: JSON, and Python functions as tools

THINK_TAG = "<think"  # a template that begins an answer with it asks the model to think: it is a part of the answer
_PROBE_QUESTION: Row = {"role": "user", "content": "Hello"}
_FIRST_ANSWER, _LAST_ANSWER = "Good day", "See you"
PROBE_CONVERSATION: Messages = [
    _PROBE_QUESTION,
    {"role": "assistant", "content": _FIRST_ANSWER},
    {"role": "user", "content": "Farewell"},
    {"role": "assistant", "content": _LAST_ANSWER},
]
_MAX_MARKER_CHARACTERS = 200  # of one special token


@dataclass
class ChatTemplate:
    """A chat template together with its tokenizer. What it writes around answers is read off a short conversation,
    once."""

    tokenizer: PreTrainedTokenizerBase
    template: str

    @cached_property
    def has_generation_marks(self) -> bool:
        """Whether the template marks answers itself, with `{% generation %}`."""
        from trl.chat_template_utils import has_generation_markers

        return has_generation_markers(self.template)

    def render(
        self, messages: Messages, template_kwargs: TemplateKwargs | None = None, with_generation_prompt: bool = False
    ) -> tuple[str, list[Span]]:
        """(the conversation as text, the spans in characters that the template itself marks as trained).

        template_kwargs: what the template gets beside the messages. with_generation_prompt: end with the header of an
        answer."""
        if self.needs_content_lists:
            messages = [_with_content_list(message) for message in messages]
        return self._render_as_given(messages, template_kwargs or {}, with_generation_prompt)

    def _render_as_given(
        self, messages: Messages, template_kwargs: TemplateKwargs, with_generation_prompt: bool
    ) -> tuple[str, list[Span]]:
        from transformers.utils.chat_template_utils import render_jinja_template

        messages = [{key: value for key, value in message.items() if value is not None} for message in messages]
        variables = {
            **self.tokenizer.special_tokens_map,
            **template_kwargs,
            "add_generation_prompt": with_generation_prompt,
        }
        rendered: Any = render_jinja_template(  # declared as a string
            [messages],
            chat_template=self.template,
            return_assistant_tokens_mask=self.has_generation_marks,
            **variables,
        )
        texts, marked_spans = rendered
        return texts[0], [tuple(span) for span in marked_spans[0]] if self.has_generation_marks else []

    @cached_property
    def needs_content_lists(self) -> bool:
        """Whether it wants a message's content as a list of parts: templates of vision models write no plain string."""
        with_lists = [_with_content_list(message) for message in PROBE_CONVERSATION]
        return not self._writes_answers(PROBE_CONVERSATION) and self._writes_answers(with_lists)

    def _writes_answers(self, messages: Messages) -> bool:
        """Whether the first answer of the probe is in its text. False where it lacks an argument that rows or settings give."""
        try:
            return _FIRST_ANSWER in self._render_as_given(messages, {}, False)[0]
        except TEMPLATE_ERRORS:  # boundary: a chat template is foreign code
            return False

    # -- what a short conversation shows ----------------------------------------------------------------------------

    @cached_property
    def special_token_pattern(self) -> re.Pattern[str]:
        """Matches one special or added token of the vocabulary."""
        added = self.tokenizer.added_tokens_decoder
        contents = [
            added[token_id].content for token_id in special_token_ids(self.tokenizer) | set(added) if token_id in added
        ]
        longest_first = sorted((content for content in contents if content.strip()), key=len, reverse=True)
        return re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")

    @cached_property
    def _probe_text(self) -> str:
        return self.render(PROBE_CONVERSATION)[0]

    @cached_property
    def answer_header(self) -> str:
        """What stands right before an answer and is never a part of it; empty where the template writes nothing
        there."""
        without_header = self.render([_PROBE_QUESTION])[0]
        with_header = self.render([_PROBE_QUESTION], with_generation_prompt=True)[0]
        if not with_header.startswith(without_header):
            return ""
        header = with_header[len(without_header) :].partition(THINK_TAG)[0]
        before_answer = self._probe_text[: self._probe_text.find(_FIRST_ANSWER)]
        return next((header[:end] for end in range(len(header), 0, -1) if header[:end] in before_answer), "")

    @cached_property
    def answer_ending(self) -> str:
        """What ends every answer: the special tokens that follow an answer in the middle of a conversation and the last
        one alike."""
        after_first = self._probe_text.split(_FIRST_ANSWER)[-1]
        after_last = self._probe_text.split(_LAST_ANSWER)[-1]
        ending = ""
        while (marker := self._special_token_at(after_first, len(ending))) and after_last.startswith(ending + marker):
            ending += marker
        return ending

    def _special_token_at(self, text: str, start: int) -> str:
        """The special token that stands there, with a space before it where the template writes one; empty if none
        does."""
        space = " " if text.startswith(" ", start) else ""
        match = self.special_token_pattern.match(text, start + len(space))
        return space + match.group() if match else ""


@lru_cache(maxsize=4)
def cached_chat_template(tokenizer: PreTrainedTokenizerBase, template: str) -> ChatTemplate:
    """The same object for the same template, so that the short conversation is rendered once."""
    return ChatTemplate(tokenizer, template)


def _with_content_list(message: Row) -> Row:
    content = message.get("content")
    return message | {"content": [{"type": "text", "text": content}]} if isinstance(content, str) else message


def find_end_marker(chat_template: ChatTemplate, text: str, start: int, end: int) -> Span:
    """(start, end) of the special token that text[start:end] ends with, where white space behind it is no part of an
    answer; (end, end) where it ends with other text."""
    stripped_end = start + len(text[start:end].rstrip())
    search_start = max(start, stripped_end - _MAX_MARKER_CHARACTERS)
    for match in chat_template.special_token_pattern.finditer(text, search_start, stripped_end):
        if match.end() == stripped_end:
            return match.start(), stripped_end
    return end, end
