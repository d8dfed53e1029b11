// A box of tokens. Only what is near the visible part is drawn, so that 32,000 tokens scroll like 300.

import { createText } from './dom.js';
import { formatInteger } from './format.js';

/**
 * Tokens in few bytes, see components/tokens.py.
 * @typedef {object} TokenData
 * @property {string[]} texts
 * @property {number[]} ids
 * @property {string} kinds one digit a token: 1 trained + 2 special + 4 cut off
 * @property {[end: number, reason: string][]} whys why tokens are trained or not, by where each stretch ends
 * @property {string} does what happens to trained tokens
 * @property {[start: number, title: string][]} [bounds] where documents begin
 * @property {string} [after] what fills the rest of the row
 */

const MIN_CHUNK = 60; // tokens; a chunk ends at the end of a line if there is one between the two
const MAX_CHUNK = 240;
const SMALL_STRIP = 1000; // tokens of a strip that is drawn completely
const DRAWN_AHEAD = '600px 0px'; // chunks this near to the visible part are drawn
const LINE_HEIGHT = 30; // pixels
const TOKEN_CLASSES = ['trained', 'special', 'cut']; // one bit each
const TRAINED = 1;
const SPECIAL = 2;
const CUT = 4;

/** @typedef {{start: number, end: number, title?: string, element: HTMLElement, isDrawn: boolean}} Chunk */

/** @type {WeakMap<EventTarget, {strip: TokenStrip, index: number}>} */
const tokenPositions = new WeakMap();

/** Which token an event's target is; undefined where it is none. @param {EventTarget | null | undefined} target */
export const locateToken = target => (target ? tokenPositions.get(target) : undefined);

export class TokenStrip {
  /** @type {Chunk[]} */
  chunks = [];
  current = 0; // the token that is the tab stop
  /** @type {IntersectionObserver | undefined} */
  observer = undefined;

  /**
   * @param {TokenData} tokens
   * @param {string} label
   * @param {(nodes: (Node | string)[]) => void} onDescribe hears of the token that the keyboard or the pointer is on
   * @param {string} [className]
   */
  constructor(tokens, label, onDescribe, className = '') {
    this.tokens = tokens;
    this.onDescribe = onDescribe;
    this.box = createText('div', `tokens ${className}`);
    this.box.setAttribute('role', 'listbox');
    this.box.setAttribute('aria-orientation', 'horizontal');
    this.box.setAttribute('aria-label', label);
  }

  get length() {
    return this.tokens.texts.length;
  }

  /** Draws it; its box has to be in the page, as its width counts. */
  draw() {
    const { tokens, box } = this;
    const observer = new IntersectionObserver(entries => this.#drawVisible(entries), {
      root: box,
      rootMargin: DRAWN_AHEAD,
    });
    this.observer = observer;
    const columns = Math.max(20, box.clientWidth / 9.5);
    this.chunks = chunkBounds(tokens).map(([start, end]) => this.#createChunk(start, end, columns));
    const elements = this.chunks.flatMap(({ title, element }) =>
      title ? [createText('div', 'bound', title), element] : [element],
    );
    if (tokens.after) elements.push(createText('div', 'bound pad', tokens.after));
    if (!this.length) elements.push(createText('p', 'nothing', 'Nothing stands here.'));
    box.replaceChildren(...elements);
    box.scrollTop = 0;
    for (const chunk of this.chunks) {
      if (this.length <= SMALL_STRIP) this.#drawChunk(chunk);
      else observer.observe(chunk.element);
    }
    this.current = characterEnd(this.tokens, 0);
    if (this.chunks.length) this.#tokenElement(this.current).tabIndex = 0;
  }

  stop() {
    this.observer?.disconnect();
  }

  /** Moves the keyboard's focus to a token. @param {number} index */
  focus(index) {
    if (!this.chunks.length) return;
    this.#tokenElement(this.current).removeAttribute('tabindex');
    const target = Math.max(0, Math.min(this.length - 1, index));
    // A character of several tokens is one box, at the last of them.
    this.current =
      index < this.current && characterEnd(this.tokens, target) === this.current
        ? Math.max(0, characterStart(this.tokens, this.current) - 1)
        : characterEnd(this.tokens, target);
    this.current = characterEnd(this.tokens, this.current);
    const element = this.#tokenElement(this.current);
    element.tabIndex = 0;
    element.focus({ preventScroll: true });
    element.scrollIntoView({ block: 'nearest' });
    this.describe(this.current);
  }

  /**
   * The token that is nearest below (direction 1) or above (-1) the current one, on the next line.
   * @param {1 | -1} direction
   */
  neighbour(direction) {
    const here = this.#tokenElement(this.current).getBoundingClientRect();
    const distance = (/** @type {DOMRect} */ box) => Math.abs(box.left - here.left);
    let nearest = this.current;
    let nearestDistance = Infinity;
    let lineTop;
    for (let i = this.current + direction; i >= 0 && i < this.length; i += direction) {
      const box = this.#tokenElement(i).getClientRects()[0];
      const isOnThisLine = box && (direction > 0 ? box.top < here.bottom - 4 : box.bottom > here.top + 4);
      if (!box || isOnThisLine) continue;
      if (lineTop !== undefined && Math.abs(box.top - lineTop) > 4) break;
      if (distance(box) < nearestDistance) [nearest, nearestDistance] = [i, distance(box)];
      lineTop ??= box.top;
    }
    return nearest;
  }

  /** Tells of a token: its text, why it is learned or not, its number and id. @param {number} index */
  describe(index) {
    const { texts, ids } = this.tokens;
    const start = characterStart(this.tokens, index);
    const text = texts[index] ? `“${texts[index].replaceAll('\n', '⏎').slice(0, 60)}”` : 'a piece of a character';
    const special = Number(this.tokens.kinds[index]) & SPECIAL ? ' · special' : '';
    const number =
      start < index
        ? `one character of tokens ${formatInteger(start + 1)} to ${formatInteger(index + 1)}`
        : `token ${formatInteger(index + 1)}`;
    const id = start < index ? `ids ${ids.slice(start, index + 1).join(', ')}` : `id ${ids[index]}`;
    const position = `${number} of ${formatInteger(this.length)} · ${id}${special}`;
    this.onDescribe([createText('b', '', text), ` – ${tokenReason(this.tokens, index)} · ${position}`]);
  }

  /**
   * An empty chunk, about as high as it will be.
   * @param {number} start
   * @param {number} end
   * @param {number} columns
   * @returns {Chunk}
   */
  #createChunk(start, end, columns) {
    const element = createText('div', 'chunk');
    const lines = countLines(this.tokens.texts.slice(start, end).join(''), columns);
    element.style.setProperty('--about', `${lines * LINE_HEIGHT}px`);
    const title = this.tokens.bounds?.find(([boundStart]) => boundStart === start)?.[1];
    return { start, end, title, element, isDrawn: false };
  }

  /** @param {IntersectionObserverEntry[]} entries */
  #drawVisible(entries) {
    for (const { isIntersecting, target } of entries) {
      const chunk = isIntersecting && this.chunks.find(({ element }) => element === target);
      if (chunk) this.#drawChunk(chunk);
    }
  }

  /** @param {Chunk} chunk */
  #drawChunk(chunk) {
    if (chunk.isDrawn) return;
    chunk.isDrawn = true;
    this.observer?.unobserve(chunk.element);
    const tokens = document.createDocumentFragment();
    for (let i = chunk.start; i < chunk.end; i++) tokens.append(this.#createToken(i));
    chunk.element.replaceChildren(tokens);
    chunk.element.classList.add('filled');
  }

  /** @param {number} index */
  #createToken(index) {
    const kind = Number(this.tokens.kinds[index]);
    const classes = TOKEN_CLASSES.filter((_, bit) => (kind >> bit) & 1);
    const element = createText('span', ['token', ...classes].join(' '), tokenText(this.tokens.texts[index]));
    element.setAttribute('role', 'option');
    if (!element.textContent?.trim()) element.setAttribute('aria-label', 'space');
    element.hidden = characterEnd(this.tokens, index) !== index;
    tokenPositions.set(element, { strip: this, index });
    return element;
  }

  /** The element of a token, whose chunk is drawn if it was not yet. @param {number} index */
  #tokenElement(index) {
    const chunk = this.chunks.find(({ end }) => index < end);
    if (!chunk) throw new Error(`There is no token ${index}`);
    this.#drawChunk(chunk);
    return /** @type {HTMLElement} */ (chunk.element.children[index - chunk.start]);
  }
}

/** Line ends are visible, and a piece of a character that has no text of its own is a dot. @param {string} text */
export const tokenText = text => text.replaceAll('\n', '⏎\n') || '·';

/**
 * The token that shows the character of which this one is a piece: itself where it is none, or where its pieces are not
 * all learned alike, so that no boundary between learned and read is hidden.
 * @param {Pick<TokenData, 'texts' | 'kinds'>} tokens
 * @param {number} index
 */
export function characterEnd({ texts, kinds }, index) {
  let end = index;
  while (end < texts.length && texts[end] === '' && kinds[end] === kinds[index]) end += 1;
  return end < texts.length && texts[end] && kinds[end] === kinds[index] ? end : index;
}

/** The first piece of the character that this token shows. @param {Pick<TokenData, 'texts' | 'kinds'>} tokens @param {number} index */
export function characterStart(tokens, index) {
  let start = index;
  while (start > 0 && tokens.texts[start - 1] === '' && characterEnd(tokens, start - 1) === index) start -= 1;
  return start;
}

/**
 * How many lines a text takes that wraps at so many columns.
 * @param {string} text
 * @param {number} columns
 */
export const countLines = (text, columns) =>
  text.split('\n').reduce((sum, line) => sum + Math.max(1, Math.ceil(line.length / columns)), 0);

/**
 * Why a token is learned or not.
 * @param {Pick<TokenData, 'kinds' | 'whys' | 'does'>} tokens
 * @param {number} index
 */
export function tokenReason({ kinds, whys, does }, index) {
  const kind = Number(kinds[index]);
  const reason = whys.find(([end]) => index < end)?.[1];
  return reason || (kind & CUT ? 'cut off' : kind & TRAINED ? does : 'read only');
}

/**
 * Where chunks begin and end: at documents, then at line ends, and never more than MAX_CHUNK tokens long. A small strip
 * is only divided at documents.
 * @param {Pick<TokenData, 'texts' | 'bounds'>} tokens
 * @returns {[start: number, end: number][]}
 */
export function chunkBounds({ texts, bounds = [] }) {
  const documentStarts = new Set(bounds.map(([start]) => start));
  const isSmall = texts.length <= SMALL_STRIP;
  /** @type {[number, number][]} */
  const chunks = [];
  let start = 0;
  for (let i = 1; i <= texts.length; i++) {
    const isAtEnd = i === texts.length || documentStarts.has(i);
    const isLongEnough = i - start >= MIN_CHUNK && texts[i - 1].includes('\n');
    if (!isAtEnd && (isSmall || (i - start < MAX_CHUNK && !isLongEnough))) continue;
    chunks.push([start, i]);
    start = i;
  }
  return chunks;
}
