// Line: one metric's points, thinned as the server thins, so that a curve that grew here is the one a reload shows.
const MOST = 2000, FILLED = 0.35;  // points of one line, as in app/history/series.py

class Line {
  constructor(metric, told) {
    Object.assign(this, { metric, x: told.x, y: told.y, mean: told.mean ?? told.y.slice(), tested: told.tested ?? metric.startsWith('eval/') });
    this.drawn = 0;  // how many of its points stand in the chart
    this.smooth = [];
  }

  add(xs, ys) {
    for (let i = 0; i < xs.length; i++) {
      if (this.x.length && xs[i] <= this.x.at(-1)) this.cut(xs[i] - 1);
      this.x.push(xs[i]); this.y.push(ys[i]); this.mean.push(ys[i]);
    }
    if (this.x.length > MOST) this.thin();
  }

  cut(last) {
    let kept = this.x.length;
    while (kept && this.x[kept - 1] > last) kept--;
    if (kept === this.x.length) return;
    this.keep([...Array(kept).keys()], this.mean.slice(0, kept));
  }

  // The lowest and the highest of each stretch, and both ends.
  thin() {
    const { x, y } = this, end = x.length, width = widthOf(x[0], x[end - 1]), kept = [], means = [];
    for (let first = 0, next; first < end; first = next) {
      const edge = (Math.floor(x[first] / width) + 1) * width;
      let low = first, high = first, sum = 0, count = 0;
      for (next = first; next < end && x[next] < edge; next++) {
        if (y[next] === null) continue;
        if (y[low] === null || y[next] < y[low]) low = next;
        if (y[high] === null || y[next] > y[high]) high = next;
        if (this.mean[next] !== null) { sum += this.mean[next]; count++; }
      }
      const places = [...new Set([...(first === 0 ? [0] : []), low, high, ...(next === end ? [end - 1] : [])])].sort((a, b) => a - b);
      kept.push(...places);
      means.push(...places.map(() => (count ? sum / count : null)));
    }
    this.keep(kept, means);
  }

  keep(places, means) {
    this.x = places.map(i => this.x[i]);
    this.y = places.map(i => this.y[i]);
    this.mean = means;
    this.drawn = 0;
    this.smooth = [];
  }

  // A running mean that forgets over `span` steps, however far the points lie apart. It only looks back: old values stay.
  smoothed(span) {
    if (!this.smooth.length) this.running = { sum: 0, weight: 0 };
    const { running, smooth } = this;
    for (let i = smooth.length; i < this.x.length; i++) {
      const left = i ? Math.exp((this.x[i - 1] - this.x[i]) / span) : 0;
      if (this.mean[i] !== null) {
        running.sum = running.sum * left + this.mean[i];
        running.weight = running.weight * left + 1;
      }
      smooth.push(this.mean[i] === null ? null : running.sum / running.weight);
    }
    return smooth;
  }

  get latest() { return this.y.findLast(value => value !== null); }
}

function widthOf(first, last) {
  let width = 1;
  while (Math.floor(last / width) - Math.floor(first / width) + 1 > MOST * FILLED) width *= 2;
  return width;
}
