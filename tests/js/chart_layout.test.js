// Which series a chart shows, in which order, on which axes.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import * as layout from '../../components/chart_layout.js';
import { pixelOf } from '../../components/chart_labels.js';
import { MetricSeries } from '../../components/metric_series.js';

const series = (metric, y = [1]) => new MetricSeries(metric, { x: y.map((_, i) => i), y });
const names = all => all.map(({ metric }) => metric);

test('the chart names the order, and held-out tests come last', () => {
  const all = [series('eval/loss'), series('train/other'), series('train/ce'), series('train/loss'), series('x', [])];
  const order = layout.orderSeries(all, ['train/loss', 'train/ce', 'eval/loss']);
  assert.deepEqual(names(order), ['train/loss', 'train/ce', 'train/other', 'eval/loss']);
});

test('the total of one single reward is not drawn a second time', () => {
  const total = series('reward/mean', [0.5, 0.6]);
  const same = series('reward/short/mean', [0.5, 0.6]);
  const other = series('reward/polite/mean', [0.1, 0.2]);
  assert.deepEqual(names(layout.orderSeries([total, same], ['reward/mean'])), ['reward/short/mean']);
  assert.deepEqual(names(layout.orderSeries([total, other], ['reward/mean'])), ['reward/mean', 'reward/polite/mean']);
  assert.equal(layout.orderSeries([total, same, other], ['reward/mean']).length, 3);
});

test('colours repeat after four, and less likely ones have their own', () => {
  assert.equal(layout.seriesTint({ metric: 'a', isHeldOut: false }, 5), 'second');
  assert.equal(layout.seriesTint({ metric: 'prefer/rejected', isHeldOut: false }, 0), 'less');
  assert.equal(layout.seriesTint({ metric: 'eval/loss', isHeldOut: true }, 0), 'tested');
});

test('tiny numbers on the y axis have an exponent', () => {
  assert.equal(layout.tickFormat([{ y: [5e-6, null, 0] }]), '~e');
  assert.equal(layout.tickFormat([{ y: [5e-6] }, { y: [0.002] }]), '~g');
  assert.equal(layout.tickFormat([{ y: [0] }]), '~g');
  assert.equal(layout.tickFormat([{ y: [] }]), '~g');
});

test('values are shares only where the chart says so and all lie between 0 and 1', () => {
  assert.equal(layout.showsShares({ share: true }, [{ y: [0, null, 1] }]), true);
  assert.equal(layout.showsShares({ share: true }, [{ y: [0, 1.01] }]), false);
  assert.equal(layout.showsShares({}, [{ y: [0.5] }]), false);
});

test('a constant series lies low, and zero has a height of one', () => {
  assert.deepEqual(layout.constantRange([{ y: [4, null, 4] }], false, false), { range: [0, 5] });
  assert.deepEqual(layout.constantRange([{ y: [0] }], false, false), { range: [0, 1] });
  assert.deepEqual(layout.constantRange([{ y: [-4] }], false, false), { range: [-4, 1] });
  assert.deepEqual(layout.constantRange([{ y: [0.3] }], true, false), { range: [0, 104] });
  assert.equal(layout.constantRange([{ y: [4, 5] }], false, false), undefined);
  assert.equal(layout.constantRange([{ y: [4] }], false, true), undefined);
});

test('shares take the axis to 100 % unless all are small', () => {
  assert.deepEqual(layout.valueRange([{ y: [0.26, null] }], true, false), { range: [0, 104] });
  assert.deepEqual(layout.valueRange([{ y: [0.25] }], true, false), { autorange: true, rangemode: 'tozero' });
  assert.deepEqual(layout.valueRange([{ y: [3] }], false, true), { autorange: true, rangemode: 'normal' });
});

test('small charts say shares in two digits, large ones in three', () => {
  assert.equal(layout.formatChartValue(0.12345, true, false), '12 %');
  assert.equal(layout.formatChartValue(0.12345, true, true), '12.3 %');
  assert.equal(layout.formatChartValue(0.12345, false, true), '0.123');
  assert.equal(layout.formatChartValue(undefined, true, true), '–');
});

test('full smoothing spans a quarter of the run', () => {
  assert.equal(layout.smoothingSpan(0, 400), 0);
  assert.equal(layout.smoothingSpan(100, 400), 100);
  assert.equal(layout.smoothingSpan(50, 400), 25);
});

test('labels that overlap are pushed apart, and up again from the floor', () => {
  const labels = [
    { top: 90, height: 20 },
    { top: 88, height: 20 },
    { top: 5, height: 20 },
  ];
  layout.spreadLabels(labels, 100);
  assert.deepEqual(
    labels.map(({ top }) => top),
    [10, 70, 90],
  );
});

test('a label stays within the plot', () => {
  const axis = { _offset: 10, _length: 100, d2p: value => value * 10 };
  assert.equal(pixelOf(axis, 5), 60);
  assert.equal(pixelOf(axis, 50), 110);
  assert.equal(pixelOf(axis, -3), 10);
});

test('a small chart cannot be zoomed and a large one names its axis', () => {
  const spec = { name: 'loss', title: 'Loss', hint: '', metrics: [], log: true };
  const chart = { spec, series: [series('a', [1, 2])], isShare: false, revision: 3, constantRange: undefined };
  const screen = { width: 300, height: 200, family: 'serif', isTouch: false };
  const small = layout.plotlyLayout({ ...chart, isLarge: false, labelWidth: 0 }, screen, true, 120);
  const large = layout.plotlyLayout({ ...chart, isLarge: true, labelWidth: 60 }, screen, false, 0);
  assert.deepEqual([small.dragmode, small.yaxis.type, small.xaxis.range], [false, 'log', [0, 120]]);
  assert.deepEqual([large.dragmode, large.yaxis.type, large.xaxis.range], ['zoom', 'linear', [0, 1]]);
  assert.equal(large.xaxis.title.text, 'step');
});

test('beside a plot there is as much room as its labels need', () => {
  const measure = (/** @type {string} */ text) => 8 * text.length;
  assert.equal(layout.widthOfLabels([], measure), 0);
  // Values get longer as the run goes on: 0.00000 has seven characters.
  assert.equal(layout.widthOfLabels([{ name: 'loss', text: '0.5' }], measure), 56);
  assert.equal(layout.widthOfLabels([{ name: 'held-out', text: '0.5' }], measure), 64);
  // A long name is broken between words, at 96 pixels or at its longest word.
  assert.equal(layout.widthOfLabels([{ name: 'exactly the right answer', text: '1' }], measure), 96);
  assert.equal(layout.widthOfLabels([{ name: 'incomprehensibly', text: '1' }], measure), 128);
  const chart = { spec: { metrics: [] }, series: [], isLarge: false, isShare: false, revision: 1 };
  const marginFor = (/** @type {number} */ labelWidth) =>
    layout.plotlyLayout({ ...chart, labelWidth }, { width: 300, height: 200 }, false, 10).margin.r;
  assert.deepEqual([marginFor(0), marginFor(60)], [16, 76]);
});

test("a method's own metrics are drawn in groups, the rest alone", () => {
  const fixed = [{ name: 'loss', title: 'Loss', hint: '', metrics: ['train/loss'] }];
  const groups = [
    { name: 'sides', title: 'Sides', hint: '', metrics: ['prefer/chosen', 'prefer/rejected'] },
    { name: 'unused', title: 'Unused', hint: '', metrics: ['policy/kl'] },
  ];
  const declared = {
    'train/loss': 'training',
    'prefer/chosen': 'better',
    'eval/x': 'x',
    'reward/a/mean': 'a',
    'copy/own': 'own words',
  };
  const specs = layout.methodChartSpecs(declared, fixed, groups);
  assert.deepEqual(
    specs.map(({ name, title }) => [name, title]),
    [
      ['sides', 'Sides'],
      ['copy/own', 'Own words'],
    ],
  );
});

test('plotly reads no tags in a name', () => assert.equal(layout.escapePlotlyText('<b>x'), '‹b>x'));
