// Prompts to try: a click asks one of them.

import { page } from './page_state.js';
import { emit } from './page_events.js';

/** @param {import('./types.d.ts').MountContext} context */
export function mount({ element, trigger }) {
  element.addEventListener('click', ({ target }) => {
    const chip = target instanceof Element ? target.closest('[data-prompt]') : null;
    const stop = /** @type {HTMLButtonElement | null} */ (document.querySelector('#talk-stop'));
    if (!chip || !stop?.disabled) return; // one answer at a time
    trigger('select', { prompt: chip.textContent });
  });
}

/** Goes on from the open run's result, where examples are chosen. */
export function continueFromResult() {
  emit('teach', page.run);
  page.go('choose');
  return [];
}
