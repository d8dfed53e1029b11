// The traces that plotly draws of a series: as it was measured, and beside it smoothed.

import { escapePlotlyText, seriesTint } from './chart_layout.js';

/** @typedef {import('./metric_series.js').MetricSeries} MetricSeries */

const DASHES = ['solid', 'dash', 'dot', 'dashdot'];

/** Shares are drawn in percent. @param {(number | null)[]} values @param {boolean} isShare */
export const scaleValues = (values, isShare) =>
  isShare ? values.map(value => (value === null ? null : value * 100)) : values.slice();

/**
 * @param {MetricSeries} series
 * @param {number} index among the chart's series
 * @param {string} name
 * @param {{isLarge: boolean, isShare: boolean, span: number}} style span: of the smoothing, in steps
 */
export function createTraces(series, index, name, { isLarge, isShare, span }) {
  const uid = `tint-${seriesTint(series, index)}-${index}`;
  const base = {
    type: 'scatter',
    x: series.x.slice(),
    name: escapePlotlyText(name),
    mode: series.isHeldOut ? 'lines+markers' : 'lines',
    line: { width: 2, dash: DASHES[index % DASHES.length], simplify: true },
    marker: { size: isLarge ? 8 : 5 },
    cliponaxis: !series.isHeldOut,
    hovertemplate: isShare ? '%{y:.3~g} %' : '%{y:.4~g}',
  };
  const measured = { ...base, uid, y: scaleValues(series.y, isShare) };
  if (!span || series.isHeldOut) return [measured];
  const thin = { ...base.line, width: 1, dash: 'solid' };
  return [
    { ...measured, uid: `${uid}-raw`, hoverinfo: 'skip', hovertemplate: undefined, line: thin },
    { ...base, uid, y: scaleValues(series.smooth(span), isShare) },
  ];
}
