// How far the open run is: state, bar, verdict, notices. Text of a run may come from strangers and is only set as text.

import { createDiagnosis } from './diagnosis.js';
import { create, query, setText } from './dom.js';
import { formatDuration } from './format.js';
import { listen } from './page_events.js';
import { page } from './page_state.js';
import { buttonPhase, describeQueue, describeState, describeTrouble, hasEnded } from './progress_text.js';

/** @typedef {import('./types.d.ts').RunProgress} RunProgress */

const MAX_NOTES = 20;
const formatStep = (/** @type {number} */ step) => step.toLocaleString('en');

/** @param {import('./types.d.ts').MountContext} context */
export function mount({ element, props }) {
  const root = query(element, '.progress');
  const { texts } = props;
  const field = (/** @type {string} */ name) => query(root, `[data-told=${name}]`);
  const title = query(root, '.run-title');
  const track = query(root, '.track');
  const bar = query(root, '.track i');
  const state = query(root, 'strong');
  const verdict = query(root, '.verdict');
  const resultStep = query(root, '.result-step');
  const notices = query(root, '.notice');
  const view = /** @type {HTMLElement | null} */ (document.querySelector('#view-watch'));
  /** @type {import('./types.d.ts').RunNote[]} */
  let notes = [];
  /** @type {{state?: string, saved?: number, text: string} | undefined} */
  let request; // what the person asked of the run
  let openRun = '';

  /** @param {RunProgress} now */
  function showProgress(now) {
    const ended = hasEnded(now);
    root.dataset.state = now.state;
    root.removeAttribute('aria-busy');
    root.dataset.severity = now.diagnoses?.[0]?.severity ?? '';
    setText(state, describeState(now, texts));
    setText(
      field('step'),
      describeQueue(now) || (now.of ? `step ${formatStep(now.step)} of ${formatStep(now.of)}` : ''),
    );
    const hasEstimate = !ended && now.seconds_left !== undefined && now.state !== 'waiting';
    setText(field('left'), hasEstimate ? `${formatDuration(now.seconds_left ?? 0)} left` : '');
    const isSaved = now.saved !== undefined && now.state !== 'finished';
    setText(field('saved'), isSaved ? `saved at step ${formatStep(now.saved ?? 0)}` : '');
    setText(field('place'), now.place ?? '');
    showBar(now, ended);
    verdict.hidden = !now.verdict;
    setText(verdict, now.verdict ?? '');
    resultStep.hidden = !now.result;
    setText(resultStep, now.result ?? '');
    showNotices([...notes, ...describeTrouble(now, texts)], now.diagnoses);
    if (request && (request.state !== now.state || request.saved !== now.saved)) request = undefined;
    setText(field('asked'), request?.text ?? '');
    if (!view) return;
    view.dataset.phase = buttonPhase(now);
    view.dataset.other = now.other ?? '';
  }

  /** @param {RunProgress} now @param {boolean} ended */
  function showBar(now, ended) {
    bar.style.width = `${(now.of ? (100 * now.step) / now.of : 0).toFixed(1)}%`;
    track.classList.toggle('ended', ended && now.state !== 'finished');
    track.setAttribute('aria-valuemax', String(now.of));
    track.setAttribute('aria-valuenow', String(now.step));
  }

  /**
   * @param {import('./types.d.ts').RunNote[]} shown
   * @param {import('./types.d.ts').Diagnosis[]} diagnoses shown first
   */
  function showNotices(shown, diagnoses = []) {
    const key = JSON.stringify([shown, diagnoses]);
    if (notices.dataset.said === key) return;
    notices.dataset.said = key;
    const items = shown.map(({ level, text }) => {
      const className = ['info', 'careful', 'wrong'].includes(level) ? level : 'info';
      return create('li', { className, textContent: text });
    });
    notices.replaceChildren(...diagnoses.map(createDiagnosis), ...items);
  }

  /** A run of a pipeline links to its pipeline. @param {string | null} pipeline */
  function showPipelineLink(pipeline) {
    const box = query(root, '.of-several');
    box.hidden = !pipeline;
    if (pipeline) query(box, 'a', HTMLAnchorElement).href = `#journey/${encodeURIComponent(pipeline.split('/')[0])}`;
  }

  // What was asked of the run is shown until it happens, which may take as long as a step.
  listen('asked', action => {
    const { state: requestState, saved } = page.live?.now ?? {};
    request = { state: requestState, saved, text: texts.asked[action] };
    setText(field('asked'), request.text);
  });

  listen('snapshot', snapshot => {
    notes = snapshot.notes;
    setText(title, snapshot.title);
    showPipelineLink(snapshot.journey);
    showProgress(snapshot.now);
  });

  listen('news', message => {
    notes = [...notes, ...(message.notes ?? [])].slice(-MAX_NOTES);
    showProgress(message.now);
  });

  // Another run is opened, or none: what was shown is not about it.
  listen('view', ({ run }) => {
    if (!view || (run === openRun && view.dataset.phase)) return;
    openRun = run;
    view.dataset.phase = run ? 'opening' : 'none';
    setText(query(document, '[data-no-run]'), 'No run is open.');
    root.setAttribute('aria-busy', String(Boolean(run)));
    setText(title, 'Opening the run');
    setText(state, 'One moment');
    for (const name of ['step', 'left', 'saved', 'asked', 'place']) setText(field(name), '');
    bar.style.width = '0%';
    verdict.hidden = resultStep.hidden = true;
    root.dataset.severity = '';
    showPipelineLink(null);
    notes = [];
    request = undefined;
    showNotices([]);
  });

  listen('gone', problem => {
    if (!view) return;
    view.dataset.phase = 'none';
    root.setAttribute('aria-busy', 'false');
    setText(query(document, '[data-no-run]'), `${problem.text} ${problem.advice}`);
  });
}
