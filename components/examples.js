// Examples: a sample, or a file of one's own with a word on which of its columns is which. What they can teach decides the
// lesson where the one that is chosen cannot be learned from them.

const SEVERAL = 60;  // steps; fewer seldom teach anything, as app/verdict.py says

// form: {setup(), base(), change(), lesson(), fitted(), uploads(): [{source, name}], uploaded(one)}
function examplesBlock(form) {
  const source = () => form.setup().data[0];
  const plain = setup => JSON.stringify(setup.data.map(one => [one.source, one.split ?? 'train', one.mapping ?? {}, one.limit ?? null, one.weight ?? 1]));
  const back = () => {
    form.change(setup => {
      setup.data = structuredClone(form.base().data);
      setup.holdout = structuredClone(form.base().holdout);
    });
    mapping.look(true);
  };
  const top = head({ title: 'Examples', id: 'examples', group: true, back, was: () => sourceName(form, form.base().data[0].source),
                     changed: () => plain(form.setup()) !== plain(form.base()) });
  const select = make('select', { id: 'source', onchange: () => use(select.value), 'aria-labelledby': 'examples-name', 'aria-describedby': 'source-says' });
  const says = make('p', { className: 'says', id: 'source-says' });
  const upload = uploadBox(form, said => { form.uploaded(said); return use(said.source, said.rows); });
  const mapping = mappingBox(form);

  // rows: how many, where that is known.
  async function use(name, rows = 0) {
    const before = form.state();
    form.change(setup => {
      setup.data = [{ source: name, split: 'train', weight: 1, mapping: {} }];
      setup.holdout = sampled(setup) ? { split: 'holdout' } : { share: OWN_SHARE };
    });
    await mapping.look(true, before);
    return rows ? see(rows) : '';
  }

  // A few examples are seen more often, so that there are steps enough to learn from; said in words.
  function see(rows) {
    const method = menu.methods[form.setup().method], knobs = form.setup().knobs, value = name => knobs[name] ?? method.fields.find(one => one.name === name)?.default;
    if (method.rewarded || knobs.steps || !value('epochs')) return '';
    const each = Math.max(1, Math.ceil(rows * (1 - OWN_SHARE) / (value('batch_size') * (value('accumulation') ?? 1))));  // steps of one pass
    if (each * value('epochs') >= SEVERAL) return '';
    const epochs = Math.min(100, Math.ceil(ENOUGH / each));
    form.room = { source: source().source, epochs };
    form.change(setup => { setup.knobs.epochs = epochs; });
    return ` That is little, so “Epochs” is now ${epochs}: each is seen ${epochs} times, in about ${Math.round(each * epochs)} steps.`;
  }

  function refresh() {
    top.refresh();
    const mine = form.uploads().map(one => [one.source, one.name]);
    if (![...menu.samples, ...form.uploads()].some(one => one.source === source().source)) mine.unshift([source().source, sourceName(form, source().source)]);
    const option = ([value, textContent]) => make('option', { value, textContent });
    select.replaceChildren(...(mine.length ? [make('optgroup', { label: 'Your own' }, ...mine.map(option))] : []),
      make('optgroup', { label: 'Samples' }, ...menu.samples.map(one => option([one.source, `${one.title} (sample)`]))));
    select.value = source().source;
    const sample = menu.samples.find(one => one.source === source().source);
    const more = form.setup().data.length - 1;
    says.textContent = (sample?.sentence ?? 'A file of your own.') + (more ? ` And ${more} more source${more > 1 ? 's' : ''}.` : '');
    mapping.refresh();
  }

  const row = make('div', { className: 'source' }, select, upload.button);
  const box = make('section', { className: 'block', id: 'examples' }, top.row, row, says, upload.box, mapping.box);
  return { box, refresh, look: () => mapping.look(false), columns: mapping.columns };
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
      const { rows, name } = said.answer, told = `${name}: ${inFull(rows)} example${rows === 1 ? '' : 's'}, read to the end.`;
      say(note, 'good', told);
      done({ ...said.answer, name: file.name }).then(more => say(note, 'good', told + more));
      return;
    }
    const why = said?.problem ? `${said.problem.text} ${said.problem.advice}` : `${file.name} did not arrive. Try again.`;
    say(note, 'wrong', `${why} Your earlier choice of examples stays.`);
  }

  // Said before a byte travels.
  function refused(file) {
    const kind = file.name.includes('.') ? file.name.slice(file.name.lastIndexOf('.')).toLowerCase() : '';
    if (/^\.(xlsx?|ods|numbers)$/.test(kind)) return `${file.name} cannot be read. In a spreadsheet: Save as → CSV UTF-8.`;
    if (!menu.kinds.includes(kind)) return `${file.name} cannot be read. Bring JSON lines (.jsonl), a table (.csv) or Parquet (.parquet).`;
    if (file.size > menu.most) return `${file.name} has ${short(file.size)}B; this page takes up to ${menu.most / 1e6} MB. Bring a part of it.`;
    return file.size ? '' : `${file.name} is empty. Bring a file with examples.`;
  }

  return { box, button };
}

// Which of these columns is ours, by what others call such columns.
function guess(part, names, taken = []) {
  const free = names.filter(name => !taken.includes(name));
  return [part, ...menu.columns[part].often].map(word => free.find(name => name.toLowerCase().trim() === word)).find(Boolean);
}

// What a row may be, and which column is which. Whatever holds examples is looked at: what they can teach is told to the form.
function mappingBox(form) {
  const box = make('div', { className: 'mapping', hidden: true });
  const note = make('p', { className: 'field-note', role: 'status' });
  let info = null, shape = null, asked = 0;
  const source = () => form.setup().data[0];
  const own = () => source().source.startsWith('upload:');
  const shapes = () => (menu.methods[form.setup().method]?.layouts ?? []).filter(name => name in menu.shapes);
  const parts = name => [...menu.shapes[name].columns, ...menu.shapes[name].optional];

  // first: the examples have just been chosen, so that a guess may be made. before: what the form was then, to go back to.
  async function look(first, before = form.state()) {
    const mine = ++asked, name = source().source;
    if (info?.source !== name) { info = null; form.fitted(null); }
    refresh();
    if (!name.startsWith('upload:') && !name.startsWith('sample:')) return;
    const said = await server.look({ source: name, mapping: source().mapping ?? {} });
    if (mine !== asked) return;
    info = said?.answer ?? null;
    const wrong = said?.answer ? '' : said?.problem ? `${said.problem.text} ${said.problem.advice}` : 'The file could not be looked at.';
    say(note, wrong ? 'wrong' : '', wrong);
    form.fitted(info?.fit ?? null);
    if (info && first) decide(info.fit, before);
    refresh();
  }

  const columns = () => info?.columns.map(one => one.name) ?? [];
  const known = () => shapes().some(name => menu.shapes[name].columns.every(part => columns().includes(part)));

  // The mapping that these examples need for the lesson that is chosen; where it cannot be learned from them, another lesson.
  function decide(fit, before) {
    const method = form.setup().method, fitting = Object.keys(fit.shapes).find(name => shapes().includes(name));
    if (fitting) put(fit.shapes[fitting]);
    else if (fit.best) {
      const found = Object.keys(fit.shapes).find(name => menu.methods[fit.best].layouts.includes(name)), was = menu.methods[method].title;
      form.lesson(fit.best, `“${was}” cannot be learned from these examples. The lesson is now “${menu.methods[fit.best].title}”.`, setup => { setup.data[0].mapping = fit.shapes[found]; }, before);
    } else if (own()) {
      put(defaults(columns().length > 1 && shapes().includes('prompt_completion') ? 'prompt_completion' : shapes().at(-1)));
      look(false);  // with these columns it may be taught
    }
    if (own()) ask();
  }

  // The preset's questions are about the preset's examples; the first of these is one to watch instead, of plain text its beginning.
  function ask() {
    const example = name => info.columns.find(one => one.name === (source().mapping?.[name] ?? name))?.example ?? '';
    const asked = example('prompt') || example('text').split(' ').slice(0, 4).join(' ');
    const untouched = JSON.stringify(form.setup().prompts) === JSON.stringify(form.base().prompts);
    if (untouched && asked && !asked.endsWith('…')) form.change(setup => { setup.prompts = [asked]; });
  }

  function put(mapping) {
    form.change(setup => { setup.data[0].mapping = Object.fromEntries(Object.entries(mapping).filter(([ours, theirs]) => theirs && ours !== theirs)); });
  }

  function shapeNow() {
    const mapped = Object.keys(source().mapping ?? {}), has = part => mapped.includes(part) || columns().includes(part);
    const fitting = shapes().filter(name => menu.shapes[name].columns.every(has));
    return fitting.find(name => parts(name).some(part => mapped.includes(part))) ?? fitting[0] ?? (shapes().includes(shape) ? shape : shapes()[0]);
  }

  function refresh() {
    box.hidden = !own();
    const open = box.querySelector('details')?.open, focused = document.activeElement?.id;
    box.replaceChildren(note);
    if (!info || box.hidden || !shapes().length) return;
    shape = shapeNow();
    const all = make('p', { className: 'says' }, `Columns: ${columns().map(name => name.slice(0, 60)).join(', ')}.`);
    const headless = info.headless ? [make('p', { className: 'field-note careful', textContent: 'The first line was taken for the names of the columns, and it looks like an example. If it is one, put a line with names above it and upload the file again.' })] : [];
    const asks = make('details', { open: open ?? !known() }, make('summary', { textContent: 'Which column is which' }), ...rows());
    box.append(all, ...headless, asks);
    if (focused) box.querySelector(`#${CSS.escape(focused)}`)?.focus();
  }

  function rows() {
    const kind = make('select', { id: 'map-kind', onchange: event => choose(event.target.value) },
      ...shapes().map(name => make('option', { value: name, textContent: menu.shapes[name].title })));
    kind.value = shape;
    return [make('div', { className: 'mapped' }, make('label', { htmlFor: 'map-kind', textContent: 'The file holds' }), kind), ...parts(shape).map(partRow)];
  }

  function choose(name) {
    shape = name;
    put(defaults(name));
    look(false);
  }

  // Each of ours to one of theirs: by its name, else the next that is free.
  function defaults(name) {
    const mapping = {};
    for (const part of menu.shapes[name]?.columns ?? []) {
      const taken = Object.values(mapping);
      mapping[part] = guess(part, columns(), taken) ?? columns().find(one => !taken.includes(one)) ?? columns()[0];
    }
    return mapping;
  }

  function partRow(part) {
    const optional = menu.shapes[shape].optional.includes(part), now = source().mapping?.[part] ?? part;
    const none = optional || !columns().includes(now) ? [make('option', { value: '', textContent: optional ? 'none' : 'choose one' })] : [];
    const select = make('select', { id: `map-${part}` }, ...none, ...columns().map(name => make('option', { value: name, textContent: name.slice(0, 80) })));
    select.value = columns().includes(now) ? now : '';
    select.addEventListener('change', () => { put({ ...current(), [part]: select.value }); look(false); });
    const example = info.columns.find(one => one.name === select.value)?.example ?? '';
    return make('div', { className: 'mapped' }, make('label', { htmlFor: `map-${part}`, textContent: menu.columns[part].title }), select,
      make('p', { className: 'says', textContent: example ? `“${example}”` : '' }));
  }

  const current = () => Object.fromEntries(parts(shape).map(part => [part, source().mapping?.[part] ?? part]));

  return { box, look, refresh, columns };
}
