// Rows that the person said not to learn from, mostly by mending what the audit found.

import { create } from './dom.js';

const REASONS = /** @type {Record<string, string>} */ ({
  duplicates: 'Rows that repeat an earlier one',
  held_out: 'Rows that are also kept aside for the test',
  leaks: 'Rows whose answer stands in the question',
  same: 'Pairs whose two answers are the same',
  untrained: 'Rows with nothing to learn',
  cut: 'Rows longer than the maximum length',
});

/** @param {import('./settings_form.js').SettingsForm} form */
export function createExcludedRows(form) {
  const list = create('ul', { className: 'drops' });
  const sentence = create('p', { className: 'says', textContent: 'Not learned from, as you said:' });
  const box = create('div', { className: 'dropped' }, sentence, list);
  let drawnKey = '';

  function refresh() {
    const reasons = form.setup.drop ?? [];
    const key = JSON.stringify(reasons);
    box.hidden = !reasons.length;
    if (key !== drawnKey) list.replaceChildren(...reasons.map(createItem));
    drawnKey = key;
  }

  /** @param {string} reason */
  function createItem(reason) {
    const include = () =>
      form.change(setup => {
        setup.drop = setup.drop?.filter(other => other !== reason);
      });
    const button = create('button', {
      type: 'button',
      className: 'back',
      textContent: 'Learn from them again',
      onclick: include,
    });
    return create('li', {}, `${REASONS[reason] ?? reason} `, button);
  }

  return { box, refresh };
}
