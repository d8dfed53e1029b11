// The audit's findings: what was found, the examples it concerns, and the buttons that mend it.

import { create, createText } from './dom.js';
import { formatCount, formatInteger } from './format.js';

/** @typedef {import('./types.d.ts').AuditResult} AuditResult */
/** @typedef {import('./types.d.ts').Finding} Finding */
/** @typedef {import('./types.d.ts').Remedy} Remedy */
/** @typedef {(remedy: Remedy) => void} Mend */
/** @typedef {(finding: Finding, row: number) => void} OpenExamples */

const SEVERITY_WORDS = /** @type {Record<string, string>} */ ({ wrong: 'Wrong', careful: 'Careful', good: 'Good' });
const EXCLUSIONS = ['left_out', 'dropped', 'unreadable_rows']; // findings that the list of excluded rows tells already
const EXAMPLES_OFFERED = 3; // of one finding
const ROWS_LISTED = 5; // of the excluded ones
const PREVIEW_LENGTH = 60; // characters

/**
 * Summary, excluded rows and findings.
 * @param {AuditResult} audit
 * @param {Mend} mend
 * @param {OpenExamples} openExamples
 */
export function createFindings(audit, mend, openExamples) {
  const findings = audit.findings.filter(({ id }) => !EXCLUSIONS.includes(id));
  const list = createText('ul', 'notice audit-findings');
  const createLinks = (/** @type {Finding} */ finding) => createExampleLinks(finding, audit, openExamples);
  list.append(...findings.map((finding, index) => createFinding(finding, index, mend, createLinks)));
  return [createSummary(audit, findings), ...createExcluded(audit), list];
}

/** @param {AuditResult} audit @param {Finding[]} findings */
function createSummary(audit, findings) {
  const sentence = createText('p', 'audit-summary', describeAudited(audit));
  sentence.append(createText('strong', '', countFindings(findings)), '.');
  sentence.setAttribute('role', 'status');
  return sentence;
}

/**
 * How many examples were looked at, and how long it took.
 * @param {Pick<AuditResult, 'rows' | 'again' | 'seconds'>} audit
 */
export function describeAudited({ rows, again, seconds }) {
  const time = again ? 'as found before' : `in ${seconds < 1.5 ? 'a second' : `${Math.round(seconds)} s`}`;
  return `${formatCount(rows, 'example')} looked at, ${time}: `;
}

/** 1 wrong, 2 to look at @param {Pick<Finding, 'severity'>[]} findings */
export function countFindings(findings) {
  const count = (/** @type {string} */ severity) => findings.filter(finding => finding.severity === severity).length;
  const wrong = count('wrong') ? `${count('wrong')} wrong` : '';
  const careful = count('careful') ? `${count('careful')} to look at` : '';
  return [wrong, careful].filter(Boolean).join(', ') || 'nothing stands in the way';
}

/**
 * @param {Finding} finding
 * @param {number} index
 * @param {Mend} mend
 * @param {(finding: Finding) => HTMLElement} createLinks to its examples
 */
function createFinding(finding, index, mend, createLinks) {
  const sentence = document.createElement('p');
  if (finding.severity !== 'good') {
    sentence.append(createText('span', `severity of-${finding.severity}`, `${SEVERITY_WORDS[finding.severity]}:`));
  }
  sentence.append(finding.text);
  const { remedy } = finding;
  const mendButton =
    remedy &&
    create('button', {
      type: 'button',
      className: 'plain mend',
      textContent: remedy.title,
      id: `mend-${index}`,
      onclick: () => mend(remedy),
    });
  const controls = [...(mendButton ? [mendButton] : []), ...(finding.rows.length ? [createLinks(finding)] : [])];
  const row = controls.length ? create('div', { className: 'audit-row' }, ...controls) : null;
  return create('li', { className: finding.severity }, sentence, row);
}

/**
 * The first examples by how they begin; each opens among the others of its finding.
 * @param {Finding} finding
 * @param {AuditResult} audit
 * @param {OpenExamples} openExamples
 */
function createExampleLinks(finding, audit, openExamples) {
  const buttons = finding.rows.slice(0, EXAMPLES_OFFERED).map(row =>
    create('button', {
      type: 'button',
      className: 'back',
      textContent: exampleLabel(row, audit.examples[row]),
      'aria-label': `Open example ${formatInteger(row)}: ${finding.text}`,
      onclick: () => openExamples(finding, row),
    }),
  );
  const isMore = finding.count > EXAMPLES_OFFERED;
  const title = isMore ? `${EXAMPLES_OFFERED} of ${formatInteger(finding.count)}:` : 'See:';
  return create('div', { className: 'audit-opens' }, createText('span', 'quiet', title), ...buttons);
}

/** 7: “The app logs me out…” @param {number} row @param {string | undefined} beginning */
export function exampleLabel(row, beginning) {
  if (!beginning) return `Example ${formatInteger(row)}`;
  const preview = beginning.replace(/\s+/g, ' ').slice(0, PREVIEW_LENGTH);
  return `${formatInteger(row)}: “${preview}${beginning.length > PREVIEW_LENGTH ? '…' : ''}”`;
}

/** Which rows are not learned from, with the reasons. @param {AuditResult} audit */
function createExcluded(audit) {
  if (!audit.dropped.length) return [];
  const list = create('ul', {}, ...audit.dropped.map(group => createText('li', '', describeExcluded(group))));
  return [create('div', { className: 'audit-dropped' }, createText('p', '', describeTotals(audit)), list)];
}

/** @param {AuditResult['dropped'][number]} group */
export function describeExcluded({ reason, count, rows }) {
  if (!rows?.length) return `${formatInteger(count)}: ${reason}`;
  const listed = rows.slice(0, ROWS_LISTED).map(formatInteger).join(', ');
  const more = count > ROWS_LISTED ? ' …' : '';
  return `${formatInteger(count)}: ${reason} (row${rows.length === 1 ? '' : 's'} ${listed}${more} of the file)`;
}

/** @param {Pick<AuditResult, 'rows' | 'held_out' | 'dropped'>} audit */
export function describeTotals({ rows, held_out: heldOut, dropped }) {
  const excluded = dropped.reduce((sum, { count }) => sum + count, 0);
  const learned = `${formatCount(rows, 'example')} ${rows === 1 ? 'is' : 'are'} learned from`;
  const aside = heldOut ? `, ${formatInteger(heldOut)} kept aside for the test` : '';
  return `Of ${formatInteger(rows + heldOut + excluded)}, ${learned}${aside}, and ${formatInteger(excluded)} left out:`;
}

/**
 * What was mended already. Undone from the last on: an earlier change may have been built upon.
 * @template {{title: string}} Change
 * @param {Change[]} changes
 * @param {(change: Change) => void} undo
 */
export function createMended(changes, undo) {
  if (!changes.length) return [];
  const items = changes.map((change, index) => {
    const item = createText('li', 'good', `Done: ${change.title}. `);
    const button = { type: 'button', className: 'back', textContent: 'Undo', onclick: () => undo(change) };
    if (index === changes.length - 1) item.append(create('button', button));
    return item;
  });
  return [create('ul', { className: 'notice audit-mended' }, ...items)];
}
