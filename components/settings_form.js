// The state of the setup form: what is chosen, what it is compared with, and who hears of changes.

import { saveDraft } from './draft.js';
import { FormSections } from './form_sections.js';
import { emit } from './page_events.js';
import { page } from './page_state.js';
import { modelKind, modelName } from './model_values.js';
import { describeInvalid, describeSettingValue } from './setting_values.js';
import { getAtPath, isSameJson, setAtPath } from './setup_paths.js';
import { countPasses, GOOD_STEPS, scaleEpochs } from './training_length.js';
import { followChoices, hasPresetLength, presetFor, withOwnExamples } from './untouched_settings.js';

/** @typedef {import('./types.d.ts').Catalog} Catalog */
/** @typedef {import('./types.d.ts').FormState} FormState */
/** @typedef {import('./types.d.ts').Setup} Setup */
/** @typedef {import('./types.d.ts').SettingDeclaration} SettingDeclaration */
/** @typedef {import('./types.d.ts').FinishedRun} FinishedRun */
/** @typedef {import('./types.d.ts').FormView} FormView */

const MAX_UPLOADS = 5; // remembered
const SETTLE_DELAY = 200; // milliseconds

/** Whether the first source is a sample, which has a test split of its own. @param {Setup} setup */
export const isSample = setup => setup.data[0].source.startsWith('sample:');

export class SettingsForm {
  /** @type {FinishedRun[]} */
  finished = [];
  /** @type {import('./types.d.ts').Fit | null} */
  fit = null; // which methods the first source fits; null while unknown
  /** @type {import('./types.d.ts').PageEvents['planned'] | null} */
  planned = null; // the last plan, and the setup that it is of
  /** @type {{source: string, epochs: number} | null} */
  suggestedEpochs = null; // reckoned when the file came
  /** @type {Record<string, number>} */
  automatic = {}; // values that the method takes where none is set
  downloaded = new Set(); // models of the Hub that are on this machine
  sections = new FormSections();
  /** @type {FormView} */
  view = /** @type {any} */ (null); // set before anything is drawn
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #settleTimer;

  /** @param {import('./types.d.ts').MountContext} context */
  constructor({ element, props, server }) {
    /** @type {Catalog} */
    this.catalog = props.menu;
    this.element = element;
    this.props = props;
    this.server = server;
    this.state = this.freshState(this.catalog.first);
  }

  get setup() {
    return this.state.setup;
  }

  /** The preset's setup, with which the form is compared: without what it sets for another model or other examples. */
  get base() {
    return presetFor(this.findPreset(this.state.preset), this.setup);
  }

  /** The preset that the form starts from; none where it came by a link. */
  get preset() {
    return this.state.link ? '' : this.state.preset;
  }

  get uploads() {
    return this.state.uploads;
  }

  get method() {
    return this.catalog.methods[this.setup.method];
  }

  get columns() {
    return this.view.columns();
  }

  hasPreset = (/** @type {string} */ name) => this.catalog.presets.some(preset => preset.name === name);

  /** @param {string} name */
  findPreset(name) {
    const preset = this.catalog.presets.find(candidate => candidate.name === name);
    if (!preset) throw new Error(`There is no preset ${name}`);
    return preset;
  }

  /** @param {string} preset @returns {FormState} */
  freshState(preset) {
    const setup = structuredClone(this.findPreset(preset).setup);
    return { preset, setup, link: false, uploads: [], isMethodChosen: preset !== this.catalog.first };
  }

  /** Settings that differ from the preset. */
  get changeCount() {
    return this.element.querySelectorAll('.sheet .field-head.changed').length;
  }

  // -- changes --------------------------------------------------------------------------------------------------------

  /** @param {(setup: Setup) => void} edit changes a copy in place */
  change(edit) {
    const setup = structuredClone(this.setup);
    edit(setup);
    followChoices(this.findPreset(this.state.preset), this.setup, setup);
    this.state = { ...this.state, setup };
    this.publish();
  }

  /** @param {{source: string, name: string}} upload */
  rememberUpload({ source, name }) {
    const others = this.uploads.filter(upload => upload.source !== source);
    this.state = { ...this.state, uploads: [{ source, name }, ...others].slice(0, MAX_UPLOADS) };
  }

  /** @param {import('./types.d.ts').Fit | null} fit */
  setFit(fit) {
    this.fit = fit;
    this.view.refreshMethodPicker();
  }

  /**
   * Another method, which has settings of its own.
   * @param {string} method
   * @param {string} [text] said with a way back, where nobody asked for it
   * @param {(setup: Setup) => void} [edit] changes beside it
   * @param {FormState} [undoState]
   */
  setMethod(method, text = '', edit = () => {}, undoState = this.state) {
    const setup = structuredClone(this.setup);
    edit(setup);
    const base = presetFor(this.findPreset(this.state.preset), setup);
    const knobs = method === base.method ? base.knobs : {};
    const isMethodChosen = text ? this.state.isMethodChosen : true;
    this.state = { ...this.state, setup: { ...setup, method, knobs }, isMethodChosen };
    this.view.drawMethod();
    this.publish();
    this.view.announceMethod(text, text ? undoState : null);
    if (!text) this.focus('lesson', ':checked');
  }

  /** Fills the form with a preset. @param {string} name */
  start(name) {
    const { title, ...preset } = this.findPreset(name);
    const state = { ...this.freshState(name), setup: withOwnExamples(preset, this.setup), uploads: this.uploads };
    this.replaceState(state, `“${title}” filled the form.`);
    this.sections.collapseUnchanged('presets');
    const radio = this.element.querySelector(`.sheet [name=preset][value="${CSS.escape(name)}"]`);
    if (radio instanceof HTMLElement) radio.focus();
  }

  /** Fills the form anew; what was changed before is one click away. @param {FormState} state @param {string} [text] */
  replaceState(state, text = '') {
    const before = this.changeCount ? this.state : null;
    this.state = state;
    this.fit = null;
    this.planned = null;
    this.view.clearMethodNotice();
    this.view.drawMethod();
    this.view.readExamples();
    this.publish();
    if (text) this.view.announce(text, before);
  }

  // -- declared settings ----------------------------------------------------------------------------------------------

  /**
   * How a declared setting reads and writes its place in the setup.
   * @param {string} path
   * @param {SettingDeclaration} declaration
   * @param {boolean} [isMarked] it is compared with the preset by itself
   * @returns {import('./fields.js').Binding}
   */
  bind(path, declaration, isMarked = true) {
    const valueIn = (/** @type {any} */ setup) => getAtPath(setup, path) ?? declaration.default ?? undefined;
    const set = (/** @type {unknown} */ value) => this.change(setup => setAtPath(setup, path, value));
    return {
      isMarked,
      get: () => valueIn(this.setup),
      set,
      reset: () => set(structuredClone(getAtPath(this.#baseFor(path), path))),
      isChanged: () => isMarked && !isSameJson(valueIn(this.setup), valueIn(this.#baseFor(path))),
      presetText: () => describeSettingValue(declaration, valueIn(this.#baseFor(path))),
      safe: () => this.#safeRange(path, declaration),
      usual: () => this.automatic[declaration.name],
      note: () => this.#unusedNote(path),
    };
  }

  // The settings of another method than the preset's are compared with what that method starts from.
  /** @param {string} path */
  #baseFor(path) {
    const isOtherMethod = path.startsWith('knobs.') && this.setup.method !== this.base.method;
    return isOtherMethod ? { knobs: {} } : this.base;
  }

  /** @param {string} path @param {SettingDeclaration} declaration @returns {[number, number] | null} */
  #safeRange(path, { safe, name }) {
    if (safe) return path === 'knobs.epochs' ? this.#safeEpochs(safe) : safe;
    const automatic = this.automatic[name];
    if (!automatic) return null;
    // A preset was tried with its own value: it does not warn of itself.
    const own = Number(getAtPath(this.#baseFor(path), path) ?? automatic);
    return [Math.min(automatic / 10, own), Math.max(automatic * 5, own)];
  }

  // A few examples are seen more often: so many epochs are safe as make enough steps.
  /** @param {[number, number]} safe @returns {[number, number]} */
  #safeEpochs([low, high]) {
    const { planned, setup } = this;
    const isPlanned = planned && isSameJson(planned.setup.data, setup.data) && planned.setup.method === setup.method;
    const suggested = this.suggestedEpochs?.source === setup.data[0].source ? this.suggestedEpochs.epochs : 0;
    return [low, Math.max(high, isPlanned ? this.#epochsFor(GOOD_STEPS) : suggested)];
  }

  /** @param {number} steps */
  #epochsFor(steps) {
    if (!this.planned) return 1;
    const { setup, plan } = this.planned;
    const epochs = Number(
      setup.knobs.epochs ?? this.method.fields.find(field => field.name === 'epochs')?.default ?? 1,
    );
    return scaleEpochs(epochs, plan.steps, steps);
  }

  /** @param {string} path @returns {[string, string] | null} */
  #unusedNote(path) {
    const { steps } = this.setup.knobs;
    return path === 'knobs.epochs' && steps ? ['info', `Not used: “Steps” says ${steps}.`] : null;
  }

  /** So many epochs that there are enough steps. */
  setGoodEpochs() {
    if (!this.planned) return;
    this.change(setup => {
      setup.knobs.epochs = this.#epochsFor(GOOD_STEPS);
    });
  }

  // -- who hears of it ------------------------------------------------------------------------------------------------

  /** Tells the page, the browser's draft and the server's component what is chosen now. */
  publish() {
    const { setup, method, catalog, element } = this;
    this.view.refresh();
    this.props.value = setup;
    saveDraft(this.state);
    this.#settleSoon();
    const invalidCount = element.querySelectorAll('[aria-invalid=true]').length;
    const lacksModel = modelKind(catalog, setup.model) === 'hub' && !setup.model.id;
    page.setup = {
      setup,
      changes: this.changeCount,
      isPresetLength: hasPresetLength(setup, this.base),
      lacking: lacksModel ? 'Name a model from the Hub, or choose the practice model.' : describeInvalid(invalidCount),
      way: method.way,
      noun: method.noun,
      model: modelName(catalog, setup.model),
      passes: countPasses(setup, method),
      near: [...catalog.shipped.map(({ id }) => id), ...this.downloaded],
      settings: [...method.fields, ...catalog.common].map(({ name, title, id = '' }) => ({ name, title, id })),
    };
    emit('setup', page.setup);
  }

  // Values that the method computes itself, such as the learning rate for this model.
  #settleSoon() {
    clearTimeout(this.#settleTimer);
    this.#settleTimer = setTimeout(async () => {
      const { setup } = this;
      const { method, adapter, model } = setup;
      const reply = await this.server.resolve_automatic_settings({ method, adapter: adapter?.kind, model });
      if (setup !== this.setup || !reply?.answer || isSameJson(reply.answer, this.automatic)) return;
      this.automatic = reply.answer;
      this.view.refresh();
    }, SETTLE_DELAY);
  }

  async readFinishedRuns() {
    const reply = await this.server.list_finished_runs();
    if (!reply?.answer) return;
    this.finished = reply.answer;
    this.view.refresh();
  }

  /**
   * After a reset the button is gone: the keyboard goes on at the setting it belonged to.
   * @param {string} id
   * @param {string} [suffix]
   */
  focus(id, suffix = '') {
    const input = this.element.querySelector(`#${CSS.escape(id)} :is(input, select, textarea)${suffix}`);
    if (input instanceof HTMLElement) input.focus();
  }
}
