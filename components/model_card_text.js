// What a model card says in words.

import { formatBytes, formatInteger, formatTimeRange } from './format.js';
import { describeFit } from './plan_text.js';

/** @typedef {import('./types.d.ts').ModelCard} ModelCard */
/** @typedef {import('./types.d.ts').ChosenModel} ChosenModel */

const LONG = 7200; // seconds: nobody waits that long for a first attempt
const COMPLETE_NAME = /^\w[\w.-]{0,95}\/\w[\w.-]{0,95}$/;
const FOLDER = /^(~|\.{0,2}\/)/;

/** Whether a text is the whole name of a model on the Hub, or of a folder: half a name is no reason to ask. @param {string} id @param {boolean} takesFolders */
export const isCompleteName = (id, takesFolders) => COMPLETE_NAME.test(id) || (takesFolders && FOLDER.test(id));

/** 0.6 billion, 135 million @param {number} count */
export const formatWeights = count =>
  count < 995e6
    ? `${Math.round(count / 1e6)} million`
    : `${Number((count / 1e9).toPrecision(count < 10e9 ? 2 : 3))} billion`;

/** How large it is. @param {ModelCard} card */
export function describeSize({ parameters, weight_bytes: bytes, downloaded }) {
  const place = downloaded ? 'on this machine' : 'to download';
  return `${formatWeights(parameters)} weights · ${formatBytes(bytes)} ${place}`;
}

/**
 * Whether the setup fits with this model, and how long it takes; without a plan, whether a processor is too slow for it.
 * @param {ModelCard} card
 */
export function describeCardFit({ memory, slow, duration }) {
  const { status, text } = describeFit(memory);
  if (duration) {
    const time = `${formatTimeRange(duration.low, duration.high)} here`;
    return { status: status || (duration.low > LONG ? 'careful' : ''), text: `${text}; ${time}.` };
  }
  if (status || !slow) return { status, text: `${text}.` };
  return { status: 'careful', text: `${text}, and takes hours on a processor.` };
}

/** Its licence, and whether terms have to be accepted; what is not known is said as such. @param {ModelCard} card */
export function describeAccess({ licence, gated, unconfirmed, downloaded }) {
  const doubt = unconfirmed.includes('licence') ? ' (by one source)' : '';
  const terms = gated ? 'terms to accept on the Hub' : gated === false ? 'no terms to accept' : 'terms not known';
  return [licence ? `Licence ${licence}${doubt}` : 'Licence not known', ...(downloaded ? [] : [terms])].join(' · ');
}

/** How large the download is, and whether the disk has room. @param {NonNullable<ChosenModel['download']>} download */
export function describeDownload({ total, missing, free, has_room: hasRoom }) {
  if (!missing) return { status: 'good', text: `On this machine: ${formatBytes(total)}.` };
  const part =
    missing < total
      ? `${formatBytes(missing)} of ${formatBytes(total)} are missing`
      : `${formatBytes(total)} to download`;
  const room = `the disk has ${formatBytes(free)} free`;
  return hasRoom
    ? { status: '', text: `${part}; ${room}.` }
    : {
        status: 'wrong',
        text: `${part}, and ${room}. Remove a model that you no longer need, or choose a smaller one.`,
      };
}

/** @param {{done: number, of: number}} progress */
export const describeProgress = ({ done, of }) =>
  of
    ? `${formatBytes(done)} of ${formatBytes(of)} (${Math.floor((100 * done) / of)} %)`
    : 'Asking the Hub how large it is …';

/** @param {ChosenModel['cache']} cache */
export const describeCache = cache =>
  cache?.count
    ? `${cache.count === 1 ? 'One model takes' : `${formatInteger(cache.count)} models take`} ${formatBytes(cache.bytes)} on this machine.`
    : '';
