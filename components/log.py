"""Log: the last lines a run's process wrote, asked for while they are looked at."""

from __future__ import annotations

import gradio as gr

from components.theme import alone, page

JS = """const [log, text] = ['details', 'pre'].map(one => element.querySelector(one));
let run = '', timer;

async function read() {
  clearTimeout(timer);
  if (!log.open || !run || document.documentElement.dataset.view !== 'watch') return;
  const asked = run;
  const answer = await fetch(`live/log?${new URLSearchParams({ run })}`).catch(() => undefined);
  if (asked === run && answer?.ok) write((await answer.json()).text);
  timer = setTimeout(read, 2000);
}

function write(lines) {
  const end = text.scrollTop + text.clientHeight >= text.scrollHeight - 8;  // whoever scrolled back stays there
  const told = lines || 'Nothing out of the ordinary was written.';
  if (text.textContent !== told) text.textContent = told;
  if (end) text.scrollTop = text.scrollHeight;
}

log.addEventListener('toggle', read);
document.addEventListener('tunesmith:view', () => read());
document.addEventListener('tunesmith:snapshot', ({ detail }) => {
  if (detail.run === run) return;
  run = detail.run;
  text.textContent = '';
  read();
});"""

SKELETON = """<details class="log"><summary>Log</summary><pre tabindex="0" role="region" aria-label="The last lines of the log"></pre></details>"""


def log(**where: object) -> gr.HTML:
    return page(SKELETON, js_on_load=JS, **where)


if __name__ == "__main__":
    alone(log)
