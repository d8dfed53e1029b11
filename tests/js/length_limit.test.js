// The histogram of lengths, and what a maximum length cuts off.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { countCut, describeCut, fillBins, histogramReach, roundBins } from '../../components/length_limit.js';

const lengths = {
  counts: [
    [20, 40],
    [40, 10],
    [120, 3],
    [130, 1],
  ],
  needed: [
    [10, 50],
    [110, 4],
  ],
  total: 1690,
  maximum: 100,
  limit: 100,
  longest: 130,
  median: 20,
  p99: 40,
};

test('bars have a round width, and at most forty of them reach the end', () => {
  assert.deepEqual(roundBins(40), [40, 1]);
  assert.deepEqual(roundBins(41), [42, 2]);
  assert.deepEqual(roundBins(100), [100, 5]);
  assert.deepEqual(roundBins(7900), [8000, 200]);
});

test('outliers share the last bar', () => {
  assert.equal(histogramReach(lengths), 120);
  assert.equal(histogramReach({ ...lengths, p99: 1, median: 1, longest: 1, maximum: null }), 2);
  assert.deepEqual(
    fillBins(
      [
        [5, 1],
        [6, 2],
        [15, 4],
        [900, 8],
      ],
      15,
      5,
    ),
    [1, 2, 12],
  );
});

test('what is cut is counted by example and by token', () => {
  assert.deepEqual(countCut(lengths, 100), { examples: 4, tokens: 3 * 20 + 30, untrained: 4 });
  assert.deepEqual(countCut(lengths, 130), { examples: 0, tokens: 0, untrained: 0 });
});

test('the sentence about a cut says how many lose how much', () => {
  const sentence = describeCut(lengths, 100);
  const lost = 'At 100 tokens, 4 examples of 54 lose their end: 90 tokens, 5.3 % of all.';
  assert.equal(sentence, `${lost} 4 have nothing left to learn.`);
  assert.equal(describeCut(lengths, 500), 'At 500 tokens nothing is cut off.');
  assert.match(
    describeCut({ ...lengths, total: 1e6 }, 125),
    /^At 125 tokens, 1 example of 54 loses its end: 5 tokens, less than 0.1 %/,
  );
});
