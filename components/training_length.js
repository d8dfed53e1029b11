// How many steps and epochs are enough to learn something.

export const OWN_HOLDOUT_SHARE = 0.1; // of a person's own file, kept aside for the test
export const GOOD_STEPS = 120; // of a first attempt, as in app/history/diagnoses/optimization.py
const MIN_STEPS = 60; // fewer seldom teach anything, as in app/history/diagnoses/optimization.py
const MAX_EPOCHS = 1000;
const MAX_SUGGESTED_EPOCHS = 100; // that the form sets by itself

/**
 * The epochs that make about so many steps, when these epochs made `steps`.
 * @param {number} epochs
 * @param {number} steps
 * @param {number} wantedSteps
 */
export const scaleEpochs = (epochs, steps, wantedSteps) =>
  Math.min(MAX_EPOCHS, Math.max(1, Math.ceil((wantedSteps * epochs) / Math.max(1, steps))));

/**
 * How often a few examples have to be seen for enough steps. Null where there are enough already.
 * @param {number} rows of the file
 * @param {number} batchSize examples a step
 * @param {number} epochs
 */
export function suggestEpochs(rows, batchSize, epochs) {
  const stepsPerEpoch = Math.max(1, Math.ceil((rows * (1 - OWN_HOLDOUT_SHARE)) / batchSize));
  if (stepsPerEpoch * epochs >= MIN_STEPS) return null;
  const suggested = Math.min(MAX_SUGGESTED_EPOCHS, Math.ceil(GOOD_STEPS / stepsPerEpoch));
  return { epochs: suggested, steps: Math.round(stepsPerEpoch * suggested) };
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
