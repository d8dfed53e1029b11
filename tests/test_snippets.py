"""Snippets: the usage snippet of a model card, run outside this repository, gives the outputs of the trained model."""

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
from tests.support import build_spec, preference_rows, stepwise_rows, train_in_process, write_rows
from tests.test_hub import local_hub  # noqa: F401 a fixture

pytestmark = pytest.mark.slow

ROWS_BY_METHOD = {"reward": preference_rows, "process_reward": stepwise_rows}


def run_snippet(snippet: str, local_hub: LocalHub, folder: Path) -> Any:  # noqa: F811
    """The JSON that the snippet prints, run in a folder outside this repository with an empty Hub cache."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "TUNESMITH_HOME")}
    process = subprocess.run([sys.executable, "-c", snippet], cwd=folder, capture_output=True, text=True, timeout=240,
                             env=environment | local_hub.environment(folder / "stranger"))  # fmt: skip
    assert process.returncode == 0, process.stderr[-3000:]
    return json.loads(process.stdout.splitlines()[-1])


@pytest.mark.parametrize(("method", "adapter"), [("reward", "lora"), ("process_reward", "lora")])
def test_the_usage_snippet_gives_the_scores_of_the_trained_model(
    local_hub: LocalHub,  # noqa: F811
    tmp_path: Path,
    method: str,
    adapter: str,
) -> None:
    import torch

    source = write_rows(tmp_path / "rows.jsonl", ROWS_BY_METHOD[method](16))
    knobs = {"steps": 2, "batch_size": 8, "learning_rate": 0.001}
    run, trainer = train_in_process(build_spec(method, source, knobs, adapter={"kind": adapter}))
    api.publish_run(run, "alice/scores")
    snippet = publish_job.usage_snippet(run, "alice/scores")
    assert (adapter == "lora") == ("AutoPeftModelFor" in snippet)
    snippet_scores = run_snippet(snippet, local_hub, tmp_path)
    tokenizer, model = trainer.processing_class, trainer.model.eval()
    if method == "reward":
        messages = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hello! How can I help?"}]
        input_ids = tokenizer.apply_chat_template(messages, return_tensors="pt", return_dict=True)["input_ids"]
        with torch.no_grad():
            assert snippet_scores == pytest.approx(model(input_ids=input_ids).logits.item(), abs=1e-4)
        return
    prompt, *steps = re.findall(r'"([^"]+\.|[^"]+\?)"', snippet)
    text = prompt + "".join(f"{step}\n" for step in steps)
    with torch.no_grad():
        probabilities = model(input_ids=tokenizer(text, return_tensors="pt")["input_ids"]).logits[0].softmax(-1)[:, 1]
    step_end_positions = [
        position
        for position, token_id in enumerate(tokenizer(text)["input_ids"])
        if tokenizer.decode([token_id]) == "\n"
    ]
    assert len(snippet_scores) == 2
    assert snippet_scores == pytest.approx(probabilities[step_end_positions].tolist(), abs=1e-4)
    assert snippet_scores[0] != pytest.approx(snippet_scores[1], abs=1e-3)


def test_the_model_card_has_the_pipeline_tag_of_its_method(tmp_path: Path) -> None:
    from app.hub.model_card import CardContext, render_model_card

    preference_source = write_rows(tmp_path / "rows.jsonl", preference_rows(8))
    reward_card = render_model_card(
        store.create_run(local_workspace(), build_spec("reward", preference_source), Launch()),
        CardContext("me/it", "me/base"),
    )
    assert "pipeline_tag: text-classification" in reward_card
    solution_source = write_rows(tmp_path / "steps.jsonl", stepwise_rows(8))
    process_reward_card = render_model_card(
        store.create_run(local_workspace(), build_spec("process_reward", solution_source), Launch()),
        CardContext("me/it", "me/base"),
    )
    assert "pipeline_tag: token-classification" in process_reward_card
