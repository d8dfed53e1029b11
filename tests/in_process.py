"""Short trainings of the practice model in the test process, for tests of the trained weights and their storage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from app.core import paths
from app.engine.model.device import Device
from tests.support import build_spec, conversation_rows, write_rows

POCKET = paths.ROOT / "presets" / "pocket"
QUESTION = "Hello! What colour is the sky?"


def build_job(
    folder: Path, model: dict[str, Any] | None = None, adapter: dict[str, Any] | None = None, **knobs: Any
) -> Any:
    """A job of four SFT steps on 64 conversations."""
    from app.engine.job import Job
    from app.engine.libraries import prepare_libraries

    prepare_libraries()
    source = write_rows(folder / "chats.jsonl", conversation_rows(64))
    all_knobs = {"steps": 4, "batch_size": 4, "max_length": 64, "learning_rate": 2e-3} | knobs
    return Job(build_spec("sft", source, all_knobs, model=model or {}, adapter=adapter or {}), folder, Device("cpu"))


def train_job(job: Any) -> Any:
    trainer = job.method.build(job)
    trainer.train()
    trainer.save_model(str(job.folder / "adapter"))
    trainer.model.eval()
    return trainer


def logged_losses(trainer: Any) -> list[float]:
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def logits(model: Any, tokenizer: Any, text: str = QUESTION) -> Any:
    import torch

    with torch.no_grad():
        return model(input_ids=tokenizer(text, return_tensors="pt").input_ids).logits


def trainable_parameter_names(model: Any) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def preview_batches(job: Any) -> list[dict[str, Any]]:
    from app.engine.preview.trainer_capture import first_batches

    return first_batches(job, 1)


def save_moe_model(folder: Path) -> Path:
    """Saves a tiny untrained mixture-of-experts model with the practice model's tokenizer."""
    import torch
    from transformers import AutoTokenizer, Qwen3MoeConfig, Qwen3MoeForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(POCKET)
    torch.manual_seed(0)
    config = Qwen3MoeConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, moe_intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, head_dim=16, num_experts=4, num_experts_per_tok=2, pad_token_id=0,
        eos_token_id=2, bos_token_id=None,
    )  # fmt: skip
    Qwen3MoeForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
