"""A better and a worse answer, and beside them the best one there is."""

from __future__ import annotations

TITLE = "Better, worse and best answers"
KIND = "ranked"
NEEDS = ("chosen", "rejected", "reference")
MAY = ("prompt", "system", "margin")
