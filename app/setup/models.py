"""Names of models: where the files of a model or adapter are, how large it is, and TRL's chat templates.

Loads no model.
"""

from __future__ import annotations

import json
import math
import os
import struct
from importlib.util import find_spec
from math import prod
from pathlib import Path

from app.core import paths
from app.core.problems import Problem, shorten
from app.runs import checkpoints
from app.setup.spec import HUB_NAME, Model

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


def locate_model_or_adapter(name: str) -> str:
    """The folder or Hub name of a model that a setting names, such as a teacher: a model or an adapter.

    name: `run:ID`, a shipped model, a folder, or a Hub name. Raises Problem when there is no such model.
    """
    if name.startswith("run:"):
        return locate_adapter(name)
    if name in SHIPPED_MODELS:
        return str(paths.ROOT / "presets" / name)
    folder = os.path.expanduser(name)
    return folder if os.path.exists(os.path.join(folder, "adapter_config.json")) else locate_model(name)


def adapter_as_model_problem(name: str, base: str | None) -> Problem:
    """The Problem of an adapter where a complete model is needed. base: the name of its base model, if known."""
    base_hint = f" and “{shorten(base, 120)}” as the model" if base else ""
    return Problem(
        f"“{shorten(name, 120)}” is an adapter, not a whole model.",
        advice=f"Name it as what to go on from{base_hint}.",
        reason="adapter_as_model",
    )


def locate_adapter(start_from: str) -> str:
    """The folder or Hub name of the adapter that training starts from.

    start_from: `run:ID`, `run:ID@STEP` or `run:ID@best` for one of its checkpoints, a folder, or a Hub name. Raises
    Problem.
    """
    if not start_from.startswith("run:"):
        return _locate_external_adapter(start_from)
    name, _, selector = start_from.removeprefix("run:").partition("@")
    run_folder = paths.home("runs") / name
    folder = _find_checkpoint(run_folder, selector) if selector else run_folder / "adapter"
    if not name.strip(".") or "/" in name or not folder or not os.path.isdir(folder):
        missing_result = f"checkpoint “{shorten(selector, 40)}”" if selector else "result"
        raise Problem(
            f"The run “{shorten(name, 120)}” has no {missing_result} to go on from.",
            advice="Choose a finished run; `runs` lists them.",
        )
    return str(folder)


def _find_checkpoint(run_folder: Path, selector: str) -> Path | None:
    """The complete checkpoint of this step, or for `best` the one with the highest evaluation score; None when there is
    none."""
    complete_checkpoints = checkpoints.complete_checkpoints(run_folder / "checkpoints")
    if selector == "best":
        return max(
            complete_checkpoints, key=lambda path: (_score(path), checkpoints.checkpoint_step(path)), default=None
        )
    return next((path for path in complete_checkpoints if str(checkpoints.checkpoint_step(path)) == selector), None)


def _score(checkpoint: Path) -> float:
    """The evaluation score of a checkpoint, higher is better; minus infinity when it was not evaluated."""
    score = checkpoints.checkpoint_metadata(checkpoint).get("score")
    return -math.inf if score is None else score


def _locate_external_adapter(name: str) -> str:
    """A folder with an adapter or a model, or a Hub name. Raises Problem for anything else."""
    folder = os.path.expanduser(name)
    if any(os.path.exists(os.path.join(folder, file)) for file in (ADAPTER_CONFIG, "config.json")):
        return folder
    if not HUB_NAME.fullmatch(name) or os.path.isdir(folder):
        raise Problem(
            f"There is no adapter called “{shorten(name, 120)}”.",
            advice="Use a Hub name such as owner/name, or a folder with an adapter_config.json.",
        )
    return name


def count_parameters(model: Model) -> int | None:
    """The number of parameters, from the headers of local safetensors files; None when there are none on this machine."""
    folder = Path(locate_model(model.id))
    if not folder.is_dir():
        return None
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
    except (struct.error, ValueError, AttributeError, KeyError, TypeError) as error:
        raise Problem(
            f"The file {file} is damaged or not a model's weights.", advice="Download the model again."
        ) from error


# -- chat templates -----------------------------------------------------------------------------------------------


def chat_template_names() -> list[str]:
    """Names of the chat templates that TRL ships, without the variants that TRL only uses in training."""
    return sorted(path.stem for path in chat_template_folder().glob("*.jinja") if not path.stem.endswith("_training"))


def chat_template_folder() -> Path:
    """The folder of TRL's chat templates, found without importing TRL."""
    package = find_spec("trl")
    assert package is not None, "TRL is a dependency"
    assert package.origin is not None
    return Path(package.origin).parent / "chat_templates"
