"""A model's configuration as its files say it, but for what would have a library fetch programs and run them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedConfig


def load_config(name: str, revision: str | None) -> PreTrainedConfig:
    """The configuration of the model in this folder or on the Hub.

    An attention implementation may be a repository of compiled kernels, at any revision, also one that a stranger
    proposed: transformers would download and run it where the package `kernels` is installed. Its own is used then.
    """
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(name, revision=revision)
    for part in (config, *(getattr(config, name, None) for name in config.sub_configs)):
        if part is not None and "/" in str(part._attn_implementation):
            part._attn_implementation = None
    return config
