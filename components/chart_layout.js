// What a chart shows and where: the order, colours, axes and labels of its series, computed without a browser.

import { formatMetric } from './format.js';

/** @typedef {import('./metric_series.js').MetricSeries} MetricSeries */
/** @typedef {import('./types.d.ts').ChartSpec} ChartSpec */

const TINTS = ['first', 'second', 'third', 'fourth'];
const HELD_OUT_RANK = 1000;
const UNNAMED_RANK = 500;
const MAX_NAME_WIDTH = 96; // pixels on one line; a longer name is broken
const WIDEST_VALUE = '0.00000'; // values get longer as a run goes on, and the chart should not shift then
const LABEL_SPACE = 16; // pixels around a label
const EMPTY_MARGIN = 16;

/**
 * The series that have points: as the chart names its metrics, then those of held-out tests. Where one reward is all
 * that is earned, the total would be the same curve again and is left out.
 * @param {MetricSeries[]} series
 * @param {string[]} metrics
 */
export function orderSeries(series, metrics) {
  const rank = (/** @type {MetricSeries} */ { isHeldOut, metric }) =>
    (isHeldOut ? HELD_OUT_RANK : 0) + (metrics.indexOf(metric) + 1 || UNNAMED_RANK);
  const ordered = series.filter(({ x }) => x.length).sort((first, second) => rank(first) - rank(second));
  const rewards = ordered.filter(({ metric }) => /^reward\/.+\/mean$/.test(metric));
  const total = ordered.find(({ metric }) => metric === 'reward/mean');
  const isRepeated = total && rewards.length === 1 && hasSameValues(rewards[0], total);
  return isRepeated ? ordered.filter(candidate => candidate !== total) : ordered;
}

/** @param {MetricSeries} first @param {MetricSeries} second */
const hasSameValues = (first, second) =>
  first.y.length === second.y.length && first.y.every((value, i) => value === second.y[i]);

/**
 * The name of a series' colour. Held-out tests look alike in every chart; what is made less likely looks as it does
 * among the examples.
 * @param {{isHeldOut: boolean, metric: string}} series
 * @param {number} index
 */
export function seriesTint({ isHeldOut, metric }, index) {
  if (isHeldOut) return 'tested';
  return /rejected|lowest/.test(metric) ? 'less' : TINTS[index % TINTS.length];
}

/**
 * Whether values are shown in percent: where the chart's metrics may be shares, and all values are between 0 and 1.
 * @param {{share?: boolean}} spec
 * @param {{y: (number | null)[]}[]} series
 */
export function showsShares(spec, series) {
  const isShare = (/** @type {number | null} */ value) => value === null || (value >= 0 && value <= 1);
  return Boolean(spec.share) && series.every(({ y }) => y.every(isShare));
}

/**
 * The y axis of series that never change, which then lie low in the chart and not in the middle of a range that plotly
 * makes up. Undefined where plotly's own range is right.
 * @param {{y: (number | null)[]}[]} series
 * @param {boolean} isShare
 * @param {boolean} isLogScale
 * @returns {{range: [number, number]} | undefined}
 */
export function constantRange(series, isShare, isLogScale) {
  const values = new Set(series.flatMap(({ y }) => y).filter(value => value !== null));
  if (values.size !== 1 || isLogScale) return undefined;
  return { range: isShare ? [0, 104] : [Math.min(0, ...values), Math.max(0, ...values) * 1.25 || 1] };
}

/**
 * The y axis' range: of shares the whole from 0 to 100 % unless all are small, else what plotly finds, from zero on.
 * @param {{y: (number | null)[]}[]} series
 * @param {boolean} isShare
 * @param {boolean} isLog
 */
export function valueRange(series, isShare, isLog) {
  const highest = Math.max(...series.flatMap(({ y }) => y).map(Number));
  if (isShare && highest > 0.25) return { range: [0, 104] };
  return { autorange: true, rangemode: isLog ? 'normal' : 'tozero' };
}

/**
 * How numbers on the y axis are written: tiny ones, such as a learning rate of 5e-6, with an exponent.
 * @param {{y: (number | null)[]}[]} series
 */
export function tickFormat(series) {
  const highest = Math.max(...series.flatMap(({ y }) => y).map(value => Math.abs(Number(value))));
  return highest > 0 && highest < 1e-3 ? '~e' : '~g';
}

/**
 * A value in words, in percent where the chart shows shares. Small charts have room for two digits.
 * @param {number | null | undefined} value
 * @param {boolean} isShare
 * @param {boolean} isLarge
 */
export function formatChartValue(value, isShare, isLarge) {
  if (isShare && typeof value === 'number') return `${Number((value * 100).toPrecision(isLarge ? 3 : 2))} %`;
  return formatMetric(value ?? undefined);
}

/** Plotly reads a few tags in names. @param {string} text */
export const escapePlotlyText = text => text.replaceAll('<', '‹');

/**
 * A smoothing span in steps: up to a quarter of the run, and finer at the lower end of the control.
 * @param {number} percent of the control
 * @param {number} totalSteps
 */
export const smoothingSpan = (percent, totalSteps) => (percent / 100) ** 2 * 0.25 * Math.max(totalSteps, 1);

/**
 * Moves labels apart that would lie on one another: from the top down each is pushed below the one above; if the last
 * one then lies too low, all are pushed up again from there. Changes `top`, the middle of each label, in place, and
 * their order.
 * @param {{top: number, height: number}[]} labels
 * @param {number} floor
 */
export function spreadLabels(labels, floor) {
  labels.sort((a, b) => a.top - b.top);
  if (labels.length) labels[0].top = Math.max(labels[0].top, labels[0].height / 2);
  const distance = (/** @type {number} */ i) => (labels[i - 1].height + labels[i].height) / 2;
  for (let i = 1; i < labels.length; i++) {
    labels[i].top = Math.max(labels[i].top, labels[i - 1].top + distance(i));
  }
  for (let i = labels.length - 1; i >= 0; i--) {
    const isLast = i + 1 === labels.length;
    const limit = isLast ? floor - labels[i].height / 2 : labels[i + 1].top - distance(i + 1);
    labels[i].top = Math.min(labels[i].top, limit);
  }
}

/**
 * How wide the labels at the ends of the series are: a value stands on one line, a long name is broken between words.
 * @param {{name: string, text: string}[]} ends
 * @param {(text: string) => number} measure pixels that a text takes
 */
export function widthOfLabels(ends, measure) {
  const ofName = (/** @type {string} */ name) =>
    Math.max(Math.min(measure(name), MAX_NAME_WIDTH), ...name.split(' ').map(measure));
  const widths = ends.flatMap(({ name, text }) => [measure(text), measure(WIDEST_VALUE), ofName(name)]);
  return Math.ceil(Math.max(0, ...widths));
}

/** Where nothing is written at the ends, the last step's number still needs half its width. @param {number} labelWidth */
const rightMargin = labelWidth => (labelWidth ? labelWidth + LABEL_SPACE : EMPTY_MARGIN);

/**
 * Plotly's layout of a chart.
 * @param {object} chart
 * @param {ChartSpec} chart.spec
 * @param {MetricSeries[]} chart.series
 * @param {boolean} chart.isLarge
 * @param {boolean} chart.isShare
 * @param {number} chart.revision
 * @param {{range: [number, number]} | undefined} chart.constantRange
 * @param {number} chart.labelWidth pixels that the labels at the ends of the series need
 * @param {object} screen
 * @param {number} screen.width
 * @param {number} screen.height
 * @param {string} screen.family
 * @param {boolean} screen.isTouch
 * @param {boolean} isLogScale
 * @param {number} totalSteps
 */
export function plotlyLayout(chart, screen, isLogScale, totalSteps) {
  const { isLarge, isShare, revision } = chart;
  const { width, height, family } = screen;
  const isLog = Boolean(isLogScale && chart.spec.log);
  const font = { size: 13, family };
  return {
    width,
    height,
    autosize: false,
    showlegend: false,
    uirevision: revision,
    hovermode: isLarge ? 'x unified' : false,
    meta: { scale: isShare ? 100 : 1 },
    dragmode: screen.isTouch || !isLarge ? false : 'zoom',
    paper_bgcolor: 'rgba(0,0,0,0)',
    plot_bgcolor: 'rgba(0,0,0,0)',
    font,
    hoverlabel: { font },
    margin: { l: isLarge ? 56 : 48, r: rightMargin(chart.labelWidth), t: 8, b: isLarge ? 40 : 24, pad: 0 },
    xaxis: {
      range: [0, Math.max(totalSteps, 1)],
      showgrid: false,
      zeroline: false,
      nticks: isLarge ? 6 : 3,
      tickformat: ',d',
      tickangle: 0,
      fixedrange: !isLarge,
      ...(isLarge ? { title: { text: 'step', font, standoff: 8 } } : {}),
    },
    yaxis: {
      uirevision: `${revision} ${isLog} ${isShare}`,
      type: isLog ? 'log' : 'linear',
      zeroline: false,
      nticks: isLarge ? 5 : 3,
      fixedrange: !isLarge,
      tickformat: tickFormat(chart.series),
      ticklabelstandoff: 6,
      ticksuffix: isShare ? ' %' : '',
      ...(chart.constantRange ?? valueRange(chart.series, isShare, isLog)),
    },
  };
}

/**
 * The charts of a method's own metrics: groups that belong together, then each other metric alone.
 * @param {Record<string, string>} names of all metrics that the run declares
 * @param {ChartSpec[]} fixed the charts that every run has
 * @param {ChartSpec[]} groups
 * @returns {ChartSpec[]}
 */
export function methodChartSpecs(names, fixed, groups) {
  const belongsElsewhere = (/** @type {string} */ metric) =>
    fixed.some(spec => spec.metrics.includes(metric)) || /^eval\/|^reward\/.+\/mean$/.test(metric);
  const declared = Object.keys(names).filter(metric => !belongsElsewhere(metric));
  const grouped = groups.filter(spec => spec.metrics.some(metric => declared.includes(metric)));
  const single = declared.filter(metric => !groups.some(spec => spec.metrics.includes(metric)));
  const title = (/** @type {string} */ metric) => names[metric].charAt(0).toUpperCase() + names[metric].slice(1);
  return [...grouped, ...single.map(metric => ({ name: metric, title: title(metric), hint: '', metrics: [metric] }))];
}
