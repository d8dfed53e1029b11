// Presets for real work by graphics card: a choice of its size hides those that need a larger one.

import { create } from './dom.js';

/**
 * The sizes that entries need, in gigabytes, the smallest first.
 * @param {(number | null)[]} needed
 */
export const cardSizes = needed => [...new Set(needed.filter(size => size !== null))].sort((a, b) => a - b);

/** Whether a card of this size will do; 0 is a card of any size. @param {number} needed @param {number} size */
export const fitsCard = (needed, size) => !size || needed <= size;

/**
 * Fills a choice of sizes.
 * @param {HTMLSelectElement} select
 * @param {number[]} sizes
 */
export function fillSizes(select, sizes) {
  const options = sizes.map(size => create('option', { value: String(size), textContent: `${size} GB` }));
  select.replaceChildren(create('option', { value: '0', textContent: 'Any card' }), ...options);
}

/**
 * Hides what needs a larger card, and groups of which nothing is left.
 * @param {HTMLElement} list
 * @param {number} size
 * @param {string} groups selects them
 */
export function showFitting(list, size, groups) {
  for (const entry of list.querySelectorAll('[data-gigabytes]'))
    if (entry instanceof HTMLElement) entry.hidden = !fitsCard(Number(entry.dataset.gigabytes), size);
  for (const group of list.querySelectorAll(groups))
    if (group instanceof HTMLElement) group.hidden = !group.querySelector('[data-gigabytes]:not([hidden])');
}
