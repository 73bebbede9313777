/**
 * What breaks such runs, watched from step 0: each detector looks at a step's metrics, warns once, and names the metric.
 * The signs are those that Search-R1 (arXiv 2503.09516) and the collapse reports of prolonged GRPO describe.
 *
 * @module
 */

/** One row of metrics.jsonl. */
export type MetricsRow = Readonly<Record<string, unknown>>;

/** Watches the metrics of a run. */
export interface Detectors {
  /** Takes the next row and returns the warnings that it sets off, each once in a run. */
  observe(row: MetricsRow): string[];
}

/** Rows in a row that have to look bad before a collapse is called. */
const patience = 3;

/** Whether a row looks bad, given the rows of the same stage before it; a sentence that says what is seen. */
type Check = (row: MetricsRow, before: readonly MetricsRow[]) => string | undefined;

const checks: Readonly<Record<string, Check>> = {
  zeroStd: (row, before) =>
    lasts(row, before, "frac_reward_zero_std", (value) => value >= 0.9)
      ? `frac_reward_zero_std is ${
        show(row.frac_reward_zero_std)
      }: nearly all groups have equal rewards and give no ` +
        "gradient; end the stage, or take harder questions"
      : undefined,
  entropy: (row, before) =>
    lasts(row, before, "entropy", (value) => value < 0.01)
      ? `entropy is ${show(row.entropy)} nats: the policy has stopped exploring; end the stage, or raise ` +
        "grpo.entropy_coefficient"
      : undefined,
  validActions: (row, before) => {
    const fall = best(before, "env/valid_action_ratio") - number(row, "env/valid_action_ratio");
    return fall > 0.1
      ? `env/valid_action_ratio fell by ${show(fall)} to ${
        show(row["env/valid_action_ratio"])
      }: the policy is losing ` +
        "the action format"
      : undefined;
  },
  length: (row, before) => {
    const first = before.slice(0, patience).map((earlier) => number(earlier, "completions/mean_length"));
    const start = first.reduce((sum, value) => sum + value, 0) / first.length;
    const factor = number(row, "completions/mean_length") / start;
    return first.length === patience && (factor > 2.5 || factor < 0.4)
      ? `completions/mean_length is ${show(factor)} times what it was at the stage's start: lengths drift`
      : undefined;
  },
  tokens: (row) =>
    number(row, "sampling/sampling_logp_difference/max") > 0.1
      ? `sampling/sampling_logp_difference/max is ${
        show(row["sampling/sampling_logp_difference/max"])
      } nats: sampler ` +
        "and trainer disagree about the same tokens; masks, positions or token ids have drifted"
      : undefined,
  groups: (row) =>
    number(row, "env/group_id_collisions") > 0
      ? `env/group_id_collisions is ${
        show(row["env/group_id_collisions"])
      }: different questions share an id, so their ` +
        "rewards are centred together; make (data_source, split, index) unique"
      : undefined,
  kl: (row) => {
    const name = ["kl", "ofsd/kl"].find((key) => number(row, key) < -1e-4);
    return name
      ? `${name} is ${show(row[name])}, below 0, which no KL is: its sign or its inputs are wrong`
      : undefined;
  },
  retriever: (row) =>
    number(row, "env/searches_mean") > 0 &&
      number(row, "env/documents_mean") < 0.5 * number(row, "env/searches_mean")
      ? `env/documents_mean is ${show(row["env/documents_mean"])} at ${
        show(row["env/searches_mean"])
      } searches: most ` +
        "searches find nothing; check the retriever and the corpus"
      : undefined,
  unsupported: (row, before) => {
    const rise = number(row, "env/unsupported_ratio") - lowest(before, "env/unsupported_ratio");
    return rise > 0.1
      ? `env/unsupported_ratio rose by ${show(rise)} to ${
        show(row["env/unsupported_ratio"])
      }: the policy answers ` +
        "without evidence"
      : undefined;
  },
  searches: (row, before) => {
    const searches = number(row, "env/searches_mean") / best(before, "env/searches_mean");
    const fall = best(before, "rewards/exact_match/mean") - number(row, "rewards/exact_match/mean");
    return searches < 0.8 && fall > 0.1
      ? `env/searches_mean and rewards/exact_match/mean fell together, to ${
        show(row["env/searches_mean"])
      } and ` +
        `${show(row["rewards/exact_match/mean"])}: fewer searches cost answers`
      : undefined;
  },
};

/**
 * Detectors with nothing seen yet. After a resume, feed them the rows that are already written. Comparisons with earlier
 * rows stay within a `stage`; a metric that a row lacks is not looked at.
 *
 * @example
 * ```ts
 * import { createDetectors } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * const detectors = createDetectors();
 * const row = { step: 1, stage: "grpo-1", kl: -0.5 };
 * assertEquals(detectors.observe(row).length, 1);
 * assertEquals(detectors.observe(row), []); // each warns once
 * ```
 */
export function createDetectors(): Detectors {
  const quiet = new Set<string>();
  let stage: unknown;
  let before: MetricsRow[] = [];
  return {
    observe(row) {
      if (row.stage !== stage) {
        stage = row.stage;
        before = [];
      }
      const warnings = Object.entries(checks).flatMap(([name, check]) => {
        const seen = quiet.has(name) ? undefined : check(row, before);
        if (seen === undefined) return [];
        quiet.add(name);
        return [seen];
      });
      before.push(row);
      return warnings;
    },
  };
}

/** The metric's value; NaN, with which every comparison fails, where the row lacks it. */
function number(row: MetricsRow, name: string): number {
  const value = row[name];
  return typeof value === "number" ? value : NaN;
}

function best(rows: readonly MetricsRow[], name: string): number {
  return present(rows, name).reduce((a, b) => Math.max(a, b), -Infinity);
}

function lowest(rows: readonly MetricsRow[], name: string): number {
  return present(rows, name).reduce((a, b) => Math.min(a, b), Infinity);
}

function present(rows: readonly MetricsRow[], name: string): number[] {
  return rows.map((row) => number(row, name)).filter((value) => !Number.isNaN(value));
}

/** Whether the metric looks bad in this row and in the `patience` − 1 rows before it. */
function lasts(
  row: MetricsRow,
  before: readonly MetricsRow[],
  name: string,
  bad: (value: number) => boolean,
): boolean {
  const last = [...before.slice(1 - patience), row];
  return last.length === patience && last.every((each) => bad(number(each, name)));
}

function show(value: unknown): string {
  return typeof value === "number" ? String(Number(value.toPrecision(3))) : String(value);
}
