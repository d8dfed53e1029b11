// Examples: a sample, or a file of one's own with a word on which of its columns is which.

// form: {setup(), base(), change(), lacking, uploads(): [{source, name}], uploaded(one)}
function examplesBlock(form) {
  const source = () => form.setup().data[0];
  const plain = setup => JSON.stringify(setup.data.map(one => [one.source, one.split ?? 'train', one.mapping ?? {}, one.limit ?? null, one.weight ?? 1]));
  const back = () => form.change(setup => {
    setup.data = structuredClone(form.base().data);
    setup.holdout = structuredClone(form.base().holdout);
  });
  const top = head({ title: 'Examples', id: 'examples', group: true, back, was: () => sourceName(form, form.base().data[0].source),
                     changed: () => plain(form.setup()) !== plain(form.base()) });
  const select = make('select', { id: 'source', onchange: () => use(select.value), 'aria-labelledby': 'examples-name', 'aria-describedby': 'source-says' });
  const says = make('p', { className: 'says', id: 'source-says' });
  const upload = uploadBox(form, said => { form.uploaded(said); use(said.source); });
  const mapping = mappingBox(form);

  function use(name) {
    form.change(setup => {
      setup.data = [{ source: name, split: 'train', weight: 1, mapping: {} }];
      setup.holdout = sampled(setup) ? { split: 'holdout' } : { share: OWN_SHARE };
    });
    mapping.look(true);
  }

  function refresh() {
    top.refresh();
    const fitting = menu.samples.filter(one => one.methods.includes(form.setup().method) || one.source === source().source);
    const known = [...fitting.map(one => [one.source, `${one.title} (sample)`]), ...form.uploads().map(one => [one.source, one.name])];
    if (!known.some(([name]) => name === source().source)) known.push([source().source, sourceName(form, source().source)]);
    select.replaceChildren(...known.map(([value, textContent]) => make('option', { value, textContent })));
    select.value = source().source;
    const sample = menu.samples.find(one => one.source === source().source);
    const more = form.setup().data.length - 1;
    says.textContent = (sample?.sentence ?? 'A file of your own.') + (more ? ` And ${more} more source${more > 1 ? 's' : ''}.` : '');
    mapping.refresh();
  }

  const row = make('div', { className: 'source' }, select, upload.button);
  return { box: make('section', { className: 'block', id: 'examples' }, top.row, row, says, upload.box, mapping.box), refresh, look: mapping.look };
}

function sourceName(form, source) {
  const sample = menu.samples.find(one => one.source === source);
  return sample?.title ?? form.uploads().find(one => one.source === source)?.name ?? source.replace(/^upload:([0-9a-f]{6})[0-9a-f]*/, 'file $1');
}

function uploadBox(form, done) {
  const note = make('p', { className: 'field-note', id: 'upload-note', role: 'status' });
  const bar = make('progress', { max: 1, value: 0, hidden: true, 'aria-label': 'Upload' });
  const stop = make('button', { type: 'button', className: 'back', textContent: 'Cancel', hidden: true, onclick: () => sending?.abort() });
  const input = make('input', { type: 'file', id: 'upload', className: 'unseen', accept: menu.kinds.join(','), 'aria-describedby': 'upload-says upload-note',
    onchange: () => { if (input.files[0]) send(input.files[0]); input.value = ''; } });
  const button = make('span', { className: 'pick' }, input, make('label', { htmlFor: 'upload', textContent: 'Upload a file' }));
  const says = make('p', { className: 'says', id: 'upload-says', textContent:
    `JSON lines, CSV or Parquet, up to ${menu.most / 1e6} MB. It goes into Tunesmith’s own folder and nowhere else.` });
  const box = make('div', { className: 'upload' }, says, make('div', { className: 'sending' }, bar, stop), note);
  let sending = null;

  box.addEventListener('drop', event => { event.preventDefault(); if (event.dataTransfer.files[0]) send(event.dataTransfer.files[0]); });
  box.addEventListener('dragover', event => event.preventDefault());

  function send(file) {
    const refusal = refused(file);
    if (refusal) return say(note, 'wrong', refusal);
    sending?.abort();
    const request = sending = new XMLHttpRequest();
    request.open('POST', `uploads?name=${encodeURIComponent(file.name)}`);
    request.responseType = 'json';
    request.upload.onprogress = event => {
      bar.value = event.loaded / (event.total || 1);
      say(note, '', event.loaded < event.total ? `Sending ${file.name} …` : `Reading ${file.name} to its end …`);
    };
    request.onloadend = () => { if (sending === request) end(request, file); };
    say(note, '', `Sending ${file.name} …`);
    bar.value = 0;
    bar.hidden = stop.hidden = false;
    request.send(file);
  }

  function end(request, file) {
    sending = null;
    bar.hidden = stop.hidden = true;
    const said = request.response;
    if (said?.answer) {
      const { rows, name } = said.answer;
      done({ ...said.answer, name: file.name });
      return say(note, 'good', `${name}: ${inFull(rows)} example${rows === 1 ? '' : 's'}, read to the end.`);
    }
    const why = said?.problem ? `${said.problem.text} ${said.problem.advice}` : `${file.name} did not arrive. Try again.`;
    say(note, 'wrong', `${why} Your earlier choice of examples stays.`);
  }

  // Said before a byte travels.
  function refused(file) {
    const kind = file.name.includes('.') ? file.name.slice(file.name.lastIndexOf('.')).toLowerCase() : '';
    if (!menu.kinds.includes(kind)) return `${file.name} cannot be read. Bring JSON lines (.jsonl), a table (.csv) or Parquet (.parquet).`;
    if (file.size > menu.most) return `${file.name} has ${short(file.size)}B; this page takes up to ${menu.most / 1e6} MB. Bring a part of it.`;
    return file.size ? '' : `${file.name} is empty. Bring a file with examples.`;
  }

  return { box, button };
}

// What a row may be, by the columns that make it so, as app/rows.py reads them; and what such columns are often called.
const SHAPES = {
  messages: { title: 'Conversations', parts: { messages: 'The conversation' } },
  prompt_completion: { title: 'Questions and answers', parts: { prompt: 'The question', completion: 'The answer' } },
  text: { title: 'Plain text', parts: { text: 'The text' } },
  prompt: { title: 'Questions', parts: { prompt: 'The question' } },
};
const OFTEN = {
  messages: ['messages', 'conversations', 'conversation', 'dialog', 'dialogue', 'chat', 'turns'],
  prompt: ['prompt', 'question', 'instruction', 'input', 'query', 'user', 'ask', 'q'],
  completion: ['completion', 'answer', 'response', 'output', 'target', 'assistant', 'reply', 'label', 'a'],
  text: ['text', 'content', 'body', 'document', 'story'],
};

function guess(part, names, taken = []) {
  const free = names.filter(name => !taken.includes(name));
  return OFTEN[part].map(word => free.find(name => name.toLowerCase() === word)).find(Boolean);
}

function mappingBox(form) {
  const box = make('div', { className: 'mapping', hidden: true });
  const note = make('p', { className: 'field-note', role: 'status' });
  let info = null, shape = null, asked = 0;
  const source = () => form.setup().data[0];
  const shapes = () => (menu.methods[form.setup().method]?.layouts ?? []).filter(name => name in SHAPES);

  // first: the file has just been chosen, so that a guess may be made.
  async function look(first) {
    const name = source().source, mine = ++asked;
    info = null;
    refresh();
    if (!name.startsWith('upload:')) return;
    const said = await server.look(name);
    if (mine !== asked) return;
    if (said?.answer) info = said.answer;
    say(note, said?.answer ? '' : 'wrong', said?.answer ? '' : said?.problem ? `${said.problem.text} ${said.problem.advice}` : 'The file could not be looked at.');
    if (info && first && !known()) offer();
    if (info && first) ask();
    refresh();
  }

  const names = () => info.columns.map(one => one.name);
  const fits = name => Object.keys(SHAPES[name].parts).every(part => names().includes(part)) || (name === 'messages' && names().includes('conversations'));
  const known = () => shapes().some(fits);

  function offer() {
    const sure = shapes().find(name => Object.keys(SHAPES[name].parts).every(part => guess(part, names())));
    shape = sure ?? (names().length > 1 && shapes().includes('prompt_completion') ? 'prompt_completion' : shapes().at(-1));
    const mapping = {};
    for (const part of Object.keys(SHAPES[shape]?.parts ?? {})) {
      const taken = Object.values(mapping);
      mapping[part] = guess(part, names(), taken) ?? names().find(name => !taken.includes(name)) ?? names()[0];
    }
    put(mapping);
  }

  // The preset's questions are about the preset's examples; the first of these is one to watch instead.
  function ask() {
    const theirs = source().mapping?.prompt ?? 'prompt';
    const example = info.columns.find(one => one.name === theirs)?.example ?? '';
    const untouched = JSON.stringify(form.setup().prompts) === JSON.stringify(form.base().prompts);
    if (untouched && example && !example.endsWith('…')) form.change(setup => { setup.prompts = [example]; });
  }

  function put(mapping) {
    form.change(setup => { setup.data[0].mapping = Object.fromEntries(Object.entries(mapping).filter(([ours, theirs]) => theirs && ours !== theirs)); });
  }

  function shapeNow() {
    const mapped = Object.keys(source().mapping ?? {});
    const fitting = shapes().filter(name => Object.keys(SHAPES[name].parts).every(part => mapped.includes(part) || names().includes(part)));
    return fitting.find(name => Object.keys(SHAPES[name].parts).some(part => mapped.includes(part))) ?? shapes().find(fits) ?? shapes()[0];
  }

  function refresh() {
    box.hidden = !source().source.startsWith('upload:');
    const open = box.querySelector('details')?.open, focused = document.activeElement?.id;
    box.replaceChildren(note);
    if (!info || box.hidden) return;
    shape = shapeNow();
    const all = make('p', { className: 'says' }, `Columns: ${names().map(name => name.slice(0, 60)).join(', ')}.`);
    const asks = make('details', { open: open ?? !known() }, make('summary', { textContent: 'Which column is which' }), ...rows());
    box.append(all, asks);
    if (focused) box.querySelector(`#${CSS.escape(focused)}`)?.focus();
  }

  function rows() {
    const kind = make('select', { id: 'map-kind', onchange: event => { shape = event.target.value; put(defaults(shape)); } },
      ...shapes().map(name => make('option', { value: name, textContent: SHAPES[name].title })));
    kind.value = shape;
    const parts = Object.entries(SHAPES[shape]?.parts ?? {}).map(([part, title]) => partRow(part, title));
    return [make('div', { className: 'mapped' }, make('label', { htmlFor: 'map-kind', textContent: 'The file holds' }), kind), ...parts];
  }

  function defaults(name) {
    return Object.fromEntries(Object.keys(SHAPES[name].parts).map((part, i) => [part, guess(part, names()) ?? names()[Math.min(i, names().length - 1)]]));
  }

  function partRow(part, title) {
    const select = make('select', { id: `map-${part}` }, ...names().map(name => make('option', { value: name, textContent: name.slice(0, 80) })));
    select.value = source().mapping?.[part] ?? part;
    select.addEventListener('change', () => put({ ...current(), [part]: select.value }));
    const example = info.columns.find(one => one.name === select.value)?.example ?? '';
    return make('div', { className: 'mapped' }, make('label', { htmlFor: `map-${part}`, textContent: title }), select,
      make('p', { className: 'says', textContent: example ? `“${example}”` : '' }));
  }

  function current() {
    return Object.fromEntries(Object.keys(SHAPES[shape].parts).map(part => [part, source().mapping?.[part] ?? part]));
  }

  return { box, look, refresh };
}
