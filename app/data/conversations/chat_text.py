"""Chats that are text already: recognised by the marks of the chat format that wrote them, and split at these."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from app.data.conversations.messages import ROLE_ALIASES, Messages
from app.data.fields import Cell

CHAT_END_MARKS = (
    *("<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|eot|>", "<end_of_turn>", "<turn|>", "<|end|>", "</s>"),
    *("<|endoftext|>", "<|end_of_text|>", "<eos>", "<｜end▁of▁sentence｜>"),
)
_BEGIN_MARKS = r"(?:<s>|<bos>|<\|begin_of_text\|>|<\|startoftext\|>|<｜begin▁of▁sentence｜>|\[gMASK\]|<sop>)"
_END_MARKS = f"(?:{'|'.join(map(re.escape, CHAT_END_MARKS))})"
_END_MARK = re.compile(_END_MARKS)
_LAST_BEGIN_MARK = re.compile(rf"{_BEGIN_MARKS}\Z")
_MAX_MARK_LENGTH = 40  # characters of a mark that begins a chat
_FRAME = re.compile(rf"(?:\s|{_BEGIN_MARKS}|{_END_MARKS})*")  # what may stand between two turns
_SYSTEM_PART = re.compile(r"\s*<<SYS>>\n?(.*?)\n?<</SYS>>\s*", re.DOTALL)  # Llama 2 writes it inside the first question
_ALPACA_PREFACE = "Below is an instruction"
_MAX_CHECKED_LENGTH = 2_000_000  # characters; longer texts are no chats


@dataclass(frozen=True)
class ChatMarks:
    """The marks of one chat format.

    title: for people. header: what begins a turn, as a regular expression whose first group is who speaks. roles: {that,
    in lower case: standard role} beside the usual names. allows_preface: other text may stand before the first turn.
    """

    title: str
    header: str
    roles: tuple[tuple[str, str], ...] = ()
    allows_preface: bool = False

    def role(self, name: str) -> str | None:
        """The standard role of who speaks; None for an unknown name."""
        lower_name = name.strip().lower()
        return dict(self.roles).get(lower_name) or ROLE_ALIASES.get(lower_name)


_FORMATS = (
    ChatMarks("ChatML (<|im_start|>)", r"<\|im_start\|>([\w ]{1,40})\n"),
    ChatMarks("Llama 3 (<|start_header_id|>)", r"<\|start_header_id\|>([\w ]{1,40})<\|end_header_id\|>\n*"),
    ChatMarks("Llama 4 (<|header_start|>)", r"<\|header_start\|>([\w ]{1,40})<\|header_end\|>\n*"),
    ChatMarks("Gemma (<start_of_turn>)", r"<start_of_turn>(\w{1,40})\n"),
    ChatMarks("Zephyr or Phi (<|user|>)", r"<\|(system|user|assistant|observation)\|>\n*"),
    ChatMarks("DeepSeek (<｜User｜>)", r"<｜(User|Assistant)｜>"),
    ChatMarks("Llama 2 or Mistral ([INST])", r"(\[INST\]|\[/INST\])", (("[inst]", "user"), ("[/inst]", "assistant"))),
    ChatMarks(
        "Alpaca (### Instruction:)",
        r"(?:^|\n)### (Instruction|Input|Response):\n?",
        (("instruction", "user"), ("input", "user"), ("response", "assistant")),
        allows_preface=True,
    ),
    ChatMarks("Vicuna (USER: … ASSISTANT:)", r"(?:^|(?<=\s)|(?<=</s>))(USER|ASSISTANT):", allows_preface=True),
)


@dataclass(frozen=True)
class ChatTurn:
    """One turn of a chat in a text. start, end: of what is said, in characters, with the space before it. stop: behind the
    mark that ends it; `end` where there is none."""

    role: str
    start: int
    end: int
    stop: int


@dataclass(frozen=True)
class ChatText:
    """A text that is a chat, and its turns in order."""

    text: str
    marks: ChatMarks
    turns: tuple[ChatTurn, ...]

    def messages(self) -> Messages:
        """The turns as messages, without an answer at the end that is still open."""
        spoken: list[tuple[str, list[str]]] = []  # (role, paragraphs)
        preface = _FRAME.sub("", self.text[: self._first_header_start()], count=1).strip()
        if preface and not preface.startswith(_ALPACA_PREFACE):
            spoken.append(("system", [preface]))
        for turn in self.turns:
            content = self.text[turn.start : turn.end].strip()
            if system_part := _SYSTEM_PART.match(content) if turn.role == "user" else None:
                spoken.append(("system", [system_part[1].strip()]))
                content = content[system_part.end() :].strip()
            if spoken and spoken[-1][0] == turn.role == "user" and self.marks.allows_preface:
                spoken[-1][1].append(content)  # Alpaca's input belongs to its instruction
            elif content or turn.role != "assistant":
                spoken.append((turn.role, [content]))
        return [{"role": role, "content": "\n\n".join(paragraphs)} for role, paragraphs in spoken]

    def segments(self, trained_from: int = 0) -> list[dict[str, str | bool]]:
        """The text as it is, in segments: answers with the marks that end them are trained, all else is only read.

        trained_from: answers before this character are only read.
        """
        segments: list[dict[str, str | bool]] = []
        position = 0
        for turn in self.turns:
            if turn.role != "assistant" or turn.end <= trained_from or not self.text[turn.start : turn.end].strip():
                continue
            segments.append({"text": self.text[position : turn.start], "train": False})
            segments.append({"text": self.text[turn.start : turn.stop], "train": True})
            position = turn.stop
        rest = self.text[position:]
        return [*segments, {"text": rest, "train": False}] if rest else segments

    def _first_header_start(self) -> int:
        header = re.search(self.marks.header, self.text)
        return header.start() if header else 0


@cache
def _compiled_header(header: str) -> re.Pattern[str]:
    return re.compile(header)


def parse_chat_text(text: Cell) -> ChatText | None:
    """The chat that a text is; None where it is none: it has no question, or text stands outside its turns."""
    if not isinstance(text, str) or len(text) > _MAX_CHECKED_LENGTH:
        return None
    return next((chat for marks in _FORMATS if (chat := _parse_with_marks(text, marks))), None)


def _parse_with_marks(text: str, marks: ChatMarks) -> ChatText | None:
    headers = [*_compiled_header(marks.header).finditer(text)]
    if len(headers) < 2 and not (headers and not marks.allows_preface):
        return None
    if not marks.allows_preface and _FRAME.sub("", text[: headers[0].start()], count=1):
        return None
    turns = []
    ends = [*(header.start() for header in headers[1:]), len(text)]
    for header, end in zip(headers, ends, strict=True):
        role, turn_end = marks.role(header[1]), _turn_end(text, header.end(), end)
        if role is None or turn_end is None:
            return None
        turns.append(ChatTurn(role, header.end(), *turn_end))
    roles = [turn.role for turn in turns]
    has_dialogue = "user" in roles and (len(turns) > 1 or not marks.allows_preface)
    if not has_dialogue or (marks.allows_preface and "assistant" not in roles):
        return None
    return ChatText(text, marks, tuple(turns))


def _stripped_end(text: str, start: int, end: int) -> int:
    """Where text[start:end] ends without the white space at its end."""
    return start + len(text[start:end].rstrip())


def _turn_end(text: str, start: int, limit: int) -> tuple[int, int] | None:
    """(where what is said ends, where the mark behind it ends) of a turn; None where text stands behind that mark."""
    mark = _END_MARK.search(text, start, limit)
    if mark is None:
        end = _stripped_end(text, start, limit)
        begin_mark = _LAST_BEGIN_MARK.search(text, max(start, end - _MAX_MARK_LENGTH), end)
        end = _stripped_end(text, start, begin_mark.start()) if begin_mark else end
        return end, end
    rest = _FRAME.fullmatch(text, mark.end(), limit)
    return (mark.start(), mark.end()) if rest else None
