"""Models: where a model's files are and how big it is, without loading it."""

from __future__ import annotations

import json
import struct
from math import prod
from pathlib import Path

from app import rooms
from app.problems import Problem
from app.spec import Model


def locate(name: str) -> str:
    """A folder for `pocket` and local paths, the name itself for a Hub id. Raises Problem when a folder has no model."""
    if name == "pocket":
        return str(rooms.ROOT / "presets" / "pocket")
    folder = Path(name).expanduser()
    if (folder / "config.json").exists():
        return str(folder)
    if name.startswith((".", "/", "~")) or name.count("/") != 1 or folder.is_dir():
        raise Problem(
            f"There is no model called “{name}”.",
            advice="Use “pocket” for the practice model, a Hub name such as owner/name, or a folder with a config.json.",
        )
    return name


def start_folder(start_from: str) -> str:
    """Where an adapter to go on from lies: the folder of `run:ID`, or the Hub name itself. Raises Problem."""
    if not start_from.startswith("run:"):
        return start_from
    folder = rooms.home("runs") / start_from.removeprefix("run:") / "adapter"
    if not folder.is_dir():
        raise Problem(f"The run “{start_from.removeprefix('run:')}” has no result to go on from.",
                      advice="Choose a finished run; `runs` lists them.")  # fmt: skip
    return str(folder)


def parameters(model: Model) -> int | None:
    """Number of weights, read from the headers of local safetensors files; None when the files are not here."""
    folder = Path(locate(model.id))
    if not folder.is_dir():
        return None
    sizes = [sum(tensor_sizes(file)) for file in folder.glob("*.safetensors")]
    return sum(sizes) or None


def tensor_sizes(file: Path) -> list[int]:
    """Element counts of the tensors in a safetensors file: its first 8 bytes give the length of a JSON header."""
    with file.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        header = json.loads(stream.read(length))
    return [prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__"]
