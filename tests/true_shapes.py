"""Models of the true shape of catalogue entries without weights, and rows of the true layout of public datasets, for presets for real work.

Nothing is downloaded: a folder has the model's configuration, the practice model's tokenizer with the special tokens of
the family, and TRL's chat template of that family.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.core.paths import ROOT
from app.engine.preview.page_types import PreviewedRow
from app.planning import presets
from app.planning.memory.device_memory import DeviceMemory
from app.planning.memory.estimate import MemoryEstimate, estimate_memory
from app.planning.resolve import models_in_settings, resolve
from app.setup.catalogue import CatalogueEntry, load_catalogue
from app.setup.model_shape import ModelShape
from app.setup.models import chat_template_folder
from app.setup.spec import Source, Spec
from app.setup.step_memory import RowLengths
from tests.support import write_rows

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CATALOGUE = load_catalogue()
REAL_PRESETS = [preset["name"] for preset in presets.list_presets() if preset["goal"]]
CARD_SIZES = (8, 16, 24, 48, 80)  # gigabytes

# Of the catalogue's templates: the token that ends an answer.
_END_TOKENS = {"llama3_1": "<|eot_id|>", "llama3_2": "<|eot_id|>", "gemma3": "<end_of_turn>", "smolvlm": "<end_of_utterance>",
               "gptoss": "<|return|>", "deepseek_r1_distill": "<｜end▁of▁sentence｜>"}  # fmt: skip
_SPECIAL_TOKEN = re.compile(
    r"<\|\w+\|>|<｜[\w▁]+｜>|<(?:start_of_turn|end_of_turn|start_of_image|image|end_of_utterance)>"
)
_IMAGE_TOKENS = {
    "gemma3": {"boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "image_token": "<image_soft_token>"}
}


def entry_of(name: str) -> CatalogueEntry:
    """The catalogue's entry of this name, which must exist."""
    entry = CATALOGUE.find(name)
    assert entry is not None, f"{name} is not in the catalogue"
    return entry


# -- models -------------------------------------------------------------------------------------------------------


def model_folder(entry: CatalogueEntry, folder: Path) -> str:
    """A folder with the configuration, tokenizer and chat template of an entry, made once below `folder`."""
    path = folder / entry.name.replace("/", "--")
    if not path.is_dir():
        tokenizer = _tokenizer_of(entry)
        _save_config(entry, tokenizer, path)
        tokenizer.save_pretrained(path)
        if entry.vision:
            _save_processor(entry, tokenizer, path)
    return str(path)


def _tokenizer_of(entry: CatalogueEntry) -> PreTrainedTokenizerBase:
    """The practice model's tokenizer with the special tokens that the template writes."""
    from transformers import AutoTokenizer

    template = (entry.template or "").removeprefix("trl:")
    tokenizer = AutoTokenizer.from_pretrained(
        ROOT / "presets" / "pocket", extra_special_tokens=_IMAGE_TOKENS.get(template, {})
    )
    if template:
        text = (chat_template_folder() / f"{template}.jinja").read_text(encoding="utf-8")
        end_token = _END_TOKENS.get(template, "<|im_end|>")
        special_tokens = sorted({*_SPECIAL_TOKEN.findall(text), end_token})
        tokenizer.add_special_tokens({"additional_special_tokens": special_tokens}, replace_extra_special_tokens=False)
        tokenizer.chat_template, tokenizer.eos_token = text, end_token
        tokenizer.bos_token = "<bos>" if "bos_token" in text else None
    return tokenizer


def _save_config(entry: CatalogueEntry, tokenizer: PreTrainedTokenizerBase, path: Path) -> None:
    from transformers import AutoConfig

    fields = {name: part for name, part in entry.full_config.items() if name != "model_type"}
    token_ids = {name: getattr(tokenizer, name) for name in ("eos_token_id", "pad_token_id", "bos_token_id")}
    image_token = _image_token(entry)
    if image_token:
        fields["image_token_id"] = tokenizer.convert_tokens_to_ids(image_token)
    AutoConfig.for_model(entry.config["model_type"], **fields, **token_ids).save_pretrained(path)


def _image_token(entry: CatalogueEntry) -> str | None:
    return {"gemma3": "<image_soft_token>", "idefics3": "<image>"}.get(entry.config["model_type"])


def _save_processor(entry: CatalogueEntry, tokenizer: PreTrainedTokenizerBase, path: Path) -> None:
    """The processor of a vision model. That of Qwen's needs torchvision, which is not among the requirements."""
    import transformers

    if entry.config["model_type"] == "gemma3":
        image_processor = transformers.Gemma3ImageProcessorPil()
        transformers.Gemma3Processor(image_processor, tokenizer).save_pretrained(path)
    elif entry.config["model_type"] == "idefics3":
        transformers.Idefics3Processor(transformers.Idefics3ImageProcessorPil(), tokenizer).save_pretrained(path)


# -- rows ---------------------------------------------------------------------------------------------------------


def _turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


_ULTRAFEEDBACK_ROW = {
    "prompt": "How do I keep basil fresh?",
    "prompt_id": "0a1",
    "chosen": [_turn("user", "How do I keep basil fresh?"), _turn("assistant", "Put the stems in water.")],
    "rejected": [_turn("user", "How do I keep basil fresh?"), _turn("assistant", "You cannot.")],
    "messages": [_turn("user", "How do I keep basil fresh?"), _turn("assistant", "Put the stems in water.")],
    "score_chosen": 8.5,
    "score_rejected": 4.0,
}
_TOOLS = [{"name": "get_weather", "description": "The weather in a city.", "parameters": {"city": {"type": "str", "description": "The city."}}}]  # fmt: skip
# {dataset on the Hub: a row as it has it}
HUB_ROWS: dict[str, dict[str, Any]] = {
    "bitext/Bitext-customer-support-llm-chatbot-training-dataset": {
        "flags": "BQZ", "instruction": "how do I cancel order {{Order Number}}", "category": "ORDER", "intent": "cancel_order",
        "response": "Open your orders and press Cancel.",
    },
    "Salesforce/xlam-function-calling-60k": {
        "id": 1, "query": "What is the weather in Oslo?", "answers": json.dumps([{"name": "get_weather", "arguments": {"city": "Oslo"}}]),
        "tools": json.dumps(_TOOLS),
    },
    "openai/gsm8k": {"question": "Ida has 3 apples and buys 4. How many has she?", "answer": "Ida has 3 + 4 = <<3+4=7>>7 apples.\n#### 7"},
    "HuggingFaceH4/ultrafeedback_binarized": _ULTRAFEEDBACK_ROW,
    "trl-lib/kto-mix-14k": {
        "prompt": [_turn("user", "Name a fruit.")], "completion": [_turn("assistant", "A pear is a fruit.")], "label": True,
    },
    "trl-lib/math_shepherd": {
        "prompt": "Ida has 3 apples and buys 4. How many has she?", "completions": ["Step 1: 3 + 4 = 7.", "Step 2: The answer is: 8"],
        "labels": [True, False],
    },
    "trl-lib/llava-instruct-mix": {
        "images": ["images/000.png"], "prompt": [_turn("user", "What is shown?")], "completion": [_turn("assistant", "A triangle.")],
    },
    "HuggingFaceFW/fineweb-edu": {"text": "Basil is a plant. Its leaves are eaten.", "id": "<urn:uuid:1>", "dump": "CC-MAIN-2024-10", "score": 3.1},
    "trl-lib/ultrafeedback-prompt": {"prompt": [_turn("user", "How do I keep basil fresh?")]},
    "trl-lib/hh-rlhf-helpful-base": {
        "prompt": [_turn("user", "How do I keep basil fresh?")], "chosen": [_turn("assistant", "Put the stems in water.")],
        "rejected": [_turn("assistant", "You cannot.")],
    },
}  # fmt: skip


# Presets, one for each layout: {name: (a text that is learned of its first row, a text that is only read)}
LEARNED_TEXTS = {
    "support_8gb": ("Open your orders and press Cancel.", "how do I cancel order"),
    "extraction_8gb": ('"urgent": false', "The box with the bicycle"),
    "tools_8gb": ('{"name": "get_weather", "arguments": {"city": "Oslo"}}', "What is the weather in Oslo?"),
    "preferences_dpo_8gb": ("Put the stems in water.", "How do I keep basil fresh?"),
    "preferences_kto_16gb": ("A pear is a fruit.", "Name a fruit."),
    "vision_8gb": ("A triangle.", "What is shown?"),
}


def with_local_rows(source: Source, folder: Path) -> Source:
    """The source with a file of rows of the same layout in place of its dataset on the Hub."""
    name = source.source.removeprefix("hub:")
    if name == source.source:
        return source
    if "images" in HUB_ROWS[name] and not (folder / "images").exists():
        shutil.copytree(ROOT / "presets" / "samples" / "shapes" / "images", folder / "images")  # a link leads outside
    row = HUB_ROWS[name]
    rows = [row | {"row": number} for number in range(4)]
    path = write_rows(folder / f"{name.replace('/', '--')}.jsonl", rows)
    return source.model_copy(update={"source": path, "config": None, "split": "train"})


# -- presets ------------------------------------------------------------------------------------------------------


def local_preset(name: str, folder: Path) -> Spec:
    """A preset on models of the true shape without weights, and on rows of the true layout."""
    return localize(presets.unresolved_preset_spec(name), folder)


def localize(spec: Spec, folder: Path) -> Spec:
    """The Spec on models of the true shape without weights, and on rows of the true layout; its held-out rows are a sample's
    own."""
    model = spec.model.model_copy(update={"id": model_folder(entry_of(spec.model.id), folder), "quantization": "none"})
    data = [with_local_rows(source, folder) for source in spec.data]
    knobs = dict(spec.knobs)
    if "teacher" in knobs:
        knobs["teacher"] = model_folder(entry_of(knobs["teacher"]), folder)
    holdout = spec.holdout.model_copy(update={"split": None}) if data != spec.data else spec.holdout
    return resolve(
        spec.model_copy(update={"model": model, "data": data, "knobs": knobs, "holdout": holdout, "prompts": []})
    )


def preview_preset(name: str, folder: Path) -> list[PreviewedRow]:
    """The first rows of a preset as its trainer reads them."""
    from app.engine.preview.row_preview import preview_rows

    return preview_rows(local_preset(name, folder), 2)["rows"]


def estimate_on_card(spec: Spec, gigabytes: int) -> MemoryEstimate:
    """The memory of a resolved Spec on a card of this size with rows as long as its settings allow. The part of a vision
    model that reads pictures is added to the total, which has the text part alone."""
    entry = entry_of(spec.model.id)
    longest = entry.shape.max_position_embeddings
    lengths = RowLengths(text=longest, learned=longest, prompt=512)
    card = DeviceMemory("cuda", gigabytes * 10**9, gigabytes * 10**9)
    other_shapes: dict[str, ModelShape] = {
        name: entry_of(name).shape for name in models_in_settings(spec) if CATALOGUE.find(name)
    }
    estimate = estimate_memory(spec, entry.shape, lengths, card, other_shapes)
    picture_bytes = 2 * (entry.vision_parameters or 0)
    return {**estimate, "low": estimate["low"] + picture_bytes, "high": estimate["high"] + picture_bytes}
