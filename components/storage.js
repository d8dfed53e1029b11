// How much of each kind is kept on this machine, and deleting it together.

import { query, setText } from './dom.js';
import { formatBytes } from './format.js';
import { listen } from './page_events.js';
import { page } from './page_state.js';
import { problemText } from './server_reply.js';

/** @typedef {{ kind: string, count: number, bytes: number }} StoredKind */

/** @param {import('./types.d.ts').MountContext} context */
export function mount({ element, server }) {
  const details = query(element, 'details', HTMLDetailsElement);
  const button = query(element, 'button.wrong', HTMLButtonElement);
  const dialog = query(element, 'dialog', HTMLDialogElement);
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
    setText(query(dialog, 'h2'), `Delete all ${names.join(' and all ')}?`);
    dialog.returnValue = '';
    dialog.onclose = () => {
      if (dialog.returnValue === 'yes') deleteChosen();
    };
    dialog.showModal();
    query(dialog, '[value=no]').focus(); // Enter must not delete anything
  });
}

/** @param {{ bytes: number, kept: string[] }} deletion */
function describeDeletion({ bytes, kept }) {
  const freed = `Freed ${formatBytes(bytes)}.`;
  return kept.length ? `${freed} In use, and kept: ${kept.join(', ')}.` : freed;
}
