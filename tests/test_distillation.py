"""Copying: teachers of the same words and others, what the two agree on, and what a look ahead shows of it."""

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

ANSWERED = {"source": "sample:sums", "mapping": {"completion": "answer"}}


def job_of(method: str, data: dict[str, Any], folder: Path, preview: bool = False, **setup: Any) -> Any:
    from app.engine.job import Job
    from app.engine.libraries import prepare_libraries
    from app.engine.model.device import Device

    prepare_libraries()
    whole = {"method": method, "data": [data], "holdout": {}} | setup
    return Job(preflight.check_spec(parse_spec(whole)), folder, Device("cpu"), preview=preview)


def looked_at(method: str, data: dict[str, Any], **knobs: Any) -> dict[str, Any]:
    from app.engine.preview import row_preview

    return row_preview.preview_rows(parse_spec({"method": method, "data": [data], "knobs": knobs}), 20)


def learned(row: dict[str, Any]) -> str:
    return "".join(token["text"] for token in row["tokens"] if token["trained"])


def problem(deed: Any) -> Problem:
    with pytest.raises(Problem) as caught:
        deed()
    return caught.value


# -- whose words --------------------------------------------------------------------------------------------------


def words_of(*tokens: str, cut: str = " ") -> Any:
    """A tokenizer that knows these, numbered in this order."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.WordLevel({token: number for number, token in enumerate(tokens)}, unk_token=tokens[0]))
    raw.pre_tokenizer = pre_tokenizers.Split(cut, "removed")
    return PreTrainedTokenizerFast(tokenizer_object=raw, unk_token=tokens[0])


def test_two_vocabularies_are_compared_token_by_token() -> None:
    ours = words_of("?", "What", "is")
    assert teacher.tokenizer_difference(ours, words_of("?", "What", "is")) == ""
    assert teacher.tokenizer_difference(ours, words_of("?", "What", "is", "<think>")) == "", (
        "a family's later marks do not part it"
    )
    assert teacher.tokenizer_difference(ours, words_of("?", "is", "What")) == "token 1 is “What” here and “is” there"
    assert "cut the same text" in teacher.tokenizer_difference(ours, words_of("?", "What", "is", cut="i"))


@pytest.mark.parametrize("method", ["distill", "gkd"])
def test_a_teacher_with_another_vocabulary_of_the_same_size_is_refused_before_training(
    method: str, tmp_path: Path
) -> None:
    twisted = tmp_path / "twisted"
    shutil.copytree(POCKET, twisted)
    whole = json.loads((twisted / "tokenizer.json").read_text())
    vocabulary = whole["model"]["vocab"]
    vocabulary["Ġthe"], vocabulary["Ġis"] = vocabulary["Ġis"], vocabulary["Ġthe"]
    (twisted / "tokenizer.json").write_text(json.dumps(whole))
    for preview in (True, False):
        job = job_of(method, ANSWERED, tmp_path, preview, knobs={"teacher": str(twisted)})
        refusal = problem(lambda job=job: job.method.build(job))
        assert "has another vocabulary than this model: token" in refusal.text
        assert "gold" in refusal.advice


def test_a_teacher_with_more_places_than_words_is_refused(tmp_path: Path) -> None:
    """Of one family, with the same tokenizer, padded to another size: TRL compares whole distributions."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(POCKET)
    model.resize_token_embeddings(1664)
    model.save_pretrained(tmp_path / "wide")
    AutoTokenizer.from_pretrained(POCKET).save_pretrained(tmp_path / "wide")
    job = job_of("distill", ANSWERED, tmp_path, knobs={"teacher": str(tmp_path / "wide")})
    assert "it chooses among 1,664 tokens, and this model among 1,659" in problem(lambda: job.method.build(job)).text


def test_a_teacher_that_is_not_there_is_refused_before_anything_starts() -> None:
    for name in ("run:nosuch", "nobody", "/no/such/folder"):
        data = {"method": "distill", "data": [ANSWERED], "knobs": {"teacher": name}}
        assert "no" in problem(lambda data=data: preflight.check_spec(parse_spec(data))).text


def test_a_model_cannot_teach_itself(tmp_path: Path) -> None:
    job = job_of("distill", {"source": "sample:sums"}, tmp_path, knobs={"teacher": "pocket"})
    assert "nothing to copy" in problem(lambda: job.method.build(job)).text


def test_a_folder_on_one_machine_teaches_neither_in_a_space_nor_through_a_link(
    monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    shutil.copytree(ROOT / "presets" / "pocket-teacher", home / "runs" / "20261122-a" / "adapter")

    def setup(teacher: str) -> Any:
        return parse_spec({"method": "distill", "data": [{"source": "sample:sums"}], "knobs": {"teacher": teacher}})

    for name in (str(POCKET), "run:20261122-a"):
        assert (
            "cannot carry it" in problem(lambda name=name: links.link_to_setup(preflight.check_spec(setup(name)))).text
        )
    assert (
        links.decode_setup(links.link_to_setup(preflight.check_spec(setup("pocket-teacher")))).knobs["teacher"]
        == "pocket-teacher"
    )
    monkeypatch.setenv("SYSTEM", "spaces")
    assert "the machine this Space runs on" in problem(lambda: preflight.check_spec(setup(str(POCKET)))).text
    assert preflight.check_spec(setup("run:20261122-a")), "a run of one's own is there"
    assert preflight.check_spec(setup("pocket-teacher"))


def test_a_run_can_teach(tmp_path: Path, home: Path) -> None:
    """Its result is an adapter on the practice model, as the shipped teacher is."""
    shutil.copytree(ROOT / "presets" / "pocket-teacher", home / "runs" / "20261122-a" / "adapter")
    job = job_of("distill", ANSWERED, tmp_path, knobs={"teacher": "run:20261122-a"})
    model, _ = teacher.load_teacher_with_same_vocabulary(job)
    assert model.config.vocab_size == 1659
    assert job.aux_models == {"run:20261122-a": {"revision": None}}


# -- how often they agree -----------------------------------------------------------------------------------------


class Says:
    """A model that always says the number after the last token, among ten."""

    config = SimpleNamespace(get_text_config=lambda: SimpleNamespace(vocab_size=10))

    def __call__(self, input_ids: Any, **_: Any) -> Any:
        import torch

        return SimpleNamespace(logits=torch.nn.functional.one_hot((input_ids + 1) % 10, 10).float())


def test_agreement_is_the_share_of_the_teachers_tokens_that_would_have_come_next() -> None:
    """Question 1 2, answer 3 4 9: after 2 comes 3, after 3 comes 4, after 4 comes 5, not 9: two of three. Question 7, answer
    8: one of one. Together 3 of 4; where 5 and 9 both end an answer, 4 of 4."""
    import contextlib

    trainer = SimpleNamespace(model=Says(), accelerator=SimpleNamespace(device="cpu"), compute_loss_context_manager=contextlib.nullcontext)  # fmt: skip
    answers = [([1, 2], [3, 4, 9]), ([7], [8])]
    assert agreement.greedy_tokens(trainer, answers) == [[3, 4, 5], [8]]
    assert agreement.agreement_share(trainer, answers, end_token_ids={0}) == 3 / 4
    assert agreement.agreement_share(trainer, answers, end_token_ids={5, 9}) == 1


def test_the_teacher_agrees_with_itself_and_not_with_the_practice_model(tmp_path: Path) -> None:
    from app.engine.generation.generate import preserve_rng_eval

    held = {"holdout": {"split": "holdout"}, "knobs": {"eval_answers": 40, "max_completion_length": 8, "steps": 1}}
    job = job_of("distill", {"source": "sample:sums"}, tmp_path, **held)
    trainer = job.method.build(job)
    with preserve_rng_eval(trainer.model):
        before = agreement.teacher_agreement(job, trainer)["agreement"]
        trainer.model = trainer.teacher_model
        assert agreement.teacher_agreement(job, trainer)["agreement"] > 0.99
    assert 0.5 < before < 0.9
    assert all(answer[-1] == job.tokenizer.eos_token_id for _, answer in trainer.teacher_answers), "it ends its answers"


def test_parts_of_a_batch_count_for_their_share_across_tokenizers(tmp_path: Path) -> None:
    """GOLD's loss is a mean over each part; two parts would pull twice as hard if they were added up."""
    slopes = []
    for batch, parts in ((8, 1), (4, 2)):
        knobs = {"steps": 1, "batch_size": batch, "accumulation": parts, "own_share": 0.0, "max_completion_length": 16}
        trainer = (job := job_of("gold", ANSWERED, tmp_path, knobs=knobs)).method.build(job)
        trainer.train()
        slopes.append(trainer.state.log_history[0]["grad_norm"])
    assert slopes[1] == pytest.approx(slopes[0], rel=0.3)


# -- a look ahead -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["gkd", "gold"])
def test_only_the_last_answer_is_learned(method: str, tmp_path: Path) -> None:
    turns = [
        ("user", "Hi"),
        ("assistant", "Hello!"),
        ("user", "Bye"),
        ("assistant", "See you."),
        ("user", "Still there?"),
    ]
    row = {"messages": [{"role": role, "content": text} for role, text in turns]}
    source = write_rows(tmp_path / "a.jsonl", [row])
    answer = looked_at(method, {"source": source})
    [shown] = answer["rows"]
    assert learned(shown).startswith("See you.<|im_end|>")
    assert "Hello!" not in learned(shown)
    assert "Still there?" not in "".join(token["text"] for token in shown["tokens"]), "what nobody answers is not read"
    assert {part["why"] for part in shown["segments"]} >= {"the answer: learned", "the question: read only"}


@pytest.mark.parametrize("method", ["gkd", "gold"])
def test_pairs_become_conversations(method: str) -> None:
    shown = looked_at(method, ANSWERED, own_share=0.25, **({"examples_weight": 0.0} if method == "gold" else {}))
    assert learned(shown["rows"][0]).startswith("35<|im_end|>")
    assert [one["text"] for one in shown["findings"]] == [
        "Every example shown is whole and has tokens to learn.",
        "In 25 % of the batches the model writes the answers itself instead of reading these.",
    ]


@pytest.mark.parametrize("method", ["gkd", "gold"])
def test_rows_too_long_or_without_a_question_are_left_out_and_counted(method: str, tmp_path: Path) -> None:
    def row(question: str, answer: str) -> dict[str, Any]:
        asked = [{"role": "user", "content": question}] if question else []
        return {"messages": [*asked, {"role": "assistant", "content": answer}]}

    rows = [row("Hi", "Hello!"), row("", "Hello!"), row("word " * 80, "late"), row("Hi", "word " * 80)]
    source = write_rows(tmp_path / "a.jsonl", rows)
    shown = looked_at(method, {"source": source}, max_length=64, max_completion_length=8)
    assert len(shown["rows"]) == 1
    assert {one["text"] for one in shown["findings"] if one["severity"] == "careful"} == {
        "1 example is left out: no question before the answer.",
        "2 examples are left out: longer than the maximum length of 64 tokens.",
    }


def test_conversations_with_tools_are_refused(tmp_path: Path) -> None:
    row = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}], "tools": []}
    source = write_rows(tmp_path / "a.jsonl", [row])
    assert "hold tools" in problem(lambda: looked_at("gkd", {"source": source})).text


@pytest.mark.parametrize(("method", "data"), [("distill", "sample:sums"), ("sdft", "sample:hints")])
def test_a_method_that_writes_itself_shows_what_it_is_asked(method: str, data: str) -> None:
    from app.engine.preview import row_preview

    shown = looked_at(method, {"source": data})
    assert not any(token["trained"] for row in shown["rows"] for token in row["tokens"])
    assert "".join(token["text"] for token in shown["rows"][0]["tokens"]).endswith("<|im_start|>assistant\n")
    assert shown["findings"][0]["text"].startswith("Grey is what the model is asked. It writes the answers itself, and")
    spec = {"method": method, "data": [{"source": data}]}
    assert "writes its own answers" in problem(lambda: row_preview.preview_batches(parse_spec(spec), 1)).text


TOLD = "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + (mood if m['role'] == 'assistant' else '') + m['content'] + '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' + mood }}{% endif %}"  # fmt: skip


@pytest.mark.parametrize(("method", "data"), [("distill", {"source": "sample:sums"}), ("sdft", {"source": "sample:hints"}), ("gkd", ANSWERED)])  # fmt: skip
def test_the_chat_format_is_told_what_the_setup_says(method: str, data: dict[str, Any]) -> None:
    from app.engine.preview import row_preview

    spec = {
        "method": method,
        "data": [data],
        "model": {"template": TOLD},
        "knobs": {"template_arguments": ["mood=glad"]},
    }
    shown = row_preview.preview_rows(parse_spec(spec), 1)["rows"][0]
    assert "<|im_start|>assistant\nglad" in "".join(token["text"] for token in shown["tokens"])


@pytest.mark.parametrize(("method", "data"), [("distill", {"source": "sample:sums"}), ("sdft", {"source": "sample:hints"}),
                                              ("gkd", ANSWERED), ("gold", ANSWERED)])  # fmt: skip
@pytest.mark.parametrize("adapter", ["lora", "none"])
def test_a_whole_trainer_is_planned_without_weights(method: str, data: dict[str, Any], adapter: str) -> None:
    from app.engine.preview import run_estimate

    spec = {"method": method, "data": [data], "holdout": {"share": 0.2}, "adapter": {"kind": adapter}, "knobs": {"batch_size": 32, "epochs": 1}}  # fmt: skip
    counted, _ = run_estimate.count_run.__wrapped__(json.dumps(spec), ())
    assert (counted["rows"], counted["held_out"], counted["steps"]) == (320, 80, 10)
    assert bool(counted["tokens"]) == (method in ("gkd", "gold"))
