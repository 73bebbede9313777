/** Learning rates over a run, as the schedulers of transformers compute them. @module */

/** The shape of a learning-rate schedule. */
export interface ScheduleOptions {
  /** The peak learning rate. */
  lr: number;
  /** Steps of linear warm-up from 0. Stands before `warmupRatio`. */
  warmupSteps?: number;
  /** Warm-up as a share of all steps, rounded up. */
  warmupRatio?: number;
  totalSteps: number;
  /** After the warm-up: stay, fall linearly to 0, or fall along half a cosine to 0. `constant` when left out. */
  schedule?: "constant" | "linear" | "cosine";
}

/**
 * The learning rate of one optimiser step.
 *
 * @param step Steps done before this one, from 0: with a warm-up the first step's rate is 0, as in transformers.
 *
 * @example
 * ```ts
 * import { learningRate } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * const options = { lr: 1, warmupSteps: 2, totalSteps: 6, schedule: "linear" } as const;
 * assertEquals([0, 1, 2, 4, 6].map((step) => learningRate(step, options)), [0, 0.5, 1, 0.5, 0]);
 * ```
 */
export function learningRate(
  step: number,
  { lr, warmupSteps, warmupRatio = 0, totalSteps, schedule = "constant" }: ScheduleOptions,
): number {
  const warmup = warmupSteps ?? Math.ceil(warmupRatio * totalSteps);
  if (step < warmup) return lr * step / Math.max(1, warmup);
  if (schedule === "constant") return lr;
  const progress = (step - warmup) / Math.max(1, totalSteps - warmup);
  if (schedule === "linear") return lr * Math.max(0, 1 - progress);
  return lr * Math.max(0, 0.5 * (1 + Math.cos(Math.PI * Math.min(1, progress))));
}
