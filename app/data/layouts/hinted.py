"""Questions, each with a hint that only a teacher sees."""

from __future__ import annotations

TITLE = "Questions with hints"
KIND = "hinted"
NEEDS = ("prompt", "privileged_context")
MAY = ("system",)
