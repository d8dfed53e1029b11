// Numbers, durations, sizes and lists in words.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import * as format from '../../components/format.js';

test('counts have a plural, and thousands a comma', () => {
  assert.equal(format.formatCount(1, 'example'), '1 example');
  assert.equal(format.formatCount(0, 'example'), '0 examples');
  assert.equal(format.formatCount(12345, 'row'), '12,345 rows');
});

test('exact numbers keep twelve digits and group from ten thousand on', () => {
  assert.equal(format.formatExact(0.00002), '0.00002');
  assert.equal(format.formatExact(0.000005), '0.000005');
  assert.equal(format.formatExact(1e-8), '1e-8');
  assert.equal(format.formatExact(-1.5e-12), '-1.5e-12');
  assert.equal(format.formatExact(0), '0');
  assert.equal(format.formatExact(9999), '9999');
  assert.equal(format.formatExact(10000), '10,000');
  assert.equal(format.formatExact(0.1 + 0.2), '0.3');
  assert.equal(format.formatWithUnit(0.5, 'GB'), '0.5 GB');
});

test('a metric has three significant digits, and an exponent where it is tiny', () => {
  assert.equal(format.formatMetric(undefined), '–');
  assert.equal(format.formatMetric(0), '0');
  assert.equal(format.formatMetric(1.23456), '1.23');
  assert.equal(format.formatMetric(12345.6), '12,346');
  assert.equal(format.formatMetric(0.0000123), '1.23e-5');
});

test('a range of times is rounded, in the units that suit it', () => {
  assert.equal(format.formatTimeRange(0.2, 20), '1 to 20 s');
  assert.equal(format.formatTimeRange(40, 130), '40 s to 2.2 min');
  assert.equal(format.formatTimeRange(181, 494), '3 to 8.2 min');
  assert.equal(format.formatTimeRange(600, 620), 'about 10 min');
  assert.equal(format.formatTimeRange(1800, 9000), '30 min to 2.5 h');
  assert.equal(format.formatTimeRange(9000, 200000), '2.5 to 56 h');
});

test('sizes are rounded up to a kilobyte, then to a tenth', () => {
  assert.equal(format.formatBytes(0), '0 kB');
  assert.equal(format.formatBytes(1), '1 kB');
  assert.equal(format.formatBytes(3_100_000), '3.1 MB');
  assert.equal(format.formatBytes(41e9), '41.0 GB');
});

test('durations change their unit at ninety seconds and at ninety minutes', () => {
  assert.equal(format.formatDuration(14.2), '14 s');
  assert.equal(format.formatDuration(89.4), '89 s');
  assert.equal(format.formatDuration(150), '3 min');
  assert.equal(format.formatDuration(5400), '1 h 30 min');
  assert.equal(format.formatDuration(7500), '2 h 5 min');
});

test('a stage takes at least a second, and never hours', () => {
  assert.equal(format.formatMinutes(0.2), '1 s');
  assert.equal(format.formatMinutes(9000), '150 min');
});

test('an estimate is in seconds, minutes or hours', () => {
  assert.equal(format.formatEstimate(0.1), 'about 1 s');
  assert.equal(format.formatEstimate(600), 'about 10 minutes');
  assert.equal(format.formatEstimate(9000), 'about 2.5 hours');
});

test('a list of many names counts the rest', () => {
  assert.equal(format.formatList([]), '');
  assert.equal(format.formatList(['a']), 'a');
  assert.equal(format.formatList(['a', 'b', 'c']), 'a, b and c');
  const names = Array.from({ length: 14 }, (_, i) => `n${i}`);
  assert.equal(format.formatList(names), 'n0, n1, n2, n3, n4, n5, n6, n7, n8, n9, n10, n11 and 2 more');
});

test('choices are spelled as the field spells them', () => {
  assert.equal(format.formatChoice('ipo'), 'IPO');
  assert.equal(format.formatChoice('sppo_hard'), 'SPPO hard');
  assert.equal(format.formatChoice('adamw'), 'AdamW');
  assert.equal(format.formatChoice('cosine_with_restarts'), 'Cosine with restarts');
});

test('a date is written the same everywhere', () => {
  assert.equal(format.formatDate(new Date(2026, 8, 1, 5, 7).getTime() / 1000), '1 Sep 2026, 05:07');
});

test('a unit is written for one and for many', () => {
  assert.equal(format.formatWithUnit(1, 'passes'), '1 pass');
  assert.equal(format.formatWithUnit(1, 'examples'), '1 example');
  assert.equal(format.formatWithUnit(1, 'GB'), '1 GB');
  assert.equal(format.formatWithUnit(2, 'passes'), '2 passes');
  assert.equal(format.formatWithUnit(1), '1');
});
