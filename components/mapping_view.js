// How the rows of a source are read, drawn: the first rows, what was recognised, and what a person may decide.

import { create, showNote } from './dom.js';
import { Mapping } from './mapping.js';
import { createParts, createRowLayout } from './row_layout.js';
import { createFirstRow, createSpeakers } from './row_preview.js';
import { createRowsTable } from './rows_table.js';
import { createVerdicts } from './verdicts.js';

/** @typedef {import('./settings_form.js').SettingsForm} SettingsForm */

/**
 * @param {SettingsForm} form
 * @param {() => number} index of the source in the setup
 * @param {() => void} onPreview
 */
export function createMapping(form, index, onPreview) {
  const note = create('p', { className: 'field-note', role: 'status' });
  const mapping = new Mapping(form, index, {
    refresh,
    showNote: (status, text) => showNote(note, status, text),
    onPreview,
  });
  const hubButton = create('button', {
    type: 'button',
    className: 'plain',
    textContent: 'Look at its first rows',
    onclick() {
      mapping.allowFetch();
      mapping.look(true);
    },
  });
  const pieces = [createRowLayout, createVerdicts, createRowsTable, createParts, createFirstRow, createSpeakers].map(
    createPiece => createPiece(mapping),
  );
  const details = create('div', { className: 'seen' }, ...pieces.map(piece => piece.box));
  const summary = create('summary', { textContent: 'Look at its first rows, and how they are read' });
  const fold = create('details', { className: 'seen-sample' }, summary);
  const box = create('div', { className: 'mapping', hidden: true }, note, hubButton, details);

  // A sample is read right already: its details are folded away.
  function refresh() {
    box.hidden = false;
    if (mapping.preview && mapping.previewMethod !== form.setup.method) {
      mapping.previewMethod = form.setup.method;
      mapping.lookSoon(); // another method takes other layouts
    }
    hubButton.hidden = !mapping.isOnHub || Boolean(mapping.preview);
    const isFolded = !mapping.isOwn;
    if (isFolded && details.parentNode !== fold) {
      fold.append(details);
      box.append(fold);
    }
    if (!isFolded && details.parentNode !== box) {
      fold.remove();
      box.append(details);
    }
    box.classList.toggle('quietly', isFolded);
    details.hidden = !mapping.preview || !mapping.layouts.length;
    if (!details.hidden) for (const piece of pieces) piece.refresh();
  }

  return { mapping, box, refresh };
}
