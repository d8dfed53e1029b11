// Examples: a sample, a file of one's own, or a dataset on the Hub, or several of them. What they can teach decides the lesson
// where the one that is chosen cannot be learned from them.

const SEVERAL = 60;  // steps; fewer seldom teach anything, as app/history/verdict.py says

// form: {setup(), base(), change(), lesson(), fitted(), uploads(): [{source, name}], uploaded(one)}
function examplesBlock(form) {
  let at = 0;  // the source that is shown
  const data = () => form.setup().data, place = () => Math.min(at, data().length - 1), source = () => data()[place()];
  const plain = setup => JSON.stringify(setup.data.map(one => Object.entries({ split: 'train', weight: 1, mapping: {}, ...one }).sort()));
  const back = () => {
    at = 0;
    form.change(setup => {
      setup.data = structuredClone(form.base().data);
      setup.holdout = structuredClone(form.base().holdout);
      setup.drop = structuredClone(form.base().drop ?? []);
    });
    mapping.look(true);
  };
  const dropped = setup => JSON.stringify(setup.drop ?? []);
  const top = head({ title: 'Examples', id: 'examples', group: true, back, was: () => sourceName(form, form.base().data[0].source),
                     changed: () => plain(form.setup()) !== plain(form.base()) || dropped(form.setup()) !== dropped(form.base()) });
  const select = make('select', { id: 'source', onchange: () => use(select.value), 'aria-labelledby': 'examples-name', 'aria-describedby': 'source-says' });
  const says = make('p', { className: 'says', id: 'source-says' });
  const upload = uploadBox(form, (said, changes) => { form.uploaded(said); return use(said.source, changes ? 0 : said.rows, changes); });
  const mapping = mappingBox(form, place, () => held.refresh());
  const list = sourcesList(form, place, show), slice = sliceBox(form, source, mapping), held = heldBox(form, mapping), drops = dropsBox();
  const far = farBox(form, source, mapping, use);

  // rows: how many, where that is known. changes: how a person said it is to be read.
  async function use(name, rows = 0, changes = null) {
    const before = form.state(), now = place();
    form.change(setup => {
      setup.data[now] = { source: name, split: 'train', weight: setup.data[now].weight ?? 1, mapping: {} };
      for (const [path, value] of Object.entries(changes ?? {})) setup.data[now][path.split('.').at(-1)] = value;
      if (now === 0) setup.holdout = sampled(setup) ? { split: 'holdout' } : { share: OWN_SHARE };
    });
    await mapping.look(true, before);
    return rows && now === 0 ? see(rows) : '';
  }

  function show(next) {
    at = next;
    refresh();
    mapping.look(false);
  }

  // One more source beside the others: at first a sample that is not among them.
  function add() {
    const free = menu.samples.find(one => data().every(other => other.source !== one.source)) ?? menu.samples[0];
    at = data().length;
    form.change(setup => {
      setup.data.push({ source: free.source, split: 'train', weight: 1, mapping: {} });
      if (setup.holdout?.split) setup.holdout = { share: OWN_SHARE };  // that split is the first source’s
    });
    mapping.look(true);
    select.focus();
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
    says.textContent = sample?.sentence ?? { hub: 'A dataset on the Hub.', path: 'A file on this machine, read where it lies.' }[source().source.split(':')[0]] ?? 'A file of your own.';
    for (const one of [list, far, mapping, slice, drops, held]) one.refresh();
  }

  const more = make('button', { type: 'button', className: 'back', id: 'add-source', textContent: 'Add another source', onclick: add });
  const row = make('div', { className: 'source' }, select, upload.button);
  const box = make('section', { className: 'block', id: 'examples' }, top.row, list.box, row, says, upload.box, far.box, mapping.box, slice.box, make('p', {}, more), drops.box, held.box);
  return { box, refresh, look: () => mapping.look(false), columns: mapping.columns, again() { at = place(); mapping.look(false); } };
}

function sourceName(form, source) {
  const sample = menu.samples.find(one => one.source === source);
  return sample?.title ?? form.uploads().find(one => one.source === source)?.name ?? source.replace(/^(hub|path):/, '').replace(/^upload:([0-9a-f]{6})[0-9a-f]*/, 'file $1');
}

function uploadBox(form, done) {
  const note = make('p', { className: 'field-note', id: 'upload-note', role: 'status' });
  const bar = make('progress', { max: 1, value: 0, hidden: true, 'aria-label': 'Upload' });
  const stop = make('button', { type: 'button', className: 'back', textContent: 'Cancel', hidden: true, onclick: () => sending?.abort() });
  const input = make('input', { type: 'file', id: 'upload', className: 'unseen', accept: menu.kinds.join(','), 'aria-describedby': 'upload-says upload-note',
    onchange: () => { if (input.files[0]) send(input.files[0]); input.value = ''; } });
  const button = make('span', { className: 'pick' }, input, make('label', { htmlFor: 'upload', textContent: 'Upload a file' }));
  const says = make('p', { className: 'says', id: 'upload-says', textContent:
    `JSON lines, JSON, a table (CSV, TSV), Parquet, Arrow, plain text, or a zip of pictures with their rows; also packed as .gz. Up to ${menu.most / 1e6} MB. It goes into Tunesmith’s own folder and nowhere else.` });
  const offers = make('div', { className: 'offers' });
  const box = make('div', { className: 'upload' }, says, make('div', { className: 'sending' }, bar, stop), note, offers);
  let sending = null;

  box.addEventListener('drop', event => { event.preventDefault(); if (event.dataTransfer.files[0]) send(event.dataTransfer.files[0]); });
  box.addEventListener('dragover', event => event.preventDefault());

  function send(file) {
    const refusal = refused(file);
    offers.replaceChildren();
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
    if (said?.answer && said.problem) return offer({ ...said.answer, name: file.name }, said.problem);
    if (said?.answer) {
      const { rows, name } = said.answer, told = `${name}: ${inFull(rows)} example${rows === 1 ? '' : 's'}, read to the end.`;
      say(note, 'good', told);
      done({ ...said.answer, name: file.name }).then(more => say(note, 'good', told + more));
      return;
    }
    const why = said?.problem ? `${said.problem.text} ${said.problem.advice}` : `${file.name} did not arrive. Try again.`;
    say(note, 'wrong', `${why} Your earlier choice of examples stays.`);
  }

  // It is kept, and waits for a word on how to read it: nothing is left out that nobody said to leave out.
  function offer(answer, problem) {
    say(note, 'wrong', `${problem.text} Mend the file, or choose below. Your earlier choice of examples stays.`);
    const ways = answer.findings.filter(one => one.remedy).map(({ remedy }) => make('button', { type: 'button', className: 'plain', textContent: `${remedy.title}, and take the file`,
      onclick: () => { offers.replaceChildren(); say(note, 'good', `${answer.name} is taken. ${remedy.title}.`); done(answer, remedy.changes); } }));
    offers.replaceChildren(...ways);
  }

  // Said before a byte travels.
  function refused(file) {
    const kind = file.name.includes('.') ? file.name.slice(file.name.lastIndexOf('.')).toLowerCase() : '';
    if (/^\.(xlsx?|ods|numbers)$/.test(kind)) return `${file.name} cannot be read. In a spreadsheet: Save as → CSV UTF-8.`;
    if (!menu.kinds.includes(kind)) return `${file.name} cannot be read. Bring JSON lines (.jsonl), a table (.csv), Parquet (.parquet), text (.txt) or pictures (.zip).`;
    if (file.size > menu.most) return `${file.name} has ${short(file.size)}B; this page takes up to ${menu.most / 1e6} MB. Bring a part of it.`;
    return file.size ? '' : `${file.name} is empty. Bring a file with examples.`;
  }

  return { box, button };
}
