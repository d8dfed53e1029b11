// The presets that a setup can start from: one line, which unfolds to the list of them.

import { create, createChoice, query } from './dom.js';
import { createSectionHead } from './form_sections.js';
import { createRealPresets } from './real_presets.js';

/** @typedef {import('./settings_form.js').SettingsForm} SettingsForm */
/** @typedef {import('./types.d.ts').Catalog} Catalog */
/** @typedef {import('./types.d.ts').Preset} Preset */

/**
 * Of each family of methods the preset of its usual method: these are always visible.
 * @param {Pick<Catalog, 'families' | 'presets' | 'methods'>} catalog
 * @returns {(string | undefined)[]}
 */
export const leadingPresets = ({ families, presets, methods }) =>
  Object.keys(families).map(family => {
    const members = presets.filter(({ goal, method }) => !goal && methods[method].family === family);
    return members.sort((first, second) => methods[first.method].order - methods[second.method].order)[0]?.name;
  });

/** @param {Preset} preset @param {Catalog} catalog */
const describePreset = ({ minutes, method }, { methods }) =>
  (minutes ? `About ${minutes} minute${minutes === 1 ? '' : 's'} · ` : '') + methods[method].title;

/** @param {SettingsForm} form */
export function createPresetPicker(form) {
  const { catalog } = form;
  const choiceByName = new Map(
    catalog.presets.map(preset => {
      const start = () => form.start(preset.name);
      return [preset.name, createChoice('preset', preset.name, preset.title, describePreset(preset, catalog), start)];
    }),
  );
  const choices = [...choiceByName.values()];
  const isReal = (/** @type {HTMLElement} */ choice) => choice.dataset.gigabytes !== undefined;
  const head = createSectionHead('presets', 'Start from');
  const leaders = leadingPresets(catalog);
  const visible = create('div', { className: 'choices', role: 'radiogroup', 'aria-labelledby': 'presets-name' });
  const folded = create('div', { className: 'choices' });
  const summary = create('summary');
  const more = create('details', { className: 'more-starts' }, summary, folded);
  const realPresets = createRealPresets(catalog, choiceByName);
  const practiceCount = choices.filter(choice => !isReal(choice)).length;
  let drawnKey = '';

  const input = (/** @type {HTMLElement} */ choice) => query(choice, 'input', HTMLInputElement);
  const rank = (/** @type {HTMLElement} */ choice) => leaders.indexOf(input(choice).value) + 1 || leaders.length + 1;

  // Visible are the leading presets and the chosen one; a single other one is not worth folding away.
  function refresh() {
    const chosen = form.preset;
    const isVisible = (/** @type {HTMLElement} */ choice) =>
      leaders.includes(input(choice).value) ||
      input(choice).value === chosen ||
      (!isReal(choice) && practiceCount === leaders.length + 1);
    const first = choices.filter(isVisible);
    const key = first.map(choice => input(choice).value).join();
    if (key !== drawnKey) {
      drawnKey = key;
      visible.replaceChildren(...first.sort((a, b) => rank(a) - rank(b)));
      folded.replaceChildren(...choices.filter(choice => !isReal(choice) && !first.includes(choice)));
      realPresets.refresh(chosen);
      more.hidden = !folded.children.length;
      summary.textContent = `More to start from (${folded.children.length})`;
    }
    for (const choice of choices) input(choice).checked = input(choice).value === chosen;
  }

  const box = form.sections.create({
    id: 'presets',
    head,
    content: [visible, more, realPresets.list],
    summarize: () => form.findPreset(form.state.preset).title + (form.preset ? '' : ', changed by a link'),
    isChanged: () => false,
    isSearched: false, // it stands above the search, which must not move
  });
  // A click has chosen; arrow keys may be on their way to another one.
  box.addEventListener('click', ({ detail, target }) => {
    const isPointer = detail > 0;
    if (isPointer && target instanceof Element && target.closest('.choice'))
      setTimeout(() => form.sections.collapse('presets'));
  });
  return { box, refresh };
}
