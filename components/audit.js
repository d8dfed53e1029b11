// Audit: draws what a look at all examples found. What was found before stays in sight, resting, while it looks again.

const WORDS = { wrong: 'Wrong', careful: 'Careful', good: 'Good' };
const SAYS = 'Looks at every example, not only at those above: what repeats, what is cut off, what would teach the wrong thing.';
const LEFT_OUT = ['left_out', 'dropped', 'unreadable_rows'];
const AT_FIRST = 3;  // rows of a finding that are offered at once
const root = tag('div', 'audit-shown');
let result = null, limits = null, done = [];  // done: what was mended, with the way back

function load() {
  const told = element.querySelector('.data');
  if (!told) return;
  const data = JSON.parse(told.textContent);
  element.querySelector('.audit').append(root);
  if (data.state === 'none') { result = null; done = []; root.replaceChildren(); return; }
  if (data.state === 'done') [result, limits] = [data.result, data.limits];
  const kept = document.activeElement && root.contains(document.activeElement) ? document.activeElement.id : '';
  const busy = data.state === 'busy';
  root.replaceChildren(tag('h2', '', 'All examples'), ...({ asked, busy: progress, refused, done: () => [] }[data.state])(data), ...mended(), ...(result && data.state !== 'asked' ? drawn(busy) : []));
  if (kept) root.querySelector(`#${CSS.escape(kept)}`)?.focus();
}

function asked() {
  return [tag('p', 'quiet', SAYS), press('plain', 'Look at all examples', () => document.querySelector('#audit-go')?.click())];
}

const refused = ({ text }) => {
  const list = tag('ul', 'notice boxed'), alert = tag('div', '');
  alert.setAttribute('role', 'alert');
  list.append(tag('li', 'wrong', text));
  alert.append(list);
  return [alert, press('plain', 'Look again', () => document.querySelector('#audit-go')?.click())];
};

function progress({ progress: far }) {
  const bar = Object.assign(document.createElement('progress'), { max: far?.total || 1 });
  if (far?.total) bar.value = far.done; else bar.removeAttribute('value');
  bar.setAttribute('aria-label', 'How far the look at all examples is');
  const left = far?.seconds_left ?? null, time = left === null ? '' : left < 1 ? ' · almost done' : left < 90 ? ` · about ${Math.max(1, Math.round(left))} s left` : ` · about ${Math.round(left / 60)} minutes left`;
  const words = far ? `${far.what}${far.total ? `: ${figure(far.done)} of ${figure(far.total)}` : ' …'}${time}` : 'Looking at all examples …';
  const box = tag('div', 'audit-progress');
  box.setAttribute('aria-busy', 'true');
  box.append(bar, tag('p', 'quiet', words));
  return [box];
}

// -- what was found ------------------------------------------------------------------------------------------------

function drawn(busy) {
  const parts = tag('div', busy ? 'audit-parts resting' : 'audit-parts');
  parts.append(summary(), ...dropped(), findings(), facts());
  if (result.lengths) parts.append(cutPicture(result.lengths, limits ?? [1, 1e6], length => mend({ title: `Maximum length ${figure(length)}`, changes: { 'knobs.max_length': length } })));
  if (busy) for (const one of parts.querySelectorAll('button, input')) one.disabled = true;
  return [parts];
}

function summary() {
  const bad = shown().filter(one => one.severity === 'wrong').length, careful = shown().filter(one => one.severity === 'careful').length;
  const count = [bad ? `${bad} wrong` : '', careful ? `${careful} to look at` : ''].filter(Boolean).join(', ');
  const when = result.again ? 'as found before' : `in ${result.seconds < 1.5 ? 'a second' : `${Math.round(result.seconds)} s`}`;
  const words = tag('p', 'audit-summary', `${several(result.rows, 'example')} looked at, ${when}: `);
  words.append(tag('strong', '', count || 'nothing stands in the way'), '.');
  words.setAttribute('role', 'status');
  return words;
}

// What is left out is told with its reasons, once.
const shown = () => result.findings.filter(one => !LEFT_OUT.includes(one.id));

function findings() {
  const list = tag('ul', 'notice audit-findings');
  list.append(...shown().map((one, number) => finding(one, number)));
  return list;
}

function finding(one, number) {
  const item = tag('li', one.severity), words = tag('p', '');
  if (one.severity !== 'good') words.append(tag('span', `severity of-${one.severity}`, `${WORDS[one.severity]}:`));
  words.append(one.text);
  item.append(words);
  const row = tag('div', 'audit-row');
  if (one.remedy) row.append(press('plain mend', one.remedy.title, () => mend(one.remedy), `mend-${number}`));
  if (openable(one)) row.append(...opens(one));
  if (row.children.length) item.append(row);
  return item;
}

const openable = one => one.rows.length > 0;

// The first rows by how they begin; each opens among the others of its finding.
function opens(one) {
  const told = one.rows.slice(0, AT_FIRST).map(number => {
    const begins = result.examples[number], text = begins ? `${figure(number)}: “${begins.replace(/\s+/g, ' ').slice(0, 60)}${begins.length > 60 ? '…' : ''}”` : `Example ${figure(number)}`;
    const button = press('back', text, () => open(one, number));
    button.setAttribute('aria-label', `Open example ${figure(number)}: ${one.text}`);
    return button;
  });
  const list = tag('div', 'audit-opens');
  list.append(tag('span', 'quiet', one.count > AT_FIRST ? `${AT_FIRST} of ${figure(one.count)}:` : 'See:'), ...told);
  return [list];
}

function open(one, number) {
  const rows = [number, ...one.rows.filter(other => other !== number)];
  tunesmith.wanted = JSON.stringify({ rows, text: one.text });
  document.querySelector('#audit-open')?.click();
  document.querySelector('#check-tabs')?.scrollIntoView({ block: 'start', behavior: matchMedia('(prefers-reduced-motion: reduce)').matches ? 'auto' : 'smooth' });
}

function dropped() {
  if (!result.dropped.length) return [];
  const box = tag('div', 'audit-dropped'), list = tag('ul', '');
  const all = result.dropped.reduce((sum, one) => sum + one.count, 0);
  list.append(...result.dropped.map(one => tag('li', '', `${figure(one.count)}: ${one.reason}${one.rows?.length ? ` (row${one.rows.length === 1 ? '' : 's'} ${one.rows.slice(0, 5).map(figure).join(', ')}${one.count > 5 ? ' …' : ''} of the file)` : ''}`)));
  box.append(tag('p', '', `Of ${figure(result.rows + result.held_out + all)}, ${several(result.rows, 'example')} ${result.rows === 1 ? 'is' : 'are'} learned from${result.held_out ? `, ${figure(result.held_out)} kept aside for the test` : ''}, and ${figure(all)} left out:`), list);
  return [box];
}

function facts() {
  const { cost } = result, list = tag('dl', 'facts');
  const add = (name, value, more = null) => { const one = tag('div', ''), dd = tag('dd', '', value); if (more) dd.append(more); one.append(tag('dt', '', name), dd); list.append(one); };
  if (cost?.steps) add('Steps', `${figure(cost.steps)}, ${figure(cost.effective_batch)} at a time`);
  if (cost?.padding !== null && cost?.padding !== undefined) add('Padding', `${Math.round(100 * cost.padding)} % of what is computed`);
  const saves = cost?.packed_steps && cost.packed_steps < cost.steps * 0.9;
  if (saves) add('Joined, short beside short', `${figure(cost.packed_steps)} steps instead of ${figure(cost.steps)}`, press('back', 'Join them', () => mend({ title: 'Short examples are joined (packing)', changes: { 'knobs.packing': true } })));
  return list;
}

// -- what a person does --------------------------------------------------------------------------------------------

const at = (data, path) => path.split('.').reduce((part, key) => part?.[key], data);

// A remedy edits the setup; then it is looked at again. What stood there before is one click away.
function mend(remedy) {
  const before = Object.fromEntries(Object.keys(remedy.changes).map(path => [path, structuredClone(at(tunesmith.setup.setup, path) ?? null)]));
  done = [...here(), { title: remedy.title, before, sources: sources() }].slice(-6);
  change(remedy.changes);
}

function undo(one) {
  done = done.filter(other => other !== one);
  change(one.before);
}

// Of the examples that are looked at now: of others nothing was mended.
const sources = () => JSON.stringify(tunesmith.setup?.setup.data.map(one => one.source) ?? []);
const here = () => done.filter(one => one.sources === sources());

function change(changes) {
  document.dispatchEvent(new CustomEvent('tunesmith:alter', { detail: { changes } }));
  setTimeout(() => tunesmith.go('check'), 50);  // the form's value is there by then
}

// Undone from the last on: an earlier one may have been built upon.
function mended() {
  const mine = here();
  if (!mine.length) return [];
  const list = tag('ul', 'notice audit-mended');
  list.append(...mine.map((one, number) => {
    const item = tag('li', 'good', `Done: ${one.title}. `);
    if (number === mine.length - 1) item.append(press('back', 'Undo', () => undo(one)));
    return item;
  }));
  return [list];
}

function press(classes, textContent, onclick, id = '') {
  const button = Object.assign(tag('button', classes, textContent), { type: 'button', id });
  button.addEventListener('click', onclick);
  return button;
}

load();
watch('value', load);
