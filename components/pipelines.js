// Journeys: the latest of them, one line each. Titles are strangers' text: textContent only.
const box = element.querySelector('.journeys'), list = box.querySelector('ul');

async function learn() {
  const found = (await server.newest(null))?.answer ?? [];
  box.hidden = !found.length;
  list.replaceChildren(...found.map(one => {
    const line = document.createElement('li'), link = document.createElement('a'), words = document.createElement('small');
    link.href = `#journey/${encodeURIComponent(one.id)}`;
    link.textContent = one.title;
    words.textContent = `${one.when} · ${one.words}`;
    line.append(link, words);
    return line;
  }));
}

document.addEventListener('tunesmith:view', ({ detail }) => { if (detail.view === box.dataset.where) learn(); });
if (tunesmith.view === box.dataset.where && tunesmith.mounted) learn();
