// The dialog that renames a run, or asks before deleting it.

import { query, setText } from './dom.js';
import { formatBytes } from './format.js';
import { formatStart } from './run_rows.js';
import { describeRun } from './run_text.js';

/** @typedef {import('./types.d.ts').RunSummary} RunSummary */

/**
 * @param {'rename' | 'delete'} action
 * @param {RunSummary} run
 * @param {(title: string) => void} onConfirm
 */
export function confirmRunAction(action, run, onConfirm) {
  const dialog = query(document, '#runs-dialog', HTMLDialogElement);
  const input = query(dialog, 'input', HTMLInputElement);
  const isRenaming = action === 'rename';
  setText(query(dialog, 'h2'), isRenaming ? 'Rename this run' : `Delete “${run.title}”?`);
  setText(query(dialog, 'p'), isRenaming ? 'Links to it stay as they are.' : describeDeletion(run));
  query(dialog, 'label').hidden = !isRenaming;
  input.value = run.title;
  const confirmButton = query(dialog, '[value=yes]');
  const cancelButton = query(dialog, '[value=no]');
  setText(confirmButton, isRenaming ? 'Rename' : 'Delete');
  setText(cancelButton, isRenaming ? 'Leave it' : 'Keep it');
  confirmButton.className = isRenaming ? 'button primary' : 'button wrong';
  dialog.returnValue = '';
  dialog.onclose = () => {
    if (dialog.returnValue === 'yes') onConfirm(input.value);
  };
  dialog.showModal();
  if (isRenaming) input.select();
  else cancelButton.focus(); // Enter must not delete a run
}

/** @param {RunSummary} run */
function describeDeletion(run) {
  const state = describeRun(run);
  const about = `${formatStart(run)}, ${state.charAt(0).toLowerCase()}${state.slice(1)}`;
  const freed = `This frees ${formatBytes(run.bytes)}: its setup, curves, answers, checkpoints and result.`;
  return `${about}. ${freed} It cannot be taken back.`;
}
