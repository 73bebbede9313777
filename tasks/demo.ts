/** `deno task demo`: the whole loop on real facts; with --seeds and --control a small study in docs/results.md. */
import { InputError, nearestName } from "../lib/base/input_error.ts";
import type { Engine } from "../lib/engine/open_engine.ts";
import type { Evaluation } from "../lib/eval/evaluation.ts";
import { studyPage, type StudyRun } from "../lib/report/study.ts";
import { type Config, loadConfig } from "../lib/run/config.ts";
import { differentKey, freeRunFolder, readEvaluation, runState } from "../lib/run/run_folder.ts";
import { commonFlags, runTask, settings, typedCommand } from "./command_line.ts";
import { interruption } from "./interruption.ts";
import { prepareEngine } from "./prepare_engine.ts";
import { runOnce } from "./run_once.ts";
import { writeDocument } from "./write_document.ts";

/** Arms beside the method itself: overrides, from the settings and the tokens that arms spent with the same seed. */
const controls: Readonly<Record<string, (config: Config, spent: Record<string, number>) => string[]>> = {
  "grpo-only": (config, spent) => grpoOnly(config, spent["search-e1"]!),
  "no-rehearsal": () => ["rehearsal.per_step=0"],
  "grpo-only-no-rehearsal": (config, spent) => [
    ...grpoOnly(config, spent["no-rehearsal"] ?? spent["search-e1"]!),
    "rehearsal.per_step=0",
  ],
  "shuffled-sibling": () => ["ofsd.arm=shuffled-sibling"],
  "no-privilege": () => ["ofsd.arm=no-privilege"],
  "rejection-sft": () => ["ofsd.arm=rejection-sft"],
  "lora": () => ["ofsd.train=lora"],
};

/** The same first GRPO stage, and in place of all that follows GRPO until as many tokens are spent. */
function grpoOnly({ grpo }: Config, compute: number): string[] {
  const first = Array.isArray(grpo.steps) ? grpo.steps[0] : grpo.steps;
  return [`stages=["sft","grpo","grpo"]`, `grpo.steps=[${first},1000]`, `grpo.compute_budget=${compute}`];
}

const preset = "data/presets/demo.toml";
const flags = {
  seeds: { kind: "text", value: "1,2,3", about: "Run once a seed and write docs/results.md" },
  control: {
    kind: "text",
    value: "NAMES",
    about: `Also run these, by comma: ${Object.keys(controls).join(", ")}`,
  },
  ...commonFlags,
} as const;

await runTask("demo", `Trains a small search agent on real facts (${preset}).`, flags, async (given) => {
  const out = given.out?.replace(/\/+$/, "") ?? "runs/demo";
  const seeds = given.seeds?.split(",").map(Number);
  if (seeds?.some((seed) => !Number.isInteger(seed) || seed < 0)) {
    throw new InputError(`Cannot use --seeds ${given.seeds}: write integers by comma, such as 1,2,3`);
  }
  const arms = given.control?.split(",") ?? [];
  for (const arm of arms) refuseUnknownArm(arm);
  const load = (...more: string[]) => loadConfig(given.config ?? preset, [...settings(given), ...more]);
  const config = await load();
  const { engine, downloadSeconds } = await prepareEngine(config);
  const { signal, stop } = await interruption();
  try {
    if (!seeds && arms.length === 0) {
      const { folder, state } = await freeRunFolder(out, config);
      if (state === "unfinished") console.log(`Going on with the unfinished run in ${folder}`);
      const resume = state === "unfinished";
      return await runOnce({ config, folder, engine, resume, signal, startedAt: 0, downloadSeconds })
        ? 0
        : 130;
    }
    const runs: StudyRun[] = [];
    for (const seed of seeds ?? [config.seed]) {
      const spent: Record<string, number> = {};
      for (const arm of ["search-e1", ...arms]) {
        const sets = controls[arm]?.(config, spent) ?? [];
        const folder = `${out}-${arm}-seed-${seed}`;
        const evaluation = await studyRun(await load(...sets, `seed=${seed}`), folder, engine, signal);
        if (!evaluation) return 130;
        spent[arm] = Math.max(...Object.values(evaluation.compute));
        runs.push({ arm, seed, folder, evaluation });
      }
    }
    const command = typedCommand("demo", ...Deno.args);
    const page = `${given.out ? `${out}-` : "docs/"}results.md`;
    await writeDocument(page, studyPage(runs, command));
    console.log(`\n${runs.length} runs compared in ${page}`);
    return 0;
  } finally {
    stop();
    engine.close();
  }
});

/** Runs one arm with one seed, or takes it from its folder when it is finished. */
async function studyRun(
  config: Config,
  folder: string,
  engine: Engine,
  signal: AbortSignal,
): Promise<Evaluation | undefined> {
  const state = await runState(folder);
  const different = state === "new" ? undefined : await differentKey(folder, config);
  if (different) {
    throw new InputError(
      `Cannot use ${folder}: its run has another ${different}; remove it or choose another --out`,
    );
  }
  console.log(`\n${folder}${state === "finished" ? " is finished; its figures are used" : ""}`);
  if (state === "finished") return await readEvaluation(folder);
  const resume = state === "unfinished";
  const options = { config, folder, engine, resume, signal, startedAt: performance.now() };
  return await runOnce(options, ["demo", ...Deno.args]);
}

function refuseUnknownArm(arm: string): void {
  const known = Object.keys(controls);
  if (known.includes(arm)) return;
  const near = nearestName(arm, known);
  throw new InputError(
    `Cannot use --control ${arm}: ${near ? `did you mean ${near}?` : `known are ${known.join(", ")}`}`,
  );
}
