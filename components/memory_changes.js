// The changes that make a setup fit into memory, each one click away.

import { create, createText } from './dom.js';
import { emit } from './page_events.js';
import { formatEstimatedBytes } from './plan_text.js';

/** @typedef {import('./types.d.ts').MemoryChange} MemoryChange */

const OUTCOMES = { yes: 'it fits', tight: 'it may just fit', no: 'not enough yet' };

/** What a change leads to, on top of those before it. @param {Pick<MemoryChange, 'low' | 'high' | 'fits'>} change */
export const describeOutcome = ({ low, high, fits }) =>
  `Then ${formatEstimatedBytes(low)} to ${formatEstimatedBytes(high)}: ${OUTCOMES[fits]}.`;

/** A list that is hidden while there is nothing to change. */
export function createMemoryChanges() {
  const list = create('ol', { className: 'memory-changes' });
  const title = createText('p', '', 'To make it fit, each on top of those before it:');
  const box = create('div', { className: 'fit-changes', hidden: true }, title, list);

  /** @param {MemoryChange[]} changes */
  function show(changes) {
    box.hidden = !changes.length;
    list.replaceChildren(...changes.map(createChange));
  }

  return { box, show };
}

/** @param {MemoryChange} change */
function createChange(change) {
  const { title, reason, settings } = change;
  const button = create('button', {
    type: 'button',
    className: 'back',
    textContent: 'Use it',
    'aria-label': `Use it: ${title}`,
    onclick: () => emit('alter', { changes: settings }),
  });
  const text = create(
    'span',
    {},
    createText('strong', '', title),
    createText('small', '', `${reason} ${describeOutcome(change)}`),
  );
  return create('li', {}, text, button);
}
