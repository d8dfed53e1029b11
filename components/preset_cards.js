// Cards: a preset's card fills the form and goes there, one of several lessons shows them; the last runs are one click away.

const MOST = 3;

element.addEventListener('click', event => {
  const preset = event.target.closest('[data-preset]')?.dataset.preset, chain = event.target.closest('[data-chain]')?.dataset.chain;
  if (chain) tunesmith.go('journey', chain);
  if (event.target.closest('h2 .way')) setTimeout(() => document.querySelector('#upload')?.focus(), 200);
  if (!preset) return;
  document.dispatchEvent(new CustomEvent('tunesmith:preset', { detail: preset }));
  tunesmith.go('choose');
});

function lately(runs) {
  const lines = runs.slice(0, MOST).map(run => {
    const link = document.createElement('a'), state = document.createElement('small'), line = document.createElement('li');
    link.href = `#watch/${encodeURIComponent(run.id)}`;
    link.textContent = run.title;
    state.textContent = run.result ?? run.state;
    line.append(link, state);
    return line;
  });
  element.querySelector('.lately ul').replaceChildren(...lines);
  element.querySelector('.lately').hidden = !lines.length;
  element.querySelector('.how').hidden = lines.length > 0;
}

document.addEventListener('tunesmith:runs', event => lately(event.detail ?? []));
if (tunesmith.live?.runs) lately(tunesmith.live.runs);
