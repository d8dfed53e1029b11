"""Hub rows: a dataset on the Hub, fetched whole or read as it comes, and what stands in the way in a sentence. datasets is imported only then."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from app.core.problems import Problem, shorten
from app.setup.spec import Source


def rows(source: Source, split: str | None = None, streaming: bool = False) -> Iterator[dict[str, Any]]:
    """Its rows. streaming: they come one by one, and nothing is kept. Raises Problem; other errors of the Hub travel."""
    from datasets import config, load_dataset

    name = source.source.removeprefix("hub:")
    require_no_folder(name)
    with in_our_words(source, split or source.split):
        yield from load_dataset(name, source.config, split=split or source.split, revision=source.revision,
                                streaming=streaming and not config.HF_HUB_OFFLINE)  # fmt: skip


def offered(name: str, revision: str | None = None, config: str | None = None) -> dict[str, list[str]]:
    """{"parts": names, "splits": names} of a dataset on the Hub: the splits of the part asked for, or of the only one; else none,
    for some datasets have hundreds of parts, and each is asked for alone. Raises Problem."""
    from datasets import get_dataset_config_names, get_dataset_split_names

    require_no_folder(name)
    with in_our_words(Source(source=f"hub:{name}", revision=revision, config=config), "train"):
        parts = get_dataset_config_names(name, revision=revision)
        part = config or (parts[0] if len(parts) == 1 else None)
        return {"parts": parts, "splits": get_dataset_split_names(name, part, revision=revision) if part else []}


@contextmanager
def in_our_words(source: Source, split: str) -> Iterator[None]:
    """What `datasets` says inside is said again as a Problem, where it is known."""
    try:
        yield
    except Exception as error:  # a border: somebody else's dataset
        if found := problem_of(error, source, split):
            raise found from error
        raise


def require_no_folder(name: str) -> None:
    """`datasets` would read a folder of that name in place of the Hub. Raises Problem."""
    if os.path.exists(name):
        raise Problem(f"“{name}” is also a folder here, which would be read in place of the dataset on the Hub.",
                      advice="Choose another dataset, or start from another folder.")  # fmt: skip


def problem_of(error: Exception, source: Source, split: str) -> Problem | None:
    """What `datasets` says, in ours; None for what is not known."""
    said, name = f"{type(error).__name__}: {error}", source.source.removeprefix("hub:")
    if re.search(r"gated dataset|GatedRepo", said):
        return Problem(f"The dataset “{name}” is behind terms you have not accepted yet.", reason="gated_data",
                       advice="Open its page on the Hub, accept them, sign in, and look again.")  # fmt: skip
    if re.search(r"scripts are no longer supported|trust_remote_code|custom code", said):
        return Problem(f"The dataset “{name}” comes with program code of its own, which is never run here.", reason="own_code",
                       advice="Look for a copy as Parquet, often in its branch refs/convert/parquet (its revision), or upload the rows.")  # fmt: skip
    if re.search(r"Config name is missing|BuilderConfig .* not found", said):
        return Problem(f"The dataset “{name}” has several parts{' and none called “' + shorten(source.config, 40) + '”' if source.config else ''}: "
                       f"{listed(said)}.", advice="Name one of them as its config.", reason="wrong_config")  # fmt: skip
    if re.search(r"Unknown split|Bad split", said):
        return Problem(f"The dataset “{name}” has no split “{shorten(split, 40)}”, but {listed(said)}.", reason="wrong_split",
                       advice="Name one of them.")  # fmt: skip
    if re.search(r"Revision '.*' doesn't exist|RevisionNotFound", said):
        return Problem(f"The dataset “{name}” has no revision “{shorten(str(source.revision), 60)}”.", reason="data_not_found",
                       advice="Name a branch, a tag or a commit, or leave it out.")  # fmt: skip
    if re.search(r"EmptyDatasetError|DataFilesNotFoundError|No \(supported\) data files", said):
        return Problem(f"The dataset “{name}” holds no files that can be read as rows.", reason="no_rows",
                       advice="Choose another, or upload the file you need of it.")  # fmt: skip
    return None


def listed(said: str) -> str:
    """The names in the first list of a message."""
    inside = re.search(r"\[(.*?)\]", said, re.DOTALL)
    names = re.findall(r"'([^']+)'", inside[1]) if inside else []
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return (", ".join(names[:20]) or "others") + more
