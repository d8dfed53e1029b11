// Held: which rows are kept aside to test on: a share, a split, another source, or those whose column has a value.

const WAYS_ASIDE = {
  share: ['A share of them, drawn by chance', 'The same words never stand on both sides.'],
  split: ['A split of their own', 'Of the first source. The samples have one called holdout.'],
  source: ['Another file or dataset', 'Bring it with “Upload a file” first, then choose it here.'],
  column: ['Rows whose column has a value', 'Such as a column that says which rows are for testing.'],
  none: ['None', 'Then nobody can tell afterwards whether it learned or only remembers.'],
};

function heldBox(form, mapping) {
  const held = () => form.setup().holdout ?? {};
  const way = () => held().source ? 'source' : held().column !== undefined ? 'column' : held().split !== undefined ? 'split' : held().share ? 'share' : 'none';
  const part = { id: 'held', title: 'Kept aside for the test', changed: () => !same(tidy(held()), tidy(baseHeld())), was: () => words(baseHeld()),
                 back: () => form.change(setup => { setup.holdout = structuredClone(baseHeld()); }) };
  const top = head(part);
  const which = make('select', { id: 'held-input', onchange: () => begin(which.value) }, ...Object.entries(WAYS_ASIDE).map(([value, [textContent]]) => make('option', { value, textContent })));
  const says = make('p', { className: 'says', id: 'held-says' });
  const input = (id, label, deed) => make('input', { type: 'text', id, 'aria-label': label, maxLength: 200, oninput: event => deed(event.target.value) });
  const share = input('held-share', 'Share of the examples, in percent', text => put({ share: percentOf(text) }));
  const split = input('held-split', 'Name of the split', text => put({ split: text }));
  const column = make('select', { id: 'held-column', 'aria-label': 'Column', onchange: () => put({ column: column.value, value: first(column.value) }) });
  const value = input('held-value', 'Value of the column', text => put({ column: held().column, value: text }));
  const offers = make('datalist', { id: 'held-values' });
  const source = make('select', { id: 'held-source', 'aria-label': 'Source', onchange: () => put({ source: { source: source.value } }) });
  const note = make('p', { className: 'field-note', role: 'status' });
  const boxes = { share: make('div', { className: 'far-row' }, labelled('Percent', share), make('span', { className: 'unit', textContent: '%', 'aria-hidden': 'true' })), split: make('div', { className: 'far-row' }, labelled('Split', split)),
                  source: make('div', { className: 'far-row' }, labelled('Source', source)), column: make('div', { className: 'far-row' }, labelled('Column', column), labelled('Has the value', value), offers) };
  const box = make('div', { className: 'field held', id: 'held' }, top.row, which, ...Object.values(boxes), says, note);
  value.setAttribute('list', offers.id);

  // A file has no test examples of its own, as samples have: a share of it is kept aside.
  const baseHeld = () => (!sampled(form.setup()) || form.setup().data.length > 1 ? { share: OWN_SHARE } : form.setup().data[0].source === form.base().data[0].source ? form.base().holdout : { split: 'holdout' });
  const tidy = one => (one.share === 0 || !Object.keys(one).length ? {} : one);
  const words = one => one.share ? `${inFull(one.share * 100)} %` : one.split ? `the split ${one.split}` : one.source ? 'another source' : one.column ? 'a column' : 'none';
  const put = one => form.change(setup => { setup.holdout = one; });
  const first = name => mapping.info()?.columns.find(one => one.name === name)?.examples[0] ?? '';

  function percentOf(text) {
    const number = Number(text.replace('%', '').replace(',', '.').trim());
    return text.trim() && Number.isFinite(number) ? number / 100 : text;
  }

  function begin(name) {
    const columns = mapping.columns(), own = form.uploads().find(one => one.source !== form.setup().data[0].source);
    put({ share: { share: OWN_SHARE }, split: { split: sampled(form.setup()) ? 'holdout' : 'test' }, source: { source: { source: own?.source ?? menu.samples[0].source, split: own ? 'train' : 'holdout' } },
          column: { column: columns.at(-1) ?? 'split', value: first(columns.at(-1)) }, none: { share: 0 } }[name]);
  }

  function refresh() {
    top.refresh();
    const now = way();
    which.value = now;
    says.textContent = WAYS_ASIDE[now][1];
    for (const [name, one] of Object.entries(boxes)) one.hidden = name !== now;
    fillIn(share, typeof held().share === 'number' ? inFull(Math.round(held().share * 1e4) / 100) : held().share ?? '');
    fillIn(split, held().split ?? '');
    fillIn(value, held().value ?? '');
    const columns = mapping.columns(), option = ([worth, textContent]) => make('option', { value: worth, textContent });
    column.replaceChildren(...[...new Set([...(held().column ? [held().column] : []), ...columns])].map(name => option([name, name.slice(0, 80)])));
    column.value = held().column ?? '';
    offers.replaceChildren(...(mapping.info()?.columns.find(one => one.name === held().column)?.examples ?? []).map(text => option([text, text])));
    const own = form.uploads().map(one => [one.source, one.name]), there = held().source?.source;
    const known = [...own, ...menu.samples.map(one => [one.source, `${one.title} (sample)`])];
    source.replaceChildren(...(there && !known.some(([name]) => name === there) ? [option([there, sourceName(form, there)])] : []), ...known.map(option));
    source.value = there ?? '';
    const [sign, text] = doubt(now);
    share.setAttribute('aria-invalid', String(sign === 'wrong'));
    say(note, sign, text);
  }

  function doubt(now) {
    const { share: part } = held();
    if (now === 'share' && (typeof part !== 'number' || part < 0 || part >= 1)) return ['wrong', 'Write a number from 0 to 99.'];
    if (now === 'share' && (part < 0.02 || part > 0.3)) return ['careful', 'Unusual: 2 to 30 % is a safe start.'];
    if (now === 'split' && held().split && held().split === (form.setup().data[0].split ?? 'train')) return ['wrong', 'The same rows would be learned and tested on. Name another split.'];
    if (now === 'source' && form.setup().data.some(one => one.source === held().source?.source && (one.split ?? 'train') === (held().source.split ?? 'train'))) return ['wrong', 'This is what it learns from. Choose another.'];
    return ['', ''];
  }

  const fillIn = (one, text) => { if (document.activeElement !== one && one.value !== String(text)) one.value = String(text); };

  return { box, refresh };
}

// Rows that a person said not to learn from, mostly by mending what a look at all of them found.
const LEFT_OUT = {
  duplicates: 'Rows that repeat an earlier one', held_out: 'Rows that are also kept aside for the test', leaks: 'Rows whose answer stands in the question',
  same: 'Pairs whose two answers are the same', untrained: 'Rows with nothing to learn', cut: 'Rows longer than the maximum length',
};

function dropsBox() {
  const list = make('ul', { className: 'drops' });
  const box = make('div', { className: 'dropped' }, make('p', { className: 'says', textContent: 'Not learned from, as you said:' }), list);
  let drawn = '';

  function refresh() {
    const now = form.setup().drop ?? [], key = JSON.stringify(now);
    box.hidden = !now.length;
    if (key === drawn) return;
    drawn = key;
    list.replaceChildren(...now.map(name => make('li', {}, `${LEFT_OUT[name] ?? name} `,
      make('button', { type: 'button', className: 'back', textContent: 'Learn from them again', onclick: () => form.change(setup => { setup.drop = setup.drop.filter(one => one !== name); }) }))));
  }

  return { box, refresh };
}
