"""Templates: of every chat format that TRL ships, the answers with their end marks are learned and nothing else.

What should be learned is found here by looking for texts in the conversation as it is written, and not by any mask.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from app.engine.model import template_source
from app.engine.preview import preview_job, trainer_capture
from app.engine.tokens.tokenized_examples import IGNORE_INDEX
from app.setup import models
from tests.in_process import POCKET
from tests.support import spec_of, write_rows

CHATML = ("<|im_start|>assistant\n", "<|im_end|>")
GEMMA = ("<start_of_turn>model\n", "<end_of_turn>")
TURN = ("<|turn>model\n", "<turn|>")
LLAMA = ("<|start_header_id|>assistant<|end_header_id|>\n\n", "<|eot_id|>")
DEEPSEEK = (r"(?:<｜Assistant｜>|<｜tool▁outputs▁end｜>)", "<｜end▁of▁sentence｜>")
COHERE = ("<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>", "<|END_OF_TURN_TOKEN|>")
PHI = ("<|assistant|>\n", "<|end|>")
SIGHT = ("Assistant:", "<end_of_utterance>")
GLM = ("<|assistant|>", r"(?:<\|user\|>|<\|observation\|>)")
OSS = ("<|start|>assistant", r"(?:<\|end\|>(?!<\|start\|>assistant)|<\|return\|>|<\|call\|>)")  # fmt: skip

# What each writes before an answer and after it, as its authors say.
FRAMES = {
    "cohere": COHERE, "cohere2": (COHERE[0] + "<|START_RESPONSE|>", "<|END_RESPONSE|><|END_OF_TURN_TOKEN|>"),
    "deepseek_r1_distill": DEEPSEEK, "deepseekv3": DEEPSEEK, "diffusion_gemma": TURN, "gemma": GEMMA, "gemma3": GEMMA,
    "gemma4": TURN, "gemma4_v2": TURN, "gemma4_v3": TURN, "gemma4_v4": TURN, "gemma4_v5": TURN, "glm4moe": GLM, "gptoss": OSS,
    "idefics3": SIGHT, "lfm2": CHATML, "lfm2_2_5": CHATML, "lfm2_2_5_v2": CHATML, "lfm2_2_5_vl": CHATML, "lfm2_v2": CHATML,
    "llama3": LLAMA, "llama3_1": LLAMA, "llama3_2": LLAMA, "llava_next": ("[/INST]", "</s>"), "muse_glimmer": ("<|start|>assistant", "<|eot|>"),
    "nemotron_3_5_lightning": CHATML, "nemotron_3_nano": CHATML, "nemotron_3_super": CHATML, "nemotron_3_ultra": CHATML,
    "phi3": PHI, "phi3_5": PHI, "qwen2_5": CHATML, "qwen2_5_vl": CHATML, "qwen3": CHATML, "qwen3_5_nothink": CHATML,
    "qwen3_5_think": CHATML, "qwen3_6": CHATML, "qwen3_8": CHATML, "qwen3_instruct_2507": CHATML, "qwen3_vl": CHATML, "smolvlm": SIGHT,
}  # fmt: skip
NO_SYSTEM = {"gemma", "llava_next"}
# A tool's answer within a turn. Gemma's own formats end a call with the mark that begins it.
GEMMAS = r"(?<=<\|tool_response>).*?<tool_response\|>"
BETWEEN = {"diffusion_gemma": r"<\|tool_response>.*?<tool_response\|><\|turn>model\n"}
WITHOUT_TOOLS = {"cohere", "cohere2", "deepseek_r1_distill", "gemma", "gemma3", "idefics3", "lfm2", "llama3", "llava_next", "phi3", "phi3_5",
                 "qwen2_5_vl", "smolvlm"}  # fmt: skip
WITH_THOUGHTS = {"diffusion_gemma", "gemma4_v5", "glm4moe", "gptoss", "lfm2_2_5", "lfm2_2_5_v2", "lfm2_2_5_vl", "muse_glimmer",
                 "nemotron_3_5_lightning", "nemotron_3_nano", "nemotron_3_super", "nemotron_3_ultra", "qwen3", "qwen3_5_nothink",
                 "qwen3_5_think", "qwen3_6", "qwen3_8"}  # fmt: skip
SEES = {"idefics3", "llava_next", "smolvlm"}  # they write only words that stand in parts, among pictures
MARK = re.compile(
    r"<[|｜][^<>\s]{1,40}[|｜]>|</?s>|\[/?INST\]|<\|[a-z_]+>|<[a-z_]+\|>|<(?:start|end)_of_[a-z]+>|<bos>|<sop>|\[gMASK\]"
)
TOOLS = [{"type": "function", "function": {"name": "add", "description": "Adds two numbers.", "parameters": {
    "type": "object", "properties": {"left": {"type": "integer"}, "right": {"type": "integer"}}, "required": ["left", "right"]}}}]  # fmt: skip
CALL = {"type": "function", "function": {"name": "add", "arguments": {"left": 17, "right": 25}}}
TALK = [
    {"role": "system", "content": "Speak like a baker."},
    {"role": "user", "content": "What rises in the morning?"},
    {"role": "assistant", "content": "The dough does, slowly."},
    {"role": "user", "content": "And what falls?"},
    {"role": "assistant", "content": "Flour, like snow."},
    {"role": "user", "content": "Is that all?"},
    {"role": "assistant", "content": "No: also the price."},
]
THOUGHT = [*TALK[:-1], TALK[-1] | {"reasoning_content": "He wants a joke, I guess."}]
CALLED = [
    *TALK[:3],
    {"role": "user", "content": "Please sum the loaves."},
    {"role": "assistant", "content": "", "tool_calls": [CALL]},
    {"role": "tool", "name": "add", "content": "forty-two"},
    {"role": "assistant", "content": "So many loaves it is."},
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The practice model, whose words also have a mark that begins a text: some formats write it."""
    from transformers import AutoTokenizer

    folder = tmp_path_factory.mktemp("models") / "begins"
    shutil.copytree(POCKET, folder)
    words = AutoTokenizer.from_pretrained(POCKET)
    words.add_special_tokens({"bos_token": "<s>"})
    words.save_pretrained(folder)
    return folder


def shown(name: str, row: dict[str, Any], model: Path, folder: Path) -> tuple[str, list[str]]:
    """(the conversation as the model reads it, the runs of text in it that a preview shows as learned)."""
    marks = {*MARK.findall(written(name, row, model))} - {"<s>", "<|im_start|>", "<|im_end|>"}
    setup = {"id": str(model), "template": f"trl:{name}", "new_tokens": sorted(marks)}
    spec = spec_of("sft", write_rows(folder / "rows.jsonl", [row] * 2), {"max_length": 4096}, model=setup)
    trainer, [example, *_] = trainer_capture.prepare_examples(preview_job.preview_job(spec, 2))
    [text] = example.texts
    pieces = [trainer.processing_class.decode([one]) for one in text.token_ids]
    runs = [""]
    for piece, label in zip(pieces, text.labels, strict=True):
        runs = [*runs[:-1], runs[-1] + piece] if label != IGNORE_INDEX else [*runs, ""] if runs[-1] else runs
    return "".join(pieces), [run for run in runs if run]


def written(name: str, row: dict[str, Any], model: Path) -> str:
    from transformers import AutoTokenizer

    words = AutoTokenizer.from_pretrained(model)
    turns = template_source.with_content_parts(row["messages"]) if name in SEES else row["messages"]
    trained = (models.chat_template_folder() / f"{name}_training.jinja").is_file()
    told = template_source.template_text(f"trl:{name}{'_training' if trained else ''}")
    return words.apply_chat_template(turns, chat_template=told, tools=row.get("tools"), tokenize=False)  # fmt: skip


def answers(name: str, text: str) -> list[str]:
    """What stands between the words before an answer and the mark after it, without what tools say in between."""
    head, end = (one if one.startswith("(?:") else re.escape(one) for one in FRAMES[name])
    found = re.findall(f"{head}(.*?{end})", text, re.DOTALL)
    return [part for one in found for part in re.split(BETWEEN.get(name, GEMMAS), one, flags=re.DOTALL) if part]


def test_every_format_that_trl_ships_is_tried() -> None:
    assert models.chat_template_names() == sorted(FRAMES)


@pytest.mark.slow
@pytest.mark.parametrize("name", FRAMES)
def test_the_answers_are_learned_with_their_ends_and_nothing_else(name: str, model: Path, tmp_path: Path) -> None:
    turns = TALK[1:] if name in NO_SYSTEM else THOUGHT if name in WITH_THOUGHTS else TALK
    text, learned = shown(name, {"messages": turns}, model, tmp_path)
    assert learned == answers(name, text)
    for turn in turns:
        assert any(turn["content"] in run for run in learned) == (turn["role"] == "assistant")
    assert any("He wants a joke" in run for run in learned) == (name in WITH_THOUGHTS)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted({*FRAMES} - WITHOUT_TOOLS))
def test_calls_of_tools_are_learned_and_their_answers_only_read(name: str, model: Path, tmp_path: Path) -> None:
    text, learned = shown(name, {"messages": CALLED, "tools": TOOLS}, model, tmp_path)
    assert learned == answers(name, text)
    said = "".join(learned)
    assert "So many loaves it is." in said
    assert "17" in said
    assert "25" in said
    assert "forty-two" in text
    assert "forty-two" not in said
