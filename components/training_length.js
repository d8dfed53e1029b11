// How many steps and epochs are enough to learn something, and what follows from the number of a person's examples.

import { formatInteger } from './format.js';
import { isSameJson } from './setup_paths.js';

/** @typedef {Record<string, any>} Knobs */

export const OWN_HOLDOUT_SHARE = 0.1; // of a person's own file, kept aside for the test
export const GOOD_STEPS = 120; // of a first attempt, as in app/history/diagnoses/optimization.py
const MIN_STEPS = 60; // fewer seldom teach anything, as in app/history/diagnoses/optimization.py
const MAX_EPOCHS = 1000;
const MAX_SUGGESTED_EPOCHS = 100; // that the form sets by itself
const MAX_PRETRAINED_EPOCHS = 10; // a model that knows its language soon recites what it sees more often
const MIN_BATCH_SIZE = 2;
const LENGTH_KNOBS = ['epochs', 'batch_size'];

/**
 * The epochs that make about so many steps, when these epochs made `steps`.
 * @param {number} epochs
 * @param {number} steps
 * @param {number} wantedSteps
 */
export const scaleEpochs = (epochs, steps, wantedSteps) =>
  Math.min(MAX_EPOCHS, Math.max(1, Math.ceil((wantedSteps * epochs) / Math.max(1, steps))));

/**
 * How often a few examples have to be seen, and how many at a time, for enough steps. Null where there are enough already.
 * @param {object} run
 * @param {number} run.rows of the file
 * @param {number} run.batchSize
 * @param {number} [run.accumulation] batches a step
 * @param {number} run.epochs
 * @param {boolean} run.isPretrained it knows its language: fewer steps are enough, and of smaller batches, which make
 *   more steps of the same examples
 */
export function suggestLength({ rows, batchSize, accumulation = 1, epochs, isPretrained }) {
  const learned = rows * (1 - OWN_HOLDOUT_SHARE);
  const stepsPerEpoch = (/** @type {number} */ size) => Math.max(1, Math.ceil(learned / (size * accumulation)));
  if (stepsPerEpoch(batchSize) * epochs >= MIN_STEPS) return null;
  let size = batchSize;
  if (isPretrained) {
    while (size >= 2 * MIN_BATCH_SIZE && stepsPerEpoch(size) * MAX_PRETRAINED_EPOCHS < MIN_STEPS)
      size = Math.floor(size / 2);
  }
  const [wanted, most] = isPretrained ? [MIN_STEPS, MAX_PRETRAINED_EPOCHS] : [GOOD_STEPS, MAX_SUGGESTED_EPOCHS];
  const suggested = Math.max(epochs, Math.min(most, Math.ceil(wanted / stepsPerEpoch(size))));
  const steps = Math.round(stepsPerEpoch(size) * suggested);
  return { epochs: suggested, batchSize: size, isSmaller: size < batchSize, steps };
}

/**
 * The settings with the suggestion in place of what nobody chose.
 * @param {Knobs} knobs
 * @param {ReturnType<typeof suggestLength>} suggestion
 * @returns {Knobs}
 */
export function withLength(knobs, suggestion) {
  if (!suggestion) return knobs;
  const size = suggestion.isSmaller ? { batch_size: suggestion.batchSize } : {};
  return { ...knobs, epochs: suggestion.epochs, ...size };
}

/**
 * Settings of the length that are as they were suggested follow the next suggestion.
 * @param {Knobs} knobs changed in place
 * @param {Knobs} before as nobody changed them
 * @param {Knobs} after the same, for the present choices
 */
export function followLength(knobs, before, after) {
  if (!LENGTH_KNOBS.every(name => isSameJson(knobs[name], before[name]))) return;
  for (const name of LENGTH_KNOBS) {
    if (after[name] === undefined) delete knobs[name];
    else knobs[name] = after[name];
  }
}

/**
 * Why a setting is as it is, in a sentence; empty for another setting, and where a person chose.
 * @param {string} name
 * @param {Knobs} knobs
 * @param {ReturnType<typeof suggestLength>} suggestion
 * @param {number} rows
 */
export function explainLength(name, knobs, suggestion, rows) {
  if (!suggestion || knobs[name] !== withLength(knobs, suggestion)[name]) return '';
  const examples = `Set for your ${formatInteger(rows)} examples`;
  if (name === 'epochs')
    return `${examples}: each is seen ${suggestion.epochs} times, in about ${suggestion.steps} steps.`;
  return name === 'batch_size' && suggestion.isSmaller ? `${examples}: small batches make more steps of them.` : '';
}

/**
 * Passes over the examples; null where the number of steps is set instead, or the method has no passes.
 * @param {Pick<import('./types.d.ts').Setup, 'knobs'>} setup
 * @param {Pick<import('./types.d.ts').Method, 'fields'>} method
 */
export function countPasses({ knobs: { steps, epochs } }, { fields }) {
  const passes = epochs ?? fields.find(({ name }) => name === 'epochs')?.default;
  return steps || typeof passes !== 'number' ? null : passes;
}
