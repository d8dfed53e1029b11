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
from tests.support import (
    build_spec,
    conversation_rows,
    preference_rows,
    prompt_completion_rows,
    ranked_rows,
    stepwise_rows,
    text_rows,
    train,
    unpaired_preference_rows,
    write_rows,
)

ROW_COUNT = 1200  # more than one packing batch of datasets.map
BATCH_COUNT = 3
RowFactory = Callable[[int], list[dict[str, Any]]]
FULL_FINE_TUNING = {"adapter": {"kind": "none"}}


def rows_with_train_flags(count: int) -> list[dict[str, Any]]:
    """Conversations whose turns, and parts of turns, have a `train` flag."""
    rows = conversation_rows(count)
    for number, row in enumerate(rows):
        row["messages"][1]["train"] = number % 3 != 0
        if number % 2:
            row["messages"][3]["content"] = [{"type": "text", "text": "I guess:", "train": False}, {"type": "text", "text": " yes.", "train": True}]  # fmt: skip
    return rows


def texts_with_answer_phrase(count: int) -> list[dict[str, Any]]:
    """Plain text with the phrase "A:" before the answer, except in every 50th row."""
    return [
        {"text": f"Q: {i}? " + (f"A: {'so ' * (i % 4)}{i % 7}." if i % 50 else "Nobody knows.")} for i in range(count)
    ]


def segmented_rows(count: int) -> list[dict[str, Any]]:
    return [{"segments": [{"text": f"Say {i}:", "train": False}, {"text": f" {i}" * (1 + i % 4), "train": True}]} for i in range(count)]  # fmt: skip


def tokenized_rows(count: int) -> list[dict[str, Any]]:
    return [{"input_ids": [5 + i % 90, *range(6, 12 + i % 5)], "labels": [-100, *range(6, 12 + i % 5)]} for i in range(count)]  # fmt: skip


# name: (method, row factory, knobs) and optionally further Spec fields. Cases in BENCH_ONLY_CASES are run only by the bench.
CASES: dict[str, tuple[Any, ...]] = {
    "sft, plain": ("sft", conversation_rows, {"learn_from": "everything"}),
    "sft, plain, in random order": ("sft", conversation_rows, {"learn_from": "everything", "group_by_length": False}),
    "sft, completion only": ("sft", prompt_completion_rows, {"learn_from": "completion"}),
    "sft, assistant only": ("sft", conversation_rows, {"learn_from": "assistant"}),
    "sft, assistant only, cut off": ("sft", conversation_rows, {"learn_from": "assistant", "max_length": 48}),
    "sft, packed": ("sft", conversation_rows, {"learn_from": "assistant", "packing": True, "max_length": 256}),
    "sft, packed by wrapping": ("sft", text_rows, {"packing": True, "packing_strategy": "wrapped", "max_length": 128}),
    "sft, raw text": ("sft", text_rows, {}),
    "sft, packed by splitting": (
        "sft",
        conversation_rows,
        {"learn_from": "everything", "packing": True, "packing_strategy": "bfd_split", "max_length": 48},
    ),
    "sft, assistant only, packed by wrapping": (
        "sft",
        conversation_rows,
        {"learn_from": "assistant", "packing": True, "packing_strategy": "wrapped", "max_length": 128},
    ),
    "sft, completion only, packed": (
        "sft",
        prompt_completion_rows,
        {"learn_from": "completion", "packing": True, "max_length": 128},
    ),
    "sft, completion only, cut off": ("sft", prompt_completion_rows, {"learn_from": "completion", "max_length": 24}),
    "sft, completion only, in random order": (
        "sft",
        prompt_completion_rows,
        {"learn_from": "completion", "group_by_length": False},
    ),
    "sft, as the rows mark, packed": ("sft", rows_with_train_flags, {"packing": True, "max_length": 256}),
    "sft, as the rows mark, cut off": ("sft", rows_with_train_flags, {"max_length": 48}),
    "sft, all speakers, without end marks": (
        "sft",
        conversation_rows,
        {"learn_from": "roles", "roles": ["user", "assistant"], "end_tokens": "none"},
    ),
    "sft, last turn only, packed by wrapping": (
        "sft",
        conversation_rows,
        {"last_turn_only": True, "packing": True, "packing_strategy": "wrapped", "max_length": 128},
    ),
    "sft, after a phrase": ("sft", texts_with_answer_phrase, {"learn_from": "template", "response_template": "A:"}),
    "sft, after a phrase, packed": (
        "sft",
        texts_with_answer_phrase,
        {"learn_from": "template", "response_template": "A:", "packing": True, "max_length": 128},
    ),
    "sft, in segments": ("sft", segmented_rows, {}),
    "sft, in tokens": ("sft", tokenized_rows, {}),
    "sft, another chat format": ("sft", conversation_rows, {}, {"model": {"template": "trl:qwen3"}}),
    "sft, in few bits, with new words": (
        "sft",
        conversation_rows,
        {},
        {"model": {"quantization": "nf4", "new_tokens": ["Yes.", "<auth>"]}},
    ),
    "pretrain": ("pretrain", text_rows, {"max_length": 128}),
    "pretrain, unpacked": ("pretrain", text_rows, {"packing": False}),
    "pretrain, streamed": ("pretrain", text_rows, {"streaming": True, "max_length": 128}),
    "dpo": ("dpo", preference_rows, {}),
    "dpo, cut off": ("dpo", preference_rows, {"max_length": 24}),
    "dpo, all weights": ("dpo", preference_rows, {}, FULL_FINE_TUNING),
    "kto": ("kto", unpaired_preference_rows, {}),
    "kto, cut off": ("kto", unpaired_preference_rows, {"max_length": 20}),
    "kto from pairs": ("kto", preference_rows, {}),
    "kto, all weights, apo_zero_unpaired": (
        "kto",
        unpaired_preference_rows,
        {"loss": "apo_zero_unpaired"},
        FULL_FINE_TUNING,
    ),
    "orpo, cut off": ("orpo", preference_rows, {"max_length": 24}),
    "orpo, all weights": ("orpo", preference_rows, {}, FULL_FINE_TUNING),
    "cpo": ("cpo", preference_rows, {}),
    "cpo, cut off": ("cpo", preference_rows, {"max_length": 24}),
    "cpo, all weights": ("cpo", preference_rows, {}, FULL_FINE_TUNING),
    "simpo, cut off": ("simpo", preference_rows, {"max_length": 24}),
    "simpo": ("simpo", preference_rows, {}),
    "tpo, cut off": ("tpo", ranked_rows, {"max_length": 24}),
    "tpo, all weights": ("tpo", ranked_rows, {}, FULL_FINE_TUNING),
    "reward": ("reward", preference_rows, {}),
    "reward, with pairs that are too long": ("reward", preference_rows, {"max_length": 30}),
    "process_reward": ("process_reward", stepwise_rows, {}),
    "process_reward, cut off": ("process_reward", stepwise_rows, {"max_length": 24}),
    "gkd": ("gkd", conversation_rows, {"own_share": 0.0}),
    "gkd from pairs": ("gkd", prompt_completion_rows, {"own_share": 0.0, "max_length": 24}),
    "gold, cut off": ("gold", conversation_rows, {"own_share": 0.0, "max_length": 48, "max_completion_length": 16}),
    "gold": ("gold", conversation_rows, {"own_share": 0.0}),
    "ebft, pieces of text": ("ebft", text_rows, {"attempts": 2}),
    "ebft, pieces of answers": (
        "ebft",
        conversation_rows,
        {"attempts": 2, "mode": "strided", "generate": 4, "stride": 2, "max_length": 64},
    ),
}
RARE_CASES = [
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
BENCH_ONLY_CASES = {*RARE_CASES, "sft, in few bits, with new words", "gkd from pairs", "ebft, pieces of answers", "reward, with pairs that are too long", "dpo", "dpo, cut off", "kto", "kto, all weights, apo_zero_unpaired", "orpo, all weights", "cpo", "cpo, all weights", "simpo",
          "tpo, all weights"}  # fmt: skip


def spec_for(case: str, folder: Path) -> Spec:
    method, make_rows, knobs, *spec_fields = CASES[case]
    source = write_rows(folder / f"{method}-{make_rows.__name__}.jsonl", make_rows(ROW_COUNT))
    return build_spec(
        method,
        source,
        {"steps": BATCH_COUNT, "batch_size": 4} | knobs,
        title=case,
        **(spec_fields[0] if spec_fields else {}),
    )


def previewed_batches(spec: Spec) -> list[dict[str, Any]]:
    from app.engine.job import Job
    from app.engine.libraries import prepare_libraries
    from app.engine.model.device import Device
    from app.engine.preview.trainer_capture import first_batches

    prepare_libraries()
    with tempfile.TemporaryDirectory() as folder:  # the trainer creates its checkpoint folder in it
        return first_batches(Job(spec, Path(folder), Device("cpu")), BATCH_COUNT)


def received_batches(spec: Spec) -> list[dict[str, Any]]:
    """The batches that the loss function of a real engine process received."""
    import torch

    with dump_batches(BATCH_COUNT):
        run = train(spec)
    return torch.load(run.path / "batches.pt", weights_only=False)


@contextmanager
def dump_batches(count: int) -> Iterator[None]:
    os.environ["TUNESMITH_DUMP_BATCHES"] = str(count)
    try:
        yield
    finally:
        del os.environ["TUNESMITH_DUMP_BATCHES"]


def batch_differences(previewed: list[dict[str, Any]], received: list[dict[str, Any]]) -> list[str]:
    """The names of the fields that differ; empty when all are equal. `use_cache` is ignored: the loss adds it itself."""
    import torch

    differences = (
        []
        if len(previewed) == len(received) == BATCH_COUNT
        else [f"{len(previewed)} batches shown, {len(received)} received"]
    )
    for number, (previewed_batch, received_batch) in enumerate(zip(previewed, received, strict=False), 1):
        for name in sorted((previewed_batch.keys() | received_batch.keys()) - {"use_cache"}):
            previewed_field, received_field = previewed_batch.get(name), received_batch.get(name)
            equal = (
                torch.equal(previewed_field, received_field.cpu())
                if torch.is_tensor(previewed_field) and torch.is_tensor(received_field)
                else previewed_field == received_field
            )
            differences += [] if equal else [f"batch {number}: {name}"]
    return differences


def run(folder: Path) -> list[dict[str, Any]]:
    """One row for each case: how many batch elements or how many losses were compared, and what differs."""
    return [compare_batches(case, folder) for case in CASES] + compare_losses_with_trl(folder)


def compare_batches(case: str, folder: Path) -> dict[str, Any]:
    spec = spec_for(case, folder)
    previewed, received = previewed_batches(spec), received_batches(spec)
    element_count = sum(field.numel() for batch in received for field in batch.values() if hasattr(field, "numel"))
    differences = ", ".join(batch_differences(previewed, received)) or "none"
    return {"case": case, "compared": f"{element_count} elements of {BATCH_COUNT} batches, preview and loss", "differences": differences}  # fmt: skip


def compare_losses_with_trl(folder: Path) -> list[dict[str, Any]]:
    """Compares every method's losses in a real engine with those of a plain TRL script."""
    trl_results, table = trl_comparison.train_with_plain_trl(trl_cases.CASES, folder), []
    for number, (name, case) in enumerate(trl_cases.CASES.items()):
        engine_result = trl_comparison.train_with_engine(case, folder / f"ours-{number}")
        largest_difference = trl_comparison.largest_relative_difference(engine_result.losses, trl_results[name].losses)
        compared = f"{len(engine_result.losses)} losses, engine and plain TRL script"
        table.append({"case": name, "compared": compared, "differences": "none to six digits" if largest_difference < 1e-6 else f"{largest_difference:.1e}"})  # fmt: skip
    return table
