"""Snippets: the program on a card, run by a stranger, says what the trained model says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from app.core.workspace import local_workspace
from app.hub import api, publish_job
from app.runs import store
from app.setup.spec import Launch
from tests.hub import LocalHub
from tests.support import preferences, solutions, spec_of, trained_here, write_rows
from tests.test_hub import local  # noqa: F401 a fixture

pytestmark = pytest.mark.slow

ROWS = {"reward": preferences, "process_reward": solutions}


def said_elsewhere(program: str, local: LocalHub, place: Path) -> Any:  # noqa: F811
    """In a folder without this repository, with an empty cache."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "TUNESMITH_HOME")}
    done = subprocess.run([sys.executable, "-c", program], cwd=place, capture_output=True, text=True, timeout=240,
                          env=environment | local.environment(place / "stranger"))  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(("method", "adapter"), [("reward", "lora"), ("process_reward", "lora")])
def test_a_published_result_scores_elsewhere_as_here(
    local: LocalHub,  # noqa: F811
    tmp_path: Path,
    method: str,
    adapter: str,
) -> None:
    import torch

    source = write_rows(tmp_path / "rows.jsonl", ROWS[method](16))
    knobs = {"steps": 2, "batch_size": 8, "learning_rate": 0.001}
    run, trainer = trained_here(spec_of(method, source, knobs, adapter={"kind": adapter}))
    api.publish_run(run, "alice/scores")
    program = publish_job.usage_snippet(run, "alice/scores")
    assert (adapter == "lora") == ("AutoPeftModelFor" in program)
    given = said_elsewhere(program, local, tmp_path)
    words, model = trainer.processing_class, trainer.model.eval()
    if method == "reward":
        turns = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hello! How can I help?"}]
        ids = words.apply_chat_template(turns, return_tensors="pt", return_dict=True)["input_ids"]
        with torch.no_grad():
            assert given == pytest.approx(model(input_ids=ids).logits.item(), abs=1e-4)
        return
    prompt, *steps = re.findall(r'"([^"]+\.|[^"]+\?)"', program)
    text = prompt + "".join(f"{step}\n" for step in steps)
    with torch.no_grad():
        told = model(input_ids=words(text, return_tensors="pt")["input_ids"]).logits[0].softmax(-1)[:, 1]
    ends = [place for place, one in enumerate(words(text)["input_ids"]) if words.decode([one]) == "\n"]
    assert len(given) == 2
    assert given == pytest.approx(told[ends].tolist(), abs=1e-4)
    assert given[0] != pytest.approx(given[1], abs=1e-3)


def test_a_card_says_what_a_scoring_result_is(tmp_path: Path) -> None:
    from app.hub.model_card import CardContext, render_model_card

    source = write_rows(tmp_path / "rows.jsonl", preferences(8))
    scores = render_model_card(
        store.create_run(local_workspace(), spec_of("reward", source), Launch()), CardContext("me/it", "me/base")
    )
    assert "pipeline_tag: text-classification" in scores
    steps = write_rows(tmp_path / "steps.jsonl", solutions(8))
    judges = render_model_card(
        store.create_run(local_workspace(), spec_of("process_reward", steps), Launch()), CardContext("me/it", "me/base")
    )
    assert "pipeline_tag: token-classification" in judges
