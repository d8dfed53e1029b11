// Values of settings: from what somebody typed, into words, and whether they can be used.

import { formatChoice, formatExact, formatWithUnit } from './format.js';

/** @typedef {import('./types.d.ts').SettingDeclaration} SettingDeclaration */
/** @typedef {[status: string, text: string]} Note */

const NUMBER = /^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i;
const COLUMNS_LISTED = 12;

/** @param {Pick<SettingDeclaration, 'type'>} declaration */
const isNumeric = ({ type }) => type === 'int' || type === 'float';

/** Whether it needs more than one line to write. @param {SettingDeclaration} declaration */
export const isMultiline = ({ type, picks, default: value }) =>
  type === 'lines' || picks === 'text' || picks === 'program' || String(value ?? '').includes('\n');

/** Our name of a setting in files and on the command line. @param {Pick<SettingDeclaration, 'name' | 'path'>} declaration */
export const ownName = ({ name, path }) => path?.split('.').at(-1) ?? name;

/**
 * The name to look a setting up by: the library's, beside it ours where that differs.
 * @param {Pick<SettingDeclaration, 'name' | 'path' | 'library_name'>} declaration
 */
export function lookupName(declaration) {
  const name = ownName(declaration);
  const { library_name: libraryName } = declaration;
  return libraryName && libraryName !== name ? `${libraryName} (here ${name})` : name;
}

/**
 * What was typed, as the setup has it. Text that is no number stays as it is, so that it is refused in words and not
 * lost.
 * @param {Pick<SettingDeclaration, 'type'>} declaration
 * @param {string} text
 * @returns {string | number | string[] | undefined}
 */
export function parseSettingValue(declaration, text) {
  if (declaration.type === 'lines') return text.split('\n').filter(line => line.trim());
  if (!isNumeric(declaration)) return text;
  const trimmed = text.trim();
  if (!trimmed) return undefined;
  return NUMBER.test(trimmed) ? Number(trimmed) : text;
}

/** A value as its input has it. @param {Pick<SettingDeclaration, 'type'>} declaration @param {unknown} value */
export function inputText({ type }, value) {
  if (type === 'lines') return /** @type {string[]} */ (value ?? []).join('\n');
  return typeof value === 'number' ? formatExact(value).replaceAll(',', '') : String(value ?? '');
}

/**
 * A value in words, as on the way back to the preset.
 * @param {SettingDeclaration} declaration
 * @param {unknown} value
 */
export function describeSettingValue({ type, empty, unit }, value) {
  if (value === undefined || value === null) return empty ?? 'automatic';
  if (type === 'bool') return value ? 'on' : 'off';
  if (type === 'choice') return formatChoice(String(value));
  if (type === 'lines') return 'the preset’s';
  return typeof value === 'number' ? formatWithUnit(value, unit) : `“${String(value).slice(0, 40)}”`;
}

/**
 * What a setting does, with its safe range.
 * @param {SettingDeclaration} declaration
 * @param {[number, number] | null} safe
 */
export function describeSetting({ sentence, unit }, safe) {
  const range = safe ? ` Safe: ${formatExact(safe[0])} to ${formatWithUnit(safe[1], unit)}.` : '';
  return `${sentence ?? ''}${range}`;
}

/**
 * Why a setting has no effect with what is chosen elsewhere; null where it has.
 * @param {SettingDeclaration} declaration
 * @param {(path: string) => unknown} valueAt the value in the setup, or the default
 * @param {(path: string) => string} titleAt
 * @returns {Note | null}
 */
export function explainUnused({ unused_with: unusedWith }, valueAt, titleAt) {
  for (const [path, values] of Object.entries(unusedWith ?? {})) {
    const value = valueAt(path);
    const isSet = value !== undefined && value !== null && value !== '';
    if (!isSet || (values.length && !values.includes(String(value)))) continue;
    const text = typeof value === 'number' ? formatExact(value) : formatChoice(String(value));
    return ['info', `Not used: “${titleAt(path)}” says ${text}.`];
  }
  return null;
}

/**
 * A note on the value: beyond its limits it is wrong, beyond what is safe it needs care.
 * @param {SettingDeclaration} declaration
 * @param {any} value
 * @param {[number, number] | null} safe
 * @returns {Note | null}
 */
export function judgeSettingValue(declaration, value, safe) {
  const { type, choices, low, high, unit } = declaration;
  if (type === 'choice') return ['info', choices?.[value] ?? ''];
  if (!isNumeric(declaration) || value === undefined || value === null) return null;
  if (typeof value !== 'number')
    return ['wrong', `“${String(value).slice(0, 40)}” is not a number. Write it like 0.5 or 12.`];
  if (type === 'int' && !Number.isInteger(value)) return ['wrong', `${formatExact(value)} is not a whole number.`];
  if (typeof low === 'number' && typeof high === 'number' && (value < low || value > high)) {
    const range = `${formatExact(low)} and ${formatWithUnit(high, unit)}`;
    return ['wrong', `${formatExact(value)} cannot be used. Choose between ${range}.`];
  }
  if (safe && (value < safe[0] || value > safe[1])) {
    return ['careful', `Unusual: ${formatExact(safe[0])} to ${formatWithUnit(safe[1], unit)} is a safe start.`];
  }
  return null;
}

/**
 * What an unusual value can be mended to: what is usual for this method and model, else the nearest safe value.
 * @param {unknown} value
 * @param {[number, number]} safe
 * @param {number | undefined} usual
 */
export function usualValue(value, [low, high], usual) {
  if (typeof value !== 'number' || (value >= low && value <= high)) return undefined;
  return usual ?? (value < low ? low : high);
}

/**
 * A note on a column that the examples do not have.
 * @param {SettingDeclaration} declaration
 * @param {unknown} value
 * @param {string[]} columns
 * @returns {Note | null}
 */
export function judgeColumn({ picks }, value, columns) {
  if (picks !== 'column' || !value || !columns.length || columns.includes(String(value))) return null;
  const names = columns.slice(0, COLUMNS_LISTED).map(name => name.slice(0, 40));
  return ['careful', `The examples have no column “${value}”. They have: ${names.join(', ')}.`];
}

/** Why a setup with so many invalid settings cannot be used; empty for none. @param {number} count */
export function describeInvalid(count) {
  if (!count) return '';
  return count === 1
    ? 'One setting cannot be used as it is. It says why.'
    : `${count} settings cannot be used as they are. They say why.`;
}
