// Prompts to try: a click asks one of them, through a hidden button of the page.

import { page } from './page_state.js';
import { emit } from './page_events.js';

/** @param {import('./types.d.ts').MountContext} context */
export function mount({ element }) {
  element.addEventListener('click', ({ target }) => {
    const chip = target instanceof Element ? target.closest('[data-prompt]') : null;
    const stop = /** @type {HTMLButtonElement | null} */ (document.querySelector('#talk-stop'));
    if (!chip || !stop?.disabled) return; // one answer at a time
    page.prompt = chip.textContent;
    /** @type {HTMLElement | null} */ (document.querySelector('#talk-chip'))?.click();
  });
}

/**
 * The inputs of an event that asks: the open run, and the prompt that was clicked, or else the one that was typed.
 * @param {unknown} _
 * @param {string} typed
 * @param {number} temperature
 */
export function promptInputs(_, typed, temperature) {
  const prompt = page.prompt ?? typed;
  page.prompt = null;
  return [page.run, prompt, temperature];
}

/** Goes on from the open run's result, where examples are chosen. */
export function continueFromResult() {
  emit('teach', page.run);
  page.go('choose');
  return [];
}
