"""Side: the way back to the start, and the runs of this home."""

from __future__ import annotations

from components.look import page

BRAND = '<a class="brand" href="#start">Tunesmith</a><a class="new" href="#start">New</a>'


def draw() -> None:
    page(BRAND, elem_id="brand")
