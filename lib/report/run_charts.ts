/** The charts that the page shows of a run, where it has their data. @module */
import type { stageKinds } from "../run/config_schema.ts";
import type { Chart } from "./page_data.ts";
import {
  klByPosition,
  learningCurve,
  lengthCurve,
  type PlotSpec,
  rewardHistogram,
  searchCounts,
  searchesAgainstExactMatch,
  teacherAdvantage,
  vegaSpec,
} from "./plots.ts";
import type { FileCache, RunRecord } from "./run_record.ts";
import { firstAndLastRewards, heldOutSearches, recordedDivergence } from "./run_transcripts.ts";

/** A metric over the steps of one kind of stage. */
interface Curve {
  id: string;
  metric: string;
  stages: typeof stageKinds[number];
  title: string;
  unit: string;
  about: string;
}

const curves: readonly Curve[] = [
  {
    id: "reward",
    metric: "reward",
    stages: "grpo",
    title: "Reward",
    unit: "reward",
    about: "Mean reward of the step's roll-outs, sampled on training questions; up is better.",
  },
  {
    id: "exact-match-reward",
    metric: "rewards/exact_match/mean",
    stages: "grpo",
    title: "Exact match in training",
    unit: "share",
    about: "Share of the step's roll-outs with a right answer; up is better.",
  },
  {
    id: "searches",
    metric: "env/searches_mean",
    stages: "grpo",
    title: "Searches",
    unit: "searches a roll-out",
    about: "How often the model searches; fewer is better where the reward holds.",
  },
  {
    id: "zero-std",
    metric: "frac_reward_zero_std",
    stages: "grpo",
    title: "Groups without a gradient",
    unit: "share",
    about: "Groups whose rewards are all equal teach nothing; near 1 the stage has nothing left to learn.",
  },
  {
    id: "entropy",
    metric: "entropy",
    stages: "grpo",
    title: "Entropy",
    unit: "nats a token",
    about: "How undecided the policy is where it writes; near 0 it has stopped exploring.",
  },
  {
    id: "kl",
    metric: "kl",
    stages: "grpo",
    title: "KL to the reference",
    unit: "nats a token",
    about: "How far the policy has moved away from the start of its stage; a slow rise is usual.",
  },
  {
    id: "valid-actions",
    metric: "env/valid_action_ratio",
    stages: "grpo",
    title: "Valid actions",
    unit: "share",
    about: "Turns with a complete search or answer; it should stay near 1.",
  },
  {
    id: "logp-difference",
    metric: "sampling/sampling_logp_difference/max",
    stages: "grpo",
    title: "Sampler against trainer",
    unit: "nats",
    about: "Largest difference between the two log-probs of a token: rounding only, so far below 0.1.",
  },
  {
    id: "grad-norm",
    metric: "grad_norm",
    stages: "grpo",
    title: "Gradient norm",
    unit: "norm",
    about: "Global norm before it is clipped; lasting growth is a warning.",
  },
  {
    id: "ofsd-kl",
    metric: "ofsd/kl",
    stages: "ofsd",
    title: "KL to the teacher",
    unit: "nats a token",
    about:
      "What self-distillation lowers: the distance to what the policy says when it sees the better sibling.",
  },
  {
    id: "sft-loss",
    metric: "loss",
    stages: "sft",
    title: "Warm-start loss",
    unit: "nats a token",
    about: "Cross-entropy on the demonstrations; down is better.",
  },
];

/**
 * The charts of a run; curves and paths also hold the runs compared with.
 *
 * @param points About as many points a chart has at most.
 */
export async function runCharts(
  run: RunRecord,
  compared: readonly RunRecord[],
  files: FileCache,
  points: number,
): Promise<Chart[]> {
  const charts: Chart[] = [];
  const add = (id: string, title: string, about: string, plot: PlotSpec) => {
    charts.push({ id, title, about, ...compiled(plot) });
  };
  const runs = [run, ...compared];
  const sets = [...new Set(run.evaluation?.rows.map(({ set }) => set))];

  for (const set of sets) {
    const about = "Every point is a stage, every path a run; up and to the left is better.";
    const paths = runs.map(({ name, evaluation }) => ({ name, rows: evaluation?.rows ?? [] }));
    add(
      `em-searches-${set}`,
      `Exact match against searches: ${set}`,
      about,
      searchesAgainstExactMatch(paths, { set }),
    );
  }
  for (const { id, metric, stages, title, unit, about } of curves) {
    if (run.rows.some((row) => row.stage.startsWith(stages) && Number.isFinite(row[metric]))) {
      add(id, title, about, learningCurve(runs, metric, { stages, unit }));
    }
  }
  if (run.rows.some((row) => Number.isFinite(row["completions/mean_length"]))) {
    const about = "Tokens that the model writes in a roll-out: mean, shortest and longest.";
    add("lengths", "Length of roll-outs", about, lengthCurve(runs));
  }
  // These stand in equal steps, so that some of them show what all do.
  for (const chart of charts) chart.values = thinned(chart.values, points);

  const rewards = await firstAndLastRewards(run, files);
  if (rewards.length > 0) {
    const about =
      "Rewards of the roll-outs of the first and of the newest GRPO step; mass should move right.";
    const some = rewards.map(({ name, rewards }) => ({ name, rewards: thinned(rewards, points) }));
    add("rewards", "Rewards, first and newest step", about, rewardHistogram(some));
  }
  for (const set of sets.slice(-1)) {
    const about = "How many of the questions took so many searches, stage by stage; mass should move left.";
    const searches = await heldOutSearches(run, set, files);
    if (searches.length > 0) {
      add("search-counts", `Searches a question: ${set}`, about, searchCounts(searches));
    }
  }
  const divergence = await recordedDivergence(run, files);
  if (divergence.length > 0) {
    const about =
      "Mean divergence between teacher and student at every place in the answer; distillation lowers it.";
    const some = divergence.map(({ name, kl }) => {
      const written = kl.flat().filter((value) => value !== null).length;
      return { name, kl: thinned(kl, Math.max(1, Math.floor(kl.length * 2 * points / written))) };
    });
    add("kl-position", "KL by token position", about, klByPosition(some));
  }
  const teacher = run.evaluation?.teacher ?? [];
  if (teacher.length > 0) {
    const about = "What the privileged block gives the teacher: as good answers with fewer searches.";
    add("teacher", "Teacher with and without the block", about, teacherAdvantage(teacher));
  }
  return charts;
}

/** Compiled specs by their plots without values. */
const specs = new Map<string, Chart["spec"]>();

/** A plot compiled; compiling takes most of a page's time, and while a run goes on only the values change. */
function compiled(plot: PlotSpec): Pick<Chart, "spec" | "values"> {
  // The page has the title beside the chart.
  const { title: _, ...untitled } = plot as PlotSpec & { data: { values: Chart["values"] } };
  const key = JSON.stringify({ ...untitled, data: {} });
  const spec = specs.get(key) ?? vegaSpec(untitled as PlotSpec).spec;
  specs.set(key, spec);
  return { spec, values: untitled.data.values };
}

/** At most `count` of them, evenly spread, the last among them. */
function thinned<T>(all: readonly T[], count: number): T[] {
  const every = Math.ceil(all.length / count);
  return all.filter((_, i) => (all.length - 1 - i) % every === 0);
}
