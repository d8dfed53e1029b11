"""Conversation mask: which characters of a conversation are trained under a label policy."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from app.data.fields import Row
from app.engine.masking.assistant_spans import AssistantSpan, RenderedConversation, find_assistant_spans
from app.engine.masking.chat_template import ChatTemplate, Span
from app.engine.masking.label_policy import (
    LabeledMessage,
    LabeledSpan,
    LossMaskPolicy,
    labeled_messages,
    template_messages,
    texts_with_trailing_space,
)
from app.engine.masking.masked_dataset import NOT_RENDERED, TRAILING_SPACE, MaskedText, row_template_kwargs
from app.engine.masking.message_spans import MessageSpan, find_message_spans
from app.engine.masking.token_labels import CharMask

_UNKNOWN_POSITIONS = "the chat format writes its turns so differently that it cannot be told where they stand"


@dataclass
class ConversationMask:
    """Masks conversations by role, and by what the rows themselves mark."""

    chat_template: ChatTemplate
    policy: LossMaskPolicy
    add_special_tokens: bool = False

    def __call__(self, row: Row) -> MaskedText:
        labeled, template_kwargs = labeled_messages(row, self.policy), row_template_kwargs(row)
        messages = template_messages(labeled)
        render = partial(self.chat_template.render, template_kwargs=template_kwargs)
        text, marked_spans = render(messages)
        message_spans = None
        if self._needs_message_spans(labeled, marked_spans):
            learned = {i for i, message in enumerate(labeled) if message.is_trained or message.spans}
            message_spans = find_message_spans(render, messages, text, exact_indices=learned)
        assistant_spans = find_assistant_spans(
            RenderedConversation(self.chat_template, messages, text, marked_spans, message_spans, template_kwargs)
        )
        has_trailing_space = any(texts_with_trailing_space(labeled))
        masked = MaskedText(text, CharMask(len(text)), notes=[TRAILING_SPACE] if has_trailing_space else [])
        end_markers = []
        for index, message in enumerate(labeled):
            answers = [span for span in assistant_spans if span.message_index == index]
            own_spans = None if message_spans is None else [s for s in message_spans if s.message_index == index]
            end_markers.append(self._mark_message(masked, message, answers, own_spans))
        self._unmark_end_markers(masked, [marker for marker in end_markers if marker])
        return masked

    def _needs_message_spans(self, labeled: list[LabeledMessage], marked_spans: list[Span]) -> bool:
        """Complete answers that the template marks itself need no second rendering."""
        has_others = any(
            message.spans or (message.is_trained and message.message["role"] != "assistant") for message in labeled
        )
        answer_count = sum(message.message["role"] == "assistant" for message in labeled)
        return has_others or not self.chat_template.has_generation_marks or len(marked_spans) != answer_count

    def _mark_message(
        self,
        masked: MaskedText,
        labeled: LabeledMessage,
        answers: list[AssistantSpan],
        own_spans: list[MessageSpan] | None,
    ) -> Span | None:
        """Marks what is trained of a message. Returns the span of its end marker, when that is trained.

        own_spans: where the message's texts stand; None where that is not known.
        """
        if not labeled.is_trained and not any(trained for spans in labeled.spans.values() for _, _, trained in spans):
            return None
        if answers and not labeled.spans:
            for answer in answers:
                masked.char_mask.set_range(answer.start, answer.end, True)
            return answers[-1].marker_start, answers[-1].end
        if not own_spans:
            if own_spans is None:
                masked.untrained_reason = _UNKNOWN_POSITIONS
            elif any(str(labeled.message.get(name) or "").strip() for name in ("content", "reasoning_content")):
                masked.notes.append(NOT_RENDERED)
            return None
        if {name for name in labeled.spans if labeled.message[name].strip()} - {span.field for span in own_spans}:
            masked.notes.append(NOT_RENDERED)
        return self._mark_spans(masked, labeled, own_spans, answers)

    def _mark_spans(
        self, masked: MaskedText, labeled: LabeledMessage, own_spans: list[MessageSpan], answers: list[AssistantSpan]
    ) -> Span:
        """Marks a message span by span. What stands between two spans goes with the first, the end marker with the
        last."""
        spans = [span for own_span in own_spans for span in _labeled_spans(labeled, own_span)]
        ending = self.chat_template.answer_ending
        has_ending = masked.text.startswith(ending, own_spans[-1].end)
        marker_start = answers[-1].marker_start if answers else own_spans[-1].end
        end = answers[-1].end if answers else marker_start + (len(ending) if has_ending else 0)
        position = answers[0].start if len(answers) == 1 else own_spans[0].start
        was_trained = spans[0][2]
        for span_start, span_end, is_trained in spans:
            masked.char_mask.set_range(position, span_start, was_trained)
            masked.char_mask.set_range(span_start, span_end, is_trained)
            position, was_trained = max(position, span_end), is_trained
        masked.char_mask.set_range(position, end, was_trained)
        return marker_start, end

    def _unmark_end_markers(self, masked: MaskedText, end_markers: list[Span]) -> None:
        """Excludes the end markers that the policy does not train."""
        count = len(end_markers)
        excluded = {"all": 0, "last": max(0, count - 1), "none": count}[self.policy.ends]
        for start, end in end_markers[:excluded]:
            masked.char_mask.set_range(start, end, False)


def _labeled_spans(labeled: LabeledMessage, message_span: MessageSpan) -> list[LabeledSpan]:
    """The labeled spans of one field, in characters of the rendered text."""
    spans = labeled.spans.get(message_span.field)
    if not spans:
        return [(message_span.start, message_span.end, labeled.is_trained)]
    offset = message_span.start - message_span.skipped
    return [
        (max(message_span.start, offset + start), min(message_span.end, offset + end), is_trained)
        for start, end, is_trained in spans
        if offset + start < message_span.end and offset + end > message_span.start
    ]
