// Curves: draws a run's numbers with plotly as the stream tells them. `element` is the piece's own place on the page; line.js goes before.
const DASHES = ['solid', 'dot', 'dash', 'dashdot'];
const KEPT = 'tunesmith-charts';   // how a person likes their charts: smoothing and scale
const root = element.querySelector('.charts');
const specs = JSON.parse(root.dataset.charts);
const tools = Object.fromEntries([...root.querySelectorAll('[data-tool]')].map(one => [one.dataset.tool, one]));
const touch = matchMedia('(pointer: coarse)').matches;  // there a finger scrolls the page
let of = 0, names = {}, library;

// -- a chart -------------------------------------------------------------------------------------------------------
class Chart {
  constructor(spec, figure) {
    Object.assign(this, { spec, figure, plot: figure.querySelector('.plot'), lines: new Map(), seen: false, zoomed: false, revision: 1 });
    this.ends = Object.assign(document.createElement('div'), { className: 'ends' });
    this.ends.setAttribute('aria-hidden', 'true');
    figure.querySelector('button')?.addEventListener('click', event => this.enlarge(event.currentTarget));
    new IntersectionObserver(([now]) => { this.seen = now.isIntersecting; this.want(); }).observe(this.plot);
    new ResizeObserver(() => { if (this.made && this.plot.clientWidth !== this.made) { this.whole = true; this.want(); } }).observe(this.plot);
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
    const order = [...this.lines.values()].filter(line => line.x.length);
    if (!order.length) return this.clear();
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
    if (this.ends.parentNode !== this.plot) {
      this.plot.append(this.ends);
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
        if (fresh.length) { x.push(fresh); y.push(values.slice(from)); which.push(place); }
        place++;
      }
    }
    if (which.length) Plotly.extendTraces(this.plot, { x, y }, which);
  }

  traces(line, place) {
    const base = {
      type: 'scatter', x: line.x.slice(), name: plain(names[line.metric] ?? line.metric), mode: line.tested ? 'lines+markers' : 'lines',
      line: { width: 2, dash: DASHES[(place + Math.floor(place / 4)) % 4], simplify: true }, marker: { size: this.large ? 8 : 5 },
      cliponaxis: !line.tested, hovertemplate: '%{y:.4g}',
    };
    const own = { ...base, uid: `tint${place % 4}-${place}`, y: line.y.slice() };
    if (!span() || line.tested) return [own];
    return [{ ...own, uid: `tint${place % 4}-${place}-raw`, hoverinfo: 'skip', hovertemplate: undefined, line: { ...base.line, width: 1, dash: 'solid' } },
            { ...base, uid: `tint${place % 4}-${place}`, y: line.smoothed(span()).slice() }];
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
      end.piece.dataset.tint = end.place % 4;
      write(end.piece.firstChild, alone ? '' : names[end.line.metric] ?? end.line.metric);
      write(end.piece.lastChild, number(end.line.latest));
      end.top = Math.min(Math.max(yaxis._offset + yaxis.d2p(end.value), yaxis._offset), floor);
    });
    this.ends.style.left = `${left}px`;
    for (const end of ends) end.height = end.piece.offsetHeight;
    spread(ends, floor + 4);
    for (const end of ends) end.piece.style.transform = `translateY(${Math.round(end.top - end.height / 2)}px)`;
    this.plot.setAttribute('aria-label', this.summary(order));
  }

  summary(order) {
    const parts = order.map(line => `${names[line.metric] ?? line.metric} went from ${number(line.y.find(y => y !== null))} at step ${line.x[0]} to ${number(line.latest)} at step ${line.x.at(-1)}`);
    return `${this.spec.title}, ${this.spec.hint}. ${parts.join('; ')}.`;
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

const charts = specs.map(spec => new Chart(spec, root.querySelector(`[data-chart="${spec.name}"]`)));
const rest = charts.find(chart => chart.spec.rest);
const chartOf = metric => charts.find(chart => chart.spec.metrics.includes(metric)) ?? (/^(eval|reward)\//.test(metric) ? rest : undefined);
const queue = [];

async function drawNext() {
  try {
    await loaded();
    const chart = queue.shift();
    if (chart?.due) chart.draw();
  } catch (error) {
    queue.length = 0;
    console.error(error);
  }
  if (queue.length) requestAnimationFrame(drawNext);
}

// plotly is large: it comes once a chart is in sight.
function loaded() {
  return library ??= window.Plotly ? Promise.resolve() : new Promise((done, failed) => {
    const script = Object.assign(document.createElement('script'), { src: root.dataset.plotly, onload: done });
    script.onerror = () => { library = undefined; failed(new Error('The charts could not be loaded.')); };
    document.head.append(script);
  });
}

function layout(chart, width, height) {
  const log = tools.log.checked && chart.spec.log;
  const font = { size: 13 }, side = chart.large ? (width < 420 ? 104 : 136) : 72;
  return {
    width, height, autosize: false, showlegend: false, uirevision: chart.revision, hovermode: chart.large ? 'x unified' : false,
    dragmode: touch || !chart.large ? false : 'zoom', paper_bgcolor: 'rgba(0,0,0,0)', plot_bgcolor: 'rgba(0,0,0,0)', font,
    margin: { l: 48, r: side, t: 8, b: chart.large ? 40 : 24, pad: 0 },
    xaxis: { range: [0, Math.max(of, 1)], showgrid: false, zeroline: false, nticks: chart.large ? 6 : 3, tickformat: ',d', tickangle: 0, fixedrange: !chart.large,
             ...(chart.large ? { title: { text: 'step', font, standoff: 8 } } : {}) },
    yaxis: { uirevision: `${chart.revision} ${log}`, type: log ? 'log' : 'linear', zeroline: false, nticks: chart.large ? 5 : 3, fixedrange: !chart.large, tickformat: '~g',
             ...(chart.flat ?? { autorange: true, rangemode: log ? 'normal' : 'tozero' }) },
  };
}

// The axis of a line that never moved: it lies on the floor, not in the middle of a made-up span.
function flat(chart) {
  const known = new Set([...chart.lines.values()].flatMap(line => line.y).filter(y => y !== null));
  return known.size === 1 && !tools.log.checked ? { range: [Math.min(0, ...known), Math.max(0, ...known) * 1.25 || 1] } : undefined;
}

// -- small things --------------------------------------------------------------------------------------------------
const span = () => (Number(tools.smoothing.value) / 100) ** 2 * 0.25 * Math.max(of, 1);
const number = value => (value === undefined ? '–' : Math.abs(value) >= 1000 ? Math.round(value).toLocaleString('en') : String(Number(value.toPrecision(3))));
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

// -- what arrives, and what the person wants -------------------------------------------------------------------------
function wantAll(whole = false) {
  for (const chart of charts) { chart.whole ||= whole; chart.want(); }
}

function steps(now) {
  if ((now?.of ?? 0) === of) return;
  of = now?.of ?? 0;
  for (const chart of charts) for (const line of chart.lines.values()) line.smooth = [];
  for (const chart of charts) chart.whole = true;
}

document.addEventListener('tunesmith:snapshot', ({ detail }) => {
  names = detail.names;
  of = detail.now.of ?? 0;
  for (const chart of charts) chart.clear();
  for (const [metric, told] of Object.entries(detail.series)) chartOf(metric)?.line(metric, told);
  wantAll(true);
});

document.addEventListener('tunesmith:news', ({ detail }) => {
  if (detail.from_step !== undefined) for (const chart of charts) chart.cut(detail.from_step);
  steps(detail.now);
  for (const { x, y } of detail.points ?? []) for (const metric in y) chartOf(metric)?.add(metric, x, y[metric]);
  if (detail.points || detail.from_step !== undefined) wantAll();
});

document.addEventListener('tunesmith:view', ({ detail }) => detail.view === 'watch' && loaded().catch(() => {}));
document.addEventListener('tunesmith:gone', () => charts.forEach(chart => chart.clear()));

function liked() {
  try { return JSON.parse(localStorage.getItem(KEPT)) ?? {}; } catch { return {}; }
}

function choose() {
  try { localStorage.setItem(KEPT, JSON.stringify({ smoothing: tools.smoothing.value, log: tools.log.checked })); } catch { /* storage may be forbidden */ }
  for (const chart of charts) for (const line of chart.lines.values()) line.smooth = [];
  wantAll(true);
}

tools.smoothing.value = liked().smoothing ?? 0;
tools.log.checked = liked().log ?? false;
tools.smoothing.addEventListener('input', choose);
tools.log.addEventListener('change', choose);
tools.reset.addEventListener('click', () => charts.forEach(chart => chart.zoomed && chart.reset()));
