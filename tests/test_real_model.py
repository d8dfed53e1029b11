"""A real model, from rows to a result: what the practice model cannot show."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.setup import models
from app.setup.model_shape import read_model_shape
from app.setup.spec import Model
from tests.bench import learning
from tests.learning_cases import Case
from tests.real_model import real_model_folder

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def real_model() -> str:
    return str(real_model_folder())


def test_its_size_is_read_without_loading_it(real_model: str) -> None:
    import json

    shape = read_model_shape(json.loads((Path(real_model) / "config.json").read_text()))
    assert (shape.num_hidden_layers, shape.vocab_size, shape.tie_word_embeddings) == (30, 49_152, True)
    parameters = models.count_parameters(Model(id=real_model))
    assert parameters == 134_515_008
    assert shape.num_parameters == pytest.approx(parameters, rel=0.001)


def test_only_answers_and_their_ends_are_trained_and_the_templates_own_instruction_is_shown(
    real_model: str, tmp_path: Path
) -> None:
    from app.engine.job import Job
    from app.engine.libraries import prepare_libraries
    from app.engine.model.device import Device
    from app.engine.tokens import decode
    from tests.support import build_spec, conversation_rows, write_rows

    prepare_libraries()
    spec = build_spec("sft", write_rows(tmp_path / "rows.jsonl", conversation_rows(4)), model={"id": real_model})
    row = next(iter(decode.decode_first_rows(Job(spec, tmp_path, Device("cpu"), max_rows=1))))
    text = "".join(token["text"] for token in row["tokens"])
    trained_text = "".join(token["text"] for token in row["tokens"] if token["trained"])
    assert text.startswith("<|im_start|>system\nYou are a helpful AI assistant named SmolLM")
    assert trained_text == "it is 0.<|im_end|>Yes, I counted on my fingers.<|im_end|>"


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_it_learns_and_the_reloaded_result_gives_the_same_answers(
    precision: str, real_model: str, tmp_path: Path
) -> None:
    knobs = {"steps": 6, "batch_size": 4, "max_length": 128, "precision": precision}
    spec = {"method": "sft", "model": {"id": real_model}, "data": [{"source": "sample:tickets", "limit": 24}],
            "holdout": {"source": {"source": "sample:tickets", "split": "holdout", "limit": 8}}, "adapter": {"r": 8, "alpha": 16}, "knobs": knobs}  # fmt: skip
    outcome = learning.train_and_measure(learning.spec_for(Case(spec, "loss", -1.0), seed=7), "loss", tmp_path)
    assert outcome.gain <= -1.0
    assert outcome.weights_changed
    assert outcome.reload_matches
