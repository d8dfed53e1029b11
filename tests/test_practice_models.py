"""Kin of the practice model: small, quick to make, and fit for what the methods need them for."""

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
from tests.support import generated

pytestmark = pytest.mark.slow

NAMES = list(make_kin.MAKERS)
SHAPES = ROOT / "presets" / "samples" / "shapes"
Kin = Callable[[str], Path]


@pytest.fixture(scope="module")
def seconds() -> dict[str, float]:
    """{name: processor time its making took}."""
    return {}


@pytest.fixture(scope="module")
def kin(tmp_path_factory: pytest.TempPathFactory, seconds: dict[str, float]) -> Iterator[Kin]:
    """The folder of one by its name, each made once for all tests."""
    out = tmp_path_factory.mktemp("kin")

    def ready(name: str) -> Path:
        began = processor_time()
        folder = make_kin.ready(name, out)
        seconds.setdefault(name, processor_time() - began)
        return folder

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUNESMITH_HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("HF_HUB_OFFLINE", "1")
        for name in NAMES:  # here, where the home is that of this module
            ready(name)
        yield ready


def processor_time() -> float:
    """Seconds of this process and its ended children: on a machine of our own at least what the clock shows."""
    subprocess.run(["true"], check=True)  # starting a process collects those that have ended
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def tokenizer_of(folder: str | Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("name", NAMES)
def test_each_is_small_and_made_in_under_a_minute(kin: Kin, seconds: dict[str, float], name: str) -> None:
    assert make_kin.size(kin(name)) <= 2_000_000
    assert 0 < seconds[name] < 60


@pytest.mark.parametrize("name", ["tokenizer", "vision"])
def test_what_is_not_trained_has_the_same_bytes_each_time(kin: Kin, tmp_path: Path, name: str) -> None:
    assert contents(make_kin.make(name, tmp_path)) == contents(kin(name))


def test_one_is_made_anew_only_when_what_it_is_made_of_has_changed(kin: Kin, tmp_path: Path) -> None:
    made = kin("tokenizer") / "made.json"
    before = made.stat().st_mtime_ns
    assert (kin("tokenizer") / "made.json").stat().st_mtime_ns == before
    old = tmp_path / "tokenizer"
    old.mkdir()
    (old / "made.json").write_text(json.dumps({"made_of": "something else"}))
    assert contents(make_kin.ready("tokenizer", tmp_path)) == contents(kin("tokenizer"))


# -- tokenizer
def test_the_second_tokenizer_cuts_the_same_text_differently(kin: Kin) -> None:
    second, first = tokenizer_of(kin("tokenizer")), tokenizer_of(models.locate_model("pocket"))
    text = "What is 12 + 34?\nÄpfel und 日本, {\"a\": 1}"  # fmt: skip
    assert second.decode(second(text)["input_ids"]) == text
    assert len(second) == make_kin.VOCABULARY != len(first)
    assert "Ġ12" in second.tokenize(text)
    assert "Ġ12" not in first.tokenize(text)
    assert not set(second.all_special_tokens) & set(first.all_special_tokens)


def test_its_chat_format_marks_what_the_assistant_says_with_its_end(kin: Kin) -> None:
    words = tokenizer_of(kin("tokenizer"))
    turns = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello!"},
    ]
    whole = words.apply_chat_template(turns, return_dict=True, return_assistant_tokens_mask=True)
    said = [one for one, mine in zip(whole["input_ids"], whole["assistant_masks"], strict=True) if mine]
    assert words.decode(whole["input_ids"]) == "<s><|system|>Be kind.</s><|user|>Hi</s><|assistant|>Hello!</s>"
    assert words.decode(said) == "Hello!</s>"
    opened = words.apply_chat_template(turns[:2], tokenize=False, add_generation_prompt=True)
    assert words.apply_chat_template(turns, tokenize=False).startswith(opened)


def test_its_model_reads_it(kin: Kin) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    model, words = AutoModelForCausalLM.from_pretrained(kin("tokenizer")), tokenizer_of(kin("tokenizer"))
    ids = words("What is 12 + 34?", return_tensors="pt")["input_ids"]
    loss = model(input_ids=ids, labels=ids).loss
    assert loss.item() == pytest.approx(
        torch.tensor(float(make_kin.VOCABULARY)).log().item(), rel=0.1
    )  # it knows nothing
    assert models.locate_model(str(kin("tokenizer"))) == str(kin("tokenizer"))


# -- stranger
def test_the_stranger_sorts_messages_in_words_of_its_own(kin: Kin) -> None:
    from app.engine.model.load_model import load_tuned

    model, words = load_tuned(kin("stranger"))
    assert words.get_vocab() == tokenizer_of(kin("tokenizer")).get_vocab()
    asked = ["Hello, this is Nora. I forgot my password. It can wait.", "Hi, this is Tom. My parcel has not come."]
    said = [json.loads(text) for text in generated(model, words, asked, 40)]
    assert all(set(label) == {"team", "urgent"} for label in said)
    assert json.loads((kin("stranger") / "made.json").read_text())["correct"] > 0.2


def test_the_stranger_leaves_no_run_behind(kin: Kin) -> None:
    assert kin("stranger").is_dir()
    assert list(local_workspace().runs.iterdir()) == []


# -- vision
def seen(folder: Path) -> tuple[Any, Any]:
    """(processor, the batch of the sample's first row with its picture)."""
    from PIL import Image
    from transformers import AutoProcessor

    row = json.loads((SHAPES / "train.jsonl").read_text().splitlines()[0])
    (ask, say), [picture] = row["messages"], row["images"]
    parts = [{"type": "image", "image": Image.open(SHAPES / picture)}, {"type": "text", "text": ask["content"]}]
    turns = [ask | {"content": parts}, say | {"content": [{"type": "text", "text": say["content"]}]}]
    processor = AutoProcessor.from_pretrained(folder)
    batch = processor.apply_chat_template([turns], tokenize=True, return_dict=True, return_tensors="pt",
                                          return_assistant_tokens_mask=True)  # fmt: skip
    return processor, batch


def test_a_picture_becomes_image_tokens_and_only_the_answer_is_learned(kin: Kin) -> None:
    processor, batch = seen(kin("vision"))
    ids, mine = batch["input_ids"][0], batch["assistant_masks"][0].bool()
    assert (ids == processor.tokenizer.convert_tokens_to_ids("<image>")).sum() == (48 // 12) ** 2
    assert batch["pixel_values"].shape == (1, 3, 48, 48)
    assert processor.decode(ids[mine]) == "A triangle.<|im_end|>"


def test_a_picture_reaches_the_loss_and_the_loss_every_part_of_the_model(kin: Kin) -> None:
    import torch
    from transformers import AutoModelForImageTextToText

    model = AutoModelForImageTextToText.from_pretrained(kin("vision"), dtype=torch.float32)
    batch = seen(kin("vision"))[1]
    mine = batch.pop("assistant_masks").bool()
    labels = batch["input_ids"].masked_fill(~mine, -100)
    loss = model(**batch, labels=labels).loss
    loss.backward()
    assert torch.isfinite(loss)
    untouched = [name for name, weights in model.named_parameters() if weights.grad is None or not weights.grad.any()]
    assert all("vision_tower.post_layernorm" in name for name in untouched), (
        untouched
    )  # LLaVA takes what stands before it
    with torch.no_grad():
        blank = model(**batch | {"pixel_values": torch.zeros_like(batch["pixel_values"])}, labels=labels).loss
    assert blank != loss
