// How the rows of a source are read: as which layout, and which column is which part of it. What a person decides edits
// the setup, so that preview and training read alike.

import { findPrompt, removeTemplate, sortOtherLayouts, trimMapping, USUAL_LAYOUTS } from './mapping_values.js';
import { isSameJson, withoutKey } from './setup_paths.js';

/** @typedef {import('./settings_form.js').SettingsForm} SettingsForm */
/** @typedef {import('./types.d.ts').Source} Source */
/** @typedef {import('./types.d.ts').SourcePreview} SourcePreview */

const PAUSE = 300; // milliseconds without a key before a text is tried on the first row
const SOURCE_KEYS = /** @type {const} */ (['source', 'config', 'split', 'revision']);

export class Mapping {
  /** @type {SourcePreview | null} */
  preview = null; // the first rows; null while unknown
  previewMethod = ''; // that the last preview was for
  /** @type {Set<string>} */
  #allowed = new Set(); // datasets on the Hub that the person asked to look at: nothing is fetched unasked
  #lookCount = 0; // an answer to an earlier look is dropped
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /**
   * @param {SettingsForm} form
   * @param {() => number} index of the source in the setup
   * @param {object} view
   * @param {() => void} view.refresh
   * @param {(status: string, text: string) => void} view.showNote
   * @param {() => void} view.onPreview hears of every look
   */
  constructor(form, index, view) {
    this.form = form;
    this.view = view;
    this.indexOf = index;
  }

  get index() {
    return this.indexOf();
  }

  get source() {
    return this.form.setup.data[this.index];
  }

  get isOwn() {
    return !this.source.source.startsWith('sample:');
  }

  get isOnHub() {
    return this.source.source.startsWith('hub:');
  }

  get columns() {
    return this.preview?.columns.map(({ name }) => name) ?? [];
  }

  /** Kinds of rows that the method takes. */
  get kinds() {
    return this.form.method?.layouts ?? [];
  }

  /** Layouts that the method takes. */
  get layouts() {
    const { layouts } = this.form.catalog;
    return Object.keys(layouts).filter(name => this.kinds.includes(layouts[name].kind));
  }

  /** The layout as which the rows are read, also one that a person chose for another method; null where there is none. */
  get layout() {
    const possible = this.layouts;
    const { layout } = this.source;
    if (layout && layout in this.form.catalog.layouts) return layout;
    const candidates = [this.preview?.now.layout, ...USUAL_LAYOUTS, ...possible];
    return candidates.find(name => name && possible.includes(name)) ?? null;
  }

  get otherLayouts() {
    return sortOtherLayouts(this.form.catalog.layouts, this.layout, this.layouts);
  }

  /** @param {string | null} layout */
  partsOf(layout) {
    if (!layout) return [];
    const { needs, may } = this.form.catalog.layouts[layout];
    return [...needs, ...may];
  }

  /** The column that is read as this part; empty for none, and for a text of several columns. @param {string} part */
  columnOf(part) {
    const { source, preview } = this;
    if (source.templates?.[part] !== undefined) return '';
    const read = preview?.now.layout === this.layout && preview?.now.parts.find(({ name }) => name === part)?.column;
    return source.mapping?.[part] ?? (read || '');
  }

  /** The column that was recognised as this part. @param {string} part */
  recognisedColumn(part) {
    const guess = this.preview?.guess;
    return (guess?.layout === this.layout && guess.parts.find(({ name }) => name === part)?.column) || '';
  }

  /** @param {string} part */
  isPartChanged(part) {
    const { templates, mapping } = this.source;
    const column = mapping?.[part];
    return templates?.[part] !== undefined || (Boolean(column) && column !== this.recognisedColumn(part));
  }

  /** Whether the person decided anything. */
  get isChanged() {
    const { layout, templates = {}, roles = {}, labels = {}, mapping = {} } = this.source;
    if (layout || [templates, roles, labels].some(choices => Object.keys(choices).length)) return true;
    if (!this.preview || !Object.keys(mapping).length) return false;
    return !isSameJson(trimMapping(mapping), trimMapping(this.preview.guess.mapping));
  }

  get isFetchAllowed() {
    return this.#allowed.has(this.#key);
  }

  allowFetch() {
    this.#allowed.add(this.#key);
  }

  get #key() {
    return JSON.stringify(SOURCE_KEYS.map(name => this.source[name] ?? ''));
  }

  // -- looking at the rows --------------------------------------------------------------------------------------------

  /**
   * Reads the first rows and how they are understood.
   * @param {boolean} isNew they have just been chosen, so that a mapping, or another method, may be taken for them
   * @param {import('./types.d.ts').FormState} [before] what the form was then, to go back to
   */
  async look(isNew, before = this.form.state) {
    const { form, view } = this;
    const thisLook = ++this.#lookCount;
    const isFirstSource = this.index === 0;
    clearTimeout(this.#timer);
    this.previewMethod = form.setup.method;
    if (this.preview?.source !== this.source.source) {
      this.preview = null;
      if (isFirstSource) form.setFit(null);
    }
    view.refresh();
    if (this.isOnHub && !this.isFetchAllowed) return view.onPreview();
    if (this.isOnHub) view.showNote('', 'Reaching the Hub for the first rows …');
    const reply = await form.server.preview_source({
      source: this.source,
      place: this.index,
      method: form.setup.method,
    });
    if (thisLook !== this.#lookCount) return;
    this.preview = reply?.answer ?? null;
    const { problem } = reply ?? {};
    const failure = problem ? `${problem.text} ${problem.advice}` : 'The examples could not be looked at.';
    view.showNote(reply?.answer ? '' : 'wrong', reply?.answer ? '' : failure);
    if (isFirstSource) form.setFit(this.preview?.fit ?? null);
    if (this.preview?.fit && isNew) this.#adopt(this.preview.fit, before, isFirstSource);
    view.refresh();
    view.onPreview();
  }

  lookSoon() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.look(false), PAUSE);
  }

  /**
   * Takes the mapping that these examples need for the chosen method; where it cannot learn from them, another method.
   * @param {import('./types.d.ts').Fit} fit
   * @param {import('./types.d.ts').FormState} before
   * @param {boolean} isFirstSource
   */
  #adopt(fit, before, isFirstSource) {
    const { form } = this;
    const kind = Object.keys(fit.shapes).find(name => this.kinds.includes(name));
    const isBestKind = kind === Object.keys(fit.shapes)[0] || form.state.isMethodChosen || !this.isOwn;
    if (kind && (isBestKind || !isFirstSource)) this.edit(taken => (taken.mapping = trimMapping(fit.shapes[kind])));
    else if (fit.best && isFirstSource) {
      const { title, layouts } = form.catalog.methods[fit.best];
      const bestKind = Object.keys(fit.shapes).find(name => layouts.includes(name)) ?? '';
      const reason = kind ? 'does not use all that these examples say' : 'cannot be learned from these examples';
      const text = `“${form.method.title}” ${reason}. The lesson is now “${title}”.`;
      form.setMethod(fit.best, text, setup => (setup.data[0].mapping = trimMapping(fit.shapes[bestKind])), before);
      this.look(false); // as that method reads them
    }
    if (this.isOwn && isFirstSource) this.#suggestPrompt();
  }

  // The preset's questions are about its own examples. The first of these is one to watch instead.
  #suggestPrompt() {
    const { form, source } = this;
    const prompt = findPrompt(this.preview, source);
    const isUntouched = isSameJson(form.setup.prompts, form.base.prompts);
    if (!isUntouched || !prompt || prompt.endsWith('…')) return;
    form.change(setup => {
      setup.prompts = [prompt];
    });
  }

  // -- what a person decides ------------------------------------------------------------------------------------------

  /** @param {(source: Source) => void} change edits the source in place */
  edit(change) {
    this.form.change(setup => change(setup.data[this.index]));
  }

  /**
   * A column becomes a part; the other parts stay. Of another layout: from now on the rows are read as that.
   * @param {string} part
   * @param {string} column
   * @param {string | null} [layout]
   */
  assign(part, column, layout = this.layout) {
    const others = this.partsOf(layout).map(other => [other, this.columnOf(other)]);
    const otherColumns = Object.fromEntries(
      others.filter(([other, used]) => other !== part && used && used !== column),
    );
    this.edit(source => {
      source.mapping = trimMapping({ ...otherColumns, [part]: column });
      if (layout && layout !== this.layout) source.layout = layout;
      removeTemplate(source, part);
    });
    this.look(!layout || !this.layouts.includes(layout)); // a role of another method takes that method
  }

  /** An optional part is left out, also where its column would be recognised by its name. @param {string} part */
  leaveOut(part) {
    this.edit(source => {
      source.mapping = withoutKey(source.mapping, part);
      removeTemplate(source, part);
      if (this.recognisedColumn(part)) source.templates = { ...source.templates, [part]: '' };
    });
    this.look(false);
  }

  /** A part becomes a text with {column} where a column's words go. @param {string} part @param {string} template */
  writeTemplate(part, template) {
    this.edit(source => {
      source.mapping = withoutKey(source.mapping, part);
      source.templates = { ...source.templates, [part]: template };
    });
    this.lookSoon();
  }

  /**
   * @param {string | null} layout null for what was recognised
   * @param {Record<string, string> | null} [mapping] null keeps what fits
   */
  readAs(layout, mapping = null) {
    const fits = (/** @type {string} */ part) => !layout || this.partsOf(layout).includes(part);
    this.edit(source => {
      const fitting = Object.entries(source.mapping ?? {}).filter(([part]) => fits(part));
      source.mapping = trimMapping(mapping ?? Object.fromEntries(fitting));
      if (layout) source.layout = layout;
      else delete source.layout;
      if (mapping) delete source.templates;
    });
    this.look(Boolean(layout && !this.layouts.includes(layout)));
  }

  /** Back to what was recognised. */
  resetAll() {
    const { preview } = this;
    this.edit(source => {
      const isGuess = preview?.guess.certainty === 'possible'; // nobody recognised it until a person takes it
      source.mapping = preview && !isGuess ? trimMapping(preview.guess.mapping) : {};
      delete source.layout;
      delete source.templates;
      delete source.roles;
      delete source.labels;
    });
    this.look(false);
  }

  /** @param {string} part */
  resetPart(part) {
    this.edit(source => {
      removeTemplate(source, part);
      source.mapping = trimMapping({ ...withoutKey(source.mapping, part), [part]: this.recognisedColumn(part) });
    });
    this.look(false);
  }

  /**
   * Something else of a source, such as where its rows begin; undefined removes it.
   * @param {keyof Source} name
   * @param {any} value
   */
  setOption(name, value) {
    this.edit(source => {
      if (value === undefined) delete source[name];
      else /** @type {any} */ (source)[name] = value;
    });
    this.lookSoon();
  }
}
