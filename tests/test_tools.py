"""Tools: what a model may call while it answers: each tool by itself, how it is given, told and tested, and who cannot have any."""

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
from app.engine.callback import named_metrics
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
from app.engine.tools.calculator import calculator
from app.engine.tools.look_up import NOT_FOUND, look_up
from app.engine.trainers.group_rl.replay_buffer import extract_group, insert_groups
from app.engine.trainers.group_rl.rollout_logging import completion_text, rollout_rows
from app.engine.trainers.group_rl.zero_variance_groups import loss_scale
from app.planning import preflight
from app.setup import models
from tests.support import spec_of, sums, write_rows
from tests.test_contracts import one_sentence
from tests.test_group_rl import Watch

SPEAKS = {"template": "trl:lfm2_2_5"}  # the shortest of those that can call, with marks the practice model knows
BOTH = ["calculator", "look_up: story"]
ROUND = {"batch_size": 8, "attempts": 4, "max_completion_length": 80, "learning_rate": 0.001}
RIGHT = [{"name": "exact_match"}]
STORY = "The baker sells bread.\nOmar is the doctor.\nThe mill has four doors, and the doctor has one."


# -- each tool --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", registry.names("tools"))
def test_a_tool_says_what_it_is_to_people_and_to_the_model(name: str) -> None:
    tool, function = load_tool(name), tool_calling.tool_function(name)
    assert tool.title
    assert not tool.title.endswith(".")
    assert one_sentence(tool.sentence)
    given = function
    if tool_calling.reads_column(name):
        given = getattr(tool_calling.environment_class([tool_calling.ToolChoice(name, "story")])(), name)
    schema = get_json_schema(given)["function"]  # raises where an argument has no type or no words
    assert schema["name"] == name
    assert schema["description"]
    assert tool_calling.TEXT_ARGUMENT not in schema["parameters"]["properties"]
    assert schema["parameters"]["required"] == [one for one in inspect.signature(function).parameters if one != tool_calling.TEXT_ARGUMENT]  # fmt: skip


SUMS = [("3 + 4", "7"), ("(3 + 4) * 2 =", "14"), ("8 / 2", "4"), ("1/3", "0.333333333333"), ("2^10", "1024"), ("7 × 8 − 6 ÷ 2", "53"),
        ("-2 ** 2", "-4"), ("7 // 2 + 7 % 2", "4"), ("sqrt(16) + max(1, 2)", "6"), ("2 * pi", "6.28318530718"), ("0.1 + 0.2", "0.3"), ("round(2.345, 1) + round(2.5)", "4.3")]  # fmt: skip


@pytest.mark.parametrize(("expression", "result"), SUMS)
def test_the_calculator_works_out(expression: str, result: str) -> None:
    assert calculator(expression) == result


NONE = ["", "three", "3 +", "__import__('os').system('true')", "(1).__class__", "[1, 2]", "3 if 1 else 2", "1 < 2", "True + 1", "'a' * 3",
        "2 ** 10 ** 10", "9 ** 9 ** 9 ** 9", "1e99 * 1e99", "(-8) ** 0.5", "sqrt(-1)", "sqrt(1, 2)", "max()", "round(1, ndigits=2)", "round(1, -999999999)", "1 / 0",
        "0 ** -1", "(" * 150 + "1" + ")" * 40, "-" * 199 + "1" * 2, "lambda: 1", "9" * 150]  # fmt: skip


@pytest.mark.parametrize("expression", NONE)
def test_the_calculator_refuses_what_is_no_arithmetic(expression: str) -> None:
    """With ValueError or ArithmeticError: TRL tells the model what it says, and counts a failure."""
    with pytest.raises((ValueError, ArithmeticError)):
        calculator(expression)


def test_a_look_up_gives_the_lines_that_match_best() -> None:
    assert (
        look_up(STORY, "Who is the DOCTOR, Omar?")
        == "Omar is the doctor.\nThe mill has four doors, and the doctor has one.\nThe baker sells bread."
    )
    assert look_up(STORY, "bread") == "The baker sells bread."
    assert look_up("One fish. Two birds! Three?", "birds") == "Two birds!", "of one line the sentences"
    assert look_up(STORY, "violin") == look_up("", "bread") == NOT_FOUND
    assert len(look_up("word " * 1000, "word")) < 500


# -- chosen and given -------------------------------------------------------------------------------------------------

REFUSED = [
    (["calculater"], "there is no tool called “calculater”. Did you mean “calculator”"),
    (["look_up"], "“look_up” reads a column: name it after a colon"),
    (["calculator: story"], "“calculator” reads no column"),
    (["calculator", "calculator"], "stands there twice"),
]


@pytest.mark.parametrize(("lines", "said"), REFUSED)
def test_a_tool_that_cannot_be_meant_is_refused_in_a_sentence(lines: list[str], said: str, tmp_path: Path) -> None:
    with pytest.raises(Problem, match=said):
        spec_for(tmp_path, {"tools": lines})


def test_a_tool_that_reads_gets_the_text_of_each_row() -> None:
    made = tool_calling.environment_class([tool_calling.ToolChoice("look_up", "story")])
    one, other = made(), made()
    one.reset(story=STORY, prompt="?", self="a column may be called anything")
    other.reset(story=["Ana paints.", {"Omar": 1}], prompt="?")
    assert (one.look_up(words="bread"), other.look_up("Omar")) == ("The baker sells bread.", '{"Omar": 1}')
    other.reset(prompt="?")
    assert other.look_up(words="Ana") == NOT_FOUND


def test_the_formats_that_can_call_are_those_that_trl_can_read_again() -> None:
    from trl.chat_template_utils import add_response_schema, supports_tool_calling

    found = []
    for name in models.chat_template_names():
        tokenizer = AutoTokenizer.from_pretrained(paths.ROOT / "presets" / "pocket")
        tokenizer.chat_template = template_source.template_text(f"trl:{name}")
        try:
            add_response_schema(tokenizer)
        except ValueError:
            continue
        found += [name] if supports_tool_calling(tokenizer) else []
    assert tuple(found) == tool_calling.TOOL_CALLING_FORMATS


def test_a_model_whose_format_cannot_call_is_refused_before_anything_starts(tmp_path: Path) -> None:
    """Once by its files alone, and once where training would begin: the format of a Hub's model is known only there."""
    with pytest.raises(Problem, match="Tools need a chat format") as refusal:
        spec_for(tmp_path, {"tools": BOTH}, model={})
    assert "trl:qwen3" in refusal.value.advice
    spec = spec_for(tmp_path, {}, model={})
    job = Job(spec.model_copy(update={"knobs": spec.knobs | {"tools": BOTH}}), tmp_path, Device("cpu"))
    with pytest.raises(Problem, match="Tools need a chat format"):
        job.method.build(job)
    assert preflight.check_spec(spec_for(tmp_path, {"tools": BOTH}))


def test_a_tool_whose_column_is_missing_is_refused(tmp_path: Path) -> None:
    job = job_of(tmp_path, {"tools": ["look_up: article"]})
    with pytest.raises(Problem, match="reads the column `article`, and the examples have `prompt`, `answer`, `story`"):
        job.method.build(job)


def test_without_tools_trl_is_told_nothing_of_them(tmp_path: Path) -> None:
    job = job_of(tmp_path, {}, model={})
    assert tool_calling.trainer_arguments(job) == {}
    assert Knobs().tools == []
    sentence = Knobs.model_fields["tools"].description
    assert all(name in sentence for name in registry.names("tools")), "each is offered because its file is there"
    assert ToolCallingMixin not in type(job.method.build(job)).__mro__


# -- what is shown and scored -----------------------------------------------------------------------------------------

CALL = {"role": "assistant", "content": "Let me see.", "tool_calls": [{"type": "function", "function": {"name": "calculator", "arguments": {"expression": "3 + 4"}}}]}  # fmt: skip
RESULT, ANSWER = {"role": "tool", "name": "calculator", "content": "7"}, {"role": "assistant", "content": "It is 7."}


def test_an_answer_is_told_with_its_calls_and_scored_by_its_end() -> None:
    assert completion_text([CALL, RESULT, ANSWER]) == "Let me see.\n→ calculator(expression: 3 + 4)\n← 7\nIt is 7."
    assert completion_text([ANSWER]) == completion_text("It is 7.") == "It is 7."
    assert final_answer_text([CALL, RESULT, ANSWER]) == "It is 7."
    assert final_answer_text([CALL, RESULT]) == final_answer_text([CALL]) == "", (
        "what the tool said is not the model's answer"
    )


def test_prompts_are_shown_with_all_that_is_told_of_tools(tmp_path: Path) -> None:
    shown = preview_rows(spec_for(tmp_path, {"tools": BOTH}), 1)["rows"][0]
    text = "".join(token["text"] for token in shown["tokens"])
    assert '"name": "calculator"' in text
    assert '"name": "look_up"' in text
    assert text.endswith("What is 0 + 0?<|im_end|>\n<|im_start|>assistant\n")
    assert "the question: read only" in [one["why"] for one in shown["segments"]]
    assert set(shown["beside"]) == {"answer", "story"}


# -- masks of what tools wrote, by hand -------------------------------------------------------------------------------


def test_a_remembered_group_knows_which_tokens_a_tool_wrote() -> None:
    """Two groups of one answer each: the second takes the place of the first, and counts its own three tokens only."""
    batch = {
        "prompt_ids": torch.tensor([[1, 2], [3, 4]]), "prompt_mask": torch.ones(2, 2, dtype=torch.long),
        "completion_ids": torch.tensor([[5, 6, 0, 0, 0], [7, 8, 8, 9, 9]]),
        "completion_mask": torch.tensor([[1, 1, 0, 0, 0], [1, 1, 1, 1, 1]]),
        "tool_mask": torch.tensor([[1, 1, 1, 1, 1], [1, 0, 0, 1, 1]]),
        "advantages": torch.tensor([0.0, 1.0]), "num_items_in_batch": torch.tensor(5),
    }  # fmt: skip
    made = insert_groups(batch, {0: extract_group(batch, 1, 1)}, 1, pad_token_id=0)
    assert made["completion_ids"].tolist() == [[7, 8, 8, 9, 9]] * 2
    assert made["tool_mask"].tolist() == [[1, 0, 0, 1, 1]] * 2
    assert made["num_items_in_batch"] == 6
    short = insert_groups(made, {1: extract_group(batch, 0, 1)}, 1, pad_token_id=0)
    assert short["tool_mask"].tolist() == [[1, 0, 0, 1, 1], [1, 1, 1, 1, 1]]
    assert short["num_items_in_batch"] == 5
    assert loss_scale("bnpo", batch, batch["advantages"] != 0) == pytest.approx(3 / 5)


# -- for real: a model that has learned to call -----------------------------------------------------------------------

CALLED = re.compile(r"→ calculator\(expression: (\d+) \+ (\d+)\)\n← (\d+)")
DOCTORS = ["Omar", "Ana", "Lena", "Tom"]


def questions() -> list[dict[str, Any]]:
    """Sums, and a question whose answer stands in nothing but the row's own story."""
    asked = [row | {"story": STORY} for row in sums(12)]
    return asked + [{"prompt": "Who is the doctor?", "answer": name, "story": STORY.replace("Omar", name)} for name in DOCTORS]  # fmt: skip


def with_call(row: dict[str, Any], tools: list[Any]) -> dict[str, Any]:
    """The row as a conversation in which the right tool is asked, and its result is the answer."""
    is_sum = row["prompt"].startswith("What is ")
    name, asked = ("calculator", {"expression": row["prompt"][8:-1]}) if is_sum else ("look_up", {"words": "doctor"})  # fmt: skip
    result = calculator(**asked) if is_sum else look_up(row["story"], **asked)
    call = {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": {"name": name, "arguments": asked}}]}  # fmt: skip
    turns = [{"role": "user", "content": row["prompt"]}, call, {"role": "tool", "name": name, "content": result}, {"role": "assistant", "content": row["answer"]}]  # fmt: skip
    return {"messages": turns, "tools": tools}


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The practice model after it imitated conversations with calls."""
    prepare_libraries()
    folder = tmp_path_factory.mktemp("taught")
    looking = tool_calling.environment_class([tool_calling.ToolChoice("look_up", "story")])().look_up
    tools = [get_json_schema(one) for one in (calculator, looking)]
    source = write_rows(folder / "calls.jsonl", [with_call(row, tools) for row in questions()])
    knobs = {"batch_size": 4, "steps": 64, "learning_rate": 0.001, "schedule": "constant", "warmup": 0.0, "max_length": 1024, "learn_from": "assistant"}  # fmt: skip
    job = Job(spec_of("sft", source, knobs, model=SPEAKS, adapter={"kind": "none"}), folder, Device("cpu"))
    trainer = job.method.build(job)
    trainer.train()
    trainer.save_model(str(folder / "whole"))
    return folder / "whole"


@pytest.fixture(scope="module")
def caller(taught: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """(job, trainer) of it, before anything is earned."""
    job = job_of(tmp_path_factory.mktemp("caller"), {"tools": BOTH}, model=SPEAKS | {"id": str(taught)})
    return job, job.method.build(job)


def spec_for(folder: Path, knobs: dict[str, Any], model: dict[str, Any] = SPEAKS, **more: Any) -> Any:
    source = write_rows(folder / "asked.jsonl", questions())
    return spec_of("grpo", source, ROUND | knobs, **({"rewards": RIGHT, "model": model} | more))


def job_of(folder: Path, knobs: dict[str, Any], **more: Any) -> Job:
    prepare_libraries()
    return Job(spec_for(folder, knobs, **more), folder, Device("cpu"))


@pytest.mark.slow
def test_a_test_asks_with_tools_and_leaves_no_trace_in_training(caller: Any) -> None:
    job, trainer = caller
    logs, metrics = copy.deepcopy((trainer._logs, trainer._metrics))
    with preserve_rng_eval(trainer.model):
        found, shown = evaluate(job, trainer, questions())
        assert CALLED.search(generate_samples(job, trainer, ["What is 2 + 2?"])[0])
    assert found["exact_match"] > 0.25
    said = [one["completion"] for one in shown]
    called = [[int(one) for one in call.groups()] for text in said[:12] if (call := CALLED.search(text))]
    assert len(called) > 6
    assert all(first + second == result for first, second, result in called)
    found_there = [f"→ look_up(words: doctor)\n← {name} is the doctor.\n" for name in DOCTORS]
    asked = [(text, there) for text, there in zip(said[-4:], found_there, strict=True) if "→ look_up(words: doctor)" in text]  # fmt: skip
    assert len(asked) > 1
    assert all(there in text for text, there in asked), "in each row's own story"
    assert (trainer._logs, trainer._metrics) == (logs, metrics)
    assert not trainer.is_evaluating
    assert trainer.generation_config.do_sample


@pytest.mark.slow
def test_what_a_tool_wrote_is_read_and_not_learned(caller: Any) -> None:
    _, trainer = caller
    rows = [dict(trainer.train_dataset[place]) for place in (3, 12) for _ in range(4)]
    trainer.model.train()
    batch = trainer._generate_and_score_completions(rows)
    called = [
        place for place, turns in enumerate(trainer.last_completions) if any(turn["role"] == "tool" for turn in turns)
    ]
    assert called
    for place in called:
        results = [str(turn["content"]) for turn in trainer.last_completions[place] if turn["role"] == "tool"]
        ids, own = batch["completion_ids"][place], batch["tool_mask"][place]
        others = trainer._tokenizer.decode(ids[own == 0])
        assert all(result in others for result in results)
        assert others.lstrip().startswith("<|im_start|>tool\n")
    earned = [
        float(final_answer_text(turns).strip() == row["answer"])
        for turns, row in zip(trainer.last_completions, rows, strict=True)
    ]
    assert trainer.last_rewards[:, 0].tolist() == earned, "rewards see the answer at the end"


@pytest.mark.slow
def test_a_trial_shows_the_tools_the_calls_and_their_results(caller: Any) -> None:
    job, trainer = caller
    found = sample_attempts(trainer, job.data.train[3], 8, job.spec)
    assert '"name": "look_up"' in found["prompt"]
    assert found["prompt"].endswith("What is 3 + 3?<|im_end|>\n<|im_start|>assistant\n")
    assert any(CALLED.search(one["text"]) for one in found["completions"])


@pytest.mark.slow
def test_a_run_learns_with_calls_and_tells_of_them(taught: Path, tmp_path: Path) -> None:
    """Also of groups it remembers, in which tools wrote a part."""
    job = job_of(tmp_path, {"tools": BOTH, "steps": 2, "replay": 4, "temperature": 1.2}, model=SPEAKS | {"id": str(taught)})  # fmt: skip
    job.callbacks.append(watch := Watch())
    trainer = job.method.build(job)
    before = [weight.detach().clone() for weight in trainer.model.parameters() if weight.requires_grad]
    trainer.train()
    after = [weight for weight in trainer.model.parameters() if weight.requires_grad]
    assert any(not torch.equal(one, other) for one, other in zip(before, after, strict=True))
    told = named_metrics(watch.said[0], {theirs: ours for theirs, (ours, _) in job.method.curves.items()})
    assert told["tools/calls"] > 0
    assert 0 <= told["tools/failed"] <= 1
    assert any("\n← " in row["completion"] for row in rollout_rows(trainer._logs, 8))
