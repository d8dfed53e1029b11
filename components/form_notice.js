// A notice in the form of what filled or changed it, with a way back.

import { create } from './dom.js';
import { createSettingChanges } from './setting_changes.js';

/**
 * @param {HTMLElement} target
 * @param {string} text empty for no notice
 * @param {(() => void) | null} undo
 * @param {string} [status]
 * @param {import('./types.d.ts').SettingChange[]} [changes] shown below it as old → new
 */
export function showFormNotice(target, text, undo, status = 'info', changes = []) {
  if (!text) return target.replaceChildren();
  const goBack = () => {
    undo?.();
    target.replaceChildren();
  };
  const item = create('li', { className: status, textContent: text });
  const list = create('ul', { className: 'notice boxed' }, item);
  const button = create('button', { type: 'button', className: 'back', textContent: 'Undo', onclick: goBack });
  const message = create('div', { role: status === 'wrong' ? 'alert' : 'status' }, list);
  const differences = create('dl', { className: 'setting-changes' }, ...createSettingChanges(changes));
  target.replaceChildren(message, ...(changes.length ? [differences] : []), ...(undo ? [button] : []));
}
