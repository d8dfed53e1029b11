// A run's progress in words, and which buttons it allows.

/** @typedef {import('./types.d.ts').RunProgress} RunProgress */

const ENDED = ['new', 'finished', 'stopped', 'failed', 'lost']; // states without further progress

/** @param {Pick<RunProgress, 'state'>} now */
export const hasEnded = now => ENDED.includes(now.state);

/** How many runs are before it in the queue. @param {Pick<RunProgress, 'ahead'>} now */
export function describeQueue({ ahead }) {
  if (ahead === undefined) return '';
  return ahead === 1 ? '1 run is ahead' : `${ahead.toLocaleString('en')} runs are ahead`;
}

/**
 * What a run does or did; a finished run with a diagnosis is not called just finished.
 * @param {Pick<RunProgress, 'state' | 'adapter' | 'saved' | 'diagnoses'>} now
 * @param {{states: Record<string, string>, unlearned: string, doubtful: string}} texts
 */
export function describeState({ state, adapter, saved, diagnoses }, texts) {
  if (state === 'stopped' && !adapter && saved === undefined) return texts.unlearned;
  if (state === 'finished' && diagnoses?.length) return texts.doubtful.replace('{title}', diagnoses[0].title);
  return texts.states[state] ?? state;
}

/**
 * Which buttons there are: running, stopping, finished, stopped (with a result), resumable, or ended with nothing to go
 * on from.
 * @param {Pick<RunProgress, 'state' | 'alive' | 'saved' | 'adapter'>} now
 */
export function buttonPhase({ state, alive, saved, adapter }) {
  if (alive) return state === 'stopping' || state === 'saving' ? 'stopping' : 'running';
  if (state === 'finished') return 'finished';
  if (saved === undefined) return 'ended';
  return adapter ? 'stopped' : 'resumable';
}

/**
 * Why a run ended badly, unless a diagnosis says it, and whether it can be resumed.
 * @param {Pick<RunProgress, 'state' | 'saved' | 'failed' | 'diagnoses'>} now
 * @param {{lost: string, resumable: string, nothing: string}} texts
 * @returns {import('./types.d.ts').RunNote[]}
 */
export function describeTrouble({ state, saved, failed, diagnoses = [] }, texts) {
  const resume = saved === undefined ? texts.nothing : texts.resumable.replace('{step}', saved.toLocaleString('en'));
  const reason = [failed?.text, failed?.advice].filter(Boolean).join(' ');
  if (state !== 'failed' && state !== 'lost') return [];
  const isSaid = diagnoses.some(({ text }) => text === failed?.text);
  return [
    ...(isSaid ? [] : [{ level: 'wrong', text: state === 'failed' ? reason : texts.lost }]),
    { level: 'info', text: resume },
  ];
}
