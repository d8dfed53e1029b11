"""Vision: rows with images are previewed as they are trained, the language model is what is trained, and answers depend on the image."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from app.core import paths
from app.core.problems import Problem
from app.data.reading import files
from app.engine.model.device import Device
from app.setup.spec import Source
from tests.in_process import logged_losses, preview_batches, trainable_parameter_names
from tests.support import build_spec, write_rows

SHAPES_FOLDER = paths.ROOT / "presets" / "samples" / "shapes"
MODEL = {"id": "pocket-vision"}

pytestmark = pytest.mark.slow


def build_vision_job(folder: Path, method: str = "sft", source: str = "sample:shapes", knobs: dict[str, Any] | None = None, **spec_fields: Any) -> Any:  # fmt: skip
    from app.engine.job import Job
    from app.engine.libraries import prepare_libraries

    prepare_libraries()
    all_knobs = {"steps": 2, "batch_size": 4} | (knobs or {})
    return Job(build_spec(method, source, all_knobs, **({"model": MODEL} | spec_fields)), folder, Device("cpu"))


def shape_rows(count: int) -> list[dict[str, Any]]:
    rows = files.read_file_rows(files.source_path(Source(source="sample:shapes")))
    return [next(rows) for _ in range(count)]


def write_rows_with_images(folder: Path, rows: list[dict[str, Any]]) -> str:
    """Writes these rows to a file with the images of the sample beside it, and returns its source."""
    shutil.copytree(SHAPES_FOLDER / "images", folder / "images", dirs_exist_ok=True)
    return write_rows(folder / "rows.jsonl", rows)


def preview_first_row(job: Any) -> dict[str, Any]:
    from app.engine.preview.row_preview import preview_rows

    return preview_rows(job.spec, 1)


def test_an_image_is_previewed_as_one_token_and_only_the_answer_is_trained(tmp_path: Path) -> None:
    preview = preview_first_row(build_vision_job(tmp_path))
    [row] = preview["rows"]
    assert "".join(token["text"] for token in row["tokens"]) == (
        "<|im_start|>user\n[picture: 16 tokens]Which shape is it?<|im_end|>\n<|im_start|>assistant\nA triangle.<|im_end|>\n"
    )
    assert "".join(token["text"] for token in row["tokens"] if token["trained"]) == "A triangle.<|im_end|>"
    assert row["length"] == len(row["tokens"]) + 15
    segment_reasons = [segment["why"] for segment in row["segments"]]
    assert "the question: read only" in segment_reasons
    assert "the answer: learned" in segment_reasons
    assert [finding["severity"] for finding in preview["findings"]] == ["good"]


def test_an_image_between_text_parts_keeps_its_position(tmp_path: Path) -> None:
    [row] = shape_rows(1)
    content = [{"type": "text", "text": "Look: "}, {"type": "image"}, {"type": "text", "text": " What is it?"}]
    row["messages"][0]["content"] = content
    [preview_row] = preview_first_row(build_vision_job(tmp_path, source=write_rows_with_images(tmp_path, [row])))[
        "rows"
    ]
    assert "user\nLook: [picture: 16 tokens] What is it?<|im_end|>" in "".join(
        token["text"] for token in preview_row["tokens"]
    )
    assert [segment["why"] for segment in preview_row["segments"]].count("the question: read only") == 2


@pytest.mark.full
def test_previewed_batches_are_those_the_loss_receives(tmp_path: Path) -> None:
    import torch

    preview_batch = preview_batches(build_vision_job(tmp_path))[0]
    job = build_vision_job(tmp_path)
    trainer, received_batches = job.method.build(job), []
    original_compute_loss = trainer.compute_loss
    trainer.compute_loss = lambda model, inputs, *args, **kwargs: (received_batches.append({**inputs}), original_compute_loss(model, inputs, *args, **kwargs))[1]  # fmt: skip
    trainer.train()
    assert preview_batch["pixel_values"].shape == (4, 3, 24, 24)
    assert all(torch.equal(preview_batch[name], received_batches[0][name]) for name in preview_batch)


def test_only_the_language_model_gets_an_adapter_unless_other_layers_are_named(tmp_path: Path) -> None:
    job = build_vision_job(tmp_path)
    trainable_names = trainable_parameter_names(job.method.build(job).model)
    assert trainable_names
    assert all(".language_model.layers." in name for name in trainable_names)
    vision_job = build_vision_job(tmp_path, adapter={"targets": "q_proj,fc1", "unfreeze": ["multi_modal_projector"]})
    trainable_names = trainable_parameter_names(vision_job.method.build(vision_job).model)
    assert any("vision_tower" in name and "fc1.lora" in name for name in trainable_names)
    assert sum("multi_modal_projector" in name and "modules_to_save" in name for name in trainable_names) == 4
    assert not any("vision_tower" in name and "q_proj" in name for name in trainable_names), "a name that both parts have means the language model"  # fmt: skip


def test_a_reloaded_adapter_gives_the_same_logits_for_an_image(tmp_path: Path) -> None:
    import torch

    from app.engine.model.load_model import load_tuned
    from app.engine.model.vision import prepare_prompts

    job = build_vision_job(tmp_path, knobs={"learning_rate": 0.02, "steps": 4})
    trainer = job.method.build(job)
    trainer.train()
    trainer.save_model(str(tmp_path / "adapter"))
    trainer.model.eval()
    loaded_model, _ = load_tuned(tmp_path / "adapter")
    row = shape_rows(1)[0]
    batch = prepare_prompts(job.processor, [(row["messages"][:1], [{"path": str(SHAPES_FOLDER / row["images"][0])}])])
    blank_image_batch = batch | {"pixel_values": torch.zeros_like(batch["pixel_values"])}
    with torch.no_grad():
        trained_logits, loaded_logits, blank_image_logits = (
            trainer.model(**batch).logits,
            loaded_model(**batch).logits,
            loaded_model(**blank_image_batch).logits,
        )
    assert logged_losses(trainer)[-1] < logged_losses(trainer)[0]
    assert torch.allclose(trained_logits, loaded_logits, atol=1e-4)
    assert not torch.allclose(loaded_logits, blank_image_logits, atol=0.1), "the logits depend on the image"


@pytest.mark.full
def test_a_vision_model_can_be_trained_on_text_alone(tmp_path: Path) -> None:
    job = build_vision_job(
        tmp_path, source="sample:tickets", knobs={"max_length": 128, "learning_rate": 0.01, "steps": 6}
    )
    assert job.processor is None
    trainer = job.method.build(job)
    trainer.train()
    assert logged_losses(trainer)[-1] < logged_losses(trainer)[0]


@pytest.mark.full
def test_dpo_and_grpo_train_on_rows_with_images(tmp_path: Path) -> None:
    rows = [{"prompt": row["messages"][:1], "chosen": row["messages"][1:], "rejected": [{"role": "assistant", "content": "Nothing."}],
             "answer": row["messages"][1]["content"], "image": row["images"][0]} for row in shape_rows(16)]  # fmt: skip
    source = write_rows_with_images(tmp_path, rows)
    dpo_job = build_vision_job(tmp_path, "dpo", source)
    [preview_row] = preview_first_row(dpo_job)["rows"]
    assert [side["name"] for side in preview_row["sides"]] == ["chosen", "rejected"]
    assert any(token["text"] == "[picture: 16 tokens]" for token in preview_row["tokens"])
    trainer = dpo_job.method.build(dpo_job)
    trainer.train()
    assert len(logged_losses(trainer)) == 2
    grpo_job = build_vision_job(tmp_path, "grpo", source, {"batch_size": 8, "attempts": 4, "max_completion_length": 6},
                    rewards=[{"name": "exact_match"}])  # fmt: skip
    assert any(token["text"] == "[picture: 16 tokens]" for token in preview_first_row(grpo_job)["rows"][0]["tokens"])
    trainer = grpo_job.method.build(grpo_job)
    trainer.train()
    assert len(logged_losses(trainer)) == 2


@pytest.mark.parametrize(("knobs", "spec_fields", "expected_text"), [
    ({"max_length": 16}, {}, "The maximum length of 16 tokens cuts into a picture, which with the text before it takes 19 tokens."),
    ({"packing": True}, {}, "Examples with pictures cannot be joined into rows."),
    ({"padding_free": True}, {}, "Examples with pictures cannot be joined into rows."),
    ({}, {"model": {"id": "pocket"}}, "The examples have pictures, and the model “pocket” reads only text."),
])  # fmt: skip
def test_unsupported_settings_for_images_are_refused_before_training(knobs: dict[str, Any], spec_fields: dict[str, Any], expected_text: str, tmp_path: Path) -> None:  # fmt: skip
    with pytest.raises(Problem) as error:
        preview_first_row(build_vision_job(tmp_path, knobs=knobs, **spec_fields))
    assert error.value.text == expected_text


def test_the_truncated_part_of_an_answer_is_marked_as_cut(tmp_path: Path) -> None:
    [row] = preview_first_row(build_vision_job(tmp_path, knobs={"max_length": 32}))["rows"]
    assert row["length"] == 32
    assert "".join(token["text"] for token in row["tokens"] if token.get("cut")).endswith("<|im_end|>\n")


def test_rows_with_unavailable_images_are_dropped_and_counted(tmp_path: Path) -> None:
    rows = shape_rows(3)
    rows[1]["images"], rows[2]["images"] = ["../secret.png"], ["https://example.org/a.png"]
    job = build_vision_job(tmp_path, source=write_rows_with_images(tmp_path, rows))
    assert len(job.data.train) == 1
    assert sum(job.data.dropped.values()) == 2


def test_the_training_images_of_the_practice_model_are_not_in_the_sample() -> None:
    from presets import make_pocket_vision
    from presets.pictures import draw

    training_placements, sample_placements = make_pocket_vision.own_places(), make_pocket_vision.sample_places()
    assert len(training_placements) == make_pocket_vision.PICTURES
    assert not {*training_placements} & {*sample_placements}
    assert draw(*sample_placements[0]) == (SHAPES_FOLDER / "images" / "000.png").read_bytes()
    assert draw(*sample_placements[359]) == (SHAPES_FOLDER / "images" / "359.png").read_bytes()
    training_summary = json.loads((paths.ROOT / "presets" / "pocket-vision" / "made.json").read_text())
    assert training_summary["correct"] > 0.9
