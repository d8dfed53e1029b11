// The rows of the two lists of runs. Titles are strangers' text and only set as text.

import { create, createText, query, setText } from './dom.js';
import { formatBytes, formatDate } from './format.js';
import { describeRun, shortOutcome, sparklinePoints, stateMark } from './run_text.js';

/** @typedef {import('./types.d.ts').RunSummary} RunSummary */

const ACTIONS = /** @type {[string, string][]} */ ([
  ['rename', 'Rename'],
  ['link', 'Copy a link to its setup'],
  ['again', 'Use this setup again'],
  ['tidy', 'Keep only the best and the last checkpoint'],
  ['delete', 'Delete'],
]);
const SVG = 'http://www.w3.org/2000/svg';
/** @type {WeakMap<HTMLElement, Map<string, HTMLElement>>} */
const rowsOfLists = new WeakMap();

/**
 * Draws a list. Rows are reused by their run's id, so that focus and open menus stay.
 * @param {HTMLElement} list
 * @param {RunSummary[]} runs
 * @param {(run: RunSummary) => HTMLElement} createRow
 * @param {(row: HTMLElement, run: RunSummary) => void} fillRow
 */
export function drawRows(list, runs, createRow, fillRow) {
  const rows = rowsOfLists.get(list) ?? new Map();
  rowsOfLists.set(list, rows);
  runs.forEach((run, index) => {
    const row = rows.get(run.id) ?? createRow(run);
    rows.set(run.id, row);
    row.dataset.state = run.state;
    row.dataset.doubt = (!run.alive && run.doubt) || '';
    row.classList.toggle('alive', run.alive);
    fillRow(row, run);
    if (list.children[index] !== row) list.insertBefore(row, list.children[index] ?? null);
  });
  const ids = new Set(runs.map(({ id }) => id));
  for (const [id, row] of rows) {
    if (ids.has(id)) continue;
    row.remove();
    rows.delete(id);
  }
}

/** @param {RunSummary} run */
const runAddress = run => `#watch/${encodeURIComponent(run.id)}`;

const createMark = () => create('span', { className: 'mark', ariaHidden: 'true' });

function createSparkline() {
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('viewBox', '0 0 96 24');
  svg.setAttribute('class', 'spark');
  svg.setAttribute('aria-hidden', 'true');
  svg.append(document.createElementNS(SVG, 'polyline'));
  return svg;
}

/** @param {HTMLElement} row @param {number[]} values */
function drawSparkline(row, values) {
  query(row, 'polyline', SVGPolylineElement).setAttribute('points', sparklinePoints(values));
}

// -- the sidebar ------------------------------------------------------------------------------------------------------

/** @param {RunSummary} run */
export function createSidebarRow(run) {
  const outcome = create('span', { className: 'come', ariaHidden: 'true' });
  const link = create(
    'a',
    { className: 'run', href: runAddress(run) },
    createMark(),
    createText('span', 'name'),
    outcome,
    createSparkline(),
    createText('span', 'unseen'),
  );
  return create('li', {}, link);
}

/** @param {HTMLElement} row @param {RunSummary} run */
export function fillSidebarRow(row, run) {
  const description = describeRun(run);
  setText(query(row, '.mark'), stateMark(run));
  setText(query(row, '.name'), run.title);
  setText(query(row, '.come'), shortOutcome(run));
  setText(query(row, '.unseen'), description);
  query(row, 'a').title = `${run.title}: ${description}`;
  drawSparkline(row, run.spark);
}

// -- the page of all runs ---------------------------------------------------------------------------------------------

/** @param {RunSummary} run */
export function createPageRow(run) {
  const buttons = ACTIONS.map(([action, text]) => {
    const button = create('button', { type: 'button', textContent: text });
    button.dataset.deed = action;
    button.dataset.run = run.id;
    return button;
  });
  const menu = create(
    'details',
    { className: 'more' },
    createText('summary', '', 'More'),
    create('div', { className: 'menu' }, ...buttons),
  );
  const name = create('a', { className: 'name', href: runAddress(run) });
  const cells = [createText('span', 'come'), create('time'), createText('span', 'bytes')];
  return create(
    'li',
    { className: 'run' },
    createMark(),
    name,
    createSparkline(),
    ...cells,
    menu,
    createPipelineLink(run),
  );
}

/** A run of a pipeline links to its pipeline. @param {RunSummary} run */
function createPipelineLink({ journey: pipeline }) {
  const link = createText('a', 'of-journey', pipeline ? 'Part of a journey' : '');
  link.hidden = !pipeline;
  if (pipeline) link.href = `#journey/${encodeURIComponent(pipeline.split('/')[0])}`;
  return link;
}

/** @param {HTMLElement} row @param {RunSummary} run */
export function fillPageRow(row, run) {
  setText(query(row, '.mark'), stateMark(run));
  setText(query(row, '.name'), run.title);
  drawSparkline(row, run.spark);
  setText(query(row, '.come'), describeRun(run));
  const time = query(row, 'time', HTMLTimeElement);
  setText(time, formatDate(run.started));
  time.dateTime = new Date(run.started * 1000).toISOString();
  setText(query(row, '.bytes'), formatBytes(run.bytes));
  query(row, 'summary').ariaLabel = `More for ${run.title}`;
  for (const button of /** @type {NodeListOf<HTMLButtonElement>} */ (row.querySelectorAll('[data-deed]'))) {
    const action = button.dataset.deed ?? '';
    if (action === 'tidy' || action === 'delete') button.disabled = run.alive;
    if (action !== 'delete') button.hidden = run.state === 'damaged';
  }
}
