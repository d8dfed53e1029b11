"""Recipes: published ways of learning from rewards, each a handful of settings under the name of its paper."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

FOLLOW = "recipe"  # the value of a choice that is left to the recipe; a number is left to it by leaving it empty


@dataclass(frozen=True)
class Recipe:
    """sets: the settings it changes from BASIC, in the words of app/engine/methods/grpo.py. paper: title and arXiv number."""

    sentence: str
    paper: str
    sets: dict[str, Any]

    @property
    def said(self) -> str:
        """All of it for a form: what it is for, what it sets, and where that was published."""
        named = ", ".join(f"{name.replace('_', ' ')} {shown(value)}" for name, value in self.sets.items())
        return f"{self.sentence}{f' Sets {named}.' if named else ''}{f' {self.paper}.' if self.paper else ''}"


def shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float | int) else str(value)


# TRL's own defaults; a recipe says what it changes.
BASIC: dict[str, Any] = {
    "loss": "dapo",
    "level": "token",
    "scale_rewards": "group",
    "combine": "sum_then_normalize",
    "clip": 0.2,
    "clip_high": None,
    "ratio_cap": None,
    "kl": 0.0,
    "cut_off_answers": "learned",
    "uncertain_tokens": 1.0,
    "written_ahead": 1,
}

LID = 5.0  # of CISPO: how much a token may count at most
# Figures from the papers, as TRL's paper index quotes them; CISPO's upper clip is the one that ScaleRL's authors found.
RECIPES = {
    "basic": Recipe("A good start: every token counts alike, and nothing holds the model to its start.", "", {}),
    "grpo": Recipe(
        "As first published: each answer counts alike however long, with a pull back to the start.",
        "DeepSeekMath, arXiv 2402.03300",
        {"loss": "grpo", "kl": 0.04},
    ),
    "dapo": Recipe(
        "For long reasoning: rare words may grow faster, and answers that were cut off teach nothing. Its dynamic sampling is left out; replay "
        "comes near it.",
        "DAPO: An Open-Source LLM Reinforcement Learning System at Scale, arXiv 2503.14476",
        {"clip_high": 0.28, "cut_off_answers": "left_out"},
    ),
    "dr_grpo": Recipe(
        "Against answers that grow ever longer: no favour for long wrong answers, none for easy prompts.",
        "Understanding R1-Zero-Like Training, arXiv 2503.20783",
        {"loss": "dr_grpo", "scale_rewards": "none"},
    ),
    "gspo": Recipe(
        "Steadier, above all for mixtures of experts: weighs whole answers instead of single tokens.",
        "Group Sequence Policy Optimization, arXiv 2507.18071",
        {"loss": "grpo", "level": "sequence", "clip": 3e-4, "clip_high": 4e-4, "written_ahead": 4},
    ),
    "gdpo": Recipe(
        "For several rewards at once: each is made comparable by itself before they are added up, so that none drowns another.",
        "GDPO: Group reward-Decoupled Normalization Policy Optimization, arXiv 2601.05242",
        {"combine": "normalize_then_sum"},
    ),
    "cispo": Recipe(
        "No token is shut out: caps how much one may count instead of cutting it off.",
        "MiniMax-M1, arXiv 2506.13585",
        {"loss": "cispo", "clip_high": LID},
    ),
    "scalerl": Recipe(
        "What held up best when much computing was spent, in part: CISPO, with rewards compared across the batch.",
        "The Art of Scaling Reinforcement Learning Compute for LLMs, arXiv 2510.13786",
        {"loss": "cispo", "clip_high": LID, "scale_rewards": "batch"},
    ),
    "sapo": Recipe(
        "Fades out what has moved too far instead of clipping it.",
        "Soft Adaptive Policy Optimization, arXiv 2511.20347",
        {"loss": "sapo"},
    ),
    "luspo": Recipe(
        "GSPO without its leaning towards short answers.",
        "Length-Unbiased Sequence Policy Optimization, arXiv 2602.05261",
        {"loss": "luspo", "level": "sequence", "clip": 2e-3, "clip_high": 2.5e-3},
    ),
    "vespo": Recipe(
        "Bears answers that an older model wrote: weighs each by how likely it still is.",
        "VESPO: Variational Sequence-Level Soft Policy Optimization, arXiv 2602.10693",
        {"loss": "vespo"},
    ),
    "lite_ppo": Recipe(
        "Two simple changes that did as well as many: rewards compared across the batch, every token alike.",
        "Tricks or Traps? A Deep Dive into RL for LLM Reasoning, arXiv 2508.08221",
        {"scale_rewards": "batch"},
    ),
    "eighty_twenty": Recipe(
        "DAPO on the fifth of the tokens that the model was least sure of: where an answer takes its turns.",
        "Beyond the 80/20 Rule, arXiv 2506.01939",
        {"clip_high": 0.28, "cut_off_answers": "left_out", "uncertain_tokens": 0.2},
    ),
    "intellect": Recipe(
        "With a lid on tokens that have become much likelier, against sudden breakdowns.",
        "INTELLECT-2, arXiv 2505.07291",
        {"ratio_cap": 4.0, "kl": 0.001},
    ),
}  # fmt: skip


def effective(knobs: Any) -> dict[str, Any]:
    """The recipe's settings with those that were set by hand in their place."""
    meant = BASIC | RECIPES[knobs.recipe].sets
    own = {name: getattr(knobs, name) for name in meant}
    meant |= {name: value for name, value in own.items() if value is not None and value != FOLLOW}
    lidded = [one == "cispo" for one in (meant["loss"], (BASIC | RECIPES[knobs.recipe].sets)["loss"])]
    if (
        lidded[0] != lidded[1] and knobs.clip_high is None
    ):  # the clip of another loss would be a lid far too low, and the other way round
        meant["clip_high"] = LID if lidded[0] else None
    return meant


def arguments(knobs: Any) -> dict[str, Any]:
    """What TRL's GRPOConfig is told."""
    meant = effective(knobs)
    return {
        "loss_type": meant["loss"],
        "importance_sampling_level": meant["level"],
        "scale_rewards": meant["scale_rewards"],
        "multi_objective_aggregation": meant["combine"],
        "epsilon": meant["clip"],
        "epsilon_high": meant["clip_high"],
        "delta": meant["ratio_cap"],
        "beta": meant["kl"],
        "mask_truncated_completions": meant["cut_off_answers"] == "left_out",
        "top_entropy_quantile": meant["uncertain_tokens"],
        "steps_per_generation": knobs.accumulation * meant["written_ahead"],
    }


# Settings that a loss does not read.
UNREAD = {
    "cispo": ("clip", "ratio_cap"),
    "sapo": ("clip", "clip_high", "ratio_cap"),
    "vespo": ("clip", "clip_high", "ratio_cap"),
}
# Losses that add up single tokens: with weights of whole answers TRL only warns, and learns something else than any paper.
EACH_TOKEN = ("bnpo", "dr_grpo", "dapo", "cispo")


def mismatch(knobs: Any) -> str | None:
    """A sentence where the settings contradict one another."""
    meant = effective(knobs)
    loss, level = meant["loss"], meant["level"]
    if loss == "luspo" and level != "sequence":
        return "the loss luspo weighs whole answers; set level to sequence, or take the recipe luspo"
    if loss == "vespo" and level != "token":
        return "the loss vespo finds the weight of whole answers by itself; set level to token"
    if level == "sequence" and loss in EACH_TOKEN:
        return f"the loss {loss} weighs single tokens; set level to token, or for whole answers take the loss grpo (recipe gspo) or luspo"
    if unread := [name for name in UNREAD.get(loss, ()) if getattr(knobs, name) is not None]:
        return (
            f"the loss {loss} does not read {' and '.join(unread)}; leave {'it' if len(unread) == 1 else 'them'} empty"
        )
    if loss == "cispo":
        return (
            None
            if meant["clip_high"] >= 1
            else f"clip_high ({meant['clip_high']:g}) is how much a token may count at most in the loss cispo; set it to 1 or more, {LID:g} is usual"
        )
    if meant["clip_high"] is not None and meant["clip_high"] < meant["clip"]:
        return f"clip_high ({meant['clip_high']:g}) is below clip ({meant['clip']:g}); it is meant to leave more room upwards"
    if (
        loss not in UNREAD
        and meant["ratio_cap"] is not None
        and meant["ratio_cap"] <= 1 + (meant["clip_high"] or meant["clip"])
    ):
        return f"ratio_cap ({meant['ratio_cap']:g}) would cut off what clip still allows; set it above {1 + (meant['clip_high'] or meant['clip']):g}"
    return None
