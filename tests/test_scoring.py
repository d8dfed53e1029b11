"""Scoring: models that give answers a score or judge steps: what they learn from, that they do, and that others hear the same from them."""

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
from tests.support import chats, cli, preferences, run_to_end, solutions, spec_of, sums, trained_here, write_rows

STEPS = {"prompt": "Anna has 2 nuts and finds 3 more. How many are there?",
         "completions": ["First I add 2 and 3. That is 5.", "The answer is 6."], "labels": [True, False]}  # fmt: skip


def tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(locate_model("pocket"))


def tensor(rows: list[Any]) -> Any:
    import torch

    return torch.tensor(rows)


# -- numbers by hand ---------------------------------------------------------------------------------------------------


def test_each_step_is_judged_at_the_end_of_its_separator() -> None:
    from app.engine.trainers.prm import tokenize_steps

    words = tokenizer()
    row = tokenize_steps(STEPS, words, "\n")
    assert words.decode(row["input_ids"]) == STEPS["prompt"] + "".join(f"{step}\n" for step in STEPS["completions"])
    judged = {place: label for place, label in enumerate(row["labels"]) if label != -100}
    assert list(judged.values()) == [1, 0]
    first, last = judged
    assert words.decode(row["input_ids"][: first + 1]).endswith("That is 5.\n")
    assert last == len(row["input_ids"]) - 1
    only_last = tokenize_steps(STEPS, words, " ##\n", last_only=True)
    assert [label for label in only_last["labels"] if label != -100] == [0]
    assert words.decode(only_last["input_ids"]).count(" ##\n") == 2


def test_the_loss_of_judgements_by_hand() -> None:
    """ln 2 for an undecided token; ln(1 + e⁻²) for one that is right by 2; tokens that are only read count nothing."""
    from app.engine.trainers.prm import step_accuracy, step_loss

    logits = tensor([[[0.0, 0.0], [9.0, -9.0], [1.0, 3.0]], [[5.0, 5.0], [2.0, 0.0], [7.0, 7.0]]])
    labels = tensor([[0, -100, 1], [-100, 1, -100]])
    right, wrong = math.log(1 + math.exp(-2)), math.log(1 + math.exp(2))
    assert step_loss(logits, labels).item() == pytest.approx((math.log(2) + right + wrong) / 3)
    assert step_loss(logits, labels, 6).item() == pytest.approx((math.log(2) + right + wrong) / 6)
    assert step_accuracy(logits, labels) == pytest.approx(2 / 3)  # of a tie the first is taken


def test_any_score_becomes_a_number_between_0_and_1() -> None:
    from app.engine.evaluation.scoring import format_verdict, sigmoid

    assert [sigmoid(one) for one in (0, math.log(3), -math.log(3))] == pytest.approx([0.5, 0.75, 0.25])
    assert (sigmoid(800), sigmoid(-800)) == (1.0, 0.0)
    assert (format_verdict(0.934), format_verdict(0.2)) == ("right (93%)", "wrong (80%)")


def test_a_score_is_read_at_the_last_token_that_does_not_fill_up() -> None:
    """Where a tokenizer fills up with the very token that ends a text, transformers takes that end for filling."""
    from app.engine.tokens.tokenized_examples import batch_rows, examples_of_row

    row = {"chosen_ids": [5, 6, 2], "rejected_ids": [5, 7, 8, 2]}
    [own], [shared] = examples_of_row(row, 0), examples_of_row(row, 2)
    assert [text.labels for text in own.texts] == [[-100, -100, 2], [-100, -100, -100, 2]]
    assert [text.labels for text in shared.texts] == [[-100, 6, -100], [-100, -100, 8, -100]]
    batch = {"input_ids": tensor([[5, 6, 2, 2], [5, 7, 8, 2]]), "attention_mask": tensor([[1, 1, 1, 0], [1, 1, 1, 1]])}
    assert [one.text.labels for one in batch_rows(batch, ("chosen", "rejected"), 2)] == [
        [-100, 6, -100, -100],
        [-100, -100, 8, -100],
    ]


def test_transformers_reads_a_score_where_we_say() -> None:
    """Guards what the preview relies on: a text that ends with the filling token counts as if it ended before."""
    import torch
    from transformers import Qwen3Config, Qwen3ForSequenceClassification

    config = Qwen3Config(vocab_size=16, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2,
                         num_key_value_heads=2, head_dim=4, num_labels=1, pad_token_id=2)  # fmt: skip
    model = Qwen3ForSequenceClassification(config).eval()
    with torch.no_grad():
        ended = model(input_ids=tensor([[5, 6, 2]])).logits
        alone = model(input_ids=tensor([[5, 6]])).logits
    assert ended.item() == pytest.approx(alone.item(), abs=1e-6)


# -- refusals ----------------------------------------------------------------------------------------------------------


def made(method: str, source: str, folder: Path, rewards: Any = (), **knobs: Any) -> Any:
    from app.engine.job import Job
    from app.engine.model.device import Device

    job = Job(spec_of(method, source, {"steps": 2} | knobs, rewards=[*rewards]), folder, Device("cpu"))
    return job.method.build(job)


@pytest.mark.parametrize(("only", "word"), [(True, "right"), (False, "wrong")])
def test_steps_that_are_all_judged_alike_are_refused(tmp_path: Path, only: bool, word: str) -> None:
    source = write_rows(tmp_path / "rows.jsonl", [row | {"labels": [only, only]} for row in solutions(8)])
    with pytest.raises(Problem, match=f"judged {word}, so there is nothing to tell apart"):
        made("process_reward", source, tmp_path)


@pytest.mark.parametrize("first", [True, False])
def test_margins_of_some_pairs_only_are_refused(tmp_path: Path, first: bool) -> None:
    """Also when it is the first that has none: a table takes its columns from there."""
    rows = [row | ({"margin": 1.0} if (i == 0) is first else {}) for i, row in enumerate(preferences(8))]
    with pytest.raises(Problem, match=f"{7 if first else 1} of 8 pairs have no margin"):
        made("reward", write_rows(tmp_path / "rows.jsonl", rows), tmp_path)


def test_pairs_that_are_all_too_long_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="Every pair is longer than the maximum length of 8 tokens"):
        made("reward", write_rows(tmp_path / "rows.jsonl", preferences(8)), tmp_path, max_length=8)


def test_an_empty_separator_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="nothing marks where a step ends"):
        made("process_reward", write_rows(tmp_path / "rows.jsonl", solutions(8)), tmp_path, step_separator="")


def whole(folder: Path, architecture: str, count: int | None) -> str:
    """A folder that says it holds such a model."""
    folder.mkdir()
    names = {} if count is None else {"id2label": {str(i): f"LABEL_{i}" for i in range(count)}}
    (folder / "config.json").write_text(json.dumps({"architectures": [architecture], "model_type": "qwen3"} | names))
    return str(folder)


@pytest.mark.parametrize(
    ("architecture", "count", "words"),
    [
        (None, None, "has no model that could give a score"),
        ("Qwen3ForCausalLM", None, "that model writes answers"),
        ("Qwen3ForTokenClassification", 2, "that model judges steps"),
        ("Qwen3ForSequenceClassification", 3, "gives 3 numbers"),
        ("Qwen3ForSequenceClassification", None, "gives 2 numbers"),  # two is what transformers does not write down
    ],
)
def test_what_is_no_reward_model_is_refused_before_anything_starts(
    tmp_path: Path, architecture: str | None, count: int | None, words: str
) -> None:
    name = whole(tmp_path / "model", architecture, count) if architecture else ""
    with pytest.raises(Problem, match=words):
        spec_of(
            "grpo",
            write_rows(tmp_path / "rows.jsonl", sums(8)),
            rewards=[{"name": "reward_model", "params": {"model": name}}],
        )


def test_a_model_with_one_number_is_taken(tmp_path: Path) -> None:
    name = whole(tmp_path / "model", "Qwen3ForSequenceClassification", 1)
    source = write_rows(tmp_path / "rows.jsonl", sums(8))
    assert spec_of("grpo", source, rewards=[{"name": "reward_model", "params": {"model": name}}])


def test_a_run_that_is_not_there_is_refused(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "rows.jsonl", sums(8))
    with pytest.raises(Problem, match="has no result to go on from"):
        spec_of("grpo", source, rewards=[{"name": "reward_model", "params": {"model": "run:nothing"}}])


def test_how_a_reward_model_reads_prompt_and_answer() -> None:
    from transformers import BertTokenizerFast

    from app.engine.evaluation.scoring import tokenize_pair

    words = tokenizer()
    asked = [{"role": "user", "content": "Hi"}]
    chat = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello<|im_end|>\n"
    assert (
        words.decode(tokenize_pair(words, asked, "Hello")) == words.decode(tokenize_pair(words, "Hi", "Hello")) == chat
    )
    words.chat_template = None
    assert words.decode(tokenize_pair(words, "Hi ", "Hello")) == "Hi Hello<|im_end|>"
    assert (
        words.decode(tokenize_pair(words, [*asked, {"role": "user", "content": "you"}], " there"))
        == "Hi\nyou there<|im_end|>"
    )
    both = BertTokenizerFast(vocab={"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4, "hi": 5, "hello": 6})
    assert tokenize_pair(both, "Hi", "Hello") == [2, 5, 3, 6, 3]


# -- results ----------------------------------------------------------------------------------------------------------


@dataclass
class Scored:
    """A home with two results, trained in this process by a few corrections, each with the trainer that made it."""

    home: Path
    reward: Run
    judge: Run
    trainers: dict[str, Any]

    def job(self, spec: Any) -> Any:
        from app.engine.job import Job
        from app.engine.model.device import Device

        return Job(spec, self.home, Device("cpu"))


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scored]:
    from app.engine.libraries import prepare_libraries

    prepare_libraries()
    home = tmp_path_factory.mktemp("scored")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUNESMITH_HOME", str(home))
        patch.setenv("HF_HUB_OFFLINE", "1")
        found = Scored(home, *(None, None), {})
        for name, method, rows in (("reward", "reward", preferences(48)), ("judge", "process_reward", solutions(48))):
            source = write_rows(home / f"{name}.jsonl", rows)
            knobs = {"steps": 10, "batch_size": 8, "learning_rate": 0.002}
            run, trainer = trained_here(spec_of(method, source, knobs, holdout={"share": 0.2}))
            setattr(found, name, run)
            found.trainers[method] = trainer
        yield found


@pytest.fixture
def at_home(scored: Scored, monkeypatch: pytest.MonkeyPatch) -> Scored:
    monkeypatch.setenv("TUNESMITH_HOME", str(scored.home))
    return scored


PROMPTS = ["Count to 2.", "Count to 4.", "Count to 3."]
ANSWERS = ["Gladly. 1 2!", "Gladly not.", "No, not 5 times."]


def scores(found: Scored) -> list[float]:
    """What the trained model itself gives, one text at a time."""
    import torch

    trainer = found.trainers["reward"]
    words = trainer.processing_class
    given = []
    for prompt, answer in zip(PROMPTS, ANSWERS, strict=True):
        turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
        ids = words.apply_chat_template(turns, return_tensors="pt", return_dict=True)["input_ids"]
        with torch.no_grad():
            given.append(trainer.model(input_ids=ids).logits[0, 0].item())
    return given


@pytest.mark.slow
def test_a_few_corrections_teach_both(at_home: Scored) -> None:
    last = {
        run.spec.method: events.of_type(events.read_events(run.events), events.EvalEvent)[-1].metrics
        for run in (at_home.reward, at_home.judge)
    }
    assert last["reward"]["eval/ranked"] == 1.0
    assert last["reward"]["eval/sure"] > 0.8
    assert last["process_reward"]["eval/judged"] > 0.9


@pytest.mark.slow
def test_the_head_that_scores_is_learned_and_saved_with_the_adapter(at_home: Scored) -> None:
    from safetensors.torch import load_file

    kept = load_file(at_home.reward.adapter / "adapter_model.safetensors")
    head = next(name for name in kept if name.endswith("score.weight"))
    inner = at_home.trainers["reward"].model.get_base_model().score
    assert kept[head].equal(inner.modules_to_save["default"].weight)
    assert not kept[head].equal(inner.original_module.weight), "the head it began with"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["reward", "judge"])
def test_a_result_loads_and_says_the_same(at_home: Scored, name: str) -> None:
    import torch

    from app.engine.model.load_model import load_tuned

    run = getattr(at_home, name)
    loaded, words = load_tuned(run.adapter)
    ids = words("What is 4 + 3?\nIt is 7.\n", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        assert torch.allclose(
            loaded(input_ids=ids).logits, at_home.trainers[run.spec.method].model(input_ids=ids).logits, atol=1e-5
        )


@pytest.mark.slow
def test_a_run_that_scores_is_a_reward_for_others(at_home: Scored) -> None:
    """Raw and squashed, in batches of different lengths, as the trained model itself scores them."""
    from app.engine.reward_runtime import reward_factory
    from app.setup.spec import Reward

    for squash, by_hand in (
        ("none", scores(at_home)),
        ("sigmoid", [1 / (1 + math.exp(-one)) for one in scores(at_home)]),
    ):
        params = {"model": f"run:{at_home.reward.id}", "squash": squash}
        scorer = reward_factory.build_reward(Reward(name="reward_model", label="taste", params=params))
        turns = [[{"role": "assistant", "content": answer}] for answer in ANSWERS]
        told = scorer(completions=turns, prompts=[[{"role": "user", "content": prompt}] for prompt in PROMPTS])
        assert told == pytest.approx(by_hand, abs=1e-4)
        assert scorer.__name__ == "taste"
    assert max(scores(at_home)) == scores(at_home)[0]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["reward", "process_reward", "ppo"])
def test_a_head_that_scores_learns_in_full_precision_beside_a_base_that_does_not(method: str, tmp_path: Path) -> None:
    """In bfloat16 it could not move by less than a few thousandths of itself."""
    import torch

    rows = {"reward": preferences, "process_reward": solutions, "ppo": sums}[method](16)
    knobs = {"steps": 2, "batch_size": 8, "learning_rate": 0.001, "precision": "bf16"}
    rewards = [{"name": "exact_match"}] if method == "ppo" else []
    trainer = made(method, write_rows(tmp_path / "rows.jsonl", rows), tmp_path, rewards, **knobs)
    model = trainer.critic.model if method == "ppo" else trainer.model
    heads = {name: weight.detach().clone() for name, weight in model.named_parameters() if ".modules_to_save." in name}
    assert {weight.dtype for weight in heads.values()} == {torch.float32}
    assert model.get_input_embeddings().weight.dtype == torch.bfloat16
    trainer.train()
    assert all(not weight.equal(heads[name]) for name, weight in model.named_parameters() if name in heads)


@pytest.mark.slow
def test_a_reward_model_and_a_critic_go_on_from_what_an_adapter_learned(at_home: Scored) -> None:
    """Its layers under a new head, also one that it trained whole; the head of a critic says nothing yet."""
    from peft import load_peft_weights

    from app.engine.trainers.ppo import critic as critics

    adapter = {"adapter": {"unfreeze": ["layers.3.mlp.down_proj"]}}
    taught, _ = trained_here(
        spec_of(
            "sft", write_rows(at_home.home / "chats.jsonl", chats(8)), {"steps": 1, "learning_rate": 0.01}, **adapter
        )
    )
    learned = load_peft_weights(str(taught.adapter), device="cpu")
    more = adapter | {"model": {"start_from": f"run:{taught.id}"}}
    job = at_home.job(spec_of("reward", write_rows(at_home.home / "reward.jsonl", preferences(8)), **more))
    asking = at_home.job(
        spec_of(
            "ppo",
            write_rows(at_home.home / "sums.jsonl", sums(8)),
            {"batch_size": 8},
            rewards=[{"name": "exact_match"}],
            **more,
        )
    )
    for model in (job.model, critics.build_critic(asking, "auto").model):
        own = {
            name.replace(".default", "").replace("modules_to_save.", ""): weight
            for name, weight in model.named_parameters()
            if weight.requires_grad
        }
        assert own.keys() - learned.keys() == {"base_model.model.score.weight"}
        assert all(own[name].equal(weight) for name, weight in learned.items())
    assert job.model.get_base_model().score.weight.abs().max() > 0
    assert not own["base_model.model.score.weight"].any()


@pytest.mark.slow
@pytest.mark.parametrize("method", ["grpo", "ppo"])
def test_it_rewards_in_training_in_dry_runs_and_in_tests(at_home: Scored, method: str) -> None:
    from app.engine.evaluation.evaluate import evaluate

    source = write_rows(at_home.home / "asked.jsonl", [{"prompt": row["prompt"]} for row in preferences(20)])
    spec = spec_of(method, source, {"steps": 1, "batch_size": 8, "max_completion_length": 4} | ({"attempts": 4} if method == "grpo" else {}),
                   rewards=[{"name": "reward_model", "as": "taste", "params": {"model": f"run:{at_home.reward.id}"}}],
                   holdout={"share": 0.2})  # fmt: skip
    job = at_home.job(spec)
    trainer = job.method.build(job)
    trainer.train()
    said = trainer.state.log_history[0]["rewards/taste/mean"]
    tried = trainer.sample_scored_completions({"prompt": [{"role": "user", "content": PROMPTS[0]}]}, 3)
    found, shown = evaluate(job, trainer, job.data.holdout)
    everything = [said, found["taste"], *(one["rewards"]["taste"] for one in (*tried, *shown))]
    assert all(0 < one < 1 for one in everything)
    assert len({*everything}) > 3


@pytest.mark.slow
def test_a_critic_begins_as_the_reward_model_and_goes_on_learning(at_home: Scored) -> None:
    """At the end of a text the value is the reward; what is trained is the reward model's own adapter and head."""
    import torch

    from app.engine.evaluation.scoring import tokenize_pair
    from app.engine.trainers.ppo import critic as critics

    source = write_rows(at_home.home / "asked.jsonl", [{"prompt": row["prompt"]} for row in preferences(20)])
    taste = {"name": "reward_model", "as": "taste", "weight": 2.0, "params": {"model": f"run:{at_home.reward.id}"}}
    spec = spec_of("ppo", source, {"steps": 1, "batch_size": 8, "max_completion_length": 4}, rewards=[taste])
    job = at_home.job(spec)
    begun = critics.build_critic(job, spec.knobs["value_from"])
    ids = torch.tensor([tokenize_pair(job.tokenizer, PROMPTS[0], ANSWERS[0])])
    with torch.no_grad():
        values = begun.predicted_values({"input_ids": ids})
    assert values[0, -1].item() == pytest.approx(2 / (1 + math.exp(-scores(at_home)[0])), abs=1e-4)
    both = spec.model_copy(
        update={"rewards": [*spec.rewards, *spec_of("grpo", source, rewards=[{"name": "length_band"}]).rewards]}
    )
    with torch.no_grad():  # beside another reward nothing bounds what it may expect
        free = critics.build_critic(at_home.job(both), "auto").predicted_values({"input_ids": ids})
    assert free[0, -1].item() == pytest.approx(2 * scores(at_home)[0], abs=1e-3)
    assert {name.rpartition(".")[2] for name in begun.trainable_weights()} == {"weight"}
    assert all("lora_" in name or "score" in name for name in begun.trainable_weights())
    assert any("score" in name for name in begun.trainable_weights())
    other = critics.build_critic(job, "policy")
    with torch.no_grad():
        assert not other.predicted_values({"input_ids": ids}).any()


@pytest.mark.slow
def test_a_critic_cannot_begin_as_a_model_of_other_words(at_home: Scored, tmp_path: Path) -> None:
    from app.engine.trainers.ppo import critic as critics

    shutil.copytree(at_home.reward.adapter, tmp_path / "other")
    words = tokenizer()
    words.add_tokens(["wholly-new"])
    words.save_pretrained(tmp_path / "other")
    source = write_rows(at_home.home / "asked.jsonl", [{"prompt": row["prompt"]} for row in preferences(20)])
    rewards = [{"name": "reward_model", "params": {"model": str(tmp_path / "other")}}]
    job = at_home.job(spec_of("ppo", source, {"batch_size": 8}, rewards=rewards))
    with pytest.raises(Problem, match="reads other tokens than the model that learns"):
        critics.build_critic(job, "auto")


@pytest.mark.slow
def test_what_a_result_thinks_of_answers_and_steps(at_home: Scored) -> None:
    asked = score.Question(at_home.reward.id, PROMPTS[0], answers=(ANSWERS[0], "Gladly not."))
    asked.early_answer()
    told = asked.answer()["scores"]
    assert told[0] == pytest.approx(scores(at_home)[0], abs=1e-3)
    assert told[0] > told[1]
    judged = score.Question(at_home.judge.id, "What is 5 + 0?", steps=("I add 5 and 0.", "It is 5, no good."))
    judged.early_answer()
    first, second = judged.answer()["steps"]
    assert first > 0.5 > second


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "asked", "words"),
    [
        ("reward", {"prompt": "Hi", "answers": ["", " "]}, "Write a question and an answer"),
        ("reward", {"prompt": " ", "answers": ["Hello"]}, "Write a question and an answer"),
        ("judge", {"prompt": "Hi", "steps": []}, "the steps, one on each line"),
        ("judge", {"prompt": "Hi", "steps": ["so"] * 65}, "65 to judge at once"),
        ("reward", {"prompt": "word " * 3000, "answers": ["Hello"]}, "the model reads at most 2,048"),
    ],
)
def test_what_cannot_be_judged_is_refused(at_home: Scored, name: str, asked: dict[str, Any], words: str) -> None:
    def ask(question: score.Question) -> None:
        question.early_answer()
        question.answer()

    with pytest.raises(Problem, match=words):
        ask(score.Question(getattr(at_home, name).id, **asked))


@pytest.mark.slow
def test_the_command_line_says_what_a_result_thinks(at_home: Scored) -> None:
    asked = [part for answer in ANSWERS[:2] for part in ("--answer", answer)]
    told = cli("score", at_home.reward.id, "--prompt", PROMPTS[0], *asked).stdout.splitlines()
    assert [line.split("  ", 1)[1] for line in told] == ANSWERS[:2]
    assert float(told[0].split()[0]) == pytest.approx(scores(at_home)[0], abs=0.01)
    assert (
        "Write a question and the steps"
        in cli("score", at_home.judge.id, "--prompt", "Hi", "--answer", "so", code=2).stderr
    )


@pytest.mark.slow
def test_a_model_that_scores_is_not_talked_to(at_home: Scored) -> None:
    from app.engine.generation import chat

    with pytest.raises(Problem, match="gives scores and does not write"):
        chat.require_generative_result(at_home.reward.id)


@pytest.mark.slow
def test_parts_of_a_batch_add_up_to_it(at_home: Scored, tmp_path: Path) -> None:
    """A mean of the parts' means would weigh the steps of short solutions more; transformers' own class would add them all up."""
    told = []
    rows = [
        row | ({"completions": row["completions"][:1], "labels": row["labels"][:1]} if i % 3 else {})
        for i, row in enumerate(solutions(16))
    ]
    source = write_rows(tmp_path / "rows.jsonl", rows)
    for batch, count in ((8, 1), (4, 2)):
        trainer = made("process_reward", source, tmp_path, steps=1, batch_size=batch, accumulation=count)
        trainer.model.get_base_model().dropout.p = 0.0  # drawn for each part anew
        trainer.train()
        told.append(trainer.state.log_history[0]["loss"])
    assert told[0] == pytest.approx(told[1], abs=1e-5)


@pytest.mark.slow
def test_what_is_too_long_is_said_in_the_look_in_the_plan_and_in_the_run(tmp_path: Path) -> None:
    from app.engine.preview import findings, row_preview, run_estimate

    rows = preferences(8)
    rows[3] |= {"chosen": "Gladly. " * 40}
    spec = spec_of("reward", write_rows(tmp_path / "rows.jsonl", rows), {"max_length": 60, "steps": 2, "batch_size": 2})
    reason = "an answer with its prompt is longer than the maximum length of 60 tokens"
    shown = row_preview.preview_rows(spec, 8)
    told = shown["findings"][0]
    assert (told["severity"], told["text"]) == ("wrong", f"1 example is left out: {reason}.")
    assert len(shown["rows"]) == 7
    assert run_to_end(run_estimate.estimate_run(spec))[1]["left_out"] == {reason: 1}
    trainer = made("reward", spec.data[0].source, tmp_path, max_length=60, batch_size=2)
    job = Scored(tmp_path, *(None, None), {}).job(spec)
    assert findings.rows_left_out_by_trainer(job, trainer) == {reason: 1}


@pytest.mark.slow
def test_a_look_shows_where_a_score_is_read_and_what_each_step_is_judged(tmp_path: Path) -> None:
    from app.engine.preview import row_preview

    spec = spec_of("reward", write_rows(tmp_path / "pairs.jsonl", preferences(4)))
    [first, *_] = row_preview.preview_rows(spec, 4)["rows"]
    assert [side["name"] for side in first["sides"]] == ["chosen", "rejected"]
    for side in first["sides"]:
        assert [token["trained"] for token in side["tokens"]].index(True) == len(side["tokens"]) - 1
        assert side["segments"][-1]["why"].endswith("the score is read here")
        assert side["segments"][0]["why"] == "the answer: read only"
    spec = spec_of("process_reward", write_rows(tmp_path / "steps.jsonl", [STEPS]), {"batch_size": 1})
    [row] = row_preview.preview_rows(spec, 1)["rows"]
    told = [(row["tokens"][one["start"]]["text"], one["why"]) for one in row["segments"] if "judged" in one["why"]]
    assert told == [("\n", "judged here: this step is right"), ("\n", "judged here: this step is wrong")]
