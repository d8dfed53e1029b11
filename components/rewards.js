// The rewards of a setup: which qualities of an answer count, and how much each.

import { create } from './dom.js';
import { createField, createHeading } from './fields.js';

/** @typedef {import('./settings_form.js').SettingsForm} SettingsForm */
/** @typedef {import('./types.d.ts').Reward} Reward */
/** @typedef {import('./types.d.ts').Setup} Setup */

const MAX_OF_A_KIND = 100;
const WEIGHT = /** @type {import('./types.d.ts').SettingDeclaration} */ ({
  name: 'weight',
  title: 'Weight',
  type: 'float',
  low: -100,
  high: 100,
  default: 1,
  sentence: 'How much it counts beside the others.',
});

/** @param {Pick<Setup, 'rewards'>} setup */
const rewardsKey = ({ rewards }) =>
  JSON.stringify(
    (rewards ?? []).map(reward => [reward.name, reward.as ?? reward.name, reward.weight ?? 1, reward.params ?? {}]),
  );

/**
 * A label that no other reward of the setup has: the reward's name, with a number from the second one on.
 * @param {string} name
 * @param {Reward[]} rewards
 */
export function uniqueLabel(name, rewards) {
  const labels = rewards.map(reward => reward.as ?? reward.name);
  const numbered = Array.from({ length: MAX_OF_A_KIND - 1 }, (_, i) => `${name}_${i + 2}`);
  return [name, ...numbered].find(label => !labels.includes(label));
}

/** @param {SettingsForm} form @param {string} title */
export function createRewards(form, title) {
  const catalog = form.catalog.rewards;
  const titles = (/** @type {Setup} */ setup) =>
    (setup.rewards ?? []).map(({ name }) => catalog[name]?.title ?? name).join(', ') || 'none';
  const heading = createHeading(form, {
    title,
    id: 'rewards',
    isGroup: true,
    isChanged,
    presetText: () => titles(form.base),
    reset: () =>
      form.change(setup => {
        setup.rewards = structuredClone(form.base.rewards ?? []);
      }),
  });
  function isChanged() {
    return rewardsKey(form.setup) !== rewardsKey(form.base);
  }

  const list = create('div', { className: 'reward-list' });
  const select = create(
    'select',
    { id: 'add-reward', 'aria-label': 'Add one', onchange: addChosen },
    create('option', { value: '', textContent: 'Add one …' }),
    ...Object.entries(catalog).map(([value, reward]) =>
      create('option', { value, textContent: reward.title, title: value }),
    ),
  );
  /** @type {{refresh: () => void}[]} */
  let fields = [];
  let drawnKey = '';

  function addChosen() {
    const name = select.value;
    select.value = '';
    if (!name) return;
    form.change(setup => {
      setup.rewards ??= [];
      setup.rewards.push({ name, as: uniqueLabel(name, setup.rewards), weight: 1, params: {} });
    });
  }

  /** @param {Reward} reward @param {number} index */
  function createReward(reward, index) {
    const known = catalog[reward.name] ?? { title: reward.name, sentence: '', fields: [] };
    const rewardFields = [...known.fields, WEIGHT].map(declaration => {
      const { name } = declaration;
      const path = declaration === WEIGHT ? `rewards.${index}.weight` : `rewards.${index}.params.${name}`;
      return createField({ ...declaration, id: `reward-${index}-${name}` }, form.bind(path, declaration, false), form);
    });
    fields.push(...rewardFields);
    const remove = () => {
      form.change(setup => setup.rewards?.splice(index, 1));
      select.focus();
    };
    return create(
      'fieldset',
      { className: 'reward', 'aria-describedby': `reward-${index}-says reward-${index}-called` },
      create('legend', { textContent: known.title, title: reward.name }),
      create('p', { className: 'says', textContent: known.sentence, id: `reward-${index}-says` }),
      create('span', { className: 'unseen', textContent: reward.name, id: `reward-${index}-called` }),
      create('div', { className: 'fields' }, ...rewardFields.map(({ box }) => box)),
      create('button', {
        type: 'button',
        className: 'back',
        textContent: 'Remove',
        'aria-label': `Remove ${known.title}`,
        onclick: remove,
      }),
    );
  }

  function refresh() {
    heading.refresh();
    const rewards = form.setup.rewards ?? [];
    const key = JSON.stringify(rewards.map(reward => [reward.name, reward.as]));
    if (key !== drawnKey) {
      drawnKey = key;
      fields = [];
      list.replaceChildren(...rewards.map(createReward));
    }
    for (const field of fields) field.refresh();
  }

  return { title, head: heading.row, content: [list, select], refresh, isChanged, summarize: () => titles(form.setup) };
}
