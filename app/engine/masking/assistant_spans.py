"""Assistant spans: where in a conversation, as the model reads it, each answer stands with the marker that ends it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise, takewhile

from app.data.conversations.messages import Messages
from app.engine.masking.chat_template import (
    PROBE_CONVERSATION,
    THINK_TAG,
    ChatTemplate,
    Span,
    TemplateKwargs,
    find_end_marker,
)
from app.engine.masking.message_spans import MessageSpan


@dataclass(frozen=True)
class AssistantSpan:
    """What the model writes in a message, from and to in characters: reasoning, text and tool calls.

    marker_start: where the end marker begins; `end` where there is none. A message that others interrupt, as tool
    results do, has several spans."""

    start: int
    end: int
    message_index: int
    marker_start: int


@dataclass(frozen=True)
class RenderedConversation:
    """A conversation as its chat template writes it.

    marked_spans: what the template itself marks as trained. message_spans: where the messages' texts stand, if known.
    template_kwargs: what the template got beside the messages.
    """

    chat_template: ChatTemplate
    messages: Messages
    text: str
    marked_spans: list[Span]
    message_spans: list[MessageSpan] | None
    template_kwargs: TemplateKwargs

    def common_prefix_length(self, count: int, with_generation_prompt: bool) -> int:
        """How many characters it has in common with its first `count` messages rendered alone."""
        if not count:
            return 0
        first_messages = self.messages[:count]
        alone = self.chat_template.render(first_messages, self.template_kwargs, with_generation_prompt)[0]
        return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(alone, self.text, strict=False)))

    def has_other_speaker(self, start: int, end: int) -> bool:
        """Whether the text of another role stands between these characters."""
        return any(
            self.messages[span.message_index]["role"] != "assistant" and span.start < end and start < span.end
            for span in self.message_spans or []
        )


def find_assistant_spans(conversation: RenderedConversation) -> list[AssistantSpan]:
    """Spans of every assistant message that is rendered at all, in their order; none where they are not certain."""
    has_marks = conversation.chat_template.has_generation_marks
    spans = _spans_from_generation_marks(conversation) if has_marks else _spans_from_headers(conversation)
    if any(before.end > after.start for before, after in pairwise(spans)):
        return []
    return [] if any(conversation.has_other_speaker(span.start, span.end) for span in spans) else spans


def marks_answers_exactly(chat_template: ChatTemplate) -> bool:
    """Whether what the template marks as trained is exactly the answers with their end markers: no line break after
    them, no name before them."""
    if not chat_template.has_generation_marks or chat_template.needs_content_lists:
        return False
    text, marked_spans = chat_template.render(PROBE_CONVERSATION)
    probe = RenderedConversation(chat_template, PROBE_CONVERSATION, text, marked_spans, None, {})
    return marked_spans == [(span.start, span.end) for span in find_assistant_spans(probe)]


# -- templates that mark what is trained --------------------------------------------------------------------------


def _spans_from_generation_marks(conversation: RenderedConversation) -> list[AssistantSpan]:
    special_tokens, text = conversation.chat_template.special_token_pattern, conversation.text
    spans = [span for span in _joined_spans(conversation) if special_tokens.sub("", text[slice(*span)]).strip()]
    assistant_indices = [i for i, message in enumerate(conversation.messages) if message["role"] == "assistant"]
    if len(spans) == len(assistant_indices):
        message_indices: list[int] | None = assistant_indices
    else:
        message_indices = _message_indices(spans, conversation.message_spans)
    if not message_indices:
        return []
    return [_trimmed_span(conversation, *span, index) for span, index in zip(spans, message_indices, strict=True)]


def _joined_spans(conversation: RenderedConversation) -> list[Span]:
    """The marked spans, where spans that touch are one, unless the first ends with an end marker."""
    joined: list[Span] = []
    for start, end in conversation.marked_spans:
        touches = bool(joined) and joined[-1][1] == start
        if touches and find_end_marker(conversation.chat_template, conversation.text, *joined[-1])[0] == start:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return joined


def _message_indices(spans: list[Span], message_spans: list[MessageSpan] | None) -> list[int] | None:
    """The message whose text stands in each span; a span without text, as a tool call, goes with the next. None where
    that is not known."""
    indices: list[int | None] = []
    for start, end in reversed(spans):
        index = next((span.message_index for span in message_spans or [] if start <= span.start < end), None)
        indices.append(index if index is not None or not indices else indices[-1])
    resolved = [index for index in reversed(indices) if index is not None]
    return resolved if len(resolved) == len(spans) else None


def _trimmed_span(conversation: RenderedConversation, start: int, end: int, message_index: int) -> AssistantSpan:
    """The span without the header of an answer and without white space behind its end; with its end marker, where the
    template did not mark that."""
    template, text, header = conversation.chat_template, conversation.text, conversation.chat_template.answer_header
    overlap = next((size for size in range(len(header), 0, -1) if text.startswith(header[-size:], start)), 0)
    start = min(start + overlap, end)
    follows_tool = message_index and conversation.messages[message_index - 1]["role"] == "tool"
    if follows_tool and template.special_token_pattern.match(text, start):
        header_end = conversation.common_prefix_length(message_index, with_generation_prompt=True)
        start = max(start, min(end, _end_before_think_tag(text, start, header_end)))
    marker_start, marker_end = find_end_marker(template, text, start, end)
    if marker_start == end and template.answer_ending and text.startswith(template.answer_ending, end):
        return AssistantSpan(start, end + len(template.answer_ending), message_index, end)
    return AssistantSpan(start, marker_end, message_index, marker_start)


def _end_before_think_tag(text: str, start: int, end: int) -> int:
    """`end`, or where a think tag begins before it."""
    think_start = text.find(THINK_TAG, start, end)
    return end if think_start < 0 else think_start


# -- templates that mark nothing ----------------------------------------------------------------------------------


def _spans_from_headers(conversation: RenderedConversation) -> list[AssistantSpan]:
    """From the header of every answer to the ending of every answer."""
    message_spans = conversation.message_spans
    if message_spans is None:
        return []
    spans: list[AssistantSpan] = []
    search_start = 0
    for index, message in enumerate(conversation.messages):
        own_spans = [span for span in message_spans if span.message_index == index]
        if message["role"] == "assistant":
            later_starts = (
                span.start for span in message_spans if span.message_index > index and span.start > search_start
            )
            search_end = next(later_starts, len(conversation.text))
            answers = _spans_after_header(conversation, search_start, search_end, own_spans, index)
            spans += answers
            search_start = answers[-1].end if answers else search_start
        search_start = max([search_start, *(span.end for span in own_spans)])
    return spans


def _spans_after_header(
    conversation: RenderedConversation, search_start: int, search_end: int, own_spans: list[MessageSpan], index: int
) -> list[AssistantSpan]:
    """The spans of one assistant message. own_spans: where its own texts stand."""
    text, header = conversation.text, conversation.chat_template.answer_header
    ending = conversation.chat_template.answer_ending
    text_start, text_end = (own_spans[0].start, own_spans[-1].end) if own_spans else (search_end, search_start)
    header_start = text.find(header, search_start, text_start) if header else -1
    if header_start < 0 and not own_spans:
        return []
    start = header_start + len(header) if header_start >= 0 else text_start
    if not own_spans or conversation.has_other_speaker(start, text_end):
        return _spans_from_prefixes(conversation, own_spans, index)
    marker_start = text.find(ending, max(text_end, start), max(search_end, text_end)) if ending else -1
    if marker_start >= 0:
        return [AssistantSpan(start, marker_start + len(ending), index, marker_start)]
    end = max(text_end, start)
    return [AssistantSpan(start, end, index, end)]


def _spans_from_prefixes(
    conversation: RenderedConversation, own_spans: list[MessageSpan], index: int
) -> list[AssistantSpan]:
    """Spans of a message without text, or in which a tool answers before its text comes: the tool call, as far as the
    conversation up to this message is rendered so, and the text."""
    text, ending = conversation.text, conversation.chat_template.answer_ending
    start = conversation.common_prefix_length(index, with_generation_prompt=True)
    end = conversation.common_prefix_length(index + 1, with_generation_prompt=False)
    marker_start, marker_end = find_end_marker(conversation.chat_template, text, start, end)
    has_ending = text[marker_start:marker_end] == ending
    call = AssistantSpan(start, marker_end if has_ending else end, index, marker_start if has_ending else end)
    spans = [call] if start < end and not conversation.has_other_speaker(start, end) else []
    for own_span in own_spans:
        if own_span.start >= end:
            marker = ending if text.startswith(ending, own_span.end) else ""
            spans.append(AssistantSpan(own_span.start, own_span.end + len(marker), index, own_span.end))
    return spans
