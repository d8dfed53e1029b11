// Runs list: draws the runs in the side and on their own page. Titles are strangers' text: textContent only.
(() => {
  const WORDS = { new: 'Not started', waiting: 'Waiting for its turn', preparing: 'Getting ready', loading: 'Loading the model',
    training: 'Learning', evaluating: 'Testing', saving: 'Saving', stopping: 'Stopping', finished: 'Finished',
    stopped: 'Stopped', failed: 'Failed', lost: 'Lost', damaged: 'Damaged: its files cannot be read' };
  const MARKS = { new: '○', finished: '✓', stopped: '!', failed: '!', lost: '!', damaged: '!' };
  const SIDE = 20, PAGE = 100;  // how many are drawn; more of the page's on request
  const DEEDS = [['rename', 'Rename'], ['link', 'Copy a link to its setup'], ['again', 'Use this setup again'],
    ['tidy', 'Keep only the best and the last checkpoint'], ['delete', 'Delete']];
  let newest = [], every = null, shown = PAGE;

  // -- what is said of a run ---------------------------------------------------------------------------------------
  const words = run => WORDS[run.state] ?? run.state;
  const share = run => run.of ? `${Math.floor(100 * run.step / run.of)} %` : '';
  const outcome = run => (run.alive ? share(run) : run.result) ?? '';
  const said = run => run.alive ? [words(run), share(run)].filter(Boolean).join(', ') : sentence(run);
  // “stopped at 84 of 120” says its state by itself.
  const sentence = run => run.result?.startsWith(run.state) ? capital(run.result) : [words(run), run.result].filter(Boolean).join(', ');
  const capital = text => text[0].toUpperCase() + text.slice(1);
  const bytes = count => count < 1e6 ? `${Math.ceil(count / 1e3)} kB` : count < 1e9 ? `${(count / 1e6).toFixed(1)} MB` : `${(count / 1e9).toFixed(1)} GB`;
  const when = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit' });

  // -- small pieces ------------------------------------------------------------------------------------------------
  function piece(name, classes = '', text = '') {
    const made = document.createElement(name);
    if (classes) made.className = classes;
    if (text) made.textContent = text;
    return made;
  }

  function set(element, text) {
    if (element.textContent !== text) element.textContent = text;
  }

  function spark() {
    const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
    svg.setAttribute('viewBox', '0 0 96 24');
    svg.setAttribute('class', 'spark');
    svg.setAttribute('aria-hidden', 'true');
    svg.append(document.createElementNS(svg.namespaceURI, 'polyline'));
    return svg;
  }

  function line(svg, values) {
    const apart = 92 / Math.max(1, values.length - 1);
    svg.firstChild.setAttribute('points', values.map((value, i) => `${(2 + i * apart).toFixed(1)},${(22 - 20 * value).toFixed(1)}`).join(' '));
  }

  // Rows are kept by id, so that focus and open menus survive news.
  function draw(list, runs, make, fill) {
    const rows = list.rows ??= new Map();
    runs.forEach((run, place) => {
      if (!rows.has(run.id)) rows.set(run.id, make(run));
      const row = rows.get(run.id);
      row.dataset.state = run.state;
      row.classList.toggle('alive', run.alive);
      fill(row, run);
      if (list.children[place] !== row) list.insertBefore(row, list.children[place] ?? null);
    });
    const kept = new Set(runs.map(run => run.id));
    for (const [id, row] of rows) if (!kept.has(id)) { row.remove(); rows.delete(id); }
  }

  const address = run => `#watch/${encodeURIComponent(run.id)}`;

  // -- the side ----------------------------------------------------------------------------------------------------
  function sideRow(run) {
    const row = piece('li'), link = piece('a', 'run');
    link.href = address(run);
    const mark = piece('span', 'mark'), come = piece('span', 'come');
    mark.ariaHidden = come.ariaHidden = 'true';
    link.append(mark, piece('span', 'name'), come, spark(), piece('span', 'unseen'));
    row.append(link);
    return row;
  }

  function sideFill(row, run) {
    const [mark, name, come, svg, unseen] = row.firstChild.children;
    set(mark, run.alive ? '●' : MARKS[run.state] ?? '!');
    set(name, run.title);
    set(come, run.alive ? share(run) || words(run) : outcome(run) || words(run));
    set(unseen, said(run));
    row.firstChild.title = `${run.title}: ${said(run)}`;
    line(svg, run.spark);
  }

  function side() {
    const list = document.querySelector('#side-runs');
    if (!list) return;
    draw(list, newest.slice(0, SIDE), sideRow, sideFill);
    list.hidden = !newest.length;
    document.querySelector('#side-empty').hidden = newest.length > 0;
    document.querySelector('#side-all').hidden = !newest.length;
    const going = newest.filter(run => run.alive).length;
    set(document.querySelector('#side-fold summary'), going ? `Runs, ${going} going on` : 'Runs');
    here();
  }

  function here() {
    const open = ['watch', 'try', 'publish'].includes(tunesmith.view) ? `#watch/${encodeURIComponent(tunesmith.run)}` : '';
    for (const link of document.querySelectorAll('#side-runs a, #all-runs a.name')) {
      if (link.getAttribute('href') === open) link.setAttribute('aria-current', 'true');
      else link.removeAttribute('aria-current');
    }
  }

  // -- the page of all runs ----------------------------------------------------------------------------------------
  function pageRow(run) {
    const row = piece('li', 'run'), name = piece('a', 'name'), more = piece('details', 'more'), mark = piece('span', 'mark');
    mark.ariaHidden = 'true';
    name.href = address(run);
    const menu = piece('div', 'menu');
    for (const [deed, text] of DEEDS) {
      const button = piece('button', '', text);
      button.type = 'button';
      button.dataset.deed = deed;
      button.dataset.run = run.id;
      menu.append(button);
    }
    more.append(piece('summary', '', 'More'), menu);
    row.append(mark, name, spark(), piece('span', 'come'), piece('time'), piece('span', 'bytes'), more, journey(run));
    return row;
  }

  // A lesson of several leads to them all.
  function journey(run) {
    const link = piece('a', 'of-journey', run.journey ? 'Part of a journey' : '');
    link.hidden = !run.journey;
    if (run.journey) link.href = `#journey/${encodeURIComponent(run.journey.split('/')[0])}`;
    return link;
  }

  function pageFill(row, run) {
    const [mark, name, svg, come, time, weight, more] = row.children;
    set(mark, run.alive ? '●' : MARKS[run.state] ?? '!');
    set(name, run.title);
    line(svg, run.spark);
    set(come, said(run));
    set(time, when.format(run.started * 1000));
    time.dateTime = new Date(run.started * 1000).toISOString();
    set(weight, bytes(run.bytes));
    more.firstChild.ariaLabel = `More for ${run.title}`;
    for (const button of more.querySelectorAll('[data-deed=tidy], [data-deed=delete]')) button.disabled = run.alive;
    for (const button of more.querySelectorAll('[data-deed]:not([data-deed=delete])')) button.hidden = run.state === 'damaged';
  }

  function page() {
    const list = document.querySelector('#all-runs');
    if (!list || !every) return;
    const wanted = document.querySelector('#runs-filter').value.trim().toLowerCase();
    const fit = every.filter(run => `${run.title} ${said(run)} ${run.id}`.toLowerCase().includes(wanted));
    draw(list, fit.slice(0, shown), pageRow, pageFill);
    document.querySelector('#runs-none').hidden = every.length > 0;
    document.querySelector('#runs-tools').hidden = !every.length;
    document.querySelector('#runs-nothing').hidden = fit.length > 0 || !every.length;
    document.querySelector('#runs-more').hidden = fit.length <= shown;
    const total = bytes(every.reduce((sum, run) => sum + run.bytes, 0));
    const count = wanted ? `${fit.length.toLocaleString('en')} of ${every.length.toLocaleString('en')} runs` : `${every.length.toLocaleString('en')} run${every.length === 1 ? '' : 's'}`;
    set(document.querySelector('#runs-count'), `${count}, ${total} on disk`);
    here();
  }

  // The newest runs as they are now, laid over the whole list; what left the newest was deleted.
  function merged(runs) {
    const fresh = new Map(runs.map(run => [run.id, run])), oldest = runs.at(-1)?.id ?? '';
    return [...runs, ...every.filter(run => !fresh.has(run.id) && runs.length >= SIDE && run.id < oldest)];
  }

  // -- deeds: hidden buttons of the page carry what was asked to the server ----------------------------------------
  function press(deed, id, text = '') {
    tunesmith.asked = { run: id, text };
    document.querySelector(`#runs-${deed}`).click();
  }

  function ask(deed, run) {
    const dialog = document.querySelector('#runs-dialog'), field = dialog.querySelector('input'), renaming = deed === 'rename';
    set(dialog.querySelector('h2'), renaming ? 'Rename this run' : `Delete “${run.title}”?`);
    set(dialog.querySelector('p'), renaming ? 'Links to it stay as they are.'
      : `${when.format(run.started * 1000)}, ${said(run).replace(/^./, first => first.toLowerCase())}. This frees ${bytes(run.bytes)}: its setup, curves, answers, checkpoints and result. It cannot be taken back.`);
    dialog.querySelector('label').hidden = !renaming;
    field.value = run.title;
    const [yes, no] = ['yes', 'no'].map(value => dialog.querySelector(`[value=${value}]`));
    set(yes, renaming ? 'Rename' : 'Delete');
    set(no, renaming ? 'Leave it' : 'Keep it');
    yes.className = renaming ? 'button primary' : 'button wrong';
    dialog.returnValue = '';
    dialog.onclose = () => {
      if (dialog.returnValue !== 'yes') return;
      if (!renaming && tunesmith.run === run.id) tunesmith.run = '';
      press(deed, run.id, field.value);
    };
    dialog.showModal();
    if (renaming) field.select(); else no.focus();  // Enter must not erase a run
  }

  document.addEventListener('click', event => {
    const button = event.target.closest?.('#view-runs [data-deed]');
    if (button) {
      const run = every.find(one => one.id === button.dataset.run), deed = button.dataset.deed;
      const menu = button.closest('details');
      menu.open = false;
      menu.firstChild.focus();
      if (deed === 'rename' || deed === 'delete') ask(deed, run);
      else press(deed, run.id);
      document.querySelector('#runs-address').hidden = true;  // a link that was copied is of before
    } else if (event.target.closest?.('#runs-more')) {
      shown += PAGE;
      page();
    } else if (event.target.closest?.('#runs-nothing button')) {
      document.querySelector('#runs-filter').value = '';
      page();
      document.querySelector('#runs-filter').focus();
    }
    for (const menu of document.querySelectorAll('#all-runs details[open]')) if (!menu.contains(event.target)) menu.open = false;
  });
  document.addEventListener('keydown', event => {
    const menu = event.key === 'Escape' && event.target.closest?.('#all-runs details[open]');
    if (menu) { menu.open = false; menu.firstChild.focus(); }
  });
  document.addEventListener('input', event => {
    if (event.target.id === 'runs-filter') { shown = PAGE; page(); }
  });

  // -- news --------------------------------------------------------------------------------------------------------
  document.addEventListener('tunesmith:runs', event => {
    newest = event.detail;
    if (every) every = merged(newest);
    side();
    page();
  });
  document.addEventListener('tunesmith:view', here);

  Object.assign(window.tunesmith, {
    // What the server told: the newest runs for the side, or all of them for their page.
    listed(text, all) {
      if (!text) return;
      const runs = JSON.parse(text);
      if (all) every = runs;
      newest = runs.slice(0, SIDE);
      fold();
      side();
      page();
    },
    async copied(code) {
      if (!code) return;
      const link = `${location.origin}${location.pathname}?setup=${code}`;
      const field = document.querySelector('#runs-address');
      field.hidden = false;
      field.querySelector('input').value = link;
      field.querySelector('input').select();
      let said = 'Copy this link:';
      try { await navigator.clipboard.writeText(link); said = 'Copied. It opens this setup and starts nothing:'; } catch { /* a page without https may not write there */ }
      set(field.querySelector('span'), said);
    },
  });

  // On narrow screens the runs are folded away; on wide ones they are always there.
  const narrow = matchMedia('(max-width: 899px)');
  const fold = () => { const piece = document.querySelector('#side-fold'); if (piece) piece.open = !narrow.matches; };
  narrow.addEventListener('change', fold);
})();
