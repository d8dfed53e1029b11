// The draft of the form that this browser keeps between visits.

/** @typedef {import('./types.d.ts').Catalog} Catalog */
/** @typedef {import('./types.d.ts').FormState} FormState */

const STORAGE_KEY = 'tunesmith-draft';
const VERSION = 1;

/** @param {FormState} state */
export function saveDraft(state) {
  try {
    localStorage.setItem(STORAGE_KEY, JSON.stringify({ v: VERSION, ...state }));
  } catch {
    // storage may be forbidden or full
  }
}

/** @param {Catalog} catalog */
export function readDraft(catalog) {
  try {
    return checkDraft(JSON.parse(localStorage.getItem(STORAGE_KEY) ?? 'null'), catalog);
  } catch {
    return null;
  }
}

/** @param {any} value */
const isObject = value => value !== null && typeof value === 'object' && !Array.isArray(value);
/** @param {any} value */
const isString = value => typeof value === 'string';

/**
 * The form's state, or null for an older draft or one that something else wrote: then the form begins anew.
 * @param {any} draft
 * @param {Pick<Catalog, 'presets' | 'methods'>} catalog
 * @returns {FormState | null}
 */
export function checkDraft(draft, catalog) {
  const isKnownPreset = catalog.presets.some(({ name }) => name === draft?.preset);
  if (draft?.v !== VERSION || !isKnownPreset || !isSetup(draft.setup, catalog) || !hasUploads(draft)) return null;
  const { preset, setup, link, uploads, exampleCount, isMethodChosen } = draft;
  const isCount = isString(exampleCount?.source) && Number.isInteger(exampleCount?.rows);
  return {
    preset,
    setup,
    link: Boolean(link),
    uploads,
    exampleCount: isCount ? exampleCount : null,
    isMethodChosen: Boolean(isMethodChosen),
  };
}

/** @param {any} draft */
const hasUploads = ({ uploads }) =>
  Array.isArray(uploads) && uploads.every(upload => isString(upload?.source) && isString(upload?.name));

/** @param {any} setup @param {Pick<Catalog, 'methods'>} catalog */
function isSetup(setup, { methods }) {
  if (!isObject(setup) || !isString(setup.method) || !Object.hasOwn(methods, setup.method)) return false;
  const { model, knobs, adapter, holdout, data, rewards = [], prompts = [], drop = [] } = setup;
  if (![model, knobs, adapter, holdout].every(isObject) || !isString(model.id)) return false;
  if (!Array.isArray(data) || !data.length || !data.every(isSource)) return false;
  if (![rewards ?? [], prompts ?? [], drop ?? []].every(Array.isArray)) return false;
  if (!(rewards ?? []).every((/** @type {any} */ reward) => isObject(reward) && isString(reward.name))) return false;
  const settingNames = methods[setup.method].fields.map(({ name }) => name);
  return (prompts ?? []).every(isString) && Object.keys(knobs).every(name => settingNames.includes(name));
}

/** @param {any} source */
const isSource = source =>
  isObject(source) &&
  isString(source.source) &&
  [source.mapping, source.templates, source.roles, source.labels].every(group => isObject(group ?? {}));
