// The setup form: its sections, and what other views ask of it. Text from files, links and storage is only set as text.

import { createExamples } from './data_examples.js';
import { createTemplatePicker } from './chat_template.js';
import { create, query } from './dom.js';
import { readDraft } from './draft.js';
import { createField } from './fields.js';
import { formatExact } from './format.js';
import { createMethodPicker } from './method_picker.js';
import { createModelPicker } from './model_picker.js';
import { listen } from './page_events.js';
import { page } from './page_state.js';
import { createPresetPicker } from './preset_picker.js';
import { createRewards } from './rewards.js';
import { createSettingSearch } from './setting_search.js';
import { problemText } from './server_reply.js';
import { createSettingChanges } from './setting_changes.js';
import { applyChanges } from './setup_paths.js';
import { SettingsForm } from './settings_form.js';
import { sourceName } from './source_name.js';

/** @typedef {import('./types.d.ts').SettingDeclaration} SettingDeclaration */
/** @typedef {import('./types.d.ts').FormState} FormState */
/** @typedef {{box: HTMLElement, refresh: () => void}} Section */

const TEMPLATE = {
  name: 'template',
  title: 'Which chat format',
  library_name: 'chat_template',
  sentence: 'How a conversation is written for the model.',
};
const VIEW_DELAY = 200; // milliseconds until the view is there

/** @param {import('./types.d.ts').MountContext} context */
export function mount(context) {
  const form = new SettingsForm(context);
  const drawn = drawForm(form);
  query(context.element, '.setup').replaceChildren(drawn.notice, drawn.sheet);
  form.state = readDraft(form.catalog) ?? form.state;
  form.view.drawMethod();
  form.view.readExamples();
  form.publish();
  listenToViews(form, drawn, context.element);
  openSharedLink(form);
}

// -- drawing ----------------------------------------------------------------------------------------------------------

/** Draws the form and gives it its view. @param {SettingsForm} form */
function drawForm(form) {
  const notice = create('div', { id: 'choose-notice' });
  const sheet = create('div', { className: 'sheet' });
  const createSection = (/** @type {SettingDeclaration} */ declaration) => createDeclaredField(form, declaration);
  const [above, within, end] = ['above', 'within', 'rest'].map(name =>
    create('div', { className: `of-method ${name}` }),
  );
  /** @type {Section[]} */
  let methodSections = [];
  const presets = createPresetPicker(form);
  const model = createModelPicker(form);
  const examples = createExamples(form);
  const methods = createMethodPicker(form);
  const template = createTemplatePicker(form);
  const common = Object.fromEntries(
    form.catalog.common.map(declaration => [declaration.name, createSection(declaration)]),
  );
  const { title, prompts, seed, ...adapter } = common;
  const advanced = create(
    'details',
    { className: 'advanced', id: 'advanced' },
    create('summary', { textContent: 'Advanced' }),
  );
  const search = createSettingSearch(advanced);
  advanced.append(
    search.box,
    search.found,
    within,
    createGroup('Questions to watch', prompts),
    createGroup('What is trained', ...Object.values(adapter)),
    createGroup('What the model reads', template),
    createGroup('Chance', seed),
    end,
  );
  sheet.replaceChildren(presets.box, title.box, model.box, examples.box, methods.box, above, advanced);
  const sections = [presets, model, examples, methods, template, ...Object.values(common)];

  function drawMethod() {
    const { method } = form;
    const everyday = method.fields.filter(field => field.everyday).map(createSection);
    const others = method.fields.filter(field => !field.everyday).map(createSection);
    const rewards = createRewards(form, method.rewarded ? 'What earns a reward' : 'How answers are scored');
    methodSections = [rewards, ...everyday, ...others];
    const settings = create(
      'section',
      { className: 'block', id: 'everyday' },
      create('h2', { textContent: 'Settings' }),
      createGrid(everyday),
    );
    const writesAnswers = !['scored', 'judged'].includes(method.way);
    above.replaceChildren(...(method.rewarded ? [rewards.box] : []), settings);
    within.replaceChildren(...(method.rewarded || !writesAnswers ? [] : [rewards.box]));
    end.replaceChildren(createGroup('Everything else', ...others));
    const isMeasured = within.contains(rewards.box);
    search.search(
      [
        ...everyday.map(section => ({ ...section, isEveryday: true })),
        ...(isMeasured ? [{ ...rewards, declaration: { name: 'rewards', title: 'How answers are scored' } }] : []),
        ...[prompts, ...Object.values(adapter)],
        { ...template, declaration: TEMPLATE },
        seed,
        ...others,
      ],
      method.title,
    );
  }

  /**
   * @param {HTMLElement} target
   * @param {string} text
   * @param {FormState | null} undoState
   * @param {string} [status]
   * @param {import('./types.d.ts').SettingChange[]} [changes] shown below it as old → new
   */
  function announce(target, text, undoState, status = 'info', changes = []) {
    if (!text) return target.replaceChildren();
    const undo = () => {
      if (undoState) form.replaceState(undoState);
      target.replaceChildren();
    };
    const item = create('li', { className: status, textContent: text });
    const list = create('ul', { className: 'notice boxed' }, item);
    const button = create('button', { type: 'button', className: 'back', textContent: 'Undo', onclick: undo });
    const message = create('div', { role: status === 'wrong' ? 'alert' : 'status' }, list);
    const differences = create('dl', { className: 'setting-changes' }, ...createSettingChanges(changes));
    target.replaceChildren(message, ...(changes.length ? [differences] : []), ...(undoState ? [button] : []));
  }

  form.view = {
    drawMethod,
    refresh: () => [...sections, ...methodSections].forEach(section => section.refresh()),
    refreshMethod: () => methodSections.forEach(section => section.refresh()),
    refreshMethodPicker: methods.refresh,
    readExamples: examples.read,
    columns: examples.columns,
    announce: (text, undoState, status, changes) => announce(notice, text, undoState, status, changes),
    announceMethod: (text, undoState) => announce(methods.notice, text, undoState),
    clearMethodNotice: () => methods.notice.replaceChildren(),
  };
  return { notice, sheet, chooseRun: model.chooseRun, clearSearch: search.clear };
}

/** @param {SettingsForm} form @param {SettingDeclaration} declaration */
function createDeclaredField(form, declaration) {
  const { name, path = '', id = '', empty } = declaration;
  const placeholder = () => {
    if (name === 'title') return `as the examples: ${sourceName(form, form.setup.data[0].source)}`;
    return form.automatic[name] ? `automatic: ${formatExact(form.automatic[name])}` : (empty ?? '');
  };
  const field = createField({ ...declaration, id, placeholder }, form.bind(path, declaration, name !== 'title'), form);
  return { ...field, declaration };
}

/** @param {Section[]} sections */
const createGrid = sections => create('div', { className: 'fields' }, ...sections.map(({ box }) => box));

/** @param {string} title @param {...Section} sections */
const createGroup = (title, ...sections) =>
  create('section', { className: 'block' }, create('h3', { textContent: title }), createGrid(sections));

// -- what other views ask of the form ---------------------------------------------------------------------------------

/**
 * @param {SettingsForm} form
 * @param {{chooseRun: (run: string) => boolean, clearSearch: () => void}} drawn
 * @param {HTMLElement} element
 */
function listenToViews(form, { chooseRun, clearSearch }, element) {
  // The setup of an earlier run.
  listen('fill', ({ preset, setup }) => {
    const text = `The setup of “${setup.title ?? 'that run'}” filled the form.`;
    form.replaceState({ preset, setup, link: false, uploads: form.uploads, isMethodChosen: true }, text);
  });
  listen('preset', name => {
    if (form.hasPreset(name)) form.start(name);
  });
  listen('reset', () => {
    const state = { ...form.freshState(form.state.preset), uploads: form.uploads };
    form.replaceState(state, 'Everything is as the preset has it.');
  });
  listen('view', ({ view }) => {
    if (view === 'choose') form.readFinishedRuns();
  });
  listen('planned', planned => {
    form.planned = planned;
    form.view.refreshMethod();
  });
  // The remedy of a finding, from another view.
  listen('alter', ({ changes }) => {
    form.change(setup => applyChanges(setup, changes));
    form.view.readExamples();
  });
  listen('enough', () => form.setGoodEpochs());
  listen('mend', id => {
    clearSearch(); // it may have hidden what is to be mended
    const place =
      element.querySelector('[aria-invalid=true]') ?? (id ? element.querySelector(`#${CSS.escape(id)}`) : null);
    const details = place?.closest('details');
    if (details) details.open = true;
    const control = place?.matches('input, select, textarea') ? place : place?.querySelector('input, select, textarea');
    if (!(control instanceof HTMLElement)) return;
    place?.scrollIntoView({ block: 'start' });
    control.focus({ preventScroll: true });
  });
  // Goes on from the result of a run, with examples of the person's own.
  listen('teach', async run => {
    await form.readFinishedRuns();
    const text = chooseRun(run)
      ? 'The form goes on from that result. Now bring the examples that it should learn.'
      : 'Only finished runs can be gone on from.';
    form.view.announce(text, null);
    setTimeout(() => query(element, '#source').focus(), VIEW_DELAY);
  });
}

/**
 * Opens a setup that came by a link. The link leaves the address, so that a reload keeps what was changed since.
 * @param {SettingsForm} form
 */
async function openSharedLink(form) {
  const address = new URL(location.href);
  const code = address.searchParams.get('setup');
  if (code === null) return;
  address.searchParams.delete('setup');
  address.hash = 'choose';
  history.replaceState(null, '', address);
  page.go('choose');
  const reply = await form.server.open_setup_link(code);
  if (!reply?.answer) {
    const reason = problemText(reply, 'The link could not be opened. Reload the page to try again.');
    return form.view.announce(`${reason} The form below is as you left it.`, null, 'wrong');
  }
  const { preset, setup, changes } = reply.answer;
  const before = form.changeCount ? form.state : null;
  form.replaceState({ preset, setup, link: true, uploads: form.uploads, isMethodChosen: true });
  const { length } = changes;
  const differs = length ? `${length} setting${length > 1 ? 's differ' : ' differs'} from` : 'It is';
  const text =
    `This setup came by a link. Nothing has started. ${differs} the preset “${form.findPreset(preset).title}”. ` +
    'Look it over, then check the examples.';
  form.view.announce(text, before, 'info', changes);
}
