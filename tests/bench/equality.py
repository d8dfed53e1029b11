"""Equality: the batches a preview shows are those the loss receives in a real engine process, element by element."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from app.spec import Spec
from tests.support import chats, pairs, spec_of, texts, train, write_rows

ROWS = 1200  # more than one packing batch of datasets.map
BATCHES = 3
Rows = Callable[[int], list[dict[str, Any]]]

# name: (method, rows, knobs)
CASES: dict[str, tuple[str, Rows, dict[str, Any]]] = {
    "sft, plain": ("sft", chats, {"learn_from": "everything"}),
    "sft, plain, in random order": ("sft", chats, {"learn_from": "everything", "group_by_length": False}),
    "sft, completion only": ("sft", pairs, {"learn_from": "completion"}),
    "sft, assistant only": ("sft", chats, {"learn_from": "assistant"}),
    "sft, assistant only, cut off": ("sft", chats, {"learn_from": "assistant", "max_length": 48}),
    "sft, packed": ("sft", chats, {"learn_from": "assistant", "packing": True, "max_length": 256}),
    "sft, packed by wrapping": ("sft", texts, {"packing": True, "packing_strategy": "wrapped", "max_length": 128}),
    "sft, raw text": ("sft", texts, {}),
    "pretrain": ("pretrain", texts, {"max_length": 128}),
    "pretrain, unpacked": ("pretrain", texts, {"packing": False}),
    "pretrain, streamed": ("pretrain", texts, {"streaming": True, "max_length": 128}),
}


def spec_for(case: str, folder: Path) -> Spec:
    method, rows, knobs = CASES[case]
    source = write_rows(folder / f"{method}-{rows.__name__}.jsonl", rows(ROWS))
    return spec_of(method, source, {"steps": BATCHES, "batch_size": 4} | knobs, title=case)


def previewed(spec: Spec) -> list[dict[str, Any]]:
    from app.engine.captured import batches
    from app.engine.device import Device
    from app.engine.job import Job
    from app.engine.libraries import prepare_libraries

    prepare_libraries()
    return batches(Job(spec, Path("unused"), Device("cpu")), BATCHES)


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
    """One row a case: elements compared, differences."""
    table = []
    for case in CASES:
        spec = spec_for(case, folder)
        shown, real = previewed(spec), received(spec)
        elements = sum(value.numel() for batch in real for value in batch.values() if hasattr(value, "numel"))
        table.append(
            {
                "case": case,
                "rows": ROWS,
                "elements compared": elements,
                "differences": ", ".join(differences(shown, real)) or "none",
            }
        )
    return table
