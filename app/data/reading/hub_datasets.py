"""Datasets on the Hub: their rows, configs and splits, and the errors of `datasets` as Problems.

`datasets` is imported only inside functions, because the server process must not load it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from app.core.problems import KnownError, Problem, shorten
from app.data.fields import Row
from app.setup.spec import Source


def read_hub_rows(source: Source, split: str | None = None, streaming: bool = False) -> Iterator[Row]:
    """The rows of a dataset. streaming: rows are read over the network one by one, and nothing is stored.

    Raises Problem for errors that are understood; other errors of the Hub are not caught.
    """
    from datasets import config, load_dataset

    name = source.source.removeprefix("hub:")
    _require_no_local_folder(name)
    with _translate_dataset_errors(source, split or source.split):
        yield from load_dataset(
            name,
            source.config,
            split=split or source.split,
            revision=source.revision,
            streaming=streaming and not config.HF_HUB_OFFLINE,
        )


def list_configs_and_splits(name: str, revision: str | None = None, config: str | None = None) -> dict[str, list[str]]:
    """{"parts": names of its configs, "splits": names} of a dataset on the Hub. Raises Problem.

    Splits are those of `config`, or of the only config; else none, because some datasets have hundreds of configs and
    each needs a request of its own.
    """
    from datasets import get_dataset_config_names, get_dataset_split_names

    _require_no_local_folder(name)
    with _translate_dataset_errors(Source(source=f"hub:{name}", revision=revision, config=config), "train"):
        configs = get_dataset_config_names(name, revision=revision)
        selected_config = config or (configs[0] if len(configs) == 1 else None)
        return {
            "parts": configs,
            "splits": get_dataset_split_names(name, selected_config, revision=revision) if selected_config else [],
        }


@contextmanager
def _translate_dataset_errors(source: Source, split: str) -> Iterator[None]:
    """Raises errors of `datasets` as Problems, where they are understood."""
    try:
        yield
    except Exception as error:  # boundary: somebody else's dataset
        if problem := dataset_problem(error, source, split):
            raise problem from error
        raise


def _require_no_local_folder(name: str) -> None:
    """Raises Problem for a local folder of that name, which `datasets` would read instead of the dataset on the Hub."""
    if os.path.exists(name):
        raise Problem(
            f"“{name}” is also a folder here, which would be read in place of the dataset on the Hub.",
            advice="Choose another dataset, or start from another folder.",
        )


# Errors of `datasets` that a person can do something about. The first match counts.
_KNOWN_ERRORS = (
    KnownError(
        "gated_data",
        r"gated dataset|GatedRepo",
        "The dataset “{name}” is behind terms you have not accepted yet.",
        "Open its page on the Hub, accept them, sign in, and look again.",
    ),
    KnownError(
        "own_code",
        r"scripts are no longer supported|trust_remote_code|custom code",
        "The dataset “{name}” comes with program code of its own, which is never run here.",
        "Look for a copy as Parquet, often in its branch refs/convert/parquet (its revision), or upload the rows.",
    ),
    KnownError(
        "wrong_config",
        r"Config name is missing|BuilderConfig .* not found",
        "The dataset “{name}” has several parts{unknown_config}: {existing_names}.",
        "Name one of them as its config.",
    ),
    KnownError(
        "wrong_split",
        r"Unknown split|Bad split",
        "The dataset “{name}” has no split “{split}”, but {existing_names}.",
        "Name one of them.",
    ),
    KnownError(
        "data_not_found",
        r"Revision '.*' doesn't exist|RevisionNotFound",
        "The dataset “{name}” has no revision “{revision}”.",
        "Name a branch, a tag or a commit, or leave it out.",
    ),
    KnownError(
        "no_rows",
        r"EmptyDatasetError|DataFilesNotFoundError|No \(supported\) data files",
        "The dataset “{name}” holds no files that can be read as rows.",
        "Choose another, or upload the file you need of it.",
    ),
)


def dataset_problem(error: Exception, source: Source, split: str) -> Problem | None:
    """An error of `datasets` as a Problem; None for one that is not understood."""
    error_text = f"{type(error).__name__}: {error}"
    known_error = next((candidate for candidate in _KNOWN_ERRORS if re.search(candidate.pattern, error_text)), None)
    if known_error is None:
        return None
    text = known_error.text.format(
        name=source.source.removeprefix("hub:"),
        split=shorten(split, 40),
        revision=shorten(str(source.revision), 60),
        unknown_config=f" and none called “{shorten(source.config, 40)}”" if source.config else "",
        existing_names=_quoted_names(error_text),
    )
    return Problem(text, advice=known_error.advice, reason=known_error.reason)


def _quoted_names(message: str) -> str:
    """The names in the first list of an error message, such as the splits that exist."""
    first_list = re.search(r"\[(.*?)\]", message, re.DOTALL)
    names = re.findall(r"'([^']+)'", first_list[1]) if first_list else []
    remainder = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return (", ".join(names[:20]) or "others") + remainder
