// The model: the practice model, one from the Hub found by typing, or the result of an earlier run to go on from.

import { create, createChoice, query, showNote } from './dom.js';
import { createHeading } from './fields.js';
import { capitalizeFirst } from './format.js';
import { createModelCards } from './model_cards.js';
import { createModelSearch } from './model_search.js';
import {
  findShipped,
  isPracticeForOwnExamples,
  modelKind,
  modelName,
  PRACTICE_MODEL,
  replaceModel,
  trainableModels,
} from './model_values.js';

/** @typedef {import('./settings_form.js').SettingsForm} SettingsForm */
/** @typedef {import('./types.d.ts').Model} Model */

const KINDS = {
  practice: ['The practice model', 'Comes with Tunesmith: small, nothing to download.'],
  hub: ['One from the Hub', 'Any model that writes text. It is downloaded once.'],
  run: ['A result of your own', 'Goes on from what an earlier run learned.'],
};

const PRACTICE_NOTE =
  'The practice model is made for the samples. With your own examples it shows how all of this goes; for good answers ' +
  'take a real model: those below suit this machine.';

/** @param {Model | undefined} model */
const modelKey = model => JSON.stringify([model?.id, model?.revision ?? null, model?.start_from ?? null]);

/** @param {SettingsForm} form */
export function createModelPicker(form) {
  const { catalog } = form;
  const bases = trainableModels(catalog);
  const heading = createHeading(form, {
    title: 'Model',
    id: 'model',
    isGroup: true,
    isChanged,
    presetText: () => modelName(catalog, form.base.model),
    reset: () =>
      form.change(setup => {
        setup.model = structuredClone(form.base.model);
      }),
  });
  function isChanged() {
    return modelKey(form.setup.model) !== modelKey(form.base.model);
  }

  const radios = Object.entries(KINDS).map(([kind, [title, sentence]]) =>
    createChoice('model-kind', kind, title, sentence, () => chooseKind(kind)),
  );
  const select = create(
    'select',
    { id: 'practice-model', onchange: () => setModel(select.value) },
    ...bases.map(({ id, title, sentence }) => create('option', { value: id, textContent: `${title}. ${sentence}` })),
  );
  const label = create('label', { htmlFor: 'practice-model', textContent: 'Which one' });
  const practice = create('div', { className: 'field wide' }, label, select);
  const hub = createHubModel(form, setModel);
  const cards = createModelCards(form, setModel);
  const own = createRunModel(form);
  const note = create('p', { className: 'field-note', role: 'status' });
  const practiceNote = create('p', { className: 'says', id: 'practice-note', textContent: PRACTICE_NOTE });

  /** @param {string} id */
  function setModel(id) {
    form.change(setup => {
      setup.model = replaceModel(setup.model, id);
    });
  }

  /** @param {string} kind */
  function chooseKind(kind) {
    showNote(note, '', '');
    if (kind === 'practice') setModel(PRACTICE_MODEL);
    if (kind === 'hub') {
      setModel('');
      hub.input.focus();
    }
    if (kind !== 'run') return;
    if (form.finished.length) own.chooseRun(form.finished[0].id);
    else {
      refresh();
      showNote(note, 'info', 'There is no finished run yet. Your first result can be chosen here.');
    }
  }

  const isPracticeForOwn = () => isPracticeForOwnExamples(catalog, form.setup);

  function refresh() {
    const kind = modelKind(catalog, form.setup.model);
    heading.refresh();
    practiceNote.hidden = !isPracticeForOwn();
    for (const radio of radios) {
      const input = query(radio, 'input', HTMLInputElement);
      input.checked = input.value === kind;
    }
    practice.hidden = kind !== 'practice' || bases.length < 2;
    select.value = form.setup.model.id;
    hub.box.hidden = kind !== 'hub';
    own.box.hidden = kind !== 'run';
    hub.refresh();
    cards.refresh();
    own.refresh();
  }

  const choices = create(
    'div',
    { className: 'choices', role: 'radiogroup', 'aria-labelledby': 'model-name' },
    ...radios,
  );
  const box = form.sections.create({
    id: 'model',
    head: heading.row,
    content: [practiceNote, choices, note, practice, hub.box, cards.box, own.box],
    summarize: () =>
      capitalizeFirst(modelName(catalog, form.setup.model)) + (isPracticeForOwn() ? ' · made for the samples' : ''),
    // with a person's own examples the model is the next question, and the models that suit are its answers
    isChanged: () => isChanged() || isPracticeForOwn(),
  });
  return { box, refresh, isChanged, chooseRun: own.chooseRun };
}

/** @param {SettingsForm} form @param {(id: string) => void} setModel */
function createHubModel(form, setModel) {
  const sentence = create('p', {
    className: 'says',
    id: 'hub-says',
    textContent: `Its name, such as owner/name, or words to search for${form.catalog.local ? '; or a folder of this machine' : ''}.`,
  });
  const search = createModelSearch({ name: 'hub', form, ownModels: () => [], onChoose: setModel });
  const { input } = search;
  input.id = 'hub-model';
  input.setAttribute('aria-describedby', 'hub-says hub-note');

  function refresh() {
    const id = form.setup.model?.id ?? '';
    if (document.activeElement !== input) input.value = findShipped(form.catalog, id) ? '' : id;
  }

  const label = create('label', { htmlFor: 'hub-model', textContent: 'Name on the Hub' });
  const box = create('div', { className: 'field wide hub' }, label, sentence, search.box, search.note);
  return { box, input, refresh };
}

/**
 * A run brings its base model and its rank: what was learned fits only where it was learned.
 * @param {SettingsForm} form
 */
function createRunModel(form) {
  const select = create('select', {
    id: 'own-run',
    onchange: () => chooseRun(select.value),
    'aria-describedby': 'own-run-says',
  });
  const sentence = create('p', { className: 'says', id: 'own-run-says' });

  /** False where there is no such finished run. @param {string} id */
  function chooseRun(id) {
    const run = form.finished.find(finished => finished.id === id);
    if (!run) return false;
    form.change(setup => {
      setup.model = structuredClone(run.model);
      setup.adapter = structuredClone(run.adapter);
    });
    return true;
  }

  function refresh() {
    const chosen = form.setup.model?.start_from?.replace('run:', '') ?? '';
    const options = form.finished.map(({ id, title }) => create('option', { value: id, textContent: title }));
    if (chosen && !form.finished.some(({ id }) => id === chosen)) {
      options.unshift(create('option', { value: chosen, textContent: chosen }));
    }
    select.replaceChildren(...options);
    select.value = chosen;
    const base = modelName(form.catalog, form.setup.model);
    sentence.textContent = `Only finished runs are listed. Its base comes with it: ${base}.`;
  }

  const label = create('label', { htmlFor: 'own-run', textContent: 'Which run' });
  return { box: create('div', { className: 'field wide' }, label, sentence, select), chooseRun, refresh };
}
