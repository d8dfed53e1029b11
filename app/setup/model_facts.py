"""Facts of one model, read from its small files alone: the catalogue, a folder and the Hub give the same.

What no run could use is refused here, before anything large is loaded.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from app.core.json_files import read_json
from app.core.problems import Problem, shorten
from app.setup import models
from app.setup.catalogue import CatalogueEntry
from app.setup.chat_support import ChatSupport, read_chat_support
from app.setup.model_shape import ModelShape, read_model_shape

PROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json")
TEMPLATE_FILE = "chat_template.jinja"
_PICKLED_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt")
_STATED_DTYPES = ("dtype", "torch_dtype")
_DTYPE_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}


@dataclass(frozen=True)
class ModelFacts:
    """What is known of a model before it is loaded. A field is None where it is not known.

    origin: where the facts come from. parameters: all weights, those that read pictures too. weight_bytes: of the files
    that hold them. dtype: of the weights, such as bfloat16. quantized: by which method the published weights are
    quantized. chat: what its chat template supports; template: the template itself. eos_token: the tokenizer's end
    token. has_processor: whether files that prepare pictures are there. runs_code: whether its files would run
    programs, which transformers does not need where it knows the architecture. unconfirmed: fields with one source.
    """

    name: str
    origin: Literal["catalogue", "hub", "folder"]
    shape: ModelShape
    parameters: int
    weight_bytes: int
    dtype: str | None = None
    quantized: str | None = None
    licence: str | None = None
    gated: bool | None = None
    chat: ChatSupport | None = None
    template: str | None = None
    eos_token: str | None = None
    has_processor: bool | None = None
    runs_code: bool = False
    revision: str | None = None
    unconfirmed: tuple[str, ...] = ()


@dataclass(frozen=True)
class ModelFiles:
    """The small files of a model, and the sizes of all: {path in the repository or folder: bytes}.

    config, tokenizer_config, adapter_config: their content, empty where there is no such file. template: the text of
    chat_template.jinja. parameters: counted in the headers of its safetensors files; None where these were not read.
    """

    sizes: Mapping[str, int]
    config: Mapping[str, Any]
    tokenizer_config: Mapping[str, Any]
    adapter_config: Mapping[str, Any]
    template: str | None = None
    parameters: int | None = None


def facts_of_entry(entry: CatalogueEntry) -> ModelFacts:
    """The facts of an entry of the catalogue."""
    known_chat = entry.system is not None and entry.tools is not None and entry.reasoning is not None
    return ModelFacts(
        name=entry.name,
        origin="catalogue",
        shape=entry.shape,
        parameters=entry.parameters,
        weight_bytes=entry.download_bytes,
        dtype="bfloat16",
        quantized=entry.weights_quantized,
        licence=entry.licence,
        gated=entry.gated,
        chat=ChatSupport(bool(entry.system), bool(entry.tools), entry.reasoning or "none") if known_chat else None,
        unconfirmed=tuple(entry.unconfirmed),
    )


def facts_of_files(name: str, files: ModelFiles, origin: Literal["hub", "folder"], **known: Any) -> ModelFacts:
    """The facts that a model's own files tell. known: further fields of ModelFacts. Raises Problem for what is no model
    that can be trained."""
    _require_base_model(name, files, origin)
    _require_language_model(name, files.config)
    shape = read_model_shape(files.config)
    template = read_template(files)
    quantization = files.config.get("quantization_config") or {}
    weight_bytes = sum(files.sizes[file] for file in weight_files(files.sizes))
    dtype = _stated_dtype(files.config)
    return ModelFacts(
        name=name,
        origin=origin,
        shape=shape,
        parameters=_count_parameters(files, shape, weight_bytes, dtype),
        weight_bytes=weight_bytes,
        dtype=dtype,
        quantized=str(quantization.get("quant_method") or "unknown") if quantization else None,
        chat=read_chat_support(template) if template else None,
        template=template,
        eos_token=_token_text(files.tokenizer_config.get("eos_token")),
        has_processor=any(file in files.sizes for file in PROCESSOR_FILES),
        runs_code=bool(files.config.get("auto_map")),
        **known,
    )


def _count_parameters(files: ModelFiles, shape: ModelShape, weight_bytes: int, dtype: str | None) -> int:
    """All weights: as the headers of the files say, else by the size of the files. Quantized ones are packed, so that
    only the shape says how many there are."""
    if files.config.get("quantization_config"):
        return shape.num_parameters
    return files.parameters or weight_bytes // _DTYPE_BYTES.get(dtype or "", 2) or shape.num_parameters


def weight_files(sizes: Mapping[str, int]) -> list[str]:
    """The weights that transformers loads: safetensors files of the main folder, without copies in other layouts."""
    files = [file for file in sizes if "/" not in file and file.endswith(".safetensors")]
    named = [file for file in files if file.startswith("model")]
    return sorted(named or [file for file in files if not file.startswith(("consolidated", "adapter_"))])


def read_template(files: ModelFiles) -> str | None:
    """The chat template: of its own file, or of tokenizer_config.json, where there may be several by name."""
    if files.template:
        return files.template
    template = files.tokenizer_config.get("chat_template")
    if isinstance(template, list):
        by_name = {item.get("name"): item.get("template") for item in template if isinstance(item, dict)}
        template = by_name.get("default")
    return template if isinstance(template, str) and template.strip() else None


def _stated_dtype(config: Mapping[str, Any]) -> str | None:
    for part in (config, config.get("text_config") or {}):
        for key in _STATED_DTYPES:
            if isinstance(part.get(key), str):
                return str(part[key]).removeprefix("torch.")
    return None


def _token_text(token: Any) -> str | None:
    """A special token of tokenizer_config.json, which may be a text or a description of one."""
    text = token.get("content") if isinstance(token, dict) else token
    return text if isinstance(text, str) and text else None


# -- what is no model to train ------------------------------------------------------------------------------------


def _require_base_model(name: str, files: ModelFiles, origin: str) -> None:
    """Raises Problem for an adapter, weights in a format that cannot be trained, and a folder without a model."""
    if files.adapter_config and not files.config:
        base = files.adapter_config.get("base_model_name_or_path")
        raise models.adapter_as_model_problem(name, base if isinstance(base, str) else None)
    has_pickles = any(file.endswith(_PICKLED_SUFFIXES) for file in files.sizes)
    if weight_files(files.sizes) or (has_pickles and origin == "folder"):
        if not files.config:
            raise Problem(
                f"“{shorten(name, 120)}” has weights, but no config.json that says what model they are.",
                advice="Choose a model in the format of transformers.",
                reason="unknown_architecture",
            )
        return
    if any(file.endswith(".gguf") for file in files.sizes):
        raise Problem(
            f"“{shorten(name, 120)}” holds its weights as GGUF, which is for running a model and not for training it.",
            advice="Choose the model that it was made from; its page names it.",
            reason="gguf_model",
        )
    if has_pickles:
        raise Problem(
            f"“{shorten(name, 120)}” has no safetensors files: its weights are in a format that can hold program code.",
            advice="Choose a model whose weights are .safetensors files; most have them.",
            reason="pickled_weights",
        )
    raise Problem(
        f"“{shorten(name, 120)}” holds no weights.",
        advice="Choose a language model with .safetensors files.",
        reason="no_weights",
    )


def _require_language_model(name: str, config: Mapping[str, Any]) -> None:
    """Raises Problem where transformers does not know the architecture by itself, or it does not write text."""
    model_type = str(config.get("model_type", ""))
    if model_type in language_architectures() and not config.get("is_encoder_decoder"):
        classes = [str(class_name) for class_name in config.get("architectures") or []]
        if not any(class_name.endswith("ForMaskedLM") for class_name in classes):
            return
    if model_type in _table_keys("auto_mappings.py", "CONFIG_MAPPING_NAMES"):
        raise Problem(
            f"“{shorten(name, 120)}” is of the kind {model_type}, which does not write text word by word.",
            advice="Choose a language model, such as one of the families Llama, Qwen or Gemma.",
            reason="unknown_architecture",
        )
    if config.get("auto_map"):
        raise Problem(
            f"“{shorten(name, 120)}” comes with program code of its own, which is never run here.",
            advice="Choose a model of a common architecture, such as Llama or Qwen.",
            reason="own_code",
        )
    raise Problem(
        f"The installed transformers {version('transformers')} does not know the architecture “{shorten(model_type, 60)}” of this model.",
        advice="Choose another model, or update transformers if the model is newer.",
        reason="unknown_architecture",
    )


def language_architectures() -> frozenset[str]:
    """The model types that transformers loads as a language model, also one that reads pictures."""
    tables = ("MODEL_FOR_CAUSAL_LM_MAPPING_NAMES", "MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES")
    return frozenset().union(*(_table_keys("modeling_auto.py", table) for table in tables))


@cache
def _table_keys(file: str, table: str) -> frozenset[str]:
    """The model types in a table of transformers' auto classes, read without importing transformers."""
    package = find_spec("transformers")
    assert package is not None, "transformers is a dependency"
    assert package.origin is not None
    tree = ast.parse((Path(package.origin).parent / "models" / "auto" / file).read_text(encoding="utf-8"))
    statements = [node for node in tree.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == table]
    pairs = [node.elts[0] for statement in statements for node in ast.walk(statement) if isinstance(node, ast.Tuple)]
    return frozenset(key.value for key in pairs if isinstance(key, ast.Constant) and isinstance(key.value, str))


# -- a folder -----------------------------------------------------------------------------------------------------


def facts_of_folder(name: str) -> ModelFacts:
    """The facts of a shipped model, or of one in a folder of this machine. Raises Problem."""
    folder = Path(models.locate_model(name))
    if not folder.is_dir():
        raise Problem(f"There is no folder “{shorten(name, 120)}”.", advice="Check the path.", reason="model_not_found")
    sizes = {file.name: file.stat().st_size for file in sorted(folder.iterdir()) if file.is_file()}
    template_file = folder / TEMPLATE_FILE
    counts = [sum(models.read_tensor_sizes(folder / file)) for file in weight_files(sizes)]
    files = ModelFiles(
        sizes=sizes,
        config=_read_config(folder / "config.json"),
        tokenizer_config=_read_config(folder / "tokenizer_config.json"),
        adapter_config=_read_config(folder / models.ADAPTER_CONFIG),
        template=template_file.read_text(encoding="utf-8", errors="replace") if template_file.is_file() else None,
        parameters=sum(counts) or None,
    )
    return facts_of_files(name, files, "folder")


def _read_config(file: Path) -> Mapping[str, Any]:
    content: Mapping[str, Any] = read_json(file)
    return content
