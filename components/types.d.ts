// Types of what crosses modules: the event stream's messages, the setup, the catalog of choices, the server's answers.

// -- the setup, as app/setup/spec.py declares it ----------------------------------------------------------------------

export interface Source {
  source: string; // "sample:NAME", "upload:SHA", "hub:OWNER/NAME" or "path:/FILE"
  split?: string;
  config?: string;
  revision?: string;
  weight?: number | string; // a string is what somebody typed and cannot be used
  mapping?: Record<string, string>; // column by part of the layout
  templates?: Record<string, string>; // text with {column} by part of the layout
  labels?: Record<string, string>; // what a verdict says, by its text in the rows
  roles?: Record<string, string>; // role by the speaker's name in the rows
  layout?: string;
  start?: number | string;
  limit?: number | string;
  headless?: boolean;
  skip_bad?: boolean;
  parts?: string;
  encoding?: string;
}

export interface Holdout {
  share?: number | string;
  split?: string;
  source?: Source;
  column?: string;
  value?: string;
}

export interface Model {
  id: string;
  revision?: string;
  start_from?: string;
  template?: string;
  quantization?: string;
  new_tokens?: string[];
  embedding_multiple?: number;
  end_token?: string;
  pad_token?: string;
}

export interface Reward {
  name: string;
  as?: string;
  weight?: number;
  params?: Record<string, unknown>;
}

export interface Setup {
  title?: string;
  method: string;
  model: Model;
  data: Source[];
  holdout: Holdout;
  adapter: Record<string, unknown>;
  knobs: Record<string, unknown>;
  rewards?: Reward[];
  prompts?: string[];
  drop?: string[];
}

// The form's state, of which a draft is kept in the browser.
export interface FormState {
  preset: string;
  setup: Setup;
  link: boolean; // it came by a shared link
  uploads: { source: string; name: string }[];
  exampleCount: { source: string; rows: number } | null; // of the first source, where a person brought it
  isMethodChosen: boolean; // by a person, so that a new file leaves it as it is
}

// -- the catalog: what there is to choose from, see components/settings.py --------------------------------------------

export interface SettingDeclaration {
  name: string;
  title: string;
  library_name?: string; // what TRL, PEFT or transformers call it, where that differs
  type: 'int' | 'float' | 'str' | 'bool' | 'choice' | 'lines';
  path?: string;
  id?: string;
  sentence?: string;
  default?: unknown;
  choices?: Record<string, string>;
  numeric?: boolean;
  low?: number;
  high?: number;
  safe?: [number, number];
  unit?: string;
  empty?: string;
  unused_with?: Record<string, string[]> | null; // values of another setting with which it has no effect; []: any
  picks?: 'model' | 'column' | 'text' | 'program';
  everyday?: boolean;
  placeholder?: () => string;
}

export interface Method {
  title: string;
  term: string; // the field's word for it, such as DPO
  sentence: string;
  layouts: string[];
  family: string;
  order: number;
  experimental: boolean;
  way: string;
  noun: string;
  rewarded: boolean;
  fields: SettingDeclaration[];
}

export interface Preset {
  name: string;
  title: string;
  sentence: string;
  minutes: number | null;
  needs: string;
  goal: string; // one of Catalog.goals; empty for practice
  gigabytes: number | null; // of the smallest graphics card that it fits on
  own_examples: boolean; // those of a person stay when it is chosen
  method: string;
  setup: Setup;
  bound: { model: string[]; data: string[] }; // paths of what it sets for its own model, and for its own examples
}

export interface ShippedModel {
  id: string;
  title: string;
  sentence: string;
  base: boolean;
}

export interface Catalog {
  presets: Preset[];
  goals: Record<string, { title: string; sentence: string }>;
  methods: Record<string, Method>;
  rewards: Record<string, { title: string; sentence: string; fields: SettingDeclaration[] }>;
  families: Record<string, { title: string; sentence: string }>;
  samples: { source: string; title: string; sentence: string }[];
  columns: Record<string, { title: string }>;
  layouts: Record<string, { title: string; kind: string; needs: string[]; may: string[] }>;
  roles: string[];
  formats: string[];
  local: boolean;
  shipped: ShippedModel[];
  first: string;
  common: SettingDeclaration[];
  kinds: string[];
  most: number;
}

// -- answers of the server --------------------------------------------------------------------------------------------

export interface Problem {
  text: string;
  advice: string;
  reason?: string;
}

export interface Reply<Answer> {
  answer?: Answer;
  problem?: Problem;
}

export interface Remedy {
  title: string;
  changes: Record<string, unknown>; // value by its path in the setup; null removes it
}

export interface Finding {
  id: string;
  severity: 'good' | 'info' | 'careful' | 'wrong';
  text: string;
  count: number;
  rows: number[];
  remedy?: Remedy | null;
}

// Which methods the examples fit.
export interface Fit {
  methods: Record<string, string>; // what the examples lack, by method; empty where they fit
  best: string | null;
  why: string;
  shapes: Record<string, Record<string, string>>; // mapping by kind of rows
}

export interface Recognition {
  layout: string | null;
  title: string;
  because: string;
  certainty: string;
  mapping: Record<string, string>;
  parts: { name: string; column: string }[];
  others: { layout: string; title: string; because: string; mapping: Record<string, string> }[];
  findings: Finding[];
  speakers: { name: string; turns: number; role?: string }[];
  verdicts: { text: string; count: number; choice: string | null }[]; // on answers or steps, as the file writes them
  verdict_choices: Record<string, string>; // what a verdict may say, in words
}

// The first rows of a source, and how they are read.
export interface SourcePreview {
  source: string;
  rows: number | null;
  columns: { name: string; type: string; empty: number; example: string; examples: string[] }[];
  cells: string[][];
  numbers: number[];
  now: Recognition;
  guess: Recognition;
  fits: boolean;
  fit: Fit | null;
  headless: boolean;
  first_example: { columns?: { title: string; messages: { role_or_mask?: string; text: string }[] }[]; why?: string };
}

export interface Plan {
  rows: number | null;
  held_out: number;
  left_out?: Record<string, number>;
  tokens: { all?: number; trained?: number } | null;
  truncated: number;
  steps: number;
  effective_batch: number;
  seconds: number | null;
  evaluation_seconds?: number | null; // of these
  lengths?: { longest: number } | null; // of the longest row in tokens
  memory?: MemoryEstimate | null; // null where the model does not say how large it is
  memory_changes?: MemoryChange[]; // empty where it fits
  seconds_why?: string;
  seconds_range?: TimeRange | null; // reckoned, where no step can be tried
}

// Seconds, see app/planning/duration.py.
export interface TimeRange {
  low: number;
  high: number;
}

// See app/planning/memory/estimate.py.
export interface MemoryEstimate extends CardMemory {
  parts: { name: string; title: string; term: string; bytes: number; at_peak: boolean }[];
}

export interface CardMemory {
  low: number; // bytes
  high: number;
  free_bytes: number;
  fits: 'yes' | 'tight' | 'no';
}

// See app/planning/memory/changes.py.
export interface MemoryChange {
  title: string;
  reason: string;
  settings: Record<string, unknown>; // value by its path in the setup
  low: number;
  high: number;
  fits: 'yes' | 'tight' | 'no';
}

// See app/planning/model_cards.py.
export interface ModelCard {
  id: string;
  title: string;
  good_for: string;
  parameters: number;
  weight_bytes: number;
  licence: string | null;
  gated: boolean | null;
  unconfirmed: string[];
  memory: CardMemory;
  duration: TimeRange | null; // null where nothing is planned, or where only the run will tell
  slow: boolean;
  downloaded: boolean;
}

// See app/hub/model_choice.py; where the server does not answer, a refusal alone.
export interface ChosenModel {
  id: string;
  card?: ModelCard | null;
  findings?: Finding[];
  refusal?: Problem | null;
  suggestions?: { id: string; title: string }[];
  note?: string;
  address?: string;
  download?: { total: number; missing: number; free: number; has_room: boolean } | null; // bytes
  state?: DownloadState | null;
  cache?: { count: number; bytes: number } | null;
}

// See app/server/views/model_choice.py.
export interface FoundModels {
  catalogue: { id: string; title: string; parameters: number; good_for: string }[];
  hub: { id: string; parameters?: number; downloads: number; gated?: boolean; private?: boolean }[];
  hub_problem: string;
}

export interface DownloadState {
  state: 'running' | 'finished' | 'cancelled' | 'failed';
  done: number; // bytes
  of: number;
  problem: string;
}

export interface AuditResult {
  rows: number;
  held_out: number;
  dropped: { reason: string; count: number; rows?: number[] }[];
  again: boolean;
  seconds: number;
  findings: Finding[];
  examples: Record<string, string>; // the beginning of an example by its number
  cost?: { steps: number; effective_batch: number; padding: number | null; packed_steps?: number };
  lengths?: LengthCounts;
}

export interface LengthCounts {
  counts: [length: number, examples: number][];
  needed: [length: number, examples: number][]; // tokens up to the first learned one
  total: number;
  maximum: number | null;
  limit: number | null;
  longest: number;
  median: number;
  p99: number;
}

// A setting that differs from the preset, in words.
export interface SettingChange {
  path: string;
  title: string;
  before: string;
  after: string;
}

export interface RunSetup {
  title: string;
  toml: string;
  command: string;
  preset: string;
  changes: SettingChange[];
  folder: string;
  log: string;
  profile: string;
  result: string;
}

// -- messages of the event stream -------------------------------------------------------------------------------------

export interface RunSummary {
  id: string;
  title: string;
  state: string;
  alive: boolean;
  step: number;
  of: number | null;
  spark: number[];
  result: string | null;
  doubt?: 'careful' | 'wrong' | null; // severity of its worst diagnosis
  started: number; // seconds since 1970
  bytes: number;
  journey?: string;
}

// After an action on a run: the new list, and a remark.
export interface RunListing {
  runs: RunSummary[];
  note: string;
}

export interface RunsMessage {
  is_complete: boolean;
  runs: RunSummary[];
  removed_ids?: string[];
}

export interface RunProgress {
  state: string;
  alive: boolean;
  step: number;
  of?: number;
  seconds_left?: number;
  saved?: number; // step of the last checkpoint
  ahead?: number; // runs that wait before it
  place?: string; // the other machine that trains it, in words
  adapter?: boolean;
  verdict?: string;
  result?: string; // from which step the result is, in words
  other?: string; // what the result can be changed to: best or last
  failed?: { text?: string; advice?: string };
  diagnoses?: Diagnosis[]; // the gravest first
}

// What went wrong in a run, and what helps; see app/history/diagnoses.
export interface Diagnosis {
  id: string;
  severity: 'careful' | 'wrong';
  title: string; // in a few words
  text: string;
  advice: string;
  remedy?: Remedy | null;
}

export interface SeriesData {
  x: number[];
  y: (number | null)[];
  mean?: (number | null)[];
  tested?: boolean;
}

export interface RunNote {
  level: string;
  text: string;
}

export interface SampleStep {
  step: number;
  seq: number;
}

export interface SnapshotMessage {
  run: string;
  seq: number;
  title: string;
  method: string;
  names: Record<string, string>; // of metrics
  now: RunProgress;
  notes: RunNote[];
  samples: SampleStep[];
  series: Record<string, SeriesData>;
  journey: string | null;
}

export interface NewsMessage {
  run: string;
  seq: number;
  now: RunProgress;
  notes?: RunNote[];
  samples?: SampleStep[];
  points?: { x: number[]; y: Record<string, (number | null)[]> }[];
  from_step?: number; // a resumed run continues from here: what was told of later steps no longer counts
}

export interface GoneMessage {
  run: string;
  text: string;
  advice: string;
}

export interface SampleRow {
  prompt: string;
  completion: string;
  rewards?: Record<string, number | null>;
  advantage?: number;
  against?: string;
  given?: boolean;
  wanted?: string;
  goes_on?: boolean; // the prompt is the beginning of a text, not a question
}

// -- charts and pipelines ---------------------------------------------------------------------------------------------

export interface ChartSpec {
  name: string;
  title: string;
  hint: string;
  metrics: string[];
  large?: boolean;
  log?: boolean; // it has a log scale
  share?: boolean; // its values may be shares, then shown in percent
  short?: Record<string, string>; // names of metrics where there is little room
}

export interface Stage {
  title: string;
  lesson: string;
  sentence: string;
  state: string;
  status_text: string;
  run: string | null;
  alive?: boolean;
  step: number;
  of?: number | null;
  seconds?: number | null;
  seconds_left?: number | null;
  result?: string | null;
  doubt?: 'careful' | 'wrong' | null;
}

export interface Measure {
  title: string;
  kind?: string;
}

export interface ComparisonCell {
  text: string;
  change?: string;
  share: number | null; // how long its bar is
}

export interface Comparison {
  prompts: number;
  columns: Measure[];
  rows: { title: string; cells: ComparisonCell[] }[];
}

export interface Pipeline {
  id: string;
  phase: string;
  title: string;
  sentence: string;
  minutes: number | null;
  needs: string;
  when: string;
  status_text: string;
  stages: Stage[];
  last: string | null;
  table: Comparison | null;
  prompts: number;
  measures: Measure[];
}

// -- the form ---------------------------------------------------------------------------------------------------------

export interface FinishedRun {
  id: string;
  title: string;
  model: Model;
  adapter: Record<string, unknown>;
}

// The drawn form, which settings.js provides.
export interface FormView {
  refresh: () => void; // all sections
  refreshMethod: () => void; // the sections of the chosen method
  refreshMethodPicker: () => void;
  drawMethod: () => void;
  readExamples: () => void;
  columns: () => string[];
  announce: (text: string, undoState: FormState | null, status?: string, changes?: SettingChange[]) => void;
  announceMethod: (text: string, undoState: FormState | null) => void;
  clearMethodNotice: () => void;
}

// -- the page ---------------------------------------------------------------------------------------------------------

// What the form says of the present setup.
export interface SetupMessage {
  setup: Setup;
  changes: number; // settings that differ from the preset
  isPresetLength: boolean; // it has as many steps as the preset, which was tried
  lacking: string; // why it cannot be used; empty where it can
  way: string;
  noun: string;
  model: string; // its name in a sentence
  passes: number | null; // over the examples; null where the person set a number of steps
  near: string[]; // models that need no download
  settings: { name: string; title: string; id: string }[]; // of the form, with their elements
}

export interface PageEvents {
  view: { view: string; run: string };
  runs: RunSummary[];
  snapshot: SnapshotMessage;
  news: NewsMessage;
  gone: GoneMessage;
  setup: SetupMessage;
  planned: { setup: Setup; plan: Plan };
  alter: { changes: Record<string, unknown> };
  preset: string;
  reset: undefined;
  enough: undefined;
  mend: string | undefined; // the id of the place; undefined for the first invalid setting
  refused: string; // the id of the place that the server refuses
  changes: undefined; // the view of only what differs from the preset
  examples: File; // a person's own, from another view
  teach: string;
  fill: { preset: string; setup: Setup };
  asked: string;
  listed: { isAll: boolean };
}

export interface PageState {
  view: string;
  run: string;
  journey: string;
  mounted: boolean;
  go: (view: string, id?: string) => void;
  ready: () => Promise<void>;
  live?: { runs?: RunSummary[]; now?: RunProgress };
  setup?: SetupMessage;
}

// What Gradio gives to a component's js_on_load.
export interface MountContext {
  element: HTMLElement;
  props: Record<string, any>;
  server: Record<string, (argument?: any) => Promise<any>>;
  trigger: (event: string, data?: Record<string, unknown>) => void; // an event of the component, for a handler in Python
  watch: (name: string, listener: () => void) => void;
}

declare global {
  var tunesmith: PageState;
  var tunesmithMounts: Promise<unknown>[] | undefined;
  var Plotly: any;
}
