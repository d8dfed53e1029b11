"""Equality: previewed batches are those the loss of a real engine receives, and its losses are those of a plain TRL script."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from app.setup.spec import Spec
from tests import trl_cases, trl_comparison
from tests.support import chats, pairs, preferences, ranks, solutions, spec_of, texts, thumbs, train, write_rows

ROWS = 1200  # more than one packing batch of datasets.map
BATCHES = 3
Rows = Callable[[int], list[dict[str, Any]]]
WEIGHTS = {"adapter": {"kind": "none"}}


def marked(count: int) -> list[dict[str, Any]]:
    """Conversations that say themselves what is learned, turn by turn and part by part."""
    rows = chats(count)
    for number, row in enumerate(rows):
        row["messages"][1]["train"] = number % 3 != 0
        if number % 2:
            row["messages"][3]["content"] = [{"type": "text", "text": "I guess:", "train": False}, {"type": "text", "text": " yes.", "train": True}]  # fmt: skip
    return rows


def phrased(count: int) -> list[dict[str, Any]]:
    """Plain text in which a phrase stands before every answer, but for a few."""
    return [
        {"text": f"Q: {i}? " + (f"A: {'so ' * (i % 4)}{i % 7}." if i % 50 else "Nobody knows.")} for i in range(count)
    ]


def segmented(count: int) -> list[dict[str, Any]]:
    return [{"segments": [{"text": f"Say {i}:", "train": False}, {"text": f" {i}" * (1 + i % 4), "train": True}]} for i in range(count)]  # fmt: skip


def in_tokens(count: int) -> list[dict[str, Any]]:
    return [{"input_ids": [5 + i % 90, *range(6, 12 + i % 5)], "labels": [-100, *range(6, 12 + i % 5)]} for i in range(count)]  # fmt: skip


# name: (method, rows, knobs), or with more of the Spec as a fourth. Those in SLOWER are run by the bench alone.
CASES: dict[str, tuple[Any, ...]] = {
    "sft, plain": ("sft", chats, {"learn_from": "everything"}),
    "sft, plain, in random order": ("sft", chats, {"learn_from": "everything", "group_by_length": False}),
    "sft, completion only": ("sft", pairs, {"learn_from": "completion"}),
    "sft, assistant only": ("sft", chats, {"learn_from": "assistant"}),
    "sft, assistant only, cut off": ("sft", chats, {"learn_from": "assistant", "max_length": 48}),
    "sft, packed": ("sft", chats, {"learn_from": "assistant", "packing": True, "max_length": 256}),
    "sft, packed by wrapping": ("sft", texts, {"packing": True, "packing_strategy": "wrapped", "max_length": 128}),
    "sft, raw text": ("sft", texts, {}),
    "sft, packed by splitting": (
        "sft",
        chats,
        {"learn_from": "everything", "packing": True, "packing_strategy": "bfd_split", "max_length": 48},
    ),
    "sft, assistant only, packed by wrapping": (
        "sft",
        chats,
        {"learn_from": "assistant", "packing": True, "packing_strategy": "wrapped", "max_length": 128},
    ),
    "sft, completion only, packed": ("sft", pairs, {"learn_from": "completion", "packing": True, "max_length": 128}),
    "sft, completion only, cut off": ("sft", pairs, {"learn_from": "completion", "max_length": 24}),
    "sft, completion only, in random order": ("sft", pairs, {"learn_from": "completion", "group_by_length": False}),
    "sft, as the rows mark, packed": ("sft", marked, {"packing": True, "max_length": 256}),
    "sft, as the rows mark, cut off": ("sft", marked, {"max_length": 48}),
    "sft, all speakers, without end marks": (
        "sft",
        chats,
        {"learn_from": "roles", "roles": ["user", "assistant"], "end_tokens": "none"},
    ),
    "sft, last turn only, packed by wrapping": (
        "sft",
        chats,
        {"last_turn_only": True, "packing": True, "packing_strategy": "wrapped", "max_length": 128},
    ),
    "sft, after a phrase": ("sft", phrased, {"learn_from": "template", "response_template": "A:"}),
    "sft, after a phrase, packed": (
        "sft",
        phrased,
        {"learn_from": "template", "response_template": "A:", "packing": True, "max_length": 128},
    ),
    "sft, in segments": ("sft", segmented, {}),
    "sft, in tokens": ("sft", in_tokens, {}),
    "sft, another chat format": ("sft", chats, {}, {"model": {"template": "trl:qwen3"}}),
    "sft, in few bits, with new words": (
        "sft",
        chats,
        {},
        {"model": {"quantization": "nf4", "new_tokens": ["Yes.", "<auth>"]}},
    ),
    "pretrain": ("pretrain", texts, {"max_length": 128}),
    "pretrain, unpacked": ("pretrain", texts, {"packing": False}),
    "pretrain, streamed": ("pretrain", texts, {"streaming": True, "max_length": 128}),
    "dpo": ("dpo", preferences, {}),
    "dpo, cut off": ("dpo", preferences, {"max_length": 24}),
    "dpo, all weights": ("dpo", preferences, {}, WEIGHTS),
    "kto": ("kto", thumbs, {}),
    "kto, cut off": ("kto", thumbs, {"max_length": 20}),
    "kto from pairs": ("kto", preferences, {}),
    "kto, all weights, apo_zero_unpaired": ("kto", thumbs, {"loss": "apo_zero_unpaired"}, WEIGHTS),
    "orpo, cut off": ("orpo", preferences, {"max_length": 24}),
    "orpo, all weights": ("orpo", preferences, {}, WEIGHTS),
    "cpo": ("cpo", preferences, {}),
    "cpo, cut off": ("cpo", preferences, {"max_length": 24}),
    "cpo, all weights": ("cpo", preferences, {}, WEIGHTS),
    "simpo, cut off": ("simpo", preferences, {"max_length": 24}),
    "simpo": ("simpo", preferences, {}),
    "tpo, cut off": ("tpo", ranks, {"max_length": 24}),
    "tpo, all weights": ("tpo", ranks, {}, WEIGHTS),
    "reward": ("reward", preferences, {}),
    "reward, with pairs that are too long": ("reward", preferences, {"max_length": 30}),
    "process_reward": ("process_reward", solutions, {}),
    "process_reward, cut off": ("process_reward", solutions, {"max_length": 24}),
    "gkd": ("gkd", chats, {"own_share": 0.0}),
    "gkd from pairs": ("gkd", pairs, {"own_share": 0.0, "max_length": 24}),
    "gold, cut off": ("gold", chats, {"own_share": 0.0, "max_length": 48, "max_completion_length": 16}),
    "gold": ("gold", chats, {"own_share": 0.0}),
    "ebft, pieces of text": ("ebft", texts, {"attempts": 2}),
    "ebft, pieces of answers": (
        "ebft",
        chats,
        {"attempts": 2, "mode": "strided", "generate": 4, "stride": 2, "max_length": 64},
    ),
}
RARER = [
    "sft, packed by splitting",
    "sft, completion only, cut off",
    "sft, completion only, in random order",
    "sft, as the rows mark, cut off",
    "sft, all speakers, without end marks",
    "sft, last turn only, packed by wrapping",
    "sft, after a phrase, packed",
    "sft, in tokens",
    "sft, another chat format",
    "kto, cut off",
    "cpo, cut off",
    "simpo, cut off",
    "process_reward",
    "gold, cut off",
]
SLOWER = {*RARER, "sft, in few bits, with new words", "gkd from pairs", "ebft, pieces of answers", "reward, with pairs that are too long", "dpo", "dpo, cut off", "kto", "kto, all weights, apo_zero_unpaired", "orpo, all weights", "cpo", "cpo, all weights", "simpo",
          "tpo, all weights"}  # fmt: skip


def spec_for(case: str, folder: Path) -> Spec:
    method, rows, knobs, *more = CASES[case]
    source = write_rows(folder / f"{method}-{rows.__name__}.jsonl", rows(ROWS))
    return spec_of(method, source, {"steps": BATCHES, "batch_size": 4} | knobs, title=case, **(more[0] if more else {}))


def previewed(spec: Spec) -> list[dict[str, Any]]:
    from app.engine.job import Job
    from app.engine.libraries import prepare_libraries
    from app.engine.model.device import Device
    from app.engine.preview.trainer_capture import first_batches

    prepare_libraries()
    with tempfile.TemporaryDirectory() as folder:  # the trainer makes one for its checkpoints
        return first_batches(Job(spec, Path(folder), Device("cpu")), BATCHES)


def received(spec: Spec) -> list[dict[str, Any]]:
    """What the loss of a real engine process was given."""
    import torch

    with dumping(BATCHES):
        run = train(spec)
    return torch.load(run.path / "batches.pt", weights_only=False)


@contextmanager
def dumping(count: int) -> Iterator[None]:
    os.environ["TUNESMITH_DUMP_BATCHES"] = str(count)
    try:
        yield
    finally:
        del os.environ["TUNESMITH_DUMP_BATCHES"]


def differences(shown: list[dict[str, Any]], real: list[dict[str, Any]]) -> list[str]:
    """Names of what differs, empty when all is equal. `use_cache` is added by the loss itself."""
    import torch

    found = [] if len(shown) == len(real) == BATCHES else [f"{len(shown)} batches shown, {len(real)} received"]
    for number, (left, right) in enumerate(zip(shown, real, strict=False), 1):
        for name in sorted((left.keys() | right.keys()) - {"use_cache"}):
            a, b = left.get(name), right.get(name)
            same = torch.equal(a, b.cpu()) if torch.is_tensor(a) and torch.is_tensor(b) else a == b
            found += [] if same else [f"batch {number}: {name}"]
    return found


def run(folder: Path) -> list[dict[str, Any]]:
    """One row for each case: of batches the elements compared, of losses the steps."""
    return [batches_of(case, folder) for case in CASES] + losses_beside_trl(folder)


def batches_of(case: str, folder: Path) -> dict[str, Any]:
    spec = spec_for(case, folder)
    shown, real = previewed(spec), received(spec)
    elements = sum(value.numel() for batch in real for value in batch.values() if hasattr(value, "numel"))
    found = ", ".join(differences(shown, real)) or "none"
    return {"case": case, "compared": f"{elements} elements of {BATCHES} batches, preview and loss", "differences": found}  # fmt: skip


def losses_beside_trl(folder: Path) -> list[dict[str, Any]]:
    """Every method in a real engine beside the plain TRL script."""
    theirs, table = trl_comparison.by_plain_scripts(trl_cases.CASES, folder), []
    for number, (name, case) in enumerate(trl_cases.CASES.items()):
        ours = trl_comparison.by_engine(case, folder / f"ours-{number}")
        apart = trl_comparison.difference(ours.losses, theirs[name].losses)
        compared = f"{len(ours.losses)} losses, engine and plain TRL script"
        table.append({"case": name, "compared": compared, "differences": "none to six digits" if apart < 1e-6 else f"{apart:.1e}"})  # fmt: skip
    return table
