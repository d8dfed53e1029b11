// Curves: draws a run's numbers with plotly as the stream tells them. `element` is the piece's own place on the page; line.js
// and chart.js go before.
const KEPT = 'tunesmith-charts';   // how a person likes their charts: smoothing and scale
const root = element.querySelector('.charts');
const { fixed, groups, rewarded } = JSON.parse(root.dataset.charts);
const tools = Object.fromEntries([...root.querySelectorAll('[data-tool]')].map(one => [one.dataset.tool, one]));
const touch = matchMedia('(pointer: coarse)').matches;  // there a finger scrolls the page
const [more, fold, blank] = ['.more', '.fold', 'template'].map(name => root.querySelector(name));
const SHOWN = 4;  // of a method's own charts that are always in sight
const queue = [], lasting = fixed.map(spec => new Chart(spec, root.querySelector(`[data-chart="${spec.name}"]`)));
const [loss, score] = ['loss', 'score'].map(name => lasting.find(chart => chart.spec.name === name));
let of = 0, names = {}, library, own = [], charts = lasting;

// Its method's own charts first: then what is tested and rewarded belongs to the score, and nothing else is drawn.
const chartOf = metric => charts.find(chart => chart.spec.metrics.includes(metric)) ?? (/^(eval|reward)\//.test(metric) ? score : undefined);

// A method's own numbers: in groups that belong together, what is in none alone. Charts of the run before go.
function specsOf(told) {
  const declared = Object.keys(told).filter(metric => !fixed.some(spec => spec.metrics.includes(metric)) && !/^eval\/|^reward\/.+\/mean$/.test(metric));
  const grouped = groups.filter(spec => spec.metrics.some(metric => declared.includes(metric)));
  const alone = declared.filter(metric => !groups.some(spec => spec.metrics.includes(metric)));
  return [...grouped, ...alone.map(metric => ({ name: metric, title: told[metric].charAt(0).toUpperCase() + told[metric].slice(1), hint: '', metrics: [metric] }))];
}

function furnish(specs) {
  if (JSON.stringify(specs) === JSON.stringify(own.map(chart => chart.spec))) return;
  for (const chart of own) chart.leave();
  own = specs.map(spec => {
    const figure = blank.content.firstElementChild.cloneNode(true);
    figure.dataset.chart = spec.name;
    figure.querySelector('.chart-title').textContent = spec.title;
    figure.querySelector('button small').textContent = spec.hint;
    fold.lastChild.append(figure);
    return new Chart(spec, figure);
  });
  charts = [...own, ...lasting];
}

// What stands where there are no points yet, and which of the method's own charts this run has no use for.
function wait(now) {
  const ended = !now.alive && now.state !== 'new', begun = now.step > 0;
  const scored = Object.keys(names).some(metric => metric !== 'reward/mean' && chartOf(metric) === score);
  for (const chart of charts) {
    chart.wait(chart === score && !scored ? 'This lesson has no score: its loss tells how it goes.'
      : ended ? (begun ? 'This run tells no such numbers.' : 'It ended before its first step.') : 'The first point comes after the first step.');
  }
  for (const chart of own) chart.figure.hidden = begun && !chart.lines.size;
  arrange();
}

// The most telling in sight, the rest behind a line.
function arrange() {
  const figures = own.filter(chart => !chart.figure.hidden).map(chart => chart.figure), [first, rest] = [figures.slice(0, SHOWN), figures.slice(SHOWN)];
  if (more.children.length === first.length && first.every((one, i) => one === more.children[i])) return;
  more.replaceChildren(...first);
  fold.lastChild.replaceChildren(...rest, ...own.map(chart => chart.figure).filter(one => one.hidden));
  fold.hidden = !rest.length;
  fold.firstChild.textContent = `More numbers of this lesson (${rest.length})`;
}

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
  furnish(specsOf(names));
  loss.say(rewarded.includes(detail.method) ? 'not an error here, and it need not fall: watch the score' : loss.spec.hint);
  for (const chart of charts) chart.clear();
  for (const [metric, told] of Object.entries(detail.series)) chartOf(metric)?.line(metric, told);
  wait(detail.now);
  wantAll(true);
});

document.addEventListener('tunesmith:news', ({ detail }) => {
  if (detail.from_step !== undefined) for (const chart of charts) chart.cut(detail.from_step);
  steps(detail.now);
  for (const { x, y } of detail.points ?? []) for (const metric in y) chartOf(metric)?.add(metric, x, y[metric]);
  wait(detail.now);
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
