// Which rows are held out to test on: a share, a split, another source, or those whose column has a value.

import { create, createLabelled, showNote } from './dom.js';
import { createHeading, fillUnlessFocused } from './fields.js';
import { formatExact } from './format.js';
import { isSample } from './settings_form.js';
import { isSameJson } from './setup_paths.js';
import { sourceName } from './source_name.js';
import { OWN_HOLDOUT_SHARE } from './training_length.js';

/** @typedef {import('./settings_form.js').SettingsForm} SettingsForm */
/** @typedef {import('./types.d.ts').Holdout} Holdout */
/** @typedef {import('./types.d.ts').Setup} Setup */

const KINDS = /** @type {Record<string, [title: string, sentence: string]>} */ ({
  share: ['A share of them, drawn by chance', 'The same words never stand on both sides.'],
  split: ['A split of their own', 'Of the first source. The samples have one called holdout.'],
  source: ['Another file or dataset', 'Bring it with “Upload a file” first, then choose it here.'],
  column: ['Rows whose column has a value', 'Such as a column that says which rows are for testing.'],
  none: ['None', 'Then nobody can tell afterwards whether it learned or only remembers.'],
});

/** @param {Holdout} holdout */
export function holdoutKind({ source, column, split, share }) {
  if (source) return 'source';
  if (column !== undefined) return 'column';
  if (split !== undefined) return 'split';
  return share ? 'share' : 'none';
}

/** @param {Holdout} holdout */
export function describeHoldout({ share, split, source, column }) {
  if (share) return `${formatExact(Number(share) * 100)} %`;
  if (split) return `the split ${split}`;
  return source ? 'another source' : column ? 'a column' : 'none';
}

/** "12 %" or "12,5" as a share; text that is no number stays as it is. @param {string} text */
export function parsePercent(text) {
  const percent = Number(text.replace('%', '').replace(',', '.').trim());
  return text.trim() && Number.isFinite(percent) ? percent / 100 : text;
}

/** Two ways of holding nothing out are the same. @param {Holdout | undefined} holdout */
const normalize = (holdout = {}) => (holdout.share === 0 || !Object.keys(holdout).length ? {} : holdout);

/**
 * Why a held-out set cannot be used, or needs care.
 * @param {string} kind
 * @param {Holdout} holdout
 * @param {Setup['data']} sources
 * @returns {[status: string, text: string]}
 */
export function judgeHoldout(kind, { share, split, source }, sources) {
  if (kind === 'share') {
    if (typeof share !== 'number' || share < 0 || share >= 1) return ['wrong', 'Write a number from 0 to 99.'];
    if (share < 0.02 || share > 0.3) return ['careful', 'Unusual: 2 to 30 % is a safe start.'];
  }
  if (kind === 'split' && split && split === (sources[0].split ?? 'train')) {
    return ['wrong', 'The same rows would be learned and tested on. Name another split.'];
  }
  const isLearned = (/** @type {Setup['data'][number]} */ learned) =>
    learned.source === source?.source && (learned.split ?? 'train') === (source.split ?? 'train');
  if (kind === 'source' && sources.some(isLearned)) return ['wrong', 'This is what it learns from. Choose another.'];
  return ['', ''];
}

/** @param {SettingsForm} form @param {import('./mapping.js').Mapping} mapping */
export function createHoldout(form, mapping) {
  const { catalog } = form;
  const holdout = () => form.setup.holdout ?? {};
  const setHoldout = (/** @type {Holdout | undefined} */ value) =>
    form.change(setup => {
      setup.holdout = /** @type {Holdout} */ (value);
    });
  const heading = createHeading(form, {
    title: 'Kept aside for the test',
    id: 'held',
    isChanged,
    presetText: () => describeHoldout(baseHoldout() ?? {}),
    reset: () => setHoldout(structuredClone(baseHoldout())),
  });
  const kindSelect = create(
    'select',
    { id: 'held-input', onchange: () => start(kindSelect.value) },
    ...Object.entries(KINDS).map(([value, [textContent]]) => create('option', { value, textContent })),
  );
  const sentence = create('p', { className: 'says', id: 'held-says' });
  const note = create('p', { className: 'field-note', role: 'status' });
  const inputs = createInputs({ holdout, setHoldout, firstExample });

  function isChanged() {
    return !isSameJson(normalize(holdout()), normalize(baseHoldout()));
  }

  /** What the form starts from: of a person's own file, which has no test rows, a share. */
  function baseHoldout() {
    const { data } = form.setup;
    if (!isSample(form.setup) || data.length > 1) return { share: OWN_HOLDOUT_SHARE };
    return data[0].source === form.base.data[0].source ? form.base.holdout : { split: 'holdout' };
  }

  /** @param {string | undefined} name */
  function firstExample(name) {
    return mapping.preview?.columns.find(column => column.name === name)?.examples[0] ?? '';
  }

  /** Takes a way of holding out, with a first value that makes sense. @param {string} kind */
  function start(kind) {
    const column = mapping.columns.at(-1);
    const upload = form.uploads.find(({ source }) => source !== form.setup.data[0].source);
    const sample = { source: catalog.samples[0].source, split: 'holdout' };
    const holdouts = /** @type {Record<string, Holdout>} */ ({
      share: { share: OWN_HOLDOUT_SHARE },
      split: { split: isSample(form.setup) ? 'holdout' : 'test' },
      source: { source: upload ? { source: upload.source, split: 'train' } : sample },
      column: { column: column ?? 'split', value: firstExample(column) },
      none: { share: 0 },
    });
    setHoldout(holdouts[kind]);
  }

  function refresh() {
    heading.refresh();
    const { share, split, value, column, source } = holdout();
    const kind = holdoutKind(holdout());
    kindSelect.value = kind;
    sentence.textContent = KINDS[kind][1];
    for (const [name, box] of Object.entries(inputs.boxes)) box.hidden = name !== kind;
    fillUnlessFocused(
      inputs.share,
      typeof share === 'number' ? formatExact(Math.round(share * 1e4) / 100) : (share ?? ''),
    );
    fillUnlessFocused(inputs.split, split ?? '');
    fillUnlessFocused(inputs.value, value ?? '');
    fillOptions(
      inputs.column,
      [...new Set([...(column ? [column] : []), ...mapping.columns])].map(name => [name, name.slice(0, 80)]),
    );
    inputs.column.value = column ?? '';
    const examples = mapping.preview?.columns.find(({ name }) => name === column)?.examples ?? [];
    inputs.values.replaceChildren(...examples.map(text => create('option', { value: text, textContent: text })));
    fillOptions(inputs.source, sourceOptions(source?.source));
    inputs.source.value = source?.source ?? '';
    const [status, text] = judgeHoldout(kind, holdout(), form.setup.data);
    inputs.share.setAttribute('aria-invalid', String(status === 'wrong'));
    showNote(note, status, text);
  }

  /** @param {string | undefined} chosen @returns {[value: string, title: string][]} */
  function sourceOptions(chosen) {
    /** @type {[string, string][]} */
    const known = [
      ...form.uploads.map(upload => /** @type {[string, string]} */ ([upload.source, upload.name])),
      ...catalog.samples.map(({ source, title }) => /** @type {[string, string]} */ ([source, `${title} (sample)`])),
    ];
    const isKnown = !chosen || known.some(([source]) => source === chosen);
    return isKnown ? known : [[chosen, sourceName(form, chosen)], ...known];
  }

  const children = [heading.row, kindSelect, ...Object.values(inputs.boxes), sentence, note];
  return { box: create('div', { className: 'field held', id: 'held' }, ...children), refresh, isChanged };
}

/** @param {HTMLSelectElement} select @param {[value: string, title: string][]} options */
function fillOptions(select, options) {
  select.replaceChildren(...options.map(([value, textContent]) => create('option', { value, textContent })));
}

/**
 * The inputs of each kind.
 * @param {object} actions
 * @param {() => Holdout} actions.holdout
 * @param {(value: Holdout) => void} actions.setHoldout
 * @param {(column: string) => string} actions.firstExample
 */
function createInputs({ holdout, setHoldout, firstExample }) {
  const createInput = (
    /** @type {string} */ id,
    /** @type {string} */ label,
    /** @type {(text: string) => void} */ change,
  ) => {
    const input = create('input', {
      type: 'text',
      id,
      'aria-label': label,
      maxLength: 200,
      oninput: () => change(input.value),
    });
    return input;
  };
  const share = createInput('held-share', 'Share of the examples, in percent', text =>
    setHoldout({ share: parsePercent(text) }),
  );
  const split = createInput('held-split', 'Name of the split', text => setHoldout({ split: text }));
  const value = createInput('held-value', 'Value of the column', text =>
    setHoldout({ column: holdout().column, value: text }),
  );
  const takeColumn = () => setHoldout({ column: column.value, value: firstExample(column.value) });
  const column = create('select', { id: 'held-column', 'aria-label': 'Column', onchange: takeColumn });
  const takeSource = () => setHoldout({ source: { source: source.value } });
  const source = create('select', { id: 'held-source', 'aria-label': 'Source', onchange: takeSource });
  const values = create('datalist', { id: 'held-values' });
  value.setAttribute('list', values.id);
  const unit = create('span', { className: 'unit', textContent: '%', 'aria-hidden': 'true' });
  const createRow = (/** @type {HTMLElement[]} */ ...children) => create('div', { className: 'far-row' }, ...children);
  const boxes = {
    share: createRow(createLabelled('Percent', share), unit),
    split: createRow(createLabelled('Split', split)),
    source: createRow(createLabelled('Source', source)),
    column: createRow(createLabelled('Column', column), createLabelled('Has the value', value), values),
  };
  return { share, split, value, column, source, values, boxes };
}
