// Sections of the form. A section is collapsed to one line, which says what it holds, while nothing in it differs from
// the preset and nothing in it is wrong. What a person expands or collapses stays so while the tab is open.

import { create, query, setText } from './dom.js';

/** The head of a section that is not itself one setting. @param {string} id @param {string} textContent */
export const createSectionHead = (id, textContent) =>
  create('div', {}, create('h2', { id: `${id}-name`, textContent }));

/**
 * @typedef {object} SectionOptions
 * @property {string} id
 * @property {HTMLElement} head its heading (h2), and what stays visible beside it
 * @property {(HTMLElement | null)[]} content what is collapsed
 * @property {() => string} summarize what it holds, in one line
 * @property {boolean} [isSearched] while the search filters, it is expanded where it is visible
 * @property {() => boolean} isChanged something in it differs from the preset, so that it is expanded
 */

const STORAGE_KEY = 'tunesmith-sections';
// Of single settings only what cannot be used: a value that is unusual in the preset was tried there.
const PROBLEMS = '[aria-invalid=true], .wrong, .notice .careful';

export class FormSections {
  /** @type {Map<string, () => void>} how each section is refreshed, by its id */
  #sections = new Map();
  /** @type {Record<string, boolean>} */
  #choices = readChoices(); // whether a person expanded it, by its id
  /** @type {Set<string>} */
  #revealed = new Set(); // sections that expanded by themselves: they do not collapse under a person's hands
  /** @type {Map<string, number>} */
  #problemCounts = new Map();
  isFiltered = false; // by the search: then everything that is visible is expanded

  /**
   * A section. One drawn anew with the same id, for another method, takes the place of the earlier one.
   * @param {SectionOptions} options
   */
  create({ id, head, content, summarize, isChanged, isSearched = true }) {
    const isExpanded = () => (isSearched && this.isFiltered) || this.#isChosen(id);
    const title = query(head, 'h2');
    const button = create('button', {
      type: 'button',
      className: 'expander',
      textContent: title.textContent,
      'aria-controls': `${id}-content`,
      'aria-describedby': `${id}-summary`,
      onclick: () => this.#choose(id, !isExpanded()),
    });
    const summary = create('span', { className: 'holds', id: `${id}-summary` });
    const hint = create('span', { className: 'fold-hint', 'aria-hidden': 'true' });
    const body = create('div', { className: 'section-content', id: `${id}-content` }, ...content);
    title.replaceChildren(button);
    title.after(summary);
    head.append(hint);
    head.classList.add('section-head');

    const refresh = () => {
      this.#followProblems(id, body);
      if (isChanged()) this.#revealed.add(id);
      body.hidden = !isExpanded();
      button.setAttribute('aria-expanded', String(isExpanded()));
      setText(summary, isExpanded() ? '' : summarize());
      setText(hint, isExpanded() ? 'fold' : 'change');
    };
    const box = create('section', { className: 'block section', id }, head, body);
    this.#sections.set(id, refresh);
    return box;
  }

  /** Sections in which something is wrong, or different, expand. What a person is at stays where it is. */
  refresh() {
    keepInPlace(() => this.#sections.forEach(refresh => refresh()));
  }

  /** Expands everything around an element. @param {Element} element */
  reveal(element) {
    keepInPlace(() => {
      for (let outer = /** @type {Element | null} */ (element); outer; outer = outer.parentElement) {
        if (outer instanceof HTMLDetailsElement) outer.open = true;
        if (this.#sections.has(outer.id)) this.#choose(outer.id, true);
      }
    });
  }

  /** @param {string} id */
  collapse(id) {
    this.#choose(id, false);
  }

  /**
   * For a form that was filled anew: whatever is as the preset has it is collapsed.
   * @param {string} [exceptId] the section that the person is at
   */
  collapseUnchanged(exceptId) {
    this.#choices = Object.fromEntries(Object.entries(this.#choices).filter(([id]) => id === exceptId));
    this.#revealed.clear();
    this.#problemCounts.clear();
    saveChoices(this.#choices);
    this.#sections.forEach(refresh => refresh());
  }

  /** @param {boolean} isFiltered */
  setFiltered(isFiltered) {
    this.isFiltered = isFiltered;
    this.#sections.forEach(refresh => refresh());
  }

  /** @param {string} id */
  #isChosen(id) {
    return this.#choices[id] ?? this.#revealed.has(id);
  }

  /** @param {string} id @param {boolean} isExpanded */
  #choose(id, isExpanded) {
    this.#choices[id] = isExpanded;
    saveChoices(this.#choices);
    this.#sections.get(id)?.();
  }

  // A problem that was not there before expands also what a person has collapsed.
  /** @param {string} id @param {HTMLElement} body */
  #followProblems(id, body) {
    const count = [...body.querySelectorAll(PROBLEMS)].filter(
      element => !element.closest('.section-content [hidden]'),
    ).length;
    if (count > (this.#problemCounts.get(id) ?? 0)) {
      this.#revealed.add(id);
      if (this.#choices[id] === false) delete this.#choices[id];
    }
    this.#problemCounts.set(id, count);
  }
}

/** Scrolls by as much as the element that has the focus would move. @param {() => void} change */
function keepInPlace(change) {
  const focused = document.activeElement;
  const topBefore = focused?.getBoundingClientRect().top ?? 0;
  change();
  const shift = (focused?.getBoundingClientRect().top ?? 0) - topBefore;
  if (focused !== document.body && Math.abs(shift) > 1) scrollBy(0, shift);
}

/** @returns {Record<string, boolean>} */
function readChoices() {
  try {
    return JSON.parse(sessionStorage.getItem(STORAGE_KEY) ?? '{}') ?? {};
  } catch {
    return {};
  }
}

/** @param {Record<string, boolean>} choices */
function saveChoices(choices) {
  try {
    sessionStorage.setItem(STORAGE_KEY, JSON.stringify(choices));
  } catch {
    // storage may be forbidden
  }
}
