// Growing, truncating, downsampling and smoothing of a metric's points.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { bucketWidth, MetricSeries } from '../../components/metric_series.js';

const series = (x, y) => new MetricSeries('train/loss', { x, y });

test('points are appended in the order of steps', () => {
  const loss = series([1, 2], [3, 2]);
  loss.append([3, 4], [1, null]);
  assert.deepEqual(loss.x, [1, 2, 3, 4]);
  assert.deepEqual(loss.y, [3, 2, 1, null]);
  assert.equal(loss.latest, 1);
});

test('a step that is told again replaces what came from there on', () => {
  const loss = series([1, 2, 3], [30, 20, 10]);
  loss.drawnCount = 3;
  loss.append([2], [25]);
  assert.deepEqual(loss.x, [1, 2]);
  assert.deepEqual(loss.y, [30, 25]);
  assert.equal(loss.drawnCount, 0);
  loss.append([2, 3], [24, 11]);
  assert.deepEqual(
    [loss.x, loss.y],
    [
      [1, 2, 3],
      [30, 24, 11],
    ],
  );
});

test('truncating keeps the last step itself, and touches nothing where nothing is later', () => {
  const loss = series([1, 2, 3], [3, 2, 1]);
  loss.drawnCount = 3;
  loss.truncate(3);
  assert.equal(loss.drawnCount, 3);
  loss.truncate(2);
  assert.deepEqual(loss.x, [1, 2]);
});

test('evaluations are told from training by their name', () => {
  assert.equal(series([], []).isHeldOut, false);
  assert.equal(new MetricSeries('eval/loss', { x: [], y: [] }).isHeldOut, true);
  assert.equal(new MetricSeries('train/loss', { x: [], y: [], tested: true }).isHeldOut, true);
});

test('a bucket is the smallest power of two that leaves 700 buckets', () => {
  assert.equal(bucketWidth(1, 700), 1);
  assert.equal(bucketWidth(0, 700), 2);
  assert.equal(bucketWidth(1, 2001), 4);
  assert.equal(bucketWidth(100_000, 100_100), 1);
});

test('downsampling keeps spikes, both ends and the mean of each bucket', () => {
  const steps = Array.from({ length: 2001 }, (_, i) => i + 1);
  const loss = series([], []);
  loss.append(
    steps,
    steps.map(step => (step === 1000 ? 100 : step === 1001 ? -100 : 1)),
  );
  assert.equal(loss.x[0], 1);
  assert.equal(loss.x.at(-1), 2001);
  assert.ok(loss.y.includes(100) && loss.y.includes(-100));
  assert.ok(loss.x.length <= 2 * 501 + 2);
  const spike = loss.x.indexOf(1000); // its bucket holds the steps 1000 to 1003: (100 - 100 + 1 + 1) / 4
  assert.equal(loss.mean[spike], 0.5);
});

test('a gap stays a gap when everything in its bucket is one', () => {
  const steps = Array.from({ length: 2001 }, (_, i) => i);
  const loss = series(
    steps,
    steps.map(step => (step < 8 ? null : 1)),
  );
  loss.downsample();
  assert.equal(loss.y[0], null);
  assert.equal(loss.mean[0], null);
  assert.equal(loss.mean.at(-1), 1);
});

test('a smoothed value forgets by 1/e over the span', () => {
  const loss = series([0, 10], [1, 2]);
  const decay = Math.exp(-1);
  assert.deepEqual(loss.smooth(10), [1, (1 * decay + 2) / (decay + 1)]);
});

test('smoothing goes on where points were added, and leaves gaps', () => {
  const loss = series([0], [4]);
  loss.smooth(5);
  loss.append([5, 10], [null, 4]);
  assert.deepEqual(loss.smooth(5), [4, null, 4]);
});
