"""Words: new tokens, marks that a base never learned, and what a chat format is told."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.in_process import POCKET, QUESTION, job_of, learned, logits, trained


@pytest.mark.slow
@pytest.mark.parametrize("tied", [True, False])
def test_new_words_are_single_tokens_whose_rows_alone_are_learned_and_saved(tied: bool, tmp_path: Path) -> None:
    from peft import AutoPeftModelForCausalLM
    from safetensors import safe_open

    model = {"id": str(POCKET if tied else untied(tmp_path)), "new_tokens": ["<auth>", "<billing>"]}
    trainer = trained(job_of(tmp_path, model))
    rows_learned = [name for name in learned(trainer.model) if "trainable_tokens" in name]
    assert len(rows_learned) == (1 if tied else 2)
    folder = tmp_path / "adapter"
    with safe_open(str(folder / "adapter_model.safetensors"), "pt") as kept:
        assert max(kept.get_slice(name).get_shape()[0] for name in kept.keys()) < 1000, "no table of all words"  # noqa: SIM118
    loaded = AutoPeftModelForCausalLM.from_pretrained(folder, dtype="float32").eval()
    tokenizer = job_of(tmp_path, model).tokenizer
    assert tokenizer.tokenize("<auth> yes") == ["<auth>", *tokenizer.tokenize(" yes")]
    assert tokenizer.decode(tokenizer("<auth>").input_ids, skip_special_tokens=True) == "<auth>"
    theirs = logits(loaded, tokenizer, "<billing> " + QUESTION)
    assert float((logits(trainer.model, tokenizer, "<billing> " + QUESTION)[..., : theirs.shape[-1]] - theirs).abs().max()) < 1e-4  # fmt: skip


SIX = [f"<{name}>" for name in ("auth", "billing", "shipping", "refunds", "praise", "other")]


@pytest.mark.slow
@pytest.mark.parametrize(("multiple", "rows"), [(1, 1665), (8, 1672), (64, 1728), (128, 1792), (None, 1728)])
def test_the_table_of_words_grows_to_the_multiple_asked_for_in_preview_and_training_alike(multiple: int | None, rows: int, tmp_path: Path) -> None:  # fmt: skip
    from app.engine.model.load_model import meta_model, real_model

    """The practice model knows 1659 words; six more come to 1665."""
    model = {"new_tokens": SIX} | ({"embedding_multiple": multiple} if multiple else {})
    job = job_of(tmp_path, model)
    tables = [made(job).get_input_embeddings().weight for made in (meta_model, real_model)]
    assert [one.shape[0] for one in tables] == [rows, rows]
    grown = job_of(tmp_path, {"embedding_multiple": multiple or 64})
    assert real_model(grown).get_input_embeddings().weight.shape[0] == 1659, "without new words nothing grows"


@pytest.mark.slow
def test_embeddings_trained_whole_are_gone_on_from_with_as_many_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    from app.core.problems import Problem
    from app.engine.model import init_from
    from app.engine.model.load_model import real_model

    words, whole = {"new_tokens": SIX, "embedding_multiple": 8}, {"unfreeze": ["embed_tokens"]}
    trained(job_of(tmp_path, words, whole))
    monkeypatch.setattr(init_from.adapters, "locate_adapter", lambda _: str(tmp_path / "adapter"))
    real_model(job_of(tmp_path, words | {"start_from": "a/b"}, whole))
    with pytest.raises(Problem, match="grew to a multiple of 8, and this setup asks for 64"):
        real_model(job_of(tmp_path, {"start_from": "a/b"}, whole))


def untied(folder: Path) -> Path:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(POCKET, tie_word_embeddings=False, dtype="float32")
    model.lm_head.weight.data = model.get_input_embeddings().weight.data.clone()
    shutil.copytree(POCKET, folder / "untied", ignore=shutil.ignore_patterns("*.safetensors"))
    model.save_pretrained(folder / "untied")
    return folder / "untied"


@pytest.fixture(scope="module")
def untaught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The practice model as if its chat format had been added after its training: one mark is nothing, two are the same."""
    from safetensors.torch import load_file, save_file

    folder = tmp_path_factory.mktemp("models") / "untaught"
    shutil.copytree(POCKET, folder)
    weights = load_file(folder / "model.safetensors")
    weights["model.embed_tokens.weight"][1] = 0
    weights["model.embed_tokens.weight"][2] = weights["model.embed_tokens.weight"][0]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder


@pytest.mark.slow
def test_marks_that_the_base_never_learned_are_learned_and_said_before(untaught: Path, tmp_path: Path) -> None:  # fmt: skip
    from app.engine.preview.row_preview import preview_rows

    job = job_of(tmp_path, {"id": str(untaught)})
    said = preview_rows(job.spec, 2)["findings"]
    assert any("never learned what the chat format writes between turns (<|im_start|>, <|im_end|>)" in one["text"] for one in said)  # fmt: skip
    config = job.method.build(job).model.peft_config["default"]
    assert config.trainable_token_indices == {"model.embed_tokens": [1, 2]}
    plain = job_of(tmp_path)
    assert plain.method.build(plain).model.peft_config["default"].trainable_token_indices is None
    assert all("never learned" not in one["text"] for one in preview_rows(plain.spec, 2)["findings"])  # fmt: skip


SHOUTING = (
    "{%- for turn in messages %}{{- turn['role'] + ('!' if shout else ':') }}{%- if turn['role'] == 'assistant' %}"
    "{% generation %}{{- turn['content'] + '<|im_end|>' }}{% endgeneration %}{%- else %}{{- turn['content'] + '<|done|>' }}"
    "{%- endif %}{%- endfor %}{%- if add_generation_prompt %}{{- 'assistant' + ('!' if shout else ':') }}{%- endif %}"
)


@pytest.mark.slow
def test_arguments_of_the_chat_format_reach_rows_answers_and_the_result(tmp_path: Path) -> None:
    from app.engine.model.load_model import load_tuned
    from app.engine.preview import row_preview

    job = job_of(tmp_path, {"template": SHOUTING}, template_arguments=["shout=true"], steps=1)
    shown = row_preview.preview_rows(job.spec, 1)
    assert "".join(token["text"] for token in shown["rows"][0]["tokens"]).startswith(
        "user!What is 0 + 0?<|done|>assistant!"
    )
    assert any("The chat format writes <|done|>, which this model reads as several tokens" in one["text"] for one in shown["findings"])  # fmt: skip
    trained(job)
    _, tokenizer = load_tuned(tmp_path / "adapter")
    for words in (job.tokenizer, tokenizer):
        assert words.apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False, add_generation_prompt=True) == "user!Hi<|done|>assistant!"  # fmt: skip
        assert (
            words.apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False, shout=False)
            == "user:Hi<|done|>"
        )
