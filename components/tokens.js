// Tokens: draws examples from the data beside them. Strangers' text becomes textContent, never markup.
// An example is one strip of tokens, or a prompt and the answers to it, a strip each. Only what is near the visible part of a
// strip's box is drawn, so that 32,000 tokens scroll like 300.
const LEAST = 60, MOST = 240;  // tokens of one chunk: it ends at a line's end if there is one between
const SMALL = 1000;  // tokens of a strip that is drawn whole
const LONG = 120;  // tokens of a prompt that is folded above its answers
const NEAR = '600px 0px';  // chunks this near to the visible part are drawn
const KINDS = ['trained', 'special', 'cut'];  // one bit each

let data, row, at, strips = [];
const find = name => element.querySelector(name);
const number = value => value.toLocaleString('en-US');
const write = (name, text) => { const place = find(name); if (place) place.textContent = text; };
const piece = (name, classes, text = '') => Object.assign(document.createElement(name), { className: classes, textContent: text });

// -- one box of tokens ---------------------------------------------------------------------------------------------
class Strip {
  constructor(part, label, classes = '') {
    this.part = part;
    this.current = 0;
    this.box = piece('div', `tokens ${classes}`);
    this.box.setAttribute('role', 'listbox');
    this.box.setAttribute('aria-orientation', 'horizontal');
    this.box.setAttribute('aria-label', label);
  }

  // Once its box has its place on the page.
  draw() {
    const { part, box } = this;
    this.watcher = new IntersectionObserver(seen => seen.forEach(one => { if (one.isIntersecting) this.fill(one.target); }), { root: box, rootMargin: NEAR });
    const columns = Math.max(20, box.clientWidth / 9.5);
    this.chunks = this.cuts().map(([start, end]) => this.chunk(start, end, columns));
    const drawn = this.chunks.flatMap(one => one.bound ? [piece('div', 'bound', one.bound), one] : [one]);
    if (part.after) drawn.push(piece('div', 'bound pad', part.after));
    if (!part.texts.length) drawn.push(piece('p', 'nothing', 'Nothing stands here.'));
    box.replaceChildren(...drawn);
    box.scrollTop = 0;
    this.chunks.forEach(one => part.texts.length <= SMALL ? this.fill(one) : this.watcher.observe(one));
    if (this.chunks.length) { this.fill(this.chunks[0]); this.token(0).tabIndex = 0; }
  }

  // Where chunks begin and end: at documents, then at line ends, and never longer than MOST.
  cuts() {
    const { texts, bounds = [] } = this.part, ends = new Set(bounds.map(([start]) => start)), found = [];
    const small = texts.length <= SMALL;
    for (let start = 0, i = 1; i <= texts.length; i++) {
      const size = i - start;
      if (i < texts.length && !ends.has(i) && (small || (size < MOST && !(size >= LEAST && texts[i - 1].includes('\n'))))) continue;
      found.push([start, i]);
      start = i;
    }
    return found;
  }

  // An empty chunk, about as high as it will be.
  chunk(start, end, columns) {
    const one = piece('div', 'chunk'), text = this.part.texts.slice(start, end).join('');
    const lines = text.split('\n').reduce((sum, line) => sum + Math.max(1, Math.ceil(line.length / columns)), 0);
    one.style.setProperty('--about', `${lines * 30}px`);
    return Object.assign(one, { start, end, bound: this.part.bounds?.find(([place]) => place === start)?.[1] });
  }

  fill(one) {
    if (one.filled) return;
    one.filled = true;
    this.watcher.unobserve(one);
    const drawn = document.createDocumentFragment();
    for (let i = one.start; i < one.end; i++) drawn.append(this.span(i));
    one.replaceChildren(drawn);
    one.classList.add('filled');
  }

  // Line ends are shown, and a piece of a character that has no text of its own is a dot.
  span(i) {
    const kind = Number(this.part.kinds[i]);
    const one = piece('span', ['token', ...KINDS.filter((_, bit) => kind >> bit & 1)].join(' '), this.part.texts[i].replaceAll('\n', '⏎\n') || '·');
    one.setAttribute('role', 'option');
    if (!one.textContent.trim()) one.setAttribute('aria-label', 'space');
    return Object.assign(one, { at: i, strip: this });
  }

  // The span of a token; its chunk is drawn if it was not yet.
  token(i) {
    const one = this.chunks.find(one => i < one.end);
    this.fill(one);
    return one.children[i - one.start];
  }

  // The keyboard's way: one token at a time is a tab stop.
  go(i) {
    if (!this.chunks.length) return;
    this.token(this.current).removeAttribute('tabindex');
    this.current = Math.max(0, Math.min(this.part.texts.length - 1, i));
    const one = this.token(this.current);
    one.tabIndex = 0;
    one.focus({ preventScroll: true });
    one.scrollIntoView({ block: 'nearest' });
    this.tell(this.current);
  }

  // The token on the next line (by 1) or the one before (by -1) that stands nearest below or above.
  beside(by) {
    const here = this.token(this.current).getBoundingClientRect();
    let line, best = this.current;
    for (let i = this.current + by; i >= 0 && i < this.part.texts.length; i += by) {
      const there = this.token(i).getClientRects()[0];
      if (!there || (by > 0 ? there.top < here.bottom - 4 : there.bottom > here.top + 4)) continue;
      if (line !== undefined && Math.abs(there.top - line) > 4) break;
      if (line === undefined || Math.abs(there.left - here.left) < Math.abs(this.token(best).getClientRects()[0].left - here.left)) best = i;
      line ??= there.top;
    }
    return best;
  }

  // One line above the example: the token's text, why it is learned or not, its number and id.
  tell(i) {
    const { texts, ids, kinds, whys, does } = this.part, kind = Number(kinds[i]);
    const why = whys.find(([end]) => i < end)?.[1] || (kind & 4 ? 'cut off' : kind & 1 ? does : 'read only');
    const quote = piece('b', '', texts[i] ? `“${texts[i].replaceAll('\n', '⏎').slice(0, 60)}”` : 'a piece of a character');
    const place = `token ${number(i + 1)} of ${number(texts.length)} · id ${ids[i]}${kind & 2 ? ' · special' : ''}`;
    find('.detail').replaceChildren(quote, ` – ${why} · ${place}`);
  }
}

// -- one example ---------------------------------------------------------------------------------------------------
function load() {
  const told = find('.data');
  for (const strip of strips) strip.watcher?.disconnect();
  [data, strips] = [told ? JSON.parse(told.textContent) : null, []];
  if (data?.rows.length) show(data.at ?? 0);
}

// Shows an example from its beginning.
function show(wanted, focused = false) {
  if (wanted === data.rows.length && data.rows.length < (data.of ?? 0) && data.more) return document.querySelector(data.more)?.click();
  at = (wanted + data.rows.length) % data.rows.length;
  row = data.rows[at];
  write('.count', count());
  write('.share', row.share);
  for (const jump of element.querySelectorAll('[data-go]')) jump.setAttribute('aria-pressed', Number(jump.dataset.go) === at);
  draw();
  if (focused) strips.find(one => one.part.texts.length)?.go(0); else hint();
}

const count = () => row.title ?? `${data.noun} ${number(at + 1)} of ${number(data.of ?? data.rows.length)}`;
const hint = () => write('.detail', data.hint);

function draw() {
  for (const strip of strips) strip.watcher?.disconnect();
  const place = find('.parts'), parts = [];
  const first = new Strip(row, `${count()}, token by token`, row.sides ? 'prompt' : row.mark);
  strips = [first];
  parts.push(row.sides ? prompt(first) : first.box);
  if (row.sides) parts.push(answers(row.sides));
  if (row.beside) parts.push(beside(row.beside));
  place.replaceChildren(...parts);
  for (const strip of strips) strip.draw();
}

// What all the answers go on from: once, and folded where it is long.
function prompt(strip) {
  if (!strip.part.texts.length) return strip.box;
  const fold = Object.assign(piece('button', 'fold', 'Show all of it'), { type: 'button', hidden: strip.part.texts.length <= LONG });
  fold.setAttribute('aria-expanded', 'false');
  fold.addEventListener('click', () => {
    const open = strip.box.classList.toggle('open');
    fold.textContent = open ? 'Show less of it' : 'Show all of it';
    fold.setAttribute('aria-expanded', open);
  });
  return headed('The prompt', strip.part.said, strip, fold);
}

function answers(sides) {
  const all = piece('div', 'sides');
  all.append(...sides.map(side => {
    strips.push(new Strip(side, `${side.title}, token by token`, `answer ${side.mark}`));
    return headed(side.title, side.said, strips.at(-1));
  }));
  return all;
}

function headed(title, said, strip, ...more) {
  const one = piece('section', 'side'), head = piece('p', 'part-head');
  head.append(piece('strong', '', title), said, ...more);
  one.append(head, strip.box);
  return one;
}

// What the model is not shown, and the rewards are.
function beside(columns) {
  const list = piece('dl', 'beside');
  for (const [name, text] of columns) list.append(piece('dt', '', name), piece('dd', '', text));
  const all = piece('div', 'seen');
  all.append(piece('p', 'part-head', 'Only the rewards see this:'), list);
  return all;
}

// -- what a person does --------------------------------------------------------------------------------------------
const KEYS = {
  ArrowRight: strip => strip.go(strip.current + 1), ArrowLeft: strip => strip.go(strip.current - 1),
  ArrowDown: strip => strip.go(strip.beside(1)), ArrowUp: strip => strip.go(strip.beside(-1)),
  Home: strip => strip.go(0), End: strip => strip.go(strip.part.texts.length - 1),
  n: () => show(at + 1, true), p: () => show(at - 1, true),
};

element.addEventListener('click', event => {
  const by = event.target.closest('[data-by]'), to = event.target.closest('[data-go]');
  if (!data?.rows.length) return;
  if (by) show(at + Number(by.dataset.by));
  if (to) show(Number(to.dataset.go));
  event.target.strip?.go(event.target.at);
});
element.addEventListener('keydown', event => {
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (!event.target.strip || !KEYS[key] || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  KEYS[key](event.target.strip);
});
element.addEventListener('focusin', event => {
  if (!event.target.strip) return;
  find('.detail').setAttribute('aria-live', 'polite');  // the keyboard's moves are read out, the pointer's are not
  event.target.strip.tell(event.target.at);
});
element.addEventListener('focusout', () => find('.detail')?.setAttribute('aria-live', 'off'));
element.addEventListener('pointerover', event => event.target.strip?.tell(event.target.at));
element.addEventListener('pointerout', event => {
  if (!event.target.strip || event.relatedTarget?.strip) return;
  const focused = element.contains(document.activeElement) && document.activeElement;
  if (focused?.strip) focused.strip.tell(focused.at); else hint();
});
load();
watch('value', load);
