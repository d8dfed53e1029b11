// The setup form: its sections, and what other views ask of it. Text from files, links and storage is only set as text.

import { createExamples } from './data_examples.js';
import { createTemplatePicker } from './chat_template.js';
import { create, query } from './dom.js';
import { readDraft } from './draft.js';
import { createField } from './fields.js';
import { formatExact } from './format.js';
import { showFormNotice } from './form_notice.js';
import { createSectionHead } from './form_sections.js';
import { createMethodPicker } from './method_picker.js';
import { createModelPicker } from './model_picker.js';
import { listen } from './page_events.js';
import { page } from './page_state.js';
import { createPresetPicker } from './preset_picker.js';
import { createRewards } from './rewards.js';
import { describeLesson, describeRewards, EXAMPLES, MODEL, TEMPLATE } from './searchable_sections.js';
import { createSettingSearch, describeSettings } from './setting_search.js';
import { problemText } from './server_reply.js';
import { applyChanges } from './setup_paths.js';
import { SettingsForm } from './settings_form.js';
import { sourceName } from './source_name.js';

/** @typedef {import('./types.d.ts').SettingDeclaration} SettingDeclaration */
/** @typedef {import('./types.d.ts').FormState} FormState */
/** @typedef {{box: HTMLElement, refresh: () => void}} Part */
/** @typedef {Part & import('./setting_search.js').Entry} Field */
/** @typedef {ReturnType<typeof createDeclaredField>} DeclaredField */

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
  /** @type {Field[]} */
  let advancedFields = [];
  /** @type {{refresh: () => void}[]} */
  let methodParts = [];
  const presets = createPresetPicker(form);
  const examples = createExamples(form);
  const model = createModelPicker(form);
  const methods = createMethodPicker(form);
  const template = { ...createTemplatePicker(form), declaration: TEMPLATE };
  const common = Object.fromEntries(
    form.catalog.common.map(declaration => [declaration.name, createSection(declaration)]),
  );
  const { title, prompts, seed, ...adapter } = common;
  const advanced = form.sections.create({
    id: 'advanced',
    head: createSectionHead('advanced', 'Advanced'),
    content: [
      within,
      createGroup('Questions to watch', prompts),
      createGroup('What is trained', ...Object.values(adapter)),
      createGroup('What the model reads', template),
      createGroup('Chance', seed),
      end,
    ],
    summarize: () => describeAdvanced(advancedFields),
    isChanged: () => false, // its line counts what differs: all of it would hide that among what does not
  });
  const search = createSettingSearch(form.sections, sheet);
  const name = create('section', { className: 'block section', id: 'run-title' }, title.box);
  sheet.replaceChildren(presets.box, search.box, examples.box, model.box, methods.box, above, advanced, name);
  const parts = [presets, examples, model, methods, template, ...Object.values(common)];
  const places = [
    { ...examples, declaration: EXAMPLES },
    { ...model, declaration: MODEL },
    { ...methods, declaration: describeLesson(form.catalog) },
  ];

  function drawMethod() {
    const { method } = form;
    const everyday = method.fields.filter(field => field.everyday).map(createSection);
    const others = method.fields.filter(field => !field.everyday).map(createSection);
    const rewards = createRewards(form, method.rewarded ? 'What earns a reward' : 'How answers are scored');
    const writesAnswers = !['scored', 'judged'].includes(method.way);
    const rewardsBox = method.rewarded
      ? form.sections.create({ id: 'rewards', ...rewards })
      : create('section', { className: 'block', id: 'rewards' }, rewards.head, ...rewards.content);
    const rewardsField = { ...rewards, box: rewardsBox, declaration: describeRewards(rewards.title, form.catalog) };
    const measured = method.rewarded || !writesAnswers ? [] : [rewardsField];
    methodParts = [rewards, ...everyday, ...others];
    advancedFields = [...measured, prompts, ...Object.values(adapter), template, seed, ...others];
    above.replaceChildren(...(method.rewarded ? [rewardsBox] : []), createEveryday(form, everyday));
    within.replaceChildren(...measured.map(({ box }) => box));
    end.replaceChildren(createGroup('Everything else', ...others));
    search.search([...places, ...(method.rewarded ? [rewardsField] : []), ...everyday, ...advancedFields, title]);
  }

  /** @param {{refresh: () => void}[]} shown */
  function refresh(shown) {
    shown.forEach(part => part.refresh());
    form.sections.refresh();
    search.refresh();
  }

  /** @param {HTMLElement} target @returns {(text: string, undoState: FormState | null, status?: string, changes?: import('./types.d.ts').SettingChange[]) => void} */
  const announceIn = target => (text, undoState, status, changes) =>
    showFormNotice(target, text, undoState && (() => form.replaceState(undoState)), status, changes);

  form.view = {
    drawMethod,
    refresh: () => refresh([...parts, ...methodParts]),
    refreshMethod: () => refresh(methodParts),
    refreshMethodPicker: () => refresh([methods]),
    readExamples: examples.read,
    columns: examples.columns,
    announce: announceIn(notice),
    announceMethod: announceIn(methods.notice),
    clearMethodNotice: () => methods.notice.replaceChildren(),
  };
  return { notice, sheet, chooseRun: model.chooseRun, sendFile: examples.send, search };
}

/** The settings that most people change. @param {SettingsForm} form @param {DeclaredField[]} fields */
const createEveryday = (form, fields) =>
  form.sections.create({
    id: 'everyday',
    head: createSectionHead('everyday', 'Settings'),
    content: [createGrid(fields)],
    summarize: () => describeSettings(fields.map(field => [field.declaration.title, field.valueText()])),
    isChanged: () => fields.some(field => field.isChanged()),
  });

/** @param {Field[]} fields */
function describeAdvanced(fields) {
  const changed = fields.filter(field => field.isChanged()).length;
  return `${fields.length} more settings, ${changed ? `${changed} changed` : 'all as the preset has them'}`;
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

/** @param {Part[]} fields */
const createGrid = fields => create('div', { className: 'fields' }, ...fields.map(({ box }) => box));

/** @param {string} title @param {...Part} fields */
const createGroup = (title, ...fields) =>
  create('section', { className: 'block' }, create('h3', { textContent: title }), createGrid(fields));

// -- what other views ask of the form ---------------------------------------------------------------------------------

/**
 * @param {SettingsForm} form
 * @param {ReturnType<typeof drawForm>} drawn
 * @param {HTMLElement} element
 */
function listenToViews(form, { chooseRun, sendFile, search }, element) {
  // The setup of an earlier run.
  listen('fill', ({ preset, setup }) => {
    const text = `The setup of “${setup.title ?? 'that run'}” filled the form.`;
    const { uploads, exampleCount } = form.state;
    form.replaceState({ preset, setup, link: false, uploads, exampleCount, isMethodChosen: true }, text);
    form.sections.collapseUnchanged();
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
  listen('enough', () => form.length.setGoodEpochs());
  listen('mend', id => {
    search.clear(); // it may have hidden what is to be mended
    const place =
      element.querySelector('[aria-invalid=true]') ?? (id ? element.querySelector(`#${CSS.escape(id)}`) : null);
    if (!place) return;
    form.sections.reveal(place);
    const control = place.matches('input, select, textarea')
      ? place
      : [...place.querySelectorAll('input, select, textarea')].find(input => input.checkVisibility());
    if (!(control instanceof HTMLElement)) return;
    place.scrollIntoView({ block: 'start' });
    control.focus({ preventScroll: true });
  });
  // What the server refuses is expanded where it can be mended.
  listen('refused', id => {
    const place = element.querySelector(`#${CSS.escape(id)}`);
    if (place) form.sections.reveal(place);
  });
  listen('changes', search.showChanged);
  listen('examples', file => {
    page.go('choose');
    sendFile(file);
  });
  // Goes on from the result of a run, with examples of the person's own.
  listen('teach', async run => {
    await form.readFinishedRuns();
    const text = chooseRun(run)
      ? 'The form goes on from that result. Now bring the examples that it should learn.'
      : 'Only finished runs can be gone on from.';
    form.view.announce(text, null);
    form.sections.reveal(query(element, '#source'));
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
  const { uploads, exampleCount } = form.state;
  form.replaceState({ preset, setup, link: true, uploads, exampleCount, isMethodChosen: true });
  form.sections.collapseUnchanged();
  const { length } = changes;
  const differs = length ? `${length} setting${length > 1 ? 's differ' : ' differs'} from` : 'It is';
  const text =
    `This setup came by a link. Nothing has started. ${differs} the preset “${form.findPreset(preset).title}”. ` +
    'Look it over, then check the examples.';
  form.view.announce(text, before, 'info', changes);
}
