"""Tools that a model may call while it generates: each tool, its settings, previews, masks and a model trained to call them."""

from __future__ import annotations

import copy
import inspect
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer
from transformers.utils import get_json_schema

from app.core import paths, registry
from app.core.problems import Problem
from app.engine.contracts import load_tool
from app.engine.evaluation.evaluate import evaluate, generate_samples
from app.engine.generation import tool_calling
from app.engine.generation.generate import preserve_rng_eval
from app.engine.generation.tool_calling_mixin import ToolCallingMixin
from app.engine.job import Job
from app.engine.libraries import prepare_libraries
from app.engine.methods.grpo import Knobs
from app.engine.model import template_source
from app.engine.model.device import Device
from app.engine.preview.dry_run import sample_attempts
from app.engine.preview.row_preview import preview_rows
from app.engine.reward_runtime.reward import final_answer_text
from app.engine.step_metrics import named_metrics
from app.engine.tools.calculator import calculator
from app.engine.tools.look_up import NOT_FOUND, look_up
from app.engine.trainers.group_rl.replay_buffer import extract_group, insert_groups
from app.engine.trainers.group_rl.rollout_logging import completion_text, rollout_rows
from app.engine.trainers.group_rl.zero_variance_groups import loss_scale
from app.planning import preflight
from app.setup import models
from tests.support import addition_rows, build_spec, write_rows
from tests.test_contracts import is_one_sentence
from tests.test_group_rl import LogRecorder

# The shortest tool-calling template whose special tokens are in the vocabulary of the practice model.
TOOL_TEMPLATE = {"template": "trl:lfm2_2_5"}
BOTH_TOOLS = ["calculator", "look_up: story"]
GRPO_KNOBS = {"batch_size": 8, "attempts": 4, "max_completion_length": 80, "learning_rate": 0.001}
EXACT_MATCH = [{"name": "exact_match"}]
STORY = "The baker sells bread.\nOmar is the doctor.\nThe mill has four doors, and the doctor has one."


# -- each tool --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", registry.names("tools"))
def test_a_tool_has_a_title_a_sentence_and_a_json_schema(name: str) -> None:
    tool, function = load_tool(name), tool_calling.tool_function(name)
    assert tool.title
    assert not tool.title.endswith(".")
    assert is_one_sentence(tool.sentence)
    described_function = function
    if tool_calling.reads_column(name):
        described_function = getattr(tool_calling.environment_class([tool_calling.ToolChoice(name, "story")])(), name)
    schema = get_json_schema(described_function)["function"]  # raises for an argument without type or description
    assert schema["name"] == name
    assert schema["description"]
    assert tool_calling.TEXT_ARGUMENT not in schema["parameters"]["properties"]
    assert schema["parameters"]["required"] == [argument for argument in inspect.signature(function).parameters if argument != tool_calling.TEXT_ARGUMENT]  # fmt: skip


EXPRESSIONS = [("3 + 4", "7"), ("(3 + 4) * 2 =", "14"), ("8 / 2", "4"), ("1/3", "0.333333333333"), ("2^10", "1024"), ("7 × 8 − 6 ÷ 2", "53"),
        ("-2 ** 2", "-4"), ("7 // 2 + 7 % 2", "4"), ("sqrt(16) + max(1, 2)", "6"), ("2 * pi", "6.28318530718"), ("0.1 + 0.2", "0.3"), ("round(2.345, 1) + round(2.5)", "4.3")]  # fmt: skip


@pytest.mark.parametrize(("expression", "result"), EXPRESSIONS)
def test_the_calculator_evaluates_arithmetic(expression: str, result: str) -> None:
    assert calculator(expression) == result


INVALID_EXPRESSIONS = ["", "three", "3 +", "__import__('os').system('true')", "(1).__class__", "[1, 2]", "3 if 1 else 2", "1 < 2", "True + 1", "'a' * 3",
        "2 ** 10 ** 10", "9 ** 9 ** 9 ** 9", "1e99 * 1e99", "(-8) ** 0.5", "sqrt(-1)", "sqrt(1, 2)", "max()", "round(1, ndigits=2)", "round(1, -999999999)", "1 / 0",
        "0 ** -1", "(" * 150 + "1" + ")" * 40, "-" * 199 + "1" * 2, "lambda: 1", "9" * 150, "(-1) ** 1e308", "2 ** 0.5 ** -400", "1e999", "nan", "\0", "\ud800", "２ + ２", "1_0 ** 1_0_1", "max(9, 9 ** 9 ** 9)"]  # fmt: skip


@pytest.mark.parametrize("expression", INVALID_EXPRESSIONS)
def test_the_calculator_refuses_other_expressions(expression: str) -> None:
    """With ValueError or ArithmeticError: TRL passes the message to the model and counts a failed call."""
    with pytest.raises((ValueError, ArithmeticError)):
        calculator(expression)


def test_look_up_returns_the_best_matching_lines() -> None:
    assert (
        look_up(STORY, "Who is the DOCTOR, Omar?")
        == "Omar is the doctor.\nThe mill has four doors, and the doctor has one.\nThe baker sells bread."
    )
    assert look_up(STORY, "bread") == "The baker sells bread."
    assert look_up("One fish. Two birds! Three?", "birds") == "Two birds!", "a single line is split into sentences"
    assert look_up(STORY, "violin") == look_up("", "bread") == NOT_FOUND
    assert len(look_up("word " * 1000, "word")) < 500


# -- selection and environments ---------------------------------------------------------------------------------------

REFUSED_TOOL_LINES = [
    (["calculater"], "there is no tool called “calculater”. Did you mean “calculator”"),
    (["look_up"], "“look_up” reads a column: name it after a colon"),
    (["calculator: story"], "“calculator” reads no column"),
    (["calculator", "calculator"], "stands there twice"),
]


@pytest.mark.parametrize(("tool_lines", "message"), REFUSED_TOOL_LINES)
def test_an_invalid_tool_line_is_refused_with_a_reason(tool_lines: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(Problem, match=message):
        tool_spec(tmp_path, {"tools": tool_lines})


def test_a_tool_that_reads_a_column_gets_the_text_of_each_row() -> None:
    environment_type = tool_calling.environment_class([tool_calling.ToolChoice("look_up", "story")])
    first_environment, second_environment = environment_type(), environment_type()
    first_environment.reset(story=STORY, prompt="?", self="a column may be called anything")
    second_environment.reset(story=["Ana paints.", {"Omar": 1}], prompt="?")
    assert (first_environment.look_up(words="bread"), second_environment.look_up("Omar")) == (
        "The baker sells bread.",
        '{"Omar": 1}',
    )
    second_environment.reset(prompt="?")
    assert second_environment.look_up(words="Ana") == NOT_FOUND


@pytest.mark.slow
def test_the_tool_calling_formats_are_those_whose_responses_trl_can_parse() -> None:
    from trl.chat_template_utils import add_response_schema, supports_tool_calling

    supported_templates = []
    for name in models.chat_template_names():
        tokenizer = AutoTokenizer.from_pretrained(paths.ROOT / "presets" / "pocket")
        tokenizer.chat_template = template_source.template_text(f"trl:{name}")
        try:
            add_response_schema(tokenizer)
        except ValueError:
            continue
        supported_templates += [name] if supports_tool_calling(tokenizer) else []
    assert tuple(supported_templates) == tool_calling.TOOL_CALLING_FORMATS


def test_a_model_without_a_tool_calling_template_is_refused_before_training(tmp_path: Path) -> None:
    """By preflight from local files, and again when the trainer is built: only then is the template of a Hub model known."""
    with pytest.raises(Problem, match="Tools need a chat format") as refusal:
        tool_spec(tmp_path, {"tools": BOTH_TOOLS}, model={})
    assert "trl:qwen3" in refusal.value.advice
    spec = tool_spec(tmp_path, {}, model={})
    job = Job(spec.model_copy(update={"knobs": spec.knobs | {"tools": BOTH_TOOLS}}), tmp_path, Device("cpu"))
    with pytest.raises(Problem, match="Tools need a chat format"):
        job.method.build(job)
    assert preflight.check_spec(tool_spec(tmp_path, {"tools": BOTH_TOOLS}))


def test_a_tool_whose_column_is_missing_is_refused(tmp_path: Path) -> None:
    job = build_job(tmp_path, {"tools": ["look_up: article"]})
    with pytest.raises(Problem, match="reads the column `article`, and the examples have `prompt`, `answer`, `story`"):
        job.method.build(job)


def test_without_tools_the_trainer_gets_no_tool_arguments(tmp_path: Path) -> None:
    job = build_job(tmp_path, {}, model={})
    assert tool_calling.trainer_arguments(job) == {}
    assert Knobs().tools == []
    description = Knobs.model_fields["tools"].description
    assert all(name in description for name in registry.names("tools")), "every tool file in the folder is offered"
    assert ToolCallingMixin not in type(job.method.build(job)).__mro__


# -- logs, scores and previews ----------------------------------------------------------------------------------------

CALL_MESSAGE = {"role": "assistant", "content": "Let me see.", "tool_calls": [{"type": "function", "function": {"name": "calculator", "arguments": {"expression": "3 + 4"}}}]}  # fmt: skip
TOOL_MESSAGE, ANSWER_MESSAGE = (
    {"role": "tool", "name": "calculator", "content": "7"},
    {"role": "assistant", "content": "It is 7."},
)


def test_a_completion_is_logged_with_its_tool_calls_and_scored_by_its_final_answer() -> None:
    assert (
        completion_text([CALL_MESSAGE, TOOL_MESSAGE, ANSWER_MESSAGE])
        == "Let me see.\n→ calculator(expression: 3 + 4)\n← 7\nIt is 7."
    )
    assert completion_text([ANSWER_MESSAGE]) == completion_text("It is 7.") == "It is 7."
    assert final_answer_text([CALL_MESSAGE, TOOL_MESSAGE, ANSWER_MESSAGE]) == "It is 7."
    assert final_answer_text([CALL_MESSAGE, TOOL_MESSAGE]) == final_answer_text([CALL_MESSAGE]) == "", (
        "a tool response is not the model's answer"
    )


def test_a_prompt_preview_includes_the_tool_descriptions(tmp_path: Path) -> None:
    preview_row = preview_rows(tool_spec(tmp_path, {"tools": BOTH_TOOLS}), 1)["rows"][0]
    prompt_text = "".join(token["text"] for token in preview_row["tokens"])
    assert '"name": "calculator"' in prompt_text
    assert '"name": "look_up"' in prompt_text
    assert prompt_text.endswith("What is 0 + 0?<|im_end|>\n<|im_start|>assistant\n")
    assert "the question: read only" in [segment["why"] for segment in preview_row["segments"]]
    assert set(preview_row["beside"]) == {"answer", "story"}


# -- tool masks, worked by hand ---------------------------------------------------------------------------------------


def test_a_replayed_group_retains_its_tool_mask() -> None:
    """Two groups of one completion each: the second replaces the first and counts only its three own tokens."""
    batch = {
        "prompt_ids": torch.tensor([[1, 2], [3, 4]]), "prompt_mask": torch.ones(2, 2, dtype=torch.long),
        "completion_ids": torch.tensor([[5, 6, 0, 0, 0], [7, 8, 8, 9, 9]]),
        "completion_mask": torch.tensor([[1, 1, 0, 0, 0], [1, 1, 1, 1, 1]]),
        "tool_mask": torch.tensor([[1, 1, 1, 1, 1], [1, 0, 0, 1, 1]]),
        "advantages": torch.tensor([0.0, 1.0]), "num_items_in_batch": torch.tensor(5),
    }  # fmt: skip
    replayed_batch = insert_groups(batch, {0: extract_group(batch, 1, 1)}, 1, pad_token_id=0)
    assert replayed_batch["completion_ids"].tolist() == [[7, 8, 8, 9, 9]] * 2
    assert replayed_batch["tool_mask"].tolist() == [[1, 0, 0, 1, 1]] * 2
    assert replayed_batch["num_items_in_batch"] == 6
    second_batch = insert_groups(replayed_batch, {1: extract_group(batch, 0, 1)}, 1, pad_token_id=0)
    assert second_batch["tool_mask"].tolist() == [[1, 0, 0, 1, 1], [1, 1, 1, 1, 1]]
    assert second_batch["num_items_in_batch"] == 5
    assert loss_scale("bnpo", batch, batch["advantages"] != 0) == pytest.approx(3 / 5)


# -- a model trained to call tools ------------------------------------------------------------------------------------

CALL_PATTERN = re.compile(r"→ calculator\(expression: (\d+) \+ (\d+)\)\n← (\d+)")
DOCTORS = ["Omar", "Ana", "Lena", "Tom"]


def question_rows() -> list[dict[str, Any]]:
    """Sums, and a question whose answer is only in the story of its row."""
    sum_rows = [row | {"story": STORY} for row in addition_rows(12)]
    return sum_rows + [{"prompt": "Who is the doctor?", "answer": name, "story": STORY.replace("Omar", name)} for name in DOCTORS]  # fmt: skip


def with_call(row: dict[str, Any], tools: list[Any]) -> dict[str, Any]:
    """The row as a conversation in which the right tool is called and its response gives the answer."""
    is_sum = row["prompt"].startswith("What is ")
    name, arguments = ("calculator", {"expression": row["prompt"][8:-1]}) if is_sum else ("look_up", {"words": "doctor"})  # fmt: skip
    result = calculator(**arguments) if is_sum else look_up(row["story"], **arguments)
    call = {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": {"name": name, "arguments": arguments}}]}  # fmt: skip
    messages = [{"role": "user", "content": row["prompt"]}, call, {"role": "tool", "name": name, "content": result}, {"role": "assistant", "content": row["answer"]}]  # fmt: skip
    return {"messages": messages, "tools": tools}


@pytest.fixture(scope="module")
def tool_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The practice model after SFT on conversations with tool calls."""
    prepare_libraries()
    folder = tmp_path_factory.mktemp("taught")
    look_up_method = tool_calling.environment_class([tool_calling.ToolChoice("look_up", "story")])().look_up
    tools = [get_json_schema(tool) for tool in (calculator, look_up_method)]
    calls_source = write_rows(folder / "calls.jsonl", [with_call(row, tools) for row in question_rows()])
    knobs = {"batch_size": 4, "steps": 64, "learning_rate": 0.001, "schedule": "constant", "warmup": 0.0, "max_length": 1024, "learn_from": "assistant"}  # fmt: skip
    job = Job(
        build_spec("sft", calls_source, knobs, model=TOOL_TEMPLATE, adapter={"kind": "none"}), folder, Device("cpu")
    )
    trainer = job.method.build(job)
    trainer.train()
    trainer.save_model(str(folder / "whole"))
    return folder / "whole"


@pytest.fixture(scope="module")
def job_and_trainer(tool_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """(job, trainer) of GRPO on that model, before the first step."""
    job = build_job(
        tmp_path_factory.mktemp("caller"), {"tools": BOTH_TOOLS}, model=TOOL_TEMPLATE | {"id": str(tool_model)}
    )
    return job, job.method.build(job)


def tool_spec(folder: Path, knobs: dict[str, Any], model: dict[str, Any] = TOOL_TEMPLATE, **spec_overrides: Any) -> Any:
    source = write_rows(folder / "asked.jsonl", question_rows())
    return build_spec("grpo", source, GRPO_KNOBS | knobs, **({"rewards": EXACT_MATCH, "model": model} | spec_overrides))


def build_job(folder: Path, knobs: dict[str, Any], **spec_overrides: Any) -> Job:
    prepare_libraries()
    return Job(tool_spec(folder, knobs, **spec_overrides), folder, Device("cpu"))


@pytest.mark.full
@pytest.mark.slow
def test_an_evaluation_calls_tools_and_leaves_the_training_state_unchanged(job_and_trainer: Any) -> None:
    job, trainer = job_and_trainer
    logs, metrics = copy.deepcopy((trainer._logs, trainer._metrics))
    with preserve_rng_eval(trainer.model):
        metrics_by_reward, samples = evaluate(job, trainer, question_rows())
        assert CALL_PATTERN.search(generate_samples(job, trainer, ["What is 2 + 2?"])[0])
    assert metrics_by_reward["exact_match"] > 0.25
    completions = [sample["completion"] for sample in samples]
    parsed_calls = [
        [int(number) for number in call.groups()] for text in completions[:12] if (call := CALL_PATTERN.search(text))
    ]
    assert len(parsed_calls) > 6
    assert all(first + second == result for first, second, result in parsed_calls)
    expected_look_ups = [f"→ look_up(words: doctor)\n← {name} is the doctor.\n" for name in DOCTORS]
    look_ups = [(text, expected) for text, expected in zip(completions[-4:], expected_look_ups, strict=True) if "→ look_up(words: doctor)" in text]  # fmt: skip
    assert len(look_ups) > 1
    assert all(expected in text for text, expected in look_ups), "each lookup reads the story of its own row"
    assert (trainer._logs, trainer._metrics) == (logs, metrics)
    assert not trainer.is_evaluating
    assert trainer.generation_config.do_sample


@pytest.mark.slow
def test_tokens_written_by_a_tool_are_masked_out_of_the_loss(job_and_trainer: Any) -> None:
    _, trainer = job_and_trainer
    rows = [dict(trainer.train_dataset[index]) for index in (3, 12) for _ in range(4)]
    trainer.model.train()
    batch = trainer._generate_and_score_completions(rows)
    tool_indices = [
        index
        for index, messages in enumerate(trainer.last_completions)
        if any(message["role"] == "tool" for message in messages)
    ]
    assert tool_indices
    for index in tool_indices:
        results = [str(message["content"]) for message in trainer.last_completions[index] if message["role"] == "tool"]
        token_ids, tool_mask = batch["completion_ids"][index], batch["tool_mask"][index]
        tool_text = trainer._tokenizer.decode(token_ids[tool_mask == 0])
        assert all(result in tool_text for result in results)
        assert tool_text.lstrip().startswith("<|im_start|>tool\n")
    expected_rewards = [
        float(final_answer_text(messages).strip() == row["answer"])
        for messages, row in zip(trainer.last_completions, rows, strict=True)
    ]
    assert trainer.last_rewards[:, 0].tolist() == expected_rewards, "rewards score the final answer"


@pytest.mark.slow
def test_a_dry_run_shows_the_tools_the_calls_and_their_results(job_and_trainer: Any) -> None:
    job, trainer = job_and_trainer
    dry_run = sample_attempts(trainer, job.data.train[3], 8, job.spec)
    assert '"name": "look_up"' in dry_run["prompt"]
    assert dry_run["prompt"].endswith("What is 3 + 3?<|im_end|>\n<|im_start|>assistant\n")
    assert any(CALL_PATTERN.search(completion["text"]) for completion in dry_run["completions"])


@pytest.mark.slow
def test_a_run_with_tool_calls_changes_weights_and_logs_tool_metrics(tool_model: Path, tmp_path: Path) -> None:
    """With a replay buffer whose groups contain tool responses."""
    job = build_job(tmp_path, {"tools": BOTH_TOOLS, "steps": 2, "replay": 4, "temperature": 1.2}, model=TOOL_TEMPLATE | {"id": str(tool_model)})  # fmt: skip
    job.callbacks.append(metrics_recorder := LogRecorder())
    trainer = job.method.build(job)
    weights_before = [weight.detach().clone() for weight in trainer.model.parameters() if weight.requires_grad]
    trainer.train()
    weights_after = [weight for weight in trainer.model.parameters() if weight.requires_grad]
    assert any(not torch.equal(old, new) for old, new in zip(weights_before, weights_after, strict=True))
    metrics = named_metrics(
        metrics_recorder.step_logs[0], {theirs: ours for theirs, (ours, _) in job.method.curves.items()}
    )
    assert metrics["tools/calls"] > 0
    assert 0 <= metrics["tools/failed"] <= 1
    assert any("\n← " in row["completion"] for row in rollout_rows(trainer._logs, 8))
