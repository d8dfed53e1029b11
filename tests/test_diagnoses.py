"""Diagnoses: each failure is named by the metrics that it leaves, and what is healthy is not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from app.history.diagnoses import Diagnosis, diagnose_events
from app.history.verdict import verdict, without_diagnosis
from app.planning.resolve import resolve
from app.setup.spec import Spec, parse_spec
from tests.support import typed_events

Metrics = dict[str, float | None]
HEALTHY_LOSS = [4.0, 3.5, 2.8, 2.0, 1.5, 1.1, 0.9, 0.8, 0.7, 0.6] * 3
HEALTHY_PROBES: Metrics = {"probe/held_out_rows": 100, "probe/unrelated_rest_loss": 0.05, "probe/question_gain": 1.2,
                           "probe/question_gain_error": 0.1, "probe/answer_end": 0.99, "probe/common_answer": 0.2}  # fmt: skip


def make_spec(method: str = "sft", knobs: dict[str, Any] | None = None, **fields: Any) -> Spec:
    rewards = [{"name": "exact_match"}] if method in ("grpo", "rloo", "ppo") else []
    defaults = {"method": method, "data": [{"source": "sample:sums"}], "knobs": knobs or {}, "rewards": rewards}
    return resolve(parse_spec(defaults | fields))


def run_events(
    columns: dict[str, Sequence[float | None]], first: Metrics | None = None, last: Metrics | None = None, of: int = 0
) -> list[dict[str, Any]]:
    """A finished run whose steps have these metrics, with its first and last evaluation."""
    count = max(map(len, columns.values()))
    steps = [
        {"kind": "step", "step": index + 1, "of": of or count,
         "metrics": {name: values[index] for name, values in columns.items() if index < len(values)}}
        for index in range(count)
    ]  # fmt: skip
    evaluations = [
        {"kind": "eval", "step": step, "set": "holdout", "metrics": metrics}
        for step, metrics in ((0, first), (count, last))
        if metrics is not None
    ]
    return [*evaluations[:1], *steps, *evaluations[1:], {"kind": "done", "why": "finished", "adapter": "adapter"}]


def sft_events(losses: Sequence[float] = HEALTHY_LOSS, first: Metrics | None = None, last: Metrics | None = None, **columns: Any) -> list[dict[str, Any]]:  # fmt: skip
    """A run of SFT that is healthy but for what is given."""
    return run_events(
        {"train/loss": losses, "train/grad_norm": [1.0] * len(losses)} | columns,
        {"eval/loss": 4.0} | HEALTHY_PROBES | (first or {}),
        {"eval/loss": 0.7} | HEALTHY_PROBES | (last or {}),
    )


def rl_events(rewards: Sequence[float | None], first: float | None = 0.3, last: float | None = 0.7, **columns: Any) -> list[dict[str, Any]]:  # fmt: skip
    """A run of GRPO that is healthy but for what is given; double underscores stand for slashes."""
    count = len(rewards)
    healthy = {"reward/mean": rewards, "reward/exact_match/mean": rewards, "policy/silent_groups": [0.3] * count, "policy/cut_off": [0.02] * count,
               "policy/kl": [0.05] * count, "policy/entropy": [0.8] * count, "probe/length_correlation": [-0.6] * count,
               "probe/distinct_answers": [20.0] * count, "train/loss": [0.0] * count, "train/grad_norm": [0.5] * count}  # fmt: skip
    named_columns = {name.replace("__", "/"): values for name, values in columns.items()}
    return run_events(healthy | named_columns, {"eval/exact_match": first} | HEALTHY_PROBES, {"eval/exact_match": last} | HEALTHY_PROBES)  # fmt: skip


def diagnoses_of(events: list[dict[str, Any]], spec: Spec | None = None) -> list[Diagnosis]:
    return diagnose_events(typed_events(*events), spec or make_spec())


def ids_of(events: list[dict[str, Any]], spec: Spec | None = None) -> list[str]:
    return [diagnosis.id for diagnosis in diagnoses_of(events, spec)]


def changes_of(diagnosis: Diagnosis) -> dict[str, Any]:
    assert diagnosis.remedy
    return diagnosis.remedy["changes"]


RISING = [0.3 + 0.02 * index for index in range(20)]
GRPO = make_spec("grpo")


def test_healthy_runs_raise_no_alarm() -> None:
    assert ids_of(sft_events()) == []
    assert ids_of(rl_events(RISING), GRPO) == []
    assert ids_of(rl_events([*RISING, *[1.0] * 20], 0.9, 1.0, policy__silent_groups=[1.0] * 40), GRPO) == [], (
        "all solved"
    )
    assert ids_of([]) == []


@pytest.mark.parametrize(("value", "words"), [(0.0, "earned 0"), (1.0, "full marks"), (0.4, "earned the same")])
def test_a_constant_reward_is_named_by_what_it_was(value: float, words: str) -> None:
    events = rl_events([value] * 20, value, value, policy__silent_groups=[1.0] * 20)
    (diagnosis,) = diagnoses_of(events, GRPO)
    assert (diagnosis.id, diagnosis.severity) == ("reward_constant", "wrong")
    assert words in diagnosis.text


def test_rewards_that_never_apply_are_missing_not_zero() -> None:
    events = rl_events([None] * 20, None, None, reward__mean=[0.0] * 20, policy__silent_groups=[1.0] * 20)
    assert ids_of(events, GRPO) == ["rewards_missing"]


def test_rewards_of_length_alone_are_named_by_their_kind_and_by_their_correlation() -> None:
    assert ids_of(rl_events(RISING, probe__length_correlation=[0.999] * 20), GRPO) == ["reward_is_length"]
    assert ids_of(rl_events(RISING, probe__length_correlation=[-0.85] * 20), GRPO) == []
    only_length = make_spec("grpo", rewards=[{"name": "length_band"}])
    assert ids_of(rl_events(RISING), only_length) == ["reward_is_length"]
    with_content = make_spec("grpo", rewards=[{"name": "length_band"}, {"name": "exact_match"}])
    assert ids_of(rl_events(RISING), with_content) == []


def test_groups_without_spread_are_named_unless_all_is_learned() -> None:
    varied = [0.3, 0.5, 0.4, 0.6] * 5
    events = rl_events(varied, 0.4, 0.4, policy__silent_groups=[1.0] * 20)
    assert ids_of(events, GRPO) == ["no_spread"]
    cold = make_spec("grpo", {"temperature": 0.1})
    assert diagnoses_of(events, cold)[0].remedy == {"title": "Sample at temperature 1", "changes": {"knobs.temperature": 1.0}}  # fmt: skip
    assert ids_of(rl_events(RISING, 0.4, 0.9, policy__silent_groups=[1.0] * 20), GRPO) == []


def test_cut_off_answers_get_more_room() -> None:
    spec = make_spec("grpo", {"max_completion_length": 8})
    (diagnosis,) = diagnoses_of(rl_events(RISING, policy__cut_off=[0.9] * 20), spec)
    assert (diagnosis.id, changes_of(diagnosis)) == ("cut_off", {"knobs.max_completion_length": 32})  # fmt: skip
    assert ids_of(rl_events(RISING, policy__cut_off=[0.9] * 5 + [0.1] * 15), spec) == []


def test_a_policy_that_runs_away_or_collapses_is_named() -> None:
    assert ids_of(rl_events(RISING, policy__kl=[0.1] * 10 + [6.0] * 10), GRPO) == ["kl_runaway"]
    one_answer = [20.0] * 10 + [1.0] * 10
    assert ids_of(rl_events(RISING, probe__distinct_answers=one_answer), GRPO) == ["entropy_collapse"]
    few_answers = [40.0] * 10 + [3.0] * 10
    assert ids_of(rl_events(RISING, probe__distinct_answers=few_answers), GRPO) == [], "as many as there are labels"
    blind = rl_events(RISING, probe__distinct_answers=few_answers)
    blind[-2]["metrics"]["probe/question_gain"] = 0.0
    assert ids_of(blind, make_spec("grpo", {"batch_size": 128, "attempts": 8})) == ["entropy_collapse"]
    certain = [1.0] * 10 + [0.01] * 10
    assert ids_of(rl_events([0.4] * 10 + [0.3] * 10, 0.4, 0.3, policy__entropy=certain), GRPO) == ["entropy_collapse"]
    assert ids_of(rl_events(RISING, policy__entropy=certain), GRPO) == [], "certain of what is right"


def test_a_rate_that_breaks_the_model_is_named_with_the_usual_one() -> None:
    events = sft_events([4.0, 9.0, 8.0, 7.0, 5.0, 4.5, 4.2, 4.1, 4.0, 4.0], last={"eval/loss": 3.9})
    (diagnosis,) = diagnoses_of(events, make_spec(knobs={"learning_rate": 0.05}))
    assert diagnosis.id == "rate_too_high"
    assert diagnosis.remedy == {"title": "Learning rate 0.002", "changes": {"knobs.learning_rate": 0.002}}
    assert ids_of(sft_events([4.0] + [4.1 + index for index in range(12)], last={"eval/loss": 16.0})) == ["rate_too_high"]  # fmt: skip


def test_a_rate_that_changes_nothing_is_named() -> None:
    slow = make_spec(knobs={"learning_rate": 1e-6})
    unchanged = sft_events([4.0] * 30, last={"eval/loss": 3.98})
    assert ids_of(unchanged, slow) == ["rate_too_low"]
    assert ids_of(unchanged, make_spec(knobs={"learning_rate": 2e-3})) == ["no_gain"], "the rate is the usual one"


def test_an_unclipped_loss_that_explodes_is_named() -> None:
    events = sft_events([4.0, 5.0, 60.0, 900.0, 30.0, 20.0, 12.0, 10.0, 9.0, 9.0], last={"eval/loss": 9.0}, **{"train/grad_norm": [9.0, 4000.0]})  # fmt: skip
    unclipped = diagnoses_of(events, make_spec(knobs={"max_grad_norm": 0}))
    assert unclipped[0].id == "loss_exploded"
    assert changes_of(unclipped[0]) == {"knobs.max_grad_norm": 1.0}


def test_a_run_that_failed_by_nan_gets_a_lower_rate() -> None:
    failed = {"kind": "failed", "reason": "diverged", "text": "At step 3 train/loss is no longer a number.", "advice": "Lower it."}  # fmt: skip
    (diagnosis,) = diagnoses_of([*sft_events()[:4], failed], make_spec(knobs={"learning_rate": 0.03}))
    assert (diagnosis.id, diagnosis.text) == ("not_a_number", failed["text"])
    assert changes_of(diagnosis) == {"knobs.learning_rate": 0.002}
    (at_once,) = diagnoses_of([*sft_events()[:2], failed], make_spec(knobs={"learning_rate": 0.03}))
    assert (at_once.id, at_once.remedy) == ("not_a_number", None), "no rate has changed anything yet"
    other_failure = failed | {"reason": "out_of_memory"}
    assert ids_of([*sft_events()[:4], other_failure]) == []


def test_too_few_steps_are_named_while_the_loss_still_falls() -> None:
    events = sft_events([4.0, 3.6, 3.1], last={"eval/loss": 2.9})
    (diagnosis,) = diagnoses_of(events, make_spec(knobs={"epochs": 1.0}))
    assert (diagnosis.id, changes_of(diagnosis)) == ("too_few_steps", {"knobs.epochs": 40})
    extended = [
        event | {"epoch": event["step"] / 2} if event["kind"] == "step" else event for event in events
    ]  # two steps are a pass: the setup planned one, and a third step was added
    (diagnosis,) = diagnoses_of(extended, make_spec(knobs={"epochs": 1.0}))
    assert changes_of(diagnosis) == {"knobs.epochs": 60}
    few_but_enough = sft_events([4.0, 0.5, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4], last={"eval/loss": 0.4})
    assert ids_of(few_but_enough) == []


def test_constant_answers_are_named_though_the_loss_is_low() -> None:
    events = sft_events(first={"probe/common_answer": 1.0}, last={"eval/loss": 0.0})
    assert ids_of(events)[0] == "answers_constant"
    counted = {"kind": "eval", "step": 25, "set": "holdout", "metrics": {"probe/common_label": 1.0}}
    same_labels = [*dpo_events(0.0, 0.7, LEARNED), counted]
    assert "labels_constant" in ids_of(same_labels, make_spec("kto", data=[{"source": "sample:thumbs"}]))


def test_shuffled_answers_are_named_though_the_loss_fell() -> None:
    shuffled = {"probe/question_gain": 0.004, "probe/question_gain_error": 0.003}
    assert ids_of(sft_events(last=shuffled)) == ["answers_unrelated"]
    assert ids_of(sft_events(last={"probe/question_gain": 0.3, "probe/question_gain_error": 0.05})) == []


def dpo_events(before: float, after: float, accuracy: Sequence[float], losses: tuple[float, float] = (0.69, 0.2), **columns: Any) -> list[dict[str, Any]]:  # fmt: skip
    count = len(accuracy)
    healthy = {"train/loss": [0.69 - 0.02 * index for index in range(count)], "train/grad_norm": [3.0] * count, "prefer/accuracy": accuracy,
               "prefer/margin": [0.1 * index for index in range(count)]}  # fmt: skip
    return run_events(
        healthy | columns,
        {"eval/preferred": before, "eval/loss": losses[0]} | HEALTHY_PROBES,
        {"eval/preferred": after, "eval/loss": losses[1]} | HEALTHY_PROBES,
    )


DPO = make_spec("dpo", data=[{"source": "sample:manners"}])
LEARNED = [0.0] * 5 + [1.0] * 20


def test_pairs_that_teach_nothing_are_named() -> None:
    assert ids_of(dpo_events(0.1, 0.7, LEARNED), DPO) == []
    assert ids_of(dpo_events(1.0, 1.0, LEARNED), DPO) == ["already_preferred"]
    equal = dpo_events(0.0, 0.0, [0.0] * 20, (0.693, 0.693), **{"train/loss": [0.693] * 20, "train/grad_norm": [1.2e-6] * 20, "prefer/margin": [0.0] * 20})  # fmt: skip
    assert ids_of(equal, DPO) == ["pairs_equal"]
    by_heart = dpo_events(0.5, 0.52, LEARNED, (0.69, 0.75))
    assert ids_of(by_heart, DPO) == ["memorised"]
    nothing = dpo_events(0.5, 0.52, [0.5] * 25, (0.69, 0.69), **{"train/loss": [0.69] * 25})
    assert ids_of(nothing, DPO) == ["no_gain"]


def test_swapped_columns_are_named_with_the_swap() -> None:
    mapping = {"prompt": "question", "chosen": "rejected", "rejected": "chosen"}
    spec = make_spec("dpo", data=[{"source": "sample:manners", "mapping": mapping}])
    swap = diagnoses_of(dpo_events(0.1, 0.7, LEARNED), spec)[0]
    assert swap.id == "pairs_swapped"
    assert changes_of(swap) == {"data.0.mapping": {"prompt": "question", "chosen": "chosen", "rejected": "rejected"}}  # fmt: skip
    plain = make_spec("dpo", data=[{"source": "sample:manners", "mapping": {"chosen": "answer_a", "rejected": "answer_b"}}])  # fmt: skip
    assert ids_of(dpo_events(0.1, 0.7, LEARNED), plain) == []


def test_memorised_examples_are_named() -> None:
    (diagnosis,) = diagnoses_of(sft_events(last={"eval/loss": 5.1}))
    assert (diagnosis.id, diagnosis.severity) == ("memorised", "wrong")
    assert changes_of(diagnosis) == {"knobs.epochs": 1.0, "knobs.steps": None}


def test_what_was_forgotten_and_answers_without_end_are_named() -> None:
    assert ids_of(sft_events(last={"probe/unrelated_rest_loss": 7.0})) == ["forgotten"]
    spec = make_spec(knobs={"end_tokens": "none"})
    (diagnosis,) = diagnoses_of(sft_events(last={"probe/answer_end": 0.02}), spec)
    assert diagnosis.id == "end_not_learned"
    assert changes_of(diagnosis) == {"knobs.end_tokens": "all"}


def test_the_verdict_says_the_worst_first_and_prose_is_judged_by_more_than_exact_match() -> None:
    events = typed_events(*sft_events(last={"probe/unrelated_rest_loss": 7.0}))
    text = verdict(events, make_spec(), 100)
    assert text.startswith("It forgot what it knew")
    assert without_diagnosis(text) == "On 100 examples it never saw, the loss fell from 4.00 to 0.70 (lower is better)."
    prose = typed_events(*sft_events(first={"eval/exact_match": 0.0}, last={"eval/exact_match": 0.0}))
    assert verdict(prose, make_spec(), 100) == "On 100 examples it never saw, the loss fell from 4.00 to 0.70 (lower is better)."  # fmt: skip
    both = typed_events(*sft_events(first={"eval/exact_match": 0.0}, last={"eval/exact_match": 0.01}))
    assert "rose from 0 % to 1 %, and the loss fell" in verdict(both, make_spec(rewards=[{"name": "exact_match"}]), 100)


# -- the result is an earlier checkpoint, or the run went on ----------------------------------------------------------


def best_in_the_middle() -> list[dict[str, Any]]:
    """A run whose held-out loss was best at step 20, which became its result, and rose afterwards."""
    losses = [(0, 4.0), (20, 1.2), (40, 3.0), (60, 4.3)]
    evaluations = [
        {"kind": "eval", "step": step, "set": "holdout", "metrics": {"eval/loss": loss}} for step, loss in losses
    ]
    steps = [
        {"kind": "step", "step": step, "of": 60, "metrics": {"train/loss": max(0.01, 4 - step / 10)}}
        for step in range(1, 61)
    ]
    saved = {"kind": "saved", "step": 20, "what": "adapter", "path": "adapter"}
    return [evaluations[0], *steps, *evaluations[1:], saved, {"kind": "done", "why": "finished", "adapter": "adapter"}]


def test_a_result_of_an_earlier_checkpoint_is_not_judged_by_what_came_after_it() -> None:
    assert ids_of(best_in_the_middle()) == []
    text = verdict(typed_events(*best_in_the_middle()), make_spec(), 10)
    assert "fell from 4.00 to 1.20" in text
    assert "by heart" not in text
    judged_by_the_last = diagnose_events(typed_events(*best_in_the_middle()), make_spec(), result_step=60)
    assert [diagnosis.id for diagnosis in judged_by_the_last] == ["memorised"]


def test_a_failure_of_an_earlier_attempt_is_not_the_ending_of_a_run_that_went_on() -> None:
    failed = {
        "kind": "failed",
        "reason": "diverged",
        "text": "At step 11 train/loss is no longer a number.",
        "advice": "",
    }
    healthy = run_events({"train/loss": HEALTHY_LOSS}, {"eval/loss": 4.0}, {"eval/loss": 0.6})
    assert ids_of([failed, *healthy]) == []
    assert ids_of([*healthy[:12], failed]) == ["not_a_number"]


def test_a_run_that_stopped_early_is_not_told_that_it_made_few_steps() -> None:
    losses = [4.0 - number / 10 for number in range(30)]
    early = run_events({"train/loss": losses}, {"eval/loss": 4.0}, {"eval/loss": 4.0}, of=300)
    early[-1] = early[-1] | {"why": "early"}
    [diagnosis] = [diagnosis for diagnosis in diagnoses_of(early) if diagnosis.id in ("no_gain", "memorised")]
    assert "few" not in diagnosis.advice
