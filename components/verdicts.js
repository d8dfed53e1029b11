// What the verdicts in the rows say: which words, numbers or stars are good, which bad, and which are left out.

import { create } from './dom.js';
import { createChangedMark } from './fields.js';
import { formatExact } from './format.js';
import { setChoice } from './mapping_values.js';

/** @typedef {import('./mapping.js').Mapping} Mapping */
/** @typedef {import('./types.d.ts').SourcePreview} SourcePreview */
/** @typedef {SourcePreview['now']['verdicts'][number]} Verdict */

const COMPARISONS = /** @type {const} */ ([
  ['>=', (/** @type {string} */ bound) => `${bound} and more`],
  ['<=', (/** @type {string} */ bound) => `${bound} and less`],
  ['>', (/** @type {string} */ bound) => `above ${bound}`],
  ['<', (/** @type {string} */ bound) => `below ${bound}`],
]);

/** A verdict in words: `>=0.7` is “0.7 and more”. @param {string} text */
export function describeVerdict(text) {
  const comparison = COMPARISONS.find(([sign]) => text.startsWith(sign) && text.length > sign.length);
  return comparison ? comparison[1](text.slice(comparison[0].length).trim()) : text;
}

const SENTENCES = /** @type {Record<string, string>} */ ({
  answers: 'What is good is learned, what is bad is unlearned. Rows that are left out are not used.',
  steps: 'A step that is not judged is only read: the model learns nothing from it being right or wrong.',
  pairs: 'The model learns to prefer the better answer. Rows that are left out are not used.',
});

/** Each verdict with how often it stands there, and what it says. @param {Mapping} mapping */
export function createVerdicts(mapping) {
  const body = create('tbody');
  const titles = ['Verdict in the rows', 'How often', 'Says'];
  const headings = titles.map(textContent => create('th', { scope: 'col', textContent }));
  const table = create('table', { className: 'speakers' }, create('thead', {}, create('tr', {}, ...headings)), body);
  const sentence = create('p', { className: 'says' });
  const summary = create('summary', { textContent: 'What the verdicts say' });
  const box = create('details', { className: 'which' }, summary, sentence, table);
  let drawnKey = '';
  /** @type {ReturnType<typeof createVerdict>[]} */
  let rows = [];
  let openedSource = ''; // it opens by itself once for each source

  function refresh() {
    const { verdicts = [], verdict_choices: choices = {} } = mapping.preview?.now ?? {};
    const key = JSON.stringify([
      mapping.index,
      mapping.source.source,
      verdicts.map(({ text, count }) => [text, count]),
      choices,
    ]);
    box.hidden = !verdicts.length;
    if (key !== drawnKey) {
      sentence.textContent = SENTENCES['first' in choices ? 'pairs' : choices.good === 'right' ? 'steps' : 'answers'];
      rows = verdicts.map((verdict, index) => createVerdict(mapping, verdict, choices, index));
      body.replaceChildren(...rows.map(row => row.box));
    }
    drawnKey = key;
    for (const row of rows) row.refresh();
    const { source } = mapping.source;
    if (openedSource !== source && verdicts.some(({ choice }) => !choice)) {
      openedSource = source;
      box.open = true;
    }
  }

  return { box, refresh };
}

/** @param {Mapping} mapping @param {Verdict} verdict @param {Record<string, string>} choices @param {number} index */
function createVerdict(mapping, { text, count }, choices, index) {
  const shown = describeVerdict(text);
  const recognised = mapping.preview?.guess.verdicts?.find(verdict => verdict.text === text)?.choice ?? '';
  const select = create(
    'select',
    {
      id: `verdict-${mapping.index}-${index}`,
      'aria-label': `What ${shown} says`,
      onchange: () => choose(select.value),
    },
    create('option', { value: '', textContent: 'not decided yet', disabled: true }),
    ...Object.entries(choices).map(([value, textContent]) => create('option', { value, textContent })),
  );
  const { box: changed, button } = createChangedMark(() => choose(''));
  button.textContent = recognised ? `Back to ${choices[recognised]}` : 'Back';

  /** @param {string} choice */
  function choose(choice) {
    mapping.edit(source => setChoice(source, 'labels', text, choice, recognised));
    mapping.look(false);
  }

  function refresh() {
    const now = mapping.preview?.now.verdicts.find(verdict => verdict.text === text)?.choice;
    select.value = mapping.source.labels?.[text] ?? now ?? recognised;
    changed.hidden = !mapping.source.labels?.[text];
  }

  const cells = [create('td', { textContent: formatExact(count) }), create('td', {}, select, changed)];
  return { box: create('tr', {}, create('th', { scope: 'row', textContent: shown }), ...cells), refresh };
}
