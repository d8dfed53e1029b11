"""Keys of turns: which of them are read, which mean nothing for training, and which are unknown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from app.contracts import Finding, Severity
from app.data.conversations.train_flags import ALL_FLAG_KEYS, AMBIGUOUS_FLAG_KEYS, parse_train_flag
from app.data.fields import Cell, Row
from app.data.row_finding import make_finding

REASONING_KEYS = ("reasoning_content", "reasoning", "thinking", "thought", "thoughts")
_RANGE_FLAG_KEYS = ("train_detail", "train_spans")  # flags of ranges of characters
_READ_KEYS = {
    *("role", "from", "content", "value", *_RANGE_FLAG_KEYS),
    *("tool_calls", "function_call", "images", "image", *REASONING_KEYS, *ALL_FLAG_KEYS),
}
# Names, numbers and dates of turns, and what services add to their answers: nothing of it is to be learned.
HARMLESS_KEYS = {
    *("name", "id", "message_id", "msg_id", "uuid", "index", "idx", "turn", "turn_id", "turn_number", "round"),
    *("tool_call_id", "call_id", "timestamp", "time", "date", "datetime", "created", "created_at", "create_time"),
    *("updated_at", "update_time", "parent", "parent_id", "children", "model", "model_name", "author", "user_id"),
    *("finish_reason", "stop_reason", "finish_details", "logprobs", "usage", "tokens", "token_count", "num_tokens"),
    *("language", "lang", "source", "type", "status", "end_turn", "metadata", "recipient", "refusal", "audio"),
    *("annotations", "citations", "toxicity", "moderation", "redacted", "hashed_ip", "header", "country", "state"),
    *("openai_id", "temperature", "top_p", "attachments", "files", "sender", "channel"),
}


@dataclass
class TurnKeys:
    """The keys of turns in the first rows of a source, by what is done with them.

    rows_by_unknown_key: {key: numbers of the rows where it occurs}. rows_by_flag: the same of train flags that are
    read. rows_by_unreadable_flag: of flags that say neither yes nor no. fractional_weight_rows: rows where a turn has a
    weight between 0 and 1, or above.
    """

    rows_by_unknown_key: dict[str, list[int]] = field(default_factory=dict)
    rows_by_flag: dict[str, list[int]] = field(default_factory=dict)
    rows_by_unreadable_flag: dict[str, list[int]] = field(default_factory=dict)
    fractional_weight_rows: list[int] = field(default_factory=list)
    turn_counts: Counter[str] = field(default_factory=Counter)

    def add_row(self, number: int, messages: Iterable[Row]) -> None:
        """Takes the raw messages of one row."""
        for message in messages:
            self._add_keys(number, message, _READ_KEYS | HARMLESS_KEYS)
            content = message.get("content")
            for content_part in content if isinstance(content, list) else ():
                if isinstance(content_part, dict):  # what else parts hold is checked where they become text
                    self._add_keys(number, content_part, content_part.keys() - {*ALL_FLAG_KEYS})

    def _add_keys(self, number: int, marked: Row, known_keys: Iterable[str]) -> None:
        for key, cell in marked.items():
            if cell is None:
                continue
            if key in _RANGE_FLAG_KEYS:
                _append_once(self.rows_by_flag.setdefault(key, []), number)
                self.turn_counts[key] += 1
            elif key in ALL_FLAG_KEYS:
                self._add_flag(number, key, cell)
            elif key not in known_keys:
                _append_once(self.rows_by_unknown_key.setdefault(key, []), number)
                self.turn_counts[key] += 1

    def _add_flag(self, number: int, key: str, flag: Cell) -> None:
        is_readable = parse_train_flag(flag) is not None
        rows_by_key = self.rows_by_flag if is_readable else self.rows_by_unreadable_flag
        _append_once(rows_by_key.setdefault(key, []), number)
        self.turn_counts[key] += 1
        if isinstance(flag, int | float) and not isinstance(flag, bool) and flag not in (0, 1):
            _append_once(self.fractional_weight_rows, number)

    def findings(self) -> list[Finding]:
        """The findings for a source report."""
        return [
            make_finding("marks" if severity == "good" else "turn_keys", severity, text, rows)
            for severity, text, rows in self._sentences()
        ]

    def _sentences(self) -> list[tuple[Severity, str, list[int]]]:
        """(severity, sentence, row numbers) of each finding."""
        sentences: list[tuple[Severity, str, list[int]]] = []
        if self.rows_by_flag:
            names = ", ".join(f"`{key}` on {_count_turns(self.turn_counts[key])}" for key in self.rows_by_flag)
            sentences.append(
                ("good", f"Some turns say themselves whether they are learned ({names}).", _all_rows(self.rows_by_flag))
            )
        for key in AMBIGUOUS_FLAG_KEYS:
            if key in self.rows_by_flag:
                text = f"`{key}` is read as hiding a turn: what has {key} 1 or true is not learned. Check it in the examples below."
                sentences.append(("careful", text, self.rows_by_flag[key]))
        if self.fractional_weight_rows:
            text = "Some turns have a weight other than 0 and 1. Every weight above 0 is learned alike: how strongly is not used."
            sentences.append(("careful", text, self.fractional_weight_rows))
        for key, rows in self.rows_by_unreadable_flag.items():
            text = f"`{key}` of {_count_turns(self.turn_counts[key])} says neither yes nor no, so it is not used."
            sentences.append(("careful", text, rows))
        for key, rows in self.rows_by_unknown_key.items():
            text = (
                f"{_count_turns(self.turn_counts[key]).capitalize()} in {len(rows)} of the first rows "
                f"{'has' if self.turn_counts[key] == 1 else 'have'} `{key[:60]}`, and nobody knows what it means: "
                "it is used only if the chat format writes it."
            )
            sentences.append(("careful", text, rows))
        return sentences


def _append_once(rows: list[int], number: int) -> None:
    if not rows or rows[-1] != number:
        rows.append(number)


def _count_turns(count: int) -> str:
    return "1 turn" if count == 1 else f"{count:,} turns"


def _all_rows(rows_by_key: dict[str, list[int]]) -> list[int]:
    return sorted({number for rows in rows_by_key.values() for number in rows})
