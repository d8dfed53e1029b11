// Chart: one figure: its lines as plotly draws them, each with its name and last number at its end.
const DASHES = ['solid', 'dash', 'dot', 'dashdot'];

class Chart {
  constructor(spec, figure) {
    Object.assign(this, { spec, figure, plot: figure.querySelector('.plot'), lines: new Map(), seen: false, zoomed: false, revision: 1 });
    this.ends = Object.assign(document.createElement('div'), { className: 'ends' });
    this.ends.setAttribute('aria-hidden', 'true');
    figure.querySelector('button')?.addEventListener('click', event => this.enlarge(event.currentTarget));
    this.watching = [new IntersectionObserver(([now]) => { this.seen = now.isIntersecting; this.want(); }),
                     new ResizeObserver(() => { if (this.made && this.plot.clientWidth !== this.made) { this.whole = true; this.want(); } })];
    for (const one of this.watching) one.observe(this.plot);
  }

  leave() {
    this.clear();
    for (const one of this.watching) one.disconnect();
    this.figure.remove();
  }

  say(hint) { write(this.figure.querySelector('small'), hint); }

  // What stands there until there is a point.
  wait(text) {
    this.soon ??= this.plot.querySelector('.soon');
    if (this.soon.textContent !== text) this.soon.textContent = text;
  }

  get due() { return this.lines.size && this.plot.clientWidth && (this.seen || !this.made); }

  get large() { return Boolean(this.spec.large) || this.figure.classList.contains('enlarged'); }

  enlarge(button) {
    const open = this.figure.classList.toggle('enlarged');
    button.setAttribute('aria-expanded', open);
    if (this.made) Plotly.purge(this.plot);
    this.made = 0;
    this.want();
  }

  clear() {
    this.lines.clear();
    if (this.made) Plotly.purge(this.plot);
    this.plot.replaceChildren(this.soon ??= this.plot.querySelector('.soon'));
    this.plot.setAttribute('aria-label', `${this.spec.title}: no points yet`);
    Object.assign(this, { made: 0, zoomed: false });
  }

  line(metric, told) {
    this.lines.set(metric, new Line(metric, told));
    this.whole = true;
  }

  add(metric, xs, ys) {
    if (!this.lines.has(metric)) this.line(metric, { x: [], y: [] });
    this.lines.get(metric).add(xs, ys);
  }

  cut(last) {
    for (const line of this.lines.values()) line.cut(last);
  }

  // Drawn once as soon as there is something, then while it is in sight; one chart a frame, so that no frame waits for two.
  want() {
    if (!this.due || queue.includes(this)) return;
    queue.push(this);
    if (queue.length === 1) requestAnimationFrame(drawNext);
  }

  draw() {
    const order = inOrder(this);
    if (!order.length) return this.clear();
    const share = isShare(this, order);
    if (share !== this.share) [this.share, this.whole] = [share, true];
    const begun = order.some(line => line.drawn === 0) || order.length !== this.order?.length;
    if (!this.made || this.whole || begun || (this.flat && !flat(this))) this.drawWhole(order);
    else this.extend(order);
    for (const line of order) line.drawn = line.x.length;
    this.order = order;
    this.label(order);
  }

  drawWhole(order) {
    if (!this.made) this.plot.replaceChildren();
    const settings = { displayModeBar: false, doubleClick: 'reset', responsive: false, staticPlot: !this.large, showTips: false };
    this.made = this.plot.clientWidth;
    this.flat = flat(this);
    const height = this.plot.clientHeight;
    Plotly.react(this.plot, order.flatMap((line, place) => this.traces(line, place)), layout(this, this.made, height), settings);
    this.whole = false;
    const frame = this.plot.querySelector('.svg-container');
    if (this.ends.parentNode !== frame) {
      frame.insertBefore(this.ends, frame.querySelector('.main-svg').nextSibling);  // over the grid, under what hovers
      this.plot.on('plotly_relayout', change => this.moved(change));
      this.plot.on('plotly_doubleclick', () => this.reset());
    }
  }

  // Only what is new goes to the chart.
  extend(order) {
    const x = [], y = [], which = [];
    let place = 0;
    for (const line of order) {
      const from = line.drawn, fresh = line.x.slice(from);
      for (const values of span() && !line.tested ? [line.y, line.smoothed(span())] : [line.y]) {
        if (fresh.length) { x.push(fresh); y.push(this.scaled(values.slice(from))); which.push(place); }
        place++;
      }
    }
    if (which.length) Plotly.extendTraces(this.plot, { x, y }, which);
  }

  // Shares are drawn in percent.
  scaled(values) {
    return this.share ? values.map(value => (value === null ? null : value * 100)) : values.slice();
  }

  traces(line, place) {
    const tint = `tint-${tintOf(line, place)}-${place}`;
    const base = {
      type: 'scatter', x: line.x.slice(), name: plain(names[line.metric] ?? line.metric), mode: line.tested ? 'lines+markers' : 'lines',
      line: { width: 2, dash: DASHES[place % 4], simplify: true }, marker: { size: this.large ? 8 : 5 },
      cliponaxis: !line.tested, hovertemplate: this.share ? '%{y:.3~g} %' : '%{y:.4~g}',
    };
    const own = { ...base, uid: tint, y: this.scaled(line.y) };
    if (!span() || line.tested) return [own];
    return [{ ...own, uid: `${tint}-raw`, hoverinfo: 'skip', hovertemplate: undefined, line: { ...base.line, width: 1, dash: 'solid' } },
            { ...base, uid: tint, y: this.scaled(line.smoothed(span())) }];
  }

  // Each line's name and last number at its end, pushed apart where they would lie on one another.
  label(order) {
    const { xaxis, yaxis } = this.plot._fullLayout, floor = yaxis._offset + yaxis._length;
    const last = Math.max(...order.map(line => line.x.at(-1)));
    const left = Math.min(Math.max(xaxis._offset + xaxis.d2p(last), xaxis._offset), xaxis._offset + xaxis._length) + 8;
    const ends = order.map((line, place) => ({ line, place, value: span() && !line.tested ? line.smooth.at(-1) : line.latest }))
      .filter(end => end.value !== undefined && end.value !== null);
    while (this.ends.children.length < ends.length) this.ends.append(labelPiece());
    while (this.ends.children.length > ends.length) this.ends.lastChild.remove();
    const alone = !this.large && ends.length === 1;
    ends.forEach((end, i) => {
      end.piece = this.ends.children[i];
      end.piece.dataset.tint = tintOf(end.line, end.place);
      write(end.piece.firstChild, alone ? '' : this.called(end.line.metric));
      write(end.piece.lastChild, inWords(this, end.line.latest));
      end.top = Math.min(Math.max(yaxis._offset + yaxis.d2p(this.share ? end.value * 100 : end.value), yaxis._offset), floor);
    });
    this.ends.style.left = `${left}px`;
    for (const end of ends) end.height = end.piece.offsetHeight;
    spread(ends, floor + 4);
    for (const end of ends) end.piece.style.transform = `translateY(${Math.round(end.top - end.height / 2)}px)`;
    this.plot.setAttribute('aria-label', this.summary(order));
  }

  called(metric) { return (!this.large && this.spec.short?.[metric]) || (names[metric] ?? metric); }

  summary(order) {
    const parts = order.map(line => `${names[line.metric] ?? line.metric} went from ${inWords(this, line.y.find(y => y !== null))} at step ${line.x[0]} to ${inWords(this, line.latest)} at step ${line.x.at(-1)}`);
    return `${this.spec.title}${this.spec.hint ? `, ${this.spec.hint}` : ''}. ${parts.join('; ')}.`;
  }

  moved(change) {
    if ('xaxis.range[0]' in change || 'yaxis.range[0]' in change) this.zoomed = true;
    tools.reset.disabled = !charts.some(chart => chart.zoomed);
    requestAnimationFrame(() => this.made && this.label(this.order));
  }

  reset() {
    this.revision++;
    this.zoomed = false;
    this.whole = true;
    this.want();
    tools.reset.disabled = !charts.some(chart => chart.zoomed);
  }
}

// The lines that have points, as the chart names them, then those of held-out tests. What one reward earns is also the total: once is enough.
function inOrder(chart) {
  const rank = line => (line.tested ? 1000 : 0) + (chart.spec.metrics.indexOf(line.metric) + 1 || 500);
  const found = [...chart.lines.values()].filter(line => line.x.length).sort((one, other) => rank(one) - rank(other));
  const rewards = found.filter(line => /^reward\/.+\/mean$/.test(line.metric)), total = found.find(line => line.metric === 'reward/mean');
  const same = total && rewards.length === 1 && rewards[0].y.length === total.y.length && rewards[0].y.every((value, i) => value === total.y[i]);
  return same ? found.filter(line => line !== total) : found;
}

// Held-out tests look the same in every chart; what is pushed down looks as it does among the examples.
const tintOf = (line, place) => (line.tested ? 'tested' : /rejected|lowest/.test(line.metric) ? 'less' : ['first', 'second', 'third', 'fourth'][place % 4]);

// Do all its numbers lie between 0 and 1? Only where that means a share.
function isShare(chart, order) {
  return Boolean(chart.spec.share) && order.every(line => line.y.every(value => value === null || (value >= 0 && value <= 1)));
}

function layout(chart, width, height) {
  const log = tools.log.checked && chart.spec.log;
  const family = getComputedStyle(chart.plot).fontFamily;  // measured as it is drawn
  const font = { size: 13, family }, side = chart.large ? (width < 420 ? 104 : 136) : chart.lines.size > 1 ? 88 : 72;
  return {
    width, height, autosize: false, showlegend: false, uirevision: chart.revision, hovermode: chart.large ? 'x unified' : false, meta: { scale: chart.share ? 100 : 1 },
    dragmode: touch || !chart.large ? false : 'zoom', paper_bgcolor: 'rgba(0,0,0,0)', plot_bgcolor: 'rgba(0,0,0,0)', font, hoverlabel: { font },
    margin: { l: 56, r: side, t: 8, b: chart.large ? 40 : 24, pad: 0 },
    xaxis: { range: [0, Math.max(of, 1)], showgrid: false, zeroline: false, nticks: chart.large ? 6 : 3, tickformat: ',d', tickangle: 0, fixedrange: !chart.large,
             ...(chart.large ? { title: { text: 'step', font, standoff: 8 } } : {}) },
    yaxis: { uirevision: `${chart.revision} ${log} ${chart.share}`, type: log ? 'log' : 'linear', zeroline: false, nticks: chart.large ? 5 : 3, fixedrange: !chart.large,
             tickformat: '~g', ticklabelstandoff: 6, ticksuffix: chart.share ? ' %' : '',
             ...(chart.flat ?? (chart.share && most(chart) > 0.25 ? { range: [0, 104] } : { autorange: true, rangemode: log ? 'normal' : 'tozero' })) },
  };
}

const most = chart => Math.max(...[...chart.lines.values()].flatMap(line => line.y));

// The axis of a line that never moved: it lies on the floor, not in the middle of a made-up span.
function flat(chart) {
  const known = new Set([...chart.lines.values()].flatMap(line => line.y).filter(y => y !== null));
  return known.size === 1 && !tools.log.checked ? { range: chart.share ? [0, 104] : [Math.min(0, ...known), Math.max(0, ...known) * 1.25 || 1] } : undefined;
}

// -- small things --------------------------------------------------------------------------------------------------
const inWords = (chart, value) => (chart.share && typeof value === 'number' ? `${Number((value * 100).toPrecision(chart.large ? 3 : 2))} %` : number(value));
const span = () => (Number(tools.smoothing.value) / 100) ** 2 * 0.25 * Math.max(of, 1);
const number = value => (value === undefined ? '–' : Math.abs(value) >= 1000 ? Math.round(value).toLocaleString('en')
  : value && Math.abs(value) < 1e-4 ? value.toExponential(2) : String(Number(value.toPrecision(3))));
const plain = text => text.replaceAll('<', '‹');  // plotly reads a few tags
const write = (piece, text) => { if (piece.textContent !== text) piece.textContent = text; };

function labelPiece() {
  const piece = document.createElement('p');
  piece.append(document.createElement('span'), document.createElement('b'));
  return piece;
}

// From the top down each is pushed below the one above; if the last then lies too low, all are pushed up again from there.
function spread(ends, floor) {
  ends.sort((a, b) => a.top - b.top);
  if (ends.length) ends[0].top = Math.max(ends[0].top, ends[0].height / 2);
  for (let i = 1; i < ends.length; i++) ends[i].top = Math.max(ends[i].top, ends[i - 1].top + (ends[i - 1].height + ends[i].height) / 2);
  for (let i = ends.length - 1; i >= 0; i--) {
    const below = i + 1 < ends.length ? ends[i + 1].top - (ends[i + 1].height + ends[i].height) / 2 : floor - ends[i].height / 2;
    ends[i].top = Math.min(ends[i].top, below);
  }
}
