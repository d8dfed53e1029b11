// One chart: its series as plotly draws them, each with its name and last value at its end.

import {
  constantRange,
  formatChartValue,
  orderSeries,
  plotlyLayout,
  seriesTint,
  showsShares,
  widthOfLabels,
} from './chart_layout.js';
import { measureLabel, placeLabels } from './chart_labels.js';
import { createTraces, scaleValues } from './chart_traces.js';
import { createText, query, setText } from './dom.js';
import { MetricSeries } from './metric_series.js';

/**
 * What all charts share.
 * @typedef {object} Board
 * @property {Record<string, string>} names of metrics
 * @property {number} totalSteps
 * @property {boolean} isTouch there a finger scrolls the page
 * @property {() => boolean} isLogScale
 * @property {() => number} smoothingSpan in steps; 0 for none
 * @property {(chart: Chart) => void} requestDraw
 * @property {() => void} showZoom
 */

const CONFIG = { displayModeBar: false, doubleClick: 'reset', responsive: false, showTips: false };

export class Chart {
  /** @type {MetricSeries[]} */
  order = []; // the series as drawn last
  isShare = false;
  isVisible = false;
  isZoomed = false;
  needsRedraw = false; // not only new points
  drawnWidth = 0; // 0 while nothing is drawn
  revision = 1; // plotly keeps a person's zoom while it stays
  /** @type {ReturnType<typeof constantRange>} */
  constantRange;

  /**
   * @param {import('./types.d.ts').ChartSpec} spec
   * @param {HTMLElement} figure
   * @param {Board} board
   */
  constructor(spec, figure, board) {
    this.spec = spec;
    this.figure = figure;
    this.board = board;
    this.plot = query(figure, '.plot');
    this.placeholder = query(this.plot, '.soon');
    /** @type {Map<string, MetricSeries>} */
    this.series = new Map();
    this.labels = createText('div', 'ends');
    this.labels.setAttribute('aria-hidden', 'true');
    const button = figure.querySelector('button');
    button?.addEventListener('click', () => this.toggleSize(button));
    this.observers = [
      new IntersectionObserver(([entry]) => {
        this.isVisible = entry.isIntersecting;
        this.requestDraw();
      }),
      new ResizeObserver(() => this.#followWidth()),
    ];
    for (const observer of this.observers) observer.observe(this.plot);
  }

  remove() {
    this.clear();
    for (const observer of this.observers) observer.disconnect();
    this.figure.remove();
  }

  /** @param {string} hint */
  setHint(hint) {
    setText(query(this.figure, 'small'), hint);
  }

  /** Written in the chart until there is a point. @param {string} text */
  setPlaceholder(text) {
    setText(this.placeholder, text);
  }

  get canDraw() {
    return this.series.size > 0 && this.plot.clientWidth > 0 && (this.isVisible || !this.drawnWidth);
  }

  get isLarge() {
    return Boolean(this.spec.large) || this.figure.classList.contains('enlarged');
  }

  /** @param {HTMLElement} button */
  toggleSize(button) {
    const isEnlarged = this.figure.classList.toggle('enlarged');
    button.setAttribute('aria-expanded', String(isEnlarged));
    if (this.drawnWidth) Plotly.purge(this.plot);
    this.drawnWidth = 0;
    this.requestDraw();
  }

  clear() {
    this.series.clear();
    if (this.drawnWidth) Plotly.purge(this.plot);
    this.plot.replaceChildren(this.placeholder);
    this.plot.setAttribute('aria-label', `${this.spec.title}: no points yet`);
    this.#showValue('');
    this.drawnWidth = 0;
    this.isZoomed = false;
  }

  /** @param {string} metric @param {import('./types.d.ts').SeriesData} data */
  setSeries(metric, data) {
    const series = new MetricSeries(metric, data);
    this.series.set(metric, series);
    this.needsRedraw = true;
    return series;
  }

  /** @param {string} metric @param {number[]} steps @param {(number | null)[]} values */
  append(metric, steps, values) {
    const series = this.series.get(metric) ?? this.setSeries(metric, { x: [], y: [] });
    series.append(steps, values);
  }

  /** @param {number} lastStep */
  truncate(lastStep) {
    for (const series of this.series.values()) series.truncate(lastStep);
  }

  forgetSmoothing() {
    for (const series of this.series.values()) series.smoothed = [];
  }

  /** Drawn once as soon as there is something, then while it is visible. */
  requestDraw() {
    if (this.canDraw) this.board.requestDraw(this);
  }

  draw() {
    const all = [...this.series.values()];
    const order = orderSeries(all, this.spec.metrics);
    if (!order.length) return this.clear();
    const isShare = showsShares(this.spec, order);
    if (isShare !== this.isShare) [this.isShare, this.needsRedraw] = [isShare, true];
    const isNew = order.some(series => series.drawnCount === 0) || order.length !== this.order.length;
    const startedToVary = this.constantRange && !constantRange(all, isShare, this.board.isLogScale());
    if (!this.drawnWidth || this.needsRedraw || isNew || startedToVary) this.#redraw(order);
    else this.#extend(order);
    for (const series of order) series.drawnCount = series.x.length;
    this.order = order;
    this.#label(order);
  }

  resetZoom() {
    this.revision++;
    this.isZoomed = false;
    this.needsRedraw = true;
    this.requestDraw();
    this.board.showZoom();
  }

  #followWidth() {
    if (!this.drawnWidth || this.plot.clientWidth === this.drawnWidth) return;
    this.needsRedraw = true;
    this.requestDraw();
  }

  /** @param {MetricSeries[]} order */
  #redraw(order) {
    const { board, plot } = this;
    if (!this.drawnWidth) plot.replaceChildren();
    const config = { ...CONFIG, staticPlot: !this.isLarge };
    this.drawnWidth = plot.clientWidth;
    const all = [...this.series.values()];
    this.constantRange = constantRange(all, this.isShare, board.isLogScale());
    const { spec, isLarge, isShare, revision } = this;
    const { fontFamily } = getComputedStyle(plot); // labels are measured as they are drawn
    const labelWidth = this.#showsValueInTitle(order)
      ? 0
      : widthOfLabels(this.#ends(order), text => measureLabel(text, fontFamily));
    const chart = { spec, series: all, isLarge, isShare, revision, constantRange: this.constantRange, labelWidth };
    const screen = { width: this.drawnWidth, height: plot.clientHeight, family: fontFamily, isTouch: board.isTouch };
    const layout = plotlyLayout(chart, screen, board.isLogScale(), board.totalSteps);
    const style = { isLarge, isShare, span: board.smoothingSpan() };
    Plotly.react(
      plot,
      order.flatMap((series, index) => createTraces(series, index, this.#metricName(series.metric), style)),
      layout,
      config,
    );
    this.needsRedraw = false;
    this.#attachLabels();
  }

  // Labels lie over the grid and under what hovers.
  #attachLabels() {
    const frame = query(this.plot, '.svg-container');
    if (this.labels.parentNode === frame) return;
    frame.insertBefore(this.labels, query(frame, '.main-svg', SVGElement).nextSibling);
    const plot = /** @type {any} */ (this.plot);
    plot.on('plotly_relayout', (/** @type {object} */ change) => this.#followZoom(change));
    plot.on('plotly_doubleclick', () => this.resetZoom());
  }

  /** Gives plotly only the new points. @param {MetricSeries[]} order */
  #extend(order) {
    const span = this.board.smoothingSpan();
    const update = /** @type {{x: number[][], y: (number | null)[][]}} */ ({ x: [], y: [] });
    /** @type {number[]} */
    const changed = [];
    let trace = 0;
    for (const series of order) {
      const start = series.drawnCount;
      const steps = series.x.slice(start);
      for (const values of span && !series.isHeldOut ? [series.y, series.smooth(span)] : [series.y]) {
        if (steps.length) {
          update.x.push(steps);
          update.y.push(scaleValues(values.slice(start), this.isShare));
          changed.push(trace);
        }
        trace++;
      }
    }
    if (changed.length) Plotly.extendTraces(this.plot, update, changed);
  }

  /** @param {string} metric */
  #metricName(metric) {
    return this.board.names[metric] ?? metric;
  }

  // A small chart of one series has its value beside its title, so that the curve has all of the width.
  /** @param {MetricSeries[]} order */
  #showsValueInTitle(order) {
    return !this.isLarge && order.length === 1;
  }

  /** Each series' name and last value. @param {MetricSeries[]} order */
  #ends(order) {
    const isSmoothed = this.board.smoothingSpan() > 0;
    return order.flatMap((series, index) => {
      const value = isSmoothed && !series.isHeldOut ? series.smoothed.at(-1) : series.latest;
      if (value === undefined || value === null) return [];
      const text = formatChartValue(series.latest, this.isShare, this.isLarge);
      const name = this.#labelName(series.metric);
      return [{ tint: seriesTint(series, index), name, text, value: this.isShare ? value * 100 : value }];
    });
  }

  /** @param {MetricSeries[]} order */
  #label(order) {
    const ends = this.#ends(order);
    const isInTitle = this.#showsValueInTitle(order);
    this.#showValue(isInTitle ? (ends[0]?.text ?? '') : '');
    const lastStep = Math.max(...order.map(({ x }) => x[x.length - 1]));
    placeLabels(this.labels, /** @type {any} */ (this.plot)._fullLayout, lastStep, isInTitle ? [] : ends);
    this.plot.setAttribute('aria-label', this.#summarize(order));
  }

  /** @param {string} text */
  #showValue(text) {
    const value = this.figure.querySelector('.chart-value');
    if (value) setText(value, text);
  }

  /** @param {string} metric */
  #labelName(metric) {
    return (!this.isLarge && this.spec.short?.[metric]) || this.#metricName(metric);
  }

  /** The chart in words, for whoever cannot see it. @param {MetricSeries[]} order */
  #summarize(order) {
    const format = (/** @type {number | null | undefined} */ value) =>
      formatChartValue(value, this.isShare, this.isLarge);
    const changes = order.map(series => {
      const first = format(series.y.find(value => value !== null));
      const name = this.#metricName(series.metric);
      return `${name} went from ${first} at step ${series.x[0]} to ${format(series.latest)} at step ${series.x.at(-1)}`;
    });
    return `${this.spec.title}${this.spec.hint ? `, ${this.spec.hint}` : ''}. ${changes.join('; ')}.`;
  }

  /** @param {object} change */
  #followZoom(change) {
    if ('xaxis.range[0]' in change || 'yaxis.range[0]' in change) this.isZoomed = true;
    this.board.showZoom();
    requestAnimationFrame(() => this.drawnWidth && this.#label(this.order));
  }
}
