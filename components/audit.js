// What the audit of all examples found. While it runs again, the earlier findings stay visible and disabled.

import { createFindings, createMended } from './audit_findings.js';
import { create, createNotice, createText, query } from './dom.js';
import { formatInteger } from './format.js';
import { createLengthHistogram } from './length_limit.js';
import { emit } from './page_events.js';
import { getAtPath } from './setup_paths.js';
import { openCheck, page } from './page_state.js';

/** @typedef {import('./types.d.ts').AuditResult} AuditResult */
/** @typedef {import('./types.d.ts').Finding} Finding */
/** @typedef {import('./types.d.ts').Remedy} Remedy */
/** @typedef {{what: string, done: number, total: number, seconds_left: number | null}} Progress */
/**
 * @typedef {object} AuditData
 * @property {string} state
 * @property {Progress} [progress]
 * @property {string} [text]
 * @property {AuditResult} [result]
 * @property {[number, number]} [limits]
 */
// What was changed for a finding, and the values before.
/** @typedef {{title: string, before: Record<string, unknown>, sources: string}} MendedFinding */

const EXPLANATION =
  'Looks at every example, not only at those above: what repeats, what is cut off, what would teach the wrong thing.';
const ANY_LENGTH = /** @type {[number, number]} */ ([1, 1e6]);
const MAX_UNDO = 6;
const PACKING_GAIN = 0.9; // packing is offered where it saves more than a tenth of the steps

/** @param {import('./types.d.ts').MountContext} context */
export function mount({ element, props, trigger, watch }) {
  const root = createText('div', 'audit-shown');
  query(element, '.audit').append(root);
  /** @type {AuditResult | null} */
  let result = null;
  let limits = ANY_LENGTH;
  /** @type {MendedFinding[]} */
  let mended = [];

  function draw() {
    /** @type {AuditData} */
    const data = props.value;
    if (data.state === 'none') {
      result = null;
      mended = [];
      root.replaceChildren();
      return;
    }
    if (data.state === 'done' && data.result) [result, limits] = [data.result, data.limits ?? ANY_LENGTH];
    const focusedId = root.contains(document.activeElement) ? document.activeElement?.id : '';
    const undoable = mended.filter(({ sources }) => sources === sourcesKey());
    root.replaceChildren(
      createText('h2', '', 'All examples'),
      ...createState(data, () => trigger('submit')),
      ...createMended(undoable, undo),
      ...(result && data.state !== 'asked' ? [drawResult(result, data.state === 'busy')] : []),
    );
    if (focusedId) /** @type {HTMLElement | null} */ (root.querySelector(`#${CSS.escape(focusedId)}`))?.focus();
  }

  /** @param {AuditResult} audit @param {boolean} isBusy */
  function drawResult(audit, isBusy) {
    const box = createText('div', isBusy ? 'audit-parts resting' : 'audit-parts');
    box.append(...createFindings(audit, mend, openExamples), createFacts(audit, mend));
    if (audit.lengths) {
      const setMaximum = (/** @type {number} */ length) =>
        mend({ title: `Maximum length ${formatInteger(length)}`, changes: { 'knobs.max_length': length } });
      box.append(createLengthHistogram(audit.lengths, limits, setMaximum));
    }
    if (isBusy) {
      for (const control of box.querySelectorAll('button')) control.disabled = true;
      for (const control of box.querySelectorAll('input')) control.disabled = true;
    }
    return box;
  }

  /** @param {Finding} finding @param {number} row the first to be shown */
  function openExamples(finding, row) {
    trigger('select', { rows: [row, ...finding.rows.filter(other => other !== row)], text: finding.text });
    const behavior = matchMedia('(prefers-reduced-motion: reduce)').matches ? 'auto' : 'smooth';
    document.querySelector('#check-tabs')?.scrollIntoView({ block: 'start', behavior });
  }

  /**
   * A remedy changes the setup; then the examples are looked at again. The values before are kept for undoing.
   * @param {Remedy} remedy
   */
  function mend(remedy) {
    const setup = page.setup?.setup;
    const valueOf = (/** @type {string} */ path) => structuredClone(getAtPath(setup, path) ?? null);
    const before = Object.fromEntries(Object.keys(remedy.changes).map(path => [path, valueOf(path)]));
    const sources = sourcesKey();
    const undoable = mended.filter(change => change.sources === sources);
    mended = [...undoable, { title: remedy.title, before, sources }].slice(-MAX_UNDO);
    changeSetup(remedy.changes);
  }

  /** @param {MendedFinding} change */
  function undo(change) {
    mended = mended.filter(other => other !== change);
    changeSetup(change.before);
  }

  draw();
  watch('value', draw);
}

// Undo concerns only the examples that are looked at now.
const sourcesKey = () => JSON.stringify(page.setup?.setup.data.map(({ source }) => source) ?? []);

/** @param {Record<string, unknown>} changes */
function changeSetup(changes) {
  emit('alter', { changes });
  openCheck();
}

/** What the audit's state looks like above its result. @param {AuditData} data @param {() => void} start */
function createState(data, start) {
  if (data.state === 'asked') {
    return [createText('p', 'quiet', EXPLANATION), createStartButton('Look at all examples', start)];
  }
  if (data.state === 'busy') return [createProgress(data.progress)];
  if (data.state !== 'refused') return [];
  return [createNotice('wrong', data.text ?? ''), createStartButton('Look again', start)];
}

/** @param {string} textContent @param {() => void} onclick */
const createStartButton = (textContent, onclick) =>
  create('button', { type: 'button', className: 'plain', textContent, onclick });

/** @param {Progress | undefined} progress */
function createProgress(progress) {
  const bar = create('progress', { max: progress?.total || 1, 'aria-label': 'How far the look at all examples is' });
  if (progress?.total) bar.value = progress.done;
  else bar.removeAttribute('value');
  return create(
    'div',
    { className: 'audit-progress', 'aria-busy': 'true' },
    bar,
    createText('p', 'quiet', describeProgress(progress)),
  );
}

/** @param {Progress | undefined} progress */
export function describeProgress(progress) {
  if (!progress) return 'Looking at all examples …';
  const { what, done, total, seconds_left: secondsLeft } = progress;
  const count = total ? `: ${formatInteger(done)} of ${formatInteger(total)}` : ' …';
  return `${what}${count}${describeTimeLeft(secondsLeft ?? null)}`;
}

/** @param {number | null} seconds */
function describeTimeLeft(seconds) {
  if (seconds === null) return '';
  if (seconds < 1) return ' · almost done';
  if (seconds < 90) return ` · about ${Math.max(1, Math.round(seconds))} s left`;
  return ` · about ${Math.round(seconds / 60)} minutes left`;
}

/** What training on these examples costs. @param {AuditResult} audit @param {(remedy: Remedy) => void} mend */
function createFacts({ cost }, mend) {
  const list = createText('dl', 'facts');
  const add = (
    /** @type {string} */ name,
    /** @type {string} */ value,
    /** @type {HTMLElement | null} */ button = null,
  ) => list.append(create('div', {}, createText('dt', '', name), create('dd', {}, value, button)));
  if (cost?.steps) add('Steps', `${formatInteger(cost.steps)}, ${formatInteger(cost.effective_batch)} at a time`);
  if (typeof cost?.padding === 'number') add('Padding', `${Math.round(100 * cost.padding)} % of what is computed`);
  if (cost?.packed_steps && cost.packed_steps < cost.steps * PACKING_GAIN) {
    const remedy = { title: 'Short examples are joined (packing)', changes: { 'knobs.packing': true } };
    const button = create('button', {
      type: 'button',
      className: 'back',
      textContent: 'Join them',
      onclick: () => mend(remedy),
    });
    const saved = `${formatInteger(cost.packed_steps)} steps instead of ${formatInteger(cost.steps)}`;
    add('Joined, short beside short', saved, button);
  }
  return list;
}
