// Examples token by token: an example is one strip of tokens, or a prompt and the answers to it, a strip each.

import { createText, isTouch } from './dom.js';
import { formatInteger } from './format.js';
import { locateToken, TokenStrip } from './token_strip.js';

/** @typedef {import('./token_strip.js').TokenData} TokenData */
/** @typedef {TokenData & {title: string, said: string, mark: string}} Side an answer beside its prompt */
/**
 * @typedef {TokenData & ExampleParts} Example
 * @typedef {object} ExampleParts
 * @property {string} [title]
 * @property {string} share how much of it is learned, in words
 * @property {string} mark a class
 * @property {string} [said] about the prompt
 * @property {Side[]} [sides]
 * @property {[name: string, text: string][]} [beside] columns that only the rewards see
 */
/** @typedef {{noun: string, rows: Example[], of?: number, at?: number, hint: string, touch_hint: string, more: boolean}} ViewerData */

/** How the tokens are explained, for fingers or for a pointer. @param {ViewerData} data */
const hintOf = data => (isTouch() ? data.touch_hint : data.hint);

const LONG_PROMPT = 120; // tokens; a longer one is folded above its answers

/** @param {import('./types.d.ts').MountContext} context */
export function mount({ element, props, trigger, watch }) {
  /** @type {ViewerData | null} */
  let data = null;
  /** @type {TokenStrip[]} */
  let strips = [];
  let position = 0; // of the example among data.rows

  /** @param {string} selector @param {string} text */
  const write = (selector, text) => {
    const target = element.querySelector(selector);
    if (target) target.textContent = text;
  };
  /** @param {(Node | string)[]} nodes */
  const describe = nodes => element.querySelector('.detail')?.replaceChildren(...nodes);

  function stopStrips() {
    for (const strip of strips) strip.stop();
    strips = [];
  }

  function readExamples() {
    stopStrips();
    const json = props.value.examples_json;
    data = json ? JSON.parse(json) : null;
    if (data?.rows.length) showExample(data.at ?? 0);
  }

  /** Shows an example from its beginning. @param {number} target @param {boolean} [hasFocus] */
  function showExample(target, hasFocus = false) {
    if (!data) return;
    const { rows, of: total = 0, more: canLoadMore } = data;
    if (target === rows.length && rows.length < total && canLoadMore) return trigger('expand');
    position = (target + rows.length) % rows.length;
    const example = rows[position];
    const title = exampleTitle(data, position);
    write('.count', title);
    write('.share', example.share);
    for (const button of /** @type {NodeListOf<HTMLElement>} */ (element.querySelectorAll('[data-go]'))) {
      button.setAttribute('aria-pressed', String(Number(button.dataset.go) === position));
    }
    drawExample(example, title);
    if (hasFocus) strips.find(({ length }) => length)?.focus(0);
    else write('.detail', hintOf(data));
  }

  /** @param {Example} example @param {string} title */
  function drawExample(example, title) {
    stopStrips();
    const className = example.sides ? 'prompt' : example.mark;
    const strip = new TokenStrip(example, `${title}, token by token`, describe, className);
    strips = [strip];
    const sections = [example.sides ? createPrompt(strip, example.said ?? '') : strip.box];
    if (example.sides) sections.push(createAnswers(example.sides));
    if (example.beside) sections.push(createHiddenColumns(example.beside));
    element.querySelector('.parts')?.replaceChildren(...sections);
    for (const drawn of strips) drawn.draw();
  }

  /** @param {Side[]} sides */
  function createAnswers(sides) {
    const box = createText('div', 'sides');
    for (const side of sides) {
      const strip = new TokenStrip(side, `${side.title}, token by token`, describe, `answer ${side.mark}`);
      strips.push(strip);
      box.append(createSection(side.title, side.said, strip));
    }
    return box;
  }

  readExamples();
  watch('value', readExamples);
  addListeners(element, {
    hasExamples: () => Boolean(data?.rows.length),
    showNext: (step, hasFocus) => showExample(position + step, hasFocus),
    showExample,
    showHint: () => data && write('.detail', hintOf(data)),
  });
}

/** Example 3 of 480 @param {ViewerData} data @param {number} position */
export const exampleTitle = ({ noun, rows, of: total }, position) =>
  rows[position].title ?? `${noun} ${formatInteger(position + 1)} of ${formatInteger(total ?? rows.length)}`;

/** What all answers continue: once, and folded where it is long. @param {TokenStrip} strip @param {string} note */
function createPrompt(strip, note) {
  if (!strip.length) return strip.box;
  const fold = createText('button', 'fold', 'Show all of it');
  fold.type = 'button';
  fold.hidden = strip.length <= LONG_PROMPT;
  fold.setAttribute('aria-expanded', 'false');
  fold.addEventListener('click', () => {
    const isOpen = strip.box.classList.toggle('open');
    fold.textContent = isOpen ? 'Show less of it' : 'Show all of it';
    fold.setAttribute('aria-expanded', String(isOpen));
  });
  return createSection('The prompt', note, strip, fold);
}

/** @param {string} title @param {string} note @param {TokenStrip} strip @param {...HTMLElement} controls */
function createSection(title, note, strip, ...controls) {
  const section = createText('section', 'side');
  const heading = createText('p', 'part-head');
  heading.append(createText('strong', '', title), note, ...controls);
  section.append(heading, strip.box);
  return section;
}

/** What the model does not see, and the rewards do. @param {[name: string, text: string][]} columns */
function createHiddenColumns(columns) {
  const list = createText('dl', 'beside');
  for (const [name, text] of columns) list.append(createText('dt', '', name), createText('dd', '', text));
  const box = createText('div', 'seen');
  box.append(createText('p', 'part-head', 'Only the rewards see this:'), list);
  return box;
}

// -- pointer and keyboard ---------------------------------------------------------------------------------------------

/**
 * @typedef {object} Actions
 * @property {() => boolean} hasExamples
 * @property {(step: number, hasFocus?: boolean) => void} showNext
 * @property {(position: number) => void} showExample
 * @property {() => void} showHint
 */

/** @param {HTMLElement} element @param {Actions} actions */
function addListeners(element, actions) {
  const keys = /** @type {Record<string, (strip: TokenStrip) => void>} */ ({
    ArrowRight: strip => strip.focus(strip.current + 1),
    ArrowLeft: strip => strip.focus(strip.current - 1),
    ArrowDown: strip => strip.focus(strip.neighbour(1)),
    ArrowUp: strip => strip.focus(strip.neighbour(-1)),
    Home: strip => strip.focus(0),
    End: strip => strip.focus(strip.length - 1),
    n: () => actions.showNext(1, true),
    p: () => actions.showNext(-1, true),
  });

  element.addEventListener('click', ({ target }) => {
    if (!actions.hasExamples() || !(target instanceof Element)) return;
    const stepButton = /** @type {HTMLElement | null} */ (target.closest('[data-by]'));
    const jumpButton = /** @type {HTMLElement | null} */ (target.closest('[data-go]'));
    if (stepButton) actions.showNext(Number(stepButton.dataset.by));
    if (jumpButton) actions.showExample(Number(jumpButton.dataset.go));
    const token = locateToken(target);
    token?.strip.focus(token.index);
  });

  element.addEventListener('keydown', event => {
    const token = locateToken(event.target);
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (!token || !keys[key] || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    keys[key](token.strip);
  });

  element.addEventListener('focusin', ({ target }) => {
    const token = locateToken(target);
    if (!token) return;
    // The keyboard's moves are read out, the pointer's are not.
    element.querySelector('.detail')?.setAttribute('aria-live', 'polite');
    token.strip.describe(token.index);
  });
  element.addEventListener('focusout', () => element.querySelector('.detail')?.setAttribute('aria-live', 'off'));

  element.addEventListener('pointerover', ({ target }) => {
    const token = locateToken(target);
    token?.strip.describe(token.index);
  });
  element.addEventListener('pointerout', ({ target, relatedTarget }) => {
    if (!locateToken(target) || locateToken(relatedTarget)) return;
    const focused = element.contains(document.activeElement) ? locateToken(document.activeElement) : undefined;
    if (focused) focused.strip.describe(focused.index);
    else actions.showHint();
  });
}
