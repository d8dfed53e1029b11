// Sources of examples: file options, mappings, held-out rows, uploads.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { describeTrial, templateInConfig, templateName, templateOption } from '../../components/chat_template.js';
import { describeOrigin } from '../../components/data_examples.js';
import { firstRowText, isRowNumber, parseRowNumber, visibleOptions } from '../../components/file_options.js';
import { fileEnding, refuseFile } from '../../components/file_upload.js';
import { describeHoldout, holdoutKind, judgeHoldout, parsePercent } from '../../components/holdout.js';
import { Mapping } from '../../components/mapping.js';
import { describeVerdict } from '../../components/verdicts.js';
import { removeTemplate, trimMapping } from '../../components/mapping_values.js';
import { splitSource } from '../../components/remote_source.js';
import { describeWeight, isWeight } from '../../components/source_list.js';
import { sourceName } from '../../components/source_name.js';

test('row numbers are counted from one on by people', () => {
  assert.equal(firstRowText(undefined), '');
  assert.equal(firstRowText(0), '1');
  assert.equal(firstRowText('x'), 'x');
  assert.equal(parseRowNumber('11', -1), 10);
  assert.equal(parseRowNumber('11', 0), 11);
  assert.equal(parseRowNumber('', -1), undefined);
  assert.equal(parseRowNumber('x', -1), 'x');
});

test('a row number is a whole number from one on, or nothing', () => {
  assert.deepEqual(['', ' 7 ', '0', '-1', '1.5', 'x', '10'].map(isRowNumber), [
    true,
    true,
    false,
    false,
    false,
    false,
    true,
  ]);
});

test('a file has the options that its kind needs', () => {
  const none = { parts: false, encoding: false, headless: false, skipBad: false };
  assert.deepEqual(visibleOptions('a.jsonl', {}), none);
  assert.deepEqual(visibleOptions('A.TXT.gz', {}), { ...none, parts: true, encoding: true });
  assert.deepEqual(visibleOptions('a.csv', {}), { ...none, encoding: true, headless: true });
  assert.deepEqual(visibleOptions('a.jsonl', { skip_bad: true, headless: true }), {
    ...none,
    headless: true,
    skipBad: true,
  });
});

test('a file is refused before it is sent', () => {
  const endings = ['.jsonl', '.gz'];
  assert.equal(fileEnding('a.tar.GZ'), '.gz');
  assert.equal(fileEnding('noending'), '');
  assert.equal(refuseFile({ name: 'a.jsonl', size: 10 }, endings, 100), '');
  assert.equal(refuseFile({ name: 'a.jsonl', size: 0 }, endings, 100), 'a.jsonl is empty. Bring a file with examples.');
  assert.match(refuseFile({ name: 'a.xls', size: 1 }, endings, 100), /Save as → CSV UTF-8/);
  assert.match(refuseFile({ name: 'a.exe', size: 1 }, endings, 100), /cannot be read\. Bring JSON lines/);
  assert.match(
    refuseFile({ name: 'a.jsonl', size: 2e9 }, endings, 1e9),
    /^a\.jsonl has 2BB; this page takes up to 1000 MB/,
  );
});

test('a source has the name that a person knows it by', () => {
  const form = {
    catalog: { samples: [{ source: 'sample:a', title: 'Tickets' }] },
    uploads: [{ source: 'upload:ff', name: 'b.csv' }],
  };
  assert.equal(sourceName(form, 'sample:a'), 'Tickets');
  assert.equal(sourceName(form, 'upload:ff'), 'b.csv');
  assert.equal(sourceName(form, 'hub:me/data'), 'me/data');
  assert.equal(sourceName(form, 'upload:0123456789ab'), 'file 012345');
  assert.deepEqual(splitSource('path:/a:b'), ['path', '/a:b']);
  assert.equal(describeOrigin('hub:me/data'), 'A dataset on the Hub.');
});

test('a weight is above zero, up to a hundred', () => {
  assert.deepEqual([0, 0.5, 100, 101, '1', undefined].map(isWeight), [false, true, true, false, false, false]);
  assert.equal(describeWeight(0.25), '25 % of them a pass');
  assert.equal(describeWeight(1), 'each once a pass');
  assert.equal(describeWeight(2), 'each 2 times a pass');
  assert.equal(describeWeight('x'), 'Choose above 0, up to 100.');
});

test('the way of holding out is told by what is set', () => {
  assert.equal(holdoutKind({ share: 0.1 }), 'share');
  assert.equal(holdoutKind({ share: 0 }), 'none');
  assert.equal(holdoutKind({ split: '' }), 'split');
  assert.equal(holdoutKind({ column: 'x', value: 'y' }), 'column');
  assert.equal(holdoutKind({ source: { source: 'a' }, share: 0.1 }), 'source');
  assert.equal(describeHoldout({ share: 0.125 }), '12.5 %');
  assert.equal(describeHoldout({ split: 'test' }), 'the split test');
});

test('a percentage is read with a comma or a sign', () => {
  assert.equal(parsePercent('12,5 %'), 0.125);
  assert.equal(parsePercent('x'), 'x');
  assert.equal(parsePercent(''), '');
});

test('rows that are learned from cannot be tested on', () => {
  const data = [{ source: 'a' }];
  assert.deepEqual(judgeHoldout('share', { share: 0.1 }, data), ['', '']);
  assert.equal(judgeHoldout('share', { share: 1 }, data)[0], 'wrong');
  assert.equal(judgeHoldout('share', { share: 0.5 }, data)[0], 'careful');
  assert.equal(judgeHoldout('split', { split: 'train' }, data)[0], 'wrong');
  assert.equal(judgeHoldout('split', { split: 'test' }, data)[0], '');
  assert.equal(judgeHoldout('source', { source: { source: 'a' } }, data)[0], 'wrong');
  assert.equal(judgeHoldout('source', { source: { source: 'a', split: 'test' } }, data)[0], '');
});

test('a chat template is one of a list, or pasted', () => {
  assert.equal(templateOption('', false), '');
  assert.equal(templateOption('', true), 'pasted');
  assert.equal(templateOption('trl:qwen3', false), 'trl:qwen3');
  assert.equal(templateOption('chatml', false), 'chatml');
  assert.equal(templateName('chatml'), 'ChatML');
  assert.equal(templateOption('{% for m in messages %}', false), 'pasted');
  assert.equal(templateName('trl:qwen3'), 'qwen3');
  assert.equal(templateInConfig('{"chat_template": "x"}'), 'x');
  assert.equal(templateInConfig('{"chat_template": []}'), '');
  assert.equal(templateInConfig('no json'), '');
});

test('a trial warns where no mark ends the answer', () => {
  const start = 'It writes a question and an answer so, in 12 tokens.';
  assert.deepEqual(describeTrial({ tokens: 12, end: '<end>', broken: [] }), ['good', `${start} <end> ends an answer.`]);
  assert.equal(describeTrial({ tokens: 12, end: '', broken: [] })[0], 'careful');
  assert.match(describeTrial({ tokens: 12, end: '', broken: ['<a>', '<b>'] })[1], /reads <a>, <b> as several tokens/);
});

// -- the mapping of a source, with a stand-in for the form ----------------------------------------------------------------

function mappingOf(source, preview = {}) {
  const recognised = {
    layout: 'pair',
    parts: [{ name: 'prompt', column: 'question' }],
    mapping: { prompt: 'question' },
  };
  const form = {
    catalog: {
      layouts: {
        pair: { title: 'Pairs', kind: 'pair', needs: ['prompt', 'completion'], may: ['system'] },
        text: { title: 'Text', kind: 'text', needs: ['text'], may: [] },
        preference: { title: 'Preference', kind: 'preference', needs: ['chosen'], may: [] },
      },
    },
    method: { layouts: ['pair', 'text'] },
    setup: { method: 'sft', data: [{ source: 'upload:a', mapping: {}, ...source }] },
    change(edit) {
      this.setup = structuredClone(this.setup);
      edit(this.setup);
    },
  };
  const mapping = new Mapping(form, () => 0, { refresh() {}, showNote() {}, onPreview() {} });
  mapping.look = async () => {};
  mapping.lookSoon = () => {};
  mapping.preview = {
    source: 'upload:a',
    columns: [{ name: 'question' }, { name: 'reply' }],
    now: recognised,
    guess: recognised,
    ...preview,
  };
  return mapping;
}

test('rows are read as what was recognised, unless the person or the method says otherwise', () => {
  assert.deepEqual(mappingOf({}).layouts, ['pair', 'text']);
  assert.equal(mappingOf({}).layout, 'pair');
  assert.equal(mappingOf({ layout: 'text' }).layout, 'text');
  assert.equal(mappingOf({ layout: 'preference' }).layout, 'preference', 'also as one of another method');
  assert.deepEqual(mappingOf({}).otherLayouts, ['text', 'preference'], 'those of the method come first');
});

test('a part has the column that was chosen, or else recognised', () => {
  assert.equal(mappingOf({}).columnOf('prompt'), 'question');
  assert.equal(mappingOf({ mapping: { prompt: 'reply' } }).columnOf('prompt'), 'reply');
  assert.equal(mappingOf({ templates: { prompt: '{a}' } }).columnOf('prompt'), '');
  assert.equal(mappingOf({}).columnOf('completion'), '');
});

test('assigning a column to a part takes it from the other part', () => {
  const mapping = mappingOf({ mapping: { prompt: 'question', completion: 'reply' } });
  mapping.assign('completion', 'question');
  assert.deepEqual(mapping.source.mapping, { completion: 'question' });
  mapping.assign('text', 'reply', 'text');
  assert.deepEqual([mapping.source.layout, mapping.source.mapping], ['text', { text: 'reply' }]);
});

test('a recognised part that is left out stays left out', () => {
  const mapping = mappingOf({ mapping: { prompt: 'question' } });
  mapping.leaveOut('prompt');
  assert.deepEqual([mapping.source.mapping, mapping.source.templates], [{}, { prompt: '' }]);
  mapping.resetPart('prompt');
  assert.deepEqual([mapping.source.mapping, mapping.source.templates], [{ prompt: 'question' }, undefined]);
});

test('everything goes back to what was recognised', () => {
  const mapping = mappingOf({ layout: 'text', roles: { gpt: 'assistant' }, templates: { text: '{reply}' } });
  assert.equal(mapping.isChanged, true);
  mapping.resetAll();
  assert.deepEqual(mapping.source, { source: 'upload:a', mapping: { prompt: 'question' } });
  assert.equal(mapping.isChanged, false);
});

test('another layout keeps only the columns of its parts', () => {
  const mapping = mappingOf({ mapping: { prompt: 'question', completion: 'reply' } });
  mapping.readAs('text');
  assert.deepEqual([mapping.source.layout, mapping.source.mapping], ['text', {}]);
});

/** The methods that a new file makes the form take. */
async function methodsTakenFor(fit, { isMethodChosen = false, source = 'upload:a' } = {}) {
  const mapping = mappingOf({ source });
  const taken = [];
  Object.assign(mapping.form, {
    state: { isMethodChosen },
    method: { title: 'Imitate', layouts: ['pair', 'text'] },
    base: { prompts: [] },
    server: { preview_source: async () => ({ answer: { ...mapping.preview, source, fit } }) },
    setFit() {},
    setMethod: name => taken.push(name),
  });
  mapping.form.catalog.methods = { prefer: { title: 'Prefer', layouts: ['preference'] } };
  await Mapping.prototype.look.call(mapping, true);
  return taken;
}

test('a new file chooses the method that uses all of it, unless the person chose one that takes it', async () => {
  const fit = { best: 'prefer', shapes: { preference: { chosen: 'reply' }, pair: {} } };
  assert.deepEqual(await methodsTakenFor(fit), ['prefer']);
  assert.deepEqual(await methodsTakenFor(fit, { isMethodChosen: true }), []);
  assert.deepEqual(await methodsTakenFor(fit, { source: 'sample:tickets' }), [], 'a sample stays with its preset');
  assert.deepEqual(await methodsTakenFor({ best: 'prefer', shapes: { pair: {}, preference: {} } }), []);
  const onlyPreference = { best: 'prefer', shapes: { preference: {} } };
  assert.deepEqual(
    await methodsTakenFor(onlyPreference, { isMethodChosen: true }),
    ['prefer'],
    'it could not be learned',
  );
});

test('a comparison is shown in words', () => {
  assert.deepEqual(['>=0.7', '<=2', '>0', '< 0.3', '5', '<', 'meh'].map(describeVerdict), [
    '0.7 and more',
    '2 and less',
    'above 0',
    'below 0.3',
    '5',
    '<',
    'meh',
  ]);
});

test('a column with the name of its part needs no mapping', () => {
  assert.deepEqual(trimMapping({ prompt: 'prompt', completion: 'reply', system: '' }), { completion: 'reply' });
  const source = { source: 'a', templates: { a: '1', b: '2' } };
  removeTemplate(source, 'a');
  assert.deepEqual(source.templates, { b: '2' });
  removeTemplate(source, 'b');
  assert.ok(!('templates' in source));
});
