// Live: one stream of news for the whole page. What arrives is told to the pieces as events on the document.
(() => {
  const OF_A_RUN = ['watch', 'try', 'publish'];
  const AWAY = 20_000;   // milliseconds a hidden tab keeps its stream: a browser opens few to one server
  const SILENT = 30_000; // without any message, not even a beat, the stream is taken for dead
  const FIRST = 10_000;  // without a first message, streams do not come through: then the page asks
  const ASK = 2_000;
  const UNREACHABLE = 'Tunesmith cannot be reached at the moment. This page goes on trying; runs go on without it.';
  const STARTED_AGAIN = 'Tunesmith was started again since this page was opened. Open the address that its terminal prints. ' +
    'Nothing is lost: runs go on, and this page shows them.';
  const live = tunesmith.live = { runs: undefined, now: undefined };
  let source, watchdog, failing, asking, leaving, mounted = false, streamed = false, refused = false, run = '', held = '', seq = -1, gone = '';

  // -- what arrives ------------------------------------------------------------------------------------------------
  const takes = {
    runs(data) {
      const known = new Map(data.whole ? [] : (live.runs ?? []).map(one => [one.id, one]));
      for (const one of data.runs) known.set(one.id, one);
      for (const id of data.gone ?? []) known.delete(id);
      live.runs = [...known.values()].sort((a, b) => (a.id < b.id ? 1 : -1));
      tell('runs', live.runs);
    },
    snapshot(data) { story('snapshot', data); },
    news(data) { story('news', data); },
    gone(data) {
      gone = data.run;
      live.now = undefined;
      tell('gone', data);
    },
    beat() {},
  };

  function story(name, data) {
    if (data.run !== run || (name === 'news' && data.seq < seq)) return;
    seq = data.seq;
    live.now = data.now;
    tell(name, data);
  }

  function tell(name, detail) {
    document.dispatchEvent(new CustomEvent(`tunesmith:${name}`, { detail }));
  }

  function take(name, data) {
    for (const timer of [watchdog, failing]) clearTimeout(timer);
    failing = undefined;
    watchdog = setTimeout(open, SILENT);
    say('');
    takes[name]?.(data);
  }

  // -- the stream --------------------------------------------------------------------------------------------------
  const wanted = () => (OF_A_RUN.includes(tunesmith.view) && tunesmith.run !== gone ? tunesmith.run : '');
  const address = path => `${path}?${new URLSearchParams(run ? { run, after: seq } : {})}`;

  function open() {
    close();
    run = wanted();
    if (run && run !== held) [held, seq] = [run, -1];  // the same run again: it goes on from what the page knows
    source = new EventSource(address('live'));
    streamed = false;
    for (const name of Object.keys(takes)) source.addEventListener(name, event => { streamed = true; take(name, JSON.parse(event.data)); });
    source.onerror = () => {
      if (source.readyState === EventSource.CLOSED) ask();
      else failing ??= setTimeout(ask, 3_000);  // the browser comes back by itself, and says which message was its last
    };
    watchdog = setTimeout(ask, FIRST);
  }

  function close() {
    source?.close();
    for (const timer of [watchdog, failing, asking]) clearTimeout(timer);
    failing = undefined;
  }

  // -- without a stream: why not, and the same news by asking ---------------------------------------------------------
  async function ask(times = 0) {
    close();
    const asked = run;
    let answer;
    try {
      answer = await fetch(address('live/news'), { cache: 'no-store' });
      if (answer.ok) for (const { event, data } of (await answer.json()).messages) take(event, data);
    } catch { answer = undefined; }
    if (asked !== run || document.hidden) return;  // another run was opened meanwhile
    if (!answer) say(UNREACHABLE);
    else if ([401, 403, 421].includes(answer.status)) { refused = true; say(STARTED_AGAIN); }
    else if (answer.status === 404) { takes.gone({ run, ...await answer.json() }); return open(); }
    else if (refused) return location.reload();  // somebody opened the new address in another tab: this one is let in too
    close();
    if (answer?.ok && streamed) return open();  // it was only cut
    const tired = !answer || times >= 15;  // time to try a stream again
    asking = setTimeout(tired && !refused ? open : () => ask(times + 1), ASK);
  }

  // -- when --------------------------------------------------------------------------------------------------------
  function follow() {
    if (!mounted || document.hidden) return;
    if (!source || source.readyState === EventSource.CLOSED || wanted() !== run) open();
  }

  addEventListener('visibilitychange', () => {
    clearTimeout(leaving);
    if (document.hidden) leaving = setTimeout(close, AWAY);
    else follow();
  });
  addEventListener('pagehide', close);
  addEventListener('pageshow', event => event.persisted && follow());
  document.addEventListener('tunesmith:view', () => {
    if (tunesmith.run !== gone) gone = '';
    if (mounted) return follow();
    requestAnimationFrame(() => setTimeout(() => { mounted = true; follow(); }));  // after the first paint
  });

  // -- what the person is told: over everything, so that nothing jumps ----------------------------------------------
  function say(text) {
    let notice = document.querySelector('.live-notice');
    if (!notice && !text) return;
    if (!notice) {
      notice = Object.assign(document.createElement('p'), { className: 'live-notice' });
      notice.setAttribute('role', 'status');
      document.body.append(notice);
    }
    notice.hidden = !text;
    if (notice.textContent !== text) notice.textContent = text;
  }
})();
