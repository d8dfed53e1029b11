// One setting in the form: what it does, its safe range, a mark where it differs from the preset, and the way back.

import { create, query, showNote } from './dom.js';
import { formatChoice, formatExact } from './format.js';
import { createModelSetting } from './model_search.js';
import {
  describeSetting,
  describeSettingValue,
  inputText,
  isMultiline,
  judgeColumn,
  judgeSettingValue,
  lookupName,
  parseSettingValue,
  usualValue,
} from './setting_values.js';

/** @typedef {import('./types.d.ts').SettingDeclaration} SettingDeclaration */
/** @typedef {import('./settings_form.js').SettingsForm} SettingsForm */

/**
 * How a declared setting reads and writes its place in the setup.
 * @typedef {object} Binding
 * @property {boolean} isMarked it is compared with the preset by itself
 * @property {() => any} get
 * @property {(value: unknown) => void} set
 * @property {() => void} reset to the preset's value
 * @property {() => boolean} isChanged
 * @property {() => string} presetText the preset's value in words
 * @property {() => [number, number] | null} safe range
 * @property {() => number | undefined} usual value for this method and model
 * @property {() => [status: string, text: string] | null} note said where the value itself gives no reason for one
 */

/**
 * @typedef {object} Heading
 * @property {string} title
 * @property {string} id
 * @property {boolean} [isGroup] a heading of several inputs, not the label of one
 * @property {boolean} [isBelow] the mark is put elsewhere by the caller
 * @property {() => boolean} isChanged
 * @property {() => string} presetText
 * @property {() => void} reset
 */

const MAX_CHOICES = 5; // more are explained on request

/**
 * A heading that says when its setting differs from the preset, with a button that resets it. The mark has its place
 * from the beginning, so that nothing moves.
 * @param {SettingsForm} form
 * @param {Heading} heading
 */
export function createHeading(form, { title, id, isGroup, isBelow, isChanged, presetText, reset }) {
  const {
    box: changedMark,
    mark,
    button,
  } = createChangedMark(() => {
    reset();
    form.focus(id);
  });
  const label = isGroup
    ? create('h2', { id: `${id}-name`, textContent: title })
    : create('label', { htmlFor: `${id}-input`, textContent: title });
  const row = create('div', { className: 'field-head' }, label, isBelow ? null : changedMark);
  const refresh = () => {
    const isDifferent = isChanged();
    row.classList.toggle('changed', isDifferent);
    button.textContent = isDifferent ? `Back to ${presetText()}` : '';
    button.setAttribute('aria-label', isDifferent ? `${title}: back to ${presetText()}` : '');
    mark.hidden = button.hidden = !isDifferent;
  };
  return { row, changedMark, refresh };
}

/** The mark of a changed setting and the button that resets it. @param {() => void} onclick */
export function createChangedMark(onclick) {
  const mark = create('span', { className: 'mark-changed', textContent: '● changed' });
  const button = create('button', { type: 'button', className: 'back', onclick });
  return { box: create('span', { className: 'differs' }, mark, button), mark, button };
}

/**
 * One declared setting.
 * @param {SettingDeclaration & {id: string}} declaration
 * @param {Binding} binding
 * @param {SettingsForm} form
 */
export function createField(declaration, binding, form) {
  const { id, title, picks } = declaration;
  const isWide = isMultiline(declaration) || declaration.name === 'title';
  const { isChanged, presetText, reset } = binding;
  const heading = createHeading(form, { title, id, isBelow: !isWide, isChanged, presetText, reset });
  const sentence = create('p', { className: 'says', id: `${id}-says` });
  const note = create('p', { className: 'field-note', id: `${id}-note`, role: 'status' });
  const control = picks === 'model' ? createModelSetting(id, binding, form) : createControl(declaration, binding);
  const { input } = control;
  const mendButton = create('button', { type: 'button', className: 'back', hidden: true });
  const columns = picks === 'column' ? create('datalist', { id: `${id}-columns` }) : null;
  input.id = `${id}-input`;
  input.setAttribute('aria-describedby', `${id}-says ${id}-note ${id}-called`);
  query(heading.row, 'label').title = lookupName(declaration);
  heading.row.append(create('span', { className: 'unseen', id: `${id}-called`, textContent: lookupName(declaration) }));
  if (columns) input.setAttribute('list', columns.id);

  function refresh() {
    const value = binding.get();
    const safe = binding.safe();
    heading.refresh();
    sentence.textContent = describeSetting(declaration, safe);
    fillInput(declaration, input, value);
    columns?.replaceChildren(...form.columns.map(name => create('option', { value: name })));
    const [status, text] = judgeSettingValue(declaration, value, safe) ??
      judgeColumn(declaration, value, form.columns) ??
      binding.note() ?? ['', ''];
    showNote(note, status, text);
    const usual = status === 'careful' && safe ? usualValue(value, safe, binding.usual()) : undefined;
    mendButton.hidden = usual === undefined;
    mendButton.textContent = usual === undefined ? '' : `Make it ${formatExact(usual)}`;
    mendButton.setAttribute('aria-label', `${declaration.title}: ${mendButton.textContent}`);
    mendButton.onclick = () => {
      binding.set(usual);
      form.focus(id);
    };
    input.setAttribute('aria-invalid', String(status === 'wrong'));
    control.refresh?.();
  }

  const mark = isWide || !binding.isMarked ? null : heading.changedMark;
  const children = [
    heading.row,
    sentence,
    control.box ?? input,
    columns,
    note,
    mendButton,
    createExplanation(declaration),
    mark,
  ];
  const className = isWide ? 'field wide' : 'field';
  return {
    box: create('div', { className, id }, ...children),
    refresh,
    isChanged,
    valueText: () => describeSettingValue(declaration, binding.get()),
  };
}

/** What each of many choices does, beside the sentence of the chosen one. @param {SettingDeclaration} declaration */
function createExplanation({ type, choices = {} }) {
  const names = Object.keys(choices);
  if (type !== 'choice' || names.length <= MAX_CHOICES) return null;
  const lines = Object.entries(choices).flatMap(([name, text]) => [
    create('dt', { textContent: formatChoice(name), title: name }),
    create('dd', { textContent: text }),
  ]);
  const summary = create('summary', { textContent: `All ${names.length} explained` });
  return create('details', { className: 'explained' }, summary, create('dl', {}, ...lines));
}

/** @typedef {HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement} Input */
/** @typedef {{input: Input, box?: HTMLElement, refresh?: () => void}} Control */

/** @param {SettingDeclaration} declaration @param {Binding} binding @returns {Control} */
function createControl(declaration, binding) {
  const { type, name, picks, numeric, choices = {} } = declaration;
  if (type === 'choice') {
    const options = Object.keys(choices).map(value =>
      create('option', { value, textContent: formatChoice(value), title: value }),
    );
    const onchange = () => binding.set(numeric ? Number(select.value) : select.value);
    const select = create('select', { onchange }, ...options);
    return { input: select };
  }
  if (type === 'bool') {
    const checkbox = create('input', { type: 'checkbox', onchange: () => binding.set(checkbox.checked) });
    return { input: checkbox };
  }
  const oninput = () => binding.set(parseSettingValue(declaration, input.value));
  const isNumber = type === 'int' || type === 'float';
  const input = isMultiline(declaration)
    ? create('textarea', { rows: name === 'prompts' ? 4 : 2, spellcheck: picks !== 'program', oninput })
    : create('input', {
        type: 'text',
        autocomplete: 'off',
        maxLength: 200,
        inputMode: isNumber ? 'decimal' : 'text',
        oninput,
      });
  return { input };
}

/** @param {SettingDeclaration} declaration @param {Control['input']} input @param {unknown} value */
function fillInput(declaration, input, value) {
  if (declaration.type === 'bool' && input instanceof HTMLInputElement) {
    input.checked = Boolean(value);
    return;
  }
  const text = inputText(declaration, value);
  if (!(input instanceof HTMLSelectElement)) input.placeholder = declaration.placeholder?.() ?? '';
  // Not while somebody is typing just this: "0." is on its way to 0.5.
  const isTyped = JSON.stringify(parseSettingValue(declaration, input.value)) === JSON.stringify(value);
  if (input.value !== text && !(isTyped && document.activeElement === input)) input.value = text;
  if (input instanceof HTMLSelectElement) input.title = text; // the choice as files and papers write it
}

/** Fills an input unless the person is in it. @param {HTMLInputElement} input @param {unknown} value */
export function fillUnlessFocused(input, value) {
  if (document.activeElement !== input && input.value !== String(value)) input.value = String(value);
}
