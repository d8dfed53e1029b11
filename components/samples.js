// Answers: the samples of the open run, one step at a time. Prompts and completions are strangers' text: textContent only.
const [way, range, output, place] = ['.answers-way', 'input', 'output', '.answers-said'].map(one => element.querySelector(one));
const soon = place.firstElementChild;
const [back, on] = ['back', 'on'].map(name => element.querySelector(`[data-way=${name}]`));
let run = '', index = [], stops = [], at = 0, latest = true, asked = 0, kept = new Map(), names = {};

function move(to) {
  at = Math.min(Math.max(to, 0), stops.length - 1);
  latest = at === stops.length - 1;
  show();
}

// What was said at one step belongs together: the questions that are asked again and again, and the attempts of training.
function learn(found) {
  index = found;
  stops = [];
  for (const { step, seq } of found) {
    if (stops.at(-1)?.step === step) stops.at(-1).seqs.push(seq);
    else stops.push({ step, seqs: [seq] });
  }
  move(latest ? stops.length - 1 : at);
}

async function show() {
  const ours = ++asked, shown = stops[at];
  way.hidden = stops.length < 2;
  if (!shown) return place.replaceChildren(soon);
  range.max = stops.length - 1;
  range.value = at;
  output.textContent = when(shown.step);
  range.setAttribute('aria-valuetext', when(shown.step));
  back.disabled = at === 0;
  on.disabled = latest;
  const [first, now] = await Promise.all([rows(stops[0]), rows(shown)]);
  if (ours === asked && now.length) draw(at ? first : [], now, shown.step);
}

const rows = async stop => (await Promise.all(stop.seqs.map(told))).flat().sort((one, other) => isTry(one) - isTry(other));
const isTry = row => row.advantage !== undefined;

// An answer never changes, so each is fetched once. goes_on: its prompt is the beginning of a text, not a question.
function told(seq) {
  if (!kept.has(seq)) kept.set(seq, fetch(`live/sample?${new URLSearchParams({ run, seq })}`).then(answer => {
    if (!answer.ok) throw new Error(answer.status);
    return answer.json();
  }).then(({ rows, goes_on }) => rows.map(row => ({ ...row, goes_on }))).catch(() => { kept.delete(seq); return []; }));
  return kept.get(seq);
}

const when = step => (step ? `step ${step.toLocaleString('en')}` : 'before the first step');

function draw(first, now, step) {
  const before = new Map(first.filter(row => !isTry(row)).map(row => [row.prompt, row]));
  place.replaceChildren(...[...grouped(now, row => row.prompt)].map(([prompt, attempts]) => {
    const group = piece('div', 'answer');
    const pair = piece('div', 'pair');
    const written = !isTry(attempts[0]) && !attempts[0].given;  // what a model scores was given to it: it was the same before
    if (before.has(prompt) && written) pair.append(said('before', { ...before.get(prompt), wanted: '', rewards: {} }));
    for (const alike of grouped(attempts, row => JSON.stringify([row.completion, row.rewards, row.advantage])).values()) {
      const who = !isTry(alike[0]) ? when(step) : alike.length > 1 ? `${alike.length} tries` : 'a try';
      pair.append(said(who, alike[0], step));
    }
    group.append(piece('p', 'asked', prompt), pair);
    return group;
  }));
}

function grouped(rows, by) {
  const found = new Map();
  for (const row of rows) found.set(by(row), [...(found.get(by(row)) ?? []), row]);
  return found;
}

// learned: after so many steps; 0 for the untouched model.
function said(who, row, learned = 0) {
  const block = piece('div', learned ? 'said now' : 'said'), text = piece('p', row.completion ? '' : 'nothing');
  if (row.goes_on) text.append(piece('span', 'begun', row.prompt));
  text.append(row.completion || '(nothing)');
  block.append(piece('small', '', who), text);
  if (row.wanted) block.append(piece('small', '', `wanted: ${row.wanted}`));
  const earned = Object.entries(row.rewards ?? {}).filter(([, value]) => value !== null).map(([name, value]) => judged(words(name), value));
  if (typeof row.advantage === 'number') earned.push(compared(row.advantage, row.against ?? 'its other tries'));
  if (earned.length) {
    const list = piece('ul', 'earned');
    list.append(...earned);
    block.append(list);
  }
  return block;
}

const words = name => names[`reward/${name}/mean`] ?? name.replaceAll('_', ' ');

// 1 and 0 are yes and no; anything else is a number.
function judged(what, value) {
  return piece('li', value > 0 ? 'good' : '', value === 1 ? what : `${what}: ${value === 0 ? 'no' : number(value)}`);
}

function compared(value, against) {
  const told = piece('li', '', `${value > 0 ? 'better than' : value < 0 ? 'worse than' : 'as good as'} ${against}`);
  told.title = `advantage ${value > 0 ? '+' : ''}${number(value)}`;
  return told;
}

const number = value => String(Number(Number(value).toPrecision(3)));

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
  names = detail.names;
  learn(detail.samples);
});

document.addEventListener('tunesmith:news', ({ detail }) => {
  if (detail.from_step === undefined && !detail.samples) return;
  learn([...index.filter(one => one.step <= (detail.from_step ?? Infinity)), ...(detail.samples ?? [])]);
});

document.addEventListener('tunesmith:gone', () => learn([]));
