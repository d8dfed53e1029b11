"""Recipes: each gives exactly the GRPOConfig arguments of its paper, and settings of the user override it."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, get_args

import pytest

from app.core.problems import Problem
from app.core.validation import validate
from app.engine.methods.grpo import Knobs
from app.engine.trainers.group_rl.recipes import RECIPES, RecipeSettings, grpo_config_args

TRL_DEFAULTS = {
    "loss_type": "dapo", "importance_sampling_level": "token", "scale_rewards": "group", "multi_objective_aggregation": "sum_then_normalize",
    "epsilon": 0.2, "epsilon_high": None, "delta": None, "beta": 0.0, "mask_truncated_completions": False, "top_entropy_quantile": 1.0,
    "steps_per_generation": 1,
}  # fmt: skip
# The arguments that each recipe changes, taken from the papers and not from our own table.
RECIPE_CHANGES: dict[str, dict[str, Any]] = {
    "basic": {},
    "grpo": {"loss_type": "grpo", "beta": 0.04},
    "dapo": {"epsilon_high": 0.28, "mask_truncated_completions": True},
    "dr_grpo": {"loss_type": "dr_grpo", "scale_rewards": "none"},
    "gspo": {"loss_type": "grpo", "importance_sampling_level": "sequence", "epsilon": 0.0003, "epsilon_high": 0.0004, "steps_per_generation": 4},
    "gdpo": {"multi_objective_aggregation": "normalize_then_sum"},
    "cispo": {"loss_type": "cispo", "epsilon_high": 5.0},
    "scalerl": {"loss_type": "cispo", "epsilon_high": 5.0, "scale_rewards": "batch"},
    "sapo": {"loss_type": "sapo"},
    "luspo": {"loss_type": "luspo", "importance_sampling_level": "sequence", "epsilon": 0.002, "epsilon_high": 0.0025},
    "vespo": {"loss_type": "vespo"},
    "lite_ppo": {"scale_rewards": "batch"},
    "eighty_twenty": {"epsilon_high": 0.28, "mask_truncated_completions": True, "top_entropy_quantile": 0.2},
    "intellect": {"delta": 4.0, "beta": 0.001},
}  # fmt: skip


def test_every_recipe_is_in_this_test_and_in_the_setting() -> None:
    assert list(RECIPES) == list(RECIPE_CHANGES) == list(get_args(Knobs.model_fields["recipe"].annotation))


@pytest.mark.parametrize("name", RECIPE_CHANGES)
def test_a_recipe_gives_exactly_these_trl_arguments(name: str) -> None:
    assert grpo_config_args(Knobs(recipe=name)) == TRL_DEFAULTS | RECIPE_CHANGES[name]


@pytest.mark.parametrize("name", RECIPE_CHANGES)
def test_trl_accepts_the_arguments_of_a_recipe(name: str) -> None:
    from trl import GRPOConfig

    config = GRPOConfig(per_device_train_batch_size=8, use_cpu=True, bf16=False, **grpo_config_args(Knobs(recipe=name)))
    assert config.loss_type == (TRL_DEFAULTS | RECIPE_CHANGES[name])["loss_type"]
    assert config.generation_batch_size == 8 * config.steps_per_generation


def test_a_recipe_changes_only_existing_settings() -> None:
    names = {field.name for field in fields(RecipeSettings)}
    assert names <= set(Knobs.model_fields)
    assert all(set(recipe.changes) <= names for recipe in RECIPES.values())


@pytest.mark.parametrize("name", RECIPE_CHANGES)
def test_a_recipe_description_names_its_changes_and_its_paper(name: str) -> None:
    description = RECIPES[name].description
    assert description.endswith(".")
    assert name == "basic" or "arXiv" in description
    for knob, value in RECIPES[name].changes.items():
        assert f"{knob.replace('_', ' ')} {value if isinstance(value, str) else format(value, 'g')}" in description


@pytest.mark.parametrize(("user_settings", "expected_changes"), [
    ({"loss": "sapo"}, {"loss_type": "sapo"}), ({"loss": "cispo"}, {"loss_type": "cispo", "epsilon_high": 5.0}),
    ({"loss": "cispo", "clip_high": 2.0}, {"loss_type": "cispo", "epsilon_high": 2.0}), ({"kl": 0.0}, {"beta": 0.0}), ({"kl": 0.2}, {"beta": 0.2}), ({"clip": 0.1}, {"epsilon": 0.1}),
    ({"scale_rewards": "none"}, {"scale_rewards": "none"}), ({"cut_off_answers": "left_out"}, {"mask_truncated_completions": True}),
    ({"written_ahead": 3, "accumulation": 2}, {"steps_per_generation": 6}), ({"uncertain_tokens": 0.0}, {"top_entropy_quantile": 0.0}),
])  # fmt: skip
def test_user_settings_override_the_recipe(user_settings: dict[str, Any], expected_changes: dict[str, Any]) -> None:
    assert (
        grpo_config_args(Knobs(recipe="grpo", **user_settings))
        == TRL_DEFAULTS | RECIPE_CHANGES["grpo"] | expected_changes
    )


def test_the_cispo_weight_cap_is_not_kept_as_clip_high_when_the_loss_changes() -> None:
    assert grpo_config_args(Knobs(recipe="cispo", loss="dapo")) == TRL_DEFAULTS
    assert grpo_config_args(Knobs(recipe="dapo", loss="cispo"))["epsilon_high"] == 5.0
    assert grpo_config_args(Knobs(recipe="scalerl", clip_high=3.0))["epsilon_high"] == 3.0


@pytest.mark.parametrize(("knobs", "message"), [
    ({"loss": "luspo"}, "luspo weighs whole answers; set level to sequence"),
    ({"recipe": "luspo", "level": "token"}, "luspo weighs whole answers; set level to sequence"),
    ({"recipe": "gspo", "loss": "dapo"}, "dapo weighs single tokens; set level to token"),
    ({"level": "sequence"}, "dapo weighs single tokens"),
    ({"recipe": "vespo", "level": "sequence"}, "vespo finds the weight of whole answers by itself"),
    ({"clip": 0.3, "clip_high": 0.2}, r"clip_high \(0.2\) is below clip \(0.3\)"),
    ({"ratio_cap": 1.1}, r"ratio_cap \(1.1\) would cut off what clip still allows; set it above 1.2"),
    ({"recipe": "dapo", "ratio_cap": 1.28}, "set it above 1.28"),
    ({"loss": "cispo", "clip_high": 0.28}, r"clip_high \(0.28\) is how much a token may count at most in the loss cispo; set it to 1 or more"),
    ({"recipe": "scalerl", "clip": 0.1}, "the loss cispo does not read clip; leave it empty"),
    ({"recipe": "vespo", "clip": 0.1, "ratio_cap": 4.0}, "the loss vespo does not read clip and ratio_cap; leave them empty"),
    ({"batch_size": 10, "attempts": 4}, "a batch of 10 answers cannot be split into groups of 4 attempts; try 8"),
])  # fmt: skip
def test_contradictory_settings_are_refused_in_one_sentence(knobs: dict[str, Any], message: str) -> None:
    with pytest.raises(Problem, match=message):
        validate(Knobs, knobs, "The setting")


@pytest.mark.parametrize("knobs", [{"recipe": "gspo", "loss": "sapo"}, {"recipe": "cispo"}, {"clip": 0.2, "clip_high": 0.2}, {"recipe": "dapo", "ratio_cap": 1.29}])  # fmt: skip
def test_compatible_settings_are_accepted(knobs: dict[str, Any]) -> None:
    assert validate(Knobs, knobs, "The setting")
