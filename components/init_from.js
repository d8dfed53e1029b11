// Starts: where a setup comes from: a preset, a link, or what this browser kept of the last visit.

// Always in sight: of each thing a person may want the start of its usual way; the others wait behind a line.
const leading = () => Object.keys(menu.families).map(family => menu.presets.filter(one => familyOf(one.method) === family)
  .sort((one, other) => menu.methods[one.method].order - menu.methods[other.method].order)[0]?.name);

const takes = one => `About ${one.minutes} minute${one.minutes === 1 ? '' : 's'} · ${menu.methods[one.method].title}`;

// form: {preset(), start(name)}
function startsBlock(form) {
  const all = menu.presets.map(one => choice('preset', one.name, one.title, takes(one), () => form.start(one.name)));
  const shown = make('div', { className: 'choices' }), rest = make('div', { className: 'choices' });
  const more = make('details', { className: 'more-starts' }, make('summary', {}), rest);
  let drawn = '';

  const input = one => one.querySelector('input');

  const leaders = leading();

  // These, and the one that is chosen; none is hidden without a word.
  function refresh() {
    const now = form.preset();
    const first = all.filter(one => leaders.includes(input(one).value) || input(one).value === now || all.length === leaders.length + 1);
    const key = first.map(one => input(one).value).join();
    if (key !== drawn) {
      drawn = key;
      const place = one => leaders.indexOf(input(one).value) + 1 || leaders.length + 1;
      shown.replaceChildren(...first.sort((one, other) => place(one) - place(other)));
      rest.replaceChildren(...all.filter(one => !first.includes(one)));
      more.hidden = !rest.children.length;
      more.firstChild.textContent = `More to start from (${rest.children.length})`;
    }
    for (const one of all) input(one).checked = input(one).value === now;
  }

  return { box: make('fieldset', { className: 'block starts', id: 'presets' }, make('legend', { textContent: 'Start from' }), shown, more), refresh };
}

// An older draft, or one that something else wrote, is left alone: the form begins afresh.
function remembered() {
  let found;
  try { found = JSON.parse(localStorage.getItem(KEPT)); } catch { return null; }
  const setup = found?.setup, group = one => one !== null && typeof one === 'object' && !Array.isArray(one);
  const whole = found?.v === VERSION && presetOf(found.preset) && group(setup) && typeof setup.method === 'string' && Object.hasOwn(menu.methods, setup.method)
    && [setup.model, setup.knobs, setup.adapter, setup.holdout].every(group) && typeof setup.model.id === 'string'
    && Array.isArray(setup.data) && setup.data.length > 0 && setup.data.every(one => group(one) && typeof one.source === 'string' && [one.mapping, one.templates, one.roles].every(told => group(told ?? {})))
    && [setup.rewards ?? [], setup.prompts ?? [], setup.drop ?? []].every(Array.isArray) && (setup.rewards ?? []).every(one => group(one) && typeof one.name === 'string')
    && (setup.prompts ?? []).every(one => typeof one === 'string') && Array.isArray(found.uploads)
    && found.uploads.every(one => typeof one?.source === 'string' && typeof one?.name === 'string')
    && Object.keys(setup.knobs).every(name => menu.methods[setup.method].fields.some(one => one.name === name));
  return whole ? { preset: found.preset, setup, link: Boolean(found.link), uploads: found.uploads } : null;
}

// The link leaves the address, so that a reload keeps what was changed since. opened(answer): fills the form; failed(words)
async function arrive(code, opened, failed) {
  const address = new URL(location);
  address.searchParams.delete('setup');
  address.hash = 'choose';
  history.replaceState(null, '', address);
  tunesmith.go('choose');
  const said = await server.open_link(code);
  if (said?.answer) return opened(said.answer);
  const { text, advice } = said?.problem ?? { text: 'The link could not be opened.', advice: 'Reload the page to try again.' };
  failed(`${text} ${advice} The form below is as you left it.`);
}
