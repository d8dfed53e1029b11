// Search over the settings of the chosen method: by a plain word, and by the name that a library or paper has for one.

import { create, setText } from './dom.js';
import { ownName } from './setting_values.js';

/** @typedef {import('./types.d.ts').SettingDeclaration} SettingDeclaration */
/** @typedef {Pick<SettingDeclaration, 'name' | 'title' | 'path' | 'sentence' | 'library_name' | 'choices'>} Searchable */
/** @typedef {{declaration: Searchable, box: HTMLElement, isEveryday?: boolean}} Entry */

/** Lower case, with a space for everything between words. @param {string} text */
const normalize = text =>
  text
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N}]+/gu, ' ')
    .trim();

/**
 * Whether every word of the query begins a word of the setting's title, sentence, names or choices. A name with an
 * underscore counts as one word, so that num_generations does not find every number.
 * @param {Searchable} declaration
 * @param {string} query
 */
export function matchesSetting(declaration, query) {
  const { title, sentence = '', library_name: libraryName = '', choices = {} } = declaration;
  const texts = [title, sentence, ownName(declaration), libraryName, ...Object.keys(choices)];
  const searched = ` ${texts.map(normalize).join(' | ')}`;
  return query.split(/\s+/).every(word => searched.includes(` ${normalize(word)}`));
}

/**
 * How many settings match, in words.
 * @param {string} query
 * @param {number} count
 * @param {number} total
 * @param {string} methodTitle
 */
export function describeMatches(query, count, total, methodTitle) {
  if (!query.trim()) return `${total} settings`;
  if (count) return `${count} of ${total} settings`;
  return `No setting of “${methodTitle}” is called that. Try a plain word, or the name that TRL has for it.`;
}

/**
 * The search box. What matches stays visible in the groups of `advanced`; settings for every day come down to it, and
 * leave an empty place of their size, so that nothing above the box moves while somebody types.
 * @param {HTMLDetailsElement} advanced
 */
export function createSettingSearch(advanced) {
  const input = create('input', {
    type: 'search',
    id: 'find-setting',
    autocomplete: 'off',
    spellcheck: false,
    maxLength: 100,
    'aria-describedby': 'find-setting-count',
    oninput: filter,
    onkeydown: clearOnEscape,
  });
  const count = create('p', { className: 'says', id: 'find-setting-count', role: 'status' });
  const found = create('div', { className: 'fields', hidden: true });
  const label = create('label', { htmlFor: input.id, textContent: 'Find a setting' });
  const box = create('div', { className: 'find-setting' }, label, input, count);
  /** @type {Map<Entry, HTMLElement>} the empty place of each setting that came down */
  const gaps = new Map();
  /** @type {Entry[]} */
  let entries = [];
  let methodTitle = '';

  function filter() {
    const isSearching = Boolean(input.value.trim());
    if (isSearching && !advanced.style.minHeight) advanced.style.minHeight = `${advanced.offsetHeight}px`;
    if (!isSearching) advanced.style.minHeight = '';
    const matches = entries.filter(({ declaration }) => matchesSetting(declaration, input.value.trim()));
    for (const entry of entries) {
      const isMatch = matches.includes(entry);
      if (entry.isEveryday) placeEveryday(entry, isSearching && isMatch);
      else entry.box.hidden = !isMatch;
    }
    found.hidden = !gaps.size;
    for (const block of /** @type {NodeListOf<HTMLElement>} */ (advanced.querySelectorAll('.block'))) {
      block.hidden = isSearching && !matches.some(match => block.contains(match.box));
    }
    setText(count, describeMatches(input.value, matches.length, entries.length, methodTitle));
  }

  /** @param {Entry} entry @param {boolean} isFound */
  function placeEveryday(entry, isFound) {
    const gap = gaps.get(entry);
    if (isFound && !gap) {
      const empty = create('p', { className: 'gap says', textContent: 'Found by the search, below.' });
      empty.style.minHeight = `${entry.box.getBoundingClientRect().height}px`;
      entry.box.replaceWith(empty);
      gaps.set(entry, empty);
    }
    if (isFound) found.append(entry.box);
    if (isFound || !gap) return;
    gap.replaceWith(entry.box);
    gaps.delete(entry);
  }

  function clear() {
    if (!input.value) return;
    input.value = '';
    filter();
  }

  /** @param {KeyboardEvent} event */
  function clearOnEscape(event) {
    if (event.key !== 'Escape' || !input.value) return;
    event.preventDefault();
    clear();
  }

  /** The settings to search in, of a method drawn anew. @param {Entry[]} searched @param {string} title */
  function search(searched, title) {
    clear();
    [entries, methodTitle] = [searched, title];
    filter();
  }

  return { box, found, clear, search };
}
