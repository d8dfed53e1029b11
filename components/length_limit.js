// A histogram of example lengths, with a line to drag that shows what a maximum length would cut off.

import { create, createText } from './dom.js';
import { formatCount, formatInteger } from './format.js';

/** @typedef {import('./types.d.ts').LengthCounts} LengthCounts */

const MAX_BARS = 40;
const OUTLIER_FACTOR = 3; // times the 99th percentile: beyond that the longest share the last bar
const NOTHING_IS_CUT =
  'Nothing is lost: examples are joined end to end, and what does not fit goes on in the next row.';

/**
 * A round bin width (1, 2 or 5 times a power of ten) with which MAX_BARS bars reach far enough, and where the last bar
 * ends.
 * @param {number} reach in tokens
 * @returns {[end: number, width: number]}
 */
export function roundBins(reach) {
  const widths = [0, 1, 2, 3, 4, 5].flatMap(power => [1, 2, 5].map(base => base * 10 ** power));
  const width = widths.find(candidate => candidate * MAX_BARS >= reach) ?? widths[widths.length - 1];
  return [Math.ceil(reach / width) * width, width];
}

/** How far the histogram reaches, in tokens. @param {LengthCounts} lengths */
export function histogramReach({ longest, maximum, p99, median }) {
  const limit = OUTLIER_FACTOR * p99;
  return Math.max(Math.min(longest, limit), Math.min(maximum ?? 0, limit), median, 2);
}

/**
 * Examples in each bar; what is longer than the histogram reaches is in the last one.
 * @param {LengthCounts['counts']} counts
 * @param {number} end
 * @param {number} width
 */
export function fillBins(counts, end, width) {
  const bins = Array.from({ length: Math.ceil(end / width) }, () => 0);
  for (const [length, examples] of counts) {
    bins[Math.min(bins.length - 1, Math.floor((length - 1e-9) / width))] += examples;
  }
  return bins;
}

/**
 * What a maximum length cuts off: examples that lose their end, their tokens, and examples with nothing left to learn.
 * @param {LengthCounts} lengths
 * @param {number} maximum
 */
export function countCut({ counts, needed }, maximum) {
  let [examples, tokens, untrained] = [0, 0, 0];
  for (const [length, count] of counts) {
    if (length <= maximum) continue;
    examples += count;
    tokens += (length - maximum) * count;
  }
  for (const [length, count] of needed) if (length > maximum) untrained += count;
  return { examples, tokens, untrained };
}

/** The same in a sentence. @param {LengthCounts} lengths @param {number} maximum */
export function describeCut(lengths, maximum) {
  const { examples, tokens, untrained } = countCut(lengths, maximum);
  if (!examples) return `At ${formatInteger(maximum)} tokens nothing is cut off.`;
  const total = lengths.counts.reduce((sum, [, count]) => sum + count, 0);
  const percent = lengths.total ? (100 * tokens) / lengths.total : 0;
  const share = percent && percent < 0.1 ? 'less than 0.1' : formatInteger(Math.round(percent * 10) / 10);
  const loses = examples === 1 ? 'loses its' : 'lose their';
  const lost = `${formatCount(examples, 'example')} of ${formatInteger(total)} ${loses} end`;
  const nothing = untrained === 1 ? 'One has' : `${formatInteger(untrained)} have`;
  return (
    `At ${formatInteger(maximum)} tokens, ${lost}: ${formatInteger(tokens)} tokens, ${share} % of all.` +
    (untrained ? ` ${nothing} nothing left to learn.` : '')
  );
}

/**
 * @param {LengthCounts} lengths
 * @param {[number, number]} limits of the maximum length
 * @param {(maximum: number) => void} setMaximum
 */
export function createLengthHistogram(lengths, limits, setMaximum) {
  const [end, width] = roundBins(histogramReach(lengths));
  const bins = fillBins(lengths.counts, end, width);
  const bars = createBars(bins);
  const box = create('div', { className: 'bars' }, ...bars);
  const figure = createText('figure', 'lengths');
  const isMovable = lengths.limit !== null && lengths.maximum !== null;
  const instruction = isMovable ? ' Drag the line, or move it with the arrow keys.' : '';
  const caption = createText('figcaption', '', `How long the examples are, in tokens.${instruction}`);
  const lastLabel =
    formatInteger(end) + (lengths.longest > end ? ` and more, up to ${formatInteger(lengths.longest)}` : '');
  const scale = createText('p', 'reach');
  scale.setAttribute('aria-hidden', 'true');
  scale.append(createText('span', '', '0'), createText('span', '', lastLabel));
  figure.append(caption, box, scale, createTable(bins, width));
  if (isMovable) {
    const { line, range, row } = createLimit({ lengths, limits, bars, end, width, setMaximum });
    box.append(line, range);
    figure.append(row);
  } else if (lengths.maximum !== null) figure.append(createText('p', 'cut-says', NOTHING_IS_CUT));
  return figure;
}

/** @param {number[]} bins */
function createBars(bins) {
  const tallest = Math.max(...bins);
  return bins.map(examples => {
    const height = examples ? Math.max(1.5, (100 * examples) / tallest) : 0;
    const bar = createText('i', 'bar');
    bar.style.height = `${height}%`;
    return bar;
  });
}

/**
 * The line, the range input over it, and what the present position would cut.
 * @param {object} histogram
 * @param {LengthCounts} histogram.lengths
 * @param {[number, number]} histogram.limits
 * @param {HTMLElement[]} histogram.bars
 * @param {number} histogram.end
 * @param {number} histogram.width
 * @param {(maximum: number) => void} histogram.setMaximum
 */
function createLimit({ lengths, limits, bars, end, width, setMaximum }) {
  const line = createText('i', 'cut-line');
  const label = document.createElement('span');
  line.append(label);
  const sentence = createText('p', 'cut-says');
  sentence.setAttribute('role', 'status');
  const button = create('button', { type: 'button', className: 'plain' });
  const range = create('input', {
    type: 'range',
    min: 0,
    max: end,
    step: 1,
    className: 'cut-range',
    'aria-label': 'Maximum length in tokens',
  });
  const position = () => Math.max(limits[0], Math.min(limits[1], Number(range.value)));

  /** @param {number} maximum */
  function show(maximum) {
    const share = Math.min(1, maximum / end);
    line.style.left = `${100 * share}%`;
    line.classList.toggle('far', share > 0.6);
    label.textContent = `cut at ${formatInteger(maximum)}${maximum > end ? ' →' : ''}`;
    bars.forEach((bar, index) => bar.classList.toggle('behind', index * width >= maximum));
    sentence.textContent = describeCut(lengths, maximum);
    range.setAttribute('aria-valuetext', sentence.textContent);
    button.hidden = maximum === lengths.maximum;
    button.textContent = `Set the maximum length to ${formatInteger(maximum)}`;
  }

  button.addEventListener('click', () => setMaximum(position()));
  range.addEventListener('input', () => {
    range.value = String(position());
    show(position());
  });
  const maximum = lengths.maximum ?? end;
  range.value = String(Math.min(maximum, end));
  show(maximum);
  return { line, range, row: create('div', { className: 'cut-row' }, sentence, button) };
}

/** The same in numbers, for whoever cannot see the bars. @param {number[]} bins @param {number} width */
function createTable(bins, width) {
  const table = createText('table', 'unseen');
  table.append(create('caption', { textContent: 'Examples by length' }));
  bins.forEach((examples, index) => {
    if (!examples) return;
    const interval = `${formatInteger(index * width)} to ${formatInteger((index + 1) * width)} tokens`;
    const heading = create('th', { scope: 'row', textContent: interval });
    table.append(create('tr', {}, heading, create('td', { textContent: formatInteger(examples) })));
  });
  return table;
}
