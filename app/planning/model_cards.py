"""Model cards: what a person sees of a model before choosing it, and which models of the catalogue fit the machine and the examples best."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import islice
from typing import Annotated, Literal, TypedDict

from pydantic import Field

from app.core.problems import Problem
from app.core.validation import FrozenModel
from app.data import rows
from app.data.reading import files
from app.engine.contracts import load_method
from app.planning.duration import DurationRange, estimate_duration
from app.planning.memory.device_memory import DeviceMemory, read_device_memory
from app.planning.memory.estimate import estimate_memory
from app.planning.memory.workload import Workload
from app.planning.model_preflight import check_model
from app.planning.resolve import models_in_settings
from app.setup.cached_models import cached_copy
from app.setup.catalogue import CatalogueEntry, load_catalogue
from app.setup.model_facts import ModelFacts, facts_of_entry, facts_of_folder
from app.setup.model_shape import ModelShape
from app.setup.sources import MAX_EVAL_SETS
from app.setup.spec import Spec
from app.setup.step_memory import RowLengths

# On two cores SmolLM2-135M reads about 130 tokens a second while it learns, so a model of this size reads 25: 500 examples of
# 300 tokens take it more than an hour.
_MAX_PROCESSOR_PARAMETERS = 700_000_000
_MAX_OF_ONE_FAMILY = 2
_SUPERSEDED = ("Qwen/Qwen2.5-", "allenai/OLMo-2-")  # a newer generation of the same sizes is in the catalogue
_USUAL_ROW_TOKENS = 1024  # of the longest row, where rows are not tokenized yet
_MAX_PROMPT_TOKENS = 512
_MAX_COUNT = 10**12  # of rows or tokens
_FITS = ("yes", "tight", "no")


class CardMemory(TypedDict):
    """low, high: bytes of the setup on the device. free_bytes: of the device now."""

    low: int
    high: int
    free_bytes: int
    fits: Literal["yes", "tight", "no"]


class PlannedRows(FrozenModel):
    """What a plan has counted of the examples, for another model too. longest: tokens of the longest row. rows: that are
    learned in an epoch. row_tokens: of an average row. held_out, eval_sets: rows that are only read."""

    longest: int = Field(ge=1, le=_MAX_COUNT)
    rows: int = Field(ge=1, le=_MAX_COUNT)
    row_tokens: float = Field(gt=0, le=_MAX_COUNT)
    held_out: int = Field(ge=0, le=_MAX_COUNT)
    eval_sets: list[Annotated[int, Field(ge=0, le=_MAX_COUNT)]] = Field(default=[], max_length=MAX_EVAL_SETS)


class ModelCard(TypedDict):
    """A model for the page. good_for: empty where the catalogue does not know it. gated, licence: None where they are not
    known. unconfirmed: fields that only one source says. downloaded: all of its weights are on this machine. slow: it fits, and
    takes hours on this processor. duration: None where nothing is planned yet, and where only the run itself will tell."""

    id: str
    title: str
    good_for: str
    parameters: int
    weight_bytes: int
    licence: str | None
    gated: bool | None
    vision: bool
    unconfirmed: list[str]
    memory: CardMemory
    duration: DurationRange | None
    slow: bool
    downloaded: bool


def read_local_device() -> DeviceMemory:
    """The memory of the first graphics card, or of the machine where nvidia-smi answers about none."""
    device = read_device_memory("cuda:0") or read_device_memory("cpu")
    assert device is not None, "a machine has memory"
    return device


def suggest_models(
    spec: Spec,
    device: DeviceMemory,
    planned: PlannedRows | None = None,
    count: int = 8,
    entries: Iterable[CatalogueEntry] | None = None,
) -> list[ModelCard]:
    """The models of the catalogue that suit the device and the examples of a resolved Spec best, the best first.

    Only models that can be trained as the Spec says count: those that read pictures for examples with pictures, the others for
    all other examples. Their order: first what fits into the memory that is free, then what may just fit, then what does not.
    Of what fits, models that a processor trains within an hour or so come first. Among these the larger come first, in classes
    of a factor of two; within a class the newer generations, then those that answer without written thoughts, then those
    without terms to accept, then the larger. All others are sorted from small to large: the nearest to fitting, or the
    quickest. At most two are of one family.

    planned: None where nothing is counted yet.
    """
    candidates = load_catalogue().entries if entries is None else entries
    wants_pictures = has_pictures(spec)
    suitable = [
        (entry, make_card(facts, spec, device, planned))
        for entry in candidates
        if entry.vision == wants_pictures
        and (facts := facts_of_entry(entry))
        and not any(finding["severity"] == "wrong" for finding in check_model(facts, spec, device.kind))
    ]
    ranked = sorted(suitable, key=lambda candidate: _rank(*candidate))
    return _limit_families(ranked, count)


def _rank(entry: CatalogueEntry, card: ModelCard) -> tuple[float, ...]:
    fits = _FITS.index(card["memory"]["fits"])
    parameters = card["parameters"]
    if fits > 0 or card["slow"]:
        return (fits, card["slow"], parameters)
    drawbacks = (entry.name.startswith(_SUPERSEDED), entry.reasoning == "always", entry.gated is True)
    return (fits, card["slow"], -round(math.log2(parameters)), *drawbacks, -parameters)


def _limit_families(ranked: list[tuple[CatalogueEntry, ModelCard]], count: int) -> list[ModelCard]:
    """At most two of a family, in the same order."""
    counts: dict[str, int] = {}
    cards = []
    for entry, card in ranked:
        counts[entry.family] = counts.get(entry.family, 0) + 1
        if counts[entry.family] <= _MAX_OF_ONE_FAMILY:
            cards.append(card)
    return cards[:count]


def make_card(facts: ModelFacts, spec: Spec, device: DeviceMemory, planned: PlannedRows | None = None) -> ModelCard:
    """The card of a model in the setup of a resolved Spec. planned: None where nothing is counted yet."""
    entry = load_catalogue().find(facts.name)
    tokens = planned.longest if planned else _USUAL_ROW_TOKENS
    lengths = RowLengths(text=tokens, learned=tokens, prompt=min(tokens, _MAX_PROMPT_TOKENS))
    workload = Workload(spec, facts.shape, lengths, device, _local_shapes(spec))
    estimate = estimate_memory(spec, facts.shape, lengths, device, workload.other_shapes)
    return {
        "id": facts.name,
        "title": entry.title if entry else facts.name.rstrip("/").rpartition("/")[2],
        "good_for": entry.good_for if entry else "",
        "parameters": facts.parameters,
        "weight_bytes": facts.weight_bytes,
        "licence": facts.licence,
        "gated": facts.gated,
        "vision": facts.shape.vision,
        "unconfirmed": list(facts.unconfirmed),
        "memory": {
            "low": estimate["low"],
            "high": estimate["high"],
            "free_bytes": estimate["free_bytes"],
            "fits": estimate["fits"],
        },
        "duration": _estimate_duration(workload, planned) if planned else None,
        "slow": device.kind == "cpu" and facts.shape.active_parameters > _MAX_PROCESSOR_PARAMETERS,
        "downloaded": facts.origin == "folder" or cached_copy(facts.name) is not None,
    }


def _estimate_duration(workload: Workload, planned: PlannedRows) -> DurationRange | None:
    knobs = workload.knobs
    steps = knobs.steps or math.ceil(planned.rows / (knobs.batch_size * knobs.accumulation)) * knobs.epochs
    return estimate_duration(
        workload, steps=steps, row_tokens=planned.row_tokens, set_sizes=[planned.held_out, *planned.eval_sets]
    )


def _local_shapes(spec: Spec) -> dict[str, ModelShape]:
    """{name: shape} of the teachers and reward models in the settings that are folders of this machine."""
    shapes = {}
    for name in models_in_settings(spec):
        try:
            shapes[name] = facts_of_folder(name).shape
        except Problem:  # an adapter, or a model of the Hub: it is taken to be as large as the model
            continue
    return shapes


def has_pictures(spec: Spec) -> bool:
    """Whether the first usable row of a source on this machine has pictures; False where no source can be read."""
    method = load_method(spec.method)
    for source in spec.data:
        normalizer = rows.RowNormalizer(method.row_types, method.title, is_chat=True)
        try:
            if files.source_path(source) is None:
                continue
            first_rows = islice(normalizer(files.read_source_rows(source), source), 1)
            if any(row.get("images") for row in first_rows):
                return True
        except Problem:  # the examples are mended elsewhere in the form
            continue
    return False
