// The runs: the newest beside every view, and all of them on a page of their own.

import { copyToClipboard, query, setText } from './dom.js';
import { formatBytes } from './format.js';
import { emit, listen } from './page_events.js';
import { page, RUN_VIEWS } from './page_state.js';
import { confirmRunAction } from './run_dialog.js';
import { createPageRow, createSidebarRow, drawRows, fillPageRow, fillSidebarRow } from './run_rows.js';
import { matchesFilter, mergeNewestRuns } from './run_text.js';

/** @typedef {import('./types.d.ts').RunSummary} RunSummary */

const SIDEBAR_RUNS = 20; // as many as the event stream tells of
const PAGE_RUNS = 100; // at first, and added by each click on "Show more"

/** @type {RunSummary[]} */
let newestRuns = [];
/** @type {RunSummary[] | null} */
let allRuns = null; // null until the page of all runs was opened
let visibleCount = PAGE_RUNS;

const element = (/** @type {string} */ selector) => query(document, selector);
const filterInput = () => query(document, '#runs-filter', HTMLInputElement);
const narrowScreen = matchMedia('(max-width: 899px)');

// -- the sidebar ------------------------------------------------------------------------------------------------------

function drawSidebar() {
  if (!document.querySelector('#side-runs')) return;
  const list = element('#side-runs');
  drawRows(list, newestRuns.slice(0, SIDEBAR_RUNS), createSidebarRow, fillSidebarRow);
  list.hidden = !newestRuns.length;
  element('#side-empty').hidden = newestRuns.length > 0;
  element('#side-all').hidden = !newestRuns.length;
  const aliveCount = newestRuns.filter(({ alive }) => alive).length;
  setText(element('#side-fold summary'), aliveCount ? `Runs, ${aliveCount} going on` : 'Runs');
  markOpenRun();
}

function markOpenRun() {
  const address = RUN_VIEWS.includes(page.view) ? `#watch/${encodeURIComponent(page.run)}` : '';
  for (const link of document.querySelectorAll('#side-runs a, #all-runs a.name')) {
    if (link.getAttribute('href') === address) link.setAttribute('aria-current', 'true');
    else link.removeAttribute('aria-current');
  }
}

// On narrow screens the runs are folded away.
function foldSidebar() {
  const details = document.querySelector('#side-fold');
  if (details instanceof HTMLDetailsElement) details.open = !narrowScreen.matches;
}

// -- the page of all runs ---------------------------------------------------------------------------------------------

function drawPage() {
  if (!document.querySelector('#all-runs') || !allRuns) return;
  const filter = filterInput().value.trim().toLowerCase();
  const matching = allRuns.filter(run => matchesFilter(run, filter));
  drawRows(element('#all-runs'), matching.slice(0, visibleCount), createPageRow, fillPageRow);
  element('#runs-none').hidden = allRuns.length > 0;
  element('#runs-tools').hidden = !allRuns.length;
  element('#runs-nothing').hidden = matching.length > 0 || !allRuns.length;
  element('#runs-more').hidden = matching.length <= visibleCount;
  setText(element('#runs-count'), describeRuns(allRuns, filter ? matching.length : null));
  markOpenRun();
}

/** 3 of 12 runs, 41.0 MB on disk @param {RunSummary[]} runs @param {number | null} matchingCount */
function describeRuns(runs, matchingCount) {
  const total = runs.length.toLocaleString('en');
  const count =
    matchingCount === null
      ? `${total} run${runs.length === 1 ? '' : 's'}`
      : `${matchingCount.toLocaleString('en')} of ${total} runs`;
  return `${count}, ${formatBytes(runs.reduce((sum, { bytes }) => sum + bytes, 0))} on disk`;
}

// -- actions: hidden buttons of the page take them to the server ------------------------------------------------------

/** @param {string} action @param {string} id @param {string} [text] */
function sendAction(action, id, text = '') {
  page.asked = { run: id, text };
  element(`#runs-${action}`).click();
}

/** @param {HTMLElement} button */
function startAction(button) {
  const run = allRuns?.find(({ id }) => id === button.dataset.run);
  const menu = button.closest('details');
  const action = button.dataset.deed ?? '';
  if (!run || !menu) return;
  closeMenu(menu);
  if (action === 'rename' || action === 'delete') {
    confirmRunAction(action, run, title => {
      if (action === 'delete' && page.run === run.id) page.run = '';
      sendAction(action, run.id, title);
    });
  } else sendAction(action, run.id);
  element('#runs-address').hidden = true; // a link that was copied before is of another run
}

/** @param {HTMLDetailsElement} menu */
function closeMenu(menu) {
  menu.open = false;
  query(menu, 'summary').focus();
}

document.addEventListener('click', ({ target }) => {
  if (!(target instanceof Element)) return;
  const button = target.closest('#view-runs [data-deed]');
  if (button instanceof HTMLElement) startAction(button);
  else if (target.closest('#runs-more')) {
    visibleCount += PAGE_RUNS;
    drawPage();
  } else if (target.closest('#runs-nothing button')) {
    filterInput().value = '';
    drawPage();
    filterInput().focus();
  }
  for (const menu of /** @type {NodeListOf<HTMLDetailsElement>} */ (
    document.querySelectorAll('#all-runs details[open]')
  )) {
    if (!menu.contains(target)) menu.open = false;
  }
});
document.addEventListener('keydown', ({ key, target }) => {
  const menu = key === 'Escape' && target instanceof Element && target.closest('#all-runs details[open]');
  if (menu instanceof HTMLDetailsElement) closeMenu(menu);
});
document.addEventListener('input', ({ target }) => {
  if (!(target instanceof HTMLInputElement) || target.id !== 'runs-filter') return;
  visibleCount = PAGE_RUNS;
  drawPage();
});

// -- what the server tells --------------------------------------------------------------------------------------------

listen('runs', runs => {
  newestRuns = runs;
  if (allRuns) allRuns = mergeNewestRuns(newestRuns, allRuns, SIDEBAR_RUNS);
  drawSidebar();
  drawPage();
});
listen('view', markOpenRun);
narrowScreen.addEventListener('change', foldSidebar);

/** @param {string} json the newest runs, for the sidebar */
export const showNewestRuns = json => showRuns(json, false);

/** @param {string} json all runs, for their page */
export const showAllRuns = json => showRuns(json, true);

/** @param {string} json @param {boolean} isAll */
function showRuns(json, isAll) {
  if (!json) return;
  /** @type {RunSummary[]} */
  const runs = JSON.parse(json);
  if (isAll) allRuns = runs;
  newestRuns = runs.slice(0, SIDEBAR_RUNS);
  foldSidebar();
  drawSidebar();
  drawPage();
  emit('listed', { isAll });
}

/** Shows the link to a run's setup, and copies it where the browser lets us. @param {string} code */
export async function showSetupLink(code) {
  if (!code) return;
  const link = `${location.origin}${location.pathname}?setup=${code}`;
  const box = element('#runs-address');
  const input = query(box, 'input', HTMLInputElement);
  box.hidden = false;
  input.value = link;
  input.select();
  const isCopied = await copyToClipboard(link); // a page without https may not write there
  setText(query(box, 'span'), isCopied ? 'Copied. It opens this setup and starts nothing:' : 'Copy this link:');
}
