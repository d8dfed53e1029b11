// The runs: the newest beside every view, and all of them on a page of their own.

import { copyToClipboard, createNotice, query, setText } from './dom.js';
import { formatBytes } from './format.js';
import { emit, listen } from './page_events.js';
import { page, RUN_VIEWS } from './page_state.js';
import { confirmRunAction } from './run_dialog.js';
import { createPageRow, createSidebarRow, drawRows, fillPageRow, fillSidebarRow } from './run_rows.js';
import { matchesFilter, mergeNewestRuns } from './run_text.js';
import { problemText } from './server_reply.js';
import { describeLinkReach, shareableAddress } from './sign_in_address.js';

/** @typedef {import('./types.d.ts').RunSummary} RunSummary */
/** @typedef {import('./types.d.ts').MountContext} MountContext */
/** @typedef {import('./types.d.ts').Reply<any>} Reply */

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

// -- actions ----------------------------------------------------------------------------------------------------------

/** @type {MountContext['server']} */
let server; // functions of app/server/views/runs.py

/** What each action does, with the title that the dialog asked for. */
const ACTIONS = /** @type {Record<string, (run: string, title: string) => Promise<unknown>>} */ ({
  rename: async (run, title) => showReply(await server.rename_run({ run, title })),
  tidy: async run => showReply(await server.delete_surplus_checkpoints(run)),
  delete: async run => showReply(await server.delete_run(run)),
  link: async run => showSetupLink(await server.encode_setup_link(run)),
  again: reuseSetup,
});

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
      ACTIONS[action](run.id, title);
    });
  } else ACTIONS[action](run.id, '');
  element('#runs-address').hidden = true; // a link that was copied before is of another run
}

/** @type {{ reply: Reply | undefined } | null} */
let broughtProblem = null; // that of an action on another view, which led here; until this view is left

async function showAllRuns() {
  showReply(await server.list_runs().catch(() => undefined));
  if (broughtProblem) showNotice(broughtProblem.reply); // a list without a remark would clear it
}

/** @param {Reply | undefined} reply with a RunListing */
function showReply(reply) {
  showNotice(reply);
  if (reply?.answer) showRuns(reply.answer.runs, true);
}

/** Shows the remark of an answer, or the problem. @param {Reply | undefined} reply */
function showNotice(reply) {
  const note = reply?.answer?.note;
  const notice = reply?.answer ? note && createNotice('info', note) : createNotice('wrong', problemText(reply));
  element('#runs-notice').replaceChildren(...(notice ? [notice] : []));
}

/** Fills the form with a run's setup; whether that worked. @param {string} run */
export async function reuseSetup(run) {
  const reply = await server.read_setup(run).catch(() => undefined);
  showNotice(reply);
  if (!reply?.answer) {
    if (page.view !== 'runs') broughtProblem = { reply };
    page.go('runs'); // where the notice is
    return false;
  }
  emit('fill', reply.answer);
  page.go('choose');
  return true;
}

/** Fills the form with the open run's setup; an event of Watch. */
export function reuseOpenRun() {
  reuseSetup(page.run);
  return [];
}

/**
 * Shows the link to a run's setup, and copies it where the browser lets us.
 * @param {Reply | undefined} reply with the code of the link
 */
async function showSetupLink(reply) {
  showNotice(reply);
  if (!reply?.answer) return;
  const link = `${shareableAddress()}?setup=${reply.answer}`;
  const box = element('#runs-address');
  const input = query(box, 'input', HTMLInputElement);
  box.hidden = false;
  input.value = link;
  input.select();
  const isCopied = await copyToClipboard(link); // a page without https may not write there
  setText(query(box, 'span'), `${isCopied ? 'Copied.' : 'Copy this link.'} ${describeLinkReach()}`);
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

/** The sidebar: the newest runs, before the event stream tells of them. @param {MountContext} context */
export function mountSidebar(context) {
  showNewestRuns(context.server);
}

/** @param {MountContext['server']} sidebarServer */
async function showNewestRuns(sidebarServer) {
  const reply = await sidebarServer.list_newest_runs();
  const runs = page.live?.runs ?? reply?.answer; // the stream's list is newer
  if (runs) showRuns(runs, false);
}

/** The page of all runs, listed anew each time it is opened. @param {MountContext} context */
export function mountPage(context) {
  server = context.server;
  listen('view', ({ view }) => {
    if (view === 'runs') showAllRuns();
    else broughtProblem = null;
  });
  if (page.mounted && page.view === 'runs') showAllRuns(); // the view was opened before this was drawn
}

listen('runs', runs => {
  newestRuns = runs;
  if (allRuns) allRuns = mergeNewestRuns(newestRuns, allRuns, SIDEBAR_RUNS);
  else if (server && page.view === 'runs') showAllRuns(); // it could not be listed when it was opened
  drawSidebar();
  drawPage();
});
listen('view', markOpenRun);
narrowScreen.addEventListener('change', foldSidebar);

/** @param {RunSummary[]} runs @param {boolean} isAll */
function showRuns(runs, isAll) {
  if (isAll) allRuns = runs;
  newestRuns = runs.slice(0, SIDEBAR_RUNS);
  foldSidebar();
  drawSidebar();
  drawPage();
  emit('listed', { isAll });
}
