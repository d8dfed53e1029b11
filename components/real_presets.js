// The presets for real work that a setup can start from: folded to one line, grouped by what they are for.

import { cardSizes, fillSizes, showFitting } from './card_filter.js';
import { create } from './dom.js';

/** @typedef {import('./types.d.ts').Catalog} Catalog */

/**
 * @param {Pick<Catalog, 'goals' | 'presets'>} catalog
 * @param {Map<string, HTMLElement>} choices of all presets by name
 * @returns {{list: HTMLElement, refresh: (elsewhere: string) => void}} elsewhere: the one that is drawn above the list
 */
export function createRealPresets({ goals, presets }, choices) {
  const realPresets = presets.filter(({ goal }) => goal);
  for (const { name, gigabytes } of realPresets) {
    const choice = /** @type {HTMLElement} */ (choices.get(name));
    choice.dataset.gigabytes = String(gigabytes);
    choice.append(create('span', { className: 'tag', textContent: `${gigabytes} GB` }));
  }
  const groups = Object.entries(goals).map(([goal, { title }]) => {
    const id = `goal-${goal}`;
    const box = create('div', { className: 'choices', role: 'radiogroup', 'aria-labelledby': id });
    return {
      goal,
      box,
      group: create('section', { className: 'goal' }, create('h3', { id, textContent: title }), box),
    };
  });
  const select = create('select', { id: 'preset-card' });
  const sizes = cardSizes(realPresets.map(({ gigabytes }) => gigabytes));
  fillSizes(select, sizes);
  const filter = create('label', { className: 'card-filter' }, 'What fits on', select);
  const summary = create('summary', { textContent: `For real work (${realPresets.length})` });
  const body = create('div', {}, filter, ...groups.map(({ group }) => group));
  const list = create('details', { className: 'more-starts real' }, summary, body);
  const show = () => showFitting(body, Number(select.value), '.goal');
  select.addEventListener('change', show);

  function refresh(/** @type {string} */ elsewhere) {
    for (const { goal, box } of groups) {
      const members = realPresets.filter(preset => preset.goal === goal && preset.name !== elsewhere);
      box.replaceChildren(...members.map(({ name }) => /** @type {HTMLElement} */ (choices.get(name))));
    }
    show();
  }
  return { list, refresh };
}
