// The chat template: the model's own, one that TRL ships, or a pasted or uploaded one. The last is a stranger's program
// and is tried in the worker's sandbox before anything is learned with it.

import { create, showNote } from './dom.js';
import { createHeading } from './fields.js';
import { formatCompact } from './format.js';
import { findShipped } from './model_values.js';

/** @typedef {import('./settings_form.js').SettingsForm} SettingsForm */

const NAMED_TEMPLATE = /^(chatml|trl:[a-z0-9_]+)$/;
const CHATML = 'chatml';
const PASTED = 'pasted';
const PAUSE = 500; // milliseconds without a key before it is tried
const MAX_LENGTH = 1e6; // characters
const MARKERS_LISTED = 6;
const MODEL_KEYS = /** @type {const} */ (['id', 'revision', 'start_from', 'new_tokens', 'end_token', 'template']);
const EXPLANATION =
  'How a conversation is written for the model: with which marks, who speaks, and what ends an answer. ' +
  'Almost always the model’s own is right.';
const TEXT_EXPLANATION =
  'A program in Jinja, as it stands under chat_template in a tokenizer_config.json. ' +
  'It is tried before it is used, and runs without files or network.';

/** Which option of the list a template is. @param {string} template @param {boolean} isPasting */
export function templateOption(template, isPasting) {
  if (!template) return isPasting ? PASTED : '';
  return NAMED_TEMPLATE.test(template) ? template : PASTED;
}

/** @param {string} template */
export function templateName(template) {
  if (!template) return 'the model’s own';
  if (template === CHATML) return 'ChatML';
  return NAMED_TEMPLATE.test(template) ? template.replace('trl:', '') : 'the preset’s';
}

/** The template in a tokenizer_config.json; empty where there is none. @param {string} json */
export function templateInConfig(json) {
  try {
    const template = JSON.parse(json).chat_template;
    return typeof template === 'string' ? template : '';
  } catch {
    return '';
  }
}

// A short conversation as the template writes it.
/** @typedef {{text: string, tokens: number, end: string, broken: string[]}} Trial */

/** What a trial showed. @param {Trial} trial @returns {[status: string, text: string]} */
export function describeTrial({ tokens, end, broken }) {
  const warnings = [];
  if (broken.length) {
    const markers = broken.slice(0, MARKERS_LISTED).join(', ');
    warnings.push(`This model reads ${markers} as several tokens: among the new words each would be one.`);
  }
  if (!end && !broken.length) warnings.push('No mark ends the answer, so the model may not know when to stop.');
  const ending = warnings.join(' ') || `${end} ends an answer.`;
  const text = `It writes a question and an answer so, in ${tokens} tokens. ${ending}`;
  return [warnings.length ? 'careful' : 'good', text];
}

/** @param {SettingsForm} form */
export function createTemplatePicker(form) {
  const template = () => form.setup.model.template ?? '';
  const baseTemplate = () => form.base.model.template ?? '';
  let isPasting = false; // the list says "your own", and nothing is pasted yet
  let tryCount = 0; // an answer to an earlier try is dropped
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  let triedKey = '';
  let lastTemplate = '';
  let editedModel = ''; // that a template was last chosen for
  let isRefused = false;

  function isChanged() {
    return template() !== baseTemplate();
  }

  const heading = createHeading(form, {
    title: 'Which chat format',
    id: 'format',
    isChanged,
    presetText: () => templateName(baseTemplate()),
    reset() {
      isPasting = false;
      setTemplate(baseTemplate());
    },
  });
  const { select, text, own, note, preview } = createInputs(form.catalog.formats, { choose, setTemplate, readFile });

  /** @param {string} value */
  function setTemplate(value) {
    editedModel = form.setup.model.id;
    form.change(setup => {
      if (value.trim()) setup.model.template = value;
      else delete setup.model.template;
    });
  }

  function choose() {
    isPasting = select.value === PASTED;
    if (isPasting) {
      own.hidden = false;
      text.focus();
    }
    setTemplate(isPasting ? text.value : select.value);
  }

  /** @param {File} file a template, or a tokenizer_config.json that holds one */
  async function readFile(file) {
    if (file.size > MAX_LENGTH) {
      return showNote(note, 'wrong', `${file.name} has ${formatCompact(file.size)}B, and no chat format is that long.`);
    }
    const content = await file.text();
    const value = file.name.toLowerCase().endsWith('.json') ? templateInConfig(content) : content;
    if (!value.trim()) {
      const advice = 'Bring the text itself, or a JSON file with one under chat_template.';
      return showNote(note, 'wrong', `${file.name} holds no chat format. ${advice}`);
    }
    text.value = value;
    setTemplate(value);
  }

  // Of a model on the Hub nothing is fetched until the person chose a template for it.
  function tryWhenChanged() {
    const { model } = form.setup;
    const key = JSON.stringify([isPasting, ...MODEL_KEYS.map(name => model[name] ?? '')]);
    if (key === triedKey) return;
    triedKey = key;
    clearTimeout(timer);
    const thisTry = ++tryCount;
    isRefused = false;
    preview.hidden = true;
    if (!template()) {
      const reminder = 'Paste it, or upload a file. Until then the model’s own is used.';
      return showNote(note, isPasting ? 'info' : '', isPasting ? reminder : '');
    }
    showNote(note, '', '');
    if (findShipped(form.catalog, model.id) || editedModel === model.id)
      timer = setTimeout(() => tryTemplate(thisTry), PAUSE);
  }

  /** @param {number} thisTry */
  async function tryTemplate(thisTry) {
    showNote(note, '', 'Trying it on a short conversation …');
    const reply = await form.server.preview_template({ model: form.setup.model });
    if (thisTry !== tryCount) return;
    if (reply?.answer) {
      isRefused = false;
      showNote(note, ...describeTrial(reply.answer));
      preview.textContent = reply.answer.text;
      preview.hidden = false;
    } else {
      const noServer = {
        text: 'It could not be tried: the page’s own server does not answer.',
        advice: '',
        reason: '',
      };
      const problem = reply?.problem ?? noServer;
      isRefused = problem.reason === 'bad_template';
      showNote(note, isRefused ? 'wrong' : 'careful', `${problem.text} ${problem.advice}`.trim());
    }
    form.publish(); // whether the setup can be used may have changed
  }

  function refresh() {
    const current = template();
    if (current) isPasting = templateOption(current, isPasting) === PASTED;
    // Removed from elsewhere, as by a remedy.
    else if (lastTemplate && document.activeElement !== text) isPasting = false;
    lastTemplate = current;
    heading.refresh();
    const option = templateOption(current, isPasting);
    if (![...select.options].some(({ value }) => value === option))
      select.append(createOption(option, templateName(option)));
    select.value = option;
    own.hidden = option !== PASTED;
    if (option === PASTED && document.activeElement !== text && text.value !== current) text.value = current;
    tryWhenChanged();
    const invalid = option === PASTED ? text : select;
    for (const input of [text, select]) input.setAttribute('aria-invalid', String(input === invalid && isRefused));
  }

  const explanation = create('p', { className: 'says', id: 'format-says', textContent: EXPLANATION });
  const children = [heading.row, explanation, select, own, note, preview];
  return { box: create('div', { className: 'field wide', id: 'format' }, ...children), refresh, isChanged };
}

/** @param {string} value @param {string} textContent */
const createOption = (value, textContent) => create('option', { value, textContent });

/**
 * @param {string[]} trlTemplates
 * @param {{choose: () => void, setTemplate: (value: string) => void, readFile: (file: File) => void}} actions
 */
function createInputs(trlTemplates, { choose, setTemplate, readFile }) {
  const trlOptions = trlTemplates.map(name => createOption(`trl:${name}`, name));
  const select = create(
    'select',
    { id: 'format-input', 'aria-describedby': 'format-says format-note', onchange: choose },
    createOption('', 'The model’s own'),
    createOption(CHATML, 'ChatML, the plain one of many models'),
    createOption(PASTED, 'One of your own, pasted or uploaded'),
    create('optgroup', { label: 'As TRL writes them for' }, ...trlOptions),
  );
  const text = create('textarea', {
    id: 'format-text',
    rows: 8,
    spellcheck: false,
    maxLength: MAX_LENGTH,
    'aria-describedby': 'format-text-says format-note',
    placeholder: '{% for message in messages %} …',
    oninput: () => setTemplate(text.value),
  });
  const file = create('input', {
    type: 'file',
    id: 'format-file',
    className: 'unseen',
    accept: '.jinja,.jinja2,.j2,.txt,.json',
    onchange() {
      if (file.files?.[0]) readFile(file.files[0]);
      file.value = '';
    },
  });
  const own = create(
    'div',
    { className: 'own-format' },
    create('label', { htmlFor: 'format-text', textContent: 'Its text' }),
    create('p', { className: 'says', id: 'format-text-says', textContent: TEXT_EXPLANATION }),
    text,
    create(
      'span',
      { className: 'pick' },
      file,
      create('label', { htmlFor: 'format-file', textContent: 'Upload it instead' }),
    ),
  );
  const note = create('p', { className: 'field-note', id: 'format-note', role: 'status' });
  const preview = create('pre', {
    className: 'written',
    id: 'format-written',
    role: 'group',
    tabIndex: 0,
    'aria-label': 'How it writes a question and an answer',
  });
  return { select, text, own, note, preview };
}
