// The mapping of a source's columns to the parts of its layout.

import { withoutKey } from './setup_paths.js';

export const USUAL_LAYOUTS = ['pair', 'messages', 'preference', 'text', 'question']; // where nothing is recognised
const PROMPT_WORDS = 4; // of a plain text, whose beginning is a question to watch

/**
 * A mapping without parts whose column has the part's own name, which need none.
 * @param {Record<string, string>} mapping
 */
export const trimMapping = mapping =>
  Object.fromEntries(Object.entries(mapping).filter(([part, column]) => column && part !== column));

/**
 * Removes the template of a part.
 * @param {import('./types.d.ts').Source} source changed in place
 * @param {string} part
 */
export function removeTemplate(source, part) {
  const templates = withoutKey(source.templates, part);
  if (Object.keys(templates).length) source.templates = templates;
  else delete source.templates;
}

/**
 * All layouts but one: those of the method first, then those with the fewest parts that this one lacks, the usual ones first.
 * @param {import('./types.d.ts').Catalog['layouts']} layouts
 * @param {string | null} layout
 * @param {string[]} methodLayouts
 */
export function sortOtherLayouts(layouts, layout, methodLayouts) {
  const parts = layout ? [...layouts[layout].needs, ...layouts[layout].may] : [];
  const rank = (/** @type {string} */ name) =>
    100 * Number(!methodLayouts.includes(name)) +
    layouts[name].needs.filter(part => !parts.includes(part)).length +
    0.5 * Number(!USUAL_LAYOUTS.includes(name));
  return Object.keys(layouts)
    .filter(name => name !== layout)
    .sort((first, second) => rank(first) - rank(second));
}

/**
 * The first question of the examples; of plain text its beginning.
 * @param {import('./types.d.ts').SourcePreview | null} preview
 * @param {import('./types.d.ts').Source} source
 */
export function findPrompt(preview, source) {
  const exampleOf = (/** @type {string} */ part) =>
    preview?.columns.find(({ name }) => name === (source.mapping?.[part] ?? part))?.example ?? '';
  return exampleOf('prompt') || exampleOf('text').split(' ').slice(0, PROMPT_WORDS).join(' ');
}

/**
 * Edits what a source says of one text of its rows, such as who a speaker is; nothing is kept of what is recognised anyway.
 * @template {'roles' | 'labels'} Group
 * @param {import('./types.d.ts').Source} source
 * @param {Group} group
 * @param {string} text
 * @param {string} choice empty for what is recognised
 * @param {string} recognised
 */
export function setChoice(source, group, text, choice, recognised) {
  const others = withoutKey(source[group], text);
  const choices = choice && choice !== recognised ? { ...others, [text]: choice } : others;
  if (Object.keys(choices).length) source[group] = choices;
  else delete source[group];
}
