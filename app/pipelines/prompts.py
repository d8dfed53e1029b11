"""Asked: on which prompts the models of a chain answer, and by which rewards that is scored; in tries, and when stages are compared."""

from __future__ import annotations

from itertools import islice

from app.core.problems import Problem
from app.data import files, rows
from app.planning.resolve import resolve_rewards
from app.setup.spec import Reward, Source, Spec

_PROMPT_ROW_TYPES = ("prompt", "preference", "prompt_completion", "messages")


def scoring_spec(rewards: list[Reward], source: Source) -> Spec:
    """A Spec that holds these rewards, resolved."""
    spec = Spec(method="sft", data=[source], rewards=rewards)
    return spec.model_copy(update={"rewards": resolve_rewards(spec)})


def read_prompts(source: Source, limit: int) -> list[rows.Row]:
    """The first rows of the source, as methods know them. Raises Problem."""
    if files.source_path(source) is None:
        raise Problem(
            "The prompts of a journey come from a sample or a file of this machine.", advice="Choose another source."
        )
    normaliser = rows.RowNormalizer(_PROMPT_ROW_TYPES, "The journey", is_chat=True)
    return list(islice(normaliser(files.read_source_rows(source), source), limit))
