// A pipeline's run: its stages, how far each is, and the table that compares their results. Text of a run is only set
// as text.

import { create, createText, query, setText } from './dom.js';
import { listen } from './page_events.js';
import { page } from './page_state.js';
import { describeComparison, describeEffort, describeStage, visibleActions } from './pipeline_text.js';
import { problemText } from './server_reply.js';

/** @typedef {import('./types.d.ts').Pipeline} Pipeline */
/** @typedef {import('./types.d.ts').Stage} Stage */

const INTERVAL = 2000; // milliseconds between two requests while it runs
const IDLE_FACTOR = 5; // as much longer otherwise
const STAGE_MARKS = /** @type {Record<string, string>} */ ({ finished: '✓', failed: '!', lost: '!', stopped: '■' });
const PENDING = /** @type {Record<string, string>} */ ({
  start: 'Starting …',
  go_on: 'Going on …',
  stop: 'Stopping after this step, then saving …',
  forget: 'Removing …',
});
const SERVER_FUNCTIONS = /** @type {Record<string, string>} */ ({
  start: 'start_pipeline',
  go_on: 'resume_pipeline_run',
  stop: 'stop_pipeline_run',
  forget: 'delete_pipeline_run',
});

/** @param {import('./types.d.ts').MountContext} context */
export function mount({ element, server }) {
  const box = query(element, '.journey');
  const empty = query(element, '.empty');
  const emptyText = query(empty, 'p');
  const stageList = query(element, '.path');
  const status = query(element, '.now');
  const confirmation = query(element, '.sure');
  const noneOpen = emptyText.textContent ?? '';
  /** @type {Pipeline | null} */
  let pipeline = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  let isRequesting = false;
  let pendingText = ''; // what was asked of it and has not happened yet
  let missingReason = ''; // why nothing can be shown

  const actionButton = (/** @type {string} */ name) => query(element, `[data-deed=${name}]`, HTMLButtonElement);
  const isRunning = () => pipeline !== null && ['running', 'comparing'].includes(pipeline.phase);

  // -- drawing --------------------------------------------------------------------------------------------------------

  // A stage's line stays in the page and keeps its focus: only what changed is written.
  function draw() {
    box.hidden = !pipeline;
    empty.hidden = Boolean(pipeline) || isRequesting;
    setText(emptyText, missingReason || noneOpen);
    if (!pipeline) return;
    const { stages, phase, last } = pipeline;
    box.removeAttribute('aria-busy');
    box.dataset.phase = phase;
    setText(query(element, 'h1'), pipeline.title);
    setText(query(element, '.does'), pipeline.sentence);
    setText(query(element, '.takes'), describeEffort(pipeline));
    setText(status, pendingText || pipeline.status_text);
    if (stageList.children.length !== stages.length) stageList.replaceChildren(...stages.map(createStage));
    stages.forEach((stage, index) => fillStage(stageList.children[index], stage, index));
    for (const [name, isVisible] of Object.entries(visibleActions(pipeline, !confirmation.hidden))) {
      actionButton(name).hidden = !isVisible;
    }
    const tryLink = query(element, '.try', HTMLAnchorElement);
    tryLink.hidden = !(phase === 'finished' && last);
    tryLink.href = last ? `#try/${encodeURIComponent(last)}` : '#try';
    drawComparison(pipeline);
  }

  /** @param {Pipeline} compared */
  function drawComparison(compared) {
    const { table } = compared;
    const tableBox = query(element, '.compared');
    setText(query(element, '.asked'), describeComparison(compared));
    tableBox.hidden = !table;
    const key = JSON.stringify(table);
    if (!table || tableBox.dataset.said === key) return;
    tableBox.dataset.said = key;
    tableBox.replaceChildren(createTable(table));
  }

  /** @param {string} text */
  function showProblem(text) {
    const list = create('ul', { className: 'notice boxed', role: 'alert' }, createText('li', 'wrong', text));
    query(element, '.refused').replaceChildren(...(text ? [list] : []));
  }

  // -- requests -------------------------------------------------------------------------------------------------------

  async function refresh() {
    clearTimeout(timer);
    if (page.view !== 'journey') return;
    const id = page.journey;
    missingReason = '';
    if (!id) {
      pipeline = null;
      return draw();
    }
    if (!isRequesting && !document.hidden) {
      isRequesting = true;
      const reply = await server.inspect_pipeline(id);
      isRequesting = false;
      if (id !== page.journey) return refresh();
      if (reply?.answer) {
        pipeline = reply.answer;
        if (!isRunning()) pendingText = '';
      } else if (!pipeline) missingReason = reply?.problem?.text ?? '';
      draw();
    }
    timer = setTimeout(refresh, isRunning() || document.hidden ? INTERVAL : IDLE_FACTOR * INTERVAL);
  }

  /** Removing cannot be undone, so it is confirmed where the button was. @param {boolean} isAsked */
  function confirmRemoval(isAsked) {
    confirmation.hidden = !isAsked;
    draw();
    actionButton(isAsked ? 'keep' : 'forget').focus();
  }

  /** @param {string} action @param {HTMLButtonElement} button */
  async function perform(action, button) {
    button.disabled = true;
    showProblem('');
    pendingText = PENDING[action];
    draw();
    const reply = await server[SERVER_FUNCTIONS[action]](page.journey);
    button.disabled = false;
    if (!reply?.answer) {
      pendingText = '';
      showProblem(problemText(reply));
    }
    if (action !== 'stop') pendingText = '';
    if (action === 'forget' && reply?.answer) return page.go('runs');
    if (action === 'start' && reply?.answer) return page.go('journey', reply.answer);
    refresh();
  }

  element.addEventListener('click', ({ target }) => {
    const button =
      target instanceof Element ? /** @type {HTMLButtonElement | null} */ (target.closest('[data-deed]')) : null;
    const action = button?.dataset.deed;
    if (!button || !action) return;
    if (action === 'forget' || action === 'keep') return confirmRemoval(action === 'forget');
    if (action === 'sure') confirmation.hidden = true;
    perform(action === 'sure' ? 'forget' : action, button);
  });

  listen('view', ({ view }) => {
    if (view !== 'journey') return clearTimeout(timer);
    if (pipeline && pipeline.id !== page.journey) {
      pipeline = null;
      pendingText = '';
      confirmation.hidden = true;
      stageList.replaceChildren();
      box.hidden = true;
    }
    showProblem('');
    refresh();
  });
}

function createStage() {
  const mark = create('span', { className: 'mark', ariaHidden: 'true' });
  const title = create('div', { className: 'what' }, create('strong'), createText('small', 'kind'), create('p'));
  const bar = create('i', { className: 'bar' }, create('i'));
  const link = createText('a', 'look', 'Look at it');
  const progress = create(
    'div',
    { className: 'how' },
    createText('span', 'state'),
    createText('span', 'far'),
    bar,
    link,
  );
  return create('li', { className: 'lesson' }, mark, title, progress);
}

/** @param {Element} line @param {Stage} stage @param {number} index */
function fillStage(line, stage, index) {
  if (!(line instanceof HTMLElement)) return;
  line.dataset.state = stage.state;
  line.dataset.doubt = stage.doubt ?? '';
  line.classList.toggle('alive', Boolean(stage.alive));
  setText(query(line, '.mark'), stage.doubt ? '!' : (STAGE_MARKS[stage.state] ?? String(index + 1)));
  setText(query(line, '.what strong'), stage.title);
  setText(query(line, '.kind'), stage.lesson);
  setText(query(line, '.what p'), stage.sentence);
  setText(query(line, '.state'), stage.status_text);
  setText(query(line, '.far'), describeStage(stage));
  const bar = query(line, '.bar');
  bar.hidden = !stage.alive;
  query(bar, 'i').style.width = `${stage.of ? ((100 * stage.step) / stage.of).toFixed(1) : 0}%`;
  const link = query(line, 'a', HTMLAnchorElement);
  link.hidden = !stage.run;
  link.ariaLabel = `Look at the lesson ${stage.title}`;
  link.href = stage.run ? `#watch/${encodeURIComponent(stage.run)}` : '#watch';
}

/** @param {import('./types.d.ts').Comparison} table */
function createTable({ columns, rows }) {
  const headings = columns.map(({ title, kind }) =>
    create('th', { scope: 'col' }, title, kind ? createText('small', '', kind) : null),
  );
  const body = rows.map(({ title, cells }, index) =>
    create(
      'tr',
      { className: index ? 'tuned' : 'base' },
      create('th', { scope: 'row' }, title),
      ...cells.map(createCell),
    ),
  );
  return create(
    'table',
    {},
    create('thead', {}, create('tr', {}, create('td'), ...headings)),
    create('tbody', {}, ...body),
  );
}

/** @param {import('./types.d.ts').ComparisonCell} cell */
function createCell({ text, change, share }) {
  const value = create(
    'span',
    { className: 'value' },
    createText('b', '', text),
    change ? createText('small', '', change) : null,
  );
  if (share === null) return create('td', {}, value);
  const fill = create('i');
  fill.style.width = `${(100 * (share ?? 0)).toFixed(1)}%`;
  return create('td', {}, value, create('i', { className: 'bar' }, fill));
}
