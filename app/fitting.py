"""Fitting: what a table of examples can teach: which methods take its columns, which is the usual one and why, and what the others lack."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any

from app import files, rooms, rows
from app.files import Row
from app.kinds import KINDS
from app.problems import Problem
from app.spec import Source

LOOKED_AT = 50  # rows


@dataclass(frozen=True)
class Column:
    """One of our columns. title: what one cell holds; all: what they all hold; often: what others call it, likeliest first."""

    title: str
    all: str
    often: tuple[str, ...]


COLUMNS = {
    "messages": Column("The conversation", "conversations", ("messages", "conversations", "conversation", "dialog", "dialogue", "chat", "turns")),
    "prompt": Column("The question", "questions", ("prompt", "question", "instruction", "input", "query", "user", "ask", "q", "problem", "message", "text")),
    "completion": Column("The answer", "answers", ("completion", "answer", "response", "output", "target", "assistant", "reply", "a", "label", "category", "class")),
    "text": Column("The text", "running text", ("text", "content", "body", "document", "story", "article", "page")),
    "chosen": Column("The better answer", "better answers", ("chosen", "better", "preferred", "accepted", "winner", "good", "chosen_response", "response_chosen", "positive")),
    "rejected": Column("The worse answer", "worse answers", ("rejected", "worse", "dispreferred", "refused", "loser", "bad", "rejected_response", "response_rejected", "negative")),
    "reference": Column("The best answer", "best answers", ("reference", "best", "ideal", "gold", "ground_truth")),
    "label": Column("Liked or not", "thumbs up or down", ("label", "liked", "thumb", "thumbs", "vote", "feedback", "is_good", "rating")),
    "completions": Column("The steps", "solutions in steps", ("completions", "steps", "solution")),
    "labels": Column("Which steps are right", "marks for each step", ("labels", "step_labels", "marks", "ratings")),
    "privileged_context": Column("The hint", "hints", ("privileged_context", "hint", "hints", "explanation", "context")),
}  # fmt: skip

# What a row may be: (title, columns that it may have beside those that make it so, the usual method, why that one).
SHAPES = {
    "messages": ("Conversations", (), "sft", "These are conversations: imitating what is answered in them is the simplest way, and the one to start with when in doubt."),
    "stepwise": ("Solutions in steps", (), "process_reward", "Every step of a solution is marked right or wrong: from that it can learn to judge steps."),
    "thumbs": ("Answers, liked or not", (), "kto", "Single answers were liked or disliked, and none is paired with another: it can learn from the thumbs as they are."),
    "ranked": ("Better, worse and best answers", ("prompt",), "tpo", "Beside a better and a worse answer there is a best one: that is imitated while the two are told apart."),
    "preference": ("Better and worse answers", ("prompt",), "dpo", "Each question has a better and a worse answer: the difference can be learned directly, without a judge between."),
    "prompt_completion": ("Questions and answers", (), "sft", "Each question has the answer you want: imitating those is the simplest way, and the one to start with when in doubt."),
    "text": ("Plain text", (), "pretrain", "This is running text without questions: all of it is read, and its language taken on."),
    "hinted": ("Questions with hints", (), "sdft", "Each question comes with a hint: it learns to answer without the hint as it answers with it."),
    "prompt": ("Questions", (), "grpo", "There are questions to try: it writes answers by itself and learns from what is right. Best where an answer can be checked, as in sums or code."),
}  # fmt: skip

# What a person wants: (title, what one gives, the usual method).
FAMILIES = {
    "imitate": ("Imitate examples", "You show it the answers you want.", "sft"),
    "prefer": ("Prefer this over that", "You show it better and worse answers.", "dpo"),
    "rewards": ("Earn rewards", "It tries by itself; you say what counts.", "grpo"),
    "score": ("Score answers", "It becomes a judge that gives marks.", "reward"),
    "copy": ("Copy a bigger model", "A teacher shows it what to say.", "distill"),
}


def family(method: Any) -> str:
    return getattr(method, "FAMILY", "imitate")


def order(name: str) -> int:
    """Of a method within its family: the usual one, then those that stay as they are, then the experimental."""
    module = rooms.load("methods", name)
    return (FAMILIES[family(module)][2] != name) + 2 * bool(getattr(module, "EXPERIMENTAL", False))


def fit(source: str, mapping: dict[str, str] | None = None) -> dict[str, Any]:
    """`fitting` of the first rows behind a sample, an upload or a path. Raises Problem."""
    path = files.file_of(Source(source=source))
    if path is None:
        raise Problem("The columns of a data set on the Hub are not looked at yet.", advice="Name a file or a sample.")
    found = list(islice(files.read(path), LOOKED_AT))
    return fitting(list(rows.mapped(found, mapping or {})), guess=not source.startswith("sample:"))


def every(source: str) -> list[dict[str, Any]]:
    """[{"name", "title", "family", "lacks", "best", "why"}], the usual one first, then what fits, then what does not. Raises Problem."""
    told = fit(source)
    listed = [{"name": name, "title": rooms.load("methods", name).TITLE, "family": family(rooms.load("methods", name)), "lacks": lacks,
               "best": name == told["best"], "why": told["why"] if name == told["best"] else ""} for name, lacks in told["methods"].items()]  # fmt: skip
    return sorted(listed, key=lambda one: (not one["best"], bool(one["lacks"]), order(one["name"]), one["name"]))


def fitting(found: list[Row], guess: bool = True) -> dict[str, Any]:
    """{"shapes": {what the rows are or may be: {our column: theirs}}, "methods": {name: "" or what is lacking}, "best", "why"}.

    guess: columns that go by other names count too. best is None where no method takes them.
    """
    names = list(dict.fromkeys(name for row in found for name in row))
    shapes = {shape: columns for shape in SHAPES if (columns := columns_of(shape, found, names, guess)) is not None}
    methods = {name: lacking(rooms.load("methods", name).LAYOUTS, shapes, found, names, guess) for name in rooms.choices("methods")}  # fmt: skip
    best = next((usual(shape) for shape in shapes if usual(shape)), None)
    why = next((SHAPES[shape][3] for shape in shapes if usual(shape)), "")
    return {"shapes": shapes, "methods": methods, "best": best, "why": why}


def columns_of(shape: str, found: list[Row], names: list[str], guess: bool) -> dict[str, str] | None:
    """{our column: theirs} where they go by another name; None where the rows are not of this shape."""
    columns = assigned(shape, names, guess)
    if any(columns.get(column) is None for column in rows.LAYOUTS[shape]):
        return None
    mapping = {ours: theirs for ours, theirs in columns.items() if theirs and ours != theirs}
    return mapping if unusable(shape, found, mapping) == "" else None


def assigned(shape: str, names: list[str], guess: bool) -> dict[str, str | None]:
    """{our column: theirs}, each of theirs once."""
    taken: dict[str, str | None] = {}
    for column in (*rows.LAYOUTS[shape], *SHAPES[shape][1]):
        free = [name for name in names if name not in taken.values()]
        taken[column] = guessed(column, free) if guess or column == "messages" else column if column in free else None
    return taken


def guessed(column: str, names: Iterable[str]) -> str | None:
    """Which of these columns is ours, by what such columns are often called."""
    lower = {name.lower().strip(): name for name in reversed([*names])}
    return next((lower[word] for word in (column, *COLUMNS[column].often) if word in lower), None)


def unusable(shape: str, found: list[Row], mapping: dict[str, str]) -> str:
    """Why not one of the rows can be used; empty when one can."""
    made = [KINDS[shape](rows.without_nulls(row), True) for row in rows.mapped(found, mapping)]
    reasons = [one for one in made if isinstance(one, str)]
    return reasons[0] if reasons and len(reasons) == len(made) else ""


def lacking(layouts: tuple[str, ...], shapes: dict[str, Any], found: list[Row], names: list[str], guess: bool) -> str:
    """What a method that takes these layouts lacks, in the layout that comes nearest; empty when it has all."""
    if any(layout in shapes for layout in layouts):
        return ""
    known = {layout: assigned(layout, names, guess) for layout in layouts}
    missing = {
        layout: [column for column in rows.LAYOUTS[layout] if known[layout][column] is None] for layout in layouts
    }
    nearest = min(layouts, key=lambda layout: (len(missing[layout]), -len(rows.LAYOUTS[layout])))
    if missing[nearest]:
        columns = "a column" if len(missing[nearest]) == 1 else "columns"
        return f"needs {columns} of {listed([COLUMNS[column].all for column in missing[nearest]])}"
    mapping = {ours: theirs for ours, theirs in known[nearest].items() if theirs and ours != theirs}
    return f"cannot use these rows: {unusable(nearest, found, mapping)}"


def listed(parts: list[str]) -> str:
    """a, b and c"""
    return " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))


def usual(shape: str) -> str | None:
    """The method that most people begin with on such rows, else the first that takes them."""
    takes = [name for name in rooms.choices("methods") if shape in rooms.load("methods", name).LAYOUTS]
    return SHAPES[shape][2] if SHAPES[shape][2] in takes else next(iter(takes), None)
