// How many steps and epochs are enough, and what follows from the number of examples.

import assert from 'node:assert/strict';
import test from 'node:test';

import {
  explainLength,
  followLength,
  scaleEpochs,
  suggestLength,
  withLength,
} from '../../components/training_length.js';

test('epochs are raised until there are about 120 steps', () => {
  assert.equal(scaleEpochs(3, 30, 120), 12);
  assert.equal(scaleEpochs(1, 0, 120), 120);
  assert.equal(scaleEpochs(1000, 1, 120), 1000);
  // 100 rows, 90 of them learned, 8 a step: 12 steps an epoch, of which 10 epochs make 120.
  const run = { rows: 100, batchSize: 8, epochs: 1, isPretrained: false };
  assert.deepEqual(suggestLength(run), { epochs: 10, batchSize: 8, isSmaller: false, steps: 120 });
  assert.equal(suggestLength({ ...run, epochs: 5 }), null);
  assert.deepEqual(suggestLength({ ...run, rows: 1 }), { epochs: 100, batchSize: 8, isSmaller: false, steps: 100 });
});

test('a model that knows its language sees a few examples ten times at most, in smaller batches', () => {
  const run = { rows: 36, batchSize: 8, epochs: 3, isPretrained: true };
  // 33 rows learned, 4 a step: 9 steps an epoch, of which 7 epochs make 63; 8 a step made 50 in 10 epochs.
  assert.deepEqual(suggestLength(run), { epochs: 7, batchSize: 4, isSmaller: true, steps: 63 });
  assert.deepEqual(suggestLength({ ...run, rows: 3 }), { epochs: 10, batchSize: 2, isSmaller: true, steps: 20 });
  assert.deepEqual(suggestLength({ ...run, rows: 100 }), { epochs: 5, batchSize: 8, isSmaller: false, steps: 60 });
  assert.equal(suggestLength({ ...run, rows: 500 }), null);
});

test('a length that nobody changed follows the model, and one that a person chose stays', () => {
  const run = { rows: 36, batchSize: 8, epochs: 5 };
  const [practice, real] = [false, true].map(isPretrained => suggestLength({ ...run, isPretrained }));
  const knobs = { learning_rate: 1 };
  const [before, after] = [withLength(knobs, practice), withLength(knobs, real)];
  assert.deepEqual(before, { learning_rate: 1, epochs: 24 });
  const untouched = { ...before };
  followLength(untouched, before, after);
  assert.deepEqual(untouched, { learning_rate: 1, epochs: 7, batch_size: 4 });
  followLength(untouched, after, knobs);
  assert.deepEqual(untouched, knobs);
  const chosen = { ...before, epochs: 20 };
  followLength(chosen, before, after);
  assert.deepEqual(chosen, { learning_rate: 1, epochs: 20 });
  assert.match(explainLength('epochs', after, real, 36), /36 examples: each is seen 7 times, in about 63 steps/);
  assert.match(explainLength('batch_size', after, real, 36), /small batches/);
  assert.equal(explainLength('batch_size', before, practice, 36), '');
  assert.equal(explainLength('epochs', chosen, practice, 36), '');
});
