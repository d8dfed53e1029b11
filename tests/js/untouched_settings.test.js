// Settings that a preset sets for its own model or examples follow where a person chooses others.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { usualValue } from '../../components/setting_values.js';
import { followChoices, presetFor, withOwnExamples } from '../../components/untouched_settings.js';

const preset = {
  bound: { model: ['knobs.learning_rate'], data: ['title', 'prompts', 'knobs.max_length'] },
  setup: {
    title: 'First tune',
    method: 'sft',
    model: { id: 'pocket' },
    adapter: { kind: 'lora' },
    data: [{ source: 'sample:tickets' }],
    holdout: {},
    knobs: { learning_rate: 0.004, epochs: 5, max_length: 256 },
    prompts: ['What colour is the sky?'],
  },
};
const change = (before, edit) => {
  const after = structuredClone(before);
  edit(after);
  return followChoices(preset, before, after);
};
const toHub = setup => (setup.model = { id: 'owner/name' });
const toOwnFile = setup => (setup.data[0].source = 'upload:abc');

test('a rate for the practice model does not survive another model, and comes back with it', () => {
  const other = change(preset.setup, toHub);
  assert.deepEqual(other.knobs, { epochs: 5, max_length: 256 });
  const back = change(other, setup => (setup.model = { id: 'pocket' }));
  assert.deepEqual(back, preset.setup);
});

test('a rate for an adapter does not survive a change to all weights', () => {
  assert.equal(change(preset.setup, setup => (setup.adapter.kind = 'none')).knobs.learning_rate, undefined);
  assert.equal(change(preset.setup, setup => (setup.adapter.kind = 'dora')).knobs.learning_rate, 0.004);
});

test('a rate that the person set stays with every model', () => {
  const own = change(preset.setup, setup => (setup.knobs.learning_rate = 0.001));
  assert.equal(change(own, toHub).knobs.learning_rate, 0.001);
  const typedLater = change(change(preset.setup, toHub), setup => (setup.knobs.learning_rate = 0.004));
  assert.equal(change(typedLater, setup => (setup.model = { id: 'owner/other' })).knobs.learning_rate, 0.004);
});

test('name, questions and lengths of a preset do not survive other examples', () => {
  const other = change(preset.setup, toOwnFile);
  assert.deepEqual([other.title, other.prompts, other.knobs.max_length], [undefined, undefined, undefined]);
  assert.equal(other.knobs.learning_rate, 0.004);
  const named = change(
    change(preset.setup, setup => (setup.title = 'Mine')),
    toOwnFile,
  );
  assert.equal(named.title, 'Mine');
});

test('an emptied name counts as none when the preset’s examples come back', () => {
  const other = change(change(preset.setup, toOwnFile), setup => (setup.title = ''));
  assert.equal(change(other, setup => (setup.data[0].source = 'sample:tickets')).title, 'First tune');
});

test('settings of another method than the preset’s stay as they are', () => {
  const dpo = { ...structuredClone(preset.setup), method: 'dpo', knobs: { max_length: 64 } };
  assert.deepEqual(change(dpo, toHub).knobs, { max_length: 64 });
  assert.deepEqual(change(dpo, toOwnFile).knobs, { max_length: 64 });
});

test('what the form is compared with has no settings for another model', () => {
  assert.equal(presetFor(preset, preset.setup).knobs.learning_rate, 0.004);
  assert.equal(presetFor(preset, change(preset.setup, toHub)).knobs.learning_rate, undefined);
  assert.equal(preset.setup.knobs.learning_rate, 0.004); // the preset itself stays
});

test('an unusual value is mended to what is usual for the method and the model, else to the nearest safe one', () => {
  assert.equal(usualValue(0.05, [0.00002, 0.001], 0.0002), 0.0002);
  assert.equal(usualValue(500, [1, 10], undefined), 10);
  assert.equal(usualValue(0.1, [1, 10], undefined), 1);
  assert.equal(usualValue(5, [1, 10], undefined), undefined);
  assert.equal(usualValue('x', [1, 10], undefined), undefined);
});

test('a person’s own examples stay where the preset’s are only there to begin with', () => {
  const own = change(preset.setup, toOwnFile);
  own.holdout = { share: 0.2 };
  const kept = withOwnExamples({ ...preset, own_examples: true }, own);
  assert.deepEqual([kept.data, kept.holdout, kept.method], [own.data, { share: 0.2 }, preset.setup.method]);
  assert.equal(kept.knobs.max_length, undefined, 'its length is that of its own examples');
  assert.equal(kept.knobs.learning_rate, 0.004);
  assert.deepEqual(withOwnExamples({ ...preset, own_examples: false }, own), preset.setup);
  assert.deepEqual(withOwnExamples({ ...preset, own_examples: true }, preset.setup), preset.setup);
  assert.notEqual(withOwnExamples({ ...preset, own_examples: true }, preset.setup), preset.setup);
});
