"""Answers: where in a conversation, as the model reads it, each answer stands with the mark that ends it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise, takewhile
from typing import Any

from app.engine.masking.chat_template import THINKS, Format, Turns, closing_mark
from app.engine.masking.message_spans import Place

Span = tuple[int, int]


@dataclass(frozen=True)
class Answer:
    """What the model writes in a turn, from and to in characters: thoughts, words and calls of tools. stop: where the mark that
    ends it begins; `end` where there is none. A turn into which others speak has several."""

    start: int
    end: int
    turn: int
    stop: int


@dataclass(frozen=True)
class Written:
    """A conversation as its format writes it. marked: what the format itself marks as learned. found: where words stand, where
    that is known. options: what the format was told beside the turns."""

    form: Format
    turns: Turns
    text: str
    marked: list[Span]
    found: list[Place] | None
    options: dict[str, Any]

    def shared(self, count: int, asks: bool) -> int:
        """So many characters it begins with as its first turns alone are written."""
        alone = self.form.written(self.turns[:count], asks, **self.options)[0] if count else ""
        return sum(1 for _ in takewhile(lambda both: both[0] == both[1], zip(alone, self.text, strict=False)))

    def strangers(self, start: int, end: int) -> bool:
        """Somebody else speaks in between."""
        return any(self.turns[one.turn]["role"] != "assistant" and one.start < end and start < one.end for one in self.found or [])  # fmt: skip


def answers_in(written: Written) -> list[Answer]:
    """Of every turn of the assistant that is written at all, in their order; none where it cannot be told."""
    made = by_marks(written) if written.form.marks_answers else by_frame(written)
    apart = all(before.end <= after.start for before, after in pairwise(made))
    return made if apart and not any(written.strangers(one.start, one.end) for one in made) else []


# -- where the format marks what is learned -----------------------------------------------------------------------


def by_marks(written: Written) -> list[Answer]:
    spans = [one for one in joined(written) if written.form.specials.sub("", written.text[slice(*one)]).strip()]
    spoken = [number for number, turn in enumerate(written.turns) if turn["role"] == "assistant"]
    owners = spoken if len(spans) == len(spoken) else owners_of(spans, written.found)
    return [trimmed(written, *span, turn) for span, turn in zip(spans, owners, strict=True)] if owners else []


def joined(written: Written) -> list[Span]:
    """Pieces that touch are one, unless the first has come to its end."""
    made: list[Span] = []
    for start, end in written.marked:
        if made and made[-1][1] == start and closing_mark(written.form, written.text, *made[-1])[0] == made[-1][1]:
            made[-1] = (made[-1][0], end)
        else:
            made.append((start, end))
    return made


def owners_of(spans: list[Span], found: list[Place] | None) -> list[int] | None:
    """Whose words stand in each span; what holds none, as the call of a tool, goes with the next. None where that is not known."""
    owners: list[int | None] = []
    for start, end in reversed(spans):
        own = next((place.turn for place in found or [] if start <= place.start < end), None)
        owners.append(own if own is not None or not owners else owners[-1])
    return None if None in owners else owners[::-1]  # type: ignore[return-value]


def trimmed(written: Written, start: int, end: int, turn: int) -> Answer:
    """Without what stands before every answer, or white space behind its end; with its end, where the format forgot that."""
    form, text, header = written.form, written.text, written.form.header
    over = next((size for size in range(len(header), 0, -1) if text.startswith(header[-size:], start)), 0)
    start = min(start + over, end)
    if turn and written.turns[turn - 1]["role"] == "tool" and form.specials.match(text, start):
        start = max(start, min(end, before_thoughts(text, start, written.shared(turn, asks=True))))
    stop, closed = closing_mark(form, text, start, end)
    if stop == end and form.ending and text.startswith(form.ending, end):
        return Answer(start, end + len(form.ending), turn, end)
    return Answer(start, closed, turn, stop)


def before_thoughts(text: str, start: int, end: int) -> int:
    thinks = text.find(THINKS, start, end)
    return end if thinks < 0 else thinks


# -- where it marks nothing ---------------------------------------------------------------------------------------


def by_frame(written: Written) -> list[Answer]:
    """From what stands before every answer to what ends every answer."""
    if written.found is None:
        return []
    made, at = [], 0
    for number, turn in enumerate(written.turns):
        own = [one for one in written.found if one.turn == number]
        if turn["role"] == "assistant":
            behind = next(
                (one.start for one in written.found if one.turn > number and one.start > at), len(written.text)
            )
            answers = between(written, at, behind, own, number)
            made += answers
            at = answers[-1].end if answers else at
        at = max([at, *(one.end for one in own)])
    return made


def between(written: Written, at: int, behind: int, own: list[Place], turn: int) -> list[Answer]:
    text, header, ending = written.text, written.form.header, written.form.ending
    first, last = (own[0].start, own[-1].end) if own else (behind, at)
    head = text.find(header, at, first) if header else -1
    if head < 0 and not own:
        return []
    start = head + len(header) if head >= 0 else first
    if not own or written.strangers(start, last):
        return around(written, own, turn)
    stop = text.find(ending, max(last, start), max(behind, last)) if ending else -1
    return [Answer(start, stop + len(ending), turn, stop) if stop >= 0 else Answer(start, max(last, start), turn, max(last, start))]  # fmt: skip


def around(written: Written, own: list[Place], turn: int) -> list[Answer]:
    """A turn without words, or in which a tool answers before they come: the call, as far as the turn alone is written so, and
    the words."""
    start, end = written.shared(turn, asks=True), written.shared(turn + 1, asks=False)
    stop, closed = closing_mark(written.form, written.text, start, end)
    ends = written.text[stop:closed] == written.form.ending
    call = Answer(start, closed if ends else end, turn, stop if ends else end)
    made = [call] if start < end and not written.strangers(start, end) else []
    for place in own:
        if place.start >= end:
            closed = written.form.ending if written.text.startswith(written.form.ending, place.end) else ""
            made.append(Answer(place.start, place.end + len(closed), turn, place.end))
    return made
