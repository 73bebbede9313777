/** Plots of roll-outs in training: their rewards, and the divergence from the teacher along them. @module */
import { lineNames, names, type PlotSpec, plotSpec, quantity, tooltip } from "./plot_spec.ts";

/**
 * The share of roll-outs that got a reward, in steps of 0.1 (of a fifteenth where rewards span more than 1.5); series stand
 * side by side.
 *
 * @example
 * ```ts
 * import { rewardHistogram } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(rewardHistogram([{ name: "first step", rewards: [0, 1, 1] }]).title, "Rewards");
 * ```
 */
export function rewardHistogram(series: readonly { name: string; rewards: readonly number[] }[]): PlotSpec {
  const values = series.flatMap(({ name, rewards }, order) =>
    [...Map.groupBy(rewards.filter(Number.isFinite), (reward) => reward)].map(([reward, { length }]) => ({
      name,
      order,
      reward,
      rollouts: length,
    }))
  );
  return plotSpec("Rewards", values, {
    transform: [
      {
        joinaggregate: [
          { op: "min", field: "reward", as: "least" },
          { op: "max", field: "reward", as: "most" },
          { op: "max", field: "order", as: "last" },
        ],
      },
      { joinaggregate: [{ op: "sum", field: "rollouts", as: "all" }], groupby: ["name"] },
      { calculate: "datum.most - datum.least <= 1.5 ? 0.1 : (datum.most - datum.least) / 15", as: "step" },
      { calculate: "round(datum.reward / datum.step) * datum.step", as: "centre" },
      {
        aggregate: [{ op: "sum", field: "rollouts", as: "rollouts" }],
        groupby: ["name", "order", "last", "step", "all", "centre"],
      },
      { calculate: "datum.rollouts / datum.all", as: "share" },
      // Nine tenths of a step hold the bars of all series.
      {
        calculate: "datum.centre + datum.step * 0.9 * (datum.order / (datum.last + 1) - 0.5)",
        as: "from",
      },
      { calculate: "datum.from + datum.step * 0.9 / (datum.last + 1)", as: "to" },
    ],
    mark: { type: "rect", style: "bar" },
    encoding: {
      x: quantity("from", "reward of a roll-out", { scale: { zero: false, nice: false, padding: 6 } }),
      x2: { field: "to" },
      y: quantity("share", "share of roll-outs", { scale: { zero: true } }),
      y2: { datum: 0 },
      color: names("name", null),
      tooltip: tooltip(
        { name: "of", centre: "reward about", share: "share", rollouts: "roll-outs" },
        ["centre", "share"],
      ),
    },
  });
}

/**
 * The divergence by position among the tokens that the model wrote: the mean over trajectories, in a band of ± one
 * standard error.
 *
 * @param series `kl[i]` are one trajectory's values a token; null where the model did not write it.
 *
 * @example
 * ```ts
 * import { klByPosition } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * const { data } = klByPosition([{ name: "before", kl: [[null, 0.5], [0.7]] }]) as { data: { values: { kl: number }[] } };
 * assertEquals(data.values.map(({ kl }) => kl), [0.6]);
 * ```
 */
export function klByPosition(
  series: readonly { name: string; kl: readonly (readonly (number | null)[])[] }[],
): PlotSpec {
  const values = series.flatMap(({ name, kl }) => {
    const byPosition: number[][] = [];
    for (const tokens of kl) {
      tokens.filter((value) => value !== null).forEach((value, i) => {
        if (Number.isFinite(value)) (byPosition[i] ??= []).push(value);
      });
    }
    return byPosition.map((at, i) => {
      const mean = at.reduce((sum, value) => sum + value, 0) / at.length;
      const variance = at.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (at.length - 1);
      return {
        name,
        position: i + 1,
        kl: mean,
        se: at.length > 1 ? Math.sqrt(variance / at.length) : 0,
        trajectories: at.length,
      };
    }).filter((value) => value !== undefined);
  });
  const by = lineNames("name", null);
  return plotSpec("KL to the teacher by position", values, {
    transform: [
      { calculate: "datum.kl - datum.se", as: "low" },
      { calculate: "datum.kl + datum.se", as: "high" },
    ],
    encoding: {
      x: quantity("position", "position among the tokens that the model wrote", {
        scale: { zero: false, nice: false, padding: 8 },
        axis: { tickMinStep: 1, grid: false },
      }),
    },
    layer: [
      {
        mark: { type: "area", opacity: 0.2, aria: false },
        encoding: {
          y: quantity("low", "KL, nats a token"),
          y2: { field: "high" },
          color: by,
        },
      },
      {
        mark: { type: "line", aria: false },
        encoding: { y: quantity("kl", "KL, nats a token"), color: by, strokeDash: by },
      },
      {
        mark: { type: "point", filled: true, size: 32, opacity: 1, aria: false },
        encoding: {
          y: quantity("kl", "KL, nats a token"),
          color: by,
          tooltip: tooltip(
            {
              name: "of",
              position: "position",
              kl: "KL, nats a token",
              se: "± s.e.",
              trajectories: "trajectories",
            },
            ["kl", "se"],
          ),
        },
      },
    ],
  });
}
