// Runs in words, and the merging of lists of runs.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import * as runText from '../../components/run_text.js';

const run = (id, more = {}) => ({
  id,
  title: `Run ${id}`,
  state: 'training',
  alive: true,
  step: 0,
  of: 100,
  result: null,
  ...more,
});
const ids = runs => runs.map(({ id }) => id);

test('a running run says its percent, rounded down', () => {
  assert.equal(runText.describeRun(run('a', { step: 999, of: 1000 })), 'Learning, 99 %');
  assert.equal(runText.describeRun(run('a', { of: null })), 'Learning');
  assert.equal(runText.shortOutcome(run('a', { of: null, state: 'loading' })), 'Loading the model');
});

test('a result that says its state is not preceded by it', () => {
  const stopped = run('a', { alive: false, state: 'stopped', result: 'stopped at 84 of 120' });
  assert.equal(runText.describeRun(stopped), 'Stopped at 84 of 120');
  const finished = run('a', { alive: false, state: 'finished', result: '0 % → 94 %' });
  assert.equal(runText.describeRun(finished), 'Finished, 0 % → 94 %');
  assert.equal(runText.shortOutcome(finished), '0 % → 94 %');
});

test('a finished run with a doubt is no success anywhere', () => {
  const doubtful = run('a', { alive: false, state: 'finished', result: 'learned by heart', doubt: 'wrong' });
  assert.equal(runText.describeRun(doubtful), 'Finished, but: learned by heart');
  assert.equal(runText.shortOutcome(doubtful), 'learned by heart');
  assert.equal(runText.stateMark(doubtful), '!');
  assert.equal(runText.stepMark(doubtful), '!');
  assert.equal(runText.stateMark({ ...doubtful, doubt: null }), '✓');
});

test('a damaged run names the file only where there is room', () => {
  const damaged = run('a', { alive: false, state: 'damaged', result: 'spec.json is empty' });
  assert.equal(runText.describeRun(damaged), 'Damaged, spec.json is empty');
  assert.equal(runText.shortOutcome(damaged), 'Damaged');
});

test('marks tell running, finished and broken apart', () => {
  assert.equal(runText.stateMark(run('a')), '●');
  assert.equal(runText.stateMark(run('a', { alive: false, state: 'finished' })), '✓');
  assert.equal(runText.stateMark(run('a', { alive: false, state: 'unheard of' })), '!');
});

test('a stop that was asked for is not marked as trouble', () => {
  const stopped = run('a', { alive: false, state: 'stopped' });
  assert.equal(runText.stateMark(stopped), '■');
  assert.equal(runText.stepMark(stopped), '■');
});

test('the steps before a run are ticked while it is open', () => {
  const finished = run('a', { alive: false, state: 'finished' });
  assert.deepEqual(runText.stepMarks(finished, true), { choose: '✓', check: '✓', watch: '✓' });
  assert.deepEqual(runText.stepMarks(finished, false), { choose: '', check: '', watch: '✓' });
  assert.deepEqual(runText.stepMarks(undefined, true), { choose: '', check: '', watch: '' });
});

test('the step Watch shows how far the open run is', () => {
  assert.equal(runText.stepMark(undefined), '');
  assert.equal(runText.stepMark(run('a', { step: 999, of: 1000 })), '100 %');
  assert.equal(runText.stepMark(run('a', { of: null })), '…');
  assert.equal(runText.stepMark(run('a', { alive: false, state: 'new' })), '');
  assert.equal(runText.stepMark(run('a', { alive: false, state: 'finished' })), '✓');
  assert.equal(runText.stepMark(run('a', { alive: false, state: 'lost' })), '!');
});

test('a run is found by its title, state or id', () => {
  assert.ok(runText.matchesFilter(run('2026-x'), 'learning'));
  assert.ok(runText.matchesFilter(run('2026-x'), '2026'));
  assert.ok(!runText.matchesFilter(run('2026-x'), 'stopped'));
});

test('a message with changes is laid over the known runs', () => {
  const known = [run('3'), run('2'), run('1')];
  const merged = runText.mergeRunSummaries(known, {
    is_complete: false,
    runs: [run('4'), run('2', { step: 50 })],
    removed_ids: ['1'],
  });
  assert.deepEqual(ids(merged), ['4', '3', '2']);
  assert.equal(merged[2].step, 50);
});

test('a complete list replaces the known runs', () => {
  assert.deepEqual(ids(runText.mergeRunSummaries([run('9')], { is_complete: true, runs: [run('1'), run('2')] })), [
    '2',
    '1',
  ]);
  assert.deepEqual(runText.mergeRunSummaries(undefined, { is_complete: false, runs: [] }), []);
});

test('of all runs only older ones outlive a full list of the newest', () => {
  const all = [run('5'), run('4'), run('3'), run('1')];
  assert.deepEqual(ids(runText.mergeNewestRuns([run('5'), run('3')], all, 2)), ['5', '3', '1']);
  assert.deepEqual(ids(runText.mergeNewestRuns([run('5')], all, 2)), ['5']);
});

test('a sparkline runs from edge to edge, with one at the top', () => {
  assert.equal(runText.sparklinePoints([1, 0.5, 0]), '2.0,2.0 48.0,12.0 94.0,22.0');
  assert.equal(runText.sparklinePoints([0]), '2.0,22.0');
});
