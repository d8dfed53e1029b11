"""Tokenizer: new tokens, template tokens that the base model never learned, and arguments of the chat template."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from app.core.problems import Problem
from app.engine.model.device import Device
from app.engine.model.tokenizer import load_tokenizer
from app.setup.spec import Model
from tests.in_process import POCKET, QUESTION, build_job, logits, train_job, trainable_parameter_names
from tests.support import build_spec, write_rows


@pytest.mark.slow
@pytest.mark.parametrize("tied", [True, False])
def test_new_tokens_are_single_tokens_and_only_their_embedding_rows_are_trained_and_saved(
    tied: bool, tmp_path: Path
) -> None:
    from peft import AutoPeftModelForCausalLM
    from safetensors import safe_open

    model = {"id": str(POCKET if tied else save_untied_model(tmp_path)), "new_tokens": ["<auth>", "<billing>"]}
    trainer = train_job(build_job(tmp_path, model))
    trainable_token_parameters = [
        name for name in trainable_parameter_names(trainer.model) if "trainable_tokens" in name
    ]
    assert len(trainable_token_parameters) == (1 if tied else 2)
    folder = tmp_path / "adapter"
    with safe_open(str(folder / "adapter_model.safetensors"), "pt") as weights:
        assert max(weights.get_slice(name).get_shape()[0] for name in weights.keys()) < 1000, "full embeddings saved"  # noqa: SIM118
    reloaded_model = AutoPeftModelForCausalLM.from_pretrained(folder, dtype="float32").eval()
    tokenizer = build_job(tmp_path, model).tokenizer
    assert tokenizer.tokenize("<auth> yes") == ["<auth>", *tokenizer.tokenize(" yes")]
    assert tokenizer.decode(tokenizer("<auth>").input_ids, skip_special_tokens=True) == "<auth>"
    reloaded_logits = logits(reloaded_model, tokenizer, "<billing> " + QUESTION)
    assert float((logits(trainer.model, tokenizer, "<billing> " + QUESTION)[..., : reloaded_logits.shape[-1]] - reloaded_logits).abs().max()) < 1e-4  # fmt: skip


SIX_NEW_TOKENS = [f"<{name}>" for name in ("auth", "billing", "shipping", "refunds", "praise", "other")]


@pytest.mark.slow
@pytest.mark.parametrize(("multiple", "row_count"), [(1, 1665), (8, 1672), (64, 1728), (128, 1792), (None, 1728)])
def test_embeddings_are_resized_to_the_multiple_in_preview_and_training(multiple: int | None, row_count: int, tmp_path: Path) -> None:  # fmt: skip
    from app.engine.model.load_model import meta_model, real_model

    """The practice model has 1659 tokens; with six new ones 1665."""
    model = {"new_tokens": SIX_NEW_TOKENS} | ({"embedding_multiple": multiple} if multiple else {})
    job = build_job(tmp_path, model)
    embeddings = [load(job).get_input_embeddings().weight for load in (meta_model, real_model)]
    assert [embedding.shape[0] for embedding in embeddings] == [row_count, row_count]
    job_without_new_tokens = build_job(tmp_path, {"embedding_multiple": multiple or 64})
    assert real_model(job_without_new_tokens).get_input_embeddings().weight.shape[0] == 1659, (
        "without new tokens the embeddings keep their size"
    )


@pytest.mark.slow
def test_a_continued_run_with_trained_embeddings_needs_the_same_embedding_multiple(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    from app.core.problems import Problem
    from app.engine.model import init_from
    from app.engine.model.load_model import real_model

    token_settings, adapter_settings = (
        {"new_tokens": SIX_NEW_TOKENS, "embedding_multiple": 8},
        {"unfreeze": ["embed_tokens"]},
    )
    train_job(build_job(tmp_path, token_settings, adapter_settings))
    monkeypatch.setattr(init_from.adapters, "locate_adapter", lambda _: str(tmp_path / "adapter"))
    real_model(build_job(tmp_path, token_settings | {"start_from": "a/b"}, adapter_settings))
    with pytest.raises(Problem, match="grew to a multiple of 8, and this setup asks for 64"):
        real_model(build_job(tmp_path, {"start_from": "a/b"}, adapter_settings))


def save_untied_model(folder: Path) -> Path:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(POCKET, tie_word_embeddings=False, dtype="float32")
    model.lm_head.weight.data = model.get_input_embeddings().weight.data.clone()
    shutil.copytree(POCKET, folder / "untied", ignore=shutil.ignore_patterns("*.safetensors"))
    model.save_pretrained(folder / "untied")
    return folder / "untied"


@pytest.fixture(scope="module")
def model_with_untrained_marks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The practice model as if its chat template had been added after training: token 1 has a zero embedding, and token 2 that of token 0."""
    from safetensors.torch import load_file, save_file

    folder = tmp_path_factory.mktemp("models") / "untaught"
    shutil.copytree(POCKET, folder)
    weights = load_file(folder / "model.safetensors")
    weights["model.embed_tokens.weight"][1] = 0
    weights["model.embed_tokens.weight"][2] = weights["model.embed_tokens.weight"][0]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder


@pytest.mark.slow
def test_untrained_template_tokens_are_reported_and_trained(model_with_untrained_marks: Path, tmp_path: Path) -> None:  # fmt: skip
    from app.engine.preview.row_preview import preview_rows

    job = build_job(tmp_path, {"id": str(model_with_untrained_marks)})
    findings = preview_rows(job.spec, 2)["findings"]
    assert any("never learned what the chat format writes between turns (<|im_start|>, <|im_end|>)" in finding["text"] for finding in findings)  # fmt: skip
    config = job.method.build(job).model.peft_config["default"]
    assert config.trainable_token_indices == {"model.embed_tokens": [1, 2]}
    model = {"id": str(model_with_untrained_marks), "end_token": "<|im_end|>"}
    pairs = write_rows(tmp_path / "pairs.jsonl", [{"prompt": "Say:", "completion": " yes"}] * 4)
    spec = build_spec("sft", pairs, {"chat_format": False}, model=model)
    findings = preview_rows(spec, 2)["findings"]
    assert any("never learned the token that ends an answer (<|im_end|>)" in finding["text"] for finding in findings)
    plain_job = build_job(tmp_path)
    assert plain_job.method.build(plain_job).model.peft_config["default"].trainable_token_indices is None
    assert all("never learned" not in finding["text"] for finding in preview_rows(plain_job.spec, 2)["findings"])  # fmt: skip


SHOUTING_TEMPLATE = (
    "{%- for turn in messages %}{{- turn['role'] + ('!' if shout else ':') }}{%- if turn['role'] == 'assistant' %}"
    "{% generation %}{{- turn['content'] + '<|im_end|>' }}{% endgeneration %}{%- else %}{{- turn['content'] + '<|done|>' }}"
    "{%- endif %}{%- endfor %}{%- if add_generation_prompt %}{{- 'assistant' + ('!' if shout else ':') }}{%- endif %}"
)


@pytest.mark.slow
def test_template_arguments_apply_to_preview_training_and_the_saved_tokenizer(tmp_path: Path) -> None:
    from app.engine.model.load_model import load_tuned
    from app.engine.preview import row_preview

    job = build_job(tmp_path, {"template": SHOUTING_TEMPLATE}, template_arguments=["shout=true"], steps=1)
    preview = row_preview.preview_rows(job.spec, 1)
    assert "".join(token["text"] for token in preview["rows"][0]["tokens"]).startswith(
        "user!What is 0 + 0?<|done|>assistant!"
    )
    assert any("The chat format writes <|done|>, which this model reads as several tokens" in finding["text"] for finding in preview["findings"])  # fmt: skip
    train_job(job)
    _, saved_tokenizer = load_tuned(tmp_path / "adapter")
    for tokenizer in (job.tokenizer, saved_tokenizer):
        assert tokenizer.apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False, add_generation_prompt=True) == "user!Hi<|done|>assistant!"  # fmt: skip
        assert (
            tokenizer.apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False, shout=False)
            == "user:Hi<|done|>"
        )


# -- end and padding tokens -------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_chosen_end_token_is_learned_behind_answers_saved_and_ends_them(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    from app.engine.generation.end_tokens import add_end_tokens, declared_end_token_ids
    from app.engine.job import Job
    from app.engine.tokens.eos_tokens import undeclared_end_tokens

    source = write_rows(tmp_path / "pairs.jsonl", [{"prompt": f"Say {i}:", "completion": f" {i}"} for i in range(64)])
    model = {"new_tokens": ["<done>"], "end_token": "<done>", "pad_token": "<|im_start|>"}
    knobs = {"steps": 4, "batch_size": 4, "max_length": 64, "chat_format": False}
    job = Job(build_spec("sft", source, knobs, model=model), tmp_path, Device("cpu"))
    trainer = train_job(job)
    end_id, padding_id = job.tokenizer.convert_tokens_to_ids(["<done>", "<|im_start|>"])
    batch = next(iter(trainer.get_train_dataloader()))
    for tokens, labels in zip(batch["input_ids"].tolist(), batch["labels"].tolist(), strict=True):
        assert [token for token in tokens if token != padding_id][-1] == end_id
        assert labels[tokens.index(end_id)] == end_id
        assert {label for token, label in zip(tokens, labels, strict=True) if token == padding_id} <= {-100}
    saved_tokenizer = AutoTokenizer.from_pretrained(tmp_path / "adapter")
    assert (saved_tokenizer.eos_token, saved_tokenizer.pad_token) == ("<done>", "<|im_start|>")
    add_end_tokens(trainer.model, undeclared_end_tokens(job, trainer.model))
    assert end_id in declared_end_token_ids(trainer.model)


@pytest.mark.parametrize(
    ("model", "text"),
    [
        ({"end_token": "<nowhere>"}, "“<nowhere>” is no token of this model"),
        ({"pad_token": " the"}, "“ the” is no special token of this model, and texts may contain it"),
        ({"pad_token": "<nowhere>"}, "“<nowhere>” is no special token of this model"),
    ],
)
def test_an_end_or_padding_token_that_the_model_lacks_is_refused_with_those_it_has(model: dict[str, str], text: str) -> None:  # fmt: skip
    with pytest.raises(Problem, match=text) as refusal:
        load_tokenizer(Model.model_validate(model))
    assert refusal.value.advice == "Its special tokens are <|endoftext|>, <|im_start|>, <|im_end|>."
