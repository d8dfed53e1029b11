"""Conversations: which characters of a whole conversation are learned, as a person and the rows themselves choose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from app.engine.masking.assistant_spans import Answer, Written, answers_in
from app.engine.masking.chat_template import Format
from app.engine.masking.label_policy import LossMaskPolicy, Turn, as_told, labeled_turns, loose_ends
from app.engine.masking.masked_dataset import LOOSE, UNWRITTEN, Drawn, options_of
from app.engine.masking.message_spans import Place, places
from app.engine.masking.token_labels import Letters

UNCERTAIN = "the chat format writes its turns so differently that it cannot be told where they stand"
Span = tuple[int, int, bool]


@dataclass
class ByTurns:
    """Masks rows by who speaks, and by what the rows themselves mark."""

    form: Format
    choice: LossMaskPolicy
    special: bool = False

    def __call__(self, row: dict[str, Any]) -> Drawn:
        turns, options = labeled_turns(row, self.choice), options_of(row)
        told = as_told(turns)
        text, marked = self.form.written(told, **options)
        found = places(self.form, told, text, **options) if self.looks_closely(turns, marked) else None
        answers = answers_in(Written(self.form, told, text, marked, found, options))
        drawn = Drawn(text, Letters(len(text)), notes=[LOOSE] if any(loose_ends(turns)) else [])
        ends = [
            self.draw(drawn, number, turn, [one for one in answers if one.turn == number], found)
            for number, turn in enumerate(turns)
        ]
        self.settle(drawn, [one for one in ends if one])
        return drawn

    def looks_closely(self, turns: list[Turn], marked: list[tuple[int, int]]) -> bool:
        """Whole answers, each marked by the format, need no second writing."""
        others = any(turn.parts or (turn.learned and turn.told["role"] != "assistant") for turn in turns)
        answers = sum(turn.told["role"] == "assistant" for turn in turns)
        return others or not self.form.marks_answers or len(marked) != answers

    def draw(self, drawn: Drawn, number: int, turn: Turn, answers: list[Answer], found: list[Place] | None) -> tuple[int, int] | None:  # fmt: skip
        """Draws what is learned of a turn. Where its end mark stands, when that is learned."""
        if not turn.learned and not any(learned for parts in turn.parts.values() for _, _, learned in parts):
            return None
        own = [one for one in found or [] if one.turn == number]
        if answers and not turn.parts:
            for answer in answers:
                drawn.letters.set(answer.start, answer.end, True)
            return answers[-1].stop, answers[-1].end
        if not own:
            if found is None:
                drawn.why = UNCERTAIN
            elif any(str(turn.told.get(name) or "").strip() for name in ("content", "reasoning_content")):
                drawn.notes.append(UNWRITTEN)
            return None
        if {name for name in turn.parts if turn.told[name].strip()} - {one.field for one in own}:
            drawn.notes.append(UNWRITTEN)
        return self.draw_parts(drawn, turn, own, answers)

    def draw_parts(self, drawn: Drawn, turn: Turn, own: list[Place], answers: list[Answer]) -> tuple[int, int]:
        """What stands between words goes with those before it, and the end mark with the last."""
        spans = [span for place in own for span in spans_of(turn, place)]
        ending = self.form.ending if drawn.text.startswith(self.form.ending, own[-1].end) else ""
        stop = answers[-1].stop if answers else own[-1].end
        end = answers[-1].end if answers else stop + len(ending)
        at, before = (answers[0].start if len(answers) == 1 else own[0].start), spans[0][2]
        for start, close, learned in spans:
            drawn.letters.set(at, start, before)
            drawn.letters.set(start, close, learned)
            at, before = max(at, close), learned
        drawn.letters.set(at, end, before)
        return stop, end

    def settle(self, drawn: Drawn, ends: list[tuple[int, int]]) -> None:
        """Leaves the end marks out that are not wanted."""
        kept = {"all": 0, "last": max(0, len(ends) - 1), "none": len(ends)}[self.choice.ends]
        for stop, end in ends[:kept]:
            drawn.letters.set(stop, end, False)


def spans_of(turn: Turn, place: Place) -> list[Span]:
    """From, to and whether it is learned, in the text, of the parts of one field's words."""
    parts = turn.parts.get(place.field)
    if not parts:
        return [(place.start, place.end, turn.learned)]
    by = place.start - place.skipped
    return [(max(place.start, by + start), min(place.end, by + end), learned) for start, end, learned in parts
            if by + start < place.end and by + end > place.start]  # fmt: skip
