// The last lines of a run's log, fetched while they are visible.

import { query } from './dom.js';
import { listen } from './page_events.js';
import { page } from './page_state.js';

const INTERVAL = 2000; // milliseconds between two requests
const SCROLL_TOLERANCE = 8; // pixels from the end that still count as the end

/** @param {import('./types.d.ts').MountContext} context */
export function mount({ element }) {
  const details = query(element, 'details', HTMLDetailsElement);
  const output = query(element, 'pre');
  let run = '';
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;

  async function readLog() {
    clearTimeout(timer);
    if (!details.open || !run || page.view !== 'watch') return;
    const requestedRun = run;
    const response = await fetch(`live/log?${new URLSearchParams({ run })}`).catch(() => undefined);
    if (requestedRun === run && response?.ok) showLines((await response.json()).text);
    timer = setTimeout(readLog, INTERVAL);
  }

  /** @param {string} lines */
  function showLines(lines) {
    // Whoever scrolled back stays there.
    const isAtEnd = output.scrollTop + output.clientHeight >= output.scrollHeight - SCROLL_TOLERANCE;
    const text = lines || 'Nothing out of the ordinary was written.';
    if (output.textContent !== text) output.textContent = text;
    if (isAtEnd) output.scrollTop = output.scrollHeight;
  }

  details.addEventListener('toggle', readLog);
  listen('view', readLog);
  listen('snapshot', snapshot => {
    if (snapshot.run === run) return;
    run = snapshot.run;
    output.textContent = '';
    readLog();
  });
}
