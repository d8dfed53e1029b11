// A box in which a model is found by typing. What is typed counts, whether or not the Hub answers.

import { create, isTouch, showNote } from './dom.js';
import { describeCatalogueModel, describeHubModel } from './model_values.js';

/** @typedef {import('./settings_form.js').SettingsForm} SettingsForm */
/** @typedef {{id: string, title: string, more: string}} Offer */

const SEARCHING = 'Searching the Hub …';
const PAUSE = 350; // milliseconds without a key before the Hub is asked
const BLUR_DELAY = 150; // milliseconds in which a click on the list still counts
const MIN_QUERY = 2; // characters
const NOT_ON_HUB = /^(run:|~|\.{0,2}\/)/; // an own run, or a folder
const CHOOSE = { touch: 'Tap one', keys: 'Choose with the arrow keys' };

/**
 * A setting that names a model: a shipped one, a result of an own run, or one from the Hub.
 * @param {string} id
 * @param {import('./fields.js').Binding} binding
 * @param {SettingsForm} form
 */
export function createModelSetting(id, binding, form) {
  const ownModels = () => [
    ...form.catalog.shipped.map(model => ({ id: model.id, title: model.title, more: model.sentence })),
    ...form.finished.map(run => ({ id: `run:${run.id}`, title: run.title, more: 'a result of your own' })),
  ];
  const search = createModelSearch({ name: `${id}-model`, form, ownModels, onChoose: binding.set });
  const refresh = () => {
    const chosen = ownModels().find(offer => offer.id === binding.get());
    if (!search.note.textContent || chosen) showNote(search.note, '', chosen?.title ?? '');
  };
  return { input: search.input, box: create('div', {}, search.box, search.note), refresh };
}

/**
 * A combobox with a list of models below it.
 * @param {object} options
 * @param {string} options.name prefix of its ids
 * @param {SettingsForm} options.form
 * @param {() => Offer[]} options.ownModels those that need no Hub
 * @param {(id: string) => void} options.onChoose
 */
export function createModelSearch({ name, form, ownModels, onChoose }) {
  const listId = `${name}-found`;
  const input = create('input', {
    type: 'text',
    role: 'combobox',
    autocomplete: 'off',
    spellcheck: false,
    maxLength: 200,
    'aria-controls': listId,
    'aria-expanded': 'false',
    'aria-autocomplete': 'list',
  });
  const list = create('ul', {
    id: listId,
    className: 'found-models',
    role: 'listbox',
    hidden: true,
    'aria-label': 'Models found',
  });
  const note = create('p', { className: 'field-note', id: `${name}-note`, role: 'status' });
  let searchCount = 0; // an answer to an earlier search is dropped
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  let active = -1; // the option that the keyboard is on

  const matchingModels = (/** @type {string} */ text) =>
    ownModels().filter(({ id, title }) => `${id} ${title}`.toLowerCase().includes(text.toLowerCase()));

  input.addEventListener('input', () => {
    const text = input.value.trim();
    const thisSearch = ++searchCount;
    onChoose(text);
    clearTimeout(timer);
    showNote(note, '', '');
    offer(matchingModels(text));
    if (text.length >= MIN_QUERY && !NOT_ON_HUB.test(text))
      timer = setTimeout(() => searchHub(text, thisSearch), PAUSE);
  });
  input.addEventListener('focus', () => offer(matchingModels('')));
  input.addEventListener('blur', () => setTimeout(dismiss, BLUR_DELAY));
  input.addEventListener('keydown', event => {
    const options = /** @type {HTMLElement[]} */ ([...list.children]);
    if (event.key === 'Escape') dismiss();
    if (list.hidden || !options.length) return;
    if (event.key === 'ArrowDown' || event.key === 'ArrowUp') {
      event.preventDefault();
      const step = event.key === 'ArrowDown' ? 1 : -1;
      activate(options, (active + step + options.length) % options.length);
    }
    if (event.key === 'Enter' && active >= 0) {
      event.preventDefault();
      choose(options[active].dataset.id ?? '');
    }
  });

  /** Closes the list for good: an answer that is still to come does not open it over what the person is at. */
  function dismiss() {
    searchCount += 1;
    clearTimeout(timer);
    if (note.textContent === SEARCHING) showNote(note, '', '');
    close();
  }

  /** @param {HTMLElement[]} options @param {number} index */
  function activate(options, index) {
    active = index;
    options.forEach((option, i) => option.setAttribute('aria-selected', String(i === index)));
    input.setAttribute('aria-activedescendant', options[index].id);
    options[index].scrollIntoView({ block: 'nearest' });
  }

  /** @param {string} text @param {number} thisSearch */
  async function searchHub(text, thisSearch) {
    showNote(note, '', SEARCHING);
    const reply = await form.server.search_models(text);
    if (thisSearch !== searchCount) return;
    if (!reply || reply.problem) {
      const reason = reply?.problem?.text ?? 'The page’s own server does not answer.';
      showNote(note, 'careful', `${reason} Type the model’s whole name, and go on.`);
      return;
    }
    const {
      catalogue,
      hub,
      hub_problem: hubProblem,
    } = /** @type {import('./types.d.ts').FoundModels} */ (reply.answer);
    const models = [
      ...catalogue.map(model => ({ id: model.id, title: model.id, more: describeCatalogueModel(model) })),
      ...hub.map(model => ({ id: model.id, title: model.id, more: describeHubModel(model) })),
    ];
    const { length } = models;
    const result = `${length} found. ${CHOOSE[isTouch() ? 'touch' : 'keys']}, or go on typing.`;
    if (hubProblem) showNote(note, 'careful', `${hubProblem} These are of the catalogue alone.`);
    else showNote(note, '', length ? result : 'No model is called that.');
    offer([...matchingModels(text), ...models]);
  }

  /** @param {Offer[]} models */
  function offer(models) {
    const options = models.map(({ id, title, more }, index) =>
      create(
        'li',
        {
          id: `${listId}-${index}`,
          role: 'option',
          'data-id': id,
          'aria-selected': 'false',
          onmousedown: () => choose(id),
        },
        create('span', { textContent: title }),
        create('small', { textContent: more }),
      ),
    );
    list.replaceChildren(...options);
    active = -1;
    setOpen(models.length > 0 && document.activeElement === input);
  }

  /** @param {string} id */
  function choose(id) {
    searchCount += 1;
    clearTimeout(timer);
    input.value = id;
    showNote(note, '', '');
    onChoose(id);
    close();
  }

  /** @param {boolean} isOpen */
  function setOpen(isOpen) {
    list.hidden = !isOpen;
    input.setAttribute('aria-expanded', String(isOpen));
  }

  function close() {
    setOpen(false);
    input.removeAttribute('aria-activedescendant');
  }

  return { input, note, box: create('div', { className: 'searched' }, input, list) };
}
