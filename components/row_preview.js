// What the first row becomes as the method reads it, and who speaks in the rows.

import { create, createCodeSpans } from './dom.js';
import { createChangedMark } from './fields.js';
import { formatExact } from './format.js';
import { setChoice } from './mapping_values.js';

/** @typedef {import('./mapping.js').Mapping} Mapping */
/** @typedef {import('./types.d.ts').SourcePreview} SourcePreview */
/** @typedef {SourcePreview['now']['speakers'][number]} Speaker */
/** @typedef {{role_or_mask?: string, text: string}} Turn */

/** @param {Mapping} mapping */
export function createFirstRow(mapping) {
  const box = create('div', { className: 'becomes', role: 'status' });
  let drawnKey = '';

  function refresh() {
    const { preview } = mapping;
    if (!preview) return;
    const { layout, certainty } = preview.now;
    const isUndecided = (!layout || certainty === 'possible') && !mapping.isChanged; // nothing is decided yet that could be wrong
    const result = isUndecided ? {} : preview.first_example;
    const key = JSON.stringify(result);
    if (key === drawnKey) return;
    drawnKey = key;
    box.replaceChildren(...createResult(result, (Number(mapping.source.start) || 0) + 1));
  }

  return { box, refresh };
}

/** @param {SourcePreview['first_example']} result @param {number} rowNumber */
function createResult({ columns, why }, rowNumber) {
  const failure = why && create('p', { className: 'field-note wrong' }, ...createCodeSpans(why));
  if (!columns) return failure ? [create('h3', { textContent: 'What a row becomes' }), failure] : [];
  const list = columns.flatMap(({ title, messages: turns }) => [
    create('dt', { textContent: title }),
    create('dd', {}, ...turns.map(turn => createTurn(turn, turns.length > 1))),
  ]);
  return [create('h3', { textContent: `What row ${formatExact(rowNumber)} becomes` }), create('dl', {}, ...list)];
}

/** @param {Turn} turn @param {boolean} isConversation */
function createTurn({ role_or_mask: role, text }, isConversation) {
  const isNamed = (role && isConversation) || role === 'system';
  return create('p', {}, isNamed ? create('span', { className: 'who', textContent: role }) : null, text);
}

/** Who speaks in the rows, under which name, and which role that is. @param {Mapping} mapping */
export function createSpeakers(mapping) {
  const body = create('tbody');
  const titles = ['Name in the rows', 'Turns', 'Is the'];
  const headings = titles.map(textContent => create('th', { scope: 'col', textContent }));
  const table = create('table', { className: 'speakers' }, create('thead', {}, create('tr', {}, ...headings)), body);
  const explanation = 'The model learns what the assistant says. Everybody else is only read.';
  const box = create(
    'details',
    { className: 'which' },
    create('summary', { textContent: 'Who speaks' }),
    create('p', { className: 'says', textContent: explanation }),
    table,
  );
  let drawnKey = '';
  /** @type {ReturnType<typeof createSpeaker>[]} */
  let rows = [];

  function refresh() {
    const speakers = mapping.preview?.now.speakers ?? [];
    const key = JSON.stringify([
      mapping.index,
      mapping.source.source,
      speakers.map(({ name, turns }) => [name, turns]),
    ]);
    box.hidden = !speakers.length;
    if (key !== drawnKey) {
      rows = speakers.map((speaker, index) => createSpeaker(mapping, speaker, index));
      body.replaceChildren(...rows.map(row => row.box));
    }
    drawnKey = key;
    for (const row of rows) row.refresh();
    if (speakers.some(({ role }) => !role)) box.open = true;
  }

  return { box, refresh };
}

/** @param {Mapping} mapping @param {Speaker} speaker @param {number} index */
function createSpeaker(mapping, { name, turns }, index) {
  const recognised = mapping.preview?.guess.speakers?.find(speaker => speaker.name === name)?.role ?? '';
  const select = create(
    'select',
    { id: `speaker-${mapping.index}-${index}`, 'aria-label': `Who ${name} is`, onchange: () => setRole(select.value) },
    create('option', { value: '', textContent: 'nobody knows', disabled: true }),
    ...mapping.form.catalog.roles.map(role => create('option', { value: role, textContent: role })),
  );
  const { box: changed, button } = createChangedMark(() => setRole(''));
  button.textContent = recognised ? `Back to ${recognised}` : 'Back';

  /** @param {string} role */
  function setRole(role) {
    mapping.edit(source => setChoice(source, 'roles', name, role, recognised));
    mapping.look(false);
  }

  function refresh() {
    const chosen = mapping.source.roles?.[name];
    select.value = chosen ?? recognised;
    changed.hidden = !chosen;
  }

  const cells = [create('td', { textContent: formatExact(turns) }), create('td', {}, select, changed)];
  return { box: create('tr', {}, create('th', { scope: 'row', textContent: name }), ...cells), refresh };
}
