"""We equal TRL: our engine's losses are those of a plain TRL script with the same settings, to six digits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from app.models import locate
from app.rooms import ROOT
from tests.support import chats, losses, pairs, spec_of, steps_of, sums, texts, train, write_rows

STEPS = 6
OURS = {"steps": STEPS, "batch_size": 8, "learning_rate": 0.001}
THEIRS = {"max_steps": STEPS, "per_device_train_batch_size": 8, "learning_rate": 0.001, "seed": 7, "gradient_checkpointing": False,
          "max_grad_norm": 1.0}  # fmt: skip
LORA = {"r": 16, "lora_alpha": 32, "lora_dropout": 0.0}
GROUPED = {"train_sampling_strategy": "group_by_length"}


def as_turns(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Plain prompts and completions as chat messages, as a person writing a script would do by hand."""
    names = {"prompt": "user", "completion": "assistant"}
    return [
        {key: [{"role": names[key], "content": text}] if key in names else text for key, text in row.items()}
        for row in rows
    ]


CASES = {
    "sft on conversations": ("sft", chats(200), chats(200), {"learn_from": "assistant"}, {"assistant_only_loss": True, **GROUPED}),
    "sft on pairs": ("sft", pairs(200), as_turns(pairs(200)), {}, {"completion_only_loss": True, **GROUPED}),
    "sft packed": ("sft", chats(200), chats(200), {"packing": True, "learn_from": "everything", "max_length": 256},
                   {"packing": True, "max_length": 256}),
    "pretrain": ("pretrain", texts(200), texts(200), {"max_length": 128},
                 {"packing": True, "packing_strategy": "wrapped", "max_length": 128}),
    "grpo": ("grpo", sums(64), as_turns(sums(64)), {"batch_size": 16, "attempts": 4, "max_completion_length": 8},
             {"per_device_train_batch_size": 16, "num_generations": 4, "max_completion_length": 8, "loss_type": "dapo"}),
}  # fmt: skip


def plain_trl(settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The result of tests/plain_trl.py in a process that cannot import us."""
    file = folder / "settings.json"
    file.write_text(json.dumps(settings))
    environment = os.environ | {"HF_HUB_DISABLE_TELEMETRY": "1", "OMP_WAIT_POLICY": "PASSIVE", "PYTHONPATH": ""}
    done = subprocess.run([sys.executable, str(ROOT / "tests" / "plain_trl.py"), str(file)], cwd=folder, env=environment, text=True,
                          capture_output=True, timeout=240)  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.rpartition("RESULT ")[2])


@pytest.mark.slow
@pytest.mark.parametrize(("case", "adapter"), [*((case, "lora") for case in CASES), ("sft on conversations", "none")])
def test_our_losses_are_those_of_a_plain_script(case: str, adapter: str, tmp_path: Path) -> None:
    method, rows, theirs, knobs, config = CASES[case]
    rewards = [{"name": "exact_match"}] if method == "grpo" else []
    spec = spec_of(
        method, write_rows(tmp_path / "ours.jsonl", rows), OURS | knobs, rewards=rewards, adapter={"kind": adapter}
    )
    run = train(spec)
    write_rows(tmp_path / "theirs.jsonl", theirs)
    settings = {"method": "grpo" if method == "grpo" else "sft", "model": locate("pocket"), "rows": str(tmp_path / "theirs.jsonl"),
                "config": THEIRS | config | {"output_dir": str(tmp_path / "out")}, "lora": LORA if adapter == "lora" else None}  # fmt: skip
    plain = plain_trl(settings, tmp_path)
    assert losses(run) == pytest.approx(plain["losses"], rel=1e-6, abs=1e-6)
    assert len(plain["losses"]) == STEPS
    if method == "grpo":
        assert any(0 < reward < 1 for reward in plain["rewards"]), "without reward there is nothing to compare"
        assert [m["reward/mean"] for m in steps_of(run).values()] == pytest.approx(plain["rewards"])
