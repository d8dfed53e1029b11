"""The model tries several answers to each prompt, and does more of what earned the higher reward."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import field_validator, model_validator

from app.engine.generation import tool_calling
from app.engine.generation.sampling import arguments
from app.engine.trainers.group_rl import recipes, trainer
from app.setup.knob import knob

if TYPE_CHECKING:
    from app.engine.job import Job
    from app.setup.spec import Spec

TITLE = "Earn rewards"
FAMILY = "rewards"
LAYOUTS = ("prompt",)
NEEDS_REWARDS = True
CURVES, defaults = trainer.CURVES | {"cispo_clip_ratio": trainer.CURVES["clip_ratio/region_mean"]}, trainer.defaults

LEFT = {"recipe": "As the recipe says."}
EMPTY = "as the recipe says"


class Knobs(trainer.GroupKnobs):
    recipe: Literal[
        "basic", "grpo", "dapo", "dr_grpo", "gspo", "gdpo", "cispo", "scalerl", "sapo", "luspo", "vespo", "lite_ppo", "eighty_twenty", "intellect",
    ] = knob(
        "basic", "A published way of learning from rewards: several settings under Advanced at once. What you set there yourself counts more.",
        everyday=True, choices={name: one.said for name, one in recipes.RECIPES.items()})  # fmt: skip
    loss: Literal["recipe", "grpo", "dr_grpo", "dapo", "bnpo", "cispo", "sapo", "luspo", "vespo"] = knob(
        "recipe", "How tokens are weighed against one another.",
        choices=LEFT | {
            "grpo": "Each answer counts alike, so that tokens of short answers count more.",
            "dr_grpo": "Every token counts alike, over a fixed length: no favour for long or short.",
            "dapo": "Every token of a round of answers counts alike.",
            "bnpo": "Every token of a batch counts alike.",
            "cispo": "As dapo, but a token that has become likelier counts up to a lid instead of being cut off.",
            "sapo": "As grpo, but what has moved far fades out instead of being cut off.",
            "luspo": "Whole answers, each as much as it is long.",
            "vespo": "Whole answers, each by how likely the model still finds it.",
        })  # fmt: skip
    level: Literal["recipe", "token", "sequence"] = knob(
        "recipe", "What is compared with the model that wrote the answers.",
        choices=LEFT | {"token": "Each token by itself.", "sequence": "The answer as a whole: steadier, above all for mixtures of experts."})  # fmt: skip
    scale_rewards: Literal["recipe", "group", "batch", "none"] = knob(
        "recipe", "What rewards are divided by.",
        choices=LEFT | {"group": "The spread among a prompt's attempts.", "batch": "The spread in the batch.",
                        "none": "Nothing: prompts at which attempts differ more count more."})  # fmt: skip
    combine: Literal["recipe", "sum_then_normalize", "normalize_then_sum"] = knob(
        "recipe", "How several rewards become one.",
        choices=LEFT | {"sum_then_normalize": "They are added up, then compared.",
                        "normalize_then_sum": "Each is compared by itself, then they are added up: none drowns another."})  # fmt: skip
    kl: float | None = knob(
        None, "How strongly the model is held near its start (beta). 0 lets it go, 0.04 holds it.", low=0.0, high=10.0, empty=EMPTY)  # fmt: skip
    clip: float | None = knob(
        None, "How far one correction may take a token down from the model that wrote the answers.", low=1e-5, high=100.0, empty=EMPTY)  # fmt: skip
    clip_high: float | None = knob(
        None, "How far it may take a token up. More room here keeps the model trying new things. In the loss cispo: how much a token may "
        "count at most.", low=1e-5, high=100.0, empty=EMPTY)  # fmt: skip
    ratio_cap: float | None = knob(
        None, "A lid on how much likelier a token of a bad answer may count, against sudden breakdowns (delta); 4 is usual.",
        low=1.0, high=1000.0, empty=EMPTY)  # fmt: skip
    cut_off_answers: Literal["recipe", "learned", "left_out"] = knob(
        "recipe", "What becomes of answers that reached the longest length.",
        choices=LEFT | {"learned": "They count as they are.", "left_out": "They teach nothing, good or bad."})  # fmt: skip
    uncertain_tokens: float | None = knob(
        None, "Learns only from this share of the tokens, those the model was least sure of; 1 takes all.", low=0.0, high=1.0, empty=EMPTY)  # fmt: skip
    written_ahead: int | None = knob(
        None, "For how many corrections answers are written at once. More is quicker, and the later ones come from an older model.",
        low=1, high=256, unit="corrections", empty=EMPTY)  # fmt: skip
    entropy_bonus: float = knob(
        0.0, "Rewards the model for staying undecided, so that it goes on trying; 0 does not.", low=0.0, high=1.0)  # fmt: skip
    entropy_target: float | None = knob(
        None, "Lets that bonus rise and fall by itself, to keep the curve “how undecided the model is” from falling below this. Set it near "
        "what the curve shows early on.", low=0.0, high=20.0, empty="the bonus stays as it is")  # fmt: skip
    drop_stale: float | None = knob(
        None, "Leaves out bad answers that the model has already moved away from by this much for each token, on average; 0.5 is a start.",
        low=0.0, high=100.0, empty="none are left out")  # fmt: skip
    tools: list[str] = knob(
        [], f"What the model may call while it answers, one on each line: {tool_calling.menu()}. Its chat format must be one that can, such as "
        "trl:qwen3. The longest answer counts calls and results too.")  # fmt: skip
    tool_turns: int = knob(
        4, "How often in one answer the model may call its tools and go on with what they say.", low=1, high=64, safe=(1, 8), unit="times")  # fmt: skip

    @field_validator("tools")
    @classmethod
    def tools_are_there(cls, lines: list[str]) -> list[str]:
        tool_calling.parsed(lines)
        return lines

    @model_validator(mode="after")
    def settings_fit_together(self) -> Knobs:
        if said := recipes.mismatch(self):
            raise ValueError(said)
        return self


def round_of(knobs: Knobs) -> int:
    """For how many steps answers are written at once."""
    return recipes.effective(knobs)["written_ahead"] * knobs.times_used


def check(spec: Spec) -> None:
    """Before anything is started."""
    tool_calling.check(spec)


def build(job: Job) -> Any:
    """TRL's GRPOTrainer with our rewards, telling what it tried."""
    from trl import GRPOConfig, GRPOTrainer

    knobs, tools = job.knobs, tool_calling.given(job)
    own = recipes.arguments(knobs)
    if job.preview:
        own["beta"] = 0.0  # nothing is held near its start in a look at the prompts: no second model is loaded
    args = job.arguments(
        GRPOConfig,
        num_generations=knobs.attempts,
        max_completion_length=knobs.max_completion_length,
        num_iterations=knobs.times_used,
        chat_template_kwargs=job.template_arguments,
        reward_weights=[reward.weight for reward in job.spec.rewards],
        entropy_coef=knobs.entropy_bonus,
        use_adaptive_entropy=knobs.entropy_target is not None,
        entropy_target=knobs.entropy_target or 0.0,
        off_policy_mask_threshold=knobs.drop_stale,
        **arguments(knobs),
        **own,
    )
    if not tools:
        return trainer.build(job, GRPOTrainer, args)
    args.max_tool_calling_iterations = knobs.tool_turns
    return trainer.build(job, GRPOTrainer, args, tool_calling.Calling, **tools)
