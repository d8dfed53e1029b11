// Uploading a file of examples, with progress, and with an offer where the file cannot be read as it is.

import { create, showNote } from './dom.js';
import { formatCompact, formatExact } from './format.js';

/** @typedef {import('./types.d.ts').Finding} Finding */
/** @typedef {{source: string, name: string, rows: number, findings: Finding[]}} UploadedFile */
/** @typedef {(file: UploadedFile, changes?: Record<string, unknown>) => void} OnUploaded */

const READABLE =
  'Bring JSON lines (.jsonl), a table (.csv, .xlsx), Parquet (.parquet), text (.txt) or pictures (.zip).';
const SPREADSHEET = /^\.(xls[mb]?|ods|numbers)$/;

/** The ending of a file's name with its dot, in lower case. @param {string} name */
export const fileEnding = name => (name.includes('.') ? name.slice(name.lastIndexOf('.')).toLowerCase() : '');

/**
 * Why a file cannot be taken, before a byte of it is sent; empty where it can.
 * @param {{name: string, size: number}} file
 * @param {string[]} endings
 * @param {number} maxBytes
 */
export function refuseFile({ name, size }, endings, maxBytes) {
  const ending = fileEnding(name);
  if (SPREADSHEET.test(ending)) return `${name} cannot be read. In a spreadsheet: Save as → CSV UTF-8.`;
  if (!endings.includes(ending)) {
    return `${name} cannot be read. ${READABLE}`;
  }
  if (size > maxBytes)
    return `${name} has ${formatCompact(size)}B; this page takes up to ${maxBytes / 1e6} MB. Bring a part of it.`;
  return size ? '' : `${name} is empty. Bring a file with examples.`;
}

/**
 * @param {Pick<import('./types.d.ts').Catalog, 'kinds' | 'most'>} catalog
 * @param {OnUploaded} onUploaded
 * @param {() => void} onSend before anything is said of a file
 */
export function createUpload({ kinds: endings, most: maxBytes }, onUploaded, onSend) {
  const note = create('p', { className: 'field-note', id: 'upload-note', role: 'status' });
  const bar = create('progress', { max: 1, value: 0, hidden: true, 'aria-label': 'Upload' });
  const cancelButton = create('button', {
    type: 'button',
    className: 'back',
    textContent: 'Cancel',
    hidden: true,
    onclick: () => request?.abort(),
  });
  const input = create('input', {
    type: 'file',
    id: 'upload',
    className: 'unseen',
    accept: endings.join(','),
    'aria-describedby': 'upload-says upload-note',
    onchange() {
      if (input.files?.[0]) send(input.files[0]);
      input.value = '';
    },
  });
  const label = create('label', { htmlFor: 'upload', textContent: 'Upload a file' });
  const sentence = create('p', { className: 'says', id: 'upload-says', textContent: describeUpload(maxBytes) });
  const offers = create('div', { className: 'offers' });
  const sending = create('div', { className: 'sending' }, bar, cancelButton);
  const box = create('div', { className: 'upload' }, sentence, sending, note, offers);
  /** @type {XMLHttpRequest | null} */
  let request = null;
  let taken = ''; // what is said of the last file, before what follows from it

  /** @param {File} file */
  function send(file) {
    const refusal = refuseFile(file, endings, maxBytes);
    offers.replaceChildren();
    taken = '';
    onSend();
    if (refusal) return showNote(note, 'wrong', refusal);
    request?.abort();
    const upload = new XMLHttpRequest();
    request = upload;
    upload.open('POST', `uploads?name=${encodeURIComponent(file.name)}`);
    upload.responseType = 'json';
    upload.upload.onprogress = ({ loaded, total }) => {
      bar.value = loaded / (total || 1);
      showNote(note, '', loaded < total ? `Sending ${file.name} …` : `Reading ${file.name} to its end …`);
    };
    upload.onloadend = () => {
      if (request === upload) finish(upload.response, file);
    };
    showNote(note, '', `Sending ${file.name} …`);
    bar.value = 0;
    bar.hidden = cancelButton.hidden = false;
    upload.send(file);
  }

  /** @param {import('./types.d.ts').Reply<UploadedFile> | null} reply @param {File} file */
  function finish(reply, file) {
    request = null;
    bar.hidden = cancelButton.hidden = true;
    if (reply?.answer && reply.problem) return offer({ ...reply.answer, name: file.name }, reply.problem);
    if (reply?.answer) return take(reply.answer, file);
    const reason = reply?.problem
      ? `${reply.problem.text} ${reply.problem.advice}`
      : `${file.name} did not arrive. Try again.`;
    showNote(note, 'wrong', `${reason} Your earlier choice of examples stays.`);
  }

  /** @param {UploadedFile} answer @param {File} file */
  async function take(answer, file) {
    const { rows, name } = answer;
    taken = `${name}: ${formatExact(rows)} example${rows === 1 ? '' : 's'}, read to the end.`;
    showNote(note, 'good', taken);
    onUploaded({ ...answer, name: file.name });
  }

  /** Says what follows from the last file: it may be another thing after another choice. @param {string} text */
  function sayMore(text) {
    if (taken) showNote(note, 'good', `${taken} ${text}`.trim());
  }

  /**
   * The file is stored; how to read it is a person's decision: no row is left out unasked.
   * @param {UploadedFile} file
   * @param {import('./types.d.ts').Problem} problem
   */
  function offer(file, problem) {
    showNote(note, 'wrong', `${problem.text} Mend the file, or choose below. Your earlier choice of examples stays.`);
    const buttons = file.findings.flatMap(({ remedy }) => {
      if (!remedy) return [];
      const onclick = () => {
        offers.replaceChildren();
        showNote(note, 'good', `${file.name} is taken. ${remedy.title}.`);
        onUploaded(file, remedy.changes);
      };
      return [
        create('button', {
          type: 'button',
          className: 'plain',
          textContent: `${remedy.title}, and take the file`,
          onclick,
        }),
      ];
    });
    offers.replaceChildren(...buttons);
  }

  return { box, button: create('span', { className: 'pick' }, input, label), send, sayMore };
}

/**
 * Takes the first file that is dropped on an element.
 * @param {HTMLElement} element
 * @param {(file: File) => void} take
 */
export function acceptDrops(element, take) {
  const mark = (/** @type {boolean} */ isOver) => element.classList.toggle('dropping', isOver);
  element.addEventListener('drop', event => {
    event.preventDefault();
    mark(false);
    if (event.dataTransfer?.files[0]) take(event.dataTransfer.files[0]);
  });
  element.addEventListener('dragover', event => {
    event.preventDefault();
    mark(true);
  });
  element.addEventListener('dragleave', event => {
    if (!(event.relatedTarget instanceof Node && element.contains(event.relatedTarget))) mark(false);
  });
}

/** @param {number} maxBytes */
const describeUpload = maxBytes =>
  'JSON lines, JSON, a table (CSV, TSV, Excel), Parquet, Arrow, plain text, or a zip of pictures with their rows; ' +
  `also packed as .gz. Up to ${maxBytes / 1e6} MB. It goes into Tunesmith’s own folder and nowhere else.`;
