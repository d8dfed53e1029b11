// Settings: the form as a whole. It keeps a draft in this browser, marks what differs from the preset, and tells the page
// what is set up now. Whatever came from a file, a link or the browser's storage is only ever shown as text.

const KEPT = 'tunesmith-draft', VERSION = 1;
const OWN_SHARE = 0.1;  // of a file of one's own, kept aside for the test
const ENOUGH = 120;  // steps of a good first attempt, as in app/history/verdict.py
const sampled = setup => setup.data[0].source.startsWith('sample:');
const menu = props.menu;
const presetOf = name => menu.presets.find(one => one.name === name);
const at = (data, path) => path.split('.').reduce((part, key) => part?.[key], data);
const same = (one, other) => JSON.stringify(one ?? null) === JSON.stringify(other ?? null);

let state = fresh(menu.first);
let automatic = {}, finished = [], lasting = null, ofMethod = [], fit = null, planned = null;
const notice = make('div', { id: 'choose-notice' });
const sheet = make('div', { className: 'sheet' });

function fresh(preset) {
  return { preset, setup: structuredClone(presetOf(preset).setup), link: false, uploads: [] };
}

const form = {
  setup: () => state.setup,
  base: () => presetOf(state.preset).setup,
  preset: () => (state.link ? '' : state.preset),
  change(deed) {
    const setup = structuredClone(state.setup);
    deed(setup);
    state = { ...state, setup };
    tell();
  },
  get finished() { return finished; },
  uploads: () => state.uploads,
  uploaded(one) {
    state = { ...state, uploads: [{ source: one.source, name: one.name }, ...state.uploads.filter(old => old.source !== one.source)].slice(0, 5) };
  },
  fit: () => fit,
  fitted(found) {
    fit = found;
    lasting.lesson.refresh();
  },
  columns: () => lasting.examples.columns(),
  state: () => state,
  // Another lesson has settings of its own. more: changes beside it; words: said with a way back, where nobody asked for it.
  lesson(method, words = '', more = () => {}, undo = state) {
    const { base } = form, setup = structuredClone(state.setup);
    more(setup);
    state = { ...state, setup: { ...setup, method, knobs: method === base().method ? structuredClone(base().knobs) : {} } };
    drawMethod();
    tell();
    announce(words, words ? undo : null, 'info', lasting.lesson.said);
    if (!words) focusOn('lesson', ':checked');
  },
  start(name) {
    become({ ...fresh(name), uploads: state.uploads }, `“${presetOf(name).title}” filled the form.`);
    sheet.querySelector(`[name=preset][value="${CSS.escape(name)}"]`)?.focus();
  },
  // How a declared setting reads and writes its place in the setup. marked: it is compared with the preset by itself.
  on(path, one, marked = true) {
    const wanted = setup => at(setup, path) ?? one.default ?? undefined;
    return {
      marked, get: () => wanted(state.setup),
      set: value => form.change(setup => place(setup, path, value)),
      back: () => form.change(setup => place(setup, path, structuredClone(at(baseFor(path), path)))),
      changed: () => marked && !same(wanted(state.setup), wanted(baseFor(path))),
      was: () => shown(one, wanted(baseFor(path))),
      safe: () => one.safe ? roomy(path, one.safe) : automatic[one.name] ? [automatic[one.name] / 10, automatic[one.name] * 5] : null,
      aside: () => path === 'knobs.epochs' && state.setup.knobs.steps ? ['info', `Not used: “Steps” says ${state.setup.knobs.steps}.`] : null,
    };
  },
};

// Few examples are seen more often: so many epochs are safe as make enough steps.
function roomy(path, safe) {
  if (path !== 'knobs.epochs') return safe;
  const counted = planned && same(planned.setup.data, state.setup.data) && planned.setup.method === state.setup.method;
  const room = form.room?.source === state.setup.data[0].source ? form.room.epochs : 0;  // reckoned as the file came
  return [safe[0], Math.max(safe[1], counted ? epochsFor(ENOUGH) : room)];
}

function epochsFor(steps) {
  const epochs = planned.setup.knobs.epochs ?? fieldOf('epochs')?.default ?? 1;
  return Math.min(1000, Math.max(1, Math.ceil(steps * epochs / Math.max(1, planned.plan.steps))));
}

const fieldOf = name => menu.methods[state.setup.method].fields.find(one => one.name === name);

// Another lesson has settings of its own: they are compared with what that lesson starts from.
function baseFor(path) {
  if (path.startsWith('knobs.') && state.setup.method !== form.base().method) return { knobs: {} };
  return form.base();
}

function shown(one, value) {
  if (value === undefined || value === null) return one.empty ?? 'automatic';
  if (one.type === 'bool') return value ? 'on' : 'off';
  if (one.type === 'choice') return proper(String(value));
  if (one.type === 'lines') return 'the preset’s';
  return typeof value === 'number' ? inWords(value, one.unit) : `“${String(value).slice(0, 40)}”`;
}

function place(setup, path, value) {
  const keys = path.split('.'), last = keys.pop();
  const group = keys.reduce((part, key) => part[key] ??= {}, setup);
  if (value === undefined || value === null) delete group[last];
  else group[last] = value;
}

// -- what the page and the browser are told -----------------------------------------------------------------------

const blocks = () => [...Object.values(lasting), ...ofMethod];

function tell() {
  for (const block of blocks()) block.refresh();
  props.value = state.setup;
  try { localStorage.setItem(KEPT, JSON.stringify({ v: VERSION, ...state })); } catch { /* storage may be forbidden or full */ }
  settleSoon();
  const lacking = kindOf(state.setup.model) === 'hub' && !state.setup.model.id ? 'Name a model from the Hub, or choose the practice model.' : '';
  const wrong = element.querySelectorAll('[aria-invalid=true]').length;
  const refused = wrong ? `${wrong === 1 ? 'One setting' : `${wrong} settings`} cannot be used as ${wrong === 1 ? 'it is. It says' : 'they are. They say'} why.` : '';
  tunesmith.setup = { setup: state.setup, changes: changes(), lacking: lacking || refused, way: menu.methods[state.setup.method].way, noun: menu.methods[state.setup.method].noun, near: menu.shipped.map(one => one.id) };
  document.dispatchEvent(new CustomEvent('tunesmith:setup', { detail: tunesmith.setup }));
}

const changes = () => element.querySelectorAll('.sheet .field-head.changed').length;

function become(next, words) {
  const before = changes() ? state : null;
  state = next;
  [fit, planned] = [null, null];
  lasting.lesson.said.replaceChildren();
  drawMethod();
  lasting.examples.look();
  tell();
  if (words) announce(words, before);
}

function announce(text, undo, sign = 'info', where = notice) {
  if (!text) return where.replaceChildren();
  const item = make('li', { className: sign, textContent: text });
  const way = undo ? make('button', { type: 'button', className: 'back', textContent: 'Undo', onclick: () => { become(undo); where.replaceChildren(); } }) : null;
  where.replaceChildren(make('div', { role: sign === 'wrong' ? 'alert' : 'status' }, make('ul', { className: 'notice boxed' }, item)), ...(way ? [way] : []));
}

let settling;
function settleSoon() {
  clearTimeout(settling);
  settling = setTimeout(async () => {
    const { setup } = state;
    const said = await server.settle({ method: setup.method, adapter: setup.adapter?.kind, model: setup.model });
    if (setup !== state.setup || !said?.answer || same(said.answer, automatic)) return;
    automatic = said.answer;
    for (const block of blocks()) block.refresh();
  }, 200);
}

// -- how it is drawn ----------------------------------------------------------------------------------------------

function declared(one) {
  const made = { ...one, placeholder: () => {
    if (automatic[one.name]) return `automatic: ${inFull(automatic[one.name])}`;
    return one.empty ?? '';
  } };
  return field(made, form.on(one.path, one, one.name !== 'title'), form);
}

const grid = (...some) => make('div', { className: 'fields' }, ...some.map(one => one.box));
const named = (title, ...some) => make('section', { className: 'block' }, make('h3', { textContent: title }), grid(...some));
const [above, within, rest] = ['above', 'within', 'rest'].map(name => make('div', { className: `of-method ${name}` }));

function drawOnce() {
  const common = Object.fromEntries(menu.common.map(one => [one.name, declared(one)]));
  lasting = { starts: startsBlock(form), model: modelBlock(form), examples: examplesBlock(form), lesson: lessonBlock(form), format: formatBlock(form), ...common };
  const { starts, model, examples, lesson, format, title, prompts, seed, ...adapter } = lasting;
  const advanced = make('details', { className: 'advanced', id: 'advanced' }, make('summary', { textContent: 'Advanced' }), within,
    named('Questions to watch', prompts), named('What is trained', ...Object.values(adapter)), named('What the model reads', format), named('Chance', seed), rest);
  sheet.replaceChildren(starts.box, title.box, model.box, examples.box, lesson.box, above, advanced);
}

// What belongs to the method that is chosen.
function drawMethod() {
  const method = menu.methods[state.setup.method];
  const everyday = method.fields.filter(one => one.everyday).map(declared), others = method.fields.filter(one => !one.everyday).map(declared);
  const rewards = rewardsBlock(form, method.rewarded ? 'What earns a reward' : 'How answers are scored');
  ofMethod = [rewards, ...everyday, ...others];
  above.replaceChildren(...(method.rewarded ? [rewards.box] : []), make('section', { className: 'block', id: 'everyday' }, make('h2', { textContent: 'Settings' }), grid(...everyday)));
  within.replaceChildren(...(method.rewarded || ['scored', 'judged'].includes(method.way) ? [] : [rewards.box]));  // what scores writes no answers
  rest.replaceChildren(named('Everything else', ...others));
}

async function learnRuns() {
  const said = await server.finished();
  if (!said?.answer) return;
  finished = said.answer;
  for (const block of blocks()) block.refresh();
}

// -- what other pieces ask of it ----------------------------------------------------------------------------------

// Another view sends a setup, as that of an earlier run; what stood here before is one click away.
watch('value', () => {
  const sent = props.value;
  if (!presetOf(sent?.preset)) return;  // the form's own value
  become({ preset: sent.preset, setup: sent.setup, link: false, uploads: state.uploads }, `The setup of “${sent.setup.title ?? 'that run'}” filled the form.`);
});
const hears = {
  preset: name => presetOf(name) && form.start(name),
  reset: () => become({ ...fresh(state.preset), uploads: state.uploads }, 'Everything is as the preset has it.'),
  view: ({ view }) => view === 'choose' && learnRuns(),
  planned: told => { planned = told; for (const block of ofMethod) block.refresh(); },
  // What a finding says would mend it, from another view.
  alter({ changes }) {
    form.change(setup => alter(setup, changes));
    lasting.examples.look();
  },
  enough: () => planned && form.change(setup => { setup.knobs.epochs = epochsFor(ENOUGH); }),
  mend() {
    const wrong = element.querySelector('[aria-invalid=true]'), folded = wrong?.closest('details');
    if (folded) folded.open = true;
    wrong?.focus();
  },
  // Goes on from the result of that run, with examples of one's own.
  async teach(run) {
    await learnRuns();
    const found = lasting.model.take(run);
    announce(found ? 'The form goes on from that result. Now bring the examples that it should learn.' : 'Only finished runs can be gone on from.', null);
    setTimeout(() => element.querySelector('#source').focus(), 200);
  },
};
for (const [name, deed] of Object.entries(hears)) document.addEventListener(`tunesmith:${name}`, event => deed(event.detail));

element.querySelector('.setup').replaceChildren(notice, sheet);
state = remembered() ?? state;
drawOnce();
drawMethod();
lasting.examples.look();
tell();
const code = new URL(location).searchParams.get('setup');
if (code !== null) arrive(code, ({ preset, setup }) => {
  const own = changes() ? state : null;
  become({ preset, setup, link: true, uploads: state.uploads });
  const differs = changes(), counted = differs ? `${differs} setting${differs > 1 ? 's differ' : ' differs'} from` : 'It is';
  announce(`This setup came by a link. Nothing has started. ${counted} the preset “${presetOf(preset).title}”. Look it over, then check the examples.`, own);
}, words => announce(words, null, 'wrong'));
