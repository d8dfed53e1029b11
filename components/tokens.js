// Tokens: draws examples from the data beside them. Strangers' text becomes textContent, never markup.
// Only what is near the visible part of the box is drawn, so that 32,000 tokens scroll like 300.
const LEAST = 60, MOST = 240;  // tokens of one chunk: it ends at a line's end if there is one between
const SMALL = 1000;  // tokens of an example that is drawn whole
const NEAR = '600px 0px';  // chunks this near to the visible part are drawn
const KINDS = ['trained', 'special', 'cut'];  // one bit each

let data, row, at, current, chunks, watcher;
const find = name => element.querySelector(name);

function load() {
  const told = find('.data');
  watcher?.disconnect();
  data = told ? JSON.parse(told.textContent) : null;
  if (data?.rows.length) show(data.at ?? 0);
}

// Shows an example from its beginning.
function show(wanted, focused = false) {
  if (wanted === data.rows.length && data.rows.length < (data.of ?? 0) && data.more) return document.querySelector(data.more)?.click();
  at = (wanted + data.rows.length) % data.rows.length;
  row = data.rows[at];
  current = 0;
  write('.count', count());
  write('.share', row.share);
  for (const jump of element.querySelectorAll('[data-go]')) jump.setAttribute('aria-pressed', Number(jump.dataset.go) === at);
  draw();
  if (focused) go(0); else hint();
}

const count = () => row.title ?? `${data.noun} ${number(at + 1)} of ${number(data.of ?? data.rows.length)}`;
const number = value => value.toLocaleString('en-US');
const write = (name, text) => { const place = find(name); if (place) place.textContent = text; };

function draw() {
  const box = find('.tokens');
  watcher?.disconnect();
  watcher = new IntersectionObserver(seen => seen.forEach(one => { if (one.isIntersecting) fill(one.target); }), { root: box, rootMargin: NEAR });
  const columns = Math.max(20, box.clientWidth / 9.5);
  chunks = cuts().map(([start, end]) => chunk(start, end, columns));
  const drawn = chunks.flatMap(one => one.bound ? [bound(one.bound), one] : [one]);
  if (row.after) drawn.push(bound(row.after, 'pad'));
  box.replaceChildren(...drawn);
  box.setAttribute('aria-label', `${count()}, token by token`);
  box.scrollTop = 0;
  chunks.forEach(one => row.texts.length <= SMALL ? fill(one) : watcher.observe(one));
  if (chunks.length) { fill(chunks[0]); token(0).tabIndex = 0; }
}

// Where chunks begin and end: at documents, then at line ends, and never longer than MOST.
function cuts() {
  const ends = new Set((row.bounds ?? []).map(([start]) => start));
  const found = [];
  const small = row.texts.length <= SMALL;
  for (let start = 0, i = 1; i <= row.texts.length; i++) {
    const size = i - start;
    if (i < row.texts.length && !ends.has(i) && (small || (size < MOST && !(size >= LEAST && row.texts[i - 1].includes('\n'))))) continue;
    found.push([start, i]);
    start = i;
  }
  return found;
}

// An empty chunk, about as high as it will be.
function chunk(start, end, columns) {
  const one = document.createElement('div');
  const text = row.texts.slice(start, end).join('');
  const lines = text.split('\n').reduce((sum, line) => sum + Math.max(1, Math.ceil(line.length / columns)), 0);
  one.className = 'chunk';
  one.style.setProperty('--about', `${lines * 30}px`);
  Object.assign(one, { start, end, bound: row.bounds?.find(([place]) => place === start)?.[1] });
  return one;
}

function bound(text, kind = '') {
  const one = document.createElement('div');
  one.className = `bound ${kind}`;
  one.textContent = text;
  return one;
}

function fill(one) {
  if (one.filled) return;
  one.filled = true;
  watcher.unobserve(one);
  const drawn = document.createDocumentFragment();
  for (let i = one.start; i < one.end; i++) drawn.append(span(i));
  one.replaceChildren(drawn);
  one.classList.add('filled');
}

// Line ends are shown, and a piece of a character that has no text of its own is a dot.
function span(i) {
  const one = document.createElement('span'), kind = Number(row.kinds[i]);
  one.className = ['token', ...KINDS.filter((_, bit) => kind >> bit & 1)].join(' ');
  one.textContent = row.texts[i].replaceAll('\n', '⏎\n') || '·';
  one.setAttribute('role', 'option');
  one.at = i;
  return one;
}

// The span of a token; its chunk is drawn if it was not yet.
function token(i) {
  const one = chunks.find(one => i < one.end);
  fill(one);
  return one.children[i - one.start];
}

// The keyboard's way: one token at a time is a tab stop.
function go(i) {
  const last = row.texts.length - 1;
  token(current).removeAttribute('tabindex');
  current = Math.max(0, Math.min(last, i));
  const one = token(current);
  one.tabIndex = 0;
  one.focus({ preventScroll: true });
  one.scrollIntoView({ block: 'nearest' });
  tell(current);
}

// The token on the next line (by 1) or the one before (by -1) that stands nearest below or above.
function beside(by) {
  const here = token(current).getBoundingClientRect();
  let line, best = current;
  for (let i = current + by; i >= 0 && i < row.texts.length; i += by) {
    const there = token(i).getClientRects()[0];
    if (!there || (by > 0 ? there.top < here.bottom - 4 : there.bottom > here.top + 4)) continue;
    if (line !== undefined && Math.abs(there.top - line) > 4) break;
    if (line === undefined || Math.abs(there.left - here.left) < Math.abs(token(best).getClientRects()[0].left - here.left)) best = i;
    line ??= there.top;
  }
  return best;
}

const KEYS = {
  ArrowRight: () => go(current + 1), ArrowLeft: () => go(current - 1),
  ArrowDown: () => go(beside(1)), ArrowUp: () => go(beside(-1)),
  Home: () => go(0), End: () => go(row.texts.length - 1),
  n: () => show(at + 1, true), p: () => show(at - 1, true),
};

// One line under the example: the token's text, number and id, and why it is learned or not.
function tell(i) {
  const kind = Number(row.kinds[i]);
  const text = row.texts[i], why = row.whys.find(([end]) => i < end)?.[1];
  const parts = [`token ${number(i + 1)} of ${number(row.texts.length)}`, `id ${row.ids[i]}`];
  if (!(kind & 4 && why)) parts.push(kind & 4 ? 'cut off' : kind & 1 ? 'learned' : data.asked ? 'asked' : 'read only');
  if (kind & 2) parts.push('special');
  const quote = document.createElement('b');
  quote.textContent = text ? `“${text.replaceAll('\n', '⏎').slice(0, 60)}”` : 'a piece of a character';
  find('.detail').replaceChildren(quote, ` ${parts.join(' · ')}${why ? `${kind & 4 ? ' ·' : ':'} ${why}` : ''}`);
}

const hint = () => write('.detail', data.hint);

element.addEventListener('click', event => {
  const by = event.target.closest('[data-by]'), to = event.target.closest('[data-go]');
  if (!data?.rows.length) return;
  if (by) show(at + Number(by.dataset.by));
  if (to) show(Number(to.dataset.go));
  if (event.target.at !== undefined) go(event.target.at);
});
element.addEventListener('keydown', event => {
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (event.target.at === undefined || !KEYS[key] || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  KEYS[key]();
});
element.addEventListener('focusin', event => {
  if (event.target.at === undefined) return;
  find('.detail').setAttribute('aria-live', 'polite');  // the keyboard's moves are read out, the pointer's are not
  tell(event.target.at);
});
element.addEventListener('focusout', () => find('.detail')?.setAttribute('aria-live', 'off'));
element.addEventListener('pointerover', event => { if (event.target.at !== undefined) tell(event.target.at); });
element.addEventListener('pointerout', event => {
  if (event.target.at === undefined || event.relatedTarget?.at !== undefined) return;
  const focused = element.contains(document.activeElement) && document.activeElement.at;
  if (focused !== undefined && focused !== false) tell(focused); else hint();
});
load();
watch('value', load);
