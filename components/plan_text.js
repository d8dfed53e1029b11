// What a plan says in words.

import { formatBytes, formatCount, formatEstimate, formatExact, formatTimeRange } from './format.js';

/** @typedef {import('./types.d.ts').Plan} Plan */
/** @typedef {{text: string, note: string}} Line */

const FEW_STEPS = 60; // so few seldom teach anything new

const formatNumber = (/** @type {number} */ value) => Math.round(value).toLocaleString('en-US');
const countRounded = (/** @type {number} */ count, /** @type {string} */ noun) => formatCount(Math.round(count), noun);

/**
 * The story of the card, its figures, the short form for narrow screens, and whether there are too few steps.
 * @param {Plan} plan
 * @param {import('./types.d.ts').SetupMessage} message
 */
export function describePlan(plan, message) {
  const { setup, way, noun, isPresetLength } = message;
  const rows = plan.rows === null ? 'Read while training' : countRounded(plan.rows, noun);
  const steps = plan.steps ? countRounded(plan.steps, 'step') : 'Until it is stopped';
  const time = describeTime(plan);
  const hasFewSteps = !isPresetLength && hasTooFewSteps(plan, setup, way);
  const batch = plan.effective_batch ? `${formatNumber(plan.effective_batch)} at a time (effective batch)` : '';
  return {
    story: tellStory(plan, message),
    memory: describeMemory(plan.memory),
    lines: {
      Examples: { text: rows, note: describeHeldOut(plan, setup) },
      Learned: describeLearned(plan, way),
      Steps: { text: steps, note: hasFewSteps ? 'So few seldom teach anything new.' : batch },
      Time: { text: time || 'Not known yet', note: describeOrigin(plan) },
    },
    brief: [rows, steps, time].filter(Boolean).join(' · '),
    hasFewSteps,
  };
}

/**
 * What will happen, in a few sentences.
 * @param {Plan} plan
 * @param {Pick<import('./types.d.ts').SetupMessage, 'noun' | 'model' | 'passes' | 'way'>} message
 */
export function tellStory(plan, { noun, model, passes, way }) {
  const { rows, held_out: heldOut, steps } = plan;
  const examples = rows === null ? `${noun}s that are read on the way` : countRounded(rows, noun);
  const length = passes ? `${formatExact(passes)} pass${passes === 1 ? '' : 'es'}` : countRounded(steps, 'step');
  const work = way === 'asked' ? 'of trying' : 'over';
  const time = describeTime(plan);
  const aside = heldOut
    ? `${formatNumber(heldOut)} ${heldOut === 1 ? 'is' : 'are'} kept aside to see whether it learned.`
    : 'None is kept aside, so nothing tells learning from remembering.';
  return [
    `${length} ${work} ${examples} with ${model}${time && `, ${time} here`}.`,
    aside,
    ...describeSlowest(plan, passes),
  ];
}

/** How long it takes: measured, else reckoned; empty where only the run will tell. @param {Plan} plan */
function describeTime({ seconds, seconds_range: range }) {
  if (seconds) return formatEstimate(seconds);
  return range ? formatTimeRange(range.low, range.high) : '';
}

/** Where the time comes from, or why there is none. @param {Plan} plan */
function describeOrigin({ seconds, seconds_range: range, seconds_why: why }) {
  if (seconds) return 'on this machine';
  return range ? 'Reckoned from the sizes. A rehearsal measures it.' : (why ?? '');
}

const FITS = { yes: 'It fits', tight: 'It may just fit', no: 'It does not fit' };
const FIT_STATUS = { yes: '', tight: 'careful', no: 'wrong' };

/** To ten megabytes, which is finer than an estimate. @param {number} count */
export const formatEstimatedBytes = count =>
  count < 995e6 ? `${Math.round(count / 1e7) * 10} MB` : formatBytes(count);

/**
 * Whether it fits into memory, and what takes the most; null where that is not known.
 * @param {Plan['memory']} memory
 */
export function describeMemory(memory) {
  if (!memory) return null;
  const [largest] = memory.parts.filter(part => part.at_peak).sort((first, second) => second.bytes - first.bytes);
  const name = largest && lowerFirst(largest.title) + (largest.term ? ` (${largest.term})` : '');
  const most = name ? `; the largest part: ${name}` : '';
  const { status, text } = describeFit(memory);
  return { status, text: `${text}${most}.` };
}

/**
 * Whether it fits into memory, without a full stop.
 * @param {import('./types.d.ts').CardMemory} memory
 */
export const describeFit = ({ fits, low, high, free_bytes: free }) => ({
  status: FIT_STATUS[fits],
  text: `${FITS[fits]}: ${formatEstimatedBytes(low)} to ${formatEstimatedBytes(high)} of ${formatBytes(free)} free`,
});

/** @param {string} text */
const lowerFirst = text => text.charAt(0).toLowerCase() + text.slice(1);

/**
 * What takes most of the time, where that is known.
 * @param {Plan} plan
 * @param {number | null} passes
 */
function describeSlowest({ seconds, evaluation_seconds: evaluationSeconds, tokens, steps }, passes) {
  if (!seconds || typeof evaluationSeconds !== 'number') return [];
  const share = evaluationSeconds / seconds;
  if (share > 0.5) {
    return [`Most of the time, ${Math.round(100 * share)} %, goes into the tests and answers on the way.`];
  }
  const reading = tokens?.all && passes ? `: ${formatNumber(tokens.all)} tokens a pass` : '';
  return [
    `Most of the time, ${Math.round(100 * (1 - share))} %, goes into the ${countRounded(steps, 'step')}${reading}.`,
  ];
}

/**
 * Where the person set no number of steps, and the model does not write the answers itself.
 * @param {Pick<Plan, 'steps'>} plan
 * @param {Pick<import('./types.d.ts').Setup, 'knobs'>} setup
 * @param {string} way
 */
export const hasTooFewSteps = ({ steps }, { knobs }, way) =>
  Boolean(steps && steps < FEW_STEPS && !knobs.steps && way !== 'asked');

/**
 * What became of the other rows, and how many there are in all, where each is seen once a pass.
 * @param {Pick<Plan, 'rows' | 'held_out' | 'left_out'>} plan
 * @param {Partial<Pick<import('./types.d.ts').Setup, 'data'>>} setup
 */
export function describeHeldOut({ rows, held_out: heldOut, left_out: leftOut }, { data = [] }) {
  const aside = heldOut ? `${formatNumber(heldOut)} more kept aside for the test` : 'none kept aside for a test';
  const excluded = Object.entries(leftOut ?? {}).map(([reason, count]) => `${formatNumber(count)} left out: ${reason}`);
  const excludedCount = Object.values(leftOut ?? {}).reduce((sum, count) => sum + count, 0);
  const isCounted = excludedCount > 0 && rows !== null && data.every(({ weight = 1 }) => weight === 1);
  const total = isCounted ? [`of ${formatNumber((rows ?? 0) + heldOut + excludedCount)} in all`] : [];
  return [...total, aside, ...excluded].join('; ');
}

/**
 * What of the examples is learned, by the way in which the method teaches.
 * @param {Pick<Plan, 'tokens' | 'truncated'>} plan
 * @param {string} way
 * @returns {Line}
 */
export function describeLearned({ tokens, truncated }, way) {
  const { all, trained = 0 } = tokens ?? {};
  const loses = `lose${truncated === 1 ? 's' : ''} the end`;
  const cut = truncated ? `${countRounded(truncated, 'example')} ${loses}` : 'nothing is cut off';
  const share = all ? `${Math.round((100 * trained) / all)} % of ${formatNumber(all)} tokens` : '';
  const read = all ? `${formatNumber(all)} tokens are read` : '';
  const lines = /** @type {Record<string, Line>} */ ({
    asked: { text: 'What it makes of its own answers', note: 'it writes them itself while it learns' },
    compared: { text: share, note: `the answers: the better made likelier, the worse less likely; ${cut}` },
    thumbed: { text: share, note: `the answers: what was liked made likelier, what was not less likely; ${cut}` },
    scored: { text: 'A score for each answer', note: read },
    judged: { text: 'A judgement of each step', note: read },
  });
  return lines[way] ?? { text: share || 'Whatever it writes', note: all ? cut : '' };
}

/** @param {number} changes */
export function describeChanges(changes) {
  if (!changes) return 'Nothing: as the preset has it';
  return `${countRounded(changes, 'setting')} differ${changes === 1 ? 's' : ''} from the preset `;
}
