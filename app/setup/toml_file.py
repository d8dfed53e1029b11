"""A Spec as a TOML file, which a person can read, keep and run again."""

from __future__ import annotations

import tomlkit

from app.setup.spec import Spec


def spec_to_toml(spec: Spec, comment: str = "") -> str:
    """The text of a file that `read_spec_file` reads back as the same Spec. comment: one line above it."""
    document = tomlkit.dumps(spec.to_dict())
    return f"# {' '.join(comment.split())}\n{document}" if comment else document
