// Presets for real work by the graphics card that they need.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { cardSizes, fitsCard } from '../../components/card_filter.js';

test('each size of a card is offered once, the smallest first', () => {
  assert.deepEqual(cardSizes([24, null, 8, 24, 80, 8]), [8, 24, 80]);
});

test('a card does for what needs as much or less', () => {
  assert.deepEqual(
    [8, 24, 48].filter(needed => fitsCard(needed, 24)),
    [8, 24],
  );
  assert.deepEqual(
    [8, 24, 48].filter(needed => fitsCard(needed, 0)),
    [8, 24, 48],
  );
});
