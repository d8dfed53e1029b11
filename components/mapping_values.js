// The mapping of a source's columns to the parts of its layout.

import { withoutKey } from './setup_paths.js';

/**
 * A mapping without parts whose column has the part's own name, which need none.
 * @param {Record<string, string>} mapping
 */
export const trimMapping = mapping =>
  Object.fromEntries(Object.entries(mapping).filter(([part, column]) => column && part !== column));

/**
 * Removes the template of a part.
 * @param {import('./types.d.ts').Source} source changed in place
 * @param {string} part
 */
export function removeTemplate(source, part) {
  const templates = withoutKey(source.templates, part);
  if (Object.keys(templates).length) source.templates = templates;
  else delete source.templates;
}
