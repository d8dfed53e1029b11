"""Datasets on the Hub: their rows, configs and splits, and the errors of `datasets` as Problems.

`datasets` is imported only inside functions, because the server process must not load it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from app.core.problems import Problem, shorten
from app.setup.spec import Source


def read_hub_rows(source: Source, split: str | None = None, streaming: bool = False) -> Iterator[dict[str, Any]]:
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


def dataset_problem(error: Exception, source: Source, split: str) -> Problem | None:
    """An error of `datasets` as a Problem; None for one that is not understood."""
    error_text, name = f"{type(error).__name__}: {error}", source.source.removeprefix("hub:")
    if re.search(r"gated dataset|GatedRepo", error_text):
        return Problem(
            f"The dataset “{name}” is behind terms you have not accepted yet.",
            reason="gated_data",
            advice="Open its page on the Hub, accept them, sign in, and look again.",
        )
    if re.search(r"scripts are no longer supported|trust_remote_code|custom code", error_text):
        return Problem(
            f"The dataset “{name}” comes with program code of its own, which is never run here.",
            reason="own_code",
            advice="Look for a copy as Parquet, often in its branch refs/convert/parquet (its revision), or upload the rows.",
        )
    if re.search(r"Config name is missing|BuilderConfig .* not found", error_text):
        unknown_config = f" and none called “{shorten(source.config, 40)}”" if source.config else ""
        return Problem(
            f"The dataset “{name}” has several parts{unknown_config}: {_quoted_names(error_text)}.",
            advice="Name one of them as its config.",
            reason="wrong_config",
        )
    if re.search(r"Unknown split|Bad split", error_text):
        return Problem(
            f"The dataset “{name}” has no split “{shorten(split, 40)}”, but {_quoted_names(error_text)}.",
            reason="wrong_split",
            advice="Name one of them.",
        )
    if re.search(r"Revision '.*' doesn't exist|RevisionNotFound", error_text):
        return Problem(
            f"The dataset “{name}” has no revision “{shorten(str(source.revision), 60)}”.",
            reason="data_not_found",
            advice="Name a branch, a tag or a commit, or leave it out.",
        )
    if re.search(r"EmptyDatasetError|DataFilesNotFoundError|No \(supported\) data files", error_text):
        return Problem(
            f"The dataset “{name}” holds no files that can be read as rows.",
            reason="no_rows",
            advice="Choose another, or upload the file you need of it.",
        )
    return None


def _quoted_names(message: str) -> str:
    """The names in the first list of an error message, such as the splits that exist."""
    first_list = re.search(r"\[(.*?)\]", message, re.DOTALL)
    names = re.findall(r"'([^']+)'", first_list[1]) if first_list else []
    remainder = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return (", ".join(names[:20]) or "others") + remainder
