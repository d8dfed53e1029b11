"""What a source of examples is called for people, and what a run is called that learns from it."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from functools import cache

from app.core import paths
from app.core.problems import shorten
from app.data.reading import files
from app.setup.spec import Source

_TITLE_LENGTH = 80


def source_title(source: Source) -> str:
    """Title of a sample dataset; the name of any other source."""
    source_name = files.display_name(source)
    if not source.source.startswith("sample:"):
        return source_name
    return sample_descriptions().get(source_name, {}).get("title", source_name)


def title_of_sources(sources: Sequence[Source]) -> str:
    """A title made of the first source, such as “Desk tickets and 1 more” for desk_tickets.csv and another."""
    name = source_title(sources[0])
    if not sources[0].source.startswith("sample:"):
        stem, suffixes = name.rpartition("/")[2], (*files.readers_by_suffix(), files.GZIP_SUFFIX)
        while stem.lower().endswith(suffixes) and stem.rpartition(".")[0]:
            stem = stem.rpartition(".")[0]  # also the first of .csv.gz
        words = " ".join(stem.replace("_", " ").replace("-", " ").split())
        name = words[:1].upper() + words[1:]
    others = f" and {len(sources) - 1} more" if len(sources) > 1 else ""
    return f"{shorten(name, _TITLE_LENGTH)}{others}"


@cache
def sample_descriptions() -> dict[str, dict[str, str]]:
    """{name: {"title", "sentence"}} of the sample datasets that come with Tunesmith."""
    path = paths.ROOT / "presets" / "samples" / "samples.toml"
    return tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
