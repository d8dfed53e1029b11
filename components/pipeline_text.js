// A pipeline's stages and comparison in words.

import { formatMinutes } from './format.js';

/** @typedef {import('./types.d.ts').Pipeline} Pipeline */
/** @typedef {import('./types.d.ts').Stage} Stage */

const BACKGROUND = 'One after the other, by itself. Closing this page does not stop it.';

/** 3 lessons, 1 lesson @param {number} count @param {string} noun */
const formatCount = (count, noun) => `${count.toLocaleString('en')} ${noun}${count === 1 ? '' : 's'}`;

/** What it takes, or since when it runs. @param {Pipeline} pipeline */
export function describeEffort({ phase, stages, minutes, needs, when }) {
  if (phase !== 'new') return `Begun ${when}.${phase === 'finished' ? '' : ` ${BACKGROUND}`}`;
  const duration = minutes ? [`about ${formatCount(minutes, 'minute')}`] : [];
  const parts = [formatCount(stages.length, 'lesson'), ...duration, needs.replace(/^./, first => first.toLowerCase())];
  return `${parts.join(' · ')}. ${BACKGROUND}`;
}

/** How far a stage is, or what came of it and how long it took. @param {Stage} stage */
export function describeStage({ alive, state, step, of: total, result, seconds, seconds_left: left }) {
  if (alive) {
    const progress = total ? `step ${step.toLocaleString('en')} of ${total.toLocaleString('en')}` : '';
    return [progress, typeof left === 'number' ? `${formatMinutes(left)} left` : ''].filter(Boolean).join(' · ');
  }
  const outcome = result?.includes('→') ? `its own test ${result}` : result === state ? '' : result;
  return [outcome, seconds ? `in ${formatMinutes(seconds)}` : ''].filter(Boolean).join(' · ');
}

/** What the results are, or will be, compared by. @param {Pick<Pipeline, 'table' | 'prompts' | 'measures'>} pipeline */
export function describeComparison({ table, prompts, measures }) {
  if (table) return `Every result answered the same ${formatCount(table.prompts, 'question')}.`;
  const names = measures.map(({ title, kind }) =>
    kind && kind !== title.toLowerCase() ? `“${title}” (${kind})` : `“${title}”`,
  );
  const questions = formatCount(prompts, 'question');
  return `After the last lesson every result is asked the same ${questions}. Compared is ${names.join(' and ')}.`;
}

/**
 * Which of its buttons a pipeline has; the remove button waits while its removal is being confirmed.
 * @param {Pipeline} pipeline
 * @param {boolean} isConfirming
 */
export function visibleActions({ phase, stages }, isConfirming) {
  const isTraining = stages.some(({ alive }) => alive);
  return {
    start: phase === 'new',
    go_on: phase === 'waiting',
    stop: phase === 'running' && isTraining,
    forget: ['waiting', 'finished'].includes(phase) && !isTraining && !isConfirming,
  };
}
