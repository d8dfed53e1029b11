"""What is recorded of one private name of a library."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# added: an attribute or method of ours that the owners must not have, as ours would hide theirs
Kind = Literal["overridden", "called", "read", "replaced", "added"]


@dataclass(frozen=True)
class LibraryInternal:
    """One private name of a library, or a public one that is replaced, and where our code uses it."""

    owners: tuple[str, ...]  # classes or modules that have it, by their dotted names
    name: str
    kind: Kind
    files: tuple[str, ...]  # of our code, below app/
    reason: str
    signature: str = ""  # of callables: parameters and defaults, without types

    @property
    def library(self) -> str:
        """The package whose version decides."""
        return self.owners[0].partition(".")[0]
