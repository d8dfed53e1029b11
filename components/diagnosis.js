// A diagnosis of a run: what went wrong, what helps, and the button that sets up another run with the change.

import { create, createText } from './dom.js';
import { emit } from './page_events.js';
import { page } from './page_state.js';
import { reuseSetup } from './runs_list.js';

/** @param {import('./types.d.ts').Diagnosis} diagnosis */
export function createDiagnosis({ severity, text, advice, remedy }) {
  const item = create('li', { className: `${severity} diagnosis` }, createText('strong', '', text), ` ${advice}`);
  if (remedy) item.append(createRemedyButton(remedy));
  return item;
}

/** Fills the form with the setup of the open run and the change. @param {import('./types.d.ts').Remedy} remedy */
function createRemedyButton({ title, changes }) {
  return create('button', {
    type: 'button',
    className: 'button mend',
    textContent: `${title}, and set up again`,
    onclick: async () => {
      if (await reuseSetup(page.run)) emit('alter', { changes }); // the form may hold another setup else
    },
  });
}
