// Table: the first rows as the file has them, each column with the part that it plays, and what it takes to say another.

const WIDE = 140;  // letters of a cell before it is folded

// map: what mapping.js offers
function tablePiece(map) {
  const caption = make('caption', {});
  const head = make('tr', {}), body = make('tbody', {});
  const table = make('table', { className: 'rows' }, caption, make('thead', {}, head), body);
  const scroll = make('div', { className: 'scroll', tabIndex: 0, role: 'region', 'aria-label': 'The first rows, as the file has them' }, table);
  const note = make('p', { className: 'field-note', role: 'status' });
  const box = make('div', { className: 'first-rows' }, scroll, note);
  let drawn = '', heads = [];

  function refresh() {
    const info = map.info(), key = JSON.stringify([info.columns, info.cells]);
    if (key !== drawn) draw(info);
    drawn = key;
    const roles = JSON.stringify([map.layoutNow(), map.layouts()]);
    for (const one of heads) one.refresh(roles);
  }

  function draw(info) {
    const of = info.rows === null ? '' : ` of ${inFull(info.rows)}`;
    caption.textContent = `The first ${info.cells.length}${of} rows, as the file has them. Say under a column’s name what it is.`;
    heads = info.columns.map((one, place) => columnHead(one, place));
    head.replaceChildren(make('th', { scope: 'col', className: 'number' }, make('span', { className: 'unseen', textContent: 'Row' })), ...heads.map(one => one.box));
    const first = (map.source().start ?? 0) + 1;
    body.replaceChildren(...info.cells.map((cells, number) => make('tr', {}, make('th', { scope: 'row', className: 'number', textContent: inFull(first + number) }), ...cells.map(cell))));
    say(note, '', '');
  }

  // A click anywhere on the head opens the list of what the column may be.
  function columnHead(column, place) {
    const select = make('select', { id: `column-${place}`, 'aria-label': `What the column ${column.name.slice(0, 80)} is`, onchange: () => choose(column.name, select) });
    const kind = column.empty ? `${column.type} · ${inFull(column.empty)} empty` : column.type;
    const name = make('span', { className: 'column-name', textContent: column.name.slice(0, 80), title: column.name.slice(0, 400) });
    const box = make('th', { scope: 'col' }, name, make('small', { textContent: kind }), select);
    box.addEventListener('click', event => { if (event.target !== select) { select.focus(); select.showPicker?.(); } });
    let built = '';
    const refreshHead = roles => {
      if (roles !== built) select.replaceChildren(...offers());
      built = roles;
      const part = map.layoutNow() && map.parts(map.layoutNow()).find(one => map.columnOf(one) === column.name);
      select.value = part ? `${map.layoutNow()}:${part}` : '';
      box.classList.toggle('used', Boolean(part));
      box.classList.toggle('mine', Boolean(part && map.changedPart(part)));
    };
    return { box, refresh: refreshHead };
  }

  // What this layout takes, then what makes rows another one.
  function offers() {
    const now = map.layoutNow(), titles = new Set();
    const option = (layout, part) => { titles.add(menu.columns[part].title); return make('option', { value: `${layout}:${part}`, textContent: menu.columns[part].title }); };
    const groups = now ? [make('optgroup', { label: menu.layouts[now].title }, ...map.parts(now).map(part => option(now, part)))] : [];
    for (const layout of map.layouts()) {
      const parts = layout === now ? [] : menu.layouts[layout].needs.filter(part => !titles.has(menu.columns[part].title));
      if (parts.length) groups.push(make('optgroup', { label: `Read as ${menu.layouts[layout].title.toLowerCase()}` }, ...parts.map(part => option(layout, part))));
    }
    return [make('option', { value: '', textContent: 'not used' }), ...groups];
  }

  function choose(column, select) {
    say(note, '', '');
    const [layout, part] = select.value.split(':');
    if (part) return map.assign(part, column, layout);
    const now = map.parts(map.layoutNow()).find(one => map.columnOf(one) === column);
    if (!now) return;
    if (!menu.layouts[map.layoutNow()].needs.includes(now)) return map.leave(now);
    if (map.guessed(now) !== column) return map.back(now);
    say(note, 'careful', `“${menu.columns[now].title}” is needed. Give it another column, and this one is free.`);
    refresh();
  }

  return { box, refresh };
}

// Long ones are folded: the first lines, and the rest on request.
function cell(text) {
  const shown = make('div', { className: 'cell', textContent: text });
  if (!text) return make('td', {}, make('span', { className: 'hole', textContent: 'empty' }));
  if (text.length <= WIDE) return make('td', {}, shown);
  shown.classList.add('folded');
  const button = make('button', { type: 'button', className: 'back', textContent: 'More', 'aria-expanded': 'false', onclick: () => {
    const open = !shown.classList.toggle('folded');
    button.textContent = open ? 'Less' : 'More';
    button.setAttribute('aria-expanded', String(open));
  } });
  return make('td', {}, shown, button);
}
