"""Seeing: examples with pictures are shown as they are learned, by the part of the model that reads, and answers tell whether it sees."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from app.core import paths
from app.core.problems import Problem
from app.data import files
from app.engine.model.device import Device
from app.setup.spec import Source
from tests.in_process import learned, losses, previewed
from tests.support import spec_of, write_rows

SHAPES = paths.ROOT / "presets" / "samples" / "shapes"
MODEL = {"id": "pocket-vision"}

pytestmark = pytest.mark.slow


def job_of(folder: Path, method: str = "sft", source: str = "sample:shapes", knobs: dict[str, Any] | None = None, **other: Any) -> Any:  # fmt: skip
    from app.engine.job import Job
    from app.engine.libraries import prepare_libraries

    prepare_libraries()
    setup = {"steps": 2, "batch_size": 4} | (knobs or {})
    return Job(spec_of(method, source, setup, **({"model": MODEL} | other)), folder, Device("cpu"))


def shapes(count: int) -> list[dict[str, Any]]:
    rows = files.read_file_rows(files.source_path(Source(source="sample:shapes")))
    return [next(rows) for _ in range(count)]


def beside(folder: Path, rows: list[dict[str, Any]]) -> str:
    """A file of these rows with the sample's pictures beside it."""
    shutil.copytree(SHAPES / "images", folder / "images", dirs_exist_ok=True)
    return write_rows(folder / "rows.jsonl", rows)


def looked_at(job: Any) -> dict[str, Any]:
    from app.engine.preview.row_preview import preview_rows

    return preview_rows(job.spec, 1)


def test_a_picture_is_one_token_and_the_answer_is_what_is_learned(tmp_path: Path) -> None:
    said = looked_at(job_of(tmp_path))
    [row] = said["rows"]
    assert "".join(token["text"] for token in row["tokens"]) == (
        "<|im_start|>user\n[picture: 16 tokens]Which shape is it?<|im_end|>\n<|im_start|>assistant\nA triangle.<|im_end|>\n"
    )
    assert "".join(token["text"] for token in row["tokens"] if token["trained"]) == "A triangle.<|im_end|>"
    assert row["length"] == len(row["tokens"]) + 15
    whys = [segment["why"] for segment in row["segments"]]
    assert "the question: read only" in whys
    assert "the answer: learned" in whys
    assert [one["severity"] for one in said["findings"]] == ["good"]


def test_a_picture_between_words_stands_where_it_was_put(tmp_path: Path) -> None:
    [row] = shapes(1)
    ask = [{"type": "text", "text": "Look: "}, {"type": "image"}, {"type": "text", "text": " What is it?"}]
    row["messages"][0]["content"] = ask
    [shown] = looked_at(job_of(tmp_path, source=beside(tmp_path, [row])))["rows"]
    assert "user\nLook: [picture: 16 tokens] What is it?<|im_end|>" in "".join(
        token["text"] for token in shown["tokens"]
    )
    assert [segment["why"] for segment in shown["segments"]].count("the question: read only") == 2


def test_previewed_batches_are_those_the_loss_receives(tmp_path: Path) -> None:
    import torch

    shown = previewed(job_of(tmp_path))[0]
    job = job_of(tmp_path)
    trainer, received = job.method.build(job), []
    compute = trainer.compute_loss
    trainer.compute_loss = lambda model, inputs, *rest, **more: (received.append({**inputs}), compute(model, inputs, *rest, **more))[1]  # fmt: skip
    trainer.train()
    assert shown["pixel_values"].shape == (4, 3, 24, 24)
    assert all(torch.equal(shown[name], received[0][name]) for name in shown)


def test_only_the_part_that_reads_gets_an_adapter_unless_another_is_named(tmp_path: Path) -> None:
    job = job_of(tmp_path)
    found = learned(job.method.build(job).model)
    assert found
    assert all(".language_model.layers." in name for name in found)
    eyes = job_of(tmp_path, adapter={"targets": "q_proj,fc1", "unfreeze": ["multi_modal_projector"]})
    found = learned(eyes.method.build(eyes).model)
    assert any("vision_tower" in name and "fc1.lora" in name for name in found)
    assert sum("multi_modal_projector" in name and "modules_to_save" in name for name in found) == 4
    assert not any("vision_tower" in name and "q_proj" in name for name in found), "a name that both parts have means the one that reads"  # fmt: skip


def test_its_result_answers_the_same_about_a_picture_when_it_is_loaded_anew(tmp_path: Path) -> None:
    import torch

    from app.engine.model.load_model import load_tuned
    from app.engine.model.vision import prepare_prompts

    job = job_of(tmp_path, knobs={"learning_rate": 0.02, "steps": 4})
    trainer = job.method.build(job)
    trainer.train()
    trainer.save_model(str(tmp_path / "adapter"))
    trainer.model.eval()
    loaded, _ = load_tuned(tmp_path / "adapter")
    row = shapes(1)[0]
    batch = prepare_prompts(job.processor, [(row["messages"][:1], [{"path": str(SHAPES / row["images"][0])}])])
    blank = batch | {"pixel_values": torch.zeros_like(batch["pixel_values"])}
    with torch.no_grad():
        ours, theirs, unseen = trainer.model(**batch).logits, loaded(**batch).logits, loaded(**blank).logits
    assert losses(trainer)[-1] < losses(trainer)[0]
    assert torch.allclose(ours, theirs, atol=1e-4)
    assert not torch.allclose(theirs, unseen, atol=0.1), "it looks at the picture"


def test_text_alone_tunes_a_model_that_sees(tmp_path: Path) -> None:
    job = job_of(tmp_path, source="sample:tickets", knobs={"max_length": 128, "learning_rate": 0.01, "steps": 6})
    assert job.processor is None
    trainer = job.method.build(job)
    trainer.train()
    assert losses(trainer)[-1] < losses(trainer)[0]


def test_pairs_and_prompts_with_pictures_pass(tmp_path: Path) -> None:
    rows = [{"prompt": row["messages"][:1], "chosen": row["messages"][1:], "rejected": [{"role": "assistant", "content": "Nothing."}],
             "answer": row["messages"][1]["content"], "image": row["images"][0]} for row in shapes(16)]  # fmt: skip
    source = beside(tmp_path, rows)
    pairs = job_of(tmp_path, "dpo", source)
    [shown] = looked_at(pairs)["rows"]
    assert [side["name"] for side in shown["sides"]] == ["chosen", "rejected"]
    assert any(token["text"] == "[picture: 16 tokens]" for token in shown["tokens"])
    trainer = pairs.method.build(pairs)
    trainer.train()
    assert len(losses(trainer)) == 2
    earned = job_of(tmp_path, "grpo", source, {"batch_size": 8, "attempts": 4, "max_completion_length": 6},
                    rewards=[{"name": "exact_match"}])  # fmt: skip
    assert any(token["text"] == "[picture: 16 tokens]" for token in looked_at(earned)["rows"][0]["tokens"])
    trainer = earned.method.build(earned)
    trainer.train()
    assert len(losses(trainer)) == 2


@pytest.mark.parametrize(("knobs", "other", "said"), [
    ({"max_length": 16}, {}, "The maximum length of 16 tokens cuts into a picture, which with the text before it takes 19 tokens."),
    ({"packing": True}, {}, "Examples with pictures cannot be joined into full rows."),
    ({}, {"model": {"id": "pocket"}}, "The examples have pictures, and the model “pocket” reads only text."),
])  # fmt: skip
def test_what_cannot_be_learned_so_is_refused_before_training(knobs: dict[str, Any], other: dict[str, Any], said: str, tmp_path: Path) -> None:  # fmt: skip
    with pytest.raises(Problem) as refusal:
        looked_at(job_of(tmp_path, knobs=knobs, **other))
    assert refusal.value.text == said


def test_an_answer_cut_off_is_shown_as_such(tmp_path: Path) -> None:
    [row] = looked_at(job_of(tmp_path, knobs={"max_length": 32}))["rows"]
    assert row["length"] == 32
    assert "".join(token["text"] for token in row["tokens"] if token.get("cut")).endswith("<|im_end|>\n")


def test_rows_whose_pictures_cannot_be_had_are_counted(tmp_path: Path) -> None:
    rows = shapes(3)
    rows[1]["images"], rows[2]["images"] = ["../secret.png"], ["https://example.org/a.png"]
    job = job_of(tmp_path, source=beside(tmp_path, rows))
    assert len(job.data.train) == 1
    assert sum(job.data.dropped.values()) == 2


def test_the_models_own_pictures_are_none_of_the_samples() -> None:
    from presets import make_pocket_vision
    from presets.pictures import draw

    own, theirs = make_pocket_vision.own_places(), make_pocket_vision.sample_places()
    assert len(own) == make_pocket_vision.PICTURES
    assert not {*own} & {*theirs}
    assert draw(*theirs[0]) == (SHAPES / "images" / "000.png").read_bytes()
    assert draw(*theirs[359]) == (SHAPES / "images" / "359.png").read_bytes()
    told = json.loads((paths.ROOT / "presets" / "pocket-vision" / "made.json").read_text())
    assert told["correct"] > 0.9
