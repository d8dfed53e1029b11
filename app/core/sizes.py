"""Sizes as the page writes them."""

from __future__ import annotations


def format_bytes(byte_count: int) -> str:
    """Size such as "312 kB", "3.1 MB" or "41.0 GB"; components/format.js writes the same."""
    if byte_count < 1_000_000:
        return f"{-(-byte_count // 1000)} kB"
    return f"{byte_count / 1e6:.1f} MB" if byte_count < 1e9 else f"{byte_count / 1e9:.1f} GB"
