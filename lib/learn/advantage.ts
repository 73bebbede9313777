/**
 * Group-relative advantages (GRPO, arXiv 2402.03300, §4.1.2): how much better a trajectory did than its group.
 *
 * @module
 */
import type { Trajectory } from "../rollout/trajectory.ts";

/** How advantages are scaled. */
export interface AdvantageOptions {
  /** Which standard deviation they are divided by; `none` only centres (arXiv 2503.20783). */
  scaleRewards: "group" | "batch" | "none";
  /** Added to the standard deviation. */
  epsilon: number;
}

/** Advantages of a batch of groups. */
export interface GroupAdvantages {
  /** One number a trajectory, in the trajectories' order. */
  advantages: number[];
  /** Groups whose rewards are all equal: they give no gradient, and dynamic sampling (arXiv 2503.14476) drops them. */
  zeroStdGroups: string[];
  /** Their share of all groups. */
  fracRewardZeroStd: number;
}

/** Below this a standard deviation counts as zero. */
const zeroStd = 1e-8;

/**
 * Â = (r − mean) / (std + ε) within each group, with the unbiased standard deviation. Trajectories of one question are one
 * group. A NaN reward is left out of mean and standard deviation and gets the advantage 0, as in TRL.
 *
 * @example
 * ```ts
 * import { groupAdvantages } from "@search-e1/kit";
 * import { assertAlmostEquals, assertEquals } from "@std/assert";
 *
 * const { advantages, zeroStdGroups } = groupAdvantages([
 *   { questionId: "a", reward: 1 },
 *   { questionId: "a", reward: 0 },
 *   { questionId: "b", reward: 1 },
 *   { questionId: "b", reward: 1 },
 * ], { scaleRewards: "group", epsilon: 0 });
 * assertAlmostEquals(advantages[0]!, Math.SQRT1_2);
 * assertEquals(advantages.slice(2), [0, 0]);
 * assertEquals(zeroStdGroups, ["b"]);
 * ```
 */
export function groupAdvantages(
  trajectories: readonly Pick<Trajectory, "questionId" | "reward">[],
  { scaleRewards, epsilon }: AdvantageOptions,
): GroupAdvantages {
  const batchStd = standardDeviation(trajectories.map(({ reward }) => reward));
  const groups = new Map(
    [...Map.groupBy(trajectories, ({ questionId }) => questionId)].map(([id, members]) => {
      const rewards = members.map(({ reward }) => reward);
      return [id, { center: mean(rewards), std: standardDeviation(rewards) }];
    }),
  );
  const advantages = trajectories.map(({ questionId, reward }) => {
    const { center, std } = groups.get(questionId)!;
    const divisor = { group: std + epsilon, batch: batchStd + epsilon, none: 1 }[scaleRewards];
    return Number.isNaN(reward) || std < zeroStd ? 0 : (reward - center) / divisor;
  });
  const zeroStdGroups = [...groups].filter(([, { std }]) => std < zeroStd).map(([id]) => id);
  return { advantages, zeroStdGroups, fracRewardZeroStd: zeroStdGroups.length / groups.size };
}

/**
 * The mean of the values that are not NaN.
 *
 * @example
 * ```ts
 * import { mean } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(mean([1, NaN, 3]), 2);
 * ```
 */
export function mean(values: readonly number[]): number {
  const present = values.filter((value) => !Number.isNaN(value));
  return present.reduce((sum, value) => sum + value, 0) / present.length;
}

/**
 * The unbiased standard deviation of the values that are not NaN; 0 for fewer than two.
 *
 * @example
 * ```ts
 * import { standardDeviation } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(standardDeviation([1, 2, 3]), 1);
 * ```
 */
export function standardDeviation(values: readonly number[]): number {
  const present = values.filter((value) => !Number.isNaN(value));
  if (present.length < 2) return 0;
  const center = mean(present);
  return Math.sqrt(present.reduce((sum, value) => sum + (value - center) ** 2, 0) / (present.length - 1));
}
