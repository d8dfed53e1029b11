// Settings that a preset sets for its own model or its own examples. Where a person chooses others, those that nobody
// changed follow, as app/planning/presets.py does for the command line.

import { getAtPath, isSameJson, setAtPath } from './setup_paths.js';

/** @typedef {import('./types.d.ts').Setup} Setup */
/** @typedef {Pick<import('./types.d.ts').Preset, 'setup' | 'bound'>} Preset */

/** What is trained: which model, and all of its weights or an adapter. @param {Setup} setup */
const modelKey = ({ model, adapter }) => JSON.stringify([model.id, adapter?.kind === 'none']);

/**
 * The preset's setup as far as it concerns the chosen model, examples and method.
 * @param {Preset} preset
 * @param {Setup} chosen
 * @returns {Setup}
 */
export function presetFor({ setup: preset, bound }, chosen) {
  const setup = structuredClone(preset);
  if (modelKey(chosen) !== modelKey(preset)) bound.model.forEach(path => setAtPath(setup, path, undefined));
  if (chosen.data[0].source !== preset.data[0].source) bound.data.forEach(path => setAtPath(setup, path, undefined));
  return setup;
}

/**
 * The changed setup, in which settings that were as the preset has them still are, for the model and the examples that
 * it has now.
 * @param {Preset} preset
 * @param {Setup} before
 * @param {Setup} after changed in place
 */
export function followChoices(preset, before, after) {
  const [baseBefore, baseAfter] = [presetFor(preset, before), presetFor(preset, after)];
  const hasItsMethod = after.method === preset.setup.method;
  for (const path of new Set([...preset.bound.model, ...preset.bound.data])) {
    if (path.startsWith('knobs.') && !hasItsMethod) continue;
    const isUntouched = isSameText(getAtPath(after, path), getAtPath(baseBefore, path));
    if (isUntouched) setAtPath(after, path, structuredClone(getAtPath(baseAfter, path)));
  }
  return after;
}

/** Whether a person brought these examples: a file of theirs. @param {Setup} setup */
const isOwn = ({ data }) => /^(upload|path):/.test(data[0].source);

/**
 * The preset's setup. A person's examples stay in it where the preset's are only there to begin with, and so does the way
 * they are read and held out.
 * @param {Preset & Pick<import('./types.d.ts').Preset, 'own_examples'>} preset
 * @param {Setup} before
 */
export function withOwnExamples(preset, before) {
  const setup = structuredClone(preset.setup);
  if (!preset.own_examples || !isOwn(before)) return setup;
  const { data, holdout } = structuredClone(before);
  return followChoices(preset, preset.setup, { ...setup, data, holdout });
}

/** Missing, empty text and an empty list are the same. @param {any} first @param {any} second */
const isSameText = (first, second) =>
  isSameJson(first?.length === 0 ? null : first, second?.length === 0 ? null : second);

/** Whether a run of it is as long as the preset's, which was tried. @param {Setup} setup @param {Setup} base */
export function hasPresetLength(setup, base) {
  const sources = (/** @type {Setup} */ { data }) => data.map(({ source }) => source);
  const isSameSetting = (/** @type {string} */ name) => isSameJson(setup.knobs[name], base.knobs[name]);
  const settings = ['epochs', 'batch_size', 'accumulation'];
  return setup.method === base.method && isSameJson(sources(setup), sources(base)) && settings.every(isSameSetting);
}
