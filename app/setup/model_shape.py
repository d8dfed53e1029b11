"""The shape of a model, read from its configuration: what its size, its memory and its speed follow from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.core.problems import Problem

# Where the configurations of some families say the same under another name.
_OTHER_NAMES = {
    "hidden_size": ("n_embd", "d_model", "dim"),
    "num_hidden_layers": ("n_layer", "num_layers", "n_layers"),
    "num_attention_heads": ("n_head", "n_heads"),
    "max_position_embeddings": ("n_positions", "max_seq_len", "seq_length"),
    "num_experts": ("num_local_experts", "n_routed_experts"),
    "tie_word_embeddings": ("tie_embeddings",),
}


@dataclass(frozen=True)
class ModelShape:
    """The text part of a transformer. Widths and lengths are counts of numbers and of tokens.

    model_type: its family in transformers, such as qwen3. num_key_value_heads: fewer than num_attention_heads where
    heads share their keys. num_experts: 0 without experts; expert_size: the width inside one of them.
    dense_layers: how many layers at the beginning have no experts, in a model that has some. vision: pictures are read
    too.
    """

    model_type: str
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    vocab_size: int
    max_position_embeddings: int
    tie_word_embeddings: bool = False
    num_experts: int = 0
    num_experts_per_token: int = 0
    expert_size: int = 0
    num_shared_experts: int = 0
    dense_layers: int = 0
    gated_mlp: bool = True
    vision: bool = False

    @property
    def attention_parameters(self) -> int:
        """Weights of the four projections of one layer's attention."""
        query_size = self.num_attention_heads * self.head_dim
        key_value_size = self.num_key_value_heads * self.head_dim
        return self.hidden_size * (2 * query_size + 2 * key_value_size)

    @property
    def mlp_matrices(self) -> int:
        """Matrices in one block after the attention: gate, up and down, or up and down."""
        return 3 if self.gated_mlp else 2

    @property
    def num_parameters(self) -> int:
        """All weights of the text part, without norms and biases: within one percent of the true count."""
        dense = self.mlp_matrices * self.hidden_size * self.intermediate_size
        expert = self.mlp_matrices * self.hidden_size * self.expert_size
        experts = (self.num_experts + self.num_shared_experts) * expert + self.hidden_size * self.num_experts
        num_dense_layers = self.dense_layers if self.num_experts else self.num_hidden_layers
        layers = self.num_hidden_layers * self.attention_parameters
        layers += num_dense_layers * dense + (self.num_hidden_layers - num_dense_layers) * experts
        return layers + self.vocab_size * self.hidden_size * (1 if self.tie_word_embeddings else 2)

    @property
    def active_parameters(self) -> int:
        """The weights that compute with one token: of the experts only those that it is sent to."""
        unused_experts = max(0, self.num_experts - self.num_experts_per_token)
        expert = self.mlp_matrices * self.hidden_size * self.expert_size
        return self.num_parameters - (self.num_hidden_layers - self.dense_layers) * unused_experts * expert


def read_model_shape(config: Mapping[str, Any]) -> ModelShape:
    """The shape that a config.json describes. Raises Problem where it says too little."""
    text: Mapping[str, Any] = config
    for part in ("text_config", "llm_config", "thinker_config"):
        if isinstance(text.get(part), Mapping):
            text = text[part]
    try:
        hidden_size = int(_look_up(text, "hidden_size"))
        num_heads = int(_look_up(text, "num_attention_heads"))
        num_experts = int(_look_up(text, "num_experts", 0) or 0)
        intermediate_size = int(_look_up(text, "intermediate_size", 4 * hidden_size) or 4 * hidden_size)
        return ModelShape(
            model_type=str(config.get("model_type", "")),
            hidden_size=hidden_size,
            intermediate_size=intermediate_size,
            num_hidden_layers=int(_look_up(text, "num_hidden_layers")),
            num_attention_heads=num_heads,
            num_key_value_heads=int(_look_up(text, "num_key_value_heads", num_heads) or num_heads),
            head_dim=int(_look_up(text, "head_dim", None) or hidden_size // num_heads),
            vocab_size=int(_look_up(text, "vocab_size")),
            max_position_embeddings=int(_look_up(text, "max_position_embeddings", 0) or 0),
            tie_word_embeddings=_ties_embeddings(config, text),
            num_experts=num_experts,
            num_experts_per_token=int(_look_up(text, "num_experts_per_tok", 0) or 0),
            expert_size=int(text.get("moe_intermediate_size") or intermediate_size) if num_experts else 0,
            num_shared_experts=int(text.get("n_shared_experts") or 0),
            dense_layers=int(text.get("first_k_dense_replace") or 0),
            gated_mlp=not {"n_embd", "n_inner"} & set(text),
            vision="vision_config" in config,
        )
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:  # a boundary: somebody's file
        raise Problem(
            f"The configuration of this model does not say how large it is ({error}).",
            advice="Choose a language model in the format of transformers.",
            reason="unknown_architecture",
        ) from error


_MISSING = object()


def _look_up(config: Mapping[str, Any], name: str, default: Any = _MISSING) -> Any:
    """An entry of a configuration under its usual or another name. Raises KeyError without a default."""
    for key in (name, *_OTHER_NAMES.get(name, ())):
        if config.get(key) is not None:
            return config[key]
    if default is _MISSING:
        raise KeyError(name)
    return default


def _ties_embeddings(config: Mapping[str, Any], text: Mapping[str, Any]) -> bool:
    """Whether one table reads and writes tokens. Files leave it out where it is their family's default."""
    for part in (text, config):
        if (tied := _look_up(part, "tie_word_embeddings", None)) is not None:
            return bool(tied)
    return str(config.get("model_type", "")).startswith(("gemma", "gpt2"))
