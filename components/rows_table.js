// The first rows as the file has them. Under each column's name a list says which part it is.

import { create, showNote } from './dom.js';
import { formatExact } from './format.js';

/** @typedef {import('./mapping.js').Mapping} Mapping */
/** @typedef {import('./types.d.ts').SourcePreview} SourcePreview */

const FOLDED_LENGTH = 140; // characters; a longer cell is folded

/** @param {Mapping} mapping */
export function createRowsTable(mapping) {
  const caption = create('caption');
  const headRow = create('tr');
  const body = create('tbody');
  const table = create('table', { className: 'rows' }, caption, create('thead', {}, headRow), body);
  const label = 'The first rows, as the file has them';
  const scroll = create('div', { className: 'scroll', tabIndex: 0, role: 'region', 'aria-label': label }, table);
  const note = create('p', { className: 'field-note', role: 'status' });
  const box = create('div', { className: 'first-rows' }, scroll, note);
  let drawnKey = '';
  /** @type {ReturnType<typeof createColumnHead>[]} */
  let heads = [];

  function refresh() {
    const { preview } = mapping;
    if (!preview) return;
    const key = JSON.stringify([preview.columns, preview.cells, preview.numbers]);
    if (key !== drawnKey) draw(preview);
    drawnKey = key;
    const layoutsKey = JSON.stringify([mapping.layout, mapping.layouts]);
    for (const head of heads) head.refresh(layoutsKey);
  }

  /** @param {SourcePreview} preview */
  function draw({ rows, columns, cells, numbers }) {
    const total = rows === null ? '' : ` of ${formatExact(rows)}`;
    const count = `The first ${cells.length}${total} rows`;
    caption.textContent = `${count}, as the file has them. Say under a column’s name what it is.`;
    heads = columns.map((column, index) => createColumnHead(mapping, column, index, choosePart));
    const corner = create(
      'th',
      { scope: 'col', className: 'number' },
      create('span', { className: 'unseen', textContent: 'Row' }),
    );
    headRow.replaceChildren(corner, ...heads.map(head => head.box));
    body.replaceChildren(...cells.map((texts, index) => createRow(numbers[index], texts)));
    showNote(note, '', '');
  }

  /** @param {string} column @param {string} choice "LAYOUT:PART", or empty for a column that is not used */
  function choosePart(column, choice) {
    showNote(note, '', '');
    const [layout, part] = choice.split(':');
    if (part) return mapping.assign(part, column, layout);
    const current = mapping.partsOf(mapping.layout).find(candidate => mapping.columnOf(candidate) === column);
    if (!current || !mapping.layout) return;
    const { layouts, columns } = mapping.form.catalog;
    if (!layouts[mapping.layout].needs.includes(current)) return mapping.leaveOut(current);
    if (mapping.recognisedColumn(current) !== column) return mapping.resetPart(current);
    showNote(note, 'careful', `“${columns[current].title}” is needed. Give it another column, and this one is free.`);
    refresh();
  }

  return { box, refresh };
}

/**
 * A column's name with the list of what it may be. A click anywhere on it opens the list.
 * @param {Mapping} mapping
 * @param {SourcePreview['columns'][number]} column
 * @param {number} index
 * @param {(column: string, choice: string) => void} choosePart
 */
function createColumnHead(mapping, { name, type, empty }, index, choosePart) {
  const label = `What the column ${name.slice(0, 80)} is`;
  const onchange = () => choosePart(name, select.value);
  const select = create('select', { id: `column-${index}`, 'aria-label': label, onchange });
  const title = create('span', { className: 'column-name', textContent: name.slice(0, 80), title: name.slice(0, 400) });
  const kind = create('small', { textContent: empty ? `${type} · ${formatExact(empty)} empty` : type });
  const box = create('th', { scope: 'col' }, title, kind, select);
  let drawnKey = '';

  box.addEventListener('click', ({ target }) => {
    if (target === select) return;
    select.focus();
    select.showPicker?.();
  });

  /** @param {string} layoutsKey */
  function refresh(layoutsKey) {
    if (layoutsKey !== drawnKey) select.replaceChildren(...createPartOptions(mapping));
    drawnKey = layoutsKey;
    const part = mapping.partsOf(mapping.layout).find(candidate => mapping.columnOf(candidate) === name);
    select.value = part ? `${mapping.layout}:${part}` : '';
    box.classList.toggle('used', Boolean(part));
    box.classList.toggle('mine', Boolean(part && mapping.isPartChanged(part)));
  }

  return { box, refresh };
}

/** The parts of this layout, then what makes rows another one, also for another method. @param {Mapping} mapping */
function createPartOptions(mapping) {
  const { layouts, columns } = mapping.form.catalog;
  const titles = new Set(); // offered already: the same part of another layout is not offered twice
  const createOption = (/** @type {string} */ layout, /** @type {string} */ part) => {
    titles.add(columns[part].title);
    return create('option', { value: `${layout}:${part}`, textContent: columns[part].title });
  };
  const { layout } = mapping;
  const groups = layout
    ? [
        create(
          'optgroup',
          { label: layouts[layout].title },
          ...mapping.partsOf(layout).map(part => createOption(layout, part)),
        ),
      ]
    : [];
  for (const other of mapping.otherLayouts) {
    const parts = layouts[other].needs.filter(part => !titles.has(columns[part].title));
    const label = `Read as ${layouts[other].title.toLowerCase()}`;
    if (parts.length) groups.push(create('optgroup', { label }, ...parts.map(part => createOption(other, part))));
  }
  return [create('option', { value: '', textContent: 'not used' }), ...groups];
}

/** @param {number} number @param {string[]} texts */
function createRow(number, texts) {
  const heading = create('th', { scope: 'row', className: 'number', textContent: formatExact(number) });
  return create('tr', {}, heading, ...texts.map(createCell));
}

/** A long text is folded to its first lines. @param {string} text */
function createCell(text) {
  if (!text) return create('td', {}, create('span', { className: 'hole', textContent: 'empty' }));
  const content = create('div', { className: 'cell', textContent: text });
  if (text.length <= FOLDED_LENGTH) return create('td', {}, content);
  content.classList.add('folded');
  const onclick = () => {
    const isOpen = !content.classList.toggle('folded');
    button.textContent = isOpen ? 'Less' : 'More';
    button.setAttribute('aria-expanded', String(isOpen));
  };
  const button = create('button', {
    type: 'button',
    className: 'back',
    textContent: 'More',
    'aria-expanded': 'false',
    onclick,
  });
  return create('td', {}, content, button);
}
