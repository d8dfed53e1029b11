// Model cards: the models that fit this machine and the examples best, and what there is to say of the chosen one.

import { create, setText, showNote } from './dom.js';
import { describeAccess, describeCardFit, describeSize, isCompleteName } from './model_card_text.js';
import { createModelDetail } from './model_detail.js';
import { isPracticeForOwnExamples, modelKind, replaceModel } from './model_values.js';
import { listen } from './page_events.js';
import { problemText } from './server_reply.js';
import { isSameJson } from './setup_paths.js';

/** @typedef {import('./settings_form.js').SettingsForm} SettingsForm */
/** @typedef {import('./types.d.ts').ModelCard} ModelCard */
/** @typedef {import('./types.d.ts').ChosenModel} ChosenModel */
/** @typedef {ReturnType<typeof createRow>} Row */

const PAUSE = 400; // milliseconds without a change before the server is asked
const OFFERED = 3; // instead of the practice model

/** What a plan has counted, for other models too: see PlannedRows in app/planning/model_cards.py. @param {import('./types.d.ts').Plan} plan */
function plannedRows({ rows, held_out, tokens, lengths }) {
  if (!rows || !lengths?.longest) return null;
  return { longest: lengths.longest, rows, row_tokens: (tokens?.all ?? lengths.longest * rows) / rows, held_out };
}

/** @param {SettingsForm} form @param {(id: string) => void} setModel */
export function createModelCards(form, setModel) {
  const title = create('p', { className: 'cards-title', id: 'model-cards-title' });
  const list = create('div', { className: 'model-cards', role: 'radiogroup', 'aria-labelledby': 'model-cards-title' });
  const note = create('p', { className: 'field-note', role: 'status' });
  const box = create('div', { className: 'field wide', id: 'model-choice' }, title, note, list);
  const detail = createModelDetail(form, chooseModel, () => {
    describedKey = suggestedKey = '';
    askSoon();
  });
  /** @type {Map<string, Row>} */
  const rows = new Map(); // by the model's name, so that what has the focus keeps it
  /** @type {ModelCard[]} */
  let suggestions = [];
  /** @type {ChosenModel | null} */
  let description = null; // of the chosen model; null while it is asked for
  let suggestedKey = ''; // of the setup that the suggestions are for
  let describedKey = '';
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;

  const isOffer = () => isPracticeForOwnExamples(form.catalog, form.setup);
  const chosenId = () => (modelKind(form.catalog, form.setup.model) === 'hub' ? form.setup.model.id : '');
  const isNamed = () => isCompleteName(chosenId(), form.catalog.local);

  // The list moves down when the search appears above it: the chosen card stays where it was.
  /** @param {string} id */
  function chooseModel(id) {
    const row = rows.get(id);
    const topBefore = row?.box.getBoundingClientRect().top;
    setModel(id);
    if (row && topBefore !== undefined) scrollBy(0, row.box.getBoundingClientRect().top - topBefore);
  }

  const request = () => {
    const { planned, setup } = form;
    const isPlanned = planned && isSameJson(planned.setup.data, setup.data) && planned.setup.method === setup.method;
    return { setup, planned: isPlanned ? plannedRows(planned.plan) : null };
  };
  // Where a practice model is chosen, the cards say how another one would be trained.
  const suggestionRequest = () => {
    const isPractice = modelKind(form.catalog, form.setup.model) === 'practice';
    const setup = isPractice
      ? form.changed(changed => {
          changed.model = replaceModel(changed.model, 'another/model');
        })
      : form.setup;
    return { ...request(), setup };
  };

  /** What the suggestions depend on: of the model only its options. */
  function suggestionKey() {
    const { setup, planned } = suggestionRequest();
    const { quantization, new_tokens: newTokens } = setup.model;
    return JSON.stringify([
      setup.method,
      setup.data,
      setup.adapter,
      setup.knobs,
      setup.rewards,
      quantization,
      newTokens,
      planned,
    ]);
  }
  const descriptionKey = () => JSON.stringify([form.setup.model, suggestionKey()]);

  async function suggest() {
    const key = (suggestedKey = suggestionKey());
    if (!suggestions.length) showNote(note, '', 'Looking at this machine …');
    const reply = await form.server.suggest_models(suggestionRequest());
    if (key !== suggestedKey) return;
    if (reply?.answer) suggestions = reply.answer.cards;
    showNote(note, reply?.answer ? '' : 'careful', reply?.answer ? '' : problemText(reply));
    draw();
  }

  async function describe() {
    const key = (describedKey = descriptionKey());
    const { id } = form.setup.model;
    if (description?.id !== id) description = null;
    draw();
    const reply = await form.server.describe_model(request());
    if (key !== describedKey) return;
    description = { id, ...(reply?.answer ?? { refusal: reply?.problem ?? { text: problemText(reply), advice: '' } }) };
    draw();
    noteDownloaded(id, Boolean(description?.card?.downloaded));
  }

  // The plan of a model that is here is counted unasked.
  /** @param {string} id @param {boolean} isDownloaded */
  function noteDownloaded(id, isDownloaded) {
    if (form.downloaded.has(id) === isDownloaded) return;
    if (isDownloaded) form.downloaded.add(id);
    else form.downloaded.delete(id);
    form.publish();
  }

  // Only what somebody sees is asked for.
  function ask() {
    if (box.hidden || !box.checkVisibility()) return;
    if (suggestionKey() !== suggestedKey) suggest();
    if (isNamed() && descriptionKey() !== describedKey) describe();
  }

  function askSoon() {
    clearTimeout(timer);
    timer = setTimeout(ask, PAUSE);
  }

  /** The cards in their order; the chosen model is the first where it is not among the suggested ones. */
  function cardsShown() {
    const count = isOffer() ? OFFERED : suggestions.length;
    const suitable = isOffer()
      ? suggestions.filter(({ gated, memory }) => !gated && memory.fits !== 'no')
      : suggestions;
    const cards = suitable.slice(0, count).map(card => ({ id: card.id, card: /** @type {ModelCard | null} */ (card) }));
    const id = chosenId();
    if (!isNamed() || cards.some(card => card.id === id)) return cards;
    return [{ id, card: description?.id === id ? (description.card ?? null) : null }, ...cards];
  }

  function draw() {
    const id = chosenId();
    const shown = cardsShown().map(({ id: name, card }) => {
      const isChosen = name === id;
      const row = rows.get(name) ?? createRow(name, chooseModel);
      rows.set(name, row);
      row.update((isChosen && description?.id === id && description.card) || card, isChosen);
      if (isChosen) row.box.append(detail.box);
      return row.box;
    });
    setText(title, isOffer() ? 'Real models for this machine' : 'What fits this machine and these examples best');
    title.hidden = !shown.length;
    placeKeepingFocus(list, shown);
    detail.box.hidden = !isNamed();
    detail.show(id, description?.id === id ? description : null);
  }

  function refresh() {
    box.hidden = modelKind(form.catalog, form.setup.model) !== 'hub' && !isOffer();
    if (box.hidden) return;
    draw();
    askSoon();
  }

  listen('planned', refresh);
  new IntersectionObserver(ask).observe(box); // the section was expanded
  return { box, refresh };
}

/** Puts elements into a list in this order; what has the focus keeps it. @param {HTMLElement} list @param {HTMLElement[]} elements */
function placeKeepingFocus(list, elements) {
  const isPlaced = list.children.length === elements.length && elements.every((box, i) => list.children[i] === box);
  if (isPlaced) return;
  const focused = document.activeElement;
  list.replaceChildren(...elements);
  if (focused instanceof HTMLElement && list.contains(focused)) focused.focus({ preventScroll: true });
}

/** One model. @param {string} id @param {(id: string) => void} choose */
function createRow(id, choose) {
  const input = create('input', { type: 'radio', name: 'model-card', value: id, onchange: () => choose(id) });
  const name = create('strong');
  const size = create('small', { className: 'size' });
  const good = create('small', { className: 'good-for' });
  const fit = create('small', { className: 'fit' });
  const access = create('small', { className: 'access' });
  const text = create('span', { className: 'model-text' }, name, size, good, fit, access);
  const box = create('div', { className: 'model-row' }, create('label', { className: 'choice' }, input, text));

  /** @param {ModelCard | null} card null while it is not known @param {boolean} isChosen */
  function update(card, isChosen) {
    input.checked = isChosen;
    setText(name, card?.title ?? id);
    for (const line of [size, good, fit, access]) line.hidden = !card;
    if (!card) return;
    const { status, text: fitText } = describeCardFit(card);
    setText(size, describeSize(card));
    setText(good, card.good_for || id);
    setText(fit, fitText);
    fit.className = `fit ${status}`;
    setText(access, describeAccess(card));
  }

  return { box, update };
}
