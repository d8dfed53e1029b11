"""Pairs in OpenAI's form: an `input` with messages, a `preferred_output` and a `non_preferred_output`."""

from __future__ import annotations

TITLE = "Better and worse answers in OpenAI's form"
KIND = "preference"
NEEDS = ("prompt", "chosen", "rejected")
MAY = ("tools",)
NAMES = {
    "prompt": ("input",),
    "chosen": ("preferred_output",),
    "rejected": ("non_preferred_output",),
    "tools": ("input.tools",),
}
KNOWN = (("input", "preferred_output", "non_preferred_output"),)
