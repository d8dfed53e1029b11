"""Names of models: where the files of a model are, how large it is, and TRL's chat templates.

Loads no model.
"""

from __future__ import annotations

import json
import os
import struct
from importlib.util import find_spec
from math import prod
from pathlib import Path

from app.core import paths
from app.core.problems import Problem, shorten
from app.setup.catalogue import load_catalogue
from app.setup.sources import HUB_NAME
from app.setup.spec import Model

ADAPTER_CONFIG = "adapter_config.json"
_MAX_HEADER_BYTES = 100_000_000  # as in the safetensors library

# In presets/: the practice model, an adapter on it that is a teacher for distillation, and a vision-language model.
SHIPPED_MODELS = ("pocket", "pocket-teacher", "pocket-vision")


def locate_model(name: str) -> str:
    """The folder of a shipped or local model; a Hub name stays as it is.

    Raises Problem when it is no complete model.
    """
    if name in SHIPPED_MODELS:
        return _shipped_folder(name)
    folder = Path(os.path.expanduser(name))
    if os.path.exists(
        folder / "config.json"
    ):  # unlike Path.exists it takes any text, also one that is too long for a path
        return str(folder)
    if os.path.exists(folder / ADAPTER_CONFIG):
        adapter_config = json.loads((folder / ADAPTER_CONFIG).read_text("utf-8"))
        raise adapter_as_model_problem(name, adapter_config.get("base_model_name_or_path"))
    if not HUB_NAME.fullmatch(name) or os.path.isdir(folder):
        raise Problem(
            f"There is no model called “{shorten(name, 120)}”.",
            advice="Use “pocket” for the practice model, a Hub name such as owner/name, or a folder with a config.json.",
        )
    return name


def _shipped_folder(name: str) -> str:
    """The folder of a shipped model. Raises Problem when it is only an adapter."""
    folder = paths.ROOT / "presets" / name
    if not (folder / "config.json").exists():
        raise Problem(
            f"“{name}” is an adapter on the practice model, not a model of its own.",
            advice="Use “pocket”, and name this one as the teacher.",
        )
    return str(folder)


def adapter_as_model_problem(name: str, base: str | None) -> Problem:
    """The Problem of an adapter where a complete model is needed. base: the name of its base model, if known."""
    base_hint = f" and “{shorten(base, 120)}” as the model" if base else ""
    return Problem(
        f"“{shorten(name, 120)}” is an adapter, not a whole model.",
        advice=f"Name it as what to go on from{base_hint}.",
        reason="adapter_as_model",
    )


def count_parameters(model: Model) -> int | None:
    """The number of parameters: of a folder from the headers of its safetensors files, of a model on the Hub as the catalogue
    knows it, so that every machine counts the same; None where neither says it."""
    folder = Path(locate_model(model.id))
    if not folder.is_dir():
        entry = load_catalogue().find(model.id)
        return entry.parameters if entry else None
    sizes = [sum(read_tensor_sizes(file)) for file in folder.glob("*.safetensors")]
    return sum(sizes) or None


def read_tensor_sizes(file: Path) -> list[int]:
    """Number of elements of each tensor in a safetensors file, whose first 8 bytes are the length of a JSON header.

    Raises Problem when the file is damaged.
    """
    try:
        with file.open("rb") as stream:
            (header_length,) = struct.unpack("<Q", stream.read(8))
            if header_length > _MAX_HEADER_BYTES:
                raise ValueError("its header has no end")
            header = json.loads(stream.read(header_length))
        return [prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__"]
    # boundary: an incomplete download, or a git-lfs pointer in place of the file
    except (struct.error, ValueError, AttributeError, KeyError, TypeError, RecursionError) as error:
        raise Problem(
            f"The file {file} is damaged or not a model's weights.", advice="Download the model again."
        ) from error


# -- chat templates -----------------------------------------------------------------------------------------------


# The plain template of most open models, without a system message of its own. The practice model has it.
CHATML_TEMPLATE = paths.ROOT / "presets/pocket/chat_template.jinja"


def chat_template_names() -> list[str]:
    """Names of the chat templates that TRL ships, without the variants that TRL only uses in training."""
    return sorted(path.stem for path in chat_template_folder().glob("*.jinja") if not path.stem.endswith("_training"))


def chat_template_folder() -> Path:
    """The folder of TRL's chat templates, found without importing TRL."""
    package = find_spec("trl")
    assert package is not None, "TRL is a dependency"
    assert package.origin is not None
    return Path(package.origin).parent / "chat_templates"
