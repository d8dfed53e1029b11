"""Chat templates: for every template that TRL ships, only the answers and their end tokens are trained.

The expected texts are found by pattern matching in the rendered conversation, independently of the loss mask.
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
from tests.support import build_spec, write_rows

CHATML = ("<|im_start|>assistant\n", "<|im_end|>")
GEMMA = ("<start_of_turn>model\n", "<end_of_turn>")
GEMMA4 = ("<|turn>model\n", "<turn|>")
LLAMA = ("<|start_header_id|>assistant<|end_header_id|>\n\n", "<|eot_id|>")
DEEPSEEK = (r"(?:<｜Assistant｜>|<｜tool▁outputs▁end｜>)", "<｜end▁of▁sentence｜>")
COHERE = ("<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>", "<|END_OF_TURN_TOKEN|>")
PHI = ("<|assistant|>\n", "<|end|>")
SMOLVLM = ("Assistant:", "<end_of_utterance>")
GLM = ("<|assistant|>", r"(?:<\|user\|>|<\|observation\|>)")
GPT_OSS = ("<|start|>assistant", r"(?:<\|end\|>(?!<\|start\|>assistant)|<\|return\|>|<\|call\|>)")  # fmt: skip

# (text before an answer, text after it) of each template, as documented by its authors.
ANSWER_DELIMITERS = {
    "cohere": COHERE, "cohere2": (COHERE[0] + "<|START_RESPONSE|>", "<|END_RESPONSE|><|END_OF_TURN_TOKEN|>"),
    "deepseek_r1_distill": DEEPSEEK, "deepseekv3": DEEPSEEK, "diffusion_gemma": GEMMA4, "gemma": GEMMA, "gemma3": GEMMA,
    "gemma4": GEMMA4, "gemma4_v2": GEMMA4, "gemma4_v3": GEMMA4, "gemma4_v4": GEMMA4, "gemma4_v5": GEMMA4, "glm4moe": GLM, "gptoss": GPT_OSS,
    "idefics3": SMOLVLM, "lfm2": CHATML, "lfm2_2_5": CHATML, "lfm2_2_5_v2": CHATML, "lfm2_2_5_vl": CHATML, "lfm2_v2": CHATML,
    "llama3": LLAMA, "llama3_1": LLAMA, "llama3_2": LLAMA, "llava_next": ("[/INST]", "</s>"), "muse_glimmer": ("<|start|>assistant", "<|eot|>"),
    "nemotron_3_5_lightning": CHATML, "nemotron_3_nano": CHATML, "nemotron_3_super": CHATML, "nemotron_3_ultra": CHATML,
    "phi3": PHI, "phi3_5": PHI, "qwen2_5": CHATML, "qwen2_5_vl": CHATML, "qwen3": CHATML, "qwen3_5_nothink": CHATML,
    "qwen3_5_think": CHATML, "qwen3_6": CHATML, "qwen3_8": CHATML, "qwen3_instruct_2507": CHATML, "qwen3_vl": CHATML, "smolvlm": SMOLVLM,
}  # fmt: skip
WITHOUT_SYSTEM = {"gemma", "llava_next"}
# A tool response inside an assistant message. Gemma's templates end a call with the token that begins the response.
GEMMA_TOOL_RESPONSE = r"(?<=<\|tool_response>).*?<tool_response\|>"
TOOL_RESPONSE_PATTERNS = {"diffusion_gemma": r"<\|tool_response>.*?<tool_response\|><\|turn>model\n"}
WITHOUT_TOOLS = {"cohere", "cohere2", "deepseek_r1_distill", "gemma", "gemma3", "idefics3", "lfm2", "llama3", "llava_next", "phi3", "phi3_5",
                 "qwen2_5_vl", "smolvlm"}  # fmt: skip
WITH_REASONING = {"diffusion_gemma", "gemma4_v5", "glm4moe", "gptoss", "lfm2_2_5", "lfm2_2_5_v2", "lfm2_2_5_vl", "muse_glimmer",
                 "nemotron_3_5_lightning", "nemotron_3_nano", "nemotron_3_super", "nemotron_3_ultra", "qwen3", "qwen3_5_nothink",
                 "qwen3_5_think", "qwen3_6", "qwen3_8"}  # fmt: skip
VISION_TEMPLATES = {"idefics3", "llava_next", "smolvlm"}  # they render only message content given as a list of parts
SPECIAL_TOKEN = re.compile(
    r"<[|｜][^<>\s]{1,40}[|｜]>|</?s>|\[/?INST\]|<\|[a-z_]+>|<[a-z_]+\|>|<(?:start|end)_of_[a-z]+>|<bos>|<sop>|\[gMASK\]"
)
TOOLS = [{"type": "function", "function": {"name": "add", "description": "Adds two numbers.", "parameters": {
    "type": "object", "properties": {"left": {"type": "integer"}, "right": {"type": "integer"}}, "required": ["left", "right"]}}}]  # fmt: skip
TOOL_CALL = {"type": "function", "function": {"name": "add", "arguments": {"left": 17, "right": 25}}}
CONVERSATION = [
    {"role": "system", "content": "Speak like a baker."},
    {"role": "user", "content": "What rises in the morning?"},
    {"role": "assistant", "content": "The dough does, slowly."},
    {"role": "user", "content": "And what falls?"},
    {"role": "assistant", "content": "Flour, like snow."},
    {"role": "user", "content": "Is that all?"},
    {"role": "assistant", "content": "No: also the price."},
]
REASONING_CONVERSATION = [*CONVERSATION[:-1], CONVERSATION[-1] | {"reasoning_content": "He wants a joke, I guess."}]
TOOL_CONVERSATION = [
    *CONVERSATION[:3],
    {"role": "user", "content": "Please sum the loaves."},
    {"role": "assistant", "content": "", "tool_calls": [TOOL_CALL]},
    {"role": "tool", "name": "add", "content": "forty-two"},
    {"role": "assistant", "content": "So many loaves it is."},
]


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The practice model with a BOS token added to its vocabulary, because some templates write one."""
    from transformers import AutoTokenizer

    folder = tmp_path_factory.mktemp("models") / "begins"
    shutil.copytree(POCKET, folder)
    tokenizer = AutoTokenizer.from_pretrained(POCKET)
    tokenizer.add_special_tokens({"bos_token": "<s>"})
    tokenizer.save_pretrained(folder)
    return folder


def rendered_and_trained_texts(
    name: str, row: dict[str, Any], model_folder: Path, folder: Path
) -> tuple[str, list[str]]:
    """(the conversation as the model reads it, the contiguous texts in it that are trained)."""
    special_tokens = {*SPECIAL_TOKEN.findall(render_conversation(name, row, model_folder))} - {
        "<s>",
        "<|im_start|>",
        "<|im_end|>",
    }
    model_spec = {"id": str(model_folder), "template": f"trl:{name}", "new_tokens": sorted(special_tokens)}
    spec = build_spec("sft", write_rows(folder / "rows.jsonl", [row] * 2), {"max_length": 4096}, model=model_spec)
    trainer, [example, *_] = trainer_capture.prepare_examples(preview_job.preview_job(spec, 2))
    [example_text] = example.texts
    pieces = [trainer.processing_class.decode([token_id]) for token_id in example_text.token_ids]
    trained_texts = [""]
    for piece, label in zip(pieces, example_text.labels, strict=True):
        trained_texts = (
            [*trained_texts[:-1], trained_texts[-1] + piece]
            if label != IGNORE_INDEX
            else [*trained_texts, ""]
            if trained_texts[-1]
            else trained_texts
        )
    return "".join(pieces), [trained_text for trained_text in trained_texts if trained_text]


def render_conversation(name: str, row: dict[str, Any], model_folder: Path) -> str:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    messages = template_source.with_content_parts(row["messages"]) if name in VISION_TEMPLATES else row["messages"]
    has_training_template = (models.chat_template_folder() / f"{name}_training.jinja").is_file()
    template = template_source.template_text(f"trl:{name}{'_training' if has_training_template else ''}")
    return tokenizer.apply_chat_template(messages, chat_template=template, tools=row.get("tools"), tokenize=False)  # fmt: skip


def expected_answers(name: str, text: str) -> list[str]:
    """Each text from the start of an answer to its end token, inclusive, without the tool responses inside."""
    start, end = (
        delimiter if delimiter.startswith("(?:") else re.escape(delimiter) for delimiter in ANSWER_DELIMITERS[name]
    )
    matches = re.findall(f"{start}(.*?{end})", text, re.DOTALL)
    return [
        segment
        for match in matches
        for segment in re.split(TOOL_RESPONSE_PATTERNS.get(name, GEMMA_TOOL_RESPONSE), match, flags=re.DOTALL)
        if segment
    ]


def test_every_chat_template_that_trl_ships_is_covered() -> None:
    assert models.chat_template_names() == sorted(ANSWER_DELIMITERS)


@pytest.mark.slow
@pytest.mark.first_cases(4)
@pytest.mark.parametrize("name", ANSWER_DELIMITERS)
def test_only_the_answers_and_their_end_tokens_are_trained(name: str, model_folder: Path, tmp_path: Path) -> None:
    messages = (
        CONVERSATION[1:]
        if name in WITHOUT_SYSTEM
        else REASONING_CONVERSATION
        if name in WITH_REASONING
        else CONVERSATION
    )
    text, trained_texts = rendered_and_trained_texts(name, {"messages": messages}, model_folder, tmp_path)
    assert trained_texts == expected_answers(name, text)
    for message in messages:
        assert any(message["content"] in trained_text for trained_text in trained_texts) == (
            message["role"] == "assistant"
        )
    assert any("He wants a joke" in trained_text for trained_text in trained_texts) == (name in WITH_REASONING)


@pytest.mark.slow
@pytest.mark.first_cases(2)
@pytest.mark.parametrize("name", sorted({*ANSWER_DELIMITERS} - WITHOUT_TOOLS))
def test_tool_calls_are_trained_and_tool_responses_are_not(name: str, model_folder: Path, tmp_path: Path) -> None:
    text, trained_texts = rendered_and_trained_texts(
        name, {"messages": TOOL_CONVERSATION, "tools": TOOLS}, model_folder, tmp_path
    )
    assert trained_texts == expected_answers(name, text)
    trained_text = "".join(trained_texts)
    assert "So many loaves it is." in trained_text
    assert "17" in trained_text
    assert "25" in trained_text
    assert "forty-two" in text
    assert "forty-two" not in trained_text
