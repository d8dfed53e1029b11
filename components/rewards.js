// Rewards: which qualities of an answer count, and how much each.

// form: {setup(), base(), change(), on(path, one)}
function rewardsBlock(form, title) {
  const plain = setup => JSON.stringify((setup.rewards ?? []).map(one => [one.name, one.as ?? one.name, one.weight ?? 1, one.params ?? {}]));
  const titles = setup => (setup.rewards ?? []).map(one => menu.rewards[one.name]?.title ?? one.name).join(', ') || 'none';
  const back = () => form.change(setup => { setup.rewards = structuredClone(form.base().rewards ?? []); });
  const top = head({ title, id: 'rewards', group: true, back, was: () => titles(form.base()), changed: () => plain(form.setup()) !== plain(form.base()) });
  const list = make('div', { className: 'reward-list' });
  const add = make('select', { id: 'add-reward', 'aria-label': 'Add one', onchange: () => { if (add.value) put(add.value); add.value = ''; } },
    make('option', { value: '', textContent: 'Add one …' }), ...Object.entries(menu.rewards).map(([name, one]) => make('option', { value: name, textContent: one.title })));
  let parts = [], drawn = '';

  function put(name) {
    form.change(setup => {
      const taken = (setup.rewards ??= []).map(one => one.as ?? one.name);
      const label = [name, ...Array.from({ length: 99 }, (_, i) => `${name}_${i + 2}`)].find(one => !taken.includes(one));
      setup.rewards.push({ name, as: label, weight: 1, params: {} });
    });
  }

  function entry(reward, i) {
    const known = menu.rewards[reward.name] ?? { title: reward.name, sentence: '', fields: [] };
    const weight = { name: 'weight', title: 'Weight', type: 'float', low: -100, high: 100, default: 1, sentence: 'How much it counts beside the others.' };
    const fields = [...known.fields, weight].map(one => {
      const path = one === weight ? `rewards.${i}.weight` : `rewards.${i}.params.${one.name}`;
      return field({ ...one, id: `reward-${i}-${one.name}` }, form.on(path, one, false), form);
    });
    parts.push(...fields);
    const remove = make('button', { type: 'button', className: 'back', textContent: 'Remove', 'aria-label': `Remove ${known.title}`,
      onclick: () => { form.change(setup => setup.rewards.splice(i, 1)); add.focus(); } });
    return make('fieldset', { className: 'reward' }, make('legend', { textContent: known.title }), make('p', { className: 'says', textContent: known.sentence }),
      make('div', { className: 'fields' }, ...fields.map(one => one.box)), remove);
  }

  function refresh() {
    top.refresh();
    const shape = JSON.stringify((form.setup().rewards ?? []).map(one => [one.name, one.as]));
    if (shape !== drawn) {
      drawn = shape;
      parts = [];
      list.replaceChildren(...(form.setup().rewards ?? []).map(entry));
    }
    for (const part of parts) part.refresh();
  }

  return { box: make('section', { className: 'block', id: 'rewards' }, top.row, list, add), refresh };
}
