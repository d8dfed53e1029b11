"""PPO: every formula against numbers worked by hand, and a trainer that tries, foretells, learns, and resumes exactly."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.core.problems import Problem
from tests.support import spec_of, steps_of, sums, train, write_rows

LN2 = math.log(2)


def tensor(rows: list[Any]) -> Any:
    import torch

    return torch.tensor(rows, dtype=torch.float32)


# -- formulas ----------------------------------------------------------------------------------------------------------


def test_each_token_pays_for_leaving_the_start_and_the_last_one_earns_the_score() -> None:
    from app.engine.trainers.ppo.ppo_math import token_rewards

    logps, reference = tensor([[-1, -2, -3], [-1, -1, -1]]), tensor([[-1.5, -1, -9], [-1, -2, -1]])
    mask = tensor([[1, 1, 0], [1, 1, 1]])
    earned = token_rewards(tensor([1, -2]), logps, reference, mask, kl_coef=0.1)
    # row 1: −0.1·(−1 + 1.5) = −0.05, then 1 − 0.1·(−2 + 1) = 1.1; row 2: 0, −0.1·1, and the score at the third
    assert earned.tolist() == [pytest.approx([-0.05, 1.1, 0]), pytest.approx([0, -0.1, -2])]


def test_an_answer_that_was_not_scored_earns_nothing() -> None:
    from app.engine.trainers.ppo.ppo_math import token_rewards

    earned = token_rewards(tensor([5]), tensor([[-1, -2]]), tensor([[-2, -2]]), tensor([[0, 0]]), kl_coef=0.1)
    assert earned.tolist() == [[0, 0]]


@pytest.mark.parametrize(("discount", "trace", "by_hand"), [
    # δ = (0 + 0.4 − 0.5, 0 + 0.2 − 0.4, 1 − 0.2) = (−0.1, −0.2, 0.8); A₂ = 0.8, A₁ = −0.2 + 0.5·0.8, A₀ = −0.1 + 0.5·0.2
    (1.0, 0.5, [0.0, 0.2, 0.8]),
    # δ = (0.36 − 0.5, 0.18 − 0.4, 0.8); A₁ = −0.22 + 0.45·0.8, A₀ = −0.14 + 0.45·0.14
    (0.9, 0.5, [-0.077, 0.14, 0.8]),
    (1.0, 0.0, [-0.1, -0.2, 0.8]),  # only the next value counts
    (1.0, 1.0, [0.5, 0.6, 0.8]),  # what is still earned, less what was expected
])  # fmt: skip
def test_advantages_by_hand(discount: float, trace: float, by_hand: list[float]) -> None:
    from app.engine.trainers.ppo.ppo_math import gae_advantages

    found = gae_advantages(tensor([[0, 0, 1]]), tensor([[0.5, 0.4, 0.2]]), tensor([[1, 1, 1]]), discount, trace)
    assert found[0].tolist() == pytest.approx(by_hand, abs=1e-6)


def test_an_answer_ends_where_its_last_token_stands_whatever_the_critic_says_beyond() -> None:
    from app.engine.trainers.ppo.ppo_math import gae_advantages

    found = gae_advantages(tensor([[0, 1, 9]]), tensor([[0.5, 0.5, 7]]), tensor([[1, 1, 0]]), 1.0, 0.5)
    assert found[0].tolist() == pytest.approx([0.25, 0.5, 0])  # A₁ = 1 − 0.5, A₀ = 0.5 − 0.5 + 0.5·0.5


@pytest.mark.parametrize(("ratio", "gain", "loss", "clipped"), [
    (1.0, 2, -2.0, False), (1.5, 2, -2.4, True), (1.5, -2, 3.0, False), (0.5, 2, -1.0, False), (0.5, -2, 1.6, True),
    (1.2, 2, -2.4, False), (1.1, -1, 1.1, False),
])  # fmt: skip
def test_the_policys_loss_is_clipped_on_the_side_where_it_would_gain(
    ratio: float, gain: float, loss: float, clipped: bool
) -> None:
    from app.engine.trainers.ppo.ppo_math import policy_loss

    found, held = policy_loss(tensor([math.log(ratio) - 1]), tensor([-1]), tensor([gain]), 0.2)
    assert found.item() == pytest.approx(loss)
    assert bool(held) is clipped


@pytest.mark.parametrize(("value", "old", "wanted", "loss"), [
    (1.0, 0.0, 2.0, 1.62),  # free ½·1², held at 0.2: ½·1.8²
    (0.1, 0.0, 2.0, 1.805),  # within the clip: ½·1.9²
    (3.0, 0.0, 0.1, 4.205),  # running away from what was wanted is never forgiven: ½·2.9²
    (2.0, 2.0, 2.0, 0.0),
])  # fmt: skip
def test_the_critics_loss_counts_the_worse_of_free_and_held(
    value: float, old: float, wanted: float, loss: float
) -> None:
    from app.engine.trainers.ppo.ppo_math import value_loss

    assert value_loss(tensor([value]), tensor([old]), tensor([wanted]), 0.2).item() == pytest.approx(loss)


@pytest.mark.parametrize(("apart", "distance"), [(0.0, 0.0), (LN2, 1 - LN2), (-LN2, LN2 - 0.5)])
def test_the_distance_is_never_negative(apart: float, distance: float) -> None:
    """e^d − d − 1 for d = ln 2: 2 − ln 2 − 1; for −ln 2: ½ + ln 2 − 1."""
    from app.engine.trainers.ppo.ppo_math import kl_estimate

    assert kl_estimate(tensor([-1]), tensor([-1 + apart])).item() == pytest.approx(distance)


def test_whitening_looks_only_at_tokens_that_count() -> None:
    from app.engine.trainers.ppo.ppo_math import masked_mean, masked_whiten

    values, mask = tensor([[1, 3, 100], [5, 7, -100]]), tensor([[1, 1, 0], [1, 1, 0]])
    found = masked_whiten(values, mask)
    spread = math.sqrt(5)  # of 1, 3, 5, 7 around 4
    assert found.tolist() == [pytest.approx([-3 / spread, -1 / spread, 0]), pytest.approx([1 / spread, 3 / spread, 0])]
    assert masked_mean(values, mask).item() == 4
    assert masked_whiten(tensor([[2, 2]]), tensor([[1, 1]])).tolist() == [[0, 0]]


@pytest.mark.parametrize(
    ("foretold", "share"), [([1, 2, 3], 1.0), ([2, 2, 2], 0.0), ([3, 2, 1], -3.0), ([11, 12, 13], 1.0)]
)
def test_how_much_the_critic_foretold(foretold: list[float], share: float) -> None:
    """Returns of 1, 2, 3 have a spread of ⅔; foretold backwards they are missed by −2, 0, 2, a spread of 8⁄3."""
    from app.engine.trainers.ppo.ppo_math import explained_variance

    assert explained_variance(tensor([foretold]), tensor([[1, 2, 3]]), tensor([[1, 1, 1]])).item() == pytest.approx(
        share, abs=1e-6
    )


def test_an_answer_goes_up_to_its_first_end_and_that_one_too() -> None:
    import torch

    from app.engine.generation.end_tokens import cut_after_first_end, mask_until_end

    ids, ends = [[5, 2, 2, 7], [5, 6, 7, 8], [3, 5, 2, 0]], [2, 3]
    assert mask_until_end(torch.tensor(ids), ends).tolist() == [[1, 1, 0, 0], [1, 1, 1, 1], [1, 0, 0, 0]]
    answers = [cut_after_first_end(answer, ends) for answer in ids]
    assert answers == [[5, 2], [5, 6, 7, 8], [3]]
    assert [answer[-1] in ends for answer in answers] == [True, False, True]


def test_rewards_add_up_by_their_weights_and_what_failed_counts_as_unknown() -> None:
    from app.engine.trainers.ppo.rollout import total_scores

    scored = tensor([[1.0, 2.0, math.nan, 1.0], [10.0, math.nan, math.nan, 1.0]])
    found = total_scores(scored, [1.0, 0.5], [False, False, False, True]).tolist()
    assert found[:2] == [6.0, 2.0]
    assert all(map(math.isnan, found[2:]))


# -- refusals ----------------------------------------------------------------------------------------------------------

REWARD = [{"name": "exact_match", "as": "correct"}]


@pytest.mark.parametrize(
    ("knobs", "words"),
    [
        ({"batch_size": 64, "minibatches": 3}, "cannot be split into 3 equal parts.*try 63"),
        ({"batch_size": 64, "minibatches": 4, "accumulation": 5}, "4 minibatches of 5 pieces.*try 60"),
        ({"batch_size": 64, "attempts": 5}, "groups of 5 attempts; try 65"),
        ({"value_from": "reward_model"}, "no reward of this setup is one"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_starts(tmp_path: Path, knobs: dict[str, Any], words: str) -> None:
    with pytest.raises(Problem, match=words):
        spec_of("ppo", write_rows(tmp_path / "rows.jsonl", sums(64)), knobs, rewards=REWARD)


# -- a trainer ---------------------------------------------------------------------------------------------------------

SMALL = {
    "steps": 4,
    "batch_size": 8,
    "minibatches": 2,
    "passes": 2,
    "max_completion_length": 4,
    "learning_rate": 0.002,
    "kl": 0.1,
}
Make = Callable[..., Any]


# -- a dry run ---------------------------------------------------------------------------------------------------------


def test_a_dry_run_scores_real_attempts_and_trains_no_critic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """2 prompts, 3 attempts at each; what they earn is computed again here from their texts."""
    from app.engine.libraries import prepare_libraries
    from app.engine.questions.dry_run import Question
    from app.engine.trainers.ppo import critic as critics

    prepare_libraries()
    monkeypatch.setattr(critics, "build_critic", lambda *_: pytest.fail("a dry run needs no critic"))
    rewards = [{"name": "pattern", "as": "digits", "weight": -0.5, "params": {"pattern": r"\d"}},
               {"name": "length_band", "as": "short", "weight": 2.0, "params": {"least": 1, "most": 3}}]  # fmt: skip
    spec = spec_of("ppo", write_rows(tmp_path / "rows.jsonl", sums(8)), SMALL, rewards=rewards)
    parts = Question(spec, prompts=2, attempts=3).answer()
    assert [next(parts)["progress"] for _ in range(2)] == [{"done": 1, "of": 2}, {"done": 2, "of": 2}]
    with pytest.raises(StopIteration) as ended:
        next(parts)
    tried = ended.value.value
    assert [row["prompt"] for row in tried["rows"]] == [row["prompt"] for row in sums(2)]
    attempts = [attempt for row in tried["rows"] for attempt in row["completions"]]
    assert len(attempts) == 6
    for attempt in attempts:
        size = len(attempt["text"].strip())
        short = 1.0 if 1 <= size <= 3 else 1 / 3 if size == 4 else 0.0  # each character over 3 takes off 1 / 1.5
        assert attempt["rewards"]["short"] == pytest.approx(short, abs=0.01), attempt["text"]
        assert attempt["rewards"]["digits"] == any(letter.isdigit() for letter in attempt["text"])
        assert attempt["total"] == pytest.approx(2 * attempt["rewards"]["short"] - 0.5 * attempt["rewards"]["digits"])
    for row in tried["rows"]:
        totals = [attempt["total"] for attempt in row["completions"]]
        assert row["spread"] == pytest.approx(max(totals) - min(totals), abs=1e-6)
    for name, told in tried["by_reward"].items():
        scores = [attempt["rewards"][name] for attempt in attempts]
        assert (told["lowest"], told["mean"], told["highest"]) == (min(scores), pytest.approx(sum(scores) / 6), max(scores))  # fmt: skip
    assert tried["by_reward"].keys() == {"digits", "short"}


# -- rounds -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """make(knobs, rewards=…) -> a trainer as the method builds it, in this process."""
    from app.engine.libraries import prepare_libraries

    prepare_libraries()
    home = tmp_path_factory.mktemp("ppo")
    source = write_rows(home / "rows.jsonl", sums(32))

    def made(folder: Path | None = None, callbacks: Any = (), **knobs: Any) -> Any:
        from app.engine.job import Job
        from app.engine.model.device import Device

        spec = spec_of("ppo", source, SMALL | knobs, rewards=knobs.pop("rewards", REWARD))
        job = Job(spec, folder or home, Device("cpu"), callbacks=[*callbacks])
        return job.method.build(job)

    return made


def rows_of(trainer: Any, count: int = 8) -> list[dict[str, Any]]:
    return [trainer.train_dataset[i] for i in range(count)]


@pytest.fixture(scope="module")
def round_(make: Make, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """(a fresh trainer, its first round of answers)"""
    import torch

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUNESMITH_HOME", str(tmp_path_factory.mktemp("home")))
        trainer = make()
        with torch.no_grad():
            return trainer, trainer.collect_rollouts(rows_of(trainer))


@pytest.mark.slow
def test_a_token_is_as_likely_as_the_model_says_of_the_answer_alone(round_: tuple[Any, Any]) -> None:
    """Padding, positions and the cut to the last places change nothing."""
    import torch

    trainer, batch = round_
    for row in range(3):
        ids = batch["ids"][row][batch["attention"][row].bool()][None]
        count = int(batch["mask"][row].sum())
        with torch.no_grad():
            told = trainer.model(input_ids=ids).logits.log_softmax(-1)[0, -count - 1 : -1]
        by_itself = told.gather(-1, ids[0, -count:, None])[:, 0]
        assert batch["logps"][row, :count].tolist() == pytest.approx(by_itself.tolist(), abs=1e-4)


@pytest.mark.slow
def test_at_first_the_model_is_its_own_reference_and_the_critic_expects_nothing(round_: tuple[Any, Any]) -> None:
    trainer, batch = round_
    assert batch["reference"].tolist() == batch["logps"].tolist()
    assert not batch["values"].any()
    scores = trainer.last_rewards[0]
    assert {*scores.tolist()} <= {0.0, 1.0}
    returns = batch["returns"][:, 0]
    assert returns.tolist() == pytest.approx((scores * 0.95 ** (batch["mask"].sum(-1) - 1)).tolist(), abs=1e-5)


@pytest.mark.slow
def test_the_reference_stays_where_the_run_began(make: Make) -> None:
    """With the adapter off the practice model is what it was; so is the start that was kept."""
    import torch

    trainer = make()
    trainer.train()
    assert [line["policy/kl"] for line in trainer.state.log_history if "policy/kl" in line][-1] > 0.001
    with torch.no_grad():
        batch = trainer.generate_rollouts(rows_of(trainer))
        batch |= trainer.logps_and_values(batch)
        with trainer.model.disable_adapter():
            start, _ = trainer.token_logps_and_entropy(trainer.model, batch)
    assert (batch["reference"] - start).abs().max() < 1e-5
    assert (batch["logps"] - start).abs().max() > 0.01


@pytest.mark.slow
def test_the_first_look_at_a_round_moves_no_ratio(make: Make) -> None:
    """In its only pass over one part nothing has changed yet: no token is clipped, and the loss is minus the mean advantage."""
    trainer = make(passes=1, minibatches=1, steps=1)
    trainer.train()
    first = trainer.state.log_history[0]
    assert first["policy/clipped"] == 0
    assert first["policy/loss"] == pytest.approx(0, abs=1e-5)  # whitened advantages have mean 0
    assert first["value/loss"] > 0


def losses(trainer: Any) -> list[float]:
    return [line["loss"] for line in trainer.state.log_history if "loss" in line]


@pytest.mark.slow
def test_smaller_pieces_change_nothing(make: Make) -> None:
    told = []
    for count in (1, 2):
        trainer = make(steps=2, accumulation=count, unfinished_penalty=0.5)
        trainer.train()
        told.append(losses(trainer))
    assert told[0] == pytest.approx(told[1], abs=1e-5)
    assert told[0][0] != told[0][1]


@pytest.mark.slow
def test_a_resumed_run_equals_an_undisturbed_one(make: Make, tmp_path: Path) -> None:
    """Also in what the critic has learned."""
    from transformers import TrainerCallback

    class SaveAt2(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
            control.should_save = state.global_step == 2
            return control

    undisturbed = make(tmp_path, [SaveAt2()])
    undisturbed.train()
    resumed = make(tmp_path)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoints" / "checkpoint-2"))
    assert losses(resumed)[2:] == pytest.approx(losses(undisturbed)[2:], abs=1e-6)
    kept, again = undisturbed.critic.trainable_weights(), resumed.critic.trainable_weights()
    assert all((kept[name] - again[name]).abs().max() < 1e-6 for name in kept)
    assert any(weight.abs().max() > 0 for name, weight in kept.items() if "score" in name), "the head has learned"


@pytest.mark.slow
def test_a_whole_engine_tells_its_rounds_and_what_it_tried(tmp_path: Path) -> None:
    """Every number has its room and, but for those of all methods, its words."""
    from app.history import metric_labels
    from app.runs import events

    source = write_rows(tmp_path / "rows.jsonl", sums(24))
    run = train(
        spec_of(
            "ppo",
            source,
            SMALL | {"steps": 2, "samples_every": 1, "eval_answers": 4},
            rewards=REWARD,
            holdout={"share": 0.2},
        )
    )
    told = steps_of(run)[2]
    own = {
        "policy/kl",
        "policy/entropy",
        "policy/clipped",
        "value/loss",
        "value/explained",
        "policy/length",
        "policy/cut_off",
    }
    assert own | {"reward/mean", "reward/correct/mean", "train/loss", "train/grad_norm", "system/tokens"} <= told.keys()
    assert own <= metric_labels.labels_by_metric(run.spec.to_dict()).keys()
    assert told["system/tokens"] > steps_of(run)[1]["system/tokens"] > 0
    story = events.read_events(run.events)
    tried = next(e.rows for e in events.of_type(story, events.SampleEvent) if "advantage" in e.rows[0])
    assert len(tried) == 4
    assert all(row["rewards"].keys() == {"correct"} and row["against"] == "the critic foretold" for row in tried)
    assert [e.metrics.keys() for e in events.of_type(story, events.EvalEvent)] == [{"eval/correct"}, {"eval/correct"}]
    assert not list(run.adapter.glob("*critic*")), "the critic is no part of the result"
