// The sources of a setup where there are several: how often each is seen, and which one is shown below.

import { create, query } from './dom.js';
import { formatExact } from './format.js';
import { parseSettingValue } from './setting_values.js';
import { sourceName } from './source_name.js';

/** @typedef {import('./settings_form.js').SettingsForm} SettingsForm */

const MAX_WEIGHT = 100;

/** @param {unknown} weight */
export const isWeight = weight => typeof weight === 'number' && weight > 0 && weight <= MAX_WEIGHT;

/** How often the examples of a source are seen. @param {unknown} weight */
export function describeWeight(weight) {
  if (typeof weight !== 'number' || !isWeight(weight)) return 'Choose above 0, up to 100.';
  if (weight === 1) return 'each once a pass';
  return weight < 1 ? `${Math.round(weight * 100)} % of them a pass` : `each ${formatExact(weight)} times a pass`;
}

/** @param {SettingsForm} form @param {() => number} shownIndex @param {(index: number) => void} show */
export function createSourceList(form, shownIndex, show) {
  const list = create('ul', { className: 'sources', 'aria-label': 'Sources of examples' });
  let drawnKey = '';

  function refresh() {
    const { data } = form.setup;
    const key = JSON.stringify([data.map(({ source }) => source), shownIndex()]);
    list.hidden = data.length < 2;
    if (key !== drawnKey) list.replaceChildren(...data.map(({ source }, index) => createItem(source, index)));
    drawnKey = key;
    data.forEach(({ weight = 1 }, index) => showWeight(list.children[index], weight ?? 1));
  }

  /** @param {string} source @param {number} index */
  function createItem(source, index) {
    const name = sourceName(form, source).slice(0, 60);
    const isShown = index === shownIndex();
    const input = create('input', {
      type: 'text',
      inputMode: 'decimal',
      id: `weight-${index}`,
      'aria-label': `How often ${name} is seen`,
      oninput: () =>
        form.change(setup => {
          const weight = parseSettingValue({ type: 'float' }, input.value) ?? 1;
          setup.data[index].weight = /** @type {number | string} */ (weight);
        }),
    });
    const showButton = create('button', {
      type: 'button',
      className: 'back',
      textContent: isShown ? 'Shown below' : 'Show',
      disabled: isShown,
      'aria-label': isShown ? `${name} is shown below` : `Show ${name}`,
      onclick: () => show(index),
    });
    const removeButton = create('button', {
      type: 'button',
      className: 'back',
      textContent: 'Take out',
      'aria-label': `Take ${name} out`,
      onclick() {
        form.change(setup => setup.data.splice(index, 1));
        show(0);
      },
    });
    const title = create('strong', { textContent: name });
    const children = [title, input, create('span', { className: 'says' }), showButton, removeButton];
    return create('li', { className: isShown ? 'here' : '' }, ...children);
  }

  return { box: list, refresh };
}

/** @param {Element} item @param {number | string} weight */
function showWeight(item, weight) {
  const input = query(item, 'input', HTMLInputElement);
  input.setAttribute('aria-invalid', String(!isWeight(weight)));
  if (document.activeElement !== input) input.value = String(weight);
  query(item, '.says').textContent = describeWeight(weight);
}
