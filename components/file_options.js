// Reading: as what rows are read and why, which column is which part, who speaks in them, and what the first row becomes.

// Words in which `names` are set apart.
const inCode = text => text.split('`').map((part, place) => (place % 2 ? make('code', { textContent: part }) : part)).filter(part => part !== '');

// What was found, with its sign in words, and the way to mend it. mend(changes): edits the setup.
const SIGNS = { good: 'Good', careful: 'Careful', wrong: 'Wrong', info: 'Note' };
function foundItem(one, mend) {
  const item = make('li', { className: one.severity }, make('span', { className: 'unseen', textContent: `${SIGNS[one.severity] ?? 'Note'}: ` }), ...inCode(one.text));
  if (one.remedy) item.append(' ', make('button', { type: 'button', className: 'back', textContent: one.remedy.title, onclick: () => mend(one.remedy) }));
  return item;
}

// Changes of a remedy: {path: value}; a value of nothing takes the setting away.
function alter(setup, changes) {
  for (const [path, value] of Object.entries(changes)) {
    const keys = path.split('.'), last = keys.pop();
    const group = keys.reduce((part, name) => part[name] ??= {}, setup);
    if (value === null || value === undefined) delete group[last]; else group[last] = structuredClone(value);
  }
}

// As what the rows are read, why, how sure that is, and the other ways one click away.
function readingPiece(map) {
  const words = make('p', { className: 'reading' });
  const others = make('p', { className: 'others' }), found = make('ul', { className: 'notice', 'aria-label': 'What was found in the first rows' });
  const mark = make('span', { className: 'mark-changed', textContent: '● changed' });
  const back = make('button', { type: 'button', className: 'back', textContent: 'Back to what was recognised', onclick: () => map.recognise() });
  const differs = make('p', { className: 'differs' }, mark, back);
  const box = make('div', { className: 'read-as' }, words, differs, others, found);

  function refresh() {
    const { now, fits } = map.info(), lesson = menu.methods[form.setup().method].title;
    const certain = CERTAIN[now.certainty];
    words.replaceChildren(...(now.layout ? [make('span', { textContent: fits ? 'We read this as: ' : 'This looks like: ' }), make('strong', { textContent: now.title }), ', ', ...inCode(now.because), '.',
      ...(certain ? [' ', make('span', { className: 'tag', textContent: certain })] : []), ...(fits ? [] : [` “${lesson}” does not learn from that as it is.`])]
      : [make('strong', { textContent: 'Nothing tells yet how to read these rows.' }), ' Say under the columns which is which.']));
    differs.hidden = !map.touched();
    others.replaceChildren(...(now.others.length ? ['Or read it as: '] : []), ...now.others.flatMap((one, place) => [place ? ' · ' : '',
      make('button', { type: 'button', className: 'back', textContent: one.title, title: one.because, onclick: () => map.read(one.layout, one.mapping) })]));
    others.hidden = !now.others.length;
    const shown = [...headless(), ...now.findings.filter(one => one.id !== 'nothing')];
    found.replaceChildren(...shown.map(one => foundItem(one, remedy => { form.change(setup => alter(setup, remedy.changes)); map.look(false); })));
    found.hidden = !shown.length;
  }

  // A table without a line of names loses its first example, and its columns are called by what stands in it.
  function headless() {
    if (!map.info().headless || map.source().headless) return [];
    return [{ severity: 'careful', text: 'The first line was taken for the names of the columns, and it looks like an example.',
      remedy: { title: 'It is an example', changes: { [`data.${map.place()}.headless`]: true } } }];
  }

  return { box, refresh };
}

// Each part of the layout with its column, or the text that is made of several.
function partsPiece(map) {
  const kind = make('select', { id: 'map-kind', onchange: () => map.read(kind.value || null) });
  const top = make('div', { className: 'mapped' }, make('label', { htmlFor: 'map-kind', textContent: 'The file holds' }), kind);
  const rows = make('div', {}), summary = make('summary', { textContent: 'Which column is which' });
  const box = make('details', { className: 'which' }, summary, top, rows);
  let drawn = '', all = [], opened = false;

  function refresh() {
    const layout = map.layoutNow(), key = JSON.stringify([layout, map.layouts(), map.columns()]);
    if (key !== drawn) {
      kind.replaceChildren(make('option', { value: '', textContent: 'What was recognised' }), ...map.layouts().map(name => make('option', { value: name, textContent: menu.layouts[name].title })));
      all = layout ? map.parts(layout).map(part => partRow(map, part)) : [];
      rows.replaceChildren(...all.map(one => one.box));
    }
    drawn = key;
    kind.value = map.source().layout ?? '';
    for (const one of all) one.refresh();
    if (!opened && (!map.info().now.layout || !map.info().fits)) { box.open = opened = true; }
  }

  return { box, refresh };
}

function partRow(map, part) {
  const needed = menu.layouts[map.layoutNow()].needs.includes(part), title = menu.columns[part].title;
  const select = make('select', { id: `map-${part}`, onchange: choose });
  const none = make('option', { value: '', textContent: needed ? 'choose one' : 'none' });
  select.append(none, ...map.columns().map(name => make('option', { value: name, textContent: name.slice(0, 80) })), make('option', { value: OF_SEVERAL, textContent: 'A text made of several columns …' }));
  const says = make('p', { className: 'says' });
  const text = make('textarea', { id: `map-${part}-text`, rows: 3, spellcheck: false, 'aria-label': `${title}: a text with {column} where a column’s words go`, oninput: () => map.write(part, text.value) });
  const chips = make('p', { className: 'chips' }, 'Put in: ', ...map.columns().slice(0, 20).map(name => make('button', { type: 'button', className: 'chip', textContent: `{${name.slice(0, 40)}}`, onclick: () => insert(`{${name}}`) })));
  const several = make('div', { className: 'several' }, text, chips);
  const mark = make('span', { className: 'mark-changed', textContent: '● changed' });
  const back = make('button', { type: 'button', className: 'back', onclick: () => { map.back(part); select.focus(); } });
  const differs = make('p', { className: 'differs' }, mark, back);
  const box = make('div', { className: 'mapped' }, make('label', { htmlFor: select.id, textContent: title }), select, says, several, differs);

  function choose() {
    if (select.value === OF_SEVERAL) { map.write(part, map.columnOf(part) ? `{${map.columnOf(part)}}` : ''); text.focus(); }
    else if (select.value) map.assign(part, select.value);
    else if (!needed) map.leave(part);
  }

  function insert(field) {
    text.setRangeText(field, text.selectionStart, text.selectionEnd, 'end');
    text.focus();
    map.write(part, text.value);
  }

  function refresh() {
    const template = map.source().templates?.[part], column = map.columnOf(part), guess = map.guessed(part);
    const made = template !== undefined && (template !== '' || needed || document.activeElement === text || document.activeElement === select && select.value === OF_SEVERAL);
    none.disabled = needed && Boolean(column);
    select.value = made ? OF_SEVERAL : map.columns().includes(column) ? column : '';
    several.hidden = !made;
    if (made && text.value !== template) text.value = template;
    const example = map.info().columns.find(one => one.name === column)?.example ?? '';
    const how = column && column === guess ? `Recognised by its name: ` : '';
    says.textContent = made ? 'Words of your own, with {column} where what stands in a column goes.' : example ? `${how}“${example}”` : needed ? 'Needed.' : '';
    differs.hidden = !guess || !map.changedPart(part);
    back.textContent = guess ? `Back to “${guess.slice(0, 60)}”` : '';
    back.setAttribute('aria-label', `${title}: back to “${guess.slice(0, 60)}”`);
  }

  return { box, refresh };
}

// What the first row becomes, as the lesson reads it.
function becomesPiece(map) {
  const box = make('div', { className: 'becomes', role: 'status' });
  let drawn = '';

  function refresh() {
    const untold = !map.info().now.layout && !map.touched();  // nothing has been said yet that could be wrong
    const made = untold ? {} : map.info().made, key = JSON.stringify(made);
    if (key === drawn) return;
    drawn = key;
    if (!made.parts) return box.replaceChildren(...(made.why ? [make('h3', { textContent: 'What a row becomes' }), make('p', { className: 'field-note wrong' }, ...inCode(made.why))] : []));
    const number = inFull((map.source().start ?? 0) + 1);
    const list = made.parts.flatMap(one => [make('dt', { textContent: one.title }), make('dd', {}, ...one.says.map(turn =>
      make('p', {}, ...(turn.who && one.says.length > 1 || turn.who === 'system' ? [make('span', { className: 'who', textContent: turn.who })] : []), turn.text)))]);
    box.replaceChildren(make('h3', { textContent: `What row ${number} becomes` }), make('dl', {}, ...list));
  }

  return { box, refresh };
}

// Who speaks in the rows, under which name, and who that is.
function speakersPiece(map) {
  const body = make('tbody', {});
  const table = make('table', { className: 'speakers' }, make('thead', {}, make('tr', {}, ...['Name in the rows', 'Turns', 'Is the'].map(textContent => make('th', { scope: 'col', textContent })))), body);
  const box = make('details', { className: 'which' }, make('summary', { textContent: 'Who speaks' }), make('p', { className: 'says', textContent: 'The model learns what the assistant says. Everybody else is only read.' }), table);
  let drawn = '', all = [];

  function refresh() {
    const { speakers } = map.info().now, key = JSON.stringify(speakers.map(one => [one.name, one.turns]));
    box.hidden = !speakers.length;
    if (key !== drawn) { all = speakers.map(row); body.replaceChildren(...all.map(one => one.box)); }
    drawn = key;
    for (const one of all) one.refresh();
    if (speakers.some(one => !one.role)) box.open = true;
  }

  function row(speaker, place) {
    const known = map.info().guess.speakers?.find(one => one.name === speaker.name)?.role ?? '';
    const select = make('select', { id: `speaker-${place}`, 'aria-label': `Who ${speaker.name} is`, onchange: () => set(select.value) });
    select.append(make('option', { value: '', textContent: 'nobody knows', disabled: true }), ...menu.roles.map(name => make('option', { value: name, textContent: name })));
    const back = make('button', { type: 'button', className: 'back', textContent: known ? `Back to ${known}` : 'Back', onclick: () => set('') });
    const differs = make('span', { className: 'differs' }, make('span', { className: 'mark-changed', textContent: '● changed' }), back);
    const set = role => {
      map.change(one => {
        const { [speaker.name]: _, ...rest } = one.roles ?? {};
        const roles = role && role !== known ? { ...rest, [speaker.name]: role } : rest;
        if (Object.keys(roles).length) one.roles = roles; else delete one.roles;
      });
      map.look(false);
    };
    const refreshRow = () => {
      const own = map.source().roles?.[speaker.name];
      select.value = own ?? known;
      differs.hidden = !own;
    };
    return { box: make('tr', {}, make('th', { scope: 'row', textContent: speaker.name }), make('td', { textContent: inFull(speaker.turns) }), make('td', {}, select, differs)), refresh: refreshRow };
  }

  return { box, refresh };
}
