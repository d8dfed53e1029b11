// A run's metrics as live charts. Plotly is large: it is loaded once a chart is needed.

import { Chart } from './chart.js';
import { methodChartSpecs, smoothingSpan } from './chart_layout.js';
import { query } from './dom.js';
import { listen } from './page_events.js';

const STORAGE_KEY = 'tunesmith-charts'; // a person's smoothing and scale
const ALWAYS_VISIBLE = 4; // of a method's own charts; the others are folded away
const NO_SUCH_METRIC = 'This run tells no such numbers.';
const ENDED_EARLY = 'It ended before its first step.';
const NOT_YET = 'The first point comes after the first step.';
const REWARD_LOSS_HINT = 'not an error here, and it need not fall: watch the score';

/** @param {import('./types.d.ts').MountContext} context */
export function mount({ element, props }) {
  const root = query(element, '.charts');
  const { fixed, groups, rewarded } = props.charts;
  const smoothing = query(root, '[data-tool=smoothing]', HTMLInputElement);
  const logScale = query(root, '[data-tool=log]', HTMLInputElement);
  const resetButton = query(root, '[data-tool=reset]', HTMLButtonElement);
  const visible = query(root, '.more');
  const fold = query(root, '.fold.of-method');
  const foldSummary = query(fold, 'summary');
  const folded = query(fold, '.more');
  const template = query(root, 'template', HTMLTemplateElement);
  const drawNextChart = createDrawQueue(() => loadPlotly(props.plotly_url));

  /** @type {import('./chart.js').Board} */
  const board = {
    names: {},
    totalSteps: 0,
    isTouch: matchMedia('(pointer: coarse)').matches,
    isLogScale: () => logScale.checked,
    smoothingSpan: () => smoothingSpan(Number(smoothing.value), board.totalSteps),
    requestDraw: drawNextChart,
    showZoom() {
      resetButton.disabled = !charts.some(chart => chart.isZoomed);
    },
  };

  const fixedCharts = fixed.map(
    (/** @type {import('./types.d.ts').ChartSpec} */ spec) =>
      new Chart(spec, query(root, `[data-chart="${spec.name}"]`), board),
  );
  const fixedChart = (/** @type {string} */ name) =>
    fixedCharts.find((/** @type {Chart} */ { spec }) => spec.name === name);
  const lossChart = fixedChart('loss');
  const scoreChart = fixedChart('score');
  const noScore = query(root, '.no-score');
  /** @type {Chart[]} */
  let methodCharts = [];
  /** @type {Chart[]} */
  let charts = fixedCharts;

  // A method's own charts come first: then what is tested and rewarded belongs to the score, and nothing else is drawn.
  /** @param {string} metric @returns {Chart | undefined} */
  function chartOf(metric) {
    const named = charts.find(({ spec }) => spec.metrics.includes(metric));
    return named ?? (/^(eval|reward)\//.test(metric) ? scoreChart : undefined);
  }

  function createMethodCharts() {
    const specs = methodChartSpecs(board.names, fixed, groups);
    if (JSON.stringify(specs) === JSON.stringify(methodCharts.map(({ spec }) => spec))) return;
    for (const chart of methodCharts) chart.remove();
    methodCharts = specs.map(spec => new Chart(spec, createFigure(spec), board));
    charts = [...methodCharts, ...fixedCharts];
  }

  /** @param {import('./types.d.ts').ChartSpec} spec */
  function createFigure(spec) {
    const figure = /** @type {HTMLElement} */ (template.content.firstElementChild?.cloneNode(true));
    figure.dataset.chart = spec.name;
    query(figure, '.chart-title').textContent = spec.title;
    query(figure, 'button small').textContent = spec.hint;
    folded.append(figure);
    return figure;
  }

  // What is written where there are no points yet, and which of the method's own charts this run has no use for.
  /** @param {import('./types.d.ts').RunProgress} now */
  function showPlaceholders(now) {
    const hasEnded = !now.alive && now.state !== 'new';
    const hasBegun = now.step > 0;
    const hasScore = Object.keys(board.names).some(
      metric => metric !== 'reward/mean' && chartOf(metric) === scoreChart,
    );
    const reason = !hasEnded ? NOT_YET : hasBegun ? NO_SUCH_METRIC : ENDED_EARLY;
    for (const chart of charts) chart.setPlaceholder(reason);
    const isWithoutScore = !hasScore && Object.keys(board.names).length > 0;
    scoreChart.figure.hidden = isWithoutScore;
    noScore.hidden = !isWithoutScore;
    for (const chart of methodCharts) chart.figure.hidden = hasBegun && !chart.series.size;
    arrangeMethodCharts();
  }

  // The most telling ones are visible, the others folded away.
  function arrangeMethodCharts() {
    const figures = methodCharts.map(({ figure }) => figure);
    const used = figures.filter(figure => !figure.hidden);
    const [first, others] = [used.slice(0, ALWAYS_VISIBLE), used.slice(ALWAYS_VISIBLE)];
    if (visible.children.length === first.length && first.every((figure, i) => figure === visible.children[i])) return;
    visible.replaceChildren(...first);
    folded.replaceChildren(...others, ...figures.filter(figure => figure.hidden));
    fold.hidden = !others.length;
    foldSummary.textContent = `More numbers of this lesson (${others.length})`;
  }

  function drawAll(isRedrawn = false) {
    for (const chart of charts) {
      chart.needsRedraw ||= isRedrawn;
      chart.requestDraw();
    }
  }

  /** @param {import('./types.d.ts').RunProgress | undefined} now */
  function followTotalSteps(now) {
    if ((now?.of ?? 0) === board.totalSteps) return;
    board.totalSteps = now?.of ?? 0;
    for (const chart of charts) {
      chart.forgetSmoothing();
      chart.needsRedraw = true;
    }
  }

  listen('snapshot', snapshot => {
    board.names = snapshot.names;
    board.totalSteps = snapshot.now.of ?? 0;
    createMethodCharts();
    lossChart.setHint(rewarded.includes(snapshot.method) ? REWARD_LOSS_HINT : lossChart.spec.hint);
    for (const chart of charts) chart.clear();
    for (const [metric, data] of Object.entries(snapshot.series)) chartOf(metric)?.setSeries(metric, data);
    showPlaceholders(snapshot.now);
    drawAll(true);
  });

  listen('news', ({ from_step: resumedFrom, now, points }) => {
    if (resumedFrom !== undefined) for (const chart of charts) chart.truncate(resumedFrom);
    followTotalSteps(now);
    for (const { x, y } of points ?? []) for (const metric in y) chartOf(metric)?.append(metric, x, y[metric]);
    showPlaceholders(now);
    if (points || resumedFrom !== undefined) drawAll();
  });

  listen('view', ({ view }) => {
    if (view === 'watch') loadPlotly(props.plotly_url).catch(() => {});
  });
  listen('gone', () => charts.forEach(chart => chart.clear()));

  function saveChoices() {
    try {
      localStorage.setItem(STORAGE_KEY, JSON.stringify({ smoothing: smoothing.value, log: logScale.checked }));
    } catch {
      // storage may be forbidden
    }
    for (const chart of charts) chart.forgetSmoothing();
    drawAll(true);
  }

  const choices = readChoices();
  smoothing.value = choices.smoothing ?? '0';
  logScale.checked = choices.log ?? false;
  smoothing.addEventListener('input', saveChoices);
  logScale.addEventListener('change', saveChoices);
  resetButton.addEventListener('click', () => charts.forEach(chart => chart.isZoomed && chart.resetZoom()));
}

/** @returns {{smoothing?: string, log?: boolean}} */
function readChoices() {
  try {
    return JSON.parse(localStorage.getItem(STORAGE_KEY) ?? '{}') ?? {};
  } catch {
    return {};
  }
}

/**
 * Draws one chart a frame, so that no frame waits for two.
 * @param {() => Promise<void>} load what has to be there first
 * @returns {(chart: Chart) => void} adds a chart
 */
function createDrawQueue(load) {
  /** @type {Chart[]} */
  const queue = [];

  async function drawNext() {
    try {
      await load();
      const chart = queue.shift();
      if (chart?.canDraw) chart.draw();
    } catch (error) {
      queue.length = 0;
      console.error(error);
    }
    if (queue.length) requestAnimationFrame(drawNext);
  }

  return chart => {
    if (queue.includes(chart)) return;
    queue.push(chart);
    if (queue.length === 1) requestAnimationFrame(drawNext);
  };
}

/** @type {Promise<void> | undefined} */
let plotlyLoading;

/** @param {string} address */
function loadPlotly(address) {
  plotlyLoading ??= globalThis.Plotly
    ? Promise.resolve()
    : new Promise((resolve, reject) => {
        const script = document.createElement('script');
        script.src = address;
        script.onload = () => resolve();
        script.onerror = () => {
          plotlyLoading = undefined;
          reject(new Error('The charts could not be loaded.'));
        };
        document.head.append(script);
      });
  return plotlyLoading;
}
