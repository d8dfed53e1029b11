"""Failures that a run must name: setups on the practice model that go wrong in one known way each, with the expected diagnosis."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.core import paths
from tests.support import write_rows

SAMPLES = paths.ROOT / "presets" / "samples"
Fields = dict[str, Any]


@dataclass(frozen=True)
class FailureCase:
    """A setup that fails. build: its fields; gets an empty folder for data of its own. expected: ids of diagnoses, any of which names
    the failure; “failed” and “refused” where the run must end with a sentence that holds `words`."""

    build: Callable[[Path], Fields]
    expected: tuple[str, ...]
    words: str = ""


def sample_rows(name: str) -> list[Fields]:
    return [json.loads(line) for line in (SAMPLES / name / "train.jsonl").read_text(encoding="utf-8").splitlines()]


def on_sample(method: str, sample: str, knobs: Fields, **other_fields: Any) -> Callable[[Path], Fields]:
    """A setup on a shipped sample with its held-out rows."""
    return lambda folder: {"method": method, "data": [{"source": f"sample:{sample}"}], "holdout": {"split": "holdout"},
                           "knobs": {"evaluations": 1, "saves": 0} | knobs} | other_fields  # fmt: skip


def on_rows(
    method: str, make_rows: Callable[[], list[Fields]], knobs: Fields, **other_fields: Any
) -> Callable[[Path], Fields]:
    """A setup on rows of its own, a fifth of which is held out."""

    def build(folder: Path) -> Fields:
        source = {"source": write_rows(folder / "rows.jsonl", make_rows())} | other_fields.get("source", {})
        fields = {"method": method, "data": [source], "holdout": {"share": 0.2}, "knobs": {"evaluations": 1, "saves": 0} | knobs}  # fmt: skip
        return fields | {name: field for name, field in other_fields.items() if name != "source"}

    return build


# -- rewards ------------------------------------------------------------------------------------------------------

SHORT_RL = {"steps": 12, "batch_size": 32, "attempts": 4, "max_completion_length": 12, "learning_rate": 0.001,
            "schedule": "constant", "eval_answers": 32}  # fmt: skip


def rl(rewards: list[Fields], method: str = "grpo", **knobs: Any) -> Callable[[Path], Fields]:
    return on_sample(method, "sums", SHORT_RL | knobs, rewards=rewards)


def contains(*words: str) -> Fields:
    return {"name": "contains", "params": {"words": list(words)}}


def sums_without_answers() -> list[Fields]:
    return [row | {"answer": None} for row in sample_rows("sums")]


LENGTH_PROGRAM = "def score(answer, row):\n    return len(answer) / 40\n"
PROMPT_PROGRAM = "def score(answer, row):\n    return float(row['answer'] > '5')\n"
FAILURES: dict[str, FailureCase] = {
    "reward always 0": FailureCase(rl([contains("xylophone")]), ("reward_constant",)),
    "reward always 0, two rewards": FailureCase(rl([contains("xylophone"), contains("zebra") | {"as": "zebra"}], "rloo", kl=0.0), ("reward_constant",)),
    "reward always 1": FailureCase(rl([{"name": "avoids", "params": {"words": ["xylophone"]}}]), ("reward_constant",)),
    "reward always 1, PPO": FailureCase(on_sample("ppo", "sums", {"steps": 8, "batch_size": 32, "max_completion_length": 8, "learning_rate": 0.001, "eval_answers": 32},
                                        rewards=[{"name": "avoids", "params": {"words": ["xylophone"]}}]), ("reward_constant",)),
    "all rewards missing": FailureCase(on_rows("grpo", sums_without_answers, SHORT_RL, rewards=[{"name": "exact_match"}]), ("rewards_missing", "refused"), "reads the column"),
    "all rewards missing, own program": FailureCase(rl([{"name": "own_python", "params": {"code": "def score(answer, row):\n    return None\n"}}]), ("rewards_missing",)),
    "reward only for length": FailureCase(rl([{"name": "length_band", "params": {"least": 30, "most": 60}}], steps=30, learning_rate=0.002, max_completion_length=24), ("reward_is_length",)),
    "reward only for length, own program": FailureCase(rl([{"name": "own_python", "params": {"code": LENGTH_PROGRAM}}], steps=30, learning_rate=0.002, max_completion_length=24), ("reward_is_length",)),
    "answers cut off by the completion limit": FailureCase(rl([{"name": "similar"}], max_completion_length=2), ("cut_off",)),
    "all groups without spread": FailureCase(rl([{"name": "own_python", "params": {"code": PROMPT_PROGRAM, "columns": ["answer"]}}], steps=20), ("no_spread",)),
    "all groups without spread, cold sampling": FailureCase(rl([{"name": "exact_match"}], temperature=0.05, steps=12), ("no_spread",)),
    "KL running away": FailureCase(rl([contains("the")], "rloo", kl=0.0001, learning_rate=0.03, steps=30, max_completion_length=16), ("kl_runaway",)),
    "entropy collapse": FailureCase(rl([contains("7")], learning_rate=0.01, steps=40, batch_size=64), ("entropy_collapse",)),
}  # fmt: skip

# -- optimization -------------------------------------------------------------------------------------------------

SHORT_SFT = {
    "steps": 40,
    "batch_size": 16,
    "learning_rate": 0.004,
    "max_length": 256,
    "eval_answers": 32,
    "eval_length": 32,
}


def tickets(adapter: str = "lora", alpha: float = 32, **knobs: Any) -> Callable[[Path], Fields]:
    return on_sample("sft", "tickets", SHORT_SFT | knobs, adapter={"kind": adapter, "alpha": alpha})


def on_broken_weights(folder: Path) -> Fields:
    """A copy of the practice model in which one number of the weights is not a number."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(paths.ROOT / "presets" / "pocket", folder / "model", dirs_exist_ok=True)
    weights_file = next((folder / "model").glob("*.safetensors"))
    weights = load_file(weights_file)
    name = next(name for name in weights if name.endswith("norm.weight"))
    save_file(weights | {name: weights[name] * float("nan")}, weights_file, metadata={"format": "pt"})
    return tickets()(folder) | {"model": {"id": str(folder / "model")}}


SGD = {"optimizer": "sgd", "max_grad_norm": 0, "schedule": "constant"}
FAILURES |= {
    "rate far too high": FailureCase(tickets(learning_rate=0.1, schedule="constant"), ("rate_too_high",)),
    "rate far too high, all weights": FailureCase(tickets("none", learning_rate=0.05), ("rate_too_high",)),
    "rate far too high, DPO": FailureCase(on_sample("dpo", "manners", {"steps": 30, "batch_size": 8, "learning_rate": 0.1, "max_length": 128}), ("rate_too_high", "forgotten")),
    "rate far too low": FailureCase(tickets(learning_rate=1e-6, steps=60), ("rate_too_low",)),
    "rate far too low, DPO": FailureCase(on_sample("dpo", "manners", {"steps": 30, "batch_size": 8, "learning_rate": 1e-7, "max_length": 128}), ("rate_too_low",)),
    "loss exploded without clipping": FailureCase(tickets(alpha=400, learning_rate=0.1, **SGD), ("loss_exploded",)),
    "NaN": FailureCase(on_broken_weights, ("not_a_number",)),
    "too few steps": FailureCase(tickets(steps=3), ("too_few_steps",)),
    "too few steps, DPO": FailureCase(on_sample("dpo", "manners", {"steps": 3, "batch_size": 8, "learning_rate": 0.001, "max_length": 128}), ("too_few_steps",)),
}  # fmt: skip

# -- data ---------------------------------------------------------------------------------------------------------


def with_answer(row: Fields, answer: str) -> Fields:
    return {"messages": [row["messages"][0], {"role": "assistant", "content": answer}]}


def constant_tickets() -> list[Fields]:
    return [with_answer(row, '{"team": "billing", "urgent": true}') for row in sample_rows("tickets")]


def shuffled_tickets() -> list[Fields]:
    rows = sample_rows("tickets")
    answers = [row["messages"][1]["content"] for row in rows]
    random.Random(3).shuffle(answers)
    return [with_answer(row, answer) for row, answer in zip(rows, answers, strict=True)]


def tickets_answered_by_a_word() -> list[Fields]:
    """Answers of one word, after which the practice model would go on."""
    return [with_answer(row, json.loads(row["messages"][1]["content"])["team"]) for row in sample_rows("tickets")]


def constant_thumbs() -> list[Fields]:
    return [row | {"label": True} for row in sample_rows("thumbs")]


def shuffled_thumbs() -> list[Fields]:
    chance = random.Random(3)
    return [row | {"label": chance.random() < 0.5} for row in sample_rows("thumbs")]


def swap(row: Fields) -> Fields:
    return row | {"chosen": row["rejected"], "rejected": row["chosen"]}


def shuffled_pairs() -> list[Fields]:
    chance = random.Random(3)
    return [swap(row) if chance.random() < 0.5 else row for row in sample_rows("manners")]


def equal_pairs() -> list[Fields]:
    return [row | {"rejected": row["chosen"]} for row in sample_rows("manners")]


def pairs_equal_after_the_cut() -> list[Fields]:
    start = "Well, as far as I know and as everybody in the village told me when I asked them about it, "
    return [{"prompt": row["prompt"][0]["content"], "chosen": start + row["chosen"][0]["content"], "rejected": start + row["rejected"][0]["content"]} for row in sample_rows("manners")]  # fmt: skip


def wrong_sums() -> list[Fields]:
    """A few sums with answers by chance: the model knew better, and can only learn them by heart."""
    chance = random.Random(3)
    return [{"prompt": row["prompt"], "completion": str(chance.randint(10, 98))} for row in sample_rows("sums")[:48]]


def own_data() -> list[Fields]:
    """Answers in another language on another subject, as somebody's own data may be."""
    things = ["Ausweis", "Mahnung", "Vormerkung", "Fernleihe", "Lesesaal", "Rückgabe", "Verlust", "Gebühr"]
    days = ["Montag", "Dienstag", "Mittwoch", "Donnerstag", "Freitag", "Samstag"]
    return [{"prompt": f"Frage zu {thing} am {day}?", "completion": f"Für {thing} kommen Sie bitte am {day} zwischen {9 + i} und {12 + i} Uhr an den Schalter {i + j}; dort wird alles erledigt."}
            for i, thing in enumerate(things) for j, day in enumerate(days)]  # fmt: skip


DPO = {"steps": 40, "batch_size": 8, "learning_rate": 0.001, "max_length": 128}
TRUE_SUMS = {"source": {"source": "sample:sums", "split": "holdout", "mapping": {"completion": "answer"}, "limit": 60}}
SWAPPED_COLUMNS = {"mapping": {"prompt": "prompt", "chosen": "rejected", "rejected": "chosen"}}
FAILURES |= {
    "constant labels": FailureCase(on_rows("sft", constant_tickets, SHORT_SFT), ("answers_constant",)),
    "constant labels, thumbs": FailureCase(on_rows("kto", constant_thumbs, DPO | {"batch_size": 16}), ("labels_constant",)),
    "labels shuffled": FailureCase(on_rows("sft", shuffled_tickets, SHORT_SFT | {"steps": 60}), ("answers_unrelated",)),
    "labels shuffled, thumbs": FailureCase(on_rows("kto", shuffled_thumbs, DPO | {"batch_size": 16}), ("no_gain", "memorised")),
    "labels shuffled, pairs": FailureCase(on_rows("dpo", shuffled_pairs, DPO), ("no_gain", "memorised")),
    "labels shuffled, reward model": FailureCase(on_rows("reward", shuffled_pairs, {"steps": 40, "batch_size": 16}), ("no_gain", "memorised")),
    "chosen and rejected swapped, by the columns": FailureCase(on_rows("dpo", lambda: sample_rows("manners"), DPO, source=SWAPPED_COLUMNS), ("pairs_swapped",)),
    "chosen and rejected swapped, in the rows": FailureCase(on_rows("dpo", lambda: [swap(row) for row in sample_rows("manners")], DPO), ("already_preferred", "pairs_swapped")),
    "chosen equal to rejected": FailureCase(on_rows("dpo", equal_pairs, DPO), ("refused",), "both answers are the same"),
    "chosen equal to rejected, after the cut": FailureCase(on_rows("dpo", pairs_equal_after_the_cut, DPO | {"max_length": 32}), ("pairs_equal", "refused")),
    "memorised": FailureCase(on_rows("sft", wrong_sums, SHORT_SFT | {"steps": 120}, holdout=TRUE_SUMS), ("memorised",)),
    "answers to unrelated questions destroyed": FailureCase(on_rows("sft", own_data, SHORT_SFT | {"steps": 150, "learning_rate": 0.01}), ("forgotten",)),
    "end token never learned": FailureCase(on_rows("sft", tickets_answered_by_a_word, SHORT_SFT | {"end_tokens": "none"}), ("end_not_learned",)),
}  # fmt: skip
