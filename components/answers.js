// Answers: the samples of the open run, one step at a time. Prompts and completions are strangers' text: textContent only.
const [way, range, output, place] = ['.answers-way', 'input', 'output', '.answers-said'].map(one => element.querySelector(one));
const soon = place.firstElementChild;
const [back, on] = ['back', 'on'].map(name => element.querySelector(`[data-way=${name}]`));
let run = '', index = [], at = 0, latest = true, asked = 0, kept = new Map();

function move(to) {
  at = Math.min(Math.max(to, 0), index.length - 1);
  latest = at === index.length - 1;
  show();
}

async function show() {
  const ours = ++asked, shown = index[at];
  way.hidden = index.length < 2;
  if (!shown) return place.replaceChildren(soon);
  range.max = index.length - 1;
  range.value = at;
  const words = shown.step ? `step ${shown.step.toLocaleString('en')}` : 'before the first step';
  output.textContent = words;
  range.setAttribute('aria-valuetext', words);
  back.disabled = at === 0;
  on.disabled = latest;
  const [first, now] = await Promise.all([rows(index[0]), rows(shown)]);
  if (ours === asked && now) draw(at ? first ?? [] : [], now, shown.step);
}

// An answer never changes, so each is fetched once.
function rows({ seq }) {
  if (!kept.has(seq)) kept.set(seq, fetch(`live/sample?${new URLSearchParams({ run, seq })}`).then(answer => {
    if (!answer.ok) throw new Error(answer.status);
    return answer.json();
  }).then(told => told.rows).catch(() => { kept.delete(seq); }));
  return kept.get(seq);
}

function draw(first, now, step) {
  const before = new Map(first.map(row => [row.prompt, row.completion]));
  const groups = Map.groupBy ? Map.groupBy(now, row => row.prompt) : grouped(now);
  place.replaceChildren(...[...groups].map(([prompt, attempts]) => {
    const group = piece('div', 'answer');
    const pair = piece('div', 'pair');
    if (before.has(prompt)) pair.append(said('before', before.get(prompt), {}));
    for (const row of attempts) pair.append(said(step ? `step ${step.toLocaleString('en')}` : 'before the first step', row.completion, row));
    group.append(piece('p', 'asked', prompt), pair);
    return group;
  }));
}

function grouped(rows) {
  const found = new Map();
  for (const row of rows) found.set(row.prompt, [...(found.get(row.prompt) ?? []), row]);
  return found;
}

function said(who, text, row) {
  const block = piece('div', who === 'before' ? 'said' : 'said now');
  block.append(piece('small', '', who), piece('p', text ? '' : 'nothing', text || '(nothing)'));
  if (row.wanted) block.append(piece('small', '', `wanted: ${row.wanted}`));
  const earned = Object.entries(row.rewards ?? {}).filter(([, value]) => value !== null);
  if (row.advantage !== undefined && row.advantage !== null) earned.push(['against its group', row.advantage, true]);
  if (earned.length) {
    const list = piece('ul', 'earned');
    list.append(...earned.map(([name, value, signed]) => piece('li', value > 0 ? 'good' : '', `${name.replaceAll('_', ' ')} ${number(value, signed)}`)));
    block.append(list);
  }
  return block;
}

const number = (value, signed) => `${signed && value > 0 ? '+' : ''}${Number(Number(value).toPrecision(3))}`;

function piece(name, classes = '', text = '') {
  const made = document.createElement(name);
  if (classes) made.className = classes;
  made.textContent = text;
  return made;
}

back.addEventListener('click', () => move(at - 1));
on.addEventListener('click', () => move(at + 1));
range.addEventListener('input', () => move(Number(range.value)));

document.addEventListener('tunesmith:snapshot', ({ detail }) => {
  if (detail.run !== run) [run, kept, latest] = [detail.run, new Map(), true];
  index = detail.samples;
  move(latest ? index.length - 1 : at);
});

document.addEventListener('tunesmith:news', ({ detail }) => {
  if (detail.from_step === undefined && !detail.samples) return;
  index = [...index.filter(one => one.step <= (detail.from_step ?? Infinity)), ...(detail.samples ?? [])];
  move(latest ? index.length - 1 : at);
});

document.addEventListener('tunesmith:gone', () => { index = []; show(); });
