// What the plan complains about: in the page's words, and where it is.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { placeOfProblem, withPageWords } from '../../components/problem_place.js';

const settings = [
  { name: 'max_length', title: 'Longest example', id: 'sft-max_length' },
  { name: 'r', title: 'Rank', id: 'setup-r' },
];
const place = (text, reason = 'refused', advice = '') => placeOfProblem({ text, advice, reason }, settings);

test('a setting is called as on the page, and is the place', () => {
  const text = 'The setting “max_length” is 2, but it should be at least 8.';
  assert.equal(withPageWords(text, settings), 'The setting “Longest example” is 2, but it should be at least 8.');
  assert.equal(place(text), 'sft-max_length');
  assert.equal(withPageWords('The setup “adapter.r” is 0.', settings), 'The setup “Rank” is 0.');
  assert.equal(withPageWords('The column “question” is empty.', settings), 'The column “question” is empty.');
});

test('other problems lead to their section of the form', () => {
  assert.equal(place('The examples have no column “label”.', 'wrong_column'), 'examples');
  assert.equal(place('Nothing would be learned.', 'no_rows'), 'examples');
  assert.equal(place('The reward “correct” is a program.'), 'rewards');
  assert.equal(place('There is no model called “x”.'), 'model');
  assert.equal(place('The split “train” would be learned and tested on alike.'), 'held');
  assert.equal(place('The disk is full.'), undefined);
  assert.equal(placeOfProblem(undefined, settings), undefined);
});
