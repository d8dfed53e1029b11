// How runs are described in words, and how lists of runs are merged.

import { capitalizeFirst } from './format.js';

/** @typedef {import('./types.d.ts').RunSummary} RunSummary */

const STATE_WORDS = /** @type {Record<string, string>} */ ({
  new: 'Not started',
  waiting: 'Waiting for its turn',
  preparing: 'Getting ready',
  loading: 'Loading the model',
  training: 'Learning',
  evaluating: 'Testing',
  saving: 'Saving',
  stopping: 'Stopping',
  finished: 'Finished',
  stopped: 'Stopped',
  failed: 'Failed',
  lost: 'Lost',
  damaged: 'Damaged',
});
const STATE_MARKS = /** @type {Record<string, string>} */ ({
  new: '○',
  finished: '✓',
  stopped: '■', // as somebody wanted it
  failed: '!',
  lost: '!',
  damaged: '!',
});

/** @param {RunSummary} run */
export const stateWords = run => STATE_WORDS[run.state] ?? run.state;

/** Whether it ended well: a finished run with a diagnosis is no success. @param {RunSummary} run */
const isSuccess = run => run.state === 'finished' && !run.doubt;

/** @param {RunSummary} run */
export const stateMark = run =>
  run.alive ? '●' : run.state === 'finished' && !isSuccess(run) ? '!' : (STATE_MARKS[run.state] ?? '!');

/** How much of its steps is done, rounded down. @param {RunSummary} run */
export const progressPercent = run => (run.of ? `${Math.floor((100 * run.step) / run.of)} %` : '');

/** In one or two words: how far it is, or what came of it. @param {RunSummary} run */
export const shortOutcome = run =>
  (run.alive ? progressPercent(run) : run.state !== 'damaged' && run.result) || stateWords(run);

/** State and progress, or state and result. @param {RunSummary} run */
export function describeRun(run) {
  if (run.alive) return [stateWords(run), progressPercent(run)].filter(Boolean).join(', ');
  // “stopped at 84 of 120” says its state by itself.
  if (run.result?.startsWith(run.state)) return capitalizeFirst(run.result);
  const link = run.doubt === 'wrong' && run.state === 'finished' ? ', but: ' : ', ';
  return [stateWords(run), run.result].filter(Boolean).join(link);
}

/** The mark beside the step Watch: how far the open run is, or how it ended. @param {RunSummary | undefined} run */
export function stepMark(run) {
  if (!run) return '';
  if (run.alive) return run.of ? `${Math.round((100 * run.step) / run.of)} %` : '…';
  if (run.state === 'new') return '';
  return stateMark(run);
}

/**
 * The marks beside all steps, of which those before a run are done where one is open.
 * @param {RunSummary | undefined} run
 * @param {boolean} isOpen the view shows a run
 * @returns {Record<string, string>}
 */
export const stepMarks = (run, isOpen) => ({
  choose: run && isOpen ? '✓' : '',
  check: run && isOpen ? '✓' : '',
  watch: stepMark(run),
});

/** @param {RunSummary} run @param {string} text lower case */
export const matchesFilter = (run, text) => `${run.title} ${describeRun(run)} ${run.id}`.toLowerCase().includes(text);

/**
 * The list of runs after a message: all of them, or those that changed laid over the known ones. The newest comes
 * first.
 * @param {RunSummary[] | undefined} known
 * @param {import('./types.d.ts').RunsMessage} message
 */
export function mergeRunSummaries(known, message) {
  const byId = new Map(message.is_complete ? [] : (known ?? []).map(summary => [summary.id, summary]));
  for (const summary of message.runs) byId.set(summary.id, summary);
  for (const id of message.removed_ids ?? []) byId.delete(id);
  return [...byId.values()].sort((first, second) => (first.id < second.id ? 1 : -1));
}

/**
 * The newest runs as they are now, laid over the list of all. A run that left the newest was deleted, unless it is only
 * older than they are.
 * @param {RunSummary[]} newest
 * @param {RunSummary[]} all
 * @param {number} limit how many the server counts as the newest
 */
export function mergeNewestRuns(newest, all, limit) {
  const newestIds = new Set(newest.map(run => run.id));
  const oldestId = newest.at(-1)?.id ?? '';
  const isOlder = (/** @type {RunSummary} */ run) => newest.length >= limit && run.id < oldestId;
  return [...newest, ...all.filter(run => !newestIds.has(run.id) && isOlder(run))];
}

/**
 * The points of a sparkline of 96 by 24 units, two from each edge. values: between 0 (bottom) and 1 (top).
 * @param {number[]} values
 */
export function sparklinePoints(values) {
  const gap = 92 / Math.max(1, values.length - 1);
  return values.map((value, i) => `${(2 + i * gap).toFixed(1)},${(22 - 20 * value).toFixed(1)}`).join(' ');
}
