// The card that says what the present setup would do. It asks the server only while the form is open.

import { copyToClipboard, create, query, setText } from './dom.js';
import { createMemoryChanges } from './memory_changes.js';
import { emit, listen } from './page_events.js';
import { page } from './page_state.js';
import { describeChanges, describePlan } from './plan_text.js';
import { placeOfProblem, withPageWords } from './problem_place.js';
import { NO_SERVER, problemText } from './server_reply.js';
import { describeLinkReach, shareableAddress } from './sign_in_address.js';

/** @typedef {import('./types.d.ts').SetupMessage} SetupMessage */
/** @typedef {import('./types.d.ts').Setup} Setup */

const PAUSE = 500; // milliseconds without a change before the plan is requested
const MAX_REQUESTS = 3; // at once: a model that has to come from the Hub first keeps one waiting
const LINE_NAMES = ['Examples', 'Learned', 'Steps', 'Time', 'Changed'];

/** @param {import('./types.d.ts').MountContext} context */
export function mount({ element, server }) {
  const list = query(element, 'dl');
  const brief = query(element, '.brief');
  const story = query(element, '.story');
  const refusal = query(element, '.refused');
  const details = query(element, 'details', HTMLDetailsElement);
  const lines = createLines(list);
  const resetButton = createButton('Put all back', () => emit('reset', undefined));
  const changesButton = createButton('Show them', () => emit('changes', undefined));
  const countButton = createButton('Count now', countAnyway);
  // To the setting that is refused, which may be folded away.
  const mendButton = createButton('Go to it', () => emit('mend', place));
  const enoughButton = createButton('Make it about 120', () => emit('enough', undefined));
  const changes = createMemoryChanges();
  const link = createLinkSharing(() => current?.setup, server);
  const counted = new Set(); // models and datasets that may be fetched: the person asked for it
  /** @type {SetupMessage | null} */
  let current = page.setup ?? null;
  let shownKey = ''; // of the setup that the card speaks of
  let requests = 0;
  /** @type {string | undefined} */
  let place; // in the form, of what is refused
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;

  lines.Changed.note.append(changesButton, resetButton);
  lines.Steps.note.after(enoughButton);
  story.after(changes.box);
  refusal.after(countButton, mendButton);
  details.append(link.box);

  const setupKey = () => JSON.stringify([current?.setup, current?.lacking]);

  /** @param {string} name @param {string} text @param {string} [note] */
  function setLine(name, text, note = '') {
    lines[name].text.textContent = text;
    if (name !== 'Changed') lines[name].note.textContent = note;
  }

  /** @param {string[]} sentences */
  function tell(...sentences) {
    story.replaceChildren(...sentences.map(textContent => create('p', { textContent })));
    changes.show([]);
  }

  function showCounting() {
    list.setAttribute('aria-busy', 'true');
    setText(refusal, '');
    countButton.hidden = mendButton.hidden = enoughButton.hidden = true;
    for (const name of ['Examples', 'Learned', 'Steps', 'Time']) setLine(name, '…');
    tell('Counting …');
    brief.textContent = 'Counting …';
  }

  /** @param {string} sentence @param {import('./types.d.ts').Problem} [problem] that the server found */
  function showRefusal(sentence, problem) {
    const { settings = [] } = current ?? {};
    const text = withPageWords(sentence, settings);
    const placeBefore = place;
    place = placeOfProblem(problem, settings);
    if (place && place !== placeBefore) emit('refused', place);
    list.setAttribute('aria-busy', 'false');
    mendButton.hidden = !place && !document.querySelector('#setup [aria-invalid=true]');
    enoughButton.hidden = true;
    for (const name of ['Examples', 'Learned', 'Steps', 'Time']) setLine(name, '–');
    tell('Nothing yet: the setup cannot be used as it is.');
    brief.textContent = text;
    setText(refusal, text);
  }

  // Of a model elsewhere nothing is fetched unasked: half a name is no reason to call the Hub.
  function showNotCounted() {
    list.setAttribute('aria-busy', 'false');
    setText(refusal, '');
    for (const name of ['Learned', 'Steps', 'Time']) setLine(name, '–');
    setLine('Examples', '–');
    tell('Not counted yet: the model’s tokenizer has to be fetched from the Hub first.');
    brief.textContent = 'Not counted yet';
    countButton.hidden = false;
  }

  function countAnyway() {
    if (!current) return;
    for (const id of remoteIds(current.setup)) counted.add(id);
    shownKey = '';
    requestPlan();
  }

  /** @param {import('./types.d.ts').Plan} plan @param {SetupMessage} message */
  function showPlan(plan, message) {
    list.setAttribute('aria-busy', 'false');
    setText(refusal, '');
    place = undefined;
    const description = describePlan(plan, message);
    tell(...description.story);
    const { memory } = description;
    if (memory) story.append(create('p', { className: memory.status, textContent: memory.text }));
    changes.show(plan.memory_changes ?? []);
    for (const [name, { text, note }] of Object.entries(description.lines)) setLine(name, text, note);
    lines.Steps.note.classList.toggle('careful', description.hasFewSteps);
    enoughButton.hidden = !description.hasFewSteps;
    brief.textContent = description.brief;
    emit('planned', { setup: message.setup, plan });
  }

  async function requestPlan() {
    if (requests >= MAX_REQUESTS || !current || setupKey() === shownKey || page.view !== 'choose') return;
    const requestKey = (shownKey = setupKey());
    const { setup, lacking, near } = current;
    countButton.hidden = true;
    if (lacking) return showRefusal(lacking);
    if (!remoteIds(setup).every(id => counted.has(id) || near.includes(id))) return showNotCounted();
    requests += 1;
    showCounting();
    const reply = await server.estimate_run(setup);
    requests -= 1;
    if (requestKey !== setupKey()) return requestSoon(0); // it changed meanwhile: this answer is of no use
    if (reply?.answer) showPlan(reply.answer, current);
    else showRefusal(problemText(reply), reply?.problem);
  }

  /** @param {number} delay */
  function requestSoon(delay) {
    clearTimeout(timer);
    timer = setTimeout(requestPlan, delay);
  }

  /** @param {SetupMessage} message */
  function followSetup(message) {
    link.clear();
    current = message;
    lines.Changed.text.textContent = describeChanges(message.changes);
    resetButton.hidden = changesButton.hidden = !message.changes;
    if (setupKey() === shownKey) return;
    shownKey = ''; // the card speaks of an earlier setup
    if (page.view === 'choose') showCounting();
    requestSoon(PAUSE);
  }

  listen('setup', followSetup);
  listen('view', ({ view }) => {
    if (view === 'choose') requestSoon(0);
  });
  keepOpenOnWideScreens(details);
  if (current) followSetup(current);
}

/** The model, and datasets on the Hub: what may have to be fetched. @param {Setup} setup */
export const remoteIds = ({ model, data }) => [
  model.id,
  ...data.map(({ source }) => source).filter(source => source.startsWith('hub:')),
];

/** @param {string} textContent @param {() => void} onclick */
const createButton = (textContent, onclick) =>
  create('button', { type: 'button', className: 'back', textContent, hidden: true, onclick });

/** Each line is there from the beginning, so that nothing moves when its number comes. @param {HTMLElement} list */
function createLines(list) {
  const lines = /** @type {Record<string, {text: HTMLElement, note: HTMLElement}>} */ ({});
  for (const name of LINE_NAMES) {
    const line = { text: create('span'), note: create('small') };
    list.append(create('dt', { textContent: name }), create('dd', {}, line.text, line.note));
    lines[name] = line;
  }
  return lines;
}

/**
 * A link to the setup: made by the server, shown in any case, and put into the clipboard where the browser lets us.
 * @param {() => Setup | undefined} currentSetup
 * @param {import('./types.d.ts').MountContext['server']} server
 */
function createLinkSharing(currentSetup, server) {
  const button = create('button', {
    type: 'button',
    className: 'back',
    textContent: 'Copy a link to this setup',
    onclick: share,
  });
  const address = create('input', {
    readOnly: true,
    hidden: true,
    'aria-label': 'Link to this setup',
    onfocus: () => address.select(),
  });
  const note = create('p', { role: 'status' });

  async function share() {
    const reply = await server.create_setup_link({ setup: currentSetup(), page: shareableAddress() });
    address.hidden = !reply?.answer;
    note.className = reply?.answer ? '' : 'wrong';
    if (!reply?.answer) {
      note.textContent = problemText(reply, NO_SERVER);
      return;
    }
    address.value = reply.answer;
    const isCopied = await copyToClipboard(reply.answer);
    if (!isCopied) address.focus();
    note.textContent = isCopied
      ? `Copied. ${describeLinkReach()}`
      : `Copy it from here: this browser does not let a page do it. ${describeLinkReach()}`;
  }

  function clear() {
    address.hidden = true;
    note.textContent = '';
  }

  return { box: create('div', { className: 'sharing' }, button, address, note), clear };
}

/** On narrow screens the card is a bar that opens. @param {HTMLDetailsElement} details */
function keepOpenOnWideScreens(details) {
  const wide = matchMedia('(min-width: 900px)');
  const fit = () => {
    details.open = wide.matches;
  };
  wide.addEventListener('change', fit);
  details.addEventListener('toggle', () => {
    if (wide.matches) details.open = true;
  });
  fit();
}
