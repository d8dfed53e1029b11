// Copy buttons: each copies the text of the element that it names.

import { copyToClipboard, query } from './dom.js';

/** @param {import('./types.d.ts').MountContext} context */
export function mount({ element }) {
  element.addEventListener('click', async ({ target }) => {
    const button = target instanceof Element ? /** @type {HTMLElement | null} */ (target.closest('[data-copy]')) : null;
    if (!button?.dataset.copy) return;
    const source = query(element, button.dataset.copy);
    const isCopied = await copyToClipboard(source.textContent ?? '');
    if (!isCopied) getSelection()?.selectAllChildren(source); // a page without https may not write there
    button.textContent = isCopied ? 'Copied' : 'Selected: copy it now';
  });
}
