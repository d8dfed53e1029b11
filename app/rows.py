"""Rows: a source becomes plain dictionaries in one of the layouts that methods understand. No heavy imports."""

from __future__ import annotations

import csv
import hashlib
import json
import random
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from app import rooms
from app.problems import Problem
from app.spec import Source

Row = dict[str, Any]

# The columns that make a layout, most telling first: a row may fit several, and the first counts.
LAYOUTS = {
    "messages": ("messages",),
    "conversations": ("conversations",),
    "stepwise": ("prompt", "completions", "labels"),
    "thumbs": ("prompt", "completion", "label"),
    "preference": ("chosen", "rejected"),
    "prompt_completion": ("prompt", "completion"),
    "text": ("text",),
    "prompt": ("prompt",),
}
IN_WORDS = {
    "messages": "a column `messages`",
    "stepwise": "`prompt`, `completions` and `labels`",
    "thumbs": "`prompt`, `completion` and `label`",
    "preference": "`chosen` and `rejected`",
    "prompt_completion": "`prompt` and `completion`",
    "text": "a column `text`",
    "prompt": "a column `prompt`",
}
ROLES = {"human": "user", "gpt": "assistant", "bot": "assistant", "model": "assistant", "chatgpt": "assistant"}
SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".txt")


def file_of(source: Source, split: str | None = None) -> Path | None:
    """The file behind a sample, upload or path; None for a Hub source. Raises Problem when it isn't there."""
    kind, _, name = source.source.partition(":")
    if kind == "hub":
        return None
    if kind == "sample":
        path = rooms.ROOT / "presets" / "samples" / name / f"{split or source.split}.jsonl"
        known = sorted(folder.name for folder in path.parent.parent.iterdir() if folder.is_dir())
        advice = rooms.nearest(name, known) if name not in known else "Its splits are train and holdout."
    elif kind == "upload":
        found = sorted(rooms.home("uploads").glob(f"*/{name}/*"))
        path, advice = found[0] if found else Path(name), "Upload the file again."
    else:
        path, advice = Path(name).expanduser(), "Check the path."
    if not path.is_file():
        raise Problem(f"The examples “{source.source}” are not there.", advice=advice, reason="data_not_found")
    if path.suffix not in SUFFIXES:
        raise Problem(f"Files ending in “{path.suffix}” cannot be read.", advice=f"Use one of {', '.join(SUFFIXES)}.")
    return path


def read(path: Path) -> Iterator[Row]:
    """Rows of a file, one by one. Raises Problem with the line where it stops being readable."""
    readers = {".json": read_json, ".csv": read_csv, ".tsv": read_csv, ".parquet": read_parquet, ".txt": read_text}
    try:
        yield from readers.get(path.suffix, read_jsonl)(path)
    except UnicodeDecodeError as error:
        raise Problem(f"{path.name} is not text in UTF-8 (byte {error.start}).", advice="Save it as UTF-8.") from error
    except (ValueError, csv.Error) as error:  # a border: a person's file
        raise Problem(f"{path.name} cannot be read: {error}.", advice="Mend the file, or bring another.",
                      reason="unreadable_data") from error  # fmt: skip


def read_jsonl(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise ValueError(f"line {number} is not JSON ({error})") from error
            if not isinstance(row, dict):
                raise ValueError(f"line {number} is a {type(row).__name__}, not an object with columns")
            yield row


def read_json(path: Path) -> Iterator[Row]:
    data = json.loads(path.read_text(encoding="utf-8-sig"))
    if not isinstance(data, list) or not all(isinstance(row, dict) for row in data):
        raise ValueError("it is not a list of objects")
    yield from data


def read_csv(path: Path) -> Iterator[Row]:
    csv.field_size_limit(2**31 - 1)
    with path.open(encoding="utf-8-sig", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ","):
            yield {key: value for key, value in row.items() if key is not None}


def read_parquet(path: Path) -> Iterator[Row]:
    import pyarrow.parquet  # here: the page's process reads parquet only when somebody brings it

    for batch in pyarrow.parquet.ParquetFile(path).iter_batches():
        yield from batch.to_pylist()


def read_text(path: Path) -> Iterator[Row]:
    """Paragraphs, separated by blank lines, as `text`."""
    for part in path.read_text(encoding="utf-8-sig").split("\n\n"):
        if part.strip():
            yield {"text": part.strip()}


def mapped(rows: Iterable[Row], mapping: dict[str, str]) -> Iterator[Row]:
    """Rows with columns renamed: {ours: theirs}. Raises Problem when a named column isn't there."""
    for row in rows:
        for theirs in mapping.values():
            if theirs not in row:
                raise Problem(
                    f"There is no column “{theirs}”.", advice=rooms.nearest(theirs, list(row)), reason="wrong_column"
                )
        kept = {key: value for key, value in row.items() if key not in mapping.values()}
        yield kept | {ours: row[theirs] for ours, theirs in mapping.items()}


def weighted(rows: list[Row], weight: float, seed: int) -> list[Row]:
    """Each row `weight` times: whole numbers repeat, the fraction draws without replacement."""
    whole, fraction = divmod(weight, 1)
    drawn = random.Random(seed).sample(rows, round(fraction * len(rows)))
    return rows * int(whole) + drawn


def layout_of(row: Row) -> str | None:
    """The first layout whose columns the row has."""
    return next((name for name, columns in LAYOUTS.items() if all(row.get(c) is not None for c in columns)), None)


def check_layout(row: Row, allowed: Iterable[str], title: str) -> str:
    """The row's layout when the method takes it. Raises Problem that names the columns found and those needed."""
    found = layout_of(row)
    if found == "conversations" and "messages" in allowed:
        return "messages"
    if found not in allowed and "prompt" in allowed and row.get("prompt") is not None:
        return "prompt"  # a method that only asks takes any row with a prompt
    if found in allowed:
        return found
    needs = ", or ".join(IN_WORDS[name] for name in allowed)
    raise Problem(
        f"The examples have the columns {', '.join(f'`{column}`' for column in row)}; “{title}” needs {needs}.",
        advice="Map your columns to these names, or choose another method.",
        reason="wrong_column",
    )


class Normaliser:
    """Turns mapped rows into what TRL takes, and counts the rows it leaves out, with the reason.

    chat: plain prompts and completions become chat messages (the model has a chat template).
    """

    def __init__(self, layouts: Iterable[str], title: str, chat: bool):
        self.layouts, self.title, self.chat = tuple(layouts), title, chat
        self.dropped: Counter[str] = Counter()

    def __call__(self, rows: Iterable[Row]) -> Iterator[Row]:
        rows = iter(rows)
        for first in islice(rows, 1):
            layout = check_layout(first, self.layouts, self.title)
            yield from self.kept(layout, [first])
            yield from self.kept(layout, rows)

    def kept(self, layout: str, rows: Iterable[Row]) -> Iterator[Row]:
        shape = {"messages": self.messages, "prompt_completion": self.pair, "text": self.text, "prompt": self.prompt}[
            layout
        ]
        for row in rows:
            made = shape(without_nulls(row))
            if isinstance(made, str):
                self.dropped[made] += 1
            else:
                yield made

    def messages(self, row: Row) -> Row | str:
        turns = row.get("messages") or row.get("conversations")
        if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
            return "messages is not a list of turns"
        turns = [as_turn(turn) for turn in turns]
        if not any(turn["role"] == "assistant" and (turn.get("content") or turn.get("tool_calls")) for turn in turns):
            return "no answer in the conversation"
        rest = {key: row[key] for key in ("tools", "chat_template_kwargs") if key in row}
        return {"messages": turns} | rest

    def pair(self, row: Row) -> Row | str:
        prompt, completion = row.get("prompt"), row.get("completion")
        if not prompt or not completion or not str(prompt).strip() or not str(completion).strip():
            return "empty prompt or completion"
        if self.chat:
            return {"prompt": as_messages(prompt, "user"), "completion": as_messages(completion, "assistant")}
        return {"prompt": str(prompt), "completion": str(completion)}

    def text(self, row: Row) -> Row | str:
        text = row.get("text")
        return {"text": text} if isinstance(text, str) and text.strip() else "empty text"

    def prompt(self, row: Row) -> Row | str:
        """Every other column stays: rewards read them."""
        prompt = row.get("prompt")
        if not prompt or (isinstance(prompt, str) and not prompt.strip()):
            return "empty prompt"
        return row | {"prompt": as_messages(prompt, "user") if self.chat else prompt}


def as_turn(turn: Row) -> Row:
    """ShareGPT's from/value become role/content; the usual other names of roles are mapped."""
    role = str(turn.get("role") or turn.get("from") or "user").lower()
    rest = {key: value for key, value in turn.items() if key not in ("role", "from", "value", "content")}
    content = turn.get("content", turn.get("value"))
    return {"role": ROLES.get(role, role), "content": content if content is not None else ""} | rest


def as_messages(value: Any, role: str) -> list[Row]:
    return [as_turn(turn) for turn in value] if isinstance(value, list) else [{"role": role, "content": str(value)}]


def without_nulls(value: Any) -> Any:
    """Parquet and Arrow fill missing keys with null, and templates would see them."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


def as_question(row: Row) -> tuple[Any, str] | None:
    """What to ask and the answer expected, of a normalised row: the last answer of a conversation, or the completion."""
    if "messages" in row:
        turns = row["messages"]
        last = max((i for i, turn in enumerate(turns) if turn["role"] == "assistant"), default=0)
        return (turns[:last], str(turns[last]["content"])) if last else None
    if "completion" in row:
        completion = row["completion"]
        return row["prompt"], completion if isinstance(completion, str) else str(completion[-1]["content"])
    return (row["prompt"], str(row.get("answer", ""))) if "prompt" in row else None


def fingerprint(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
