// What the plan card says.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import * as planText from '../../components/plan_text.js';

const plan = {
  rows: 480,
  held_out: 48,
  left_out: { 'empty answer': 2 },
  tokens: { all: 61000, trained: 23180 },
  truncated: 1,
  steps: 120,
  effective_batch: 16,
  seconds: 50,
};
const message = { setup: { knobs: {} }, way: 'learned', noun: 'example' };

test('a plan says what is learned, in how many steps and how long', () => {
  const { lines, brief, hasFewSteps } = planText.describePlan(plan, message);
  assert.deepEqual(lines.Examples, {
    text: '480 examples',
    note: 'of 530 in all; 48 more kept aside for the test; 2 left out: empty answer',
  });
  assert.deepEqual(lines.Learned, { text: '38 % of 61,000 tokens', note: '1 example loses the end' });
  assert.deepEqual(lines.Steps, { text: '120 steps', note: '16 at a time (effective batch)' });
  assert.deepEqual(lines.Time, { text: 'about 50 s', note: 'on this machine' });
  assert.equal(brief, '480 examples · 120 steps · about 50 s');
  assert.equal(hasFewSteps, false);
});

const STORY = { noun: 'example', model: 'the practice model', passes: 5, way: 'learned' };

test('a plan is told in a short story', () => {
  assert.deepEqual(planText.tellStory({ ...plan, evaluation_seconds: 5 }, STORY), [
    '5 passes over 480 examples with the practice model, about 50 s here.',
    '48 are kept aside to see whether it learned.',
    'Most of the time, 90 %, goes into the 120 steps: 61,000 tokens a pass.',
  ]);
  const tests = planText.tellStory({ ...plan, evaluation_seconds: 40 }, STORY)[2];
  assert.equal(tests, 'Most of the time, 80 %, goes into the tests and answers on the way.');
});

test('the plan says whether it fits into memory and what takes most of it', () => {
  const parts = [
    { title: 'The model', term: 'weights', bytes: 4e9, at_peak: true },
    { title: 'What was read', term: 'activations', bytes: 9e9, at_peak: true },
    { title: 'The cache', term: 'KV cache', bytes: 12e9, at_peak: false },
  ];
  const memory = { parts, low: 12e9, high: 15.5e9, free_bytes: 24e9, fits: 'yes' };
  assert.deepEqual(planText.describeMemory(memory), {
    status: '',
    text: 'It fits: 12.0 GB to 15.5 GB of 24.0 GB free; the largest part: what was read (activations).',
  });
  assert.equal(planText.describeMemory({ ...memory, fits: 'tight' }).status, 'careful');
  assert.match(planText.describeMemory({ ...memory, fits: 'no' }).text, /^It does not fit: 12.0 GB to/);
  assert.match(
    planText.describeMemory({ ...memory, low: 778.6e6, high: 1.02e9 }).text,
    /^It fits: 780 MB to 1.0 GB of/,
  );
  assert.equal(planText.describeMemory(null), null);
  assert.equal(planText.describeMemory(undefined), null);
});

test('a story tells steps where these were set, tries where there are no answers, and no time that nobody knows', () => {
  const unknown = { ...plan, rows: 1, held_out: 0, seconds: null, evaluation_seconds: null };
  assert.deepEqual(planText.tellStory(unknown, { ...STORY, passes: null, noun: 'question', way: 'asked' }), [
    '120 steps of trying 1 question with the practice model.',
    'None is kept aside, so nothing tells learning from remembering.',
  ]);
  const [streamed, aside] = planText.tellStory({ ...unknown, rows: null, held_out: 1 }, { ...STORY, passes: 1 });
  assert.equal(streamed, '1 pass over examples that are read on the way with the practice model.');
  assert.equal(aside, '1 is kept aside to see whether it learned.');
});

test('a preset does not warn of its own few steps', () => {
  const shortPlan = { rows: 400, held_out: 0, tokens: null, truncated: 0, steps: 38, effective_batch: 16, seconds: 60 };
  const untouched = { setup: { knobs: {} }, way: 'learned', noun: 'example' };
  assert.equal(planText.describePlan(shortPlan, { ...untouched, isPresetLength: true }).hasFewSteps, false);
  assert.equal(planText.describePlan(shortPlan, { ...untouched, isPresetLength: false }).hasFewSteps, true);
});

test('too few steps are said, unless the person set them or the model writes the answers', () => {
  assert.equal(planText.hasTooFewSteps({ steps: 59 }, { knobs: {} }, 'learned'), true);
  assert.equal(planText.hasTooFewSteps({ steps: 60 }, { knobs: {} }, 'learned'), false);
  assert.equal(planText.hasTooFewSteps({ steps: 59 }, { knobs: { steps: 59 } }, 'learned'), false);
  assert.equal(planText.hasTooFewSteps({ steps: 59 }, { knobs: {} }, 'asked'), false);
});

test('rows and time that nobody knows are not made up', () => {
  const unknown = { ...plan, rows: null, tokens: null, steps: 0, seconds: null, seconds_why: 'No run has shown it.' };
  const { lines, brief } = planText.describePlan(unknown, message);
  assert.deepEqual(
    [lines.Examples.text, lines.Learned.text, lines.Steps.text],
    ['Read while training', 'Whatever it writes', 'Until it is stopped'],
  );
  assert.deepEqual(lines.Time, { text: 'Not known yet', note: 'No run has shown it.' });
  assert.equal(brief, 'Read while training · Until it is stopped');
  const reckoned = planText.describePlan({ ...unknown, seconds_range: { low: 180, high: 480 } }, message);
  assert.deepEqual(reckoned.lines.Time, {
    text: '3 to 8 min',
    note: 'Reckoned from the sizes. A rehearsal measures it.',
  });
  assert.match(reckoned.story[0], /, 3 to 8 min here\.$/);
});

test('changes of the preset are counted', () => {
  assert.equal(planText.describeChanges(0), 'Nothing: as the preset has it');
  assert.equal(planText.describeChanges(1), '1 setting differs from the preset ');
  assert.equal(planText.describeChanges(2), '2 settings differ from the preset ');
});
