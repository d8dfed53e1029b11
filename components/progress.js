// Progress: how far the open run is. All that comes from a run is strangers' text: textContent only.
const root = element.querySelector('.progress');
const words = JSON.parse(root.dataset.words);
const part = name => root.querySelector(`[data-told=${name}]`);
const [title, track, bar, state, verdict, list] = ['.run-title', '.track', '.track i', 'strong', '.verdict', '.notice'].map(one => root.querySelector(one));
const ENDED = ['new', 'finished', 'stopped', 'failed', 'lost'];
const view = document.querySelector('#view-watch');
const count = value => value.toLocaleString('en');
let notes = [], asked;

function duration(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 90 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

function show(now) {
  const share = now.of ? now.step / now.of : 0, ended = ENDED.includes(now.state);
  root.dataset.state = now.state;
  root.removeAttribute('aria-busy');
  write(state, now.state === 'stopped' && !now.adapter && now.saved === undefined ? words.unlearned : words.states[now.state] ?? now.state);
  write(part('step'), ahead(now) || (now.of ? `step ${count(now.step)} of ${count(now.of)}` : ''));
  write(part('left'), !ended && now.left !== undefined && now.state !== 'waiting' ? `${duration(now.left)} left` : '');
  write(part('saved'), now.saved !== undefined && now.state !== 'finished' ? `saved at step ${count(now.saved)}` : '');
  bar.style.width = `${(100 * share).toFixed(1)}%`;
  track.classList.toggle('ended', ended && now.state !== 'finished');
  track.setAttribute('aria-valuemax', now.of);
  track.setAttribute('aria-valuenow', now.step);
  verdict.hidden = !now.verdict;
  write(verdict, now.verdict ?? '');
  tell([...notes.map(note => [note.level, note.text]), ...trouble(now)]);
  if (asked && (asked.state !== now.state || asked.saved !== now.saved)) asked = undefined;
  write(part('asked'), asked?.words ?? '');
  if (view) view.dataset.phase = phase(now);
}

// What was asked of the run is said until it shows: an answer may take as long as a step.
document.addEventListener('tunesmith:asked', ({ detail }) => {
  const { state, saved } = tunesmith.live.now ?? {};
  asked = { state, saved, words: words.asked[detail] };
  write(part('asked'), asked.words);
});

const ahead = now => (now.ahead === undefined ? '' : now.ahead === 1 ? '1 run is ahead' : `${count(now.ahead)} runs are ahead`);

// What the buttons go by: running, stopping, finished, stopped (with a result), resumable, or ended with nothing to go on from.
function phase(now) {
  if (now.alive) return now.state === 'stopping' || now.state === 'saving' ? 'stopping' : 'running';
  if (now.state === 'finished') return 'finished';
  return now.saved === undefined ? 'ended' : now.adapter ? 'stopped' : 'resumable';
}

function trouble(now) {
  const resume = now.saved === undefined ? words.nothing : words.resumable.replace('{step}', count(now.saved));
  if (now.state === 'failed') return [['wrong', [now.failed?.text, now.failed?.advice].filter(Boolean).join(' ')], ['info', resume]];
  if (now.state === 'lost') return [['wrong', words.lost], ['info', resume]];
  return [];
}

function tell(found) {
  const said = JSON.stringify(found);
  if (list.dataset.said === said) return;
  list.dataset.said = said;
  list.replaceChildren(...found.map(([level, text]) => {
    const item = document.createElement('li');
    item.className = ['info', 'careful', 'wrong'].includes(level) ? level : 'info';
    item.textContent = text;
    return item;
  }));
}

// A lesson of several leads to them all.
function several(journey) {
  const place = root.querySelector('.of-several');
  place.hidden = !journey;
  if (journey) place.firstChild.href = `#journey/${encodeURIComponent(journey.split('/')[0])}`;
}

function write(piece, text) {
  if (piece.textContent !== text) piece.textContent = text;
}

document.addEventListener('tunesmith:snapshot', ({ detail }) => {
  notes = detail.notes;
  write(title, detail.title);
  several(detail.journey);
  show(detail.now);
});

document.addEventListener('tunesmith:news', ({ detail }) => {
  notes = [...notes, ...(detail.notes ?? [])].slice(-20);
  show(detail.now);
});

// Another run is opened, or none: what stood there is not about it.
let open = '';
document.addEventListener('tunesmith:view', ({ detail }) => {
  if (!view || (detail.run === open && view.dataset.phase)) return;
  open = detail.run;
  view.dataset.phase = open ? 'opening' : 'none';
  write(document.querySelector('[data-no-run]'), 'No run is open.');
  root.setAttribute('aria-busy', Boolean(open));
  write(title, 'Opening the run');
  write(state, 'One moment');
  for (const name of ['step', 'left', 'saved', 'asked']) write(part(name), '');
  bar.style.width = '0%';
  verdict.hidden = true;
  several(null);
  [notes, asked] = [[], undefined];
  tell([]);
});

document.addEventListener('tunesmith:gone', ({ detail }) => {
  if (!view) return;
  view.dataset.phase = 'none';
  root.setAttribute('aria-busy', false);
  write(document.querySelector('[data-no-run]'), `${detail.text} ${detail.advice}`);
});
