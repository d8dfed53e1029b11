// Reading and changing a setup by dotted paths, such as "knobs.epochs" or "data.0.headless".

/**
 * @param {any} data
 * @param {string} path
 * @returns {any} undefined where nothing is
 */
export const getAtPath = (data, path) => path.split('.').reduce((group, key) => group?.[key], data);

/**
 * Sets a value, or removes it where it is null or undefined. Missing groups are added.
 * @param {any} data changed in place
 * @param {string} path
 * @param {unknown} value
 */
export function setAtPath(data, path, value) {
  const keys = path.split('.');
  const last = /** @type {string} */ (keys.pop());
  const group = keys.reduce((parent, key) => (parent[key] ??= {}), data);
  if (value === undefined || value === null) delete group[last];
  else group[last] = value;
}

/**
 * Applies the changes of a remedy: values by their paths, copied so that the remedy stays as it is.
 * @param {any} data changed in place
 * @param {Record<string, unknown>} changes
 */
export function applyChanges(data, changes) {
  for (const [path, value] of Object.entries(changes)) setAtPath(data, path, structuredClone(value));
}

/** Whether two values are the same JSON; missing counts as null. @param {unknown} first @param {unknown} second */
export const isSameJson = (first, second) => JSON.stringify(first ?? null) === JSON.stringify(second ?? null);

/**
 * A copy of an object without one of its keys.
 * @template Value
 * @param {Record<string, Value> | undefined} object
 * @param {string} key
 * @returns {Record<string, Value>}
 */
export function withoutKey(object, key) {
  return Object.fromEntries(Object.entries(object ?? {}).filter(([name]) => name !== key));
}
