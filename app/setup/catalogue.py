"""The catalogue: what is known of the models that people use before anything of them is downloaded, each fact with its sources.

Loads no model, and asks nobody.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cache
from pathlib import Path
from typing import Any

from app.core.json_files import load_json
from app.setup.chat_support import Reasoning
from app.setup.model_shape import ModelShape, read_model_shape

CATALOGUE_FILE = Path(__file__).with_suffix(".json")
OWN_FILES = "hub"  # the source that is the model itself: what its own files say needs no second source
_NEEDED_SOURCES = 2
_BYTES_PER_WEIGHT = 2.0  # in bfloat16, as all entries without a size are published
_CLOSEST = 0.6  # how alike two names are, from 0 to 1, so that one may be meant for the other


@dataclass(frozen=True)
class FactSource:
    """Where facts come from. date: of what was read, as YYYY-MM-DD."""

    title: str
    url: str
    date: str


@dataclass(frozen=True)
class CatalogueEntry:
    """A model that people use. A field is None where no source was found.

    config: the fields of its config.json that `read_model_shape` reads; of a vision model those of its text part.
    parameters: all weights; vision_parameters: those that read pictures. weight_bytes: of its safetensors files.
    weights_quantized: how they are published where they are quantized, such as mxfp4. gated: whether its terms have to
    be accepted on the Hub. system, tools, reasoning: of its chat template, see ChatSupport. template: the chat template
    of TRL that its family uses, as `trl:NAME`. sources: {source: names of the fields that it says}.
    """

    name: str
    title: str
    family: str
    good_for: str
    parameters: int
    config: Mapping[str, Any]
    sources: Mapping[str, tuple[str, ...]]
    vision_parameters: int | None = None
    weight_bytes: int | None = None
    weights_quantized: str | None = None
    licence: str | None = None
    gated: bool | None = None
    system: bool | None = None
    tools: bool | None = None
    reasoning: Reasoning | None = None
    template: str | None = None

    @property
    def vision(self) -> bool:
        """Whether it reads pictures."""
        return self.vision_parameters is not None

    @property
    def shape(self) -> ModelShape:
        """The shape of its text part."""
        return read_model_shape(self.full_config)

    @property
    def full_config(self) -> dict[str, Any]:
        """The known fields of its config.json, as they are nested there."""
        if not self.vision:
            return dict(self.config)
        text_config = {name: value for name, value in self.config.items() if name != "model_type"}
        return {"model_type": self.config["model_type"], "text_config": text_config, "vision_config": {}}

    @property
    def download_bytes(self) -> int:
        """Size of its weights as files; an estimate where `weight_bytes` is not known."""
        return self.weight_bytes or round(self.parameters * _BYTES_PER_WEIGHT)

    def sources_of(self, field: str) -> list[str]:
        """The sources that say this field."""
        return [source for source, fields in self.sources.items() if field in fields]

    def is_confirmed(self, field: str) -> bool:
        """Whether two sources say the same of a field, or the model's own files."""
        sources = self.sources_of(field)
        return OWN_FILES in sources or len(sources) >= _NEEDED_SOURCES

    @property
    def unconfirmed(self) -> list[str]:
        """The known fields that one source says, in the order of the file."""
        known = [*self.config, "parameters", "weight_bytes", "licence", "gated", "system", "tools", "reasoning"]
        values = {**self.__dict__, **self.config}
        return [field for field in known if values.get(field) is not None and not self.is_confirmed(field)]


@dataclass(frozen=True)
class Catalogue:
    """The entries in the order of the file, by family and size; and their sources by key."""

    entries: tuple[CatalogueEntry, ...]
    sources: Mapping[str, FactSource]

    def find(self, name: str) -> CatalogueEntry | None:
        """The entry with this name on the Hub, in whatever case it is written."""
        return next((entry for entry in self.entries if entry.name.casefold() == name.strip().casefold()), None)


def load_catalogue(path: Path = CATALOGUE_FILE) -> Catalogue:
    """The catalogue of this file, read once while it does not change. Raises DamagedFile."""
    return _read_catalogue(path, path.stat().st_mtime_ns if path.exists() else 0)


@cache
def _read_catalogue(path: Path, modified: int) -> Catalogue:
    data = load_json(path, dict[str, Any])
    sources = {key: FactSource(**source) for key, source in data["sources"].items()}
    return Catalogue(tuple(_parse_entry(entry) for entry in data["models"]), sources)


def _parse_entry(data: Mapping[str, Any]) -> CatalogueEntry:
    sources = {source: tuple(fields) for source, fields in data["sources"].items()}
    flat_fields = {name: field for name, field in data.items() if name not in ("chat", "sources")}
    return CatalogueEntry(**flat_fields, **data["chat"], sources=sources)


def format_catalogue(catalogue: Catalogue) -> str:
    """The text of its file: one line for each group of facts, so that changes are read easily."""
    sources = ",\n".join(
        f"    {_to_json(key)}: {_to_json(source.__dict__)}" for key, source in catalogue.sources.items()
    )
    models = ",\n".join(_format_entry(entry) for entry in catalogue.entries)
    return f'{{\n  "sources": {{\n{sources}\n  }},\n  "models": [\n{models}\n  ]\n}}\n'


def _format_entry(entry: CatalogueEntry) -> str:
    fields = {name: value for name, value in entry.__dict__.items() if value is not None}
    chat = {name: getattr(entry, name) for name in ("system", "tools", "reasoning")}
    groups = (
        {name: fields[name] for name in ("name", "title", "family", "good_for")},
        {
            name: fields[name]
            for name in ("parameters", "vision_parameters", "weight_bytes", "weights_quantized", "licence", "gated")
            if name in fields
        },
        {"chat": chat} | ({"template": entry.template} if entry.template else {}),
        {"config": dict(entry.config)},
        {"sources": {source: list(names) for source, names in entry.sources.items()}},
    )
    return "    {\n" + ",\n".join(f"      {_to_json(group)[1:-1]}" for group in groups) + "\n    }"


def _to_json(data: Any) -> str:
    return json.dumps(data, ensure_ascii=False)


# -- search -------------------------------------------------------------------------------------------------------


def search_catalogue(text: str, entries: Iterable[CatalogueEntry] | None = None) -> list[CatalogueEntry]:
    """The entries whose name, title, family or size has every word of the text, such as “qwen 3 4b”; the best first.

    All entries for an empty text; where none has every word, the few whose name is most alike.
    """
    candidates = list(load_catalogue().entries if entries is None else entries)
    words = _split_words(text)
    matches = [entry for entry in candidates if all(_has_word(entry, word) for word in words)]
    joined = "".join(words)
    if matches:
        return sorted(matches, key=lambda entry: joined not in "".join(_split_words(entry.title)))
    return closest_entries(text, candidates)


def closest_entries(name: str, entries: Iterable[CatalogueEntry] | None = None) -> list[CatalogueEntry]:
    """Up to three entries that may be meant by a name that is almost theirs, the most alike first."""
    wanted = "".join(_split_words(name.rpartition("/")[2]))
    scored = [
        (SequenceMatcher(None, wanted, "".join(_split_words(entry.name.rpartition("/")[2]))).ratio(), index, entry)
        for index, entry in enumerate(load_catalogue().entries if entries is None else entries)
    ]
    ranked = sorted((item for item in scored if item[0] >= _CLOSEST), key=lambda item: (-item[0], item[1]))
    return [entry for _, _, entry in ranked[:3]]


def _split_words(text: str) -> list[str]:
    """Runs of letters and numbers, in lower case: of “Qwen2.5-0.5B” qwen, 2.5, 0.5b."""
    return re.findall(r"\d+(?:\.\d+)?(?:[bm](?![a-z]))?|[a-z]+\d*(?![a-z.\d])|[a-z]+", text.casefold())


def _has_word(entry: CatalogueEntry, word: str) -> bool:
    """Whether a word is in its name or title; a size only as a whole, so that 4b is not found in 14b."""
    haystack = f"{entry.name} {entry.title} {entry.family}".casefold()
    if word[0].isdigit():
        return word in _split_words(haystack) or word in re.findall(r"\d+(?:\.\d+)?", haystack)
    return word in haystack.replace(" ", "").replace("-", "") or word in haystack
