"""Recipes: published variants of GRPO, each a few settings under the name of its paper."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol

FROM_RECIPE = "recipe"  # choice that leaves a setting to the recipe; a number is left to it by None


Setting = str | float


@dataclass(frozen=True)
class RecipeSettings:
    """The settings that a recipe may change, by their names in app/engine/methods/grpo.py, with TRL's defaults."""

    loss: str = "dapo"
    level: str = "token"
    combine: str = "sum_then_normalize"
    clip: float = 0.2
    clip_high: float | None = None
    scale_rewards: str = "group"
    ratio_cap: float | None = None
    kl: float = 0.0
    cut_off_answers: str = "learned"
    uncertain_tokens: float = 1.0
    written_ahead: int = 1


class RecipeKnobs(Protocol):
    """A method's settings, which have the names of RecipeSettings too: FROM_RECIPE or None leaves one to the recipe."""

    @property
    def recipe(self) -> str: ...

    @property
    def accumulation(self) -> int: ...


@dataclass(frozen=True)
class Recipe:
    """paper: title, arXiv number."""

    sentence: str
    paper: str
    settings: RecipeSettings

    @property
    def changes(self) -> dict[str, Setting]:
        """The settings that differ from TRL's defaults."""
        names = [field.name for field in fields(RecipeSettings)]
        return {name: own for name in names if (own := getattr(self.settings, name)) != getattr(RecipeSettings(), name)}

    @property
    def description(self) -> str:
        """Text for the form: purpose, settings and publication."""
        settings_text = ", ".join(
            f"{name.replace('_', ' ')} {_format_setting(setting)}" for name, setting in self.changes.items()
        )
        return f"{self.sentence}{f' Sets {settings_text}.' if settings_text else ''}{f' {self.paper}.' if self.paper else ''}"


def _format_setting(setting: Setting) -> str:
    return f"{setting:g}" if isinstance(setting, float | int) else str(setting)


_CISPO_CLIP_HIGH = 5.0  # upper limit of a token's importance weight
# Figures from the papers, as TRL's paper index quotes them; CISPO's upper clip is the one that ScaleRL's authors found.
RECIPES = {
    "basic": Recipe(
        "A good start: every token counts alike, and nothing holds the model to its start.", "", RecipeSettings()
    ),
    "grpo": Recipe(
        "As first published: each answer counts alike however long, with a pull back to the start.",
        "DeepSeekMath, arXiv 2402.03300",
        RecipeSettings(loss="grpo", kl=0.04),
    ),
    "dapo": Recipe(
        "For long reasoning: rare words may grow faster, and answers that were cut off teach nothing. Its dynamic sampling is left out; replay "
        "comes near it.",
        "DAPO: An Open-Source LLM Reinforcement Learning System at Scale, arXiv 2503.14476",
        RecipeSettings(clip_high=0.28, cut_off_answers="left_out"),
    ),
    "dr_grpo": Recipe(
        "Against answers that grow ever longer: no favour for long wrong answers, none for easy prompts.",
        "Understanding R1-Zero-Like Training, arXiv 2503.20783",
        RecipeSettings(loss="dr_grpo", scale_rewards="none"),
    ),
    "gspo": Recipe(
        "Steadier, above all for mixtures of experts: weighs whole answers instead of single tokens.",
        "Group Sequence Policy Optimization, arXiv 2507.18071",
        RecipeSettings(loss="grpo", level="sequence", clip=3e-4, clip_high=4e-4, written_ahead=4),
    ),
    "gdpo": Recipe(
        "For several rewards at once: each is made comparable by itself before they are added up, so that none drowns another.",
        "GDPO: Group reward-Decoupled Normalization Policy Optimization, arXiv 2601.05242",
        RecipeSettings(combine="normalize_then_sum"),
    ),
    "cispo": Recipe(
        "No token is shut out: caps how much one may count instead of cutting it off.",
        "MiniMax-M1, arXiv 2506.13585",
        RecipeSettings(loss="cispo", clip_high=_CISPO_CLIP_HIGH),
    ),
    "scalerl": Recipe(
        "What held up best when much computing was spent, in part: CISPO, with rewards compared across the batch.",
        "The Art of Scaling Reinforcement Learning Compute for LLMs, arXiv 2510.13786",
        RecipeSettings(loss="cispo", clip_high=_CISPO_CLIP_HIGH, scale_rewards="batch"),
    ),
    "sapo": Recipe(
        "Fades out what has moved too far instead of clipping it.",
        "Soft Adaptive Policy Optimization, arXiv 2511.20347",
        RecipeSettings(loss="sapo"),
    ),
    "luspo": Recipe(
        "GSPO without its leaning towards short answers.",
        "Length-Unbiased Sequence Policy Optimization, arXiv 2602.05261",
        RecipeSettings(loss="luspo", level="sequence", clip=2e-3, clip_high=2.5e-3),
    ),
    "vespo": Recipe(
        "Bears answers that an older model wrote: weighs each by how likely it still is.",
        "VESPO: Variational Sequence-Level Soft Policy Optimization, arXiv 2602.10693",
        RecipeSettings(loss="vespo"),
    ),
    "lite_ppo": Recipe(
        "Two simple changes that did as well as many: rewards compared across the batch, every token alike.",
        "Tricks or Traps? A Deep Dive into RL for LLM Reasoning, arXiv 2508.08221",
        RecipeSettings(scale_rewards="batch"),
    ),
    "eighty_twenty": Recipe(
        "DAPO on the fifth of the tokens that the model was least sure of: where an answer takes its turns.",
        "Beyond the 80/20 Rule, arXiv 2506.01939",
        RecipeSettings(clip_high=0.28, cut_off_answers="left_out", uncertain_tokens=0.2),
    ),
    "intellect": Recipe(
        "With a lid on tokens that have become much likelier, against sudden breakdowns.",
        "INTELLECT-2, arXiv 2505.07291",
        RecipeSettings(ratio_cap=4.0, kl=0.001),
    ),
}


def effective_settings(knobs: RecipeKnobs) -> RecipeSettings:
    """The recipe's settings, overridden by the knobs that were set."""
    recipe_settings = RECIPES[knobs.recipe].settings
    overrides = _overrides(knobs)
    settings = replace(recipe_settings, **overrides)
    has_cispo = settings.loss == "cispo"
    if has_cispo != (recipe_settings.loss == "cispo") and "clip_high" not in overrides:
        # CISPO's limit is far above the clip of the other losses, so the recipe's clip_high does not fit the loss that
        # was set
        return replace(settings, clip_high=_CISPO_CLIP_HIGH if has_cispo else None)
    return settings


def _overrides(knobs: RecipeKnobs) -> dict[str, Any]:
    """The settings of a recipe that the knobs set themselves."""
    chosen = {field.name: getattr(knobs, field.name) for field in fields(RecipeSettings)}
    return {name: setting for name, setting in chosen.items() if setting not in (None, FROM_RECIPE)}


def grpo_config_args(knobs: RecipeKnobs) -> dict[str, Setting | None]:
    """Keyword arguments of TRL's GRPOConfig."""
    settings = effective_settings(knobs)
    return {
        "loss_type": settings.loss,
        "importance_sampling_level": settings.level,
        "scale_rewards": settings.scale_rewards,
        "multi_objective_aggregation": settings.combine,
        "epsilon": settings.clip,
        "epsilon_high": settings.clip_high,
        "delta": settings.ratio_cap,
        "beta": settings.kl,
        "mask_truncated_completions": settings.cut_off_answers == "left_out",
        "top_entropy_quantile": settings.uncertain_tokens,
        "steps_per_generation": knobs.accumulation * settings.written_ahead,
    }


# Settings that a loss does not read.
_UNUSED_SETTINGS = {
    "cispo": ("clip", "ratio_cap"),
    "sapo": ("clip", "clip_high", "ratio_cap"),
    "vespo": ("clip", "clip_high", "ratio_cap"),
}
# Losses that sum over tokens: with sequence-level importance weights TRL only warns, and optimizes what no paper
# describes.
_TOKEN_LEVEL_LOSSES = ("bnpo", "dr_grpo", "dapo", "cispo")


def find_contradiction(knobs: RecipeKnobs) -> str | None:
    """A sentence about settings that contradict one another; None where they fit."""
    settings = effective_settings(knobs)
    return _loss_contradiction(_overrides(knobs), settings) or _clip_contradiction(settings)


def _loss_contradiction(overrides: Collection[str], settings: RecipeSettings) -> str | None:
    loss, level = settings.loss, settings.level
    if loss == "luspo" and level != "sequence":
        return "the loss luspo weighs whole answers; set level to sequence, or take the recipe luspo"
    if loss == "vespo" and level != "token":
        return "the loss vespo finds the weight of whole answers by itself; set level to token"
    if level == "sequence" and loss in _TOKEN_LEVEL_LOSSES:
        return f"the loss {loss} weighs single tokens; set level to token, or for whole answers take the loss grpo (recipe gspo) or luspo"
    if unused := [name for name in _UNUSED_SETTINGS.get(loss, ()) if name in overrides]:
        pronoun = "it" if len(unused) == 1 else "them"
        return f"the loss {loss} does not read {' and '.join(unused)}; leave {pronoun} empty"
    return None


def _clip_contradiction(settings: RecipeSettings) -> str | None:
    loss, clip, clip_high, ratio_cap = settings.loss, settings.clip, settings.clip_high, settings.ratio_cap
    if loss == "cispo":
        if clip_high is None or clip_high >= 1:
            return None
        return f"clip_high ({clip_high:g}) is how much a token may count at most in the loss cispo; set it to 1 or more, {_CISPO_CLIP_HIGH:g} is usual"
    if clip_high is not None and clip_high < clip:
        return f"clip_high ({clip_high:g}) is below clip ({clip:g}); it is meant to leave more room upwards"
    highest_ratio = 1 + (clip_high or clip)
    if loss not in _UNUSED_SETTINGS and ratio_cap is not None and ratio_cap <= highest_ratio:
        return f"ratio_cap ({ratio_cap:g}) would cut off what clip still allows; set it above {highest_ratio:g}"
    return None
