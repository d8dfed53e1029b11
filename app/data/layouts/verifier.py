"""Tasks of a verifier service in NeMo Gym's form: what is asked lies in `responses_create_params.input`."""

from __future__ import annotations

TITLE = "Tasks of a verifier service"
KIND = "prompt"
NEEDS = ("prompt",)
MAY = ("tools",)
NAMES = {"prompt": ("responses_create_params.input",), "tools": ("responses_create_params.tools",)}
KNOWN = (("responses_create_params.input",),)
