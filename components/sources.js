// Sources: several of them with weights, a dataset on the Hub, a file on this machine, and which rows of a file are read.

// The sources, where there are several: how often each is seen, which of them is shown below, and the way to take one out.
function sourcesList(form, place, show) {
  const list = make('ul', { className: 'sources', 'aria-label': 'Sources of examples' });
  let drawn = '';

  function refresh() {
    const data = form.setup().data, key = JSON.stringify([data.map(one => one.source), place()]);
    list.hidden = data.length < 2;
    if (key !== drawn) list.replaceChildren(...data.map(item));
    drawn = key;
    for (const [number, one] of data.entries()) weigh(list.children[number].querySelector('input'), one.weight ?? 1);
  }

  function weigh(input, weight) {
    const wrong = typeof weight !== 'number' || !(weight > 0 && weight <= 100);
    input.setAttribute('aria-invalid', String(wrong));
    if (document.activeElement !== input) input.value = String(weight);
    input.closest('li').querySelector('.says').textContent = wrong ? 'Choose above 0, up to 100.' : weight === 1 ? 'each once a pass' : weight < 1 ? `${Math.round(weight * 100)} % of them a pass` : `each ${inFull(weight)} times a pass`;
  }

  function item(one, number) {
    const name = sourceName(form, one.source).slice(0, 60), here = number === place();
    const weight = make('input', { type: 'text', inputMode: 'decimal', id: `weight-${number}`, 'aria-label': `How often ${name} is seen`,
      oninput: event => form.change(setup => { setup.data[number].weight = understood({ type: 'float' }, event.target.value) ?? 1; }) });
    const look = make('button', { type: 'button', className: 'back', textContent: here ? 'Shown below' : 'Show', disabled: here, 'aria-label': here ? `${name} is shown below` : `Show ${name}`, onclick: () => show(number) });
    const out = make('button', { type: 'button', className: 'back', textContent: 'Take out', 'aria-label': `Take ${name} out`, onclick: () => { form.change(setup => setup.data.splice(number, 1)); show(0); } });
    return make('li', { className: here ? 'here' : '' }, make('strong', { textContent: name }), weight, make('span', { className: 'says' }), look, out);
  }

  return { box: list, refresh };
}

// What does not come as a file in the browser: a dataset on the Hub, or a file that lies on this machine. The Hub is asked when
// a person presses a button, and not before.
function farBox(form, source, mapping, use) {
  const name = make('input', { type: 'text', id: 'hub-data', autocomplete: 'off', spellcheck: false, maxLength: 200, placeholder: 'owner/name' });
  const revision = make('input', { type: 'text', id: 'hub-revision', autocomplete: 'off', spellcheck: false, maxLength: 100, placeholder: 'the newest' });
  const config = make('select', { id: 'hub-config', onchange: part }), split = make('select', { id: 'hub-split', onchange: take });
  const open = make('button', { type: 'button', className: 'plain', textContent: 'See what it holds', onclick: ask });
  const note = make('p', { className: 'field-note', id: 'hub-data-note', role: 'status' });
  const [ofPart, ofSplit] = [labelled('Part', config), labelled('Split', split)], chosen = make('div', { className: 'far-row', hidden: true }, ofPart, ofSplit);
  const hub = make('details', { className: 'which', id: 'hub-box' }, make('summary', { textContent: 'From the Hub' }), make('div', { className: 'far' },
    make('p', { className: 'says', textContent: 'A dataset by its name; its revision is a branch, a tag or a commit. Nothing is fetched before you press the button; then only its first rows, until you start.' }),
    make('div', { className: 'far-row' }, labelled('Dataset', name), labelled('Revision', revision)), open, note, chosen));
  const path = make('input', { type: 'text', id: 'path-data', autocomplete: 'off', spellcheck: false, maxLength: 1000, placeholder: '/home/me/examples.jsonl' });
  const read = make('button', { type: 'button', className: 'plain', textContent: 'Read it where it lies', onclick: () => path.value.trim() && use(`path:${path.value.trim()}`) });
  const local = make('details', { className: 'which', id: 'path-box', hidden: !menu.local }, make('summary', { textContent: 'A file on this machine' }), make('div', { className: 'far' },
    make('p', { className: 'says', textContent: 'Of any size, and not copied. A link to this setup cannot carry it.' }), labelled('Path', path), read));
  const box = make('div', { className: 'elsewhere' }, hub, local);
  let offered = null;  // {name, revision, several: whether it has several parts, taken} as the Hub said

  async function ask() {
    const wanted = name.value.trim(), at = revision.value.trim();
    if (!wanted) { say(note, 'wrong', 'Name the dataset first, such as owner/name.'); return name.focus(); }
    const said = await reached({ name: wanted, revision: at || null });
    if (!said) return;
    offered = { name: wanted, revision: at, several: said.parts.length > 1, taken: false };
    fillWith(config, ['', ...said.parts]);
    if (!offered.several) return choose(said.splits);
    show(true, false);
    say(note, 'info', `${wanted} has ${said.parts.length} parts: ${inARow(said.parts)}. Which one should be read? Choose it below.`);
    config.focus();
  }

  // Of a dataset with several parts each has splits of its own; nobody but a person says which part is meant.
  async function part() {
    if (!config.value) return;
    const said = await reached({ name: offered.name, revision: offered.revision || null, config: config.value });
    if (said) await choose(said.splits);
  }

  async function reached(about) {
    say(note, '', 'Asking the Hub …');
    open.disabled = config.disabled = true;
    const said = await server.offered(about);
    open.disabled = config.disabled = false;
    if (said?.answer) return said.answer;
    show(false, false);
    say(note, 'wrong', `${said?.problem ? `${said.problem.text} ${said.problem.advice}` : 'The page’s own server does not answer.'} Your earlier choice of examples stays.`);
    return null;
  }

  async function choose(splits) {
    const kept = split.value;
    fillWith(split, splits);
    split.value = [kept, 'train'].find(one => splits.includes(one)) ?? splits[0];
    show(offered.several, true);
    await take();
  }

  async function take() {
    const others = [...split.options].map(one => one.value).filter(one => one !== split.value);
    say(note, 'good', `${offered.name}${offered.several ? `, part ${config.value}` : ''}: its split ${split.value} is read.${others.length ? ` It also has ${inARow(others)}.` : ''}`);
    const place = { config: offered.several ? config.value : undefined, split: split.value, revision: offered.revision || undefined };
    offered.taken = true;
    await use(`hub:${offered.name}`, 0, Object.fromEntries(Object.entries(place).filter(([, value]) => value !== undefined)));
    mapping.wants();
    mapping.look(true);
  }

  function show(parts, splits) {
    ofPart.hidden = !parts;
    ofSplit.hidden = !splits;
    chosen.hidden = !parts && !splits;
  }

  function refresh() {
    const [kind, rest] = [source().source.split(':')[0], source().source.slice(source().source.indexOf(':') + 1)];
    if (kind === 'hub' && document.activeElement !== name && !name.value) remember(rest, source());
    if (kind !== 'hub' && offered?.taken) { offered = null; show(false, false); say(note, '', ''); }
    if (kind === 'path' && document.activeElement !== path && !path.value) { path.value = rest; local.open = true; }
  }

  // As it was chosen earlier, or came by a link: what else there is only the Hub knows.
  function remember(dataset, one) {
    [name.value, revision.value, hub.open] = [dataset, one.revision ?? '', true];
    offered = { name: dataset, revision: one.revision ?? '', several: Boolean(one.config), taken: true };
    fillWith(config, [one.config ?? '']);
    fillWith(split, [one.split ?? 'train']);
    show(Boolean(one.config), true);
    say(note, 'info', 'This is read so far. Press the button to see what else it holds.');
  }

  return { box, refresh };
}

// A list to choose from; nothing in it is chosen yet where it begins with ''.
function fillWith(select, names) {
  select.replaceChildren(...names.map(one => make('option', { value: one, textContent: one || 'Choose one …' })));
}

const MANY_NAMES = 12;
const inARow = names => names.length > MANY_NAMES ? `${names.slice(0, MANY_NAMES).join(', ')} and ${names.length - MANY_NAMES} more` : names.length > 1 ? `${names.slice(0, -1).join(', ')} and ${names.at(-1)}` : names.join('');

function labelled(text, input) {
  return make('div', { className: 'labelled' }, make('label', { htmlFor: input.id, textContent: text }), input);
}

// Which rows are read, and how: a slice, and what a table or a text cannot say of itself.
function sliceBox(form, source, mapping) {
  const number = (id, key, shift) => make('input', { type: 'text', inputMode: 'numeric', id, oninput: event => set(key, understood({ type: 'int' }, event.target.value), shift) });
  const first = number('slice-first', 'start', -1), most = number('slice-most', 'limit', 0);
  const headless = check('headless', 'headless', 'The first line is an example, not the names of the columns.');
  const skip = check('skip-bad', 'skip_bad', 'Leave out rows that cannot be read, and count them.');
  const parts = make('select', { id: 'text-parts', onchange: () => set('parts', parts.value) },
    ...Object.entries({ paragraphs: 'Each paragraph is an example', lines: 'Each line is an example', whole: 'The whole text is one example' }).map(([value, textContent]) => make('option', { value, textContent })));
  const encoding = make('select', { id: 'text-encoding', onchange: () => set('encoding', encoding.value || undefined) },
    ...Object.entries({ '': 'UTF-8, as almost everything is', 'windows-1252': 'Windows-1252', 'latin-1': 'Latin-1' }).map(([value, textContent]) => make('option', { value, textContent })));
  const note = make('p', { className: 'field-note', role: 'status' });
  const texts = labelled('A text is read in parts', parts), coded = labelled('Its letters are written in', encoding);
  const box = make('details', { className: 'which', id: 'slice-box' }, make('summary', { textContent: 'Which rows, and how they are read' }),
    make('div', { className: 'far' }, make('div', { className: 'far-row' }, labelled('From row', first), labelled('At most', most)), note, texts, coded, headless.box, skip.box));

  function check(id, key, words) {
    const input = make('input', { type: 'checkbox', id, onchange: () => set(key, input.checked || undefined) });
    return { input, box: make('label', { className: 'tick', htmlFor: id }, input, make('span', { textContent: words })) };
  }

  function set(key, value, shift = 0) {
    mapping.put(key, typeof value === 'number' ? value + shift : value);
  }

  function refresh() {
    const one = source(), name = sourceName(form, one.source).toLowerCase().replace(/\.gz$/, '');
    for (const [input, value] of [[first, one.start === undefined || one.start === null ? '' : typeof one.start === 'number' ? one.start + 1 : one.start], [most, one.limit ?? '']]) if (document.activeElement !== input) input.value = String(value);
    first.placeholder = '1';
    most.placeholder = 'all of them';
    const wrong = [first, most].find(input => input.value.trim() && !/^[1-9]\d*$/.test(input.value.trim()));
    for (const input of [first, most]) input.setAttribute('aria-invalid', String(input === wrong));
    say(note, wrong ? 'wrong' : '', wrong ? 'Write a whole number from 1 on, or nothing.' : '');
    texts.hidden = !/\.(txt|md)$/.test(name);
    coded.hidden = !one.encoding && !/\.(txt|md|csv|tsv)$/.test(name);
    headless.box.hidden = !one.headless && !/\.(csv|tsv)$/.test(name);
    skip.box.hidden = !one.skip_bad;
    parts.value = one.parts ?? 'paragraphs';
    encoding.value = one.encoding ?? '';
    headless.input.checked = Boolean(one.headless);
    skip.input.checked = Boolean(one.skip_bad);
  }

  return { box, refresh };
}
