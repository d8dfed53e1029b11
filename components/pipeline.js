// Journey: its lessons in their order, how far each is, and the table that compares their results; asked for anew while
// somebody looks. Whatever comes from a run is only ever shown as text.

const BEAT = 2000;  // milliseconds between two looks
const part = name => element.querySelector(name);
const [shown, empty, way, now, refused] = ['.journey', '.empty', '.path', '.now', '.refused'].map(part);
const MARKS = { finished: '✓', failed: '!', lost: '!', stopped: '!' };
const CALM = 'One after the other, by itself. Closing this page does not stop it.';
const NONE = empty.querySelector('p').textContent;
let told = null, timer, asking = false, wished = '', missing = '';  // missing: why nothing can be shown

function make(tag, classes = '', text = '', ...inside) {
  const one = document.createElement(tag);
  if (classes) one.className = classes;
  one.append(...(text ? [text] : []), ...inside);
  return one;
}

function write(piece, text) {
  if (piece.textContent !== text) piece.textContent = text;
}

const many = (count, word) => `${count.toLocaleString('en')} ${word}${count === 1 ? '' : 's'}`;
const duration = seconds => (seconds < 90 ? `${Math.max(1, Math.round(seconds))} s` : `${Math.round(seconds / 60)} min`);
const going = () => told && ['running', 'comparing'].includes(told.phase);
const id = () => tunesmith.journey;

// -- what it looks like -------------------------------------------------------------------------------------------

// A lesson's line keeps its place and its focus: only what changed is written anew.
function draw() {
  shown.hidden = !told;
  empty.hidden = Boolean(told) || asking;
  write(empty.querySelector('p'), missing || NONE);
  if (!told) return;
  shown.removeAttribute('aria-busy');
  shown.dataset.phase = told.phase;
  write(part('h1'), told.title);
  write(part('.does'), told.sentence);
  write(part('.takes'), told.phase === 'new' ? `${many(told.stages.length, 'lesson')} · about ${many(told.minutes, 'minute')} · ${told.needs.toLowerCase()}. ${CALM}` : `Begun ${told.when}.${told.phase === 'finished' ? '' : ` ${CALM}`}`);
  write(now, wished || told.words);
  if (way.children.length !== told.stages.length) way.replaceChildren(...told.stages.map(lesson));
  told.stages.forEach((stage, i) => fill(way.children[i], stage, i));
  const alive = told.stages.some(one => one.alive);
  const shows = { start: told.phase === 'new', go_on: told.phase === 'waiting', stop: told.phase === 'running' && alive,
    forget: ['waiting', 'finished'].includes(told.phase) && !alive && part('.sure').hidden };
  for (const [name, on] of Object.entries(shows)) part(`[data-deed=${name}]`).hidden = !on;
  const attempt = part('.try');
  attempt.hidden = !(told.phase === 'finished' && told.last);
  attempt.href = told.last ? `#try/${encodeURIComponent(told.last)}` : '#try';
  compare();
}

function lesson() {
  const line = make('li', 'lesson'), mark = make('span', 'mark');
  mark.ariaHidden = 'true';
  line.append(mark, make('div', 'what', '', make('strong'), make('small', 'kind'), make('p')),
    make('div', 'how', '', make('span', 'state'), make('span', 'far'), make('i', 'bar', '', make('i')), make('a', 'look', 'Look at it')));
  return line;
}

function fill(line, stage, i) {
  const [mark, what, how] = line.children, [title, kind, sentence] = what.children, [state, far, bar, link] = how.children;
  line.dataset.state = stage.state;
  line.classList.toggle('alive', Boolean(stage.alive));
  write(mark, MARKS[stage.state] ?? String(i + 1));
  write(title, stage.title);
  write(kind, stage.lesson);
  write(sentence, stage.sentence);
  write(state, stage.words);
  const took = stage.seconds ? `in ${duration(stage.seconds)}` : '';
  const left = stage.alive && stage.seconds_left != null ? `${duration(stage.seconds_left)} left` : '';
  write(far, stage.alive ? [stage.of ? `step ${stage.step.toLocaleString('en')} of ${stage.of.toLocaleString('en')}` : '', left].filter(Boolean).join(' · ')
    : [stage.result?.includes('→') ? `its own test ${stage.result}` : stage.result === stage.state ? '' : stage.result, took].filter(Boolean).join(' · '));
  bar.hidden = !stage.alive;
  bar.firstChild.style.width = `${stage.of ? (100 * stage.step / stage.of).toFixed(1) : 0}%`;
  link.hidden = !stage.run;
  link.ariaLabel = `Look at the lesson ${stage.title}`;
  link.href = stage.run ? `#watch/${encodeURIComponent(stage.run)}` : '#watch';
}

function compare() {
  const { table, prompts, measures } = told, place = part('.compared');
  const what = measures.map(one => (one.kind && one.kind !== one.title.toLowerCase() ? `“${one.title}” (${one.kind})` : `“${one.title}”`)).join(' and ');
  write(part('.asked'), table ? `Every result answered the same ${many(table.prompts, 'question')}.` : `After the last lesson every result is asked the same ${many(prompts, 'question')}. Compared is ${what}.`);
  place.hidden = !table;
  const said = JSON.stringify(table);
  if (!table || place.dataset.said === said) return;
  place.dataset.said = said;
  const column = one => { const cell = make('th', '', one.title); cell.scope = 'col'; if (one.kind) cell.append(make('small', '', one.kind)); return cell; };
  const head = make('tr', '', '', make('td'), ...table.columns.map(column));
  place.replaceChildren(make('table', '', '', make('thead', '', '', head), make('tbody', '', '', ...table.rows.map(row))));
}

function row({ title, cells }, i) {
  const name = make('th', '', title);
  name.scope = 'row';
  return make('tr', i ? 'tuned' : 'base', '', name, ...cells.map(one => {
    const bar = make('i', 'bar', '', make('i'));
    bar.firstChild.style.width = `${(100 * (one.share ?? 0)).toFixed(1)}%`;
    const value = make('span', 'value', '', make('b', '', one.text), ...(one.change ? [make('small', '', one.change)] : []));
    return make('td', '', '', value, ...(one.share === null ? [] : [bar]));
  }));
}

// -- what is asked and heard --------------------------------------------------------------------------------------

function say(problem) {
  const text = problem ? `${problem.text} ${problem.advice ?? ''}`.trim() : '';
  const item = make('li', 'wrong', text);
  refused.replaceChildren(...(text ? [make('ul', 'notice boxed', '', item)] : []));
  if (text) refused.firstChild.setAttribute('role', 'alert');
}

async function look() {
  clearTimeout(timer);
  if (tunesmith.view !== 'journey') return;
  const name = id();
  missing = '';
  if (!name) { told = null; return draw(); }
  if (!asking && !document.hidden) {
    asking = true;
    const said = await server.look(name);
    asking = false;
    if (name !== id()) return look();
    if (said?.answer) { told = said.answer; if (!going()) wished = ''; }
    else if (!told) missing = said?.problem?.text ?? '';
    draw();
  }
  timer = setTimeout(look, going() || document.hidden ? BEAT : 5 * BEAT);
}

// It cannot be undone, so it is asked once more, where the button was.
function doubt(on) {
  part('.sure').hidden = !on;
  draw();
  part(on ? '[data-deed=keep]' : '[data-deed=forget]').focus();
}

async function deed(name, button) {
  button.disabled = true;
  say(null);
  wished = { start: 'Starting …', go_on: 'Going on …', stop: 'Stopping after this step, then saving …', forget: 'Removing …' }[name];
  draw();
  const said = await server[name](id());
  button.disabled = false;
  if (!said?.answer) { wished = ''; say(said?.problem ?? { text: 'The page’s own server does not answer.', advice: 'Reload the page once it is open again.' }); }
  if (name !== 'stop') wished = '';
  if (name === 'forget' && said?.answer) return tunesmith.go('runs');
  if (name === 'start' && said?.answer) return tunesmith.go('journey', said.answer);
  look();
}

element.addEventListener('click', event => {
  const button = event.target.closest('[data-deed]');
  const asked = button?.dataset.deed;
  if (asked === 'forget' || asked === 'keep') return doubt(asked === 'forget');
  if (asked === 'sure') part('.sure').hidden = true;
  if (asked) deed(asked === 'sure' ? 'forget' : asked, button);
});

document.addEventListener('tunesmith:view', ({ detail }) => {
  if (detail.view !== 'journey') return clearTimeout(timer);
  if (told && told.id !== id()) { told = null; wished = ''; part('.sure').hidden = true; way.replaceChildren(); shown.hidden = true; }
  say(null);
  look();
});
