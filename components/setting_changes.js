// How a setup differs from a preset, as old → new. Values may be a stranger's text and are only set as text.

import { create, createText } from './dom.js';

/** @typedef {import('./types.d.ts').SettingChange} SettingChange */

/** The entries of a list of changes (dl.setting-changes). @param {SettingChange[]} changes */
export const createSettingChanges = changes =>
  changes.flatMap(({ path, title, before, after }) => [
    create('dt', { title: path }, title),
    create(
      'dd',
      {},
      createText('del', '', before),
      createText('span', '', ' → '),
      createText('ins', '', after),
      createText('code', '', path),
    ),
  ]);
