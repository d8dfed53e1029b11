"""Diagnoses of runs that learn from rewards: rewards that say nothing, and models that please them in the wrong way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from app.contracts import Remedy
from app.history import metric_labels
from app.history.diagnoses.evidence import Diagnosis, Evidence, rate_remedy

_MIN_STEPS = 5  # before that, rewards may be equal by chance
_SAME = 1e-6  # rewards closer than this are equal
_ALMOST_ALL_SILENT = 0.9  # share of prompts whose attempts all earned the same
_MANY_CUT_OFF = 0.5  # share of answers
_LENGTH_DECIDES = 0.97  # correlation of reward and length, either way
_LENGTH_REWARDS = ("length_band", "not_overlong")
_KL_FAR = 2.0  # nats a token: what the model writes was then e² times less likely at its start, at each token
_ENTROPY_LEFT = 0.1  # share of the entropy at the start
_ONE_ANSWER, _SEVERAL_ANSWERS = 1.5, 4.0  # different answers in a round
_FEW_ANSWERS = 0.35  # different answers for each prompt of a round
_FULL_MARKS = 0.95  # rewards from here on are all that there is to earn


def diagnose_rewards(run: Evidence) -> Iterator[Diagnosis | None]:
    """What is wrong with the rewards, the gravest first."""
    if run.method is None or not run.method.needs_rewards:
        return
    yield _missing(run) or _constant(run)
    yield _only_length(run)
    yield _far_from_start(run)
    yield _says_one_thing(run) or _collapsed(run)
    yield _no_spread(run)
    yield _cut_off(run)


def _missing(run: Evidence) -> Diagnosis | None:
    """No answer got a score at all."""
    names = [name for name in run.series if name.startswith("reward/") and name.endswith("/mean")]
    single = [name for name in names if name != "reward/mean"]
    if run.step < _MIN_STEPS or not single or any(run.values(name) for name in single):
        return None
    return Diagnosis(
        "rewards_missing",
        "no answer got a score",
        "wrong",
        "No answer got a score: every reward said that it does not apply, so nothing was learned.",
        "Look at the column that the reward compares with: it may be empty or bear another name.",
    )


def _constant(run: Evidence) -> Diagnosis | None:
    """Every answer of the whole run earned the same."""
    rewards = run.values("reward/mean")
    if len(rewards) < _MIN_STEPS or max(rewards) - min(rewards) > _SAME:
        return None
    if run.values("policy/silent_groups") and (run.latest_mean("policy/silent_groups", 1.0) or 0) < _ALMOST_ALL_SILENT:
        return None
    titles = " and ".join(f"“{title}”" for title in metric_labels.reward_labels(run.spec.to_dict()).values())
    if abs(rewards[0]) <= _SAME:
        text, cause = f"Every answer earned 0 by {titles}", "Make the reward easier, or reward steps on the way to it"
    elif rewards[0] >= _FULL_MARKS:
        text, cause = (
            f"Every answer earned full marks by {titles} from the start",
            "Make the reward harder: one that some answers miss",
        )
    else:
        text, cause = f"Every answer earned the same by {titles}, {rewards[0]:.3g}", "Choose a reward that differs"
    return Diagnosis(
        "reward_constant",
        "all answers earned the same",
        "wrong",
        f"{text}, so there was nothing to prefer and nothing was learned.",
        f"{cause}. A dry run shows what answers earn before anything is learned.",
    )


def _no_spread(run: Evidence) -> Diagnosis | None:
    """Prompts differ in what they earn, but the attempts at one prompt do not."""
    silent = run.latest_mean("policy/silent_groups", 1.0)
    if silent is None or len(run.values("policy/silent_groups")) < _MIN_STEPS or silent < _ALMOST_ALL_SILENT:
        return None
    if run.has_improved or _constant(run) or _missing(run):  # learned already, or said already
        return None
    temperature = run.spec.knobs.get("temperature")
    is_cold = isinstance(temperature, int | float) and temperature < 0.7
    remedy: Remedy | None = {"title": "Sample at temperature 1", "changes": {"knobs.temperature": 1.0}}
    cause = "the attempts are alike: a temperature of 1 makes them differ" if is_cold else (
        "let the reward judge the answer and not the question, try more attempts, or bring prompts that the model"
        " answers right only now and then"
    )  # fmt: skip
    return Diagnosis(
        "no_spread",
        "attempts at a prompt earned the same",
        "wrong",
        f"At {silent:.0%} of the prompts all attempts earned the same, so they had nothing to teach"
        " (groups without spread have no advantage).",
        f"{cause[0].upper()}{cause[1:]}.",
        remedy if is_cold else None,
    )


def _only_length(run: Evidence) -> Diagnosis | None:
    """The reward is a function of the length."""
    names = [reward.name for reward in run.spec.rewards if reward.weight]
    is_declared = bool(names) and all(name in _LENGTH_REWARDS for name in names)
    correlations = run.values("probe/length_correlation")
    follows = len(correlations) >= _MIN_STEPS and (
        sum(abs(value) >= _LENGTH_DECIDES for value in correlations) >= 0.8 * len(correlations)
    )
    if not (is_declared or follows) or run.step < _MIN_STEPS:
        return None
    return Diagnosis(
        "reward_is_length",
        "only length was rewarded",
        "wrong",
        "Only the length of an answer earned reward: what the answers say was free to get worse.",
        "Add a reward for what the answer should say, and keep the length as a second one with a small weight.",
    )


def _cut_off(run: Evidence) -> Diagnosis | None:
    """Answers do not end within the limit."""
    share = run.latest_mean("policy/cut_off")
    if share is None or len(run.values("policy/cut_off")) < _MIN_STEPS or share < _MANY_CUT_OFF:
        return None
    limit: Any = run.spec.knobs.get("max_completion_length")
    limit_text = f" at {limit} tokens" if limit else ""
    remedy: Remedy | None = None
    if isinstance(limit, int):
        remedy = {"title": f"Allow {4 * limit} tokens", "changes": {"knobs.max_completion_length": 4 * limit}}
    return Diagnosis(
        "cut_off",
        "answers were cut off",
        "wrong",
        f"{share:.0%} of the answers were cut off{limit_text}, so they were scored without their end.",
        "Give answers more room (max_completion_length), or reward short ones.",
        remedy,
    )


def _far_from_start(run: Evidence) -> Diagnosis | None:
    """The KL divergence from the reference grew large."""
    distance = run.latest_mean("policy/kl", 0.2)
    if distance is None or distance < _KL_FAR:
        return None
    penalty = "beta" if "beta" in run.spec.knobs else "kl"
    return Diagnosis(
        "kl_runaway",
        "ran away from its start",
        "wrong",
        f"The model ran away from its start: the KL divergence reached {distance:.3g} nats a token."
        " It probably exploits the reward and writes what nobody would say.",
        f"Lower the learning rate to a third, or hold it nearer to its start ({penalty}).",
        rate_remedy(run, run.lower_rate),
    )


def _says_one_thing(run: Evidence) -> Diagnosis | None:
    """The questions of a round get nearly the same answers, which was not so at the start."""
    distinct = run.trend("probe/distinct_answers")
    if distinct is None or distinct[0] < _SEVERAL_ANSWERS:
        return None
    # Few different answers are right where there are few labels, as long as they depend on the question.
    most = max(_ONE_ANSWER, _prompts_of_a_round(run) * _FEW_ANSWERS) if run.ignores_questions else _ONE_ANSWER
    if distinct[1] > most:
        return None
    return Diagnosis(
        "entropy_collapse",
        "says the same to everything",
        "wrong",
        f"The model says the same to almost every question: a round had {distinct[0]:.0f} different answers at first, and has"
        f" {distinct[1]:.0f} now (its entropy collapsed).",
        "Lower the learning rate to a third, and reward what only the right answer to each question has.",
        rate_remedy(run, run.lower_rate),
    )


def _prompts_of_a_round(run: Evidence) -> float:
    knobs: dict[str, Any] = run.spec.knobs
    return float(knobs.get("batch_size", 0) * knobs.get("accumulation", 1) / max(1, knobs.get("attempts", 1)))


def _collapsed(run: Evidence) -> Diagnosis | None:
    """The model became certain of its answers without earning all there is."""
    entropy, reward = run.trend("policy/entropy"), run.trend("reward/mean")
    silent = run.latest_mean("policy/silent_groups", 0.2)
    if entropy is None or reward is None or entropy[1] > _ENTROPY_LEFT * entropy[0]:
        return None
    scores = [ends for name in run.score_names if (ends := run.ends(name))]
    has_learned = any(last > first for first, last in scores)
    if has_learned or (reward[1] >= _FULL_MARKS and not scores):
        return None
    share = f", and all attempts at {silent:.0%} of the prompts earn the same" if silent else ""
    return Diagnosis(
        "entropy_collapse",
        "no longer tries anything",
        "wrong",
        f"The model no longer tries anything: its entropy fell from {entropy[0]:.2g} to {entropy[1]:.2g}{share}.",
        "Lower the learning rate to a third, so that it goes on trying while it learns.",
        rate_remedy(run, run.lower_rate),
    )
