"""Diagnoses of what a run took from its examples: labels that say nothing, memorising, forgetting, answers without end."""

from __future__ import annotations

import re
from collections.abc import Iterator

from app.history import metric_labels
from app.history.diagnoses.evidence import Diagnosis, Evidence, rate_remedy
from app.history.diagnoses.optimization import ENOUGH_STEPS, FEW_STEPS, more_steps
from app.history.summary import format_metric

_MIN_STEPS = 8
_CONSTANT = 0.98  # share of the rows that have the most common answer
_FELL = 0.7  # the training loss fell below this share of its start
_FORGOTTEN = 4.0  # nats a token by which answers to unrelated questions became less likely
_END_LOST = 0.5  # chance that the model ends where an answer ends
_NO_GRADIENT, _NO_MARGIN = 1e-5, 1e-6  # rounding errors alone
_FULL_MARKS = 0.95  # share from which nothing more can be gained
_MATCHING_STEPS = 20  # before that, which answer belongs to which question is not learned yet
_PREFERRED_BEFORE = 0.95  # share of pairs whose chosen answer was likelier from the start
_WORSE_NAMES = re.compile(r"reject|worse|worst|bad|lose|loser|negative|disprefer|dislike", re.IGNORECASE)
_BETTER_NAMES = re.compile(r"chosen|better|best|good|win|winner|positive|prefer|like", re.IGNORECASE)


def diagnose_examples(run: Evidence) -> Iterator[Diagnosis | None]:
    """What is wrong with the examples."""
    yield _pairs_swapped(run) or _already_preferred(run)
    yield _no_gradient(run)
    yield _answers_constant(run)


def diagnose_learning(run: Evidence) -> Iterator[Diagnosis | None]:
    """What is wrong with what was taken from the examples."""
    yield _forgotten(run)
    yield _memorised(run) or _answers_unrelated(run)
    yield _end_not_learned(run)


def diagnose_gain(run: Evidence) -> Iterator[Diagnosis | None]:
    """That nothing was gained, where no cause is known."""
    if not run.is_over or run.step < _MIN_STEPS or run.has_improved or not (run.score_names or run.ends("eval/loss")):
        return
    scores = [(name, ends) for name in run.score_names if (ends := run.ends(name))]
    name, (first, last) = scores[0] if scores else ("eval/loss", run.ends("eval/loss") or (0.0, 0.0))
    if scores and min(first, last) >= _FULL_MARKS:
        return
    title = metric_labels.labels_by_metric(run.spec.to_dict()).get(name, name.removeprefix("eval/"))
    check = (
        "look at its answers: an easier reward or more attempts may help."
        if run.needs_rewards
        else "check whether labels or answers are assigned to the right rows, or bring more examples."
    )
    is_short = run.of <= run.step < FEW_STEPS  # not one that stopped early: it had more to make
    few = f"{run.step} steps are few: let it make about {ENOUGH_STEPS}. If that changes nothing, " if is_short else ""
    yield Diagnosis(
        "no_gain",
        "learned nothing that carries over",
        "wrong",
        f"It learned nothing that carries over to examples it never saw: “{title.removeprefix('held-out: ')}” was"
        f" {format_metric(name.removeprefix('eval/'), first)} before and is {format_metric(name.removeprefix('eval/'), last)}"
        " now, which may be chance.",
        few + check if few else check[0].upper() + check[1:],
        more_steps(run) if is_short else None,
    )


def _pairs_swapped(run: Evidence) -> Diagnosis | None:
    """The mapping takes the worse answers from a column with a better name, and the other way round."""
    for index, source in enumerate(run.spec.data):
        chosen, rejected = source.mapping.get("chosen", ""), source.mapping.get("rejected", "")
        if _WORSE_NAMES.search(chosen) and _BETTER_NAMES.search(rejected):
            return Diagnosis(
                "pairs_swapped",
                "better and worse are swapped",
                "wrong",
                f"It learned to prefer the answers in the column “{chosen}” to those in “{rejected}”.",
                "Swap the two columns, and start again.",
                {
                    "title": f"Prefer “{rejected}”",
                    "changes": {f"data.{index}.mapping": source.mapping | {"chosen": rejected, "rejected": chosen}},
                },
            )
    return None


def _no_gradient(run: Evidence) -> Diagnosis | None:
    """Nothing pulled on the weights: as where both answers of every pair are the same."""
    norms, margins = run.values("train/grad_norm"), run.values("prefer/margin")
    has_margin = any(abs(margin) > _NO_MARGIN for margin in margins)
    if run.needs_rewards or len(norms) < _MIN_STEPS or has_margin or (not margins and max(norms) > _NO_GRADIENT):
        return None
    if not margins:
        return Diagnosis(
            "no_gradient",
            "nothing to learn", "wrong", "Nothing was learned: no example pulled on a weight (the gradient was 0).",
            "Check in the preview what is learned.",
        )  # fmt: skip
    return Diagnosis(
        "pairs_equal",
        "both answers are the same",
        "wrong",
        "The better and the worse answer of every pair are the same as the model reads them, so there was nothing to prefer.",
        "Compare both answers in the preview: they may differ only behind the length limit (max_length).",
        {"title": "Read up to 1,024 tokens", "changes": {"knobs.max_length": 1024}}
        if int(run.spec.knobs.get("max_length") or 1024) < 1024
        else None,
    )


def _answers_constant(run: Evidence) -> Diagnosis | None:
    """Nearly all examples have the same answer, or the same label."""
    answer, label = ((run.values(f"probe/common_{kind}") or [0.0])[0] for kind in ("answer", "label"))
    if max(answer, label) < _CONSTANT or run.needs_rewards:
        return None
    how_many = "All" if max(answer, label) == 1 else f"{max(answer, label):.0%} of"
    if label >= _CONSTANT:
        return Diagnosis(
            "labels_constant",
            "all labels are the same",
            "wrong",
            f"{how_many} the examples have the same label, so there was nothing to tell apart. A low loss says nothing here.",
            "Check which column holds the labels, and bring examples of both kinds.",
        )
    return Diagnosis(
        "answers_constant",
        "all answers are the same",
        "wrong",
        f"{how_many} the examples have the same answer, so it learned to say one thing whatever is asked. A low loss says"
        " nothing here.",
        "Check which column holds the answers, and bring examples with different ones.",
    )


def _already_preferred(run: Evidence) -> Diagnosis | None:
    """The untouched model agreed with the pairs from the start: they may be swapped."""
    preferred = run.ends("eval/preferred")
    if preferred is None or run.spec.method == "tpo" or preferred[0] < _PREFERRED_BEFORE:
        return None
    return Diagnosis(
        "already_preferred",
        "pairs had little to teach",
        "wrong",
        f"The untouched model found the better answer likelier in {preferred[0]:.0%} of the held-out pairs, so these pairs"
        " had little to teach.",
        "Check whether chosen and rejected are swapped: look at both answers in the preview.",
    )


def _answers_unrelated(run: Evidence) -> Diagnosis | None:
    """Held-out answers are as likely after another question as after their own."""
    if _answers_constant(run):  # which says it already
        return None
    loss = run.trend("train/loss")
    has_learned = run.loss_fell_held_out or (loss is not None and loss[1] < _FELL * loss[0])
    if (
        not run.ignores_questions
        or not run.imitates
        or run.step < _MATCHING_STEPS
        or not run.is_over
        or not has_learned
    ):
        return None
    return Diagnosis(
        "answers_unrelated",
        "answers do not follow from questions",
        "wrong",
        "Its answers do not follow from the questions: held-out answers are as likely after another row's question as after"
        " their own. It learned how answers look, not which one is right.",
        "Check whether answers and questions belong together: labels may be shuffled, or the question's column missing. If they"
        " do belong together, let it learn longer.",
    )


def _memorised(run: Evidence) -> Diagnosis | None:
    """The training examples are learned by heart, and held-out ones are no better than before."""
    if not run.loss_tells or run.step < _MIN_STEPS:
        return None
    loss, held_out = run.trend("train/loss"), run.ends("eval/loss")
    accuracy = run.trend("prefer/accuracy") or run.trend("score/accuracy")
    knows_training = (loss is not None and loss[1] < _FELL * loss[0]) or (
        accuracy is not None and accuracy[1] > max(accuracy[0], 0.5) + 0.25
    )
    if not knows_training or run.has_improved or held_out is None:
        return None
    epochs = run.spec.knobs.get("epochs")
    return Diagnosis(
        "memorised",
        "learned by heart",
        "wrong" if run.is_over else "careful",
        f"It learned its examples by heart: on them the loss fell to {loss[1] if loss else 0:.2f}, on examples it never saw it"
        f" went from {held_out[0]:.2f} to {held_out[1]:.2f}.",
        "Bring more and more varied examples, or let it see each less often. If answers cannot be guessed from questions,"
        " as with codes or made-up facts, no training makes them right for new questions.",
        {"title": "One pass", "changes": {"knobs.epochs": 1.0, "knobs.steps": None}}
        if isinstance(epochs, int | float) and not run.spec.knobs.get("steps") and epochs > 1
        else None,
    )


def _end_not_learned(run: Evidence) -> Diagnosis | None:
    """It does not end where held-out answers end."""
    ends = run.ends("probe/answer_end")
    if ends is None or not run.imitates or run.step < _MIN_STEPS or ends[1] >= _END_LOST:
        return None
    return Diagnosis(
        "end_not_learned",
        "does not know when to stop",
        "wrong",
        f"It does not know when to stop: where a held-out answer ends, it would end with a chance of {ends[1]:.0%}"
        f" ({ends[0]:.0%} before), and else go on.",
        "Let the end of every answer be learned (end_tokens), and keep examples from being cut off (max_length).",
        {"title": "Learn the end of every answer", "changes": {"knobs.end_tokens": "all"}}
        if run.spec.knobs.get("end_tokens", "all") != "all"
        else None,
    )


def _forgotten(run: Evidence) -> Diagnosis | None:
    """Answers to plain questions that have nothing to do with the examples got lost."""
    loss = run.ends("probe/unrelated_rest_loss")
    if loss is None or loss[1] - loss[0] < _FORGOTTEN or run.spec.knobs.get("from_scratch"):
        return None
    return Diagnosis(
        "forgotten",
        "forgot what it knew",
        "wrong",
        f"It forgot what it knew: plain questions that have nothing to do with your examples are answered far worse (loss"
        f" {loss[0]:.2f} before, {loss[1]:.2f} now).",
        "Mix in everyday examples, lower the learning rate or make fewer passes; a larger model forgets less.",
        rate_remedy(run, run.lower_rate),
    )
