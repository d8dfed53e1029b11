"""Catalogue: every entry and every preset for real work builds at its true shape without weights, and what of it is learned.

An entry is built as transformers builds it from the fields of the catalogue; a preset is previewed on rows of the layout of
its dataset, with TRL's chat template of the model's family and the practice model's tokenizer.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from app.core.problems import Problem
from app.planning import presets
from app.setup.catalogue import CatalogueEntry
from app.setup.model_shape import read_model_shape
from tests import true_shapes

CASES = [*true_shapes.REAL_PRESETS, *(entry.name for entry in true_shapes.CATALOGUE.entries)]


def run(folder: Path, names: list[str] | None = None) -> list[dict[str, Any]]:
    """One table row per preset and entry, printed as soon as it is known. names: only these."""
    os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}  # torch reads these when it is imported
    table = []
    for name in names or CASES:
        table.append(preset_row(name, folder) if name in true_shapes.REAL_PRESETS else entry_row(name))
        print(table[-1], flush=True)
    return table


def preset_row(name: str, folder: Path) -> dict[str, Any]:
    """What of a preset's first row is learned, and its memory on its card."""
    spec, gigabytes = presets.preset_spec(name), presets.describe_preset(name)["gigabytes"] or 0
    estimate = true_shapes.estimate_on_card(spec, gigabytes)
    start = time.monotonic()
    try:
        row = true_shapes.preview_preset(name, folder)[0]
        texts: list[Any] = [row, *row.get("sides", [])]
        tokens = [token for text in texts for token in text["tokens"]]
        learned = f"{sum(token['trained'] for token in tokens)} of {len(tokens)}"
        left_out = row.get("left_out", "")
    except (Problem, ValueError, OSError, RuntimeError) as error:  # the table says what does not build
        learned, left_out = "", f"{type(error).__name__}: {error}"[:200]
    return {
        "case": name,
        "model": spec.model.id,
        "method": spec.method,
        "card, GB": gigabytes,
        "estimate, GB": f"{estimate['low'] / 1e9:.1f} to {estimate['high'] / 1e9:.1f}",
        "learned tokens of its first row": learned,
        "seconds": f"{time.monotonic() - start:.1f}",
        "builds": "NO: " + left_out if left_out else "yes",
    }


def entry_row(name: str) -> dict[str, Any]:
    """An entry's count of weights in transformers' own model beside that of its shape."""
    entry = true_shapes.entry_of(name)
    start = time.monotonic()
    counted = count_true_weights(entry)
    shape = read_model_shape(entry.full_config).num_parameters
    return {
        "case": name,
        "model": entry.config["model_type"],
        "method": "",
        "card, GB": "",
        "estimate, GB": "",
        "learned tokens of its first row": f"{counted / 1e9:.3f} billion weights, {shape / counted - 1:+.1%} in the estimate",
        "seconds": f"{time.monotonic() - start:.1f}",
        "builds": "yes" if abs(shape / counted - 1) < 0.02 else "NO: another size",
    }


def count_true_weights(entry: CatalogueEntry) -> int:
    """Weights of the text part as transformers builds it on the meta device."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

    fields = {name: part for name, part in entry.full_config.items() if name not in ("model_type", "vision_config")}
    config = AutoConfig.for_model(entry.config["model_type"], **fields)
    text_config = config.get_text_config()
    with torch.device("meta"):
        if type(text_config) in AutoModelForCausalLM._model_mapping:
            model = AutoModelForCausalLM.from_config(text_config)
        else:  # a text part that transformers builds only together with the part that reads pictures
            config.tie_word_embeddings = text_config.tie_word_embeddings
            model = AutoModelForImageTextToText.from_config(config)
    model.tie_weights()
    return sum(parameter.numel() for name, parameter in model.named_parameters() if "visual" not in name)
