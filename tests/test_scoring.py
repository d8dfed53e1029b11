"""Reward models and step judges (process reward models): training, reloading, and their use as reward, critic and scorer."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from app.core.problems import Problem
from app.engine.questions import score
from app.runs import events
from app.runs.store import Run
from app.setup.models import locate_model
from tests.support import (
    addition_rows,
    build_spec,
    conversation_rows,
    drain_generator,
    preference_rows,
    run_command_line,
    stepwise_rows,
    train_in_process,
    write_rows,
)

STEPS_ROW = {"prompt": "Anna has 2 nuts and finds 3 more. How many are there?",
         "completions": ["First I add 2 and 3. That is 5.", "The answer is 6."], "labels": [True, False]}  # fmt: skip


def load_tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(locate_model("pocket"))


def tensor(rows: list[Any]) -> Any:
    import torch

    return torch.tensor(rows)


# -- values worked by hand ---------------------------------------------------------------------------------------------


def test_each_step_is_labelled_at_the_last_token_of_its_separator() -> None:
    from app.engine.trainers.prm import tokenize_steps

    tokenizer = load_tokenizer()
    tokenized_row = tokenize_steps(STEPS_ROW, tokenizer, "\n")
    assert tokenizer.decode(tokenized_row["input_ids"]) == STEPS_ROW["prompt"] + "".join(
        f"{step}\n" for step in STEPS_ROW["completions"]
    )
    labels_by_position = {position: label for position, label in enumerate(tokenized_row["labels"]) if label != -100}
    assert list(labels_by_position.values()) == [1, 0]
    first_position, last_position = labels_by_position
    assert tokenizer.decode(tokenized_row["input_ids"][: first_position + 1]).endswith("That is 5.\n")
    assert last_position == len(tokenized_row["input_ids"]) - 1
    last_step_row = tokenize_steps(STEPS_ROW, tokenizer, " ##\n", last_only=True)
    assert [label for label in last_step_row["labels"] if label != -100] == [0]
    assert tokenizer.decode(last_step_row["input_ids"]).count(" ##\n") == 2


def test_step_loss_and_accuracy_match_values_worked_by_hand() -> None:
    """ln 2 for equal logits; ln(1 + e⁻²) where the correct logit is larger by 2; tokens labelled -100 are ignored."""
    from app.engine.trainers.prm import step_accuracy, step_loss

    logits = tensor([[[0.0, 0.0], [9.0, -9.0], [1.0, 3.0]], [[5.0, 5.0], [2.0, 0.0], [7.0, 7.0]]])
    labels = tensor([[0, -100, 1], [-100, 1, -100]])
    right_loss, wrong_loss = math.log(1 + math.exp(-2)), math.log(1 + math.exp(2))
    assert step_loss(logits, labels).item() == pytest.approx((math.log(2) + right_loss + wrong_loss) / 3)
    assert step_loss(logits, labels, 6).item() == pytest.approx((math.log(2) + right_loss + wrong_loss) / 6)
    assert step_accuracy(logits, labels) == pytest.approx(2 / 3)  # equal logits predict class 0


def test_sigmoid_maps_any_logit_to_0_to_1_without_overflow() -> None:
    from app.engine.evaluation.scoring import format_verdict, sigmoid

    assert [sigmoid(logit) for logit in (0, math.log(3), -math.log(3))] == pytest.approx([0.5, 0.75, 0.25])
    assert (sigmoid(800), sigmoid(-800)) == (1.0, 0.0)
    assert (format_verdict(0.934), format_verdict(0.2)) == ("right (93%)", "wrong (80%)")


def test_a_score_is_read_at_the_last_token_that_is_no_padding() -> None:
    """Where the padding token is also the end token, transformers treats the end token as padding."""
    from app.engine.tokens.tokenized_examples import batch_rows, examples_of_row

    row = {"chosen_ids": [5, 6, 2], "rejected_ids": [5, 7, 8, 2]}
    [separate_pad_example], [shared_pad_example] = examples_of_row(row, 0), examples_of_row(row, 2)
    assert [text.labels for text in separate_pad_example.texts] == [[-100, -100, 2], [-100, -100, -100, 2]]
    assert [text.labels for text in shared_pad_example.texts] == [[-100, 6, -100], [-100, -100, 8, -100]]
    batch = {"input_ids": tensor([[5, 6, 2, 2], [5, 7, 8, 2]]), "attention_mask": tensor([[1, 1, 1, 0], [1, 1, 1, 1]])}
    assert [batch_row.text.labels for batch_row in batch_rows(batch, ("chosen", "rejected"), 2)] == [
        [-100, 6, -100, -100],
        [-100, -100, 8, -100],
    ]


def test_transformers_ignores_an_end_token_that_is_also_the_padding_token() -> None:
    """Guards an assumption of the preview: a trailing padding token is ignored, also when it is the end token."""
    import torch
    from transformers import Qwen3Config, Qwen3ForSequenceClassification

    config = Qwen3Config(vocab_size=16, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2,
                         num_key_value_heads=2, head_dim=4, num_labels=1, pad_token_id=2)  # fmt: skip
    model = Qwen3ForSequenceClassification(config).eval()
    with torch.no_grad():
        logits_with_end = model(input_ids=tensor([[5, 6, 2]])).logits
        logits_without_end = model(input_ids=tensor([[5, 6]])).logits
    assert logits_with_end.item() == pytest.approx(logits_without_end.item(), abs=1e-6)


# -- refusals ----------------------------------------------------------------------------------------------------------


def build_trainer(method: str, source: str, folder: Path, rewards: Any = (), **knobs: Any) -> Any:
    from app.engine.job import Job
    from app.engine.model.device import Device

    job = Job(build_spec(method, source, {"steps": 2} | knobs, rewards=[*rewards]), folder, Device("cpu"))
    return job.method.build(job)


@pytest.mark.parametrize(("label", "verdict"), [(True, "right"), (False, "wrong")])
def test_steps_that_all_have_the_same_label_are_refused(tmp_path: Path, label: bool, verdict: str) -> None:
    source = write_rows(tmp_path / "rows.jsonl", [row | {"labels": [label, label]} for row in stepwise_rows(8)])
    with pytest.raises(Problem, match=f"judged {verdict}, so there is nothing to tell apart"):
        build_trainer("process_reward", source, tmp_path)


@pytest.mark.parametrize("only_first_has_margin", [True, False])
def test_margins_on_only_some_pairs_are_refused(tmp_path: Path, only_first_has_margin: bool) -> None:
    """Also when the first row has none: a table takes its columns from the first row."""
    rows = [
        row | ({"margin": 1.0} if (i == 0) is only_first_has_margin else {}) for i, row in enumerate(preference_rows(8))
    ]
    with pytest.raises(Problem, match=f"{7 if only_first_has_margin else 1} of 8 pairs have no margin"):
        build_trainer("reward", write_rows(tmp_path / "rows.jsonl", rows), tmp_path)


def test_pairs_that_are_all_too_long_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="Every pair is longer than the maximum length of 8 tokens"):
        build_trainer("reward", write_rows(tmp_path / "rows.jsonl", preference_rows(8)), tmp_path, max_length=8)


def test_an_empty_separator_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="nothing marks where a step ends"):
        build_trainer(
            "process_reward", write_rows(tmp_path / "rows.jsonl", stepwise_rows(8)), tmp_path, step_separator=""
        )


def write_model_folder(folder: Path, architecture: str, label_count: int | None) -> str:
    """A folder whose config.json names this architecture."""
    folder.mkdir()
    label_names = {} if label_count is None else {"id2label": {str(i): f"LABEL_{i}" for i in range(label_count)}}
    (folder / "config.json").write_text(
        json.dumps({"architectures": [architecture], "model_type": "qwen3"} | label_names)
    )
    return str(folder)


@pytest.mark.parametrize(
    ("architecture", "label_count", "message"),
    [
        (None, None, "has no model that could give a score"),
        ("Qwen3ForCausalLM", None, "that model writes answers"),
        ("Qwen3ForTokenClassification", 2, "that model judges steps"),
        ("Qwen3ForSequenceClassification", 3, "gives 3 numbers"),
        ("Qwen3ForSequenceClassification", None, "gives 2 numbers"),  # transformers omits the labels when there are two
    ],
)
def test_a_model_that_is_no_reward_model_is_refused_before_the_run(
    tmp_path: Path, architecture: str | None, label_count: int | None, message: str
) -> None:
    model_folder = write_model_folder(tmp_path / "model", architecture, label_count) if architecture else ""
    with pytest.raises(Problem, match=message):
        build_spec(
            "grpo",
            write_rows(tmp_path / "rows.jsonl", addition_rows(8)),
            rewards=[{"name": "reward_model", "params": {"model": model_folder}}],
        )


def test_a_sequence_classifier_with_one_label_is_accepted(tmp_path: Path) -> None:
    model_folder = write_model_folder(tmp_path / "model", "Qwen3ForSequenceClassification", 1)
    source = write_rows(tmp_path / "rows.jsonl", addition_rows(8))
    assert build_spec("grpo", source, rewards=[{"name": "reward_model", "params": {"model": model_folder}}])


def test_a_missing_run_as_reward_model_is_refused(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "rows.jsonl", addition_rows(8))
    with pytest.raises(Problem, match="has no result to go on from"):
        build_spec("grpo", source, rewards=[{"name": "reward_model", "params": {"model": "run:nothing"}}])


def test_prompt_and_answer_are_tokenized_by_chat_template_or_pair_or_concatenation() -> None:
    from transformers import BertTokenizerFast

    from app.engine.evaluation.scoring import tokenize_pair

    tokenizer = load_tokenizer()
    messages = [{"role": "user", "content": "Hi"}]
    expected_text = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello<|im_end|>\n"
    assert (
        tokenizer.decode(tokenize_pair(tokenizer, messages, "Hello"))
        == tokenizer.decode(tokenize_pair(tokenizer, "Hi", "Hello"))
        == expected_text
    )
    tokenizer.chat_template = None
    assert tokenizer.decode(tokenize_pair(tokenizer, "Hi ", "Hello")) == "Hi Hello<|im_end|>"
    assert (
        tokenizer.decode(tokenize_pair(tokenizer, [*messages, {"role": "user", "content": "you"}], " there"))
        == "Hi\nyou there<|im_end|>"
    )
    pair_tokenizer = BertTokenizerFast(
        vocab={"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4, "hi": 5, "hello": 6}
    )
    assert tokenize_pair(pair_tokenizer, "Hi", "Hello") == [2, 5, 3, 6, 3]


# -- trained models ---------------------------------------------------------------------------------------------------


@dataclass
class ScoringResults:
    """A home folder with a trained reward model and a trained step judge, and the trainers that trained them."""

    home: Path
    reward: Run
    judge: Run
    trainers: dict[str, Any]

    def build_job(self, spec: Any) -> Any:
        from app.engine.job import Job
        from app.engine.model.device import Device

        return Job(spec, self.home, Device("cpu"))


@pytest.fixture(scope="module")
def scoring_results(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScoringResults]:
    from app.engine.libraries import prepare_libraries

    prepare_libraries()
    home = tmp_path_factory.mktemp("scored")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUNESMITH_HOME", str(home))
        patch.setenv("HF_HUB_OFFLINE", "1")
        results = ScoringResults(home, *(None, None), {})
        for name, method, rows in (
            ("reward", "reward", preference_rows(48)),
            ("judge", "process_reward", stepwise_rows(48)),
        ):
            source = write_rows(home / f"{name}.jsonl", rows)
            knobs = {"steps": 10, "batch_size": 8, "learning_rate": 0.002}
            run, trainer = train_in_process(build_spec(method, source, knobs, holdout={"share": 0.2}))
            setattr(results, name, run)
            results.trainers[method] = trainer
        yield results


@pytest.fixture
def results(scoring_results: ScoringResults, monkeypatch: pytest.MonkeyPatch) -> ScoringResults:
    monkeypatch.setenv("TUNESMITH_HOME", str(scoring_results.home))
    return scoring_results


PROMPTS = ["Count to 2.", "Count to 4.", "Count to 3."]
ANSWERS = ["Gladly. 1 2!", "Gladly not.", "No, not 5 times."]


def model_rewards(results: ScoringResults) -> list[float]:
    """Scores of the trained reward model in memory, computed one text at a time."""
    import torch

    trainer = results.trainers["reward"]
    tokenizer = trainer.processing_class
    rewards = []
    for prompt, answer in zip(PROMPTS, ANSWERS, strict=True):
        messages = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
        token_ids = tokenizer.apply_chat_template(messages, return_tensors="pt", return_dict=True)["input_ids"]
        with torch.no_grad():
            rewards.append(trainer.model(input_ids=token_ids).logits[0, 0].item())
    return rewards


@pytest.mark.full
@pytest.mark.slow
def test_ten_steps_teach_the_reward_model_and_the_step_judge(results: ScoringResults) -> None:
    final_metrics = {
        run.spec.method: events.of_type(events.read_events(run.events), events.EvalEvent)[-1].metrics
        for run in (results.reward, results.judge)
    }
    assert final_metrics["reward"]["eval/ranked"] == 1.0
    assert final_metrics["reward"]["eval/sure"] > 0.8
    assert final_metrics["process_reward"]["eval/judged"] > 0.9


@pytest.mark.slow
def test_the_score_head_is_trained_and_saved_with_the_adapter(results: ScoringResults) -> None:
    from safetensors.torch import load_file

    saved_weights = load_file(results.reward.adapter / "adapter_model.safetensors")
    head_name = next(name for name in saved_weights if name.endswith("score.weight"))
    score_module = results.trainers["reward"].model.get_base_model().score
    assert saved_weights[head_name].equal(score_module.modules_to_save["default"].weight)
    assert not saved_weights[head_name].equal(score_module.original_module.weight), (
        "the head has changed since initialization"
    )


@pytest.mark.slow
@pytest.mark.parametrize("run_field", ["reward", "judge"])
def test_a_reloaded_result_gives_the_same_logits(results: ScoringResults, run_field: str) -> None:
    import torch

    from app.engine.model.load_model import load_tuned

    run = getattr(results, run_field)
    loaded_model, tokenizer = load_tuned(run.adapter)
    token_ids = tokenizer("What is 4 + 3?\nIt is 7.\n", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        assert torch.allclose(
            loaded_model(input_ids=token_ids).logits,
            results.trainers[run.spec.method].model(input_ids=token_ids).logits,
            atol=1e-5,
        )


@pytest.mark.slow
def test_a_trained_reward_run_scores_completions_of_other_runs(results: ScoringResults) -> None:
    """Raw and squashed rewards of a batch with different lengths equal those of the trained model in memory."""
    from app.engine.reward_runtime import reward_factory
    from app.setup.spec import Reward

    for squash, expected_rewards in (
        ("none", model_rewards(results)),
        ("sigmoid", [1 / (1 + math.exp(-logit)) for logit in model_rewards(results)]),
    ):
        params = {"model": f"run:{results.reward.id}", "squash": squash}
        scorer = reward_factory.build_reward(Reward(name="reward_model", label="taste", params=params))
        completions = [[{"role": "assistant", "content": answer}] for answer in ANSWERS]
        rewards = scorer(completions=completions, prompts=[[{"role": "user", "content": prompt}] for prompt in PROMPTS])
        assert rewards == pytest.approx(expected_rewards, abs=1e-4)
        assert scorer.__name__ == "taste"
    assert max(model_rewards(results)) == model_rewards(results)[0]


@pytest.mark.full
@pytest.mark.slow
@pytest.mark.parametrize("method", ["reward", "process_reward", "ppo"])
def test_a_score_head_is_trained_in_float32_on_a_bfloat16_base(method: str, tmp_path: Path) -> None:
    """In bfloat16 an update smaller than a few thousandths of a weight would be lost."""
    import torch

    rows = {"reward": preference_rows, "process_reward": stepwise_rows, "ppo": addition_rows}[method](16)
    knobs = {"steps": 2, "batch_size": 8, "learning_rate": 0.001, "precision": "bf16"}
    rewards = [{"name": "exact_match"}] if method == "ppo" else []
    trainer = build_trainer(method, write_rows(tmp_path / "rows.jsonl", rows), tmp_path, rewards, **knobs)
    model = trainer.critic.model if method == "ppo" else trainer.model
    initial_heads = {
        name: weight.detach().clone() for name, weight in model.named_parameters() if ".modules_to_save." in name
    }
    assert {weight.dtype for weight in initial_heads.values()} == {torch.float32}
    assert model.get_input_embeddings().weight.dtype == torch.bfloat16
    trainer.train()
    assert all(
        not weight.equal(initial_heads[name]) for name, weight in model.named_parameters() if name in initial_heads
    )


@pytest.mark.full
@pytest.mark.slow
def test_a_reward_model_and_a_critic_start_from_the_weights_of_an_adapter(results: ScoringResults) -> None:
    """They take over its layers, also a fully trained one, and add a new head; the head of the critic is all zeros."""
    from peft import load_peft_weights

    from app.engine.trainers.ppo import critic as critics

    adapter = {"adapter": {"unfreeze": ["layers.3.mlp.down_proj"]}}
    tuned_run, _ = train_in_process(
        build_spec(
            "sft",
            write_rows(results.home / "chats.jsonl", conversation_rows(8)),
            {"steps": 1, "learning_rate": 0.01},
            **adapter,
        )
    )
    adapter_weights = load_peft_weights(str(tuned_run.adapter), device="cpu")
    overrides = adapter | {"model": {"start_from": f"run:{tuned_run.id}"}}
    reward_job = results.build_job(
        build_spec("reward", write_rows(results.home / "reward.jsonl", preference_rows(8)), **overrides)
    )
    ppo_job = results.build_job(
        build_spec(
            "ppo",
            write_rows(results.home / "sums.jsonl", addition_rows(8)),
            {"batch_size": 8},
            rewards=[{"name": "exact_match"}],
            **overrides,
        )
    )
    for model in (reward_job.model, critics.build_critic(ppo_job, "auto").model):
        trainable_weights = {
            name.replace(".default", "").replace("modules_to_save.", ""): weight
            for name, weight in model.named_parameters()
            if weight.requires_grad
        }
        assert trainable_weights.keys() - adapter_weights.keys() == {"base_model.model.score.weight"}
        assert all(trainable_weights[name].equal(weight) for name, weight in adapter_weights.items())
    assert reward_job.model.get_base_model().score.weight.abs().max() > 0
    assert not trainable_weights["base_model.model.score.weight"].any()


@pytest.mark.full
@pytest.mark.slow
@pytest.mark.parametrize("method", ["grpo", "ppo"])
def test_a_reward_run_scores_in_training_dry_runs_and_evaluations(results: ScoringResults, method: str) -> None:
    from app.engine.evaluation.evaluate import evaluate

    source = write_rows(results.home / "asked.jsonl", [{"prompt": row["prompt"]} for row in preference_rows(20)])
    spec = build_spec(method, source, {"steps": 1, "batch_size": 8, "max_completion_length": 4} | ({"attempts": 4} if method == "grpo" else {}),
                      rewards=[{"name": "reward_model", "as": "taste", "params": {"model": f"run:{results.reward.id}"}}],
                      holdout={"share": 0.2})  # fmt: skip
    job = results.build_job(spec)
    trainer = job.method.build(job)
    trainer.train()
    logged_mean = trainer.state.log_history[0]["rewards/taste/mean"]
    dry_run_samples = trainer.sample_scored_completions({"prompt": [{"role": "user", "content": PROMPTS[0]}]}, 3)
    eval_metrics, eval_samples = evaluate(job, trainer, job.data.holdout)
    rewards = [
        logged_mean,
        eval_metrics["taste"],
        *(sample["rewards"]["taste"] for sample in (*dry_run_samples, *eval_samples)),
    ]
    assert all(0 < reward < 1 for reward in rewards)
    assert len({*rewards}) > 3


@pytest.mark.slow
def test_a_critic_is_initialized_from_the_reward_model_and_stays_trainable(results: ScoringResults) -> None:
    """At the last token the value equals the reward; the adapter and head of the reward model are trainable."""
    import torch

    from app.engine.evaluation.scoring import tokenize_pair
    from app.engine.trainers.ppo import critic as critics

    source = write_rows(results.home / "asked.jsonl", [{"prompt": row["prompt"]} for row in preference_rows(20)])
    taste_reward = {
        "name": "reward_model",
        "as": "taste",
        "weight": 2.0,
        "params": {"model": f"run:{results.reward.id}"},
    }
    spec = build_spec("ppo", source, {"steps": 1, "batch_size": 8, "max_completion_length": 4}, rewards=[taste_reward])
    job = results.build_job(spec)
    reward_critic = critics.build_critic(job, spec.knobs["value_from"])
    token_ids = torch.tensor([tokenize_pair(job.tokenizer, PROMPTS[0], ANSWERS[0])])
    with torch.no_grad():
        values = reward_critic.predicted_values({"input_ids": token_ids})
    assert values[0, -1].item() == pytest.approx(2 / (1 + math.exp(-model_rewards(results)[0])), abs=1e-4)
    two_reward_spec = spec.model_copy(
        update={"rewards": [*spec.rewards, *build_spec("grpo", source, rewards=[{"name": "length_band"}]).rewards]}
    )
    with torch.no_grad():  # with a second reward the value is not bounded
        unbounded_values = critics.build_critic(results.build_job(two_reward_spec), "auto").predicted_values(
            {"input_ids": token_ids}
        )
    assert unbounded_values[0, -1].item() == pytest.approx(2 * model_rewards(results)[0], abs=1e-3)
    assert {name.rpartition(".")[2] for name in reward_critic.trainable_weights()} == {"weight"}
    assert all("lora_" in name or "score" in name for name in reward_critic.trainable_weights())
    assert any("score" in name for name in reward_critic.trainable_weights())
    policy_critic = critics.build_critic(job, "policy")
    with torch.no_grad():
        assert not policy_critic.predicted_values({"input_ids": token_ids}).any()


@pytest.mark.full
@pytest.mark.slow
def test_a_critic_from_a_model_with_another_vocabulary_is_refused(results: ScoringResults, tmp_path: Path) -> None:
    from app.engine.trainers.ppo import critic as critics

    shutil.copytree(results.reward.adapter, tmp_path / "other")
    tokenizer = load_tokenizer()
    tokenizer.add_tokens(["wholly-new"])
    tokenizer.save_pretrained(tmp_path / "other")
    source = write_rows(results.home / "asked.jsonl", [{"prompt": row["prompt"]} for row in preference_rows(20)])
    rewards = [{"name": "reward_model", "params": {"model": str(tmp_path / "other")}}]
    job = results.build_job(build_spec("ppo", source, {"batch_size": 8}, rewards=rewards))
    with pytest.raises(Problem, match="reads other tokens than the model that learns"):
        critics.build_critic(job, "auto")


@pytest.mark.slow
def test_the_score_question_rates_answers_and_steps(results: ScoringResults) -> None:
    answer_question = score.Question(results.reward.id, PROMPTS[0], answers=(ANSWERS[0], "Gladly not."))
    answer_question.early_answer()
    answer_scores = answer_question.answer()["scores"]
    assert answer_scores[0] == pytest.approx(model_rewards(results)[0], abs=1e-3)
    assert answer_scores[0] > answer_scores[1]
    step_question = score.Question(results.judge.id, "What is 5 + 0?", steps=("I add 5 and 0.", "It is 5, no good."))
    step_question.early_answer()
    first_step, second_step = step_question.answer()["steps"]
    assert first_step > 0.5 > second_step


@pytest.mark.slow
@pytest.mark.parametrize(
    ("run_field", "question_fields", "message"),
    [
        ("reward", {"prompt": "Hi", "answers": ["", " "]}, "Write a question and an answer"),
        ("reward", {"prompt": " ", "answers": ["Hello"]}, "Write a question and an answer"),
        ("judge", {"prompt": "Hi", "steps": []}, "the steps, one on each line"),
        ("judge", {"prompt": "Hi", "steps": ["so"] * 65}, "65 to judge at once"),
        ("reward", {"prompt": "word " * 3000, "answers": ["Hello"]}, "the model reads at most 2,048"),
    ],
)
def test_an_unusable_score_question_is_refused(
    results: ScoringResults, run_field: str, question_fields: dict[str, Any], message: str
) -> None:
    def validate_and_answer(question: score.Question) -> None:
        question.early_answer()
        question.answer()

    with pytest.raises(Problem, match=message):
        validate_and_answer(score.Question(getattr(results, run_field).id, **question_fields))


@pytest.mark.full  # two processes; the tests above ask the same question of the worker
@pytest.mark.slow
def test_the_score_command_prints_a_score_for_each_answer(results: ScoringResults) -> None:
    answer_arguments = [part for answer in ANSWERS[:2] for part in ("--answer", answer)]
    output_lines = run_command_line(
        "score", results.reward.id, "--prompt", PROMPTS[0], *answer_arguments
    ).stdout.splitlines()
    assert [line.split("  ", 1)[1] for line in output_lines] == ANSWERS[:2]
    assert float(output_lines[0].split()[0]) == pytest.approx(model_rewards(results)[0], abs=0.01)
    assert (
        "Write a question and the steps"
        in run_command_line("score", results.judge.id, "--prompt", "Hi", "--answer", "so", expected_exit_code=2).stderr
    )


@pytest.mark.slow
def test_chat_with_a_reward_model_is_refused(results: ScoringResults) -> None:
    from app.engine.generation import chat

    with pytest.raises(Problem, match="gives scores and does not write"):
        chat.require_generative_result(results.reward.id)


@pytest.mark.full
@pytest.mark.slow
def test_accumulated_micro_batches_give_the_loss_of_the_full_batch(results: ScoringResults, tmp_path: Path) -> None:
    """A mean of micro-batch means would give the steps of short solutions more weight; transformers' own loss would sum them."""
    losses = []
    rows = [
        row | ({"completions": row["completions"][:1], "labels": row["labels"][:1]} if i % 3 else {})
        for i, row in enumerate(stepwise_rows(16))
    ]
    source = write_rows(tmp_path / "rows.jsonl", rows)
    for batch_size, accumulation in ((8, 1), (4, 2)):
        trainer = build_trainer(
            "process_reward", source, tmp_path, steps=1, batch_size=batch_size, accumulation=accumulation
        )
        trainer.model.get_base_model().dropout.p = 0.0  # dropout masks differ between micro-batches
        trainer.train()
        losses.append(trainer.state.log_history[0]["loss"])
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


@pytest.mark.slow
def test_rows_that_are_too_long_are_reported_in_preview_estimate_and_run(tmp_path: Path) -> None:
    from app.engine.preview import findings, row_preview, run_estimate

    rows = preference_rows(8)
    rows[3] |= {"chosen": "Gladly. " * 40}
    spec = build_spec(
        "reward", write_rows(tmp_path / "rows.jsonl", rows), {"max_length": 60, "steps": 2, "batch_size": 2}
    )
    reason = "an answer with its prompt is longer than the maximum length of 60 tokens"
    preview = row_preview.preview_rows(spec, 8)
    finding = preview["findings"][0]
    assert (finding["severity"], finding["text"]) == ("wrong", f"1 example is left out: {reason}.")
    assert len(preview["rows"]) == 7
    plan = drain_generator(run_estimate.estimate_run(spec))[1]
    assert plan["left_out"] == {reason: 1}
    assert plan["rows"] + plan["held_out"] + 1 == len(rows)  # all rows of the file are somewhere
    trainer = build_trainer("reward", spec.data[0].source, tmp_path, max_length=60, batch_size=2)
    job = ScoringResults(tmp_path, *(None, None), {}).build_job(spec)
    assert findings.rows_left_out_by_trainer(job, trainer) == {reason: 1}


@pytest.mark.slow
def test_a_preview_shows_where_a_score_is_read_and_how_each_step_is_labelled(tmp_path: Path) -> None:
    from app.engine.preview import row_preview

    spec = build_spec("reward", write_rows(tmp_path / "pairs.jsonl", preference_rows(4)))
    [first_row, *_] = row_preview.preview_rows(spec, 4)["rows"]
    assert [side["name"] for side in first_row["sides"]] == ["chosen", "rejected"]
    for side in first_row["sides"]:
        assert [token["trained"] for token in side["tokens"]].index(True) == len(side["tokens"]) - 1
        assert side["segments"][-1]["why"].endswith("the score is read here")
        assert side["segments"][0]["why"] == "the answer: read only"
    spec = build_spec("process_reward", write_rows(tmp_path / "steps.jsonl", [STEPS_ROW]), {"batch_size": 1})
    [step_row] = row_preview.preview_rows(spec, 1)["rows"]
    judged_segments = [
        (step_row["tokens"][segment["start"]]["text"], segment["why"])
        for segment in step_row["segments"]
        if "judged" in segment["why"]
    ]
    assert judged_segments == [("\n", "judged here: this step is right"), ("\n", "judged here: this step is wrong")]
