// Format: in which chat format a conversation is written: the model's own, one that TRL ships, or one pasted or uploaded, which is
// a stranger's program and is tried, in a sandbox of the worker, before anything is learned in it.

const NAMED = /^trl:[a-z0-9_]+$/, PASTED = 'pasted';
const UNTIL = 500;  // milliseconds without a key before it is tried
const MOST_LETTERS = 1e6;

function formatBlock(form) {
  const model = () => form.setup().model, told = () => model().template ?? '';
  let pasting = false, asked = 0, timer = 0, tried = '', last = '', touched = null, wrong = false;  // touched: the model it was last chosen for

  const nameOf = text => !text ? 'the model’s own' : NAMED.test(text) ? text.replace('trl:', '') : 'the preset’s';
  const kind = () => (!told() ? (pasting ? PASTED : '') : NAMED.test(told()) ? told() : PASTED);
  const back = () => { pasting = false; put(form.base().model.template ?? ''); };
  const top = head({ title: 'Which chat format', id: 'format', back, was: () => nameOf(form.base().model.template ?? ''), changed: () => told() !== (form.base().model.template ?? '') });
  const option = (value, textContent) => make('option', { value, textContent });
  const select = make('select', { id: 'format-input', 'aria-describedby': 'format-says format-note', onchange: choose }, option('', 'The model’s own'),
    option(PASTED, 'One of your own, pasted or uploaded'), make('optgroup', { label: 'As TRL writes them for' }, ...menu.formats.map(name => option(`trl:${name}`, name))));
  const says = make('p', { className: 'says', id: 'format-says', textContent: 'How a conversation is written for the model: with which marks, who speaks, and what ends an answer. Almost always the model’s own is right.' });
  const text = make('textarea', { id: 'format-text', rows: 8, spellcheck: false, maxLength: MOST_LETTERS, 'aria-describedby': 'format-text-says format-note',
    placeholder: '{% for message in messages %} …', oninput: () => put(text.value) });
  const file = make('input', { type: 'file', id: 'format-file', className: 'unseen', accept: '.jinja,.jinja2,.j2,.txt,.json', onchange: () => { if (file.files[0]) read(file.files[0]); file.value = ''; } });
  const own = make('div', { className: 'own-format' }, make('label', { htmlFor: 'format-text', textContent: 'Its text' }),
    make('p', { className: 'says', id: 'format-text-says', textContent: 'A program in Jinja, as it stands under chat_template in a tokenizer_config.json. It is tried before it is used, and runs without files or network.' }),
    text, make('span', { className: 'pick' }, file, make('label', { htmlFor: 'format-file', textContent: 'Upload it instead' })));
  const note = make('p', { className: 'field-note', id: 'format-note', role: 'status' });
  const shown = make('pre', { className: 'written', id: 'format-written', role: 'group', tabIndex: 0, 'aria-label': 'How it writes a question and an answer' });
  const box = make('div', { className: 'field wide', id: 'format' }, top.row, says, select, own, note, shown);

  function put(words) {
    touched = model().id;
    form.change(setup => { if (words.trim()) setup.model.template = words; else delete setup.model.template; });
  }

  function choose() {
    pasting = select.value === PASTED;
    if (pasting) own.hidden = false;
    if (pasting) text.focus();
    put(pasting ? text.value : select.value);
  }

  // A whole tokenizer_config.json will do: the format stands in it.
  async function read(one) {
    if (one.size > MOST_LETTERS) return say(note, 'wrong', `${one.name} has ${short(one.size)}B, and no chat format is that long.`);
    const words = await one.text(), found = one.name.toLowerCase().endsWith('.json') ? inside(words) : words;
    if (!found?.trim()) return say(note, 'wrong', `${one.name} holds no chat format. Bring the text itself, or a JSON file with one under chat_template.`);
    text.value = found;
    put(found);
  }

  function inside(words) {
    try {
      const found = JSON.parse(words).chat_template;
      return typeof found === 'string' ? found : '';
    } catch { return ''; }
  }

  // Nothing is fetched of a model on the Hub until a person chose a format for it.
  function soon() {
    const key = JSON.stringify([pasting, ...['id', 'revision', 'start_from', 'new_tokens', 'template'].map(name => model()[name] ?? '')]);
    if (key === tried) return;
    tried = key;
    clearTimeout(timer);
    asked += 1;
    wrong = false;
    shown.hidden = true;
    if (!told()) return say(note, pasting ? 'info' : '', pasting ? 'Paste it, or upload a file. Until then the model’s own is used.' : '');
    say(note, '', '');
    if (comes(model().id) || touched === model().id) timer = setTimeout(() => attempt(asked), UNTIL);
  }

  async function attempt(mine) {
    say(note, '', 'Trying it on a short conversation …');
    const said = await server.written({ model: model() });
    if (mine !== asked) return;
    const problem = said?.answer ? null : said?.problem ?? { text: 'It could not be tried: the page’s own server does not answer.', advice: '' };
    wrong = problem?.reason === 'bad_template';
    if (problem) say(note, wrong ? 'wrong' : 'careful', `${problem.text} ${problem.advice}`.trim());
    else explain(said.answer);
    form.change(() => {});  // the page is told whether it can be used
  }

  function explain({ text: words, tokens, end, broken }) {
    const doubts = [...(broken.length ? [`This model reads ${broken.slice(0, 6).join(', ')} as several tokens: among the new words each would be one.`] : []),
                    ...(end || broken.length ? [] : ['No mark ends the answer, so the model may not know when to stop.'])];
    say(note, doubts.length ? 'careful' : 'good', `It writes a question and an answer so, in ${tokens} tokens. ${doubts.join(' ') || `${end} ends an answer.`}`);
    shown.textContent = words;
    shown.hidden = false;
  }

  function refresh() {
    if (told()) pasting = kind() === PASTED;
    else if (last && document.activeElement !== text) pasting = false;  // taken away from elsewhere, as by a remedy
    last = told();
    top.refresh();
    if (!menu.formats.includes(told().replace('trl:', '')) && NAMED.test(told()) && ![...select.options].some(one => one.value === told())) select.append(option(told(), nameOf(told())));
    select.value = kind();
    own.hidden = kind() !== PASTED;
    if (kind() === PASTED && document.activeElement !== text && text.value !== told()) text.value = told();
    soon();
    for (const one of [text, select]) one.setAttribute('aria-invalid', 'false');
    (kind() === PASTED ? text : select).setAttribute('aria-invalid', String(wrong));
  }

  return { box, refresh };
}
