// What model cards and the changes of the plan say.

import assert from 'node:assert/strict';
import test from 'node:test';

import { describeOutcome } from '../../components/memory_changes.js';
import {
  describeAccess,
  describeCache,
  describeCardFit,
  describeDownload,
  describeProgress,
  describeSize,
  formatWeights,
  isCompleteName,
} from '../../components/model_card_text.js';

const memory = { low: 8.2e9, high: 9.6e9, free_bytes: 22.3e9, fits: /** @type {'yes'} */ ('yes') };
const card = {
  id: 'Qwen/Qwen3-0.6B',
  title: 'Qwen3 0.6B',
  good_for: 'Trains in minutes.',
  duration: null,
  parameters: 596_049_920,
  weight_bytes: 1.2e9,
  licence: 'apache-2.0',
  gated: null,
  unconfirmed: [],
  memory,
  slow: false,
  downloaded: false,
};

test('a card says size, memory and licence, and what is not known', () => {
  assert.equal(describeSize(card), '596 million weights · 1.2 GB to download');
  assert.equal(describeSize({ ...card, downloaded: true }), '596 million weights · 1.2 GB on this machine');
  assert.deepEqual(describeCardFit(card), { status: '', text: 'It fits: 8.2 GB to 9.6 GB of 22.3 GB free.' });
  const slow = describeCardFit({ ...card, slow: true });
  assert.deepEqual(slow, {
    status: 'careful',
    text: 'It fits: 8.2 GB to 9.6 GB of 22.3 GB free, and takes hours on a processor.',
  });
  const minutes = describeCardFit({ ...card, slow: true, duration: { low: 200, high: 500 } });
  assert.deepEqual(minutes, { status: '', text: 'It fits: 8.2 GB to 9.6 GB of 22.3 GB free; 3.3 to 8.3 min here.' });
  assert.equal(describeCardFit({ ...card, duration: { low: 9000, high: 20000 } }).status, 'careful');
  assert.equal(describeCardFit({ ...card, slow: true, memory: { ...memory, fits: 'no' } }).status, 'wrong');
  assert.equal(describeAccess(card), 'Licence apache-2.0 · terms not known');
  assert.equal(
    describeAccess({ ...card, licence: null, gated: true }),
    'Licence not known · terms to accept on the Hub',
  );
  assert.equal(
    describeAccess({ ...card, unconfirmed: ['licence'], gated: false }),
    'Licence apache-2.0 (by one source) · no terms to accept',
  );
  assert.deepEqual([135e6, 1.72e9, 30.5e9].map(formatWeights), ['135 million', '1.7 billion', '30.5 billion']);
});

test('half a name asks nobody, and folders count where they are allowed', () => {
  assert.deepEqual(
    ['qwen 4b', 'Qwen/', 'Qwen/Qwen3-4B', 'a/b/c', '/models/mine', '~/mine', './mine'].map(id =>
      isCompleteName(id, true),
    ),
    [false, false, true, false, true, true, true],
  );
  assert.equal(isCompleteName('/models/mine', false), false);
});

test('a download says how much is missing, and whether there is room', () => {
  const download = { total: 2e9, missing: 2e9, free: 40e9, has_room: true };
  assert.equal(describeDownload(download).text, '2.0 GB to download; the disk has 40.0 GB free.');
  assert.equal(describeDownload({ ...download, missing: 0 }).text, 'On this machine: 2.0 GB.');
  assert.match(describeDownload({ ...download, missing: 1.5e9 }).text, /^1\.5 GB of 2\.0 GB are missing;/);
  const full = describeDownload({ ...download, free: 1e9, has_room: false });
  assert.deepEqual([full.status, full.text.includes('the disk has 1.0 GB free')], ['wrong', true]);
  assert.equal(describeProgress({ done: 0.5e9, of: 2e9 }), '500.0 MB of 2.0 GB (25 %)');
  assert.equal(describeProgress({ done: 0, of: 0 }), 'Asking the Hub how large it is …');
  assert.equal(describeCache({ count: 1, bytes: 2e9 }), 'One model takes 2.0 GB on this machine.');
  assert.equal(describeCache({ count: 3, bytes: 2e9 }), '3 models take 2.0 GB on this machine.');
  assert.equal(describeCache({ count: 0, bytes: 0 }), '');
});

test('a change says what it leads to', () => {
  assert.equal(describeOutcome({ low: 5e9, high: 6e9, fits: 'no' }), 'Then 5.0 GB to 6.0 GB: not enough yet.');
});
