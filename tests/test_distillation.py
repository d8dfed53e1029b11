"""Distillation: teachers with the same and with another vocabulary, agreement of student and teacher, and the preview."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from app.core.paths import ROOT
from app.core.problems import Problem
from app.engine.trainers.distillation import agreement, teacher
from app.planning import links, preflight
from app.setup.spec import parse_spec
from tests.in_process import POCKET
from tests.support import write_rows

pytestmark = pytest.mark.slow

SUMS_WITH_COMPLETIONS = {"source": "sample:sums", "mapping": {"completion": "answer"}}


def build_job(method: str, dataset: dict[str, Any], folder: Path, preview: bool = False, **spec_fields: Any) -> Any:
    from app.engine.job import Job
    from app.engine.libraries import prepare_libraries
    from app.engine.model.device import Device

    prepare_libraries()
    spec_dict = {"method": method, "data": [dataset], "holdout": {}} | spec_fields
    return Job(preflight.check_spec(parse_spec(spec_dict)), folder, Device("cpu"), preview=preview)


def preview_rows(method: str, dataset: dict[str, Any], **knobs: Any) -> dict[str, Any]:
    from app.engine.preview import row_preview

    return row_preview.preview_rows(parse_spec({"method": method, "data": [dataset], "knobs": knobs}), 20)


def trained_text(row: dict[str, Any]) -> str:
    return "".join(token["text"] for token in row["tokens"] if token["trained"])


def raised_problem(action: Any) -> Problem:
    with pytest.raises(Problem) as raised:
        action()
    return raised.value


# -- teachers -----------------------------------------------------------------------------------------------------


def word_level_tokenizer(*tokens: str, separator: str = " ") -> Any:
    """A word-level tokenizer whose vocabulary is these tokens in this order, which splits text at the separator."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    backend_tokenizer = Tokenizer(
        models.WordLevel({token: index for index, token in enumerate(tokens)}, unk_token=tokens[0])
    )
    backend_tokenizer.pre_tokenizer = pre_tokenizers.Split(separator, "removed")
    return PreTrainedTokenizerFast(tokenizer_object=backend_tokenizer, unk_token=tokens[0])


def test_two_vocabularies_are_compared_token_by_token() -> None:
    own_tokenizer = word_level_tokenizer("?", "What", "is")
    assert teacher.tokenizer_difference(own_tokenizer, word_level_tokenizer("?", "What", "is")) == ""
    assert teacher.tokenizer_difference(own_tokenizer, word_level_tokenizer("?", "What", "is", "<think>")) == "", (
        "special tokens that a newer model of the family adds are no difference"
    )
    assert (
        teacher.tokenizer_difference(own_tokenizer, word_level_tokenizer("?", "is", "What"))
        == "token 1 is “What” here and “is” there"
    )
    assert "cut the same text" in teacher.tokenizer_difference(
        own_tokenizer, word_level_tokenizer("?", "What", "is", separator="i")
    )


@pytest.mark.parametrize("method", ["distill", "gkd"])
def test_a_teacher_with_another_vocabulary_of_the_same_size_is_refused_before_training(
    method: str, tmp_path: Path
) -> None:
    altered_teacher = tmp_path / "twisted"
    shutil.copytree(POCKET, altered_teacher)
    tokenizer_dict = json.loads((altered_teacher / "tokenizer.json").read_text())
    vocabulary = tokenizer_dict["model"]["vocab"]
    vocabulary["Ġthe"], vocabulary["Ġis"] = vocabulary["Ġis"], vocabulary["Ġthe"]
    (altered_teacher / "tokenizer.json").write_text(json.dumps(tokenizer_dict))
    for preview in (True, False):
        job = build_job(method, SUMS_WITH_COMPLETIONS, tmp_path, preview, knobs={"teacher": str(altered_teacher)})
        error = raised_problem(lambda job=job: job.method.build(job))
        assert "has another vocabulary than this model: token" in error.text
        assert "gold" in error.advice


def test_a_teacher_with_padded_embeddings_is_refused(tmp_path: Path) -> None:
    """The same tokenizer with embeddings padded to another size: TRL compares distributions over the entire vocabulary."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(POCKET)
    model.resize_token_embeddings(1664)
    model.save_pretrained(tmp_path / "wide")
    AutoTokenizer.from_pretrained(POCKET).save_pretrained(tmp_path / "wide")
    job = build_job("distill", SUMS_WITH_COMPLETIONS, tmp_path, knobs={"teacher": str(tmp_path / "wide")})
    assert (
        "it chooses among 1,664 tokens, and this model among 1,659"
        in raised_problem(lambda: job.method.build(job)).text
    )


def test_a_missing_teacher_is_refused_when_the_spec_is_checked() -> None:
    for teacher_name in ("run:nosuch", "nobody", "/no/such/folder"):
        spec_dict = {"method": "distill", "data": [SUMS_WITH_COMPLETIONS], "knobs": {"teacher": teacher_name}}
        assert "no" in raised_problem(lambda spec_dict=spec_dict: preflight.check_spec(parse_spec(spec_dict))).text


def test_the_trained_model_is_refused_as_its_own_teacher(tmp_path: Path) -> None:
    job = build_job("distill", {"source": "sample:sums"}, tmp_path, knobs={"teacher": "pocket"})
    assert "nothing to copy" in raised_problem(lambda: job.method.build(job)).text


def test_a_local_teacher_folder_is_refused_in_a_space_and_in_a_link(
    monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    shutil.copytree(ROOT / "presets" / "pocket-teacher", home / "runs" / "20261122-a" / "adapter")

    def spec_with_teacher(teacher: str) -> Any:
        return parse_spec({"method": "distill", "data": [{"source": "sample:sums"}], "knobs": {"teacher": teacher}})

    for teacher_name in (str(POCKET), "run:20261122-a"):
        assert (
            "cannot carry it"
            in raised_problem(
                lambda teacher_name=teacher_name: links.link_to_setup(
                    preflight.check_spec(spec_with_teacher(teacher_name))
                )
            ).text
        )
    assert (
        links.decode_setup(links.link_to_setup(preflight.check_spec(spec_with_teacher("pocket-teacher")))).knobs[
            "teacher"
        ]
        == "pocket-teacher"
    )
    monkeypatch.setenv("SYSTEM", "spaces")
    assert (
        "the machine this page runs on"
        in raised_problem(lambda: preflight.check_spec(spec_with_teacher(str(POCKET)))).text
    )
    assert preflight.check_spec(spec_with_teacher("run:20261122-a")), "a run stored in the Space can be loaded there"
    assert preflight.check_spec(spec_with_teacher("pocket-teacher"))


@pytest.mark.full
def test_a_run_can_be_the_teacher(tmp_path: Path, home: Path) -> None:
    """The result of the run is an adapter on the practice model, like the shipped teacher."""
    shutil.copytree(ROOT / "presets" / "pocket-teacher", home / "runs" / "20261122-a" / "adapter")
    job = build_job("distill", SUMS_WITH_COMPLETIONS, tmp_path, knobs={"teacher": "run:20261122-a"})
    model, _ = teacher.load_teacher_with_same_vocabulary(job)
    assert model.config.vocab_size == 1659
    assert job.aux_models == {"run:20261122-a": {"revision": None}}


# -- agreement ----------------------------------------------------------------------------------------------------


class NextNumberModel:
    """A model with ten tokens that always predicts the last token id plus one."""

    config = SimpleNamespace(get_text_config=lambda: SimpleNamespace(vocab_size=10))

    def __call__(self, input_ids: Any, **_: Any) -> Any:
        import torch

        return SimpleNamespace(logits=torch.nn.functional.one_hot((input_ids + 1) % 10, 10).float())


def test_agreement_is_the_share_of_teacher_tokens_that_the_student_predicts() -> None:
    """Prompt 1 2, completion 3 4 9: after 2 the model predicts 3, after 3 it predicts 4, after 4 it predicts 5 instead of 9:
    two of three. Prompt 7, completion 8: one of one. Together 3 of 4; if 5 and 9 are both end tokens, 4 of 4."""
    import contextlib

    trainer = SimpleNamespace(model=NextNumberModel(), accelerator=SimpleNamespace(device="cpu"), compute_loss_context_manager=contextlib.nullcontext)  # fmt: skip
    answers = [([1, 2], [3, 4, 9]), ([7], [8])]
    assert agreement.greedy_tokens(trainer, answers) == [[3, 4, 5], [8]]
    assert agreement.agreement_share(trainer, answers, end_token_ids={0}) == 3 / 4
    assert agreement.agreement_share(trainer, answers, end_token_ids={5, 9}) == 1


@pytest.mark.full
def test_the_teacher_agrees_with_itself_and_less_with_the_practice_model(tmp_path: Path) -> None:
    from app.engine.generation.generate import preserve_rng_eval

    spec_fields = {
        "holdout": {"split": "holdout"},
        "knobs": {"eval_answers": 40, "max_completion_length": 8, "steps": 1},
    }
    job = build_job("distill", {"source": "sample:sums"}, tmp_path, **spec_fields)
    trainer = job.method.build(job)
    with preserve_rng_eval(trainer.model):
        student_agreement = agreement.teacher_agreement(job, trainer)["agreement"]
        trainer.model = trainer.teacher_model
        assert agreement.teacher_agreement(job, trainer)["agreement"] > 0.99
    assert 0.5 < student_agreement < 0.9
    assert all(answer[-1] == job.tokenizer.eos_token_id for _, answer in trainer.teacher_answers["holdout"]), (
        "every answer of the teacher ends with the end token"
    )


@pytest.mark.full
def test_gradient_accumulation_keeps_the_gradient_norm_of_gold(tmp_path: Path) -> None:
    """GOLD's loss is a mean over each micro-batch; summing two of them would double the gradient."""
    grad_norms = []
    for batch_size, accumulation_steps in ((8, 1), (4, 2)):
        knobs = {
            "steps": 1,
            "batch_size": batch_size,
            "accumulation": accumulation_steps,
            "own_share": 0.0,
            "max_completion_length": 16,
        }
        trainer = (job := build_job("gold", SUMS_WITH_COMPLETIONS, tmp_path, knobs=knobs)).method.build(job)
        trainer.train()
        grad_norms.append(trainer.state.log_history[0]["grad_norm"])
    assert grad_norms[1] == pytest.approx(grad_norms[0], rel=0.3)


# -- preview ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["gkd", "gold"])
def test_only_the_last_answer_is_trained_on(method: str, tmp_path: Path) -> None:
    turns = [
        ("user", "Hi"),
        ("assistant", "Hello!"),
        ("user", "Bye"),
        ("assistant", "See you."),
        ("user", "Still there?"),
    ]
    row = {"messages": [{"role": role, "content": text} for role, text in turns]}
    source = write_rows(tmp_path / "a.jsonl", [row])
    preview = preview_rows(method, {"source": source})
    [preview_row] = preview["rows"]
    assert trained_text(preview_row).startswith("See you.<|im_end|>")
    assert "Hello!" not in trained_text(preview_row)
    assert "Still there?" not in "".join(token["text"] for token in preview_row["tokens"]), (
        "a last question without an answer is dropped"
    )
    assert {segment["why"] for segment in preview_row["segments"]} >= {"the answer: learned", "the question: read only"}


@pytest.mark.parametrize("method", ["gkd", "gold"])
def test_prompt_completion_pairs_become_conversations(method: str) -> None:
    preview = preview_rows(
        method, SUMS_WITH_COMPLETIONS, own_share=0.25, **({"examples_weight": 0.0} if method == "gold" else {})
    )
    assert trained_text(preview["rows"][0]).startswith("35<|im_end|>")
    assert [finding["text"] for finding in preview["findings"]] == [
        "Every example shown is whole and has tokens to learn.",
        "In 25 % of the batches the model writes the answers itself instead of reading these.",
    ]


@pytest.mark.full
@pytest.mark.parametrize("method", ["gkd", "gold"])
def test_rows_too_long_or_without_a_question_are_dropped_and_counted(method: str, tmp_path: Path) -> None:
    def conversation_row(question: str, answer: str) -> dict[str, Any]:
        user_messages = [{"role": "user", "content": question}] if question else []
        return {"messages": [*user_messages, {"role": "assistant", "content": answer}]}

    rows = [
        conversation_row("Hi", "Hello!"),
        conversation_row("", "Hello!"),
        conversation_row("word " * 80, "late"),
        conversation_row("Hi", "word " * 80),
    ]
    source = write_rows(tmp_path / "a.jsonl", rows)
    preview = preview_rows(method, {"source": source}, max_length=64, max_completion_length=8)
    assert len(preview["rows"]) == 1
    assert {finding["text"] for finding in preview["findings"] if finding["severity"] == "careful"} == {
        "1 example is left out: no question before the answer.",
        "2 examples are left out: longer than the maximum length of 64 tokens.",
    }


def test_conversations_with_tools_are_refused(tmp_path: Path) -> None:
    row = {
        "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}],
        "tools": [{"name": "f"}],
    }
    source = write_rows(tmp_path / "a.jsonl", [row])
    assert "hold tools" in raised_problem(lambda: preview_rows("gkd", {"source": source})).text


@pytest.mark.parametrize(("method", "source"), [("distill", "sample:sums"), ("sdft", "sample:hints")])
def test_methods_that_generate_completions_preview_only_the_prompt(method: str, source: str) -> None:
    from app.engine.preview import row_preview

    preview = preview_rows(method, {"source": source})
    assert not any(token["trained"] for row in preview["rows"] for token in row["tokens"])
    assert "".join(token["text"] for token in preview["rows"][0]["tokens"]).endswith("<|im_start|>assistant\n")
    assert preview["findings"][0]["text"].startswith(
        "Grey is what the model is asked. It writes the answers itself, and"
    )
    spec_dict = {"method": method, "data": [{"source": source}]}
    assert (
        "writes its own answers" in raised_problem(lambda: row_preview.preview_batches(parse_spec(spec_dict), 1)).text
    )


TEMPLATE_WITH_MOOD = "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + (mood if m['role'] == 'assistant' else '') + m['content'] + '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' + mood }}{% endif %}"  # fmt: skip


@pytest.mark.parametrize(("method", "dataset"), [("distill", {"source": "sample:sums"}), ("sdft", {"source": "sample:hints"}), ("gkd", SUMS_WITH_COMPLETIONS)])  # fmt: skip
def test_template_arguments_reach_the_chat_template(method: str, dataset: dict[str, Any]) -> None:
    from app.engine.preview import row_preview

    spec_dict = {
        "method": method,
        "data": [dataset],
        "model": {"template": TEMPLATE_WITH_MOOD},
        "knobs": {"template_arguments": ["mood=glad"]},
    }
    preview_row = row_preview.preview_rows(parse_spec(spec_dict), 1)["rows"][0]
    assert "<|im_start|>assistant\nglad" in "".join(token["text"] for token in preview_row["tokens"])


@pytest.mark.full
@pytest.mark.parametrize(("method", "dataset"), [("distill", {"source": "sample:sums"}), ("sdft", {"source": "sample:hints"}),
                                              ("gkd", SUMS_WITH_COMPLETIONS), ("gold", SUMS_WITH_COMPLETIONS)])  # fmt: skip
@pytest.mark.parametrize("adapter", ["lora", "none"])
def test_a_run_is_estimated_without_loading_weights(method: str, dataset: dict[str, Any], adapter: str) -> None:
    from app.engine.preview import run_estimate

    spec_dict = {"method": method, "data": [dataset], "holdout": {"share": 0.2}, "adapter": {"kind": adapter}, "knobs": {"batch_size": 32, "epochs": 1}}  # fmt: skip
    estimate, _ = run_estimate.count_run.__wrapped__(json.dumps(spec_dict), ())
    assert (estimate["rows"], estimate["held_out"], estimate["steps"]) == (320, 80, 10)
    assert bool(estimate["tokens"]) == (method in ("gkd", "gold"))
