// Shell: which view shows, and of which run. The address's fragment is the truth: #watch/RUN_ID, #journey/ID.
(() => {
  const VIEWS = ['start', 'choose', 'check', 'watch', 'try', 'publish', 'journey', 'runs'];
  const OF_A_RUN = ['watch', 'try', 'publish'];
  const KEPT = 'tunesmith-run';  // which run was open last; an id, nothing more

  const tunesmith = window.tunesmith = {
    view: 'start',
    run: '',
    journey: '',  // its id, or the name of a way that may be begun
    mounted: false,
    // Shows a view; keeps the run, or the journey, unless another is named.
    go(view, named) {
      const at = named ?? (view === 'journey' ? tunesmith.journey : tunesmith.run);
      const wanted = [...OF_A_RUN, 'journey'].includes(view) && at ? `#${view}/${encodeURIComponent(at)}` : `#${view}`;
      if (location.hash === wanted) arrive();
      else location.hash = wanted;
    },
    // Called once the page's pieces are there: what was asked for before is opened now.
    ready() {
      tunesmith.mounted = true;
      mark();
      open();
    },
  };

  function arrive() {
    const [view, run] = location.hash.slice(1).split('/');
    const before = place();
    tunesmith.view = VIEWS.includes(view) ? view : 'start';
    if (run) tunesmith[view === 'journey' ? 'journey' : 'run'] = named(run);
    try { localStorage.setItem(KEPT, tunesmith.run); } catch { /* storage may be forbidden */ }
    document.documentElement.dataset.view = tunesmith.view;
    mark();
    if (tunesmith.mounted) open(before !== place());
  }

  const place = () => [tunesmith.view, tunesmith.run, tunesmith.journey].join('/');

  function named(part) {
    try { return decodeURIComponent(part); } catch { return ''; }
  }

  function open(moved) {
    const { view, run } = tunesmith;
    if (moved) {
      scrollTo(0, 0);
      document.querySelector(`#view-${view} h1`)?.focus({ preventScroll: true });
    }
    document.querySelector(`#opened-${view}`)?.click();
    document.dispatchEvent(new CustomEvent('tunesmith:view', { detail: { view, run } }));
  }

  // The row of steps says where one is; steps that concern a run lead to the open one.
  function mark() {
    for (const link of document.querySelectorAll('[data-step]')) {
      const step = link.dataset.step;
      if (step === tunesmith.view) link.setAttribute('aria-current', 'step');
      else link.removeAttribute('aria-current');
      if (OF_A_RUN.includes(step)) link.href = tunesmith.run ? `#${step}/${encodeURIComponent(tunesmith.run)}` : `#${step}`;
    }
  }

  // The state of the open run, on the steps that need it: how far it is, what it gave, or that it stopped.
  let runs = [];
  function tell() {
    const run = runs.find(one => one.id === tunesmith.run);
    const share = run?.of ? `${Math.round(100 * run.step / run.of)} %` : '…';
    const mark = !run ? '' : run.alive ? share : run.state === 'finished' ? '✓' : run.state === 'new' ? '' : '!';
    const words = !run ? '' : run.alive ? 'learning' : run.state;
    const link = document.querySelector('[data-step=watch]');
    if (!link) return;
    link.querySelector('.mark').textContent = mark;
    link.title = run ? `${run.title}: ${words}` : '';
  }
  document.addEventListener('tunesmith:runs', ({ detail }) => { runs = detail; tell(); });
  document.addEventListener('tunesmith:view', tell);

  try { tunesmith.run = localStorage.getItem(KEPT) ?? ''; } catch { /* storage may be forbidden */ }
  addEventListener('hashchange', arrive);
  arrive();
})();
