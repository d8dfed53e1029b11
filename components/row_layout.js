// The layout as which rows are read: what was recognised and why, the other possibilities, and each part with its
// column.

import { create, createCodeSpans } from './dom.js';
import { createChangedMark } from './fields.js';
import { applyChanges } from './setup_paths.js';

/** @typedef {import('./mapping.js').Mapping} Mapping */
/** @typedef {import('./types.d.ts').SourcePreview} SourcePreview */
/** @typedef {import('./types.d.ts').Finding} Finding */
/** @typedef {import('./types.d.ts').Remedy} Remedy */

const CERTAINTY = /** @type {Record<string, string>} */ ({
  sure: 'sure',
  likely: 'likely',
  possible: 'a guess',
  none: '',
});
const SEVERITY_WORDS = /** @type {Record<string, string>} */ ({
  good: 'Good',
  careful: 'Careful',
  wrong: 'Wrong',
  info: 'Note',
});
const TEMPLATE_OPTION = '\u0000several'; // in a list of columns: a text made of several
const COLUMN_BUTTONS = 20;

/** What was recognised, why, how sure that is, and the other possibilities one click away. @param {Mapping} mapping */
export function createRowLayout(mapping) {
  const { form } = mapping;
  const sentence = create('p', { className: 'reading' });
  const alternatives = create('p', { className: 'others' });
  const findings = create('ul', { className: 'notice', 'aria-label': 'What was found in the first rows' });
  const { mark, button } = createChangedMark(() => mapping.resetAll());
  button.textContent = 'Back to what was recognised';
  const changed = create('p', { className: 'differs' }, mark, button);
  const box = create('div', { className: 'read-as' }, sentence, changed, alternatives, findings);

  function refresh() {
    const { preview } = mapping;
    if (!preview) return;
    const { others } = preview.now;
    sentence.replaceChildren(...describeRecognition(preview, form.method.title));
    changed.hidden = !mapping.isChanged;
    const buttons = others.flatMap(({ layout, title, because, mapping: columns }, index) => {
      const onclick = () => mapping.readAs(layout, columns);
      return [
        index ? ' · ' : '',
        create('button', { type: 'button', className: 'back', textContent: title, title: because, onclick }),
      ];
    });
    alternatives.replaceChildren(...(others.length ? ['Or read it as: ', ...buttons] : []));
    alternatives.hidden = !others.length;
    const visible = [...findHeadlessTable(preview), ...preview.now.findings.filter(({ id }) => id !== 'nothing')];
    findings.replaceChildren(...visible.map(finding => createFinding(finding, mend)));
    findings.hidden = !visible.length;
  }

  /** @param {Remedy} remedy */
  function mend(remedy) {
    const before = form.state;
    form.change(setup => applyChanges(setup, remedy.changes));
    const isOtherLayout = Object.keys(remedy.changes).some(path => path.endsWith('.layout'));
    mapping.look(isOtherLayout, before); // which may need another method
  }

  // A table without a line of names loses its first example, and its columns are called by what stands in it.
  /** @param {SourcePreview} preview @returns {Pick<Finding, 'severity' | 'text' | 'remedy'>[]} */
  function findHeadlessTable({ headless }) {
    if (!headless || mapping.source.headless) return [];
    return [
      {
        severity: 'careful',
        text: 'The first line was taken for the names of the columns, and it looks like an example.',
        remedy: { title: 'It is an example', changes: { [`data.${mapping.index}.headless`]: true } },
      },
    ];
  }

  return { box, refresh };
}

/** @param {SourcePreview} preview @param {string} methodTitle */
function describeRecognition({ now, fits }, methodTitle) {
  if (!now.layout) {
    const nothing = create('strong', { textContent: 'Nothing tells yet how to read these rows.' });
    return [nothing, ' Say under the columns which is which.'];
  }
  const certainty = CERTAINTY[now.certainty];
  return [
    create('span', { textContent: fits && now.certainty !== 'possible' ? 'We read this as: ' : 'This looks like: ' }),
    create('strong', { textContent: now.title }),
    ', ',
    ...createCodeSpans(now.because),
    '.',
    ...(certainty ? [' ', create('span', { className: 'tag', textContent: certainty })] : []),
    ...(fits ? [] : [` “${methodTitle}” does not learn from that as it is.`]),
  ];
}

/**
 * A finding with its severity in words, and the button that mends it.
 * @param {Pick<Finding, 'severity' | 'text' | 'remedy'>} finding
 * @param {(remedy: Remedy) => void} mend
 */
function createFinding({ severity, text, remedy }, mend) {
  const sign = create('span', { className: 'unseen', textContent: `${SEVERITY_WORDS[severity] ?? 'Note'}: ` });
  const item = create('li', { className: severity }, sign, ...createCodeSpans(text));
  if (!remedy) return item;
  const button = create('button', {
    type: 'button',
    className: 'back',
    textContent: remedy.title,
    onclick: () => mend(remedy),
  });
  item.append(' ', button);
  return item;
}

// -- the parts of a layout --------------------------------------------------------------------------------------------

/** Each part of the layout with its column, or with the text that is made of several. @param {Mapping} mapping */
export function createParts(mapping) {
  const { layouts } = mapping.form.catalog;
  const select = create('select', { id: 'map-kind', onchange: () => mapping.readAs(select.value || null) });
  const label = create('label', { htmlFor: 'map-kind', textContent: 'The file holds' });
  const rows = create('div');
  const summary = create('summary', { textContent: 'Which column is which' });
  const box = create(
    'details',
    { className: 'which' },
    summary,
    create('div', { className: 'mapped' }, label, select),
    rows,
  );
  let drawnKey = '';
  /** @type {ReturnType<typeof createPart>[]} */
  let parts = [];
  let wasOpened = false;

  function refresh() {
    const { layout } = mapping;
    const key = JSON.stringify([layout, mapping.layouts, mapping.columns]);
    if (key !== drawnKey) {
      select.replaceChildren(
        create('option', { value: '', textContent: 'What was recognised' }),
        ...createLayoutGroups(),
      );
      parts = layout ? mapping.partsOf(layout).map(part => createPart(mapping, layout, part)) : [];
      rows.replaceChildren(...parts.map(part => part.box));
    }
    drawnKey = key;
    select.value = mapping.source.layout ?? '';
    for (const part of parts) part.refresh();
    const { now, fits } = mapping.preview ?? {};
    const isUndecided = !now?.layout || now.certainty === 'possible' || !fits; // a person has to say
    if (!wasOpened && isUndecided) box.open = wasOpened = true;
  }

  // Layouts of other methods come last: with them the method changes.
  function createLayoutGroups() {
    const others = Object.keys(layouts).filter(name => !mapping.layouts.includes(name));
    const createGroup = (/** @type {string} */ groupTitle, /** @type {string[]} */ names) => {
      const options = names.map(name => create('option', { value: name, textContent: layouts[name].title }));
      return create('optgroup', { label: groupTitle }, ...options);
    };
    return [
      createGroup(`For “${mapping.form.method.title}”`, mapping.layouts),
      createGroup('For other lessons', others),
    ];
  }

  return { box, refresh };
}

/** @param {Mapping} mapping @param {string} layout @param {string} part */
function createPart(mapping, layout, part) {
  const { catalog } = mapping.form;
  const isNeeded = catalog.layouts[layout].needs.includes(part);
  const { title } = catalog.columns[part];
  const { select, noneOption } = createColumnSelect(mapping, part, isNeeded, choose);
  const { text, box: templateBox } = createTemplateInput(mapping, part, title);
  const sentence = create('p', { className: 'says' });
  const { mark, button } = createChangedMark(() => {
    mapping.resetPart(part);
    select.focus();
  });
  const changed = create('p', { className: 'differs' }, mark, button);
  const label = create('label', { htmlFor: select.id, textContent: title });
  const box = create('div', { className: 'mapped' }, label, select, sentence, templateBox, changed);

  function choose() {
    if (select.value === TEMPLATE_OPTION) {
      const column = mapping.columnOf(part);
      mapping.writeTemplate(part, column ? `{${column}}` : '');
      text.focus();
    } else if (select.value) mapping.assign(part, select.value);
    else if (!isNeeded) mapping.leaveOut(part);
  }

  // An empty template is a part that was left out, unless somebody is writing it just now.
  function usesTemplate() {
    const template = mapping.source.templates?.[part];
    if (template === undefined) return false;
    const isWriting =
      document.activeElement === text || (document.activeElement === select && select.value === TEMPLATE_OPTION);
    return template !== '' || isNeeded || isWriting;
  }

  function refresh() {
    const column = mapping.columnOf(part);
    const recognised = mapping.recognisedColumn(part);
    const hasTemplate = usesTemplate();
    noneOption.disabled = isNeeded && Boolean(column);
    select.value = hasTemplate ? TEMPLATE_OPTION : mapping.columns.includes(column) ? column : '';
    templateBox.hidden = !hasTemplate;
    const template = mapping.source.templates?.[part] ?? '';
    if (hasTemplate && text.value !== template) text.value = template;
    sentence.textContent = hasTemplate
      ? 'Words of your own, with {column} where what stands in a column goes.'
      : describeColumn();
    changed.hidden = !recognised || !mapping.isPartChanged(part);
    button.textContent = recognised ? `Back to “${recognised.slice(0, 60)}”` : '';
    button.setAttribute('aria-label', `${title}: back to “${recognised.slice(0, 60)}”`);
  }

  function describeColumn() {
    const column = mapping.columnOf(part);
    const example = mapping.preview?.columns.find(({ name }) => name === column)?.example;
    if (!example) return isNeeded ? 'Needed.' : '';
    const origin = column && column === mapping.recognisedColumn(part) ? 'Recognised by its name: ' : '';
    return `${origin}“${example}”`;
  }

  return { box, refresh };
}

/** @param {Mapping} mapping @param {string} part @param {boolean} isNeeded @param {() => void} onchange */
function createColumnSelect(mapping, part, isNeeded, onchange) {
  const noneOption = create('option', { value: '', textContent: isNeeded ? 'choose one' : 'none' });
  const columns = mapping.columns.map(name => create('option', { value: name, textContent: name.slice(0, 80) }));
  const templateOption = create('option', { value: TEMPLATE_OPTION, textContent: 'A text made of several columns …' });
  const select = create('select', { id: `map-${part}`, onchange }, noneOption, ...columns, templateOption);
  return { select, noneOption };
}

/** @param {Mapping} mapping @param {string} part @param {string} title */
function createTemplateInput(mapping, part, title) {
  const text = create('textarea', {
    id: `map-${part}-text`,
    rows: 3,
    spellcheck: false,
    'aria-label': `${title}: a text with {column} where a column’s words go`,
    oninput: () => mapping.writeTemplate(part, text.value),
  });
  const insert = (/** @type {string} */ field) => {
    text.setRangeText(field, text.selectionStart, text.selectionEnd, 'end');
    text.focus();
    mapping.writeTemplate(part, text.value);
  };
  const buttons = mapping.columns.slice(0, COLUMN_BUTTONS).map(name => {
    const textContent = `{${name.slice(0, 40)}}`;
    return create('button', { type: 'button', className: 'chip', textContent, onclick: () => insert(`{${name}}`) });
  });
  const chips = create('p', { className: 'chips' }, 'Put in: ', ...buttons);
  return { text, box: create('div', { className: 'several' }, text, chips) };
}
