// A problem with the setup in the form's own words, and the place in the form that it is about.

/** @typedef {import('./types.d.ts').Problem} Problem */
/** @typedef {{name: string, title: string, id: string}} NamedSetting */

const DATA_REASONS = [
  'no_rows',
  'wrong_column',
  'unreadable_data',
  'encoding',
  'data_not_found',
  'too_large',
  'too_slow',
];
// The first that matches counts: what a sentence is about, and the section of the form.
const SECTIONS = /** @type {[RegExp, string][]} */ ([
  [/held out|holdout|tested on/i, 'held'],
  [/reward/i, 'rewards'],
  [/chat template|chat format/i, 'format'],
  [/\bmodel\b|weights/i, 'model'],
  [/examples?|rows?|columns?|\bfile\b|split|dataset|source/i, 'examples'],
]);

/** The settings that a text names by their names in files, in quotation marks. @param {string} text @param {NamedSetting[]} settings */
const namedSettings = (text, settings) =>
  [...text.matchAll(/(?<!columns? )“(?:knobs\.|adapter\.|model\.)?([a-z_]+)”/g)]
    .map(([, name]) => settings.find(setting => setting.name === name))
    .filter(setting => setting !== undefined);

/**
 * The id of the element that a problem is about; undefined where that is not known.
 * @param {Problem | undefined} problem
 * @param {NamedSetting[]} settings
 */
export function placeOfProblem(problem, settings) {
  if (!problem) return undefined;
  const text = `${problem.text} ${problem.advice}`;
  const [setting] = namedSettings(text, settings);
  if (DATA_REASONS.includes(problem.reason ?? '')) return 'examples';
  if (setting) return setting.id;
  return SECTIONS.find(([pattern]) => pattern.test(problem.text))?.[1];
}

/**
 * A sentence in which settings have their titles on the page, instead of their names in files.
 * @param {string} text
 * @param {NamedSetting[]} settings
 */
export const withPageWords = (text, settings) =>
  namedSettings(text, settings).reduce(
    (sentence, { name, title }) =>
      sentence.replaceAll(new RegExp(`(?<!columns? )“(?:knobs\\.|adapter\\.|model\\.)?${name}”`, 'g'), `“${title}”`),
    text,
  );
