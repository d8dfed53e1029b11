// Events by which the page's modules, and the snippets of Gradio's events, tell each other what happened.

const PREFIX = 'tunesmith:';

/**
 * @template {keyof import('./types.d.ts').PageEvents} Name
 * @param {Name} name
 * @param {import('./types.d.ts').PageEvents[Name]} detail
 */
export function emit(name, detail) {
  document.dispatchEvent(new CustomEvent(`${PREFIX}${name}`, { detail }));
}

/**
 * @template {keyof import('./types.d.ts').PageEvents} Name
 * @param {Name} name
 * @param {(detail: import('./types.d.ts').PageEvents[Name]) => void} listener
 */
export function listen(name, listener) {
  document.addEventListener(`${PREFIX}${name}`, event => listener(/** @type {CustomEvent} */ (event).detail));
}
