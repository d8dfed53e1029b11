// The first view's cards: a preset fills the form, a pipeline opens, and the last runs are one click away.

import { cardSizes, fillSizes, showFitting } from './card_filter.js';
import { create, query } from './dom.js';
import { emit, listen } from './page_events.js';
import { openCheck, page } from './page_state.js';

const RECENT_RUNS = 3;

/** @param {import('./types.d.ts').MountContext} context */
export function mount({ element }) {
  const recent = query(element, '.lately');
  const realWork = /** @type {HTMLElement | null} */ (element.querySelector('.real-work'));
  if (realWork) filterByCard(realWork);

  element.addEventListener('click', ({ target }) => {
    if (!(target instanceof Element)) return;
    const preset = /** @type {HTMLElement | null} */ (target.closest('[data-preset]'))?.dataset.preset;
    const pipeline = /** @type {HTMLElement | null} */ (target.closest('[data-chain]'))?.dataset.chain;
    if (pipeline) page.go('journey', pipeline);
    if (!preset) return;
    emit('preset', preset);
    page.go('choose');
  });

  /** @param {import('./types.d.ts').RunSummary[]} runs */
  function showRecentRuns(runs) {
    const lines = runs.slice(0, RECENT_RUNS).map(run => {
      const link = create('a', { href: `#watch/${encodeURIComponent(run.id)}`, textContent: run.title });
      return create('li', {}, link, create('small', { textContent: run.result ?? run.state }));
    });
    query(recent, 'ul').replaceChildren(...lines);
    recent.hidden = !lines.length;
    query(element, '.how').hidden = lines.length > 0;
  }

  listen('runs', runs => showRecentRuns(runs ?? []));
  if (page.live?.runs) showRecentRuns(page.live.runs);
}

/** The choice of a card above the presets for real work. @param {HTMLElement} realWork */
function filterByCard(realWork) {
  const entries = [...realWork.querySelectorAll('[data-gigabytes]')];
  const select = query(realWork, 'select', HTMLSelectElement);
  fillSizes(select, cardSizes(entries.map(entry => Number(entry.getAttribute('data-gigabytes')))));
  select.addEventListener('change', () => showFitting(realWork, Number(select.value), '.family'));
}

/** Fills the form with a preset and opens Check. @param {string} preset */
export function tryPreset(preset) {
  emit('preset', preset);
  openCheck();
  return [];
}
