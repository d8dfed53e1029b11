"""On the Runs page: how much of each kind is kept on this machine, and deleting it together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

from components import runs_list, scripts
from components.theme import html_block, launch_demo

# Kind: (title, what deleting it means).
_KINDS = {
    "runs": ("Runs", "with their curves, answers, checkpoints and results"),
    "pipelines": ("Pipeline runs", "what belongs to several runs together; the runs themselves stay"),
    "uploads": ("Uploaded examples", "runs that used them cannot be repeated without another upload"),
    "caches": ("Caches", "computed again when they are needed"),
}
_ROWS = "".join(
    f'<tr><td><label><input type="checkbox" value="{kind}"> {title}</label><small>{meaning}</small></td>'
    f'<td data-count="{kind}"></td><td data-bytes="{kind}"></td></tr>'
    for kind, (title, meaning) in _KINDS.items()
)
_HTML = f"""
<details id="storage"><summary>What is kept on this machine</summary>
<table><thead><tr><th scope="col">Kind</th><th scope="col">How many</th><th scope="col">Room</th></tr></thead><tbody>{_ROWS}</tbody></table>
<button type="button" class="button wrong" disabled>Delete what is ticked</button><p role="status"></p>
</details>"""


def build_storage(*server_functions: Callable[..., Any]) -> gr.HTML:
    """Beside the list of runs, whose dialog asks before something is deleted. server_functions: list_storage(),
    delete_storage(kinds)."""
    script = scripts.on_load("storage", "mount")
    return html_block(_HTML, elem_id="storage-block", js_on_load=script, server_functions=list(server_functions))


def _demo() -> None:
    def list_storage(_: None = None) -> dict[str, Any]:
        return {"answer": [{"kind": kind, "count": 3, "bytes": 12_000_000} for kind in _KINDS]}

    def delete_storage(kinds: list[str]) -> dict[str, Any]:
        return {"answer": {"bytes": 12_000_000 * len(kinds), "in_use": []}}

    runs_list.build_runs_list()  # with the dialog
    build_storage(list_storage, delete_storage)


if __name__ == "__main__":
    launch_demo(_demo)
