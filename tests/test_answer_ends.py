"""Where answers end: whatever the base model's settings name, the result stops by the card's code, in our chat, and when it is
loaded as a whole."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from app.core.paths import ROOT
from app.engine.audit import runner as audit_runner
from app.engine.generation.end_tokens import end_token_ids_of
from app.engine.preview import row_preview
from app.hub import snippets
from app.hub.model_card import render_model_card
from app.runs import events
from app.runs.events import NoteEvent, of_type
from app.runs.store import Run
from app.setup.spec import Spec
from tests.support import build_spec, conversation_rows, drain_generator, train, write_rows

pytestmark = pytest.mark.slow

IM_END, END_OF_TEXT = 2, 0  # token ids of the practice model; its chat format ends turns with the first
# {case: changes of tokenizer_config.json, and of generation_config.json}
BASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "another end token": ({"eos_token": "<|endoftext|>"}, {"eos_token_id": END_OF_TEXT}),
    "padding is the end token": ({"pad_token": "<|im_end|>"}, {"pad_token_id": IM_END}),
    "two end tokens": ({}, {"eos_token_id": [END_OF_TEXT, IM_END]}),
    "no end token": ({"eos_token": "<|endoftext|>"}, {"eos_token_id": None}),
}
UNDECLARED = ("another end token", "no end token")


def make_base(case: str, folder: Path) -> Path:
    base = folder / "base"
    shutil.copytree(ROOT / "presets" / "pocket", base)
    for name, changes in zip(("tokenizer_config.json", "generation_config.json"), BASES[case], strict=True):
        path = base / name
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    config = json.loads((base / "config.json").read_text())
    config["eos_token_id"] = BASES[case][1].get("eos_token_id", IM_END)
    (base / "config.json").write_text(json.dumps(config))
    return base


def make_spec(case: str, folder: Path, adapter: str) -> Spec:
    knobs = {"steps": 2, "batch_size": 4, "eval_answers": 0, "evaluations": 0, "learning_rate": 1e-5}
    source = write_rows(folder / "rows.jsonl", conversation_rows(12))
    return build_spec("sft", source, knobs, model={"id": str(make_base(case, folder))}, adapter={"kind": adapter})


def run_snippet(run: Run) -> int:
    """How many tokens the code of the model card generates."""
    code = snippets.usage_snippet(run.spec, run.facts, str(run.adapter), run.spec.model.id)
    count_line = '\nprint(len(answer[0]) - inputs["input_ids"].shape[1])'
    process = subprocess.run([sys.executable, "-c", code + count_line], capture_output=True, text=True, timeout=240)
    assert process.returncode == 0, process.stderr[-2000:]
    return int(process.stdout.splitlines()[-1])


@pytest.mark.parametrize("case", BASES)
def test_an_adapter_stops_by_the_code_of_its_card_and_in_the_chat(case: str, tmp_path: Path) -> None:
    spec = make_spec(case, tmp_path, "lora")
    findings = [finding["text"] for finding in row_preview.preview_rows(spec, 4)["findings"]]
    run = train(spec)
    notes = [note.text for note in of_type(events.read_events(run.events), NoteEvent)]
    for texts in (findings, notes):
        named = [text for text in texts if text.startswith("Answers end with") and "<|im_end|>" in text]
        assert bool(named) == (case in UNDECLARED)
    assert IM_END in run.facts["end_tokens"]
    assert run.facts["end_notes"] == [text for text in notes if text.startswith("Answers end with")]
    assert ("another program has to be told" in render_model_card(run)) == (case in UNDECLARED)
    assert run_snippet(run) < 200
    from app.engine.generation.loaded_result import load_result

    model, tokenizer = load_result(run.id)
    assert IM_END in end_token_ids_of(model, tokenizer)


def test_the_audit_says_it_too(tmp_path: Path) -> None:
    for case, is_named in (("another end token", True), ("two end tokens", False)):
        folder = tmp_path / case
        folder.mkdir()
        _, report = drain_generator(audit_runner.run_audit(make_spec(case, folder, "lora")))
        assert ("end_undeclared" in [finding["id"] for finding in report["findings"]]) == is_named


@pytest.mark.full
@pytest.mark.parametrize("case", UNDECLARED)
def test_a_whole_model_stops_by_its_own_settings(case: str, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    run = train(make_spec(case, tmp_path, "none"))
    model = AutoModelForCausalLM.from_pretrained(run.adapter)
    tokenizer = AutoTokenizer.from_pretrained(run.adapter)
    messages = [{"role": "user", "content": "Hello"}]
    inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    answer = model.generate(**inputs, max_new_tokens=200, do_sample=False)[0]
    assert int(answer[-1]) == IM_END
    assert len(answer) - inputs["input_ids"].shape[1] < 200
