// The report of a rehearsal: a button of it changes the setup to what fits, and shows its examples again.

import { emit } from './page_events.js';
import { openCheck } from './page_state.js';

/** @param {import('./types.d.ts').MountContext} context */
export function mount({ element }) {
  element.addEventListener('click', event => {
    const button = /** @type {Element} */ (event.target).closest('[data-changes]');
    if (!(button instanceof HTMLElement)) return;
    emit('alter', { changes: JSON.parse(button.dataset.changes ?? '{}') });
    openCheck();
  });
}
