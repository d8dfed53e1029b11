"""Additional practice models: small, quick to build, and suitable for the methods that need them."""

from __future__ import annotations

import json
import resource
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from app.core.paths import ROOT
from app.core.workspace import local_workspace
from app.setup import models
from presets import make_kin
from tests.support import generate_greedy

pytestmark = pytest.mark.slow

NAMES = list(make_kin.MAKERS)
SHAPES = ROOT / "presets" / "samples" / "shapes"
BuildModel = Callable[[str], Path]


@pytest.fixture(scope="module")
def build_seconds() -> dict[str, float]:
    """{name: CPU seconds its build took}."""
    return {}


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory, build_seconds: dict[str, float]) -> Iterator[BuildModel]:
    """A function that returns the folder of a model by its name; each model is built once for all tests of this module."""
    output_folder = tmp_path_factory.mktemp("kin")

    def build(name: str) -> Path:
        started_at = cpu_seconds()
        folder = make_kin.ready(name, output_folder)
        build_seconds.setdefault(name, cpu_seconds() - started_at)
        return folder

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUNESMITH_HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("HF_HUB_OFFLINE", "1")
        for name in NAMES:  # built here, while TUNESMITH_HOME is the one of this module
            build(name)
        yield build


def cpu_seconds() -> float:
    """CPU seconds of this process and its ended children: on an idle machine at least the elapsed time."""
    subprocess.run(["true"], check=True)  # starting a process reaps ended children
    usages = [resource.getrusage(target) for target in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def file_bytes(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def load_tokenizer(folder: str | Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


@pytest.mark.full
@pytest.mark.parametrize("name", NAMES)
def test_each_model_is_small_and_built_in_under_a_minute(
    model_folder: BuildModel, build_seconds: dict[str, float], name: str
) -> None:
    assert make_kin.size(model_folder(name)) <= 2_000_000
    assert 0 < build_seconds[name] < 60


@pytest.mark.full
@pytest.mark.parametrize("name", ["tokenizer", "vision"])
def test_an_untrained_model_is_built_with_the_same_bytes_each_time(
    model_folder: BuildModel, tmp_path: Path, name: str
) -> None:
    assert file_bytes(make_kin.make(name, tmp_path)) == file_bytes(model_folder(name))


@pytest.mark.full
def test_a_model_is_rebuilt_only_when_its_sources_have_changed(model_folder: BuildModel, tmp_path: Path) -> None:
    manifest = model_folder("tokenizer") / "made.json"
    modified_before = manifest.stat().st_mtime_ns
    assert (model_folder("tokenizer") / "made.json").stat().st_mtime_ns == modified_before
    outdated_folder = tmp_path / "tokenizer"
    outdated_folder.mkdir()
    (outdated_folder / "made.json").write_text(json.dumps({"made_of": "something else"}))
    assert file_bytes(make_kin.ready("tokenizer", tmp_path)) == file_bytes(model_folder("tokenizer"))


# -- tokenizer
def test_the_second_tokenizer_splits_the_same_text_differently(model_folder: BuildModel) -> None:
    second_tokenizer, first_tokenizer = (
        load_tokenizer(model_folder("tokenizer")),
        load_tokenizer(models.locate_model("pocket")),
    )
    text = "What is 12 + 34?\nÄpfel und 日本, {\"a\": 1}"  # fmt: skip
    assert second_tokenizer.decode(second_tokenizer(text)["input_ids"]) == text
    assert len(second_tokenizer) == make_kin.VOCABULARY != len(first_tokenizer)
    assert "Ġ12" in second_tokenizer.tokenize(text)
    assert "Ġ12" not in first_tokenizer.tokenize(text)
    assert not set(second_tokenizer.all_special_tokens) & set(first_tokenizer.all_special_tokens)


def test_the_second_chat_template_marks_assistant_text_and_its_end_token(model_folder: BuildModel) -> None:
    tokenizer = load_tokenizer(model_folder("tokenizer"))
    messages = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello!"},
    ]
    encoded = tokenizer.apply_chat_template(messages, return_dict=True, return_assistant_tokens_mask=True)
    assistant_ids = [
        token_id
        for token_id, is_assistant in zip(encoded["input_ids"], encoded["assistant_masks"], strict=True)
        if is_assistant
    ]
    assert tokenizer.decode(encoded["input_ids"]) == "<s><|system|>Be kind.</s><|user|>Hi</s><|assistant|>Hello!</s>"
    assert tokenizer.decode(assistant_ids) == "Hello!</s>"
    generation_prompt = tokenizer.apply_chat_template(messages[:2], tokenize=False, add_generation_prompt=True)
    assert tokenizer.apply_chat_template(messages, tokenize=False).startswith(generation_prompt)


def test_the_untrained_model_of_the_second_tokenizer_has_the_loss_of_uniform_guessing(model_folder: BuildModel) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    model, tokenizer = (
        AutoModelForCausalLM.from_pretrained(model_folder("tokenizer")),
        load_tokenizer(model_folder("tokenizer")),
    )
    ids = tokenizer("What is 12 + 34?", return_tensors="pt")["input_ids"]
    loss = model(input_ids=ids, labels=ids).loss
    assert loss.item() == pytest.approx(
        torch.tensor(float(make_kin.VOCABULARY)).log().item(), rel=0.1
    )  # the loss of a uniform distribution over the vocabulary
    assert models.locate_model(str(model_folder("tokenizer"))) == str(model_folder("tokenizer"))


# -- stranger
@pytest.mark.full
def test_the_stranger_classifies_messages_with_its_own_tokenizer(model_folder: BuildModel) -> None:
    from app.engine.model.load_model import load_tuned

    model, tokenizer = load_tuned(model_folder("stranger"))
    assert tokenizer.get_vocab() == load_tokenizer(model_folder("tokenizer")).get_vocab()
    prompts = ["Hello, this is Nora. I forgot my password. It can wait.", "Hi, this is Tom. My parcel has not come."]
    labels = [json.loads(text) for text in generate_greedy(model, tokenizer, prompts, 40)]
    assert all(set(label) == {"team", "urgent"} for label in labels)
    assert json.loads((model_folder("stranger") / "made.json").read_text())["correct"] > 0.2


@pytest.mark.full
def test_building_the_stranger_leaves_no_run_behind(model_folder: BuildModel) -> None:
    assert model_folder("stranger").is_dir()
    assert list(local_workspace().runs.iterdir()) == []


# -- vision
def vision_batch(folder: Path) -> tuple[Any, Any]:
    """(processor, batch of the first sample row with its image)."""
    from PIL import Image
    from transformers import AutoProcessor

    row = json.loads((SHAPES / "train.jsonl").read_text().splitlines()[0])
    (user_message, assistant_message), [image_name] = row["messages"], row["images"]
    parts = [
        {"type": "image", "image": Image.open(SHAPES / image_name)},
        {"type": "text", "text": user_message["content"]},
    ]
    messages = [
        user_message | {"content": parts},
        assistant_message | {"content": [{"type": "text", "text": assistant_message["content"]}]},
    ]
    processor = AutoProcessor.from_pretrained(folder)
    batch = processor.apply_chat_template([messages], tokenize=True, return_dict=True, return_tensors="pt",
                                          return_assistant_tokens_mask=True)  # fmt: skip
    return processor, batch


def test_an_image_becomes_image_tokens_and_only_the_answer_is_trained(model_folder: BuildModel) -> None:
    processor, batch = vision_batch(model_folder("vision"))
    token_ids, assistant_mask = batch["input_ids"][0], batch["assistant_masks"][0].bool()
    assert (token_ids == processor.tokenizer.convert_tokens_to_ids("<image>")).sum() == (48 // 12) ** 2
    assert batch["pixel_values"].shape == (1, 3, 48, 48)
    assert processor.decode(token_ids[assistant_mask]) == "A triangle.<|im_end|>"


def test_an_image_affects_the_loss_and_the_gradient_reaches_every_part_of_the_model(model_folder: BuildModel) -> None:
    import torch
    from transformers import AutoModelForImageTextToText

    model = AutoModelForImageTextToText.from_pretrained(model_folder("vision"), dtype=torch.float32)
    batch = vision_batch(model_folder("vision"))[1]
    assistant_mask = batch.pop("assistant_masks").bool()
    labels = batch["input_ids"].masked_fill(~assistant_mask, -100)
    loss = model(**batch, labels=labels).loss
    loss.backward()
    assert torch.isfinite(loss)
    params_without_gradient = [
        name for name, weights in model.named_parameters() if weights.grad is None or not weights.grad.any()
    ]
    assert all("vision_tower.post_layernorm" in name for name in params_without_gradient), (
        params_without_gradient
    )  # LLaVA reads the features before this layer
    with torch.no_grad():
        loss_of_blank_image = model(
            **batch | {"pixel_values": torch.zeros_like(batch["pixel_values"])}, labels=labels
        ).loss
    assert loss_of_blank_image != loss
