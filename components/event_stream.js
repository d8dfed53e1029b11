// The page's one event stream. Its messages reach the components as events on the document.

import { setText } from './dom.js';
import { emit, listen } from './page_events.js';
import { mergeRunSummaries } from './run_text.js';
import { page, RUN_VIEWS } from './page_state.js';

const HIDDEN_TIMEOUT = 20_000; // milliseconds a hidden tab keeps its stream: a browser opens few to one server
const SILENCE_TIMEOUT = 30_000; // without any message, not even a beat, the stream counts as dead
const FIRST_MESSAGE_TIMEOUT = 10_000; // without a first message, streams do not come through: then the page polls
const RETRY_GRACE = 3_000; // the browser reconnects by itself, and says which message was its last
const POLL_INTERVAL = 2_000;
const POLLS_BEFORE_STREAM = 15; // then a stream is tried again
const UNREACHABLE = 'Tunesmith cannot be reached at the moment. This page goes on trying; runs go on without it.';
const STARTED_AGAIN =
  'Tunesmith was started again since this page was opened. Open the address that its terminal prints. ' +
  'Nothing is lost: runs go on, and this page shows them.';

/** The newest state that the stream told: all runs, and where the open run is. */
const live = (page.live = /** @type {NonNullable<typeof page.live>} */ ({ runs: undefined, now: undefined }));

/** @type {EventSource | undefined} */
let source;
/** @typedef {ReturnType<typeof setTimeout> | undefined} Timer */
/** @type {Timer} */
let watchdog;
/** @type {Timer} */
let failureTimer;
/** @type {Timer} */
let pollTimer;
/** @type {Timer} */
let hiddenTimer;
let isMounted = false;
let hasStreamed = false; // the present stream has brought a message
let isRefused = false;
let run = ''; // the run that the stream follows
let lastRun = ''; // the run that `seq` belongs to
let seq = -1;
let deletedRun = '';

// -- messages ---------------------------------------------------------------------------------------------------------

const handlers = /** @type {Record<string, (data: any) => void>} */ ({
  runs(message) {
    live.runs = mergeRunSummaries(live.runs, message);
    emit('runs', live.runs);
  },
  snapshot: message => takeRunMessage('snapshot', message),
  news: message => takeRunMessage('news', message),
  gone(message) {
    deletedRun = message.run;
    live.now = undefined;
    emit('gone', message);
  },
  beat() {},
});

/** @param {'snapshot' | 'news'} name @param {any} message */
function takeRunMessage(name, message) {
  if (message.run !== run || (name === 'news' && message.seq < seq)) return;
  seq = message.seq;
  live.now = message.now;
  emit(name, message);
}

/** @param {string} name @param {any} message */
function takeMessage(name, message) {
  for (const timer of [watchdog, failureTimer]) clearTimeout(timer);
  failureTimer = undefined;
  watchdog = setTimeout(openStream, SILENCE_TIMEOUT);
  showNotice('');
  handlers[name]?.(message);
}

// -- the stream -------------------------------------------------------------------------------------------------------

const runToFollow = () => (RUN_VIEWS.includes(page.view) && page.run !== deletedRun ? page.run : '');
/** @param {string} path */
const withPosition = path => `${path}?${new URLSearchParams(run ? { run, after: String(seq) } : {})}`;

function openStream() {
  closeStream();
  run = runToFollow();
  if (run && run !== lastRun) [lastRun, seq] = [run, -1]; // the same run again continues from what the page knows
  const stream = new EventSource(withPosition('live'));
  source = stream;
  hasStreamed = false;
  for (const name of Object.keys(handlers)) {
    stream.addEventListener(name, event => {
      hasStreamed = true;
      takeMessage(name, JSON.parse(event.data));
    });
  }
  stream.onerror = () => {
    if (stream.readyState === EventSource.CLOSED) poll();
    else failureTimer ??= setTimeout(poll, RETRY_GRACE);
  };
  watchdog = setTimeout(poll, FIRST_MESSAGE_TIMEOUT);
}

function closeStream() {
  source?.close();
  for (const timer of [watchdog, failureTimer, pollTimer]) clearTimeout(timer);
  failureTimer = undefined;
}

// -- without a stream: why not, and the same messages by polling ------------------------------------------------------

async function poll(count = 0) {
  closeStream();
  const polledRun = run;
  const response = await fetchMessages();
  if (polledRun !== run || document.hidden) return; // another run was opened meanwhile
  if (!response) showNotice(UNREACHABLE);
  else if ([401, 403, 421].includes(response.status)) {
    isRefused = true;
    showNotice(STARTED_AGAIN);
  } else if (response.status === 404) {
    handlers.gone({ run, ...(await response.json()) });
    return openStream();
  } else if (isRefused) return location.reload(); // the new address was opened in another tab: this one is let in too
  closeStream();
  if (response?.ok && hasStreamed) return openStream(); // it was only cut
  const triesStream = !response || count >= POLLS_BEFORE_STREAM;
  pollTimer = setTimeout(triesStream && !isRefused ? openStream : () => poll(count + 1), POLL_INTERVAL);
}

async function fetchMessages() {
  try {
    const response = await fetch(withPosition('live/news'), { cache: 'no-store' });
    if (response.ok) for (const { event, data } of (await response.json()).messages) takeMessage(event, data);
    return response;
  } catch {
    return undefined;
  }
}

// -- when -------------------------------------------------------------------------------------------------------------

function followRun() {
  if (!isMounted || document.hidden) return;
  if (!source || source.readyState === EventSource.CLOSED || runToFollow() !== run) openStream();
}

addEventListener('visibilitychange', () => {
  clearTimeout(hiddenTimer);
  if (document.hidden) hiddenTimer = setTimeout(closeStream, HIDDEN_TIMEOUT);
  else followRun();
});
addEventListener('pagehide', closeStream);
addEventListener('pageshow', event => event.persisted && followRun());
listen('view', () => {
  if (page.run !== deletedRun) deletedRun = '';
  if (isMounted) return followRun();
  requestAnimationFrame(() =>
    setTimeout(() => {
      isMounted = true;
      followRun();
    }),
  ); // after the first paint
});

// -- the notice, which lies over everything so that nothing moves -----------------------------------------------------

/** @param {string} text */
function showNotice(text) {
  /** @type {HTMLElement | null} */
  let notice = document.querySelector('.live-notice');
  if (!notice && !text) return;
  if (!notice) {
    notice = Object.assign(document.createElement('p'), { className: 'live-notice' });
    notice.setAttribute('role', 'status');
    document.body.append(notice);
  }
  notice.hidden = !text;
  setText(notice, text);
}
