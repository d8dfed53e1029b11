// Examples that do not come as an upload: a dataset on the Hub, or a file on this machine. The Hub is asked only when
// the person presses a button.

import { create, createLabelled, showNote } from './dom.js';
import { formatList } from './format.js';
import { NO_SERVER, problemText } from './server_reply.js';

/** @typedef {import('./settings_form.js').SettingsForm} SettingsForm */
/** @typedef {import('./types.d.ts').Source} Source */
/** @typedef {{parts: string[], splits: string[]}} DatasetParts */
/** @typedef {{name: string, revision: string, hasParts: boolean, isTaken: boolean}} Dataset as the Hub described it */
/** @typedef {(source: string, rows?: number, changes?: Record<string, unknown>) => Promise<void>} TakeSource */

const HUB_EXPLANATION =
  'A dataset by its name; its revision is a branch, a tag or a commit. Nothing is fetched before you press the ' +
  'button; then only its first rows, until you start.';
const PATH_EXPLANATION = 'Of any size, and not copied. A link to this setup cannot carry it.';

/**
 * @param {SettingsForm} form
 * @param {() => Source} source
 * @param {import('./mapping.js').Mapping} mapping
 * @param {TakeSource} takeSource
 */
export function createRemoteSource(form, source, mapping, takeSource) {
  const hub = createHubDataset(form, mapping, takeSource);
  const path = createInput('path-data', { maxLength: 1000, placeholder: '/home/me/examples.jsonl' });
  const readButton = create('button', {
    type: 'button',
    className: 'plain',
    textContent: 'Read it where it lies',
    onclick: () => path.value.trim() && takeSource(`path:${path.value.trim()}`),
  });
  const pathFields = create(
    'div',
    { className: 'far' },
    create('p', { className: 'says', textContent: PATH_EXPLANATION }),
    createLabelled('Path', path),
    readButton,
  );
  const summary = create('summary', { textContent: 'A file on this machine' });
  const local = create(
    'details',
    { className: 'which', id: 'path-box', hidden: !form.catalog.local },
    summary,
    pathFields,
  );

  function refresh() {
    const [kind, name] = splitSource(source().source);
    hub.refresh(kind === 'hub' ? name : null, source());
    if (kind === 'path' && document.activeElement !== path && !path.value) {
      path.value = name;
      local.open = true;
    }
  }

  return { box: create('div', { className: 'elsewhere' }, hub.box, local), refresh };
}

/** "hub:owner/name" as its kind and the rest. @param {string} source @returns {[kind: string, name: string]} */
export const splitSource = source => [source.split(':')[0], source.slice(source.indexOf(':') + 1)];

/** @param {SettingsForm} form @param {import('./mapping.js').Mapping} mapping @param {TakeSource} takeSource */
function createHubDataset(form, mapping, takeSource) {
  const inputs = createHubInputs({ takePart, takeSplit, readDataset });
  const { name, revision, config, split, openButton, note, box } = inputs;
  /** @type {Dataset | null} */
  let dataset = null;

  async function readDataset() {
    const wantedName = name.value.trim();
    const wantedRevision = revision.value.trim();
    if (!wantedName) {
      showNote(note, 'wrong', 'Name the dataset first, such as owner/name.');
      return name.focus();
    }
    const parts = await requestParts({ name: wantedName, revision: wantedRevision || null });
    if (!parts) return;
    dataset = { name: wantedName, revision: wantedRevision, hasParts: parts.parts.length > 1, isTaken: false };
    fillOptions(config, ['', ...parts.parts]);
    if (!dataset.hasParts) return chooseSplit(dataset, parts.splits);
    inputs.show(true, false);
    const count = `${wantedName} has ${parts.parts.length} parts: ${formatList(parts.parts)}.`;
    showNote(note, 'info', `${count} Which one should be read? Choose it below.`);
    config.focus();
  }

  // Of a dataset with several parts each has splits of its own; only a person can say which part is meant.
  async function takePart() {
    if (!config.value || !dataset) return;
    const parts = await requestParts({ name: dataset.name, revision: dataset.revision || null, config: config.value });
    if (parts && dataset) await chooseSplit(dataset, parts.splits);
  }

  /**
   * @param {{name: string, revision: string | null, config?: string}} request
   * @returns {Promise<DatasetParts | null>}
   */
  async function requestParts(request) {
    showNote(note, '', 'Asking the Hub …');
    openButton.disabled = config.disabled = true;
    const reply = await form.server.list_dataset_configs(request);
    openButton.disabled = config.disabled = false;
    if (reply?.answer) return reply.answer;
    inputs.show(false, false);
    showNote(note, 'wrong', `${problemText(reply, NO_SERVER)} Your earlier choice of examples stays.`);
    return null;
  }

  /** @param {Dataset} chosen @param {string[]} splits */
  async function chooseSplit(chosen, splits) {
    const earlier = split.value;
    fillOptions(split, splits);
    split.value = [earlier, 'train'].find(candidate => splits.includes(candidate)) ?? splits[0];
    inputs.show(chosen.hasParts, true);
    await takeSplit();
  }

  async function takeSplit() {
    if (!dataset) return;
    const { name: datasetName, revision: datasetRevision, hasParts } = dataset;
    const others = [...split.options].map(({ value }) => value).filter(value => value !== split.value);
    const part = hasParts ? `, part ${config.value}` : '';
    const rest = others.length ? ` It also has ${formatList(others)}.` : '';
    showNote(note, 'good', `${datasetName}${part}: its split ${split.value} is read.${rest}`);
    dataset.isTaken = true;
    await takeSource(`hub:${datasetName}`, 0, {
      split: split.value,
      ...(hasParts ? { config: config.value } : {}),
      ...(datasetRevision ? { revision: datasetRevision } : {}),
    });
    mapping.allowFetch();
    mapping.look(true);
  }

  /** @param {string | null} datasetName null where the shown source is no dataset @param {Source} source */
  function refresh(datasetName, source) {
    if (datasetName !== null && document.activeElement !== name && !name.value) restore(datasetName, source);
    if (datasetName !== null || !dataset?.isTaken) return;
    dataset = null;
    inputs.show(false, false);
    showNote(note, '', '');
  }

  // As it was chosen earlier, or came by a link: what else there is only the Hub knows.
  /** @param {string} datasetName @param {Source} source */
  function restore(datasetName, source) {
    name.value = datasetName;
    revision.value = source.revision ?? '';
    box.open = true;
    dataset = { name: datasetName, revision: source.revision ?? '', hasParts: Boolean(source.config), isTaken: true };
    fillOptions(config, [source.config ?? '']);
    fillOptions(split, [source.split ?? 'train']);
    inputs.show(dataset.hasParts, true);
    showNote(note, 'info', 'This is read so far. Press the button to see what else it holds.');
  }

  return { box, refresh };
}

/** @param {{takePart: () => void, takeSplit: () => void, readDataset: () => void}} actions */
function createHubInputs({ takePart, takeSplit, readDataset }) {
  const name = createInput('hub-data', { maxLength: 200, placeholder: 'owner/name' });
  const revision = createInput('hub-revision', { maxLength: 100, placeholder: 'the newest' });
  const config = create('select', { id: 'hub-config', onchange: takePart });
  const split = create('select', { id: 'hub-split', onchange: takeSplit });
  const openButton = create('button', {
    type: 'button',
    className: 'plain',
    textContent: 'See what it holds',
    onclick: readDataset,
  });
  const note = create('p', { className: 'field-note', id: 'hub-data-note', role: 'status' });
  const configField = createLabelled('Part', config);
  const splitField = createLabelled('Split', split);
  const choices = create('div', { className: 'far-row', hidden: true }, configField, splitField);
  const fields = create(
    'div',
    { className: 'far' },
    create('p', { className: 'says', textContent: HUB_EXPLANATION }),
    create('div', { className: 'far-row' }, createLabelled('Dataset', name), createLabelled('Revision', revision)),
    openButton,
    note,
    choices,
  );
  const box = create(
    'details',
    { className: 'which', id: 'hub-box' },
    create('summary', { textContent: 'From the Hub' }),
    fields,
  );

  /** @param {boolean} hasParts @param {boolean} hasSplits */
  function show(hasParts, hasSplits) {
    configField.hidden = !hasParts;
    splitField.hidden = !hasSplits;
    choices.hidden = !hasParts && !hasSplits;
  }

  return { name, revision, config, split, openButton, note, box, show };
}

/** @param {string} id @param {{maxLength: number, placeholder: string}} attributes */
const createInput = (id, attributes) =>
  create('input', { type: 'text', id, autocomplete: 'off', spellcheck: false, ...attributes });

/**
 * A list to choose from; nothing in it is chosen yet where it begins with ''.
 * @param {HTMLSelectElement} select
 * @param {string[]} names
 */
function fillOptions(select, names) {
  select.replaceChildren(...names.map(name => create('option', { value: name, textContent: name || 'Choose one …' })));
}
