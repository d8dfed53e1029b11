// What a server function replies: an answer, or a problem in words.

/** @typedef {import('./types.d.ts').Reply<unknown>} Reply */

export const NO_SERVER = 'The page’s own server does not answer.';
export const RELOAD = 'Reload the page once it is open again.';

/** @param {Reply | undefined} reply of a server function that had no answer @param {string} [otherwise] */
export const problemText = (reply, otherwise = `${NO_SERVER} ${RELOAD}`) =>
  reply?.problem ? `${reply.problem.text} ${reply.problem.advice}`.trim() : otherwise;
