"""The page's Blocks: several updates of one event may reach a browser at once, and none of them is lost."""

from __future__ import annotations

from typing import Any

import gradio as gr
from gradio.blocks import BlockFunction


class PageBlocks(gr.Blocks):
    """Blocks that send each changed output of a generator as a whole.

    Gradio sends what changed inside of it, as edits, and its client (6.31) makes them in the object of the update before.
    That update may not be drawn yet: an output of the later update that changes nothing then empties the earlier value.
    """

    def handle_streaming_diffs(
        self,
        block_fn: BlockFunction,
        data: list[Any],
        session_hash: str | None,
        run: str | None,
        final: bool,
        simple_format: bool = False,
    ) -> list[Any]:
        """The outputs as they are sent: those of the first update and of the end as values, others as a list of edits
        (action, path in the value before, new value)."""
        is_first = session_hash is None or run is None or run not in self.pending_diff_streams[session_hash]
        sent = super().handle_streaming_diffs(block_fn, [*data], session_hash, run, final, simple_format)
        if is_first or final or simple_format:
            return sent
        return [
            edits if all(path == [] for _, path, _ in edits) else [["replace", [], value]]
            for edits, value in zip(sent, data, strict=True)
        ]
