// Search over everything that can be set: by a plain word, and by the name that a library or paper has for it. Beside
// it the view of only what differs from the preset.

import { create, setText } from './dom.js';
import { formatChoice } from './format.js';
import { ownName } from './setting_values.js';

/** @typedef {import('./types.d.ts').SettingDeclaration} SettingDeclaration */
/** @typedef {Pick<SettingDeclaration, 'name' | 'title' | 'path' | 'sentence' | 'library_name' | 'choices'>} Searchable */
/** @typedef {{declaration: Searchable, box: HTMLElement, isChanged: () => boolean}} Entry */

// Words that people search for, and that neither we nor the libraries use for the setting. By our name of it.
const SYNONYMS = /** @type {Record<string, string>} */ ({
  learning_rate: 'lr step size',
  max_length: 'context length sequence length max_seq_length cutoff truncation',
  max_completion_length: 'max_new_tokens response length output length',
  epochs: 'passes num_epochs',
  steps: 'iterations',
  batch_size: 'micro batch',
  accumulation: 'grad_accum',
  quantization: 'QLoRA bitsandbytes bnb load_in_4bit load_in_8bit memory',
  kind: 'PEFT LoRA full fine-tuning finetuning',
  r: 'LoRA rank lora_r',
  alpha: 'LoRA alpha scaling',
  targets: 'LoRA modules attention mlp all-linear',
  new_tokens: 'special tokens add_tokens vocabulary',
  end_token: 'eos_token end of sequence stop special tokens',
  pad_token: 'padding special tokens',
  embedding_multiple: 'pad_to_multiple_of resize_token_embeddings vocabulary',
  prompts: 'samples generations watch',
  template: 'chat_template jinja system prompt',
  seed: 'random reproducible',
  recompute: 'activation checkpointing gradient_checkpointing memory',
  precision: 'dtype bf16 fp16 fp32 mixed precision',
  title: 'run_name',
});

/** Lower case, with a space for everything between words. @param {string} text */
const normalize = text =>
  text
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N}]+/gu, ' ')
    .trim();

/**
 * Whether every word of the query begins a word of the setting's title, sentence, names, choices or synonyms. A name
 * with an underscore counts as one word, so that num_generations does not find every number.
 * @param {Searchable} declaration
 * @param {string} query
 */
export function matchesSetting(declaration, query) {
  const { title, sentence = '', library_name: libraryName = '', choices = {} } = declaration;
  const name = ownName(declaration);
  const synonyms = (SYNONYMS[name] ?? '').split(' ');
  const texts = [title, sentence, name, libraryName, ...Object.entries(choices).flat(), ...synonyms];
  const searched = ` ${texts.map(normalize).join(' | ')} ${normalize(SYNONYMS[name] ?? '')}`;
  return query.split(/\s+/).every(word => searched.includes(` ${normalize(word)}`));
}

/**
 * How many settings are visible, in words.
 * @param {string} query
 * @param {boolean} isOnlyChanged
 * @param {number} count
 * @param {number} total
 */
export function describeMatches(query, isOnlyChanged, count, total) {
  const isSearching = Boolean(query.trim());
  if (!isSearching && !isOnlyChanged) return `${total} settings, by a plain word or by the name that TRL has`;
  if (count && isOnlyChanged) return `${count} of ${total} settings differ${count === 1 ? 's' : ''} from the preset`;
  if (count) return `${count} of ${total} settings`;
  if (isSearching)
    return `Nothing${isOnlyChanged ? ' that you changed' : ''} is called that. Try a plain word, or the name that TRL has for it.`;
  return 'Nothing differs from the preset.';
}

/** Several settings in one line: Epochs 5 passes · Batch size 16 examples. @param {[title: string, text: string][]} settings */
export const describeSettings = settings => settings.map(([title, text]) => `${title} ${text}`).join(' · ');

/** A choice by its name in files, and as people write it. @param {string[]} names */
export const searchableChoices = names => Object.fromEntries(names.map(name => [name, formatChoice(name)]));

/**
 * The search, above everything that it filters, so that it stays in its place while somebody types.
 * @param {import('./form_sections.js').FormSections} sections
 * @param {HTMLElement} sheet
 */
export function createSettingSearch(sections, sheet) {
  const input = create('input', {
    type: 'search',
    id: 'find-setting',
    autocomplete: 'off',
    spellcheck: false,
    maxLength: 100,
    placeholder: 'Find a setting',
    'aria-label': 'Find a setting',
    'aria-describedby': 'find-setting-count',
    oninput: () => filter(),
    onkeydown: clearOnEscape,
  });
  const onlyChanged = create('input', { type: 'checkbox', id: 'only-changed', onchange: () => filter() });
  const count = create('p', { className: 'says', id: 'find-setting-count', role: 'status' });
  const tick = create('label', { className: 'tick', htmlFor: onlyChanged.id }, onlyChanged, 'Only what I changed');
  const box = create('div', { className: 'find-setting' }, input, tick, count);
  /** @type {Entry[]} */
  let entries = [];
  /** @type {Set<Entry>} */
  let matches = new Set();

  const isFiltering = () => Boolean(input.value.trim()) || onlyChanged.checked;

  /** @param {Entry} entry */
  const isMatch = ({ declaration, isChanged }) =>
    matchesSetting(declaration, input.value.trim()) && (!onlyChanged.checked || isChanged());

  function filter() {
    matches = new Set(entries.filter(isMatch));
    show();
  }

  // A setting that is put back to the preset stays in sight until the view is chosen anew.
  function refresh() {
    if (!onlyChanged.checked) return;
    for (const entry of entries) if (isMatch(entry)) matches.add(entry);
    show();
  }

  function show() {
    const isActive = isFiltering();
    // The page stays as long as it has to be for the search to stay where it is.
    if (isActive) sheet.style.minHeight = `${Math.max(0, innerHeight - sheet.getBoundingClientRect().top)}px`;
    else sheet.style.minHeight = '';
    sections.setFiltered(isActive);
    for (const entry of entries) entry.box.hidden = isActive && !matches.has(entry);
    const visible = [...matches].map(entry => entry.box);
    for (const block of /** @type {NodeListOf<HTMLElement>} */ (sheet.querySelectorAll('.block:not(#presets)'))) {
      block.hidden = isActive && !visible.some(match => block.contains(match) || match.contains(block));
    }
    setText(count, describeMatches(input.value, onlyChanged.checked, matches.size, entries.length));
  }

  function clear() {
    if (!isFiltering()) return;
    input.value = '';
    onlyChanged.checked = false;
    filter();
  }

  /** @param {KeyboardEvent} event */
  function clearOnEscape(event) {
    if (event.key !== 'Escape' || !input.value) return;
    event.preventDefault();
    input.value = '';
    filter();
  }

  /** The settings to search in, of a method drawn anew. @param {Entry[]} searched */
  function search(searched) {
    entries = searched;
    filter();
  }

  function showChanged() {
    input.value = '';
    onlyChanged.checked = true;
    filter();
    onlyChanged.focus();
  }

  return { box, clear, search, refresh, showChanged };
}
