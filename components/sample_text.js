// Samples in words, and which of them belong together.

import { formatRounded } from './format.js';

/** @typedef {import('./types.d.ts').SampleRow} SampleRow */
/** @typedef {import('./types.d.ts').SampleStep} SampleStep */

/**
 * An attempt of reinforcement learning; without an advantage it is the answer to a question that is asked at every
 * test.
 * @param {SampleRow} row
 */
export const isAttempt = row => row.advantage !== undefined;

/** @param {number} step */
export const stepName = step => (step ? `step ${step.toLocaleString('en')}` : 'before the first step');

/**
 * The samples of one step belong together: the questions of every test, and attempts of training.
 * @param {SampleStep[]} samples by rising step
 * @returns {{step: number, seqs: number[]}[]}
 */
export function groupSampleSteps(samples) {
  /** @type {{step: number, seqs: number[]}[]} */
  const groups = [];
  for (const { step, seq } of samples) {
    const last = groups.at(-1);
    if (last?.step === step) last.seqs.push(seq);
    else groups.push({ step, seqs: [seq] });
  }
  return groups;
}

/**
 * Rows by a key, in the order in which keys first occur.
 * @template Row
 * @param {Row[]} rows
 * @param {(row: Row) => string} keyOf
 */
export function groupBy(rows, keyOf) {
  /** @type {Map<string, Row[]>} */
  const groups = new Map();
  for (const row of rows) groups.set(keyOf(row), [...(groups.get(keyOf(row)) ?? []), row]);
  return groups;
}

/** 1 and 0 are yes and no; anything else is a number. @param {string} title @param {number} value */
export function describeReward(title, value) {
  return value === 1 ? title : `${title}: ${value === 0 ? 'no' : formatRounded(value)}`;
}

/** @param {number} advantage @param {string} others what it is compared with */
export function describeAdvantage(advantage, others) {
  const comparison = advantage > 0 ? 'better than' : advantage < 0 ? 'worse than' : 'as good as';
  return { text: `${comparison} ${others}`, title: `advantage ${advantage > 0 ? '+' : ''}${formatRounded(advantage)}` };
}
