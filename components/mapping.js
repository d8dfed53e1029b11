// Mapping: how the rows of a source are read: as what, why, and what else they could be; which column is which; who speaks;
// and what the first row becomes. Whatever a person decides here edits the setup, so that preview and training read alike.

const CERTAIN = { sure: 'sure', likely: 'likely', possible: 'a guess', none: '' };
const OF_SEVERAL = '\u0000several';  // in a list of columns: a text made of several
const USUAL = ['pair', 'messages', 'preference', 'text', 'question'];  // where nothing is recognised
const SOON = 300;  // milliseconds without a key before a text is tried on the first row

// place(): of the source in the setup. told(info): hears of every look. Whatever holds examples is looked at: what they can
// teach is told to the form.
function mappingBox(form, place, told = () => {}) {
  const box = make('div', { className: 'mapping', hidden: true });
  const note = make('p', { className: 'field-note', role: 'status' });
  const wanted = new Set();  // datasets on the Hub that a person asked to look at: nothing is fetched unasked
  let info = null, asked = 0, timer = 0, lesson = '';  // lesson: that the last look was for

  const source = () => form.setup().data[place()];
  const method = () => form.setup().method;
  const own = () => !source().source.startsWith('sample:');
  const kinds = () => menu.methods[method()]?.layouts ?? [];
  const layouts = () => Object.keys(menu.layouts).filter(name => kinds().includes(menu.layouts[name].kind));
  const columns = () => info?.columns.map(one => one.name) ?? [];
  const onHub = () => source().source.startsWith('hub:');
  const key = () => JSON.stringify(['source', 'config', 'split', 'revision'].map(name => source()[name] ?? ''));

  // first: the examples have just been chosen, so that a guess may be made. before: what the form was then, to go back to.
  async function look(first, before = form.state()) {
    const mine = ++asked, name = source().source, lead = place() === 0;
    clearTimeout(timer);
    lesson = method();
    if (info?.source !== name) { info = null; if (lead) form.fitted(null); }
    refresh();
    if (onHub() && !wanted.has(key())) return told(null);
    if (onHub()) say(note, '', 'Reaching the Hub for the first rows …');
    const said = await server.look({ source: source(), place: place(), method: method() });
    if (mine !== asked) return;
    info = said?.answer ?? null;
    const wrong = said?.answer ? '' : said?.problem ? `${said.problem.text} ${said.problem.advice}` : 'The examples could not be looked at.';
    say(note, wrong ? 'wrong' : '', wrong);
    if (lead) form.fitted(info?.fit ?? null);
    if (info?.fit && first) decide(info.fit, before, lead);
    refresh();
    told(info);
  }

  const soon = () => { clearTimeout(timer); timer = setTimeout(() => look(false), SOON); };

  // The mapping that these examples need for the lesson that is chosen; where it cannot be learned from them, another lesson.
  function decide(fit, before, lead) {
    const fitting = Object.keys(fit.shapes).find(name => kinds().includes(name));
    if (fitting) put(fit.shapes[fitting]);
    else if (fit.best && lead) {
      const found = Object.keys(fit.shapes).find(name => menu.methods[fit.best].layouts.includes(name)), was = menu.methods[method()].title;
      form.lesson(fit.best, `“${was}” cannot be learned from these examples. The lesson is now “${menu.methods[fit.best].title}”.`, setup => { setup.data[0].mapping = fit.shapes[found]; }, before);
      look(false);  // as that lesson reads them
    }
    if (own() && lead) ask();
  }

  // The preset's questions are about the preset's examples; the first of these is one to watch instead, of plain text its beginning.
  function ask() {
    const example = name => info.columns.find(one => one.name === (source().mapping?.[name] ?? name))?.example ?? '';
    const asks = example('prompt') || example('text').split(' ').slice(0, 4).join(' ');
    const untouched = same(form.setup().prompts, form.base().prompts);
    if (untouched && asks && !asks.endsWith('…')) form.change(setup => { setup.prompts = [asks]; });
  }

  // -- what a person decides -------------------------------------------------------------------------------------

  const change = deed => form.change(setup => deed(setup.data[place()]));
  const trimmed = mapping => Object.fromEntries(Object.entries(mapping).filter(([ours, theirs]) => theirs && ours !== theirs));
  const put = mapping => change(one => { one.mapping = trimmed(mapping); });
  const parts = name => [...menu.layouts[name].needs, ...menu.layouts[name].may];

  function layoutNow() {
    const all = layouts(), found = [source().layout, info?.now.layout, ...USUAL, ...all].find(name => all.includes(name));
    return found ?? null;
  }

  // The column that is read as this part, or nothing. A text of several columns is none.
  function columnOf(part) {
    if (source().templates?.[part] !== undefined) return '';
    const read = info?.now.layout === layoutNow() && info?.now.parts.find(one => one.name === part)?.column;
    return source().mapping?.[part] ?? (read || '');
  }
  const guessed = part => (info?.guess.layout === layoutNow() && info.guess.parts.find(one => one.name === part)?.column) || '';
  const changedPart = part => source().templates?.[part] !== undefined || (Boolean(source().mapping?.[part]) && source().mapping[part] !== guessed(part));

  // A column gets a part; the others stay as they are. Of another layout: the rows are read as that from now on.
  function assign(part, column, layout = layoutNow()) {
    const kept = Object.fromEntries(parts(layout).map(one => [one, columnOf(one)]).filter(([one, theirs]) => one !== part && theirs && theirs !== column));
    change(one => {
      one.mapping = trimmed({ ...kept, [part]: column });
      if (layout !== layoutNow()) one.layout = layout;
      drop(one, part);
    });
    look(false);
  }

  function drop(one, part) {
    const { [part]: _, ...rest } = one.templates ?? {};
    if (Object.keys(rest).length) one.templates = rest; else delete one.templates;
  }

  // An optional part is left out, also where its column would be found by its name.
  function leave(part) {
    change(one => {
      const { [part]: _, ...rest } = one.mapping ?? {};
      one.mapping = rest;
      drop(one, part);
      if (guessed(part)) one.templates = { ...one.templates, [part]: '' };
    });
    look(false);
  }

  function write(part, text) {
    change(one => {
      const { [part]: _, ...rest } = one.mapping ?? {};
      one.mapping = rest;
      one.templates = { ...one.templates, [part]: text };
    });
    soon();
  }

  function read(layout, mapping = null) {
    change(one => {
      const kept = mapping ?? Object.fromEntries(Object.entries(one.mapping ?? {}).filter(([part]) => !layout || parts(layout).includes(part)));
      one.mapping = trimmed(kept);
      if (layout) one.layout = layout; else delete one.layout;
      if (mapping) delete one.templates;
    });
    look(false);
  }

  function recognise() {
    change(one => {
      one.mapping = {};
      for (const name of ['layout', 'templates', 'roles']) delete one[name];
      if (info) one.mapping = trimmed(info.guess.mapping);
    });
    look(false);
  }

  const touched = () => Boolean(source().layout || Object.keys(source().templates ?? {}).length || Object.keys(source().roles ?? {}).length)
    || (info && !same(trimmed(source().mapping ?? {}), trimmed(info.guess.mapping)) && Object.keys(source().mapping ?? {}).length > 0);

  // -- how it is drawn -------------------------------------------------------------------------------------------

  const self = { source, place, info: () => info, columns, layouts, parts, layoutNow, columnOf, guessed, changedPart, assign, leave, write, read, recognise, touched, drop,
                 change, look, back(part) { change(one => { drop(one, part); const { [part]: _, ...rest } = one.mapping ?? {}; one.mapping = trimmed({ ...rest, [part]: guessed(part) }); }); look(false); } };
  const ask_hub = make('button', { type: 'button', className: 'plain', textContent: 'Look at its first rows', onclick: () => { wanted.add(key()); look(true); } });
  const pieces = [readingPiece(self), tablePiece(self), partsPiece(self), becomesPiece(self), speakersPiece(self)];
  const seen = make('div', { className: 'seen' }, ...pieces.map(one => one.box));
  const more = make('details', { className: 'seen-sample' }, make('summary', { textContent: 'Look at its first rows, and how they are read' }));
  box.append(note, ask_hub, seen);

  // Of a sample all this is right already: it waits behind a line.
  function refresh() {
    box.hidden = false;
    if (info && lesson !== method()) { lesson = method(); soon(); }  // another lesson takes other layouts
    ask_hub.hidden = !onHub() || Boolean(info);
    const folded = !own();
    if (folded && seen.parentNode !== more) { more.append(seen); box.append(more); }
    if (!folded && seen.parentNode !== box) { more.remove(); box.append(seen); }
    box.classList.toggle('quietly', folded);
    seen.hidden = !info || !layouts().length;
    if (!seen.hidden) for (const one of pieces) one.refresh();
  }

  // Something else that a source says of itself, such as where its rows begin.
  function say_of(name, value) {
    change(one => { if (value === undefined) delete one[name]; else one[name] = value; });
    soon();
  }

  return { box, look, refresh, columns, info: () => info, wants() { wanted.add(key()); }, put: say_of };
}
