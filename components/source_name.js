// What a source of examples is called.

/**
 * The sample's title, the uploaded file's name, the dataset's name or the path.
 * @param {{catalog: {samples: {source: string, title: string}[]}, uploads: {source: string, name: string}[]}} form
 * @param {string} source
 */
export function sourceName({ catalog, uploads }, source) {
  const sample = catalog.samples.find(candidate => candidate.source === source);
  const upload = uploads.find(candidate => candidate.source === source);
  return sample?.title ?? upload?.name ?? describeAddress(source);
}

/** @param {string} source */
const describeAddress = source =>
  source.replace(/^(hub|path):/, '').replace(/^upload:([0-9a-f]{6})[0-9a-f]*/, 'file $1');
