// The state of the setup form: what is chosen, what it is compared with, and who hears of changes.

import { saveDraft } from './draft.js';
import { FormSections } from './form_sections.js';
import { emit } from './page_events.js';
import { page } from './page_state.js';
import { modelKind, modelName } from './model_values.js';
import { describeInvalid, describeSettingValue, explainUnused } from './setting_values.js';
import { getAtPath, isSameJson, setAtPath } from './setup_paths.js';
import { RunLength } from './run_length.js';
import { countPasses } from './training_length.js';
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
  /** @type {Record<string, number>} */
  automatic = {}; // values that the method takes where none is set
  downloaded = new Set(); // models of the Hub that are on this machine
  sections = new FormSections();
  length = new RunLength(this); // how long it trains, by the number of a person's examples
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
    const base = presetFor(this.findPreset(this.state.preset), this.setup);
    return base.method === this.setup.method ? { ...base, knobs: this.length.untouchedKnobs(this.setup) } : base;
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
    return {
      preset,
      setup,
      link: false,
      uploads: [],
      exampleCount: null,
      isMethodChosen: preset !== this.catalog.first,
    };
  }

  /** Settings that differ from the preset. */
  get changeCount() {
    return this.element.querySelectorAll('.sheet .field-head.changed').length;
  }

  // -- changes --------------------------------------------------------------------------------------------------------

  /** @param {(setup: Setup) => void} edit changes a copy in place */
  change(edit) {
    this.state = { ...this.state, setup: this.changed(edit) };
    this.publish();
  }

  /** The setup after a change: what nobody changed follows it. @param {(setup: Setup) => void} edit */
  changed(edit) {
    const setup = structuredClone(this.setup);
    edit(setup);
    followChoices(this.findPreset(this.state.preset), this.setup, setup);
    this.length.follow(this.setup, setup);
    return setup;
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
    const knobs = structuredClone(this.length.untouchedKnobs({ ...setup, method }));
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
    const { uploads, exampleCount } = this.state;
    const setup = withOwnExamples(preset, this.setup);
    setup.knobs = this.length.suggestInto(setup, setup.knobs);
    const state = { ...this.freshState(name), setup, uploads, exampleCount };
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
      note: () => this.#unusedNote(declaration) ?? this.length.note(path),
    };
  }

  // The settings of another method than the preset's are compared with what that method starts from.
  /** @param {string} path */
  #baseFor(path) {
    const isOtherMethod = path.startsWith('knobs.') && this.setup.method !== this.base.method;
    return isOtherMethod ? { knobs: this.length.untouchedKnobs(this.setup) } : this.base;
  }

  /** @param {string} path @param {SettingDeclaration} declaration @returns {[number, number] | null} */
  #safeRange(path, { safe, name }) {
    if (safe) return path === 'knobs.epochs' ? this.length.safeEpochs(safe) : safe;
    const automatic = this.automatic[name];
    if (!automatic) return null;
    // A preset was tried with its own value: it does not warn of itself.
    const own = Number(getAtPath(this.#baseFor(path), path) ?? automatic);
    return [Math.min(automatic / 10, own), Math.max(automatic * 5, own)];
  }

  /** @param {SettingDeclaration} declaration */
  #unusedNote(declaration) {
    const find = (/** @type {string} */ path) =>
      this.catalog.common.find(other => other.path === path) ??
      this.method.fields.find(({ name }) => path === `knobs.${name}`);
    const valueAt = (/** @type {string} */ path) => getAtPath(this.setup, path) ?? find(path)?.default;
    return explainUnused(declaration, valueAt, path => find(path)?.title ?? path);
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
