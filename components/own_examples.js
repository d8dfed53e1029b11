// A file of a person's own, dropped or chosen on the first view: the form of Choose uploads and reads it.

import { query } from './dom.js';
import { acceptDrops } from './file_upload.js';
import { emit } from './page_events.js';

const VIEW_DELAY = 200; // milliseconds until the other view is there

/** @param {import('./types.d.ts').MountContext} context */
export function mount({ element }) {
  const input = query(element, 'input', HTMLInputElement);
  const send = (/** @type {File} */ file) => emit('examples', file);
  input.addEventListener('change', () => {
    if (input.files?.[0]) send(input.files[0]);
    input.value = '';
  });
  query(element, '.way').addEventListener('click', () => setTimeout(() => emit('mend', 'examples'), VIEW_DELAY));
  acceptDrops(/** @type {HTMLElement} */ (element.closest('.way-in') ?? element), send);
}
