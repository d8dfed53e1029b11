// Numbers, counts, durations, sizes and lists as people read them.

/** 12,345 @param {number} value */
export const formatInteger = value => value.toLocaleString('en-US');

/** 3 examples, 1 example @param {number} count @param {string} noun */
export const formatCount = (count, noun) => `${formatInteger(count)} ${noun}${count === 1 ? '' : 's'}`;

const SMALLEST = 1e-6; // below, zeros can no longer be counted at a glance

/** Up to 12 significant digits; thousands are grouped from 10,000 on, and millionths have an exponent. @param {number} value */
export const formatExact = value =>
  value && Math.abs(value) < SMALLEST
    ? Number(value.toPrecision(12)).toExponential()
    : value.toLocaleString('en-US', { maximumSignificantDigits: 12, useGrouping: Math.abs(value) >= 10000 });

/** passes, steps: one of them. @param {string} unit */
const singular = unit => (unit.endsWith('sses') ? unit.slice(0, -2) : unit.replace(/s$/, ''));

/** 5 passes, 1 pass, 24 GB @param {number} value @param {string} [unit] */
export const formatWithUnit = (value, unit) =>
  `${formatExact(value)}${unit ? ` ${value === 1 ? singular(unit) : unit}` : ''}`;

/** Three significant digits, without exponent: 0.123, 45.6 @param {number | string} value */
export const formatRounded = value => String(Number(Number(value).toPrecision(3)));

/** 1.2K, 3.4M @param {number | undefined} value */
export const formatCompact = value =>
  new Intl.NumberFormat('en-US', { notation: 'compact', maximumFractionDigits: 1 }).format(value ?? 0);

/**
 * A value at the end of a curve: three significant digits, thousands grouped, tiny ones with an exponent, – for none.
 * @param {number | undefined} value
 */
export function formatMetric(value) {
  if (value === undefined) return '–';
  if (Math.abs(value) >= 1000) return Math.round(value).toLocaleString('en');
  if (value && Math.abs(value) < 1e-4) return value.toExponential(2);
  return formatRounded(value);
}

const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];

/** 1 Dec 2026, 15:10 as app/core/dates.py writes it @param {number} seconds since 1970 */
export function formatDate(seconds) {
  const date = new Date(seconds * 1000);
  const twoDigits = (/** @type {number} */ number) => String(number).padStart(2, '0');
  const day = `${date.getDate()} ${MONTHS[date.getMonth()]} ${date.getFullYear()}`;
  return `${day}, ${twoDigits(date.getHours())}:${twoDigits(date.getMinutes())}`;
}

/** 312 kB, 3.1 MB, 41.0 GB @param {number} count */
export function formatBytes(count) {
  if (count < 1e6) return `${Math.ceil(count / 1e3)} kB`;
  return count < 1e9 ? `${(count / 1e6).toFixed(1)} MB` : `${(count / 1e9).toFixed(1)} GB`;
}

/** 45 s, 12 min, 2 h 5 min @param {number} seconds */
export function formatDuration(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 90 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** At least a second, then minutes without hours: 1 s, 150 min @param {number} seconds */
export const formatMinutes = seconds =>
  seconds < 90 ? `${Math.max(1, Math.round(seconds))} s` : `${Math.round(seconds / 60)} min`;

/** about 45 s, about 12 minutes, about 2.5 hours @param {number} seconds */
export function formatEstimate(seconds) {
  if (seconds < 90) return `about ${Math.max(1, Math.round(seconds))} s`;
  if (seconds < 5400) return `about ${Math.round(seconds / 60)} minutes`;
  return `about ${(seconds / 3600).toFixed(1)} hours`;
}

const TIME_UNITS = /** @type {[string, number][]} */ ([
  ['h', 3600],
  ['min', 60],
  ['s', 1],
]);

/** 3 to 8 min, 40 s to 2 min, 1.5 to 4 h: roughly, as a range of estimates is. @param {number} low @param {number} high */
export function formatTimeRange(low, high) {
  const [from, to] = [low, high].map(seconds => {
    const [unit, size] = TIME_UNITS.find(([, unitSize]) => seconds >= 1.5 * unitSize) ?? ['s', 1];
    const count = Math.max(1, seconds / size);
    return { count: unit === 'h' && count < 10 ? Math.round(2 * count) / 2 : Number(count.toPrecision(2)), unit };
  });
  if (from.unit === to.unit && Math.round(from.count) === Math.round(to.count)) return `about ${to.count} ${to.unit}`;
  return `${from.count}${from.unit === to.unit ? '' : ` ${from.unit}`} to ${to.count} ${to.unit}`;
}

const NAMES_LISTED = 12;

/** a, b and c; of more than twelve the rest is counted. @param {string[]} names */
export function formatList(names) {
  if (names.length > NAMES_LISTED) {
    return `${names.slice(0, NAMES_LISTED).join(', ')} and ${names.length - NAMES_LISTED} more`;
  }
  return names.length > 1 ? `${names.slice(0, -1).join(', ')} and ${names.at(-1)}` : names.join('');
}

const SPELLINGS = /** @type {Record<string, string>} */ ({
  adamw: 'AdamW',
  sgd: 'SGD',
  int8: 'int8',
  nf4: 'NF4',
  fp4: 'FP4',
  lora: 'LoRA',
  dora: 'DoRA',
  rslora: 'rsLoRA',
  ia3: 'IA³',
  loha: 'LoHa',
  lokr: 'LoKr',
  oft: 'OFT',
  vera: 'VeRA',
  fourierft: 'FourierFT',
  fp32: 'fp32',
  bf16: 'bf16',
});
const ACRONYM = /^([a-z]{1,3}po|aot|bco|exo|nca|sft|dft|nll|kl|js|lr)$/;

/** @param {string} text */
export const capitalizeFirst = text => text.charAt(0).toUpperCase() + text.slice(1);

/** With a capital letter, and spaces for underscores. @param {string} text */
export const capitalize = text => SPELLINGS[text] ?? capitalizeFirst(text).replaceAll('_', ' ');

/** The name of a choice as a person reads it: ipo is IPO, and sppo_hard is SPPO hard. @param {string} name */
export function formatChoice(name) {
  const words = name.split('_').map(word => SPELLINGS[word] ?? (ACRONYM.test(word) ? word.toUpperCase() : word));
  return SPELLINGS[name] ?? capitalize(words.join(' '));
}

/** What went wrong and what to do. @param {{text: string, advice?: string}} problem */
export const formatProblem = ({ text, advice }) => `${text} ${advice ?? ''}`.trim();
