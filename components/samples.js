// The samples of the open run, one step at a time. Prompts and completions are strangers' text and only set as text.

import { createText, query } from './dom.js';
import { listen } from './page_events.js';
import { describeAdvantage, describeReward, groupBy, groupSampleSteps, isAttempt, stepName } from './sample_text.js';

/** @typedef {import('./types.d.ts').SampleRow} SampleRow */
/** @typedef {import('./types.d.ts').SampleStep} SampleStep */
/** @typedef {{step: number, seqs: number[]}} Stop the samples of one step */

/** @param {import('./types.d.ts').MountContext} context */
export function mount({ element }) {
  const navigation = query(element, '.answers-way');
  const range = query(element, 'input', HTMLInputElement);
  const output = query(element, 'output');
  const list = query(element, '.answers-said');
  const placeholder = query(list, '.soon');
  const backButton = query(element, '[data-way=back]', HTMLButtonElement);
  const nextButton = query(element, '[data-way=on]', HTMLButtonElement);
  let run = '';
  /** @type {SampleStep[]} */
  let sampleSteps = [];
  /** @type {Stop[]} */
  let stops = [];
  let position = 0; // among the stops
  let followsLatest = true;
  let drawCount = 0; // a drawing that was overtaken by a later one is dropped
  /** @type {Map<number, Promise<SampleRow[]>>} */
  let fetched = new Map();
  /** @type {Record<string, string>} */
  let metricNames = {};

  /** @param {number} target */
  function moveTo(target) {
    position = Math.min(Math.max(target, 0), stops.length - 1);
    followsLatest = position === stops.length - 1;
    show();
  }

  /** @param {SampleStep[]} steps */
  function setSteps(steps) {
    sampleSteps = steps;
    stops = groupSampleSteps(steps);
    moveTo(followsLatest ? stops.length - 1 : position);
  }

  async function show() {
    const thisDraw = ++drawCount;
    const stop = stops[position];
    navigation.hidden = stops.length < 2;
    if (!stop) return list.replaceChildren(placeholder);
    range.max = String(stops.length - 1);
    range.value = String(position);
    output.textContent = stepName(stop.step);
    range.setAttribute('aria-valuetext', stepName(stop.step));
    backButton.disabled = position === 0;
    nextButton.disabled = followsLatest;
    const [firstRows, rows] = await Promise.all([fetchStop(stops[0]), fetchStop(stop)]);
    if (thisDraw === drawCount && rows.length) draw(position ? firstRows : [], rows, stop.step);
  }

  /** @param {Stop} stop */
  async function fetchStop(stop) {
    const rows = (await Promise.all(stop.seqs.map(fetchSample))).flat();
    return rows.sort((first, second) => Number(isAttempt(first)) - Number(isAttempt(second)));
  }

  /** A sample never changes, so each is fetched once. @param {number} seq */
  function fetchSample(seq) {
    const pending =
      fetched.get(seq) ??
      requestSample(run, seq).catch(() => {
        fetched.delete(seq);
        return [];
      });
    fetched.set(seq, pending);
    return pending;
  }

  /** @param {SampleRow[]} firstRows @param {SampleRow[]} rows @param {number} step */
  function draw(firstRows, rows, step) {
    const before = new Map(firstRows.filter(row => !isAttempt(row)).map(row => [row.prompt, row]));
    const groups = [...groupBy(rows, row => row.prompt)].map(([prompt, completions]) => {
      const pair = createText('div', 'pair');
      // What a model scores was given to it: it was the same before.
      const isWritten = !isAttempt(completions[0]) && !completions[0].given;
      const earlier = before.get(prompt);
      if (earlier && isWritten) pair.append(createCompletion('before', { ...earlier, wanted: '', rewards: {} }));
      for (const equal of groupBy(completions, row =>
        JSON.stringify([row.completion, row.rewards, row.advantage]),
      ).values()) {
        const attempts = equal.length > 1 ? `${equal.length} tries` : 'a try';
        pair.append(createCompletion(isAttempt(equal[0]) ? attempts : stepName(step), equal[0], step));
      }
      const group = createText('div', 'answer');
      group.append(createText('p', 'asked', prompt), pair);
      return group;
    });
    list.replaceChildren(...groups);
  }

  /** @param {string} title @param {SampleRow} row @param {number} [step] 0 for the untouched model */
  function createCompletion(title, row, step = 0) {
    const block = createText('div', step ? 'said now' : 'said');
    const text = createText('p', row.completion ? '' : 'nothing');
    if (row.goes_on) text.append(createText('span', 'begun', row.prompt));
    text.append(row.completion || '(nothing)');
    block.append(createText('small', '', title), text);
    if (row.wanted) block.append(createText('small', '', `wanted: ${row.wanted}`));
    const scores = createScores(row);
    if (scores.length) {
      const earned = createText('ul', 'earned');
      earned.append(...scores);
      block.append(earned);
    }
    return block;
  }

  /** @param {SampleRow} row */
  function createScores(row) {
    const rewards = Object.entries(row.rewards ?? {}).flatMap(([name, value]) => {
      if (value === null) return [];
      const title = metricNames[`reward/${name}/mean`] ?? name.replaceAll('_', ' ');
      return [createText('li', value > 0 ? 'good' : '', describeReward(title, value))];
    });
    if (typeof row.advantage !== 'number') return rewards;
    const comparison = describeAdvantage(row.advantage, row.against ?? 'its other tries');
    const item = createText('li', '', comparison.text);
    item.title = comparison.title;
    return [...rewards, item];
  }

  backButton.addEventListener('click', () => moveTo(position - 1));
  nextButton.addEventListener('click', () => moveTo(position + 1));
  range.addEventListener('input', () => moveTo(Number(range.value)));

  listen('snapshot', snapshot => {
    if (snapshot.run !== run) {
      run = snapshot.run;
      fetched = new Map();
      followsLatest = true;
    }
    metricNames = snapshot.names;
    setSteps(snapshot.samples);
  });

  listen('news', ({ from_step: resumedFrom, samples }) => {
    if (resumedFrom === undefined && !samples) return;
    const earlierSteps = sampleSteps.filter(({ step }) => step <= (resumedFrom ?? Infinity));
    setSteps([...earlierSteps, ...(samples ?? [])]);
  });

  listen('gone', () => setSteps([]));
}

/** @param {string} run @param {number} seq @returns {Promise<SampleRow[]>} */
async function requestSample(run, seq) {
  const response = await fetch(`live/sample?${new URLSearchParams({ run, seq: String(seq) })}`);
  if (!response.ok) throw new Error(String(response.status));
  const { rows, goes_on } = await response.json();
  return rows.map((/** @type {SampleRow} */ row) => ({ ...row, goes_on }));
}
