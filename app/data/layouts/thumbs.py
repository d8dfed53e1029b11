"""Single answers, each liked or disliked."""

from __future__ import annotations

from app.data.columns import LABEL_ALIASES
from app.data.layouts.pair import KNOWN as PAIRS

TITLE = "Answers, liked or not"
KIND = "thumbs"
NEEDS = ("prompt", "completion", "label")
MAY = ("system", "tools", "reasoning")
KNOWN = tuple((*pair, label) for pair in (("prompt", "completion"), *PAIRS) for label in LABEL_ALIASES)
