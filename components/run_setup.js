// The setup of the open run: fetched when the view opens. Text of a run may come from strangers and is only set as text.

import { copyToClipboard, createNotice, query, setText } from './dom.js';
import { formatCount } from './format.js';
import { listen } from './page_events.js';
import { page } from './page_state.js';
import { problemText } from './server_reply.js';
import { createSettingChanges } from './setting_changes.js';

/** @typedef {import('./types.d.ts').RunSetup} RunSetup */

/** @param {import('./types.d.ts').MountContext} context */
export function mount({ element, server }) {
  const root = query(element, '.run-setup');
  const part = (/** @type {string} */ name) => query(root, `[data-part=${name}]`);

  /** @param {string} run */
  async function openRun(run) {
    root.hidden = !run;
    query(document, '#no-run-setup').hidden = Boolean(run);
    if (!run) return;
    root.setAttribute('aria-busy', 'true');
    setText(query(root, '.run-title'), '');
    const reply = await server.read_run_setup(run);
    if (run !== page.run) return; // another one was opened meanwhile
    root.setAttribute('aria-busy', 'false');
    root.classList.toggle('unreadable', !reply?.answer);
    part('notice').replaceChildren(...(reply?.answer ? [] : [createNotice('wrong', problemText(reply))]));
    if (reply?.answer) showSetup(run, reply.answer);
  }

  /** @param {string} run @param {RunSetup} setup */
  function showSetup(run, setup) {
    setText(query(root, '.run-title'), setup.title);
    for (const name of /** @type {const} */ (['toml', 'command', 'folder'])) setText(part(name), setup[name]);
    setText(part('preset'), describeDifference(setup));
    part('changes').replaceChildren(...createSettingChanges(setup.changes));
    part('repeat').hidden = !setup.command;
    setText(part('log'), setup.log || 'Nothing was written yet.');
    setText(part('result'), setup.result || 'There is none yet.');
    setText(part('profile'), setup.profile);
    for (const box of root.querySelectorAll('[data-part=profiled]')) box.toggleAttribute('hidden', !setup.profile);
    for (const name of ['setup', 'log', 'profile', 'result']) {
      const link = query(root, `[data-download=${name}]`, HTMLAnchorElement);
      link.href = `download/${name}?${new URLSearchParams({ run })}`;
      link.hidden = name !== 'setup' && !setup[/** @type {'log' | 'profile' | 'result'} */ (name)];
    }
    for (const note of root.querySelectorAll('[data-copied]')) setText(note, '');
  }

  /** @param {HTMLElement} button */
  async function copyPart(button) {
    const name = button.dataset.copy ?? '';
    const isCopied = await copyToClipboard(part(name).textContent ?? '');
    const text = isCopied ? 'Copied.' : 'This browser does not let a page copy: select the text instead.';
    setText(query(root, `[data-copied=${name}]`), text);
    const details = part(name).closest('details');
    if (!isCopied && details) details.open = true;
  }

  root.addEventListener('click', ({ target }) => {
    const button = target instanceof Element && target.closest('[data-copy]');
    if (button instanceof HTMLElement) copyPart(button);
  });
  listen('view', ({ view, run }) => {
    if (view === 'setup') openRun(run);
  });
}

/** @param {RunSetup} setup */
function describeDifference({ preset, changes }) {
  if (!changes.length) return `Nothing: it is the preset “${preset}” as it stands.`;
  const count = formatCount(changes.length, 'setting');
  return `Nearest is the preset “${preset}”; ${count} differ${changes.length === 1 ? 's' : ''}.`;
}
