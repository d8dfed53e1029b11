// Plan: asks what the present setup would do, and only while the form is looked at.

const PATIENCE = 500;  // milliseconds without a change before it is counted
const list = element.querySelector('dl'), brief = element.querySelector('.brief'), refused = element.querySelector('.refused');
const details = element.querySelector('details');
const number = value => Math.round(value).toLocaleString('en-US');
const many = (count, word) => `${number(count)} ${word}${Math.round(count) === 1 ? '' : 's'}`;
const MOST = 3;  // questions under way: a model that has to come from the Hub first keeps one waiting
let wanted = tunesmith.setup ?? null, told = '', asking = 0, timer;  // told: what the card speaks of, see `key`

// Each line stands from the beginning, so that nothing moves when its number comes.
const LINES = ['Examples', 'Learned', 'Steps', 'Time', 'Changed'];
const lines = Object.fromEntries(LINES.map(name => {
  const term = document.createElement('dt'), what = document.createElement('dd'), more = document.createElement('small'), text = document.createElement('span');
  term.textContent = name;
  what.append(text, more);
  list.append(term, what);
  return [name, { text, more }];
}));
const putBack = Object.assign(document.createElement('button'), { type: 'button', className: 'back', textContent: 'Put all back', hidden: true,
  onclick: () => document.dispatchEvent(new CustomEvent('tunesmith:reset')) });
lines.Changed.more.append(putBack);

// A model elsewhere is asked for only when somebody wants it: half a name is no reason to call the Hub.
const known = new Set();  // what may be counted unasked: nothing that would be downloaded first
const parts = setup => [setup.model.id, ...setup.data.map(one => one.source).filter(one => one.startsWith('hub:'))];
const count = Object.assign(document.createElement('button'), { type: 'button', className: 'back', textContent: 'Count now', hidden: true,
  onclick: () => { for (const part of parts(wanted.setup)) known.add(part); told = ''; ask(); } });
// Leads to the setting that is refused, which may lie far above or under Advanced.
const mend = Object.assign(document.createElement('button'), { type: 'button', className: 'back', textContent: 'Go to it', hidden: true,
  onclick: () => document.dispatchEvent(new CustomEvent('tunesmith:mend')) });
refused.after(count, mend);

// Too few steps teach nothing new, and say so only at the end: better now.
const FEW = 60;
const enough = Object.assign(document.createElement('button'), { type: 'button', className: 'back', textContent: 'Make it about 120', hidden: true,
  onclick: () => document.dispatchEvent(new CustomEvent('tunesmith:enough')) });
lines.Steps.more.after(enough);

function show(name, text, more = '') {
  lines[name].text.textContent = text;
  if (name !== 'Changed') lines[name].more.textContent = more;
}

function duration(seconds) {
  if (seconds < 90) return `about ${Math.max(1, Math.round(seconds))} s`;
  if (seconds < 5400) return `about ${Math.round(seconds / 60)} minutes`;
  return `about ${(seconds / 3600).toFixed(1)} hours`;
}

function counting() {
  list.setAttribute('aria-busy', 'true');
  say('');
  count.hidden = mend.hidden = enough.hidden = true;
  for (const name of ['Examples', 'Learned', 'Steps', 'Time']) show(name, 'Counting …');
  brief.textContent = 'Counting …';
}

function say(text) {
  if (refused.textContent !== text) refused.textContent = text;
}

function refuse(text) {
  list.setAttribute('aria-busy', 'false');
  mend.hidden = !document.querySelector('#setup [aria-invalid=true]');
  enough.hidden = true;
  for (const name of ['Examples', 'Learned', 'Steps', 'Time']) show(name, '–');
  brief.textContent = text;
  say(text);
}

function hold() {
  list.setAttribute('aria-busy', 'false');
  say('');
  for (const name of ['Learned', 'Steps', 'Time']) show(name, '–');
  show('Examples', 'Not counted yet', 'The model’s tokenizer has to be fetched from the Hub first.');
  brief.textContent = 'Not counted yet';
  count.hidden = false;
}

function tell(plan) {
  list.setAttribute('aria-busy', 'false');
  say('');
  const noun = wanted.noun;
  const rows = plan.rows === null ? 'Read while training' : many(plan.rows, noun);
  const apart = [plan.held_out ? `${number(plan.held_out)} more kept aside for the test` : 'none kept aside for a test',
                 ...Object.entries(plan.left_out ?? {}).map(([why, count]) => `${number(count)} left out: ${why}`)];
  show('Examples', rows, apart.join('; '));
  const { all, trained } = plan.tokens ?? {};
  const cut = plan.truncated ? `${many(plan.truncated, 'example')} lose${plan.truncated === 1 ? 's' : ''} the end` : 'nothing is cut off';
  const part = all ? `${Math.round((100 * trained) / all)} % of ${number(all)} tokens` : '';
  show('Learned', ...({
    asked: ['What it makes of its own answers', 'it writes them itself while it learns'],
    compared: [part, `the answers: the better made likelier, the worse less likely; ${cut}`],
    thumbed: [part, `the answers: what was liked made likelier, what was not less likely; ${cut}`],
    scored: ['A score for each answer', all ? `${number(all)} tokens are read` : ''],
    judged: ['A judgement of each step', all ? `${number(all)} tokens are read` : ''],
  }[wanted.way] ?? [part || 'Whatever it writes', all ? cut : '']));
  const few = plan.steps && plan.steps < FEW && !wanted.setup.knobs.steps && wanted.way !== 'asked';
  const steps = plan.steps ? many(plan.steps, 'step') : 'Until it is stopped';
  show('Steps', steps, few ? 'So few seldom teach anything new.' : plan.effective_batch ? `${number(plan.effective_batch)} at a time (effective batch)` : '');
  lines.Steps.more.classList.toggle('careful', Boolean(few));
  enough.hidden = !few;
  const time = plan.seconds ? duration(plan.seconds) : 'Not known yet';
  show('Time', time, plan.seconds ? 'on this machine' : plan.seconds_why ?? '');
  brief.textContent = [rows, steps, plan.seconds ? time : ''].filter(Boolean).join(' · ');
  document.dispatchEvent(new CustomEvent('tunesmith:planned', { detail: { setup: wanted.setup, plan } }));
}

function changed() {
  const { changes } = wanted;
  lines.Changed.text.textContent = changes ? `${many(changes, 'setting')} differ${changes === 1 ? 's' : ''} from the preset ` : 'Nothing: as the preset has it';
  putBack.hidden = !changes;
}

const key = () => JSON.stringify([wanted.setup, wanted.lacking]);

async function ask() {
  if (asking >= MOST || !wanted || key() === told || tunesmith.view !== 'choose') return;
  const mine = told = key(), { setup, lacking } = wanted;
  count.hidden = true;
  if (lacking) return refuse(lacking);
  if (!parts(setup).every(part => known.has(part) || wanted.near.includes(part))) return hold();
  asking += 1;
  counting();
  const said = await server.plan(setup);
  asking -= 1;
  if (mine !== key()) return later(0);  // it changed meanwhile: this answer is of no use
  if (said?.answer) tell(said.answer);
  else refuse(said?.problem ? `${said.problem.text} ${said.problem.advice}` : 'The page’s own server does not answer. Reload the page once it is open again.');
}

function later(wait) {
  clearTimeout(timer);
  timer = setTimeout(ask, wait);
}

function heard(now) {
  address.hidden = true;
  note.textContent = '';
  wanted = now;
  changed();
  if (key() === told) return;
  told = '';  // what the card says now is of before
  if (tunesmith.view === 'choose') counting();
  later(PATIENCE);
}

// A link to this setup: made by the page, shown in any case, and put into the clipboard where the browser lets us.
const shared = document.createElement('div'), sharing = document.createElement('button'), address = document.createElement('input'), note = document.createElement('p');
shared.className = 'sharing';
Object.assign(sharing, { type: 'button', className: 'back', textContent: 'Copy a link to this setup' });
Object.assign(address, { readOnly: true, hidden: true, onfocus: () => address.select() });
address.setAttribute('aria-label', 'Link to this setup');
note.setAttribute('role', 'status');
shared.append(sharing, address, note);
details.append(shared);

sharing.addEventListener('click', async () => {
  const said = await server.link_to({ setup: wanted.setup, page: location.origin + location.pathname });
  address.hidden = !said?.answer;
  note.className = said?.answer ? '' : 'wrong';
  if (!said?.answer) {
    note.textContent = said?.problem ? `${said.problem.text} ${said.problem.advice}` : 'The page’s own server does not answer.';
    return;
  }
  address.value = said.answer;
  note.textContent = await copied(said.answer) ? 'Copied. Whoever opens it sees this setup; nothing starts.' : 'Copy it from here: this browser does not let a page do it.';
});

async function copied(text) {
  try { await navigator.clipboard.writeText(text); return true; } catch { address.focus(); return false; }
}

document.addEventListener('tunesmith:setup', event => heard(event.detail));
document.addEventListener('tunesmith:view', event => { if (event.detail.view === 'choose') later(0); });
// On wide screens the card is always whole; on narrow ones it is a bar that opens.
const wide = matchMedia('(min-width: 900px)');
const fit = () => { details.open = wide.matches; };
wide.addEventListener('change', fit);
details.addEventListener('toggle', () => { if (wide.matches) details.open = true; });
fit();
if (wanted) heard(wanted);
