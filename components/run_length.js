// How long the form suggests to train: it follows the number of a person's examples, the model and the method.

import { findShipped } from './model_values.js';
import { explainLength, followLength, GOOD_STEPS, scaleEpochs, suggestLength, withLength } from './training_length.js';
import { isSameJson } from './setup_paths.js';
import { presetFor } from './untouched_settings.js';

/** @typedef {import('./types.d.ts').Setup} Setup */
/** @typedef {import('./training_length.js').Knobs} Knobs */

export class RunLength {
  /** @type {import('./settings_form.js').SettingsForm} */
  #form;

  /** @param {import('./settings_form.js').SettingsForm} form */
  constructor(form) {
    this.#form = form;
  }

  // -- what nobody changed --------------------------------------------------------------------------------------------

  /** The settings of this setup's method as nobody changed them. @param {Setup} setup */
  untouchedKnobs = setup => this.suggestInto(setup, this.#startKnobs(setup));

  /**
   * These settings with what is suggested for the number of examples.
   * @param {Setup} setup whose model, method and examples count
   * @param {Knobs} knobs
   */
  suggestInto = (setup, knobs) => withLength(knobs, this.#suggest(setup, knobs));

  /** Settings of the length that nobody changed follow another choice. @param {Setup} before @param {Setup} after */
  follow(before, after) {
    followLength(after.knobs, this.untouchedKnobs(before), this.untouchedKnobs(after));
  }

  /**
   * So many examples a person brought: a few are seen more often, so that there are enough steps to learn from.
   * @param {string} source
   * @param {number} rows
   */
  countExamples(source, rows) {
    const form = this.#form;
    const before = this.untouchedKnobs(form.setup);
    form.state = { ...form.state, exampleCount: { source, rows } };
    form.change(setup => followLength(setup.knobs, before, this.untouchedKnobs(setup)));
  }

  /** What the preset sets for this method. @param {Setup} setup @returns {Knobs} */
  #startKnobs(setup) {
    const base = presetFor(this.#form.findPreset(this.#form.state.preset), setup);
    return setup.method === base.method ? base.knobs : {};
  }

  /** Null where there are enough examples, or where they are not counted. @param {Setup} setup @param {Knobs} [knobs] */
  #suggest(setup, knobs = this.#startKnobs(setup)) {
    const { catalog, state } = this.#form;
    const valueOf = (/** @type {string} */ name) => Number(knobs[name] ?? this.#defaultOf(setup, name) ?? 0);
    const [epochs, batchSize, accumulation] = [valueOf('epochs'), valueOf('batch_size'), valueOf('accumulation') || 1];
    const isCounted = state.exampleCount?.source === setup.data[0].source;
    if (!isCounted || catalog.methods[setup.method].rewarded || knobs.steps || !epochs || !batchSize) return null;
    const isPretrained = !findShipped(catalog, setup.model?.id);
    return suggestLength({ rows: state.exampleCount?.rows ?? 0, batchSize, accumulation, epochs, isPretrained });
  }

  /** @param {Setup} setup @param {string} name */
  #defaultOf(setup, name) {
    return this.#form.catalog.methods[setup.method].fields.find(field => field.name === name)?.default;
  }

  // -- what the form says of it ---------------------------------------------------------------------------------------

  /** So many epochs are safe as make enough steps. @param {[number, number]} safe @returns {[number, number]} */
  safeEpochs([low, high]) {
    const { planned, setup } = this.#form;
    const isPlanned = planned && planned.setup.method === setup.method && isSameJson(planned.setup.data, setup.data);
    return [low, Math.max(high, isPlanned ? this.#epochsFor(GOOD_STEPS) : (this.#suggest(setup)?.epochs ?? 0))];
  }

  /** What follows from few examples, in a sentence; empty where there are enough, or a person chose. */
  describe() {
    const { setup } = this.#form;
    const suggestion = this.#suggest(setup);
    if (!suggestion || setup.knobs.epochs !== suggestion.epochs) return '';
    const { epochs, steps } = suggestion;
    return `That is little, so “Epochs” is now ${epochs}: each is seen ${epochs} times, in about ${steps} steps.`;
  }

  /** Why a setting is as it is. @param {string} path @returns {[string, string] | null} */
  note(path) {
    const { setup, state } = this.#form;
    const { knobs } = setup;
    const name = path.replace('knobs.', '');
    const reason = explainLength(name, knobs, this.#suggest(setup), state.exampleCount?.rows ?? 0);
    return reason ? ['info', reason] : null;
  }

  /** So many epochs that there are enough steps. */
  setGoodEpochs() {
    if (!this.#form.planned) return;
    this.#form.change(setup => {
      setup.knobs.epochs = this.#epochsFor(GOOD_STEPS);
    });
  }

  /** @param {number} steps */
  #epochsFor(steps) {
    const { planned } = this.#form;
    if (!planned) return 1;
    const { setup, plan } = planned;
    return scaleEpochs(Number(setup.knobs.epochs ?? this.#defaultOf(setup, 'epochs') ?? 1), plan.steps, steps);
  }
}
