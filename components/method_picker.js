// The method: what a person wants, then the way there. What the examples lack for a method is written beside it.

import { create, createChoice, query } from './dom.js';
import { createHeading } from './fields.js';
import { capitalize } from './format.js';

/** @typedef {import('./settings_form.js').SettingsForm} SettingsForm */
/** @typedef {import('./types.d.ts').Catalog} Catalog */
/** @typedef {import('./types.d.ts').Fit} Fit */

/** A family's methods, the usual one first. @param {Pick<Catalog, 'methods'>} catalog @param {string} family */
export const methodsOf = ({ methods }, family) =>
  Object.keys(methods)
    .filter(name => methods[name].family === family)
    .sort((first, second) => methods[first].order - methods[second].order);

/**
 * What the examples lack for a method; empty where they fit or are not known yet.
 * @param {Fit | null} fit
 * @param {string} name
 */
const missingFor = (fit, name) => fit?.methods[name] ?? '';

/**
 * The method to take when a family is chosen: the best for these examples, else the first that takes them, else the
 * usual one.
 * @param {Pick<Catalog, 'methods'>} catalog
 * @param {string} family
 * @param {Fit | null} fit
 */
export function defaultMethod(catalog, family, fit) {
  const names = methodsOf(catalog, family);
  if (!fit) return names[0];
  if (fit.best && names.includes(fit.best)) return fit.best;
  return names.find(name => !missingFor(fit, name)) ?? names[0];
}

/** @param {SettingsForm} form */
export function createMethodPicker(form) {
  const { catalog } = form;
  const heading = createHeading(form, {
    title: 'Lesson',
    id: 'lesson',
    isGroup: true,
    isChanged,
    presetText: () => catalog.methods[form.base.method].title,
    reset: () => form.setMethod(form.base.method),
  });
  const notice = create('div', { className: 'said-here' }); // where the examples changed the method, and the way back
  const advice = create('div', { className: 'advice', role: 'status' });
  const families = Object.entries(catalog.families)
    .filter(([name]) => methodsOf(catalog, name).length)
    .map(([name, { title, sentence }]) =>
      createChoice('family', name, title, sentence, () => form.setMethod(defaultMethod(catalog, name, form.fit))),
    );
  const methodsBox = create('div', { className: 'ways' });
  /** @type {{name: string, choice: HTMLElement, input: HTMLInputElement, missing: HTMLElement}[]} */
  let methodChoices = [];
  let drawnKey = '';
  let drawnFamily = '';

  function isChanged() {
    return form.setup.method !== form.base.method;
  }

  const isBest = (/** @type {string} */ name) => name === form.fit?.best;

  /** @param {string} name */
  function createMethod(name) {
    const { title, term, sentence } = catalog.methods[name];
    const choice = createChoice('way', name, title, sentence, () => form.setMethod(name));
    const missing = create('small', { className: 'lacks' });
    const tags = methodTags(name).map(([textContent, hint]) =>
      create('span', { className: 'tag', textContent, title: hint }),
    );
    query(choice, 'strong').append(create('span', { className: 'term', textContent: ` · ${term}` }), ...tags);
    query(choice, 'span').append(missing);
    methodChoices.push({ name, choice, input: query(choice, 'input', HTMLInputElement), missing });
    return choice;
  }

  /** @param {string} name @returns {[tag: string, hint: string][]} */
  function methodTags(name) {
    const { family, experimental } = catalog.methods[name];
    const names = methodsOf(catalog, family);
    /** @type {[string, string][]} */
    const tags = [];
    if (isBest(name)) tags.push(['recommended', 'It fits these examples best.']);
    else if (name === names[0] && names.length > 1) tags.push(['the usual way', 'Most begin with it.']);
    if (experimental) tags.push(['experimental', 'Its trainer may still change or leave.']);
    return tags;
  }

  // Visible are the usual method, the chosen one and the best. What somebody unfolded stays so within a family.
  /** @param {string} family */
  function drawMethods(family) {
    const isUnfolded = drawnFamily === family && methodsBox.querySelector('details')?.open;
    drawnFamily = family;
    methodChoices = [];
    const names = methodsOf(catalog, family);
    const visible = names.filter(name => name === names[0] || name === form.setup.method || isBest(name));
    const folded = names.filter(name => !visible.includes(name));
    const group = { className: 'ways-list', role: 'radiogroup', 'aria-label': catalog.families[family].title };
    methodsBox.replaceChildren(create('div', group, ...visible.map(createMethod)));
    if (!folded.length) return;
    const summary = create('summary', { textContent: `Other ways (${folded.length})` });
    const list = create('div', { className: 'ways-list' }, ...folded.map(createMethod));
    const details = create('details', { className: 'more-ways' }, summary, list);
    details.open = Boolean(isUnfolded);
    methodsBox.append(details);
  }

  // What the examples say of the chosen method.
  function showAdvice() {
    const { fit } = form;
    const { method } = form.setup;
    if (!fit) return advice.replaceChildren();
    const missing = missingFor(fit, method);
    const bestTitle = fit.best && catalog.methods[fit.best].title;
    const status = missing ? 'careful' : isBest(method) ? 'good' : 'info';
    const text = missing
      ? `“${catalog.methods[method].title}” ${missing}.`
      : isBest(method)
        ? fit.why
        : `It takes these examples. Most would begin with “${bestTitle}”.`;
    const item = create('li', { className: status, textContent: text });
    if (fit.best && !isBest(method)) {
      const { best } = fit;
      const take = () => form.setMethod(best);
      const button = create('button', {
        type: 'button',
        className: 'back',
        textContent: `Take “${bestTitle}”`,
        onclick: take,
      });
      item.append(' ', button, create('small', { className: 'why', textContent: fit.why }));
    }
    advice.replaceChildren(create('ul', { className: 'notice' }, item));
  }

  function refresh() {
    heading.refresh();
    const { fit } = form;
    const { method } = form.setup;
    const { family } = catalog.methods[method];
    const key = JSON.stringify([family, method, fit?.best]);
    if (key !== drawnKey) drawMethods(family);
    drawnKey = key;
    for (const choice of families) refreshFamily(choice, family);
    for (const { name, choice, input, missing } of methodChoices) {
      input.checked = name === method;
      missing.textContent = missingFor(fit, name) ? capitalize(missingFor(fit, name)) : '';
      choice.classList.toggle('lacking', Boolean(missingFor(fit, name)));
    }
    showAdvice();
  }

  /** @param {HTMLElement} choice @param {string} chosenFamily */
  function refreshFamily(choice, chosenFamily) {
    const input = query(choice, 'input', HTMLInputElement);
    const names = methodsOf(catalog, input.value);
    const isPossible = names.some(name => !missingFor(form.fit, name));
    const sentence = isPossible ? catalog.families[input.value].sentence : capitalize(missingFor(form.fit, names[0]));
    input.checked = input.value === chosenFamily;
    choice.classList.toggle('lacking', !isPossible);
    query(choice, 'small').textContent = sentence;
  }

  const choices = create(
    'div',
    { className: 'choices', role: 'radiogroup', 'aria-labelledby': 'lesson-name' },
    ...families,
  );
  const question = create('p', {
    className: 'says',
    textContent: 'What do you want? The way to get there follows from it, and from the examples.',
  });
  const box = form.sections.create({
    id: 'lesson',
    head: heading.row,
    content: [question, notice, advice, choices, methodsBox],
    summarize() {
      const { title, term } = catalog.methods[form.setup.method];
      return `${title} · ${term}`;
    },
    isChanged,
  });
  return { box, refresh, notice, isChanged };
}
