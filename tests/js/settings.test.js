// Values of settings, the draft, and what the form computes.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { checkDraft } from '../../components/draft.js';
import { defaultMethod, methodsOf } from '../../components/method_picker.js';
import {
  describeHubModel,
  isPracticeForOwnExamples,
  modelKind,
  modelName,
  replaceModel,
} from '../../components/model_values.js';
import { leadingPresets } from '../../components/preset_picker.js';
import { uniqueLabel } from '../../components/rewards.js';
import { describeLesson, describeRewards } from '../../components/searchable_sections.js';
import { describeMatches, describeSettings, matchesSetting } from '../../components/setting_search.js';
import * as values from '../../components/setting_values.js';
import * as paths from '../../components/setup_paths.js';
import { countPasses } from '../../components/training_length.js';

const methods = {
  sft: { family: 'imitate', order: 1, layouts: ['pair'], fields: [{ name: 'epochs' }] },
  gold: { family: 'copy', order: 2, layouts: ['pair'], fields: [] },
  dpo: { family: 'prefer', order: 2, layouts: ['preference'], fields: [] },
  orpo: { family: 'prefer', order: 1, layouts: ['preference'], fields: [] },
};
const catalog = {
  methods,
  families: { imitate: {}, prefer: {}, nothing: {} },
  presets: [
    { name: 'first_tune', method: 'sft' },
    { name: 'taste', method: 'dpo' },
    { name: 'kind', method: 'orpo' },
  ],
  shipped: [
    { id: 'pocket', title: 'The practice model', sentence: '', base: true },
    { id: 'pocket-teacher', title: 'Its teacher', sentence: '', base: false },
  ],
};
const draft = (setup = {}, more = {}) => ({
  v: 1,
  preset: 'first_tune',
  uploads: [],
  setup: {
    method: 'sft',
    model: { id: 'pocket' },
    knobs: { epochs: 2 },
    adapter: {},
    holdout: {},
    data: [{ source: 'sample:a' }],
    ...setup,
  },
  ...more,
});

test('what is typed becomes a number, nothing, lines, or stays as it is', () => {
  assert.equal(values.parseSettingValue({ type: 'float' }, ' 1e-4 '), 0.0001);
  assert.equal(values.parseSettingValue({ type: 'int' }, '.5'), 0.5);
  assert.equal(values.parseSettingValue({ type: 'int' }, '  '), undefined);
  assert.equal(values.parseSettingValue({ type: 'int' }, '12x'), '12x');
  assert.equal(values.parseSettingValue({ type: 'int' }, '0x10'), '0x10');
  assert.equal(values.parseSettingValue({ type: 'str' }, ' 7 '), ' 7 ');
  assert.deepEqual(values.parseSettingValue({ type: 'lines' }, 'a\n \nb'), ['a', 'b']);
});

test('a value is written as it can be typed again', () => {
  assert.equal(values.inputText({ type: 'int' }, 1234567), '1234567');
  assert.equal(values.inputText({ type: 'float' }, 0.00002), '0.00002');
  assert.equal(values.inputText({ type: 'lines' }, ['a', 'b']), 'a\nb');
  assert.equal(values.inputText({ type: 'str' }, undefined), '');
});

test('limits refuse a value, and the safe range only warns', () => {
  const rank = { name: 'r', type: 'int', low: 1, high: 1024, unit: '' };
  assert.equal(values.judgeSettingValue(rank, 16, [4, 64]), null);
  assert.equal(values.judgeSettingValue(rank, 1024, [4, 1024]), null);
  assert.deepEqual(values.judgeSettingValue(rank, 128, [4, 64]), ['careful', 'Unusual: 4 to 64 is a safe start.']);
  assert.deepEqual(values.judgeSettingValue(rank, 0, null), ['wrong', '0 cannot be used. Choose between 1 and 1024.']);
  assert.deepEqual(values.judgeSettingValue(rank, 1.5, null), ['wrong', '1.5 is not a whole number.']);
  assert.deepEqual(values.judgeSettingValue(rank, 'many', null), [
    'wrong',
    '“many” is not a number. Write it like 0.5 or 12.',
  ]);
  assert.equal(values.judgeSettingValue(rank, undefined, null), null);
});

test('a choice is explained, and a missing column named', () => {
  assert.deepEqual(values.judgeSettingValue({ type: 'choice', choices: { a: 'The first.' } }, 'a', null), [
    'info',
    'The first.',
  ]);
  const [status, text] = values.judgeColumn({ picks: 'column' }, 'label', ['prompt', 'answer']);
  assert.deepEqual([status, text], ['careful', 'The examples have no column “label”. They have: prompt, answer.']);
  assert.equal(values.judgeColumn({ picks: 'column' }, 'label', []), null);
});

test('the way back names the value of the preset', () => {
  assert.equal(values.describeSettingValue({ type: 'float' }, undefined), 'automatic');
  assert.equal(values.describeSettingValue({ type: 'bool' }, false), 'off');
  assert.equal(values.describeSettingValue({ type: 'choice' }, 'ipo'), 'IPO');
  assert.equal(values.describeSettingValue({ type: 'float', unit: 'GB' }, 10000), '10,000 GB');
  assert.equal(values.describeSettingValue({ type: 'str' }, 'x'), '“x”');
});

test('invalid settings are counted in words', () => {
  assert.equal(values.describeInvalid(0), '');
  assert.equal(values.describeInvalid(1), 'One setting cannot be used as it is. It says why.');
  assert.equal(values.describeInvalid(2), '2 settings cannot be used as they are. They say why.');
});

test('a setup is read and changed by paths', () => {
  const setup = { knobs: { epochs: 2 }, data: [{ source: 'a' }] };
  assert.equal(paths.getAtPath(setup, 'data.0.source'), 'a');
  assert.equal(paths.getAtPath(setup, 'adapter.r'), undefined);
  paths.setAtPath(setup, 'adapter.r', 8);
  paths.applyChanges(setup, { 'knobs.epochs': null, 'data.0.headless': true });
  assert.deepEqual(setup, { knobs: {}, data: [{ source: 'a', headless: true }], adapter: { r: 8 } });
});

test('a remedy keeps its own copy of what it sets', () => {
  const changes = { drop: ['duplicates'] };
  const setup = {};
  paths.applyChanges(setup, changes);
  setup.drop.push('leaks');
  assert.deepEqual(changes.drop, ['duplicates']);
});

test('missing and null are the same, and a key is left out of a copy', () => {
  assert.ok(paths.isSameJson(undefined, null));
  assert.ok(!paths.isSameJson(0, null));
  const roles = { a: 'user', b: 'assistant' };
  assert.deepEqual(paths.withoutKey(roles, 'a'), { b: 'assistant' });
  assert.deepEqual(Object.keys(roles), ['a', 'b']);
});

test('a draft of this version is taken up', () => {
  const state = checkDraft(draft({}, { link: 1 }), catalog);
  assert.deepEqual([state.preset, state.link, state.setup.knobs], ['first_tune', true, { epochs: 2 }]);
});

test('a draft that something else wrote is left alone', () => {
  const broken = [
    null,
    draft({}, { v: 0 }),
    draft({}, { preset: 'gone' }),
    draft({}, { uploads: [{ source: 1 }] }),
    draft({ method: 'constructor' }),
    draft({ model: {} }),
    draft({ knobs: { learning: 1 } }),
    draft({ data: [] }),
    draft({ data: [{ source: 'a', mapping: [] }] }),
    draft({ prompts: [1] }),
    draft({ rewards: [{}] }),
    draft({ adapter: null }),
  ];
  for (const one of broken) assert.equal(checkDraft(one, catalog), null, JSON.stringify(one));
});

test('a model is known by where it comes from', () => {
  assert.equal(modelKind(catalog, { id: 'pocket' }), 'practice');
  assert.equal(modelKind(catalog, { id: 'pocket', start_from: 'run:x' }), 'run');
  assert.equal(modelKind(catalog, { id: 'pocket-teacher' }), 'hub');
  assert.equal(modelName(catalog, { id: 'pocket' }), 'the practice model');
  assert.equal(modelName(catalog, { id: '' }), 'none yet');
});

test('another model keeps the options and not the revision', () => {
  const model = { id: 'a/b', revision: 'abc', quantization: 'nf4', template: '' };
  assert.deepEqual(replaceModel(model, 'c/d'), { id: 'c/d', quantization: 'nf4' });
});

test('a model of the Hub is described by size, downloads and access', () => {
  assert.equal(describeHubModel({ parameters: 1_540_000_000, downloads: 12_345 }), '1.5B weights · 12.3K downloads');
  const gated = describeHubModel({ downloads: 1, gated: true, private: true });
  assert.equal(gated, '1 downloads · its licence must be accepted first');
});

test('a family begins with its usual method, or with one that fits', () => {
  assert.deepEqual(methodsOf(catalog, 'prefer'), ['orpo', 'dpo']);
  assert.equal(defaultMethod(catalog, 'prefer', null), 'orpo');
  assert.equal(defaultMethod(catalog, 'prefer', { best: 'dpo', methods: {} }), 'dpo');
  assert.equal(defaultMethod(catalog, 'prefer', { best: 'sft', methods: { orpo: 'needs pairs' } }), 'dpo');
  assert.equal(defaultMethod(catalog, 'prefer', { best: 'sft', methods: { orpo: 'x', dpo: 'y' } }), 'orpo');
});

test('each family is led by the preset of its usual method', () => {
  assert.deepEqual(leadingPresets(catalog), ['first_tune', 'kind', undefined]);
});

test('the second reward of a kind has a number', () => {
  assert.equal(uniqueLabel('short', []), 'short');
  assert.equal(uniqueLabel('short', [{ name: 'short' }, { name: 'x', as: 'short_2' }]), 'short_3');
});

const attempts = {
  name: 'attempts',
  path: 'knobs.attempts',
  title: 'Attempts',
  sentence: 'How many answers are tried for each prompt.',
  library_name: 'num_generations',
};

test('a setting is found by title, sentence, our name, the name of a library and a choice', () => {
  for (const query of ['attempts', 'ATT', 'answers tried', 'num_generations', 'num gener'])
    assert.ok(matchesSetting(attempts, query), query);
  assert.ok(!matchesSetting(attempts, 'knobs'));
  const kl = { name: 'kl', title: 'Pull back', library_name: 'beta', choices: { dr_grpo: '', own: '' } };
  for (const query of ['kl', 'beta', 'pull', 'dr_grpo', 'grpo', 'dr-grpo']) assert.ok(matchesSetting(kl, query), query);
  const targets = { name: 'targets', path: 'adapter.layers', title: 'Layers' };
  assert.ok(matchesSetting(targets, 'layers') && !matchesSetting(targets, 'targets'));
});

test('a word is searched from its beginning, and a name as a whole', () => {
  assert.ok(!matchesSetting(attempts, 'tempts'));
  assert.ok(!matchesSetting({ name: 'a', title: 'Number of generations' }, 'num_generations'));
  assert.ok(matchesSetting({ name: 'a', title: 'Number of generations' }, 'num generations'));
  assert.ok(!matchesSetting({ name: 'b', title: 'Eval num', sentence: 'generations' }, 'num_generations'));
  assert.ok(matchesSetting(attempts, ''));
});

test('a setting is found by what people call it, and by the texts of its choices', () => {
  const rate = { name: 'learning_rate', path: 'knobs.learning_rate', title: 'Learning rate' };
  for (const query of ['lr', 'LR', 'step size']) assert.ok(matchesSetting(rate, query), query);
  const held = { name: 'holdout', path: 'model.quantization', title: 'Held', choices: { nf4: 'In 4 bits each.' } };
  for (const query of ['qlora', 'load_in_4bit', 'bits', 'nf4']) assert.ok(matchesSetting(held, query), query);
  assert.ok(!matchesSetting(rate, 'qlora'));
});

test('a lesson is found by each of its methods', () => {
  const lesson = describeLesson({ methods: { dpo: { title: 'Prefer this over that', term: 'DPO' } } });
  for (const query of ['dpo', 'prefer', 'method']) assert.ok(matchesSetting(lesson, query), query);
  const rewards = { exact: { title: 'Exactly right', fields: [{ name: 'ignore_case', title: 'Ignore case' }] } };
  for (const query of ['exactly', 'ignore_case', 'reward'])
    assert.ok(matchesSetting(describeRewards('What earns', { rewards }), query), query);
});

test('matches are counted, and a sentence says that there are none', () => {
  assert.match(describeMatches(' ', false, 46, 46), /^46 settings/);
  assert.equal(describeMatches('beta', false, 1, 46), '1 of 46 settings');
  assert.equal(describeMatches('', true, 2, 46), '2 of 46 settings differ from the preset');
  assert.equal(describeMatches('', true, 1, 46), '1 of 46 settings differs from the preset');
  assert.equal(describeMatches('', true, 0, 46), 'Nothing differs from the preset.');
  assert.match(describeMatches('zzz', false, 0, 46), /^Nothing is called that/);
  assert.match(describeMatches('zzz', true, 0, 46), /^Nothing that you changed is called that/);
});

test('settings are told in one line', () => {
  assert.equal(
    describeSettings([
      ['Epochs', '5 passes'],
      ['Batch size', '16'],
    ]),
    'Epochs 5 passes · Batch size 16',
  );
});

test('the practice model is for the samples', () => {
  const pocket = { id: 'pocket' };
  assert.equal(isPracticeForOwnExamples(catalog, { model: pocket, data: [{ source: 'sample:a' }] }), false);
  assert.equal(isPracticeForOwnExamples(catalog, { model: pocket, data: [{ source: 'upload:a' }] }), true);
  assert.equal(isPracticeForOwnExamples(catalog, { model: { id: 'a/b' }, data: [{ source: 'upload:a' }] }), false);
  const mixed = [{ source: 'sample:a' }, { source: 'hub:c/d' }];
  assert.equal(isPracticeForOwnExamples(catalog, { model: pocket, data: mixed }), true);
});

test('passes are what the person set, or the usual number, unless steps are set', () => {
  const method = { fields: [{ name: 'epochs', default: 3 }] };
  assert.equal(countPasses({ knobs: {} }, method), 3);
  assert.equal(countPasses({ knobs: { epochs: 0.5 } }, method), 0.5);
  assert.equal(countPasses({ knobs: { epochs: 2, steps: 60 } }, method), null);
  assert.equal(countPasses({ knobs: { epochs: 'many' } }, method), null);
  assert.equal(countPasses({ knobs: {} }, { fields: [] }), null);
});

test('a setting is looked up by the name of the library, with ours beside it where that differs', () => {
  assert.equal(values.lookupName(attempts), 'num_generations (here attempts)');
  assert.equal(values.lookupName({ name: 'holdout', path: 'model.quantization' }), 'quantization');
  assert.equal(values.lookupName({ name: 'beta', library_name: 'beta' }), 'beta');
});
