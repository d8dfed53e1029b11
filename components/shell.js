// The page's frame: which view is open, and of which run. The address's fragment decides: #watch/RUN_ID, #journey/ID.

import { emit, listen } from './page_events.js';
import { query } from './dom.js';
import { page, RUN_VIEWS } from './page_state.js';
import { describeRun, stepMarks } from './run_text.js';

/** @typedef {import('./types.d.ts').MountContext} MountContext */

const VIEWS = ['start', 'choose', 'check', 'watch', 'try', 'publish', 'setup', 'journey', 'runs', 'words'];
const STORAGE_KEY = 'tunesmith-run'; // the id of the run that was open last

/**
 * Shows a view. The open run, or pipeline, stays unless an id is given.
 * @param {string} view
 * @param {string} [id]
 */
export function goTo(view, id) {
  const target = id ?? (view === 'journey' ? page.journey : page.run);
  const hasId = [...RUN_VIEWS, 'journey'].includes(view) && target;
  const hash = hasId ? `#${view}/${encodeURIComponent(target)}` : `#${view}`;
  if (location.hash === hash) readAddress();
  else location.hash = hash;
}

/** Called once Gradio has drawn the page: waits for all components' modules, then opens the view of the address. */
export async function ready() {
  await Promise.allSettled(globalThis.tunesmithMounts ?? []);
  page.mounted = true;
  markSteps();
  openView();
}

function readAddress() {
  const [view, id] = location.hash.slice(1).split('/');
  const before = currentLocation();
  page.view = VIEWS.includes(view) ? view : 'start';
  if (id) page[view === 'journey' ? 'journey' : 'run'] = decodeId(id);
  try {
    localStorage.setItem(STORAGE_KEY, page.run);
  } catch {
    // storage may be forbidden
  }
  document.documentElement.dataset.view = page.view;
  markSteps();
  if (page.mounted) openView(before !== currentLocation());
}

const currentLocation = () => [page.view, page.run, page.journey].join('/');

/** @param {string} text */
function decodeId(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return '';
  }
}

function openView(hasMoved = false) {
  const { view, run } = page;
  if (hasMoved) {
    scrollTo(0, 0);
    /** @type {HTMLElement | null} */ (document.querySelector(`#view-${view} h1`))?.focus({ preventScroll: true });
  }
  emit('view', { view, run });
}

/**
 * A view's heading: its event tells the server that the view was opened, or its run changed.
 * @param {MountContext} context
 */
export function mountHeading({ props, trigger }) {
  listen('view', ({ view, run }) => {
    if (view === props.view) trigger('select', { run });
  });
}

/**
 * The row of steps: its value is the id of the open run, for the events of the page. Another value comes from the server,
 * which has started a run.
 * @param {MountContext} context
 */
export function mountNavigation({ props, watch }) {
  listen('view', ({ run }) => {
    props.value = run;
  });
  watch('value', () => {
    if (props.value && props.value !== page.run) goTo('watch', props.value);
  });
}

// The row of steps marks the open view; steps that concern a run lead to the open one.
function markSteps() {
  document.documentElement.toggleAttribute('data-has-run', Boolean(page.run));
  for (const link of /** @type {NodeListOf<HTMLAnchorElement>} */ (document.querySelectorAll('a[data-step]'))) {
    const step = link.dataset.step ?? '';
    if (step === page.view) link.setAttribute('aria-current', 'step');
    else link.removeAttribute('aria-current');
    if (RUN_VIEWS.includes(step)) link.href = page.run ? `#${step}/${encodeURIComponent(page.run)}` : `#${step}`;
  }
}

/** @type {import('./types.d.ts').RunSummary[]} */
let runs = [];

function showRunState() {
  const link = document.querySelector('[data-step=watch]');
  if (!(link instanceof HTMLElement)) return;
  const run = runs.find(({ id }) => id === page.run);
  for (const [step, mark] of Object.entries(stepMarks(run, RUN_VIEWS.includes(page.view)))) {
    query(document, `[data-step=${step}] .mark`).textContent = mark;
  }
  link.dataset.doubt = (!run?.alive && run?.doubt) || '';
  link.title = run ? `${run.title}: ${describeRun(run)}` : '';
}

listen('runs', summaries => {
  runs = summaries;
  showRunState();
});
listen('view', showRunState);

try {
  page.run = localStorage.getItem(STORAGE_KEY) ?? '';
} catch {
  // storage may be forbidden
}
Object.assign(page, { go: goTo, ready });
addEventListener('hashchange', readAddress);
readAddress();
