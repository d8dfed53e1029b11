// What there is to say of the chosen model: why it cannot be taken, what speaks against it, and its download.

import { create, createText, setText } from './dom.js';
import { describeCache, describeDownload, describeProgress } from './model_card_text.js';
import { emit } from './page_events.js';
import { formatProblem } from './format.js';
import { problemText } from './server_reply.js';

/** @typedef {import('./settings_form.js').SettingsForm} SettingsForm */
/** @typedef {import('./types.d.ts').ChosenModel} ChosenModel */
/** @typedef {import('./types.d.ts').DownloadState} DownloadState */
/** @typedef {import('./types.d.ts').Finding} Finding */

const POLL_INTERVAL = 500; // milliseconds between two looks at a download

/**
 * @param {SettingsForm} form
 * @param {(id: string) => void} chooseModel
 * @param {() => void} onChanged what is on this machine has changed
 */
export function createModelDetail(form, chooseModel, onChanged) {
  const findings = create('ul', { className: 'notice' });
  const download = createDownload(form, () => {
    shownKey = '';
    onChanged();
  });
  const box = create('div', { className: 'model-detail', hidden: true }, findings, download.box);
  let shownKey = '';

  /** @param {string} id @param {ChosenModel | null} description null while it is asked for */
  function show(id, description) {
    const key = JSON.stringify([id, description]);
    if (key === shownKey) return;
    shownKey = key;
    const items = description ? createItems(description, chooseModel) : [createText('li', 'info', 'Asking the Hub …')];
    findings.replaceChildren(...items);
    findings.hidden = !items.length;
    download.show(id, description);
  }

  return { box, show };
}

/** @param {ChosenModel} description @param {(id: string) => void} chooseModel */
function createItems({ refusal, suggestions = [], note, findings = [], address }, chooseModel) {
  const items = [];
  if (refusal) {
    const choices = suggestions.map(({ id, title }) => createButton(`Take ${title}`, () => chooseModel(id)));
    const link = address
      ? [
          create('a', {
            href: address,
            target: '_blank',
            rel: 'noopener noreferrer',
            textContent: 'Open its page on the Hub',
          }),
        ]
      : [];
    items.push(createItem('wrong', formatProblem(refusal), ...choices, ...link));
  }
  if (note) items.push(createItem('info', note));
  return [...items, ...findings.map(createFinding)];
}

/** @param {Finding} finding */
function createFinding({ severity, text, remedy }) {
  const button = remedy && createButton(remedy.title, () => emit('alter', { changes: remedy.changes }));
  return createItem(severity, text, ...(button ? [button] : []));
}

/** @param {string} status @param {string} text @param {...HTMLElement} controls */
function createItem(status, text, ...controls) {
  const row = controls.length ? create('div', { className: 'audit-row' }, ...controls) : null;
  return create('li', { className: status }, createText('p', '', text), row);
}

/** @param {string} textContent @param {() => void} onclick */
const createButton = (textContent, onclick) =>
  create('button', { type: 'button', className: 'plain', textContent, onclick });

/**
 * The download of the chosen model: it goes on while the page is elsewhere, and what was fetched is kept.
 * @param {SettingsForm} form
 * @param {() => void} onChanged
 */
function createDownload(form, onChanged) {
  const text = create('p', { className: 'field-note', role: 'status' });
  const bar = create('progress', { max: 1, 'aria-label': 'Download of the model' });
  const start = createButton('Download now', startDownload);
  const cancel = createButton('Stop the download', cancelDownload);
  const remove = createButton('Remove', removeModel);
  const cache = create('small');
  const box = create(
    'div',
    { className: 'model-download' },
    text,
    bar,
    create('div', { className: 'audit-row' }, start, cancel, remove, cache),
  );
  let id = '';
  /** @type {ChosenModel | null} */
  let description = null;
  let isConfirmed = false; // the removal: the first click asks
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;

  /** @param {string} chosenId @param {ChosenModel | null} chosen */
  function show(chosenId, chosen) {
    id = chosenId;
    description = chosen;
    isConfirmed = false;
    clearTimeout(timer);
    const { state, download } = chosen ?? {};
    box.hidden = !download;
    if (state?.state === 'running') return follow(state);
    draw(state?.state === 'failed' ? state : null);
  }

  /** @param {DownloadState | null} state of a download that runs or has failed */
  function draw(state) {
    const { download } = description ?? {};
    if (!download) return;
    const isRunning = state?.state === 'running';
    const described = describeDownload(download);
    const { status, text: words } = isRunning ? { status: '', text: describeProgress(state) } : described;
    const failed = state?.problem && download.missing ? `${state.problem} ` : '';
    text.className = `field-note ${failed ? 'wrong' : status}`;
    setText(text, failed + words);
    bar.hidden = !isRunning;
    if (isRunning && state.of) bar.value = state.done / state.of;
    else bar.removeAttribute('value');
    start.hidden = isRunning || !download.missing;
    start.disabled = !download.has_room;
    setText(start, download.missing < download.total ? 'Go on with the download' : 'Download now');
    cancel.hidden = !isRunning;
    remove.hidden = isRunning || download.missing === download.total;
    setText(remove, isConfirmed ? 'Really remove it from this machine' : 'Remove');
    setText(cache, isRunning ? '' : describeCache(description?.cache ?? null));
  }

  /** @param {DownloadState} state */
  function follow(state) {
    draw(state);
    const followed = id;
    timer = setTimeout(async () => {
      const reply = await form.server.model_download_state(followed);
      if (followed !== id) return;
      if (!reply?.answer || reply.answer.state === 'running') follow(reply?.answer ?? state);
      else onChanged();
    }, POLL_INTERVAL);
  }

  /** @param {import('./types.d.ts').Reply<unknown>} reply */
  function refuse(reply) {
    text.className = 'field-note wrong';
    setText(text, problemText(reply));
  }

  async function startDownload() {
    const started = id;
    draw({ state: 'running', done: 0, of: 0, problem: '' });
    cancel.focus();
    const reply = await form.server.start_model_download(form.setup.model);
    if (started !== id) return;
    if (reply?.answer) return follow(reply.answer);
    draw(null);
    refuse(reply);
  }

  async function cancelDownload() {
    clearTimeout(timer);
    await form.server.cancel_model_download(id);
    onChanged();
  }

  async function removeModel() {
    if (!isConfirmed) {
      isConfirmed = true;
      return draw(null);
    }
    isConfirmed = false;
    const reply = await form.server.remove_model(id);
    if (reply?.problem) refuse(reply);
    onChanged();
  }

  return { box, show };
}
