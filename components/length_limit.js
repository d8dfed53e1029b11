// Cut: how many examples are how long, and a line to drag behind which they lose their end, with what that costs.

const BARS = 40, FAR = 3;  // times the length of almost all: beyond that the longest stand together in the last bar

// lengths: as app/engine/audit/ tells them. limits: [least, most] of the maximum length. set(length): makes it so.
function cutPicture(lengths, limits, set) {
  const { counts, needed, total, maximum, limit } = lengths, rows = counts.reduce((sum, [, many]) => sum + many, 0);
  const reach = Math.max(...[lengths.longest, maximum ?? 0].map(one => Math.min(one, FAR * lengths.p99)), lengths.median, 2);
  const [end, width] = even(reach);
  const bars = Array.from({ length: Math.ceil(end / width) }, () => 0);
  for (const [length, many] of counts) bars[Math.min(bars.length - 1, Math.floor((length - 1e-9) / width))] += many;
  const tallest = Math.max(...bars), movable = limit !== null && maximum !== null;
  const drawn = bars.map(many => Object.assign(tag('i', 'bar'), { style: `height: ${many ? Math.max(1.5, 100 * many / tallest) : 0}%` }));
  const says = tag('p', 'cut-says'), act = Object.assign(tag('button', 'plain'), { type: 'button' });
  says.setAttribute('role', 'status');
  const range = Object.assign(document.createElement('input'), { type: 'range', min: 0, max: end, step: 1, className: 'cut-range' });
  range.setAttribute('aria-label', 'Maximum length in tokens');
  const line = tag('i', 'cut-line'), label = tag('span', '');
  line.append(label);
  const box = tag('div', 'bars');
  box.append(...drawn, ...(movable ? [line, range] : []));

  const lost = cut => counts.reduce(([many, tokens], [length, count]) => (length > cut ? [many + count, tokens + (length - cut) * count] : [many, tokens]), [0, 0]);
  const empty = cut => needed.reduce((sum, [length, count]) => sum + (length > cut ? count : 0), 0);

  function tell(cut) {
    const [many, tokens] = lost(cut), nothing = empty(cut), place = Math.min(1, cut / end);
    line.style.left = `${100 * place}%`;
    line.classList.toggle('far', place > 0.6);
    label.textContent = `cut at ${figure(cut)}${cut > end ? ' →' : ''}`;
    drawn.forEach((one, number) => one.classList.toggle('behind', number * width >= cut));
    const share = total ? 100 * tokens / total : 0, part = share && share < 0.1 ? 'less than 0.1' : figure(Math.round(share * 10) / 10);
    const words = many ? `At ${figure(cut)} tokens, ${several(many, 'example')} of ${figure(rows)} lose${many === 1 ? 's its' : ' their'} end: ${figure(tokens)} tokens, ${part} % of all.`
      + (nothing ? ` ${nothing === 1 ? 'One has' : `${figure(nothing)} have`} nothing left to learn.` : '') : `At ${figure(cut)} tokens nothing is cut off.`;
    says.textContent = words;
    range.setAttribute('aria-valuetext', words);
    act.hidden = cut === maximum;
    act.textContent = `Set the maximum length to ${figure(cut)}`;
  }

  const chosen = () => Math.max(limits[0], Math.min(limits[1], Number(range.value)));
  act.addEventListener('click', () => set(chosen()));
  range.addEventListener('input', () => { range.value = chosen(); tell(chosen()); });
  range.value = Math.min(maximum ?? end, end);

  const figureBox = tag('figure', 'lengths'), caption = tag('figcaption', ''), scale = tag('p', 'reach');
  caption.textContent = 'How long the examples are, in tokens.' + (movable ? ' Drag the line, or move it with the arrow keys.' : '');
  scale.setAttribute('aria-hidden', 'true');
  scale.append(...['0', lengths.longest > end ? `${figure(end)} and more, up to ${figure(lengths.longest)}` : figure(end)].map(textContent => Object.assign(tag('span', ''), { textContent })));
  figureBox.append(caption, box, scale, inNumbers(bars, width));
  if (movable) {
    const row = tag('div', 'cut-row');
    row.append(says, act);
    figureBox.append(row);
    tell(maximum);
  } else if (maximum !== null) figureBox.append(Object.assign(tag('p', 'cut-says'), { textContent: 'Nothing is lost: examples are joined end to end, and what does not fit goes on in the next row.' }));
  return figureBox;
}

// Even steps of a round width.
function even(reach) {
  const width = [1, 2, 5, 10, 20, 50].flatMap((_, power) => [1, 2, 5].map(base => base * 10 ** power)).find(one => one * BARS >= reach);
  return [Math.ceil(reach / width) * width, width];
}

// The same in numbers, for whoever cannot see the bars.
function inNumbers(bars, width) {
  const table = tag('table', 'unseen'), rows = bars.map((many, number) => [`${figure(number * width)} to ${figure((number + 1) * width)} tokens`, figure(many)]).filter(([, many]) => many !== '0');
  table.append(Object.assign(document.createElement('caption'), { textContent: 'Examples by length' }), ...rows.map(([range, many]) => {
    const row = document.createElement('tr');
    row.append(Object.assign(document.createElement('th'), { scope: 'row', textContent: range }), Object.assign(document.createElement('td'), { textContent: many }));
    return row;
  }));
  return table;
}

const tag = (name, classes, text = '') => Object.assign(document.createElement(name), { className: classes, textContent: text });
const figure = value => value.toLocaleString('en-US');
const several = (count, word) => `${figure(count)} ${word}${count === 1 ? '' : 's'}`;
