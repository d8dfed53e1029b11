"""Prompts and rewards by which the models of a pipeline are scored, for best-of-n pairs and for the comparison."""

from __future__ import annotations

from itertools import islice

from app.core.problems import Problem
from app.data import rows
from app.data.reading import files
from app.planning.resolve import resolve_rewards
from app.setup.spec import Reward, Source, Spec

_PROMPT_ROW_TYPES = ("prompt", "preference", "prompt_completion", "messages")


def scoring_spec(rewards: list[Reward], source: Source) -> Spec:
    """A Spec with these rewards, resolved. Raises Problem. Its method is not used."""
    spec = Spec(method="sft", data=[source], rewards=rewards)
    return spec.model_copy(update={"rewards": resolve_rewards(spec)})


def read_prompts(source: Source, limit: int) -> list[rows.Row]:
    """The first `limit` rows of the source, normalized. Raises Problem when the source is not on this machine."""
    if files.source_path(source) is None:
        raise Problem(
            "The prompts of a journey come from a sample or a file of this machine.", advice="Choose another source."
        )
    normaliser = rows.RowNormalizer(_PROMPT_ROW_TYPES, "The journey", is_chat=True)
    return list(islice(normaliser(files.read_source_rows(source), source), limit))
