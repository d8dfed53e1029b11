"""Models with random weights and a true shape, whose memory is measured: a Llama, a teacher and other families."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from app.core.paths import ROOT

_POCKET_VOCAB_SIZE = 1659
# A Llama with few layers, but with a vocabulary that makes logits and tables large beside them, as in real models.
_LLAMA = {"model_type": "llama", "hidden_size": 256, "intermediate_size": 704, "num_hidden_layers": 4, "num_attention_heads": 8, "num_key_value_heads": 4, "vocab_size": 32000, "tie_word_embeddings": False}  # fmt: skip
_TEACHER = _LLAMA | {"hidden_size": 320, "intermediate_size": 896, "num_hidden_layers": 6}
# Families that differ in what a block keeps: with few words, so that blocks are most of the memory.
_SMALL = _LLAMA | {"vocab_size": 8000}
_EXPERTS = {"num_experts_per_tok": 2, "num_local_experts": 4, "vocab_size": 2000}
SHAPES: dict[str, dict[str, Any]] = {
    "llama": _LLAMA,
    "teacher": _TEACHER,
    "pocket teacher": _TEACHER | {"vocab_size": _POCKET_VOCAB_SIZE},
    "small llama": _SMALL | {"tie_word_embeddings": True},
    "qwen3": _SMALL | {"model_type": "qwen3", "head_dim": 48},
    "gemma3": _SMALL | {"model_type": "gemma3_text", "head_dim": 48, "query_pre_attn_scalar": 48, "sliding_window": 64, "tie_word_embeddings": True},
    "gpt2": {"model_type": "gpt2", "n_embd": 256, "n_layer": 4, "n_head": 8, "vocab_size": 8000, "n_positions": 2048},
    "qwen3_moe": _SMALL | _EXPERTS | {"model_type": "qwen3_moe", "head_dim": 32, "moe_intermediate_size": 256},
    "mixtral": _SMALL | _EXPERTS | {"model_type": "mixtral", "intermediate_size": 256},
    "gpt_oss": _SMALL | _EXPERTS | {"model_type": "gpt_oss", "intermediate_size": 256, "head_dim": 32, "sliding_window": 64},
}  # fmt: skip


@lru_cache
def random_model(folder: Path, name: str) -> str:
    """The folder of a model of this shape with random weights and the practice model's tokenizer."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(ROOT / "presets" / "pocket")
    token_ids = {name: getattr(tokenizer, name) for name in ("eos_token_id", "pad_token_id", "bos_token_id")}
    config = AutoConfig.for_model(**{"max_position_embeddings": 2048} | SHAPES[name] | token_ids)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder / name)
    tokenizer.save_pretrained(folder / name)
    return str(folder / name)
