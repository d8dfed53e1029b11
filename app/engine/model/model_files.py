"""Files of a model in a folder or on the Hub: its base weights, its tokenizer, and its adapter if it has one."""

from __future__ import annotations

from dataclasses import dataclass

from app.core.problems import Problem
from app.engine.model import quantization
from app.engine.model.adapter import PEFT_TASKS
from app.engine.model.hub_files import AdapterConfig, cached_commit, find_model_file, read_json_file
from app.setup import models
from app.setup.spec import Model

ModelLocation = tuple[str, str | None]  # (folder or Hub name, revision)

_CLASS_SUFFIXES = {
    "scores": "ForSequenceClassification",
    "step_scores": "ForTokenClassification",
}  # of the model class in config.json


@dataclass(frozen=True)
class ModelFiles:
    """kind: what it does, as in app/engine/model/load_model.py. base, tokenizer, adapter: where they are. commit: of files on the
    Hub. Of an adapter: quantization: of its base while it was trained. full_layers: those trained without LoRA, so not
    quantized. embedding_multiple: the base's embedding rows grew to a multiple of it."""

    kind: str
    base: ModelLocation
    tokenizer: ModelLocation
    adapter: ModelLocation | None = None
    commit: str | None = None
    quantization: str = "none"
    full_layers: tuple[str, ...] = ()
    embedding_multiple: int = Model().embedding_multiple


def locate_model_files(name: str, revision: str | None = None) -> ModelFiles:
    """The files of a folder or a Hub name. Reads and downloads only config files. Raises Problem; errors of the Hub pass through."""
    location = (name, revision)
    adapter_config_file = find_model_file(name, "adapter_config.json", revision)
    if adapter_config_file is None:
        config_file = find_model_file(name, "config.json", revision)
        return ModelFiles(
            _model_kind(read_json_file(config_file).get("architectures")),
            location,
            location,
            commit=cached_commit(config_file),
        )
    adapter_config: AdapterConfig = read_json_file(adapter_config_file)
    base_name = adapter_config.get("base_model_name_or_path")
    if not base_name:
        raise Problem(f"The adapter “{name}” does not say which model it belongs to.", advice="Choose another.")
    base = (models.locate_model(base_name), adapter_config.get("revision"))
    tokenizer_location = (
        location if find_model_file(name, "tokenizer_config.json", revision) else base
    )  # many adapters have no tokenizer
    kind = next((kind for kind, task in PEFT_TASKS.items() if task == adapter_config.get("task_type")), "causal")
    note_file = find_model_file(name, quantization.NOTE_FILE, revision)
    return ModelFiles(
        kind,
        base,
        tokenizer_location,
        adapter=location,
        commit=cached_commit(adapter_config_file),
        quantization=quantization.read_quantization(note_file),
        full_layers=tuple(adapter_config.get("modules_to_save") or ()),
        embedding_multiple=quantization.read_embedding_multiple(note_file),
    )


def _model_kind(architectures: list[str] | None) -> str:
    """What a model does, by the names of model classes in its config.json."""
    class_name = (architectures or [""])[0]
    return next((kind for kind, ending in _CLASS_SUFFIXES.items() if class_name.endswith(ending)), "causal")
