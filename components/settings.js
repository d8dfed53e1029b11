// Settings: the form as a whole. It keeps a draft in this browser, marks what differs from the preset, and tells the page
// what is set up now. Whatever came from a file, a link or the browser's storage is only ever shown as text.

const KEPT = 'tunesmith-draft', VERSION = 1;
const OWN_SHARE = 0.1;  // of a file of one's own, kept aside for the test
const sampled = setup => setup.data[0].source.startsWith('sample:');
const menu = props.menu;
const presetOf = name => menu.presets.find(one => one.name === name);
const at = (data, path) => path.split('.').reduce((part, key) => part?.[key], data);
const same = (one, other) => JSON.stringify(one ?? null) === JSON.stringify(other ?? null);

let state = fresh(menu.presets[0].name);
let automatic = {}, finished = [], blocks = [], before = null, lookAgain = () => {};
const notice = make('div', { id: 'choose-notice' });
const sheet = make('div', { className: 'sheet' });

function fresh(preset) {
  return { preset, setup: structuredClone(presetOf(preset).setup), link: false, uploads: [] };
}

const form = {
  setup: () => state.setup,
  base: () => presetOf(state.preset).setup,
  change(deed) {
    const setup = structuredClone(state.setup);
    deed(setup);
    state.setup = setup;
    tell();
  },
  get finished() { return finished; },
  uploads: () => state.uploads,
  uploaded(one) {
    state.uploads = [{ source: one.source, name: one.name }, ...state.uploads.filter(old => old.source !== one.source)].slice(0, 5);
  },
  // How a declared setting reads and writes its place in the setup. marked: it is compared with the preset by itself.
  on(path, one, marked = true) {
    const wanted = setup => at(setup, path) ?? one.default ?? undefined;
    return {
      get: () => wanted(state.setup),
      set: value => form.change(setup => place(setup, path, value)),
      back: () => form.change(setup => place(setup, path, structuredClone(at(baseFor(path), path)))),
      changed: () => marked && !same(wanted(state.setup), wanted(baseFor(path))),
      was: () => shown(one, wanted(baseFor(path))),
      safe: () => one.safe ?? (automatic[one.name] ? [automatic[one.name] / 10, automatic[one.name] * 5] : null),
      aside: () => path === 'knobs.epochs' && state.setup.knobs.steps ? ['info', `Not used: “Steps” says ${state.setup.knobs.steps}.`] : null,
    };
  },
};

// Another lesson has settings of its own: they are compared with what that lesson starts from.
// And a file has no test examples of its own, as samples have: a share of it is kept aside.
function baseFor(path) {
  if (path.startsWith('knobs.') && state.setup.method !== form.base().method) return { knobs: {} };
  if (path === 'holdout.share' && !sampled(state.setup)) return { holdout: { share: OWN_SHARE } };
  return form.base();
}

function shown(one, value) {
  if (value === undefined || value === null) return one.path === 'holdout.share' ? 'the sample’s own' : one.empty ?? 'automatic';
  if (one.type === 'bool') return value ? 'on' : 'off';
  if (one.type === 'choice') return capital(value);
  if (one.type === 'lines') return 'the preset’s';
  return typeof value === 'number' ? inWords(value, one.unit) : `“${String(value).slice(0, 40)}”`;
}

function place(setup, path, value) {
  if (path === 'holdout.share') { setup.holdout = kept(setup, value); return; }
  const keys = path.split('.'), last = keys.pop();
  const group = keys.reduce((part, key) => part[key] ??= {}, setup);
  if (value === undefined || value === null) delete group[last];
  else group[last] = value;
}

function kept(setup, share) {
  if (share !== undefined && share !== null) return { share };
  return sampled(setup) ? { split: 'holdout' } : { share: 0 };
}

// -- what the page and the browser are told -----------------------------------------------------------------------

function tell() {
  for (const block of blocks) block.refresh();
  props.value = state.setup;
  try { localStorage.setItem(KEPT, JSON.stringify({ v: VERSION, ...state })); } catch { /* storage may be forbidden or full */ }
  settleSoon();
  const lacking = kindOf(state.setup.model) === 'hub' && !state.setup.model.id ? 'Name a model from the Hub, or choose the practice model.' : '';
  const wrong = element.querySelector('[aria-invalid=true]') ? 'One setting cannot be used as it is. It says why beside it.' : '';
  tunesmith.setup = { setup: state.setup, changes: changes(), lacking: lacking || wrong };
  document.dispatchEvent(new CustomEvent('tunesmith:setup', { detail: tunesmith.setup }));
}

const changes = () => element.querySelectorAll('.sheet .field-head.changed:not(.uncounted)').length;

function become(next, words) {
  before = changes() ? state : null;
  state = next;
  draw();
  lookAgain();
  tell();
  if (words) announce(words, before);
}

function announce(text, undo, sign = 'info') {
  const item = make('li', { className: sign, textContent: text });
  const way = undo ? make('button', { type: 'button', className: 'back', textContent: 'Undo', onclick: () => { become(undo); notice.replaceChildren(); } }) : null;
  notice.replaceChildren(make('ul', { className: 'notice boxed', role: sign === 'wrong' ? 'alert' : 'status' }, item), ...(way ? [way] : []));
}

let settling;
function settleSoon() {
  clearTimeout(settling);
  settling = setTimeout(async () => {
    const { setup } = state;
    const said = await server.settle({ method: setup.method, adapter: setup.adapter?.kind, model: setup.model });
    if (setup !== state.setup || !said?.answer || same(said.answer, automatic)) return;
    automatic = said.answer;
    for (const block of blocks) block.refresh();
  }, 200);
}

// -- how it is drawn ----------------------------------------------------------------------------------------------

function declared(one) {
  const made = { ...one, placeholder: () => {
    if (automatic[one.name]) return `automatic: ${inFull(automatic[one.name])}`;
    if (one.path === 'holdout.share') return state.setup.holdout?.split ? 'the sample’s own test examples' : '';
    return one.empty ?? '';
  } };
  return field(made, form.on(one.path, one));
}

function draw() {
  const method = menu.methods[state.setup.method];
  const everyday = method.fields.filter(one => one.everyday).map(declared);
  const rest = method.fields.filter(one => !one.everyday).map(declared);
  const common = Object.fromEntries(menu.common.map(one => [one.name, declared(one)]));
  const rewards = rewardsBlock(form, method.rewarded ? 'What earns a reward' : 'How answers are scored');
  const examples = examplesBlock(form), model = modelBlock(form), lesson = lessonBlock(), starts = startsBlock();
  lookAgain = examples.look;
  common.title.box.querySelector('.field-head').classList.add('uncounted');
  const grid = (...some) => make('div', { className: 'fields' }, ...some.map(one => one.box));
  const named = (title, ...some) => make('section', { className: 'block' }, make('h3', { textContent: title }), grid(...some));
  const { title, prompts, share, seed, ...adapter } = common;
  const advanced = make('details', { className: 'advanced', id: 'advanced', open: sheet.querySelector('.advanced')?.open ?? false },
    make('summary', { textContent: 'Advanced' }), ...(method.rewarded ? [] : [rewards.box]),
    named('Questions to watch', prompts), named('What is trained', ...Object.values(adapter)), named('Test and chance', share, seed), named('Everything else', ...rest));
  blocks = [starts, title, model, examples, lesson, rewards, ...everyday, ...rest, prompts, share, seed, ...Object.values(adapter)];
  const settings = make('section', { className: 'block', id: 'everyday' }, make('h2', { textContent: 'Settings' }), grid(...everyday));
  sheet.replaceChildren(starts.box, title.box, model.box, examples.box, lesson.box, ...(method.rewarded ? [rewards.box] : []), settings, advanced);
}

function startsBlock() {
  const radios = menu.presets.map(one => choice('preset', one.name, one.title, takes(one), () => start(one.name)));
  const refresh = () => { for (const input of sheet.querySelectorAll('[name=preset]')) input.checked = !state.link && input.value === state.preset; };
  return { box: make('fieldset', { className: 'block starts', id: 'presets' }, make('legend', { textContent: 'Start from' }), make('div', { className: 'choices' }, ...radios)), refresh };
}

const takes = one => `About ${one.minutes} minute${one.minutes === 1 ? '' : 's'} · ${menu.methods[one.method].title}`;

function start(name) {
  become({ ...fresh(name), uploads: state.uploads }, `“${presetOf(name).title}” filled the form.`);
  sheet.querySelector(`[name=preset][value="${CSS.escape(name)}"]`)?.focus();
}

function lessonBlock() {
  const back = () => choose(form.base().method);
  const top = head({ title: 'Lesson', id: 'lesson', back, was: () => menu.methods[form.base().method].title, changed: () => state.setup.method !== form.base().method });
  const options = Object.entries(menu.methods).map(([value, one]) => make('option', { value, textContent: one.title }));
  const select = make('select', { id: 'lesson-input', 'aria-describedby': 'lesson-says', onchange: () => choose(select.value) }, ...options);
  const says = make('p', { className: 'says', id: 'lesson-says' });

  function choose(method) {
    const { base } = form;
    state.setup = { ...structuredClone(state.setup), method, knobs: method === base().method ? structuredClone(base().knobs) : {} };
    draw();
    lookAgain();
    tell();
    focusOn('lesson');
  }

  const refresh = () => {
    top.refresh();
    select.value = state.setup.method;
    says.textContent = menu.methods[state.setup.method].sentence;
  };
  return { box: make('section', { className: 'block field', id: 'lesson' }, top.row, says, select), refresh };
}

// -- where a setup comes from: the address, this browser, or the first preset --------------------------------------

// An older draft, or one that something else wrote, is left alone: the form begins afresh.
function remembered() {
  let found;
  try { found = JSON.parse(localStorage.getItem(KEPT)); } catch { return null; }
  const setup = found?.setup, group = one => one !== null && typeof one === 'object' && !Array.isArray(one);
  const whole = found?.v === VERSION && presetOf(found.preset) && group(setup) && typeof setup.method === 'string' && Object.hasOwn(menu.methods, setup.method)
    && [setup.model, setup.knobs, setup.adapter, setup.holdout].every(group) && typeof setup.model.id === 'string'
    && Array.isArray(setup.data) && setup.data.length > 0 && setup.data.every(one => group(one) && typeof one.source === 'string' && group(one.mapping ?? {}))
    && [setup.rewards ?? [], setup.prompts ?? []].every(Array.isArray) && (setup.rewards ?? []).every(one => group(one) && typeof one.name === 'string')
    && (setup.prompts ?? []).every(one => typeof one === 'string') && Array.isArray(found.uploads)
    && found.uploads.every(one => typeof one?.source === 'string' && typeof one?.name === 'string')
    && Object.keys(setup.knobs).every(name => menu.methods[setup.method].fields.some(one => one.name === name));
  return whole ? { preset: found.preset, setup, link: Boolean(found.link), uploads: found.uploads } : null;
}

// The link leaves the address, so that a reload keeps what was changed since.
async function arrive(code) {
  const address = new URL(location);
  address.searchParams.delete('setup');
  address.hash = 'choose';
  history.replaceState(null, '', address);
  tunesmith.go('choose');
  const said = await server.open_link(code);
  if (said?.answer) {
    const own = changes() ? state : null;
    become({ preset: said.answer.preset, setup: said.answer.setup, link: true, uploads: state.uploads });
    const differs = changes();
    const counted = differs ? `${differs} setting${differs > 1 ? 's differ' : ' differs'} from` : 'It is';
    announce(`This setup came by a link. Nothing has started. ${counted} the preset “${presetOf(said.answer.preset).title}”. Look it over, then check the examples.`, own);
    return;
  }
  const { text, advice } = said?.problem ?? { text: 'The link could not be opened.', advice: 'Reload the page to try again.' };
  announce(`${text} ${advice} The form below is as you left it.`, null, 'wrong');
}

async function learnRuns() {
  const said = await server.finished();
  if (!said?.answer) return;
  finished = said.answer;
  for (const block of blocks) block.refresh();
}

// Another view sends a setup, as that of an earlier run; what stood here before is one click away.
watch('value', () => {
  const sent = props.value;
  if (!presetOf(sent?.preset)) return;  // the form's own value
  become({ preset: sent.preset, setup: sent.setup, link: false, uploads: state.uploads }, `The setup of “${sent.setup.title ?? 'that run'}” filled the form.`);
});
document.addEventListener('tunesmith:preset', event => { if (presetOf(event.detail)) start(event.detail); });
document.addEventListener('tunesmith:reset', () => become({ ...fresh(state.preset), uploads: state.uploads }, 'Everything is as the preset has it.'));
document.addEventListener('tunesmith:view', event => { if (event.detail.view === 'choose') learnRuns(); });

element.querySelector('.setup').replaceChildren(notice, sheet);
state = remembered() ?? state;
draw();
lookAgain();
tell();
const code = new URL(location).searchParams.get('setup');
if (code !== null) arrive(code);
