// The examples: a sample, an own file, a dataset on the Hub, or several of them.

import { create, query } from './dom.js';
import { createExcludedRows } from './excluded_rows.js';
import { createHeading } from './fields.js';
import { createFileOptions } from './file_options.js';
import { acceptDrops, createUpload } from './file_upload.js';
import { formatCount } from './format.js';
import { createHoldout, describeHoldout } from './holdout.js';
import { createMapping } from './mapping_view.js';
import { createRemoteSource } from './remote_source.js';
import { applyChanges, isSameJson } from './setup_paths.js';
import { isSample } from './settings_form.js';
import { createSourceList } from './source_list.js';
import { sourceName } from './source_name.js';
import { OWN_HOLDOUT_SHARE } from './training_length.js';

/** @typedef {import('./settings_form.js').SettingsForm} SettingsForm */
/** @typedef {import('./types.d.ts').Setup} Setup */
/** @typedef {import('./types.d.ts').Source} Source */

/** Sources by what they say, whichever of the usual values they leave out. @param {Pick<Setup, 'data'>} setup */
const sourcesKey = ({ data }) =>
  JSON.stringify(data.map(source => Object.entries({ split: 'train', weight: 1, mapping: {}, ...source }).sort()));

/** @param {SettingsForm} form */
export function createExamples(form) {
  const { catalog } = form;
  let position = 0; // of the source that is shown
  const index = () => Math.min(position, form.setup.data.length - 1);
  const source = () => form.setup.data[index()];
  const heading = createHeading(form, {
    title: 'Examples',
    id: 'examples',
    isGroup: true,
    isChanged: areSourcesChanged,
    presetText: () => sourceName(form, form.base.data[0].source),
    reset,
  });
  const select = create('select', {
    id: 'source',
    onchange: () => takeSource(select.value),
    'aria-labelledby': 'examples-name',
    'aria-describedby': 'source-says',
  });
  const sentence = create('p', { className: 'says', id: 'source-says' });
  const { mapping, ...mappingView } = createMapping(form, index, () => {
    holdout.refresh();
    form.sections.refresh();
  });
  const upload = createUpload(
    catalog,
    (file, changes) => {
      form.rememberUpload(file);
      takeSource(file.source, changes ? 0 : file.rows, changes);
    },
    () => form.sections.reveal(upload.box),
  );
  const list = createSourceList(form, index, showSource);
  const remote = createRemoteSource(form, source, mapping, takeSource);
  const fileOptions = createFileOptions(form, mapping);
  const excluded = createExcludedRows(form);
  const holdout = createHoldout(form, mapping);

  function areSourcesChanged() {
    return sourcesKey(form.setup) !== sourcesKey(form.base) || !isSameJson(form.setup.drop ?? [], form.base.drop ?? []);
  }

  function isChanged() {
    return areSourcesChanged() || holdout.isChanged();
  }

  function reset() {
    position = 0;
    form.change(setup => {
      setup.data = structuredClone(form.base.data);
      setup.holdout = structuredClone(form.base.holdout);
      setup.drop = structuredClone(form.base.drop ?? []);
    });
    mapping.look(true);
  }

  /**
   * Takes another source in the place of the shown one.
   * @param {string} name
   * @param {number} [rows] how many, where that is known
   * @param {Record<string, unknown> | null} [changes] how the person said it is to be read
   */
  async function takeSource(name, rows = 0, changes = null) {
    const before = form.state;
    const taken = index();
    form.change(setup => {
      setup.data[taken] = { source: name, split: 'train', weight: setup.data[taken].weight ?? 1, mapping: {} };
      for (const [path, value] of Object.entries(changes ?? {})) {
        const option = path.split('.').at(-1);
        if (option) applyOption(setup.data[taken], option, value);
      }
      if (taken === 0) setup.holdout = isSample(setup) ? { split: 'holdout' } : { share: OWN_HOLDOUT_SHARE };
    });
    await mapping.look(true, before);
    if (rows && taken === 0) form.length.countExamples(name, rows);
  }

  /** @param {number} target */
  function showSource(target) {
    position = target;
    refresh();
    mapping.look(false);
  }

  // One more source beside the others: at first a sample that is not among them.
  function addSource() {
    const isFree = (/** @type {{source: string}} */ sample) =>
      form.setup.data.every(used => used.source !== sample.source);
    const sample = catalog.samples.find(isFree) ?? catalog.samples[0];
    position = form.setup.data.length;
    form.change(setup => {
      setup.data.push({ source: sample.source, split: 'train', weight: 1, mapping: {} });
      if (setup.holdout?.split) setup.holdout = { share: OWN_HOLDOUT_SHARE }; // that split is the first source's
    });
    mapping.look(true);
    select.focus();
  }

  function refresh() {
    heading.refresh();
    upload.sayMore(form.length.describe());
    const chosen = source().source;
    const sample = catalog.samples.find(candidate => candidate.source === chosen);
    const isUploaded = form.uploads.some(candidate => candidate.source === chosen);
    const own = form.uploads.map(file => createOption(file.source, file.name));
    if (!sample && !isUploaded) own.unshift(createOption(chosen, sourceName(form, chosen)));
    const samples = catalog.samples.map(({ source: value, title }) => createOption(value, `${title} (sample)`));
    select.replaceChildren(
      ...(own.length ? [create('optgroup', { label: 'Your own' }, ...own)] : []),
      create('optgroup', { label: 'Samples' }, ...samples),
    );
    select.value = chosen;
    sentence.textContent = sample?.sentence ?? describeOrigin(chosen);
    for (const section of [list, remote, mappingView, fileOptions, excluded, holdout]) section.refresh();
  }

  const addButton = create('button', {
    type: 'button',
    className: 'back',
    id: 'add-source',
    textContent: 'Add another source',
    onclick: addSource,
  });
  const content = [
    list.box,
    create('div', { className: 'source' }, select),
    sentence,
    upload.box,
    remote.box,
    mappingView.box,
    fileOptions.box,
    create('p', {}, addButton),
    excluded.box,
    holdout.box,
  ];
  query(heading.row, 'h2').after(upload.button);
  const box = form.sections.create({
    id: 'examples',
    head: heading.row,
    content,
    summarize: () => describeExamples(form, mapping.preview?.rows ?? null),
    isChanged,
  });
  acceptDrops(box, upload.send);
  return {
    box,
    refresh,
    isChanged,
    send: upload.send,
    read: () => mapping.look(false),
    columns: () => mapping.columns,
  };
}

/**
 * The examples in one line.
 * @param {SettingsForm} form
 * @param {number | null} rows of the first source, where they are counted
 */
function describeExamples(form, rows) {
  const { data, holdout } = form.setup;
  const [{ source }, ...others] = data;
  const name = sourceName(form, source) + (isSample(form.setup) ? ' (sample)' : '');
  const more = others.length ? ` and ${others.length} more` : '';
  const count = rows && !others.length ? ` · ${formatCount(rows, 'row')}` : '';
  return `${name}${more}${count} · kept aside: ${describeHoldout(holdout ?? {})}`;
}

/** @param {Source} source changed in place @param {string} option @param {unknown} value */
const applyOption = (source, option, value) => applyChanges(source, { [option]: value });

/** @param {string} value @param {string} textContent */
const createOption = (value, textContent) => create('option', { value, textContent });

/** @param {string} source */
export function describeOrigin(source) {
  if (source.startsWith('hub:')) return 'A dataset on the Hub.';
  if (source.startsWith('path:')) return 'A file on this machine, read where it lies.';
  return 'A file of your own.';
}
