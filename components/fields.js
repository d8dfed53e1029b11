// Fields: how one setting looks: what it does, its safe range, a mark where it differs from the preset, and the way back.

const make = (tag, given = {}, ...inside) => {
  const one = document.createElement(tag);
  for (const [name, value] of Object.entries(given)) {
    if (name.startsWith('on')) one.addEventListener(name.slice(2), value);
    else if (name in one) one[name] = value;
    else one.setAttribute(name, value);
  }
  one.append(...inside.filter(part => part !== null && part !== undefined));
  return one;
};

const inFull = number => number.toLocaleString('en-US', { maximumSignificantDigits: 12, useGrouping: Math.abs(number) >= 10000 });
const inWords = (number, unit) => `${inFull(number)}${unit ? ` ${unit}` : ''}`;
const PROPER = { adamw: 'AdamW', sgd: 'SGD', int8: 'int8', nf4: 'NF4', fp4: 'FP4', lora: 'LoRA', dora: 'DoRA', rslora: 'rsLoRA', fp32: 'fp32', bf16: 'bf16' };
const capital = text => PROPER[text] ?? text.charAt(0).toUpperCase() + text.slice(1).replaceAll('_', ' ');
const ACRONYMS = /^([a-z]{1,3}po|aot|bco|exo|nca|sft|dft|nll|kl|js|lr)$/;
// A choice's name as a person reads it: ipo is IPO, and sppo_hard is SPPO hard.
const proper = name => PROPER[name] ?? capital(name.split('_').map(word => PROPER[word] ?? (ACRONYMS.test(word) ? word.toUpperCase() : word)).join(' '));
const MANY = 5;  // choices; more are explained on request

// A heading that says when its setting differs from the preset, beside it or (below) where the piece puts it, so that nothing
// moves. part: {title, id, group, below, changed(), was(), back()}
function head(part) {
  const mark = make('span', { className: 'mark-changed', textContent: '● changed' });
  const back = make('button', { type: 'button', className: 'back', onclick: () => { part.back(); focusOn(part.id); } });
  const label = part.group
    ? make('h2', { id: `${part.id}-name`, textContent: part.title })
    : make('label', { htmlFor: `${part.id}-input`, textContent: part.title });
  const differs = make('span', { className: 'differs' }, mark, back);
  const row = make('div', { className: 'field-head' }, label, part.below ? null : differs);
  const refresh = () => {
    const other = part.changed();
    row.classList.toggle('changed', other);
    back.textContent = other ? `Back to ${part.was()}` : '';
    back.setAttribute('aria-label', other ? `${part.title}: back to ${part.was()}` : '');
    mark.hidden = back.hidden = !other;
  };
  return { row, differs, refresh };
}

// After a reset the button is gone: the keyboard goes on at the setting it belonged to.
function focusOn(id, which = '') {
  element.querySelector(`#${CSS.escape(id)} :is(input, select, textarea)${which}`)?.focus();
}

// One declared setting. one: as app/setup/knob.py describes it, with its path and id; on: {get, set, back, changed, was, safe, aside}
function field(one, on, form) {
  const wide = isLong(one) || one.name === 'title';
  const top = head({ title: one.title, id: one.id, below: !wide, changed: on.changed, was: on.was, back: on.back });
  const says = make('p', { className: 'says', id: `${one.id}-says` });
  const note = make('p', { className: 'field-note', id: `${one.id}-note`, role: 'status' });
  const piece = one.picks === 'model' ? modelPick(one, on, form) : { input: control(one, on) };
  const input = piece.input, columns = one.picks === 'column' ? make('datalist', { id: `${one.id}-columns` }) : null;
  input.id = `${one.id}-input`;
  input.setAttribute('aria-describedby', `${one.id}-says ${one.id}-note`);
  if (columns) input.setAttribute('list', columns.id);
  const refresh = () => {
    top.refresh();
    says.textContent = sentence(one, on.safe());
    fill(one, input, on.get());
    columns?.replaceChildren(...form.columns().map(name => make('option', { value: name })));
    const [sign, text] = judge(one, on.get(), on.safe()) ?? unknown(one, on.get(), form) ?? on.aside() ?? ['', ''];
    say(note, sign, text);
    input.setAttribute('aria-invalid', String(sign === 'wrong'));
    piece.refresh?.();
  };
  const inside = [top.row, says, piece.box ?? input, columns, note, explained(one), wide || on.marked === false ? null : top.differs];
  return { box: make('div', { className: wide ? 'field wide' : 'field', id: one.id }, ...inside), refresh };
}

// What needs more than one line to write.
const isLong = one => one.type === 'lines' || ['text', 'program'].includes(one.picks) || String(one.default ?? '').includes('\n');

// A column that the examples do not have.
function unknown(one, value, form) {
  const columns = form?.columns() ?? [];
  if (one.picks !== 'column' || !value || !columns.length || columns.includes(value)) return null;
  return ['careful', `The examples have no column “${value}”. They have: ${columns.slice(0, 12).map(name => name.slice(0, 40)).join(', ')}.`];
}

// What each of many choices does, beside the sentence of the one that is chosen.
function explained(one) {
  if (one.type !== 'choice' || Object.keys(one.choices).length <= MANY) return null;
  const lines = Object.entries(one.choices).flatMap(([name, text]) => [make('dt', { textContent: proper(name) }), make('dd', { textContent: text })]);
  return make('details', { className: 'explained' }, make('summary', { textContent: `All ${Object.keys(one.choices).length} explained` }), make('dl', {}, ...lines));
}

function say(note, sign, text) {
  const shown = sign ? `field-note ${sign}` : 'field-note';
  if (note.className !== shown) note.className = shown;
  if (note.textContent !== text) note.textContent = text;
}

function control(one, on) {
  if (one.type === 'choice') {
    const options = Object.keys(one.choices).map(name => make('option', { value: name, textContent: proper(name) }));
    return make('select', { onchange: event => on.set(one.numeric ? Number(event.target.value) : event.target.value) }, ...options);
  }
  if (one.type === 'bool') return make('input', { type: 'checkbox', onchange: event => on.set(event.target.checked) });
  const heard = event => on.set(understood(one, event.target.value));
  if (isLong(one)) return make('textarea', { rows: one.name === 'prompts' ? 4 : 2, spellcheck: one.picks !== 'program', oninput: heard });
  const number = ['int', 'float'].includes(one.type);
  return make('input', { type: 'text', autocomplete: 'off', maxLength: 200, inputMode: number ? 'decimal' : 'text', oninput: heard });
}

// What was typed as the setup keeps it; what makes no sense stays as it is, to be refused in words and not forgotten.
function understood(one, text) {
  if (one.type === 'lines') return text.split('\n').filter(line => line.trim());
  if (!['int', 'float'].includes(one.type)) return text;
  const plain = text.trim();
  if (!plain) return undefined;
  return /^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i.test(plain) ? Number(plain) : text;
}

function fill(one, input, value) {
  if (one.type === 'bool') { input.checked = Boolean(value); return; }
  const number = typeof value === 'number';
  const shown = one.type === 'lines' ? (value ?? []).join('\n') : number ? inFull(value).replaceAll(',', '') : String(value ?? '');
  input.placeholder = one.placeholder?.() ?? '';
  // Not while somebody is typing just this: "0." is on its way to 0.5.
  const typed = JSON.stringify(understood(one, input.value)) === JSON.stringify(value);
  if (input.value !== shown && !(typed && document.activeElement === input)) input.value = shown;
}

function sentence(one, safe) {
  const range = safe ? ` Safe: ${inFull(safe[0])} to ${inWords(safe[1], one.unit)}.` : '';
  return `${one.sentence ?? ''}${range}`;
}

// A word about the value, or nothing: beyond the limits is wrong, beyond what is safe needs care.
function judge(one, value, safe) {
  if (one.type === 'choice') return ['info', one.choices[value] ?? ''];
  if (!['int', 'float'].includes(one.type) || value === undefined || value === null) return null;
  if (typeof value !== 'number') return ['wrong', `“${String(value).slice(0, 40)}” is not a number. Write it like 0.5 or 12.`];
  if (one.type === 'int' && !Number.isInteger(value)) return ['wrong', `${inFull(value)} is not a whole number.`];
  const outside = (range) => range && (value < range[0] || value > range[1]);
  if (typeof one.low === 'number' && outside([one.low, one.high])) {
    return ['wrong', `${inFull(value)} cannot be used. Choose between ${inFull(one.low)} and ${inWords(one.high, one.unit)}.`];
  }
  if (outside(safe)) return ['careful', `Unusual: ${inFull(safe[0])} to ${inWords(safe[1], one.unit)} is a safe start.`];
  return null;
}
