// Settings that have no effect with what is chosen elsewhere.

import assert from 'node:assert/strict';
import test from 'node:test';

import { explainUnused } from '../../components/setting_values.js';

test('a setting that has no effect says which other one decides', () => {
  const declaration = {
    name: 'floor',
    title: 'Floor',
    type: /** @type {'float'} */ ('float'),
    unused_with: { 'knobs.schedule': ['linear', 'inverse_sqrt'], 'knobs.steps': [] },
  };
  const explain = (/** @type {Record<string, unknown>} */ chosen) =>
    explainUnused(
      declaration,
      path => chosen[path],
      path => `the ${path}`,
    );
  assert.equal(explain({ 'knobs.schedule': 'cosine' }), null);
  assert.deepEqual(explain({ 'knobs.schedule': 'inverse_sqrt' }), [
    'info',
    'Not used: “the knobs.schedule” says Inverse sqrt.',
  ]);
  assert.deepEqual(explain({ 'knobs.steps': 1200 }), ['info', 'Not used: “the knobs.steps” says 1200.']);
  assert.equal(explainUnused({ ...declaration, unused_with: null }, String, String), null);
});
