/**
 * What breaks such runs, watched from step 0: each detector looks at a step's metrics, warns once, and names the metric.
 * The signs are those that Search-R1 (arXiv 2503.09516) and the collapse reports of prolonged GRPO describe.
 *
 * @module
 */
import type { Question } from "../world/question.ts";
import { mean } from "./advantage.ts";

/** One row of metrics.jsonl. */
export type MetricsRow = Readonly<Record<string, unknown>>;

/** Watches the metrics of a run. */
export interface Detectors {
  /** Takes the next row and returns the warnings that it sets off, each once in a run. */
  observe(row: MetricsRow): string[];
}

/** Rows in a row that have to look bad before a collapse is called. */
const patience = 3;

/** A warning where a row looks bad, given the rows of the same stage before it. */
type Check = (row: MetricsRow, before: readonly MetricsRow[]) => string | false;

const checks: Readonly<Record<string, Check>> = {
  zeroStd(row, before) {
    const name = "frac_reward_zero_std";
    return lasts(row, before, name, (value) => value >= 0.9) &&
      says(
        row,
        name,
        "nearly all groups have equal rewards and give no gradient; end the stage or take harder questions",
      );
  },
  entropy(row, before) {
    const name = "entropy";
    return lasts(row, before, name, (value) => value < 0.01) &&
      says(row, name, "the policy has stopped exploring; end the stage or raise grpo.entropy_coefficient");
  },
  validActions(row, before) {
    const name = "env/valid_action_ratio";
    return best(before, name) - number(row, name) > 0.1 &&
      says(row, name, `it was ${show(best(before, name))}; the policy is losing the action format`);
  },
  length(row, before) {
    const name = "completions/mean_length";
    const start = mean(before.slice(0, patience).map((earlier) => number(earlier, name)));
    const factor = number(row, name) / start;
    return before.length >= patience && (factor > 2.5 || factor < 0.4) &&
      says(row, name, `it was ${show(start)} when the stage began; lengths drift`);
  },
  tokens(row) {
    const name = "sampling/sampling_logp_difference/max";
    return number(row, name) > 0.1 &&
      says(
        row,
        name,
        "sampler and trainer disagree about the same tokens; masks, positions or token ids have drifted",
      );
  },
  groups(row) {
    const name = "env/group_id_collisions";
    return number(row, name) > 0 &&
      says(
        row,
        name,
        "different questions share an id and one baseline; make (data_source, split, index) unique",
      );
  },
  kl(row) {
    const name = ["kl", "ofsd/kl"].find((key) => number(row, key) < -1e-4);
    return name !== undefined && says(row, name, "no KL is below 0; its sign or its inputs are wrong");
  },
  retriever(row) {
    const name = "env/empty_search_ratio";
    return number(row, name) > 0.5 &&
      says(row, name, "most searches find nothing; check the retriever and the corpus");
  },
  unsupported(row, before) {
    const name = "env/unsupported_ratio";
    return number(row, name) - lowest(before, name) > 0.1 &&
      says(row, name, `it was ${show(lowest(before, name))}; the policy answers without evidence`);
  },
  searches(row, before) {
    const [searches, match] = ["env/searches_mean", "rewards/exact_match/mean"] as const;
    return number(row, searches) < 0.8 * best(before, searches) &&
      best(before, match) - number(row, match) > 0.1 &&
      says(
        row,
        searches,
        `and ${match} fell with it to ${show(number(row, match))}; fewer searches cost answers`,
      );
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
        const seen = !quiet.has(name) && check(row, before);
        if (!seen) return [];
        quiet.add(name);
        return [seen];
      });
      before.push(row);
      return warnings;
    },
  };
}

/**
 * How many ids stand for different questions, which is the metric `env/group_id_collisions`.
 *
 * @example
 * ```ts
 * import { groupIdCollisions } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * const rows = [{ id: "nq/train/0", question: "Who?" }, { id: "nq/train/0", question: "Where?" }];
 * assertEquals(groupIdCollisions(rows), 1);
 * ```
 */
export function groupIdCollisions(questions: readonly Pick<Question, "id" | "question">[]): number {
  const asked = new Map<string, Set<string>>();
  for (const { id, question } of questions) asked.set(id, (asked.get(id) ?? new Set()).add(question));
  return [...asked.values()].filter((different) => different.size > 1).length;
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

/** `<metric> is <value>: <what that means>`. */
function says(row: MetricsRow, name: string, meaning: string): string {
  return `${name} is ${show(number(row, name))}: ${meaning}`;
}

function show(value: number): string {
  return String(Number(value.toPrecision(3)));
}
