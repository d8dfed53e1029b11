"""What the cards of the landing page say of presets and pipelines."""

from __future__ import annotations

from typing import TypedDict


class CardEntry(TypedDict):
    """What a card says of a preset or a pipeline. minutes: about how long it takes. needs: the hardware, in words.
    gigabytes: of the graphics card that it needs, None where it is for practice."""

    title: str
    sentence: str
    minutes: float | None
    needs: str
    gigabytes: int | None


class PresetEntry(CardEntry):
    """A preset. goal: what it is for, a name in `presets.GOALS`."""

    name: str
    method: str
    goal: str


class PipelineEntry(CardEntry):
    """A pipeline. id: its name."""

    id: str
