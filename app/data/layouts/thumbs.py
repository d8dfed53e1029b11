"""Single answers, each liked or disliked."""

from __future__ import annotations

TITLE = "Answers, liked or not"
KIND = "thumbs"
NEEDS = ("prompt", "completion", "label")
MAY = ("system", "tools", "reasoning")
