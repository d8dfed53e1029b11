// Which rows of a file are read, and what a table or a text cannot say of itself.

import { create, createLabelled, showNote } from './dom.js';
import { parseSettingValue } from './setting_values.js';
import { sourceName } from './source_name.js';

/** @typedef {import('./types.d.ts').Source} Source */

const ROW_NUMBER = /^[1-9]\d*$/;
const TEXT_PARTS = {
  paragraphs: 'Each paragraph is an example',
  lines: 'Each line is an example',
  whole: 'The whole text is one example',
};
const ENCODINGS = {
  '': 'UTF-8, as almost everything is',
  'windows-1252': 'Windows-1252',
  'latin-1': 'Latin-1',
};

/** Whether a row number can be used; empty is every row. @param {string} text */
export const isRowNumber = text => !text.trim() || ROW_NUMBER.test(text.trim());

/**
 * The first row as people count, from one on. Text that is no number stays as it is.
 * @param {Source['start']} start from zero on
 */
export function firstRowText(start) {
  if (start === undefined || start === null) return '';
  return String(typeof start === 'number' ? start + 1 : start);
}

/**
 * The setup's value of a typed row number.
 * @param {string} text
 * @param {number} shift -1 where the setup counts from zero on
 */
export function parseRowNumber(text, shift) {
  const value = parseSettingValue({ type: 'int' }, text);
  return typeof value === 'number' ? value + shift : value;
}

/**
 * Which options a file has, by its name and by what is set already.
 * @param {string} fileName
 * @param {Pick<Source, 'encoding' | 'headless' | 'skip_bad'>} source
 */
export function visibleOptions(fileName, { encoding, headless, skip_bad: skipsBad }) {
  const name = fileName.toLowerCase().replace(/\.gz$/, '');
  return {
    parts: /\.(txt|md)$/.test(name),
    encoding: Boolean(encoding) || /\.(txt|md|csv|tsv)$/.test(name),
    headless: Boolean(headless) || /\.(csv|tsv)$/.test(name),
    skipBad: Boolean(skipsBad),
  };
}

/** @param {import('./settings_form.js').SettingsForm} form @param {import('./mapping.js').Mapping} mapping */
export function createFileOptions(form, mapping) {
  const createRowInput = (
    /** @type {string} */ id,
    /** @type {'start' | 'limit'} */ name,
    /** @type {number} */ shift,
  ) => {
    const oninput = () => mapping.setOption(name, parseRowNumber(input.value, shift));
    const input = create('input', { type: 'text', inputMode: 'numeric', id, oninput });
    return input;
  };
  const first = createRowInput('slice-first', 'start', -1);
  const limit = createRowInput('slice-most', 'limit', 0);
  first.placeholder = '1';
  limit.placeholder = 'all of them';
  const headless = createCheckbox(
    'headless',
    'The first line is an example, not the names of the columns.',
    isChecked => mapping.setOption('headless', isChecked || undefined),
  );
  const skipBad = createCheckbox('skip-bad', 'Leave out rows that cannot be read, and count them.', isChecked =>
    mapping.setOption('skip_bad', isChecked || undefined),
  );
  const parts = createSelect('text-parts', TEXT_PARTS, value => mapping.setOption('parts', value));
  const encoding = createSelect('text-encoding', ENCODINGS, value => mapping.setOption('encoding', value || undefined));
  const note = create('p', { className: 'field-note', role: 'status' });
  const partsField = createLabelled('A text is read in parts', parts);
  const encodingField = createLabelled('Its letters are written in', encoding);
  const rows = create(
    'div',
    { className: 'far-row' },
    createLabelled('From row', first),
    createLabelled('At most', limit),
  );
  const summary = create('summary', { textContent: 'Which rows, and how they are read' });
  const fields = create('div', { className: 'far' }, rows, note, partsField, encodingField, headless.box, skipBad.box);
  const box = create('details', { className: 'which', id: 'slice-box' }, summary, fields);

  function refresh() {
    const { source } = mapping;
    if (document.activeElement !== first) first.value = firstRowText(source.start);
    if (document.activeElement !== limit) limit.value = String(source.limit ?? '');
    const invalid = [first, limit].find(input => !isRowNumber(input.value));
    for (const input of [first, limit]) input.setAttribute('aria-invalid', String(input === invalid));
    showNote(note, invalid ? 'wrong' : '', invalid ? 'Write a whole number from 1 on, or nothing.' : '');
    const isVisible = visibleOptions(sourceName(form, source.source), source);
    partsField.hidden = !isVisible.parts;
    encodingField.hidden = !isVisible.encoding;
    headless.box.hidden = !isVisible.headless;
    skipBad.box.hidden = !isVisible.skipBad;
    parts.value = source.parts ?? 'paragraphs';
    encoding.value = source.encoding ?? '';
    headless.input.checked = Boolean(source.headless);
    skipBad.input.checked = Boolean(source.skip_bad);
  }

  return { box, refresh };
}

/** @param {string} id @param {string} text @param {(isChecked: boolean) => void} onChange */
function createCheckbox(id, text, onChange) {
  const input = create('input', { type: 'checkbox', id, onchange: () => onChange(input.checked) });
  const label = create('span', { textContent: text });
  return { input, box: create('label', { className: 'tick', htmlFor: id }, input, label) };
}

/** @param {string} id @param {Record<string, string>} titles by value @param {(value: string) => void} onChange */
function createSelect(id, titles, onChange) {
  const options = Object.entries(titles).map(([value, textContent]) => create('option', { value, textContent }));
  const select = create('select', { id, onchange: () => onChange(select.value) }, ...options);
  return select;
}
