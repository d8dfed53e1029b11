// How much of each kind is kept on this machine, and deleting it together.

import { query, setText } from './dom.js';
import { formatBytes } from './format.js';
import { listen } from './page_events.js';
import { page } from './page_state.js';
import { confirmDeletion } from './run_dialog.js';
import { problemText } from './server_reply.js';

/** @typedef {{ kind: string, count: number, bytes: number }} StoredKind */

/** @param {import('./types.d.ts').MountContext} context */
export function mount({ element, server }) {
  const details = query(element, 'details', HTMLDetailsElement);
  const button = query(element, 'button.wrong', HTMLButtonElement);
  const note = query(element, '[role=status]');
  const boxes = /** @type {HTMLInputElement[]} */ ([...element.querySelectorAll('input[type=checkbox]')]);
  const chosen = () => boxes.filter(({ checked }) => checked);

  async function showSizes() {
    const reply = await server.list_storage();
    if (!reply?.answer) return setText(note, problemText(reply));
    for (const { kind, count, bytes } of /** @type {StoredKind[]} */ (reply.answer)) {
      setText(query(element, `[data-count=${kind}]`), count.toLocaleString('en'));
      setText(query(element, `[data-bytes=${kind}]`), formatBytes(bytes));
    }
  }

  async function deleteChosen() {
    const reply = await server.delete_storage(chosen().map(({ value }) => value));
    for (const box of boxes) box.checked = false;
    button.disabled = true;
    await showSizes();
    setText(note, reply?.answer ? describeDeletion(reply.answer) : problemText(reply));
    page.go('runs'); // lists the runs anew
  }

  details.addEventListener('toggle', () => {
    if (details.open) showSizes();
  });
  listen('view', ({ view }) => {
    if (view === 'runs' && details.open) showSizes();
  });
  element.addEventListener('change', () => {
    button.disabled = chosen().length === 0;
  });
  button.addEventListener('click', () => {
    const names = chosen().map(box => box.parentElement?.textContent?.trim().toLowerCase());
    const text = 'It cannot be taken back. What is in use stays.';
    confirmDeletion(`Delete all ${names.join(' and all ')}?`, text, deleteChosen);
  });
}

/** @param {{ bytes: number, in_use: string[] }} deletion */
function describeDeletion({ bytes, in_use: inUse }) {
  const freed = `Freed ${formatBytes(bytes)}.`;
  return inUse.length ? `${freed} In use, and kept: ${inUse.join(', ')}.` : freed;
}
