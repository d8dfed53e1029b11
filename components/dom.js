// Helpers for elements. Text that may come from strangers becomes textContent, and nothing is ever parsed as HTML.

/**
 * Creates an element. Names that start with "on" are listeners, names of properties are set, all others become
 * attributes.
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, any>} [attributes]
 * @param {...(Node | string | null | undefined)} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function create(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (name in element) /** @type {Record<string, any>} */ (/** @type {unknown} */ (element))[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.filter(child => child !== null && child !== undefined));
  return element;
}

/**
 * Creates an element with a class and a text.
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {string} [className]
 * @param {string} [text]
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function createText(tag, className = '', text = '') {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text) element.textContent = text;
  return element;
}

/**
 * The first descendant that matches. Throws where there is none, which is a mistake in our own markup.
 * @template {Element} [Type=HTMLElement]
 * @param {ParentNode} root
 * @param {string} selector
 * @param {new () => Type} [type]
 * @returns {Type}
 */
export function query(root, selector, type = /** @type {any} */ (HTMLElement)) {
  const match = root.querySelector(selector);
  if (!(match instanceof type)) throw new Error(`No ${type.name} matches ${selector}`);
  return match;
}

/**
 * Sets a text only where it differs, so that selections stay and screen readers are not called again.
 * @param {Node} element
 * @param {string} text
 */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/**
 * Shows a short note below a control. status: '', 'info', 'good', 'careful' or 'wrong', which decides its colour and
 * sign.
 * @param {HTMLElement} note
 * @param {string} status
 * @param {string} text
 */
export function showNote(note, status, text) {
  const className = status ? `field-note ${status}` : 'field-note';
  if (note.className !== className) note.className = className;
  setText(note, text);
}

/**
 * A boxed notice, as components/notices.py renders it. Screen readers read a wrong one out at once.
 * @param {'info' | 'wrong'} status
 * @param {string} text
 */
export function createNotice(status, text) {
  const list = create('ul', { className: 'notice boxed' }, createText('li', status, text));
  return create('div', { role: status === 'wrong' ? 'alert' : 'status' }, list);
}

/**
 * An input under a label of its own.
 * @param {string} text
 * @param {HTMLElement} input
 */
export function createLabelled(text, input) {
  return create('div', { className: 'labelled' }, create('label', { htmlFor: input.id, textContent: text }), input);
}

/**
 * A radio button with a title and a sentence.
 * @param {string} name
 * @param {string} value
 * @param {string} title
 * @param {string} sentence
 * @param {() => void} onchange
 */
export function createChoice(name, value, title, sentence, onchange) {
  const input = create('input', { type: 'radio', name, value, onchange });
  const text = create('span', {}, create('strong', { textContent: title }), create('small', { textContent: sentence }));
  return create('label', { className: 'choice' }, input, text);
}

/**
 * The pieces of a text in which `names` stand between backticks; these become code elements.
 * @param {string} text
 * @returns {(Node | string)[]}
 */
export function createCodeSpans(text) {
  return text
    .split('`')
    .map((piece, index) => (index % 2 ? create('code', { textContent: piece }) : piece))
    .filter(piece => piece !== '');
}

/** Whether the person uses fingers: no pointer that can rest on something, and seldom a keyboard. */
export const isTouch = () => matchMedia('(hover: none)').matches;

/**
 * Puts a text into the clipboard. False where the browser does not let this page do it, as without https.
 * @param {string} text
 */
export async function copyToClipboard(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}
