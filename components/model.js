// Model: the practice model, one from the Hub found by typing, or a result of one's own to go on from.

const PRACTICE = 'pocket';
const PAUSE = 350;  // milliseconds without a key before the Hub is asked

const bases = () => menu.shipped.filter(one => one.base);
const comes = id => bases().find(one => one.id === id);
const kindOf = model => model?.start_from?.startsWith('run:') ? 'run' : comes(model?.id) ? 'practice' : 'hub';
// What is said of a model beside its name stays when another one is chosen.
const another = (model, id) => Object.fromEntries([['id', id], ...['quantization', 'new_tokens', 'embedding_multiple', 'template'].filter(name => model?.[name]).map(name => [name, model[name]])]);
const modelName = model => comes(model?.id)?.title.replace(/^T/, 't') ?? (model?.id || 'none yet');

// form: {setup(), base(), change(), finished}
function modelBlock(form) {
  const plain = model => JSON.stringify([model?.id, model?.revision ?? null, model?.start_from ?? null]);
  const back = () => form.change(setup => { setup.model = structuredClone(form.base().model); });
  const top = head({ title: 'Model', id: 'model', group: true, back, was: () => modelName(form.base().model),
                     changed: () => plain(form.setup().model) !== plain(form.base().model) });
  const kinds = { practice: ['The practice model', 'Comes with Tunesmith: small, nothing to download.'],
                  hub: ['One from the Hub', 'Any model that writes text. It is downloaded once.'],
                  run: ['A result of your own', 'Goes on from what an earlier run learned.'] };
  const radios = Object.entries(kinds).map(([kind, [title, says]]) => choice('model-kind', kind, title, says, () => choose(kind)));
  const which = make('select', { id: 'practice-model', onchange: () => form.change(setup => { setup.model = another(setup.model, which.value); }) },
    ...bases().map(one => make('option', { value: one.id, textContent: `${one.title}. ${one.sentence}` })));
  const practice = make('div', { className: 'field wide' }, make('label', { htmlFor: 'practice-model', textContent: 'Which one' }), which);
  const hub = hubBox(form);
  const mine = runsBox(form);
  const note = make('p', { className: 'field-note', role: 'status' });

  function choose(kind) {
    say(note, '', '');
    if (kind === 'practice') form.change(setup => { setup.model = another(setup.model, PRACTICE); });
    if (kind === 'hub') { form.change(setup => { setup.model = another(setup.model, ''); }); hub.input.focus(); }
    if (kind !== 'run') return;
    if (form.finished.length) mine.take(form.finished[0].id);
    else { refresh(); say(note, 'info', 'There is no finished run yet. Your first result can be chosen here.'); }
  }

  function refresh() {
    const kind = kindOf(form.setup().model);
    top.refresh();
    for (const radio of radios) radio.querySelector('input').checked = radio.querySelector('input').value === kind;
    practice.hidden = kind !== 'practice' || bases().length < 2;
    which.value = form.setup().model.id;
    hub.box.hidden = kind !== 'hub';
    mine.box.hidden = kind !== 'run';
    hub.refresh();
    mine.refresh();
  }

  const set = make('div', { className: 'choices', role: 'radiogroup', 'aria-labelledby': 'model-name' }, ...radios);
  return { box: make('section', { className: 'block', id: 'model' }, top.row, set, note, practice, hub.box, mine.box), refresh, take: mine.take };
}

function choice(name, value, title, says, onchange) {
  const input = make('input', { type: 'radio', name, value, onchange });
  return make('label', { className: 'choice' }, input, make('span', {}, make('strong', { textContent: title }), make('small', { textContent: says })));
}

// The Hub's models are found by typing; nothing waits for it: what is typed counts, whether or not the Hub answers.
function hubBox(form) {
  const says = make('p', { className: 'says', id: 'hub-says', textContent: 'Its name, such as owner/name, or words to search for.' });
  const combo = modelCombo({ name: 'hub', own: () => [], set: id => form.change(setup => { setup.model = another(setup.model, id); }) });
  combo.input.id = 'hub-model';
  combo.input.setAttribute('aria-describedby', 'hub-says hub-note');

  function refresh() {
    const id = form.setup().model?.id ?? '';
    if (document.activeElement !== combo.input) combo.input.value = comes(id) ? '' : id;
  }

  const label = make('label', { htmlFor: 'hub-model', textContent: 'Name on the Hub' });
  return { box: make('div', { className: 'field wide hub' }, label, says, combo.box, combo.note), input: combo.input, refresh };
}

// A setting that names a model: a shipped one, a result of one's own, or one from the Hub.
function modelPick(one, on, form) {
  const own = () => [...menu.shipped.map(({ id, title, sentence }) => ({ id, title, more: sentence })),
                     ...form.finished.map(run => ({ id: `run:${run.id}`, title: run.title, more: 'a result of your own' }))];
  const combo = modelCombo({ name: `${one.id}-model`, own, set: on.set });
  const refresh = () => { if (!combo.note.textContent || own().some(offer => offer.id === on.get())) say(combo.note, '', own().find(offer => offer.id === on.get())?.title ?? ''); };
  return { input: combo.input, box: make('div', {}, combo.box, combo.note), refresh };
}

// A box to type in, with what there is below it. own(): [{id, title, more}] that need no Hub; set(id)
function modelCombo({ name, own, set }) {
  const input = make('input', { type: 'text', role: 'combobox', autocomplete: 'off', spellcheck: false, maxLength: 200,
    'aria-controls': `${name}-found`, 'aria-expanded': 'false', 'aria-autocomplete': 'list' });
  const list = make('ul', { id: `${name}-found`, className: 'found-models', role: 'listbox', hidden: true, 'aria-label': 'Models found' });
  const note = make('p', { className: 'field-note', id: `${name}-note`, role: 'status' });
  let asked = 0, timer, at = -1;

  input.addEventListener('input', () => {
    const text = input.value.trim(), mine = ++asked;
    set(text);
    clearTimeout(timer);
    say(note, '', '');
    offer(matching(text));
    if (text.length > 1 && !text.startsWith('run:')) timer = setTimeout(() => search(text, mine), PAUSE);
  });
  input.addEventListener('focus', () => offer(matching('')));
  input.addEventListener('keydown', event => {
    const options = [...list.children];
    if (event.key === 'Escape') close();
    if (list.hidden || !options.length) return;
    if (event.key === 'ArrowDown' || event.key === 'ArrowUp') {
      event.preventDefault();
      at = (at + (event.key === 'ArrowDown' ? 1 : -1) + options.length) % options.length;
      options.forEach((one, i) => one.setAttribute('aria-selected', String(i === at)));
      input.setAttribute('aria-activedescendant', options[at].id);
      options[at].scrollIntoView({ block: 'nearest' });
    }
    if (event.key === 'Enter' && at >= 0) { event.preventDefault(); take(options[at].dataset.id); }
  });
  input.addEventListener('blur', () => setTimeout(close, 150));

  const matching = text => own().filter(one => `${one.id} ${one.title}`.toLowerCase().includes(text.toLowerCase()));

  async function search(text, mine) {
    say(note, '', 'Searching the Hub …');
    const said = await server.search(text);
    if (mine !== asked) return;
    if (!said || said.problem) {
      const why = said?.problem?.text ?? 'The page’s own server does not answer.';
      say(note, 'careful', `${why} Type the model’s whole name, and go on.`);
      return;
    }
    say(note, '', said.answer.length ? `${said.answer.length} found. Choose with the arrow keys, or go on typing.` : 'No model is called that.');
    offer([...matching(text), ...said.answer.map(model => ({ id: model.id, title: model.id, more: weight(model) }))]);
  }

  function offer(found) {
    list.replaceChildren(...found.map((one, i) => make('li', { id: `${name}-found-${i}`, role: 'option', 'data-id': one.id, 'aria-selected': 'false', onmousedown: () => take(one.id) },
      make('span', { textContent: one.title }), make('small', { textContent: one.more }))));
    at = -1;
    open(found.length > 0 && document.activeElement === input);
  }

  function take(id) {
    asked += 1;
    clearTimeout(timer);
    input.value = id;
    say(note, '', '');
    set(id);
    close();
  }

  function open(shown) {
    list.hidden = !shown;
    input.setAttribute('aria-expanded', String(shown));
  }

  function close() {
    open(false);
    input.removeAttribute('aria-activedescendant');
  }

  return { input, note, box: make('div', { className: 'searched' }, input, list) };
}

function weight(model) {
  const size = model.parameters ? `${short(model.parameters)} weights · ` : '';
  const lock = model.gated ? ' · its licence must be accepted first' : model.private ? ' · private' : '';
  return `${size}${short(model.downloads)} downloads${lock}`;
}

const short = number => new Intl.NumberFormat('en-US', { notation: 'compact', maximumFractionDigits: 1 }).format(number ?? 0);

// Its base comes with it, and its rank: what was learned fits only where it was learned.
function runsBox(form) {
  const select = make('select', { id: 'own-run', onchange: () => take(select.value), 'aria-describedby': 'own-run-says' });
  const says = make('p', { className: 'says', id: 'own-run-says' });

  function take(id) {
    const run = form.finished.find(one => one.id === id);
    if (run) form.change(setup => { setup.model = structuredClone(run.model); setup.adapter = structuredClone(run.adapter); });
    return Boolean(run);
  }

  function refresh() {
    const chosen = form.setup().model?.start_from?.replace('run:', '') ?? '';
    const known = form.finished.some(one => one.id === chosen);
    const options = form.finished.map(one => make('option', { value: one.id, textContent: one.title }));
    if (chosen && !known) options.unshift(make('option', { value: chosen, textContent: chosen }));
    select.replaceChildren(...options);
    select.value = chosen;
    says.textContent = `Only finished runs are listed. Its base comes with it: ${modelName(form.setup().model)}.`;
  }

  const label = make('label', { htmlFor: 'own-run', textContent: 'Which run' });
  return { box: make('div', { className: 'field wide' }, label, says, select), take, refresh };
}
