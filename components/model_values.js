// The model of a setup: which kind it is, its name in words, and how another one takes its place.

import { formatCompact } from './format.js';

/** @typedef {import('./types.d.ts').Catalog} Catalog */
/** @typedef {import('./types.d.ts').Model} Model */

export const PRACTICE_MODEL = 'pocket';
const MODEL_OPTIONS = /** @type {(keyof Model)[]} */ ([
  'quantization',
  'new_tokens',
  'embedding_multiple',
  'end_token',
  'pad_token',
  'template',
]);

/** Shipped models that can be taught; the others only teach. @param {Pick<Catalog, 'shipped'>} catalog */
export const trainableModels = ({ shipped }) => shipped.filter(({ base }) => base);

/** @param {Pick<Catalog, 'shipped'>} catalog @param {string | undefined} id */
export const findShipped = (catalog, id) => trainableModels(catalog).find(model => model.id === id);

/**
 * Where it comes from: an own run, Tunesmith, or the Hub.
 * @param {Pick<Catalog, 'shipped'>} catalog
 * @param {Model | undefined} model
 */
export function modelKind(catalog, model) {
  if (model?.start_from?.startsWith('run:')) return 'run';
  return findShipped(catalog, model?.id) ? 'practice' : 'hub';
}

/** @param {Pick<Catalog, 'shipped'>} catalog @param {Model | undefined} model */
export const modelName = (catalog, model) =>
  findShipped(catalog, model?.id)?.title.replace(/^T/, 't') ?? (model?.id || 'none yet');

/**
 * Whether a shipped model is to learn examples that it was not made for.
 * @param {Pick<Catalog, 'shipped'>} catalog
 * @param {Pick<import('./types.d.ts').Setup, 'model' | 'data'>} setup
 */
export const isPracticeForOwnExamples = (catalog, { model, data }) =>
  modelKind(catalog, model) === 'practice' && data.some(({ source }) => !source.startsWith('sample:'));

/**
 * Another model with the same options, such as quantization; its revision and start do not apply to it.
 * @param {Model | undefined} model
 * @param {string} id
 * @returns {Model}
 */
export function replaceModel(model, id) {
  const options = MODEL_OPTIONS.filter(name => model?.[name]).map(name => [name, model?.[name]]);
  return { id, ...Object.fromEntries(options) };
}

/**
 * Size of a model of the catalogue, and what it is good for.
 * @param {{parameters: number, good_for: string}} model
 */
export const describeCatalogueModel = ({ parameters, good_for: goodFor }) =>
  `${formatCompact(parameters)} weights · ${goodFor}`;

/**
 * Size, downloads and access of a model on the Hub.
 * @param {{parameters?: number, downloads: number, gated?: boolean, private?: boolean}} model
 */
export function describeHubModel(model) {
  const size = model.parameters ? `${formatCompact(model.parameters)} weights · ` : '';
  const access = model.gated ? ' · its licence must be accepted first' : model.private ? ' · private' : '';
  return `${size}${formatCompact(model.downloads)} downloads${access}`;
}
