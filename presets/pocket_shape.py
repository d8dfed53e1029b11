"""Pocket shape: the practice model's tokenizer, chat template and sizes; no weights yet."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer

END, START, STOP = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
VOCABULARY = 2048

# The stop token is inside the generation mark: the model is trained to stop. The newline after it is not.
TEMPLATE = (
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message['role'] + '\\n' }}"
    "{%- if message['role'] == 'assistant' %}"
    "{% generation %}{{- message['content'] + '<|im_end|>' }}{% endgeneration %}"
    "{%- else %}{{- message['content'] + '<|im_end|>' }}{%- endif %}"
    "{{- '\\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)
SIZES = {
    "hidden_size": 256, "intermediate_size": 704, "num_hidden_layers": 4, "num_attention_heads": 8,
    "num_key_value_heads": 2, "head_dim": 32, "max_position_embeddings": 2048, "tie_word_embeddings": True,
    "rope_theta": 10_000.0,
}  # fmt: skip


def train_tokenizer(texts: list[str]) -> Tokenizer:
    """A byte-level BPE in which every digit is a token of its own, so that sums have places."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(r"\d"), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False),
    ])  # fmt: skip
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=[END, START, STOP], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def write_tokenizer(out: Path, texts: list[str]) -> int:
    """Train the tokenizer on the texts, save it with its template, return the size of its vocabulary."""
    from transformers import PreTrainedTokenizerFast

    fast = PreTrainedTokenizerFast(
        tokenizer_object=train_tokenizer(texts), eos_token=STOP, pad_token=END,
        model_max_length=SIZES["max_position_embeddings"], clean_up_tokenization_spaces=False,
    )  # fmt: skip
    fast.chat_template = TEMPLATE
    fast.save_pretrained(out)
    return len(fast)


def write_config(out: Path, vocabulary: int) -> None:
    """Save the model's sizes and its way of answering."""
    from transformers import GenerationConfig, Qwen3Config

    tokens = {"bos_token_id": None, "pad_token_id": 0, "eos_token_id": 2}
    config = Qwen3Config(vocab_size=vocabulary, architectures=["Qwen3ForCausalLM"], dtype="bfloat16", **SIZES, **tokens)
    config.save_pretrained(out)
    GenerationConfig(do_sample=False, max_new_tokens=128, **tokens).save_pretrained(out)


def build(out: Path, reading: Path) -> None:
    """Write tokenizer, template and configuration, made from the `text` of the reading rows."""
    out.mkdir(parents=True, exist_ok=True)
    with reading.open(encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line in lines]
    write_config(out, write_tokenizer(out, texts))


if __name__ == "__main__":
    build(Path(sys.argv[1]), Path(sys.argv[2]))
