// One metric's points, downsampled as the server does it, so that a curve that grew here looks as a reload shows it.

/** @typedef {(number | null)[]} Values */

const MAX_POINTS = 2000; // of one series, as in app/history/series.py
// Of that many buckets are made, of two points each: the rest is room to grow until the next downsampling.
const FILL = 0.35;

export class MetricSeries {
  /**
   * @param {string} metric
   * @param {import('./types.d.ts').SeriesData} data
   */
  constructor(metric, data) {
    this.metric = metric;
    this.x = data.x;
    this.y = data.y;
    this.mean = data.mean ?? data.y.slice();
    this.isHeldOut = data.tested ?? metric.startsWith('eval/');
    this.drawnCount = 0; // how many of its points the chart has
    /** @type {Values} */
    this.smoothed = [];
    this.running = { sum: 0, weight: 0 };
  }

  /**
   * Appends points. A step that is not later than the last one replaces what came from there on.
   * @param {number[]} steps
   * @param {Values} values
   */
  append(steps, values) {
    for (const [i, step] of steps.entries()) {
      if (this.x.length && step <= this.x[this.x.length - 1]) this.truncate(step - 1);
      this.x.push(step);
      this.y.push(values[i]);
      this.mean.push(values[i]);
    }
    if (this.x.length > MAX_POINTS) this.downsample();
  }

  /** Removes all points after this step. @param {number} lastStep */
  truncate(lastStep) {
    let count = this.x.length;
    while (count && this.x[count - 1] > lastStep) count--;
    if (count === this.x.length) return;
    this.#select([...Array(count).keys()], this.mean.slice(0, count));
  }

  /** Keeps of each bucket of steps the lowest and the highest point, and both ends of the series. */
  downsample() {
    const { x } = this;
    const end = x.length;
    const width = bucketWidth(x[0], x[end - 1]);
    /** @type {number[]} */
    const selected = [];
    /** @type {Values} */
    const means = [];
    for (let first = 0, next; first < end; first = next) {
      const edge = (Math.floor(x[first] / width) + 1) * width;
      next = first;
      while (next < end && x[next] < edge) next++;
      const { lowest, highest, mean } = this.#summarize(first, next);
      const indices = new Set([...(first === 0 ? [0] : []), lowest, highest, ...(next === end ? [end - 1] : [])]);
      const sorted = [...indices].sort((a, b) => a - b);
      selected.push(...sorted);
      means.push(...sorted.map(() => mean));
    }
    this.#select(selected, means);
  }

  /** @param {number} first @param {number} next */
  #summarize(first, next) {
    const { y } = this;
    let [lowest, highest, sum, count] = [first, first, 0, 0];
    for (let i = first; i < next; i++) {
      const value = y[i];
      if (value === null) continue;
      const low = y[lowest];
      const high = y[highest];
      if (low === null || value < low) lowest = i;
      if (high === null || value > high) highest = i;
      const mean = this.mean[i];
      if (mean !== null) {
        sum += mean;
        count++;
      }
    }
    return { lowest, highest, mean: count ? sum / count : null };
  }

  /** @param {number[]} indices @param {Values} means */
  #select(indices, means) {
    this.x = indices.map(i => this.x[i]);
    this.y = indices.map(i => this.y[i]);
    this.mean = means;
    this.drawnCount = 0;
    this.smoothed = [];
  }

  /**
   * A running mean that decays by 1/e over `span` steps, however far apart the points are. It only looks back, so that
   * old values stay.
   * @param {number} span
   */
  smooth(span) {
    if (!this.smoothed.length) this.running = { sum: 0, weight: 0 };
    const { running, smoothed } = this;
    for (let i = smoothed.length; i < this.x.length; i++) {
      const decay = i ? Math.exp((this.x[i - 1] - this.x[i]) / span) : 0;
      const mean = this.mean[i];
      if (mean !== null) {
        running.sum = running.sum * decay + mean;
        running.weight = running.weight * decay + 1;
      }
      smoothed.push(mean === null ? null : running.sum / running.weight);
    }
    return smoothed;
  }

  /** @returns {number | undefined} */
  get latest() {
    return /** @type {number | undefined} */ (this.y.findLast(value => value !== null));
  }
}

/**
 * The width of a bucket in steps: a power of two, so that buckets of a grown series hold whole buckets of the earlier
 * one.
 * @param {number} first
 * @param {number} last
 */
export function bucketWidth(first, last) {
  let width = 1;
  while (Math.floor(last / width) - Math.floor(first / width) + 1 > MAX_POINTS * FILL) width *= 2;
  return width;
}
