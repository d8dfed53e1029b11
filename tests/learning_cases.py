"""Learning cases: what each method promises to learn on the practice model, stated before it is measured."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from app.core import paths
from app.core.workspace import local_workspace


@dataclass(frozen=True)
class Case:
    """One method's promise.

    spec: a setup on the practice model; a teacher “kin:NAME” in it is one of presets/make_kin.py, a source “made:NAME” one of
    MADE. measure: of its held-out test. margin: the least change in every seed, negative where it must fall; it must also be
    larger than three times the spread over seeds. short, short_margin: what CI changes of the settings, none where the bench
    alone runs it, and its margin with one seed; short_rows: so many held-out rows are enough there, 0 for all.
    """

    spec: dict[str, Any]
    measure: str
    margin: float
    short: dict[str, Any] = field(default_factory=dict)
    short_margin: float = 0.0
    short_rows: int = 0


# -- examples to imitate ------------------------------------------------------------------------------------------


def imitating(knobs: dict[str, Any] | None = None, margin: float = -3.0, **other: Any) -> Case:
    """Support tickets, by one of the ways to train; the held-out loss falls."""
    settings = {"steps": 120, "batch_size": 16, "learning_rate": 0.004, "max_length": 256} | (knobs or {})
    spec = {"method": "sft", "data": [{"source": "sample:tickets"}], "holdout": {"split": "holdout"}, "knobs": settings}
    return Case(spec | other, "loss", margin)


def reading(knobs: dict[str, Any], **other: Any) -> Case:
    """Pages of a diary; the held-out loss falls."""
    spec = {"method": "pretrain", "data": [{"source": "sample:diary"}], "holdout": {"split": "holdout"},
            "knobs": {"steps": 60, "max_length": 128} | knobs}  # fmt: skip
    return Case(spec | other, "loss", -3.0)


def in_ci(case: Case, short: dict[str, Any], margin: float, rows: int = 0) -> Case:
    return replace(case, short=short, short_margin=margin, short_rows=rows)


SOON = {"steps": 8}, -1.0
WHOLE = {"adapter": {"kind": "none"}}
ANSWERED = {"source": "sample:sums", "mapping": {"completion": "answer"}}
CORRECT = {"rewards": [{"name": "exact_match", "as": "correct"}]}
CASES: dict[str, Case] = {
    "sft": in_ci(imitating(), *SOON),
    # What the model finds unlikely teaches this loss little: it sharpens what is half known.
    "sft by dft": Case({"method": "sft", "data": [ANSWERED], "holdout": {"split": "holdout"}, "knobs": {
        "steps": 60, "batch_size": 32, "learning_rate": 0.002, "schedule": "cosine", "max_length": 64, "loss": "dft", "eval_length": 8,
        "eval_answers": 200}} | CORRECT, "correct", 0.3),
    "sft, all weights": imitating({"learning_rate": 0.0005}, **WHOLE),
    "sft, dora": imitating(adapter={"kind": "dora"}),
    "sft, rslora": imitating({"learning_rate": 0.002}, adapter={"kind": "rslora"}),
    "sft, nf4": in_ci(imitating(model={"quantization": "nf4"}), *SOON),
    "sft, int8": imitating(model={"quantization": "int8"}),
    "sft, new words": imitating(model={"new_tokens": ['{"team":']}, margin=-4.0),
    "sft on pictures": Case({"method": "sft", "model": {"id": "pocket-vision"}, "data": [{"source": "sample:shapes"}],
                             "holdout": {"split": "holdout"}, "knobs": {"steps": 150, "batch_size": 16, "learning_rate": 0.004,
                             "schedule": "cosine", "warmup": 0.04, "max_length": 64, "eval_length": 8, "eval_answers": 60}} | CORRECT,
                            "correct", 0.4, {"steps": 70}, 0.1),
    "pretrain": in_ci(reading({"learning_rate": 0.002}), *SOON),
    "pretrain from nothing": reading({"learning_rate": 0.003, "from_scratch": True}, **WHOLE),
}  # fmt: skip

# -- answers that are liked better --------------------------------------------------------------------------------


def pairs_of(method: str, sample: str, knobs: dict[str, Any], **other: Any) -> dict[str, Any]:
    """A setup."""
    return {"method": method, "data": [{"source": f"sample:{sample}"}], "holdout": {"split": "holdout"}, "knobs": {"max_length": 128} | knobs} | other  # fmt: skip


def preferring(method: str, margin: float = 0.3, **knobs: Any) -> Case:
    """Kind answers rather than curt ones: of more of the held-out pairs the kind one is likelier."""
    setup = pairs_of(method, "manners", {"steps": 30, "batch_size": 8, "learning_rate": 0.001} | knobs)
    return Case(setup, "preferred", margin)


def first(case: Case) -> Case:
    """Of its method: CI runs it."""
    return in_ci(case, {"steps": 8}, 0.1, rows=40)


THUMBS = {"steps": 80, "batch_size": 16, "learning_rate": 0.002, "schedule": "cosine"}
RANKED = {"steps": 40, "batch_size": 8, "learning_rate": 0.004}
CASES |= {
    "dpo": first(preferring("dpo")),
    "dpo, ipo": preferring("dpo", loss="ipo"),
    "dpo, mpo": preferring("dpo", 0.2, loss="mpo"),
    "kto": Case(pairs_of("kto", "thumbs", THUMBS), "told_apart", 0.1, {"steps": 24}, 0.03, short_rows=60),
    "orpo": first(preferring("orpo")),
    "cpo": first(preferring("cpo")),
    "simpo": first(preferring("simpo")),
    # The practice model knows already which of two answers is right: what it learns is the best one, which is kind, too.
    "tpo": Case(pairs_of("tpo", "ranks", RANKED), "loss", -3.0, {"steps": 8}, -1.0, short_rows=40),
}  # fmt: skip

# -- a teacher ----------------------------------------------------------------------------------------------------


def copying(
    method: str, data: dict[str, Any], measure: str, margin: float, short_margin: float, knobs: dict[str, Any]
) -> Case:
    """A method that copies a teacher, or itself with a hint."""
    setup = {"method": method, "data": [data], "holdout": {"split": "holdout"}, "knobs": COPYING | knobs} | CORRECT
    short = {"steps": 8, "batch_size": 16, "learning_rate": 0.004, "eval_answers": 40}
    return Case(setup, measure, margin, short, short_margin)


COPYING = {"steps": 40, "batch_size": 32, "max_completion_length": 8, "learning_rate": 0.002, "eval_answers": 200}
TICKETS = {"teacher": "kin:stranger", "batch_size": 16, "learning_rate": 0.004, "max_completion_length": 40, "eval_answers": 60,
           "examples_weight": 0.0}  # fmt: skip
CASES |= {
    "distill": copying("distill", {"source": "sample:sums"}, "correct", 0.3, 0.12, {}),
    "gkd": copying("gkd", ANSWERED, "agreement", 0.1, 0.04, {}),
    "gold": copying("gold", {"source": "sample:tickets"}, "agreement", 0.2, 0.12, TICKETS),
    "sdft": copying("sdft", {"source": "sample:hints"}, "correct", 0.4, 0.15, {"max_completion_length": 12}),
}

# -- scores and rewards -------------------------------------------------------------------------------------------

CASES |= {
    "reward": Case({"method": "reward", "data": [{"source": "sample:manners"}], "holdout": {"split": "holdout"},
                    "knobs": {"steps": 40, "batch_size": 16}}, "sure", 0.4, {"steps": 6}, 0.1),
    "process_reward": Case({"method": "process_reward", "data": [{"source": "sample:steps"}], "holdout": {"split": "holdout"},
                            "knobs": {"steps": 250, "batch_size": 16, "learning_rate": 0.002, "schedule": "cosine", "warmup": 0.04}},
                           "sure", 0.2, {"steps": 140, "batch_size": 8, "warmup": 0.1}, 0.05),
    "ppo": Case({"method": "ppo", "data": [{"source": "sample:sums"}], "holdout": {"split": "holdout"},
                 "knobs": {"steps": 25, "batch_size": 128, "minibatches": 4, "passes": 2, "max_completion_length": 8, "learning_rate": 0.001,
                           "kl": 0.02, "schedule": "constant", "eval_answers": 200}} | CORRECT,
                "correct", 0.3, {"steps": 3, "batch_size": 32, "passes": 4}, 0.08),
}  # fmt: skip


def earning(method: str, knobs: dict[str, Any], short: dict[str, Any] | None = None, short_margin: float = 0.0) -> Case:
    """Small sums, where only the exact answer counts; it is given to more of the held-out ones."""
    settings = {"batch_size": 64, "max_completion_length": 8, "learning_rate": 0.001, "schedule": "constant", "eval_answers": 200}  # fmt: skip
    setup = {"method": method, "data": [{"source": "sample:sums"}], "holdout": {"split": "holdout"}, "knobs": settings | knobs}  # fmt: skip
    return Case(setup | CORRECT, "correct", 0.25, {"eval_answers": 64} | short if short else {}, short_margin)


REPLAYED = {"recipe": "gspo", "clip": 0.2, "clip_high": 0.28, "replay": 32, "reroll_after": 0.3, "reroll_groups": 2}
CASES |= {
    "grpo": earning("grpo", {"steps": 60, "batch_size": 128, "loss": "dr_grpo"}, {"steps": 10, "batch_size": 64}, 0.08),
    "grpo, gspo with replay and second tries": earning("grpo", {"steps": 60} | REPLAYED),
    # From nothing: what it learns is above all how such answers are put, and some of what they say.
    "grpo on pictures": Case({"method": "grpo", "model": {"id": "pocket-vision"}, "data": [{"source": "made:asked_pictures"}],
        "holdout": {"share": 0.2}, "rewards": [{"name": "similar", "as": "alike", "params": {"by": "letters"}}],
        "knobs": {"steps": 40, "batch_size": 64, "max_completion_length": 6, "learning_rate": 0.002, "schedule": "constant",
                  "temperature": 1.5, "loss": "dr_grpo", "eval_answers": 60}}, "alike", 0.15),
    "rloo": earning("rloo", {"steps": 40, "kl": 0.02}, {"steps": 8}, 0.08),
    "online_dpo": earning("online_dpo", {"steps": 40, "learning_rate": 0.002, "beta": 0.05, "schedule": "linear"},
        {"steps": 8, "learning_rate": 0.003}, 0.1),
}  # fmt: skip

# -- meaning ------------------------------------------------------------------------------------------------------

CASES |= {
    "ebft": Case({"method": "ebft", "data": [ANSWERED], "holdout": {"split": "holdout"},
                  "knobs": {"steps": 40, "batch_size": 16, "attempts": 8, "max_completion_length": 8, "temperature": 1.0, "whitening": True,
                            "learning_rate": 0.001, "schedule": "constant", "eval_answers": 200}} | CORRECT,
                 "correct", 0.15, {"steps": 8, "batch_size": 8, "eval_answers": 64}, 0.04),
    "ebft, pieces of text": Case({"method": "ebft", "data": [{"source": "sample:diary"}], "holdout": {"split": "holdout"},
                  "knobs": {"steps": 40, "batch_size": 8, "attempts": 4, "max_length": 64, "temperature": 1.0, "whitening": True,
                            "learning_rate": 0.001, "eval_answers": 40}}, "alignment", 0.1),
}  # fmt: skip


# -- data of our own ----------------------------------------------------------------------------------------------


def asked_pictures(folder: Path) -> Path:
    """The sample of shapes as questions with their answers, for methods that earn."""
    sample = paths.ROOT / "presets" / "samples" / "shapes"
    shutil.copytree(sample / "images", folder / "images", dirs_exist_ok=True)
    with (folder / "rows.jsonl").open("w", encoding="utf-8") as lines:
        for line in (sample / "train.jsonl").read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            ask, told = (turn["content"] for turn in row["messages"])
            lines.write(json.dumps({"prompt": ask, "answer": told, "images": row["images"]}) + "\n")
    return folder / "rows.jsonl"


MADE = {"asked_pictures": asked_pictures}


def made(source: str) -> str:
    """The source that “made:NAME” stands for; any other stays as it is."""
    if not source.startswith("made:"):
        return source
    name = source.removeprefix("made:")
    return f"path:{MADE[name](local_workspace().folder('cache', 'learning', name))}"
