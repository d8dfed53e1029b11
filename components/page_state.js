// What the page's modules share: the open view and run, the newest setup, and what the event stream told last.

const FORM_DELAY = 50; // milliseconds until the form's value has arrived at Gradio

export const RUN_VIEWS = ['watch', 'try', 'publish', 'setup']; // views that concern one run

/**
 * Gradio's event snippets and the browser tests see it as window.tunesmith. shell.js adds the functions.
 * @type {import('./types.d.ts').PageState}
 */
export const page = {
  view: 'start',
  run: '',
  journey: '', // the id of a pipeline's run, or the name of a pipeline that may be started
  mounted: false, // all components are there
  go() {},
  async ready() {},
};
globalThis.tunesmith = page;

/** Opens Check with the form's present setup. */
export const openCheck = () => setTimeout(() => page.go('check'), FORM_DELAY);
