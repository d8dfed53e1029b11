"""Models: where a model's files are and how big it is, without loading it."""

from __future__ import annotations

import json
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
_MAX_HEADER_BYTES = 100_000_000  # bytes, as in the safetensors library


SHIPPED_MODELS = (
    "pocket",
    "pocket-teacher",
    "pocket-vision",
)  # in presets/: the practice model, one that can teach it, one that sees


def locate_model(name: str) -> str:
    """A folder for a shipped model and local paths, the name itself for a Hub id. Raises Problem when a folder has no model."""
    if name in SHIPPED_MODELS:
        return _shipped_folder(name)
    folder = Path(os.path.expanduser(name))
    if os.path.exists(folder / "config.json"):  # unlike pathlib's it takes any text, also one too long for a path
        return str(folder)
    if os.path.exists(folder / ADAPTER_CONFIG):
        raise adapter_as_model_problem(name, json.loads((folder / ADAPTER_CONFIG).read_text("utf-8")).get("base_model_name_or_path"))
    if not HUB_NAME.fullmatch(name) or os.path.isdir(folder):
        raise Problem(
            f"There is no model called “{shorten(name, 120)}”.",
            advice="Use “pocket” for the practice model, a Hub name such as owner/name, or a folder with a config.json.",
        )
    return name


def _shipped_folder(name: str) -> str:
    folder = paths.ROOT / "presets" / name
    if not (folder / "config.json").exists():
        raise Problem(f"“{name}” is an adapter on the practice model, not a model of its own.",
                      advice="Use “pocket”, and name this one as the teacher.")  # fmt: skip
    return str(folder)


def locate_model_or_adapter(name: str) -> str:
    """Where a model lies that a setting names: `run:ID`, a shipped one, a folder with a model or an adapter, or a Hub name. Raises Problem."""
    if name.startswith("run:"):
        return locate_adapter(name)
    if name in SHIPPED_MODELS:
        return str(paths.ROOT / "presets" / name)
    folder = os.path.expanduser(name)
    return folder if os.path.exists(os.path.join(folder, "adapter_config.json")) else locate_model(name)


def adapter_as_model_problem(name: str, base: str | None) -> Problem:
    """What to say when an adapter is named where a whole model belongs."""
    base_hint = f" and “{shorten(base, 120)}” as the model" if base else ""
    return Problem(f"“{shorten(name, 120)}” is an adapter, not a whole model.",
                   advice=f"Name it as what to go on from{base_hint}.", reason="adapter_as_model")  # fmt: skip


def locate_adapter(start_from: str) -> str:
    """Where an adapter to go on from lies: the folder of `run:ID`, of `run:ID@STEP` or `run:ID@best`, a folder with one, or the Hub name itself. Raises Problem."""
    if not start_from.startswith("run:"):
        return _locate_external_adapter(start_from)
    name, _, selector = start_from.removeprefix("run:").partition("@")
    run = paths.home("runs") / name
    folder = _find_checkpoint(run, selector) if selector else run / "adapter"
    if not name.strip(".") or "/" in name or not folder or not os.path.isdir(folder):
        missing_result = f"checkpoint “{shorten(selector, 40)}”" if selector else "result"
        raise Problem(f"The run “{shorten(name, 120)}” has no {missing_result} to go on from.",
                      advice="Choose a finished run; `runs` lists them.")  # fmt: skip
    return str(folder)


def _find_checkpoint(run: Path, selector: str) -> Path | None:
    """One of a run's whole checkpoints, by its step or as `best`, by its own tests."""
    found = checkpoints.complete_checkpoints(run / "checkpoints")
    if selector == "best":
        return max(
            found,
            key=lambda path: (checkpoints.checkpoint_metadata(path).get("score") or float("-inf"), checkpoints.checkpoint_step(path)),
            default=None,
        )
    return next((path for path in found if str(checkpoints.checkpoint_step(path)) == selector), None)


def _locate_external_adapter(name: str) -> str:
    """An adapter, or a whole model, that no run here made."""
    folder = os.path.expanduser(name)
    if any(os.path.exists(os.path.join(folder, file)) for file in (ADAPTER_CONFIG, "config.json")):
        return folder
    if not HUB_NAME.fullmatch(name) or os.path.isdir(folder):
        raise Problem(f"There is no adapter called “{shorten(name, 120)}”.",
                      advice="Use a Hub name such as owner/name, or a folder with an adapter_config.json.")  # fmt: skip
    return name


def count_parameters(model: Model) -> int | None:
    """Number of weights, read from the headers of local safetensors files; None when the files are not here."""
    folder = Path(locate_model(model.id))
    if not folder.is_dir():
        return None
    sizes = [sum(read_tensor_sizes(file)) for file in folder.glob("*.safetensors")]
    return sum(sizes) or None


def read_tensor_sizes(file: Path) -> list[int]:
    """Element counts of the tensors in a safetensors file: its first 8 bytes give the length of a JSON header."""
    try:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > _MAX_HEADER_BYTES:
                raise ValueError("its header has no end")
            header = json.loads(stream.read(length))
        return [prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__"]
    except (
        struct.error,
        ValueError,
        AttributeError,
        KeyError,
        TypeError,
    ) as error:  # a border: a download cut short, a git-lfs pointer
        raise Problem(
            f"The file {file} is damaged or not a model's weights.", advice="Download the model again."
        ) from error


# -- chat formats -------------------------------------------------------------------------------------------------


def chat_template_names() -> list[str]:
    """Names of those that TRL ships, without those that only training uses."""
    return sorted(path.stem for path in chat_template_folder().glob("*.jinja") if not path.stem.endswith("_training"))


def chat_template_folder() -> Path:
    """Where TRL has them; it is not loaded for that."""
    return Path(str(find_spec("trl").origin)).parent / "chat_templates"
