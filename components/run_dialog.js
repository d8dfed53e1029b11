// The dialog of the Runs page: it renames a run, or asks before something is deleted.

import { query, setText } from './dom.js';
import { formatBytes, formatDate } from './format.js';
import { describeRun } from './run_text.js';

/** @typedef {import('./types.d.ts').RunSummary} RunSummary */

/**
 * @param {'rename' | 'delete'} action
 * @param {RunSummary} run
 * @param {(title: string) => void} onConfirm
 */
export function confirmRunAction(action, run, onConfirm) {
  if (action === 'delete') return confirmDeletion(`Delete “${run.title}”?`, describeDeletion(run), () => onConfirm(''));
  const dialog = fillDialog(
    'Rename this run',
    'Links to it stay as they are.',
    ['Rename', 'Leave it'],
    'button primary',
  );
  const input = query(dialog, 'input', HTMLInputElement);
  query(dialog, 'label').hidden = false;
  input.value = run.title;
  openDialog(dialog, () => onConfirm(input.value));
  input.select();
}

/**
 * @param {string} title
 * @param {string} text
 * @param {() => void} onConfirm
 */
export function confirmDeletion(title, text, onConfirm) {
  const dialog = fillDialog(title, text, ['Delete', 'Keep it'], 'button wrong');
  query(dialog, 'label').hidden = true;
  openDialog(dialog, onConfirm);
  query(dialog, '[value=no]').focus(); // Enter must not delete anything
}

/**
 * @param {string} title
 * @param {string} text
 * @param {[string, string]} answers yes and no
 * @param {string} className of the button that says yes
 */
function fillDialog(title, text, [yes, no], className) {
  const dialog = query(document, '#runs-dialog', HTMLDialogElement);
  setText(query(dialog, 'h2'), title);
  setText(query(dialog, 'p'), text);
  const confirmButton = query(dialog, '[value=yes]');
  setText(confirmButton, yes);
  confirmButton.className = className;
  setText(query(dialog, '[value=no]'), no);
  return dialog;
}

/**
 * @param {HTMLDialogElement} dialog
 * @param {() => void} onConfirm
 */
function openDialog(dialog, onConfirm) {
  dialog.returnValue = '';
  dialog.onclose = () => {
    if (dialog.returnValue === 'yes') onConfirm();
  };
  dialog.showModal();
}

/** @param {RunSummary} run */
function describeDeletion(run) {
  const state = describeRun(run);
  const about = `${formatDate(run.started)}, ${state.charAt(0).toLowerCase()}${state.slice(1)}`;
  const freed = `This frees ${formatBytes(run.bytes)}: its setup, curves, answers, checkpoints and result.`;
  return `${about}. ${freed} It cannot be taken back.`;
}
