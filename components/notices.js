// The way back from a refusal: to the setting that the refusal names.

import { emit } from './page_events.js';

const VIEW_DELAY = 150; // milliseconds until the other view is there

/** The setting that a refusal names between quotes, such as “epochs”. @param {string | null | undefined} text */
export const namedSetting = text => text?.match(/“(\w+)”/)?.[1];

/** @param {import('./types.d.ts').MountContext} context */
export function mount({ element }) {
  element.addEventListener('click', () => {
    const name = namedSetting(element.closest('.view')?.querySelector('[role=alert]')?.textContent);
    const field = name ? document.querySelector(`#view-choose .field[id$="-${name}"]`) : null;
    setTimeout(() => emit('mend', field?.id), VIEW_DELAY);
  });
}
