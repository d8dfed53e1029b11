// The latest pipeline runs, a line each. Titles are strangers' text and only set as text.

import { create, query } from './dom.js';
import { listen } from './page_events.js';
import { page } from './page_state.js';

/** @typedef {{id: string, title: string, when: string, status_text: string}} PipelineSummary */

/** @param {import('./types.d.ts').MountContext} context */
export function mount({ element, server }) {
  const box = query(element, '.journeys');
  const list = query(box, 'ul');

  async function refresh() {
    /** @type {PipelineSummary[]} */
    const pipelines = (await server.list_newest_pipeline_runs())?.answer ?? [];
    box.hidden = !pipelines.length;
    list.replaceChildren(...pipelines.map(createLine));
  }

  listen('view', ({ view }) => {
    if (view === box.dataset.where) refresh();
  });
  if (page.view === box.dataset.where && page.mounted) refresh();
}

/** @param {PipelineSummary} pipeline */
function createLine({ id, title, when, status_text: statusText }) {
  const link = create('a', { href: `#journey/${encodeURIComponent(id)}`, textContent: title });
  return create('li', {}, link, create('small', { textContent: `${when} · ${statusText}` }));
}
