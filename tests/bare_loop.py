"""A minimal PyTorch training loop without trainer and logging. `python bare_loop.py SETTINGS.json`. Imports no Tunesmith code."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed


def main() -> None:
    settings = json.loads(Path(sys.argv[1]).read_text())
    set_seed(7)
    tokenizer = AutoTokenizer.from_pretrained(settings["model"])
    model = AutoModelForCausalLM.from_pretrained(settings["model"], dtype=torch.float32)
    model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear", r=8, lora_alpha=16))
    rows = [
        encode(tokenizer, json.loads(line), settings["length"])
        for line in Path(settings["rows"]).read_text().splitlines()
    ]
    optimizer = torch.optim.AdamW(
        [parameter for parameter in model.parameters() if parameter.requires_grad], lr=settings["rate"]
    )
    model.train()
    order = torch.randperm(len(rows)).tolist()
    for step in range(settings["steps"]):
        batch = [rows[i] for i in order[step * settings["batch"] : (step + 1) * settings["batch"]]]
        inputs = {
            name: pad([row[name] for row in batch], padding)
            for name, padding in (("input_ids", 0), ("attention_mask", 0), ("labels", -100))
        }
        model(**inputs, use_cache=False).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()


def encode(tokenizer, row: dict, length: int) -> dict[str, list[int]]:
    """Of a conversation the assistant's turns are learned, which its chat template marks; of a prompt with a completion, the
    latter."""
    if "prompt" in row:
        prompt = tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True, return_dict=True)["input_ids"]
        encoding = tokenizer.apply_chat_template([*row["prompt"], *row["completion"]], return_dict=True)
        ids = encoding["input_ids"][:length]
        mask = [position >= len(prompt) for position in range(len(ids))]
    else:
        encoding = tokenizer.apply_chat_template(row["messages"], return_dict=True, return_assistant_tokens_mask=True)
        ids, mask = encoding["input_ids"][:length], encoding["assistant_masks"][:length]
    labels = [token_id if is_trained else -100 for token_id, is_trained in zip(ids, mask, strict=True)]
    return {"input_ids": ids, "attention_mask": [1] * len(ids), "labels": labels}


def pad(rows: list[list[int]], padding: int) -> torch.Tensor:
    max_length = max(map(len, rows))
    return torch.tensor([row + [padding] * (max_length - len(row)) for row in rows])


if __name__ == "__main__":
    main()
