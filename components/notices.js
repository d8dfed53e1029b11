// The way back from a refusal: to the setting that the refusal names.

const VIEW_DELAY = 150; // milliseconds until the other view is there

/** The setting that a refusal names between quotes, such as “epochs”. @param {string | null | undefined} text */
export const namedSetting = text => text?.match(/“(\w+)”/)?.[1];

/** @param {import('./types.d.ts').MountContext} context */
export function mount({ element }) {
  element.addEventListener('click', () => {
    const name = namedSetting(element.closest('.view')?.querySelector('[role=alert]')?.textContent);
    const selector = `#view-choose [id$="-${name}"] :is(input, textarea)`;
    const fields = /** @type {HTMLElement[]} */ (name ? [...document.querySelectorAll(selector)] : []);
    setTimeout(() => fields.find(field => field.offsetParent)?.focus(), VIEW_DELAY);
  });
}
