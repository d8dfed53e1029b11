// What the views say: plan, progress, samples, pipeline, audit, tokens.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { describeProgress } from '../../components/audit.js';
import * as findings from '../../components/audit_findings.js';
import { namedSetting } from '../../components/notices.js';
import * as pipelineText from '../../components/pipeline_text.js';
import { remoteIds } from '../../components/plan.js';
import * as progressText from '../../components/progress_text.js';
import * as sampleText from '../../components/sample_text.js';
import { problemText } from '../../components/server_reply.js';
import * as strip from '../../components/token_strip.js';
import { exampleTitle } from '../../components/tokens.js';

test('only a model and datasets of the Hub may have to be fetched', () => {
  assert.deepEqual(remoteIds({ model: { id: 'a/b' }, data: [{ source: 'sample:x' }, { source: 'hub:c/d' }] }), [
    'a/b',
    'hub:c/d',
  ]);
});

test('the buttons follow from state, checkpoint and result', () => {
  const phase = progressText.buttonPhase;
  assert.equal(phase({ alive: true, state: 'training' }), 'running');
  assert.equal(phase({ alive: true, state: 'saving' }), 'stopping');
  assert.equal(phase({ alive: false, state: 'finished' }), 'finished');
  assert.equal(phase({ alive: false, state: 'stopped', saved: 60, adapter: true }), 'stopped');
  assert.equal(phase({ alive: false, state: 'failed', saved: 60 }), 'resumable');
  assert.equal(phase({ alive: false, state: 'failed' }), 'ended');
});

test('a failed run says why, and from where it can be resumed', () => {
  const texts = { lost: 'Gone.', resumable: 'Go on from {step}.', nothing: 'Begin anew.' };
  const failed = { state: 'failed', saved: 1200, failed: { text: 'Out of memory.', advice: 'Try 32.' } };
  assert.deepEqual(progressText.describeTrouble(failed, texts), [
    { level: 'wrong', text: 'Out of memory. Try 32.' },
    { level: 'info', text: 'Go on from 1,200.' },
  ]);
  assert.deepEqual(progressText.describeTrouble({ state: 'lost' }, texts)[1], { level: 'info', text: 'Begin anew.' });
  assert.deepEqual(progressText.describeTrouble({ state: 'training' }, texts), []);
  assert.equal(progressText.describeQueue({ ahead: 1 }), '1 run is ahead');
  assert.equal(progressText.describeQueue({ ahead: 0 }), '0 runs are ahead');
  assert.equal(progressText.describeQueue({}), '');
});

test('samples of one step belong together', () => {
  const samples = [
    { step: 0, seq: 1 },
    { step: 40, seq: 5 },
    { step: 40, seq: 6 },
  ];
  assert.deepEqual(sampleText.groupSampleSteps(samples), [
    { step: 0, seqs: [1] },
    { step: 40, seqs: [5, 6] },
  ]);
  assert.deepEqual(
    [...sampleText.groupBy(['aa', 'b', 'cc'], word => String(word.length))],
    [
      ['2', ['aa', 'cc']],
      ['1', ['b']],
    ],
  );
});

test('rewards and advantages are said in words', () => {
  assert.equal(sampleText.describeReward('short', 1), 'short');
  assert.equal(sampleText.describeReward('short', 0), 'short: no');
  assert.equal(sampleText.describeReward('short', 0.45678), 'short: 0.457');
  assert.deepEqual(sampleText.describeAdvantage(0.5, 'its other tries'), {
    text: 'better than its other tries',
    title: 'advantage +0.5',
  });
  assert.deepEqual(sampleText.describeAdvantage(-2, 'the rest'), {
    text: 'worse than the rest',
    title: 'advantage -2',
  });
  assert.equal(sampleText.describeAdvantage(0, 'the rest').text, 'as good as the rest');
  assert.equal(sampleText.stepName(0), 'before the first step');
});

test('a stage says how far it is, or what came of it', () => {
  const stage = { state: 'training', alive: true, step: 1000, of: 2000, seconds_left: 14 };
  assert.equal(pipelineText.describeStage(stage), 'step 1,000 of 2,000 · 14 s left');
  const finished = { state: 'finished', step: 5, result: '12 % → 88 %', seconds: 150 };
  assert.equal(pipelineText.describeStage(finished), 'its own test 12 % → 88 % · in 3 min');
  assert.equal(pipelineText.describeStage({ state: 'stopped', step: 5, result: 'stopped' }), '');
});

test('a pipeline shows the buttons of its phase', () => {
  const visible = (phase, alive, isConfirming = false) =>
    Object.entries(pipelineText.visibleActions({ phase, stages: [{ alive }] }, isConfirming)).flatMap(([name, is]) =>
      is ? [name] : [],
    );
  assert.deepEqual(visible('new', false), ['start']);
  assert.deepEqual(visible('waiting', false), ['go_on', 'forget']);
  assert.deepEqual(visible('running', true), ['stop']);
  assert.deepEqual(visible('finished', false, true), []);
  const compared = pipelineText.describeComparison({
    table: null,
    prompts: 1,
    measures: [
      { title: 'Kind', kind: 'score' },
      { title: 'Loss', kind: 'loss' },
    ],
  });
  assert.equal(
    compared,
    'After the last lesson every result is asked the same 1 question. Compared is “Kind” (score) and “Loss”.',
  );
});

test('the audit counts what it found and leaves out', () => {
  assert.equal(
    findings.countFindings([{ severity: 'wrong' }, { severity: 'careful' }, { severity: 'good' }]),
    '1 wrong, 1 to look at',
  );
  assert.equal(findings.countFindings([{ severity: 'good' }]), 'nothing stands in the way');
  assert.equal(
    findings.describeAudited({ rows: 413, again: false, seconds: 1.4 }),
    '413 examples looked at, in a second: ',
  );
  assert.equal(
    findings.describeExcluded({ reason: 'empty answer', count: 6, rows: [4, 77, 80, 81, 90, 91] }),
    '6: empty answer (rows 4, 77, 80, 81, 90 … of the file)',
  );
  const totals = findings.describeTotals({ rows: 1, held_out: 20, dropped: [{ count: 2 }] });
  assert.equal(totals, 'Of 23, 1 example is learned from, 20 kept aside for the test, and 2 left out:');
  assert.equal(findings.exampleLabel(7, `The  app\n${'x'.repeat(60)}`).length, 3 + 2 + 60 + 1);
  assert.equal(findings.exampleLabel(7, undefined), 'Example 7');
});

test('the progress of the audit has its unit', () => {
  assert.equal(describeProgress(undefined), 'Looking at all examples …');
  const progress = { what: 'Looking at words', done: 1200, total: 4000, seconds_left: 3 };
  assert.equal(describeProgress(progress), 'Looking at words: 1,200 of 4,000 · about 3 s left');
  assert.equal(describeProgress({ ...progress, total: 0, seconds_left: 0.5 }), 'Looking at words … · almost done');
});

test('a token says why it is learned or not', () => {
  const tokens = {
    kinds: '0136',
    whys: [
      [1, 'the question'],
      [3, ''],
    ],
    does: 'made likelier',
  };
  assert.deepEqual(
    [0, 1, 2, 3].map(i => strip.tokenReason(tokens, i)),
    ['the question', 'made likelier', 'made likelier', 'cut off'],
  );
  assert.equal(strip.tokenReason({ kinds: '2', whys: [], does: 'x' }, 0), 'read only');
});

test('chunks end at documents, then at line ends, and at 240 tokens', () => {
  const small = Array.from({ length: 1000 }, () => 'a\n');
  assert.deepEqual(strip.chunkBounds({ texts: small }), [[0, 1000]]);
  assert.deepEqual(
    strip.chunkBounds({
      texts: small,
      bounds: [
        [0, 'a'],
        [400, 'b'],
      ],
    }),
    [
      [0, 400],
      [400, 1000],
    ],
  );
  const long = Array.from({ length: 1001 }, (_, i) => (i === 99 ? 'end\n' : 'a'));
  assert.deepEqual(strip.chunkBounds({ texts: long }), [
    [0, 100],
    [100, 340],
    [340, 580],
    [580, 820],
    [820, 1001],
  ]);
  assert.deepEqual(strip.chunkBounds({ texts: [] }), []);
});

test('lines wrap at the width, and an empty line counts', () => {
  assert.equal(strip.countLines('12345678901\n\nab', 10), 4);
  assert.equal(strip.tokenText('a\n'), 'a⏎\n');
  assert.equal(strip.tokenText(''), '·');
});

test('a character that is split over tokens is one box, unless its pieces are learned differently', () => {
  const tokens = { texts: ['a', '', '', '語', 'b', '', ''], kinds: '0111000' };
  assert.deepEqual(
    tokens.texts.map((_, index) => strip.characterEnd(tokens, index)),
    [0, 3, 3, 3, 4, 5, 6], // the last two never become a character
  );
  assert.equal(strip.characterStart(tokens, 3), 1);
  assert.equal(strip.characterStart(tokens, 4), 4);
  const divided = { texts: ['a', '', '', '語'], kinds: '0011' };
  assert.deepEqual(
    [1, 2, 3].map(index => strip.characterEnd(divided, index)),
    [1, 3, 3],
  );
});

test('an example is counted among all', () => {
  assert.equal(exampleTitle({ noun: 'Example', rows: [{}, {}], of: 1480 }, 1), 'Example 2 of 1,480');
  assert.equal(exampleTitle({ noun: 'Row', rows: [{ title: 'Batch 1' }] }, 0), 'Batch 1');
});

test('a refusal names its setting between quotes', () => {
  assert.equal(namedSetting('The setting “max_length” is too long.'), 'max_length');
  assert.equal(namedSetting('Nothing “with spaces” here'), undefined);
  assert.equal(namedSetting(null), undefined);
});

test('a server function that has no answer says why, or that nobody answers', () => {
  const refused = { problem: { text: 'It is running.', advice: 'Stop it first.' } };
  assert.equal(problemText(refused), 'It is running. Stop it first.');
  assert.equal(problemText({ problem: { text: 'It is gone.', advice: '' } }), 'It is gone.');
  assert.match(problemText(undefined), /own server does not answer\. Reload the page/);
  assert.equal(problemText(undefined, 'Nobody there.'), 'Nobody there.');
});

test('a finished run with a diagnosis is not called finished alone, and a failure is said once', () => {
  const texts = {
    states: { finished: 'Finished', stopped: 'Stopped and saved' },
    unlearned: 'Stopped',
    doubtful: 'Finished, but: {title}',
    lost: 'Gone.',
    resumable: 'Resume from {step}.',
    nothing: 'Nothing was saved.',
  };
  const diagnosis = { id: 'a', severity: 'wrong', title: 'learned by heart', text: 'It broke.', advice: 'Mend it.' };
  const state = more => progressText.describeState({ state: 'finished', ...more }, texts);
  assert.equal(state({}), 'Finished');
  assert.equal(state({ diagnoses: [diagnosis] }), 'Finished, but: learned by heart');
  assert.equal(state({ state: 'stopped', diagnoses: [diagnosis], adapter: true }), 'Stopped and saved');
  const failed = { state: 'failed', failed: { text: 'It broke.', advice: 'Mend it.' } };
  assert.equal(progressText.describeTrouble(failed, texts).length, 2);
  assert.deepEqual(progressText.describeTrouble({ ...failed, diagnoses: [diagnosis] }, texts), [
    { level: 'info', text: 'Nothing was saved.' },
  ]);
});
