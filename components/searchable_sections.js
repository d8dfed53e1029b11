// What the search finds a whole section of the form by, beside its title: words of people and of libraries.

/** @typedef {import('./types.d.ts').Catalog} Catalog */

export const TEMPLATE = {
  name: 'template',
  title: 'Which chat format',
  library_name: 'chat_template',
  sentence: 'How a conversation is written for the model.',
};
export const EXAMPLES = {
  name: 'data',
  title: 'Examples',
  sentence:
    'dataset data file upload CSV JSONL Parquet Hub path source config subset split revision streaming weight mixture ' +
    'mapping columns roles speakers labels layout format rows limit start skip encoding headless parts test set ' +
    'held out holdout validation evaluation eval kept aside drop duplicates train_dataset eval_dataset dataset_name ' +
    'dataset_config dataset_train_split dataset_test_split',
};
export const MODEL = {
  name: 'model',
  title: 'Model',
  sentence: 'base model checkpoint Hub name model_name_or_path revision practice continue from a run weights',
};

/** The lesson, by each of its methods. @param {Pick<Catalog, 'methods'>} catalog */
export const describeLesson = ({ methods }) => ({
  name: 'method',
  title: 'Lesson',
  sentence: 'method trainer algorithm what to learn',
  choices: Object.fromEntries(Object.entries(methods).map(([name, { title, term }]) => [name, `${title} ${term}`])),
});

/** The rewards, by each of them and by what can be set of them. @param {string} title @param {Pick<Catalog, 'rewards'>} catalog */
export function describeRewards(title, { rewards }) {
  const params = Object.values(rewards).flatMap(({ fields }) => fields.flatMap(field => [field.name, field.title]));
  const titles = Object.fromEntries(Object.entries(rewards).map(([name, reward]) => [name, reward.title]));
  return { name: 'rewards', title, sentence: ['reward functions', ...new Set(params)].join(', '), choices: titles };
}
