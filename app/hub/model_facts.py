"""Facts of any model on the Hub without downloading it: its small files, and the headers of its weights by range requests."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.core.problems import Problem, shorten
from app.hub import connection
from app.hub.connection import call_with_timeout, hub_endpoint, translate_hub_errors
from app.hub.identity import resolve_token, sign_in_advice
from app.setup import models
from app.setup.catalogue import closest_entries, load_catalogue
from app.setup.model_facts import TEMPLATE_FILE, ModelFacts, ModelFiles, facts_of_files, facts_of_folder, weight_files
from app.setup.sources import HUB_NAME

if TYPE_CHECKING:
    from huggingface_hub import ModelInfo

_MAX_FILE_BYTES = 20_000_000  # of one small file; the largest tokenizer_config.json seen has 0.4 MB
_FILE_SECONDS = 20.0  # for one small file, or the description of a model
_HEADER_SECONDS = 60.0  # for the headers of all weight files: a large model has a hundred


def read_model_facts(name: str, token: str | None = None, revision: str | None = None) -> ModelFacts:
    """The facts of a shipped model, of a folder on this machine, or of a model on the Hub, which is not downloaded.

    Raises Problem where no run could use it: an adapter, GGUF, pickled weights, program code, an unknown architecture,
    a licence that is not accepted yet, and no such model.
    """
    if Path(models.locate_model(name)).is_dir():
        return facts_of_folder(name)
    token = resolve_token(token)
    info = model_info(name, token, revision)
    files = _read_files(info, token)
    return facts_of_files(
        name, files, "hub", licence=licence_of(info), gated=bool(info.gated), revision=revision or info.sha
    )


def model_info(name: str, token: str | None, revision: str | None = None) -> ModelInfo:
    """The Hub's description of a model, with the sizes of its files. Raises Problem."""
    if not HUB_NAME.fullmatch(name):
        raise _not_found_problem(name)
    with model_errors(name):
        return call_with_timeout(
            _FILE_SECONDS,
            lambda: connection.hub_client(token).model_info(name, revision=revision, files_metadata=True),
        )


def file_sizes(info: ModelInfo) -> dict[str, int]:
    """{path: bytes} of all files of a model."""
    return {file.rfilename: file.size or 0 for file in info.siblings or []}


def licence_of(info: ModelInfo) -> str | None:
    """The licence of a model: its own name where the card names one beside “other”."""
    card: Mapping[str, Any] = info.card_data.to_dict() if info.card_data else {}
    licence = card.get("license")
    if licence in (None, "other") and isinstance(card.get("license_name"), str):
        licence = card["license_name"]
    return licence if isinstance(licence, str) else None


def _read_files(info: ModelInfo, token: str | None) -> ModelFiles:
    """The small files of a model, and its parameters where its weights say how many."""
    sizes = file_sizes(info)
    config = _read_json(info, "config.json", token)
    is_readable = bool(config) and bool(weight_files(sizes)) and not config.get("quantization_config")
    template = _read_text(info, TEMPLATE_FILE, token)
    return ModelFiles(
        sizes=sizes,
        config=config,
        tokenizer_config=_read_json(info, "tokenizer_config.json", token),
        adapter_config=_read_json(info, models.ADAPTER_CONFIG, token),
        template=template or None,
        parameters=_count_parameters(info, token) if is_readable else None,
    )


def _count_parameters(info: ModelInfo, token: str | None) -> int | None:
    """All weights, from the headers of the safetensors files; None where they have other names than usual."""
    from huggingface_hub.errors import NotASafetensorsRepoError

    with model_errors(info.id, licence_of(info)):
        try:
            metadata = call_with_timeout(
                _HEADER_SECONDS,
                lambda: connection.hub_client(token).get_safetensors_metadata(info.id, revision=info.sha),
            )
        except NotASafetensorsRepoError:
            return None
    return sum(metadata.parameter_count.values())


def _read_json(info: ModelInfo, file: str, token: str | None) -> Mapping[str, Any]:
    """The content of a JSON file; empty where there is none. Raises Problem where it is no JSON object."""
    text = _read_text(info, file, token)
    try:
        content = json.loads(text) if text else {}
    except (ValueError, RecursionError) as error:  # boundary: somebody's file
        raise Problem(
            f"The file {file} of “{info.id}” is not valid JSON.", advice="Choose another model.", reason="damaged_file"
        ) from error
    return content if isinstance(content, dict) else {}


def _read_text(info: ModelInfo, file: str, token: str | None) -> str:
    """The text of a small file; empty where there is none. It is not put in the cache, where it would look like a copy
    of the model."""
    from huggingface_hub import hf_hub_url
    from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

    size = file_sizes(info).get(file)
    if not size or size > _MAX_FILE_BYTES:
        return ""
    connection.hub_client(token)  # makes sure that the shared client has its timeouts
    url = hf_hub_url(info.id, file, revision=info.sha, endpoint=hub_endpoint())
    with model_errors(info.id, licence_of(info)):
        response = call_with_timeout(
            _FILE_SECONDS, lambda: get_session().get(url, headers=build_hf_headers(token=token or False))
        )
        hf_raise_for_status(response)
    return response.content.decode("utf-8", errors="replace")


# -- errors -------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def model_errors(name: str, licence: str | None = None) -> Iterator[None]:
    """Raises errors of the Hub at reading a model as Problems that name the model and the next step."""
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    with translate_hub_errors():
        try:
            yield
        except GatedRepoError as error:  # before RepositoryNotFoundError, which it is a kind of
            raise gated_problem(name, licence) from error
        except RepositoryNotFoundError as error:
            raise _not_found_problem(name) from error
        except RevisionNotFoundError as error:
            raise Problem(
                f"“{shorten(name, 120)}” has no such revision.",
                advice="Name a branch, a tag or a commit of it, or leave the revision empty.",
                reason="model_not_found",
            ) from error


def gated_problem(name: str, licence: str | None = None) -> Problem:
    """The Problem of a model whose terms are not accepted. licence: its name, if known."""
    entry = load_catalogue().find(name)
    licence = licence or (entry.licence if entry else None)
    named = f"the licence “{licence}”" if licence else "a licence"
    return Problem(
        f"“{name}” is behind {named}, which this sign-in has not accepted.",
        advice=f"Open {hub_endpoint()}/{name}, accept it, and try again. {sign_in_advice()}",
        reason="gated_model",
    )


def _not_found_problem(name: str) -> Problem:
    """The Problem of a name that nothing on the Hub has, with the models that may be meant."""
    closest = closest_entries(name)
    suggestion = " or ".join(entry.name for entry in closest[:2])
    advice = f"Did you mean {suggestion}? " if suggestion else ""
    return Problem(
        f"There is no model “{shorten(name, 120)}” on the Hub that this sign-in may read.",
        advice=f"{advice}Check its spelling (owner/name), and that you are signed in if it is private.",
        reason="model_not_found",
    )
