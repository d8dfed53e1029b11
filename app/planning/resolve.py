"""Resolving a Spec: fills in and checks all settings, by the declarations of its method and rewards."""

from __future__ import annotations

from app.core import registry
from app.core.problems import Problem
from app.core.validation import library_names, rename_library_fields, validate, without_nulls
from app.engine.contracts import load_method, load_reward
from app.setup import knob
from app.setup.models import count_parameters
from app.setup.spec import Reward, Spec


def resolve(spec: Spec) -> Spec:
    """The Spec with every setting, reward parameter and reward name filled in, without the rewards that are off.

    Raises Problem for an unknown or invalid setting. Resolving twice changes nothing.
    """
    method = load_method(spec.method)
    explicit_knobs = rename_library_fields(method.knobs, without_nulls(spec.knobs))
    unknown_names = [name for name in explicit_knobs if name not in method.knobs.model_fields]
    if unknown_names:
        raise Problem(
            f"There is no setting called “{unknown_names[0]}” for {spec.method}.",
            advice=registry.suggest_name(unknown_names[0], [*method.knobs.model_fields, *library_names(method.knobs)]),
        )
    knob_values = method.defaults(spec.adapter.kind, count_parameters(spec.model)) | explicit_knobs
    knobs = validate(method.knobs, knob_values, "The setting").model_dump(exclude_none=True)
    active_rewards = [reward for reward in resolve_rewards(spec) if reward.on]
    return spec.model_copy(update={"knobs": knobs, "rewards": active_rewards})


def models_in_settings(spec: Spec) -> list[str]:
    """The other models that the settings and rewards of a resolved Spec name: teachers and reward models."""
    settings = [(load_method(spec.method).knobs, spec.knobs)]
    settings += [(load_reward(reward.name).params, reward.params) for reward in spec.rewards]
    return [
        name for settings_class, values in settings for name in knob.model_names(settings_class.model_validate(values))
    ]


def resolve_rewards(spec: Spec) -> list[Reward]:
    """All rewards with their parameters filled in and checked, also those that are off. Raises Problem."""
    rewards = []
    for reward in spec.rewards:
        definition = load_reward(reward.name)
        params = validate(definition.params, without_nulls(reward.params), f"The reward {reward.name}")
        resolved_fields = {"label": reward.label or reward.name, "params": params.model_dump(exclude_none=True)}
        rewards.append(reward.model_copy(update=resolved_fields))
    labels = [reward.label for reward in rewards]
    duplicate_label = next((label for label in labels if labels.count(label) > 1), None)
    if duplicate_label:
        raise Problem(
            f"Two rewards are both called “{duplicate_label}”.",
            advice="Give each its own name: the curves are drawn by it.",
        )
    return rewards
