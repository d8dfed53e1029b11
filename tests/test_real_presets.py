"""Presets for real work: each fits on its card and on no smaller one, and teaches the answers of its layout on a model of the true shape."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.cli.terminal import read_setup
from app.core import registry
from app.engine.preview.page_types import PreviewedText
from app.pipelines import pipeline, pipeline_preflight
from app.planning import preflight, presets
from app.planning.resolve import models_in_settings, resolve
from app.setup.spec import Source
from tests import true_shapes
from tests.true_shapes import CARD_SIZES, REAL_PRESETS, estimate_on_card

every_preset = pytest.mark.parametrize("name", REAL_PRESETS)
REAL_PIPELINES = [name for name in registry.names("pipelines") if pipeline.load_pipeline(name).gigabytes is not None]
LEARNED_TEXTS = true_shapes.LEARNED_TEXTS


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of models of true shapes and of rows of true layouts."""
    return tmp_path_factory.mktemp("shapes")


def smaller_card(gigabytes: int) -> int | None:
    index = CARD_SIZES.index(gigabytes)
    return CARD_SIZES[index - 1] if index else None


@every_preset
def test_a_preset_fits_on_its_card_and_on_no_smaller_one(name: str) -> None:
    spec, gigabytes = presets.preset_spec(name), presets.describe_preset(name)["gigabytes"]
    assert gigabytes in CARD_SIZES
    assert estimate_on_card(spec, gigabytes)["high"] <= gigabytes * 10**9
    below = smaller_card(gigabytes)
    assert below is None or estimate_on_card(spec, below)["high"] > below * 10**9, "a smaller card would do"


@every_preset
def test_its_models_are_in_the_catalogue_and_the_command_line_takes_it(name: str) -> None:
    spec = preflight.check_spec(read_setup(name, []))
    assert spec == presets.preset_spec(name)
    for model in (spec.model.id, *models_in_settings(spec)):
        assert true_shapes.CATALOGUE.find(model), model
    assert spec.knobs["learning_rate"] == read_default_rate(name), "the rate is left to the method"


def read_default_rate(name: str) -> float:
    spec = presets.unresolved_preset_spec(name)
    assert "learning_rate" not in spec.knobs
    return float(resolve(spec.model_copy(update={"knobs": {}, "rewards": []})).knobs["learning_rate"])


def test_every_goal_has_a_preset_for_each_of_at_least_two_cards_of_which_one_is_small() -> None:
    for goal in presets.GOALS:
        sizes = {preset["gigabytes"] for preset in presets.list_presets() if preset["goal"] == goal}
        assert len(sizes) >= 2, goal
        assert min(sizes) <= 24, goal
    titles = [preset["title"] for preset in presets.list_presets()]
    assert len(titles) == len(set(titles))


def test_a_preset_that_asks_for_own_examples_says_so() -> None:
    for preset in presets.list_presets():
        source = presets.unresolved_preset_spec(preset["name"]).data[0].source
        if preset["goal"] and source.startswith("sample:"):
            assert preset["own_examples"]
            assert "your own" in preset["sentence"] or "in their place" in preset["sentence"]


# -- what is learned ----------------------------------------------------------------------------------------------


def learned(text: PreviewedText) -> str:
    return "".join(token["text"] for token in text["tokens"] if token["trained"])


def whole(text: PreviewedText) -> str:
    return "".join(token["text"] for token in text["tokens"])


@pytest.mark.parametrize("name", LEARNED_TEXTS)
def test_answers_of_the_true_layout_are_learned_and_questions_only_read(name: str, shapes: Path) -> None:
    learned_text, read_text = LEARNED_TEXTS[name]
    row = true_shapes.preview_preset(name, shapes)[0]
    texts: list[Any] = [row, *row.get("sides", [])]
    assert "left_out" not in row
    assert any(learned_text in learned(text) for text in texts)
    assert any(read_text in whole(text) for text in texts)
    assert not any(read_text in learned(text) for text in texts)


@pytest.mark.parametrize("name", ["maths_8gb", "distillation_24gb"])
def test_nothing_of_a_question_is_learned_where_the_model_answers_itself(name: str, shapes: Path) -> None:
    row = true_shapes.preview_preset(name, shapes)[0]
    assert learned(row) == ""
    if name == "maths_8gb":
        assert "How many has she?\n\nThink step by step." in whole(row)
        assert row["beside"]["answer"].endswith("#### 7")


def test_every_word_of_a_text_that_is_read_is_learned(shapes: Path) -> None:
    row = true_shapes.preview_preset("reading_8gb", shapes)[0]
    assert whole(row).endswith(learned(row))
    assert len(learned(row)) > 0.9 * len(whole(row)) > 100


# -- pipelines ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", REAL_PIPELINES)
def test_every_stage_of_a_pipeline_fits_on_its_card_and_one_on_no_smaller(name: str) -> None:
    definition = pipeline.load_pipeline(name)
    gigabytes = definition.gigabytes or 0
    runs = dict.fromkeys((stage.name for stage in definition.stages), "20261125-101010-a-b")
    specs = [resolve(pipeline.stage_spec(stage, definition.title, runs)) for stage in definition.training_stages]
    assert max(estimate_on_card(spec, gigabytes)["high"] for spec in specs) <= gigabytes * 10**9
    below = smaller_card(gigabytes)
    assert below is None or max(estimate_on_card(spec, below)["high"] for spec in specs) > below * 10**9


@pytest.mark.parametrize("name", REAL_PIPELINES)
def test_a_pipeline_can_start_on_rows_of_the_true_layout(name: str, tmp_path: Path) -> None:
    definition = pipeline.load_pipeline(name)
    localized = map_sources(definition.model_dump(by_alias=True, exclude_none=True), tmp_path)
    pipeline_preflight.check_pipeline(pipeline.parse_pipeline(localized))


def map_sources(part: Any, folder: Path) -> Any:
    """The same plain data with a local file in place of each dataset on the Hub, held out by a share."""
    if isinstance(part, list):
        return [map_sources(element, folder) for element in part]
    if not isinstance(part, dict):
        return part
    if isinstance(part.get("source"), str):
        source = true_shapes.with_local_rows(Source.model_validate(part), folder)
        return source.model_dump(exclude_none=True)
    mapped = {key: map_sources(child, folder) for key, child in part.items()}
    return mapped | ({"holdout": {}} if "holdout" in mapped else {})
