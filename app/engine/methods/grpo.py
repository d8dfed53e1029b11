"""The model tries several answers to each prompt, and does more of what earned the higher reward."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import field_validator, model_validator

from app.engine.contracts import Method, Trainer
from app.engine.generation import tool_calling
from app.engine.generation.sampling import sampling_arguments
from app.engine.generation.tool_calling_mixin import ToolCallingMixin
from app.engine.trainers.group_rl import recipes, settings, trainer
from app.setup.knob import knob
from app.setup.step_memory import RowLengths, StepMemory

if TYPE_CHECKING:
    from app.engine.job import Job
    from app.setup.spec import Spec


_RECIPE_CHOICE = {"recipe": "As the recipe says."}
_FROM_RECIPE = "as the recipe says"


class Knobs(settings.GroupKnobs):
    recipe: Literal[
        "basic",
        "grpo",
        "dapo",
        "dr_grpo",
        "gspo",
        "gdpo",
        "cispo",
        "scalerl",
        "sapo",
        "luspo",
        "vespo",
        "lite_ppo",
        "eighty_twenty",
        "intellect",
    ] = knob(
        "basic",
        "A published way of learning from rewards: several settings under Advanced at once. What you set there yourself counts more.",
        everyday=True,
        choices={name: preset.description for name, preset in recipes.RECIPES.items()},
        affects="order",
    )
    loss: Literal["recipe", "grpo", "dr_grpo", "dapo", "bnpo", "cispo", "sapo", "luspo", "vespo"] = knob(
        "recipe",
        "How tokens are weighed against one another.",
        choices=_RECIPE_CHOICE
        | {
            "grpo": "Each answer counts alike, so that tokens of short answers count more.",
            "dr_grpo": "Every token counts alike, over a fixed length: no favour for long or short.",
            "dapo": "Every token of a round of answers counts alike.",
            "bnpo": "Every token of a batch counts alike.",
            "cispo": "As dapo, but a token that has become likelier counts up to a lid instead of being cut off.",
            "sapo": "As grpo, but what has moved far fades out instead of being cut off.",
            "luspo": "Whole answers, each as much as it is long.",
            "vespo": "Whole answers, each by how likely the model still finds it.",
        },
        library_name="loss_type",
        affects="timing",
    )
    level: Literal["recipe", "token", "sequence"] = knob(
        "recipe",
        "What is compared with the model that wrote the answers.",
        choices=_RECIPE_CHOICE
        | {
            "token": "Each token by itself.",
            "sequence": "The answer as a whole: steadier, above all for mixtures of experts.",
        },
        library_name="importance_sampling_level",
    )
    scale_rewards: Literal["recipe", "group", "batch", "none"] = knob(
        "recipe",
        "What rewards are divided by.",
        choices=_RECIPE_CHOICE
        | {
            "group": "The spread among a prompt's attempts.",
            "batch": "The spread in the batch.",
            "none": "Nothing: prompts at which attempts differ more count more.",
        },
    )
    combine: Literal["recipe", "sum_then_normalize", "normalize_then_sum"] = knob(
        "recipe",
        "How several rewards become one.",
        choices=_RECIPE_CHOICE
        | {
            "sum_then_normalize": "They are added up, then compared.",
            "normalize_then_sum": "Each is compared by itself, then they are added up: none drowns another.",
        },
        library_name="multi_objective_aggregation",
    )
    kl: float | None = knob(
        None,
        "How strongly the model is held near its start (beta). 0 lets it go, 0.04 holds it.",
        low=0.0,
        high=10.0,
        empty=_FROM_RECIPE,
        library_name="beta",
        affects="timing",
    )
    clip: float | None = knob(
        None,
        "How far one correction may take a token down from the model that wrote the answers.",
        low=1e-5,
        high=100.0,
        empty=_FROM_RECIPE,
        library_name="epsilon",
    )
    clip_high: float | None = knob(
        None,
        "How far it may take a token up. More room here keeps the model trying new things. In the loss cispo: how much a token may "
        "count at most.",
        low=1e-5,
        high=100.0,
        empty=_FROM_RECIPE,
        library_name="epsilon_high",
    )
    ratio_cap: float | None = knob(
        None,
        "A lid on how much likelier a token of a bad answer may count, against sudden breakdowns (delta); 4 is usual.",
        low=1.0,
        high=1000.0,
        empty=_FROM_RECIPE,
        library_name="delta",
    )
    cut_off_answers: Literal["recipe", "learned", "left_out"] = knob(
        "recipe",
        "What becomes of answers that reached the longest length.",
        choices=_RECIPE_CHOICE | {"learned": "They count as they are.", "left_out": "They teach nothing, good or bad."},
        library_name="mask_truncated_completions",
    )
    uncertain_tokens: float | None = knob(
        None,
        "Learns only from this share of the tokens, those the model was least sure of; 1 takes all.",
        low=0.0,
        high=1.0,
        empty=_FROM_RECIPE,
        library_name="top_entropy_quantile",
        affects="timing",
    )
    written_ahead: int | None = knob(
        None,
        "For how many corrections answers are written at once. More is quicker, and the later ones come from an older model.",
        low=1,
        high=256,
        unit="corrections",
        empty=_FROM_RECIPE,
        affects="order",
    )
    entropy_bonus: float = knob(
        0.0,
        "Rewards the model for staying undecided, so that it goes on trying; 0 does not.",
        low=0.0,
        high=1.0,
        library_name="entropy_coef",
        affects="timing",
    )
    entropy_target: float | None = knob(
        None,
        "Lets that bonus rise and fall by itself, to keep the curve “how undecided the model is” from falling below this. Set it near "
        "what the curve shows early on.",
        low=0.0,
        high=20.0,
        empty="the bonus stays as it is",
    )
    drop_stale: float | None = knob(
        None,
        "Leaves out bad answers that the model has already moved away from by this much for each token, on average; 0.5 is a start.",
        low=0.0,
        high=100.0,
        empty="none are left out",
        library_name="off_policy_mask_threshold",
    )
    tools: list[str] = knob(
        [],
        f"What the model may call while it answers, one on each line: {tool_calling.describe_tools()}. Its chat format must be one that can, such as "
        "trl:qwen3. The longest answer counts calls and results too.",
        affects="rows",
    )
    tool_turns: int = knob(
        4,
        "How often in one answer the model may call its tools and go on with what they say.",
        low=1,
        high=64,
        safe=(1, 8),
        unit="times",
        library_name="max_tool_calling_iterations",
        affects="timing",
    )

    @field_validator("tools")
    @classmethod
    def check_tools_exist(cls, lines: list[str]) -> list[str]:
        tool_calling.parse_tool_lines(lines)
        return lines

    @model_validator(mode="after")
    def check_recipe_settings(self) -> Knobs:
        if contradiction := recipes.find_contradiction(self):
            raise ValueError(contradiction)
        return self


def steps_per_round(knobs: Knobs) -> int:
    """The number of optimizer steps that one round of completions serves."""
    return recipes.effective_settings(knobs).written_ahead * knobs.times_used


def check(spec: Spec) -> None:
    """Preflight: raises Problem where the model cannot call tools."""
    tool_calling.require_tool_calling_format(spec)


def step_memory(knobs: Knobs, lengths: RowLengths) -> StepMemory:
    """A batch of completions; those of a whole round are written at once."""
    recipe = recipes.effective_settings(knobs)
    return settings.group_memory(knobs, lengths, recipe.written_ahead, keeps_start=recipe.kl > 0)


def build(job: Job) -> Trainer:
    """TRL's GRPOTrainer with the spec's rewards and rollout logging."""
    from trl import GRPOConfig, GRPOTrainer

    knobs: Knobs = job.knobs
    tools = tool_calling.trainer_arguments(job)
    recipe_args = recipes.grpo_config_args(knobs)
    if job.preview:
        recipe_args["beta"] = 0.0  # a preview of the prompts has no KL term: no reference model is loaded
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
        **sampling_arguments(knobs),
        **recipe_args,
    )
    if not tools:
        return trainer.build_group_trainer(job, GRPOTrainer, args)
    args.max_tool_calling_iterations = knobs.tool_turns
    mixins = (ToolCallingMixin, *trainer.GROUP_MIXINS)
    return trainer.build_group_trainer(job, GRPOTrainer, args, mixins, **tools)


METHOD = Method(
    title="Earn rewards",
    term="GRPO",
    sentence=__doc__,
    family="rewards",
    row_types=("prompt",),
    knobs=Knobs,
    build=build,
    step_memory=step_memory,
    defaults=settings.defaults,
    needs_rewards=True,
    curves=settings.CURVES | {"cispo_clip_ratio": settings.CURVES["clip_ratio/region_mean"]},
    check=check,
    steps_per_round=steps_per_round,
)
