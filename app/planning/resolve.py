"""Resolve: fills in and checks what a Spec leaves open, by its method's and rewards' own declarations."""

from __future__ import annotations

from app.core import registry
from app.core.problems import Problem
from app.core.validation import parse, without_nulls
from app.setup import knob
from app.setup.models import parameters
from app.setup.spec import Reward, Spec


def resolve(spec: Spec) -> Spec:
    """The Spec with every knob, reward parameter and name filled in and checked, without the rewards that are off. Raises Problem.

    Resolving twice changes nothing.
    """
    method = registry.load("methods", spec.method)
    asked = without_nulls(spec.knobs)
    unknown = [name for name in asked if name not in method.Knobs.model_fields]
    if unknown:
        raise Problem(f"There is no setting called “{unknown[0]}” for {spec.method}.",
                      advice=registry.nearest(unknown[0], list(method.Knobs.model_fields)))  # fmt: skip
    chosen = method.defaults(spec.adapter.kind, parameters(spec.model)) | asked
    knobs = parse(method.Knobs, chosen, "The setting").model_dump(exclude_none=True)
    return spec.model_copy(update={"knobs": knobs, "rewards": [one for one in resolve_rewards(spec) if one.on]})


def named_models(spec: Spec) -> list[str]:
    """The other models that a resolved Spec's settings and rewards name: teachers, reward models."""
    shapes = [(registry.load("methods", spec.method).Knobs, spec.knobs)]
    shapes += [(registry.load("rewards", reward.name).Params, reward.params) for reward in spec.rewards]
    return [name for shape, values in shapes for name in knob.named_models(shape.model_validate(values))]


def resolve_rewards(spec: Spec) -> list[Reward]:
    """All rewards, those that are off too."""
    rewards = []
    for reward in spec.rewards:
        module = registry.load("rewards", reward.name)
        params = parse(module.Params, without_nulls(reward.params), f"The reward {reward.name}")
        filled = {"label": reward.label or reward.name, "params": params.model_dump(exclude_none=True)}
        rewards.append(reward.model_copy(update=filled))
    labels = [reward.label for reward in rewards]
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice:
        raise Problem(
            f"Two rewards are both called “{twice}”.", advice="Give each its own name: the curves are drawn by it."
        )
    return rewards
