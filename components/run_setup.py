"""The setup of a run and its files; run_setup.js asks for them when the view opens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

from components import progress, scripts
from components.theme import html_block, launch_demo

# Foreign text (titles, values, the file) is set by the script as text.
_HTML = """<div class="run-setup" aria-busy="true" hidden>
<h2 class="run-title"></h2><div data-part="notice"></div>
<section><h3>What it changes of a preset</h3><p data-part="preset"></p>
<dl class="setting-changes" data-part="changes"></dl></section>
<section><h3>The setup as a file</h3>
<p class="actions"><a class="button" download data-download="setup">Download the setup (TOML)</a>
<button type="button" class="button" data-copy="toml">Copy it</button><span role="status" data-copied="toml"></span></p>
<details><summary>Show the file</summary><pre tabindex="0" role="region" aria-label="The setup as a file" data-part="toml"></pre></details></section>
<section data-part="repeat"><h3>Run it again</h3><p><em>Use this setup again</em> on Watch fills the form with it. In a terminal, in the folder and
the environment of Tunesmith:</p><pre tabindex="0" role="region" aria-label="The command" data-part="command"></pre>
<p class="actions"><button type="button" class="button" data-copy="command">Copy the command</button><span role="status" data-copied="command"></span></p></section>
<section><h3>What it left</h3><dl class="run-files"><dt>Folder</dt><dd><code data-part="folder"></code></dd>
<dt>Log</dt><dd><a download data-download="log">Download the whole log</a> <span data-part="log"></span></dd>
<dt data-part="profiled">Profile</dt><dd data-part="profiled"><a download data-download="profile">Download the trace of some steps</a>
<span data-part="profile"></span>, for <em>chrome://tracing</em> or Perfetto</dd>
<dt>Result</dt><dd><a download data-download="result">Download the result (zip)</a> <span data-part="result"></span></dd></dl></section></div>"""


def build_run_setup(*server_functions: Callable[..., Any], **html_options: Any) -> gr.HTML:
    """The setup of the open run. server_functions: read_run_setup(run), see app/server/views/run_setup.py."""
    progress.build_no_run_notice(elem_id="no-run-setup")
    script = scripts.on_load("run_setup")
    return html_block(_HTML, js_on_load=script, server_functions=list(server_functions), **html_options)


def _demo() -> None:
    def read_run_setup(_: str) -> dict[str, Any]:
        rate = {"path": "knobs.epochs", "title": "Epochs", "before": "5", "after": "2"}
        files = {"folder": "/home/ada/.tunesmith/runs/first-tune", "log": "12 KB", "profile": "80 KB", "result": ""}
        text = {"title": "First tune", "toml": 'method = "sft"\n', "command": "python -m app run spec.json"}
        return {"answer": {**text, "preset": "First tune", "changes": [rate], **files}}

    build_run_setup(read_run_setup)
    html_block(js_on_load="setTimeout(() => tunesmith.go('setup', 'example'), 500)")


if __name__ == "__main__":
    launch_demo(_demo)
