// Lesson: what a person wants, then the way there: the usual one first, the rest behind “Other ways”. What the examples
// lack for a way stands beside it; which way fits them best, and why, above all.

const familyOf = method => menu.methods[method].family;
const waysOf = family => Object.keys(menu.methods).filter(name => familyOf(name) === family).sort((one, other) => menu.methods[one].order - menu.methods[other].order);

// form: {setup(), base(), fit(): what app/data/compatible_methods.py found or null, lessons(method)}
function lessonBlock(form) {
  const method = () => form.setup().method;
  const top = head({ title: 'Lesson', id: 'lesson', group: true, back: () => form.lesson(form.base().method), was: () => menu.methods[form.base().method].title,
                     changed: () => method() !== form.base().method });
  const said = make('div', { className: 'said-here' });  // where the examples changed the lesson, and the way back
  const advice = make('div', { className: 'advice', role: 'status' });
  const families = Object.entries(menu.families).filter(([name]) => waysOf(name).length)
    .map(([name, one]) => choice('family', name, one.title, one.sentence, () => form.lesson(usualOf(name))));
  const ways = make('div', { className: 'ways' });
  let drawn = '', familyDrawn = '', parts = [];

  const lacks = name => form.fit()?.methods[name] ?? '';
  const fits = name => form.fit() && !lacks(name);

  // Of a family: the way that most begin with, or else the first that takes these examples.
  function usualOf(family) {
    const all = waysOf(family), best = form.fit()?.best;
    if (all.includes(best)) return best;
    return form.fit() ? all.find(fits) ?? all[0] : all[0];
  }

  function way(name) {
    const one = menu.methods[name];
    const told = choice('way', name, one.title, one.sentence, () => form.lesson(name));
    const text = told.querySelector('strong'), lack = make('small', { className: 'lacks' });
    for (const [tag, title] of tags(name)) text.append(make('span', { className: 'tag', textContent: tag, title }));
    told.lastChild.append(lack);
    parts.push({ name, input: told.querySelector('input'), lack });
    return told;
  }

  // What these examples are best for, what most begin with, and what may still change under one's hands.
  function tags(name) {
    const one = menu.methods[name], usual = name === waysOf(one.family)[0] && waysOf(one.family).length > 1;
    return [...(name === form.fit()?.best ? [['recommended', 'It fits these examples best.']] : usual ? [['the usual way', 'Most begin with it.']] : []),
            ...(one.experimental ? [['experimental', 'Its trainer may still change or leave.']] : [])];
  }

  // Other ways that somebody unfolded stay so while the family is the same.
  function draw(family) {
    const unfolded = familyDrawn === family && ways.querySelector('details')?.open;
    familyDrawn = family;
    parts = [];
    const all = waysOf(family), shown = all.filter(name => name === all[0] || name === method() || name === form.fit()?.best);
    const rest = all.filter(name => !shown.includes(name));
    const more = rest.length ? [make('details', { className: 'more-ways' }, make('summary', { textContent: `Other ways (${rest.length})` }), make('div', { className: 'ways-list' }, ...rest.map(way)))] : [];
    if (unfolded && more.length) more[0].open = true;
    ways.replaceChildren(make('div', { className: 'ways-list', role: 'radiogroup', 'aria-label': menu.families[family].title }, ...shown.map(way)), ...more);
  }

  // What the examples say of the lesson that is chosen.
  function advise() {
    const fit = form.fit(), now = method();
    if (!fit) return advice.replaceChildren();
    const title = fit.best && menu.methods[fit.best].title;
    const sign = lacks(now) ? 'careful' : now === fit.best ? 'good' : 'info';
    const words = lacks(now) ? `“${menu.methods[now].title}” ${lacks(now)}.` : now === fit.best ? fit.why : `It takes these examples. Most would begin with “${title}”.`;
    const item = make('li', { className: sign, textContent: words });
    const take = fit.best && fit.best !== now ? make('button', { type: 'button', className: 'back', textContent: `Take “${title}”`, onclick: () => form.lesson(fit.best) }) : null;
    const why = fit.best && fit.best !== now ? make('small', { className: 'why', textContent: fit.why }) : null;
    if (take) item.append(' ', take);
    if (why) item.append(why);
    advice.replaceChildren(make('ul', { className: 'notice' }, item));
  }

  function refresh() {
    top.refresh();
    const family = familyOf(method()), key = JSON.stringify([family, method(), form.fit()?.best]);
    if (key !== drawn) { draw(family); drawn = key; }
    for (const one of families) {
      const input = one.querySelector('input'), able = waysOf(input.value).some(name => !lacks(name));
      input.checked = input.value === family;
      one.classList.toggle('lacking', !able);
      one.querySelector('small').textContent = able ? menu.families[input.value].sentence : capital(lacks(waysOf(input.value)[0]));
    }
    for (const { name, input, lack } of parts) {
      input.checked = name === method();
      lack.textContent = lacks(name) ? capital(lacks(name)) : '';
      input.closest('.choice').classList.toggle('lacking', Boolean(lacks(name)));
    }
    advise();
  }

  const set = make('div', { className: 'choices', role: 'radiogroup', 'aria-labelledby': 'lesson-name' }, ...families);
  const asks = make('p', { className: 'says', textContent: 'What do you want? The way to get there follows from it, and from the examples.' });
  return { box: make('section', { className: 'block', id: 'lesson' }, top.row, asks, said, advice, set, ways), refresh, said };
}
